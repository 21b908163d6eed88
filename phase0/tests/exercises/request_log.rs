//! A line for each request.

use super::support::{
    client, ensure,
    server::{Server, Setup},
    wait_for,
};
use std::{io::Write, thread, time::Duration};

#[test]
#[ignore = "an exercise"]
fn each_request_leaves_one_line() {
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
#[ignore = "an exercise"]
fn the_time_is_the_whole_requests_time() {
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
        took.map_or_else(
            || format!("no such line; stderr: {:?}", server.stderr()),
            |us| format!("{us} microseconds"),
        ),
    );
}

/// The microseconds of the lines `METHOD PATH STATUS MICROSECONDS` with this beginning.
fn logged(server: &Server, beginning: [&str; 3]) -> Vec<u64> {
    let lines = server.stderr();
    let fields = lines.iter().map(|line| line.split(' ').collect::<Vec<_>>());
    let ours = fields.filter(|fields| fields.len() == 4 && fields[..3] == beginning);
    ours.filter_map(|fields| fields[3].parse().ok()).collect()
}
