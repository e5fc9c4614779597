//! Beside hyper alone: for any bytes, in any pieces, the answers are the same,
//! whether somebody stops the server or not.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use lameduck::http::Http;
use lameduck::sim::{Connection, Sim, SimRuntime};
use lameduck::{Session, Signal};

/// A session as hyper takes it, and nothing else.
struct Bare(Session<Connection>);

impl hyper::rt::Read for Bare {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut cursor: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let mut room = [0; 4096];
        let most = cursor.remaining().min(room.len());
        let n = ready!(Pin::new(&mut self.0).poll_read(cx, &mut room[..most]))?;
        cursor.put_slice(&room[..n]);
        Poll::Ready(Ok(()))
    }
}

impl hyper::rt::Write for Bare {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }
}

/// Answers with the body, or says hello.
async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = request.into_body().collect().await;
    let body = body.map(|body| body.to_bytes()).unwrap_or_default();
    Ok(Response::new(Full::new(match body.is_empty() {
        true => Bytes::from("hello"),
        false => body,
    })))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Server {
    Bare,
    Lossless,
}

/// Serves one client, which sends `pieces` and ends its side; returns all that
/// it reads. The server is stopped when all pieces have arrived, if so.
fn output(server: Server, pieces: &[Vec<u8>], stops: bool) -> Vec<u8> {
    // Without chances: hyper's answer to what is no request depends on how much
    // of it comes at once, which has to be the same for both.
    let mut sim = Sim::with_choices([]);
    match server {
        Server::Bare => sim.serve(|session| async move {
            let mut http1 = http1::Builder::new();
            http1.auto_date_header(false);
            let served = http1
                .serve_connection(Bare(session), service_fn(answer))
                .await;
            // The ends of both are the same: what was written is what counts.
            let _ = served;
            io::Result::Ok(())
        }),
        Server::Lossless => {
            let http = Http::new(service_fn(answer)).http1_only();
            let http = http.http1(|http1| _ = http1.auto_date_header(false));
            let handler = http.into_handler::<SimRuntime, _>(sim.runtime(), []);
            sim.serve(move |session| {
                let serving = handler(session);
                async move { serving.await.map_err(io::Error::other) }
            });
        }
    }
    let read = Arc::new(Mutex::new(Vec::new()));
    let (output, pieces) = (read.clone(), pieces.to_vec());
    sim.client(async move |client| {
        for piece in pieces {
            client.write_all(&piece).await?;
            client.pause(Duration::from_micros(100)).await;
        }
        // Time for all answers, and for the stop.
        client.pause(Duration::from_millis(100)).await;
        client.half_close().await?;
        let mut buffer = [0; 1024];
        loop {
            let n = client.read(&mut buffer).await?;
            if n == 0 {
                return Ok(());
            }
            output
                .lock()
                .expect("one thread")
                .extend_from_slice(&buffer[..n]);
        }
    });
    let all_sent = Duration::from_millis(50);
    sim.advance(all_sent, 1_000_000);
    if stops {
        sim.signal(Signal::Terminate);
        let report = sim.run(1_000_000).expect("the stop has an end");
        assert_eq!(report.exit_status(), 0, "{report}");
    } else {
        sim.advance(Duration::from_secs(1), 1_000_000);
    }
    std::mem::take(&mut *read.lock().expect("one thread"))
}

/// Returns the output without the announcements of the close.
fn unannounced(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    text.replace("connection: close\r\n", "")
}

/// Returns the pieces without the empty lines before the first request, which
/// hyper is not given (half of one comes with what follows): it would look at what
/// is no request at other times.
fn from_the_first_request_on(pieces: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut first = Vec::new();
    for piece in pieces {
        if !found.is_empty() {
            found.push(piece.clone());
            continue;
        }
        first.extend_from_slice(piece);
        while let [b'\r', b'\n', after @ ..] | [b'\n', after @ ..] = &first[..] {
            first = after.to_vec();
        }
        if !matches!(first[..], [] | [b'\r']) {
            found.push(std::mem::take(&mut first));
        }
    }
    found
}

/// Panics where the answers differ from those of hyper alone.
pub(crate) fn compare(pieces: &[Vec<u8>]) {
    let bare = output(Server::Bare, &from_the_first_request_on(pieces), false);
    let without_stop = output(Server::Lossless, pieces, false);
    assert_eq!(
        String::from_utf8_lossy(&without_stop),
        String::from_utf8_lossy(&bare),
        "without a stop"
    );
    let with_stop = unannounced(&output(Server::Lossless, pieces, true));
    let bare = unannounced(&bare);
    // What is no request is refused by hyper where it has all of it at once, as
    // after the last look, and else is waited for.
    let is_refusal = |more: &str| more.starts_with("HTTP/1.1 400 ");
    let more = with_stop.strip_prefix(&bare);
    assert!(
        more.is_some_and(|more| more.is_empty() || is_refusal(more)),
        "with a stop: {with_stop}\nwithout: {bare}"
    );
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Without the preface of HTTP/2, for which hyper's answer depends on how
    /// much of it comes at once.
    const FRAGMENTS: [&[u8]; 13] = [
        b"GET / HTTP/1.1\r\nhost: a\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nagain",
        b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3;x=y\r\none\r\n0\r\nt: v\r\n\r\n",
        b"GET / HTTP/1.1\nhost: a\n\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\nhi",
        b"HEAD / HTTP/1.1\r\nhost: a\r\n\r\n",
        b"\r\n",
        b"GET / HT",
        b"POST / HTTP/1.1\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n",
        b"complete garbage\r\n\r\n",
    ];

    fn stream() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let fragments = prop::collection::vec(prop::sample::select(&FRAGMENTS[..]), 1..6);
        let cuts = prop::collection::vec(any::<prop::sample::Index>(), 0..4);
        let broken = prop::option::weighted(0.2, (any::<prop::sample::Index>(), any::<u8>()));
        (fragments, cuts, broken).prop_map(|(fragments, cuts, broken)| {
            let mut bytes = fragments.concat();
            if let Some((at, byte)) = broken {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces = cuts.windows(2).map(|two| bytes[two[0]..two[1]].to_vec());
            pieces.filter(|piece| !piece.is_empty()).collect()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn answers_are_those_of_hyper_with_and_without_a_stop(pieces in stream()) {
            compare(&pieces);
        }
    }

    /// Cuts as the fuzz target does.
    fn in_pieces_of(most: usize, bytes: &[u8]) -> Vec<Vec<u8>> {
        bytes.chunks(most).map(<[u8]>::to_vec).collect()
    }

    #[test]
    fn a_bare_line_feed_does_not_end_a_chunked_body() {
        let bytes = b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n\
            0\r\n\np\0\0";
        compare(&in_pieces_of(7, bytes));
    }
    #[test]
    fn f20_hyper_sees_no_empty_line_before_the_first_request() {
        for bytes in [&b"\n\xff\xff\x10"[..], b"\n\n\nz\xff", b"\r\n\rz\xff"] {
            compare(&in_pieces_of(1, bytes));
        }
    }
}
