//! One direction of a connection: the sender's kernel, the wire, the
//! receiver's buffer.

use std::collections::VecDeque;
use std::task::Waker;
use std::time::Duration;

#[derive(Debug)]
pub(crate) struct Pipe {
    /// The size of the receiver's buffer, and the most that the sender may have
    /// under way.
    capacity: usize,
    /// The bytes on the wire, and those that wait for room.
    under_way: VecDeque<u8>,
    /// The number of them that have arrived, and wait for room.
    waiting: usize,
    buffer: VecDeque<u8>,
    /// Whether the sender has ended its side.
    pub(crate) ended: bool,
    /// Whether that end has arrived at the receiver's kernel.
    end_has_arrived: bool,
    /// Whether a reset has destroyed what was under way.
    pub(crate) is_cut: bool,
    /// Whether a rule lost a segment, so that nothing more arrives.
    pub(crate) is_stalled: bool,
    /// Whether the receiver has been told of a reset.
    pub(crate) is_reset: bool,
    /// The time when the last segment arrives: they keep their order.
    pub(crate) last_at: Duration,
    pub(crate) reader: Option<Waker>,
    pub(crate) writer: Option<Waker>,
    /// The number of bytes that the sender wrote.
    pub(crate) written: u64,
    /// The number of bytes that arrived in the receiver's buffer.
    pub(crate) arrived: u64,
}

/// What a read finds.
pub(crate) enum Found {
    Bytes(usize),
    End,
    Reset,
    Nothing,
}

impl Pipe {
    pub(crate) fn new(capacity: usize) -> Pipe {
        Pipe {
            capacity,
            under_way: VecDeque::new(),
            waiting: 0,
            buffer: VecDeque::new(),
            ended: false,
            end_has_arrived: false,
            is_cut: false,
            is_stalled: false,
            is_reset: false,
            last_at: Duration::ZERO,
            reader: None,
            writer: None,
            written: 0,
            arrived: 0,
        }
    }

    /// Takes the bytes that there is room for, and returns their number.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> usize {
        let room = self.capacity.saturating_sub(self.under_way.len());
        let n = bytes.len().min(room);
        self.under_way.extend(&bytes[..n]);
        self.written += n as u64;
        n
    }

    /// `n` bytes arrive at the receiver's kernel.
    pub(crate) fn arrive(&mut self, n: usize) {
        if !self.is_cut {
            self.waiting += n;
            self.pump();
        }
    }

    /// Moves what waits into the buffer, as far as there is room.
    fn pump(&mut self) {
        let room = self.capacity.saturating_sub(self.buffer.len());
        let n = self.waiting.min(room);
        self.buffer.extend(self.under_way.drain(..n));
        self.waiting -= n;
        self.arrived += n as u64;
        if n > 0 {
            wake(&mut self.reader);
            // Acknowledged: the sender has room.
            wake(&mut self.writer);
        }
    }

    pub(crate) fn end_arrives(&mut self) {
        self.end_has_arrived = true;
        wake(&mut self.reader);
    }

    pub(crate) fn read(&mut self, into: &mut [u8]) -> Found {
        if !self.buffer.is_empty() {
            let n = into.len().min(self.buffer.len());
            for (to, byte) in into.iter_mut().zip(self.buffer.drain(..n)) {
                *to = byte;
            }
            self.pump();
            return Found::Bytes(n);
        }
        if self.is_reset {
            return Found::Reset;
        }
        if self.is_at_end() {
            Found::End
        } else {
            Found::Nothing
        }
    }

    /// Returns whether the end has arrived, and nothing waits before it.
    pub(crate) fn is_at_end(&self) -> bool {
        self.end_has_arrived && self.waiting == 0
    }

    pub(crate) fn has_unread(&self) -> bool {
        !self.buffer.is_empty() || self.waiting > 0
    }

    /// Returns the number of bytes that have arrived, also those that wait for room.
    pub(crate) fn readable(&self) -> u64 {
        (self.buffer.len() + self.waiting) as u64
    }

    /// Returns the number of bytes that the receiver's kernel has not taken; the
    /// end counts as one. After a reset there is nothing left for it to take.
    pub(crate) fn unacknowledged(&self) -> u64 {
        let end = self.ended && !self.end_has_arrived && !self.is_cut;
        self.under_way.len() as u64 + u64::from(end)
    }

    /// Destroys what is under way.
    pub(crate) fn cut(&mut self) {
        self.is_cut = true;
        self.under_way.clear();
        self.waiting = 0;
        wake(&mut self.writer);
    }

    /// The receiver learns of a reset.
    pub(crate) fn reset(&mut self) {
        self.is_reset = true;
        wake(&mut self.reader);
        wake(&mut self.writer);
    }
}

pub(crate) fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}
