//! The behaviour of one HTTP connection: the form of answers, their order, tickets, limits, ends.

#![allow(clippy::unwrap_used)] // a test that cannot go on should stop

mod http_support;

use contracts::{http::Response, queue::Ticket};
use http_support::{ALL, BODY_BYTES_MAX, Client, answers, cases, post};
use ingest::{
    http::Settings,
    slots::{Answer, Lost, Reply},
};
use proptest::prelude::*;
use std::{
    collections::VecDeque,
    time::{Duration, UNIX_EPOCH},
};

const GET: &str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
/// `OUTPUT_BYTES_MAX`, and the capacity that an idle connection may keep.
const OUTPUT_BYTES_MAX: usize = 64 << 10;
const KEPT_BYTES_MAX: usize = 64 << 10;

fn held_by(tickets: impl IntoIterator<Item = u64>) -> VecDeque<Reply> {
    tickets.into_iter().map(|t| Reply { answer: Answer::Accepted(1), ticket: Ticket(t) }).collect()
}

/// Asks for `response` with a request of this method, and returns the answer's text.
fn answer_to(method: &str, response: Response) -> String {
    let mut client = Client::new();
    client.worker.replies.push_back(Reply::now(response));
    client.send(format!("{method} / HTTP/1.1\r\nHost: x\r\n\r\n"));
    client.text(ALL)
}

// The form of answers.

#[test]
fn the_two_answers_of_the_hot_path_are_written_as_any_other() {
    let mut client = Client::new();
    client.send(post("{}"));
    assert_eq!(client.worker.calls, ["POST /metrics [{}]"]);
    assert_eq!(
        client.text(ALL),
        "HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nContent-Length: 14\r\n\r\n{\"accepted\":1}"
    );
    for count in [0, 9, 10, 12_345, usize::MAX] {
        client.worker.replies.push_back(Reply { answer: Answer::Accepted(count), ticket: Ticket(0) });
        client.send(post("{}"));
        let answer = answers(&client.take(ALL)).remove(0);
        assert_eq!(answer.body, format!("{{\"accepted\":{count}}}").into_bytes());
    }
    client.worker.replies.push_back(Reply { answer: Answer::NoContent, ticket: Ticket(0) });
    client.send(post("{}"));
    assert_eq!(client.text(ALL), "HTTP/1.1 204 No Content\r\n\r\n");
}

#[test]
fn a_response_is_written_with_its_headers_and_its_length() {
    let response = Response::text(404, "no such thing").with("Allow", "GET").with("X-Empty", "");
    assert_eq!(
        answer_to("GET", response),
        "HTTP/1.1 404 Not Found\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 13\r\n\
         Allow: GET\r\nX-Empty: \r\n\r\nno such thing"
    );
}

#[test]
fn a_head_gets_the_length_of_what_it_does_not_get() {
    let text = answer_to("HEAD", Response::text(200, "12345"));
    assert!(text.contains("Content-Length: 5\r\n") && text.ends_with("\r\n\r\n"), "{text}");
    let mut client = Client::new();
    client.send("HEAD / HTTP/1.1\r\nHost: x\r\n\r\n");
    let text = client.text(ALL);
    assert!(text.contains("Content-Length: 14\r\n") && text.ends_with("\r\n\r\n"), "{text}");
}

#[test]
fn an_answer_that_has_no_body_has_no_length() {
    for status in [204, 304] {
        let text = answer_to("GET", Response::text(status, "never sent"));
        assert!(!text.contains("Content-") && text.ends_with("\r\n\r\n"), "{text}");
    }
    let text = answer_to("GET", Response::status(200));
    assert!(text.contains("Content-Length: 0\r\n"), "without it the client would wait for the end: {text}");
}

#[test]
fn a_header_value_never_ends_its_line() {
    let evil = "a\r\nSet-Cookie: b\r\n\r\nHTTP/1.1 200 OK\r\n\0\u{7f}";
    let text = answer_to("GET", Response::status(200).with("X", evil));
    assert!(text.contains("\r\nX: a  Set-Cookie: b    HTTP/1.1 200 OK    \r\n"), "{text:?}");
    assert_eq!(answers(text.as_bytes()).len(), 1);
}

