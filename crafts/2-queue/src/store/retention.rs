//! Which segments nobody needs any more, and what becomes of their files.
//!
//! A segment goes when every group has committed past its records; and also, where the log was told so, when the log is
//! larger or the segment older than it should be. The last one always stays: it says which offset comes next. A file
//! that has gone is kept, under another name, to become a segment again: its blocks are there already.

use super::{
    Segments, segment,
    view::{Segment, View},
};
use contracts::queue::LogError;
use std::{io, sync::Arc};

/// Files kept to be used again; with retention one goes for each that comes.
pub(crate) const SPARES_MAX: usize = 2;

impl Segments {
    /// Drops what is over the size or the age that the log was told. What cannot be removed now is tried again later.
    pub(super) fn retire_by_size_and_age(&self) {
        let (bytes_max, age_max) = (self.config.retention_bytes_max, self.config.retention_age_max);
        if bytes_max.is_none() && age_max.is_none() {
            return;
        }
        let age_ms_max = age_max.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        let now_ms = (self.outside.now_ms)();
        let _ = self.retire(|view, oldest, _| {
            let too_old = age_ms_max.is_some_and(|max| oldest.index.newest_ms().saturating_add(max) < now_ms);
            too_old || bytes_max.is_some_and(|max| view.bytes() > max)
        });
    }

    /// Drops the oldest segment as long as it may go: whenever this ends, there is no gap.
    pub(super) fn retire(&self, may_go: impl Fn(&View, &Segment, &Segment) -> bool) -> Result<(), LogError> {
        // Held throughout: two who retire must not meet at one file.
        let mut spares = self.spares.lock();
        loop {
            let (number, file) = {
                let view = self.view.lock();
                match view.oldest() {
                    Some((oldest, next)) if may_go(&view, oldest, next) => {
                        (oldest.number, oldest.file.clone())
                    }
                    _ => return Ok(()),
                }
            };
            let failed = |e| LogError::Failed(format!("{}: {e}", file.path().display()));
            let fits = file.bytes().map_err(failed)? <= self.spare_bytes_max();
            let spare = (fits && spares.len() < SPARES_MAX).then(|| segment::spare_name(number));
            self.take_name(number, spare.as_deref()).map_err(failed)?;
            self.view.lock().forget(number);
            // Nobody finds a way to it any more. Who is on the way already holds the file, and must not see it change.
            match spare {
                Some(spare) if Arc::strong_count(&file) > 1 => {
                    self.outside.disk.remove(&spare).map_err(failed)?
                }
                spare => spares.extend(spare),
            }
        }
    }

    /// Takes a segment's name from its file, durably: it must not come back once something else stands in the file.
    fn take_name(&self, number: u64, spare: Option<&str>) -> io::Result<()> {
        let (disk, name) = (&self.outside.disk, segment::name(number));
        let taken = match spare {
            Some(spare) => disk.rename(&name, spare),
            None => disk.remove(&name),
        };
        match taken {
            // It was taken before, and only the sync of that has failed.
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => disk.sync_names(),
        }
    }

    /// No longer than a segment and its index.
    fn spare_bytes_max(&self) -> u64 {
        self.config.segment_bytes_max + self.config.segment_bytes_max / 4
    }
}
