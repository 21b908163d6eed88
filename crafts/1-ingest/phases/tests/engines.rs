//! The engines before the last one, against real sockets: each does what it promises.

#![allow(clippy::unwrap_used)] // a test that cannot go on should stop

#[path = "../../tests/engine_support/mod.rs"]
mod engine_support;

use contracts::ingest::IngestConfig;
use engine_support::{Lab, Served, config, post, suite, wait_until};
use ingest_phases::engine::{
    event_loop::EventLoop, keep_alive::KeepAlive, sequential::Sequential,
    thread_per_connection::ThreadPerConnection, thread_pool::ThreadPool,
};

engine_suite!(
    sequential,
    ingest_phases::engine::sequential::Sequential,
    [
        a_request_in_pieces_of_seven_bytes_is_answered,
        a_connection_serves_one_request_and_is_closed,
        a_client_is_told_to_go_on_before_it_sends_its_body,
        a_reply_is_held_until_its_ticket_has_settled,
        what_is_lost_is_never_acknowledged,
        a_ticket_that_never_settles_is_given_up,
        a_request_that_drips_is_refused_when_its_time_is_up,
        a_silent_connection_is_closed,
        a_client_that_does_not_read_is_dropped,
        a_client_that_reads_slowly_gets_everything,
        a_body_that_is_too_large_is_refused_and_the_client_hears_why,
        a_client_that_vanishes_at_any_byte_leaves_nothing_behind,
        a_drain_finishes_the_request_that_has_begun,
        a_drain_answers_what_has_arrived,
        a_drain_waits_for_nobody_for_ever,
    ]
);

engine_suite!(
    thread_per_connection,
    ingest_phases::engine::thread_per_connection::ThreadPerConnection,
    [
        a_request_in_pieces_of_seven_bytes_is_answered,
        a_connection_serves_one_request_and_is_closed,
        a_client_is_told_to_go_on_before_it_sends_its_body,
        a_reply_is_held_until_its_ticket_has_settled,
        who_waits_for_the_log_stops_nobody,
        what_is_lost_for_a_moment_is_never_acknowledged,
        what_is_lost_is_never_acknowledged,
        a_ticket_that_never_settles_is_given_up,
        a_request_that_drips_is_refused_when_its_time_is_up,
        a_silent_connection_is_closed,
        a_client_that_does_not_read_is_dropped,
        a_client_that_reads_slowly_gets_everything,
        a_body_that_is_too_large_is_refused_and_the_client_hears_why,
        a_client_that_vanishes_at_any_byte_leaves_nothing_behind,
        connections_beyond_the_limit_are_told_so,
        a_drain_finishes_what_has_begun,
        a_drain_answers_what_has_arrived,
        a_drain_waits_for_nobody_for_ever,
    ]
);

engine_suite!(
    keep_alive,
    ingest_phases::engine::keep_alive::KeepAlive,
    [
        a_request_in_pieces_of_seven_bytes_is_answered,
        a_connection_serves_many_requests,
        requests_that_come_together_are_handed_over_together,
        ten_thousand_pipelined_requests_are_answered_in_order,
        a_client_is_told_to_go_on_before_it_sends_its_body,
        a_reply_is_held_until_its_ticket_has_settled,
        who_waits_for_the_log_stops_nobody,
        what_is_lost_for_a_moment_is_never_acknowledged,
        what_is_lost_is_never_acknowledged,
        a_ticket_that_never_settles_is_given_up,
        a_request_that_drips_is_refused_when_its_time_is_up,
        a_silent_connection_is_closed,
        a_client_that_does_not_read_is_dropped,
        a_client_that_reads_slowly_gets_everything,
        a_body_that_is_too_large_is_refused_and_the_client_hears_why,
        a_client_that_vanishes_at_any_byte_leaves_nothing_behind,
        connections_beyond_the_limit_are_told_so,
        who_wants_more_memory_than_there_is_suffers_alone,
        a_drain_finishes_what_has_begun,
        a_drain_answers_what_has_arrived,
        a_drain_waits_for_nobody_for_ever,
        a_thousand_silent_connections_stop_nobody,
    ]
);

engine_suite!(
    thread_pool,
    ingest_phases::engine::thread_pool::ThreadPool,
    [
        a_request_in_pieces_of_seven_bytes_is_answered,
        a_connection_serves_many_requests,
        requests_that_come_together_are_handed_over_together,
        ten_thousand_pipelined_requests_are_answered_in_order,
        a_client_is_told_to_go_on_before_it_sends_its_body,
        a_reply_is_held_until_its_ticket_has_settled,
        who_waits_for_the_log_stops_nobody,
        what_is_lost_for_a_moment_is_never_acknowledged,
        what_is_lost_is_never_acknowledged,
        a_ticket_that_never_settles_is_given_up,
        a_request_that_drips_is_refused_when_its_time_is_up,
        a_silent_connection_is_closed,
        a_client_that_does_not_read_is_dropped,
        a_client_that_reads_slowly_gets_everything,
        a_body_that_is_too_large_is_refused_and_the_client_hears_why,
        a_client_that_vanishes_at_any_byte_leaves_nothing_behind,
        connections_beyond_the_limit_are_told_so,
        who_wants_more_memory_than_there_is_suffers_alone,
        a_drain_finishes_what_has_begun,
        a_drain_answers_what_has_arrived,
        a_drain_waits_for_nobody_for_ever,
    ]
);

