//! Wire formats: the text of a request → samples. One file each, without IO, each with its specification at its head.
//!
//! JSON is all or nothing, and is a slot of its own ([`Parse`](crate::slots::Parse)). The formats here are many lines that
//! have nothing to do with one another: a bad one is refused by its number, and its neighbours are taken.

use crate::slots::Sink;
use contracts::{TimestampMs, http::ApiError};

pub mod influx;
pub mod prometheus;
pub mod remote_write;

mod known;
mod scan;

pub use known::KNOWN_BYTES_MAX;

/// Most refused lines that an answer names.
pub const REFUSALS_NAMED_MAX: usize = 10;

/// A format of many lines. It keeps buffers from one request to the next.
pub trait Format {
    /// Reads a body.
    ///
    /// # Errors
    /// What makes the whole body unreadable: nothing of it was taken, and what `sink` was given is to be forgotten.
    fn parse(&mut self, body: &[u8], arrived: TimestampMs, sink: &mut impl Sink) -> Result<Taken, ApiError>;
}

/// What became of a body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Samples given to the sink.
    pub samples: usize,
    /// Lines (or series) that were not taken.
    pub refused: usize,
    /// The first few of them.
    pub named: Vec<Refusal>,
}

/// A line that was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Its number, from 1. In a format without lines, that of the series.
    pub line: usize,
    /// The byte of the body at which it went wrong.
    pub at: usize,
    /// For machines.
    pub code: &'static str,
    /// For people.
    pub message: String,
}

impl Taken {
    /// Counts a line that is not taken, and names it if there is room.
    pub fn refuse(&mut self, line: usize, at: usize, code: &'static str, message: impl Into<String>) {
        self.refused += 1;
        if self.named.len() < REFUSALS_NAMED_MAX {
            self.named.push(Refusal { line, at, code, message: message.into() });
        }
    }
}
