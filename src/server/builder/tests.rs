use std::io;

use super::*;
use crate::runtimes::smol::Smol;

const SECOND: Duration = Duration::from_secs(1);

fn builder() -> Builder<Smol> {
    Builder::new(Smol)
}

fn with_hook(builder: Builder<Smol>) -> Builder<Smol> {
    builder.after_drain("flush", |_| async { io::Result::Ok(()) })
}

#[test]
fn f31_parts_that_were_not_set_fit_into_the_grace_period() {
    let parts = |builder: Builder<Smol>| {
        let config = builder.config().unwrap();
        (config.abort_timeout, config.hook_reserve)
    };
    let default = Config::default();
    let all = (default.abort_timeout, default.hook_reserve);
    assert_eq!(parts(with_hook(builder())), all);
    let short = || builder().grace_period(SECOND);
    assert_eq!(parts(with_hook(short())), (SECOND / 4, SECOND / 5));
    // Nothing is kept for hooks that are not there.
    assert_eq!(parts(short()), (SECOND / 4, Duration::ZERO));
    let set = short().abort_timeout(SECOND / 2).hook_reserve(SECOND / 3);
    assert_eq!(parts(set), (SECOND / 2, SECOND / 3));
}

#[test]
fn f31_parts_that_do_not_fit_are_an_error() {
    let builder = builder().grace_period(SECOND).settle(2 * SECOND);
    let error = builder.config().unwrap_err();
    assert!(matches!(error, BindError::Config(_)), "{error}");
}

#[cfg(feature = "handover")]
#[test]
fn the_signal_of_a_restart_is_caught_and_stops_nothing() {
    use Signal::{Hangup, Interrupt, Terminate};

    let signals = |of: &[Signal]| {
        let builder = builder()
            .signals(of.iter().copied())
            .restart(Restart::on(Hangup));
        (builder.wanted_signals(), builder.stop_signals())
    };
    let both = signals(&[Interrupt, Terminate]);
    let wanted = vec![Interrupt, Terminate, Hangup];
    assert_eq!(both, (wanted, vec![Interrupt, Terminate]));
    // Once, where it is among those that stop.
    assert_eq!(signals(&[Hangup]), (vec![Hangup], vec![]));
    assert_eq!(signals(&[]), (vec![Hangup], vec![]));
}
