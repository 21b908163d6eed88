//! Frames as they lie, for who reads them elsewhere: not the bytes, but where they are.
//!
//! Only heads are looked at here. What is in the bodies is checked by who reads them (`queue::wire`), so that nobody
//! touches them on the way: the kernel copies them from the page cache to the socket.
//!
//! Who holds a slice holds its file. A segment that is dropped meanwhile is not used again while somebody does, since its
//! bytes would change under a slow reader; it is removed, and lives on for those who have it open (`retention`).

use super::{Segments, fetch::Takes, view::Route, walk::Walk};
use contracts::{
    file::FileSlice,
    queue::{FetchLimit, LogError, Offset, Partition, Stored, StoredSlice},
};
use queue::{codec, disk::DataFile, frame::Head, wire};
use std::{io, mem, sync::Arc};

/// Neighbours of fewer bytes are copied together: a slice of its own costs system calls, whatever is in it.
const SLICE_BYTES_MIN: u64 = 16 << 10;

impl Segments {
    /// See [`queue::slots::Store::fetch_stored`].
    pub(super) fn read_stored(
        &self,
        partition: Partition,
        from: Offset,
        limit: FetchLimit,
    ) -> Result<Stored, LogError> {
        let mut runs = Runs { limit, records: 0, bytes: 0, runs: Vec::new() };
        let next = self.read_into(partition, from, &mut runs)?;
        Ok(Stored { slices: runs.into_slices(), next })
    }
}

/// Takes where frames lie.
struct Runs {
    limit: FetchLimit,
    /// In the frames that were taken.
    records: u64,
    bytes: u64,
    runs: Vec<Run>,
}

/// Whole frames, one behind the other.
struct Run {
    file: Arc<dyn DataFile>,
    seed: u32,
    at: u64,
    bytes: u64,
}

impl Takes for Runs {
    fn walk(route: &Route, at: u64) -> Walk {
        Walk::new(route.file.clone(), route.seed, at, route.end_at).of_heads()
    }

    /// Frames are taken as a whole. A limit counts what comes out of them, not what goes over the wire.
    fn take(&mut self, walk: &mut Walk, head: &Head, next: &mut u64) -> io::Result<Option<bool>> {
        let (at, bytes, body_bytes) = (walk.at(), head.frame_bytes(), head.body_bytes as usize);
        let unpacked = codec::unpacked_bytes(head.codec, body_bytes, walk.begin_of_body(head)?);
        let Some(unpacked) = unpacked.filter(|_| at + bytes <= walk.end()) else { return Ok(None) };
        let (records, unpacked) = (self.records + u64::from(head.count), self.bytes + unpacked as u64);
        let is_within = records <= self.limit.records_max as u64 && unpacked <= self.limit.bytes_max as u64;
        if !self.runs.is_empty() && !is_within {
            return Ok(Some(false));
        }
        (self.records, self.bytes) = (records, unpacked);
        self.push(walk, at, bytes);
        *next = head.next_offset();
        Ok(Some(true))
    }
}

impl Runs {
    fn push(&mut self, walk: &Walk, at: u64, bytes: u64) {
        match self.runs.last_mut() {
            Some(run) if Arc::ptr_eq(&run.file, walk.file()) && run.at + run.bytes == at => {
                run.bytes += bytes
            }
            _ => self.runs.push(Run { file: walk.file().clone(), seed: walk.seed(), at, bytes }),
        }
    }

    /// Long runs stay where they are; short ones of one segment come together.
    fn into_slices(self) -> Vec<StoredSlice> {
        let (mut slices, mut together, mut seed) = (Vec::new(), Vec::new(), 0);
        for run in self.runs {
            if run.seed != seed {
                flush(&mut together, seed, &mut slices);
                seed = run.seed;
            }
            if run.bytes < SLICE_BYTES_MIN && run.is_copied_to(&mut together) {
                continue;
            }
            flush(&mut together, seed, &mut slices);
            let Run { file, at, bytes, .. } = run;
            slices.push(StoredSlice { seed, slice: FileSlice { file, at, bytes } });
        }
        flush(&mut together, seed, &mut slices);
        slices
    }
}

impl Run {
    /// What cannot be read here is left to who sends it, and says so.
    fn is_copied_to(&self, out: &mut Vec<u8>) -> bool {
        let before = out.len();
        out.resize(before + usize::try_from(self.bytes).unwrap_or_default(), 0);
        let copied = self.file.read_at(self.at, &mut out[before..]).is_ok();
        if !copied {
            out.truncate(before);
        }
        copied
    }
}

fn flush(together: &mut Vec<u8>, seed: u32, slices: &mut Vec<StoredSlice>) {
    if !together.is_empty() {
        slices.push(StoredSlice { seed, slice: wire::in_memory(mem::take(together)) });
    }
}
