//! A WebSocket that echoes, and says good bye when the server drains.

use std::error::Error;

use async_tungstenite::WebSocketStream;
use async_tungstenite::tungstenite::handshake::derive_accept_key;
use async_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use async_tungstenite::tungstenite::protocol::{CloseFrame, Role};
use async_tungstenite::tungstenite::{self, Message};
use futures::StreamExt;
use hyper::body::Incoming;
use hyper::header::{
    CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE,
};
use hyper::{Request, Response, StatusCode};
use lameduck::SessionHandle;
use lameduck::http::{Upgraded, on_upgrade};

use crate::routes::{Body, status};

/// Answers the request that makes a WebSocket of its connection.
pub(crate) fn upgrade(mut request: Request<Incoming>) -> Response<Body> {
    let key = request.headers().get(SEC_WEBSOCKET_KEY);
    let Some(key) = key.map(|key| derive_accept_key(key.as_bytes())) else {
        return status(StatusCode::BAD_REQUEST);
    };
    let Ok(key) = HeaderValue::try_from(key) else {
        return status(StatusCode::BAD_REQUEST);
    };
    if on_upgrade(&mut request, echo).is_err() {
        return status(StatusCode::BAD_REQUEST);
    }
    let mut response = status(StatusCode::SWITCHING_PROTOCOLS);
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, key);
    response
}

async fn echo(
    io: Upgraded,
    mut handle: SessionHandle,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    // A client in the middle of a message is not idle.
    let io = io.with_websocket_frames(&handle)?;
    let mut socket = WebSocketStream::from_raw_socket(io, Role::Server, None).await;
    // Messages that had arrived come before the stop.
    while let Some(message) = handle.next_or_drain(socket.next(), || true).await {
        match message {
            Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => {
                socket.send(message).await?;
            }
            // Pings and closes are answered by the library.
            Some(Ok(_)) => {}
            Some(Err(tungstenite::Error::ConnectionClosed)) | None => return Ok(()),
            Some(Err(error)) => return Err(error.into()),
        }
    }
    let close = CloseFrame {
        code: CloseCode::Away,
        reason: "the server stops".into(),
    };
    socket.close(Some(close)).await?;
    // The client answers with a close of its own; what it had sent before is
    // read, and not answered any more.
    while let Some(Ok(_)) = socket.next().await {}
    Ok(())
}
