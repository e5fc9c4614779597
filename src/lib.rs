//! x
mod address;
mod cause;
mod connection;
pub mod gate;
pub mod machine;
pub mod report;
#[path = "../runtimes/mod.rs"]
pub mod runtimes;
pub mod server;
mod sync;
pub mod traits;
pub use address::{Address, AddressError};
pub use cause::{Cause, Signal};
pub use connection::{Session, SessionRead};
pub use gate::{Guard, Phase, Reached, ReadOrDrain, Refused, Shutdown};
pub use report::Report;
pub use server::{BindError, Builder, Linger, Serve, Server};
pub use traits::{Connection, Listener, Runtime, SignalSource};
