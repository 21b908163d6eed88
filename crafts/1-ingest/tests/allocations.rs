//! Once warm, a request that HTTP is asked to carry allocates nothing: counted, not believed.
#![allow(unsafe_code, reason = "a global allocator cannot be written without")]
#![allow(clippy::unwrap_used)] // a test that cannot go on should stop

mod http_support;

use contracts::{http::Request, queue::Ticket};
use ingest::{
    http::{Connection, Scratch, Settings},
    slots::{Answer, Lost, Reply, Worker},
};
use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    task::Waker,
    time::{Duration, UNIX_EPOCH},
};

struct Counting;

thread_local! {
    /// By thread, since tests run side by side.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    // A thread that ends may allocate once its cell is gone.
    let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
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

/// Says 202, each with a ticket of its own, and 204 to every third.
#[derive(Default)]
struct Accepting {
    tickets: u64,
}

impl Worker for Accepting {
    fn call(&mut self, request: &Request<'_>) -> Reply {
        self.tickets += 1;
        assert_eq!((request.method, request.header("content-length")), ("POST", Some("113")));
        let answer = if self.tickets.is_multiple_of(3) { Answer::NoContent } else { Answer::Accepted(1) };
        Reply { answer, ticket: Ticket(self.tickets) }
    }

    fn refused(&mut self, status: u16, _: Duration) {
        panic!("a good request was refused with {status}");
    }

    fn flush(&mut self) {}

    fn settled(&mut self) -> Result<Ticket, Lost> {
        Ok(Ticket(self.tickets))
    }

    fn wait(&mut self, upto: Ticket, _: Duration) -> Result<Ticket, Lost> {
        Ok(upto)
    }

    fn set_waker(&mut self, _: Waker) {}
}

/// Allocations of so many turns. In each, these pieces arrive, and the answers leave when their tickets have settled.
fn allocations_of(turns: u64, pieces: &[&[u8]], connection: &mut Connection, worker: &mut Accepting) -> u64 {
    let mut scratch = Scratch::default();
    let before = ALLOCATIONS.get();
    for turn in 0..turns {
        scratch.set_time(UNIX_EPOCH + Duration::from_secs(1_700_000_000 + turn));
        for piece in pieces {
            connection.feed(piece, &mut scratch, worker);
        }
        let settled = worker.settled().unwrap();
        assert!(connection.waits_for(Ticket(settled.0 - 1)).is_some());
        let sent = connection.output(settled).len();
        connection.wrote(sent);
    }
    assert!(connection.is_idle() && connection.wants_input());
    ALLOCATIONS.get() - before
}

fn requests(count: usize) -> Vec<u8> {
    http_support::post(&"x".repeat(113)).repeat(count)
}

fn check(what: &str, pieces: &[&[u8]]) {
    let settings = Settings { body_bytes_max: 1 << 20, keep_alive: true };
    let (mut connection, mut worker) = (Connection::new(settings, None), Accepting::default());
    let cold = allocations_of(10, pieces, &mut connection, &mut worker);
    assert!(cold > 0, "{what}: the counter does not count");
    let warm = allocations_of(1000, pieces, &mut connection, &mut worker);
    assert_eq!(warm, 0, "{what}: allocations of 1,000 turns, once warm");
}

#[test]
fn requests_that_come_one_by_one_allocate_nothing() {
    check("one at a time", &[&requests(1)]);
}

#[test]
fn requests_that_come_together_allocate_nothing() {
    check("sixteen at once", &[&requests(16)]);
    check("a hundred at once", &[&requests(100)]);
}

#[test]
fn requests_that_come_in_pieces_allocate_nothing() {
    let bytes = requests(3);
    check("pieces of 7 bytes", &bytes.chunks(7).collect::<Vec<_>>());
    check("cut within the second head", &[&bytes[..200], &bytes[200..]]);
    check("cut within the second body", &[&bytes[..300], &bytes[300..]]);
}
