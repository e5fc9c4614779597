//! The documents, the code and the tests agree with each other: every clause
//! and fault is tested, every number that is cited is defined, every setting is
//! described, and every link leads somewhere.

#![allow(
    clippy::unwrap_used,
    reason = "a test that unwraps fails, as it should"
)]

mod files;
mod links;
mod numbers;
mod sections;
mod settings;
