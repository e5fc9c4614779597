//! The transport over simulated sessions, without hyper.

use std::future::poll_fn;
use std::task::Waker;
use std::time::Duration;

use futures::io::AsyncWriteExt;
use hyper::header::{HeaderValue, UPGRADE};
use hyper::rt::ReadBuf;
use hyper::{Response, StatusCode, Version};

use super::*;
use crate::http::info::{Local, Origin};
use crate::http::options::{Announce, Options};
use crate::http::rt::HyperTimer;
use crate::rt::Runtime;
use crate::runtimes::smol::Smol;
use crate::sim::Sim;

fn wire<C: Connection>(session: Session<C>) -> io::Result<Wire<C>> {
    let handle = session.handle().map_err(io::Error::other)?;
    let local = Arc::new(Local {
        address: handle.peer_addr(),
        timer: Box::new(HyperTimer(Smol)),
        spawn: Box::new(|task| Smol.spawn(task)),
        stops_on_panic: false,
    });
    let origin = Origin::new(
        &handle,
        local,
        #[cfg(feature = "tls")]
        None,
    );
    let origin = origin.map_err(io::Error::other)?;
    let options = Options {
        announce: Announce::Draining,
        ..Options::default()
    };
    let state = Arc::new(State::http1(origin, &options));
    Ok(Wire::new(session, Bytes::new(), state))
}

fn poll_read<C: Connection>(wire: &mut Wire<C>, cx: &mut Context<'_>) -> bool {
    poll_read_some(wire, cx, 16)
}

/// Returns whether the read is pending.
fn poll_read_some<C: Connection>(
    wire: &mut Wire<C>,
    cx: &mut Context<'_>,
    most: usize,
) -> bool {
    let mut bytes = [0; 16];
    let mut buffer = ReadBuf::new(&mut bytes[..most]);
    Pin::new(wire).poll_read(cx, buffer.unfilled()).is_pending()
}

fn websocket<C: Connection>(session: Session<C>) -> io::Result<Wire<C>> {
    let wire = wire(session)?;
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let websocket = HeaderValue::from_static("websocket");
    response.headers_mut().insert(UPGRADE, websocket);
    wire.state.announce(false, Version::HTTP_11, &mut response);
    Ok(wire)
}

/// Takes up to 600 bytes at once, and keeps what each write has given.
#[derive(Default)]
struct Writes(Vec<Vec<u8>>);

impl AsyncWrite for Writes {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let n = bytes.len().min(600);
        self.0.push(bytes[..n].to_vec());
        Poll::Ready(Ok(n))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[test]
fn small_buffers_are_written_as_one() {
    let write = |lengths: &[usize]| {
        let bytes: Vec<u8> = (0..lengths.iter().sum()).map(|n: usize| n as u8).collect();
        let mut rest = &bytes[..];
        let mut buffers = Vec::new();
        for length in lengths {
            let (begin, after) = rest.split_at(*length);
            buffers.push(IoSlice::new(begin));
            rest = after;
        }
        let mut writes = Writes::default();
        let cx = &mut Context::from_waker(Waker::noop());
        let Poll::Ready(Ok(n)) = poll_write_all(&mut writes, cx, &buffers) else {
            panic!("it takes some");
        };
        assert_eq!(writes.0, [&bytes[..n]]);
        n
    };
    assert_eq!(write(&[76, 0, 14]), 90);
    assert_eq!(write(&[JOINED - 1, 1]), JOINED);
    assert_eq!(write(&[JOINED - 1, 2]), JOINED - 1, "as a list");
    assert_eq!(write(&[700]), 600);
}

#[test]
fn f27_half_a_frame_of_a_websocket_is_mid_message_for_any_library() {
    let mut sim = Sim::with_choices([]);
    sim.serve(|session| async move {
        let mut wire = websocket(session)?;
        let mut read = async |bytes: usize| {
            for _ in 0..bytes {
                poll_fn(|cx| match poll_read_some(&mut wire, cx, 1) {
                    true => Poll::Pending,
                    false => Poll::Ready(()),
                })
                .await;
            }
            let is_pending = poll_fn(|cx| Poll::Ready(poll_read(&mut wire, cx))).await;
            assert!(is_pending);
            wire.state.origin.facts().found_nothing()
        };
        assert!(read(0).await);
        // A text of two bytes, masked by zeros.
        assert!(!read(3).await && read(5).await);
        io::Result::Ok(())
    });
    sim.client(async |client| {
        client.write_all(&[0x81, 0x82, 0]).await?;
        client.pause(Duration::from_millis(1)).await;
        client.write_all(&[0, 0, 0, b'h', b'i']).await?;
        client.pause(Duration::from_millis(10)).await;
        Ok(())
    });
    sim.advance(Duration::from_millis(5), 1_000_000);
    sim.signal(crate::Signal::Terminate);
    let report = sim.run(1_000_000).expect("the stop has an end");
    assert_eq!(report.closed.finished, 1, "{report}");
}

#[test]
fn f69_a_wait_is_registered_for_the_abort_only_in_another_task() {
    let mut sim = Sim::with_choices([]);
    sim.serve(|session| async move {
        let mut wire = wire(session)?;
        let state = wire.state.clone();
        let waits = poll_fn(|cx| Poll::Ready(state.drive(|| poll_read(&mut wire, cx)))).await;
        assert!(waits && !wire.session.awaits_abort());
        let mut elsewhere = Context::from_waker(Waker::noop());
        assert!(poll_read(&mut wire, &mut elsewhere) && wire.session.awaits_abort());
        io::Result::Ok(())
    });
    sim.client(async |client| {
        client.pause(Duration::from_millis(10)).await;
        Ok(())
    });
    sim.advance(Duration::from_millis(5), 1_000_000);
    sim.signal(crate::Signal::Terminate);
    let report = sim.run(1_000_000).expect("the stop has an end");
    assert_eq!(report.closed.total(), report.closed.finished, "{report}");
    assert_eq!(report.closed.finished, 1, "{report}");
}
