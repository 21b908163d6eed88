//! One connection's protocol state: the engine owns the socket, this owns the meaning of its bytes.

use crate::slots::{Lost, Worker};
use contracts::queue::Ticket;
use std::net::SocketAddr;

/// What a connection may do.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Largest body, before and after decoding. Beyond: 413.
    pub body_bytes_max: usize,
    /// Whether more than one request is answered.
    pub keep_alive: bool,
}

/// Buffers that all connections of a thread share: none is needed between two calls.
#[derive(Debug, Default)]
pub struct Scratch {
    /// A body that had to be decoded.
    body: Vec<u8>,
}

/// One connection, from its first byte to its last.
#[derive(Debug)]
pub struct Connection {}

impl Connection {
    /// A connection that was just accepted.
    pub fn new(settings: Settings, peer: Option<SocketAddr>) -> Self {
        unimplemented!()
    }

    /// Takes bytes that arrived and runs every request that is whole. Ends early, keeping the rest, once the answers that
    /// nobody took yet pass a bound; then the engine stops reading and calls [`Connection::resume`] later.
    pub fn feed<W: Worker>(&mut self, bytes: &[u8], scratch: &mut Scratch, worker: &mut W) {
        unimplemented!()
    }

    /// Goes on with requests that were kept back, once their answers have room.
    pub fn resume<W: Worker>(&mut self, scratch: &mut Scratch, worker: &mut W) {
        unimplemented!()
    }

    /// The client will send no more: a request cut short is refused with 400, then the connection ends.
    pub fn end_of_input<W: Worker>(&mut self, worker: &mut W) {
        unimplemented!()
    }

    /// Time is up. A request that has begun is refused with 408; the connection ends either way.
    pub fn time_out<W: Worker>(&mut self, worker: &mut W) {
        unimplemented!()
    }

    /// Refuses what the client wants to send for want of memory or connections: 503 with `code`, then the connection ends.
    pub fn overload<W: Worker>(&mut self, code: &'static str, worker: &mut W) {
        unimplemented!()
    }

    /// What may be sent now that tickets up to `settled` have settled.
    pub fn output(&self, settled: Ticket) -> &[u8] {
        unimplemented!()
    }

    /// So many bytes of the output have been sent.
    pub fn wrote(&mut self, bytes: usize) {
        unimplemented!()
    }

    /// The ticket that the first answer not to be sent yet waits for.
    pub fn waits_for(&self, settled: Ticket) -> Option<Ticket> {
        unimplemented!()
    }

    /// What waited will never settle: its answers become one 503 `not_settled`, and the connection ends after it.
    pub fn lose(&mut self, lost: &Lost) {
        unimplemented!()
    }

    /// Whether the engine should read: not while answers pile up, nor once the connection ends.
    pub fn wants_input(&self) -> bool {
        unimplemented!()
    }

    /// Nothing half-read, nothing unsent.
    pub fn is_idle(&self) -> bool {
        unimplemented!()
    }

    /// Whether a request has begun to arrive and is not whole.
    pub fn is_reading(&self) -> bool {
        unimplemented!()
    }

    /// Requests answered so far, refused ones included.
    pub fn served(&self) -> u64 {
        unimplemented!()
    }

    /// Everything has been sent, and nothing more will be: time to close.
    pub fn is_finished(&self) -> bool {
        unimplemented!()
    }

    /// Whether the client may still be sending what nobody will read. Closing at once would reset the connection, and the
    /// client might never see its answer: shut down the sending side and read on for a moment (RFC 9112 section 9.6).
    pub fn should_linger(&self) -> bool {
        unimplemented!()
    }

    /// The next answer is the last.
    pub fn close_after_reply(&mut self) {
        unimplemented!()
    }

    /// Bytes that its buffers hold.
    pub fn buffered_bytes(&self) -> usize {
        unimplemented!()
    }
}
