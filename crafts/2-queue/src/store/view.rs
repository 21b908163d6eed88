//! Which record lies in which file: what the tail has written, as readers see it.

use super::index::{Index, Place};
use contracts::queue::{Bounds, Offset};
use queue::{disk::DataFile, frame::Head};
use std::{collections::VecDeque, sync::Arc};

/// So many entries of the index are given for one fetch at most.
const ROUTE_PLACES_MAX: usize = 64;

/// All segments. Invariant: there is at least one, and each begins, in every partition, where the one before ends.
#[derive(Debug)]
pub(crate) struct View {
    segments: VecDeque<Segment>,
    /// Where the next record of each partition will be.
    next: Vec<u64>,
}

/// One file, as far as it may be read.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) number: u64,
    pub(crate) file: Arc<dyn DataFile>,
    pub(crate) seed: u32,
    /// Behind its last frame.
    pub(crate) end: u64,
    pub(crate) index: Index,
}

/// What to walk through to come to a record.
pub(crate) struct Route {
    pub(crate) file: Arc<dyn DataFile>,
    pub(crate) number: u64,
    pub(crate) seed: u32,
    /// Frames of the partition, the first at or before the record that is looked for.
    pub(crate) places: Vec<Place>,
    /// Whether these are all that the index knows to the segment's end.
    pub(crate) is_whole: bool,
    /// Behind the last frame of the segment.
    pub(crate) end_at: u64,
    /// Behind the partition's last record in it.
    pub(crate) end: u64,
}

impl View {
    /// # Panics
    /// Without a segment.
    pub(crate) fn new(segments: VecDeque<Segment>, next: Vec<u64>) -> Self {
        assert!(!segments.is_empty(), "a log has a segment, even before its first record");
        Self { segments, next }
    }

    /// Each partition's next offset.
    pub(crate) fn next(&self) -> &[u64] {
        &self.next
    }

    pub(crate) fn bounds(&self, partition: usize) -> Bounds {
        Bounds { start: Offset(self.segments[0].index.base(partition)), end: Offset(self.next[partition]) }
    }

    /// Bytes of all segments.
    pub(crate) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.end).sum()
    }

    /// The segment that is written to.
    pub(crate) fn last(&self) -> &Segment {
        &self.segments[self.segments.len() - 1]
    }

    /// Whether a segment is still there.
    pub(crate) fn has(&self, number: u64) -> bool {
        self.segments.iter().any(|segment| segment.number == number)
    }

    /// Makes frames of the last segment visible.
    pub(crate) fn extend(&mut self, frames: &[(Head, u64)], end: u64) {
        if let Some(last) = self.segments.back_mut() {
            for (head, at) in frames {
                last.index.learn(head, *at);
                self.next[head.partition as usize] = head.next_offset();
            }
            last.end = end;
        }
    }

    /// Begins another segment.
    pub(crate) fn roll(&mut self, segment: Segment) {
        self.segments.push_back(segment);
    }

    /// How to come to a record within the bounds; `None` if it is not there yet.
    pub(crate) fn route(&self, partition: usize, offset: u64) -> Option<Route> {
        let behind = self.segments.partition_point(|segment| segment.index.base(partition) <= offset);
        let segment = self.segments.get(behind.checked_sub(1)?)?;
        let next = self.segments.get(behind);
        let end = next.map_or(self.next[partition], |next| next.index.base(partition));
        (offset < end).then(|| {
            let places = segment.index.places_from(partition, offset);
            Route {
                file: segment.file.clone(),
                number: segment.number,
                seed: segment.seed,
                is_whole: places.len() <= ROUTE_PLACES_MAX,
                places: places[..places.len().min(ROUTE_PLACES_MAX)].to_vec(),
                end_at: segment.end,
                end,
            }
        })
    }

    /// The offset of a record at or before the first that was written at this time or later.
    pub(crate) fn offset_at(&self, partition: usize, time_ms: u64) -> u64 {
        let newer = |segment: &&Segment| segment.index.newest_ms() >= time_ms;
        let found = self.segments.iter().find(newer).map(|segment| {
            segment.index.place_before(partition, time_ms).map_or(segment.index.base(partition), |p| p.offset)
        });
        found.unwrap_or(self.next[partition])
    }

    /// The oldest segment, and the one behind it; `None` while there is but one.
    pub(crate) fn oldest(&self) -> Option<(&Segment, &Segment)> {
        Some((self.segments.front()?, self.segments.get(1)?))
    }

    /// Forgets the oldest segment, if it has this number; returns its file.
    pub(crate) fn forget(&mut self, number: u64) -> Option<Arc<dyn DataFile>> {
        let is_it = self.segments.len() > 1 && self.segments[0].number == number;
        if is_it { self.segments.pop_front().map(|segment| segment.file) } else { None }
    }
}
