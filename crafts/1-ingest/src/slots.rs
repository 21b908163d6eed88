//! The four slots of ingestion, and what passes between them.
//!
//! ```text
//!             ┌────────┐ Request ┌───────────┐ body ┌───────┐ samples ┌───────┐ submit ┌─────────┐
//! sockets ───▶│ Engine │────────▶│  Worker   │─────▶│ Parse │────────▶│ Frame │───────▶│ Handoff │───▶ Log
//!             │        │◀────────│ + Limit   │      └───────┘         └───────┘        │         │
//!             └────────┘  Reply  └───────────┘◀────────── Ticket, settled ─────────────└─────────┘
//! ```
//!
//! Each slot is one trait here and one file beside this one. The traits know nothing of what fills them: a file can be
//! replaced by another way to do the same, and nothing else changes.
//!
//! A 202 must wait until its batch is safe, and nobody should have to stand still for it. So handing over gives a
//! [`Ticket`], and a reply is held until its ticket has settled: one thread can so have thousands of replies wait for
//! one fsync, without async code. The idea is group commit's, turned towards the client.

use crate::frame::Frame;
use arrayvec::ArrayVec;
use contracts::{
    BatchError, LabelsView, TimestampMs,
    http::{ApiError, Request, Response},
    ingest::{IngestConfig, Site},
    labels::METRIC_NAME,
    limits::LABELS_PER_SERIES_MAX,
    queue::{Ack, Log, LogError, Ticket},
};
use std::{io, sync::Arc, task::Waker, time::Duration};

/// Slot 1: connections → requests.
pub trait Engine: 'static {
    /// Whether its threads may stand still in a handler, since each serves one connection. Where they may not, requests that
    /// are not ingestion are answered by other threads, and their answers come later.
    const MAY_WAIT: bool;

    /// Whether it sends parts of files as they lie. To one that does not, a [`Worker`] gives their bytes.
    const SENDS_FILES: bool = false;

    /// Serves until the shutdown is set; then finishes what was begun, drops every worker, and returns.
    ///
    /// # Errors
    /// When the listener fails, or no thread or poll can be had.
    fn serve<A: App>(config: &IngestConfig, site: &Site<'_>, app: &A) -> io::Result<()>;
}

/// What an engine asks for requests' answers; shared by all its threads.
pub trait App: Sync {
    /// One thread's part.
    type Worker: Worker;

    /// A worker for a thread.
    ///
    /// # Errors
    /// When the log gives no producer.
    fn worker(&self) -> Result<Self::Worker, LogError>;
}

/// One thread's way to answers.
pub trait Worker: Send {
    /// Answers one request. The reply may be sent once its ticket has settled.
    fn call(&mut self, request: &Request<'_>) -> Reply;

    /// Counts a request that was refused before it was one: no HTTP, too large, too slow.
    fn refused(&mut self, status: u16, took: Duration);

    /// Publishes everything that was submitted. An engine calls it once for all requests that came together.
    fn flush(&mut self);

    /// The highest ticket whose replies may be sent.
    ///
    /// # Errors
    /// [`Lost`]: nothing that still waits may be acknowledged. A log that comes back is lost once: then later tickets
    /// settle again, and theirs are higher than those that were lost. So whoever is told must lose all that it holds.
    fn settled(&mut self) -> Result<Ticket, Lost>;

    /// The same for engines that can block: waits until `upto` has settled, but not longer than told.
    ///
    /// # Errors
    /// [`Lost`], as above.
    fn wait(&mut self, upto: Ticket, at_most: Duration) -> Result<Ticket, Lost>;

    /// The same for engines that cannot: woken whenever [`Worker::settled`] may have moved, or an answer was finished.
    fn set_waker(&mut self, waker: Waker);

    /// Moves the answers that were promised and are there now to `out`, with their numbers.
    fn finished(&mut self, _out: &mut Vec<(u64, Response)>) {}
}

/// An answer, and when it may be given.
#[derive(Debug)]
pub struct Reply {
    /// What to say.
    pub answer: Answer,
    /// What must have settled before. `Ticket(0)` always has.
    pub ticket: Ticket,
}

/// What to say. The answers that are given a hundred thousand times a second need no [`Response`].
#[derive(Debug)]
pub enum Answer {
    /// 202 with `{"accepted":N}`.
    Accepted(usize),
    /// 204.
    NoContent,
    /// Anything else.
    Other(Response),
    /// Not yet: [`Worker::finished`] will tell the answer of this number. The connection's next request waits for it.
    Later(u64),
    /// The same, but the connection's next request need not wait: only its answer does.
    Soon(u64),
}

impl Reply {
    /// An answer that waits for nothing.
    pub fn now(response: impl Into<Response>) -> Self {
        Self { answer: Answer::Other(response.into()), ticket: Ticket(0) }
    }

