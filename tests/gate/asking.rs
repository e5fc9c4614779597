//! What the gate says when it is asked.

use lameduck::{Cause, GuardError, Phase, Shutdown};

#[test]
fn it_says_where_it_is() {
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
fn a_scoped_guard_lives_as_any_other() {
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
fn what_it_says_can_be_read() {
    let phases = Phase::ALL.map(|phase| phase.to_string());
    let names = [
        "running",
        "giving notice",
        "settling",
        "draining",
        "forcing",
        "stopped",
    ];
    assert_eq!(phases, names);
    for (refused, text) in [
        (
            GuardError::Closed(Phase::Draining),
            "no entry: the server is draining",
        ),
        (GuardError::Full, "no entry: the gate cannot count more"),
        (
            GuardError::NotForward(Phase::Aborting),
            "the server is already forcing",
        ),
        (GuardError::Nobody, "nobody is inside"),
    ] {
        assert_eq!(refused.to_string(), text);
    }
}
