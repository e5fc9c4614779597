//! Something that happens once, and that many wait for.

use smol::channel::{Receiver, Sender, bounded};

/// Happens when its sender is dropped.
#[derive(Clone, Debug)]
pub(crate) struct Latch(Receiver<()>);

impl Latch {
    pub(crate) fn new() -> (Sender<()>, Latch) {
        let (sender, receiver) = bounded(1);
        (sender, Latch(receiver))
    }

    pub(crate) async fn wait(&self) {
        // Nothing is ever sent: the error is the event.
        let _ = self.0.recv().await;
    }

    pub(crate) fn happened(&self) -> bool {
        self.0.is_closed()
    }
}
