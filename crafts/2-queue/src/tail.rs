//! The end of the log: the one place that writes frames.
//!
//! Whoever holds the tail writes everything that stands in the line, in one write: frames of many producers and many
//! partitions side by side. Readers do not need the lock, they see what the view shows, and the view is told after the
//! write.
//!
//! A write that fails leaves bytes behind the tail that nobody is told of; the next write covers them, with the same
//! frames at the same offsets, since the line keeps its order.

use crate::{
    disk::{self, DataFile},
    frame::{self, HEAD_BYTES, Head, Kind},
    index::{Index, Table},
    log::Shared,
    pending::Line,
    segment::{self, FIRST_FRAME, Header},
    sync::UNSYNCED_BYTES,
    view::Segment,
};
use contracts::queue::LogError;
use std::{
    io, mem,
    path::Path,
    sync::{Arc, atomic::Ordering},
};

/// A file grows by as much as it has, but at least and at most by this, ahead of the frames and filled with zeros.
const GROW_BYTES_MIN: u64 = 64 << 10;
const GROW_BYTES_MAX: u64 = 4 << 20;

/// Where the next frame goes.
pub(crate) struct Tail {
    pub(crate) file: Arc<dyn DataFile>,
    pub(crate) number: u64,
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
    /// The number of the last batch that is written.
    pub(crate) written: u64,
    /// Taken out of the line, and not all written yet.
    pub(crate) taken: Line,
    /// How many of its bytes are written, and how many of its batches.
    pub(crate) bytes_done: usize,
    pub(crate) batches_done: usize,
    /// The frames of one write; kept for its memory.
    pub(crate) placed: Vec<(Head, u64)>,
    /// Bytes since the log was last called to sync.
    pub(crate) unsynced: u64,
}

impl Tail {
    /// Gives the next frames their places, as many as the segment takes; returns their bytes.
    fn place(&mut self, segment_bytes_max: u64, time_ms: u64, synced: u64) -> usize {
        self.placed.clear();
        let (mut from, mut at) = (self.bytes_done, self.at);
        while let Some(mut head) = self.taken.bytes[from..].first_chunk::<HEAD_BYTES>().and_then(Head::read) {
            let bytes = head.frame_bytes();
            // A frame that is longer than a segment has one for itself.
            let is_alone = self.fresh && self.placed.is_empty();
            if at + bytes > segment_bytes_max && !is_alone {
                break;
            }
            (head.sequence, head.synced) = (self.sequence + self.placed.len() as u64, synced);
            (head.epoch, head.time_ms) = (self.epoch, time_ms);
            head.put(self.seed, &mut self.taken.bytes[from..]);
            self.placed.push((head, at));
            at += bytes;
            from += usize::try_from(bytes).unwrap_or(usize::MAX);
        }
        from - self.bytes_done
    }

    /// Goes behind the frames that were placed and are written now.
    fn pass(&mut self, bytes: usize) {
        self.at += bytes as u64;
        self.sequence += self.placed.len() as u64;
        self.fresh = false;
        self.bytes_done += bytes;
        while self.taken.ends.get(self.batches_done).is_some_and(|end| *end <= self.bytes_done) {
            self.batches_done += 1;
            self.written += 1;
        }
    }
}

impl Shared {
    /// Writes all that stands in the line.
    ///
    /// # Errors
    /// [`LogError::Full`]: what could not be written still waits, and trying again may help. [`LogError::Failed`]:
    /// nothing will.
    pub(crate) fn write(&self) -> Result<(), LogError> {
        self.write_with(&mut self.tail.lock())
    }

    /// The same, for who holds the tail.
    pub(crate) fn write_with(&self, tail: &mut Tail) -> Result<(), LogError> {
        while self.has_frames(tail) {
            self.healthy()?;
            let synced = self.progress.synced_sequence();
            let bytes = tail.place(self.config.segment_bytes_max, (self.outside.now_ms)(), synced);
            if bytes == 0 {
                self.roll(tail)?;
            } else {
                self.write_placed(tail, bytes)?;
            }
        }
        // Only a hint to producers whether trying is worth while: no other memory hangs on it.
        if self.full.load(Ordering::Relaxed) {
            self.full.store(false, Ordering::Relaxed);
            self.progress.wake();
        }
        Ok(())
    }

    /// Whether anything waits. Takes the line if what was taken before is written.
    fn has_frames(&self, tail: &mut Tail) -> bool {
        if tail.bytes_done == tail.taken.bytes.len() {
            tail.taken.clear();
            (tail.bytes_done, tail.batches_done) = (0, 0);
            mem::swap(&mut tail.taken, &mut self.pending.lock().line);
        }
        tail.bytes_done < tail.taken.bytes.len()
    }

