//! HTTP over real sockets on every adapter, in the simulation, and with the
//! clients that people use.

#![allow(
    clippy::unwrap_used,
    reason = "a test that unwraps fails, as it should"
)]

mod clients;
mod differential;
mod http1;
mod http2;
mod options;
mod simulated;
mod stuck;
mod support;
mod tls;
mod tunnels;

/// The service of the example `http`, which the clients are given.
#[path = "../../examples/http/routes.rs"]
mod routes;
#[path = "../../examples/http/websocket.rs"]
mod websocket;

/// Makes each test once for every runtime.
macro_rules! suite {
    ($($theme:ident: $($test:ident),+ $(,)?;)+) => {
        mod smol {
            use lameduck::runtimes::smol::Smol;
            $($(#[test] fn $test() { crate::$theme::$test(Smol); })+)+
        }
        mod async_std {
            use lameduck::runtimes::async_std::AsyncStd;
            $($(#[test] fn $test() { crate::$theme::$test(AsyncStd); })+)+
        }
        mod tokio {
            use crate::support::tokio;
            $($(#[test] fn $test() { crate::$theme::$test(tokio()); })+)+
        }
    };
}

suite! {
    http1:
        f89_every_state_at_the_stop_is_answered,
        every_state_in_the_accept_queue_is_answered,
        every_state_without_a_stop_is_answered_as_ever,
        f85_every_state_behind_a_refused_upgrade_is_answered,
        f85_a_large_answer_after_a_refused_upgrade_is_whole,
        f20_connections_that_say_nothing_end_at_once,
        f16_an_early_answer_is_not_destroyed_by_the_rest_of_the_body,
        f23_a_large_answer_reaches_a_slow_reader,
        f75_requests_behind_a_body_are_answered_after_its_early_response,
        f75_responses_before_half_a_request_are_sent_whatever_hyper_is_told,
        f97_a_client_that_pipelines_without_a_pause_is_told_of_the_close,
        f100_the_request_at_the_end_of_a_response_is_answered,
        f79_a_request_in_the_accept_queue_is_read_to_its_end,
        f79_a_request_is_read_to_its_end_where_no_connection_is_kept,
        f79_a_request_has_its_end_whatever_follows_on_it,
        f79_a_request_is_read_to_its_end_after_its_response,
        f21_an_upgraded_connection_is_waited_for,
        f21_an_upgrade_in_the_accept_queue_is_answered_before_its_protocol,
        f106_a_refused_upgrade_holds_up_nobody,
        f106_no_upgrade_is_left_for_a_connection_that_has_ended,
        events_end_at_the_stop_for_whoever_polls_on,
        a_peer_that_does_not_take_its_response_is_no_idle_one,
        a_panic_ends_its_connection_only,
        an_abort_cuts_off_what_is_in_flight;
    http2:
        streams_in_flight_are_answered_and_goaway_comes_twice,
        a_silent_http2_connection_ends_at_once,
        a_silent_http2_connection_waits_as_long_as_any,
        f81_an_http2_connection_without_a_request_holds_up_nobody,
        f24_half_a_preface_is_awaited,
        f102_a_peer_that_answers_no_ping_is_told_the_last_stream,
        a_stream_that_is_reset_in_the_stop_holds_up_nobody,
        f86_a_client_that_waits_for_our_settings_is_served,
        f86_a_client_without_a_first_request_holds_up_nobody,
        f79_a_response_is_whole_for_a_peer_that_takes_its_time,
        f79_a_stream_is_read_to_its_end_after_its_response,
        a_panic_resets_its_stream_only_and_is_counted,
        a_panic_in_a_stream_stops_a_server_that_wants_it,
        a_straggler_says_how_many_requests_are_in_flight,
        every_stream_that_had_arrived_is_answered;
    tunnels:
        f80_a_websocket_over_http2_is_told_of_the_stop,
        f80_messages_that_have_begun_are_echoed_before_the_close,
        f80_a_tunnel_within_http2_gives_what_had_arrived,
        f99_a_tunnel_that_its_client_has_ended_has_its_answer,
        f80_a_tunnel_ends_although_half_a_frame_was_of_another_stream,
        f80_what_had_arrived_of_a_call_is_answered_before_its_end,
        f80_a_call_is_not_ended_in_the_middle_of_a_frame,
        f87_half_a_message_of_grpc_is_awaited,
        f96_a_call_that_streams_to_its_client_ends_at_once,
        f101_a_stream_that_answers_one_message_ends_at_once,
        f95_the_first_message_of_a_call_may_follow_its_head,
        f95_a_call_without_a_message_holds_up_nobody,
        f91_messages_that_wait_for_their_turn_are_answered,
        f97_a_call_that_never_pauses_is_ended_between_two_pieces,
        f97_a_call_over_tls_that_never_pauses_is_ended,
        f97_a_websocket_over_http2_that_never_pauses_is_told_of_the_end,
        f17_what_had_arrived_of_a_request_is_answered_before_its_end;
    options:
        health_follows_the_phase,
        f13_a_lame_duck_announces_the_close_and_serves,
        a_client_that_has_gone_ends_its_request_where_that_is_wanted,
        an_old_connection_is_drained,
        f82_an_old_connection_announces_its_end,
        f20_empty_lines_are_no_request,
        a_connection_that_waits_too_long_is_closed,
        a_head_that_takes_too_long_is_closed,
        f34_the_longest_times_of_http_do_not_overflow,
        events_end_with_the_drain,
        f101_events_for_a_request_of_one_message_end_with_the_drain,
            events_end_with_the_time_to_settle,
        events_that_are_ready_are_sent_before_the_drain_ends_them;
    stuck: s19_a_peer_that_takes_no_output_is_closed_after_the_total_time;
    tls:
        requests_over_tls_are_answered_and_the_close_is_clean,
        f99_a_client_that_has_sent_close_notify_has_its_answer,
        f20_a_client_that_says_nothing_is_idle,
        f20_a_client_that_says_nothing_is_idle_for_a_handler_that_writes_first,
        f20_a_good_bye_to_a_client_that_says_nothing_does_not_hold_the_stop,
        f20_a_probe_is_no_failure_of_a_handler_that_writes_first,
        f20_a_client_that_speaks_after_all_can_fail_a_handler,
        f70_a_session_over_tls_reads_on_after_its_close,
        f27_half_a_record_is_awaited,
        f83_half_a_record_behind_a_request_is_awaited,
        f83_half_a_record_is_not_awaited_for_ever,
        f27_half_a_handshake_is_finished_and_its_request_answered,
        f90_what_has_begun_is_not_ended_for_its_age,
        a_handshake_without_a_request_ends_soon,
        an_end_without_close_notify_is_an_end,
        an_end_without_close_notify_is_an_end_for_a_handle,
        f20_a_probe_is_no_failure_for_a_handle,
        an_abort_sends_no_close_notify,
        garbage_fails_its_own_connection,
        certificates_can_be_replaced_while_it_serves;
}
