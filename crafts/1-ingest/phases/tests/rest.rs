//! What is not ingestion, through every engine: parts of files, and answers that come later.

#![allow(clippy::unwrap_used)] // a test that cannot go on should stop

use contracts::{
    file::{FileSlice, OpenFile},
    http::{Bare, Body, Deferred, Handler, Request, Response},
    ingest::{IngestConfig, Shutdown, Site},
};
use ingest_phases::{PHASES, Phase};
use std::{
    io::{self, ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    task::Waker,
    thread,
    time::Duration,
};

/// A file of which the kernel knows nothing.
#[derive(Debug)]
struct Text(Vec<u8>);

impl OpenFile for Text {
    fn read_at(&self, at: u64, out: &mut [u8]) -> io::Result<()> {
        let at = usize::try_from(at).unwrap();
        let there = self.0.get(at..at + out.len()).ok_or(ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(there);
        Ok(())
    }

    fn fd(&self) -> Option<std::os::fd::BorrowedFd<'_>> {
        None
    }
}

struct Rest(Arc<Text>);

impl Handler for Rest {
    fn handle(&self, request: &Request<'_>) -> Response {
        let part = |at, bytes| FileSlice { file: self.0.clone(), at, bytes };
        match request.path {
            "/file" => Response::body(200, "text/plain", Body::Slices(vec![part(7, 200_000), part(0, 5)])),
            _ => Response::text(200, format!("waited for {}", request.body.len())),
        }
    }

    fn deferred(&self) -> Option<Box<dyn Deferred>> {
        Some(Box::new(NextTurn::default()))
    }
}

/// Answers what was taken once it is flushed, and then wakes the engine.
#[derive(Default)]
struct NextTurn {
    taken: Vec<(u64, Response)>,
    flushed: Vec<(u64, Response)>,
    waker: Option<Waker>,
}

impl Deferred for NextTurn {
    fn route(&self) -> (&'static str, &'static str) {
        ("POST", "/safe")
    }

    fn take(&mut self, number: u64, request: &Request<'_>) -> Result<(), Response> {
        match request.body {
            b"" => Err(Response::text(400, "nothing")),
            body => {
                self.taken.push((number, Response::text(200, format!("later for {}", body.len()))));
                Ok(())
            }
        }
    }

    fn flush(&mut self) {
        // The other way round: to bring them into order is not its task.
        self.flushed.extend(self.taken.drain(..).rev());
        if let Some(waker) = self.waker.as_ref().filter(|_| !self.flushed.is_empty()) {
            waker.wake_by_ref();
        }
    }

    fn finished(&mut self, out: &mut Vec<(u64, Response)>) {
        out.append(&mut self.flushed);
    }

    fn set_waker(&mut self, waker: Waker) {
        self.waker = Some(waker);
    }
}

fn content() -> Vec<u8> {
    (0..300_000_u32).map(|n| u8::try_from(b'a' as u32 + n % 26).unwrap()).collect()
}

fn with_server(phase: &Phase, test: impl FnOnce(SocketAddr)) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let server = (phase.open)(IngestConfig::default(), None);
    let (rest, shutdown) = (Rest(Arc::new(Text(content()))), Shutdown::new());
    let site = Site { listener, rest: &rest, middleware: &Bare, shutdown: shutdown.clone() };
    thread::scope(|scope| {
        let serving = scope.spawn(|| server.serve(&site).unwrap());
        test(addr);
        shutdown.set();
        let _ = TcpStream::connect(addr);
        serving.join().unwrap();
    });
}

/// Sends all of it, and reads to the end.
fn exchange(addr: SocketAddr, requests: &str) -> String {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.write_all(requests.as_bytes()).unwrap();
    let mut read = String::new();
    stream.read_to_string(&mut read).unwrap();
    read
}

fn post(body: &str, more: &str) -> String {
    format!("POST /safe HTTP/1.1\r\nHost: x\r\n{more}Content-Length: {}\r\n\r\n{body}", body.len())
}

#[test]
fn parts_of_files_arrive_through_every_engine() {
    let content = content();
    let expected = [&content[7..200_007], &content[..5]].concat();
    for phase in &PHASES {
        with_server(phase, |addr| {
            let said = exchange(addr, "GET /file HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
            let (head, body) = said.split_once("\r\n\r\n").unwrap();
            assert!(head.contains("Content-Length: 200005\r\n"), "{}: {head}", phase.name);
            assert!(body.as_bytes() == expected, "{}", phase.name);
        });
    }
}

#[test]
fn engines_that_may_not_wait_defer_and_the_others_wait() {
    for phase in &PHASES {
        let defers = matches!(phase.name, "phase8" | "phase9");
        let keeps = defers || matches!(phase.name, "phase5" | "phase6" | "phase7");
        let last = post("four", "Connection: close\r\n");
        let requests = if keeps { post("1", "") + &post("", "") + &post("333", "") + &last } else { last };
        with_server(phase, |addr| {
            let said = exchange(addr, &requests);
            let answers: Vec<&str> =
                said.split("\r\n\r\n").skip(1).filter_map(|rest| rest.split("HTTP").next()).collect();
            let expected: &[&str] = match (defers, keeps) {
                (true, _) => &["later for 1", "nothing", "later for 3", "later for 4"],
                (_, true) => &["waited for 1", "waited for 0", "waited for 3", "waited for 4"],
                _ => &["waited for 4"],
            };
            assert_eq!(answers, expected, "{}", phase.name);
        });
    }
}
