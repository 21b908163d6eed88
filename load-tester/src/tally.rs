//! What is counted: plain numbers that one event loop writes and the report adds up.

use hdrhistogram::Histogram;

/// Why a request went without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The connection could not be opened (refused, no route, no local port left).
    Connect,
    /// The connection took too long to open.
    ConnectTimeout,
    /// The answer took too long.
    Timeout,
    /// The server reset the connection.
    Reset,
    /// The server closed the connection before the answer was complete.
    Closed,
    /// What came was not HTTP, or had no end.
    Malformed,
    /// Any other error of the network.
    Io,
}

/// All of them, in the order of [`Tally::failures`].
pub const FAILURES: [Failure; 7] = [
    Failure::Connect,
    Failure::ConnectTimeout,
    Failure::Timeout,
    Failure::Reset,
    Failure::Closed,
    Failure::Malformed,
    Failure::Io,
];

impl Failure {
    /// What a program reads.
    pub fn key(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::ConnectTimeout => "connect_timeout",
            Self::Timeout => "timeout",
            Self::Reset => "reset",
            Self::Closed => "closed",
            Self::Malformed => "malformed",
            Self::Io => "io",
        }
    }

    /// What a human reads.
    pub fn label(self) -> &'static str {
        match self {
            Self::Connect => "connection not opened",
            Self::ConnectTimeout => "connection timed out",
            Self::Timeout => "answer timed out",
            Self::Reset => "reset by the server",
            Self::Closed => "closed without an answer",
            Self::Malformed => "answer not HTTP",
            Self::Io => "other network error",
        }
    }
}

/// One more than the highest status code that the parser lets through.
pub const STATUS_END: usize = 600;

/// The counts of one event loop, or of all together.
#[derive(Clone, Debug)]
pub struct Tally {
    /// Requests that were begun.
    pub started: u64,
    /// Answers by status code.
    pub by_status: [u64; STATUS_END],
    /// Requests without an answer, by reason.
    pub failures: [u64; FAILURES.len()],
    /// Connections opened.
    pub connections: u64,
    /// Connections opened by a client that had had one, although it meant to keep it.
    pub reconnects: u64,
    /// Bytes handed to the network.
    pub bytes_out: u64,
    /// Bytes that came from it.
    pub bytes_in: u64,
    /// The operating system's words for the last failure.
    pub last_failure: Option<String>,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            started: 0,
            by_status: [0; STATUS_END],
            failures: [0; FAILURES.len()],
            connections: 0,
            reconnects: 0,
            bytes_out: 0,
            bytes_in: 0,
            last_failure: None,
        }
    }
}

impl Tally {
    /// Adds another loop's counts.
    pub fn add(&mut self, other: &Self) {
        self.started += other.started;
        add_each(&mut self.by_status, &other.by_status);
        add_each(&mut self.failures, &other.failures);
        self.connections += other.connections;
        self.reconnects += other.reconnects;
        self.bytes_out += other.bytes_out;
        self.bytes_in += other.bytes_in;
        self.last_failure = self.last_failure.take().or_else(|| other.last_failure.clone());
    }

    /// Requests that were answered, with whatever status.
    pub fn answered(&self) -> u64 {
        self.by_status.iter().sum()
    }

    /// Requests that were answered 2xx.
    pub fn ok(&self) -> u64 {
        self.by_status[200..300].iter().sum()
    }

    /// Requests that were not answered.
    pub fn unanswered(&self) -> u64 {
        self.failures.iter().sum()
    }
}

/// Counts one more.
pub(crate) fn count_failure(tally: &mut Tally, failure: Failure) {
    tally.failures[failure as usize] += 1;
}

fn add_each(sums: &mut [u64], others: &[u64]) {
    for (sum, other) in sums.iter_mut().zip(others) {
        *sum += other;
    }
}

/// Resolution of every histogram: three digits, that is, within a thousandth of the value.
pub const HISTOGRAM_DIGITS: u8 = 3;

/// Values below are told apart by no less than a microsecond's fraction.
const LATENCY_NS_MIN: u64 = 1_000;

/// Longer ones count as this.
const LATENCY_NS_MAX: u64 = 3_600_000_000_000;

/// An empty histogram of nanoseconds.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(LATENCY_NS_MIN, LATENCY_NS_MAX, HISTOGRAM_DIGITS)
        .expect("the bounds are constants that the library accepts")
}