#[test]
fn an_answer_says_what_becomes_of_the_connection() {
    let said = |version: &str, header: &str| {
        let mut client = Client::new();
        client.send(format!("GET / HTTP/{version}\r\nHost: x\r\n{header}\r\n"));
        let answer = answers(&client.take(ALL)).remove(0);
        (answer.header("connection").map(str::to_owned), client.connection.is_finished())
    };
    let close = (Some("close".to_owned()), true);
    assert_eq!(said("1.1", ""), (None, false));
    assert_eq!(said("1.1", "Connection: close\r\n"), close);
    assert_eq!(said("1.0", ""), close);
    assert_eq!(said("1.0", "Connection: keep-alive\r\n"), (Some("keep-alive".to_owned()), false));
}

#[test]
fn a_server_that_was_told_the_time_says_it() {
    let mut client = Client::new();
    client.send(GET);
    assert!(!client.text(ALL).contains("Date"));
    client.scratch.set_time(UNIX_EPOCH + Duration::from_secs(784_111_777));
    client.send(post("{}"));
    client.send("nonsense\r\n");
    let dates: Vec<_> =
        answers(&client.take(ALL)).iter().map(|a| a.header("date").map(str::to_owned)).collect();
    assert_eq!(dates, vec![Some("Sun, 06 Nov 1994 08:49:37 GMT".to_owned()); 2]);
}

// What reaches the worker.

#[test]
fn headers_reach_the_worker_in_order_and_without_white_space_around() {
    let mut client = Client::new();
    client.send(b"GET / HTTP/1.1\r\nhOsT: x\r\nB:\t 2 \r\nA: \xff\r\nB: 3\r\nE:\r\n\r\n");
    let expected: [(&str, &[u8]); 5] = [("hOsT", b"x"), ("B", b"2"), ("A", b"\xff"), ("B", b"3"), ("E", b"")];
    let headers: Vec<_> = client.worker.headers.iter().map(|(n, v)| (n.as_str(), v.as_slice())).collect();
    assert_eq!(headers, expected);
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let mut client = Client::new();
    client.worker.replies = held_by([0, 0]);
    client.worker.replies.push_back(Reply::now(Response::status(404)));
    client.send(["1", "2", "3", "4"].map(post).concat());
    assert_eq!(
        client.worker.calls,
        ["POST /metrics [1]", "POST /metrics [2]", "POST /metrics [3]", "POST /metrics [4]"]
    );
    assert_eq!(client.statuses(ALL), [202, 202, 404, 202]);
    assert_eq!(client.connection.served(), 4);
}

#[test]
fn an_error_of_the_app_leaves_the_connection_alive() {
    let mut client = Client::new();
    client.worker.replies.push_back(Reply::now(Response::text(400, "no JSON")));
    client.send([post("{"), post("{}")].concat());
    assert_eq!(client.statuses(ALL), [400, 202]);
    assert!(client.connection.is_idle() && client.connection.wants_input());
    assert!(client.worker.refused.is_empty(), "the worker knows already");
}

// Tickets.

#[test]
fn an_answer_waits_for_its_ticket_and_those_behind_it_wait_too() {
    let mut client = Client::new();
    client.worker.replies = held_by([1, 5, 0, 7]);
    client.send(["1", "2", "3", "4"].map(post).concat());
    assert_eq!(client.connection.waits_for(Ticket(0)), Some(Ticket(1)));
    assert_eq!(client.statuses(Ticket(0)), [0; 0]);
    assert_eq!(client.connection.waits_for(Ticket(4)), Some(Ticket(5)));
    assert_eq!(client.statuses(Ticket(4)), [202]);
    assert_eq!(client.statuses(Ticket(6)), [202, 202]);
    assert_eq!(client.connection.waits_for(Ticket(7)), None);
    assert!(!client.connection.is_idle());
    assert_eq!(client.statuses(Ticket(7)), [202]);
    assert!(client.connection.is_idle());
}

