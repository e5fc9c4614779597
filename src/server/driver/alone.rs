//! The driver's part in a hand-over, without the feature: there is nobody
//! before it and nobody after it.

use std::task::Context;

use super::Serve;
use crate::cause::Signal;
use crate::server::accept::Origin;
use crate::traits::{Holders, Runtime};

/// What a server knows of those before and after it: nothing.
#[derive(Debug)]
pub(in crate::server) struct Handover;

impl Handover {
    pub(super) fn is_our_turn(&self) -> bool {
        true
    }

    pub(super) fn is_handed_over(&self) -> bool {
        false
    }

    pub(super) fn holders(&self, _: usize, origin: Origin) -> Holders {
        match origin {
            Origin::Bound => Holders::Alone,
            Origin::Adopted => Holders::Others,
        }
    }

    pub(super) fn call_off(&mut self) {}

    pub(super) fn leave(&mut self, _: impl Iterator<Item = Origin>) {}
}

impl<R: Runtime, H> Serve<R, H> {
    pub(super) fn may_begin(&mut self) -> bool {
        true
    }

    pub(super) fn is_restart(&mut self, _: Signal) -> bool {
        false
    }

    pub(super) fn poll_handover(&mut self, _: &mut Context<'_>) -> bool {
        false
    }
}
