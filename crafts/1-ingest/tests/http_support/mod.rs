//! A client of one connection, with a worker that remembers what it was asked.

#![allow(dead_code, reason = "each test uses its part")]

pub(crate) mod cases;
pub(crate) mod reference;

use contracts::{http::Request, queue::Ticket};
use ingest::{
    http::{Connection, Scratch, Settings},
    slots::{Answer, Lost, Reply, Worker},
};
use std::{collections::VecDeque, ops::Range, task::Waker, time::Duration};

/// Everything has settled.
pub(crate) const ALL: Ticket = Ticket(u64::MAX);
/// Small, so that its limit is tested with little.
pub(crate) const BODY_BYTES_MAX: usize = 1000;

/// Says 202 to everything, or what it was told to.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    /// Each request, as [`call`] writes it.
    pub(crate) calls: Vec<String>,
    /// The headers of the last.
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    /// Status and duration of what was refused.
    pub(crate) refused: Vec<(u16, Duration)>,
    /// The next replies; 202 at once, when there are no more.
    pub(crate) replies: VecDeque<Reply>,
}

impl Worker for Recorder {
    fn call(&mut self, request: &Request<'_>) -> Reply {
        let Request { method, path, query, body, headers, .. } = request;
        self.headers = headers.iter().map(|(name, value)| ((*name).to_owned(), value.to_vec())).collect();
        self.calls.push(call(method, path, query, body));
        self.replies.pop_front().unwrap_or(Reply { answer: Answer::Accepted(1), ticket: Ticket(0) })
    }

    fn refused(&mut self, status: u16, took: Duration) {
        self.refused.push((status, took));
    }

    fn flush(&mut self) {}

    fn settled(&mut self) -> Result<Ticket, Lost> {
        Ok(ALL)
    }

    fn wait(&mut self, upto: Ticket, _: Duration) -> Result<Ticket, Lost> {
        Ok(upto)
    }

    fn set_waker(&mut self, _: Waker) {}
}

/// One line for a request.
pub(crate) fn call(method: &str, path: &str, query: &str, body: &[u8]) -> String {
    let mark = if query.is_empty() { "" } else { "?" };
    format!("{method} {path}{mark}{query} [{}]", body.escape_ascii())
}

pub(crate) struct Client {
    pub(crate) connection: Connection,
    pub(crate) scratch: Scratch,
    pub(crate) worker: Recorder,
}

impl Client {
    pub(crate) fn new() -> Self {
        Self::with(Settings { body_bytes_max: BODY_BYTES_MAX, keep_alive: true })
    }

    pub(crate) fn with(settings: Settings) -> Self {
        Self {
            connection: Connection::new(settings, None),
            scratch: Scratch::default(),
            worker: Recorder::default(),
        }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.connection.feed(bytes.as_ref(), &mut self.scratch, &mut self.worker);
    }

    pub(crate) fn resume(&mut self) {
        self.connection.resume(&mut self.scratch, &mut self.worker);
    }

    pub(crate) fn end(&mut self) {
        self.connection.end_of_input(&mut self.scratch, &mut self.worker);
    }

    /// Takes everything that may be sent.
    pub(crate) fn take(&mut self, settled: Ticket) -> Vec<u8> {
        let bytes = self.connection.output(settled).to_vec();
        self.connection.wrote(bytes.len());
        bytes
    }

    /// Takes everything that may be sent, as text.
    pub(crate) fn text(&mut self, settled: Ticket) -> String {
        String::from_utf8(self.take(settled)).unwrap()
    }

    /// Takes everything that may be sent: the status of each answer.
    pub(crate) fn statuses(&mut self, settled: Ticket) -> Vec<u16> {
        answers(&self.take(settled)).iter().map(|answer| answer.status).collect()
    }
}

/// What became of the bytes of a whole connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// The requests that a worker was asked.
    pub(crate) calls: Vec<String>,
    /// Status and code of the refusal that ended it: `400 bad_header`.
    pub(crate) refusal: Option<String>,
}

/// Sends `bytes` in the pieces that these places cut, takes every answer, and ends the input.
pub(crate) fn outcome(bytes: &[u8], cuts: &[usize]) -> Outcome {
    let mut client = Client::new();
    let mut sent = Vec::new();
    for piece in pieces(bytes.len(), cuts) {
        client.send(&bytes[piece]);
        sent.extend(client.take(ALL));
        client.resume();
        let held = client.connection.buffered_bytes();
        assert!(held <= 4 * (bytes.len() + sent.len()) + 1024, "{held} bytes held for {}", bytes.len());
    }
    client.end();
    sent.extend(client.take(ALL));
    assert!(client.connection.is_finished() && !client.connection.wants_input());
    let mut answers = answers(&sent);
    answers.retain(|answer| answer.status != 100);
    assert_eq!(client.connection.served(), answers.len() as u64);
    let refused = client.worker.refused.len();
    assert!(refused <= 1 && client.worker.calls.len() + refused == answers.len(), "{answers:?}");
    let refusal = (refused == 1).then(|| answers.pop().unwrap()).map(|answer| {
        assert_eq!(answer.status, client.worker.refused[0].0);
        assert_eq!(answer.header("connection"), Some("close"));
        let error: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        format!("{} {}", answer.status, error["error"]["code"].as_str().unwrap())
    });
    assert!(answers.iter().all(|answer| answer.status == 202), "{answers:?}");
    Outcome { calls: client.worker.calls, refusal }
}

fn pieces(length: usize, cuts: &[usize]) -> Vec<Range<usize>> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (length + 1)).chain([0, length]).collect();
    cuts.sort_unstable();
    cuts.windows(2).map(|pair| pair[0]..pair[1]).collect()
}

/// An answer as a client reads it.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Reading {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

/// Takes apart what a server sent, none of it to a HEAD; every byte must be accounted for.
pub(crate) fn answers(mut bytes: &[u8]) -> Vec<Reading> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a head that ends");
        let head = std::str::from_utf8(&bytes[..end]).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().strip_prefix("HTTP/1.1 ").expect(head)[..3].parse().unwrap();
        let headers: Vec<(String, String)> = lines
            .map(|line| line.split_once(": ").expect(line))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let length = headers.iter().find(|(name, _)| name == "content-length");
        let length = length.map_or(0, |(_, length)| length.parse().unwrap());
        let body = bytes[end + 4..end + 4 + length].to_vec();
        bytes = &bytes[end + 4 + length..];
        found.push(Reading { status, headers, body });
    }
    found
}

pub(crate) fn post(body: &str) -> Vec<u8> {
    let length = body.len();
    format!("POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
}