    /// Its status code; 0 if it is not known yet.
    pub fn status(&self) -> u16 {
        match &self.answer {
            Answer::Accepted(_) => 202,
            Answer::NoContent => 204,
            Answer::Other(response) => response.status,
            Answer::Later(_) | Answer::Soon(_) => 0,
        }
    }

    /// Bytes of memory that its body takes.
    pub(crate) fn memory_bytes(&self) -> usize {
        match &self.answer {
            Answer::Other(response) => response.body.bytes().len(),
            _ => 0,
        }
    }
}

/// The log failed after it had taken batches: what became of them is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the samples were handed over, but what became of them is not known: {0}")]
pub struct Lost(pub Arc<str>);

impl Lost {
    /// It has taken too long.
    pub fn unsettled(timeout: Duration) -> Self {
        Self(format!("it was not settled within {} s", timeout.as_secs_f32()).into())
    }
}

/// Slot 2: the text of a request → samples.
pub trait Parse: Default + Send + 'static {
    /// Reads one metric, an array of them or `{"metrics":[…]}`; returns how many there were.
    ///
    /// # Errors
    /// The first thing that is wrong, and its byte. What `sink` was given before is to be forgotten then.
    fn parse(&mut self, body: &[u8], arrived: TimestampMs, sink: &mut impl Sink) -> Result<usize, ApiError>;
}

/// Takes samples, one by one.
pub trait Sink {
    /// Takes a copy of one.
    ///
    /// # Errors
    /// A name, a label or a time that the contract forbids; no room.
    fn push(&mut self, sample: &Incoming<'_>) -> Result<(), BatchError>;

    /// Takes a copy of one whose labels were sorted and checked before.
    ///
    /// # Errors
    /// A time that the contract forbids; no room.
    fn push_canonical(&mut self, sample: &Canonical<'_>) -> Result<(), BatchError> {
        let &Canonical { client, labels, timestamp, value } = sample;
        let others: ArrayVec<_, LABELS_PER_SERIES_MAX> =
            labels.iter().filter(|(name, _)| *name != METRIC_NAME).collect();
        self.push(&Incoming { client, name: labels.metric_name(), labels: &others, timestamp, value })
    }

    /// Takes copies of samples that differ in nothing but their names and values, as a line of many fields holds them.
    ///
    /// # Errors
    /// As above. What stands in the row before the sample that was refused has been taken.
    fn push_row(&mut self, row: &Row<'_>) -> Result<(), BatchError> {
        let &Row { client, labels, timestamp, values } = row;
        values
            .iter()
            .try_for_each(|&(name, value)| self.push(&Incoming { client, name, labels, timestamp, value }))
    }

    /// Takes copies of samples of one series. Without it, a body that names long labels once and has a million samples
    /// would have them sorted, checked and copied a million times.
    ///
    /// # Errors
    /// As above. What stands before the sample that was refused has been taken.
    fn push_series(&mut self, series: &Series<'_>) -> Result<(), BatchError> {
        let &Series { client, name, labels, samples } = series;
        samples.iter().try_for_each(|&(timestamp, value)| {
            self.push(&Incoming { client, name, labels, timestamp, value })
        })
    }
}

/// A sample as it came, borrowed from the text of its request. Nothing of it has been checked but that it is UTF-8.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Incoming<'a> {
    /// Chooses the partition. Empty if nobody said.
    pub client: &'a str,
    /// Metric name.
    pub name: &'a str,
    /// All other labels, in any order. An empty value is no label.
    pub labels: &'a [(&'a str, &'a str)],
    /// When.
    pub timestamp: TimestampMs,
    /// Any `f64`, bits and all.
    pub value: f64,
}

