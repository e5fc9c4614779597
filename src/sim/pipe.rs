//! One direction of a connection: the sender's kernel, the wire, the
//! receiver's buffer.

use std::collections::VecDeque;
use std::task::Waker;
use std::time::Duration;

#[derive(Debug)]
pub(crate) struct Pipe {
    /// Of the receiver's buffer, and of what the sender may have under way.
    capacity: usize,
    /// On the wire, or waiting for room.
    under_way: VecDeque<u8>,
    /// How much of it has come, and waits for room.
    waiting: usize,
    buffer: VecDeque<u8>,
    /// The sender has ended its side.
    pub(crate) ended: bool,
    /// That has come to the receiver's kernel.
    end_has_come: bool,
    /// A reset has destroyed what was under way.
    pub(crate) is_cut: bool,
    /// A rule lost a segment, so nothing comes any more.
    pub(crate) is_stalled: bool,
    /// The receiver has been told of a reset.
    pub(crate) is_reset: bool,
    /// When the last segment comes: they keep their order.
    pub(crate) last_at: Duration,
    pub(crate) reader: Option<Waker>,
    pub(crate) writer: Option<Waker>,
    /// Bytes that the sender wrote, that came into the receiver's buffer, and
    /// that were read from it.
    pub(crate) written: u64,
    pub(crate) arrived: u64,
    pub(crate) read: u64,
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
            end_has_come: false,
            is_cut: false,
            is_stalled: false,
            is_reset: false,
            last_at: Duration::ZERO,
            reader: None,
            writer: None,
            written: 0,
            arrived: 0,
            read: 0,
        }
    }

    /// Takes what there is room for.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> usize {
        let room = self.capacity.saturating_sub(self.under_way.len());
        let n = bytes.len().min(room);
        self.under_way.extend(&bytes[..n]);
        self.written += n as u64;
        n
    }

    /// `n` bytes come to the receiver; gives how many found room.
    pub(crate) fn arrive(&mut self, n: usize) -> usize {
        if self.is_cut {
            return 0;
        }
        self.waiting += n;
        self.pump()
    }

    /// Moves what waits into the buffer, as far as there is room.
    fn pump(&mut self) -> usize {
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
        n
    }

    pub(crate) fn end_arrives(&mut self) {
        self.end_has_come = true;
        wake(&mut self.reader);
    }

    pub(crate) fn read(&mut self, into: &mut [u8]) -> Found {
        if !self.buffer.is_empty() {
            let n = into.len().min(self.buffer.len());
            for (to, byte) in into.iter_mut().zip(self.buffer.drain(..n)) {
                *to = byte;
            }
            self.read += n as u64;
            self.pump();
            return Found::Bytes(n);
        }
        if self.is_reset {
            return Found::Reset;
        }
        match self.is_at_end() {
            true => Found::End,
            false => Found::Nothing,
        }
    }

    /// The end has come, and nothing waits before it.
    pub(crate) fn is_at_end(&self) -> bool {
        self.end_has_come && self.waiting == 0
    }

    pub(crate) fn has_unread(&self) -> bool {
        !self.buffer.is_empty() || self.waiting > 0
    }

    /// What the receiver's kernel has not taken; the end counts as one. After a
    /// reset there is nothing left that it could take.
    pub(crate) fn unacknowledged(&self) -> u64 {
        let end = self.ended && !self.end_has_come && !self.is_cut;
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
