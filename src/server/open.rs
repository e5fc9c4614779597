//! Opens the listeners of a server: all of them, or none.

use std::io;

use super::BindError;
use super::driver::Handover;
use super::listener::{ListenerTask, Origin};
use crate::address::{Address, AddressError};
#[cfg(feature = "handover")]
use crate::handover::{Inherited, PassedFd, Restart};
use crate::machine::sweep;
use crate::options::{ListenOptions, Misfit};
use crate::rt::{Listener, Runtime, Socket};

/// What a listener is made of.
pub(super) enum Source {
    Address(Result<Address, AddressError>, ListenOptions),
    Socket(Socket),
    /// What was passed on by this name.
    #[cfg(feature = "handover")]
    Named(String),
}

/// A listener to be: what it is made of, and the runtime that opens it, where
/// that is not the server's own.
struct Listening<R> {
    source: Source,
    runtime: Option<R>,
}

/// The sources of all listeners, and what holds for each.
pub(super) struct Sources<R> {
    sources: Vec<Listening<R>>,
    pub(super) backlog: Option<i32>,
    pub(super) nodelay: Option<bool>,
    pub(super) sweep_limit: Option<u64>,
    pub(super) syn_filter: bool,
    #[cfg(feature = "handover")]
    pub(super) socket_activation: bool,
    #[cfg(feature = "handover")]
    pub(super) restart: Option<Restart>,
}

/// The listeners, and what else was passed on.
pub(super) struct Opened<R: Runtime> {
    pub(super) listeners: Vec<ListenerTask<R>>,
    pub(super) handover: Handover,
    #[cfg(feature = "handover")]
    pub(super) passed: Vec<PassedFd>,
}

struct Opening<R: Runtime> {
    runtime: R,
    defaults: ListenOptions,
    sweep_limit: Option<u64>,
    syn_filter: bool,
    opened: Vec<ListenerTask<R>>,
    #[cfg(feature = "handover")]
    inherited: Inherited,
}

impl<R: Runtime> Sources<R> {
    pub(super) fn new() -> Sources<R> {
        Sources {
            sources: Vec::new(),
            backlog: None,
            nodelay: None,
            sweep_limit: None,
            syn_filter: true,
            #[cfg(feature = "handover")]
            socket_activation: false,
            #[cfg(feature = "handover")]
            restart: None,
        }
    }

    /// Adds a listener, which `runtime` opens, or else the server's own.
    pub(super) fn add(&mut self, source: Source, runtime: Option<R>) {
        self.sources.push(Listening { source, runtime });
    }

    /// Checks the options of all addresses.
    pub(super) fn check(&mut self) -> Result<(), BindError> {
        self.separate_families()?;
        for source in &self.sources {
            if let Source::Address(Ok(address), options) = &source.source {
                let mut options = options.clone();
                options.backlog = options.backlog.or(self.backlog);
                if let Some(misfit) = options.misfit(address) {
                    return Err(BindError::Options(address.clone(), misfit.to_string()));
                }
            }
        }
        Ok(())
    }

    /// Where `[::]` and an address of IPv4 have the same port, each takes the
    /// connections of its own family (F62).
    fn separate_families(&mut self) -> Result<(), BindError> {
        let addresses = self
            .sources
            .iter()
            .filter_map(|listening| match &listening.source {
                Source::Address(Ok(Address::Tcp(address)), _) => Some(*address),
                _ => None,
            });
        let addresses: Vec<_> = addresses.collect();
        for Listening { source, .. } in &mut self.sources {
            let Source::Address(Ok(Address::Tcp(address)), options) = source else {
                continue;
            };
            let is_beside_v4 = address.is_ipv6()
                && address.ip().is_unspecified()
                && address.port() != 0
                && addresses
                    .iter()
                    .any(|other| other.is_ipv4() && other.port() == address.port());
            if is_beside_v4 && options.v6only == Some(false) {
                let text = Misfit::V4Beside.to_string();
                return Err(BindError::Options((*address).into(), text));
            }
            if is_beside_v4 {
                options.v6only = Some(true);
            }
        }
        Ok(())
    }

