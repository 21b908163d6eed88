//! A client of one connection, with a worker that remembers what it was asked.

use contracts::{http::Request, queue::Ticket};
use ingest::{
    http::{Connection, Scratch, Settings},
    slots::{Answer, Lost, Reply, Worker},
};
use std::{task::Waker, time::Duration};

/// Says 202 to everything.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    /// Method, path, query and body of each request.
    pub(crate) calls: Vec<String>,
    /// Statuses of what was refused.
    pub(crate) refused: Vec<u16>,
    /// What the next answers wait for; nothing, when there are no more.
    pub(crate) tickets: Vec<Ticket>,
}

impl Worker for Recorder {
    fn call(&mut self, request: &Request<'_>) -> Reply {
        let Request { method, path, query, body, .. } = request;
        self.calls.push(format!("{method} {path}?{query} {}", String::from_utf8_lossy(body)));
        let ticket = if self.tickets.is_empty() { Ticket(0) } else { self.tickets.remove(0) };
        Reply { answer: Answer::Accepted(1), ticket }
    }

    fn refused(&mut self, status: u16, _: Duration) {
        self.refused.push(status);
    }

    fn flush(&mut self) {}

    fn settled(&mut self) -> Result<Ticket, Lost> {
        Ok(Ticket(u64::MAX))
    }

    fn wait(&mut self, upto: Ticket, _: Duration) -> Result<Ticket, Lost> {
        Ok(upto)
    }

    fn set_waker(&mut self, _: Waker) {}
}

pub(crate) struct Client {
    pub(crate) connection: Connection,
    pub(crate) scratch: Scratch,
    pub(crate) worker: Recorder,
}

impl Client {
    pub(crate) fn new() -> Self {
        let settings = Settings { body_bytes_max: 1 << 20, keep_alive: true };
        Self {
            connection: Connection::new(settings, None),
            scratch: Scratch::default(),
            worker: Recorder::default(),
        }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.connection.feed(bytes.as_ref(), &mut self.scratch, &mut self.worker);
    }

    /// Takes everything that may be sent.
    pub(crate) fn text(&mut self, settled: Ticket) -> String {
        let bytes = self.connection.output(settled).to_vec();
        self.connection.wrote(bytes.len());
        String::from_utf8(bytes).unwrap()
    }

    /// Takes everything that may be sent: the status of each answer.
    pub(crate) fn statuses(&mut self, settled: Ticket) -> Vec<u16> {
        let text = self.text(settled);
        let lines = text.split("HTTP/1.1 ").skip(1);
        lines.map(|answer| answer[..3].parse().unwrap()).collect()
    }
}

pub(crate) fn post(body: &str) -> Vec<u8> {
    let length = body.len();
    format!("POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
}
