//! Which records of which partition lie where in one segment, and the form in which a full segment keeps that.
//!
//! The index is sparse: a partition gets an entry where at least [`INDEX_BYTES`] of the log have passed since its last.
//! So whoever looks for a record begins at the entry before it and walks; and where partitions share the log and each
//! has frames far apart, every frame has its entry, and who reads one partition goes from one to the next.

use queue::frame::{Head, u32_at, u64_at};

/// Bytes of the log between two entries of a partition.
pub(crate) const INDEX_BYTES: u64 = 16 << 10;

/// Where a frame begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Its first record.
    pub(crate) offset: u64,
    pub(crate) at: u64,
    pub(crate) time_ms: u64,
}

/// One segment, partition by partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Index {
    partitions: Vec<Entries>,
    newest_ms: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Entries {
    /// The first offset that can be in this segment, and the one behind the last that is.
    base: u64,
    next: u64,
    /// Ascending.
    places: Vec<Place>,
}

impl Index {
    /// Of a segment that has no record yet; `bases` are the partitions' next offsets.
    pub(crate) fn new(bases: &[u64]) -> Self {
        let entries = |&base: &u64| Entries { base, next: base, places: Vec::new() };
        Self { partitions: bases.iter().map(entries).collect(), newest_ms: 0 }
    }

    /// Learns that there are more partitions than when the segment was begun.
    pub(crate) fn grow(&mut self, partitions: usize) {
        if self.partitions.len() < partitions {
            self.partitions.resize_with(partitions, Entries::default);
        }
    }

    /// Learns of a frame with records; they come in order.
    pub(crate) fn learn(&mut self, head: &Head, at: u64) {
        let partition = head.partition as usize;
        self.grow(partition + 1);
        let entries = &mut self.partitions[partition];
        if entries.places.last().is_none_or(|last| at >= last.at + INDEX_BYTES) {
            entries.places.push(Place { offset: head.base, at, time_ms: head.time_ms });
        }
        entries.next = head.next_offset();
        self.newest_ms = self.newest_ms.max(head.time_ms);
    }

    /// Learns where the partitions stand. If they are further than their last known records, those between are lost.
    pub(crate) fn stand_at(&mut self, next: &[u64]) {
        self.grow(next.len());
        for (entries, next) in self.partitions.iter_mut().zip(next) {
            entries.next = entries.next.max(*next);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.partitions.iter().all(|entries| entries.places.is_empty())
    }

    pub(crate) fn partitions(&self) -> usize {
        self.partitions.len()
    }

    pub(crate) fn base(&self, partition: usize) -> u64 {
        self.partitions.get(partition).map_or(0, |entries| entries.base)
    }

    /// The offsets behind the last records, of all partitions.
    pub(crate) fn next(&self) -> Vec<u64> {
        self.partitions.iter().map(|entries| entries.next).collect()
    }

    /// When its newest record was written.
    pub(crate) fn newest_ms(&self) -> u64 {
        self.newest_ms
    }

    /// From the last entry at or before this offset on.
    pub(crate) fn places_from(&self, partition: usize, offset: u64) -> &[Place] {
        let Some(entries) = self.partitions.get(partition) else { return &[] };
        let behind = entries.places.partition_point(|place| place.offset <= offset);
        &entries.places[behind.saturating_sub(1)..]
    }

    /// The last entry written before this time, or the first of all.
    pub(crate) fn place_before(&self, partition: usize, time_ms: u64) -> Option<Place> {
        let places = &self.partitions.get(partition)?.places;
        let behind = places.partition_point(|place| place.time_ms < time_ms);
        places.get(behind.saturating_sub(1)).copied()
    }

    /// As it stands in the last frame of a full segment. `end` is the byte behind the last frame with records.
    pub(crate) fn encode(&self, end: u64) -> Vec<u8> {
        let mut out = Vec::new();
        for value in [end, self.newest_ms, self.partitions.len() as u64] {
            out.extend_from_slice(&value.to_le_bytes());
        }
        for entries in &self.partitions {
            for value in [entries.base, entries.next, entries.places.len() as u64] {
                out.extend_from_slice(&value.to_le_bytes());
            }
            for place in &entries.places {
                for value in [place.offset, place.at, place.time_ms] {
                    out.extend_from_slice(&value.to_le_bytes());
                }
            }
        }
        out
    }

    /// Reads what [`Index::encode`] wrote; `None` if it is no index.
    pub(crate) fn decode(bytes: &[u8]) -> Option<(Self, u64)> {
        let mut values = bytes.chunks_exact(8).map(|value| u64_at(value, 0));
        let mut index = Self::default();
        let (end, newest_ms, partitions) = (values.next()?, values.next()?, values.next()?);
        index.newest_ms = newest_ms;
        for _ in 0..partitions {
            let (base, next, count) = (values.next()?, values.next()?, values.next()?);
            let mut places = Vec::new();
            for _ in 0..count {
                places.push(Place { offset: values.next()?, at: values.next()?, time_ms: values.next()? });
            }
            index.partitions.push(Entries { base, next, places });
        }
        values.next().is_none().then_some((index, end))
    }
}

/// The body of an epoch frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Table {
    /// Bytes before this, behind the frame, are what was cut off: known, and no news.
    pub(crate) known_until: u64,
    /// Each partition's next offset.
    pub(crate) next: Vec<u64>,
}

