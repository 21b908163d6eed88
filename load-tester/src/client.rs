//! One client: a connection, what was written to it, and the answers it still owes.
//!
//! Invariant: the n-th answer on a connection belongs to the n-th request on it, so `in_flight` is a queue. A
//! client decides nothing about load; the event loop tells it what to send and when.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Write};
use std::net::SocketAddr;
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use crate::fates::Fate;
use crate::format::Body;
use crate::recorder::is_ok;
use crate::response::ResponseParser;
use crate::sample::Identity;

/// The code of a 503 after which samples may be there or not: they had been handed on when something went wrong.
const NOT_SETTLED: &[u8] = b"\"not_settled\"";
/// How much of the body of a 503 is looked at: the code comes first.
const REFUSAL_BYTES_MAX: usize = 128;

/// A request that has been begun and not yet answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InFlight {
    /// The client's request number; its samples are `request * batch` and the following ones.
    pub request: u64,
    /// When the schedule wanted it sent; in a closed loop, when it was begun.
    pub intended_ns: u64,
    /// When it was begun (connecting, if need be, comes after).
    pub begun_ns: u64,
    /// Where it begins in the bytes of its connection.
    starts_at: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// No connection.
    Down,
    /// Asked for, not yet there.
    Opening,
    /// Usable.
    Up,
}

pub(crate) struct Client {
    /// The client's number in the whole run; it is also its series' label.
    pub id: u32,
    pub link: Link,
    pub stream: Option<TcpStream>,
    pub parser: ResponseParser,
    /// The status of the answer being read, between its head and its end.
    pub status: u16,
    /// Bytes since the last answer's end.
    pub answer_bytes: usize,
    /// How the body of a 503 begins: it may say that what became of the request is not known.
    refusal: Vec<u8>,
    pub in_flight: VecDeque<InFlight>,
    /// The next request's number.
    pub next_request: u64,
    /// After a failed connection: not before this time.
    pub retry_at_ns: u64,
    /// When the present connection was asked for.
    pub opened_at_ns: u64,
    /// Whether it ever had a connection.
    pub connected_before: bool,
    /// Whether it stands in the open loop's row of free clients.
    pub in_free_row: bool,
    head: Vec<u8>,
    body: Box<dyn Body>,
    batch: usize,
    /// Whole requests, of which the first `sent` bytes were handed to the network.
    out: Vec<u8>,
    sent: usize,
    /// Bytes of this connection that were queued before what `out` holds.
    queued_before: u64,
}

impl Client {
    pub(crate) fn new(id: u32, head: Vec<u8>, body: Box<dyn Body>, batch: usize, pipeline: usize) -> Self {
        let out = Vec::with_capacity(pipeline * (head.len() + body.bytes().len()));
        Self {
            id,
            link: Link::Down,
            stream: None,
            parser: ResponseParser::default(),
            status: 0,
            answer_bytes: 0,
            refusal: Vec::new(),
            in_flight: VecDeque::with_capacity(pipeline),
            next_request: 0,
            retry_at_ns: 0,
            opened_at_ns: 0,
            connected_before: false,
            in_free_row: false,
            head,
            body,
            batch,
            out,
            sent: 0,
            queued_before: 0,
        }
    }

    /// How many requests it can take now. Until a connection stands only one: if it cannot be opened, one
    /// request fails and not a whole pipeline of them.
    pub(crate) fn room(&self, pipeline: usize) -> usize {
        if self.link == Link::Up { pipeline - self.in_flight.len() } else { 1 - self.in_flight.len().min(1) }
    }

    /// Writes the next request into the out buffer. Allocates nothing: the buffer has room for a full pipeline.
    pub(crate) fn begin(&mut self, identity: &Identity, intended_ns: u64, begun_ns: u64) {
        self.forget_sent();
        let request = self.next_request;
        self.next_request += 1;
        let starts_at = self.queued_before + self.out.len() as u64;
        self.in_flight.push_back(InFlight { request, intended_ns, begun_ns, starts_at });
        for index in 0..self.batch {
            let sequence = request * self.batch as u64 + index as u64;
            self.body.set(index, identity.timestamp_ms(sequence), identity.value(self.id, sequence));
        }
        self.out.extend_from_slice(&self.head);
        self.out.extend_from_slice(self.body.bytes());
    }

