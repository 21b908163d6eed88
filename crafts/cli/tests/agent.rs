//! The agent against real sources and a server that comes and goes.

#![allow(clippy::unwrap_used)] // a test that cannot go on should stop

mod common;

use common::{Running, output, points, program, text, within};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    thread,
};

#[test]
fn this_machines_own_metrics_arrive() {
    let dir = tempfile::tempdir().unwrap();
    let up = Running::node(&["up"], dir.path());
    for metric in [
        "host_cpu_busy_ratio",
        "host_load1",
        "host_memory_used_bytes",
        "host_filesystem_size_bytes",
        "host_network_receive_bytes_total",
        "host_disk_read_bytes_total",
        "host_processes",
    ] {
        within(metric, || (!points(&up.url, metric).is_empty()).then_some(()));
    }
    let (_, status) = up.get("/api/status");
    assert_eq!(status["slots"].as_array().unwrap().len(), 5);
    assert!(status["stages"]["storage"]["samples_total"].as_u64().unwrap() > 0);
}

#[test]
fn samples_wait_while_the_server_is_away() {
    let dir = tempfile::tempdir().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}");
    let mut agent = Running::start(&["agent", "--url", &url, "--interval", "0.1"]);
    thread::sleep(std::time::Duration::from_millis(800));

    let data = dir.path().to_str().unwrap();
    let listen = format!("127.0.0.1:{port}");
    let _up = Running::start(&["up", "--no-agent", "--listen", &listen, "--data", data]);
    // Eight collections lie before the server: more than one must arrive although it was away then.
    let held = within("what was held arrives", || {
        let found = std::panic::catch_unwind(|| points(&url, "host_load1")).unwrap_or_default();
        found.first().map(|(_, points)| points.len()).filter(|n| *n > 5)
    });
    assert!(held > 5);
    agent.signal(rustix::process::Signal::INT);
    let (code, said) = agent.wait();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("holding samples"), "{said}");
}

#[test]
fn an_agent_that_cannot_deliver_says_so_and_fails() {
    let out = output(&["agent", "--url", "http://127.0.0.1:9", "--rounds", "1", "--json"]);
    let stats: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert!(stats["buffered_samples"].as_u64().unwrap() > 0);
    assert_eq!(out.status.code(), Some(1), "{}", text(&out.stderr));
    assert_eq!(output(&["agent", "--scrape", "https://x"]).status.code(), Some(1));
}

