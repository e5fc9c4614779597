//! The tool `lameduck`, as people run it.

#![allow(
    clippy::unwrap_used,
    reason = "a test that unwraps fails, as it should"
)]

#[path = "../../../tests/process/example.rs"]
mod example;

mod compared;
mod docs;
mod interrupted;
mod refused;
mod served;
mod support;
