//! Follows where the messages of a session end, for libraries that read from it and do not
//! say whether they hold a part of one.

use crate::frames::Follow;
use crate::websocket::WebSocket;

/// Follows what is read.
pub(crate) enum Follows {
    Websocket(WebSocket),
    /// Those of a protocol that the program speaks itself.
    Frames(Box<dyn Follow>),
}

impl Follows {
    /// Takes bytes that were read.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        match self {
            Follows::Websocket(websocket) => websocket.push(bytes),
            Follows::Frames(frames) => frames.push(bytes),
        }
    }

    /// Returns whether something has begun that has not ended.
    pub(crate) fn is_mid_message(&self) -> bool {
        match self {
            Follows::Websocket(websocket) => websocket.is_mid_message(),
            Follows::Frames(frames) => frames.is_mid_frame(),
        }
    }
}
