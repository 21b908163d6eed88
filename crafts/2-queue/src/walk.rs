//! From bytes to records, one after the other, everything checked.
//!
//! Fetches and recovery walk alike. What differs is what they do at damage: the end of the log after a crash is cut
//! off there, anything else is told.

use crate::{
    disk::DataFile,
    record::{HEAD_BYTES, Head},
};
use std::{io, sync::Arc};

/// How much is read at once, unless a record is longer.
const READ_BYTES: usize = 64 << 10;

/// A way through one segment.
pub(crate) struct Walk {
    file: Arc<DataFile>,
    /// Where the next record begins.
    at: u64,
    /// Its offset.
    next: u64,
    /// Where to stop. What lies behind may be half written.
    end: u64,
    buffer: Vec<u8>,
    /// The position in the file of the buffer's first byte.
    buffer_at: u64,
}

/// A record as it lies in the file.
pub(crate) struct Found<'w> {
    /// Its offset.
    pub(crate) offset: u64,
    /// Where it begins.
    pub(crate) at: u64,
    /// Its payload.
    pub(crate) payload: &'w [u8],
}

/// Why a walk cannot go on.
#[derive(Debug)]
pub(crate) enum Stop {
    /// What lies at this byte is no record.
    Damage { at: u64, why: String },
    /// The file cannot be read.
    Io(io::Error),
}

impl Walk {
    /// From record `next`, which begins at byte `at`, to the byte `end`.
    pub(crate) fn new(file: Arc<DataFile>, at: u64, next: u64, end: u64) -> Self {
        Self { file, at, next, end, buffer: Vec::new(), buffer_at: at }
    }

    /// Where the next record begins.
    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    /// The offset that the next record has.
    pub(crate) fn next_offset(&self) -> u64 {
        self.next
    }

    /// The next record; `None` at the end.
    ///
    /// # Errors
    /// See [`Stop`]. The walk stays where it is.
    pub(crate) fn step(&mut self) -> Result<Option<Found<'_>>, Stop> {
        let Some(payload_bytes) = self.payload_bytes()? else { return Ok(None) };
        let (offset, at) = (self.next, self.at);
        let whole = self.look(HEAD_BYTES + payload_bytes)?;
        let (head, payload) = split(whole);
        if !head.fits(payload) {
            return Err(damage(at, "the checksum is wrong".to_owned()));
        }
        if head.offset() != offset {
            return Err(damage(at, format!("expected record {offset}, found record {}", head.offset())));
        }
        self.next += 1;
        self.at += (HEAD_BYTES + payload_bytes) as u64;
        // Looked at a second time, since a borrow that is returned cannot be followed by a change of the position.
        let begin = usize::try_from(at - self.buffer_at).unwrap_or(usize::MAX);
        let payload = &self.buffer[begin + HEAD_BYTES..begin + HEAD_BYTES + payload_bytes];
        Ok(Some(Found { offset, at, payload }))
    }

    /// How long the next payload is, if the whole of it can be there.
    fn payload_bytes(&mut self) -> Result<Option<usize>, Stop> {
        let (at, left) = (self.at, self.end - self.at);
        if left == 0 {
            return Ok(None);
        }
        if left < HEAD_BYTES as u64 {
            return Err(damage(
                at,
                format!("a record is cut short: its head has {HEAD_BYTES} bytes, here are {left}"),
            ));
        }
        let (head, _) = split(self.look(HEAD_BYTES)?);
        let Some(bytes) = head.payload_bytes() else {
            return Err(damage(at, "no record is as long as this one says it is".to_owned()));
        };
        let whole = (HEAD_BYTES + bytes) as u64;
        if left < whole {
            return Err(damage(at, format!("a record is cut short: it has {whole} bytes, here are {left}")));
        }
        Ok(Some(bytes))
    }

    /// The next `bytes`, of which the caller knows that they are there.
    fn look(&mut self, bytes: usize) -> Result<&[u8], Stop> {
        let ahead = usize::try_from(self.at - self.buffer_at).unwrap_or(usize::MAX);
        if self.buffer.len().saturating_sub(ahead) < bytes {
            let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
            self.buffer.resize(bytes.max(READ_BYTES).min(left), 0);
            self.buffer_at = self.at;
            if let Err(e) = self.file.read_at(self.at, &mut self.buffer) {
                self.buffer.clear();
                return Err(Stop::Io(e));
            }
        }
        let begin = usize::try_from(self.at - self.buffer_at).unwrap_or(usize::MAX);
        Ok(&self.buffer[begin..begin + bytes])
    }
}

fn damage(at: u64, why: String) -> Stop {
    Stop::Damage { at, why }
}

/// # Panics
/// If there is no head: whoever looks asks for one.
fn split(record: &[u8]) -> (Head, &[u8]) {
    let (head, payload) = record.split_first_chunk().expect("a head was asked for");
    (Head::parse(*head), payload)
}
