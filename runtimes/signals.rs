//! Signals by `async-signal`, which works under every adapter here.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use nix::sys::signal::SigSet;

use crate::rt::SignalSource;
use crate::signal::Signal;
use crate::sync::plain::{Arc, AtomicBool, Mutex, Ordering, lock};

/// The signals of this process, on a thread of their own: they come although
/// every thread of a runtime is held by a handler. They go through a self-pipe
/// and are not blocked, so that children inherit no mask
/// ([F37](crate::docs::faults#f37)).
///
/// A mask that was inherited with one of them blocked is lifted
/// ([F55](crate::docs::faults#f55)). With the drop of the last source of a
/// signal it does again what it does by default, which is to end the process
/// ([F60](crate::docs::faults#f60)), also where another part of the program
/// catches it. One that the process was started to ignore, as by `nohup`, is
/// ignored again; that is known on Linux alone. Process 1, as in a container, ignores
/// them, since the kernel lets no default action end it.
#[derive(Debug)]
pub struct Signals {
    inner: async_signal::Signals,
    /// Given back after the source: no signal is lost in between.
    _claims: Vec<Claim>,
}

impl Signals {
    /// Catches `signals` from now on: what
    /// [`Runtime::signals`](crate::rt::Runtime::signals) asks for.
    ///
    /// # Errors
    /// When one of them cannot be caught.
    pub fn catch(signals: &[Signal]) -> io::Result<Signals> {
        let claims: io::Result<Vec<_>> = signals.iter().map(|s| Claim::new(*s)).collect();
        let claims = claims?;
        let wanted = signals.iter().map(|signal| match signal {
            Signal::Interrupt => async_signal::Signal::Int,
            Signal::Terminate => async_signal::Signal::Term,
            Signal::Quit => async_signal::Signal::Quit,
            Signal::Hangup => async_signal::Signal::Hup,
        });
        let inner = async_signal::Signals::new(wanted)?;
        unblock(signals)?;
        Ok(Signals {
            inner,
            _claims: claims,
        })
    }
}

fn system(signal: Signal) -> nix::sys::signal::Signal {
    match signal {
        Signal::Interrupt => nix::sys::signal::SIGINT,
        Signal::Terminate => nix::sys::signal::SIGTERM,
        Signal::Quit => nix::sys::signal::SIGQUIT,
        Signal::Hangup => nix::sys::signal::SIGHUP,
    }
}

/// Returns whether a signal that nobody catches ends the process. The kernel does not let
/// it end process 1 (pid_namespaces(7)); to raise it there would end in an abort.
fn ends_by_default(signal: Signal) -> bool {
    std::process::id() != 1 && !is_ignored(signal)
}

/// Returns whether the process ignores a signal by now, as far as the system says so:
/// sigaction(2) can only be asked by unsafe code.
fn is_ignored(signal: Signal) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    is_ignored_by(&status, signal)
}

fn is_ignored_by(status: &str, signal: Signal) -> bool {
    let mut lines = status.lines();
    let ignored = lines.find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|set| u64::from_str_radix(set.trim(), 16).ok());
    ignored.is_some_and(|set| set & (1 << (system(signal) as u32 - 1)) != 0)
}

/// Lifts a mask that was inherited, for this thread and those that it starts:
/// one thread that takes a signal is enough (signal(7)).
fn unblock(signals: &[Signal]) -> io::Result<()> {
    let mut wanted = SigSet::empty();
    for signal in signals {
        wanted.add(system(*signal));
    }
    wanted.thread_unblock().map_err(io::Error::from)
}

/// The sources of each signal, and the flag that lets it act by default while
/// there are none.
static SOURCES: Mutex<[Option<Sources>; 4]> = Mutex::new([const { None }; 4]);

#[derive(Debug)]
struct Sources {
    count: usize,
    by_default: Arc<AtomicBool>,
}

/// One source's claim on a signal.
#[derive(Debug)]
struct Claim(Signal);

impl Claim {
    fn new(signal: Signal) -> io::Result<Claim> {
        let mut all = lock(&SOURCES);
        let slot = &mut all[signal as usize];
        let sources = match slot {
            Some(sources) => sources,
            None => {
                // A handler stays installed for good: the registry cannot take
                // it away. So one that acts as the default would is added, unless
                // the default does nothing: a handler that does nothing is as good.
                let by_default = Arc::new(AtomicBool::new(false));
                if ends_by_default(signal) {
                    let (number, flag) = (system(signal) as i32, by_default.clone());
                    signal_hook::flag::register_conditional_default(number, flag)?;
                }
                slot.insert(Sources {
                    count: 0,
                    by_default,
                })
            }
        };
        sources.count += 1;
        // SeqCst: the handler reads it so; see `drop`.
        sources.by_default.store(false, Ordering::SeqCst);
        Ok(Claim(signal))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut all = lock(&SOURCES);
        if let Some(sources) = &mut all[self.0 as usize] {
            sources.count -= 1;
            // SeqCst: pairs with the load in the handler of signal-hook.
            let is_unclaimed = sources.count == 0;
            sources.by_default.store(is_unclaimed, Ordering::SeqCst);
        }
    }
}

impl SignalSource for Signals {
    fn poll_signal(&mut self, cx: &mut Context<'_>) -> Poll<Option<Signal>> {
        loop {
            let signal = match ready!(Pin::new(&mut self.inner).poll_next(cx)) {
                Some(Ok(signal)) => signal,
                Some(Err(error)) => {
                    log::warn!("waiting for signals: {error}");
                    return Poll::Ready(None);
                }
                None => return Poll::Ready(None),
            };
            return Poll::Ready(Some(match signal {
                async_signal::Signal::Int => Signal::Interrupt,
                async_signal::Signal::Term => Signal::Terminate,
                async_signal::Signal::Quit => Signal::Quit,
                async_signal::Signal::Hup => Signal::Hangup,
                // No other was asked for.
                _ => continue,
            }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f60_an_ignored_signal_is_told_by_its_bit() {
        // SIGHUP is 1, SIGINT 2, SIGQUIT 3, SIGTERM 15.
        let status = "SigBlk:\tffffffffffffffff\nSigIgn:\t0000000000001006\nSigCgt:\t01\n";
        let ignored = |signal| is_ignored_by(status, signal);
        assert!(ignored(Signal::Interrupt) && ignored(Signal::Quit));
        assert!(!ignored(Signal::Hangup) && !ignored(Signal::Terminate));
        assert!(!is_ignored_by("", Signal::Interrupt));
        assert!(!is_ignored_by("SigIgn:\tnone", Signal::Interrupt));
    }
}
