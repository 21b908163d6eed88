//! Slot: connections → requests. One thread, and a reactor that watches all connections.
//!
//! No thread waits for a client any more. The operating system tells which connections have something to say, and each of
//! them is served in turn:
//!
//! ```text
//! poll ──▶ for each connection: read until it is empty ──▶ flush ──▶ answer what has settled ──▶ clocks
//!   ▲                           and run what is whole                the rest is held
//!   └───────────────────────────── the worker's waker, when more has settled ◀───────────┘
//! ```
//!
//! A connection costs the bytes it holds, not a stack: ten thousand of them that are silent are nothing but a table.
//!
//! What is wrong with it: one core works and the others stand idle. A socket is asked once more after each burst, only to
//! hear that it is empty. Every connection hands its requests over by itself.

use contracts::{
    ingest::{IngestConfig, Site},
    queue::Ticket,
};
use ingest::{
    budget::{Budget, DRAIN_MAX, Entry},
    handlers::Promises,
    http::Settings,
    listen::{self, Failure, Reserve},
    peer::{Desk, Gone, Peer, Peers},
    slots::{App, Engine, Worker},
};
use mio::{
    Events, Interest, Poll, Token,
    net::{TcpListener, TcpStream},
};
use std::{
    io::{self, ErrorKind},
    mem,
    net::SocketAddr,
    sync::Arc,
    task::Wake,
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

/// Most reads of one connection in one turn: a client that sends without end must not stop the others.
const READS_MAX: usize = 16;

/// One `mio` reactor, on the thread that serves.
#[derive(Debug)]
pub struct EventLoop;

impl Engine for EventLoop {
    const MAY_WAIT: bool = false;

    fn serve<A: App>(config: &IngestConfig, site: &Site<'_>, app: &A) -> io::Result<()> {
        let budget = Budget::new(config);
        let worker = app.worker().map_err(io::Error::other)?;
        Reactor::new(config, site, worker, &budget)?.run()
    }
}

struct Reactor<'a, W> {
    config: &'a IngestConfig,
    budget: &'a Budget,
    site: &'a Site<'a>,
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
    /// More has settled, or was lost, and those who wait have not been answered yet.
    is_news: bool,
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
        site: &'a Site<'a>,
        mut worker: W,
        budget: &'a Budget,
    ) -> io::Result<Self> {
        let listener = site.listener.try_clone()?;
        listen::deepen(&listener)?;
        listener.set_nonblocking(true)?;
        let (poll, mut listener) = (Poll::new()?, TcpListener::from_std(listener));
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        worker.set_waker(Arc::new(Bell(mio::Waker::new(poll.registry(), WAKER)?)).into());
        let (now, mut desk) = (Instant::now(), Desk::new());
        desk.set_time(SystemTime::now());
        Ok(Self {
            config,
            budget,
            site,
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
            is_news: false,
            now,
            swept: now,
            draining: None,
        })
    }

    fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS_MAX);
        while !self.is_over() {
            self.poll(&mut events)?;
            self.accept(ACCEPTS_MAX)?;
            self.serve();
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

    /// One connection after the other; and then, if more has settled, all who wait.
    fn serve(&mut self) {
        let mut turn = mem::take(&mut self.turn);
        for number in turn.drain(..) {
            self.read(number);
            self.worker.flush();
            self.look();
            self.answer(number);
        }
        self.look();
        if mem::take(&mut self.is_news) {
            turn.append(&mut self.held);
            for number in turn.drain(..) {
                if let Some(peer) = self.peers.get_mut(number) {
                    peer.is_held = false;
                    self.answer(number);
                }
            }
        }
        self.turn = turn; // for its capacity
    }

    /// Reads until there is nothing more, and runs what has become whole.
    fn read(&mut self, number: usize) {
        let Some(peer) = self.peers.get_mut(number) else { return };
        peer.is_queued = false;
        for _ in 0..READS_MAX {
            if peer.has_more(self.settled) && peer.read(&mut self.desk, &mut self.worker).is_err() {
                return self.remove(number);
            }
        }
    }

    /// Asks what has settled. A loss is told once, and so it is told on at once to everybody who waits: what settles later
    /// says nothing of them.
    fn look(&mut self) {
        match self.worker.settled() {
            Ok(settled) => {
                self.is_news |= settled != self.settled;
                self.settled = settled;
            }
            Err(lost) => {
                self.is_news = true;
                for number in self.peers.numbers().collect::<Vec<_>>() {
                    if let Some(peer) = self.peers.get_mut(number) {
                        peer.lose(self.settled, &lost);
                    }
                }
            }
        }
    }

    /// Sends what may be sent.
    fn answer(&mut self, number: usize) {
        let Some(peer) = self.peers.get_mut(number) else { return };
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
                Ok(()) => self.answer(number),
                Err(Gone) => self.remove(number),
            }
        }
        if self.draining.is_none() && self.site.shutdown.is_set() {
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