/// A sample of a series that is known. Its labels, the metric name among them, are checked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Canonical<'a> {
    /// Chooses the partition. Empty if nobody said.
    pub client: &'a str,
    /// All of them.
    pub labels: LabelsView<'a>,
    /// When.
    pub timestamp: TimestampMs,
    /// Any `f64`, bits and all.
    pub value: f64,
}

/// Samples of one time that share all labels but their names. Borrowed and unchecked, as [`Incoming`] is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row<'a> {
    /// Chooses the partition. Empty if nobody said.
    pub client: &'a str,
    /// All labels but the metric name, in any order. An empty value is no label.
    pub labels: &'a [(&'a str, &'a str)],
    /// When.
    pub timestamp: TimestampMs,
    /// Metric names and values.
    pub values: &'a [(&'a str, f64)],
}

/// Samples of one series. Borrowed and unchecked, as [`Incoming`] is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Series<'a> {
    /// Chooses the partition. Empty if nobody said.
    pub client: &'a str,
    /// Metric name.
    pub name: &'a str,
    /// All other labels, in any order. An empty value is no label.
    pub labels: &'a [(&'a str, &'a str)],
    /// Times and values, in any order.
    pub samples: &'a [(TimestampMs, f64)],
}

/// Slot 3: who may send how much.
pub trait Limit: Send + Sync + 'static {
    /// So many requests of one client in any second.
    fn new(requests_max_per_s: u32) -> Self;

    /// Counts a request of this client, or refuses it.
    ///
    /// # Errors
    /// After how many seconds to try again.
    fn admit(&self, client: &[u8], now: TimestampMs) -> Result<(), u32>;
}

/// Slot 4: a request's samples → the log.
pub trait Handoff: Sized + Send + Sync + 'static {
    /// One thread's part.
    type Submit: Submit;

    /// Whatever it needs between the requests and the log, a thread perhaps.
    ///
    /// # Errors
    /// When the log gives no producer at `config.ack`, or no thread can be had.
    fn open(config: &IngestConfig, log: Arc<dyn Log>) -> Result<Self, LogError>;

    /// What a settled ticket is worth where `asked` was configured: less, if tickets settle before the log has answered.
    fn promise(asked: Ack) -> Ack {
        asked
    }

    /// A part for a thread.
    ///
    /// # Errors
    /// When the log gives no producer.
    fn submitter(&self) -> Result<Self::Submit, LogError>;

    /// Hands over what is left, and returns when the log has it. Every submitter has been dropped by then.
    ///
    /// # Errors
    /// When the log does not take it.
    fn close(self) -> Result<(), LogError>;
}

/// One thread's way into the log.
///
/// A request is `frame().begin()`, pushes into the frame, and then either `submit()` or `frame().rollback()`.
pub trait Submit: Send {
    /// Where the samples of the current request go.
    fn frame(&mut self) -> &mut Frame;

    /// Takes what was pushed since [`Frame::begin`], all of it or nothing.
    ///
    /// # Errors
    /// [`LogError::Full`] is the back-pressure; other errors of the log. Nothing was taken then.
    fn submit(&mut self) -> Result<Ticket, LogError>;

    /// Publishes what was submitted since the last flush.
    fn flush(&mut self);

    /// See [`Worker::settled`].
    ///
    /// # Errors
    /// [`Lost`].
    fn settled(&mut self) -> Result<Ticket, Lost>;

    /// See [`Worker::wait`].
    ///
    /// # Errors
    /// [`Lost`].
    fn wait(&mut self, upto: Ticket, at_most: Duration) -> Result<Ticket, Lost>;

    /// See [`Worker::set_waker`].
    fn set_waker(&mut self, waker: Waker);
}
