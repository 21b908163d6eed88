//! A running engine, an application whose tickets a test settles by hand, and a client that looks at every byte.

use crate::check::{Check, MOMENT, Must, PATIENCE, Unmet, broken, ensure, eventually, expect};
use contracts::{
    http::{Bare, Request, Response},
    ingest::{IngestConfig, Shutdown, Site},
    queue::{LogError, Ticket},
};
use ingest::slots::{Answer, App, Engine, Lost, Reply, Worker};
use std::{
    fmt,
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    panic,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::Waker,
    thread::{self, JoinHandle},
    time::Duration,
};

/// Tests end when the server would have had enough, never before.
pub(super) fn config() -> IngestConfig {
    let long = PATIENCE * 2;
    IngestConfig {
        request_timeout: long,
        idle_timeout: long,
        keep_alive_timeout: long,
        settle_timeout: long,
        ..IngestConfig::default()
    }
}

/// A request that carries this body.
pub(super) fn post(body: &str) -> String {
    format!("POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// A request for so many bytes.
pub(super) fn get(bytes: usize) -> String {
    format!("GET /bytes?count={bytes} HTTP/1.1\r\nHost: x\r\n\r\n")
}

/// An application that answers 202 with the length of the body, once its ticket has settled.
#[derive(Clone, Default)]
pub(super) struct Desk(Arc<State>);

#[derive(Default)]
struct State {
    /// Tickets settle when the test says so, not when they are flushed.
    by_hand: bool,
    parts: Mutex<Vec<Arc<Part>>>,
    /// Statuses of refusals that were counted.
    refused: Mutex<Vec<u16>>,
    /// What the next flush loses of the worker that has something to publish.
    lost_at_flush: Mutex<Option<Lost>>,
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
    /// Answers that were promised so far, by their numbers, and are not there yet.
    owed: Vec<u64>,
    /// The number of the last of them.
    promised: u64,
    /// Those that are there, and were not fetched yet.
    finished: Vec<(u64, Response)>,
    waker: Option<Waker>,
}

impl Book {
    fn look(&mut self) -> Result<Ticket, Lost> {
        let lost = self.lost_once.take().or_else(|| self.lost.clone());
        lost.map_or(Ok(Ticket(self.settled)), Err)
    }

    /// Loses what has not settled. What comes later settles, and has already, before anybody has looked: its tickets are
    /// higher than those that were lost.
    fn lose_once(&mut self, lost: Lost) {
        self.lost_once = Some(lost);
        self.settled = self.flushed + 1;
        self.submitted = self.flushed + 1;
        self.flushed = self.submitted;
    }

    /// An answer that another thread will have.
    fn promise(&mut self) -> Reply {
        self.promised += 1;
        self.owed.push(self.promised);
        Reply { answer: Answer::Later(self.promised), ticket: Ticket(0) }
    }
}

/// What it protects is whole at any time, so that a test that panicked does no harm.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Desk {
    /// Tickets settle when they are flushed.
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Tickets settle by [`Desk::settle`].
    pub(super) fn by_hand() -> Self {
        Self(Arc::new(State { by_hand: true, ..State::default() }))
    }

    /// Settles everything that was flushed.
    pub(super) fn settle(&self) {
        self.change(|book| book.settled = book.flushed);
    }

    /// Whatever has not settled is lost.
    pub(super) fn lose(&self, why: &str) {
        self.change(|book| book.lost = Some(Lost(why.into())));
    }

    /// Whatever has not settled is lost, which each worker says once, and then the log works again.
    pub(super) fn lose_once(&self, why: &str) {
        self.change(|book| {
            // Else it has nothing to lose.
            if book.settled != book.flushed {
                book.lose_once(Lost(why.into()));
            }
        });
    }

    /// The same for what the next flush publishes, before anybody can look.
    pub(super) fn lose_at_flush(&self, why: &str) {
        *lock(&self.0.lost_at_flush) = Some(Lost(why.into()));
    }

    /// Answers that were promised and are not there yet.
    pub(super) fn owed(&self) -> usize {
        self.books(|book| book.owed.len()).iter().sum()
    }

    /// They are there now, and whoever waits for them is woken: from this thread, which is none of the engine's.
    pub(super) fn keep_promises(&self) {
        self.change(|book| {
            let answer = || Response::body(200, "text/plain", b"later".to_vec());
            book.finished.extend(book.owed.drain(..).map(|number| (number, answer())));
        });
    }

    fn change(&self, change: impl Fn(&mut Book)) {
        for part in &*lock(&self.0.parts) {
            let mut book = lock(&part.book);
            change(&mut book);
            part.changed.notify_all();
            if let Some(waker) = &book.waker {
                waker.wake_by_ref();
            }
        }
    }

    /// Waits until so many requests in all have been flushed.
    pub(super) fn flushed(&self, requests: u64, sent: &str) -> Check {
        if eventually(|| self.handed_over() >= requests) {
            return Ok(());
        }
        let handed_over = |requests: u64| format!("{requests} requests are handed over");
        expect(sent, handed_over(requests), handed_over(self.handed_over()))
    }

    /// Requests that were flushed so far.
    pub(super) fn handed_over(&self) -> u64 {
        self.books(|book| book.flushed).iter().sum()
    }

    /// For each worker, how many requests it was given.
    pub(super) fn requests(&self) -> Vec<u64> {
        self.books(|book| book.submitted)
    }

    /// Flushes that published something, all workers together.
    pub(super) fn bursts(&self) -> usize {
        self.books(|book| book.bursts).iter().sum()
    }

    /// Statuses of refusals that were counted.
    pub(super) fn refused(&self) -> Vec<u16> {
        lock(&self.0.refused).clone()
    }

    fn books<T>(&self, read: impl Fn(&Book) -> T) -> Vec<T> {
        lock(&self.0.parts).iter().map(|part| read(&lock(&part.book))).collect()
    }
}

impl App for Desk {
    type Worker = Clerk;

    fn worker(&self) -> Result<Clerk, LogError> {
        let part = Arc::new(Part::default());
        lock(&self.0.parts).push(part.clone());
        self.0.alive.fetch_add(1, SeqCst);
        Ok(Clerk { state: self.0.clone(), part })
    }
}

/// A worker at the desk.
pub(super) struct Clerk {
    state: Arc<State>,
    part: Arc<Part>,
}

impl Drop for Clerk {
    fn drop(&mut self) {
        self.state.alive.fetch_sub(1, SeqCst);
    }
}

impl Worker for Clerk {
    fn call(&mut self, request: &Request<'_>) -> Reply {
        match (request.method, request.path) {
            ("GET", "/bytes") => {
                let count = request.param("count").and_then(|n| n.parse().ok()).unwrap_or(0);
                Reply::now(Response::body(200, "application/octet-stream", vec![b'x'; count]))
            }
            ("GET", "/later") => lock(&self.part.book).promise(),
            // Without the hook, since this panic is the test's.
            ("GET", "/panic") => panic::resume_unwind(Box::new("asked for")),
            ("POST", "/metrics") => {
                let mut book = lock(&self.part.book);
                book.submitted += 1;
                Reply { answer: Answer::Accepted(request.body.len()), ticket: Ticket(book.submitted) }
            }
            _ => Reply::now(Response::status(404)),
        }
    }

    fn refused(&mut self, status: u16, _: Duration) {
        lock(&self.state.refused).push(status);
    }

    fn flush(&mut self) {
        let mut book = lock(&self.part.book);
        let has_news = book.flushed < book.submitted;
        book.bursts += usize::from(has_news);
        book.flushed = book.submitted;
        if has_news && let Some(lost) = lock(&self.state.lost_at_flush).take() {
            book.lose_once(lost);
        }
        if !self.state.by_hand {
            book.settled = book.flushed;
        }
    }

    fn settled(&mut self) -> Result<Ticket, Lost> {
        lock(&self.part.book).look()
    }

    fn wait(&mut self, upto: Ticket, at_most: Duration) -> Result<Ticket, Lost> {
        let waits =
            |book: &mut Book| book.lost.is_none() && book.lost_once.is_none() && book.settled < upto.0;
        let waited = self.part.changed.wait_timeout_while(lock(&self.part.book), at_most, waits);
        let (mut book, _) = waited.unwrap_or_else(PoisonError::into_inner);
        book.look()
    }

    fn set_waker(&mut self, waker: Waker) {
        lock(&self.part.book).waker = Some(waker);
    }

    fn finished(&mut self, out: &mut Vec<(u64, Response)>) {
        out.append(&mut lock(&self.part.book).finished);
    }
}

/// A running engine. Dropping it tells it to stop, and waits no longer than is reasonable.
pub(super) struct Served {
    pub(super) address: SocketAddr,
    desk: Desk,
    shutdown: Shutdown,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Served {
    pub(super) fn start<E: Engine>(desk: &Desk, config: IngestConfig) -> Result<Self, Unmet> {
        let listener = TcpListener::bind("127.0.0.1:0").or_skip("no port on 127.0.0.1")?;
        let address = listener.local_addr().or_skip("no address")?;
        let (shutdown, app) = (Shutdown::new(), desk.clone());
        let seen = shutdown.clone();
        // Named like the test, as its own thread is: a report of what hangs tells them so from those of tests before it.
        let named = thread::current()
            .name()
            .map_or_else(thread::Builder::new, |name| thread::Builder::new().name(name.to_owned()));
        let serve = move || {
            let rest = |_: &Request<'_>| Response::status(404);
            let site = Site { listener, rest: &rest, middleware: &Bare, shutdown: seen };
            E::serve(&config, &site, &app)
        };
        let thread = named.spawn(serve).or_skip("there is no thread for the engine")?;
        Ok(Self { address, desk: desk.clone(), shutdown, thread: Some(thread) })
    }

    pub(super) fn connect(&self) -> Result<Client, Unmet> {
        let stream = TcpStream::connect(self.address).must("a client connects")?;
        Client::new(stream)
    }

    /// One request on a connection of its own.
    pub(super) fn ask(&self, body: &str) -> Result<Said, Unmet> {
        let mut client = self.connect()?;
        client.send(post(body));
        Ok(client.answer())
    }

    /// Says that it is time, and does not wait.
    pub(super) fn begin_stop(&self) {
        self.shutdown.set();
        // A blocking accept sees the flag when somebody comes.
        let _ = TcpStream::connect(self.address);
    }

    /// Waits until it has ended; all workers must be gone then.
    pub(super) fn wait(&mut self) -> Check {
        const SENT: &str = "the engine is told to stop";
        if !eventually(|| self.has_ended()) {
            self.thread = None; // nobody waits for it again
            return broken(SENT, "it finishes what was begun and returns", "it does not return");
        }
        let Some(thread) = self.thread.take() else { return Ok(()) };
        match thread.join() {
            Ok(ended) => ended.must(SENT)?,
            Err(_) => return broken(SENT, "it returns", "it panicked"),
        }
        expect(SENT, "0 workers outlive it", format!("{} workers outlive it", self.desk.0.alive.load(SeqCst)))
    }

    /// Waits until it ends by itself, and says that something is wrong.
    pub(super) fn fails(&mut self, sent: &str) -> Check {
        const EXPECTED: &str = "the engine ends, and says that something is wrong";
        if !eventually(|| self.has_ended()) {
            return broken(sent, EXPECTED, "what is left of it goes on as if nothing had been");
        }
        let Some(thread) = self.thread.take() else { return Ok(()) };
        // A panic says it as well.
        ensure(!matches!(thread.join(), Ok(Ok(()))), sent, EXPECTED, "it ends as if it had been told to")
    }

    pub(super) fn stop(mut self) -> Check {
        self.begin_stop();
        self.wait()
    }

    pub(super) fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.begin_stop();
            // A test that has failed says so, whether or not its engine ends.
            self.desk.settle();
            eventually(|| self.has_ended());
        }
    }
}

