//! The driver's part in a hand-over, without the feature: no process comes
//! before it, and none after it.

use std::task::Context;

use super::Serve;
use crate::rt::{Runtime, SocketSharing};
use crate::server::listener::Origin;
use crate::signal::Signal;

/// The processes before and after a server: there are none.
#[derive(Debug)]
pub(in crate::server) struct Handover;

impl Handover {
    pub(super) fn is_serving(&self) -> bool {
        true
    }

    pub(super) fn is_waiting(&self) -> bool {
        false
    }

    pub(super) fn is_handed_over(&self) -> bool {
        false
    }

    pub(super) fn sharing(&self, _: usize, origin: &Origin) -> SocketSharing {
        match origin {
            Origin::Bound => SocketSharing::Exclusive,
            Origin::Adopted => SocketSharing::Shared,
        }
    }

    pub(super) fn cancel(&mut self) {}

    pub(super) fn notify_sole_owner<'a>(&mut self, _: impl Iterator<Item = &'a Origin>) {}
}

impl<R: Runtime, H> Serve<R, H> {
    pub(super) fn may_serve(&mut self) -> bool {
        true
    }

    pub(super) fn is_restart(&mut self, _: Signal) -> bool {
        false
    }

    pub(super) fn poll_handover(&mut self, _: &mut Context<'_>) -> bool {
        false
    }
}