#[test]
fn what_is_lost_becomes_one_503_behind_what_waited_for_nothing() {
    let mut client = Client::new();
    client.worker.replies = held_by([0, 5, 6, 0]);
    client.send(["1", "2", "3", "4"].map(post).concat());
    client.send("GET / HT");
    client.connection.lose(&Lost("the disk is gone".into()));
    let sent = answers(&client.take(Ticket(0)));
    assert_eq!(sent.iter().map(|a| a.status).collect::<Vec<_>>(), [202, 503]);
    let error: serde_json::Value = serde_json::from_slice(&sent[1].body).unwrap();
    assert_eq!(error["error"]["code"], "not_settled");
    assert!(error["error"]["message"].as_str().unwrap().contains("the disk is gone"), "{error}");
    assert_eq!(sent[1].header("connection"), Some("close"));
    assert!(client.connection.is_finished() && client.connection.should_linger());
}

#[test]
fn an_answer_that_has_begun_to_leave_is_not_torn_by_a_loss() {
    for sent_before in [1, 40, 200] {
        let mut client = Client::new();
        client.worker.replies = held_by([1, 2]);
        client.send(["1", "2"].map(post).concat());
        // The first has settled, and the client took a part.
        let all = client.connection.output(Ticket(1)).to_vec();
        let part = sent_before.min(all.len() - 1);
        client.connection.wrote(part);
        client.connection.lose(&Lost("gone".into()));
        let rest = client.take(Ticket(0));
        let read = answers(&[&all[..part], &rest].concat());
        assert_eq!(read.iter().map(|a| a.status).collect::<Vec<_>>(), [202, 503], "{part} bytes before");
    }
}

#[test]
fn an_answer_that_was_not_begun_is_lost_even_behind_one_that_has_left() {
    let mut client = Client::new();
    client.worker.replies = held_by([1, 2]);
    client.send(["1", "2"].map(post).concat());
    assert_eq!(client.statuses(Ticket(1)), [202]);
    client.connection.lose(&Lost("gone".into()));
    assert_eq!(client.statuses(Ticket(0)), [503]);
}

#[test]
fn a_loss_that_concerns_nobody_says_nothing() {
    let mut client = Client::new();
    client.send(post("{}"));
    client.connection.lose(&Lost("gone".into()));
    assert_eq!(client.statuses(ALL), [202]);
    assert!(!client.connection.is_finished(), "nothing of this client's was lost");
}

proptest! {
    /// Against a model: answers are numbered, and what may leave is what stands before the first unsettled one.
    #[test]
    fn answers_leave_in_order_and_never_before_their_ticket(
        steps in prop::collection::vec((0..4_u64, 0..3_usize, 0..400_usize), 1..40),
    ) {
        let mut client = Client::new();
        let (mut expected, mut model, mut sent) = (Vec::new(), Vec::new(), Vec::new());
        let (mut ticket, mut settled) = (0, Ticket(0));
        for (number, (step, requests, bytes)) in steps.into_iter().enumerate() {
            for i in 0..requests {
                ticket += step;
                let count = number * 10 + i;
                let held = if (number + i) % 5 == 0 { 0 } else { ticket };
                client.worker.replies.push_back(Reply { answer: Answer::Accepted(count), ticket: Ticket(held) });
                client.send(post("{}"));
                expected.push(count);
                model.push(held);
            }
            // Some time later, so much has settled, and the client takes so many bytes.
            settled = settled.max(Ticket(ticket.saturating_sub(step)));
            let ready = client.connection.output(settled).to_vec();
            let part = ready.len().min(bytes);
            client.connection.wrote(part);
            sent.extend_from_slice(&ready[..part]);
            let may_leave = model.iter().take_while(|held| **held <= settled.0).count();
            prop_assert_eq!(answers(&[&sent[..], &ready[part..]].concat()).len(), may_leave);
            let next = model.get(may_leave).map(|held| Ticket(*held));
            prop_assert_eq!(client.connection.waits_for(settled), next);
        }
        sent.extend(client.take(ALL));
        let read = answers(&sent).into_iter().map(|a| String::from_utf8(a.body).unwrap());
        let expected = expected.into_iter().map(|count| format!("{{\"accepted\":{count}}}"));
        prop_assert!(read.eq(expected));
    }
}

