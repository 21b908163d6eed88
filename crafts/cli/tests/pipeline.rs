//! The whole pipeline from outside, as its users see it: the same test for both shapes.

#![allow(clippy::unwrap_used)] // a test that cannot go on should stop

mod common;

use common::{PATIENCE, Running, delete, get, output, points, post, text, within};
use serde_json::json;
use std::{path::Path, time::Instant};

/// Where the services of one shape are.
struct Shape {
    ingest: String,
    query: String,
    alert: String,
}

#[test]
fn one_process_carries_samples_from_a_post_to_an_alert() {
    let dir = tempfile::tempdir().unwrap();
    let up = Running::node(&["up", "--no-agent", "--evaluate-every", "0.1"], dir.path());
    end_to_end(&Shape { ingest: up.url.clone(), query: up.url.clone(), alert: up.url.clone() });
    let (code, said) = up.interrupt();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("drained: "), "{said}");
}

#[test]
fn five_processes_carry_samples_from_a_post_to_an_alert() {
    let dir = tempfile::tempdir().unwrap();
    let serve =
        |role: &str, args: &[&str]| Running::node(&[&["serve", role], args].concat(), &dir.path().join(role));
    let queue = serve("queue", &[]);
    let ingest = serve("ingest", &["--queue", &queue.url]);
    let storage = serve("storage", &["--queue", &queue.url]);
    let query = serve("query", &["--storage", &storage.url]);
    let alert = serve("alert", &["--query", &query.url, "--evaluate-every", "0.1"]);
    for node in [&queue, &ingest, &storage, &query, &alert] {
        assert_eq!(node.get("/health").0, 200);
        within("every service is ready", || (node.get("/ready").0 == 200).then_some(()));
        assert!(node.get("/metrics").1.as_str().unwrap().contains("craft_http_requests_total"));
    }
    end_to_end(&Shape { ingest: ingest.url.clone(), query: query.url.clone(), alert: alert.url.clone() });
    for node in [ingest, alert, query, storage, queue] {
        let (code, said) = node.interrupt();
        assert_eq!(code, Some(0), "{said}");
    }
}

