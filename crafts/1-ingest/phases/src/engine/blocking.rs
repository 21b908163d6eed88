//! What engines with blocking sockets share: how clients come in, and one client's bytes, answers and timeouts.
//!
//! Who serves whom, and when, is each engine's own. A thread that waits for a client cannot be told anything, so it wakes up
//! twice a second to see whether it is time to go: one of the prices of a thread for each client.

use contracts::{
    ingest::{IngestConfig, Site},
    queue::Ticket,
};
use ingest::{
    budget::{Budget, DRAIN_MAX, Entry, LINGER_BYTES_MAX, LINGER_MAX, Seat},
    http::{Connection, Scratch, Settings},
    listen::{self, Failure, Reserve},
    slots::{Lost, Worker},
};
use std::{
    io::{self, ErrorKind, Read, Write},
    net::{self, SocketAddr, TcpStream},
    sync::{Arc, OnceLock},
    thread,
    time::{Duration, Instant, SystemTime},
};

/// How long a thread sleeps at most.
const GLANCE: Duration = Duration::from_millis(500);
/// How long to wait before accepting again, after it failed for want of something.
const PAUSE: Duration = Duration::from_millis(20);
const READ_BYTES: usize = 16 << 10;

/// What all threads of an engine look at.
pub struct House<'a> {
    config: &'a IngestConfig,
    site: &'a Site<'a>,
    budget: Budget,
    /// When the drain must have ended; set by whoever notices first that it has begun.
    drained_by: OnceLock<Instant>,
}

/// Where clients come in. Belongs to the thread that accepts.
pub struct Door<'h> {
    house: &'h House<'h>,
    reserve: Reserve,
}

/// A connection that there is room for.
pub struct Guest<'h> {
    stream: Arc<TcpStream>,
    address: SocketAddr,
    seat: Seat<'h>,
}

impl<'a> House<'a> {
    /// Nobody is in it.
    pub fn new(config: &'a IngestConfig, site: &'a Site<'a>) -> Self {
        Self { config, site, budget: Budget::new(config), drained_by: OnceLock::new() }
    }

    /// When everything must have ended, if it is time to end.
    fn drained_by(&self) -> Option<Instant> {
        let is_over = self.site.shutdown.is_set();
        is_over.then(|| *self.drained_by.get_or_init(|| Instant::now() + DRAIN_MAX))
    }
}

impl<'h> Door<'h> {
    /// The listener's.
    ///
    /// # Errors
    /// It is no listener.
    pub fn new(house: &'h House<'h>) -> io::Result<Self> {
        listen::deepen(&house.site.listener)?;
        Ok(Self { house, reserve: Reserve::new() })
    }

    /// Waits for the next client. `None` once it is time to stop and all who had come before have been given out.
    ///
    /// # Errors
    /// The listener is broken.
    pub fn next<W: Worker>(&mut self, worker: &mut W) -> io::Result<Option<Guest<'h>>> {
        let listener = &self.house.site.listener;
        loop {
            if let Some(drained_by) = self.house.drained_by() {
                listener.set_nonblocking(true)?;
                if Instant::now() > drained_by {
                    return Ok(None);
                }
            }
            match self.reserve.accept(|| listener.accept(), |(stream, _)| turn_away(&stream, worker)) {
                Ok(Some((stream, address))) => match self.house.budget.enter() {
                    Entry::Admitted(seat) => {
                        return Ok(Some(Guest { stream: Arc::new(stream), address, seat }));
                    }
                    Entry::Refused(_) | Entry::Full => turn_away(&stream, worker),
                },
                Ok(None) => {}
                Err(e) => match listen::failure(&e) {
                    Failure::Nobody => {
                        listen::close(listener);
                        return Ok(None);
                    }
                    Failure::Client => {}
                    Failure::Later => thread::sleep(PAUSE),
                    Failure::Listener => return Err(e),
                },
            }
        }
    }
}

impl Guest<'_> {
    /// Its socket, for when the guest itself has gone astray.
    pub fn stream(&self) -> Arc<TcpStream> {
        self.stream.clone()
    }
}

/// Says that there are too many connections, without waiting for the client.
pub fn turn_away<W: Worker>(stream: &TcpStream, worker: &mut W) {
    if stream.set_nonblocking(true).is_ok() {
        listen::turn_away(stream, "too_many_connections", worker);
    }
}

/// One client that a thread talks to.
pub struct Client<'h> {
    house: &'h House<'h>,
    stream: Arc<TcpStream>,
    seat: Seat<'h>,
    connection: Connection,
    scratch: Scratch,
    buffer: Box<[u8]>,
    /// How long it may be silent before a request.
    patience: Duration,
    /// When the request began of which a part is missing, and how many were served before it.
    begun: Option<(Instant, u64)>,
    /// Requests have arrived that were not run, since their answers would be too many at once.
    kept_back: bool,
    /// The socket's read timeout, which is a system call to change.
    read_timeout: Duration,
}