// Clients that do not read.

#[test]
fn requests_are_kept_back_while_nobody_takes_their_answers() {
    const REQUESTS: usize = 2000;
    let mut client = Client::new();
    client.send(post("{}").repeat(REQUESTS));
    let run = client.worker.calls.len();
    let waiting = client.connection.output(ALL).len();
    assert!(run < REQUESTS && waiting < OUTPUT_BYTES_MAX + 200, "{run} requests run, {waiting} bytes wait");
    assert!(!client.connection.wants_input() && !client.connection.is_reading());
    client.resume();
    assert_eq!(client.worker.calls.len(), run, "there is no room yet");
    let mut answered = 0;
    while !client.connection.is_idle() {
        answered += client.statuses(ALL).len();
        client.resume();
    }
    assert_eq!((answered, client.worker.calls.len()), (REQUESTS, REQUESTS));
    assert!(client.connection.wants_input());
}

#[test]
fn requests_that_were_kept_back_are_answered_before_the_end() {
    for (last, expected) in [("", 202), ("GET / HT", 400)] {
        let mut client = Client::new();
        client.send([post("{}").repeat(2000), last.into()].concat());
        client.end();
        assert!(!client.connection.is_finished(), "the client has stopped sending, not reading");
        let mut statuses = Vec::new();
        while !client.connection.is_finished() {
            statuses.extend(client.statuses(ALL));
            client.resume();
        }
        assert_eq!(statuses.iter().filter(|s| **s == 202).count(), 2000);
        assert_eq!(statuses.last(), Some(&expected));
    }
}

#[test]
fn a_client_that_always_leaves_a_little_unread_does_not_let_the_buffer_grow() {
    let mut client = Client::new();
    for _ in 0..20_000 {
        client.send(post("{}"));
        let leave = client.connection.output(ALL).len().saturating_sub(50);
        client.connection.wrote(leave);
    }
    let held = client.connection.buffered_bytes();
    assert!(held < 8 * OUTPUT_BYTES_MAX, "{held} bytes");
}

// Expect: 100-continue.

fn expecting(length: usize) -> String {
    format!("POST /m HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n")
}

#[test]
fn a_client_that_waits_is_told_to_continue() {
    let mut client = Client::new();
    client.send(expecting(2));
    assert_eq!(client.text(ALL), "HTTP/1.1 100 Continue\r\n\r\n");
    assert!(client.connection.is_reading());
    client.send("ab");
    assert_eq!(client.statuses(ALL), [202]);
    assert_eq!(client.connection.served(), 1, "an interim answer is none");
}

#[test]
fn a_client_that_waits_is_told_so_even_if_its_head_came_in_pieces() {
    let mut client = Client::new();
    expecting(2).bytes().for_each(|byte| client.send([byte]));
    assert_eq!(client.statuses(ALL), [100]);
    client.send("POST /m HTTP/1.1"); // a body of two bytes, and what follows it
    assert_eq!(client.worker.calls, ["POST /m [PO]"]);
}

#[test]
fn a_client_that_does_not_wait_is_not_told() {
    let mut client = Client::new();
    client.send(expecting(2) + "a");
    client.send("b");
    client.send(expecting(0));
    client.send(expecting(2).replace("HTTP/1.1", "HTTP/1.0"));
    client.send("ab");
    assert_eq!(client.statuses(ALL), [202, 202, 202]);
}

#[test]
fn a_body_that_is_too_large_is_refused_before_it_is_sent() {
    let mut client = Client::new();
    client.send(expecting(BODY_BYTES_MAX + 1));
    assert_eq!(client.statuses(ALL), [413]);
    assert!(client.connection.is_finished() && client.connection.should_linger());
}