/// A client.
pub(super) struct Client {
    pub(super) stream: TcpStream,
    read: Vec<u8>,
}

/// What a server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    Answer {
        status: u16,
        head: String,
        body: String,
    },
    /// Nothing for as long as anybody would wait.
    Nothing,
    /// It closed the connection.
    Closed,
}

impl Said {
    /// 0 if there is no answer.
    pub(super) fn status(&self) -> u16 {
        if let Self::Answer { status, .. } = self { *status } else { 0 }
    }

    /// Whether a header line is there.
    pub(super) fn has(&self, line: &str) -> bool {
        matches!(self, Self::Answer { head, .. } if head.contains(line))
    }
}

/// `202 {"accepted":3}`; of an error its code.
impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("no answer"),
            Self::Closed => f.write_str("a closed connection"),
            Self::Answer { status, body, .. } => {
                let code = body.split_once(r#""code":""#).and_then(|(_, rest)| rest.split('"').next());
                write!(f, "{status}")?;
                match code {
                    Some(code) => write!(f, " {code}"),
                    None if body.is_empty() => Ok(()),
                    None => write!(f, " {}", crate::check::excerpt(body)),
                }
            }
        }
    }
}

impl Client {
    fn new(stream: TcpStream) -> Result<Self, Unmet> {
        stream.set_nodelay(true).or_skip("no socket options")?;
        stream.set_read_timeout(Some(PATIENCE)).or_skip("no socket options")?;
        stream.set_write_timeout(Some(PATIENCE)).or_skip("no socket options")?;
        Ok(Self { stream, read: Vec::new() })
    }

