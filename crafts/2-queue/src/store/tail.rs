//! The end of the log: the one place that writes frames.
//!
//! Whoever holds the tail writes everything that stands in the line, in one write: frames of many producers and many
//! partitions side by side. Readers do not need the lock, they see what the view shows, and the view is told after the
//! write.
//!
//! A write that fails leaves bytes behind the tail that nobody is told of; the next write covers them, with the same
//! frames at the same offsets, since the line keeps its order.

use super::{
    Segments,
    index::{Index, Table},
    segment::{self, FIRST_FRAME, Header},
    view::Segment,
};
use contracts::queue::LogError;
use parking_lot::Mutex;
use queue::{
    batches::{Batches, Kept},
    disk::{self, DataFile},
    frame::{self, HEAD_BYTES, Head, Kind},
    line::{Pending, Taken},
};
use std::{io, sync::Arc};

/// A file grows by as much as it has, but at least and at most by this, ahead of the frames and filled with zeros.
const GROW_BYTES_MIN: u64 = 64 << 10;
const GROW_BYTES_MAX: u64 = 4 << 20;

/// Where the next frame goes.
#[derive(Debug)]
pub(crate) struct Tail {
    pub(crate) file: Arc<dyn DataFile>,
    pub(crate) number: u64,
    /// Of the format of this segment.
    pub(crate) version: u8,
    pub(crate) seed: u32,
    /// Behind the last whole frame.
    pub(crate) at: u64,
    /// How far the file has blocks.
    pub(crate) file_bytes: u64,
    /// Whether the segment holds no record yet.
    pub(crate) fresh: bool,
    /// Of the next frame.
    pub(crate) sequence: u64,
    /// Of this opening.
    pub(crate) epoch: u32,
    /// The identified batches that are written: the next segment begins with them.
    pub(crate) batches: Batches,
    /// Taken out of the line, and not all written yet.
    pub(crate) taken: Taken,
    /// The frames of one write; kept for its memory.
    pub(crate) placed: Vec<(Head, u64)>,
}

impl Tail {
    /// Gives the next frames their places, as many as the segment takes; returns their bytes.
    fn place(&mut self, segment_bytes_max: u64, time_ms: u64, synced: u64) -> usize {
        self.placed.clear();
        let (mut from, mut at) = (0, self.at);
        let frames = self.taken.rest_mut();
        while let Some(mut head) = frames[from..].first_chunk::<HEAD_BYTES>().and_then(Head::read) {
            let bytes = head.frame_bytes();
            // A frame that is longer than a segment has one for itself.
            let is_alone = self.fresh && self.placed.is_empty();
            if at + bytes > segment_bytes_max && !is_alone {
                break;
            }
            (head.sequence, head.synced) = (self.sequence + self.placed.len() as u64, synced);
            (head.epoch, head.time_ms) = (self.epoch, time_ms);
            head.put(self.seed, &mut frames[from..]);
            self.placed.push((head, at));
            at += bytes;
            from += usize::try_from(bytes).unwrap_or(usize::MAX);
        }
        from
    }

    /// Goes behind the frames that were placed and are written now.
    fn pass(&mut self, bytes: usize) {
        self.at += bytes as u64;
        self.file_bytes = self.file_bytes.max(self.at);
        self.sequence += self.placed.len() as u64;
        self.fresh = false;
        self.taken.pass(bytes);
        for (head, _) in self.placed.iter().filter(|(head, _)| head.producer != 0) {
            self.batches.learn(head.producer, head.partition, Kept::of(head));
        }
    }
}

impl Segments {
    /// Writes all that stands in the line.
    pub(super) fn write(&self, tail: &mut Tail, line: &Mutex<Pending>) -> Result<(), LogError> {
        while tail.taken.refill(line) {
            self.marks.healthy()?;
            let (now_ms, synced) = ((self.outside.now_ms)(), self.synced_sequence());
            let bytes = tail.place(self.config.segment_bytes_max, now_ms, synced);
            if bytes == 0 {
                self.roll(tail)?;
            } else {
                self.write_placed(tail, bytes)?;
            }
        }
        self.marks.found_room();
        Ok(())
    }

    /// One write of the frames that were placed: all of it, or as if nothing of it.
    fn write_placed(&self, tail: &mut Tail, bytes: usize) -> Result<(), LogError> {
        if self.view.lock().bytes() + bytes as u64 > self.config.retained_bytes_max {
            return Err(self.marks.found_no_room());
        }
        self.grow(tail, tail.at + bytes as u64);
        let frames = &tail.taken.rest()[..bytes];
        tail.file.write_at(tail.at, frames).map_err(|e| self.marks.refuses(tail.file.path(), &e))?;
        tail.pass(bytes);
        self.view.lock().extend(&tail.placed, tail.at);
        self.marks.has_written(tail.taken.written(), bytes as u64);
        Ok(())
    }

    /// Has the file grow ahead of the frames. A sync that finds blocks where it writes is spared the file system's own
    /// books. That there is no room for it is no error: the frames themselves may fit.
    fn grow(&self, tail: &mut Tail, upto: u64) {
        if upto <= tail.file_bytes || tail.file_bytes >= self.config.segment_bytes_max {
            return;
        }
        let more = tail.file_bytes.clamp(GROW_BYTES_MIN, GROW_BYTES_MAX);
        let to = (upto + more).min(self.config.segment_bytes_max);
        if disk::zero_fill(&*tail.file, tail.file_bytes, to).is_ok() {
            tail.file_bytes = tail.file_bytes.max(to);
        }
    }

