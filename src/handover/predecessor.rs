//! The one before us, seen from its successor.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::thread;

use futures_channel::oneshot;

use super::{MARK_LEFT, MARK_TAKEN, MSG_CANCEL, MSG_READY, MSG_SOLE_OWNER};
use crate::sync::plain::{Arc, AtomicBool, Ordering};

/// A server that serves until we are ready.
#[derive(Debug)]
pub(crate) struct Predecessor {
    /// Whether we may serve, once that is known.
    go: oneshot::Receiver<bool>,
    left: Arc<AtomicBool>,
}

impl Predecessor {
    /// Says that we are ready, and waits for its word.
    pub(crate) fn announce_ready(
        channel: UnixStream,
        taken: &[bool],
    ) -> io::Result<Predecessor> {
        let mut ready = MSG_READY.to_vec();
        ready.extend(
            taken
                .iter()
                .map(|taken| if *taken { MARK_TAKEN } else { MARK_LEFT }),
        );
        ready.push(b'\n');
        let (tell, go) = oneshot::channel();
        let left = Arc::new(AtomicBool::new(false));
        let (heard, name) = (left.clone(), "lameduck-predecessor".to_owned());
        // Once in the life of a process: a thread is what every runtime has.
        thread::Builder::new().name(name).spawn(move || {
            let mut channel = channel;
            let _ = channel.write_all(&ready);
            // When it says nothing any more, nobody serves unless we do.
            let go = read_message(&mut channel) != Some(MSG_CANCEL);
            let _ = tell.send(go);
            // Release: pairs with the acquire in `has_left`.
            heard.store(
                read_message(&mut channel) == Some(MSG_SOLE_OWNER),
                Ordering::Release,
            );
        })?;
        Ok(Predecessor { go, left })
    }

    /// Whether we are to serve.
    pub(crate) fn poll_go(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        Pin::new(&mut self.go).poll(cx).map(|go| go.unwrap_or(true))
    }

    /// Whether it has closed the sockets, and nobody but us holds them.
    pub(crate) fn has_left(&self) -> bool {
        // Acquire: pairs with the release in `greet`.
        self.left.load(Ordering::Acquire)
    }
}

fn read_message(channel: &mut UnixStream) -> Option<u8> {
    let mut word = [0];
    match channel.read_exact(&mut word) {
        Ok(()) => Some(word[0]),
        Err(_) => None,
    }
}
