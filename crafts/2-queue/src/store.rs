//! Slot: where records lie. One sequence of frames for all partitions, cut into segment files that are used again.
//!
//! ```text
//! line ──▶ tail ─────────▶ segment files ──▶ walk ──▶ fetch
//!          (one writes     (page cache,      (pread)
//!           for all)        disk)
//!           └──▶ view: what lies where ───────▲
//! ```
//!
//! | file | owns |
//! |---|---|
//! | `tail` | the one place that writes frames, grows files and rolls over to the next |
//! | `index`, `view` | which record lies in which file, for readers |
//! | `walk`, `fetch` | from bytes to frames to records, everything checked |
//! | `stored` | frames as they lie, for who reads them elsewhere |
//! | `retention` | what nobody needs any more |
//! | `segment` | a file's name and head |
//! | `recovery`, `scan` | what a crash left, made whole again |
//! | `verify` | all of it read and held against its checksums |
//!
//! Invariants:
//!
//! * A record is visible to readers only after its write has returned.
//! * All segments but the last are whole, end with their index, and have been synced.
//! * A segment has its name only after its head is on disk, and frames only after its name is.
//! * No record is taken by an opening that has not said, on disk, that it writes.
//! * A failed fsync breaks the log for good: the kernel may have dropped the pages, and a second fsync that succeeds
//!   would say nothing about them.

mod tail;

mod index;
mod view;

mod fetch;
mod stored;
mod walk;

mod retention;

mod segment;

mod recovery;
mod scan;

mod verify;

#[cfg(test)]
mod tests;

use contracts::queue::{Ack, Bounds, FetchLimit, LogError, Offset, Partition, Records, Stored};
use parking_lot::Mutex;
use queue::{
    batches::Batches,
    disk::{DataFile, Disk},
    frame,
    line::Pending,
    marks::Marks,
    open::{LogConfig, OpenError, Recovery, Verified, io_error},
    outside::Outside,
    slots::{Store, Unpack},
};
use recovery::Opened;
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tail::Tail;
use view::View;

/// One log in recycled segments.
///
/// Locks are taken in the order `tail`, `spares`, line, `view`, and no file is read or written under that of `view`, which
/// everybody needs.
#[derive(Debug)]
pub struct Segments {
    config: LogConfig,
    outside: Arc<Outside>,
    guards: Guards,
    marks: Marks,
    /// Held by who writes.
    tail: Mutex<Tail>,
    /// Files that wait to become segments again, by name.
    spares: Mutex<Vec<String>>,
    view: Mutex<View>,
    /// All frames before this sequence are on disk. Stored after the sync, and loaded by who holds the tail.
    synced_sequence: AtomicU64,
}

/// What keeps recovery from taking for a record what is none. All of them, but for tests that show what each is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Guards {
    /// A frame's sequence is one more than that of the frame before.
    sequence: bool,
    /// Checksums begin with the segment's salt.
    salt: bool,
    /// The epoch never falls …
    epoch: bool,
    /// … and is on disk before the first record that has it.
    announced: bool,
    /// A segment's head is on disk before it has its name.
    head_first: bool,
    /// A frame says what was on disk when it was written: so damage is told from what was torn.
    synced_mark: bool,
}

impl Guards {
    const ALL: Self = Self {
        sequence: true,
        salt: true,
        epoch: true,
        announced: true,
        head_first: true,
        synced_mark: true,
    };

    fn seed(self, salt: u64) -> u32 {
        if self.salt { frame::seed(salt) } else { 0 }
    }
}

impl Store for Segments {
    const ACK_MAX: Ack = Ack::Disk;

    fn open(outside: &Arc<Outside>, config: &LogConfig) -> Result<(Self, Recovery), OpenError> {
        Self::open_guarded(outside, config, Guards::ALL)
    }

    fn verify(disk: &dyn Disk) -> Result<Verified, OpenError> {
        verify::verify(disk)
    }

    fn marks(&self) -> &Marks {
        &self.marks
    }

    fn append(&self, line: &Mutex<Pending>) -> Result<(), LogError> {
        self.write(&mut self.tail.lock(), line)
    }

    fn sync(&self) -> Result<(), LogError> {
        let (file, sequence, written) = {
            let tail = self.tail.lock();
            self.marks.begins_sync();
            (tail.file.clone(), tail.sequence, tail.taken.written())
        };
        if sequence > self.synced_sequence() {
            // All segments before the last have been synced.
            self.sync_file(&*file)?;
            self.has_synced(sequence, written);
        }
        Ok(())
    }

    fn bounds(&self, partition: Partition) -> Bounds {
        self.view.lock().bounds(partition.0 as usize)
    }

    fn fetch(
        &self,
        partition: Partition,
        from: Offset,
        limit: FetchLimit,
        unpack: Unpack,
        out: &mut Records,
    ) -> Result<(), LogError> {
        self.read(partition, from, limit, unpack, out)
    }

    fn fetch_stored(
        &self,
        partition: Partition,
        from: Offset,
        limit: FetchLimit,
    ) -> Result<Option<Stored>, LogError> {
        self.read_stored(partition, from, limit).map(Some)
    }

    fn batches(&self) -> Batches {
        self.tail.lock().batches.clone()
    }

    fn offset_at(&self, partition: Partition, time_ms: u64) -> Offset {
        Offset(self.view.lock().offset_at(partition.0 as usize, time_ms))
    }

    fn retire_consumed(&self, done: &[u64]) -> Result<(), LogError> {
        self.retire(|_, _, next| done.iter().enumerate().all(|(p, done)| next.index.base(p) <= *done))
    }

    fn retire_by_policy(&self) {
        self.retire_by_size_and_age();
    }
}

impl Segments {
    fn open_guarded(
        outside: &Arc<Outside>,
        config: &LogConfig,
        guards: Guards,
    ) -> Result<(Self, Recovery), OpenError> {
        let Opened { view, tail, spares, recovery, known_until, announced } =
            recovery::open(outside, config, guards)?;
        let segments = Self {
            config: config.clone(),
            outside: outside.clone(),
            guards,
            marks: Marks::default(),
            tail: Mutex::new(tail),
            spares: Mutex::new(spares),
            view: Mutex::new(view),
            synced_sequence: AtomicU64::new(0),
        };
        if !announced {
            let failed = |e| io_error(&outside.disk.path(""), io::Error::other(e));
            segments.announce(known_until).map_err(failed)?;
        }
        Ok((segments, recovery))
    }

    fn synced_sequence(&self) -> u64 {
        self.synced_sequence.load(Ordering::Acquire)
    }

    fn has_synced(&self, sequence: u64, batch: u64) {
        self.synced_sequence.fetch_max(sequence, Ordering::Release);
        self.marks.has_synced(batch);
    }

    /// Syncs a file, or breaks the log.
    fn sync_file(&self, file: &dyn DataFile) -> Result<(), LogError> {
        self.marks.counts_sync();
        file.sync().map_err(|e| self.marks.breaks(file.path(), &e))
    }
}