impl<'h> Client<'h> {
    /// Begins to talk.
    ///
    /// # Errors
    /// The client is gone already.
    pub fn new(
        house: &'h House<'h>,
        guest: Guest<'h>,
        keep_alive: bool,
        patience: Duration,
    ) -> io::Result<Self> {
        let Guest { stream, address, seat } = guest;
        // Answers leave whole, so there is nothing that waiting for more could join them with.
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(GLANCE.min(house.config.request_timeout)))?;
        let settings = Settings { body_bytes_max: house.config.body_bytes_max, keep_alive };
        Ok(Self {
            house,
            stream,
            seat,
            connection: Connection::new(settings, Some(address)),
            scratch: Scratch::default(),
            buffer: vec![0; READ_BYTES].into(),
            patience,
            begun: None,
            kept_back: false,
            read_timeout: Duration::ZERO,
        })
    }

    /// Waits for bytes, and runs every request that has become whole.
    ///
    /// # Errors
    /// The client is gone.
    pub fn receive<W: Worker>(&mut self, worker: &mut W) -> io::Result<()> {
        if self.kept_back {
            self.connection.resume(&mut self.scratch, worker);
        } else {
            let received = self.wait_for_bytes()?;
            self.scratch.set_time(SystemTime::now());
            if self.house.drained_by().is_some() {
                self.connection.close_after_reply();
            }
            match received {
                None => self.connection.time_out(&mut self.scratch, worker),
                Some(0) => self.connection.end_of_input(&mut self.scratch, worker),
                Some(n) => self.connection.feed(&self.buffer[..n], &mut self.scratch, worker),
            }
        }
        self.kept_back = !self.connection.wants_input();
        if !self.seat.ask(self.connection.buffered_bytes()) {
            self.connection.overload("overloaded", &mut self.scratch, worker);
            self.seat.take(self.connection.buffered_bytes());
        }
        self.wind_clock();
        Ok(())
    }

    /// Hands over what the requests brought, waits until all of it has settled, and sends the answers in one write.
    ///
    /// # Errors
    /// The client is gone, or does not read.
    pub fn answer<W: Worker>(&mut self, worker: &mut W) -> io::Result<()> {
        worker.flush();
        let (begun, timeout) = (Instant::now(), self.house.config.settle_timeout);
        let mut settled = Ticket(0);
        while let Some(ticket) = self.connection.waits_for(settled) {
            let deadline = self.not_after_the_drain(begun + timeout);
            match worker.wait(ticket, deadline.saturating_duration_since(Instant::now()).min(GLANCE)) {
                Err(lost) => self.connection.lose(&lost),
                Ok(upto) if upto >= ticket => settled = upto,
                Ok(_) if Instant::now() >= deadline => self.connection.lose(&Lost::unsettled(timeout)),
                Ok(_) => {}
            }
        }
        self.send(settled)?;
        self.seat.take(self.connection.buffered_bytes());
        Ok(())
    }

    /// Whether nothing more will be said.
    pub fn is_finished(&self) -> bool {
        self.connection.is_finished()
    }

    /// Closes. A client that is still sending is listened to for a moment: what is not read would make the close a reset,
    /// and the client might never see its answer (RFC 9112 section 9.6).
    ///
    /// # Errors
    /// The client is gone, which is no matter any more.
    pub fn close(mut self) -> io::Result<()> {
        if !self.connection.should_linger() {
            return Ok(());
        }
        self.stream.shutdown(net::Shutdown::Write)?;
        let (deadline, mut bytes) = (Instant::now() + LINGER_MAX, 0);
        while bytes < LINGER_BYTES_MAX && Instant::now() < deadline {
            match self.read(deadline)? {
                Some(0) => break,
                received => bytes += received.unwrap_or_default(),
            }
        }
        Ok(())
    }

    /// How many bytes have arrived; `None` if there was no more time for them.
    fn wait_for_bytes(&mut self) -> io::Result<Option<usize>> {
        let timeout = self.house.config.request_timeout;
        let deadline = self.begun.map_or(Instant::now() + self.patience, |(begun, _)| begun + timeout);
        loop {
            let deadline = match self.begun {
                // At the end, bytes that have arrived already are a request that has begun.
                None if self.house.drained_by().is_some() => Instant::now(),
                _ => self.not_after_the_drain(deadline),
            };
            let received = self.read(deadline)?;
            if received.is_some() || Instant::now() >= deadline {
                return Ok(received);
            }
        }
    }

    /// One read; `None` if nothing came until the deadline, or for a while.
    fn read(&mut self, deadline: Instant) -> io::Result<Option<usize>> {
        // Zero would mean "for ever" to the operating system.
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        let timeout = left.min(GLANCE);
        if timeout != self.read_timeout {
            self.stream.set_read_timeout(Some(timeout))?;
            self.read_timeout = timeout;
        }
        match (&*self.stream).read(&mut self.buffer) {
            Ok(n) => Ok(Some(n)),
            Err(e) if is_timeout(&e) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// The timeout of a socket counts anew at every call, so that of the answer is kept here.
    fn send(&mut self, settled: Ticket) -> io::Result<()> {
        let mut moved = Instant::now();
        loop {
            let output = self.connection.output(settled);
            if output.is_empty() {
                return Ok(());
            }
            match (&*self.stream).write(output) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(n) => {
                    self.connection.wrote(n);
                    moved = Instant::now();
                }
                Err(e) if is_timeout(&e) => {}
                Err(e) => return Err(e),
            }
            if Instant::now() >= self.not_after_the_drain(moved + self.house.config.request_timeout) {
                return Err(ErrorKind::TimedOut.into());
            }
        }
    }

    fn wind_clock(&mut self) {
        let served = self.connection.served();
        self.begun = match self.begun {
            // More parts of the same request give it no more time.
            Some((begun, before)) if before == served && self.connection.is_reading() => {
                Some((begun, before))
            }
            _ => self.connection.is_reading().then(|| (Instant::now(), served)),
        };
    }

    fn not_after_the_drain(&self, deadline: Instant) -> Instant {
        self.house.drained_by().map_or(deadline, |drained_by| drained_by.min(deadline))
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}
