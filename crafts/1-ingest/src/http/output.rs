//! Answers on their way out: in order, each held until its ticket has settled.
//!
//! ```text
//!   bytes   │ sent │ 202 202 │ 202 404 │ 200 ▲ 202 │
//!   marks                  7         9          12    tickets; nothing behind a ticket leaves before it
//!   files                                    └ a part of a file, which leaves here and was never in memory
//! ```

use contracts::{file::FileSlice, queue::Ticket};
use std::collections::VecDeque;

/// What has not been sent yet, beyond which no further request is run.
pub(super) const OUTPUT_BYTES_MAX: usize = 64 << 10;
/// Capacity that an empty buffer keeps.
pub(super) const KEPT_BYTES_MAX: usize = 16 << 10;

#[derive(Debug, Default)]
pub(super) struct Output {
    bytes: Vec<u8>,
    /// The part of `bytes` that has left.
    sent: usize,
    /// Which ticket holds which bytes, both rising; the last ends with `bytes`, and none ends within `sent`.
    marks: VecDeque<Mark>,
    /// What leaves between the bytes, in order; none stands within `sent`.
    files: VecDeque<Insert>,
    /// Whether a part of the first mark's bytes has left, so that it had settled.
    is_first_begun: bool,
}

#[derive(Clone, Copy, Debug)]
struct Mark {
    ticket: Ticket,
    /// Where the bytes end that it holds.
    end: usize,
}

/// What is left of a part of a file.
#[derive(Debug)]
struct Insert {
    /// How many of the bytes leave before it. The last of them are its answer's head, so that no ticket holds a file.
    at: usize,
    slice: FileSlice,
}

impl Output {
    /// Where to write an answer. [`Output::hold`] must follow.
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        self.compact();
        &mut self.bytes
    }

    /// Puts parts of files behind what was written last, which must be the head of their answer.
    pub(super) fn push_files(&mut self, slices: Vec<FileSlice>) {
        let at = self.bytes.len();
        let parts = slices.into_iter().filter(|slice| slice.bytes > 0);
        self.files.extend(parts.map(|slice| Insert { at, slice }));
    }

    /// What was written since the last mark leaves once `ticket`, and all before it, have settled.
    pub(super) fn hold(&mut self, ticket: Ticket) {
        let end = self.bytes.len();
        match self.marks.back_mut() {
            // It waits for those before it anyway.
            Some(last) if last.ticket >= ticket => last.end = end,
            _ => self.marks.push_back(Mark { ticket, end }),
        }
    }

    /// What may leave now.
    pub(super) fn ready(&self, settled: Ticket) -> &[u8] {
        let held = self.marks.partition_point(|mark| mark.ticket <= settled);
        let end = held.checked_sub(1).map_or(self.sent, |last| self.marks[last].end);
        let file = self.files.front().map_or(end, |file| file.at);
        &self.bytes[self.sent..end.min(file)]
    }

    /// The part of a file that may leave now, when no bytes may.
    pub(super) fn ready_file(&self) -> Option<&FileSlice> {
        let first = self.files.front()?;
        (first.at == self.sent).then_some(&first.slice)
    }

    /// The first ticket that holds something back.
    pub(super) fn waits_for(&self, settled: Ticket) -> Option<Ticket> {
        let held = self.marks.partition_point(|mark| mark.ticket <= settled);
        self.marks.get(held).map(|mark| mark.ticket)
    }

    /// So much of it has left.
    pub(super) fn wrote(&mut self, bytes: usize) {
        self.sent += bytes;
        debug_assert!(self.sent <= self.bytes.len(), "more was sent than there was");
        self.is_first_begun |= bytes > 0;
        while let Some(mark) = self.marks.pop_front_if(|mark| mark.end <= self.sent) {
            self.is_first_begun = mark.end < self.sent;
        }
        self.clear_if_empty();
    }

    /// So much of the file's part has left.
    pub(super) fn wrote_file(&mut self, bytes: u64) {
        let Some(first) = self.files.front_mut() else { return };
        debug_assert!(bytes <= first.slice.bytes, "more was sent than there was");
        first.slice.at += bytes;
        first.slice.bytes -= bytes;
        if first.slice.bytes == 0 {
            self.files.pop_front();
            self.clear_if_empty();
        }
    }

    /// Forgets what waits for a ticket; `false` if nothing does. What has left in part is kept to its end: it had settled.
    pub(super) fn forget_held(&mut self) -> bool {
        if self.is_first_begun
            && let Some(first) = self.marks.front_mut()
        {
            first.ticket = Ticket(0);
        }
        let kept = self.marks.partition_point(|mark| mark.ticket == Ticket(0));
        let is_any_held = kept < self.marks.len();
        self.marks.truncate(kept);
        let end = self.marks.back().map_or(self.sent, |mark| mark.end);
        self.bytes.truncate(end);
        // A file at the very end belongs to a head that is kept.
        self.files.retain(|file| file.at <= end);
        is_any_held
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sent == self.bytes.len() && self.files.is_empty()
    }

    /// Whether so much waits that nothing more should be answered. A file is much, however little memory it takes.
    pub(super) fn is_full(&self) -> bool {
        self.bytes.len() - self.sent >= OUTPUT_BYTES_MAX || !self.files.is_empty()
    }

    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    fn clear_if_empty(&mut self) {
        if self.is_empty() {
            clear(&mut self.bytes);
            self.sent = 0;
        }
    }

    /// Without this, a client that always leaves a little unread would let the buffer grow for ever.
    fn compact(&mut self) {
        if self.sent > OUTPUT_BYTES_MAX && self.sent > self.bytes.len() / 2 {
            self.bytes.drain(..self.sent);
            self.marks.iter_mut().for_each(|mark| mark.end -= self.sent);
            self.files.iter_mut().for_each(|file| file.at -= self.sent);
            self.sent = 0;
        }
    }
}

/// Empties a buffer, and gives its memory back if it is much.
pub(super) fn clear(buffer: &mut Vec<u8>) {
    if buffer.capacity() > KEPT_BYTES_MAX {
        *buffer = Vec::new();
    } else {
        buffer.clear();
    }
}
