//! Ctrl-C and SIGTERM for the tool itself.

use async_signal::{Signal, Signals};
use smol::future::FutureExt;
use smol::stream::StreamExt;

use crate::setup::Failure;

pub(crate) const SERVER_STOPPED: &str =
    "interrupted; the server was stopped, and nothing of it is left";

pub(crate) const COMMAND_STOPPED: &str =
    "interrupted; its command was told to stop, if it was running";

/// Runs the work; on a signal it is dropped, and every server with it.
///
/// # Errors
///
/// Those of the work, and one that says `farewell` on a signal.
pub(crate) async fn interruptible<T>(
    farewell: &str,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let signals = Signals::new([Signal::Int, Signal::Term, Signal::Hup]);
    let mut signals =
        signals.map_err(|error| Failure::Other(format!("cannot catch signals: {error}")))?;
    let interrupted = async {
        match signals.next().await {
            Some(Ok(_)) => Err(Failure::Other(farewell.to_owned())),
            _ => std::future::pending().await,
        }
    };
    work.or(interrupted).await
}
