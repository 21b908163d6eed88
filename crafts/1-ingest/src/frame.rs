//! A frame: the batches that a thread is filling, one for each partition that its requests write to.
//!
//! Requests are all or nothing, but many of them share a frame. So each begins with a mark, and one that turns out to
//! be wrong is rolled back to it. A frame keeps its buffers when it is cleared: once warm it allocates nothing.

use crate::slots::{Incoming, Sink};
use contracts::{
    Batch, BatchError, BatchMark,
    ingest::partition_of,
    labels::METRIC_NAME,
    limits::{BATCH_SAMPLES_MAX, RECORD_BYTES_MAX},
    queue::Partition,
};

/// A batch that has grown beyond this is closed and another begun: one more series can never pass the limit then.
const BATCH_BYTES: usize = RECORD_BYTES_MAX / 2;
/// The same for samples.
const BATCH_SAMPLES: usize = BATCH_SAMPLES_MAX / 2;

/// Batches under way. Invariant: of one partition only the last batch grows.
#[derive(Debug)]
pub struct Frame {
    partitions: u32,
    /// The first `used` are filled, those behind are empty and keep their capacity.
    batches: Vec<Slot>,
    used: usize,
    /// What a rollback goes back to.
    used_at_mark: usize,
}

#[derive(Debug, Default)]
struct Slot {
    partition: Partition,
    batch: Batch,
    mark: BatchMark,
}

impl Frame {
    /// An empty frame for a log with so many partitions.
    pub fn new(partitions: u32) -> Self {
        Self { partitions, batches: Vec::new(), used: 0, used_at_mark: 0 }
    }

    /// Marks where a request begins.
    pub fn begin(&mut self) {
        self.used_at_mark = self.used;
        for slot in &mut self.batches[..self.used] {
            slot.mark = slot.batch.mark();
        }
    }

    /// Forgets everything since [`Frame::begin`].
    pub fn rollback(&mut self) {
        for slot in &mut self.batches[self.used_at_mark..self.used] {
            slot.batch.clear();
        }
        self.used = self.used_at_mark;
        for slot in &mut self.batches[..self.used] {
            slot.batch.rollback(slot.mark);
        }
    }

    /// Forgets everything but the capacity.
    pub fn clear(&mut self) {
        for slot in &mut self.batches[..self.used] {
            slot.batch.clear();
        }
        self.used = 0;
        self.used_at_mark = 0;
    }

    /// The batches in the order in which they must reach the log.
    pub fn batches(&self) -> impl Iterator<Item = (Partition, &Batch)> {
        let filled = self.batches[..self.used].iter().filter(|slot| !slot.batch.is_empty());
        filled.map(|slot| (slot.partition, &slot.batch))
    }

    /// Samples of all batches.
    pub fn samples(&self) -> usize {
        self.batches[..self.used].iter().map(|slot| slot.batch.len()).sum()
    }

    /// Whether there is nothing to hand over.
    pub fn is_empty(&self) -> bool {
        self.samples() == 0
    }

    /// The most bytes that its batches take in the log.
    pub fn encoded_bytes_max(&self) -> usize {
        self.batches[..self.used].iter().map(|slot| slot.batch.encoded_bytes_max()).sum()
    }

    /// The batch of this partition that still has room.
    fn batch_for(&mut self, partition: Partition) -> &mut Batch {
        let last = self.batches[..self.used].iter().rposition(|slot| slot.partition == partition);
        let at = match last.filter(|at| has_room(&self.batches[*at].batch)) {
            Some(at) => at,
            None => {
                if self.used == self.batches.len() {
                    self.batches.push(Slot::default());
                }
                self.batches[self.used].partition = partition;
                self.used += 1;
                self.used - 1
            }
        };
        &mut self.batches[at].batch
    }
}

fn has_room(batch: &Batch) -> bool {
    batch.len() < BATCH_SAMPLES && batch.encoded_bytes_max() < BATCH_BYTES
}

impl Sink for Frame {
    fn push(&mut self, sample: &Incoming<'_>) -> Result<(), BatchError> {
        // Nearly every log that takes all of one machine has one partition: no hash is needed to find it.
        let partition =
            if self.partitions <= 1 { Partition(0) } else { partition_of(sample.client, self.partitions) };
        let batch = self.batch_for(partition);
        let labels = sample.labels.iter().copied();
        let series = batch.series(labels.chain([(METRIC_NAME, sample.name)]))?;
        batch.push(series, sample.timestamp, sample.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use contracts::{BatchView, TimestampMs};

    fn push(frame: &mut Frame, client: &str, value: f64) -> Result<(), BatchError> {
        let labels = &[("host", "web-1")];
        frame.push(&Incoming { client, name: "cpu", labels, timestamp: TimestampMs(1), value })
    }

    fn values(frame: &Frame) -> Vec<(u32, Vec<f64>)> {
        let batch_values = |batch: &Batch| {
            let bytes = batch.encode();
            let view = BatchView::parse(&bytes).unwrap();
            view.samples().map(|s| s.value).collect()
        };
        frame.batches().map(|(partition, batch)| (partition.0, batch_values(batch))).collect()
    }

    #[test]
    fn a_request_that_is_wrong_leaves_its_neighbours_alone() {
        let mut frame = Frame::new(1);
        frame.begin();
        push(&mut frame, "", 1.0).unwrap();
        frame.begin();
        push(&mut frame, "", 2.0).unwrap();
        assert!(push(&mut frame, "", 3.0).is_ok());
        frame.rollback();
        frame.begin();
        push(&mut frame, "", 4.0).unwrap();
        assert_eq!(values(&frame), [(0, vec![1.0, 4.0])]);
    }

    #[test]
    fn partitions_that_only_a_refused_request_wrote_to_are_gone() {
        let mut frame = Frame::new(16);
        frame.begin();
        push(&mut frame, "a", 1.0).unwrap();
        frame.begin();
        push(&mut frame, "b", 2.0).unwrap();
        frame.rollback();
        let (a, b) = (partition_of("a", 16).0, partition_of("b", 16).0);
        assert_ne!(a, b);
        assert_eq!(values(&frame), [(a, vec![1.0])]);
        frame.clear();
        assert!(frame.is_empty());
        frame.begin();
        push(&mut frame, "b", 3.0).unwrap();
        assert_eq!(values(&frame), [(b, vec![3.0])], "buffers are used again, contents are not");
    }

    #[test]
    fn a_batch_that_is_full_is_followed_by_another() {
        let mut frame = Frame::new(1);
        frame.begin();
        let long = "x".repeat(4096);
        let labels = &[("long", long.as_str())];
        let mut pushed = 0;
        while frame.batches().count() < 3 {
            let name = ["a", "b"][pushed % 2];
            frame
                .push(&Incoming { client: "", name, labels, timestamp: TimestampMs(1), value: 1.0 })
                .unwrap();
            pushed += 1;
        }
        assert!(frame.batches().all(|(_, batch)| batch.encoded_bytes_max() <= RECORD_BYTES_MAX));
        assert_eq!(frame.samples(), pushed);
        frame.rollback();
        assert!(frame.is_empty());
    }

    #[test]
    fn one_series_can_never_pass_the_limit_of_a_record() {
        use contracts::limits::{LABEL_NAME_BYTES_MAX, LABEL_VALUE_BYTES_MAX, LABELS_PER_SERIES_MAX};
        assert!(LABELS_PER_SERIES_MAX * (LABEL_NAME_BYTES_MAX + LABEL_VALUE_BYTES_MAX + 8) < BATCH_BYTES);
    }
}
