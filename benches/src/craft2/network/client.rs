//! One client on one connection. If it sends before it was answered, a thread writes bursts and another reads answers; if
//! not, one does both in turn: the client shares the server's cores, and should take little of them.
//!
//! The same for every protocol, so that no server is measured by a better client than another: what differs is what a burst
//! holds and how answers are told apart.

use anyhow::{Context, Result, ensure};
use std::{
    collections::VecDeque,
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use super::super::{slice::Figures, work::rates};

/// An answer does not take longer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// What is said to a server, and what it says.
pub(super) trait Protocol: Sync {
    /// The next burst.
    fn burst(&self, number: usize) -> &[u8];

    /// Answers that one burst gets.
    fn answers(&self) -> usize;

    /// Cuts whole answers off the front of `bytes`: how many, and how long they are.
    fn parse(&self, bytes: &[u8]) -> Result<(usize, usize)>;
}

/// How a client goes about it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Bursts that are sent before the first of them was answered.
    pub(super) in_flight: usize,
    /// For how long.
    pub(super) seconds: f64,
    /// What one burst counts for.
    pub(super) units: f64,
}

/// Sends bursts as fast as they are answered; returns throughput in units, latencies of bursts, and the units.
pub(super) fn run(socket: &TcpStream, protocol: &dyn Protocol, pace: Pace) -> Result<(Figures, f64)> {
    socket.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    let begun = Instant::now();
    let (mut latencies_us, last) =
        if pace.in_flight == 1 { in_turn(socket, protocol, pace)? } else { at_once(socket, protocol, pace)? };
    let units = latencies_us.len() as f64 * pace.units;
    Ok((rates(units, (last - begun).as_secs_f64(), &mut latencies_us), units))
}

/// What each burst took, in µs, and when the last was answered.
type Seen = (Vec<f64>, Instant);

/// Sends the next burst when the one before is answered.
fn in_turn(mut socket: &TcpStream, protocol: &dyn Protocol, pace: Pace) -> Result<Seen> {
    let (mut answers, mut latencies_us) = (Answers::new(), Vec::new());
    let begun = Instant::now();
    let mut last = begun;
    for number in 0.. {
        if begun.elapsed() >= Duration::from_secs_f64(pace.seconds) {
            break;
        }
        let sent = Instant::now();
        socket.write_all(protocol.burst(number))?;
        while answers.read(socket, protocol)? == 0 {}
        last = Instant::now();
        latencies_us.push((last - sent).as_secs_f64() * 1e6);
    }
    Ok((latencies_us, last))
}

/// Sends while answers are on their way.
fn at_once(socket: &TcpStream, protocol: &dyn Protocol, pace: Pace) -> Result<Seen> {
    let flight = Flight { state: Mutex::default(), moved: Condvar::new() };
    thread::scope(|scope| {
        let reading = scope.spawn(|| {
            let read = read(socket, protocol, &flight);
            if read.is_err() {
                // Whoever writes must not wait for ever.
                flight.lock().broken = true;
                flight.moved.notify_all();
                let _ = socket.shutdown(Shutdown::Both);
            }
            read
        });
        let written = write(socket, protocol, pace, &flight);
        flight.lock().done = true;
        flight.moved.notify_all();
        let read = reading.join().map_err(|_| anyhow::anyhow!("who reads the answers panicked"))?;
        // What went wrong with the answers is why nothing more could be written.
        let read = read?;
        written?;
        Ok(read)
    })
}

/// What is on its way.
struct Flight {
    state: Mutex<State>,
    moved: Condvar,
}

#[derive(Default)]
struct State {
    /// When the bursts that are on their way were sent.
    sent: VecDeque<Instant>,
    /// Nothing more will be sent.
    done: bool,
    broken: bool,
}

