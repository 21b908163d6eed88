//! What HTTP itself costs a request: read, answered with 202, rendered. No socket, no JSON, no log.
//!
//! `cargo run --release -p ingest --example http-cost`

use contracts::{http::Request, queue::Ticket};
use ingest::{
    http::{Connection, Scratch, Settings},
    slots::{Answer, Lost, Reply, Worker},
};
use std::{
    hint::black_box,
    task::Waker,
    time::{Duration, Instant, SystemTime},
};

/// Short and many: whatever else the machine does, some rounds are left in peace, and the least is what is shown.
const ROUNDS: usize = 50;
const REQUESTS_A_ROUND: u32 = 20_000;
const BODY: &str = r#"{"timestamp":"2025-09-17T13:45:23.123Z","name":"cpu_usage","value":75.5,"labels":{"host":"web-1","core":"0"}}"#;

fn main() {
    for (what, headers) in [
        ("few headers", "Host: 127.0.0.1:8080\r\nContent-Type: application/json\r\n"),
        (
            "many headers",
            "Host: 127.0.0.1:8080\r\nUser-Agent: agent/1.0 (linux; x86_64)\r\nAccept: */*\r\n\
             Accept-Encoding: gzip, deflate, br\r\nContent-Type: application/json\r\n\
             traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\nX-Client-Id: agent-17\r\n\
             Connection: keep-alive\r\n",
        ),
    ] {
        let length = BODY.len();
        let request = format!("POST /metrics HTTP/1.1\r\n{headers}Content-Length: {length}\r\n\r\n{BODY}");
        for pipelined in [1, 16] {
            let least = (0..ROUNDS).map(|_| round(&request, pipelined)).fold(f64::INFINITY, f64::min);
            let bytes = request.len();
            println!("{what}, {bytes} bytes, {pipelined} at once: {least:.0} ns a request");
        }
    }
}

/// Nanoseconds a request.
fn round(request: &str, pipelined: usize) -> f64 {
    let bytes = request.repeat(pipelined);
    let mut connection = Connection::new(Settings { body_bytes_max: 16 << 20, keep_alive: true }, None);
    let (mut scratch, mut worker) = (Scratch::default(), Accepting);
    scratch.set_time(SystemTime::now());
    let begun = Instant::now();
    let mut answered = 0;
    while answered < u64::from(REQUESTS_A_ROUND) {
        connection.feed(black_box(bytes.as_bytes()), &mut scratch, &mut worker);
        let sent = black_box(connection.output(Ticket(0))).len();
        connection.wrote(sent);
        answered = connection.served();
    }
    assert!(connection.is_idle() && connection.wants_input());
    begun.elapsed().as_secs_f64() * 1e9 / f64::from(REQUESTS_A_ROUND)
}

struct Accepting;

impl Worker for Accepting {
    fn call(&mut self, request: &Request<'_>) -> Reply {
        black_box(request);
        Reply { answer: Answer::Accepted(1), ticket: Ticket(0) }
    }

    fn refused(&mut self, status: u16, _: Duration) {
        panic!("a good request was refused with {status}");
    }

    fn flush(&mut self) {}

    fn settled(&mut self) -> Result<Ticket, Lost> {
        Ok(Ticket(0))
    }

    fn wait(&mut self, upto: Ticket, _: Duration) -> Result<Ticket, Lost> {
        Ok(upto)
    }

    fn set_waker(&mut self, _: Waker) {}
}
