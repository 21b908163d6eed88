//! Craft 1: from bytes on a socket to samples in the log.
//!
//! An implementation is a server. It takes the requests that carry samples itself, as fast as it knows how,
//! and hands every other request to [`Site::rest`], so that it is the HTTP engine of the other services too.
//!
//! The HTTP form is `openapi/ingest.yaml`. Its promise: 202 only once the batch is in the log at the chosen
//! [`Ack`]; anything else means that nothing of the request was taken. One answer is the exception, and says so by
//! its code: 503 `not_settled` means that the batch was handed over and that what became of it is not known.

use crate::{
    http::{Handler, Middleware},
    limits::BODY_BYTES_MAX,
    queue::{Ack, Partition},
};
use std::{
    io,
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// One implementation of craft 1.
pub trait Ingest: Send + Sync {
    /// Serves until [`Shutdown::is_set`], then finishes the requests it has begun and returns.
    ///
    /// Whoever sets the shutdown opens a connection afterwards, so that a blocking accept sees it.
    ///
    /// # Errors
    /// When the listener itself fails. A client's misbehaviour is never an error here.
    fn serve(&self, site: &Site<'_>) -> io::Result<()>;
}

/// What a server needs to know of its surroundings.
pub struct Site<'a> {
    /// Bound and listening.
    pub listener: TcpListener,
    /// Answers what is not ingestion.
    pub rest: &'a dyn Handler,
    /// Stands around every request, ingestion included.
    pub middleware: &'a dyn Middleware,
    /// When to stop.
    pub shutdown: Shutdown,
}

/// What an implementation may be told.
#[derive(Clone, Debug)]
pub struct IngestConfig {
    /// When a 202 may be sent.
    pub ack: Ack,
    /// Largest body.
    pub body_bytes_max: usize,
    /// A request must have arrived whole after this.
    pub request_timeout: Duration,
    /// A connection may be silent before its first byte for this long, where it keeps others from being served.
    pub idle_timeout: Duration,
    /// A connection may be silent between requests for this long, where it costs nobody else anything.
    pub keep_alive_timeout: Duration,
    /// How long a finished request may wait for its batch to be safe. After that: 503 `not_settled`.
    pub settle_timeout: Duration,
    /// Open connections at most. Beyond: 503 `too_many_connections`.
    pub connections_max: usize,
    /// Bytes of half-read requests and unsent answers, all connections together. Beyond: 503 `overloaded`.
    pub buffered_bytes_max: usize,
    /// Requests that one client may send in any second. Beyond: 429 `rate_limited`.
    pub client_requests_max_per_s: u32,
    /// Threads that take requests, where their number is fixed; 0 is one for each core.
    pub threads: usize,
    /// Batches that wait for the log at most, for each thread. Beyond: 503 `queue_full`.
    pub waiting_batches_max: usize,
}

impl Default for IngestConfig {
    fn default() -> Self {
        Self {
            ack: Ack::Memory,
            body_bytes_max: BODY_BYTES_MAX,
            request_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(1),
            keep_alive_timeout: Duration::from_secs(60),
            settle_timeout: Duration::from_secs(5),
            connections_max: 16_384,
            buffered_bytes_max: 256 << 20,
            client_requests_max_per_s: 1_000_000,
            threads: 0,
            waiting_batches_max: 1024,
        }
    }
}

/// A flag that many threads look at. Set once, never taken back.
#[derive(Clone, Debug, Default)]
pub struct Shutdown(Arc<AtomicBool>);

impl Shutdown {
    /// Not set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks everybody to finish.
    pub fn set(&self) {
        // Release pairs with the Acquire below: what was written before the stop is seen after it.
        self.0.store(true, Ordering::Release);
    }

    /// Whether it is time to finish.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// The flag itself, for a signal handler.
    pub fn flag(&self) -> Arc<AtomicBool> {
        self.0.clone()
    }
}

/// The partition of a client's samples: all of one client in one partition keeps their order.
///
/// FNV-1a, since it is short, public and the same in every language.
pub fn partition_of(client_id: &str, partitions: u32) -> Partition {
    let hash = client_id
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    Partition(u32::try_from(hash % u64::from(partitions.max(1))).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_stays_in_its_partition() {
        assert_eq!(partition_of("", 1), Partition(0));
        assert_eq!(partition_of("a", 16), Partition(0xc), "FNV-1a of \"a\" is af63dc4c8601ec8c");
        assert_eq!(partition_of("anything", 0), Partition(0));
    }
}
