//! x
mod cause;
pub mod gate;
pub mod machine;
mod sync;
pub use cause::{Cause, Signal};
pub use gate::{Guard, Phase, Reached, ReadOrDrain, Refused, Shutdown};
