//! Listening: several listeners on one address, what an error of `accept` means, and clients that are turned away.

use crate::{
    http::{Connection, Scratch, Settings},
    slots::Worker,
};
use contracts::queue::Ticket;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::{
    fs::File,
    io::{self, ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener},
    os::fd::AsFd,
};

/// Connections that the kernel keeps for us until they are accepted, if its own limit (`net.core.somaxconn`) lets it.
pub const BACKLOG: u16 = 4096;

/// Lets so many wait. The standard library listens with 128, and when more come at once than are accepted meanwhile, the
/// kernel drops what they send, and they try again after a second.
///
/// # Errors
/// It is no listener.
pub fn deepen(listener: &impl AsFd) -> io::Result<()> {
    SockRef::from(listener).listen(BACKLOG.into())
}

/// `count` listeners that share the address of `first`, which is one of them.
///
/// The kernel spreads connections over all sockets that were bound with `SO_REUSEPORT`, by a hash of both addresses: no
/// thread wakes another up, and none waits for another. `first` was bound without the option, so that a port which
/// somebody else has is an error; Linux lets a socket that already listens join afterwards, and whoever binds without the
/// option is still refused. One socket that all threads poll would need none of this, but then the thread that wakes up
/// first takes most of a burst of connections, and keeps them.
///
/// # Errors
/// No descriptor is left, or the kernel does not share the address: with a socket that another user has opened.
pub fn siblings(first: &TcpListener, count: usize) -> io::Result<Vec<TcpListener>> {
    let address = first.local_addr()?;
    let own = SockRef::from(first);
    deepen(first)?;
    if count > 1 {
        own.set_reuse_port(true)?;
    }
    let mut all = vec![first.try_clone()?];
    while all.len() < count {
        all.push(sibling(address)?);
    }
    Ok(all)
}

fn sibling(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG.into())?;
    Ok(socket.into())
}

/// From now on connections are refused by the kernel, although descriptors of the listener are still open somewhere: a
/// client that comes during a drain learns at once that it must go elsewhere.
pub fn close(listener: &impl AsFd) {
    // An error says that it does not listen any more, which is what was wanted.
    let _ = SockRef::from(listener).shutdown(Shutdown::Both);
}

/// What to do after `accept` failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nobody is waiting.
    Nobody,
    /// It was that client's own affair: take the next.
    Client,
    /// Want of descriptors or memory: try again in a while. At once would be a loop without end.
    Later,
    /// The listener is no listener.
    Listener,
}

/// What an error of `accept` means.
pub fn failure(error: &io::Error) -> Failure {
    match (error.kind(), error.raw_os_error()) {
        (ErrorKind::WouldBlock, _) => Failure::Nobody,
        (ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::Interrupted, _) => {
            Failure::Client
        }
        (_, Some(EBADF | EINVAL)) => Failure::Listener,
        _ => Failure::Later,
    }
}

// The same on every Unix; the standard library has no names for them.
const EBADF: i32 = 9;
const EINVAL: i32 = 22;
const ENFILE: i32 = 23;
const EMFILE: i32 = 24;

/// A descriptor kept for the moment when there is none: with it one client at a time can be accepted and told so.
/// Otherwise it would wait in the backlog without a word, and the listener would be ready for ever.
#[derive(Debug)]
pub struct Reserve(Option<File>);

impl Reserve {
    /// Takes a descriptor.
    pub fn new() -> Self {
        Self(File::open(RESERVED).ok())
    }

    /// Accepts a client, with the reserved descriptor if there is no other. If none is left for the next one then, this one
    /// is turned away: `None`.
    ///
    /// # Errors
    /// Those of `accept`; [`failure`] says what they mean.
    pub fn accept<T>(
        &mut self,
        mut accept: impl FnMut() -> io::Result<T>,
        turn_away: impl FnOnce(T),
    ) -> io::Result<Option<T>> {
        match accept() {
            Err(e) if matches!(e.raw_os_error(), Some(ENFILE | EMFILE)) => {}
            accepted => return accepted.map(Some),
        }
        self.0 = None;
        let accepted = accept();
        // An accept that blocks has waited, and descriptors may have become free.
        self.0 = File::open(RESERVED).ok();
        let client = accepted?;
        if self.0.is_some() {
            return Ok(Some(client));
        }
        turn_away(client);
        self.0 = File::open(RESERVED).ok();
        Ok(None)
    }
}

impl Default for Reserve {
    fn default() -> Self {
        Self::new()
    }
}

/// Something that can always be opened.
const RESERVED: &str = "/dev/null";

/// Tells a client that there is no room, as far as that can be done without waiting for it: its socket must not block.
pub fn turn_away(mut socket: impl Read + Write, code: &'static str, worker: &mut impl Worker) {
    let mut connection = Connection::new(Settings { body_bytes_max: 0, keep_alive: false }, None);
    connection.overload(code, &mut Scratch::default(), worker);
    let _ = socket.write(connection.output(Ticket(0)));
    // What was sent already and is not read would make the close a reset, which can overtake the answer.
    let _ = socket.read(&mut [0; 4096]);
}
