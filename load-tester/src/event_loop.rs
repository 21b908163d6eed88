//! One thread's event loop: readiness in, requests and answers out.
//!
//! Edge-triggered: each socket is registered once, for reading and writing, and never touched again until it is
//! closed. A keep-alive request costs two system calls (`write`, `read`) and a share of one `epoll_wait`; nothing
//! is allocated once every client has a connection.
//!
//! A client connects when it has something to send and not before: an idle connection would block a server that
//! serves one at a time. So the time to connect is a part of the latency of the request that needed it, unless it was
//! asked to connect first.

use std::io::{self, ErrorKind, Read};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{collections::VecDeque, mem, thread};

use hdrhistogram::Histogram;
use mio::event::Event;
use mio::{Events, Poll, Token};

use crate::client::{Client, Link};
use crate::cpu::thread_cpu_ns;
use crate::fates::{Fate, Fates};
use crate::recorder::Recorder;
use crate::response;
use crate::sample::Identity;
use crate::schedule::Schedule;
use crate::spin::Spin;
use crate::tally::{Failure, Tally};
use crate::timer::Timer;

/// Bytes read at once. One buffer a loop: the parser keeps what it needs.
const READ_BUFFER_BYTES: usize = 64 * 1024;

/// Events taken from one poll.
const EVENTS_MAX: usize = 1024;

/// The longest answer. Without a bound, a server that never stops sending would keep the loop reading for ever.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How often timeouts, retries and the stop flag are looked at.
const SWEEP_INTERVAL_NS: u64 = 20_000_000;

/// How long a server may take to accept connections that stand before the clock starts.
const ACCEPTED_WITHIN: Duration = Duration::from_millis(300);

/// How long a client whose connection failed waits before its next attempt.
const RETRY_AFTER_NS: u64 = 10_000_000;

/// Where a loop's next request comes from.
pub(crate) enum Work {
    /// Each client sends when it can.
    Closed { requests_each: u64 },
    /// Request `index` is due when the schedule says; this loop's are `index`, `index + step`, ….
    Open { schedule: Schedule, index: u64, step: u64 },
}

/// What all loops of a run have in common.
#[derive(Clone)]
pub(crate) struct LoopConfig {
    pub address: SocketAddr,
    pub identity: Identity,
    pub pipeline: usize,
    pub keep_alive: bool,
    pub connect_first: bool,
    pub request_timeout_ns: u64,
    pub connect_timeout_ns: u64,
    /// No request is begun from this time on.
    pub ends_at_ns: u64,
    /// Whether to keep each request's fate.
    pub verify: bool,
    /// Room for that many fates a client from the beginning.
    pub fates_expected: usize,
}

/// What a loop hands back.
pub(crate) struct LoopReport {
    pub tally: Tally,
    pub latency: Histogram<u64>,
    pub service: Option<Histogram<u64>>,
    pub lag: Option<Histogram<u64>>,
    /// By client number.
    pub fates: Vec<(u32, Fates)>,
    /// Processor time, without what was spent looking for what had not come yet; and time on the wall.
    pub cpu_ns: Option<u64>,
    pub wall_ns: u64,
    /// When the last answer came, or the last request was given up.
    pub ended_at_ns: u64,
    /// Whether requests were due while every client was busy.
    pub clients_exhausted: bool,
}

pub(crate) struct EventLoop<'a> {
    config: LoopConfig,
    work: Work,
    clients: Vec<Client>,
    fates: Vec<Fates>,
    recorder: Recorder,
    poll: Poll,
    timer: Timer,
    spin: Spin,
    read_buffer: Vec<u8>,
    stop: &'a AtomicBool,
    start: Instant,
    /// Requests begun and not yet done with.
    in_flight: usize,
    /// Closed loop with a count: requests not yet begun.
    left: u64,
    /// No request is begun any more.
    closing: bool,
    next_sweep_ns: u64,
    /// Open loop: clients that have room, the one that has waited longest in front.
    free: VecDeque<usize>,
    /// When there was last a client to spare after there had been none.
    spare_since_ns: u64,
    clients_exhausted: bool,
}

