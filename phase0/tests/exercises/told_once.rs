//! An alert is told once.

use super::support::{
    ensure,
    server::{Server, Setup},
    wait_for,
};
use serde_json::json;

#[test]
#[ignore = "an exercise"]
fn one_line_when_it_begins_and_one_when_it_ends() {
    let server = Setup::new().alerting().start();
    cpu(&server, "0", 95);
    told_exactly(&server, &[1, 0], &[0, 0], "cpu_usage{core=\"0\"} 95, evaluated several times");
    cpu(&server, "1", 97);
    told_exactly(
        &server,
        &[1, 1],
        &[0, 0],
        "then cpu_usage{core=\"1\"} 97 as well: another alert, so another line",
    );
    cpu(&server, "0", 96);
    told_exactly(&server, &[1, 1], &[0, 0], "then core 0 at 96: another value, but the same alert");
    cpu(&server, "0", 10);
    told_exactly(&server, &[1, 1], &[1, 0], "then core 0 at 10");
    cpu(&server, "0", 99);
    told_exactly(&server, &[2, 1], &[1, 0], "then core 0 at 99 again: a new alert, so a new line");
    let alerts = server.get("/alerts");
    let listed = alerts.json()["alerts"].as_array().map(Vec::len);
    ensure(
        listed == Some(2),
        "GET /alerts while both fire",
        "2 alerts: told or not, they are listed",
        alerts,
    );
}

fn cpu(server: &Server, core: &str, value: i64) {
    server.send(&json!({ "name": "cpu_usage", "value": value, "labels": { "core": core } }));
}

/// Waits until what is expected has been told and some more evaluations have passed.
fn told_exactly(server: &Server, firing: &[usize], resolved: &[usize], sent: &str) {
    let told = |word: &str, core: usize| {
        let core = format!("core=\"{core}\"");
        server.stdout().iter().filter(|line| line.contains(word) && line.contains(&core)).count()
    };
    let told = || [0, 1].map(|core| (told("FIRING", core), told("RESOLVED", core)));
    let expected: Vec<_> = firing.iter().copied().zip(resolved.iter().copied()).collect();
    wait_for(|| (0..2).all(|i| told()[i].0 >= expected[i].0 && told()[i].1 >= expected[i].1).then_some(()));
    evaluations_pass(server, 3);
    ensure(
        told()[..] == expected[..],
        sent,
        format!("lines (FIRING, RESOLVED) of core 0 and core 1: {expected:?}"),
        format!("{:?} in\n{}", told(), server.stdout().join("\n")),
    );
}

fn evaluations_pass(server: &Server, count: usize) {
    let last = || server.get("/rules").json()["rules"][0]["last_evaluation_ms"].clone();
    for _ in 0..count {
        let before = last();
        let passed = wait_for(|| (last() != before).then_some(()));
        ensure(passed.is_some(), "GET /rules", "last_evaluation_ms rises every second", last());
    }
}