#[test]
fn the_word_to_continue_waits_behind_earlier_answers() {
    let mut client = Client::new();
    client.worker.replies = held_by([3]);
    client.send([post("{}"), expecting(2).into()].concat());
    assert_eq!(client.statuses(Ticket(2)), [0; 0]);
    assert_eq!(client.statuses(Ticket(3)), [202, 100]);
}

// Ends.

#[test]
fn a_request_that_has_begun_is_refused_when_time_is_up() {
    for begun in ["G", "POST /m HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhel"] {
        let mut client = Client::new();
        client.scratch.set_time(UNIX_EPOCH + Duration::from_secs(100));
        client.send(begun);
        client.scratch.set_time(UNIX_EPOCH + Duration::from_secs(105));
        assert!(client.connection.is_reading());
        client.connection.time_out(&mut client.scratch, &mut client.worker);
        assert_eq!(client.statuses(ALL), [408]);
        assert_eq!(client.worker.refused, [(408, Duration::from_secs(5))]);
        assert!(client.connection.is_finished());
    }
}

#[test]
fn a_silent_connection_ends_without_a_word() {
    let mut client = Client::new();
    client.connection.time_out(&mut client.scratch, &mut client.worker);
    assert!(client.connection.is_finished() && client.connection.output(ALL).is_empty());
    assert!(client.worker.refused.is_empty() && !client.connection.should_linger());
}

#[test]
fn an_overload_refuses_and_gives_back_what_was_held() {
    let mut client = Client::new();
    client.send(format!("POST /m HTTP/1.1\r\nHost: x\r\nContent-Length: {BODY_BYTES_MAX}\r\n\r\nbody"));
    client.connection.overload("overloaded", &mut client.scratch, &mut client.worker);
    let answer = answers(&client.take(ALL)).remove(0);
    let error: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!((answer.status, &error["error"]["code"]), (503, &"overloaded".into()));
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert!(client.connection.is_finished() && client.connection.should_linger());
    assert_eq!(client.worker.refused.len(), 1);
    client.send("more of the body");
    assert!(client.connection.output(ALL).is_empty());
}

#[test]
fn what_ends_waits_for_what_is_held() {
    let mut client = Client::new();
    client.worker.replies = held_by([3]);
    client.send([post("{}"), b"garbage\r\n".to_vec()].concat());
    client.end();
    assert_eq!(client.statuses(Ticket(2)), [0; 0]);
    assert!(!client.connection.is_finished());
    assert_eq!(client.statuses(Ticket(3)), [202, 400]);
    assert!(client.connection.is_finished());
}

#[test]
fn only_a_client_that_may_still_be_sending_is_listened_to_at_the_end() {
    let lingers = |bytes: &[u8], ends: bool| {
        let mut client = Client::new();
        client.send(bytes);
        if ends {
            client.end();
        }
        client.take(ALL);
        assert!(client.connection.is_finished());
        client.connection.should_linger()
    };
    let closing = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    assert!(!lingers(closing.as_bytes(), false), "it said itself that this is all");
    assert!(lingers(format!("{closing}{GET}").as_bytes(), false), "something was left unread");
    assert!(lingers(b"garbage\r\n", false), "who knows what follows");
    assert!(!lingers(b"garbage\r\n", true), "nothing follows");
    assert!(!lingers(GET.as_bytes(), true));
}

#[test]
fn a_connection_without_keep_alive_answers_once() {
    let mut client = Client::with(Settings { body_bytes_max: BODY_BYTES_MAX, keep_alive: false });
    client.send(GET.repeat(2));
    let sent = answers(&client.take(ALL));
    assert_eq!((sent.len(), sent[0].header("connection")), (1, Some("close")));
    assert!(client.connection.is_finished() && client.connection.should_linger());
}

#[test]
fn a_draining_connection_finishes_the_request_that_has_begun() {
    let mut client = Client::new();
    client.send("GET / HTTP/1.1\r\n");
    client.connection.close_after_reply();
    assert!(client.connection.wants_input());
    client.send("Host: x\r\n\r\n");
    assert_eq!(answers(&client.take(ALL))[0].header("connection"), Some("close"));
    assert!(client.connection.is_finished());
}