impl<'a> EventLoop<'a> {
    pub(crate) fn new(
        config: LoopConfig,
        work: Work,
        clients: Vec<Client>,
        recorder: Recorder,
        stop: &'a AtomicBool,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let timer = Timer::new(poll.registry(), Token(clients.len()))?;
        let room = if config.verify { config.fates_expected } else { 0 };
        let left = match work {
            Work::Closed { requests_each } => requests_each.saturating_mul(clients.len() as u64),
            Work::Open { .. } => 0,
        };
        let mut this = Self {
            fates: clients.iter().map(|_| Fates::with_room_for(room)).collect(),
            free: VecDeque::with_capacity(clients.len()),
            read_buffer: vec![0; READ_BUFFER_BYTES],
            start: Instant::now(),
            in_flight: 0,
            left,
            closing: false,
            next_sweep_ns: SWEEP_INTERVAL_NS.min(config.ends_at_ns),
            spare_since_ns: 0,
            clients_exhausted: false,
            config,
            work,
            clients,
            recorder,
            poll,
            timer,
            spin: Spin::default(),
            stop,
        };
        if this.config.connect_first {
            this.connect_all();
        }
        Ok(this)
    }

    /// One after the other, before the clock starts; the server then has a moment to accept them. Whoever cannot connect now tries again with its first request.
    fn connect_all(&mut self) {
        let timeout = Duration::from_nanos(self.config.connect_timeout_ns);
        for (index, client) in self.clients.iter_mut().enumerate() {
            let (address, registry) = (self.config.address, self.poll.registry());
            match client.connect(address, timeout, registry, Token(index)) {
                Ok(()) => self.recorder.tally.connections += 1,
                Err(error) => {
                    self.recorder.tally.last_failure.get_or_insert_with(|| error.to_string());
                }
            }
        }
        // What stands for the system may still wait for the server.
        thread::sleep(ACCEPTED_WITHIN);
    }

    /// Runs until the work is done, `start` being the time from which all times count.
    pub(crate) fn run(mut self, start: Instant) -> io::Result<LoopReport> {
        let (entered, cpu_before) = (Instant::now(), thread_cpu_ns());
        self.start = start;
        let mut events = Events::with_capacity(EVENTS_MAX);
        self.begin_all();
        while !self.finished() {
            self.wait(&mut events)?;
            for event in &events {
                self.on_event(event);
            }
            let now_ns = self.now_ns();
            self.send_due(now_ns);
            if now_ns >= self.next_sweep_ns {
                self.sweep(now_ns);
            }
        }
        let ended_at_ns = self.now_ns();
        self.recorder.turn(ended_at_ns);
        self.recorder.finish();
        let cpu_ns = thread_cpu_ns()
            .zip(cpu_before)
            .map(|(after, before)| (after - before).saturating_sub(self.spin.spent_ns));
        Ok(LoopReport {
            tally: self.recorder.tally,
            latency: self.recorder.latency,
            service: self.recorder.service,
            lag: self.recorder.lag,
            fates: self.clients.iter().map(|client| client.id).zip(self.fates).collect(),
            cpu_ns,
            wall_ns: nanoseconds_since(entered),
            ended_at_ns,
            clients_exhausted: self.clients_exhausted,
        })
    }

    fn begin_all(&mut self) {
        let now_ns = self.now_ns();
        for index in 0..self.clients.len() {
            self.next_for(index, now_ns);
        }
        self.send_due(now_ns);
    }

    fn finished(&self) -> bool {
        if self.in_flight > 0 {
            return false;
        }
        match &self.work {
            Work::Closed { .. } => self.closing || self.left == 0,
            Work::Open { schedule, index, .. } => self.closing || *index >= schedule.total(),
        }
    }

