//! One client on one connection that sends before it was answered: a thread writes bursts, another reads answers.
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
    let flight = Flight { state: Mutex::default(), moved: Condvar::new() };
    let begun = Instant::now();
    let read = thread::scope(|scope| {
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
        let read = reading.join().map_err(|_| anyhow::anyhow!("who reads the answers panicked"))?;
        // What went wrong with the answers is why nothing more could be written.
        let read = read?;
        written?;
        Ok::<_, anyhow::Error>(read)
    })?;
    let (mut latencies_us, last) = read;
    let units = latencies_us.len() as f64 * pace.units;
    Ok((rates(units, (last - begun).as_secs_f64(), &mut latencies_us), units))
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
        socket.write_all(protocol.burst(number))?;
    }
    Ok(())
}

/// What each burst took, in µs, and when the last was answered.
fn read(mut socket: &TcpStream, protocol: &dyn Protocol, flight: &Flight) -> Result<(Vec<f64>, Instant)> {
    let (mut buffer, mut held) = (vec![0; 1 << 20], 0);
    let (mut answers, mut latencies_us, mut last) = (0, Vec::new(), Instant::now());
    loop {
        {
            let state = flight.lock();
            if state.done && state.sent.is_empty() {
                return Ok((latencies_us, last));
            }
            if state.sent.is_empty() {
                drop(state);
                // Nothing is on its way: an answer would be one that nobody asked for.
                thread::yield_now();
                continue;
            }
        }
        if held == buffer.len() {
            buffer.resize(buffer.len() * 2, 0);
        }
        let got = socket.read(&mut buffer[held..]).context("no answer")?;
        ensure!(got > 0, "the server closed the connection");
        held += got;
        let (count, bytes) = protocol.parse(&buffer[..held])?;
        buffer.copy_within(bytes..held, 0);
        held -= bytes;
        answers += count;
        last = Instant::now();
        let whole = answers / protocol.answers();
        answers %= protocol.answers();
        if whole > 0 {
            let mut state = flight.lock();
            for sent in (0..whole).map_while(|_| state.sent.pop_front()) {
                latencies_us.push((last - sent).as_secs_f64() * 1e6);
            }
            drop(state);
            flight.moved.notify_one();
        }
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
        let socket = server(usize::MAX);
        let pace = Pace { in_flight: 3, seconds: 0.05, units: 10.0 };
        let (figures, units) = run(&socket, &TwoBytes, pace).unwrap();
        assert!(units >= 10.0 && figures["throughput"] > 0.0 && figures["p99_us"] > 0.0, "{figures:?}");
    }

    #[test]
    fn a_server_that_goes_is_an_error_and_nobody_waits_for_it() {
        let socket = server(5);
        let pace = Pace { in_flight: 3, seconds: 60.0, units: 1.0 };
        assert!(run(&socket, &TwoBytes, pace).is_err());
    }
}
