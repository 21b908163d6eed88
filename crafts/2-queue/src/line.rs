//! What was submitted and is not written yet.
//!
//! A producer collects records in its own [`Batch`], so that copying and checksums take no lock. A flush publishes the
//! batch: under one short lock its frames get their offsets and a place in the line ([`Pending`]). Whoever writes next
//! takes all that stands in the line at once.

use crate::{
    frame::{self, BODY_BYTES_MAX, HEAD_BYTES, Head, Kind},
    slots::Transfer,
};
use contracts::queue::{Offset, Partition, Placed, Ticket};
use parking_lot::Mutex;
use std::{collections::VecDeque, mem};

/// What stands in the line beyond this is written without being asked: a caller that never flushes must not fill the
/// memory.
pub const LINE_BYTES_MAX: usize = 16 << 20;
/// How much memory a buffer keeps for the next records. One large record must not be paid for ever after.
const KEPT_BYTES: usize = 1 << 20;
/// Buffers that a batch keeps.
const KEPT_BUFFERS: usize = 64;

/// What one producer has submitted since its last flush.
#[derive(Default)]
pub(crate) struct Batch {
    frames: Vec<Growing>,
    /// By partition.
    partitions: Vec<Touched>,
    bytes: usize,
    /// Empty, and ready to be used again.
    buffers: Vec<Vec<u8>>,
    /// Of who packs.
    room: Vec<u8>,
}

/// A frame that takes records.
struct Growing {
    partition: u32,
    count: u32,
    /// Room for the head, and the records.
    bytes: Vec<u8>,
    /// Whether an earlier frame of this batch is of the same partition.
    continues: bool,
}

#[derive(Clone, Copy, Default)]
struct Touched {
    /// One more than the place of the frame that takes its records; 0 for none.
    frame: usize,
    /// The offset of the next record that has no place yet; for [`Places`].
    cursor: u64,
}

impl Batch {
    pub(crate) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Bytes that wait.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes a copy of a record.
    pub(crate) fn push(&mut self, partition: Partition, payload: &[u8]) {
        let at = partition.0 as usize;
        if self.partitions.len() <= at {
            self.partitions.resize(at + 1, Touched::default());
        }
        let open = self.partitions[at].frame;
        let is_full = |frame: &Growing| frame.bytes.len() + payload.len() > HEAD_BYTES + BODY_BYTES_MAX;
        if open == 0 || is_full(&self.frames[open - 1]) {
            let mut bytes = self.buffers.pop().unwrap_or_default();
            bytes.resize(HEAD_BYTES, 0);
            self.frames.push(Growing { partition: partition.0, count: 0, bytes, continues: open != 0 });
            self.partitions[at].frame = self.frames.len();
        }
        let frame = &mut self.frames[self.partitions[at].frame - 1];
        let before = frame.bytes.len();
        frame::put_record(payload, &mut frame.bytes);
        frame.count += 1;
        self.bytes += frame.bytes.len() - before;
    }

    /// Packs, and sums up what can be known before a frame has its place.
    fn seal<T: Transfer>(&mut self) {
        for frame in &mut self.frames {
            let codec = T::pack(&mut frame.bytes, &mut self.room);
            let head = Head::of(Kind::Data, frame.partition, frame.count, &frame.bytes[HEAD_BYTES..]);
            Head { codec, ..head }.put(0, &mut frame.bytes);
            frame.bytes.resize(frame.bytes.len().next_multiple_of(frame::ALIGN), 0);
        }
    }

    fn clear(&mut self) {
        for mut frame in self.frames.drain(..) {
            self.partitions[frame.partition as usize].frame = 0;
            if self.buffers.len() < KEPT_BUFFERS {
                frame.bytes.clear();
                frame.bytes.shrink_to(KEPT_BYTES);
                self.buffers.push(frame.bytes);
            }
        }
        self.bytes = 0;
    }
}

/// The line of frames that wait to be written. Its lock is held to copy bytes, never to wait.
#[derive(Debug)]
pub struct Pending {
    line: Line,
    /// How many batches were ever published: the number of the last.
    published: u64,
    /// The offset of each partition's next record.
    next: Vec<u64>,
}

/// Frames, as they will be written but for what their heads learn last.
#[derive(Debug, Default)]
struct Line {
    bytes: Vec<u8>,
    /// Where each batch ends.
    ends: Vec<usize>,
}

impl Pending {
    /// `next` are the partitions' next offsets.
    pub fn new(next: Vec<u64>) -> Self {
        Self { line: Line::default(), published: 0, next }
    }

    /// Puts a sealed batch into the line; returns its number, from 1.
    fn take_in(&mut self, batch: &mut Batch) -> u64 {
        for frame in &mut batch.frames {
            let partition = frame.partition as usize;
            let base = self.next[partition];
            if !frame.continues {
                batch.partitions[partition].cursor = base;
            }
            self.next[partition] += u64::from(frame.count);
            frame::set_base(&mut frame.bytes, base);
            self.line.bytes.extend_from_slice(&frame.bytes);
        }
        self.line.ends.push(self.line.bytes.len());
        self.published += 1;
        self.published
    }
}

