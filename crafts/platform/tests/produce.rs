//! Many produces under way on one connection of the queue service.

#![allow(clippy::unwrap_used)] // a test that cannot go on should stop

use contracts::queue::put_payload;
use platform::{Node, NodeConfig, Role};
use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    thread,
    time::Duration,
};

/// A queue service behind this engine, or the usual one.
fn start(engine: Option<&str>, dir: &std::path::Path) -> Node {
    let mut config = NodeConfig::serve(Role::Queue, ([127, 0, 0, 1], 0).into(), dir.to_owned());
    config.chosen.extend(engine.map(|name| (Role::Ingest, name.to_owned())));
    Node::start(&config).unwrap()
}

struct Client(BufReader<TcpStream>);

impl Client {
    fn new(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        Self(BufReader::new(stream))
    }

    /// Status and body of the next answer.
    fn answer(&mut self) -> (u16, Vec<u8>) {
        let (mut status, mut length) = (0, 0);
        loop {
            let mut line = String::new();
            assert!(self.0.read_line(&mut line).unwrap() > 0, "closed without an answer");
            match line.trim().split_once([' ', ':']) {
                Some(("HTTP/1.1", rest)) => status = rest.split(' ').next().unwrap().parse().unwrap(),
                Some(("Content-Length", value)) => length = value.trim().parse().unwrap(),
                None => break,
                _ => {}
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).unwrap();
        (status, body)
    }

    fn json(&mut self) -> (u16, Value) {
        let (status, body) = self.answer();
        (status, serde_json::from_slice(&body).unwrap())
    }
}

fn produce(target: &str, records: &[String]) -> Vec<u8> {
    let mut body = Vec::new();
    records.iter().for_each(|record| put_payload(record.as_bytes(), &mut body));
    let head = format!(
        "POST {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/vnd.systems-craft.records\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), &body].concat()
}

fn get(target: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").into_bytes()
}

/// Records of request `n` of a client: from one to five.
fn records(client: usize, n: usize) -> Vec<String> {
    (0..=n % 5).map(|i| format!("{client}/{n}/{i}")).collect()
}

/// Sends all requests of a client before it reads the first answer; returns where its records lie.
fn fill(addr: SocketAddr, client: usize, ack: &str) -> Vec<(u64, String)> {
    const REQUESTS: usize = 1500;
    let mut connection = Client::new(addr);
    let mut writer = connection.0.get_ref().try_clone().unwrap();
    let target = format!("/produce?partition=0&ack={ack}");
    let sending = thread::spawn(move || {
        for n in 0..REQUESTS {
            writer.write_all(&produce(&target, &records(client, n))).unwrap();
            if n % 100 == 50 {
                writer.write_all(&get("/topics")).unwrap();
            }
        }
    });
    let mut found = Vec::new();
    for n in 0..REQUESTS {
        let (status, placed) = connection.json();
        assert_eq!(status, 200, "request {n}: {placed}");
        let (offset, count) = (placed["offset"].as_u64().unwrap(), placed["count"].as_u64().unwrap());
        assert_eq!(placed, json!({"partition": 0, "offset": offset, "count": count}));
        let mine = records(client, n);
        assert_eq!(count, mine.len() as u64, "request {n} has its own answer");
        found.extend((offset..).zip(mine));
        if n % 100 == 50 {
            assert!(connection.json().1["topics"].is_array(), "another answer, in its place");
        }
    }
    sending.join().unwrap();
    assert!(found.is_sorted(), "later requests lie behind earlier ones");
    found
}

/// What lies in partition 0, from its beginning.
fn all(addr: SocketAddr) -> Vec<(u64, String)> {
    let mut connection = Client::new(addr);
    let mut found: Vec<(u64, String)> = Vec::new();
    loop {
        let from = found.last().map_or(0, |(offset, _)| offset + 1);
        connection.0.get_mut().write_all(&get(&format!("/consume?partition=0&offset={from}"))).unwrap();
        let (status, body) = connection.answer();
        assert_eq!(status, 200);
        if body.is_empty() {
            return found;
        }
        let mut records = contracts::queue::Records::new();
        records.decode(&body).unwrap();
        found.extend(records.iter().map(|(at, text)| (at.0, String::from_utf8(text.to_vec()).unwrap())));
    }
}

#[test]
fn pipelined_produces_are_answered_in_order_with_the_places_where_their_records_lie() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(None, dir.path());
    let addr = node.addr();
    let mut expected: Vec<(u64, String)> = thread::scope(|scope| {
        let fill = |(client, ack)| scope.spawn(move || fill(addr, client, ack));
        let fillers: Vec<_> = ["disk", "os", "memory", "disk"].into_iter().enumerate().map(fill).collect();
        fillers.into_iter().flat_map(|filler| filler.join().unwrap()).collect()
    });
    expected.sort();
    assert!(all(addr) == expected, "what was acknowledged, where it was said to be, and nothing else");
    let metrics = metrics(addr);
    let counted = r#"craft_http_requests_total{method="POST",route="/produce",status="2xx"} 6000"#;
    assert!(metrics.contains(counted), "{metrics}");
}

/// It serves one request at a time, and so waits for each.
#[test]
fn an_engine_that_may_wait_gives_the_same_answers() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(Some("phase0-std"), dir.path());
    for n in 0..3 {
        let mut connection = Client::new(node.addr());
        let request = produce("/produce?partition=0&ack=disk", &records(0, 2));
        connection.0.get_mut().write_all(&request).unwrap();
        assert_eq!(connection.json(), (200, json!({"partition": 0, "offset": 3 * n, "count": 3})));
    }
}

fn metrics(addr: SocketAddr) -> String {
    let mut connection = Client::new(addr);
    connection.0.get_mut().write_all(&get("/metrics")).unwrap();
    String::from_utf8(connection.answer().1).unwrap()
}