// Memory.

fn announcing(bytes: usize) -> Client {
    let mut client = Client::with(Settings { body_bytes_max: 16 << 20, keep_alive: true });
    client.send(format!("POST /m HTTP/1.1\r\nHost: x\r\nContent-Length: {bytes}\r\n\r\n"));
    client
}

#[test]
fn what_is_announced_costs_nothing_until_it_comes() {
    let mut client = announcing(16 << 20);
    assert!(client.connection.buffered_bytes() < 1024, "{}", client.connection.buffered_bytes());
    client.send([b'x'; 1000]);
    assert!(client.connection.buffered_bytes() < 4096, "{}", client.connection.buffered_bytes());
}

#[test]
fn a_large_body_takes_its_room_and_gives_it_back() {
    const BODY_BYTES: usize = 3 << 20;
    let mut client = announcing(BODY_BYTES);
    let piece = [b'x'; 10_000];
    let mut left = BODY_BYTES;
    while left > piece.len() {
        client.send(piece);
        left -= piece.len();
        let (held, arrived) = (client.connection.buffered_bytes(), BODY_BYTES - left);
        assert!(held <= 2 * arrived + 1024 && held <= BODY_BYTES + 1024, "{held} for {arrived}");
    }
    client.send(&piece[..left]);
    assert_eq!(client.statuses(ALL), [202]);
    assert!(client.worker.calls[0].len() > BODY_BYTES);
    assert!(client.connection.buffered_bytes() <= KEPT_BYTES_MAX, "{}", client.connection.buffered_bytes());
}

