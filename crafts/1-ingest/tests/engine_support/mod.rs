//! Engines against real sockets: an application whose tickets are settled by hand, a server to start and stop, a client.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]

pub mod suite;

use contracts::{
    http::{Bare, Request, Response},
    ingest::{IngestConfig, Shutdown, Site},
    queue::{LogError, Ticket},
};
use ingest::slots::{Answer, App, Engine, Lost, Reply, Worker};
use std::{
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::Waker,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// How long anything may take before a test gives up. No test measures time with it.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// An application that answers 202 with the length of the body, once its ticket has settled.
#[derive(Clone, Default)]
pub struct Lab(Arc<State>);

#[derive(Default)]
struct State {
    /// Tickets settle when the test says so, not when they are flushed.
    by_hand: bool,
    parts: Mutex<Vec<Arc<Part>>>,
    refused: Mutex<Vec<u16>>,
    alive: AtomicUsize,
}

/// What one worker and the test share.
#[derive(Default)]
struct Part {
    book: Mutex<Book>,
    changed: Condvar,
}

#[derive(Default)]
struct Book {
    submitted: u64,
    flushed: u64,
    settled: u64,
    /// Flushes that had something to publish.
    bursts: usize,
    lost: Option<Lost>,
    /// Told once, and then tickets settle as if nothing had been.
    lost_once: Option<Lost>,
    waker: Option<Waker>,
}

impl Book {
    fn look(&mut self) -> Result<Ticket, Lost> {
        let lost = self.lost_once.take().or_else(|| self.lost.clone());
        lost.map_or(Ok(Ticket(self.settled)), Err)
    }
}

impl Lab {
    /// Tickets settle when they are flushed.
    pub fn new() -> Self {
        Self::default()
    }

    /// Tickets settle by [`Lab::settle`].
    pub fn by_hand() -> Self {
        Self(Arc::new(State { by_hand: true, ..State::default() }))
    }

    /// Settles everything that was flushed.
    pub fn settle(&self) {
        self.change(|book| book.settled = book.flushed);
    }

    /// Whatever has not settled is lost.
    pub fn lose(&self, why: &str) {
        self.change(|book| book.lost = Some(Lost(why.into())));
    }

    /// Whatever has not settled is lost, which each worker says once. What comes later settles, and has already, before
    /// anybody has looked: its tickets are higher than those that were lost.
    pub fn lose_once(&self, why: &str) {
        self.change(|book| {
            if book.settled == book.flushed {
                return; // it has nothing to lose
            }
            book.lost_once = Some(Lost(why.into()));
            book.settled = book.flushed + 1;
            book.submitted = book.flushed + 1;
            book.flushed = book.submitted;
        });
    }

    fn change(&self, change: impl Fn(&mut Book)) {
        for part in &*self.0.parts.lock().unwrap() {
            let mut book = part.book.lock().unwrap();
            change(&mut book);
            part.changed.notify_all();
            if let Some(waker) = &book.waker {
                waker.wake_by_ref();
            }
        }
    }

    /// Waits until so many requests in all have been flushed.
    pub fn wait_for_flushed(&self, requests: u64) {
        let what = format!("{requests} requests flushed");
        wait_until(&what, || self.flushed() >= requests);
    }

    /// The requests that have been flushed.
    pub fn flushed(&self) -> u64 {
        self.books(|book| book.flushed).iter().sum()
    }

    /// For each worker, how many requests it was given.
    pub fn requests(&self) -> Vec<u64> {
        self.books(|book| book.submitted)
    }

    /// Flushes that published something, all workers together.
    pub fn bursts(&self) -> usize {
        self.books(|book| book.bursts).iter().sum()
    }

    /// Statuses of refusals that were counted.
    pub fn refused(&self) -> Vec<u16> {
        self.0.refused.lock().unwrap().clone()
    }

    fn books<T>(&self, read: impl Fn(&Book) -> T) -> Vec<T> {
        self.0.parts.lock().unwrap().iter().map(|part| read(&part.book.lock().unwrap())).collect()
    }
}

impl App for Lab {
    type Worker = LabWorker;

    fn worker(&self) -> Result<LabWorker, LogError> {
        let part = Arc::new(Part::default());
        self.0.parts.lock().unwrap().push(part.clone());
        self.0.alive.fetch_add(1, SeqCst);
        Ok(LabWorker { state: self.0.clone(), part })
    }
}

pub struct LabWorker {
    state: Arc<State>,
    part: Arc<Part>,
}

impl Drop for LabWorker {
    fn drop(&mut self) {
        self.state.alive.fetch_sub(1, SeqCst);
    }
}

impl Worker for LabWorker {
    fn call(&mut self, request: &Request<'_>) -> Reply {
        match (request.method, request.path) {
            ("GET", "/bytes") => {
                let count = request.param("count").and_then(|n| n.parse().ok()).unwrap_or(0);
                Reply::now(Response::body(200, "application/octet-stream", vec![b'x'; count]))
            }
            ("GET", "/panic") => panic!("the test asked for it"),
            ("POST", "/metrics") => {
                let mut book = self.part.book.lock().unwrap();
                book.submitted += 1;
                Reply { answer: Answer::Accepted(request.body.len()), ticket: Ticket(book.submitted) }
            }
            _ => Reply::now(Response::status(404)),
        }
    }

    fn refused(&mut self, status: u16, _: Duration) {
        self.state.refused.lock().unwrap().push(status);
    }

    fn flush(&mut self) {
        let mut book = self.part.book.lock().unwrap();
        book.bursts += usize::from(book.flushed < book.submitted);
        book.flushed = book.submitted;
        if !self.state.by_hand {
            book.settled = book.flushed;
        }
    }

    fn settled(&mut self) -> Result<Ticket, Lost> {
        let mut book = self.part.book.lock().unwrap();
        book.look()
    }

    fn wait(&mut self, upto: Ticket, at_most: Duration) -> Result<Ticket, Lost> {
        let book = self.part.book.lock().unwrap();
        let waits =
            |book: &mut Book| book.lost.is_none() && book.lost_once.is_none() && book.settled < upto.0;
        let (mut book, _) = self.part.changed.wait_timeout_while(book, at_most, waits).unwrap();
        book.look()
    }

    fn set_waker(&mut self, waker: Waker) {
        self.part.book.lock().unwrap().waker = Some(waker);
    }
}

/// A running engine. Dropping it stops it.
pub struct Served {
    pub address: SocketAddr,
    lab: Lab,
    shutdown: Shutdown,
    thread: Option<JoinHandle<io::Result<()>>>,
}

/// Short timeouts, so that tests of them are short.
pub fn config() -> IngestConfig {
    IngestConfig {
        request_timeout: PATIENCE,
        idle_timeout: PATIENCE,
        keep_alive_timeout: PATIENCE,
        settle_timeout: PATIENCE,
        ..IngestConfig::default()
    }
}

impl Served {
    pub fn start<E: Engine>(lab: &Lab, config: IngestConfig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (shutdown, app) = (Shutdown::new(), lab.clone());
        let seen = shutdown.clone();
        let thread = thread::spawn(move || {
            let rest = |_: &Request<'_>| Response::status(404);
            let site = Site { listener, rest: &rest, middleware: &Bare, shutdown: seen };
            E::serve(&config, &site, &app)
        });
        Self { address, lab: lab.clone(), shutdown, thread: Some(thread) }
    }

    pub fn connect(&self) -> Client {
        Client::new(TcpStream::connect(self.address).unwrap())
    }

    /// One request on a connection of its own.
    pub fn ask(&self, body: &str) -> Answered {
        let mut client = self.connect();
        client.send(post(body));
        client.answer()
    }

    /// Says that it is time, and does not wait.
    pub fn begin_stop(&self) {
        self.shutdown.set();
        let _ = TcpStream::connect(self.address);
    }

    /// Waits until it has ended. All workers are gone then.
    pub fn wait(&mut self) -> io::Result<()> {
        let ended = self.thread.take().expect("nobody has waited yet").join().expect("no engine panics");
        assert_eq!(self.lab.0.alive.load(SeqCst), 0, "a worker outlived its engine");
        ended
    }

    pub fn stop(mut self) {
        self.begin_stop();
        self.wait().unwrap();
    }

    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.begin_stop();
            if !thread::panicking() {
                let _ = thread.join();
            }
        }
    }
}

