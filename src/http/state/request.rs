//! The begin and the end of one request, as the state of its connection notes them.

use std::num::NonZeroU32;

use http_body::Body;
use hyper::body::Incoming;
use hyper::ext::Protocol;
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderMap, HeaderValue, UPGRADE};
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode, Version};

use super::State;
use crate::http::framing::{BodyLength, NOTHING_FOLLOWS};
use crate::http::info::{ConnectionInfo, Messages};
use crate::http::streams::{DataOf, Streams};
use crate::phase::Phase;
use crate::sync::plain::{Arc, Mutex, Ordering, lock};

impl State {
    /// Notes the call of the service, before anything else is done with it.
    pub(crate) fn begin(self: &Arc<State>, request: &mut Request<Incoming>) -> InFlight {
        // One task at a time calls, for a connection: no addition is lost. Ends
        // come from other tasks, in HTTP/2.
        self.calls.store(self.calls() + 1, Ordering::Relaxed);
        self.origin.facts().begin_request();
        if let Some(framing) = self.framing() {
            let body = request.body();
            let length = match body.size_hint().exact() {
                Some(length) => BodyLength::Known(length),
                None => BodyLength::Chunked,
            };
            self.change(framing, |framing| framing.call(length));
            let is_last = match request.version() {
                Version::HTTP_10 => !has_token(request.headers(), "keep-alive"),
                _ => has_token(request.headers(), "close"),
            };
            if is_last {
                self.is_last.store(true, Ordering::Relaxed);
            }
            if let Some(upgrade) = request.extensions().get::<OnUpgrade>() {
                self.set_upgrade(Some(upgrade.clone()));
            }
        }
        // Asked once: HTTP/2 takes a lock for the answer.
        let has_body = !request.body().is_end_stream();
        // hyper has no body for a tunnel.
        let is_tunnel = self.streams().is_some() && *request.method() == Method::CONNECT;
        let content = (has_body || is_tunnel).then(|| content_type(request.headers()));
        let stream = self
            .streams()
            .and_then(|streams| self.begin_stream(streams, request, content));
        let messages = content.map_or(Messages::None, messages_of);
        let info = ConnectionInfo::new(self.clone(), stream, messages);
        request.extensions_mut().insert(info);
        InFlight(self.clone())
    }

    /// Returns the stream of a request that still has something to read.
    fn begin_stream(
        &self,
        streams: &Mutex<Streams>,
        request: &Request<Incoming>,
        content: Option<&[u8]>,
    ) -> Option<NonZeroU32> {
        let stream = self.change_streams(streams, Streams::call)?;
        lock(streams).follow(stream, data_of(request, content?));
        NonZeroU32::new(stream)
    }

    /// Announces the close with a response, where it is the last of what had
    /// arrived ([F75](crate::docs::faults#f75)).
    pub(crate) fn announce<B>(
        &self,
        is_connect: bool,
        version: Version,
        response: &mut Response<B>,
    ) {
        if self.framing().is_none() {
            return;
        }
        let is_tunnel = response.status() == StatusCode::SWITCHING_PROTOCOLS
            || (is_connect && response.status().is_success());
        if is_tunnel {
            self.is_tunnel.store(true, Ordering::Relaxed);
            self.set_upgrade(None);
            let protocol = response.headers().get(UPGRADE);
            let is_websocket =
                protocol.is_some_and(|name| name.as_bytes().eq_ignore_ascii_case(b"websocket"));
            let follows = is_websocket && self.knows(NOTHING_FOLLOWS);
            self.is_websocket.store(follows, Ordering::Relaxed);
            return;
        }
        let is_last = self.seems_last() && self.origin.facts().found_nothing();
        if !self.keeps_alive || is_last || self.is_past_accepted() {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
            if version == Version::HTTP_10 {
                // hyper would add `keep-alive` to a response of a newer version.
                *response.version_mut() = version;
            }
            self.is_last.store(true, Ordering::Relaxed);
        } else if has_token(response.headers(), "close") {
            self.is_last.store(true, Ordering::Relaxed);
        }
    }
}

