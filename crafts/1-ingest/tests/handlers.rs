//! What is not ingestion may take its time, and ingestion does not wait for it.

#![allow(clippy::unwrap_used)] // a test that cannot go on should stop

use contracts::{
    http::{Bare, Request, Response},
    ingest::{Ingest, IngestConfig, Shutdown, Site},
};
use phase0::queue::MemoryLog;
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex},
    thread,
    time::Duration,
};

/// A handler that holds every request to `/slow` until it is opened.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    fn handle(&self, request: &Request<'_>) -> Response {
        match request.path {
            "/slow" => {
                let open = self.0.0.lock().unwrap();
                drop(self.0.1.wait_while(open, |open| !*open).unwrap());
            }
            "/panic" => panic!("on purpose"),
            _ => {}
        }
        Response::text(200, format!("{} {}", request.path, request.body.len()))
    }
}

/// One reactor before this gate, while `test` runs.
fn with_server(gate: &Gate, test: impl FnOnce(SocketAddr)) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let config = IngestConfig { threads: 1, ..IngestConfig::default() };
    let server = ingest::Final::new(config, Some(Arc::new(MemoryLog::default())));
    let shutdown = Shutdown::new();
    let rest = |request: &Request<'_>| gate.handle(request);
    let site = Site { listener, rest: &rest, middleware: &Bare, shutdown: shutdown.clone() };
    thread::scope(|scope| {
        let serving = scope.spawn(|| server.serve(&site).unwrap());
        test(addr);
        gate.open();
        shutdown.set();
        let _ = TcpStream::connect(addr);
        serving.join().unwrap();
    });
}

struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    fn new(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self { stream: BufReader::new(stream) }
    }

    fn send(&mut self, method: &str, path: &str, body: &str) {
        let text =
            format!("{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        self.stream.get_mut().write_all(text.as_bytes()).unwrap();
    }

    /// Status and body of the next answer.
    fn answer(&mut self) -> (u16, String) {
        let (mut status, mut length) = (0, 0);
        loop {
            let mut line = String::new();
            assert!(self.stream.read_line(&mut line).unwrap() > 0, "closed without an answer");
            match line.trim().split_once([' ', ':']) {
                Some(("HTTP/1.1", rest)) => status = rest.split(' ').next().unwrap().parse().unwrap(),
                Some(("Content-Length", value)) => length = value.trim().parse().unwrap(),
                None => break,
                _ => {}
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).unwrap();
        (status, String::from_utf8(body).unwrap())
    }
}

const SAMPLE: &str = r#"{"name":"a","value":1}"#;

#[test]
fn a_handler_that_takes_its_time_holds_up_nobody_but_its_own_connection() {
    let gate = Gate::default();
    with_server(&gate, |addr| {
        let mut slow: Vec<Client> = (0..5).map(|_| Client::new(addr)).collect();
        for client in &mut slow {
            client.send("GET", "/slow", "");
        }
        // One reactor serves them all, and these too.
        let mut other = Client::new(addr);
        for _ in 0..10 {
            other.send("POST", "/metrics", SAMPLE);
            assert_eq!(other.answer().0, 202);
            other.send("GET", "/quick", "");
            assert_eq!(other.answer(), (200, "/quick 0".to_owned()));
        }
        gate.open();
        for client in &mut slow {
            assert_eq!(client.answer(), (200, "/slow 0".to_owned()));
        }
    });
}

#[test]
fn pipelined_requests_behind_a_slow_one_are_answered_in_order() {
    let gate = Gate::default();
    with_server(&gate, |addr| {
        let mut client = Client::new(addr);
        client.send("POST", "/metrics", SAMPLE);
        client.send("POST", "/slow", "12345");
        client.send("POST", "/metrics", SAMPLE);
        client.send("GET", "/quick", "");
        assert_eq!(client.answer().0, 202);
        gate.open();
        assert_eq!(client.answer(), (200, "/slow 5".to_owned()));
        assert_eq!(client.answer(), (202, r#"{"accepted":1}"#.to_owned()));
        assert_eq!(client.answer(), (200, "/quick 0".to_owned()));
    });
}

#[test]
fn a_client_that_leaves_before_its_answer_leaves_nothing_behind() {
    let gate = Gate::default();
    with_server(&gate, |addr| {
        for _ in 0..20 {
            let mut client = Client::new(addr);
            client.send("GET", "/slow", "");
            drop(client);
        }
        gate.open();
        let mut client = Client::new(addr);
        client.send("GET", "/quick", "");
        assert_eq!(client.answer().0, 200);
    });
}

#[test]
fn a_handler_that_panics_is_answered_with_500_and_the_next_request_as_ever() {
    let gate = Gate::default();
    with_server(&gate, |addr| {
        let mut client = Client::new(addr);
        client.send("GET", "/panic", "");
        assert_eq!(client.answer().0, 500);
        client.send("GET", "/quick", "");
        assert_eq!(client.answer().0, 200);
    });
}

#[test]
fn a_drain_waits_for_the_answer_that_was_promised() {
    let gate = Gate::default();
    let mut client = None;
    with_server(&gate, |addr| {
        let promised = client.insert(Client::new(addr));
        promised.send("GET", "/slow", "");
        // The answer that the other connection gets proves that the slow one was taken in before.
        let mut other = Client::new(addr);
        other.send("GET", "/quick", "");
        assert_eq!(other.answer().0, 200);
    });
    assert_eq!(client.unwrap().answer(), (200, "/slow 0".to_owned()));
}