    /// Opens every listener, or none.
    pub(super) fn open(self, runtime: &R) -> Result<Opened<R>, BindError> {
        let mut defaults = ListenOptions::new();
        (defaults.backlog, defaults.nodelay) = (self.backlog, self.nodelay);
        #[cfg(feature = "handover")]
        let inherited = if self.socket_activation || self.restart.is_some() {
            Inherited::from_env().map_err(BindError::Adopt)?
        } else {
            Inherited::default()
        };
        let mut opening = Opening {
            runtime: runtime.clone(),
            defaults,
            sweep_limit: self.sweep_limit,
            syn_filter: self.syn_filter,
            opened: Vec::new(),
            #[cfg(feature = "handover")]
            inherited,
        };
        for Listening {
            source,
            runtime: own,
        } in self.sources
        {
            opening.runtime = own.unwrap_or_else(|| runtime.clone());
            match source {
                Source::Address(address, options) => opening.open(address?, options)?,
                Source::Socket(socket) => opening.adopt(socket, Origin::Adopted)?,
                #[cfg(feature = "handover")]
                Source::Named(name) => opening.take_named(&name)?,
            }
        }
        #[cfg(feature = "handover")]
        if opening.opened.is_empty() {
            opening.runtime = runtime.clone();
            let all = opening.inherited.take_all();
            opening.adopt_all(all)?;
        }
        if opening.opened.is_empty() {
            return Err(BindError::NoAddress);
        }
        #[cfg(feature = "handover")]
        {
            let (channel, passed) = opening.inherited.into_rest();
            Ok(Opened {
                listeners: opening.opened,
                handover: Handover::new(self.restart, channel),
                passed,
            })
        }
        #[cfg(not(feature = "handover"))]
        Ok(Opened {
            listeners: opening.opened,
            handover: Handover,
        })
    }
}

impl<R: Runtime> Opening<R> {
    fn open(&mut self, address: Address, mut options: ListenOptions) -> Result<(), BindError> {
        options.backlog = options.backlog.or(self.defaults.backlog);
        options.nodelay = options.nodelay.or(self.defaults.nodelay);
        #[cfg(feature = "handover")]
        {
            if let Some((name, socket)) = self.inherited.take(&address) {
                return self.adopt_with(socket, Origin::Inherited(name), &options);
            }
            if let Some(taken) = self.inherited.taken_for(&address) {
                log::info!("{address} is served by {taken}, which was passed on");
                return Ok(());
            }
        }
        match self.runtime.bind(&address, &options) {
            Ok(listener) => {
                // One that the runtime does not know is no longer than asked for.
                let asked = u64::try_from(options.backlog_or_default()).ok();
                let limit = asked.map(|backlog| backlog + 1);
                self.add(listener, Origin::Bound, limit);
                Ok(())
            }
            Err(error) => Err(self.explain(address, error)),
        }
    }

    /// Says who has the address, as far as that is known.
    fn explain(&self, address: Address, error: io::Error) -> BindError {
        if error.kind() == io::ErrorKind::AddrInUse {
            if let Some(hint) = self.hint(&address) {
                return BindError::InUse {
                    address,
                    error,
                    hint,
                };
            }
        }
        BindError::Listen(address, error)
    }

    fn hint(&self, address: &Address) -> Option<String> {
        let mut own = self.opened.iter().map(ListenerTask::local_addr);
        let overlap = own.find(|own| {
            *own == address || own.covers(false, address) || address.covers(false, own)
        });
        if let Some(own) = overlap {
            return Some(format!(
                "this server itself listens on {own} already: leave out one of the two"
            ));
        }
        #[cfg(feature = "handover")]
        return self.inherited.hint(address);
        #[cfg(not(feature = "handover"))]
        None
    }

    #[cfg(feature = "handover")]
    fn take_named(&mut self, name: &str) -> Result<(), BindError> {
        let named = self.inherited.take_named(name);
        if named.is_empty() {
            return Err(BindError::NotPassed {
                name: name.to_owned(),
                passed: self.inherited.describe(),
            });
        }
        self.adopt_all(named)
    }

    #[cfg(feature = "handover")]
    fn adopt_all(&mut self, sockets: Vec<(String, Socket)>) -> Result<(), BindError> {
        sockets
            .into_iter()
            .try_for_each(|(name, socket)| self.adopt(socket, Origin::Inherited(name)))
    }

    fn adopt(&mut self, socket: Socket, origin: Origin) -> Result<(), BindError> {
        let options = self.defaults.clone();
        self.adopt_with(socket, origin, &options)
    }

    fn adopt_with(
        &mut self,
        socket: Socket,
        origin: Origin,
        options: &ListenOptions,
    ) -> Result<(), BindError> {
        let local_addr = socket.local_addr().map_err(BindError::Adopt)?;
        let adopted = self.runtime.adopt(socket, options);
        let listener = adopted.map_err(|error| BindError::Listen(local_addr, error))?;
        self.add(listener, origin, None);
        Ok(())
    }

