//! The behaviour of one HTTP connection: order, tickets, limits, ends.

#![allow(clippy::unwrap_used)] // a test that cannot go on should stop

mod http_support;

use contracts::queue::Ticket;
use http_support::{Client, post};
use ingest::slots::Lost;

const ALL: Ticket = Ticket(u64::MAX);

#[test]
fn a_request_in_one_piece_is_answered() {
    let mut client = Client::new();
    client.send(post("{}"));
    assert_eq!(client.worker.calls, ["POST /metrics? {}"]);
    assert_eq!(
        client.text(ALL),
        "HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nContent-Length: 14\r\n\r\n{\"accepted\":1}"
    );
    assert!(client.connection.is_idle());
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let mut client = Client::new();
    client.send(["1", "2", "3"].map(post).concat());
    assert_eq!(client.worker.calls, ["POST /metrics? 1", "POST /metrics? 2", "POST /metrics? 3"]);
    assert_eq!(client.statuses(ALL), [202, 202, 202]);
    assert_eq!(client.connection.served(), 3);
}

#[test]
fn an_answer_waits_for_its_ticket_and_those_behind_it_wait_too() {
    let mut client = Client::new();
    client.worker.tickets = vec![Ticket(1), Ticket(5), Ticket(0), Ticket(7)];
    client.send(["1", "2", "3", "4"].map(post).concat());
    assert_eq!(client.connection.waits_for(Ticket(0)), Some(Ticket(1)));
    assert_eq!(client.statuses(Ticket(0)), [0; 0]);
    assert_eq!(client.connection.waits_for(Ticket(4)), Some(Ticket(5)));
    assert_eq!(client.statuses(Ticket(4)), [202]);
    assert_eq!(client.statuses(Ticket(6)), [202, 202]);
    assert_eq!(client.connection.waits_for(Ticket(7)), None);
    assert_eq!(client.statuses(Ticket(7)), [202]);
    assert!(client.connection.is_idle());
}

#[test]
fn what_is_lost_becomes_one_503_after_what_had_settled() {
    let mut client = Client::new();
    client.worker.tickets = vec![Ticket(0), Ticket(5), Ticket(6)];
    client.send(["1", "2", "3"].map(post).concat());
    client.connection.lose(&Lost("the disk is gone".into()));
    let text = client.text(Ticket(0));
    assert!(text.starts_with("HTTP/1.1 202 "), "{text}");
    assert_eq!(text.matches("HTTP/1.1 ").count(), 2, "{text}");
    assert!(text.contains("HTTP/1.1 503 ") && text.contains("not_settled"), "{text}");
    assert!(client.connection.is_finished());
}
