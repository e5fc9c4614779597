//! The echo example as a process: real signals, real exit status.

#![allow(
    clippy::unwrap_used,
    reason = "a test that unwraps fails, as it should"
)]

mod doubled;
mod example;
mod held;
mod namespaces;
mod passed;
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
        mod tokio_multi_thread { $($(#[test] fn $test() { crate::$theme::$test("tokio"); })+)+ }
        mod tokio_current_thread {
            $($(#[test] fn $test() { crate::$theme::$test("tokio-current-thread"); })+)+
        }
    };
}

mod handover {
    suite! {
        restart:
            f42_f84_restarts_under_a_storm_lose_nothing,
            f84_clients_that_are_about_to_speak_are_answered_in_a_restart,
            f84_a_client_that_still_receives_is_answered_in_a_restart,
            f42_a_successor_that_fails_leaves_the_old_one_serving,
            f42_a_server_that_stops_starts_no_successor,
            f42_a_stop_during_the_restart_ends_both,
            f42_the_successor_serves_when_its_predecessor_dies,
            f42_a_successor_that_is_cancelled_serves_nobody,
            f49_a_stop_before_the_predecessors_word_still_sweeps,
            f49_a_group_that_is_told_to_stop_in_a_restart_loses_nobody,
            f50_process_1_refuses_to_restart_and_serves_on,
            f53_a_restart_leaves_its_supervisors_variables_behind,
            f58_a_restart_signal_during_a_restart_is_carried_out,
            f10_a_path_is_left_to_the_successor,
            f4_a_supervisors_socket_outlives_the_server,
            f65_a_restart_that_overlaps_is_explained;
        passed:
            f63_a_socket_that_covers_the_address_is_taken,
            f63_one_socket_serves_both_families,
            f63_the_error_names_what_was_passed,
            f63_sockets_for_another_process_are_explained,
            f63_systemds_own_tool_can_start_it,
            f64_other_kinds_of_descriptors_refuse_nothing,
            f64_variables_that_lie_are_explained,
            f66_an_abstract_name_that_was_passed_is_taken;
    }

    #[test]
    fn f84_an_http_client_that_still_receives_is_answered_in_a_restart() {
        on_each(crate::restart::f84_an_http_client_that_still_receives);
    }

    #[test]
    fn f84_an_http_client_whose_events_have_ended_is_answered_in_a_restart() {
        on_each(crate::restart::f84_an_http_client_whose_events_have_ended);
    }

    /// At the same time, as each waits for a restart.
    fn on_each(test: fn(&str)) {
        std::thread::scope(|scope| {
            for runtime in ["smol", "async-std", "tokio"] {
                scope.spawn(move || test(runtime));
            }
        });
    }

    #[test]
    fn f64_sockets_are_asked_for_by_name() {
        crate::passed::f64_sockets_are_asked_for_by_name();
    }

    #[test]
    fn f64_a_restart_passes_on_what_the_program_has_taken() {
        crate::restart::f64_a_restart_passes_on_what_the_program_has_taken();
    }

    #[test]
    fn f64_a_name_that_was_not_passed_is_refused() {
        crate::passed::f64_a_name_that_was_not_passed_is_refused();
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
    doubled:
        f45_two_signals_at_once_are_one_stop,
        f45_a_stop_by_gnu_timeout_is_one_stop,
        a_terminal_that_is_closed_stops_a_server_and_does_not_restart_it,
        f47_a_log_that_nobody_reads_does_not_hold_the_process,
        f47_a_second_signal_is_heard_where_the_log_holds_the_server,
        f55_a_signal_that_the_parent_had_blocked_stops;
    held:
        l1_the_second_signal_ends_a_process_whose_threads_are_held,
        l1_the_budget_ends_a_process_whose_threads_are_held,
        l1_the_exit_does_not_wait_for_blocking_work;
    namespaces:
        f46_a_queue_waits_for_descriptors_as_long_as_the_budget,
        f46_a_queue_that_was_not_swept_is_reported,
        f56_syn_cookies_leave_no_stronger_guarantee_than_swept,
        f57_a_socket_of_another_network_is_swept_and_not_trusted;
    refused:
        a_busy_port,
        an_address_that_does_not_parse,
        a_grace_that_does_not_parse,
        a_unix_path_that_exists,
        a_port_without_permission;
}
