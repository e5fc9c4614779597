//! A runtime whose listeners accept connections that speak TLS.

use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll};
use std::time::Instant;

use super::config::TlsConfig;
use super::connection::TlsConnection;
use crate::address::Address;
use crate::options::ListenOptions;
use crate::rt::{CloseGuarantee, ConnectionOf, Listener, Runtime, Socket, SocketSharing};
use crate::signal::Signal;

/// A runtime whose listeners accept connections that speak TLS; see the
/// [module](crate::tls).
#[derive(Clone, Debug)]
pub struct Tls<R> {
    runtime: R,
    /// `None` for listeners that speak no TLS.
    config: Option<TlsConfig>,
}

impl<R: Runtime> Tls<R> {
    /// Wraps a runtime.
    pub fn new(runtime: R, config: TlsConfig) -> Tls<R> {
        Tls {
            runtime,
            config: Some(config),
        }
    }

    /// Returns the runtime for listeners that speak no TLS.
    pub(crate) fn plain(&self) -> Tls<R> {
        Tls {
            runtime: self.runtime.clone(),
            config: None,
        }
    }

    /// Returns the runtime for listeners with another configuration.
    pub(crate) fn with_config(&self, config: TlsConfig) -> Tls<R> {
        Tls::new(self.runtime.clone(), config)
    }

    fn wrap(&self, listener: R::Listener) -> TlsListener<R> {
        TlsListener {
            listener,
            runtime: self.runtime.clone(),
            config: self.config.clone(),
        }
    }
}

impl<R: Runtime> Runtime for Tls<R> {
    type Listener = TlsListener<R>;
    type Signals = R::Signals;
    type Sleep = R::Sleep;

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(task);
    }

    fn now(&self) -> Instant {
        self.runtime.now()
    }

    fn sleep_until(&self, at: Instant) -> R::Sleep {
        self.runtime.sleep_until(at)
    }

    fn yield_now(&self, cx: &mut Context<'_>) {
        self.runtime.yield_now(cx);
    }

    fn bind(&self, address: &Address, options: &ListenOptions) -> io::Result<TlsListener<R>> {
        Ok(self.wrap(self.runtime.bind(address, options)?))
    }

    fn adopt(&self, socket: Socket, options: &ListenOptions) -> io::Result<TlsListener<R>> {
        Ok(self.wrap(self.runtime.adopt(socket, options)?))
    }

    fn signals(&self, signals: &[Signal]) -> io::Result<R::Signals> {
        self.runtime.signals(signals)
    }
}

/// A listener of [`Tls`].
#[derive(Debug)]
pub struct TlsListener<R: Runtime> {
    listener: R::Listener,
    runtime: R,
    config: Option<TlsConfig>,
}

impl<R: Runtime> TlsListener<R> {
    fn connection(&self, accepted: ConnectionOf<R>) -> TlsConnection<R, ConnectionOf<R>> {
        match &self.config {
            None => TlsConnection::plain(accepted),
            Some(config) => {
                TlsConnection::accepted(accepted, self.runtime.clone(), config.clone())
            }
        }
    }
}

impl<R: Runtime> Listener for TlsListener<R> {
    type Connection = TlsConnection<R, ConnectionOf<R>>;

    fn local_addr(&self) -> &Address {
        self.listener.local_addr()
    }

    fn poll_accept(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<(Self::Connection, Address)>> {
        let accepted = self.listener.poll_accept(cx);
        accepted.map_ok(|(connection, peer)| (self.connection(connection), peer))
    }

    fn poll_taken(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<(Self::Connection, Address)>> {
        let taken = self.listener.poll_taken(cx);
        taken.map(|taken| {
            let (connection, peer) = taken?;
            Some((self.connection(connection), peer))
        })
    }

    fn stop_accepting(&mut self, sharing: SocketSharing) -> CloseGuarantee {
        self.listener.stop_accepting(sharing)
    }

    fn handshakes(listeners: &[&Self]) -> Vec<Option<usize>> {
        let inner: Vec<_> = listeners.iter().map(|wrapped| &wrapped.listener).collect();
        R::Listener::handshakes(&inner)
    }

    fn queue_limit(&self) -> Option<u64> {
        self.listener.queue_limit()
    }

    fn share(&self) -> io::Result<OwnedFd> {
        self.listener.share()
    }

    fn close(self) -> io::Result<()> {
        self.listener.close()
    }
}
