//! Slot: connections → requests. One reactor per core, and nothing shared between them but bounds.
//!
//! A thread has a listener, a poll, a worker and the connections that the kernel gave it, from the first byte to the last.
//! A turn of its loop:
//!
//! ```text
//! poll ──▶ read each readable connection ONCE ──▶ flush once ──▶ answer, one write a connection ──▶ clocks
//!   ▲      and run what has become whole          all requests    what has settled; the rest is held
//!   └───────────────────────────── the worker's waker, when more has settled ◀──────────────────┘
//! ```
//!
//! Reading all before answering any lets the requests of all connections share one hand-over. One read a turn keeps a
//! client that sends without end from stopping the others.
//!
//! What it does not do: move connections between reactors. The kernel spreads them by hash, which is fair for many and may
//! be unfair for a few. Nor does it take work to another thread: a handler that blocks stops the connections of its reactor
//! for so long.

use crate::{
    budget::{Budget, DRAIN_MAX, Entry},
    handlers::Promises,
    http::Settings,
    listen::{self, Failure, Reserve},
    peer::{Desk, Gone, Peer, Peers},
    slots::{App, Engine, Lost, Worker},
};
use contracts::{
    ingest::{IngestConfig, Shutdown, Site},
    queue::Ticket,
};
use mio::{
    Events, Interest, Poll, Token,
    net::{TcpListener, TcpStream},
};
use std::{
    io::{self, ErrorKind},
    mem,
    net::SocketAddr,
    num::NonZero,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::Wake,
    thread,
    time::{Duration, Instant, SystemTime},
};

/// How often deadlines are looked at, and the shutdown.
const SWEEP_EVERY: Duration = Duration::from_millis(100);
/// Connections accepted in one turn at most, so that a flood of new ones does not stop those that are served.
const ACCEPTS_MAX: usize = 256;
/// What one poll tells at most; the rest waits for the next.
const EVENTS_MAX: usize = 1024;
const LISTENER: Token = Token(usize::MAX);
const WAKER: Token = Token(usize::MAX - 1);

/// One `mio` reactor per core, each with a listener of its own.
#[derive(Debug)]
pub struct ReactorPerCore;

impl Engine for ReactorPerCore {
    const MAY_WAIT: bool = false;
    const SENDS_FILES: bool = true;

    fn serve<A: App>(config: &IngestConfig, site: &Site<'_>, app: &A) -> io::Result<()> {
        let budget = Budget::new(config);
        let end = End { shutdown: &site.shutdown, broken: AtomicBool::new(false) };
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        let count = if config.threads == 0 { cores } else { config.threads };
        // All of them before any of them: what cannot be had is said before anybody was served.
        let mut reactors = Vec::with_capacity(count);
        for listener in listen::siblings(&site.listener, count)? {
            let worker = app.worker().map_err(io::Error::other)?;
            reactors.push(Reactor::new(config, listener, worker, &budget, &end)?);
        }
        thread::scope(|scope| {
            let mut threads = Vec::with_capacity(count);
            for (number, reactor) in reactors.into_iter().enumerate() {
                let thread = thread::Builder::new().name(format!("reactor-{number}"));
                threads.push(thread.spawn_scoped(scope, || reactor.run()).inspect_err(|_| end.set_broken())?);
            }
            // All are waited for; the first error is told.
            let ends: Vec<_> = threads.into_iter().map(|t| t.join()).collect();
            ends.into_iter()
                .try_for_each(|e| e.unwrap_or_else(|_| Err(io::Error::other("a reactor panicked"))))
        })
    }
}

/// When to finish: when we are told to, or when a reactor has ended and its connections would never be served.
struct End<'a> {
    shutdown: &'a Shutdown,
    broken: AtomicBool,
}

impl End<'_> {
    fn has_come(&self) -> bool {
        self.shutdown.is_set() || self.broken.load(Relaxed)
    }

    fn set_broken(&self) {
        self.broken.store(true, Relaxed); // a flag alone: nothing is read because of it
    }
}

/// The end of one reactor, a panic too, is the end of all.
struct EndOfAll<'a>(&'a End<'a>);

impl Drop for EndOfAll<'_> {
    fn drop(&mut self) {
        self.0.set_broken();
    }
}

struct Reactor<'a, W> {
    config: &'a IngestConfig,
    budget: &'a Budget,
    end: &'a End<'a>,
    poll: Poll,
    door: Door,
    worker: W,
    desk: Desk,
    peers: Peers<'a>,
    /// Who is looked at in this turn.
    turn: Vec<usize>,
    /// Who has more to read or to run, and comes again in the next turn without being polled.
    again: Vec<usize>,
    /// Whose answers wait for a ticket.
    held: Vec<usize>,
    /// Whose answers come from other threads.
    promises: Promises,
    settled: Ticket,
    now: Instant,
    swept: Instant,
    /// When the drain began.
    draining: Option<Instant>,
}

