//! The whole server on the simulated machine.

#![cfg(feature = "sim")]
#![allow(
    clippy::unwrap_used,
    reason = "a test that unwraps fails, as it should"
)]

mod alphabet;
mod durations;
mod handlers;
mod property;
mod run;
mod seeds;
mod strategies;
mod world;