/// From a post to a query, an alert that fires, and one that resolves.
fn end_to_end(shape: &Shape) {
    let accepted = |body: &str, count: u64| {
        assert_eq!(post(&shape.ingest, "/metrics", body), (202, json!({ "accepted": count })), "{body}");
    };
    accepted(r#"{"timestamp":1763689000000,"name":"e2e_cpu","value":75.5,"labels":{"core":"0"}}"#, 1);
    accepted(
        r#"[{"timestamp":1763689001000,"name":"e2e_cpu","value":-0.1,"tags":{"core":"0"}},{"timestamp":1763689001000,"name":"e2e_cpu","value":"NaN","labels":{"core":"1"}}]"#,
        2,
    );
    accepted(
        r#"{"metrics":[{"timestamp":"2025-11-21T01:36:42.123Z","name":"e2e_cpu","value":1e300,"labels":{"core":"1","note":"\"ü\n"}}]}"#,
        1,
    );

    // One bad metric refuses its whole request, and says where.
    let (status, body) =
        post(&shape.ingest, "/metrics", r#"[{"name":"e2e_cpu","value":1},{"name":"e2e_bad","value":}]"#);
    assert_eq!((status, &body["error"]["code"], &body["error"]["at"]), (400, &json!("bad_json"), &json!(56)));

    let expected = vec![
        (
            json!({"__name__": "e2e_cpu", "core": "0"}),
            vec![(1_763_689_000_000, "75.5".to_owned()), (1_763_689_001_000, "-0.1".to_owned())],
        ),
        (json!({"__name__": "e2e_cpu", "core": "1"}), vec![(1_763_689_001_000, "NaN".to_owned())]),
        (
            json!({"__name__": "e2e_cpu", "core": "1", "note": "\"ü\n"}),
            vec![(1_763_689_002_123, "1e+300".to_owned())],
        ),
    ];
    within("what was sent can be queried exactly", || {
        (points(&shape.query, "e2e_cpu") == expected).then_some(())
    });

    // Prometheus's own form, at a time and over a range.
    let (status, body) =
        get(&shape.query, "/api/v1/query?query=e2e_cpu%7Bcore%3D%220%22%7D&time=1763689001.5");
    assert_eq!(status, 200);
    assert_eq!(
        body["data"],
        json!({"resultType": "vector", "result": [
            {"metric": {"__name__": "e2e_cpu", "core": "0"}, "value": [1_763_689_001.5, "-0.1"]}
        ]})
    );
    let (_, body) =
        get(&shape.query, "/api/v1/query_range?query=e2e_cpu%3E0&start=1763689000&end=1763689002&step=1");
    assert_eq!(body["data"]["result"][0]["values"], json!([[1_763_689_000, "75.5"]]));
    assert_eq!(get(&shape.query, "/api/v1/label/core/values").1["data"], json!(["0", "1"]));

    // An alert begins, and is over.
    let rule = r#"{"name":"E2eHot","expr":"e2e_heat > 90","labels":{"severity":"page"},"annotations":{"summary":"hot"}}"#;
    assert_eq!(post(&shape.alert, "/rules", rule).0, 201);
    accepted(r#"{"name":"e2e_heat","value":95,"labels":{"room":"7"}}"#, 1);
    let alert = within("the alert fires", || {
        let (_, body) = get(&shape.alert, "/alerts");
        body["alerts"].as_array().unwrap().iter().find(|a| a["rule"] == "E2eHot").cloned()
    });
    assert_eq!(alert["labels"], json!({"alertname": "E2eHot", "room": "7", "severity": "page"}));
    assert_eq!((&alert["state"], &alert["value"]), (&json!("firing"), &json!("95")));
    accepted(r#"{"name":"e2e_heat","value":20,"labels":{"room":"7"}}"#, 1);
    within("the alert is over", || {
        let (_, body) = get(&shape.alert, "/alerts");
        body["alerts"].as_array().unwrap().iter().all(|a| a["rule"] != "E2eHot").then_some(())
    });
    assert_eq!(delete(&shape.alert, "/rules/E2eHot").0, 204);
    assert_eq!(delete(&shape.alert, "/rules/E2eHot").0, 404);
}

#[test]
fn ctrl_c_drains_and_a_restart_finds_everything() {
    const REQUESTS: usize = 300;
    let dir = tempfile::tempdir().unwrap();
    let up = Running::node(&["up", "--no-agent"], dir.path());
    for i in 0..REQUESTS {
        let body =
            format!(r#"{{"timestamp":{},"name":"drained","value":{i}}}"#, 1_763_689_000_000_i64 + i as i64);
        assert_eq!(up.post("/metrics", &body).0, 202);
    }
    let (code, said) = up.interrupt();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains(&format!("drained: {REQUESTS} records stored")), "{said}");

    let again = Running::node(&["up", "--no-agent"], dir.path());
    let found = points(&again.url, "drained");
    assert_eq!(found[0].1.len(), REQUESTS);
}

/// `craft up 2>&1 | tee log`, and Ctrl-C, which ends `tee` as well.
#[test]
fn a_drain_is_complete_even_if_nobody_listens_any_more() {
    let dir = tempfile::tempdir().unwrap();
    let args =
        ["up", "--no-agent", "--listen", "127.0.0.1:0", "--data", dir.path().to_str().unwrap(), "--json"];
    let mut child = common::craft(&args).spawn().unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut line)
        .unwrap();
    let url = serde_json::from_str::<serde_json::Value>(&line).unwrap()["url"].as_str().unwrap().to_owned();
    drop(child.stderr.take());
    let metrics: Vec<_> = (0..20_000).map(|i| json!({"name": "heard", "value": i, "timestamp": i})).collect();
    assert_eq!(post(&url, "/metrics", &json!(metrics).to_string()).0, 202);
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let status = within("it ends", || child.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
    let again = Running::node(&["up", "--no-agent"], dir.path());
    assert_eq!(points(&again.url, "heard")[0].1.len(), 20_000);
}

#[test]
fn a_queue_alone_waits_for_its_consumer_and_says_what_is_left() {
    let dir = tempfile::tempdir().unwrap();
    let queue = Running::node(&["serve", "queue"], &dir.path().join("queue"));
    let ingest = Running::node(&["serve", "ingest", "--queue", &queue.url], &dir.path().join("ingest"));
    assert_eq!(ingest.post("/metrics", r#"{"name":"waiting","value":1}"#).0, 202);
    // Another reader that is done with it does not take it away from storage, which never came yet.
    let membership = post(&queue.url, "/subscribe", r#"{"group":"other","member":"m"}"#).1;
    let commit = json!({"group": "other", "member": "m", "generation": membership["generation"], "partition": 0, "offset": 1});
    assert_eq!(post(&queue.url, "/commit", &commit.to_string()).0, 204);
    queue.signal(rustix::process::Signal::INT);
    within("it takes nothing more", || {
        (ingest.post("/metrics", r#"{"name":"late","value":1}"#).0 == 503).then_some(())
    });
    let storage = Running::node(&["serve", "storage", "--queue", &queue.url], &dir.path().join("storage"));
    let mut queue = queue;
    let (code, said) = queue.wait();
    assert_eq!(code, Some(0), "{said}");
    drop(storage);

    // What nobody comes for is lost with a log in memory, and waits in a log in files.
    for (queue, code, words) in
        [("phase0", 1, "1 records are LEFT"), (queue::NAME, 0, "1 records wait in the queue")]
    {
        let queue = Running::node(&["serve", "queue", "--queue", queue], &dir.path().join("queue"));
        assert_eq!(post(&queue.url, "/produce?partition=0", "a record").0, 200);
        let (exit, said) = queue.interrupt();
        assert_eq!(exit, Some(code), "{said}");
        assert!(said.contains(words), "{said}");
    }
}

#[test]
fn questions_that_would_never_end_are_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let up = Running::node(&["up", "--no-agent"], dir.path());
    assert_eq!(up.post("/metrics", r#"{"name":"x","value":1}"#).0, 202);
    for query in [
        "/api/v1/query_range?query=x&start=253402300799&end=253402300799&step=9223372036854775807ms",
        "/api/v1/query_range?query=x&start=-9e15&end=9e15&step=0.001",
        "/api/v1/query_range?query=x&start=0&end=9e12&step=9e12",
        "/api/v1/query?query=x&time=-9e12",
        "/query?name=x&start=-9223372036854775808&end=9223372036854775807",
    ] {
        let (status, body) = up.get(query);
        assert!([200, 400].contains(&status), "{query}: {status} {body}");
    }
    let many = "match%5B%5D=x&".repeat(1000);
    assert_eq!(up.post("/api/v1/series", &many.replace("%5B%5D", "[]")).0, 400);
    assert_eq!(up.get("/health").0, 200);
    assert_eq!(up.interrupt().0, Some(0));
}

#[test]
fn the_rules_that_were_answered_can_be_given_back() {
    let dir = tempfile::tempdir().unwrap();
    let up = Running::node(&["up", "--no-agent"], &dir.path().join("one"));
    let (_, answered) = up.get("/rules");
    let file = dir.path().join("rules.json");
    std::fs::write(&file, answered.to_string()).unwrap();
    let again =
        Running::node(&["up", "--no-agent", "--rules", file.to_str().unwrap()], &dir.path().join("two"));
    let names = |body: &serde_json::Value| -> Vec<String> {
        body["rules"].as_array().unwrap().iter().map(|r| r["name"].to_string()).collect()
    };
    assert_eq!(names(&again.get("/rules").1), names(&answered));
}

#[test]
fn a_service_that_starts_before_its_upstream_waits_for_it() {
    let dir = tempfile::tempdir().unwrap();
    // A port that is free, and will be the queue's.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}");
    let ingest = Running::node(&["serve", "ingest", "--queue", &url], &dir.path().join("ingest"));
    assert_eq!(ingest.get("/health").0, 200);
    assert_eq!(ingest.get("/ready").0, 503);
    let sample = r#"{"name":"early","value":1}"#;
    let (status, body) = ingest.post("/metrics", sample);
    assert_eq!((status, &body["error"]["code"]), (503, &json!("queue_unavailable")), "{body}");

    let data = dir.path().join("queue");
    let listen = format!("127.0.0.1:{port}");
    let _queue =
        Running::start(&["serve", "queue", "--listen", &listen, "--data", data.to_str().unwrap(), "--json"]);
    within("the ingestion finds its queue", || (ingest.post("/metrics", sample).0 == 202).then_some(()));
    assert_eq!(ingest.get("/ready").0, 200);
}

#[test]
fn what_cannot_start_says_why_in_one_line_and_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().to_str().unwrap();
    let refused = |args: &[&str], words: &[&str]| {
        let out = output(args);
        let said = text(&out.stderr);
        assert_eq!(out.status.code(), Some(1), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(words.iter().all(|w| said.contains(w)), "{said}");
    };
    let busy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = busy.local_addr().unwrap().to_string();
    refused(&["up", "--listen", &addr, "--data", data], &[&addr, "--listen"]);
    // A file where a directory should be cannot be written to by anybody, root included.
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    refused(&["up", "--listen", "127.0.0.1:0", "--data", file.to_str().unwrap()], &["file", "--data"]);
    refused(&["up", "--listen", "127.0.0.1:0", "--data", data, "--queue", "phase99"], &["phase99", "phase0"]);
    refused(&["up", "--listen", "0.0.0.0:0", "--data", data], &["--token"]);
    refused(&["up", "--listen", "127.0.0.1:0", "--data", data, "--storage", "https://x"], &["http://"]);
    refused(
        &["up", "--listen", "127.0.0.1:0", "--data", data, "--queue", "phase0", "--ack", "disk"],
        &["memory", "--ack"],
    );
    refused(&["up", "--listen", "127.0.0.1:0", "--data", data, "--token", ""], &["token"]);
    assert_eq!(output(&["up", "--nonsense"]).status.code(), Some(2));
}

#[test]
fn a_token_is_asked_for_and_never_told() {
    let dir = tempfile::tempdir().unwrap();
    let up = Running::node(&["up", "--token", "tops3cret", "--evaluate-every", "0.1"], dir.path());
    assert_eq!(up.get("/health").0, 200);
    assert_eq!(up.get("/rules").0, 401);
    assert_eq!(up.post("/metrics", r#"{"name":"a","value":1}"#).0, 401);
    let bearer =
        |token: &str| common::get_with(&up.url, "/rules", "Authorization", &format!("Bearer {token}")).0;
    assert_eq!(bearer("tops3cre"), 401);
    assert_eq!(bearer("tops3cret"), 200);
    // The agent inside has the token, so its samples arrive.
    within("the agent's samples arrive", || {
        let query = "/api/v1/query?query=host_load1";
        let (_, body) = common::get_with(&up.url, query, "Authorization", "Bearer tops3cret");
        (body["data"]["result"].as_array()?.len() == 1).then_some(())
    });
    let (code, said) = up.interrupt();
    assert_eq!(code, Some(0));
    assert!(!said.contains("tops3cret"), "{said}");
}

#[test]
fn a_slow_client_is_cut_off_and_others_are_served() {
    use std::io::{Read, Write};
    let dir = tempfile::tempdir().unwrap();
    let up = Running::node(&["up", "--no-agent"], dir.path());
    let address = up.url.strip_prefix("http://").unwrap();
    let mut slow = std::net::TcpStream::connect(address).unwrap();
    slow.set_read_timeout(Some(PATIENCE)).unwrap();
    let dripping = std::thread::spawn(move || {
        let begun = Instant::now();
        for byte in b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n".iter().cycle() {
            if slow.write_all(&[*byte]).is_err() || begun.elapsed() > PATIENCE {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        let mut answer = String::new();
        let _ = slow.read_to_string(&mut answer);
        answer
    });
    within("others are served again", || (up.get("/health").0 == 200).then_some(()));
    let answer = dripping.join().unwrap();
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
}

#[test]
fn questions_on_the_command_line() {
    let dir = tempfile::tempdir().unwrap();
    let up = Running::node(&["up", "--no-agent", "--evaluate-every", "0.1"], dir.path());
    assert_eq!(up.post("/metrics", r#"{"name":"asked","value":7.5,"labels":{"a":"b"}}"#).0, 202);
    within("the sample can be queried", || (!points(&up.url, "asked").is_empty()).then_some(()));
    let ask = |args: &[&str]| output(&[args, &["--url", &up.url]].concat());

    let out = ask(&["query", "asked"]);
    assert_eq!(text(&out.stdout), "asked{a=\"b\"} 7.5\n");
    let json: serde_json::Value =
        serde_json::from_slice(&ask(&["query", "asked > 1", "--json"]).stdout).unwrap();
    assert_eq!(json["vector"][0]["value"], "7.5");
    assert!(text(&ask(&["query", "asked", "--points", "60"]).stdout).contains("Z 7.5"));
    let wrong = ask(&["query", "asked{a="]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(text(&wrong.stderr).ends_with("  asked{a=\n          ^\n"), "{}", text(&wrong.stderr));

    assert_eq!(
        ask(&["alerts", "add", "Asked", "asked > 1", "--summary", "too much", "--label", "severity=page"])
            .status
            .code(),
        Some(0)
    );
    within("the alert is listed as firing", || {
        let said = text(&ask(&["alerts"]).stdout);
        (said.contains("firing   Asked") && said.contains("{a=\"b\",severity=\"page\"} = 7.5")).then_some(())
    });
    assert_eq!(ask(&["alerts", "delete", "Asked"]).status.code(), Some(0));
    assert_eq!(ask(&["alerts", "delete", "Asked"]).status.code(), Some(1));
    let away = output(&["query", "x", "--url", "http://127.0.0.1:9"]);
    assert_eq!((away.status.code(), text(&away.stderr).lines().count()), (Some(1), 1));
}

#[test]
fn the_doctor_examines_and_machines_can_read_it() {
    let out =
        output(&["doctor", "--json", "--data", Path::new(env!("CARGO_TARGET_TMPDIR")).to_str().unwrap()]);
    let report: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    let findings = report["findings"].as_array().unwrap();
    assert!(findings.len() >= 7);
    let worst_is_bad = findings.iter().any(|f| f["verdict"] == "bad");
    assert_eq!(report["fit"], json!(!worst_is_bad));
    assert_eq!(out.status.code(), Some(i32::from(worst_is_bad)));
}
