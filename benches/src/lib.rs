//! What the benches share: measuring in turns, and telling what came of it.

pub mod args;
pub mod child;
pub mod host;
pub mod http;
pub mod load;
pub mod message;
pub mod operations;
pub mod page;
pub mod plot;
pub mod servers;
pub mod stats;
pub mod turns;
