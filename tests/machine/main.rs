//! The three pure values, by their public interface alone.
//!
//! Each has an alphabet of steps, from which proptest, the fuzzer and the
//! scripts by hand all draw, so that none of them knows a step that the others
//! cannot take; and two oracles:
//!
//! | oracle | says | judges |
//! | --- | --- | --- |
//! | `reference` | what has to come, exactly: a second value, written to be obvious | proptest (`compare`), the fuzz target |
//! | `search` | which clauses hold on every edge between all states that small numbers can reach | the exhaustive search |
//!
//! Beside them stand tests that are named by the clause or the fault that they
//! hold.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that fails panics, as it should"
)]

mod closing;
mod lifecycle;
mod scripts;
mod sweep;

use std::time::Duration;

/// The shortest time.
const NANO: Duration = Duration::from_nanos(1);

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}
