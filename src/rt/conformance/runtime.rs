//! Tasks, time and signals.

use std::future::poll_fn;
use std::task::Poll;
use std::time::{Duration, Instant};

use rustix::process::{Signal as Number, getpid, kill_process};

use super::{Check, Checked, LONG, block_on, during, ensure, in_task};
use crate::rt::{Runtime, SignalSource};
use crate::signal::Signal;
use crate::sync::plain::{Mutex, lock, mpsc};

pub(super) fn checks<R: Runtime>() -> Vec<Check<R>> {
    vec![
        ("a task runs to its end", a_task_runs_to_its_end),
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

fn a_timer_is_never_early<R: Runtime>(runtime: &R) -> Checked {
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

/// How late a timer of 10 ms may be.
const LATE: Duration = Duration::from_millis(100);

/// More than the threads of any runtime.
const TASKS: usize = 256;

/// Tasks that hold their threads until this is dropped.
struct Held {
    _release: Vec<mpsc::Sender<()>>,
}

fn hold_every_thread<R: Runtime>(runtime: &R) -> Result<Held, String> {
    let (begun, has_begun) = mpsc::channel();
    let mut release = Vec::new();
    for _ in 0..TASKS {
        let (sender, released) = mpsc::channel::<()>();
        let begun = begun.clone();
        release.push(sender);
        runtime.spawn(async move {
            let _ = begun.send(());
            let _ = released.recv_timeout(LONG);
        });
    }
    let begun = has_begun.recv_timeout(LONG);
    begun.map_err(|_| "no task runs".to_owned())?;
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

/// A signal comes to every check of this process that runs at the same time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn caught<S: SignalSource>(signals: &mut S) -> Checked {
    during("kill", kill_process(getpid(), Number::QUIT))?;
    let caught = block_on(poll_fn(|cx| signals.poll_signal(cx)), LONG / 4);
    ensure(caught == Some(Some(Signal::Quit)), || {
        format!("SIGQUIT was sent, and {caught:?} came")
    })
}

fn a_signal_comes_although_threads_are_held<R: Runtime>(runtime: &R) -> Checked {
    let _one = lock(&ONE_AT_A_TIME);
    let mut signals = during("signals", runtime.signals(&[Signal::Quit]))?;
    let held = hold_every_thread(runtime)?;
    let caught = caught(&mut signals);
    drop(held);
    caught
}

/// The second one aborts.
fn each_of_two_signals_comes<R: Runtime>(runtime: &R) -> Checked {
    let _one = lock(&ONE_AT_A_TIME);
    let mut signals = during("signals", runtime.signals(&[Signal::Quit]))?;
    caught(&mut signals)?;
    // It waits as the driver does, and is woken.
    let waits = poll_fn(|cx| Poll::Ready(signals.poll_signal(cx).is_pending()));
    ensure(block_on(waits, LONG) == Some(true), || {
        "one SIGQUIT came twice".into()
    })?;
    caught(&mut signals).map_err(|why| format!("the second time: {why}"))
}
