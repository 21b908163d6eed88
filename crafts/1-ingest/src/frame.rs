//! A frame: the batches that a thread is filling, one for each partition that its requests write to.
//!
//! Requests are all or nothing, but many of them share a frame. So each begins with a mark, and one that turns out to
//! be wrong is rolled back to it. A frame keeps its buffers when it is cleared: once warm it allocates nothing.

use crate::slots::{Canonical, Incoming, Row, Series, Sink};
use contracts::{
    Batch, BatchError, BatchMark,
    ingest::partition_of,
    labels::METRIC_NAME,
    limits::{
        BATCH_SAMPLES_MAX, LABEL_NAME_BYTES_MAX, LABEL_VALUE_BYTES_MAX, LABELS_PER_SERIES_MAX,
        RECORD_BYTES_MAX,
    },
    queue::Partition,
};

/// A batch that has grown beyond this is closed and another begun: one more series can never pass the limit then.
const BATCH_BYTES: usize = RECORD_BYTES_MAX / 2;
/// The same for samples.
const BATCH_SAMPLES: usize = BATCH_SAMPLES_MAX / 2;
// One more series still fits, however large it is.
const _: () =
    assert!(LABELS_PER_SERIES_MAX * (LABEL_NAME_BYTES_MAX + LABEL_VALUE_BYTES_MAX + 8) < BATCH_BYTES);

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

    /// What is pushed from now on goes to a log with so many partitions: one may answer late how many it has.
    pub fn set_partitions(&mut self, partitions: u32) {
        self.partitions = partitions;
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

    /// The bytes of memory that it holds, used or not.
    pub fn capacity_bytes(&self) -> usize {
        let slots = self.batches.capacity() * size_of::<Slot>();
        slots + self.batches.iter().map(|slot| slot.batch.capacity_bytes()).sum::<usize>()
    }

    /// Nearly every log that takes all of one machine has one partition: no hash is needed to find it.
    fn partition_of(&self, client: &str) -> Partition {
        if self.partitions <= 1 { Partition(0) } else { partition_of(client, self.partitions) }
    }

    /// Where the batch of this partition is that still has room.
    fn slot_for(&mut self, partition: Partition) -> usize {
        let last = self.batches[..self.used].iter().rposition(|slot| slot.partition == partition);
        match last.filter(|at| has_room(&self.batches[*at].batch)) {
            Some(at) => at,
            None => {
                if self.used == self.batches.len() {
                    self.batches.push(Slot::default());
                }
                self.batches[self.used].partition = partition;
                self.used += 1;
                self.used - 1
            }
        }
    }
}

fn has_room(batch: &Batch) -> bool {
    batch.len() < BATCH_SAMPLES && batch.encoded_bytes_max() < BATCH_BYTES
}

impl Sink for Frame {
    fn push(&mut self, sample: &Incoming<'_>) -> Result<(), BatchError> {
        let slot = self.slot_for(self.partition_of(sample.client));
        let batch = &mut self.batches[slot].batch;
        let series = batch.series(named(sample.labels, sample.name))?;
        batch.push(series, sample.timestamp, sample.value)
    }

    fn push_canonical(&mut self, sample: &Canonical<'_>) -> Result<(), BatchError> {
        let slot = self.slot_for(self.partition_of(sample.client));
        let batch = &mut self.batches[slot].batch;
        let series = batch.series_of(sample.labels)?;
        batch.push(series, sample.timestamp, sample.value)
    }

    /// The labels are sorted and checked once, and copied for every name.
    fn push_row(&mut self, row: &Row<'_>) -> Result<(), BatchError> {
        let partition = self.partition_of(row.client);
        let mut before = None;
        for &(name, value) in row.values {
            let slot = self.slot_for(partition);
            let batch = &mut self.batches[slot].batch;
            let series = match before {
                Some((of, in_slot)) if in_slot == slot => batch.series_renamed(of, name)?,
                _ => batch.series(named(row.labels, name))?,
            };
            batch.push(series, row.timestamp, value)?;
            before = Some((series, slot));
        }
        Ok(())
    }

