//! The tool `lameduck`, as people run it.

#![allow(
    clippy::unwrap_used,
    reason = "a test that unwraps fails, as it should"
)]

mod compared;
mod docs;
mod example;
mod interrupted;
mod refused;
mod served;
mod support;
