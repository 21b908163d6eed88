//! Which record lies in which file: what the tail has written, as readers see it.
//!
//! The index has an entry every [`INDEX_BYTES`]: whoever looks for a record begins at the entry before it and walks.
//! It is kept in memory only. For the last segment recovery and the tail fill it; an older one's is filled by whoever
//! walks through it, so that opening a log reads one file and not all.

use crate::disk::DataFile;
use contracts::queue::{Bounds, Offset};
use std::{collections::VecDeque, sync::Arc};

/// Bytes between two entries of the index: 16 KiB of memory for a segment of 64 MiB, and at most one read to skip.
pub(crate) const INDEX_BYTES: u64 = 64 << 10;

/// All segments. Invariant: there is at least one, and each begins where the one before ends.
#[derive(Debug)]
pub(crate) struct View {
    segments: VecDeque<Segment>,
    /// Where the next record will be.
    end: u64,
}

/// One file, as far as it may be read.
#[derive(Debug)]
pub(crate) struct Segment {
    first: u64,
    file: Arc<DataFile>,
    bytes: u64,
    /// Ascending; the first entry is the first record.
    index: Vec<Place>,
}

/// Where a record begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) offset: u64,
    pub(crate) at: u64,
}

/// What to walk through to come to a record.
pub(crate) struct Span {
    pub(crate) file: Arc<DataFile>,
    /// A record at or before the one that is looked for.
    pub(crate) from: Place,
    /// Where the segment ends: the offset behind its last record, and the byte behind that.
    pub(crate) end: Place,
}

impl Segment {
    /// A segment whose records begin at byte `at` and end before byte `bytes`.
    pub(crate) fn new(first: u64, file: Arc<DataFile>, at: u64, bytes: u64) -> Self {
        Self { first, file, bytes, index: vec![Place { offset: first, at }] }
    }

    /// Notes where a record lies, if that is worth an entry.
    pub(crate) fn learn(&mut self, place: Place) {
        if self.index.last().is_none_or(|last| place.at >= last.at + INDEX_BYTES) {
            self.index.push(place);
        }
    }

    /// The same segment, ending before byte `bytes`.
    pub(crate) fn until(self, bytes: u64) -> Self {
        Self { bytes, ..self }
    }

    /// The last known record at or before this one.
    fn before(&self, offset: u64) -> Place {
        let behind = self.index.partition_point(|place| place.offset <= offset);
        self.index[behind.saturating_sub(1)]
    }
}

impl View {
    /// # Panics
    /// Without a segment.
    pub(crate) fn new(segments: VecDeque<Segment>, end: u64) -> Self {
        assert!(!segments.is_empty(), "a log has a segment, even before its first record");
        Self { segments, end }
    }

    pub(crate) fn bounds(&self) -> Bounds {
        Bounds { start: Offset(self.segments[0].first), end: Offset(self.end) }
    }

    /// Bytes of all segments.
    pub(crate) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// The last file, and where the log ends.
    pub(crate) fn last(&self) -> (Arc<DataFile>, u64) {
        (self.segments[self.segments.len() - 1].file.clone(), self.end)
    }

    /// Makes records of the last segment visible.
    pub(crate) fn extend(&mut self, places: impl Iterator<Item = Place>, end: Place) {
        if let Some(last) = self.segments.back_mut() {
            places.for_each(|place| last.learn(place));
            last.bytes = end.at;
        }
        self.end = end.offset;
    }

    /// Begins another segment.
    pub(crate) fn roll(&mut self, segment: Segment) {
        self.segments.push_back(segment);
    }

    /// How to come to a record within the bounds; `None` if it is not there yet.
    pub(crate) fn span(&self, offset: u64) -> Option<Span> {
        let behind = self.segments.partition_point(|segment| segment.first <= offset);
        let segment = self.segments.get(behind.checked_sub(1)?)?;
        let end = self.segments.get(behind).map_or(self.end, |next| next.first);
        (offset < end).then(|| Span {
            file: segment.file.clone(),
            from: segment.before(offset),
            end: Place { offset: end, at: segment.bytes },
        })
    }

    /// Keeps what a walk has found, if its segment is still there.
    pub(crate) fn learn(&mut self, places: &[Place]) {
        for place in places {
            let behind = self.segments.partition_point(|segment| segment.first <= place.offset);
            if let Some(segment) = behind.checked_sub(1).and_then(|at| self.segments.get_mut(at)) {
                segment.learn(*place);
            }
        }
    }

    /// The first segment, if it ends at or before this record and is not the last; by its first record.
    pub(crate) fn done_with(&self, done: u64) -> Option<u64> {
        let behind = self.segments.get(1)?;
        (behind.first <= done).then(|| self.segments[0].first)
    }

    /// Forgets the first segment, which begins with this record.
    pub(crate) fn forget(&mut self, first: u64) {
        if self.segments.len() > 1 && self.segments[0].first == first {
            self.segments.pop_front();
        }
    }
}