/// Where connections come in.
struct Door {
    listener: TcpListener,
    reserve: Reserve,
    /// Somebody may be waiting. Edge-triggered, as everything else.
    knocked: bool,
    /// Accepting failed for want of something: try again at the next sweep, or when a connection has closed.
    stuck: bool,
}

/// The poll's waker as the standard library's.
struct Bell(mio::Waker);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        // It fails only when the reactor is gone, and then nobody waits.
        let _ = self.0.wake();
    }
}

impl<'a, W: Worker> Reactor<'a, W> {
    fn new(
        config: &'a IngestConfig,
        listener: std::net::TcpListener,
        mut worker: W,
        budget: &'a Budget,
        end: &'a End<'a>,
    ) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let (poll, mut listener) = (Poll::new()?, TcpListener::from_std(listener));
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        worker.set_waker(Arc::new(Bell(mio::Waker::new(poll.registry(), WAKER)?)).into());
        let (now, mut desk) = (Instant::now(), Desk::new());
        desk.set_time(SystemTime::now());
        Ok(Self {
            config,
            budget,
            end,
            poll,
            door: Door { listener, reserve: Reserve::new(), knocked: true, stuck: false },
            worker,
            desk,
            peers: Peers::new(),
            turn: Vec::new(),
            again: Vec::new(),
            held: Vec::new(),
            promises: Promises::default(),
            settled: Ticket(0),
            now,
            swept: now,
            draining: None,
        })
    }

    fn run(mut self) -> io::Result<()> {
        let _end_of_all = EndOfAll(self.end);
        let mut events = Events::with_capacity(EVENTS_MAX);
        while !self.is_over() {
            self.poll(&mut events)?;
            self.accept(ACCEPTS_MAX)?;
            self.read();
            self.worker.flush();
            self.answer();
            if self.now.duration_since(self.swept) >= SWEEP_EVERY {
                self.sweep();
            }
        }
        Ok(())
    }

    /// Waits for something to do, and notes who has it.
    fn poll(&mut self, events: &mut Events) -> io::Result<()> {
        mem::swap(&mut self.turn, &mut self.again);
        let busy = !self.turn.is_empty() || self.door.knocked;
        match self.poll.poll(events, Some(if busy { Duration::ZERO } else { SWEEP_EVERY })) {
            Err(e) if e.kind() != ErrorKind::Interrupted => return Err(e),
            _ => {}
        }
        self.now = Instant::now();
        for event in events.iter() {
            match event.token() {
                LISTENER => self.door.knocked = true,
                WAKER => {} // every turn asks what has settled
                Token(number) => {
                    if let Some(peer) = self.peers.get_mut(number) {
                        peer.notice(event);
                        if !peer.is_queued {
                            self.turn.push(number);
                        }
                    }
                }
            }
        }
        self.fulfil();
        Ok(())
    }

    /// Gives answers that have come from other threads to who waits for them.
    fn fulfil(&mut self) {
        for (number, answer, response) in self.promises.arrived(&mut self.worker) {
            if let Some(peer) = self.peers.get_mut(number) {
                peer.fulfil(answer, response, &self.desk);
                if !peer.is_queued {
                    peer.is_queued = true;
                    self.turn.push(number);
                }
            }
        }
    }

    fn accept(&mut self, at_most: usize) -> io::Result<()> {
        let mut left = at_most;
        while self.door.knocked && left > 0 {
            left -= 1;
            match self.door.accept(&mut self.worker) {
                Ok(Some((socket, address))) => self.welcome(socket, address),
                Ok(None) => {}
                Err(e) => match listen::failure(&e) {
                    Failure::Nobody => self.door.knocked = false,
                    Failure::Client => {}
                    Failure::Later => self.door.wait(),
                    Failure::Listener => return Err(e),
                },
            }
        }
        Ok(())
    }

    fn welcome(&mut self, socket: TcpStream, address: SocketAddr) {
        let (seat, admitted) = match self.budget.enter() {
            Entry::Admitted(seat) => (seat, true),
            Entry::Refused(seat) => (seat, false),
            Entry::Full => return,
        };
        let settings = Settings { body_bytes_max: self.config.body_bytes_max, keep_alive: true };
        let mut peer = Peer::new(socket, address, settings, seat, self.now);
        let token = Token(self.peers.next_number());
        // Both at once, for the whole life of the connection: edge-triggered, that costs no call later.
        let interest = Interest::READABLE | Interest::WRITABLE;
        if self.poll.registry().register(peer.socket(), token, interest).is_err() {
            return;
        }
        if !admitted {
            peer.refuse("too_many_connections", &mut self.desk, &mut self.worker);
            self.turn.push(token.0);
        }
        let deadline = peer.deadline(self.settled, self.config);
        self.peers.insert(peer, deadline);
    }

    fn read(&mut self) {
        let mut turn = mem::take(&mut self.turn);
        turn.retain(|&number| {
            let Some(peer) = self.peers.get_mut(number) else { return false };
            peer.is_queued = false;
            match peer.read(&mut self.desk, &mut self.worker) {
                Ok(true) => peer.trust_short_read(),
                Ok(false) => {}
                Err(Gone) => self.remove(number),
            }
            true
        });
        self.turn = turn;
    }

    /// Sends what may be sent: to all of this turn, and if more has settled, to all who wait.
    fn answer(&mut self) {
        let settled = self.worker.settled();
        let is_news = settled.as_ref().map_or(true, |settled| *settled > self.settled);
        if is_news && !self.held.is_empty() {
            self.release();
        }
        self.settled = settled.as_ref().map_or(self.settled, |settled| *settled);
        let mut turn = mem::take(&mut self.turn);
        for number in turn.drain(..) {
            self.answer_one(number, settled.as_ref().err());
        }
        self.turn = turn; // for its capacity
    }

    /// Everybody who waits has a look at what has settled. Who was read from as well looks twice, and finds nothing.
    fn release(&mut self) {
        for number in self.held.drain(..) {
            if let Some(peer) = self.peers.get_mut(number) {
                peer.is_held = false;
                self.turn.push(number);
            }
        }
    }

    fn answer_one(&mut self, number: usize, lost: Option<&Lost>) {
        let Some(peer) = self.peers.get_mut(number) else { return };
        if let Some(lost) = lost {
            peer.lose(self.settled, lost);
        }
        let answered = peer.answer(self.settled, self.now);
        if answered.is_err() || (self.draining.is_some() && peer.is_idle()) {
            return self.remove(number);
        }
        if peer.waits_for_log(self.settled) && !peer.is_held {
            peer.is_held = true;
            self.held.push(number);
        }
        if peer.has_more(self.settled) && !peer.is_queued {
            peer.is_queued = true;
            self.again.push(number);
        }
        while let Some(answer) = peer.promised() {
            self.promises.note(answer, number);
        }
        let deadline = peer.deadline(self.settled, self.config);
        self.peers.set_deadline(number, deadline);
    }

    fn remove(&mut self, number: usize) {
        self.peers.remove(number);
        self.door.try_again(); // a descriptor is free
    }
}

