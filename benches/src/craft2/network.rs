//! Loads over a socket: our queue and ingestion as servers of their own, and what one would use instead.
//!
//! Server and client share the machine's cores, as everybody's do here: nothing is pinned, since the peers use several
//! threads, and to give them one core would flatter us. Each slice has a server of its own, freshly started on an
//! empty directory.

mod client;
mod http;
mod nats;
mod redis;
mod samples;
mod server;

pub use server::Programs;

use super::{loads::LAST, slice::Figures};
use anyhow::{Result, bail};
use std::path::Path;

/// Load before the measured load.
const WARM_UP_S: f64 = 0.3;

/// Where servers are measured.
#[derive(Clone, Copy, Debug)]
pub struct Stand<'a> {
    /// Servers, ours and others'.
    pub programs: &'a Programs,
    /// An empty directory.
    pub dir: &'a Path,
    /// Length of a measurement.
    pub seconds: f64,
    /// What messages are derived from.
    pub seed: u64,
}

impl Stand<'_> {
    /// Measures a subject once.
    ///
    /// # Errors
    /// When it does not stand the load, or is not installed.
    pub fn measure(&self, load: &str, subject: &str) -> Result<Figures> {
        match (load, subject) {
            ("produce", LAST) => http::produce(self),
            ("produce", "jetstream-1000") => nats::publish(self, 1_000),
            ("produce", "jetstream-10000") => nats::publish(self, 10_000),
            ("produce", "redis-100") => redis::append(self, 100),
            ("produce", "redis-1000") => redis::append(self, 1_000),
            ("produce-100", what) => http::produce_100(self, what),
            ("fetch-http", what) => http::fetch(self, what),
            ("samples-prometheus", who) => samples::send(self, samples::Format::Prometheus, who),
            ("samples-influx", who) => samples::send(self, samples::Format::Influx, who),
            _ => bail!("{subject} is not put under {load}"),
        }
    }
}
