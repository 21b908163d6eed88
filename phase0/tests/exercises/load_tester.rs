//! A small load tester.

use super::support::{
    ensure, example,
    fake::{Arrival, Fake, Fate},
    server::Setup,
};
use serde_json::Value;
use std::time::{Duration, Instant};

/// Every tenth is refused, four are not answered, five are slow: what is printed can be foretold.
fn moody(n: usize) -> Fate {
    let pause = if n % 20 == 3 { SLOW } else { Duration::ZERO };
    match n {
        _ if n % 10 == 9 => Fate::Status("500 Internal Server Error", Duration::ZERO),
        _ if n % 25 == 7 => Fate::Silence,
        _ => Fate::Status("202 Accepted", pause),
    }
}

const SLOW: Duration = Duration::from_millis(300);

#[test]
#[ignore = "an exercise"]
fn it_counts_errors_and_finds_percentiles() {
    let fake = Fake::start(moody);
    let (begun, sent) =
        (Instant::now(), "load PORT 4 25, of a server that is slow for 5 of 100 and fails 14");
    let report = load(&fake.port.to_string(), sent);
    let wall = begun.elapsed().as_micros();
    let arrivals = fake.arrivals();
    ensure(arrivals.len() == 100, sent, "4 clients × 25 requests", format!("{} requests", arrivals.len()));
    let strange = arrivals.iter().find(|a| !is_metric(a));
    let shown = strange.map(|a| format!("{} {}", a.line, a.body)).unwrap_or_default();
    ensure(strange.is_none(), sent, "POST /metrics with a name and a value", shown);
    let [requests, errors, p50, p99] = report;
    ensure((requests, errors) == (100, 14), sent, "requests 100 errors 14", format!("{report:?}"));
    let slow = SLOW.as_micros();
    ensure(p50 < slow, sent, "a p50 below 300000 us: most requests are not slow", format!("{p50}"));
    ensure(
        (slow..=wall).contains(&p99),
        sent,
        "a p99 from 300000 us to the run's own time",
        format!("{p99}"),
    );
    let open = fake.open_most();
    ensure(
        (2..=4).contains(&open),
        sent,
        "clients that work at the same time, 4 at most",
        format!("{open} at once"),
    );
}

#[test]
#[ignore = "an exercise"]
fn what_it_counts_as_accepted_can_be_queried() {
    let server = Setup::new().start();
    let sent = "load PORT 4 25, of a phase0";
    let [requests, errors, p50, p99] = load(&server.port.to_string(), sent);
    let right = (requests, errors) == (100, 0) && 0 < p50 && p50 <= p99;
    ensure(
        right,
        sent,
        "requests 100 errors 0, and 0 < p50 <= p99",
        format!("{:?}", [requests, errors, p50, p99]),
    );
    server.wait_for_points("load", 100);
}

/// Runs the learner's load tester: requests, errors, p50, p99.
fn load(port: &str, sent: &str) -> [u128; 4] {
    let out = example::run("load", &[port, "4", "25"], "");
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let words: Vec<_> = text.split_whitespace().collect();
    let numbers = match words[..] {
        ["requests", a, "errors", b, "p50_us", c, "p99_us", d] => {
            [a, b, c, d].iter().map(|n| n.parse().ok()).collect::<Option<Vec<u128>>>()
        }
        _ => None,
    };
    let shown = format!("{:?}: {text}{}", out.status, String::from_utf8_lossy(&out.stderr));
    ensure(numbers.is_some(), sent, "one line: requests N errors N p50_us N p99_us N", shown);
    numbers.and_then(|n| n.try_into().ok()).unwrap_or_default()
}

fn is_metric(arrival: &Arrival) -> bool {
    let body: Value = serde_json::from_str(&arrival.body).unwrap_or_default();
    let whole = body["name"].is_string() && body["value"].is_number();
    arrival.line.starts_with("POST /metrics HTTP/1.1") && whole
}
