//! Once warm, a request allocates nothing: counted, not believed.
//!
//! The allocator counts what all threads do but those of the test's own server.
#![allow(unsafe_code, reason = "a global allocator cannot be written without")]
#![allow(clippy::unwrap_used, reason = "in a test that is the assertion")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use load_tester::format::FormatName;
use load_tester::sample::Identity;
use load_tester::target::Target;
use load_tester::workload::{Load, Until, Workload};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static IS_SERVER: Cell<bool> = const { Cell::new(false) };
}

fn count() {
    if !IS_SERVER.try_with(Cell::get).unwrap_or(true) {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
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

/// A run has a few allocations a second for its series, and this many seconds it never lasts.
const SLACK: u64 = 400;

#[test]
fn ten_times_the_requests_do_not_allocate_more() {
    let port = start_server();
    for pipeline in [1, 8] {
        allocations_of(port, 200, pipeline);
        let few = allocations_of(port, 1_000, pipeline);
        let many = allocations_of(port, 10_000, pipeline);
        assert!(many < few + SLACK, "pipeline {pipeline}: {few} for 4 000 requests, {many} for 40 000");
    }
}

/// Allocations of a whole run of four clients.
fn allocations_of(port: u16, requests_each: u64, pipeline: usize) -> u64 {
    let workload = Workload {
        target: Target { host: "127.0.0.1".to_owned(), port, path: "/metrics".to_owned() },
        load: Load::Closed { until: Until::RequestsEach(requests_each) },
        clients: 4,
        threads: 1,
        batch: 2,
        pipeline,
        keep_alive: true,
        connect_first: false,
        format: FormatName::Json,
        identity: Identity { name: "load_test".to_owned(), seed: 1, base_ms: 1_700_000_000_000 },
        request_timeout: Duration::from_secs(60),
        connect_timeout: Duration::from_secs(60),
        verify: true,
        token: None,
    };
    let before = ALLOCATIONS.load(Ordering::SeqCst);
    let outcome = load_tester::run(&workload, &AtomicBool::new(false), &mut |_| {}).unwrap();
    assert_eq!(outcome.tally.ok(), 4 * requests_each);
    ALLOCATIONS.load(Ordering::SeqCst) - before
}

/// Answers each request, found by its length, with 202.
fn start_server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        IS_SERVER.set(true);
        for stream in listener.incoming().flatten() {
            thread::spawn(move || {
                IS_SERVER.set(true);
                serve(stream);
            });
        }
    });
    port
}

fn serve(mut stream: TcpStream) {
    stream.set_nodelay(true).unwrap();
    let mut bytes = Vec::new();
    let mut buffer = [0; 16 * 1024];
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        bytes.extend_from_slice(&buffer[..read]);
        let mut answers = Vec::new();
        while let Some(length) = request_length(&bytes) {
            bytes.drain(..length);
            answers.extend_from_slice(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n");
        }
        if stream.write_all(&answers).is_err() {
            return;
        }
    }
}

fn request_length(bytes: &[u8]) -> Option<usize> {
    let head = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&bytes[..head]).unwrap();
    let length: usize = text.split("Content-Length: ").nth(1)?.split("\r\n").next()?.parse().unwrap();
    (bytes.len() >= head + length).then_some(head + length)
}
