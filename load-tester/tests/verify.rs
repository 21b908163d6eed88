//! Verify must believe an honest server and catch every kind of liar.
#![allow(clippy::unwrap_used, reason = "in a test that is the assertion")]

mod common;

use common::{Answer, Behaviour, Lie, Server, report};
use serde_json::Value;

const EXIT_VERIFY: i32 = 3;

fn verified(behaviour: Behaviour, arguments: &[&str]) -> (i32, Value) {
    let server = Server::start(behaviour);
    let (code, report) = report(&server, &[&["--verify", "--verify-timeout", "500ms"], arguments].concat());
    (code, report["verified"].clone())
}

/// 4 clients, 100 requests each: 400 samples, of which the liar spoils one in a hundred.
#[track_caller]
fn check_caught(lie: Lie, kind: &str, count: u64, example: &str) {
    let (code, found) = verified(Behaviour { lie, ..Behaviour::default() }, &["4", "100"]);
    assert_eq!(code, EXIT_VERIFY, "{found:#}");
    assert_eq!(found[kind], count, "{found:#}");
    assert_eq!(found["accepted"], 400);
    let examples = found["examples"].as_array().unwrap();
    assert!(examples.iter().any(|line| line.as_str().unwrap().starts_with(example)), "{examples:?}");
}

#[test]
fn an_honest_server_is_believed() {
    let (code, found) = verified(Behaviour::default(), &["4", "100"]);
    assert_eq!((code, &found["found"]), (0, &Value::from(400)), "{found:#}");
}

#[test]
fn an_honest_server_is_believed_with_batches_threads_pipelines_and_small_windows() {
    let arguments = ["5", "40", "--batch", "7", "--threads", "2", "--pipeline", "3", "--verify-window", "50"];
    let (code, found) = verified(Behaviour::default(), &arguments);
    assert_eq!((code, &found["found"]), (0, &Value::from(1400)), "{found:#}");
    assert!(found["queries"].as_u64().unwrap() >= 28);
}

#[test]
fn an_honest_server_that_serves_one_at_a_time_is_believed() {
    let (code, found) = verified(Behaviour { one_at_a_time: true, ..Behaviour::default() }, &["3", "20"]);
    assert_eq!((code, &found["found"]), (0, &Value::from(60)), "{found:#}");
}

#[test]
fn an_open_loop_is_verified_too() {
    let (code, found) = verified(Behaviour::default(), &["4", "--rate", "300", "-d", "1s"]);
    assert_eq!((code, &found["found"]), (0, &found["accepted"]), "{found:#}");
    assert!(found["accepted"].as_u64().unwrap() > 0);
}

#[test]
fn a_server_that_loses_every_hundredth_sample_is_caught() {
    check_caught(Lie::LosesEvery(100), "missing", 4, "accepted, but missing: load_");
}

#[test]
fn a_server_that_alters_a_value_is_caught() {
    check_caught(Lie::AltersEvery(400), "altered", 1, "altered: load_");
}

#[test]
fn a_server_that_stores_twice_is_caught() {
    check_caught(Lie::DuplicatesEvery(100), "duplicated", 4, "found twice: load_");
}

#[test]
fn a_server_that_invents_a_sample_is_caught() {
    let (code, found) = verified(Behaviour { lie: Lie::InventsSamples, ..Behaviour::default() }, &["1", "3"]);
    assert_eq!(code, EXIT_VERIFY);
    assert_eq!(found["never_sent_found"], 1, "{found:#}");
}

#[test]
fn a_server_that_keeps_what_it_refused_is_caught() {
    let answer = |n| if n % 10 == 0 { Answer::Refuse(503) } else { Answer::Accept };
    let (code, found) =
        verified(Behaviour { answer, lie: Lie::KeepsRefused, ..Behaviour::default() }, &["1", "100"]);
    assert_eq!(code, EXIT_VERIFY);
    assert_eq!(found["refused_found"], 10, "{found:#}");
}

#[test]
fn refused_samples_need_not_be_found() {
    let answer = |n| if n % 10 == 0 { Answer::Refuse(429) } else { Answer::Accept };
    let (code, found) = verified(Behaviour { answer, ..Behaviour::default() }, &["1", "100"]);
    assert_eq!((code, &found["accepted"], &found["found"]), (0, &Value::from(90), &Value::from(90)));
}

#[test]
fn samples_without_an_answer_may_be_found_or_not() {
    let answer = |n| match n % 10 {
        2 => Answer::Cut,
        5 => Answer::CutShort,
        _ => Answer::Accept,
    };
    let (code, found) = verified(Behaviour { answer, ..Behaviour::default() }, &["1", "100"]);
    assert_eq!(code, 0, "{found:#}");
    assert_eq!((&found["unknown_found"], &found["unknown_missing"]), (&Value::from(10), &Value::from(10)));
}

#[test]
fn samples_that_the_server_is_not_sure_of_may_be_found_or_not() {
    let answer = |n| match n % 10 {
        2 => Answer::Unsure(true),
        5 => Answer::Unsure(false),
        7 => Answer::Refuse(503),
        _ => Answer::Accept,
    };
    let (code, found) = verified(Behaviour { answer, ..Behaviour::default() }, &["1", "100"]);
    assert_eq!((code, &found["accepted"]), (0, &Value::from(70)), "{found:#}");
    assert_eq!((&found["unknown_found"], &found["unknown_missing"]), (&Value::from(10), &Value::from(10)));
}

#[test]
fn a_server_that_shows_its_samples_a_little_later_is_waited_for() {
    let server = Server::start(Behaviour { lie: Lie::LateUntil(3), ..Behaviour::default() });
    let (code, report) = report(&server, &["2", "10", "--verify", "--verify-timeout", "20s"]);
    assert_eq!(code, 0, "{}", report["verified"]);
    assert!(report["verified"]["queries"].as_u64().unwrap() > 3);
}

#[test]
fn a_server_that_cannot_be_asked_is_not_believed() {
    let (code, found) = verified(Behaviour { lie: Lie::QueriesFail, ..Behaviour::default() }, &["1", "1"]);
    assert_eq!(code, EXIT_VERIFY);
    assert!(found["error"].as_str().unwrap().contains("503"), "{found:#}");
}
