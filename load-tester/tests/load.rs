//! The tester against servers of every temper.
#![allow(clippy::unwrap_used, reason = "in a test that is the assertion")]

mod common;

use std::sync::atomic::Ordering;
use std::time::Duration;

use common::{Answer, Behaviour, Server, report};
use serde_json::Value;

fn server(answer: fn(u64) -> Answer) -> Server {
    Server::start(Behaviour { answer, ..Behaviour::default() })
}

/// What the report says of the requests: answered, 2xx, unanswered.
#[track_caller]
fn check_counts(report: &Value, answered: u64, ok: u64, unanswered: u64) {
    let result = &report["result"];
    assert_eq!(
        [&result["answered"], &result["ok"], &result["unanswered"]].map(Value::as_u64),
        [Some(answered), Some(ok), Some(unanswered)],
        "{result:#}"
    );
}

#[test]
fn a_kept_connection_carries_all_of_a_clients_requests() {
    let server = server(|_| Answer::Accept);
    let (code, report) = report(&server, &["7", "30"]);
    assert_eq!(code, 0);
    check_counts(&report, 210, 210, 0);
    assert_eq!(report["result"]["connections"], 7);
    assert_eq!(report["result"]["reconnects"], 0);
    assert_eq!(report["result"]["by_status"]["202"], 210);
    assert_eq!(server.stored(), 210);
}

#[test]
fn connecting_first_opens_connections_that_no_request_needs() {
    let server = server(|_| Answer::Accept);
    let three = ["--clients", "9", "--rate", "30", "--duration", "100ms"];
    let (code, lazy) = report(&server, &three);
    assert_eq!((code, lazy["result"]["connections"].as_u64()), (0, Some(3)));
    let (code, first) = report(&server, &[&three[..], &["--connect-first"]].concat());
    assert_eq!((code, first["result"]["connections"].as_u64()), (0, Some(9)));
    check_counts(&first, 3, 3, 0);
    assert_eq!(first["result"]["reconnects"], 0);
}

#[test]
fn without_keep_alive_each_request_has_its_own_connection() {
    let server = server(|_| Answer::Accept);
    let (code, report) = report(&server, &["3", "20", "--no-keep-alive"]);
    assert_eq!(code, 0);
    check_counts(&report, 60, 60, 0);
    assert_eq!(report["result"]["connections"], 60);
    assert_eq!(report["result"]["reconnects"], 0);
}

#[test]
fn a_server_that_serves_one_at_a_time_and_closes_is_reconnected_to() {
    let server = Server::start(Behaviour { one_at_a_time: true, ..Behaviour::default() });
    let (code, report) = report(&server, &["5", "10"]);
    assert_eq!(code, 0);
    check_counts(&report, 50, 50, 0);
    assert_eq!(report["result"]["reconnects"], 45);
}

#[test]
fn an_open_loop_does_not_block_a_server_that_serves_one_at_a_time() {
    let server = Server::start(Behaviour { one_at_a_time: true, ..Behaviour::default() });
    let (code, report) = report(&server, &["20", "--rate", "100", "-d", "1s"]);
    assert_eq!(code, 0);
    // If idle connections were held open, most requests would wait for their timeout.
    assert_eq!(report["result"]["unanswered"], 0);
    assert!(report["result"]["answered"].as_u64().unwrap() > 50, "{}", report["result"]);
}

#[test]
fn pipelined_requests_are_all_answered() {
    let server = server(|n| if n % 2 == 0 { Answer::Accept } else { Answer::AcceptChunked });
    let (code, report) = report(&server, &["2", "500", "--pipeline", "16"]);
    assert_eq!(code, 0);
    check_counts(&report, 1000, 1000, 0);
    assert_eq!(report["result"]["connections"], 2);
}

#[test]
fn pipelining_on_a_server_that_closes_is_explained() {
    let server = Server::start(Behaviour { one_at_a_time: true, ..Behaviour::default() });
    let (_, report) = report(&server, &["1", "40", "--pipeline", "4"]);
    assert!(report["result"]["unanswered"].as_u64().unwrap() > 0);
    assert!(
        report["verdict"]["notes"].to_string().contains("try without --pipeline"),
        "{}",
        report["verdict"]
    );
}

#[test]
fn several_threads_share_the_clients() {
    let server = server(|_| Answer::Accept);
    let (code, report) = report(&server, &["5", "40", "--threads", "3", "--batch", "4"]);
    assert_eq!(code, 0);
    check_counts(&report, 200, 200, 0);
    assert_eq!(server.stored(), 800);
    assert_eq!(report["result"]["thread_cpu"].as_array().unwrap().len(), 3);
}

#[test]
fn refusals_are_counted_by_status_and_are_not_failures() {
    let server = server(|n| match n % 10 {
        0 => Answer::Refuse(429),
        1 => Answer::Refuse(503),
        _ => Answer::Accept,
    });
    let (code, report) = report(&server, &["1", "100"]);
    assert_eq!(code, 0);
    check_counts(&report, 100, 80, 0);
    assert_eq!(report["result"]["by_status"]["429"], 10);
    assert_eq!(report["result"]["by_status"]["503"], 10);
    assert_eq!(report["result"]["success_percent"], 80.0);
}

#[test]
fn an_answer_without_a_length_ends_with_its_connection() {
    let server = server(|_| Answer::AcceptUntilClose);
    let (_, report) = report(&server, &["2", "10"]);
    check_counts(&report, 20, 20, 0);
    assert_eq!(report["result"]["reconnects"], 18);
}

