//! Batches that stay packed from the producer to the consumer, over HTTP.

#![allow(clippy::unwrap_used)] // a test that cannot go on should stop

use contracts::queue::{Ack, FetchLimit, Log, LogError, NewRecord, Offset, Partition, Records, Ticket};
use platform::{
    Node, NodeConfig, Role,
    remote::{Client, RemoteLog},
};
use queue::wire;
use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    time::Duration,
};

const FIRST: Partition = Partition(0);

/// A queue service, and a client of it.
fn start(dir: &Path) -> (Node, RemoteLog) {
    let config = NodeConfig::serve(Role::Queue, ([127, 0, 0, 1], 0).into(), dir.to_owned());
    let node = Node::start(&config).unwrap();
    let client = Client::new(&format!("http://{}", node.addr()), None).unwrap();
    (node, RemoteLog::new(client))
}

/// Three batches that pack well.
fn payloads() -> Vec<Vec<u8>> {
    (0..300).map(|i| format!("cpu,host=web-1,datacentre=somewhere value={i}").into_bytes()).collect()
}

fn fill(log: &RemoteLog) {
    let mut producer = log.producer(Ack::Disk).unwrap();
    for batch in payloads().chunks(100) {
        for payload in batch {
            producer.submit(NewRecord { partition: FIRST, payload }).unwrap();
        }
        producer.flush().unwrap();
    }
    assert_eq!(producer.wait(Ticket(300), Duration::from_secs(30)), Ok(Ticket(300)));
}

/// Content type and body of an answer.
fn get(addr: SocketAddr, target: &str, accept: &str) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(addr).unwrap();
    let head =
        format!("GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: {accept}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let kind = head.lines().find_map(|line| line.strip_prefix("Content-Type: ")).unwrap();
    (kind.to_owned(), answer.split_off(end + 4))
}

fn fetched(log: &RemoteLog, from: u64) -> Result<Vec<Vec<u8>>, LogError> {
    let mut records = Records::new();
    log.fetch(FIRST, Offset(from), FetchLimit::default(), &mut records)?;
    Ok(records.iter().map(|(_, payload)| payload.to_vec()).collect())
}

#[test]
fn who_asks_for_frames_gets_them_as_they_lie_and_everybody_else_gets_records() {
    let dir = tempfile::tempdir().unwrap();
    let (node, log) = start(dir.path());
    fill(&log);
    let bytes: usize = payloads().iter().map(Vec::len).sum();
    let (kind, frames) = get(node.addr(), "/consume?partition=0&offset=0", wire::STORED);
    assert_eq!(kind, wire::STORED);
    assert!(frames.len() < bytes / 2, "{} of {bytes} bytes: packed by the client", frames.len());
    let mut records = Records::new();
    wire::decode(&frames, FIRST, Offset(0), FetchLimit::default(), &mut records).unwrap();
    assert!(records.iter().map(|(_, payload)| payload).eq(&payloads()));
    let (kind, plain) = get(node.addr(), "/consume?partition=0&offset=0", "*/*");
    assert_eq!(kind, "application/vnd.systems-craft.fetched");
    let mut again = Records::new();
    again.decode(&plain).unwrap();
    assert!(again.iter().eq(records.iter()));
    // And the client of the service asks for frames, from the middle of one too.
    assert_eq!(fetched(&log, 150).unwrap(), payloads()[150..]);
    assert_eq!(fetched(&log, 300), Ok(Vec::new()));
}

#[test]
fn damage_that_the_consumer_finds_is_told_as_the_log_tells_it() {
    let dir = tempfile::tempdir().unwrap();
    let (_node, log) = start(dir.path());
    fill(&log);
    let segment = segment(dir.path());
    let mut content = fs::read(&segment).unwrap();
    // The body of the second of the three frames that begin so: its codec is LZ4, its kind data.
    let frames: Vec<usize> =
        content.windows(4).enumerate().filter(|(_, w)| *w == [0xF5, 2, 1, 0]).map(|(at, _)| at).collect();
    assert_eq!(frames.len(), 3);
    content[frames[1] + 100] ^= 1;
    fs::write(&segment, content).unwrap();
    assert_eq!(fetched(&log, 0).unwrap(), payloads()[..100], "what is before it comes first");
    let told = fetched(&log, 100);
    let Err(LogError::Damaged { from: Offset(100), next: Offset(200), .. }) = told else {
        panic!("{told:?}")
    };
    assert_eq!(fetched(&log, 200).unwrap(), payloads()[200..]);
}

/// The one segment below this directory.
fn segment(dir: &Path) -> PathBuf {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for path in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|extension| extension == "log") {
                found.push(path);
            }
        }
    }
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}
