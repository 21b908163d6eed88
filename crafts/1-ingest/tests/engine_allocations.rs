//! Once warm, a reactor allocates nothing for a request, from the socket and back to it: counted, not believed.
#![allow(unsafe_code, reason = "a global allocator cannot be written without")]
#![allow(clippy::unwrap_used)] // a test that cannot go on should stop

use contracts::{
    http::{Bare, Request, Response},
    ingest::{IngestConfig, Shutdown, Site},
    queue::{LogError, Ticket},
};
use ingest::{
    engine::ReactorPerCore,
    slots::{Answer, App, Engine, Lost, Reply, Worker},
};
use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    task::Waker,
    thread,
    time::Duration,
};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// Set by the thread that has a worker: a reactor.
    static IS_REACTOR: Cell<bool> = const { Cell::new(false) };
}

fn count() {
    if IS_REACTOR.try_with(Cell::get).unwrap_or(false) {
        ALLOCATIONS.fetch_add(1, Relaxed);
    }
}

// SAFETY: everything is left to the system's allocator; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on, and the block came from `System`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct Lab;

/// Every answer waits for a ticket, which settles one turn later.
#[derive(Default)]
struct OneTurnLater {
    submitted: u64,
    settled: u64,
    waker: Option<Waker>,
}

impl App for Lab {
    type Worker = OneTurnLater;

    fn worker(&self) -> Result<OneTurnLater, LogError> {
        Ok(OneTurnLater::default())
    }
}

impl Worker for OneTurnLater {
    fn call(&mut self, _: &Request<'_>) -> Reply {
        IS_REACTOR.set(true);
        self.submitted += 1;
        Reply { answer: Answer::Accepted(1), ticket: Ticket(self.submitted) }
    }

    fn refused(&mut self, _: u16, _: Duration) {}

    fn flush(&mut self) {}

    fn settled(&mut self) -> Result<Ticket, Lost> {
        let settled = Ticket(self.settled);
        if self.settled < self.submitted {
            self.settled = self.submitted;
            self.waker.iter().for_each(Waker::wake_by_ref);
        }
        Ok(settled)
    }

    fn wait(&mut self, _: Ticket, _: Duration) -> Result<Ticket, Lost> {
        unreachable!("a reactor does not wait")
    }

    fn set_waker(&mut self, waker: Waker) {
        self.waker = Some(waker);
    }
}

/// Sends so many requests at once, and reads all answers.
fn exchange(client: &mut TcpStream, requests: usize) {
    const REQUEST: &[u8] = b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc";
    const BODY: &[u8] = br#"{"accepted":1}"#;
    client.write_all(&REQUEST.repeat(requests)).unwrap();
    let (mut answers, mut piece) = (Vec::new(), [0; 16 << 10]);
    while answers.windows(BODY.len()).filter(|window| *window == BODY).count() < requests {
        let n = client.read(&mut piece).unwrap();
        assert!(n > 0);
        answers.extend_from_slice(&piece[..n]);
    }
}

#[test]
fn a_warm_reactor_allocates_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, shutdown) = (listener.local_addr().unwrap(), Shutdown::new());
    let seen = shutdown.clone();
    let server = thread::spawn(move || {
        let rest = |_: &Request<'_>| Response::status(404);
        let site = Site { listener, rest: &rest, middleware: &Bare, shutdown: seen };
        let config = IngestConfig { threads: 1, ..IngestConfig::default() };
        ReactorPerCore::serve(&config, &site, &Lab).unwrap();
    });
    // One client, so that the lists of a turn are as long in the first round as in the last.
    let mut client = TcpStream::connect(address).unwrap();
    let mut round = || (1..20).for_each(|requests| exchange(&mut client, requests));
    (0..20).for_each(|_| round());
    let before = ALLOCATIONS.load(Relaxed);
    assert!(before > 0, "warming up allocates, or nothing is counted");
    (0..20).for_each(|_| round());
    assert_eq!(ALLOCATIONS.load(Relaxed) - before, 0, "in {} requests", 20 * 190);
    shutdown.set();
    server.join().unwrap();
}
