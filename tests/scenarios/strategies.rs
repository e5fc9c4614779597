//! The alphabet, for proptest.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::alphabet::*;

pub(crate) fn setup() -> impl Strategy<Value = Setup> {
    let network = (
        select(&TURNS[..]),
        select(&LATENCIES[..]),
        select(&BUFFERS[..]),
    );
    let listener = (
        select(&GUARANTEES[..]),
        select(&BACKLOGS[..]),
        select(&LIMITS[..]),
    );
    let waits = (select(&WAITS[..]), select(&WAITS[..]), select(&WAITS[..]));
    let setup = (any::<u64>(), network, listener, waits, faults());
    setup.prop_map(|(seed, network, listener, waits, faults)| Setup {
        seed,
        turn: network.0,
        latency: network.1,
        buffers: network.2,
        guarantee: listener.0,
        backlog: listener.1,
        limit: listener.2,
        notice: waits.0,
        settle: waits.1,
        hook: waits.2,
        faults,
    })
}

fn faults() -> impl Strategy<Value = Faults> {
    let faults = any::<[bool; 5]>();
    faults.prop_map(
        |[
            accepts_fail,
            slow_segments,
            late_ticks,
            odd_wakes,
            odd_signals,
        ]| Faults {
            accepts_fail,
            slow_segments,
            late_ticks,
            odd_wakes,
            odd_signals,
        },
    )
}

pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (select(&AFTERS[..]), 0..ACTS, 0..CLIENTS);
    let step = step.prop_map(|(after, number, client)| Step {
        after,
        act: act(number, client),
    });
    vec(step, 0..60)
}
