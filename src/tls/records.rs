//! The transport below rustls: it follows the heads of records, and asks the
//! system where that is needed.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_io::{AsyncRead, AsyncWrite, IoSlice};

use crate::frames::Follow;
use crate::rt::Connection;
use crate::sync::plain::{Arc, AtomicBool, Ordering};
use crate::tls_records::{self, HEAD, TlsRecords};

/// What a connection and the transport below its rustls tell each other. Both
/// are polled in one task, one within the other: all orderings are relaxed.
#[derive(Debug, Default)]
pub(super) struct Flags {
    /// A read is to ask the system.
    asks_now: AtomicBool,
    /// The system was asked, and had nothing.
    found_nothing: AtomicBool,
    /// Half of a record has come.
    is_mid_record: AtomicBool,
}

impl Flags {
    pub(super) fn begin_asking(&self) {
        self.asks_now.store(true, Ordering::Relaxed);
        self.found_nothing.store(false, Ordering::Relaxed);
    }

    /// Returns whether the system was asked since, and had nothing.
    pub(super) fn end_asking(&self) -> bool {
        self.asks_now.store(false, Ordering::Relaxed);
        self.found_nothing.load(Ordering::Relaxed)
    }

    pub(super) fn asks_now(&self) -> bool {
        self.asks_now.load(Ordering::Relaxed)
    }

    /// Notes that the system was asked, and had nothing.
    pub(super) fn note_nothing(&self) {
        self.found_nothing.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_mid_record(&self) -> bool {
        self.is_mid_record.load(Ordering::Relaxed)
    }
}

/// The transport below rustls.
#[derive(Debug)]
pub(super) struct Records<C> {
    connection: C,
    records: TlsRecords,
    flags: Arc<Flags>,
    /// What was read before rustls was.
    first: [u8; HEAD],
    first_len: usize,
    /// An alert that the system had no room for just then.
    unsent: Vec<u8>,
}

/// The longest that an alert is in its record, encrypted.
const ALERT_MAX: usize = 64;

impl<C> Records<C> {
    pub(super) fn new(connection: C, first: &[u8], flags: Arc<Flags>) -> Records<C> {
        let mut records = Records {
            connection,
            records: tls_records::follow(),
            flags,
            first: [0; HEAD],
            first_len: first.len().min(HEAD),
            unsent: Vec::new(),
        };
        records.first[..records.first_len].copy_from_slice(&first[..records.first_len]);
        records
    }

    pub(super) fn connection(&self) -> &C {
        &self.connection
    }

    pub(super) fn connection_mut(&mut self) -> &mut C {
        &mut self.connection
    }

    /// Returns the connection, and what is to be sent on it first.
    pub(super) fn into_parts(self) -> (C, Vec<u8>) {
        (self.connection, self.unsent)
    }

    fn note(&mut self, bytes: &[u8]) {
        self.records.push(bytes);
        let is_mid_record = self.records.is_mid_frame();
        self.flags
            .is_mid_record
            .store(is_mid_record, Ordering::Relaxed);
        self.flags.found_nothing.store(false, Ordering::Relaxed);
    }
}

impl<C: Connection> AsyncRead for Records<C> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let n = if this.first_len > 0 {
            let n = this.first_len.min(buffer.len());
            buffer[..n].copy_from_slice(&this.first[..n]);
            this.first.copy_within(n..this.first_len, 0);
            this.first_len -= n;
            n
        } else if this.flags.asks_now() {
            match ready!(this.connection.poll_read_now(cx, buffer))? {
                Some(n) => n,
                None => {
                    this.flags.note_nothing();
                    return Poll::Pending;
                }
            }
        } else {
            ready!(Pin::new(&mut this.connection).poll_read(cx, buffer))?
        };
        this.note(&buffer[..n]);
        Poll::Ready(Ok(n))
    }
}

/// Writes all of `bytes`.
pub(super) fn poll_write_all<C: Connection>(
    connection: &mut C,
    bytes: &mut Vec<u8>,
    cx: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    while !bytes.is_empty() {
        let n = ready!(Pin::new(&mut *connection).poll_write(cx, bytes))?;
        if n == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        bytes.drain(..n);
    }
    Poll::Ready(Ok(()))
}

impl<C: Connection> Records<C> {
    /// Keeps an alert that the system has no room for, or does not know that it
    /// has: rustls tries to send it once, and then gives up the connection.
    fn keep(&mut self, bytes: &[u8]) -> Poll<io::Result<usize>> {
        const ALERT: u8 = 21;
        if bytes.first() != Some(&ALERT) || bytes.len() > ALERT_MAX {
            return Poll::Pending;
        }
        self.unsent.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }
}

impl<C: Connection> AsyncWrite for Records<C> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        ready!(poll_write_all(&mut this.connection, &mut this.unsent, cx))?;
        match Pin::new(&mut this.connection).poll_write(cx, bytes) {
            Poll::Pending => this.keep(bytes),
            written => written,
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        ready!(poll_write_all(&mut this.connection, &mut this.unsent, cx))?;
        match Pin::new(&mut this.connection).poll_write_vectored(cx, buffers) {
            Poll::Pending => match buffers {
                [bytes] => this.keep(bytes),
                _ => Poll::Pending,
            },
            written => written,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        ready!(poll_write_all(&mut this.connection, &mut this.unsent, cx))?;
        Pin::new(&mut this.connection).poll_flush(cx)
    }

    /// The half-close is the server's: here only close_notify is sent.
    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}
