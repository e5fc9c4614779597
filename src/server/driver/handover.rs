//! The driver's part in a hand-over: before the first accept, and at the
//! restart.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::task::{Context, Poll};

use log::{error, info, warn};

use super::Serve;
use crate::handover::{PassedFd, Predecessor, Restart, Successor};
use crate::machine::lifecycle::Input;
use crate::rt::{Runtime, SocketSharing};
use crate::server::listener::Origin;
use crate::signal::Signal;

/// The processes before and after a server.
#[derive(Debug)]
pub(in crate::server) struct Handover {
    restart: Option<Restart>,
    /// The channel to the predecessor, and which sockets were taken from it.
    channel: Option<(UnixStream, Vec<bool>)>,
    role: Role,
    successor: Option<Successor>,
    /// What else a successor gets: what the program has taken of that which was passed on.
    kept: Vec<(String, OwnedFd)>,
    /// Which of the listeners the successor serves, once it does.
    handed: Option<Vec<bool>>,
    /// A restart that was asked for while none could begin (F58).
    restart_again: bool,
    /// Whether the process was started in a terminal.
    has_terminal: bool,
}

/// The role of this process.
#[derive(Debug, Default)]
enum Role {
    /// It serves, and no process came before it.
    #[default]
    Serving,
    /// The predecessor serves, until it says otherwise.
    WaitingFor(Predecessor),
    /// The predecessor serves on, for good.
    StandingBy,
    /// It serves, and the predecessor drains.
    ServingAfter(Predecessor),
}

impl Handover {
    pub(in crate::server) fn new(
        restart: Option<Restart>,
        channel: Option<(UnixStream, Vec<bool>)>,
    ) -> Handover {
        Handover {
            restart,
            channel,
            role: Role::Serving,
            successor: None,
            kept: Vec::new(),
            handed: None,
            restart_again: false,
            has_terminal: is_in_terminal(),
        }
    }

    /// Keeps what the program takes, for a successor.
    pub(in crate::server) fn keep(&mut self, passed: &[PassedFd]) {
        if self.restart.is_none() {
            return;
        }
        for passed in passed {
            let name = passed.name().to_owned();
            match passed.duplicate() {
                Ok(descriptor) => self.kept.push((name, descriptor)),
                Err(error) => warn!("a restart cannot pass {name} on: {error}"),
            }
        }
    }

    /// Returns whether the predecessor's word is awaited. A stop waits for it,
    /// too: only then is it known who sweeps the queues (F49).
    pub(super) fn is_waiting(&self) -> bool {
        matches!(self.role, Role::WaitingFor(_))
    }

    pub(super) fn is_serving(&self) -> bool {
        matches!(self.role, Role::Serving | Role::ServingAfter(_))
    }

    /// Returns whether a successor serves: the service stays ready.
    pub(super) fn is_handed_over(&self) -> bool {
        self.handed.is_some()
    }

    /// Returns whether other processes hold the socket of a listener.
    pub(super) fn sharing(&self, id: usize, origin: &Origin) -> SocketSharing {
        let handed = self.handed.as_ref().and_then(|handed| handed.get(id));
        if !self.is_serving() || handed == Some(&true) {
            SocketSharing::HandedOver
        } else if self.is_sole_owner(origin) {
            SocketSharing::Exclusive
        } else {
            SocketSharing::Shared
        }
    }

    /// Returns whether SIGHUP came since the terminal is gone, and the program
    /// does not want a restart then.
    fn terminal_has_hung_up(&self, is_in_terminal: impl FnOnce() -> bool) -> bool {
        let is_wanted = self.restart.as_ref().is_some_and(|r| r.on_terminal_hangup);
        self.has_terminal && !is_wanted && !is_in_terminal()
    }

    /// Returns whether no other process can hold a socket of this origin.
    fn is_sole_owner(&self, origin: &Origin) -> bool {
        match (origin, &self.role) {
            (Origin::Bound, _) => true,
            (Origin::Inherited(_), Role::ServingAfter(predecessor)) => predecessor.has_left(),
            _ => false,
        }
    }