#[test]
fn chunks_of_one_byte_take_no_more_room_than_their_data() {
    const CHUNKS: usize = 100_000;
    let mut client = Client::with(Settings { body_bytes_max: 16 << 20, keep_alive: true });
    client.send("POST /m HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send("1;extension\r\nx\r\n".repeat(1000));
    client.send("1\r\nx\r\n".repeat(CHUNKS));
    assert!(client.connection.buffered_bytes() < 3 * CHUNKS, "{}", client.connection.buffered_bytes());
    client.send("0\r\n\r\n");
    assert_eq!(client.statuses(ALL), [202]);
}

#[test]
fn a_large_answer_is_given_back_once_it_has_left() {
    let mut client = Client::new();
    client.worker.replies.push_back(Reply::now(Response::body(200, "text/plain", vec![b'x'; 1 << 20])));
    client.send(GET);
    assert_eq!(answers(&client.take(ALL))[0].body.len(), 1 << 20);
    assert!(client.connection.buffered_bytes() <= KEPT_BYTES_MAX, "{}", client.connection.buffered_bytes());
}

#[test]
fn decoded_bodies_of_a_megabyte_are_taken_whole() {
    let body = vec![b'x'; 1 << 20];
    for (coding, coded) in [("gzip", cases::gzip(&body)), ("snappy", cases::snappy(&body))] {
        let mut client = Client::with(Settings { body_bytes_max: 1 << 20, keep_alive: true });
        let length = coded.len();
        client.send(format!(
            "POST /m HTTP/1.1\r\nHost: x\r\nContent-Encoding: {coding}\r\nContent-Length: {length}\r\n\r\n"
        ));
        client.send(&coded);
        assert_eq!(client.statuses(ALL), [202], "{coding}");
        assert!(client.worker.calls[0].len() > body.len());
    }
}

// Answers that come later.

fn soon(number: u64) -> Reply {
    Reply { answer: Answer::Soon(number), ticket: Ticket(0) }
}

fn later(number: u64) -> Reply {
    Reply { answer: Answer::Later(number), ticket: Ticket(0) }
}

impl Client {
    fn fulfil(&mut self, number: u64) {
        let response = Response::text(200, format!("answer {number}"));
        self.connection.fulfil(number, response, &self.scratch);
    }

    fn bodies(&mut self) -> Vec<String> {
        answers(&self.take(ALL)).into_iter().map(|answer| String::from_utf8(answer.body).unwrap()).collect()
    }
}

#[test]
fn what_is_promised_soon_holds_back_answers_and_no_requests() {
    let mut client = Client::new();
    client.worker.replies.extend([soon(1), soon(2), Reply::now(Response::text(200, "now")), soon(3)]);
    client.send(GET.repeat(4));
    assert_eq!(client.worker.calls.len(), 4, "all of them are run");
    assert_eq!(client.connection.served(), 4);
    let mut noted: Vec<u64> = std::iter::from_fn(|| client.connection.promised()).collect();
    noted.sort_unstable();
    assert_eq!(noted, [1, 2, 3], "each once");
    assert!(client.connection.is_owed() && !client.connection.is_idle());
    client.fulfil(2);
    assert_eq!(client.bodies(), [""; 0], "the first is not there");
    client.fulfil(1);
    assert_eq!(client.bodies(), ["answer 1", "answer 2", "now"]);
    client.fulfil(7);
    assert_eq!(client.bodies(), [""; 0], "nobody has asked for that");
    client.fulfil(3);
    assert_eq!(client.bodies(), ["answer 3"]);
    assert!(client.connection.is_idle());
}

#[test]
fn what_is_promised_later_holds_back_requests_too() {
    let mut client = Client::new();
    client.worker.replies.extend([soon(1), later(2)]);
    client.send(GET.repeat(3));
    assert_eq!(client.worker.calls.len(), 2);
    assert!(!client.connection.wants_input());
    client.fulfil(2);
    client.fulfil(1);
    client.resume();
    assert_eq!(client.worker.calls.len(), 3);
    assert_eq!(client.statuses(ALL), [200, 200, 202]);
}

/// `OWED_MAX` of them.
#[test]
fn so_much_is_promised_to_a_connection_and_no_more() {
    let mut client = Client::new();
    client.worker.replies.extend((1..=2000).map(soon));
    client.send(GET.repeat(2000));
    assert_eq!(client.worker.calls.len(), 1024);
    assert!(!client.connection.wants_input());
    for number in 1..=10 {
        client.fulfil(number);
    }
    client.resume();
    assert_eq!(client.worker.calls.len(), 1034);
    assert_eq!(client.statuses(ALL), [200; 10]);
    for number in 11..=2000 {
        client.fulfil(number);
        client.resume();
        assert_eq!(client.statuses(ALL), [200], "answer {number}");
    }
    assert!(client.connection.is_idle() && client.connection.buffered_bytes() <= KEPT_BYTES_MAX);
}

#[test]
fn large_answers_behind_a_promise_are_bounded_as_well() {
    let mut client = Client::new();
    let large = || Reply::now(Response::text(200, "x".repeat(OUTPUT_BYTES_MAX / 4)));
    client.worker.replies.push_back(soon(1));
    client.worker.replies.extend((0..20).map(|_| large()));
    client.send(GET.repeat(21));
    assert_eq!(client.worker.calls.len(), 5);
    client.fulfil(1);
    assert_eq!(client.statuses(ALL), [200; 5]);
}

#[test]
fn a_refusal_stands_behind_what_was_promised_before_it() {
    let mut client = Client::new();
    client.worker.replies.push_back(soon(1));
    client.send(GET);
    client.send("no HTTP at all\r\n\r\n");
    assert!(!client.connection.wants_input() && !client.connection.is_finished());
    assert_eq!(client.statuses(ALL), [0; 0]);
    client.fulfil(1);
    assert_eq!(client.statuses(ALL), [200, 400]);
    assert!(client.connection.is_finished());
}

#[test]
fn a_client_that_has_said_all_gets_what_it_was_promised() {
    let mut client = Client::new();
    client.worker.replies.extend([soon(1), soon(2)]);
    client.send(GET.repeat(2));
    client.end();
    assert!(!client.connection.is_finished());
    client.fulfil(2);
    client.fulfil(1);
    assert_eq!(client.bodies(), ["answer 1", "answer 2"]);
    assert!(client.connection.is_finished());
}

#[test]
fn the_word_to_go_on_keeps_its_place() {
    let mut client = Client::new();
    client.worker.replies.push_back(soon(1));
    client.send(GET);
    client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.statuses(ALL), [0; 0]);
    client.fulfil(1);
    assert_eq!(client.statuses(ALL), [200, 100]);
    client.send("{}");
    assert_eq!(client.statuses(ALL), [202]);
}