    /// The labels are sorted, checked and copied once for every batch that the samples fill.
    fn push_series(&mut self, series: &Series<'_>) -> Result<(), BatchError> {
        let partition = self.partition_of(series.client);
        let mut row = None;
        for &(timestamp, value) in series.samples {
            let slot = self.slot_for(partition);
            let batch = &mut self.batches[slot].batch;
            let of = match row {
                Some((of, in_slot)) if in_slot == slot => of,
                _ => batch.series(named(series.labels, series.name))?,
            };
            batch.push(of, timestamp, value)?;
            row = Some((of, slot));
        }
        Ok(())
    }
}

fn named<'a>(labels: &'a [(&'a str, &'a str)], name: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
    labels.iter().copied().chain([(METRIC_NAME, name)])
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
    fn a_row_is_the_same_as_its_samples_one_by_one() {
        let labels = &[("host", "web-1"), ("Above", "x"), ("gone", "")];
        let values = &[("cpu_user", 1.0), ("cpu_system", 2.0), ("cpu_system", 3.0), ("9", 4.0), ("cpu", 5.0)];
        let (client, timestamp) = ("", TimestampMs(7));
        let (mut rows, mut singly) = (Frame::new(1), Frame::new(1));
        let refused = rows.push_row(&Row { client, labels, timestamp, values }).unwrap_err();
        let each = values.iter().map(|&(name, value)| Incoming { client, name, labels, timestamp, value });
        let first_refused = each.map(|sample| singly.push(&sample)).find_map(Result::err).unwrap();
        assert_eq!(refused, first_refused);
        let encoded = |frame: &Frame| frame.batches().map(|(_, batch)| batch.encode()).collect::<Vec<_>>();
        assert_eq!(encoded(&rows), encoded(&singly));
        assert_eq!(rows.samples(), 3);
    }

    #[test]
    fn a_series_is_the_same_as_its_samples_one_by_one() {
        let labels = &[("host", "web-1"), ("Above", "x"), ("gone", "")];
        let samples = &[(TimestampMs(7), 1.0), (TimestampMs(3), f64::NAN), (TimestampMs(-1), 3.0)];
        let (client, name) = ("", "cpu");
        let (mut whole, mut singly) = (Frame::new(1), Frame::new(1));
        let refused = whole.push_series(&Series { client, name, labels, samples }).unwrap_err();
        let each =
            samples.iter().map(|&(timestamp, value)| Incoming { client, name, labels, timestamp, value });
        assert_eq!(each.map(|sample| singly.push(&sample)).find_map(Result::err), Some(refused));
        let encoded = |frame: &Frame| frame.batches().map(|(_, batch)| batch.encode()).collect::<Vec<_>>();
        assert_eq!(encoded(&whole), encoded(&singly));
        assert_eq!(whole.samples(), 2);
    }

    #[test]
    fn a_series_that_outgrows_a_batch_goes_on_in_the_next() {
        let labels = &[("host", "web-1")];
        let samples: Vec<_> = (0..BATCH_SAMPLES as i64 + 10).map(|i| (TimestampMs(i), i as f64)).collect();
        let mut frame = Frame::new(1);
        frame.push_series(&Series { client: "", name: "cpu", labels, samples: &samples }).unwrap();
        assert!(frame.batches().count() > 1);
        let mut back = Vec::new();
        for (_, batch) in frame.batches() {
            let bytes = batch.encode();
            let view = BatchView::parse(&bytes).unwrap();
            back.extend(view.samples().map(|s| (s.timestamp, s.value)));
            assert!(view.samples().all(|s| view.labels(s.series).to_string() == "cpu{host=\"web-1\"}"));
        }
        assert_eq!(back, samples);
    }

    #[test]
    fn a_row_that_outgrows_a_batch_goes_on_in_the_next() {
        let long = "x".repeat(4096);
        let labels = &[("long", long.as_str())];
        let names: Vec<String> = (0..5_000).map(|i| format!("m{i}")).collect();
        let values: Vec<_> = names.iter().map(|name| (name.as_str(), 1.0)).collect();
        let mut frame = Frame::new(1);
        frame.push_row(&Row { client: "", labels, timestamp: TimestampMs(1), values: &values }).unwrap();
        assert!(frame.batches().count() > 1);
        assert_eq!(frame.samples(), 5_000);
        for (_, batch) in frame.batches() {
            let bytes = batch.encode();
            let view = BatchView::parse(&bytes).unwrap();
            assert!(view.samples().all(|s| view.labels(s.series).get("long").len() == 4096));
        }
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
}
