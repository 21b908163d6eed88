//! A server that answers as it is told to: what a client does about it is what is checked.

use super::PATIENCE;
use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// What becomes of one request.
#[derive(Clone, Copy)]
pub(crate) enum Fate {
    /// This status line and these headers, after a pause.
    Status(&'static str, Duration),
    /// The connection is closed without a word.
    Silence,
}

/// A request as it arrived.
#[derive(Clone)]
pub(crate) struct Arrival {
    pub(crate) line: String,
    pub(crate) body: String,
    pub(crate) at: Instant,
    /// When its answer began to be written.
    pub(crate) answered: Instant,
}

/// Listens on a port of its own, a thread a connection, until the check is over.
pub(crate) struct Fake {
    pub(crate) port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    /// The fate of the n-th request, from 0.
    fate: Box<dyn Fn(usize) -> Fate + Send + Sync>,
    begun: AtomicUsize,
    open: AtomicUsize,
    open_most: AtomicUsize,
    arrivals: Mutex<Vec<Arrival>>,
}

impl Fake {
    pub(crate) fn start(fate: impl Fn(usize) -> Fate + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("there is a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let zero = AtomicUsize::default;
        let (begun, open, open_most) = (zero(), zero(), zero());
        let shared =
            Arc::new(Shared { fate: Box::new(fate), begun, open, open_most, arrivals: Mutex::default() });
        let threads = shared.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let shared = threads.clone();
                thread::spawn(move || shared.serve(stream));
            }
        });
        Self { port, shared }
    }

    /// What arrived so far, in order of the arrival.
    pub(crate) fn arrivals(&self) -> Vec<Arrival> {
        let mut arrivals = self.shared.arrivals().clone();
        arrivals.sort_by_key(|a| a.at);
        arrivals
    }

    /// The most requests that were open at one time.
    pub(crate) fn open_most(&self) -> usize {
        self.shared.open_most.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn arrivals(&self) -> MutexGuard<'_, Vec<Arrival>> {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, mut stream: TcpStream) {
        // A connection that carries no request has no fate.
        let Ok((line, body)) = read_request(&stream) else { return };
        let at = Instant::now();
        let open = self.open.fetch_add(1, Ordering::Relaxed) + 1;
        self.open_most.fetch_max(open, Ordering::Relaxed);
        let fate = (self.fate)(self.begun.fetch_add(1, Ordering::Relaxed));
        if let Fate::Status(_, pause) = fate {
            thread::sleep(pause);
        }
        // All is noted before the answer: once the client has it, the check may look.
        self.open.fetch_sub(1, Ordering::Relaxed);
        self.arrivals().push(Arrival { line, body, at, answered: Instant::now() });
        if let Fate::Status(status, _) = fate {
            let text = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{{}}");
            // A client that left before its answer shows in its own report.
            let _ = stream.write_all(text.as_bytes());
        }
    }
}

fn read_request(stream: &TcpStream) -> io::Result<(String, String)> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut reader = BufReader::new(stream);
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first)?;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let Some((name, value)) = line.split_once(':') else { break };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
    }
    let mut body = String::new();
    reader.take(length).read_to_string(&mut body)?;
    Ok((first.trim_end().to_owned(), body))
}