    /// A server may have heard enough and close meanwhile: its answer tells.
    pub(super) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref());
    }

    /// The next answer.
    pub(super) fn answer(&mut self) -> Said {
        let head_end = loop {
            if let Some(at) = self.read.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            if let Err(said) = self.more() {
                return said;
            }
        };
        let head = String::from_utf8_lossy(&self.read[..head_end]).into_owned();
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
        let length: usize = length.and_then(|digits| digits.parse().ok()).unwrap_or(0);
        while self.read.len() < head_end + length {
            if let Err(said) = self.more() {
                return said;
            }
        }
        let body = String::from_utf8_lossy(&self.read[head_end..head_end + length]).into_owned();
        self.read.drain(..head_end + length);
        let status = head.get(9..12).and_then(|digits| digits.parse().ok()).unwrap_or(0);
        Said::Answer { status, head, body }
    }

    fn more(&mut self) -> Result<(), Said> {
        let mut piece = [0; 64 << 10];
        match self.stream.read(&mut piece) {
            Ok(0) => Err(Said::Closed),
            Ok(n) => {
                self.read.extend_from_slice(&piece[..n]);
                Ok(())
            }
            Err(e) if is_timeout(&e) => Err(Said::Nothing),
            Err(_) => Err(Said::Closed),
        }
    }

    /// Whether the server says nothing for a moment, and stays.
    pub(super) fn hears_nothing(&mut self) -> bool {
        let _ = self.stream.set_read_timeout(Some(MOMENT));
        let read = self.stream.read(&mut [0; 1]);
        let _ = self.stream.set_read_timeout(Some(PATIENCE));
        self.read.is_empty() && read.is_err_and(|e| is_timeout(&e))
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
