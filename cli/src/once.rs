//! Something that happens once, and that many wait for.

use smol::channel::{Receiver, Sender, bounded};

/// Happens when its sender is dropped.
#[derive(Clone, Debug)]
pub(crate) struct Once(Receiver<()>);

impl Once {
    pub(crate) fn new() -> (Sender<()>, Once) {
        let (sender, receiver) = bounded(1);
        (sender, Once(receiver))
    }

    pub(crate) async fn wait(&self) {
        // Nothing is ever sent: the error is the event.
        let _ = self.0.recv().await;
    }

    pub(crate) fn happened(&self) -> bool {
        self.0.is_closed()
    }
}
