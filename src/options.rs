//! What one listener is asked for beside its address.

use std::fmt;

use crate::address::Address;

/// Options of one listener; see
/// [`Builder::listen_with`](crate::Builder::listen_with).
///
/// What is not set has its default. An option that does not fit the address is
/// refused by [`bind`](crate::Builder::bind).
///
/// ```
/// use lameduck::{ListenOptions, Server, runtimes::smol::Smol};
///
/// let path = std::env::temp_dir().join(format!("options-{}.sock", std::process::id()));
/// let server = Server::builder(Smol)
///     .listen_with("127.0.0.1:0", ListenOptions::new().backlog(128).nodelay(false))
///     .listen_with(path, ListenOptions::new().mode(0o600))
///     .bind()?;
/// # drop(server);
/// let error = Server::builder(Smol)
///     .listen_with("127.0.0.1:0", ListenOptions::new().mode(0o600))
///     .bind()
///     .unwrap_err();
/// assert!(error.to_string().contains("127.0.0.1:0"));
/// # Ok::<(), lameduck::BindError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListenOptions {
    /// See [`ListenOptions::backlog`](fn@ListenOptions::backlog).
    pub backlog: Option<i32>,
    /// See [`ListenOptions::nodelay`](fn@ListenOptions::nodelay).
    pub nodelay: Option<bool>,
    /// See [`ListenOptions::v6only`](fn@ListenOptions::v6only).
    pub v6only: Option<bool>,
    /// See [`ListenOptions::mode`](fn@ListenOptions::mode).
    pub mode: Option<u32>,
    /// See [`ListenOptions::owner`](fn@ListenOptions::owner).
    pub owner: Option<u32>,
    /// See [`ListenOptions::group`](fn@ListenOptions::group).
    pub group: Option<u32>,
}

/// The backlog of a listener that says nothing else.
pub(crate) const BACKLOG: i32 = 4096;

impl ListenOptions {
    /// Creates options that are all at their defaults.
    pub fn new() -> ListenOptions {
        ListenOptions::default()
    }

    /// Sets the number of connections that the accept queue holds; -1 is the
    /// system's maximum. The system may hold less (`net.core.somaxconn`).
    /// Default: [`Builder::backlog`](crate::Builder::backlog).
    pub fn backlog(mut self, backlog: i32) -> Self {
        self.backlog = Some(backlog);
        self
    }

    /// Sets whether small writes are sent at once (`TCP_NODELAY`), rather than
    /// put together while an acknowledgement is awaited. Default:
    /// [`Builder::nodelay`](crate::Builder::nodelay).
    pub fn nodelay(mut self, nodelay: bool) -> Self {
        self.nodelay = Some(nodelay);
        self
    }

    /// Sets whether an IPv6 address takes IPv6 connections only
    /// (`IPV6_V6ONLY`).
    ///
    /// Default: `[::]` takes those of IPv4 as well, as the system is set
    /// (`net.ipv6.bindv6only`), unless the same server listens on an IPv4
    /// address with the same port, which would not be possible then.
    pub fn v6only(mut self, v6only: bool) -> Self {
        self.v6only = Some(v6only);
        self
    }

    /// Sets the permissions of a Unix socket's path, such as `0o660`: every user who
    /// may write may connect. They hold before the first client can connect.
    /// Default: what the process's umask leaves.
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = Some(mode);
        self
    }

    /// Sets the owner of a Unix socket's path, by user id. It takes a
    /// privilege. Default: the user of the process.
    pub fn owner(mut self, user_id: u32) -> Self {
        self.owner = Some(user_id);
        self
    }

    /// Sets the group of a Unix socket's path, by group id: one that the user
    /// is in, or any with a privilege. Default: the group of the process.
    pub fn group(mut self, group_id: u32) -> Self {
        self.group = Some(group_id);
        self
    }

    /// Returns why the options do not fit the address, if they do not.
    pub(crate) fn misfit(&self, address: &Address) -> Option<Misfit> {
        let has_path = matches!(address, Address::Unix(Some(_)));
        let is_v6 = matches!(address, Address::Tcp(address) if address.is_ipv6());
        let has_mode = self.mode.is_some() || self.owner.is_some() || self.group.is_some();
        if has_mode && !has_path {
            Some(Misfit::ModeWithoutPath)
        } else if self.mode.is_some_and(|mode| mode > 0o777) {
            Some(Misfit::Mode)
        } else if self.v6only.is_some() && !is_v6 {
            Some(Misfit::V6OnlyWithoutV6)
        } else if self.nodelay.is_some() && !matches!(address, Address::Tcp(_)) {
            Some(Misfit::NoDelayWithoutTcp)
        } else if self.backlog.is_some_and(|backlog| backlog < -1) {
            Some(Misfit::Backlog)
        } else {
            None
        }
    }

    pub(crate) fn backlog_or_default(&self) -> i32 {
        self.backlog.unwrap_or(BACKLOG)
    }

    #[cfg(feature = "parts")]
    pub(crate) fn nodelay_or_default(&self) -> bool {
        self.nodelay.unwrap_or(true)
    }
}

/// Why options do not fit an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Misfit {
    ModeWithoutPath,
    Mode,
    V6OnlyWithoutV6,
    NoDelayWithoutTcp,
    Backlog,
    /// An IPv4 address with the same port, which `v6only(false)` covers.
    V4Beside,
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Misfit::ModeWithoutPath => {
                "a mode, an owner or a group is for the path of a Unix socket: leave it out"
            }
            Misfit::Mode => "a mode has no more bits than 0o777",
            Misfit::V6OnlyWithoutV6 => "v6only is for an IPv6 address: leave it out",
            Misfit::NoDelayWithoutTcp => "nodelay is for TCP: leave it out",
            Misfit::Backlog => {
                "a backlog is a number of connections, or -1 for the system's maximum"
            }
            Misfit::V4Beside => {
                "with v6only(false) it takes the IPv4 connections of this port, which an IPv4 \
                 address is given for as well: leave out one of the two"
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_that_does_not_fit_is_named() {
        let v4: Address = "127.0.0.1:80".parse().unwrap();
        let v6: Address = "[::]:80".parse().unwrap();
        let path: Address = "unix:/run/echo.sock".parse().unwrap();
        let unnamed: Address = "unix:@echo".parse().unwrap();
        let new = ListenOptions::new;
        for (address, options, misfit) in [
            (&v4, new().mode(0o600), Some(Misfit::ModeWithoutPath)),
            (&v6, new().owner(0), Some(Misfit::ModeWithoutPath)),
            (&unnamed, new().group(0), Some(Misfit::ModeWithoutPath)),
            (&path, new().mode(0o1000), Some(Misfit::Mode)),
            (&path, new().mode(0o777).owner(0).group(0), None),
            (&v4, new().v6only(true), Some(Misfit::V6OnlyWithoutV6)),
            (&path, new().v6only(false), Some(Misfit::V6OnlyWithoutV6)),
            (&v6, new().v6only(false), None),
            (&path, new().nodelay(true), Some(Misfit::NoDelayWithoutTcp)),
            (&v4, new().nodelay(false), None),
            (&v4, new().backlog(-2), Some(Misfit::Backlog)),
            (&v4, new().backlog(-1), None),
        ] {
            assert_eq!(options.misfit(address), misfit, "{address} {options:?}");
        }
    }
}