    /// Waits for events, a request that is due, or the next sweep; first by looking, then asleep.
    fn wait(&mut self, events: &mut Events) -> io::Result<()> {
        let now_ns = self.now_ns();
        let due_ns = self.next_due_ns();
        let wake_ns = due_ns.map_or(self.next_sweep_ns, |due_ns| due_ns.min(self.next_sweep_ns));
        if wake_ns <= now_ns || self.spin_until_event(events, now_ns, wake_ns)? {
            return if wake_ns <= now_ns { self.look(events, Duration::ZERO) } else { Ok(()) };
        }
        let mut timeout = Duration::from_nanos(wake_ns.saturating_sub(self.now_ns()));
        // For a sweep too: oversleeping it by a millisecond would make the request after it late.
        if due_ns.is_some() && !timeout.is_zero() {
            timeout = self.timer.arm(timeout);
        }
        self.look(events, timeout)
    }

    /// Open loop: when the next request is due, if there is a client to send it.
    fn next_due_ns(&self) -> Option<u64> {
        match &self.work {
            Work::Open { schedule, index, .. } if !self.closing && !self.free.is_empty() => {
                (*index < schedule.total()).then(|| schedule.intended_ns(*index))
            }
            _ => None,
        }
    }

    /// Whether there is something to do, found without sleeping.
    fn spin_until_event(&mut self, events: &mut Events, from_ns: u64, wake_ns: u64) -> io::Result<bool> {
        let until_ns = from_ns + self.spin.budget_ns(wake_ns - from_ns);
        let mut now_ns = from_ns;
        while now_ns < until_ns {
            self.look(events, Duration::ZERO)?;
            if !events.is_empty() {
                self.spin.paid_off(now_ns - from_ns);
                return Ok(true);
            }
            now_ns = self.now_ns();
        }
        if until_ns > from_ns {
            self.spin.was_in_vain(now_ns - from_ns);
        }
        Ok(now_ns >= wake_ns)
    }

    fn look(&mut self, events: &mut Events, timeout: Duration) -> io::Result<()> {
        match self.poll.poll(events, Some(timeout)) {
            // A signal (Ctrl-C) is looked after by the sweep.
            Err(error) if error.kind() == ErrorKind::Interrupted => {
                events.clear();
                Ok(())
            }
            other => other,
        }
    }

