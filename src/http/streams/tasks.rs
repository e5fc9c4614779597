//! What the tasks of the streams of one connection wait for, and leave.

use std::task::Waker;

use crate::http::state::Panic;

/// Most connections have nothing of it while they are open.
#[derive(Default)]
pub(crate) struct Tasks {
    /// The readers that wait until the driver has handed on what had arrived.
    pub(super) readers: Vec<Waker>,
    /// The driver, where it waits for the end of the last request.
    pub(crate) driver: Option<Waker>,
    /// The first panic of a stream.
    pub(crate) panic: Option<Panic>,
}