/// A page that holds every form of the format, told on by a server that is not Prometheus.
#[test]
fn a_scraped_page_is_queried_back_exactly() {
    const PAGE: &str = "# HELP a help\n# TYPE a counter\na_total{path=\"C:\\\\x\",q=\"\\\"\\n\",job=\"inner\"} 1.5e-300\n\
                        b 18446744073709551615\nc{le=\"+Inf\"} NaN\nd -Inf\ne 0.1 1763689000123\nf{s=\"ü\"} -0\n";
    let (url, _) = serve_pages(|| PAGE.to_owned());
    let stored = scrape_once(&url);
    let expected: BTreeMap<String, String> = [
        (r#"{"__name__":"a_total","exported_job":"inner","instance":"I","job":"scrape","path":"C:\\x","q":"\"\n"}"#, "1.5e-300"),
        (r#"{"__name__":"b","instance":"I","job":"scrape"}"#, "18446744073709552000"),
        (r#"{"__name__":"c","instance":"I","job":"scrape","le":"+Inf"}"#, "NaN"),
        (r#"{"__name__":"d","instance":"I","job":"scrape"}"#, "-Inf"),
        (r#"{"__name__":"e","instance":"I","job":"scrape"}"#, "0.1"),
        (r#"{"__name__":"f","instance":"I","job":"scrape","s":"ü"}"#, "-0"),
    ]
    .into_iter()
    .map(|(labels, value)| (labels.replace("\"I\"", &json!(url.strip_prefix("http://").unwrap()).to_string()), value.to_owned()))
    .collect();
    assert_eq!(stored, expected);
}

/// The real thing: what Debian's node exporter said is what a query gives, sample by sample. A relay between the
/// two keeps a copy of the page, and a reader of its own, by splitting at the last space, is the second opinion.
#[test]
fn a_real_node_exporter_is_queried_back_exactly() {
    let Some(exporter) = program(&["prometheus-node-exporter", "node_exporter"], "prometheus-node-exporter")
    else {
        return;
    };
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let target = format!("127.0.0.1:{port}");
    let mut child = Command::new(exporter)
        .arg(format!("--web.listen-address={target}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    within("the exporter listens", || TcpStream::connect(&target).ok());
    let (url, pages) = serve_pages(move || fetch_page(&target));
    let stored = scrape_once(&url);
    child.kill().unwrap();
    child.wait().unwrap();

    let page = pages.lock().unwrap().last().unwrap().clone();
    let instance = url.strip_prefix("http://").unwrap();
    let mut expected = BTreeMap::new();
    for line in page.lines().filter(|l| !l.starts_with('#') && !l.is_empty()) {
        let (series, value) = line.rsplit_once(' ').unwrap();
        expected.insert(series_key(series, instance), value.parse::<f64>().unwrap());
    }
    assert!(expected.len() > 200, "a node exporter says more than {} lines", expected.len());
    let lost: Vec<_> = expected.keys().filter(|series| !stored.contains_key(*series)).collect();
    assert!(
        lost.is_empty() && stored.len() == expected.len(),
        "{} of {}, lost: {lost:?}",
        stored.len(),
        expected.len()
    );
    for (series, value) in &stored {
        let (ours, theirs) = (contracts::query::parse_value(value).unwrap(), expected[series]);
        assert!(
            ours.to_bits() == theirs.to_bits() || (ours.is_nan() && theirs.is_nan()),
            "{series}: {ours} {theirs}"
        );
    }
}

/// `name{a="b"}` as the JSON of its labels, with what a scrape adds.
fn series_key(series: &str, instance: &str) -> String {
    let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
    let inner = labels.strip_suffix('}').unwrap();
    let mut map: BTreeMap<String, Value> = BTreeMap::new();
    // Go writes label values nearly as JSON does, so that a page's labels can be read as the members of an object.
    let mut rest = inner;
    while let Some((label, behind)) = rest.split_once("=\"") {
        let mut escaped = false;
        let end = behind
            .find(|c| {
                let end = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                end
            })
            .unwrap();
        map.insert(label.to_owned(), serde_json::from_str(&format!("\"{}\"", &behind[..end])).unwrap());
        rest = behind[end + 1..].trim_start_matches(',');
    }
    map.retain(|_, value| *value != ""); // an empty label is no label
    map.insert("__name__".to_owned(), json!(name));
    map.insert("instance".to_owned(), json!(instance));
    map.insert("job".to_owned(), json!("scrape"));
    json!(map).to_string()
}

/// One scrape of `url` into a fresh pipeline; everything that is stored then, by series.
fn scrape_once(url: &str) -> BTreeMap<String, String> {
    let dir = tempfile::tempdir().unwrap();
    let up = Running::node(&["up", "--no-agent"], dir.path());
    let out = output(&["agent", "--url", &up.url, "--scrape", url, "--rounds", "1", "--json"]);
    assert_eq!(out.status.code(), Some(0), "{}", text(&out.stderr));
    let delivered =
        serde_json::from_slice::<Value>(&out.stdout).unwrap()["delivered_samples"].as_u64().unwrap();
    let everything = r#"{__name__=~".+"}"#;
    let stored = within("everything delivered is stored", || {
        let found = points(&up.url, everything);
        (found.iter().map(|(_, points)| points.len() as u64).sum::<u64>() == delivered).then_some(found)
    });
    stored.into_iter().map(|(labels, points)| (labels.to_string(), points[0].1.clone())).collect()
}

/// Serves pages to one scraper after the other; also keeps what it served.
fn serve_pages(page: impl Fn() -> String + Send + 'static) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let pages = Arc::new(Mutex::new(Vec::new()));
    let kept = pages.clone();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            while lines.next().is_some_and(|line| line.is_ok_and(|l| !l.is_empty())) {}
            let body = page();
            let head =
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            stream.write_all(head.as_bytes()).unwrap();
            stream.write_all(body.as_bytes()).unwrap();
            kept.lock().unwrap().push(body);
        }
    });
    (url, pages)
}

/// `GET /metrics` by hand: HTTP/1.0, so that the answer ends with the connection.
fn fetch_page(target: &str) -> String {
    let mut stream = TcpStream::connect(target).unwrap();
    stream.write_all(format!("GET /metrics HTTP/1.0\r\nHost: {target}\r\n\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}