impl Flight {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change is a single step: a panic leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn write(mut socket: &TcpStream, protocol: &dyn Protocol, pace: Pace, flight: &Flight) -> Result<()> {
    let begun = Instant::now();
    for number in 0.. {
        if begun.elapsed() >= Duration::from_secs_f64(pace.seconds) {
            break;
        }
        let mut state = flight.lock();
        while state.sent.len() >= pace.in_flight && !state.broken {
            state = flight.moved.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.broken {
            break;
        }
        state.sent.push_back(Instant::now());
        drop(state);
        flight.moved.notify_all();
        socket.write_all(protocol.burst(number))?;
    }
    Ok(())
}

fn read(socket: &TcpStream, protocol: &dyn Protocol, flight: &Flight) -> Result<Seen> {
    let (mut answers, mut latencies_us, mut last) = (Answers::new(), Vec::new(), Instant::now());
    loop {
        let mut state = flight.lock();
        // Nothing is on its way: an answer would be one that nobody asked for.
        while state.sent.is_empty() && !state.done {
            state = flight.moved.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.sent.is_empty() {
            return Ok((latencies_us, last));
        }
        drop(state);
        let whole = answers.read(socket, protocol)?;
        last = Instant::now();
        if whole > 0 {
            let mut state = flight.lock();
            for sent in (0..whole).map_while(|_| state.sent.pop_front()) {
                latencies_us.push((last - sent).as_secs_f64() * 1e6);
            }
            drop(state);
            flight.moved.notify_all();
        }
    }
}

/// Answers as they come in.
struct Answers {
    buffer: Vec<u8>,
    held: usize,
    /// Of the burst that is not wholly answered.
    count: usize,
}

impl Answers {
    fn new() -> Self {
        Self { buffer: vec![0; 1 << 20], held: 0, count: 0 }
    }

    /// Reads once; returns how many bursts have been answered by that.
    fn read(&mut self, mut socket: &TcpStream, protocol: &dyn Protocol) -> Result<usize> {
        if self.held == self.buffer.len() {
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        let got = socket.read(&mut self.buffer[self.held..]).context("no answer")?;
        ensure!(got > 0, "the server closed the connection");
        self.held += got;
        let (count, bytes) = protocol.parse(&self.buffer[..self.held])?;
        self.buffer.copy_within(bytes..self.held, 0);
        self.held -= bytes;
        self.count += count;
        let whole = self.count / protocol.answers();
        self.count %= protocol.answers();
        Ok(whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, TcpListener};

    /// Two answers of a byte to each burst.
    struct TwoBytes;

    impl Protocol for TwoBytes {
        fn burst(&self, _: usize) -> &[u8] {
            b"?"
        }

        fn answers(&self) -> usize {
            2
        }

        fn parse(&self, bytes: &[u8]) -> Result<(usize, usize)> {
            ensure!(bytes.iter().all(|byte| *byte == b'!'), "it said something else");
            Ok((bytes.len(), bytes.len()))
        }
    }

    fn server(answers: usize) -> TcpStream {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        thread::spawn(move || {
            let mut byte = [0];
            for _ in 0..answers {
                if peer.read_exact(&mut byte).is_err() || peer.write_all(b"!!").is_err() {
                    return;
                }
            }
        });
        socket
    }

    #[test]
    fn every_burst_that_was_answered_is_counted() {
        for in_flight in [1, 3] {
            let socket = server(usize::MAX);
            let pace = Pace { in_flight, seconds: 0.05, units: 10.0 };
            let (figures, units) = run(&socket, &TwoBytes, pace).unwrap();
            assert!(units >= 10.0 && figures["throughput"] > 0.0 && figures["p99_us"] > 0.0, "{figures:?}");
        }
    }

    #[test]
    fn a_server_that_goes_is_an_error_and_nobody_waits_for_it() {
        for in_flight in [1, 3] {
            let socket = server(5);
            let pace = Pace { in_flight, seconds: 60.0, units: 1.0 };
            assert!(run(&socket, &TwoBytes, pace).is_err());
        }
    }
}
