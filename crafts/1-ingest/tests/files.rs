//! Parts of files as answers: sent by the reactors as they lie, in order with everything else, without stopping anybody.

#![allow(clippy::unwrap_used)] // a test that cannot go on should stop

use contracts::{
    file::{FileSlice, OpenFile},
    http::{Bare, Body, Request, Response},
    ingest::{Ingest, IngestConfig, Shutdown, Site},
};
use std::{
    fs::File,
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::FileExt,
    },
    sync::Arc,
    thread,
    time::Duration,
};

/// No test measures time with it.
const PATIENCE: Duration = Duration::from_secs(30);
const FILE_BYTES: usize = 1 << 20;

#[derive(Debug)]
struct Held(File);

impl OpenFile for Held {
    fn read_at(&self, at: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(out, at)
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.0.as_fd())
    }
}

fn pattern() -> Vec<u8> {
    (0..FILE_BYTES).map(|at| u8::try_from(at * 31 % 251).unwrap()).collect()
}

/// `GET /file?times=3&at=5&bytes=100&short`: so many times these bytes of the file; and one byte more than it has.
fn answer(request: &Request<'_>, file: &Arc<Held>) -> Response {
    if request.path != "/file" {
        return Response::text(200, format!("{} {}", request.path, request.body.len()));
    }
    let number = |name: &str| request.param(name).and_then(|n| n.parse::<u64>().ok());
    let (at, bytes) = (number("at").unwrap_or(0), number("bytes").unwrap_or(FILE_BYTES as u64));
    let slice = FileSlice { file: file.clone(), at, bytes };
    let mut slices = vec![slice; usize::try_from(number("times").unwrap_or(1)).unwrap()];
    if request.param("short").is_some() {
        slices.push(FileSlice { file: file.clone(), at: FILE_BYTES as u64 - 10, bytes: 11 });
    }
    Response::body(200, "application/octet-stream", Body::Slices(slices))
}

/// A server while `test` runs.
fn with_server(config: IngestConfig, test: impl FnOnce(SocketAddr)) {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&pattern()).unwrap();
    let file = Arc::new(Held(file));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let server = ingest::Final::new(config, None);
    let shutdown = Shutdown::new();
    let rest = |request: &Request<'_>| answer(request, &file);
    let site = Site { listener, rest: &rest, middleware: &Bare, shutdown: shutdown.clone() };
    thread::scope(|scope| {
        let serving = scope.spawn(|| server.serve(&site).unwrap());
        test(addr);
        shutdown.set();
        let _ = TcpStream::connect(addr);
        serving.join().unwrap();
    });
}

/// One reactor, so that whoever stops it stops everybody; and so little memory that no file fits into it.
fn narrow() -> IngestConfig {
    IngestConfig {
        threads: 1,
        buffered_bytes_max: 256 << 10,
        request_timeout: PATIENCE,
        ..IngestConfig::default()
    }
}

struct Client {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Client {
    fn new(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { stream, read: Vec::new() }
    }

    fn send(&mut self, method: &str, target: &str) {
        let length = if method == "POST" { "Content-Length: 2\r\n" } else { "" };
        let body = if method == "POST" { "{}" } else { "" };
        let text = format!("{method} {target} HTTP/1.1\r\nHost: x\r\n{length}\r\n{body}");
        self.stream.write_all(text.as_bytes()).unwrap();
    }

    /// What comes next, or nothing at the end.
    fn more(&mut self) -> bool {
        let mut piece = vec![0; 256 << 10];
        let read = self.stream.read(&mut piece).unwrap_or(0);
        self.read.extend_from_slice(&piece[..read]);
        read > 0
    }

    /// The head of the next answer: its `Content-Length`.
    fn head(&mut self) -> usize {
        let end = loop {
            if let Some(at) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            assert!(self.more(), "closed within a head");
        };
        let head = String::from_utf8(self.read.drain(..end).collect()).unwrap();
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap();
        length.parse().unwrap()
    }

