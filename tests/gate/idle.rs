//! Waits that the stop can end.

use std::future::pending;
use std::time::Duration;

use futures::channel::mpsc::unbounded;
use futures::executor::block_on;
use futures::future::{FutureExt, poll_fn};
use futures::stream::StreamExt;
use lameduck::Shutdown;

#[test]
fn items_that_were_queued_before_the_stop_are_handed_out_first() {
    let shutdown = Shutdown::new();
    let mut guard = shutdown.try_guard().unwrap();
    let (sender, mut jobs) = unbounded();
    for job in 0..1_000 {
        sender.unbounded_send(job).unwrap();
    }
    shutdown.stop("now");
    for job in 0..1_000 {
        let next = block_on(guard.wait_or_drain(|cx| jobs.poll_next_unpin(cx)));
        assert_eq!(next, Some(Some(job)));
    }
    let next = block_on(guard.wait_or_drain(|cx| jobs.poll_next_unpin(cx)));
    assert_eq!(next, None);
}

#[test]
fn a_wait_is_ended_by_a_stop_that_comes_later() {
    let shutdown = Shutdown::new();
    let mut guard = shutdown.try_guard().unwrap();
    let mut wait = guard.run_until_drained(pending::<()>()).boxed();
    assert!(wait.as_mut().now_or_never().is_none());
    shutdown.stop("now");
    assert_eq!(wait.now_or_never(), Some(None));
}

#[test]
fn a_wait_gives_what_comes_before_the_stop() {
    let shutdown = Shutdown::new();
    let mut guard = shutdown.try_guard().unwrap();
    let (sender, mut jobs) = unbounded();
    let mut wait = guard.wait_or_drain(|cx| jobs.poll_next_unpin(cx));
    assert!((&mut wait).now_or_never().is_none());
    sender.unbounded_send("late").unwrap();
    assert_eq!(wait.now_or_never(), Some(Some(Some("late"))));
}

/// tokio's channels are pending as well when a task has had its share of the
/// thread.
#[test]
fn items_win_over_the_stop_although_the_tasks_budget_is_used_up() {
    const JOBS: u32 = 1_000;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let shutdown = Shutdown::new();
    let mut guard = shutdown.try_guard().unwrap();
    let (sender, mut jobs) = tokio::sync::mpsc::unbounded_channel();
    (0..JOBS).for_each(|job| sender.send(job).unwrap());
    shutdown.stop("now");
    let work = async move {
        let mut done = 0;
        while let Some(Some(_)) = guard.wait_or_drain(|cx| jobs.poll_recv(cx)).await {
            done += 1;
        }
        done
    };
    // Spawned, since only a task has a budget.
    let done = runtime.block_on(async { tokio::spawn(work).await.unwrap() });
    assert_eq!(done, JOBS);
}

#[test]
fn a_task_whose_budget_is_used_up_is_ended_all_the_same() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let shutdown = Shutdown::new();
    let mut guard = shutdown.try_guard().unwrap();
    shutdown.stop("now");
    let work = async move {
        while tokio::task::coop::has_budget_remaining() {
            poll_fn(tokio::task::coop::poll_proceed)
                .await
                .made_progress();
        }
        // No budget has a part in this one, and so nothing else wakes it.
        guard.run_until_drained(pending::<()>()).await
    };
    let ended = runtime.block_on(async {
        let task = tokio::spawn(work);
        tokio::time::timeout(Duration::from_secs(20), task).await
    });
    assert_eq!(ended.expect("it hangs").unwrap(), None);
}
