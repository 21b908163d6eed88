//! How far a store is: what is written, what is on disk, whether it is full or broken, and who waits for records.
//!
//! A store tells its marks; the commit slot, the producers and the readers look at them. Whatever fills the slots, all of
//! them mean the same by it.

use crate::disk;
use contracts::queue::{Ack, LogError};
use parking_lot::{Condvar, Mutex};
use std::{
    io,
    path::Path,
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

/// Of one store.
#[derive(Debug, Default)]
pub struct Marks {
    /// The number of the last batch that is written, and of the last that is on disk. Stored with Release after the
    /// write or the sync, loaded with Acquire before a ticket settles.
    written: AtomicU64,
    synced: AtomicU64,
    /// Bytes since the last sync was begun or asked for. A hint: nothing else hangs on it.
    unsynced_bytes: AtomicU64,
    /// How often a file was synced.
    syncs: AtomicU64,
    /// Whether the last write found no room. A hint to producers whether trying is worth while.
    full: AtomicBool,
    /// Why nothing goes on, once that is so.
    broken: OnceLock<String>,
    /// Counts what readers may wait for: writes, and that the log broke.
    arrivals: Mutex<u64>,
    arrived: Condvar,
}

impl Marks {
    /// The number of the last batch that is safe at this level, with this store alone.
    pub fn reached(&self, ack: Ack) -> u64 {
        let of = if ack == Ack::Disk { &self.synced } else { &self.written };
        of.load(Ordering::Acquire)
    }

    /// How often a file was synced.
    pub fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::Relaxed)
    }

    /// Everything up to this batch is written, so many bytes more, and can be fetched.
    pub fn has_written(&self, batch: u64, bytes: u64) {
        self.unsynced_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.written.fetch_max(batch, Ordering::Release);
        self.tell_readers();
    }

    /// A sync of everything that is written begins.
    pub fn begins_sync(&self) {
        self.unsynced_bytes.store(0, Ordering::Relaxed);
    }

    /// A file is about to be synced.
    pub fn counts_sync(&self) {
        self.syncs.fetch_add(1, Ordering::Relaxed);
    }

    /// Everything up to this batch is on disk.
    pub fn has_synced(&self, batch: u64) {
        self.synced.fetch_max(batch, Ordering::Release);
    }

    /// Whether so many bytes were written since a sync was last begun, or asked for here.
    pub fn wants_sync(&self, bytes: u64) -> bool {
        let wanted = self.unsynced_bytes.load(Ordering::Relaxed) >= bytes;
        if wanted {
            self.begins_sync();
        }
        wanted
    }

    /// Whether the last write found no room.
    pub fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// Notes that there was no room, and says so.
    pub fn found_no_room(&self) -> LogError {
        self.full.store(true, Ordering::Relaxed);
        LogError::Full
    }

    /// Notes that there was.
    pub fn found_room(&self) {
        if self.is_full() {
            self.full.store(false, Ordering::Relaxed);
        }
    }

    /// # Errors
    /// Why the log is broken, if it is.
    pub fn healthy(&self) -> Result<(), LogError> {
        self.broken.get().map_or(Ok(()), |why| Err(LogError::Failed(why.clone())))
    }

    /// Breaks the log for good: opened again, it is whole again.
    pub fn breaks(&self, path: &Path, error: &io::Error) -> LogError {
        let why = self.broken.get_or_init(|| format!("{}: {error}", path.display()));
        self.tell_readers();
        LogError::Failed(why.clone())
    }

    /// After an error that nobody was told good news of: back-pressure if more room would have helped.
    pub fn refuses(&self, path: &Path, error: &io::Error) -> LogError {
        if disk::is_full(error) { self.found_no_room() } else { self.breaks(path, error) }
    }

    /// How often something has arrived.
    pub fn arrivals(&self) -> u64 {
        *self.arrivals.lock()
    }

    /// Waits until more has arrived than was `seen`; says whether it has.
    pub fn wait_for_arrival(&self, seen: u64, deadline: Instant) -> bool {
        let mut arrivals = self.arrivals.lock();
        while *arrivals == seen {
            if self.arrived.wait_until(&mut arrivals, deadline).timed_out() {
                return *arrivals != seen;
            }
        }
        true
    }

    fn tell_readers(&self) {
        *self.arrivals.lock() += 1;
        self.arrived.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn marks_only_rise_and_a_reason_to_sync_is_given_once() {
        let marks = Marks::default();
        marks.has_written(3, 100);
        marks.has_written(2, 100);
        marks.has_synced(2);
        marks.has_synced(1);
        let reached = [Ack::Memory, Ack::Os, Ack::Disk].map(|ack| marks.reached(ack));
        assert_eq!(reached, [3, 3, 2]);
        assert!(!marks.wants_sync(201) && marks.wants_sync(200) && !marks.wants_sync(1));
    }

    #[test]
    fn who_waits_is_told_of_what_came_after_it_looked() {
        let marks = Marks::default();
        let seen = marks.arrivals();
        let soon = Instant::now() + Duration::from_millis(1);
        assert!(!marks.wait_for_arrival(seen, soon));
        marks.has_written(1, 1);
        assert!(marks.wait_for_arrival(seen, soon), "although it came before the wait");
    }

    #[test]
    fn what_broke_the_log_first_is_what_is_told() {
        let marks = Marks::default();
        let full = io::Error::from(io::ErrorKind::StorageFull);
        assert_eq!(marks.refuses(Path::new("a"), &full), LogError::Full);
        assert!(marks.is_full() && marks.healthy().is_ok());
        marks.found_room();
        assert!(!marks.is_full());
        let why = marks.refuses(Path::new("a"), &io::Error::other("gone"));
        assert_eq!(why, LogError::Failed("a: gone".to_owned()));
        assert_eq!(marks.breaks(Path::new("b"), &full), why);
        assert_eq!(marks.healthy(), Err(why));
    }
}
