//! Tasks, time and signals.

use std::future::poll_fn;
use std::sync::Condvar;
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Signal as Number, getpid, kill_process};

use super::{Check, Checked, LONG, block_on, during, ensure, in_task};
use crate::rt::{Runtime, SignalSource};
use crate::signal::Signal;
use crate::sync::plain::{Mutex, lock, mpsc};

pub(super) fn checks<R: Runtime>() -> Vec<Check<R>> {
    vec![
        (
            "spawn returns, and the runtime runs the task",
            the_runtime_runs_the_task,
        ),
        ("a task runs to its end", a_task_runs_to_its_end),
        ("the time never goes back", the_time_never_goes_back),
        ("a timer is never early", a_timer_is_never_early),
        ("a timer is not late", a_timer_is_not_late),
        (
            "a timer comes although handlers hold every thread",
            a_timer_comes_although_threads_are_held,
        ),
        (
            "a signal comes although handlers hold every thread",
            a_signal_comes_although_threads_are_held,
        ),
        (
            "each of two signals comes, one after the other",
            each_of_two_signals_comes,
        ),
    ]
}

/// Whether this thread is the one that spawned what it runs.
const INLINE: &str = "spawn runs the task itself, in the thread of its caller";

fn the_runtime_runs_the_task<R: Runtime>(runtime: &R) -> Checked {
    let (runs, runs_in) = mpsc::channel();
    runtime.spawn(async move {
        let _ = runs.send(thread::current().id());
    });
    let thread = runs_in.recv_timeout(LONG);
    let thread = thread.map_err(|_| "no task runs".to_owned())?;
    ensure(thread != thread::current().id(), || INLINE.into())
}

fn a_task_runs_to_its_end<R: Runtime>(runtime: &R) -> Checked {
    let later = runtime.clone();
    // From a thread that is not one of the runtime, and nobody waits for it.
    in_task(runtime, async move {
        let (done, is_done) = mpsc::channel();
        later.spawn(async move {
            let mut polls = 0;
            poll_fn(|cx| {
                polls += 1;
                cx.waker().wake_by_ref();
                if polls < 100 {
                    Poll::Pending
                } else {
                    Poll::Ready(())
                }
            })
            .await;
            let _ = done.send(());
        });
        Ok(is_done)
    })?
    .recv_timeout(LONG)
    .map_err(|_| "it was dropped, or is not polled again".into())
}

/// In one thread, and from one thread to another.
fn the_time_never_goes_back<R: Runtime>(runtime: &R) -> Checked {
    let mut last = runtime.now();
    let mut next = |now: Instant, thread: &str| {
        ensure(now >= last, || {
            format!("now() went back by {:?}, in {thread}", last - now)
        })?;
        last = now;
        Ok::<_, String>(())
    };
    for _ in 0..100 {
        for _ in 0..100 {
            next(runtime.now(), "one thread")?;
        }
        let there = runtime.clone();
        let now = in_task(runtime, async move { Ok(there.now()) })?;
        next(now, "another thread")?;
    }
    Ok(())
}

fn a_timer_is_never_early<R: Runtime>(runtime: &R) -> Checked {
    if the_time_never_goes_back(runtime).is_err() {
        // Not the timer's fault, and said already.
        return Ok(());
    }
    for milliseconds in [0, 1, 5, 20] {
        let until = runtime.now() + Duration::from_millis(milliseconds);
        // Outside of the runtime, as a server can be polled.
        let slept = block_on(runtime.sleep_until(until), LONG);
        ensure(slept.is_some(), || "it never comes".into())?;
        let now = runtime.now();
        ensure(now >= until, || format!("it came {:?} early", until - now))?;
    }
    Ok(())
}

/// A busy machine is late now and then, and not each time.
fn a_timer_is_not_late<R: Runtime>(runtime: &R) -> Checked {
    let mut least = Duration::MAX;
    for _ in 0..20 {
        let until = runtime.now() + Duration::from_millis(10);
        let slept = block_on(runtime.sleep_until(until), LONG);
        ensure(slept.is_some(), || "it never comes".into())?;
        least = least.min(runtime.now().saturating_duration_since(until));
        if least < LATE {
            return Ok(());
        }
    }
    Err(format!("10 ms took {least:?} longer, at the least"))
}

