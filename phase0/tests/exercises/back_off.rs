//! Back-pressure, and who heeds it.

use super::support::{
    ensure, example,
    fake::{Fake, Fate},
    server::Setup,
    wait_for,
};
use serde_json::json;
use std::time::Duration;

#[test]
#[ignore = "an exercise"]
fn a_full_queue_refuses_and_says_when_to_come_back() {
    let server = Setup::new().flags(&["--queue", "5"]).disk_full().start();
    for _ in 0..5 {
        server.send(&json!({ "name": "a", "value": 1 }));
    }
    for _ in 0..3 {
        let answer = server.post(r#"{"name":"a","value":1}"#);
        let seconds = answer.header("retry-after").and_then(|s| s.parse().ok());
        let right = answer.status == 503 && answer.json()["error"]["code"] == "queue_full";
        ensure(
            right && seconds.is_some_and(|s: u32| s >= 1),
            "a 6th record, to phase0 PORT FILE SECONDS --queue 5 whose disk is full",
            "503, the code queue_full, and Retry-After with whole seconds",
            format!("{}\n{}", answer.head, answer.body),
        );
    }
    let health = server.get("/health");
    ensure(
        health.status == 200,
        "GET /health meanwhile",
        "200: a full queue is no reason to be dead",
        health,
    );
}

#[test]
#[ignore = "an exercise"]
fn a_queue_that_drains_takes_more_than_its_bound() {
    let server = Setup::new().flags(&["--queue", "5"]).start();
    for i in 0..50 {
        let body = json!({ "name": "a", "value": i, "timestamp": i }).to_string();
        let accepted = wait_for(|| (server.post(&body).status == 202).then_some(()));
        ensure(
            accepted.is_some(),
            &body,
            "202, if not at once then soon: the consumer drains the queue",
            "never",
        );
    }
    server.wait_for_points("a", 50);
    for flags in [&["--queue", "few"][..], &["--queue", "0"], &["--queue"]] {
        let (status, complaint) = Setup::new().flags(flags).start_in_vain();
        let refused = status.is_some_and(|s| !s.success()) && complaint.contains("--queue");
        ensure(
            refused,
            format!("phase0 PORT FILE SECONDS {flags:?}"),
            "a complaint about --queue and a non-zero exit code",
            format!("{status:?} {complaint}"),
        );
    }
}

#[test]
#[ignore = "an exercise"]
fn the_client_waits_as_long_as_it_is_told() {
    const BUSY: &str = "503 Service Unavailable\r\nRetry-After: 1";
    let fates = ["202 Accepted", BUSY, BUSY, "202 Accepted", "400 Bad Request", "202 Accepted"];
    let fake =
        Fake::start(move |n| Fate::Status(fates.get(n).copied().unwrap_or("202 Accepted"), Duration::ZERO));
    let lines = ["one", "two", "three", "four"].map(|name| json!({ "name": name, "value": 1 }).to_string());
    let out = example::run("send", &[&fake.port.to_string()], &(lines.join("\n") + "\n"));
    let arrivals = fake.arrivals();
    let sent = "four lines into send PORT, of a server that answers 202, 503, 503, 202, 400, 202";
    let expected = [0, 1, 1, 1, 2, 3].map(|i: usize| lines[i].trim());
    let bodies: Vec<_> = arrivals.iter().map(|a| a.body.trim()).collect();
    ensure(bodies == expected, sent, format!("the requests {expected:?}"), format!("{bodies:?}"));
    for pair in arrivals[1..4].windows(2) {
        let waited = pair[1].at - pair[0].answered;
        ensure(
            waited >= Duration::from_millis(950),
            sent,
            "a second between a 503 with Retry-After: 1 and the next try",
            format!("{waited:?}"),
        );
    }
    let complaint = String::from_utf8_lossy(&out.stderr);
    let right = out.status.code() == Some(1) && complaint.contains("400");
    ensure(
        right,
        sent,
        "the 400 on stderr, and exit code 1 at the end",
        format!("{:?} {complaint}", out.status),
    );

    let content = Fake::start(|_| Fate::Status("202 Accepted", Duration::ZERO));
    let out = example::run("send", &[&content.port.to_string()], &lines.join("\n"));
    let right = out.status.success() && content.arrivals().len() == 4;
    ensure(right, "four lines of which all are accepted", "exit code 0", format!("{:?}", out.status));
}
