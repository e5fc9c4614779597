//! The echo example as a process: real signals, real exit status.

#![allow(
    clippy::unwrap_used,
    reason = "a test that unwraps fails, as it should"
)]

mod example;
mod refused;
mod restart;
mod scale;
mod signals;
mod support;

/// Makes each test once for every runtime.
macro_rules! suite {
    ($($theme:ident: $($test:ident),+ $(,)?;)+) => {
        mod smol { $($(#[test] fn $test() { crate::$theme::$test("smol"); })+)+ }
        mod async_std { $($(#[test] fn $test() { crate::$theme::$test("async-std"); })+)+ }
    };
}

mod handover {
    suite! {
        restart:
            f42_restarts_under_a_storm_lose_nothing,
            f42_a_successor_that_fails_leaves_the_old_one_serving,
            f42_a_stop_during_the_restart_ends_both,
            f42_the_successor_serves_when_its_predecessor_dies,
            f42_a_successor_that_is_cancelled_serves_nobody,
            f10_a_path_is_left_to_the_successor,
            f4_a_supervisors_socket_outlives_the_server;
    }
}

suite! {
    scale:
        s4_half_idle_half_busy_adds_up;
    signals:
        both_signals_drain_and_exit_with_0,
        f17_what_was_sent_before_the_signal_is_answered,
        f33_a_thousand_idle_connections_end_at_once,
        f28_a_stubborn_client_is_aborted_and_named,
        f38_a_second_signal_aborts,
        f7_without_descriptors_it_waits_and_stops,
        f35_pid_1_stops_on_sigterm,
        f36_a_stop_whose_signals_merged_is_aborted_by_time,
        f37_children_would_inherit_no_blocked_signal,
        a_closed_stderr_does_not_matter;
    refused:
        a_busy_port,
        an_address_that_does_not_parse,
        a_grace_that_does_not_parse,
        a_unix_path_that_exists,
        a_port_without_permission;
}
