//! The idle point of a stream of HTTP/2 that is a connection of its own, such as a
//! WebSocket (RFC 8441).
//!
//! The driver reads the connection in its own task, and hands on what it reads. So
//! the reader of the stream has found nothing where the driver, which had seen the
//! stop, has found nothing more, and the reader has looked after it.

use std::task::Context;

use super::state::State;
use crate::connection::{ConnectionFacts, Describe};
use crate::report::Activity;
use crate::sync::plain::Arc;

/// What a handle on such a stream looks at.
pub(super) struct Tunnel {
    state: Arc<State>,
    stream: u32,
}

impl Tunnel {
    pub(super) fn new(state: Arc<State>, stream: u32) -> Tunnel {
        Tunnel { state, stream }
    }
}

impl Describe for Tunnel {
    fn facts(&self) -> &ConnectionFacts {
        self.state.info.facts()
    }

    // Asked before the work is polled: what the driver reads after that had not
    // arrived at the stop, and begins no message that had.
    fn begin_look(&self, cx: &Context<'_>) -> bool {
        self.state.is_between_in(self.stream, cx)
    }

    fn has_found_nothing(&self, was_between: bool) -> bool {
        was_between
    }

    // Both are the driver's to say, for all of its streams.
    fn set_activity(&self, _: Activity) {}

    fn set_drained(&self) {}
}