    /// One write of the frames that were placed: all of it, or as if nothing of it.
    fn write_placed(&self, tail: &mut Tail, bytes: usize) -> Result<(), LogError> {
        if self.view.lock().bytes() + bytes as u64 > self.config.retained_bytes_max {
            return Err(self.is_now_full());
        }
        self.grow(tail, tail.at + bytes as u64);
        let frames = &tail.taken.bytes[tail.bytes_done..tail.bytes_done + bytes];
        tail.file.write_at(tail.at, frames).map_err(|e| self.refuses(tail.file.path(), &e))?;
        tail.pass(bytes);
        tail.file_bytes = tail.file_bytes.max(tail.at);
        self.view.lock().extend(&tail.placed, tail.at);
        self.appended.notify_all();
        self.progress.has_written(tail.written);
        tail.unsynced += bytes as u64;
        if tail.unsynced >= UNSYNCED_BYTES {
            tail.unsynced = 0;
            self.progress.call();
        }
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
        self.write_end(tail).map_err(|e| self.refuses(tail.file.path(), &e))?;
        self.sync_file(&*tail.file)?;
        self.progress.has_synced(tail.sequence, tail.written);
        self.retire_by_policy();
        self.begin_segment(tail)
    }

    /// Puts the segment's index at the end of its file: the head last, where one looks for it.
    fn write_end(&self, tail: &Tail) -> io::Result<()> {
        let body = self.view.lock().last().index.encode(tail.at);
        let mut head = [0; HEAD_BYTES];
        let synced = self.progress.synced_sequence();
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
            number: tail.number + 1,
            salt: (self.outside.salt)(),
            first_sequence: tail.sequence,
            created_ms: (self.outside.now_ms)(),
            epoch: tail.epoch,
            recycled: spare.is_some(),
        };
        let (seed, next) = (self.outside.guards.seed(header.salt), self.view.lock().next().to_vec());
        let table = Table { known_until: 0, next: next.clone() };
        let first = epoch_frame(seed, tail.sequence, tail.epoch, header.created_ms, &table);
        let synced_first = self.outside.guards.head_first;
        let begun = segment::begin(&*self.outside.disk, spare.as_deref(), &header, &first, synced_first)
            .and_then(|file| Ok((file.bytes()?, file)));
        let (file_bytes, file) = begun.map_err(|e| {
            self.spares.lock().extend(spare);
            self.refuses(&self.outside.disk.path(&segment::name(header.number)), &e)
        })?;
        tail.file = file.clone();
        (tail.number, tail.seed, tail.fresh) = (header.number, seed, true);
        (tail.at, tail.file_bytes) = (FIRST_FRAME + first.len() as u64, file_bytes);
        tail.sequence += 1;
        let index = Index::new(&next);
        self.view.lock().roll(Segment { number: tail.number, file, seed, end: tail.at, index });
        Ok(())
    }

    /// Says, durably, that from here on this opening writes; before this no record is taken. What an earlier opening left
    /// behind the tail has a lower epoch, and can never be taken for ours.
    pub(crate) fn announce(&self, known_until: u64) -> Result<(), LogError> {
        let mut tail = self.tail.lock();
        let tail = &mut *tail;
        // What recovery has found may lie in the page cache only. The frame says that it is on disk, so it must be.
        self.sync_file(&*tail.file)?;
        self.progress.has_synced(tail.sequence, tail.written);
        if !self.outside.guards.announced {
            return Ok(());
        }
        let next = self.view.lock().next().to_vec();
        let (table, time_ms) = (Table { known_until, next }, (self.outside.now_ms)());
        let frame = epoch_frame(tail.seed, tail.sequence, tail.epoch, time_ms, &table);
        let end = tail.at + frame.len() as u64;
        if end > self.config.segment_bytes_max && !tail.fresh {
            return self.roll(tail);
        }
        tail.file.write_at(tail.at, &frame).map_err(|e| self.refuses(tail.file.path(), &e))?;
        self.sync_file(&*tail.file)?;
        tail.at = end;
        tail.file_bytes = tail.file_bytes.max(end);
        tail.sequence += 1;
        self.view.lock().extend(&[], end);
        self.progress.has_synced(tail.sequence, tail.written);
        Ok(())
    }

    /// After an error that nobody was told good news of: back-pressure if more room would have helped.
    fn refuses(&self, path: &Path, error: &io::Error) -> LogError {
        if disk::is_full(error) { self.is_now_full() } else { self.breaks(path, error) }
    }

    fn is_now_full(&self) -> LogError {
        self.full.store(true, Ordering::Relaxed);
        LogError::Full
    }
}

/// The first frame of a segment, or of an opening. Everything before it is on disk.
pub(crate) fn epoch_frame(seed: u32, sequence: u64, epoch: u32, time_ms: u64, table: &Table) -> Vec<u8> {
    let body = table.encode();
    let head = Head { sequence, synced: sequence, epoch, time_ms, ..Head::of(Kind::Epoch, 0, 0, &body) };
    frame::whole(&head, seed, &body)
}
