//! What the gate says when it is asked.

use lameduck::{Cause, Phase, Refused, Shutdown};

#[test]
fn it_says_where_it_is() {
    let shutdown = Shutdown::new();
    let door = shutdown.enter().unwrap();
    assert!(shutdown.is_ready() && !shutdown.is_draining());
    assert!(!door.is_draining());
    assert_eq!((shutdown.living(), shutdown.cause()), (1, None));
    let guards = [door.enter().unwrap(), door.enter().unwrap()];
    assert_eq!(shutdown.living(), 3);

    assert!(shutdown.stop("it was asked to"));
    assert!(!shutdown.stop("again"));
    assert!(!shutdown.is_ready() && shutdown.is_draining());
    assert!(door.is_draining());
    assert_eq!(shutdown.cause(), Some(Cause::from("it was asked to")));
    assert_eq!(
        shutdown.enter().unwrap_err(),
        Refused::Closed(Phase::Draining)
    );
    assert!(shutdown.enter_scoped().is_err());

    assert!(shutdown.escalate("too long"));
    assert_eq!(shutdown.phase(), Phase::Forcing);
    drop((guards, door));
    assert_eq!((shutdown.phase(), shutdown.living()), (Phase::Stopped, 0));
    assert!(!shutdown.is_ready() && shutdown.is_draining());
    assert_eq!(shutdown.cause(), Some(Cause::from("it was asked to")));
}

#[test]
fn a_scoped_guard_lives_as_any_other() {
    let shutdown = Shutdown::new();
    let guard = shutdown.enter_scoped().unwrap();
    assert_eq!(shutdown.living(), 1);
    let another = guard.enter().unwrap();
    drop(guard);
    assert_eq!(shutdown.living(), 1);
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
            Refused::Closed(Phase::Draining),
            "no entry: the server is draining",
        ),
        (Refused::Full, "no entry: the gate cannot count more"),
        (
            Refused::NotForward(Phase::Forcing),
            "the server is already forcing",
        ),
        (Refused::Nobody, "nobody is inside"),
    ] {
        assert_eq!(refused.to_string(), text);
    }
}