    /// Cancels the start of a successor, since the server stops. What was kept for one is
    /// closed, so that it is when the program closes it, too.
    pub(super) fn cancel(&mut self) {
        self.kept.clear();
        if self.handed.is_none() && self.successor.take().is_some() {
            warn!("the restart is cancelled, since the server stops");
        }
    }

    /// Tells a successor that it is the sole owner of the sockets, if it is:
    /// all listeners are closed.
    pub(super) fn notify_sole_owner<'a>(
        &mut self,
        mut origins: impl Iterator<Item = &'a Origin>,
    ) {
        if let Some(successor) = self.successor.take() {
            if origins.all(|origin| self.is_sole_owner(origin)) {
                successor.notify_sole_owner();
            }
        }
    }
}

/// Returns whether the process has a controlling terminal (tty(4)).
fn is_in_terminal() -> bool {
    std::fs::File::open("/dev/tty").is_ok()
}

impl<R: Runtime, H> Serve<R, H> {
    /// Tells a predecessor that this process is ready; returns false while the
    /// predecessor serves.
    pub(super) fn may_serve(&mut self) -> bool {
        if let Some((channel, taken)) = self.handover.channel.take() {
            info!("ready, and waiting for the predecessor");
            self.handover.role = match Predecessor::announce_ready(channel, &taken) {
                Ok(predecessor) => Role::WaitingFor(predecessor),
                Err(error) => {
                    error!("cannot reach the predecessor, which serves on: {error}");
                    self.stand_by();
                    Role::StandingBy
                }
            };
        }
        self.handover.is_serving()
    }

    fn stand_by(&self) {
        self.shared.shutdown.stop("the predecessor serves on");
    }

    /// Returns whether a signal asks for a restart, and begins it.
    pub(super) fn is_restart(&mut self, signal: Signal) -> bool {
        let restart = self.handover.restart.as_ref();
        if restart.is_none_or(|restart| restart.signal != signal) {
            return false;
        }
        if signal == Signal::Hangup && self.handover.terminal_has_hung_up(is_in_terminal) {
            info!("the terminal has hung up: no restart");
            return false;
        }
        self.restart();
        true
    }

    /// Begins a restart, or keeps it for later where that is possible.
    fn restart(&mut self) {
        let handover = &mut self.handover;
        if let Some(successor) = &mut handover.successor {
            // The successor carries it out, when it serves.
            let passed_on = successor.pass_restart_on();
            handover.restart_again |= !passed_on;
            info!("another restart is under way: this one follows it");
            return;
        }
        if handover.is_waiting() {
            handover.restart_again = true;
            return;
        }
        if !handover.is_serving() || !self.shared.shutdown.is_ready() {
            warn!("no restart: the server stops");
            return;
        }
        if std::process::id() == 1 {
            error!(
                "no restart: this server is process 1, whose end would end its successor; \
                 restart the container, or run the server under an init"
            );
            return;
        }
        let Some(restart) = handover.restart.as_ref() else {
            return;
        };
        let shared = self.listeners.iter().map(|listener| {
            let socket = listener.share()?;
            Ok((listener.name().to_owned(), socket))
        });
        let kept = handover.kept.iter();
        let kept = kept.map(|(name, kept)| Ok((name.clone(), kept.try_clone()?)));
        let started = shared
            .chain(kept)
            .collect::<std::io::Result<Vec<_>>>()
            .and_then(|sockets| Successor::start(restart, sockets));
        match started {
            Ok(successor) => {
                info!("restarting: starting the successor");
                self.handover.successor = Some(successor);
            }
            Err(error) => error!("the restart failed, serving on: {error}"),
        }
    }

    /// Polls the processes before and after this one.
    pub(super) fn poll_handover(&mut self, cx: &mut Context<'_>) -> bool {
        let mut progress = self.poll_predecessor(cx);
        progress |= self.poll_successor(cx);
        progress
    }