/// What happens at times, not at every turn.
impl<W: Worker> Reactor<'_, W> {
    fn sweep(&mut self) {
        self.swept = self.now;
        self.desk.set_time(SystemTime::now());
        self.door.try_again();
        let expired: Vec<usize> = self.peers.expired(self.now).collect();
        for number in expired {
            let Some(peer) = self.peers.get_mut(number) else { continue };
            match peer.expire(self.settled, self.now, self.config, &mut self.desk, &mut self.worker) {
                Ok(()) => self.turn.push(number),
                Err(Gone) => self.remove(number),
            }
        }
        self.answer();
        if self.draining.is_none() && self.end.has_come() {
            self.begin_drain();
        }
    }

    /// Takes in who has come already, and nobody after that. Everybody else gets one more look.
    fn begin_drain(&mut self) {
        self.draining = Some(self.now);
        self.door.knocked = true;
        // Whatever is wrong with a listener that is to be closed does not matter any more.
        let _ = self.accept(listen::BACKLOG.into());
        let _ = self.poll.registry().deregister(&mut self.door.listener);
        listen::close(&self.door.listener);
        (self.door.knocked, self.door.stuck) = (false, false);
        for number in self.peers.numbers().collect::<Vec<_>>() {
            let Some(peer) = self.peers.get_mut(number) else { continue };
            peer.begin_drain();
            if !peer.is_queued {
                peer.is_queued = true;
                self.again.push(number);
            }
        }
    }

    fn is_over(&self) -> bool {
        let took = self.draining.map(|begun| self.now.duration_since(begun));
        took.is_some_and(|took| self.peers.is_empty() || took >= DRAIN_MAX)
    }
}

impl Door {
    fn accept(&mut self, worker: &mut impl Worker) -> io::Result<Option<(TcpStream, SocketAddr)>> {
        let turn_away = |(socket, _)| listen::turn_away(socket, "too_many_connections", worker);
        self.reserve.accept(|| self.listener.accept(), turn_away)
    }

    fn wait(&mut self) {
        (self.knocked, self.stuck) = (false, true);
    }

    fn try_again(&mut self) {
        if self.stuck {
            (self.knocked, self.stuck) = (true, false);
        }
    }
}
