//! A connection whose idle point ends after those of all others
//! ([F94](crate::docs::faults#f94)).

use std::task::{Context, Waker};

use crate::connection::{ConnectionFacts, Describe};
use crate::gate::{Shutdown, Unused};
use crate::report::Activity;
use crate::sync::plain::Arc;

/// What a handle that drains last looks at: its connection. The gate counts it from its
/// making to its drop.
pub(super) struct DrainsLast {
    connection: Arc<dyn Describe>,
    shutdown: Shutdown,
}

impl DrainsLast {
    pub(super) fn new(connection: Arc<dyn Describe>, shutdown: Shutdown) -> DrainsLast {
        shutdown.joins_last(connection.facts().set_drains_last());
        DrainsLast {
            connection,
            shutdown,
        }
    }
}

impl Drop for DrainsLast {
    fn drop(&mut self) {
        self.shutdown.leaves_last();
    }
}

impl Describe for DrainsLast {
    fn facts(&self) -> &ConnectionFacts {
        self.connection.facts()
    }

    fn drains_last(&self) -> bool {
        true
    }

    fn begin_look(&self, is_draining: bool, cx: &Context<'_>) -> bool {
        self.connection.begin_look(is_draining, cx)
    }

    fn has_found_nothing(&self, begun: bool) -> bool {
        self.connection.has_found_nothing(begun)
    }

    fn has_input_ended(&self) -> bool {
        self.connection.has_input_ended()
    }

    fn is_held_back(&self) -> bool {
        self.connection.is_held_back()
    }

    fn set_may_refuse(&self, looking: Option<&Waker>) {
        self.connection.set_may_refuse(looking);
    }

    fn set_activity(&self, activity: Activity) {
        self.connection.set_activity(activity);
    }

    fn set_drained(&self) {
        self.connection.set_drained();
    }

    fn set_label(&self, label: String) {
        self.connection.set_label(label);
    }

    fn label(&self) -> Option<String> {
        self.connection.label()
    }

    fn unused(&self) -> Unused {
        self.connection.unused()
    }

    fn set_unused(&self, unused: Unused) {
        self.connection.set_unused(unused);
    }
}