#[test]
fn in_a_drain_the_last_that_was_promised_is_the_last() {
    let mut client = Client::new();
    client.worker.replies.extend([soon(1), soon(2)]);
    client.send(GET.repeat(2));
    client.connection.close_after_reply();
    client.fulfil(1);
    client.fulfil(2);
    let said = client.text(ALL);
    assert_eq!(said.matches("Connection: close").count(), 1, "{said}");
    assert!(said.ends_with("answer 2") && client.connection.is_finished());
}

#[test]
fn a_drain_waits_for_the_request_that_has_begun_behind_a_promise() {
    let mut client = Client::new();
    client.worker.replies.push_back(soon(1));
    client.send([GET.as_bytes(), &post("{}")[..20]].concat());
    client.connection.close_after_reply();
    client.fulfil(1);
    assert_eq!(client.statuses(ALL), [200]);
    client.send(&post("{}")[20..]);
    assert!(client.text(ALL).contains("202 Accepted\r\n") && client.connection.is_finished());
}

#[test]
fn a_loss_ends_what_waits_for_a_ticket_and_not_what_was_promised_before_it() {
    let mut client = Client::new();
    client.worker.replies.extend([
        soon(1),
        Reply { answer: Answer::Accepted(1), ticket: Ticket(5) },
        soon(2),
    ]);
    client.send(GET.repeat(3));
    assert_eq!(client.connection.waits_for(Ticket(4)), Some(Ticket(5)));
    client.connection.lose(&Lost("the disk is gone".into()));
    client.fulfil(2);
    client.fulfil(1);
    assert_eq!(client.statuses(ALL), [200, 503]);
    assert!(client.connection.is_finished());
}

#[test]
fn a_loss_before_a_promise_ends_both() {
    let mut client = Client::new();
    client.worker.replies.extend([Reply { answer: Answer::Accepted(1), ticket: Ticket(5) }, soon(1)]);
    client.send(GET.repeat(2));
    client.connection.lose(&Lost("the disk is gone".into()));
    client.fulfil(1);
    assert_eq!(client.statuses(ALL), [503]);
    assert!(client.connection.is_finished());
}

proptest! {
    /// Whatever is promised, and in whatever order it comes: answers have the order of the requests, and none is missing.
    #[test]
    fn answers_always_have_the_order_of_their_requests(
        kinds in proptest::collection::vec(0..3_u8, 1..40),
        order in any::<proptest::sample::Index>(),
        seed in any::<u64>(),
    ) {
        let mut client = Client::new();
        let reply = |(number, kind): (usize, &u8)| match kind {
            0 => Reply::now(Response::text(200, format!("answer {number}"))),
            1 => soon(number as u64),
            _ => later(number as u64),
        };
        client.worker.replies.extend(kinds.iter().enumerate().map(reply));
        client.send(GET.repeat(kinds.len()));
        let mut open: Vec<u64> = Vec::new();
        let mut got = Vec::new();
        let mut draw = seed | 1;
        for _ in 0..10 * kinds.len() {
            open.extend(std::iter::from_fn(|| client.connection.promised()));
            if !open.is_empty() {
                draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(order.index(1000) as u64 + 1);
                let at = usize::try_from(draw >> 33).unwrap() % open.len();
                let number = open.swap_remove(at);
                client.fulfil(number);
            }
            got.extend(client.bodies());
            client.resume();
        }
        let expected: Vec<String> = (0..kinds.len()).map(|n| format!("answer {n}")).collect();
        prop_assert_eq!(got, expected);
    }
}