    fn on_event(&mut self, event: &Event) {
        let index = event.token().0;
        let Some(client) = self.clients.get_mut(index) else { return };
        if client.link == Link::Opening {
            match client.poll_open() {
                Ok(false) => return,
                Ok(true) => {
                    self.recorder.tally.connections += 1;
                    if mem::replace(&mut client.connected_before, true) && self.config.keep_alive {
                        self.recorder.tally.reconnects += 1;
                    }
                    let now_ns = self.now_ns();
                    self.next_for(index, now_ns);
                }
                Err(error) => {
                    self.lose(index, Failure::Connect, Some(&error));
                    return;
                }
            }
        } else if event.is_writable() {
            self.flush(index);
        }
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            self.receive(index, event.is_read_closed() || event.is_error());
        }
    }

    /// Reads what has come. A read that does not fill the buffer has emptied the socket, and what comes later
    /// makes a new edge; only an end that is already known makes none, so that it is read for with `to_the_end`.
    fn receive(&mut self, index: usize, to_the_end: bool) {
        let mut buffer = mem::take(&mut self.read_buffer);
        while let Some(stream) = &mut self.clients[index].stream {
            match stream.read(&mut buffer) {
                Ok(0) => {
                    self.on_end_of_stream(index);
                    break;
                }
                Ok(read) => {
                    self.recorder.tally.bytes_in += read as u64;
                    let usable = self.on_bytes(index, &buffer[..read]);
                    if !usable || (read < buffer.len() && !to_the_end) {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    self.lose(index, failure_of(&error), Some(&error));
                    break;
                }
            }
        }
        self.read_buffer = buffer;
    }

    /// Whether the connection these bytes came from is still there.
    fn on_bytes(&mut self, index: usize, mut bytes: &[u8]) -> bool {
        let now_ns = self.now_ns();
        self.clients[index].answer_bytes += bytes.len();
        if self.clients[index].answer_bytes > ANSWER_BYTES_MAX {
            self.lose(index, Failure::Malformed, None);
            return false;
        }
        loop {
            let client = &mut self.clients[index];
            match client.parser.next(&mut bytes) {
                Ok(Some(response::Event::Head { status })) => client.status = status,
                Ok(Some(response::Event::Body(piece))) => client.take_body(piece),
                Ok(Some(response::Event::End { keep_alive })) => {
                    if !self.on_answer(index, keep_alive, now_ns) {
                        return false;
                    }
                }
                Ok(None) => break,
                Err(_) => {
                    self.lose(index, Failure::Malformed, None);
                    return false;
                }
            }
        }
        self.next_for(index, now_ns);
        self.clients[index].link == Link::Up
    }

    /// Whether the connection is still there.
    fn on_answer(&mut self, index: usize, keep_alive: bool, now_ns: u64) -> bool {
        let client = &mut self.clients[index];
        let Some(request) = client.in_flight.front().copied() else {
            // An answer to nothing: whatever this server speaks, its answers cannot be told apart.
            self.lose(index, Failure::Malformed, None);
            return false;
        };
        // A server that answers before it has the whole request will not read the rest as one.
        let keep_alive = keep_alive && self.config.keep_alive && client.was_sent(&request);
        client.in_flight.pop_front();
        client.answer_bytes = 0;
        self.in_flight -= 1;
        let (status, fate) = (client.status, client.fate());
        let latency_ns = now_ns.saturating_sub(request.intended_ns);
        self.recorder.turn(now_ns);
        self.recorder.answer(status, latency_ns, now_ns.saturating_sub(request.begun_ns));
        if self.config.verify {
            self.fates[index].set(request.request, fate);
        }
        if !keep_alive {
            self.drop_connection(index, Failure::Closed);
            self.next_for(index, now_ns);
        }
        keep_alive
    }

    fn on_end_of_stream(&mut self, index: usize) {
        let now_ns = self.now_ns();
        match self.clients[index].parser.end_of_input() {
            Ok(Some(response::Event::End { .. })) => {
                self.on_answer(index, false, now_ns);
            }
            _ => self.lose(index, Failure::Closed, None),
        }
    }

    /// Gives up a connection and goes on with the next.
    fn lose(&mut self, index: usize, failure: Failure, error: Option<&io::Error>) {
        if let Some(error) = error
            && self.recorder.tally.last_failure.is_none()
        {
            self.recorder.tally.last_failure = Some(error.to_string());
        }
        let now_ns = self.now_ns();
        let refused = matches!(failure, Failure::Connect | Failure::ConnectTimeout);
        self.drop_connection(index, failure);
        if refused {
            self.clients[index].retry_at_ns = now_ns + RETRY_AFTER_NS;
        } else {
            self.next_for(index, now_ns);
        }
    }

    /// Closes a connection; requests that are on it go without an answer.
    fn drop_connection(&mut self, index: usize, failure: Failure) {
        let client = &mut self.clients[index];
        let now_ns = nanoseconds_since(self.start);
        self.recorder.turn(now_ns);
        for request in &client.in_flight {
            self.recorder.failure(failure);
            if self.config.verify && client.was_begun_sending(request) {
                self.fates[index].set(request.request, Fate::Unknown);
            }
        }
        self.in_flight -= client.in_flight.len();
        client.close();
    }

    /// Gives a client all it has room for (closed loop), or puts it into the row of the free ones (open loop).
    fn next_for(&mut self, index: usize, now_ns: u64) {
        match self.work {
            Work::Closed { requests_each } => self.fill(index, requests_each, now_ns),
            Work::Open { .. } => self.set_free(index, now_ns),
        }
        self.flush(index);
    }

    fn fill(&mut self, index: usize, requests_each: u64, now_ns: u64) {
        if self.closing || now_ns >= self.config.ends_at_ns {
            return;
        }
        while self.clients[index].room(self.config.pipeline) > 0
            && self.clients[index].next_request < requests_each
            && self.clients[index].retry_at_ns <= now_ns
        {
            self.left -= 1;
            self.begin(index, now_ns, now_ns);
        }
    }

    fn set_free(&mut self, index: usize, now_ns: u64) {
        let client = &mut self.clients[index];
        if client.in_free_row || client.room(self.config.pipeline) == 0 || now_ns < client.retry_at_ns {
            return;
        }
        client.in_free_row = true;
        if self.free.is_empty() {
            self.spare_since_ns = now_ns;
        }
        self.free.push_back(index);
    }

    /// Open loop: begins every request that is due, as long as there are clients to spare.
    fn send_due(&mut self, now_ns: u64) {
        loop {
            let Work::Open { schedule, index: due, step } = &mut self.work else { return };
            if self.closing || *due >= schedule.total() {
                return;
            }
            let intended_ns = schedule.intended_ns(*due);
            if intended_ns > now_ns {
                return;
            }
            let Some(index) = self.free.pop_front() else {
                self.clients_exhausted = true;
                return;
            };
            *due += *step;
            // What is the tester's own fault: not the time during which every client was waiting for an answer.
            self.recorder.lag(now_ns - intended_ns.max(self.spare_since_ns).min(now_ns));
            self.clients[index].in_free_row = false;
            self.begin(index, intended_ns, now_ns);
            self.set_free(index, now_ns);
            self.flush(index);
        }
    }

    fn begin(&mut self, index: usize, intended_ns: u64, now_ns: u64) {
        self.recorder.tally.started += 1;
        self.in_flight += 1;
        let client = &mut self.clients[index];
        client.begin(&self.config.identity, intended_ns, now_ns);
        if client.link == Link::Down {
            self.open(index, now_ns);
        }
    }

    fn open(&mut self, index: usize, now_ns: u64) {
        let client = &mut self.clients[index];
        if let Err(error) = client.open(self.config.address, self.poll.registry(), Token(index), now_ns) {
            self.lose(index, Failure::Connect, Some(&error));
        }
    }

    fn flush(&mut self, index: usize) {
        let client = &mut self.clients[index];
        if client.link != Link::Up {
            return;
        }
        match client.flush() {
            Ok(sent) => self.recorder.tally.bytes_out += sent,
            // An answer may have come before the server closed (413 does that): read it first.
            Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {}
            Err(error) => self.lose(index, failure_of(&error), Some(&error)),
        }
    }

    /// Looks after all that no event announces.
    fn sweep(&mut self, now_ns: u64) {
        self.next_sweep_ns = now_ns + SWEEP_INTERVAL_NS;
        if now_ns >= self.config.ends_at_ns || self.stop.load(Ordering::Relaxed) {
            self.closing = true;
        } else {
            self.next_sweep_ns = self.next_sweep_ns.min(self.config.ends_at_ns);
        }
        self.recorder.turn(now_ns);
        for index in 0..self.clients.len() {
            if let Some(failure) = self.overdue(index, now_ns) {
                self.lose(index, failure, None);
            }
            if self.clients[index].link == Link::Down {
                self.next_for(index, now_ns);
            }
        }
    }

    fn overdue(&self, index: usize, now_ns: u64) -> Option<Failure> {
        let client = &self.clients[index];
        let waited_ns = |since_ns: u64| now_ns.saturating_sub(since_ns);
        match client.link {
            Link::Down => None,
            Link::Opening => (waited_ns(client.opened_at_ns) > self.config.connect_timeout_ns)
                .then_some(Failure::ConnectTimeout),
            Link::Up => {
                let oldest = client.in_flight.front()?;
                (waited_ns(oldest.begun_ns) > self.config.request_timeout_ns).then_some(Failure::Timeout)
            }
        }
    }

    fn now_ns(&self) -> u64 {
        nanoseconds_since(self.start)
    }
}

fn nanoseconds_since(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

fn failure_of(error: &io::Error) -> Failure {
    match error.kind() {
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted => Failure::Reset,
        ErrorKind::TimedOut => Failure::Timeout,
        _ => Failure::Io,
    }
}