    /// The bound of the sweep is the queue's own, no matter who set it (F52). Where
    /// nobody knows it, the budget of the stop is the bound.
    fn add(&mut self, listener: R::Listener, origin: Origin, asked: Option<u64>) {
        let queue = listener.queue_limit().or(asked).unwrap_or(u64::MAX);
        let config = sweep::Config {
            queue,
            limit: self.sweep_limit,
            ..sweep::Config::default()
        };
        self.opened
            .push(ListenerTask::new(listener, origin, config).with_filter(self.syn_filter));
    }
}

impl From<AddressError> for BindError {
    fn from(error: AddressError) -> BindError {
        BindError::Address(error)
    }
}

#[cfg(test)]
#[cfg(feature = "smol")]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use super::*;
    use crate::machine::sweep::Input;
    use crate::rt::{CloseGuarantee, SocketSharing};
    use crate::runtimes::smol::Smol;

    fn sources(addresses: &[&str], options: &ListenOptions) -> Sources<Smol> {
        let mut sources = Sources::new();
        for text in addresses {
            let address = Address::from(text.parse::<SocketAddr>().unwrap());
            sources.add(Source::Address(Ok(address), options.clone()), None);
        }
        sources
    }

    /// Returns what becomes of IPV6_V6ONLY of the first address.
    fn v6only(addresses: &[&str], options: &ListenOptions) -> Result<Option<bool>, BindError> {
        let mut sources = sources(addresses, options);
        sources.separate_families()?;
        match &sources.sources[0].source {
            Source::Address(_, options) => Ok(options.v6only),
            _ => panic!("it was an address"),
        }
    }

    #[test]
    fn f62_only_what_would_overlap_is_separated() {
        let by_default = ListenOptions::new();
        let v6only = |addresses: &[&str]| v6only(addresses, &by_default).unwrap();
        assert_eq!(v6only(&["[::]:80", "0.0.0.0:80"]), Some(true));
        assert_eq!(v6only(&["[::]:80", "127.0.0.1:80"]), Some(true));
        for other in [
            // Another port, the same family, and ports that the system chooses.
            ["[::]:80", "0.0.0.0:81"],
            ["[::]:80", "[::1]:80"],
            ["[::]:0", "0.0.0.0:0"],
            // It takes no connections of IPv4.
            ["[::1]:80", "0.0.0.0:80"],
            ["0.0.0.0:80", "[::]:80"],
        ] {
            assert_eq!(v6only(&other), None, "{other:?}");
        }
    }

    #[test]
    fn f62_who_insists_on_both_families_is_refused_only_where_they_overlap() {
        let both = ListenOptions::new().v6only(false);
        let refused = |addresses: &[&str]| {
            matches!(v6only(addresses, &both), Err(BindError::Options(_, _)))
        };
        assert!(refused(&["[::]:80", "0.0.0.0:80"]));
        assert!(!refused(&["[::]:80", "0.0.0.0:81"]));
        assert!(!refused(&["[::1]:80", "0.0.0.0:80"]));
        // A check of all looks at this, too.
        let mut sources = sources(&["[::]:80", "0.0.0.0:80"], &both);
        assert!(matches!(sources.check(), Err(BindError::Options(_, _))));
    }
    #[test]
    fn f52_a_sweep_ends_with_as_many_as_the_queue_can_hold_or_were_allowed() {
        let options = ListenOptions::new().backlog(7);
        // A queue holds one more than its backlog.
        for (limit, most) in [(None, 8), (Some(100), 8), (Some(3), 3)] {
            let mut sources = sources(&["127.0.0.1:0"], &options);
            sources.sweep_limit = limit;
            let mut listeners = sources.open(&Smol).ok().unwrap().listeners;
            let listener = &mut listeners[0];
            let now = Duration::ZERO;
            listener.stop_accepting(now, SocketSharing::Shared);
            listener.begin_sweep(now);
            for accepted in 1..=most {
                assert_eq!(listener.report().guarantee, CloseGuarantee::Unswept);
                listener.handle(now, Input::Accepted);
                assert_eq!(listener.report().swept, accepted);
            }
            let is_swept = listener.report().guarantee != CloseGuarantee::Unswept;
            assert_eq!(is_swept, limit != Some(3));
        }
    }
}
