//! What the benches share: measuring in turns, and telling what came of it.

pub mod args;
pub mod host;
pub mod page;
pub mod plot;
pub mod stats;
pub mod stop;
