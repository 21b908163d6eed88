//! The command: its words, its files, its exit codes.

mod common;

use std::net::TcpListener;

use common::{Answer, Behaviour, Server, load_tester};

fn server(answer: fn(u64) -> Answer) -> String {
    Server::start(Behaviour { answer, ..Behaviour::default() }).port.to_string()
}

#[test]
fn port_clients_and_requests_are_enough() {
    let (code, stdout, stderr) = load_tester(&[&server(|_| Answer::Accept), "5", "4"]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(stdout.contains("20 begun, 20 answered, 20 2xx (100.000 %), 0 unanswered"), "{stdout}");
    assert!(stdout.contains("202: 20"), "{stdout}");
}

#[test]
fn a_server_that_closes_is_not_said_to_keep_connections() {
    let closing = Server::start(Behaviour { one_at_a_time: true, ..Behaviour::default() });
    let first_line = |arguments: &[&str]| {
        let (_, stdout, _) = load_tester(arguments);
        stdout.lines().next().unwrap_or_default().to_owned()
    };
    let port = closing.port.to_string();
    let said = first_line(&[&port, "5", "4"]);
    assert!(said.contains(", keep-alive asked for, but the server closes, "), "{said}");
    let said = first_line(&[&port, "5", "4", "--no-keep-alive"]);
    assert!(said.contains(", a connection each, "), "{said}");
    let said = first_line(&[&server(|_| Answer::Accept), "5", "4"]);
    assert!(said.contains(", keep-alive, "), "{said}");
}

#[test]
fn a_wrong_word_is_a_usage_error() {
    for arguments in [&["frog"][..], &[], &["8080", "--rate", "-3"], &["8080", "--frog"], &["8080", "0", "1"]]
    {
        let (code, stdout, stderr) = load_tester(arguments);
        assert_eq!((code, stdout.as_str()), (2, ""), "{arguments:?}");
        assert!(stderr.contains("error:"), "{stderr}");
    }
}

#[test]
fn a_port_where_nobody_listens_gives_one_clear_line() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port().to_string();
    drop(free);
    let (code, stdout, stderr) = load_tester(&[&port, "5", "4"]);
    assert_eq!((code, stdout.as_str()), (1, ""));
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.contains(&format!("cannot connect to 127.0.0.1:{port}")), "{stderr}");
}

#[test]
fn a_run_without_one_success_has_failed() {
    let (code, _, stderr) = load_tester(&[&server(|_| Answer::Refuse(503)), "1", "3"]);
    assert_eq!(code, 1);
    assert!(stderr.contains("not one request succeeded"));
}

#[test]
fn a_limit_that_is_not_kept_has_its_own_exit_code() {
    let port = server(|n| if n % 4 == 0 { Answer::Refuse(429) } else { Answer::Accept });
    let (code, _, stderr) = load_tester(&[&port, "1", "100", "--min-success", "99.9"]);
    assert_eq!(code, 4);
    assert!(stderr.contains("--min-success 99.9: it is 75.000"), "{stderr}");
    let (code, ..) = load_tester(&[&port, "1", "100", "--min-success", "75"]);
    assert_eq!(code, 0);
    let (code, _, stderr) = load_tester(&[&port, "1", "100", "--fail-if", "p99>1us"]);
    assert_eq!(code, 4);
    assert!(stderr.contains("p99>1us: it is"), "{stderr}");
}

#[test]
fn results_go_where_they_are_asked_to() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (json, csv, html) = (file("r.json"), file("r.csv"), file("r.html"));
    let port = server(|_| Answer::Accept);
    let (code, stdout, _) =
        load_tester(&[&port, "3", "50", "--json", "--json-file", &json, "--csv", &csv, "--html", &html]);
    assert_eq!(code, 0);
    assert_eq!(std::fs::read_to_string(json).unwrap(), stdout);
    let csv = std::fs::read_to_string(csv).unwrap();
    assert!(csv.starts_with("second,span_ms,answered,ok,unanswered,p50_us,p99_us\n0,"), "{csv}");
    let html = std::fs::read_to_string(html).unwrap();
    assert_eq!(html.matches("</svg>").count(), 3);
    // One file: nothing is fetched, nothing is run.
    for word in ["<script", "src=", "href=", "@import", "url("] {
        assert!(!html.contains(word), "{word}");
    }
}

#[test]
fn a_result_that_cannot_be_written_is_a_failure_that_names_the_file() {
    let port = server(|_| Answer::Accept);
    let (code, _, stderr) = load_tester(&[&port, "1", "1", "--csv", "/nonexistent/r.csv"]);
    assert_eq!(code, 1);
    assert!(stderr.contains("/nonexistent/r.csv"), "{stderr}");
}
