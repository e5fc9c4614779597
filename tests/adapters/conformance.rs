//! The checks that others can run on an adapter of their own, on those of this
//! crate, and on two from outside.

use futures::executor::ThreadPool;
use lameduck::Runtime;
use lameduck::rt::conformance;
use lameduck::runtimes::tokio::Tokio;

use crate::completing::{Completing, Flaw};
use crate::naive::Naive;
use crate::own_runtime::OwnPool;
use crate::sloppy::{Mistake, Sloppy};
use crate::support::{tokio_current_thread, tokio_multi_thread};

pub(crate) fn f72_the_adapter_keeps_every_contract(runtime: impl Runtime) {
    if let Err(failures) = conformance::check(runtime) {
        panic!("{failures}");
    }
}

fn own_pool() -> OwnPool {
    OwnPool(ThreadPool::new().expect("threads"))
}

#[test]
fn f72_an_adapter_of_ones_own_keeps_every_contract() {
    f72_the_adapter_keeps_every_contract(own_pool());
}

/// What a naive adapter breaks, each time.
const BROKEN: [&str; 3] = [
    "poll_read_now has what arrived a moment ago",
    "once it has stopped accepting, poll_accept takes the whole queue",
    "poll_read_now has what is there, also after many reads",
];

fn f72_a_naive_adapter_is_caught_each_time(start: impl Fn() -> Tokio) {
    for run in 1..=20 {
        let failures = conformance::check(Naive(start())).expect_err("it was not caught");
        let claims: Vec<_> = failures.failures.iter().map(|f| f.claim).collect();
        for broken in BROKEN {
            assert!(
                claims.contains(&broken),
                "run {run}, `{broken}`: {failures}"
            );
        }
    }
}

#[test]
fn f72_a_naive_adapter_is_caught_each_time_on_many_threads() {
    f72_a_naive_adapter_is_caught_each_time(tokio_multi_thread);
}

#[test]
fn f72_a_naive_adapter_is_caught_each_time_on_one_thread() {
    f72_a_naive_adapter_is_caught_each_time(tokio_current_thread);
}

fn is_caught(mistake: Mistake, claim: &str) {
    let sloppy = Sloppy(own_pool(), mistake);
    let failures = conformance::check(sloppy).expect_err("not caught");
    let claims: Vec<_> = failures.failures.iter().map(|f| f.claim).collect();
    assert!(claims.contains(&claim), "{mistake:?}: {failures}");
}

#[test]
fn f72_lost_wake_ups_signals_and_time_are_caught() {
    use Mistake::{FirstWaker, LateTimer, OneSignal, OneWaker};

    std::thread::scope(|scope| {
        for (mistake, claim) in [
            (
                OneWaker,
                "a read and a write that wait at once are both woken",
            ),
            (FirstWaker, "a wait wakes the task that polled it last"),
            (OneSignal, "each of two signals comes, one after the other"),
            (LateTimer, "a timer is not late"),
        ] {
            scope.spawn(move || is_caught(mistake, claim));
        }
    });
}

/// A flaw is caught, and nothing else is blamed.
fn is_flawed(flaw: Flaw, broken: &[&str]) {
    let completing = Completing::new(own_pool(), flaw);
    let failures = conformance::check(completing).expect_err("not caught");
    let claims: Vec<_> = failures.failures.iter().map(|f| f.claim).collect();
    assert_eq!(claims, broken, "{flaw:?}: {failures}");
}

#[test]
fn f48_an_adapter_that_drops_whom_it_had_taken_is_caught() {
    let broken = [
        "a socket that is handed over is left to the successor",
        "poll_taken gives whom the listener had taken before its close",
    ];
    is_flawed(Flaw::DropsTaken, &broken);
}

/// Its writes are short, and pending while one is under way, and its operations hold what
/// nobody has asked for yet: all of that is allowed.
#[test]
fn f72_an_adapter_that_completes_keeps_every_contract() {
    f72_the_adapter_keeps_every_contract(Completing::new(own_pool(), None));
}

fn caught(flaw: Flaw, claim: &str) -> String {
    let completing = Completing::new(own_pool(), flaw);
    let failures = conformance::check_matching(completing, claim).expect_err("not caught");
    failures.to_string()
}

#[test]
fn f72_an_adapter_that_drops_what_a_buffer_has_no_room_for_is_caught() {
    caught(
        Flaw::DropsRest,
        "what the buffer of a read has no room for comes with the next read",
    );
}

#[test]
fn f72_a_half_close_that_overtakes_a_write_is_caught_each_time() {
    for _ in 0..10 {
        let why = caught(
            Flaw::OvertakesWrite,
            "after the half-close the peer sees the end, and reading works",
        );
        assert!(why.contains(": the peer has read "), "{why}");
    }
}

#[test]
fn f72_a_reset_that_is_taken_for_the_end_is_caught() {
    caught(Flaw::ResetIsEnd, "a reset by the peer is an error");
}

#[test]
fn f72_an_accept_that_keeps_a_closed_port_open_is_caught() {
    caught(
        Flaw::HoldsSocket,
        "stop_accepting keeps the queue, and the close ends the port",
    );
    caught(Flaw::HoldsSocket, "a close without a sweep ends the port");
}

#[test]
fn f72_a_missing_wake_at_the_end_is_named() {
    let why = caught(
        Flaw::SwallowsEnd,
        "poll_read_now has the end that came a moment ago",
    );
    assert!(
        why.contains("the peer has ended: nobody has woken"),
        "{why}"
    );
}

#[test]
fn f72_a_time_that_goes_back_is_not_blamed_on_the_timer() {
    let sloppy = Sloppy(own_pool(), Mistake::TimeGoesBack);
    let failures = conformance::check(sloppy).expect_err("not caught");
    let claims: Vec<_> = failures.failures.iter().map(|f| f.claim).collect();
    assert_eq!(claims, ["the time never goes back"], "{failures}");
}

#[test]
fn f72_a_spawn_that_runs_the_task_is_named_by_all_that_fail_for_it() {
    let sloppy = Sloppy(own_pool(), Mistake::SpawnsInline);
    let failures = conformance::check(sloppy).expect_err("not caught");
    let first = failures.failures[0].claim;
    assert_eq!(first, "spawn returns, and the runtime runs the task");
    for failure in &failures.failures {
        let why = "spawn runs the task itself, in the thread of its caller";
        assert_eq!(failure.why, why, "{failures}");
    }
}

#[test]
fn f72_checks_are_chosen_by_their_claim() {
    let checked = conformance::check_matching(own_pool(), "a timer is never early");
    assert_eq!(checked, Ok(()));
    let none = conformance::check_matching(own_pool(), "no such thing");
    let why = none.expect_err("nothing was checked").to_string();
    assert!(why.contains("no claim contains `no such thing`"), "{why}");
}
