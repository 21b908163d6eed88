//! A lab's program from outside: its words, and what it says.

#![allow(clippy::unwrap_used)] // a test that cannot go on should stop

use benches::{
    loads::LogSetting,
    server::{PhaseServer, Setting},
    tool::Pinning,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::PathBuf,
    process::{Command, Output, Stdio},
};

/// The example that stands for a learner's crate; cargo builds it with the tests.
fn program() -> PathBuf {
    let deps = std::env::current_exe().unwrap();
    let path = deps.parent().and_then(|deps| deps.parent()).unwrap().join("examples/reference");
    assert!(path.is_file(), "{} is missing; cargo build -p lab-kit --examples", path.display());
    path
}

fn run(words: &[&str]) -> Output {
    Command::new(program()).args(words).output().unwrap()
}

fn lines(output: &Output) -> Vec<Value> {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_test_by_name_says_that_it_begins_and_how_it_ends() {
    let output = run(&["check", "nesting-is-bounded"]);
    assert!(output.status.success());
    assert_eq!(
        lines(&output),
        [
            json!({"said": "begun", "test": "nesting-is-bounded"}),
            json!({"said": "ended", "test": "nesting-is-bounded", "verdict": {"holds": null}}),
            json!({"said": "checked"}),
        ]
    );
}

#[test]
fn a_name_that_is_no_tests_lists_those_there_are() {
    let output = run(&["check", "nesting-is-boundless"]);
    assert!(!output.status.success());
    let lines = lines(&output);
    assert_eq!(lines.len(), 1, "nothing is run: {lines:?}");
    assert_eq!((&lines[0]["said"], &lines[0]["asked"]), (&"notest".into(), &"nesting-is-boundless".into()));
    assert!(lines[0]["there"].as_array().unwrap().contains(&"nesting-is-bounded".into()), "{lines:?}");
}

#[test]
fn the_beginning_of_a_tests_name_is_enough() {
    let lines = lines(&run(&["check", "nesting-is-b"]));
    assert_eq!(lines[0]["test"], "nesting-is-bounded");
    assert_eq!(lines.last().unwrap()["said"], "checked");
}

#[test]
fn all_tests_are_those_of_the_slot_and_then_the_claims_on_the_server() {
    let output = run(&["check"]);
    assert!(output.status.success());
    let lines = lines(&output);
    let begun: Vec<&str> =
        lines.iter().filter(|l| l["said"] == "begun").filter_map(|l| l["test"].as_str()).collect();
    let at = |name: &str| begun.iter().position(|test| *test == name).unwrap();
    assert!(at("texts-keep-their-escapes") < at("an-empty-body-is-refused-as-empty-body"), "{begun:?}");
    assert_eq!(lines.len(), begun.len() * 2 + 1);
}

#[test]
fn what_is_counted_is_told_of_all_three_forms() {
    let lines = lines(&run(&["count"]));
    let [counted] = &lines[..] else { panic!("{lines:?}") };
    assert_eq!((&counted["said"], &counted["counter"]), (&json!("counted"), &json!("allocations_per_body")));
    assert!(counted["previous"].as_f64().unwrap() > 10.0, "{counted}");
    assert_eq!(counted["mine"], counted["reference"], "it is the reference");
}

#[test]
fn it_is_a_phase_server_of_every_phase_and_of_mine() {
    for phase in ["mine", "phase9"] {
        let log = LogSetting {
            file: false,
            ack: "memory".to_owned(),
            flush_us: 0,
            per_kib_us: 0,
            waiting_batches_max: None,
        };
        let setting =
            Setting { words: vec!["serve".to_owned()], phase: phase.to_owned(), log, allocations: false };
        let server = PhaseServer::start(&program(), &Pinning::none(), &setting, None, &[]).unwrap();
        let address = format!("127.0.0.1:{}", server.port);
        let answer = ask(&address, &post(&address));
        assert!(answer.ends_with(r#"{"accepted":1}"#), "{phase}: {answer}");
        assert_eq!(server.drain().unwrap().found.samples, 1, "{phase}");
    }
}

#[test]
fn it_runs_the_whole_pipeline_with_mine_in_its_slot() {
    let data = tempfile::tempdir().unwrap();
    let mut child = Command::new(program())
        .args(["up", "--listen", "127.0.0.1:0", "--data"])
        .arg(data.path())
        .arg("--work")
        .arg(data.path())
        .args(["--labs", r#"[{"slug":"keep-alive","phase":"1.5","title":"keep-alive and pipelining"}]"#])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let mut heard = Vec::new();
    let url = loop {
        let line = said.next().unwrap();
        heard.push(line.clone());
        if let Some(url) = line.strip_prefix("Open ").and_then(|rest| rest.split("/ for").next()) {
            break url.to_owned();
        }
    };
    assert!(heard.iter().any(|line| line.contains("ingest") && line.contains("mine")), "{heard:?}");
    let address = url.strip_prefix("http://").unwrap();
    assert!(ask(address, &post(address)).contains(r#"{"accepted":1}"#));
    let get = |path: &str| {
        ask(address, &format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"))
    };
    let page = get("/");
    assert!(page.starts_with("HTTP/1.1 200") && page.contains("<html"), "{:.200}", page);
    assert!(
        get("/api/progress").contains(r#""slug":"keep-alive","state":"open""#),
        "{}",
        get("/api/progress")
    );
    let id = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(id, Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success(), "{:?}", said.collect::<Vec<_>>());
}

fn post(address: &str) -> String {
    let body = r#"{"name":"a","value":1}"#;
    format!(
        "POST /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// One request on a connection of its own.
fn ask(address: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
