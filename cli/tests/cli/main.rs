//! The tool `lameduck`, as people run it.

#![allow(
    clippy::unwrap_used,
    reason = "a test that unwraps fails, as it should"
)]

mod asked;
mod compared;
mod docs;
mod example;
mod interrupted;
mod launched;
mod refused;
mod served;
mod support;
