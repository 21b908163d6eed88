//! What is asked of a run: the whole definition of the load, as it also stands in the results.

use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::format::FormatName;
use crate::sample::Identity;
use crate::schedule::Shape;
use crate::target::{Target, Token};

/// The most clients of one run: each is a connection, and a socket takes a file descriptor and a port.
pub const CLIENTS_MAX: u32 = 50_000;

/// The most samples in one request.
pub const BATCH_SAMPLES_MAX: usize = 100_000;

/// The most requests on their way on one connection.
pub const PIPELINE_MAX: usize = 1024;

/// The most event loops.
pub const THREADS_MAX: usize = 256;

/// A run's definition.
#[derive(Clone, Debug, Serialize)]
pub struct Workload {
    /// Where the samples go.
    pub target: Target,
    /// How requests follow each other.
    pub load: Load,
    /// How many clients, each with one connection and one series.
    pub clients: u32,
    /// How many event loops share the clients.
    pub threads: usize,
    /// Samples in a request.
    pub batch: usize,
    /// Requests that may be on their way on one connection.
    pub pipeline: usize,
    /// Whether a connection is used for more than one request (if the server allows).
    pub keep_alive: bool,
    /// Whether all connections are opened before the clock starts. Without it a client connects for its first request, which
    /// waits for that.
    pub connect_first: bool,
    /// How a request's body is written.
    pub format: FormatName,
    /// The samples' name, seed and first timestamp.
    pub identity: Identity,
    /// How long an answer may take.
    #[serde(rename = "request_timeout_ms", serialize_with = "as_ms")]
    pub request_timeout: Duration,
    /// How long a connection may take.
    #[serde(rename = "connect_timeout_ms", serialize_with = "as_ms")]
    pub connect_timeout: Duration,
    /// Whether each request's fate is kept for the check afterwards.
    pub verify: bool,
    /// Sent as `Authorization: Bearer`, never written down.
    #[serde(skip)]
    pub token: Option<Token>,
}

/// How requests follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(tag = "loop", rename_all = "kebab-case")]
pub enum Load {
    /// A client sends its next request when its last one was answered: a slow server is asked less.
    Closed {
        /// When it ends.
        #[serde(flatten)]
        until: Until,
    },
    /// Requests are due at fixed times, whatever the server does.
    Open {
        /// How the rate changes.
        #[serde(flatten)]
        shape: Shape,
        /// How long it lasts.
        #[serde(rename = "duration_ms", serialize_with = "as_ms")]
        duration: Duration,
    },
}

/// When a closed loop ends.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Until {
    /// When each client has made that many requests.
    RequestsEach(u64),
    /// When the time is over.
    #[serde(rename = "duration_ms", serialize_with = "as_ms")]
    Elapsed(Duration),
}

impl Workload {
    /// How many requests are asked for, where that is known beforehand.
    pub fn requests_asked(&self) -> Option<u64> {
        match self.load {
            Load::Closed { until: Until::RequestsEach(each) } => {
                Some(each.saturating_mul(self.clients.into()))
            }
            Load::Closed { until: Until::Elapsed(_) } => None,
            Load::Open { shape, duration } => Some(shape.schedule(nanoseconds(duration)).total()),
        }
    }

    /// The time that the load itself takes, where that is known beforehand.
    pub fn duration(&self) -> Option<Duration> {
        match self.load {
            Load::Closed { until: Until::RequestsEach(_) } => None,
            Load::Closed { until: Until::Elapsed(duration) } | Load::Open { duration, .. } => Some(duration),
        }
    }
}

/// A duration in ns; five centuries are more than enough.
pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn as_ms<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}
