//! One client of a reactor: its socket, its protocol state, and the clocks that run against it.
//!
//! A reactor asks a peer to read, to answer, and what it waits for; when and in which order is the reactor's own business.
//! Nothing here blocks. When a call says [`Gone`], the reactor drops the peer, which closes the socket and gives its
//! [`Seat`] back, and nothing of it is left.

use crate::{
    budget::{LINGER_BYTES_MAX, LINGER_MAX, Seat},
    http::{Connection, Scratch, Settings},
    slots::{Lost, Worker},
    transfer,
};
use contracts::{file::FileSlice, http::Response, ingest::IngestConfig, queue::Ticket};
use mio::{event::Event, net::TcpStream};
use std::{
    io::{self, ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr},
    time::{Duration, Instant, SystemTime},
};

/// Bytes that one read takes at most: many pipelined requests, and still not too much of one client in one turn.
const READ_BYTES: usize = 64 << 10;

/// Bytes of files that one client is sent in one turn at most. As much as comes out of memory in the blink of an eye; what
/// must come from a slow disk stops the other clients no longer than this takes.
const FILE_BYTES_A_TURN: u64 = 512 << 10;

/// How long an answer may be owed to a client. A handler has bounds of its own; this one is for a handler that forgot them.
const PROMISE_MAX: Duration = Duration::from_secs(600);

/// What the peers of a reactor share: between two calls nothing in it is needed.
#[derive(Debug)]
pub struct Desk {
    buffer: Box<[u8]>,
    scratch: Scratch,
}

impl Desk {
    /// An empty desk.
    pub fn new() -> Self {
        Self { buffer: vec![0; READ_BYTES].into(), scratch: Scratch::default() }
    }

    /// Says what time it is, for the `Date` of answers.
    pub fn set_time(&mut self, now: SystemTime) {
        self.scratch.set_time(now);
    }
}

impl Default for Desk {
    fn default() -> Self {
        Self::new()
    }
}

/// The client is gone, or must go, or everything has been said. Which of them is nobody's business any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

impl From<io::Error> for Gone {
    fn from(_: io::Error) -> Self {
        Self
    }
}

/// One client.
#[derive(Debug)]
pub struct Peer<'b> {
    /// Whether it stands in the reactor's list of those who come again without being polled, or has come from there into
    /// this turn. Cleared when it is read.
    pub is_queued: bool,
    /// Whether it stands in the reactor's list of those who wait for a ticket.
    pub is_held: bool,
    socket: TcpStream,
    connection: Connection,
    seat: Seat<'b>,
    /// There may be bytes to read. The poll is edge-triggered: it says so once, and this remembers it.
    readable: bool,
    /// The poll has seen the end of what the client sends: a short read is not the last one then.
    half_closed: bool,
    /// It has had its share of this turn, and would take more of a file.
    interrupted: bool,
    /// Requests have arrived that were not run yet, since nobody took the answers of those before them.
    kept_back: bool,
    clocks: Clocks,
    lingering: Option<Lingering>,
}

/// Since when the client, or we, owe something. Each has its own timeout.
#[derive(Debug)]
struct Clocks {
    /// The last turn in which anything happened.
    quiet_since: Instant,
    /// When the request began of which a part is missing. More parts do not wind this clock up again.
    begun: Option<Instant>,
    /// Requests served then.
    served: u64,
    /// When answers last moved, if there are any.
    stuck_since: Option<Instant>,
}

#[derive(Debug)]
struct Lingering {
    until: Instant,
    bytes_left: usize,
}

impl<'b> Peer<'b> {
    /// A client that was just accepted.
    pub fn new(
        socket: TcpStream,
        address: SocketAddr,
        settings: Settings,
        seat: Seat<'b>,
        now: Instant,
    ) -> Self {
        // Answers leave whole, so there is nothing that waiting for more could join them with.
        let _ = socket.set_nodelay(true);
        Self {
            is_queued: false,
            is_held: false,
            socket,
            connection: Connection::new(settings, Some(address)),
            seat,
            readable: false,
            half_closed: false,
            interrupted: false,
            kept_back: false,
            clocks: Clocks { quiet_since: now, begun: None, served: 0, stuck_since: None },
            lingering: None,
        }
    }