    fn poll_predecessor(&mut self, cx: &mut Context<'_>) -> bool {
        if let Role::ServingAfter(predecessor) = &mut self.handover.role {
            let is_passed_on = predecessor.poll_restart(cx);
            let is_due = is_passed_on || std::mem::take(&mut self.handover.restart_again);
            if is_due {
                self.restart();
            }
            return is_due;
        }
        let Role::WaitingFor(predecessor) = &mut self.handover.role else {
            return false;
        };
        let Poll::Ready(go) = predecessor.poll_go(cx) else {
            return false;
        };
        match (go, std::mem::take(&mut self.handover.role)) {
            (true, Role::WaitingFor(predecessor)) => {
                info!("the predecessor has handed over");
                self.handover.role = Role::ServingAfter(predecessor);
            }
            _ => {
                self.handover.role = Role::StandingBy;
                self.stand_by();
            }
        }
        true
    }

    fn poll_successor(&mut self, cx: &mut Context<'_>) -> bool {
        let Handover {
            successor, handed, ..
        } = &mut self.handover;
        let (Some(starting), None) = (successor.as_mut(), &handed) else {
            return false;
        };
        let Poll::Ready(answer) = starting.poll_answer(cx) else {
            return false;
        };
        let told = answer.and_then(|taken| match starting.go() {
            Ok(()) => Ok(taken),
            Err(error) => Err(format!("it went away: {error}")),
        });
        match told {
            Ok(taken) => {
                *handed = Some(taken);
                if std::mem::take(&mut self.handover.restart_again) {
                    self.restart();
                }
                self.feed(Input::HandedOver);
            }
            Err(why) => {
                error!("the restart failed, serving on: {why}");
                *successor = None;
                if std::mem::take(&mut self.handover.restart_again) {
                    self.restart();
                }
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handover(restart: Restart) -> Handover {
        Handover::new(Some(restart), None)
    }

    #[test]
    fn a_terminal_hangs_up_only_who_had_one_and_has_it_no_more() {
        let restart = || Restart::on(Signal::Hangup);
        let has_hung_up = |restart, had_one, has_one| {
            let handover = Handover {
                has_terminal: had_one,
                ..handover(restart)
            };
            handover.terminal_has_hung_up(|| has_one)
        };
        assert!(has_hung_up(restart(), true, false));
        assert!(!has_hung_up(restart(), true, true));
        assert!(!has_hung_up(restart(), false, false));
        let wanted = || restart().on_terminal_hangup();
        assert!(!has_hung_up(wanted(), true, false));
    }

    /// A listening socket that the program closes in the drain is closed then: else its
    /// clients would wait for nobody.
    #[test]
    fn f64_what_is_kept_for_a_successor_is_closed_with_the_stop() {
        let (kept, mut other_end) = UnixStream::pair().unwrap();
        other_end.set_nonblocking(true).unwrap();
        let mut handover = handover(Restart::on(Signal::Hangup));
        handover.kept.push(("admin".to_owned(), kept.into()));
        let mut read = || std::io::Read::read(&mut other_end, &mut [0]);
        assert!(read().is_err(), "it is open");
        handover.cancel();
        assert_eq!(read().unwrap(), 0);
    }

    #[test]
    fn f3_a_socket_is_handed_over_once_a_successor_serves_it() {
        let mut handover = handover(Restart::on(Signal::Hangup));
        assert!(!handover.is_handed_over() && handover.is_serving());
        let inherited = Origin::Inherited("web".to_owned());
        let sharing = |handover: &Handover| {
            [0, 1, 2].map(|id| match id {
                0 => handover.sharing(id, &Origin::Bound),
                _ => handover.sharing(id, &inherited),
            })
        };
        use SocketSharing::{Exclusive, HandedOver, Shared};
        assert_eq!(sharing(&handover), [Exclusive, Shared, Shared]);
        handover.handed = Some(vec![true, false, true]);
        assert!(handover.is_handed_over());
        assert_eq!(sharing(&handover), [HandedOver, Shared, HandedOver]);
        // The predecessor serves on: nothing of it is touched.
        handover.role = Role::StandingBy;
        assert_eq!(sharing(&handover), [HandedOver; 3]);
    }
}
