//! One suite over real sockets, run on every adapter that is compiled in.

#![allow(
    clippy::unwrap_used,
    reason = "a test that unwraps fails, as it should"
)]

mod broker;
mod closing;
mod completing;
mod conformance;
mod draining;
mod faults;
mod faulty;
mod listening;
mod many;
mod naive;
mod options;
mod outcomes;
mod parity;
mod proxies;
mod sloppy;
mod storm;
mod support;

#[allow(
    dead_code,
    reason = "an example, whose main function nobody calls here"
)]
#[path = "../../examples/own_runtime.rs"]
mod own_runtime;

/// Makes each test once for every runtime. The tests of smol share the threads
/// of one executor, those of async-std as well: one that holds threads there
/// runs while no other does (`alone`).
macro_rules! suite {
    (alone; $($themes:tt)+) => { suite! { @ while_alone $($themes)+ } };
    (@ $turn:ident $($theme:ident: $($test:ident),+ $(,)?;)+) => {
        mod smol {
            use lameduck::runtimes::smol::Smol;
            use crate::support::$turn;
            $($(#[test] fn $test() { let _turn = $turn(); crate::$theme::$test(Smol); })+)+
        }
        mod async_std {
            use lameduck::runtimes::async_std::AsyncStd;
            use crate::support::$turn;
            $($(#[test] fn $test() { let _turn = $turn(); crate::$theme::$test(AsyncStd); })+)+
        }
        mod tokio_multi_thread {
            use crate::support::tokio_multi_thread;
            $($(#[test] fn $test() { crate::$theme::$test(tokio_multi_thread()); })+)+
        }
        mod tokio_current_thread {
            use crate::support::tokio_current_thread;
            $($(#[test] fn $test() { crate::$theme::$test(tokio_current_thread()); })+)+
        }
    };
    ($($themes:tt)+) => { suite! { @ beside_others $($themes)+ } };
}

mod holding_threads {
    suite! {
        alone;
        conformance: f72_the_adapter_keeps_every_contract;
        draining: f17_what_arrived_while_a_handler_computes_is_answered;
        faults: f47_a_readiness_callback_that_blocks_does_not_hold_up_the_stop;
        outcomes: f32_a_connection_that_ignores_the_abort_is_abandoned;
    }
}

mod beside_the_simulation {
    suite! {
        parity:
            a_drain_is_the_same_as_in_the_simulation,
            an_abort_is_the_same_as_in_the_simulation;
    }
}

mod with_a_successor {
    suite! {
        faults:
            f43_a_supervisor_hears_nothing_of_a_stop_with_a_successor,
            f51_a_stop_by_the_program_in_a_restart_has_the_usual_budget,
            f48_whom_a_listener_had_taken_is_served_in_a_restart;
    }
}

suite! {
    broker:
        f94_a_subscriber_has_what_publishers_behind_it_had_sent,
        f94_members_of_a_chat_hear_each_other_and_end,
        f94_those_that_drain_last_end_by_the_abort,
        f98_those_that_rest_end_in_order_although_one_is_stuck;
    draining:
        answers_exactly_what_it_read,
        f17_readable_bytes_win_over_the_stop,
        f97_a_client_that_never_pauses_is_ended_between_two_messages,
        f97_what_had_arrived_is_answered_when_half_of_the_time_is_over,
        idle_connections_see_the_end_of_input,
        l2_an_empty_server_stops_at_once,
        f1_what_waits_in_the_accept_queue_is_served,
        f13_a_lame_duck_accepts_and_serves,
        f17_idle_connections_are_read_while_they_settle,
        s20_a_sweep_that_is_cut_by_its_limit_is_unswept,
        f1_a_sweep_of_a_full_queue_keeps_its_guarantee,
        f20_a_connection_that_never_sent_a_byte_is_idle,
        f21_a_session_in_another_task_is_waited_for,
        f39_a_handler_can_ask_for_the_stop,
        f41_hooks_run_after_connections_in_order,
        f93_a_hook_awaits_a_worker_that_the_handler_feeds,
        f93_a_hook_awaits_the_worker_beside_a_session_that_is_kept,
        s11_a_busy_connection_is_not_interrupted;
    proxies:
        f88_a_proxy_of_bytes_loses_nothing_that_moves,
        f99_a_client_that_has_ended_its_side_has_its_answer,
        f99_an_answer_that_never_comes_ends_with_the_abort,
        f103_a_client_that_reads_slowly_is_not_quiet,
        f103_output_that_waits_is_sent_by_what_reads_ahead;
    storm:
        f2_a_storm_loses_nothing,
        f78_few_clients_wait_for_their_refusal,
        f78_hardly_anybody_waits_where_the_filter_is_off;
    closing:
        f16_unread_input_does_not_reset,
        f16_unread_input_does_not_reset_a_draining_server,
        f22_a_peer_that_never_ends_is_closed_after_the_total_time,
        f22_a_silent_peer_is_closed_after_the_idle_time,
        f22_three_hundred_lingering_closes_cost_no_more_time_than_one,
        s5_a_peer_that_takes_no_output_is_cut_off_after_the_total_time,
        s5_a_close_that_is_cut_off_says_so,
        f24_the_stop_waits_for_a_slow_reader,
        f24_the_stop_waits_for_a_slow_reader_that_has_half_closed,
        f24_the_stop_does_not_wait_for_a_peer_that_resets,
        f23_a_large_answer_reaches_a_slow_reader;
    completing:
        f48_whom_a_listener_had_taken_is_served_where_nobody_sweeps,
        f48_whom_a_listener_had_taken_at_an_abort_is_counted;
    outcomes:
        s4_each_connection_has_one_outcome,
        f25_a_panic_ends_its_connection_only,
        f28_a_connection_that_does_not_end_is_aborted_and_named,
        f28_the_report_says_what_each_did_at_the_abort,
        f104_the_report_says_that_the_stop_has_ended_a_wait,
        f69_an_abort_reaches_a_session_in_another_task,
        f69_an_abort_reaches_both_halves_of_a_session,
        f69_a_session_that_nobody_uses_is_abandoned_and_counted_once,
        f54_every_hook_starts_also_after_an_abort,
        f54_a_hook_that_hangs_leaves_the_others_their_time,
        l7_a_hook_without_any_time_starts,
        f71_a_swept_connection_can_take_a_guard,
        f38_a_second_stop_changes_nothing,
        f38_an_abort_does_not_wait,
        a_panic_can_stop_the_server,
        a_failed_hook_is_an_error,
        f25_connections_of_a_dropped_server_end_by_themselves;
    faults:
        f3_a_port_is_not_shared_by_two_sockets,
        f4_other_holders_of_a_socket_are_left_alone,
        f5_a_waiting_accept_ends_and_takes_no_more,
        f6_a_child_keeps_neither_port_nor_connection,
        f14_not_ready_is_not_dead,
        f15_a_handler_can_spread_the_closes,
        f26_ids_are_never_reused,
        f27_a_request_that_was_read_is_waited_for,
        f34_the_longest_times_do_not_overflow,
        f43_a_supervisor_hears_of_the_stop_once;
    faulty:
        f7_accept_errors_do_not_end_acceptance,
        f8_a_task_that_the_runtime_panics_at_is_one_lost_connection,
        f7_the_stop_interrupts_the_back_off,
        f40_a_listener_that_fails_begins_the_stop_of_all,
        f40_a_close_that_fails_is_reported,
        f46_a_sweep_waits_for_descriptors,
        f46_a_listener_that_fails_in_its_sweep_makes_it_no_clean_stop,
        f48_what_the_runtime_has_no_room_for_is_served_later,
        f52_a_queue_of_unknown_length_is_swept_as_it_was_asked_for,
        s5_an_abort_in_the_same_poll_is_not_reported_as_clean;
    options:
        f52_a_queue_longer_than_the_backlog_is_swept_to_its_end,
        f52_the_queue_of_a_unix_socket_is_swept_to_its_end,
        f62_both_families_listen_on_one_port,
        f62_an_overlap_of_its_own_is_named,
        f62_options_that_contradict_are_refused,
        f66_a_path_that_was_left_behind_is_replaced,
        f66_a_path_that_somebody_listens_at_is_refused,
        f66_a_path_has_the_mode_and_group_that_were_asked_for,
        f66_a_name_that_is_no_path_makes_no_file,
        f66_a_path_that_cannot_be_removed_is_an_error_of_the_stop,
        f76_small_writes_are_sent_at_once,
        f77_the_index_of_a_listener_is_that_of_its_address;
    many:
        f68_only_those_that_woke_are_asked,
        f68_a_visit_costs_the_same_with_many_listeners,
        f68_a_stop_is_linear_in_the_number_of_listeners,
        f68_those_at_the_connection_limit_take_turns;
    listening:
        several_listeners_of_all_kinds_drain_together,
        f10_a_unix_path_is_removed_by_its_owner_only,
        the_connection_limit_is_waited_at,
        the_stop_interrupts_the_wait_at_the_limit,
        a_busy_port_is_refused,
        a_path_that_exists_is_refused,
        a_server_without_an_address_or_room_is_refused,
        f31_parts_beyond_the_budget_are_refused;
}
