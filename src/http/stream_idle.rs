//! The idle points of the streams of an HTTP/2 connection.
//!
//! The driver reads the connection in its own task, and hands on what it reads. So
//! the reader of a stream has found nothing where the driver, which had seen the
//! stop, has found nothing more, and the reader has looked after it.

use std::num::NonZeroU32;
use std::task::Context;

use super::state::State;
use crate::connection::{ConnectionFacts, Describe};
use crate::gate::Unused;
use crate::report::Activity;
use crate::sync::plain::Arc;

/// What the handles of one stream look at.
pub(super) struct StreamIdle {
    state: Arc<State>,
    stream: NonZeroU32,
}

impl StreamIdle {
    pub(super) fn new(state: Arc<State>, stream: NonZeroU32) -> StreamIdle {
        StreamIdle { state, stream }
    }
}

impl Describe for StreamIdle {
    fn facts(&self) -> &ConnectionFacts {
        self.state.origin.facts()
    }

    fn begin_look(&self, is_draining: bool, cx: &Context<'_>) -> bool {
        is_draining && self.state.is_between_in(self.stream, cx)
    }

    fn has_found_nothing(&self, was_handed_on: bool) -> bool {
        was_handed_on
    }

    fn has_input_ended(&self) -> bool {
        self.state.has_peer_ended(self.stream)
    }

    fn is_held_back(&self) -> bool {
        self.state.is_held_back()
    }

    // Both are the driver's to say, for all of its streams.
    fn set_activity(&self, _: Activity) {}

    fn set_drained(&self) {}

    fn set_label(&self, label: String) {
        self.state.origin.connection().set_label(label);
    }

    fn label(&self) -> Option<String> {
        self.state.origin.connection().label()
    }

    fn unused(&self) -> Unused {
        self.state.origin.connection().unused()
    }

    fn set_unused(&self, unused: Unused) {
        self.state.origin.connection().set_unused(unused);
    }
}
