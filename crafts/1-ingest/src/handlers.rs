//! Threads that answer what is not ingestion, for engines whose own threads must not wait.
//!
//! Where one thread serves many connections, all of them wait while it stands still. A query may read for seconds, and a
//! consumer may ask to be held until there is something to fetch. So their requests are copied and answered here, and the
//! answers go back to the thread that promised them. Requests with samples never come this way.
//!
//! What it does not do: order answers. A connection asks for one at a time and waits for it, so it need not.

use crate::slots::Worker;
use contracts::{
    http::{ApiError, Request, Response},
    ingest::Site,
};
use parking_lot::{Condvar, Mutex};
use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Waker,
    time::Instant,
};

/// How many requests are answered at once. Most of them wait: for a disk, for another service, for a record.
pub(crate) const HANDLERS: usize = 32;
/// Requests that wait for a thread. Beyond: 503 `overloaded`.
const WAITING_MAX: usize = 1024;
/// Bytes of their bodies.
const WAITING_BYTES_MAX: usize = 64 << 20;

/// Requests on their way to the threads.
#[derive(Default)]
pub(crate) struct Handlers {
    waiting: Mutex<Waiting>,
    more: Condvar,
}

#[derive(Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    bytes: usize,
    closed: bool,
}

struct Job {
    number: u64,
    request: OwnedRequest,
    mailbox: Arc<Mailbox>,
}

/// Where the answers for one of the engine's threads arrive.
#[derive(Default)]
pub(crate) struct Mailbox {
    answers: Mutex<Vec<(u64, Response)>>,
    /// Whether there are any: looked at without the lock.
    has_answers: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Handlers {
    /// Takes a copy of a request, to be answered as `number`.
    ///
    /// # Errors
    /// 503 `overloaded`: too many wait already.
    pub(crate) fn submit(
        &self,
        number: u64,
        request: &Request<'_>,
        mailbox: &Arc<Mailbox>,
    ) -> Result<(), ApiError> {
        let mut waiting = self.waiting.lock();
        let bytes = request.body.len();
        if waiting.jobs.len() >= WAITING_MAX || waiting.bytes + bytes > WAITING_BYTES_MAX {
            let message = "too many requests wait for an answer already; try again later";
            return Err(ApiError::new(503, "overloaded", message).retry_after(1));
        }
        waiting.bytes += bytes;
        waiting.jobs.push_back(Job { number, request: OwnedRequest::of(request), mailbox: mailbox.clone() });
        drop(waiting);
        self.more.notify_one();
        Ok(())
    }

    /// Answers requests until [`Handlers::close`], and then those that still wait.
    pub(crate) fn run(&self, site: &Site<'_>, form: Form) {
        while let Some(job) = self.next() {
            // A handler that panics is a bug, and no reason to leave everybody else without an answer.
            let answer =
                catch_unwind(AssertUnwindSafe(|| job.request.with(|request| answer(site, request, form))));
            let panicked =
                || ApiError::new(500, "internal", "this request could not be answered: it is a bug here");
            job.mailbox.put(job.number, answer.unwrap_or_else(|_| panicked().into()));
        }
    }

    /// Nothing more will be submitted.
    pub(crate) fn close(&self) {
        self.waiting.lock().closed = true;
        self.more.notify_all();
    }

    fn next(&self) -> Option<Job> {
        let mut waiting = self.waiting.lock();
        while waiting.jobs.is_empty() && !waiting.closed {
            self.more.wait(&mut waiting);
        }
        let job = waiting.jobs.pop_front()?;
        waiting.bytes -= job.request.body.len();
        Some(job)
    }
}

/// What an engine can send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Bytes in memory: files are read first.
    Bytes,
    /// Files as well.
    Files,
}

/// Asks the middleware, then the site.
pub(crate) fn answer(site: &Site<'_>, request: &Request<'_>, form: Form) -> Response {
    let begun = Instant::now();
    let admitted = site.middleware.before(request);
    let response = admitted.map(|()| site.rest.handle(request)).unwrap_or_else(|refusal| refusal);
    let response = if form == Form::Bytes { in_memory(response) } else { response };
    site.middleware.after(Some(request), response.status, begun.elapsed());
    response
}

fn in_memory(response: Response) -> Response {
    let Response { status, content_type, headers, body } = response;
    match body.read() {
        Ok(bytes) => Response { status, content_type, headers, body: bytes.into() },
        Err(e) => ApiError::new(500, "internal", format!("the answer could not be read: {e}")).into(),
    }
}

impl Mailbox {
    pub(crate) fn set_waker(&self, waker: Waker) {
        *self.waker.lock() = Some(waker);
    }

    fn put(&self, number: u64, response: Response) {
        self.answers.lock().push((number, response));
        // Release pairs with the Acquire in `take`; the lock hands over the answer itself.
        self.has_answers.store(true, Ordering::Release);
        if let Some(waker) = &*self.waker.lock() {
            waker.wake_by_ref();
        }
    }

    /// Moves the answers that have arrived to `out`.
    pub(crate) fn take(&self, out: &mut Vec<(u64, Response)>) {
        if self.has_answers.swap(false, Ordering::Acquire) {
            out.append(&mut self.answers.lock());
        }
    }
}

/// A copy of a request, for another thread.
struct OwnedRequest {
    method: String,
    path: String,
    query: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
    peer: Option<SocketAddr>,
}

impl OwnedRequest {
    fn of(request: &Request<'_>) -> Self {
        let header = |(name, value): &(&str, &[u8])| ((*name).to_owned(), value.to_vec());
        Self {
            method: request.method.to_owned(),
            path: request.path.to_owned(),
            query: request.query.to_owned(),
            headers: request.headers.iter().map(header).collect(),
            body: request.body.to_vec(),
            peer: request.peer,
        }
    }

    fn with<T>(&self, run: impl FnOnce(&Request<'_>) -> T) -> T {
        let headers: Vec<(&str, &[u8])> =
            self.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
        run(&Request {
            method: &self.method,
            path: &self.path,
            query: &self.query,
            headers: &headers,
            body: &self.body,
            peer: self.peer,
        })
    }
}

/// Closes when it is dropped: threads that wait for requests must not outlive an engine that failed or panicked.
pub(crate) struct ClosesAtEnd<'h>(pub(crate) &'h Handlers);

impl Drop for ClosesAtEnd<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Promised answers: which connection waits for which.
#[derive(Debug, Default)]
pub struct Promises {
    waiting: HashMap<u64, usize>,
}

impl Promises {
    /// Notes that the connection with this number waits for an answer.
    pub fn note(&mut self, answer: u64, connection: usize) {
        self.waiting.insert(answer, connection);
    }

    /// The answers that have arrived, each with the connection that waited for it then.
    pub fn arrived(&mut self, worker: &mut impl Worker) -> Vec<(usize, u64, Response)> {
        let mut arrived = Vec::new();
        if !self.waiting.is_empty() {
            worker.finished(&mut arrived);
        }
        let waiter = |(answer, response)| Some((self.waiting.remove(&answer)?, answer, response));
        arrived.into_iter().filter_map(waiter).collect()
    }
}
