//! Phase 0: the whole pipeline, naive on purpose, on the standard library alone.
//!
//! ```text
//! http ─▶ json ─▶ ingest ─▶ queue ─▶ consumer ─▶ storage ─▶ query ─▶ alert
//! ```
//!
//! Read the files in this order; each fits on a few screens and says at its top what is wrong with it. It is
//! slow, and a crash loses what is in memory: those are its lessons. It is never wrong: bad input is refused
//! with its place, good input comes back as it was sent, and every piece keeps its contract, so that the
//! platform can put any later craft in its place.

pub mod alert;
pub mod consumer;
pub mod http;
pub mod ingest;
pub mod json;
pub mod query;
pub mod queue;
pub mod storage;

use contracts::TimestampMs;

/// This machine's clock.
pub fn now() -> TimestampMs {
    let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    TimestampMs(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