    /// For the poll.
    pub fn socket(&mut self) -> &mut TcpStream {
        &mut self.socket
    }

    /// Takes note of what the poll saw.
    pub fn notice(&mut self, event: &Event) {
        self.half_closed |= event.is_read_closed() || event.is_error();
        self.readable |= event.is_readable() || self.half_closed;
    }

    /// Whether there is something to read, or to run now that the answers before it have left. Nothing may come of it, as
    /// when a drain begins: one read finds that out.
    pub fn has_more(&self, settled: Ticket) -> bool {
        match self.lingering {
            None if self.interrupted => true,
            None if self.connection.waits_for_promises() => false,
            None if self.kept_back => !self.has_answers(settled),
            None => self.readable && self.connection.wants_input(),
            Some(_) => self.readable,
        }
    }

    fn has_answers(&self, settled: Ticket) -> bool {
        self.connection.has_output(settled) || self.waits_for_log(settled)
    }

    /// Runs the requests that were kept back, or reads once and runs what has become whole. Says whether the read was a
    /// short one.
    ///
    /// # Errors
    /// The client is gone.
    pub fn read<W: Worker>(&mut self, desk: &mut Desk, worker: &mut W) -> Result<bool, Gone> {
        if self.lingering.is_some() {
            return self.discard(desk);
        }
        let mut received = None;
        if self.kept_back {
            self.connection.resume(&mut desk.scratch, worker);
        } else if self.readable && self.connection.wants_input() {
            received = self.receive(desk)?;
            match received {
                None => {}
                Some(0) => self.connection.end_of_input(&mut desk.scratch, worker),
                Some(n) => self.connection.feed(&desk.buffer[..n], &mut desk.scratch, worker),
            }
        }
        self.kept_back = !self.connection.wants_input();
        // Checked where buffers grow: in a moment they may be empty again.
        if !self.seat.ask(self.connection.buffered_bytes()) {
            self.connection.overload("overloaded", &mut desk.scratch, worker);
            self.seat.take(self.connection.buffered_bytes());
        }
        Ok(received.is_some_and(|n| n < READ_BYTES))
    }

    /// After a short read: the socket is empty, and the poll will tell when it no longer is (epoll(7), question 9). To ask
    /// the socket itself would be one more call for each request.
    pub fn trust_short_read(&mut self) {
        // The end of what the client sends was told already, and will not be told again.
        self.readable &= self.half_closed;
    }

