//! The end of the log: the one place that writes records.
//!
//! Several producers append under one lock: what each has waiting becomes one write. Readers do not need the lock,
//! they see what the view shows, and the view is told after the write.

use crate::{
    disk::{self, DataFile},
    log::Shared,
    record, segment,
    sync::UNSYNCED_BYTES,
    view::{Place, Segment},
};
use contracts::queue::LogError;
use crc32fast::Hasher;
use std::{
    io,
    path::Path,
    sync::{Arc, atomic::Ordering},
};

/// Where the next record goes.
pub(crate) struct Tail {
    file: Arc<DataFile>,
    /// Behind the last whole record.
    at: u64,
    /// The next record's offset.
    next: u64,
    /// Bytes since the log was last called to sync.
    unsynced: u64,
}

impl Tail {
    pub(crate) fn new(file: Arc<DataFile>, at: u64, next: u64) -> Self {
        Self { file, at, next, unsynced: 0 }
    }

    /// Whether its segment holds no record yet.
    fn is_fresh(&self) -> bool {
        self.at == segment::HEAD_BYTES as u64
    }
}

/// Records that wait to be written, in the bytes that will be written.
#[derive(Default)]
pub(crate) struct Pending {
    bytes: Vec<u8>,
    records: Vec<Waiting>,
    /// How many of the records have been written already.
    written: usize,
}

struct Waiting {
    /// Where it begins in the bytes.
    at: usize,
    /// Its checksum, but for the offset.
    known: Hasher,
}

impl Pending {
    /// How much memory is kept for the next records. One large record must not be paid for ever after.
    const KEPT_BYTES: usize = 1 << 20;

    pub(crate) fn is_empty(&self) -> bool {
        self.written == self.records.len()
    }

    /// Bytes that wait, or have waited since it was last empty.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Takes a copy of a record.
    pub(crate) fn push(&mut self, payload: &[u8]) {
        let at = self.bytes.len();
        let known = record::put(payload, &mut self.bytes);
        self.records.push(Waiting { at, known });
    }

    /// Forgets the last record, which has not been written.
    pub(crate) fn pop(&mut self) {
        if let Some(last) = self.records.pop() {
            self.bytes.truncate(last.at);
        }
    }

    /// Where record number `index` begins; behind the last, where it ends.
    fn at(&self, index: usize) -> usize {
        self.records.get(index).map_or(self.bytes.len(), |record| record.at)
    }

    /// How many records fit into so many bytes.
    fn fitting(&self, room: u64) -> usize {
        let begin = self.at(self.written);
        let fits = |index: &usize| (self.at(index + 1) - begin) as u64 <= room;
        (self.written..self.records.len()).take_while(fits).count()
    }

    /// The bytes of the next records, with offsets from `first` on.
    fn place(&mut self, count: usize, first: u64) -> &[u8] {
        let (begin, end) = (self.written, self.written + count);
        for (index, offset) in (begin..end).zip(first..) {
            let bytes = self.at(index)..self.at(index + 1);
            record::place(&mut self.bytes[bytes], &self.records[index].known, offset);
        }
        &self.bytes[self.at(begin)..self.at(end)]
    }

    /// Where the next records lie, if the first lies at `tail`.
    fn places(&self, count: usize, tail: Place) -> impl Iterator<Item = Place> {
        let begin = self.at(self.written);
        (self.written..self.written + count)
            .zip(tail.offset..)
            .map(move |(index, offset)| Place { offset, at: tail.at + (self.at(index) - begin) as u64 })
    }

    fn forget(&mut self, count: usize) {
        self.written += count;
        if self.is_empty() {
            self.written = 0;
            self.records.clear();
            self.bytes.clear();
            self.bytes.shrink_to(Self::KEPT_BYTES);
            self.records.shrink_to(Self::KEPT_BYTES / size_of::<Waiting>());
        }
    }
}

impl Shared {
    /// Writes what waits, and tells of each record that was written its offset. What could not be written still waits.
    ///
    /// # Errors
    /// [`LogError::Full`]: trying again may help. [`LogError::Failed`]: nothing will.
    pub(crate) fn append(&self, pending: &mut Pending, mut placed: impl FnMut(u64)) -> Result<(), LogError> {
        let mut tail = self.tail.lock();
        while !pending.is_empty() {
            self.healthy()?;
            let room = self.config.segment_bytes_max.saturating_sub(tail.at);
            // A record that is longer than a segment has one for itself.
            let count = pending.fitting(room).max(usize::from(tail.is_fresh()));
            if count == 0 {
                self.roll(&mut tail)?;
                continue;
            }
            self.write(&mut tail, pending, count)?;
            (tail.next - count as u64..tail.next).for_each(&mut placed);
            pending.forget(count);
        }
        Ok(())
    }

    /// One write, all of it or nothing.
    fn write(&self, tail: &mut Tail, pending: &mut Pending, count: usize) -> Result<(), LogError> {
        let begin = Place { offset: tail.next, at: tail.at };
        let bytes = pending.place(count, tail.next);
        if self.view.lock().bytes() + bytes.len() as u64 > self.config.retained_bytes_max {
            return Err(self.is_now_full());
        }
        if let Err(e) = tail.file.write_at(tail.at, bytes) {
            tail.file.cut(tail.at).map_err(|e| self.breaks(tail.file.path(), &e))?;
            return Err(self.refuses(tail.file.path(), &e));
        }
        tail.at += bytes.len() as u64;
        tail.next += count as u64;
        let end = Place { offset: tail.next, at: tail.at };
        self.view.lock().extend(pending.places(count, begin), end);
        self.appended.notify_all();
        tail.unsynced += end.at - begin.at;
        if tail.unsynced >= UNSYNCED_BYTES {
            tail.unsynced = 0;
            self.synced.call();
        }
        // Only a hint to producers whether trying is worth while: no other memory hangs on it.
        self.full.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Closes the segment, whole and synced, and begins another.
    fn roll(&self, tail: &mut Tail) -> Result<(), LogError> {
        tail.file.sync().map_err(|e| self.breaks(tail.file.path(), &e))?;
        let (name, head) = (segment::name(tail.next), segment::head(tail.next));
        let created = self.disk.create_synced(&name, &head).and_then(|()| self.disk.open(&name));
        let file = Arc::new(created.map_err(|e| self.refuses(&self.disk.path(&name), &e))?);
        let at = head.len() as u64;
        self.view.lock().roll(Segment::new(tail.next, file.clone(), at, at));
        *tail = Tail::new(file, at, tail.next);
        Ok(())
    }

    /// After an error that has left nothing behind: back-pressure if more room would have helped.
    fn refuses(&self, path: &Path, error: &io::Error) -> LogError {
        if disk::is_full(error) { self.is_now_full() } else { self.breaks(path, error) }
    }

    fn is_now_full(&self) -> LogError {
        self.full.store(true, Ordering::Relaxed);
        LogError::Full
    }
}