/// Publishes a batch; returns its number and how many bytes stand in the line now.
pub(crate) fn publish<T: Transfer>(
    pending: &Mutex<Pending>,
    batch: &mut Batch,
    places: &mut Places,
) -> (u64, usize) {
    batch.seal::<T>();
    let published = {
        let mut pending = pending.lock();
        (pending.take_in(batch), pending.line.bytes.len())
    };
    places.assign(&mut batch.partitions);
    batch.clear();
    published
}

/// What a store has taken out of the line, and how much of it is written. What cannot be written stays, in its order.
#[derive(Debug, Default)]
pub struct Taken {
    line: Line,
    bytes_done: usize,
    batches_done: usize,
    /// The number of the last batch that is written.
    written: u64,
}

impl Taken {
    /// Whether anything waits. Takes the line if what was taken before is written.
    pub fn refill(&mut self, pending: &Mutex<Pending>) -> bool {
        if self.bytes_done == self.line.bytes.len() {
            self.line.bytes.clear();
            self.line.bytes.shrink_to(16 * KEPT_BYTES);
            self.line.ends.clear();
            (self.bytes_done, self.batches_done) = (0, 0);
            mem::swap(&mut self.line, &mut pending.lock().line);
        }
        self.bytes_done < self.line.bytes.len()
    }

    /// The frames that are not written yet, each from its head to the begin of the next.
    pub fn rest(&self) -> &[u8] {
        &self.line.bytes[self.bytes_done..]
    }

    /// The same, for who completes their heads.
    pub fn rest_mut(&mut self) -> &mut [u8] {
        &mut self.line.bytes[self.bytes_done..]
    }

    /// The first frame that is not written yet, and its body.
    pub fn first(&self) -> Option<(Head, &[u8])> {
        let rest = self.rest();
        let head = Head::read(rest.first_chunk()?)?;
        Some((head, rest.get(HEAD_BYTES..HEAD_BYTES + head.body_bytes as usize)?))
    }

    /// So many bytes, whole frames, are written.
    pub fn pass(&mut self, bytes: usize) {
        self.bytes_done += bytes;
        while self.line.ends.get(self.batches_done).is_some_and(|end| *end <= self.bytes_done) {
            self.batches_done += 1;
            self.written += 1;
        }
    }

    /// The first frame is written.
    pub fn pass_first(&mut self) {
        let bytes = self.first().map_or(0, |(head, _)| head.frame_bytes());
        self.pass(usize::try_from(bytes).unwrap_or(usize::MAX));
    }

    /// The number of the last batch that is written.
    pub fn written(&self) -> u64 {
        self.written
    }
}

/// Where a producer's records come to lie, as runs of neighbours: one run for a producer that is alone and writes to one
/// partition, however much it appends and even if nobody ever asks.
#[derive(Default)]
pub(crate) struct Places {
    runs: VecDeque<Run>,
    /// How many of the last runs have no offset yet.
    unassigned: usize,
}

struct Run {
    ticket: u64,
    partition: u32,
    offset: u64,
    count: u64,
}

impl Places {
    pub(crate) fn submitted(&mut self, Ticket(ticket): Ticket, Partition(partition): Partition) {
        match self.runs.back_mut() {
            Some(run) if self.unassigned > 0 && run.partition == partition => run.count += 1,
            _ => {
                self.runs.push_back(Run { ticket, partition, offset: 0, count: 1 });
                self.unassigned += 1;
            }
        }
    }

    /// Gives the last runs their offsets, and joins them with what they continue.
    fn assign(&mut self, partitions: &mut [Touched]) {
        let first = self.runs.len() - std::mem::take(&mut self.unassigned);
        for run in self.runs.range_mut(first..) {
            let cursor = &mut partitions[run.partition as usize].cursor;
            run.offset = *cursor;
            *cursor += run.count;
        }
        if first > 0 && self.runs.len() == first + 1 {
            let (before, run) = (&self.runs[first - 1], &self.runs[first]);
            if before.partition == run.partition && before.offset + before.count == run.offset {
                self.runs[first - 1].count += run.count;
                self.runs.pop_back();
            }
        }
    }

    /// Moves out those up to a ticket.
    pub(crate) fn take(&mut self, upto: Ticket, out: &mut Vec<Placed>) {
        while let Some(run) = self.runs.front_mut() {
            let count = run.count.min((upto.0 + 1).saturating_sub(run.ticket));
            out.extend((0..count).map(|i| Placed {
                ticket: Ticket(run.ticket + i),
                partition: Partition(run.partition),
                offset: Offset(run.offset + i),
            }));
            run.ticket += count;
            run.offset += count;
            run.count -= count;
            if run.count > 0 {
                return;
            }
            self.runs.pop_front();
        }
    }
}
