//! The driver's part in a hand-over: before the first accept, and at the
//! restart.

use std::os::unix::net::UnixStream;
use std::task::{Context, Poll};

use log::{error, info, warn};

use super::Serve;
use crate::cause::{Cause, Signal};
use crate::handover::{Predecessor, Restart, Successor};
use crate::server::accept::Origin;
use crate::traits::{Holders, Runtime};

/// What a server knows of those before and after it.
#[derive(Debug)]
pub(in crate::server) struct Handover {
    restart: Option<Restart>,
    /// The channel to the predecessor, and which sockets were taken from it.
    channel: Option<(UnixStream, Vec<bool>)>,
    turn: Turn,
    successor: Option<Successor>,
    /// Which of the listeners the successor serves, once it does.
    handed: Option<Vec<bool>>,
}

/// Whose turn it is to serve.
#[derive(Debug, Default)]
enum Turn {
    #[default]
    Ours,
    /// The predecessor's, until it says otherwise.
    Theirs(Predecessor),
    /// The predecessor's: it goes on.
    TheirsForGood,
    /// Ours, after a predecessor.
    OursAfter(Predecessor),
}

impl Handover {
    pub(in crate::server) fn new(
        restart: Option<Restart>,
        channel: Option<(UnixStream, Vec<bool>)>,
    ) -> Handover {
        Handover {
            restart,
            channel,
            turn: Turn::Ours,
            successor: None,
            handed: None,
        }
    }

    pub(super) fn is_our_turn(&self) -> bool {
        matches!(self.turn, Turn::Ours | Turn::OursAfter(_))
    }

    /// A successor serves: the service goes on being ready.
    pub(super) fn is_handed_over(&self) -> bool {
        self.handed.is_some()
    }

    /// Who else holds the socket of a listener.
    pub(super) fn holders(&self, id: usize, origin: Origin) -> Holders {
        let handed = self.handed.as_ref().and_then(|handed| handed.get(id));
        if !self.is_our_turn() || handed == Some(&true) {
            Holders::Successor
        } else if self.is_alone(origin) {
            Holders::Alone
        } else {
            Holders::Others
        }
    }

    /// Whether nobody else can hold a socket that came from there.
    fn is_alone(&self, origin: Origin) -> bool {
        match (origin, &self.turn) {
            (Origin::Bound, _) => true,
            (Origin::Inherited, Turn::OursAfter(predecessor)) => predecessor.has_left(),
            _ => false,
        }
    }

    /// Ends the start of a successor: something else came first.
    pub(super) fn call_off(&mut self) {
        if self.handed.is_none() && self.successor.take().is_some() {
            warn!("the restart is called off: the server stops");
        }
    }

    /// All listeners are closed: a successor may learn whether it is alone.
    pub(super) fn leave(&mut self, mut origins: impl Iterator<Item = Origin>) {
        if let Some(successor) = self.successor.take() {
            if origins.all(|origin| self.is_alone(origin)) {
                successor.leave_alone();
            }
        }
    }
}

impl<R: Runtime, H> Serve<R, H> {
    /// Tells a predecessor that we are ready; false while it serves.
    pub(super) fn may_begin(&mut self) -> bool {
        if let Some((channel, taken)) = self.handover.channel.take() {
            info!("ready, and waiting for the predecessor");
            self.handover.turn = match Predecessor::greet(channel, &taken) {
                Ok(predecessor) => Turn::Theirs(predecessor),
                Err(error) => {
                    error!("the predecessor cannot be told, and serves on: {error}");
                    self.stay_back();
                    Turn::TheirsForGood
                }
            };
        }
        self.handover.is_our_turn()
    }

    fn stay_back(&self) {
        self.common.shutdown.stop("the predecessor serves on");
    }

    /// Whether a signal asks for a restart; if so, it begins.
    pub(super) fn is_restart(&mut self, signal: Signal) -> bool {
        let restart = self.handover.restart.as_ref();
        let Some(restart) = restart.filter(|restart| restart.signal == signal) else {
            return false;
        };
        let busy = !self.handover.is_our_turn() || self.handover.successor.is_some();
        if busy || !self.common.shutdown.is_ready() {
            warn!("no restart on {signal}: one is under way, or the server stops");
            return true;
        }
        let shared = self.listeners.iter().map(|listener| listener.share());
        let started = shared
            .collect::<std::io::Result<Vec<_>>>()
            .and_then(|sockets| Successor::start(restart, sockets));
        match started {
            Ok(successor) => {
                info!("restarting on {signal}: starting the successor");
                self.handover.successor = Some(successor);
            }
            Err(error) => error!("the restart failed, serving on: {error}"),
        }
        true
    }

    /// News of those before and after us.
    pub(super) fn poll_handover(&mut self, cx: &mut Context<'_>) -> bool {
        self.poll_predecessor(cx) | self.poll_successor(cx)
    }

    fn poll_predecessor(&mut self, cx: &mut Context<'_>) -> bool {
        let Turn::Theirs(predecessor) = &mut self.handover.turn else {
            return false;
        };
        let Poll::Ready(go) = predecessor.poll_go(cx) else {
            return false;
        };
        match (go, std::mem::take(&mut self.handover.turn)) {
            (true, Turn::Theirs(predecessor)) => {
                info!("the predecessor has handed over");
                self.handover.turn = Turn::OursAfter(predecessor);
            }
            _ => {
                self.handover.turn = Turn::TheirsForGood;
                self.stay_back();
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
                self.common.shutdown.stop(Cause::Successor);
            }
            Err(why) => {
                error!("the restart failed, serving on: {why}");
                *successor = None;
            }
        }
        true
    }
}