#[test]
fn connections_cut_before_or_in_an_answer_leave_requests_unanswered() {
    let server = server(|n| match n % 10 {
        3 => Answer::Cut,
        6 => Answer::CutShort,
        _ => Answer::Accept,
    });
    let (code, report) = report(&server, &["1", "100"]);
    assert_eq!(code, 0);
    check_counts(&report, 80, 80, 20);
    let failures = &report["result"]["failures"];
    assert_eq!(failures["closed"].as_u64().unwrap() + failures["reset"].as_u64().unwrap(), 20, "{failures}");
}

#[test]
fn what_is_not_http_is_counted_apart() {
    let server = server(|n| if n == 5 { Answer::Nonsense } else { Answer::Accept });
    let (_, report) = report(&server, &["1", "20"]);
    check_counts(&report, 19, 19, 1);
    assert_eq!(report["result"]["failures"]["malformed"], 1);
}

#[test]
fn an_answer_without_an_end_is_cut_off() {
    let server = server(|n| if n == 5 { Answer::Flood } else { Answer::Accept });
    let (_, report) = report(&server, &["1", "20"]);
    check_counts(&report, 19, 19, 1);
    assert_eq!(report["result"]["failures"]["malformed"], 1);
}

#[test]
fn an_answer_to_nothing_is_not_taken_for_the_next_requests() {
    let server = server(|n| if n == 5 { Answer::Twice } else { Answer::Accept });
    let (_, report) = report(&server, &["1", "20"]);
    check_counts(&report, 20, 20, 0);
    // The connection whose answers cannot be told apart is given up.
    assert_eq!(report["result"]["reconnects"], 1);
}

#[test]
fn an_answer_that_does_not_come_times_out() {
    let server = server(|n| if n == 4 { Answer::Silence } else { Answer::Accept });
    let (_, report) = report(&server, &["1", "10", "--request-timeout", "150ms"]);
    check_counts(&report, 9, 9, 1);
    assert_eq!(report["result"]["failures"]["timeout"], 1);
}

#[test]
fn an_open_loop_measures_from_the_intended_time() {
    // One client, 20 requests a second, 100 ms an answer: each one is 50 ms later than the one before it, which a
    // closed loop would never notice.
    let server = server(|_| Answer::AcceptAfter(Duration::from_millis(100)));
    let (_, report) = report(&server, &["1", "--rate", "20", "-d", "1s"]);
    let result = &report["result"];
    let (latency, service) = (&result["latency_us"]["max"], &result["service_us"]["p50"]);
    assert!(latency.as_f64().unwrap() > 400_000.0, "latency {latency}");
    assert!(service.as_f64().unwrap() < 400_000.0, "service {service}");
    let verdict = &report["verdict"];
    assert_eq!(verdict["clients_exhausted"], true);
    assert!(verdict["not_begun"].as_u64().unwrap() > 0);
    assert_eq!(result["requests_asked"], 20);
    assert!(result["success_percent"].as_f64().unwrap() < 100.0);
}

#[test]
fn a_ramp_asks_for_the_area_under_it() {
    let server = server(|_| Answer::Accept);
    let (_, report) = report(&server, &["10", "--ramp", "100:500", "-d", "1s"]);
    assert_eq!(report["result"]["requests_asked"], 300);
    assert_eq!(report["workload"]["load"]["shape"], "ramp");
}

#[test]
fn the_time_ends_a_closed_loop_and_the_seconds_add_up() {
    let server = server(|_| Answer::Accept);
    let (_, report) = report(&server, &["2", "-d", "1200ms"]);
    let elapsed = report["result"]["elapsed_ms"].as_f64().unwrap();
    assert!(elapsed >= 1200.0, "{elapsed}");
    let seconds = report["seconds"].as_array().unwrap();
    let sum: u64 = seconds.iter().map(|second| second["answered"].as_u64().unwrap()).sum();
    assert_eq!(Some(sum), report["result"]["answered"].as_u64());
    let histogram = report["latency_histogram"]["counts"].as_array().unwrap();
    let counted: u64 = histogram.iter().map(|bucket| bucket[1].as_u64().unwrap()).sum();
    assert_eq!(counted, sum);
}

#[test]
fn the_token_is_sent_and_never_shown() {
    let server = server(|_| Answer::Accept);
    let directory = tempfile::tempdir().unwrap();
    let html = directory.path().join("r.html");
    let arguments = ["1", "1", "--token", "s3cret", "--html", html.to_str().unwrap()];
    let (_, report) = report(&server, &arguments);
    assert!(server.saw_token.load(Ordering::SeqCst));
    assert!(!report.to_string().contains("s3cret"));
    assert!(!std::fs::read_to_string(html).unwrap().contains("s3cret"));
}

#[test]
fn the_report_carries_what_is_needed_to_reproduce_it() {
    let server = server(|_| Answer::Accept);
    let (_, report) = report(&server, &["3", "5", "--seed", "77"]);
    assert_eq!(report["schema"], "systems-craft/load/1");
    assert_eq!(report["workload"]["identity"]["seed"], 77);
    assert_eq!(report["workload"]["load"]["requests_each"], 5);
    assert!(report["machine"]["cores"].as_u64().unwrap() > 0);
    assert!(report["rustc"].as_str().unwrap().starts_with("rustc"));
    assert!(report["command_line"].as_array().unwrap().iter().any(|word| word == "77"));
    let started: jiff::Timestamp = report["started_at"].as_str().unwrap().parse().unwrap();
    assert!(started <= jiff::Timestamp::now());
}
