//! The engine alone: every request is answered with 202 at once, and nothing is done with it. What is left is the price of
//! sockets and of HTTP, to hold against a server like nginx with `return 202`.
//!
//! `cargo run --release -p ingest --example bare -- 127.0.0.1:8090 1`, the second word being the number of reactors. It runs
//! until its standard input ends.

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
    io::{self, Read},
    net::{TcpListener, TcpStream},
    task::Waker,
    thread,
    time::Duration,
};

struct Accept;

impl App for Accept {
    type Worker = Self;

    fn worker(&self) -> Result<Self, LogError> {
        Ok(Self)
    }
}

impl Worker for Accept {
    fn call(&mut self, _: &Request<'_>) -> Reply {
        Reply { answer: Answer::Accepted(1), ticket: Ticket(0) }
    }

    fn refused(&mut self, _: u16, _: Duration) {}

    fn flush(&mut self) {}

    fn settled(&mut self) -> Result<Ticket, Lost> {
        Ok(Ticket(0))
    }

    fn wait(&mut self, _: Ticket, _: Duration) -> Result<Ticket, Lost> {
        Ok(Ticket(0))
    }

    fn set_waker(&mut self, _: Waker) {}
}

fn main() -> io::Result<()> {
    let mut words = std::env::args().skip(1);
    let address = words.next().unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let threads = words.next().and_then(|word| word.parse().ok()).unwrap_or(1);
    let listener = TcpListener::bind(address)?;
    let address = listener.local_addr()?;
    println!("{address}");
    let shutdown = Shutdown::new();
    let ended = shutdown.clone();
    thread::spawn(move || {
        let _ = io::stdin().read_to_end(&mut Vec::new());
        ended.set();
        let _ = TcpStream::connect(address);
    });
    let config = IngestConfig { threads, ..IngestConfig::default() };
    let site = Site { listener, rest: &|_: &Request<'_>| Response::status(404), middleware: &Bare, shutdown };
    ReactorPerCore::serve(&config, &site, &Accept)
}
