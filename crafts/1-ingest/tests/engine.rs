//! The reactors against real sockets.

#![allow(clippy::unwrap_used)] // a test that cannot go on should stop

mod engine_support;

use contracts::ingest::IngestConfig;
use engine_support::{Lab, Served, config, post, suite, wait_until};
use ingest::engine::ReactorPerCore;
use std::{
    io::ErrorKind,
    net::{TcpListener, TcpStream},
};

engine_suite!(
    reactors,
    ingest::engine::ReactorPerCore,
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

#[test]
fn without_descriptors_clients_are_told_so_and_nothing_spins() {
    suite::without_descriptors::<ReactorPerCore>("without_descriptors_clients_are_told_so_and_nothing_spins");
}

/// `cargo test --release -p ingest --test engine -- --ignored`; both ends of each are in this
/// process, which needs 19,800 descriptors.
#[test]
#[ignore = "needs more descriptors than many machines allow"]
fn almost_ten_thousand_silent_connections_stop_nobody() {
    suite::almost_ten_thousand_silent_connections_stop_nobody::<ReactorPerCore>();
}

/// If each connection fell on either side by chance alone, all 64 would be on one in one run of 2^63.
#[test]
fn the_kernel_spreads_connections_over_the_reactors() {
    let lab = Lab::new();
    let served = Served::start::<ReactorPerCore>(&lab, IngestConfig { threads: 2, ..config() });
    assert_eq!(served.ask("a").status, 202, "all listeners are there by now");
    let mut clients: Vec<_> = (0..64).map(|_| served.connect()).collect();
    for client in &mut clients {
        client.send(post("a"));
        assert_eq!(client.answer().status, 202);
    }
    let requests = lab.requests();
    assert!(requests.len() == 2 && requests.iter().all(|n| *n > 0), "{requests:?}");
    served.stop();
}

#[test]
fn nobody_else_can_have_the_port() {
    let served = Served::start::<ReactorPerCore>(&Lab::new(), IngestConfig { threads: 2, ..config() });
    assert_eq!(served.ask("a").status, 202);
    assert_eq!(TcpListener::bind(served.address).unwrap_err().kind(), ErrorKind::AddrInUse);
    served.stop();
}

#[test]
fn a_reactor_that_panics_ends_the_server_with_an_error() {
    let mut served = Served::start::<ReactorPerCore>(&Lab::new(), IngestConfig { threads: 2, ..config() });
    let mut other = served.connect();
    let mut client = served.connect();
    client.send("GET /panic HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(client.is_closed() && other.is_closed());
    assert!(served.wait().unwrap_err().to_string().contains("panicked"));
    wait_until("a closed port", || TcpStream::connect(served.address).is_err());
}