    /// A piece of an answer's body.
    pub(crate) fn take_body(&mut self, piece: &[u8]) {
        if self.status == 503 {
            let room = REFUSAL_BYTES_MAX - self.refusal.len();
            self.refusal.extend_from_slice(&piece[..piece.len().min(room)]);
        }
    }

    /// What the answer that has come to its end means for its request.
    pub(crate) fn fate(&mut self) -> Fate {
        let is_unsure = memchr::memmem::find(&self.refusal, NOT_SETTLED).is_some();
        self.refusal.clear();
        match self.status {
            status if is_ok(status) => Fate::Accepted,
            _ if is_unsure => Fate::Unknown,
            _ => Fate::Refused,
        }
    }

    /// Makes room in the out buffer. Unsent bytes belong to requests in flight, so that they always fit.
    fn forget_sent(&mut self) {
        let request_bytes = self.head.len() + self.body.bytes().len();
        if self.sent == self.out.len() || self.out.len() + request_bytes > self.out.capacity() {
            self.out.drain(..self.sent);
            self.queued_before += self.sent as u64;
            self.sent = 0;
        }
    }

    /// Whether any byte of a request was handed to the network.
    pub(crate) fn was_begun_sending(&self, request: &InFlight) -> bool {
        self.queued_before + self.sent as u64 > request.starts_at
    }

    /// Whether all of a request was handed to the network.
    pub(crate) fn was_sent(&self, request: &InFlight) -> bool {
        let request_bytes = (self.head.len() + self.body.bytes().len()) as u64;
        self.queued_before + self.sent as u64 >= request.starts_at + request_bytes
    }

    /// Opens a connection, and waits until it stands.
    pub(crate) fn connect(
        &mut self,
        address: SocketAddr,
        timeout: Duration,
        registry: &Registry,
        token: Token,
    ) -> io::Result<()> {
        let stream = std::net::TcpStream::connect_timeout(&address, timeout)?;
        stream.set_nonblocking(true)?;
        self.register(TcpStream::from_std(stream), registry, token)?;
        (self.link, self.connected_before) = (Link::Up, true);
        Ok(())
    }

    /// Asks for a connection.
    pub(crate) fn open(
        &mut self,
        address: SocketAddr,
        registry: &Registry,
        token: Token,
        now_ns: u64,
    ) -> io::Result<()> {
        self.register(TcpStream::connect(address)?, registry, token)?;
        self.link = Link::Opening;
        self.opened_at_ns = now_ns;
        Ok(())
    }

    fn register(&mut self, mut stream: TcpStream, registry: &Registry, token: Token) -> io::Result<()> {
        // Nagle's algorithm would hold a pipelined request back until the one before it is acknowledged.
        stream.set_nodelay(true)?;
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        self.stream = Some(stream);
        Ok(())
    }

    /// Whether the connection that was asked for stands.
    pub(crate) fn poll_open(&mut self) -> io::Result<bool> {
        let Some(stream) = &self.stream else { return Ok(false) };
        if let Some(error) = stream.take_error()? {
            return Err(error);
        }
        match stream.peer_addr() {
            Ok(_) => {
                self.link = Link::Up;
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Hands to the network what it takes; the number of bytes it took.
    pub(crate) fn flush(&mut self) -> io::Result<u64> {
        let before = self.sent;
        if let Some(stream) = &mut self.stream {
            while self.sent < self.out.len() {
                match stream.write(&self.out[self.sent..]) {
                    Ok(written) => self.sent += written,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok((self.sent - before) as u64)
    }

    /// Forgets the connection and all that was on it.
    pub(crate) fn close(&mut self) {
        // Dropping the socket also takes it out of the poller.
        self.stream = None;
        self.link = Link::Down;
        self.parser = ResponseParser::default();
        self.status = 0;
        self.answer_bytes = 0;
        self.refusal.clear();
        self.in_flight.clear();
        self.out.clear();
        self.sent = 0;
        self.queued_before = 0;
    }
}
