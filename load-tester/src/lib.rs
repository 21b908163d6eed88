//! Closed and open loop load with honest latencies and verified counts.
//!
//! The way of a request, which is also the reading order: a [`workload`] says what to send and when
//! ([`schedule`]); a sample is a pure function of its place in it ([`sample`]) and is written by a [`mod@format`];
//! the event loop hands it to a client's connection and reads the answer ([`response`]); the [`tally`] counts;
//! [`run()`] adds up; the [`verdict`] says whether to believe the figures; [`verify`] asks the server for
//! everything it accepted; the [`report`] tells.

pub mod cli;
pub mod fates;
pub mod format;
pub mod provenance;
pub mod report;
pub mod response;
pub mod sample;
pub mod schedule;
pub mod tally;
pub mod target;
pub mod verdict;
pub mod verify;
pub mod workload;

mod client;
mod cpu;
mod event_loop;
mod http;
mod progress;
mod recorder;
mod run;
mod slo;
mod spin;
mod timer;

use std::io;
use std::path::PathBuf;

pub use run::{Outcome, Second, run};

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The host's name stands for no address.
    #[error("cannot resolve {host}: {source}")]
    Resolve {
        /// The name.
        host: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// Nobody listens there.
    #[error("cannot connect to {target}: {source}; is the server running there?")]
    Unreachable {
        /// Host and port.
        target: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// A poll or a timer could not be made, or failed.
    #[error("the event loop failed: {0}")]
    Loop(io::Error),
    /// A result could not be written.
    #[error("cannot write {path}: {source}")]
    Output {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}