impl Table {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = self.known_until.to_le_bytes().to_vec();
        let count = u32::try_from(self.next.len()).expect("the partitions are bounded");
        out.extend_from_slice(&count.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        self.next.iter().for_each(|next| out.extend_from_slice(&next.to_le_bytes()));
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (head, table) = bytes.split_at_checked(16)?;
        let next: Vec<u64> = table.chunks_exact(8).map(|value| u64_at(value, 0)).collect();
        let whole = next.len() == u32_at(head, 8) as usize && table.len() == next.len() * 8;
        whole.then(|| Self { known_until: u64_at(head, 0), next })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(partition: u32, base: u64, count: u32, time_ms: u64) -> Head {
        Head { partition, base, count, time_ms, ..Head::default() }
    }

    #[test]
    fn an_index_is_sparse_finds_by_offset_and_by_time_and_reads_back() {
        let mut index = Index::new(&[10, 0]);
        for i in 0..10 {
            index.learn(&head(0, 10 + i, 1, 100 + i), 1000 + i * INDEX_BYTES / 2);
        }
        index.learn(&head(1, 0, 5, 110), 1200 + 5 * INDEX_BYTES);
        let offsets = |from| index.places_from(0, from).iter().map(|p| p.offset).collect::<Vec<_>>();
        assert_eq!(offsets(0), [10, 12, 14, 16, 18]);
        assert_eq!(
            (offsets(13), offsets(14), offsets(99)),
            (vec![12, 14, 16, 18], vec![14, 16, 18], vec![18])
        );
        assert_eq!(index.place_before(0, 105).unwrap().offset, 14);
        assert_eq!(index.place_before(0, 1).unwrap().offset, 10);
        assert_eq!((index.next(), index.newest_ms()), (vec![20, 5], 110));
        let bytes = index.encode(4711);
        assert_eq!(Index::decode(&bytes), Some((index, 4711)));
        for end in 0..bytes.len() {
            assert_eq!(Index::decode(&bytes[..end]).filter(|_| end % 8 == 0), None, "{end} bytes");
        }
    }

    #[test]
    fn a_table_reads_back() {
        let table = Table { known_until: 3, next: vec![1, 2, 3] };
        let bytes = table.encode();
        assert_eq!(Table::decode(&bytes), Some(table));
        assert_eq!(Table::decode(&bytes[..bytes.len() - 8]), None);
    }
}
