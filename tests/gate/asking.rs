//! What a handle on the gate reports.

use lameduck::{Cause, GuardError, Phase, Shutdown};

#[test]
fn a_handle_reports_phase_count_and_cause() {
    let shutdown = Shutdown::new();
    let accept_guard = shutdown.try_guard().unwrap();
    assert!(shutdown.is_ready() && !shutdown.is_draining());
    assert!(!accept_guard.is_draining());
    assert_eq!((shutdown.guard_count(), shutdown.cause()), (1, None));
    let guards = [
        accept_guard.try_clone().unwrap(),
        accept_guard.try_clone().unwrap(),
    ];
    assert_eq!(shutdown.guard_count(), 3);

    assert!(shutdown.stop("it was asked to"));
    assert!(!shutdown.stop("again"));
    assert!(!shutdown.is_ready() && shutdown.is_draining());
    assert!(accept_guard.is_draining());
    assert_eq!(shutdown.cause(), Some(Cause::from("it was asked to")));
    assert_eq!(
        shutdown.try_guard().unwrap_err(),
        GuardError::Closed(Phase::Draining)
    );
    assert!(shutdown.try_guard_ref().is_err());

    assert!(shutdown.abort("too long"));
    assert_eq!(shutdown.phase(), Phase::Aborting);
    drop((guards, accept_guard));
    assert_eq!(
        (shutdown.phase(), shutdown.guard_count()),
        (Phase::Stopped, 0)
    );
    assert!(!shutdown.is_ready() && shutdown.is_draining());
    assert_eq!(shutdown.cause(), Some(Cause::from("it was asked to")));
}

#[test]
fn a_borrowed_guard_counts_as_any_other() {
    let shutdown = Shutdown::new();
    let guard = shutdown.try_guard_ref().unwrap();
    assert_eq!(shutdown.guard_count(), 1);
    let another = guard.try_clone().unwrap();
    drop(guard);
    assert_eq!(shutdown.guard_count(), 1);
    shutdown.stop("now");
    assert_eq!(shutdown.phase(), Phase::Draining);
    drop(another);
    assert_eq!(shutdown.phase(), Phase::Stopped);
}

#[test]
fn errors_and_phases_have_names() {
    let phases = Phase::ALL.map(|phase| phase.to_string());
    let names = ["running", "lame duck", "draining", "aborting", "stopped"];
    assert_eq!(phases, names);
    let closed = GuardError::Closed(Phase::Draining);
    assert_eq!(closed.to_string(), "no new guard: the server is draining");
    let full = GuardError::Full.to_string();
    assert_eq!(full, "no new guard: the gate cannot count more");
}