    /// Reads a body that repeats what `expected` is; says how many bytes came.
    fn body(&mut self, length: usize, expected: &[u8]) -> usize {
        let mut got = 0;
        loop {
            let taken = self.read.len().min(length - got);
            let mut piece = &self.read[..taken];
            while !piece.is_empty() {
                let next = &expected[got % expected.len()..];
                let (here, rest) = piece.split_at(piece.len().min(next.len()));
                assert!(*here == next[..here.len()], "somewhere behind byte {got}");
                (got, piece) = (got + here.len(), rest);
            }
            self.read.drain(..taken);
            if got == length || !self.more() {
                return got;
            }
        }
    }

    fn text(&mut self) -> String {
        let length = self.head();
        while self.read.len() < length && self.more() {}
        String::from_utf8(self.read.drain(..length).collect()).unwrap()
    }
}

#[test]
fn a_slow_reader_gets_256_mib_through_256_kib_of_memory_while_others_are_served() {
    with_server(narrow(), |addr| {
        let mut slow = Client::new(addr);
        slow.send("GET", "/file?times=256");
        let length = slow.head();
        assert_eq!(length, 256 * FILE_BYTES);
        let mut other = Client::new(addr);
        for _ in 0..50 {
            other.send("POST", "/quick");
            assert_eq!(other.text(), "/quick 2");
        }
        assert_eq!(slow.body(length, &pattern()), length);
        slow.send("GET", "/quick");
        assert_eq!(slow.text(), "/quick 0", "the connection goes on");
    });
}

#[test]
fn files_and_other_answers_keep_the_order_of_the_requests() {
    with_server(narrow(), |addr| {
        let mut client = Client::new(addr);
        for (method, target) in [
            ("GET", "/first"),
            ("GET", "/file?at=1000&bytes=70000&times=3"),
            ("POST", "/second"),
            ("HEAD", "/file?times=5"),
            ("GET", "/file?bytes=0"),
            ("GET", "/file?at=5&bytes=1"),
            ("GET", "/third"),
        ] {
            client.send(method, target);
        }
        let pattern = pattern();
        assert_eq!(client.text(), "/first 0");
        assert_eq!(client.head(), 210_000);
        assert_eq!(client.body(210_000, &pattern[1000..71_000]), 210_000);
        assert_eq!(client.text(), "/second 2");
        assert_eq!(client.head(), 5 * FILE_BYTES, "and nothing of them");
        assert_eq!(client.head(), 0);
        assert_eq!(client.head(), 1);
        assert_eq!(client.body(1, &pattern[5..6]), 1);
        assert_eq!(client.text(), "/third 0");
    });
}

#[test]
fn a_file_that_ends_too_early_ends_its_connection_and_no_other() {
    with_server(narrow(), |addr| {
        let (mut client, mut other) = (Client::new(addr), Client::new(addr));
        client.send("GET", "/file?at=1048000&bytes=576&short");
        client.send("GET", "/behind");
        let length = client.head();
        assert_eq!(length, 576 + 11);
        let tail = [&pattern()[1_048_000..], &pattern()[FILE_BYTES - 10..], b"!"].concat();
        assert_eq!(client.body(length, &tail), 576 + 10, "what there is, and then the end");
        assert!(client.read.is_empty() && !client.more());
        other.send("GET", "/quick");
        assert_eq!(other.text(), "/quick 0");
    });
}

#[test]
fn many_take_files_at_once() {
    with_server(IngestConfig { threads: 2, ..narrow() }, |addr| {
        thread::scope(|scope| {
            for _ in 0..32 {
                scope.spawn(move || {
                    let (mut client, pattern) = (Client::new(addr), pattern());
                    for _ in 0..2 {
                        client.send("GET", "/file?times=4");
                        let length = client.head();
                        assert_eq!(client.body(length, &pattern), 4 * FILE_BYTES);
                    }
                });
            }
        });
    });
}

#[test]
fn who_does_not_read_a_file_is_left_when_its_time_is_up() {
    let config = IngestConfig { request_timeout: Duration::from_millis(300), ..narrow() };
    with_server(config, |addr| {
        let mut client = Client::new(addr);
        client.send("GET", "/file?times=64");
        // It reads nothing until somebody else has been served for longer than that.
        let mut other = Client::new(addr);
        for _ in 0..30 {
            thread::sleep(Duration::from_millis(50));
            other.send("GET", "/quick");
            assert_eq!(other.text(), "/quick 0");
        }
        let length = client.head();
        assert!(client.body(length, &pattern()) < length, "it was not waited for");
    });
}