engine_suite!(
    event_loop,
    ingest_phases::engine::event_loop::EventLoop,
    [
        a_request_in_pieces_of_seven_bytes_is_answered,
        a_connection_serves_many_requests,
        requests_that_come_together_are_handed_over_together,
        ten_thousand_pipelined_requests_are_answered_in_order,
        a_client_is_told_to_go_on_before_it_sends_its_body,
        a_reply_is_held_until_its_ticket_has_settled,
        who_waits_for_the_log_stops_nobody,
        what_is_lost_for_a_moment_is_never_acknowledged,
        what_is_lost_is_never_acknowledged,
        a_ticket_that_never_settles_is_given_up,
        a_request_that_drips_is_refused_when_its_time_is_up,
        a_silent_connection_is_closed,
        a_client_that_does_not_read_is_dropped,
        a_client_that_reads_slowly_gets_everything,
        a_body_that_is_too_large_is_refused_and_the_client_hears_why,
        a_client_that_vanishes_at_any_byte_leaves_nothing_behind,
        connections_beyond_the_limit_are_told_so,
        who_wants_more_memory_than_there_is_suffers_alone,
        a_drain_finishes_what_has_begun,
        a_drain_answers_what_has_arrived,
        a_drain_waits_for_nobody_for_ever,
        a_thousand_silent_connections_stop_nobody,
    ]
);

/// What phase 1 exists for, and what it is measured against.
#[test]
fn with_one_thread_a_client_that_drips_stops_everybody_until_its_time_is_up() {
    let config = IngestConfig { request_timeout: std::time::Duration::from_millis(500), ..config() };
    let served = Served::start::<Sequential>(&Lab::new(), config.clone());
    let (mut half, mut other) = (served.connect(), served.connect());
    half.send("POST /metrics HTTP/1.1\r\n");
    other.send(post("abc"));
    assert!(other.hears_nothing());
    assert_eq!(half.answer().status, 408);
    assert_eq!(other.answer().status, 202);
    served.stop();

    let served = Served::start::<ThreadPerConnection>(&Lab::new(), config);
    let (mut half, mut other) = (served.connect(), served.connect());
    half.send("POST /metrics HTTP/1.1\r\n");
    other.send(post("abc"));
    assert_eq!(other.answer().status, 202);
    assert!(half.hears_nothing(), "its time is not up yet");
    served.stop();
}

/// And what phase 8 exists for.
#[test]
fn with_two_threads_two_silent_clients_keep_a_third_waiting() {
    let config = IngestConfig { threads: 2, ..config() };
    let served = Served::start::<ThreadPool>(&Lab::new(), config);
    let mut clients: Vec<_> = (0..2).map(|_| served.connect()).collect();
    for client in &mut clients {
        client.send(post("abc"));
        assert_eq!(client.answer().status, 202);
    }
    let mut third = served.connect();
    third.send(post("abc"));
    assert!(third.hears_nothing());
    drop(clients.pop());
    assert_eq!(third.answer().status, 202);
    served.stop();
}

#[test]
fn when_the_queue_in_front_of_the_pool_is_full_clients_are_told_so() {
    suite::allow_descriptors(4_000);
    let lab = Lab::new();
    let served = Served::start::<ThreadPool>(&lab, IngestConfig { threads: 1, ..config() });
    let mut served_now = served.connect();
    served_now.send(post("abc"));
    assert_eq!(served_now.answer().status, 202);
    // As many as may wait, and a few more.
    let mut waiting: Vec<_> = (0..1024 + 8).map(|_| served.connect()).collect();
    wait_until("refusals", || lab.refused().len() == 8);
    for refused in waiting.split_off(1024) {
        let mut refused = refused;
        let answer = refused.answer();
        assert_eq!(answer.status, 503);
        assert!(answer.head.contains("Retry-After: 1"), "{}", answer.head);
    }
    drop(served_now);
    waiting[0].send(post("abc"));
    assert_eq!(waiting[0].answer().status, 202, "who waits comes in when another leaves");
    served.stop();
}

/// A test each, since each needs a process of its own.
macro_rules! without_descriptors {
    ($($test:ident: $engine:ty),* $(,)?) => {
        $(#[test] fn $test() { suite::without_descriptors::<$engine>(stringify!($test)); })*
    };
}

without_descriptors!(
    without_descriptors_threads_per_connection_go_on: ThreadPerConnection,
    without_descriptors_keep_alive_goes_on: KeepAlive,
    without_descriptors_the_pool_goes_on: ThreadPool,
    without_descriptors_the_event_loop_goes_on: EventLoop,
);