    /// Closes the segment, whole and synced, and begins another.
    fn roll(&self, tail: &mut Tail) -> Result<(), LogError> {
        self.write_end(tail).map_err(|e| self.marks.refuses(tail.file.path(), &e))?;
        self.sync_file(&*tail.file)?;
        self.has_synced(tail.sequence, tail.taken.written());
        self.retire_by_size_and_age();
        self.begin_segment(tail)
    }

    /// Puts the segment's index at the end of its file: the head last, where one looks for it.
    fn write_end(&self, tail: &Tail) -> io::Result<()> {
        let body = self.view.lock().last().index.encode(tail.at);
        let mut head = [0; HEAD_BYTES];
        let synced = self.synced_sequence();
        let end =
            Head { sequence: tail.sequence, synced, epoch: tail.epoch, ..Head::of(Kind::End, 0, 0, &body) };
        end.put(tail.seed, &mut head);
        let bytes = [&body[..], &head[..]].concat();
        let file_bytes = tail.file.bytes()?.max(tail.at + bytes.len() as u64);
        tail.file.write_at(file_bytes - bytes.len() as u64, &bytes)
    }

    fn begin_segment(&self, tail: &mut Tail) -> Result<(), LogError> {
        let spare = self.spares.lock().pop();
        let header = Header {
            version: segment::VERSION,
            number: tail.number + 1,
            salt: (self.outside.salt)(),
            first_sequence: tail.sequence,
            created_ms: (self.outside.now_ms)(),
            epoch: tail.epoch,
            recycled: spare.is_some(),
        };
        let (seed, next) = (self.guards.seed(header.salt), self.view.lock().next().to_vec());
        let table = Table { known_until: 0, next: next.clone() };
        let mut first = epoch_frame(seed, tail.sequence, tail.epoch, header.created_ms, &table);
        let mut sequence = tail.sequence + 1;
        if !tail.batches.is_empty() {
            let head = Head { sequence, epoch: header.epoch, time_ms: header.created_ms, ..Head::default() };
            first.extend(frame_of_ours(Kind::Batches, seed, head, &tail.batches.encode()));
            sequence += 1;
        }
        let synced_first = self.guards.head_first;
        let begun = segment::begin(&*self.outside.disk, spare.as_deref(), &header, &first, synced_first)
            .and_then(|file| Ok((file.bytes()?, file)));
        let (file_bytes, file) = begun.map_err(|e| {
            self.spares.lock().extend(spare);
            self.marks.refuses(&self.outside.disk.path(&segment::name(header.number)), &e)
        })?;
        tail.file = file.clone();
        (tail.number, tail.version, tail.seed, tail.fresh) = (header.number, header.version, seed, true);
        (tail.at, tail.file_bytes) = (FIRST_FRAME + first.len() as u64, file_bytes);
        tail.sequence = sequence;
        let index = Index::new(&next);
        self.view.lock().roll(Segment { number: tail.number, file, seed, end: tail.at, index });
        Ok(())
    }

    /// Says, durably, that from here on this opening writes; before this no record is taken. What an earlier opening left
    /// behind the tail has a lower epoch, and can never be taken for ours.
    pub(super) fn announce(&self, known_until: u64) -> Result<(), LogError> {
        let mut tail = self.tail.lock();
        let tail = &mut *tail;
        // What recovery has found may lie in the page cache only. The frame says that it is on disk, so it must be.
        self.sync_file(&*tail.file)?;
        self.has_synced(tail.sequence, tail.taken.written());
        if !self.guards.announced {
            return Ok(());
        }
        let next = self.view.lock().next().to_vec();
        let (table, time_ms) = (Table { known_until, next }, (self.outside.now_ms)());
        let frame = epoch_frame(tail.seed, tail.sequence, tail.epoch, time_ms, &table);
        let end = tail.at + frame.len() as u64;
        // A segment of an older format takes nothing of this one.
        let is_full = end > self.config.segment_bytes_max && !tail.fresh;
        if is_full || tail.version < segment::VERSION {
            return self.roll(tail);
        }
        tail.file.write_at(tail.at, &frame).map_err(|e| self.marks.refuses(tail.file.path(), &e))?;
        self.sync_file(&*tail.file)?;
        tail.at = end;
        tail.file_bytes = tail.file_bytes.max(end);
        tail.sequence += 1;
        self.view.lock().extend(&[], end);
        self.has_synced(tail.sequence, tail.taken.written());
        Ok(())
    }
}

/// The first frame of a segment, or of an opening. Everything before it is on disk.
pub(crate) fn epoch_frame(seed: u32, sequence: u64, epoch: u32, time_ms: u64, table: &Table) -> Vec<u8> {
    frame_of_ours(Kind::Epoch, seed, Head { sequence, epoch, time_ms, ..Head::default() }, &table.encode())
}

/// A frame without records, before which everything is on disk when somebody can read it.
fn frame_of_ours(kind: Kind, seed: u32, head: Head, body: &[u8]) -> Vec<u8> {
    let Head { sequence, epoch, time_ms, .. } = head;
    let head = Head { sequence, synced: sequence, epoch, time_ms, ..Head::of(kind, 0, 0, body) };
    frame::whole(&head, seed, body)
}