/// How late the best of the timers of 10 ms may be.
const LATE: Duration = Duration::from_millis(25);

/// More than the threads of any runtime.
const TASKS: usize = 256;

/// Tasks that hold their threads until this is dropped.
struct Held {
    _release: Vec<mpsc::Sender<()>>,
}

fn hold_every_thread<R: Runtime>(runtime: &R) -> Result<Held, String> {
    let (begun, has_begun) = mpsc::channel();
    let mut release = Vec::new();
    let spawner = thread::current().id();
    for _ in 0..TASKS {
        let (sender, released) = mpsc::channel::<()>();
        let begun = begun.clone();
        release.push(sender);
        runtime.spawn(async move {
            let is_inline = thread::current().id() == spawner;
            let _ = begun.send(is_inline);
            if !is_inline {
                let _ = released.recv_timeout(LONG);
            }
        });
    }
    let begun = has_begun.recv_timeout(LONG);
    let is_inline = begun.map_err(|_| "no task runs".to_owned())?;
    ensure(!is_inline, || INLINE.into())?;
    // What else can begin has begun.
    while has_begun.recv_timeout(Duration::from_millis(50)).is_ok() {}
    Ok(Held { _release: release })
}

fn a_timer_comes_although_threads_are_held<R: Runtime>(runtime: &R) -> Checked {
    let held = hold_every_thread(runtime)?;
    let begun = Instant::now();
    let until = runtime.now() + Duration::from_millis(50);
    let slept = block_on(runtime.sleep_until(until), LONG / 4);
    drop(held);
    ensure(slept.is_some(), || {
        format!("50 ms did not come in {:?}", begun.elapsed())
    })
}

/// A signal comes to every check of this process that runs at the same time. This is true
/// while one of them does.
static IS_TAKEN: Mutex<bool> = Mutex::new(false);
static IS_FREE: Condvar = Condvar::new();

/// The turn of one check of signals.
struct Turn;

impl Turn {
    /// Waits for those before it, but not for one that hangs.
    fn wait() -> Result<Turn, String> {
        let waited = IS_FREE.wait_timeout_while(lock(&IS_TAKEN), LONG, |is_taken| *is_taken);
        match waited {
            Ok((mut is_taken, _)) if !*is_taken => {
                *is_taken = true;
                Ok(Turn)
            }
            _ => Err("not checked, since another check of signals hangs".into()),
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *lock(&IS_TAKEN) = false;
        IS_FREE.notify_one();
    }
}

fn caught<S: SignalSource>(signals: &mut S) -> Checked {
    during("kill", kill_process(getpid(), Number::QUIT))?;
    let caught = block_on(poll_fn(|cx| signals.poll_signal(cx)), LONG / 4);
    ensure(caught == Some(Some(Signal::Quit)), || {
        format!("SIGQUIT was sent, and {caught:?} came")
    })
}

fn a_signal_comes_although_threads_are_held<R: Runtime>(runtime: &R) -> Checked {
    let _turn = Turn::wait()?;
    let mut signals = during("signals", runtime.signals(&[Signal::Quit]))?;
    let held = hold_every_thread(runtime)?;
    let caught = caught(&mut signals);
    drop(held);
    caught
}

/// The second one aborts.
fn each_of_two_signals_comes<R: Runtime>(runtime: &R) -> Checked {
    let _turn = Turn::wait()?;
    let mut signals = during("signals", runtime.signals(&[Signal::Quit]))?;
    caught(&mut signals)?;
    // It waits as the driver does, and is woken.
    let waits = poll_fn(|cx| Poll::Ready(signals.poll_signal(cx).is_pending()));
    ensure(block_on(waits, LONG) == Some(true), || {
        "one SIGQUIT came twice".into()
    })?;
    caught(&mut signals).map_err(|why| format!("the second time: {why}"))
}
