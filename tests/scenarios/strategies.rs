//! The alphabet, for proptest.

use proptest::array::uniform8;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::alphabet::*;

pub(crate) fn setup() -> impl Strategy<Value = Setup> {
    let network = (
        select(&POLL_COSTS[..]),
        select(&LATENCIES[..]),
        select(&SOCKET_BUFFERS[..]),
    );
    let listener = (
        select(&GUARANTEES[..]),
        select(&BACKLOGS[..]),
        mostly_none(select(&LIMITS[..])),
        mostly_none(select(&LIMITS[..])),
    );
    let waits = (select(&WAITS[..]), select(&WAITS[..]), select(&HOOKS[..]));
    let faults = uniform8(any::<bool>()).prop_map(Faults::of);
    let setup = (any::<u64>(), network, listener, waits, faults);
    setup.prop_map(|(seed, network, listener, waits, faults)| Setup {
        seed,
        poll_cost: network.0,
        latency: network.1,
        socket_buffer: network.2,
        guarantee: listener.0,
        backlog: listener.1,
        connection_limit: listener.2,
        descriptor_limit: listener.3,
        lame_duck: waits.0,
        settle: waits.1,
        hook: waits.2,
        faults,
    })
}

/// A limit in every other run.
fn mostly_none(limit: impl Strategy<Value = usize>) -> impl Strategy<Value = usize> {
    (any::<bool>(), limit).prop_map(|(is_set, limit)| if is_set { limit } else { usize::MAX })
}

pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (select(&AFTERS[..]), select(&ACTIONS[..]), 0..CLIENTS);
    let step = step.prop_map(|(after, action, client)| Step {
        after,
        action: action.on(client),
    });
    vec(step, 0..60)
}
