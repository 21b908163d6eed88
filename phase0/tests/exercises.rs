//! What the ten exercises ask for, checked from outside. The briefs are in `phase0/exercises/README.md`.
//!
//! All checks are ignored until somebody does an exercise: `cargo test -p phase0 --test exercises exercise_03
//! -- --ignored`. A failure says what was sent, what was expected and what was observed.

mod support;

use serde_json::{Value, json};
use std::{
    io::Write,
    thread,
    time::{Duration, Instant},
};
use support::{
    client, ensure, example,
    fake::{Arrival, Fake, Fate},
    now_ms,
    server::{Server, Setup, points},
    wait_for,
};

const ALL_TIME: &str = "start=0&end=253402300799999";

#[test]
fn the_checks_find_a_whole_pipeline() {
    let server = Setup::new().alerting().start();
    server.send(&json!([{ "name": "a", "value": 1 }, { "name": "cpu_usage", "value": 95 }]));
    server.wait_for_points("a", 1);
    let told = wait_for(|| server.stdout().into_iter().find(|line| line.contains("FIRING")));
    ensure(told.is_some(), "cpu_usage 95", "a line with FIRING", server.stdout().join("\n"));
}

// ——— 1: a line for each request ———

#[test]
#[ignore = "exercise 1: a log line for each request"]
fn exercise_01_each_request_leaves_one_line() {
    let server = Setup::new().start();
    server.get("/health?who=me");
    server.post(r#"{"name":"a","value":1}"#);
    server.post(r#"{"name":"a","value":1,}"#);
    server.get("/nowhere");
    client::raw(server.port, "nonsense\r\n\r\n");
    for (sent, expected) in [
        ("GET /health?who=me", ["GET", "/health", "200"]),
        ("POST /metrics with a good metric", ["POST", "/metrics", "202"]),
        ("POST /metrics with a comma too many", ["POST", "/metrics", "400"]),
        ("GET /nowhere", ["GET", "/nowhere", "404"]),
        ("a first line that is no request line", ["-", "-", "400"]),
    ] {
        wait_for(|| logged(&server, expected).first().copied());
        ensure(
            logged(&server, expected).len() == 1,
            sent,
            format!("one line on stderr: {} MICROSECONDS", expected.join(" ")),
            format!("stderr: {:?}", server.stderr()),
        );
    }
    let noise: Vec<_> = server.stdout().into_iter().skip(1).collect();
    ensure(noise.is_empty(), "the requests above", "logs go to stderr, data to stdout", format!("{noise:?}"));
}

#[test]
#[ignore = "exercise 1: a log line for each request"]
fn exercise_01_the_time_is_the_whole_requests_time() {
    let server = Setup::new().start();
    let text = client::request("POST", "/metrics", Some(r#"{"name":"a","value":1}"#));
    let (head, body) = text.split_at(text.len() - 10);
    let mut stream = client::connect(server.port);
    stream.write_all(head.as_bytes()).unwrap();
    thread::sleep(Duration::from_millis(400));
    stream.write_all(body.as_bytes()).unwrap();
    client::answer(&mut stream).unwrap();
    let took = wait_for(|| logged(&server, ["POST", "/metrics", "202"]).first().copied());
    ensure(
        took.is_some_and(|us| (100_000..60_000_000).contains(&us)),
        "POST /metrics whose last ten bytes came 400 ms after the others",
        "a line POST /metrics 202 with about 400000 microseconds: reading the request is part of it",
        format!("{took:?} microseconds; stderr: {:?}", server.stderr()),
    );
}

/// The microseconds of the lines `METHOD PATH STATUS MICROSECONDS` with this beginning.
fn logged(server: &Server, beginning: [&str; 3]) -> Vec<u64> {
    let lines = server.stderr();
    let fields = lines.iter().map(|line| line.split(' ').collect::<Vec<_>>());
    let ours = fields.filter(|fields| fields.len() == 4 && fields[..3] == beginning);
    ours.filter_map(|fields| fields[3].parse().ok()).collect()
}

// ——— 2: how much waits in the queue ———

#[test]
#[ignore = "exercise 2: the depth of the queue"]
fn exercise_02_what_the_consumer_cannot_write_is_counted() {
    let server = Setup::new().disk_full().start();
    depth_is(&server, 0, "nothing, to a phase0 whose disk is full");
    for _ in 0..3 {
        server.send(&json!({ "name": "a", "value": 1 }));
    }
    depth_is(&server, 3, "3 requests with a metric each, to a phase0 whose disk is full");
    server.send(&Value::from(vec![json!({ "name": "a", "value": 1 }); 10]));
    depth_is(&server, 4, "one more request with 10 metrics: a request is a record, whatever it holds");
    let refused = client::post(server.port, "/depth", "");
    let allow = refused.header("allow").map(str::to_owned);
    let right = refused.status == 405 && allow.as_deref() == Some("GET");
    ensure(right, "POST /depth", "405 with Allow: GET", format!("{refused}, Allow: {allow:?}"));
}

#[test]
#[ignore = "exercise 2: the depth of the queue"]
fn exercise_02_what_is_stored_is_not_counted() {
    let server = Setup::new().start();
    for value in 0..20 {
        server.send(&json!({ "name": "a", "value": value, "timestamp": value }));
    }
    server.wait_for_points("a", 20);
    depth_is(&server, 0, "20 requests, all of which can be queried");
}

/// Looks until it is so: what is visible already may be committed a moment later.
fn depth_is(server: &Server, records: u64, sent: &str) {
    let mut seen = server.get("/depth");
    wait_for(|| {
        seen = server.get("/depth");
        // Without the route, there is nothing to wait for.
        (seen.status != 200 || seen.json() == json!({ "records": records })).then_some(())
    });
    let right = seen.status == 200 && seen.json() == json!({ "records": records });
    ensure(right, format!("{sent}; GET /depth"), format!("200 {{\"records\":{records}}}"), seen);
}

// ——— 3: points within a range of values ———

#[test]
#[ignore = "exercise 3: points within a range of values"]
fn exercise_03_points_are_chosen_by_value() {
    let server = Setup::new().start();
    let values =
        [json!(-4), json!(1), json!(2.5), json!(5), json!(7.5), json!(10), json!("NaN"), json!("+Inf")];
    let begun = now_ms() - 10_000;
    for (value, at) in values.iter().zip(begun..) {
        server.send(&json!({ "name": "v", "value": value, "timestamp": at }));
    }
    server.wait_for_points("v", values.len());
    for (params, expected, why) in [
        ("", "-4 1 2.5 5 7.5 10 NaN +Inf", "no bound, no change"),
        ("&min=2.5", "2.5 5 7.5 10 +Inf", "the bound itself is within"),
        ("&max=5", "-4 1 2.5 5", "the bound itself is within"),
        ("&min=2.5&max=7.5", "2.5 5 7.5", "both together"),
        ("&min=-1e3", "-4 1 2.5 5 7.5 10 +Inf", "NaN is not within anything"),
        ("&min=-Inf&max=0", "-4", "-Inf is a bound"),
        ("&min=100&max=200", "", "nothing lies there"),
        ("&min=7&max=3", "", "nothing can lie there"),
    ] {
        let answer = server.get(&format!("/query?name=v{params}"));
        let found = points(&answer.json()).join(" ");
        ensure(
            answer.status == 200 && found == expected,
            format!("the values {}, then GET /query?name=v{params}", json!(values)),
            format!("200 with the values [{expected}]: {why}"),
            answer,
        );
    }
    let empty = server.get("/query?name=v&min=100");
    let infinite = empty.json()["series"].as_array().map(Vec::len);
    ensure(infinite == Some(1), "GET /query?name=v&min=100", "+Inf is above 100", &empty);
    let empty = server.get("/query?name=v&min=100&max=200");
    let series = empty.json()["series"].as_array().map(Vec::len);
    ensure(
        series == Some(0),
        "GET /query?name=v&min=100&max=200",
        "a series without points is left out",
        &empty,
    );
    let narrow = server.get(&format!("/query?name=v&min=2.5&end={}", begun + 3));
    let right = points(&narrow.json()) == ["2.5", "5"];
    ensure(
        right,
        "GET /query?name=v&min=2.5&end=(time of the 5)",
        "[2.5 5]: start and end go on working",
        narrow,
    );
}

#[test]
#[ignore = "exercise 3: points within a range of values"]
fn exercise_03_a_bound_that_is_no_number_is_refused_by_name() {
    let server = Setup::new().start();
    for (params, culprit) in
        [("min=abc", "min"), ("max=", "max"), ("min=1&max=1x", "max"), ("min=NaN", "min")]
    {
        let answer = server.get(&format!("/query?name=v&{params}"));
        is_bad_parameter(&answer, culprit, &format!("GET /query?name=v&{params}"));
    }
}

fn is_bad_parameter(answer: &client::Answer, culprit: &str, sent: &str) {
    let error = &answer.json()["error"];
    let named = error["message"]
        .as_str()
        .is_some_and(|m| m.split(|c: char| !c.is_alphanumeric()).any(|word| word == culprit));
    ensure(
        answer.status == 400 && error["code"] == "bad_parameter" && named,
        sent,
        format!("400, the code bad_parameter, and a message that names {culprit:?}"),
        answer,
    );
}

// ——— 4: one write and one sync for many records ———

/// A consumer gathers for at least this long …
const GATHER: Duration = Duration::from_millis(100);
/// … or until it has this many records.
const GATHER_RECORDS: u128 = 10;

#[test]
#[ignore = "exercise 4: one write and one sync for many records"]
fn exercise_04_many_records_share_a_write_and_a_sync() {
    const BURSTS: u32 = 3;
    const RECORDS: u32 = 300;
    let server = Setup::new().traced().start();
    let nothing = server.get("/stats");
    let right = nothing.json() == json!({ "records": 0, "writes": 0, "syncs": 0 });
    ensure(right, "GET /stats at first", r#"{"records":0,"writes":0,"syncs":0}"#, nothing);

    let begun = Instant::now();
    for i in 0..RECORDS {
        // Two series in each record, and others in the next: whoever mixes up the tables mixes up these.
        server.send(&json!([numbered(2 * i), numbered(2 * i + 1)]));
        if (i + 1) % (RECORDS / BURSTS) == 0 {
            server.wait_for_points("b", 2 * (i as usize + 1));
        }
    }
    let gathered = begun.elapsed().as_millis() / GATHER.as_millis();
    let most = u128::from(RECORDS) / GATHER_RECORDS + gathered;
    let stats = settled_stats(&server, RECORDS.into());
    let sent = format!("{RECORDS} requests with two metrics each, in {BURSTS} bursts; GET /stats");
    for what in ["writes", "syncs"] {
        let count = stats[what].as_u64().map(u128::from);
        ensure(
            count.is_some_and(|n| n <= most),
            &sent,
            format!(
                "at most {most} {what}: one for {GATHER_RECORDS} records or for {GATHER:?}, whichever is more"
            ),
            &stats,
        );
        ensure(
            count.is_some_and(|n| n >= u128::from(BURSTS)),
            &sent,
            format!("at least {BURSTS} {what}, since each burst was stored before the next one began"),
            &stats,
        );
    }
    in_order(&server, 2 * RECORDS);
    is_what_was_traced(&server, &stats);
}

/// A sample that says in all its parts which one it is.
fn numbered(i: u32) -> Value {
    json!({ "name": "b", "value": i, "timestamp": i, "labels": { "i": (i % 7).to_string() } })
}

/// What is visible already may be counted a moment later.
fn settled_stats(server: &Server, records: u64) -> Value {
    let mut stats = Value::Null;
    wait_for(|| {
        stats = server.get("/stats").json();
        (stats["records"] == records && stats["syncs"].as_u64() >= Some(1)).then_some(())
    });
    let right = stats["records"] == records;
    ensure(
        right,
        format!("{records} requests, all visible; GET /stats"),
        format!("\"records\":{records}"),
        &stats,
    );
    stats
}

/// Gathering must not shuffle, lose, repeat or mix up.
fn in_order(server: &Server, count: u32) {
    let lines = server.file_lines();
    let parsed = |line: &String| serde_json::from_str::<Value>(line).unwrap_or_default();
    let stored: Vec<_> = lines.iter().map(parsed).collect();
    let expected = (0..count).map(|i| {
        json!({ "timestamp": i, "value": i.to_string(), "labels": { "__name__": "b", "i": (i % 7).to_string() } })
    });
    let differs = expected.zip(&stored).find(|(expected, stored)| expected != *stored);
    ensure(
        stored.len() == count as usize && differs.is_none(),
        format!(
            "{count} samples with the timestamps and values 0, 1, 2, …, of the series i = timestamp modulo 7"
        ),
        "each once in the file, in the order sent",
        format!("{} lines; the first that differs: {differs:?} (expected, stored)", lines.len()),
    );
}

/// Where strace may trace, a counter that lies is found out.
fn is_what_was_traced(server: &Server, stats: &Value) {
    let Some(mut traced) = server.traced() else { return };
    let (writes, syncs) = (stats["writes"].as_u64(), stats["syncs"].as_u64());
    let count = |traced: &[&str], deed: &str| Some(traced.iter().filter(|d| **d == deed).count() as u64);
    wait_for(|| {
        traced = server.traced().unwrap_or_default();
        (count(&traced, "sync") >= syncs).then_some(())
    });
    ensure(
        count(&traced, "write") == writes && count(&traced, "sync") == syncs,
        "strace -f -P FILE -e trace=write,fdatasync phase0 …",
        format!("as many calls as /stats counts: {stats}"),
        format!("{:?} writes and {:?} syncs", count(&traced, "write"), count(&traced, "sync")),
    );
    let safe = traced.last() == Some(&"sync");
    ensure(safe, "the same", "the last thing done to the file is a sync", format!("{traced:?}"));
}

// ——— 5: an alert is told once ———

#[test]
#[ignore = "exercise 5: an alert is told once while it fires"]
fn exercise_05_one_line_when_it_begins_and_one_when_it_ends() {
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

// ——— 6: percentiles ———

#[test]
#[ignore = "exercise 6: percentiles"]
fn exercise_06_the_nearest_rank_of_each_series() {
    let server = Setup::new().start();
    let begun = now_ms() - 10_000;
    // 1 to 100, each once, in an order that is not theirs: 37 generates every residue modulo 101.
    let shuffled = (1..=100_i64).map(|i| (i, i * 37 % 101));
    let many: Vec<_> = shuffled
        .map(|(i, v)| json!({ "name": "d", "value": v, "timestamp": begun + i, "labels": { "core": "0" } }))
        .collect();
    server.send(&many.into());
    server.send(&json!([
        { "name": "d", "value": -7.5, "timestamp": begun, "labels": { "core": "1" } },
        { "name": "d", "value": "NaN", "timestamp": begun + 1, "labels": { "core": "1" } },
    ]));
    server.wait_for_points("d", 102);
    for (p, expected) in [
        ("50", "50"),
        ("95", "95"),
        ("99", "99"),
        ("100", "100"),
        ("1", "1"),
        ("0.5", "1"),
        ("9.5", "10"),
        ("99.5", "100"),
        // Where p/100 is rounded up before it is multiplied, the rank comes out one too high.
        ("7", "7"),
        ("14", "14"),
        ("28", "28"),
        ("55", "55"),
        ("57", "57"),
    ] {
        let target = format!("/query/percentile?name=d&p={p}");
        let answer = server.get(&target);
        let ours = json!([
            { "labels": { "__name__": "d", "core": "0" }, "count": 100, "value": expected },
            { "labels": { "__name__": "d", "core": "1" }, "count": 1, "value": "-7.5" },
        ]);
        ensure(
            answer.status == 200 && answer.json()["series"] == ours,
            format!("the values 1 to 100 in disorder as core 0, -7.5 and NaN as core 1; GET {target}"),
            format!("200 with \"series\": {ours}"),
            answer,
        );
    }
    let target = format!("/query/percentile?name=d&p=100&start={}&end={}", begun + 1, begun + 2);
    let first_two = server.get(&target);
    let right = first_two.json()["series"][0]["value"] == "74" && first_two.json()["series"][0]["count"] == 2;
    ensure(right, format!("the same; GET {target}"), "the larger of the first two, 74", first_two);
}

#[test]
#[ignore = "exercise 6: percentiles"]
fn exercise_06_what_is_no_percentile_is_refused() {
    let server = Setup::new().start();
    for (params, culprit) in [
        ("name=d", "p"),
        ("name=d&p=", "p"),
        ("name=d&p=0", "p"),
        ("name=d&p=100.1", "p"),
        ("name=d&p=-1", "p"),
        ("name=d&p=NaN", "p"),
        ("p=50", "name"),
        ("name=d&p=50&start=noon", "start"),
    ] {
        let target = format!("/query/percentile?{params}");
        is_bad_parameter(&server.get(&target), culprit, &format!("GET {target}"));
    }
    let none = server.get(&format!("/query/percentile?name=unheard_of&p=50&{ALL_TIME}"));
    let right = none.status == 200 && none.json()["series"] == json!([]);
    ensure(right, "a percentile of a name that nobody ever sent", "200 with no series", none);
}

// ——— 7: back-pressure, and who heeds it ———

#[test]
#[ignore = "exercise 7: a bounded queue, and a client that backs off"]
fn exercise_07_a_full_queue_refuses_and_says_when_to_come_back() {
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
#[ignore = "exercise 7: a bounded queue, and a client that backs off"]
fn exercise_07_a_queue_that_drains_takes_more_than_its_bound() {
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
#[ignore = "exercise 7: a bounded queue, and a client that backs off"]
fn exercise_07_the_client_waits_as_long_as_it_is_told() {
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

// ——— 8: a small load tester ———

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
#[ignore = "exercise 8: a small load tester"]
fn exercise_08_it_counts_errors_and_finds_percentiles() {
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
#[ignore = "exercise 8: a small load tester"]
fn exercise_08_what_it_counts_as_accepted_can_be_queried() {
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

// ——— 9: old samples disappear ———

#[test]
#[ignore = "exercise 9: old samples disappear"]
fn exercise_09_old_lines_leave_the_file_and_young_ones_stay() {
    let (now, hour) = (now_ms(), 3_600_000);
    let server = Setup::new()
        .stored(&(line("kept", now - 1_000) + &line("gone", now - hour)))
        .flags(&["--keep", "600"])
        .start();
    server.send(&json!({ "name": "late", "value": 1, "timestamp": now - hour }));
    for i in 0..200 {
        server.send(&json!({ "name": "young", "value": i, "timestamp": now - i }));
    }
    let sent = "samples of now and of an hour ago, before the start and after it, to phase0 … --keep 600";
    let holds = |name: &str| server.file_lines().iter().filter(|line| line.contains(name)).count();
    server.wait_for_points("young", 200);
    let cleared = wait_for(|| (holds("\"gone\"") + holds("\"late\"") == 0).then_some(()));
    let old = holds("\"gone\"") + holds("\"late\"");
    ensure(cleared.is_some(), sent, "the two old lines leave the file", format!("{old} are there"));
    // What is written after the file was written anew must be found in the new one.
    for i in 0..50 {
        server.send(&json!({ "name": "after", "value": i, "timestamp": now + i }));
    }
    server.wait_for_points("after", 50);
    let counts = [holds("\"kept\""), holds("\"young\""), holds("\"after\"")];
    ensure(counts == [1, 200, 50], sent, "all young lines stay: [1, 200, 50]", format!("{counts:?}"));
    let query = server.get(&format!("/query?name=gone&{ALL_TIME}"));
    ensure(points(&query.json()).is_empty(), sent, "nothing old is answered", query);
    let (status, complaint) = Setup::new().on_file_of(&server).start_in_vain();
    let refused = status.is_some_and(|s| !s.success()) && complaint.contains("another process");
    ensure(
        refused,
        "a second phase0 on the same file, after it was cleared",
        "it is refused: the file is in use by another process",
        format!("{status:?} {complaint}"),
    );
}

#[test]
#[ignore = "exercise 9: old samples disappear"]
fn exercise_09_nothing_young_is_lost_while_old_lines_leave() {
    const ROUNDS: i64 = 60;
    const YOUNG: i64 = 20;
    let (now, hour) = (now_ms(), 3_600_000);
    let server = Setup::new().flags(&["--keep", "600"]).start();
    // Long enough for several clearances, each with something to clear and somebody who writes meanwhile.
    for round in 0..ROUNDS {
        server.send(&json!({ "name": "old", "value": 1, "timestamp": now - hour + round }));
        for i in 0..YOUNG {
            server.send(&json!({ "name": "young", "value": 1, "timestamp": now - round * YOUNG - i }));
        }
        thread::sleep(Duration::from_millis(50));
    }
    let young = usize::try_from(ROUNDS * YOUNG).unwrap();
    server.wait_for_points("young", young);
    let sent = "three seconds of young samples with old ones among them, to phase0 … --keep 600";
    let holds = |name: &str| server.file_lines().iter().filter(|line| line.contains(name)).count();
    let cleared = wait_for(|| (holds("\"old\"") == 0).then_some(()));
    ensure(
        cleared.is_some(),
        sent,
        "the old lines leave the file",
        format!("{} are there", holds("\"old\"")),
    );
    let lines = holds("\"young\"");
    ensure(lines == young, sent, format!("{young} young lines: each once"), format!("{lines}"));
}

#[test]
#[ignore = "exercise 9: old samples disappear"]
fn exercise_09_samples_grow_old_while_it_runs() {
    let server = Setup::new().flags(&["--keep", "2"]).start();
    server.send(&json!({ "name": "brief", "value": 1, "timestamp": now_ms() }));
    let stored = wait_for(|| (!server.file_lines().is_empty()).then_some(()));
    ensure(stored.is_some(), "a sample of now, to phase0 … --keep 2", "it is stored", "no line in the file");
    let gone = wait_for(|| server.file_lines().is_empty().then_some(()));
    ensure(
        gone.is_some(),
        "a sample of now, to phase0 … --keep 2",
        "some seconds later it is gone",
        "it is there",
    );
}

#[test]
#[ignore = "exercise 9: old samples disappear"]
fn exercise_09_without_the_flag_everything_is_kept() {
    let server = Setup::new().stored(&line("ancient", 1)).start();
    server.send(&json!({ "name": "new", "value": 1 }));
    server.wait_for_points("new", 1);
    server.wait_for_points("ancient", 1);
    for flags in [&["--keep", "soon"][..], &["--keep", "0"], &["--keep", "-5"], &["--keep"]] {
        let (status, complaint) = Setup::new().flags(flags).start_in_vain();
        let refused = status.is_some_and(|s| !s.success()) && complaint.contains("--keep");
        ensure(
            refused,
            format!("phase0 PORT FILE SECONDS {flags:?}"),
            "a complaint about --keep and a non-zero exit code",
            format!("{status:?} {complaint}"),
        );
    }
}

fn line(name: &str, at: i64) -> String {
    format!("{{\"timestamp\":{at},\"value\":\"1\",\"labels\":{{\"__name__\":\"{name}\"}}}}\n")
}

// ——— 10: a page of latest values ———

#[test]
#[ignore = "exercise 10: a page of latest values"]
fn exercise_10_the_page_shows_the_latest_value_of_each_series() {
    let server = Setup::new().start();
    let now = now_ms();
    // Not in the order of time: the latest is not the last to arrive.
    for (core, value, age_ms) in
        [("zero", 11.125, 3_000), ("zero", 22.25, 1_000), ("zero", 33.375, 2_000), ("one", 44.5, 2_000)]
    {
        server.send(
            &json!({ "name": "temp", "value": value, "timestamp": now - age_ms, "labels": { "core": core } }),
        );
    }
    server.send(&json!({ "name": "mem", "value": 55.625, "timestamp": now - 1_000 }));
    server.wait_for_points("temp", 4);
    server.wait_for_points("mem", 1);
    let page = server.get("/");
    let kind = page.header("content-type").unwrap_or_default().to_owned();
    ensure(
        page.status == 200 && kind.starts_with("text/html"),
        "GET /",
        "200 and text/html",
        format!("{kind} {page}"),
    );
    for (words, value) in [(&["temp", "zero"][..], "22.25"), (&["temp", "one"], "44.5"), (&["mem"], "55.625")]
    {
        shows(&server, words, value);
    }
    for old in ["11.125", "33.375"] {
        let page = server.get("/");
        ensure(!page.body.contains(old), "GET /", format!("{old} is not shown: 22.25 is later"), page);
    }
    server.send(&json!({ "name": "mem", "value": 66.75, "timestamp": now }));
    server.wait_for_points("mem", 2);
    shows(&server, &["mem"], "66.75");
}

#[test]
#[ignore = "exercise 10: a page of latest values"]
fn exercise_10_labels_are_text_and_never_markup() {
    let server = Setup::new().start();
    let evil = r#"<script>alert("1")</script> & co"#;
    server.send(&json!({ "name": "evil", "value": 77.5, "labels": { "who": evil } }));
    server.wait_for_points("evil", 1);
    let page = server.get("/");
    let escaped = page.body.contains("&lt;script&gt;") && page.body.contains("&amp; co");
    ensure(
        escaped && !page.body.contains("<script>alert"),
        format!("a label with the value {evil:?}; GET /"),
        "&lt;script&gt; and &amp;: a stranger's text must not run in your browser",
        page,
    );
}

/// Some row of the page's table holds all of this.
fn shows(server: &Server, words: &[&str], value: &str) {
    let page = server.get("/");
    let mut rows = page.body.split("<tr").skip(1).map(|row| row.split("</tr").next().unwrap_or_default());
    let found = rows.any(|row| words.iter().all(|word| row.contains(word)) && row.contains(value));
    ensure(found, format!("samples of {words:?}; GET /"), format!("a <tr> with {words:?} and {value}"), page);
}