    /// One read; `None` if there was nothing.
    fn receive(&mut self, desk: &mut Desk) -> Result<Option<usize>, Gone> {
        match self.socket.read(&mut desk.buffer) {
            Ok(n) => {
                self.readable = n > 0;
                Ok(Some(n))
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => {
                self.readable = false;
                Ok(None)
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => Ok(None),
            Err(_) => Err(Gone),
        }
    }

    /// Sends what has settled, in one write if the client keeps up, and notes what is left to wait for.
    ///
    /// # Errors
    /// The client is gone; or everything was said.
    pub fn answer(&mut self, settled: Ticket, now: Instant) -> Result<(), Gone> {
        let moved = self.send(settled)?;
        if self.connection.is_finished() && self.lingering.is_none() {
            self.begin_lingering(now)?;
        }
        self.seat.take(self.connection.buffered_bytes());
        self.wind_clocks(moved, settled, now);
        Ok(())
    }

    /// Whether anything was sent.
    fn send(&mut self, settled: Ticket) -> io::Result<bool> {
        let (mut moved, mut share) = (false, FILE_BYTES_A_TURN);
        self.interrupted = false;
        loop {
            let sent = match self.connection.output(settled) {
                [] => self.send_file(&mut share),
                output => self.socket.write(output).map(|n| {
                    self.connection.wrote(n);
                    Some(n)
                }),
            };
            match sent {
                Ok(None) => return Ok(moved),
                Ok(Some(0)) => return Err(ErrorKind::WriteZero.into()),
                Ok(Some(_)) => moved = true,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(moved),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// Sends of a file, where that is what comes next. `None` if it is not, or if this turn's share is used up.
    fn send_file(&mut self, share: &mut u64) -> io::Result<Option<usize>> {
        let Some(slice) = self.connection.output_file() else { return Ok(None) };
        if *share == 0 {
            self.interrupted = true;
            return Ok(None);
        }
        let sent = transfer::send(&mut self.socket, slice, *share).inspect_err(|e| tell_of(e, slice))?;
        self.connection.wrote_file(sent as u64);
        *share -= sent as u64;
        Ok(Some(sent))
    }

    /// What waits will never settle.
    pub fn lose(&mut self, settled: Ticket, lost: &Lost) {
        if self.waits_for_log(settled) {
            self.connection.lose(lost);
        }
    }

    /// Whether an answer waits for a ticket.
    pub fn waits_for_log(&self, settled: Ticket) -> bool {
        self.connection.waits_for(settled).is_some()
    }

    /// The number of an answer that was promised to it, each of them once.
    pub fn promised(&mut self) -> Option<u64> {
        self.connection.promised()
    }

    /// The promised answer is there. It may have been given up meanwhile.
    pub fn fulfil(&mut self, number: u64, response: Response, desk: &Desk) {
        self.connection.fulfil(number, response, &desk.scratch);
    }

    /// Says 503 and ends the connection.
    pub fn refuse<W: Worker>(&mut self, code: &'static str, desk: &mut Desk, worker: &mut W) {
        self.connection.overload(code, &mut desk.scratch, worker);
    }

    /// It is time to go: what has begun is answered, and that is the last answer. Bytes may have arrived that the poll has
    /// not told of, so there is one more look.
    pub fn begin_drain(&mut self) {
        self.connection.close_after_reply();
        self.readable = true;
    }

    /// Whether nothing would be lost if it were dropped now.
    pub fn is_idle(&self) -> bool {
        self.connection.is_idle() && !self.readable && self.lingering.is_none()
    }

    /// Shuts the sending side and goes on reading for a moment, or ends at once if the client has sent nothing more.
    fn begin_lingering(&mut self, now: Instant) -> Result<(), Gone> {
        if !self.connection.should_linger() {
            return Err(Gone);
        }
        self.socket.shutdown(Shutdown::Write)?;
        self.lingering = Some(Lingering { until: now + LINGER_MAX, bytes_left: LINGER_BYTES_MAX });
        self.readable = true;
        Ok(())
    }

    fn discard(&mut self, desk: &mut Desk) -> Result<bool, Gone> {
        let received = self.receive(desk)?;
        let Some(lingering) = &mut self.lingering else { return Ok(false) };
        lingering.bytes_left = lingering.bytes_left.saturating_sub(received.unwrap_or_default());
        if received == Some(0) || lingering.bytes_left == 0 {
            return Err(Gone);
        }
        Ok(received.is_some_and(|n| n < READ_BYTES))
    }
}

/// A file that ends before it should, or cannot be read, is nothing that the client did.
fn tell_of(error: &io::Error, slice: &FileSlice) {
    if !transfer::is_of_the_socket(error) {
        tracing::error!(file = ?slice.file, at = slice.at, bytes = slice.bytes, "an answer broke off: {error}");
    }
}

/// Time.
impl Peer<'_> {
    fn wind_clocks(&mut self, moved: bool, settled: Ticket, now: Instant) {
        let has_answers = self.has_answers(settled);
        let (clocks, connection) = (&mut self.clocks, &self.connection);
        clocks.quiet_since = now;
        // While it is us who do not read, the client cannot be blamed for what has not arrived.
        let is_reading = connection.is_reading() && connection.wants_input();
        let is_another = connection.served() != clocks.served;
        clocks.begun = match clocks.begun {
            Some(begun) if is_reading && !is_another => Some(begun),
            _ => is_reading.then_some(now),
        };
        clocks.served = connection.served();
        clocks.stuck_since = match clocks.stuck_since {
            Some(since) if has_answers && !moved => Some(since),
            _ => has_answers.then_some(now),
        };
    }

    /// When something must have happened.
    pub fn deadline(&self, settled: Ticket, config: &IngestConfig) -> Instant {
        if let Some(lingering) = &self.lingering {
            return lingering.until;
        }
        let promise = self.connection.is_owed().then(|| self.clocks.quiet_since + PROMISE_MAX);
        let request = self.clocks.begun.map(|begun| begun + config.request_timeout);
        let answer = self.clocks.stuck_since.map(|since| since + self.patience(settled, config));
        let first = promise.into_iter().chain(request).chain(answer).min();
        first.unwrap_or(self.clocks.quiet_since + config.keep_alive_timeout)
    }

    /// For answers: with the log, if they wait for it, and otherwise with a client that does not read.
    fn patience(&self, settled: Ticket, config: &IngestConfig) -> Duration {
        let waits_for_log = !self.connection.has_output(settled);
        if waits_for_log { config.settle_timeout } else { config.request_timeout }
    }

    /// The deadline has passed.
    ///
    /// # Errors
    /// There is nothing left to say to this client.
    pub fn expire<W: Worker>(
        &mut self,
        settled: Ticket,
        now: Instant,
        config: &IngestConfig,
        desk: &mut Desk,
        worker: &mut W,
    ) -> Result<(), Gone> {
        if self.lingering.is_some() {
            return Err(Gone);
        }
        let is_late = self.clocks.begun.is_some_and(|begun| begun + config.request_timeout <= now);
        if is_late || self.clocks.stuck_since.is_none() {
            self.connection.time_out(&mut desk.scratch, worker);
        } else if !self.connection.has_output(settled) {
            self.connection.lose(&Lost::unsettled(config.settle_timeout));
        } else {
            return Err(Gone); // it does not read
        }
        Ok(())
    }
}

/// The peers of a reactor, each by a number that the poll gives back, and their deadlines.
///
/// Deadlines stand apart, in one dense vector. Every request moves a deadline, and that is one store; a pass over all of
/// them, ten times a second, reads 16 bytes for each connection, all in a row. A heap or a wheel of timers would make what
/// is frequent dear to make cheap what is rare.
#[derive(Debug, Default)]
pub struct Peers<'b> {
    peers: Vec<Option<Peer<'b>>>,
    deadlines: Vec<Option<Instant>>,
    free: Vec<usize>,
}

impl<'b> Peers<'b> {
    /// Nobody.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.peers.len() - self.free.len()
    }

    /// Whether there is nobody.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number that the next one will have.
    pub fn next_number(&self) -> usize {
        self.free.last().copied().unwrap_or(self.peers.len())
    }

    /// Takes one in.
    pub fn insert(&mut self, peer: Peer<'b>, deadline: Instant) -> usize {
        let number = self.free.pop().unwrap_or(self.peers.len());
        if number == self.peers.len() {
            self.peers.push(None);
            self.deadlines.push(None);
        }
        self.peers[number] = Some(peer);
        self.deadlines[number] = Some(deadline);
        number
    }

    /// The one with this number, if it is still there.
    pub fn get_mut(&mut self, number: usize) -> Option<&mut Peer<'b>> {
        self.peers.get_mut(number)?.as_mut()
    }

    /// Moves the deadline.
    pub fn set_deadline(&mut self, number: usize, deadline: Instant) {
        self.deadlines[number] = Some(deadline);
    }

    /// Drops one, and closes its socket so.
    pub fn remove(&mut self, number: usize) {
        if self.peers[number].take().is_some() {
            self.deadlines[number] = None;
            self.free.push(number);
        }
    }

    /// The numbers of those whose time is up.
    pub fn expired(&self, now: Instant) -> impl Iterator<Item = usize> + use<'_, 'b> {
        let up = move |deadline: &Option<Instant>| deadline.is_some_and(|deadline| deadline <= now);
        self.deadlines.iter().enumerate().filter(move |(_, deadline)| up(deadline)).map(|(number, _)| number)
    }

    /// All numbers.
    pub fn numbers(&self) -> impl Iterator<Item = usize> + use<'_, 'b> {
        self.peers.iter().enumerate().filter(|(_, peer)| peer.is_some()).map(|(number, _)| number)
    }
}
