//! The process before this one, seen from its successor.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::thread;

use futures_channel::oneshot;

use super::{MARK_LEFT, MARK_TAKEN, MSG_CANCEL, MSG_READY, MSG_RESTART, MSG_SOLE_OWNER};
use crate::sync::plain::{Arc, AtomicBool, Ordering};

/// A server that serves until this process is ready.
#[derive(Debug)]
pub(crate) struct Predecessor {
    /// Whether this process may serve, once that is known.
    go: oneshot::Receiver<bool>,
    /// Whether the predecessor was asked for a restart that it could not begin
    /// any more.
    restart: Option<oneshot::Receiver<()>>,
    left: Arc<AtomicBool>,
}

impl Predecessor {
    /// Says that this process is ready, and waits for the predecessor's word.
    pub(crate) fn announce_ready(
        channel: UnixStream,
        taken: &[bool],
    ) -> io::Result<Predecessor> {
        let mut ready = MSG_READY.to_vec();
        let mark = |taken: &bool| if *taken { MARK_TAKEN } else { MARK_LEFT };
        ready.extend(taken.iter().map(mark));
        ready.push(b'\n');
        let (tell_go, go) = oneshot::channel();
        let (tell_restart, restart) = oneshot::channel();
        let left = Arc::new(AtomicBool::new(false));
        let (has_left, name) = (left.clone(), "lameduck-predecessor".to_owned());
        // Once in the life of a process: a thread is what every runtime has.
        thread::Builder::new().name(name).spawn(move || {
            let mut channel = channel;
            let _ = channel.write_all(&ready);
            // When it says nothing any more, nobody serves unless we do.
            let go = read_message(&mut channel) != Some(MSG_CANCEL);
            let _ = tell_go.send(go);
            let mut tell_restart = Some(tell_restart);
            while let Some(message) = read_message(&mut channel) {
                match message {
                    MSG_RESTART => _ = tell_restart.take().map(|tell| tell.send(())),
                    // Release: pairs with the acquire in `has_left`.
                    MSG_SOLE_OWNER => has_left.store(true, Ordering::Release),
                    _ => {}
                }
            }
        })?;
        Ok(Predecessor {
            go,
            restart: Some(restart),
            left,
        })
    }

    /// Waits until it is known whether this process serves.
    pub(crate) fn poll_go(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        Pin::new(&mut self.go).poll(cx).map(|go| go.unwrap_or(true))
    }

    /// Returns whether the predecessor passes a restart on, once.
    pub(crate) fn poll_restart(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(restart) = &mut self.restart else {
            return false;
        };
        let Poll::Ready(passed) = Pin::new(restart).poll(cx) else {
            return false;
        };
        self.restart = None;
        passed.is_ok()
    }

    /// Returns whether it has closed the sockets, and no other process holds
    /// them.
    pub(crate) fn has_left(&self) -> bool {
        // Acquire: pairs with the release in `announce_ready`.
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
