//! The policy of a stop, as pure values: no I/O, no clock, no lock.
//!
//! | value | decides |
//! | --- | --- |
//! | [`Lifecycle`](lifecycle::Lifecycle) | the phases of a stop, its budget, what a signal means, when hooks run |
//! | [`Sweep`](sweep::Sweep) | one listener: when it accepts, backs off, is swept and closes, with which guarantee |
//! | [`LingeringClose`](closing::LingeringClose) | one connection's orderly close |
//!
//! All three have the same verbs. A driver follows them in this order:
//!
//! 1. `handle(now, input)` takes what happened, and when.
//! 2. `poll_output()` returns what is to be done, until it returns `None`.
//! 3. `deadline()` says when `Input::Tick` is due, if nothing happens before. No
//!    timer exists that no deadline has asked for.
//!
//! Time is a [`Duration`](std::time::Duration) since any moment that the driver
//! has fixed. It saturates, and a `now` that goes back counts as the latest one.
//! The values can be cloned, compared and replayed: the same inputs give the
//! same outputs ([S17](crate::docs::spec#s17)).

pub mod closing;
pub mod lifecycle;
pub mod sweep;
