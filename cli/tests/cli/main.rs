//! The tool `lameduck`, as people run it.

#![allow(
    clippy::unwrap_used,
    reason = "a test that unwraps fails, as it should"
)]

mod asked;
mod attached;
mod browser;
mod commands;
mod compared;
mod docs;
mod during;
mod example;
mod file;
mod haproxy;
mod interrupted;
mod launched;
mod manual;
mod pages;
mod ready;
mod refused;
mod results;
mod served;
mod slow_reader;
mod support;
mod web;