/// A client that looks at every byte.
pub struct Client {
    pub stream: TcpStream,
    read: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Client {
    fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { stream, read: Vec::new() }
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// The next answer.
    pub fn answer(&mut self) -> Answered {
        let head_end = loop {
            if let Some(at) = self.read.windows(4).position(|w| w == b"\r\n\r\n") {
                break at + 4;
            }
            self.more();
        };
        let head = String::from_utf8(self.read[..head_end].to_vec()).unwrap();
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        let length: usize = length.map_or(0, |digits| digits.parse().unwrap());
        while self.read.len() < head_end + length {
            self.more();
        }
        let body = self.read[head_end..head_end + length].to_vec();
        self.read.drain(..head_end + length);
        let status = head[9..12].parse().unwrap();
        Answered { status, head, body: String::from_utf8(body).unwrap() }
    }

    fn more(&mut self) {
        let mut piece = [0; 64 << 10];
        let n = self.stream.read(&mut piece).unwrap();
        assert!(n > 0, "closed after {:?}", String::from_utf8_lossy(&self.read));
        self.read.extend_from_slice(&piece[..n]);
    }

    /// Whether the server says nothing for a moment.
    pub fn hears_nothing(&mut self) -> bool {
        self.stream.set_read_timeout(Some(Duration::from_millis(150))).unwrap();
        let read = self.stream.read(&mut [0; 1]);
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        self.read.is_empty()
            && read.is_err_and(|e| matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
    }

    /// Everything up to the end, which may be a reset.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut rest = std::mem::take(&mut self.read);
        match self.stream.read_to_end(&mut rest) {
            Err(e) if !matches!(e.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {
                panic!("the connection stays open: {e}")
            }
            _ => rest,
        }
    }

    /// Whether the connection ends, without another word.
    pub fn is_closed(&mut self) -> bool {
        self.rest().is_empty()
    }
}

pub fn post(body: &str) -> String {
    format!("POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}