/// Returns the type of a body; empty where the head does not name one.
fn content_type(headers: &HeaderMap) -> &[u8] {
    let content = headers.get(CONTENT_TYPE);
    content.map_or(&b""[..], HeaderValue::as_bytes)
}

/// Returns what the data of a request on HTTP/2 consists of, whose body has this type.
fn data_of(request: &Request<Incoming>, content: &[u8]) -> DataOf {
    let protocol = request.extensions().get::<Protocol>();
    if protocol.is_some_and(|protocol| protocol.as_str() == "websocket") {
        return DataOf::Websocket;
    }
    // Those of Connect have the same prefix; the text of gRPC-Web is base64.
    let is_enveloped = content.starts_with(b"application/grpc")
        || content.starts_with(b"application/connect+");
    match is_enveloped && !content.starts_with(b"application/grpc-web-text") {
        true => DataOf::Grpc,
        false => DataOf::Other,
    }
}

/// Returns what the body of a request consists of, as far as this type of it tells
/// ([F101](crate::docs::faults#f101)).
fn messages_of(content: &[u8]) -> Messages {
    let name = content.split(|byte| *byte == b';').next();
    let name = name.unwrap_or_default().trim_ascii();
    let is = |one: &str| name.eq_ignore_ascii_case(one.as_bytes());
    let is_one = is("application/json")
        || is("application/x-www-form-urlencoded")
        // gRPC-Web has no calls whose client streams.
        || name.starts_with(b"application/grpc-web");
    match is_one {
        true => Messages::One,
        false => Messages::Many,
    }
}

fn has_token(headers: &HeaderMap, token: &str) -> bool {
    // Most messages have no such field, and this costs less than to ask for all.
    if !headers.contains_key(CONNECTION) {
        return false;
    }
    // The text is looked at last: few values have the token.
    let has = |value: &HeaderValue| {
        let mut tokens = value.as_bytes().split(|byte| *byte == b',');
        let is_one = |found: &[u8]| found.trim_ascii().eq_ignore_ascii_case(token.as_bytes());
        tokens.any(is_one) && value.to_str().is_ok()
    };
    headers.get_all(CONNECTION).iter().any(has)
}

/// A request in flight. Its drop ends it, also after a panic.
pub(crate) struct InFlight(Arc<State>);

impl InFlight {
    #[inline]
    pub(crate) fn state(&self) -> &State {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.0.origin.shutdown().phase() >= Phase::Aborting {
            // Cut off: the report says how many were in flight.
            return;
        }
        if self.0.origin.facts().end_request() {
            self.0.wake_driver();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f101_a_body_is_one_message_only_where_its_type_says_so() {
        let is_one = |content: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            if let Some(content) = content {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static(content));
            }
            matches!(messages_of(content_type(&headers)), Messages::One)
        };
        let ones = [
            "application/json",
            "Application/JSON ; charset=utf-8",
            "application/x-www-form-urlencoded",
            "application/grpc-web",
            "application/grpc-web-text+proto",
        ];
        assert!(ones.into_iter().all(|content| is_one(Some(content))));
        let others = [
            "application/json-seq",
            "application/x-ndjson",
            "application/connect+json",
            "application/grpc",
            "application/octet-stream",
            "",
        ];
        assert!(!others.into_iter().any(|content| is_one(Some(content))));
        assert!(!is_one(None));
    }

    #[test]
    fn a_token_is_found_among_others_as_hyper_finds_it() {
        let has_close = |values: &[&[u8]]| {
            let mut headers = HeaderMap::new();
            for value in values {
                let value = HeaderValue::from_bytes(value).expect("it is a value");
                headers.append(CONNECTION, value);
            }
            has_token(&headers, "close")
        };
        assert!(has_close(&[b"close"]) && has_close(&[b"keep-alive", b"x,\tClose "]));
        assert!(!has_close(&[]) && !has_close(&[b"keep-alive, closed, clos e"]));
        // hyper passes over a value that is no text.
        assert!(!has_close(&[b"close, \xff"]) && has_close(&[b"\xff", b"close"]));
    }
}
