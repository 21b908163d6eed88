//! A batch of samples: the unit that travels from ingest through the queue to storage.
//!
//! It is columnar: a table of series, then three columns of the same length — a reference into the table, a
//! timestamp, a value. A sample so costs a few bytes and no allocation; labels are written once a batch, not
//! once a sample. [`Batch`] owns its columns and keeps their capacity when cleared; [`BatchView`] borrows the
//! binary form, which `FORMAT.md` draws. The idea is Arrow's and remote write's, cut down to what we carry.
//!
//! A table may hold the same series twice, since finding out would cost a look-up a sample: readers must not
//! take a reference for an identity.

use crate::{
    labels::{self, LabelError, LabelsView, Order},
    limits::{BATCH_SAMPLES_MAX, RECORD_BYTES_MAX},
    time::TimestampMs,
};
use std::ops::Range;

/// `SCB` and the version of the form.
const MAGIC: [u8; 4] = *b"SCB\x01";
/// Magic and five lengths; see `FORMAT.md`.
const HEAD_BYTES: usize = 4 + 5 * 4;
const VALUE_BYTES: usize = 8;
const VARINT_BYTES_MAX: usize = 10;

/// A row of a batch's series table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesRef(pub u32);

/// One value of one series at one time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Which series, within its batch.
    pub series: SeriesRef,
    /// When.
    pub timestamp: TimestampMs,
    /// Any `f64`; the bits survive, so a stale marker stays one.
    pub value: f64,
}

/// The NaN that says "this series ended here", as Prometheus defines it.
pub const STALE_NAN_BITS: u64 = 0x7ff0_0000_0000_0002;

/// Why a batch could not be built or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// A series was refused.
    #[error(transparent)]
    Labels(#[from] LabelError),
    /// More than [`BATCH_SAMPLES_MAX`] samples or [`RECORD_BYTES_MAX`] bytes of labels.
    #[error("a batch holds at most {BATCH_SAMPLES_MAX} samples and {RECORD_BYTES_MAX} bytes of series")]
    Full,
    /// A timestamp outside the limits.
    #[error("timestamp {0} ms lies outside 1970-01-01T00:00:00Z to 9999-12-31T23:59:59.999Z")]
    BadTimestamp(i64),
    /// The binary form is broken.
    #[error("not a batch: {expected} expected at byte {at}")]
    Malformed {
        /// Byte of the form at which it broke.
        at: usize,
        /// What should have stood there.
        expected: &'static str,
    },
}

/// Owned, reusable columns.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// The canonical labels of all series, one behind the other.
    table: Vec<u8>,
    /// Where each series of `table` ends.
    ends: Vec<u32>,
    series: Vec<u32>,
    timestamps: Vec<i64>,
    values: Vec<f64>,
    /// In which order the labels of the last series that had to be sorted came.
    order: Order,
}

impl Batch {
    /// An empty batch without capacity.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets everything but the capacity.
    pub fn clear(&mut self) {
        self.table.clear();
        self.ends.clear();
        self.series.clear();
        self.timestamps.clear();
        self.values.clear();
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there are no samples.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The most bytes that the binary form can have.
    pub fn encoded_bytes_max(&self) -> usize {
        // A reference takes at most 5 bytes as a varint of 32 bits and a sign, a timestamp 10.
        HEAD_BYTES
            + self.ends.len() * 4
            + self.table.len()
            + self.len() * (VALUE_BYTES + 5 + VARINT_BYTES_MAX)
    }

    /// The bytes of memory that it holds, used or not.
    pub fn capacity_bytes(&self) -> usize {
        self.table.capacity()
            + (self.ends.capacity() + self.series.capacity()) * size_of::<u32>()
            + self.timestamps.capacity() * size_of::<i64>()
            + self.values.capacity() * size_of::<f64>()
    }

    /// Adds a series, its labels in any order. The same labels as last time give the same row.
    ///
    /// # Errors
    /// [`BatchError::Labels`], [`BatchError::Full`]. The batch is unchanged then.
    pub fn series<'p>(
        &mut self,
        pairs: impl IntoIterator<Item = (&'p str, &'p str)>,
    ) -> Result<SeriesRef, BatchError> {
        let start = self.table.len();
        let before = self.last_series();
        self.order.write(pairs, before, &mut self.table)?;
        self.close_series(start)
    }

    /// Adds a series whose labels are canonical already.
    ///
    /// # Errors
    /// [`BatchError::Full`]. The batch is unchanged then.
    pub fn series_of(&mut self, labels: LabelsView<'_>) -> Result<SeriesRef, BatchError> {
        let start = self.table.len();
        self.table.extend_from_slice(labels.as_bytes());
        self.close_series(start)
    }

    /// Adds a series with the labels of another one of this batch, and another metric name. Cheaper than
    /// [`Batch::series`], since labels that were sorted and checked once need no second time.
    ///
    /// # Errors
    /// [`BatchError::Labels`], [`BatchError::Full`]. The batch is unchanged then.
    ///
    /// # Panics
    /// If `of` is not of this batch: that is a bug of the caller.
    pub fn series_renamed(&mut self, of: SeriesRef, metric_name: &str) -> Result<SeriesRef, BatchError> {
        let row = of.0 as usize;
        assert!(row < self.ends.len(), "{of:?} is not of this batch");
        let from = if row == 0 { 0 } else { self.ends[row - 1] as usize };
        let start = self.table.len();
        labels::write_renamed(from..self.ends[row] as usize, metric_name, &mut self.table)?;
        self.close_series(start)
    }

    /// Adds a sample of a series of this batch.
    ///
    /// # Errors
    /// [`BatchError::BadTimestamp`], [`BatchError::Full`].
    ///
    /// # Panics
    /// If `series` is not of this batch: that is a bug of the caller.
    pub fn push(&mut self, series: SeriesRef, timestamp: TimestampMs, value: f64) -> Result<(), BatchError> {
        assert!((series.0 as usize) < self.ends.len(), "{series:?} is not of this batch");
        if !timestamp.is_acceptable() {
            return Err(BatchError::BadTimestamp(timestamp.0));
        }
        if self.len() == BATCH_SAMPLES_MAX {
            return Err(BatchError::Full);
        }
        self.series.push(series.0);
        self.timestamps.push(timestamp.0);
        self.values.push(value);
        Ok(())
    }

    /// Where the batch ends now: what comes after it can be taken back with [`Batch::rollback`].
    pub fn mark(&self) -> BatchMark {
        BatchMark { table: self.table.len(), series: self.ends.len(), samples: self.values.len() }
    }

    /// Forgets everything that was added since `mark`, as if a request had never come.
    pub fn rollback(&mut self, mark: BatchMark) {
        self.table.truncate(mark.table);
        self.ends.truncate(mark.series);
        self.series.truncate(mark.samples);
        self.timestamps.truncate(mark.samples);
        self.values.truncate(mark.samples);
    }

    /// Appends the binary form to `out`. Allocates only if `out` lacks the capacity.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        let head = out.len();
        out.reserve(HEAD_BYTES + self.ends.len() * 4 + self.table.len() + self.len() * (VALUE_BYTES + 3));
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&[0; HEAD_BYTES - 4]);
        for end in &self.ends {
            out.extend_from_slice(&end.to_le_bytes());
        }
        out.extend_from_slice(&self.table);
        let series_at = out.len();
        // Samples mostly walk the table in order: the step from one to the next is nearly always 1, or 0.
        let mut before = -1;
        for &series in &self.series {
            put_varint(out, zigzag(i64::from(series) - before - 1));
            before = i64::from(series);
        }
        let timestamps_at = out.len();
        let mut before = 0;
        for &timestamp in &self.timestamps {
            put_varint(out, zigzag(timestamp - before));
            before = timestamp;
        }
        let values_at = out.len();
        for value in &self.values {
            out.extend_from_slice(&value.to_bits().to_le_bytes());
        }
        let lengths = [
            self.ends.len(),
            self.len(),
            self.table.len(),
            timestamps_at - series_at,
            values_at - timestamps_at,
        ];
        for (i, length) in lengths.into_iter().enumerate() {
            // Bounded by `BATCH_SAMPLES_MAX` and `RECORD_BYTES_MAX`, far below 4 GiB.
            #[allow(clippy::cast_possible_truncation)]
            out[head + 4 + i * 4..][..4].copy_from_slice(&(length as u32).to_le_bytes());
        }
    }

    /// The binary form in a buffer of its own.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode_into(&mut out);
        out
    }

    /// Where the last series stands in the table.
    fn last_series(&self) -> Range<usize> {
        match self.ends.as_slice() {
            [] => 0..0,
            [end] => 0..*end as usize,
            [.., begin, end] => *begin as usize..*end as usize,
        }
    }

    fn close_series(&mut self, start: usize) -> Result<SeriesRef, BatchError> {
        let count = self.ends.len();
        if count > 0 && self.table[self.last_series()] == self.table[start..] {
            self.table.truncate(start);
            return Ok(SeriesRef(u32::try_from(count - 1).map_err(|_| BatchError::Full)?));
        }
        match (u32::try_from(self.table.len()), u32::try_from(count)) {
            (Ok(end), Ok(row)) if self.table.len() <= RECORD_BYTES_MAX && count < BATCH_SAMPLES_MAX => {
                self.ends.push(end);
                Ok(SeriesRef(row))
            }
            _ => {
                self.table.truncate(start);
                Err(BatchError::Full)
            }
        }
    }
}

/// A place in a batch that grows. Worth nothing once the batch was cleared.
#[derive(Clone, Copy, Debug, Default)]
pub struct BatchMark {
    table: usize,
    series: usize,
    samples: usize,
}

/// A batch in its binary form, borrowed and checked: every accessor below is infallible.
#[derive(Clone, Copy, Debug)]
pub struct BatchView<'a> {
    ends: &'a [u8],
    table: &'a [u8],
    series: &'a [u8],
    timestamps: &'a [u8],
    values: &'a [u8],
}

impl<'a> BatchView<'a> {
    /// Checks the whole form once — lengths, labels, references, times — and borrows it.
    ///
    /// # Errors
    /// [`BatchError::Malformed`] with the byte, [`BatchError::Labels`], [`BatchError::BadTimestamp`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BatchError> {
        let malformed = |at, expected| BatchError::Malformed { at, expected };
        if bytes.get(..4) != Some(&MAGIC) {
            return Err(malformed(0, "the magic and version \"SCB\\x01\""));
        }
        let head = bytes.get(..HEAD_BYTES).ok_or(malformed(bytes.len(), "a head of 24 bytes"))?;
        let length = |i: usize| u32_at(head, 4 + i * 4) as usize;
        let (series_count, sample_count) = (length(0), length(1));
        if series_count > BATCH_SAMPLES_MAX || sample_count > BATCH_SAMPLES_MAX {
            return Err(BatchError::Full);
        }
        let mut at = HEAD_BYTES;
        let mut take = |count: usize, expected| -> Result<&'a [u8], BatchError> {
            let part = bytes.get(at..at.saturating_add(count)).ok_or(malformed(bytes.len(), expected))?;
            at += count;
            Ok(part)
        };
        let view = Self {
            ends: take(series_count * 4, "the ends of the series")?,
            table: take(length(2), "the series table")?,
            series: take(length(3), "the series column")?,
            timestamps: take(length(4), "the timestamp column")?,
            values: take(sample_count * VALUE_BYTES, "the value column")?,
        };
        if at != bytes.len() {
            return Err(malformed(at, "the end"));
        }
        view.check_series(HEAD_BYTES)?;
        let columns_at = HEAD_BYTES + view.ends.len() + view.table.len();
        view.check_columns(columns_at)?;
        Ok(view)
    }

    /// The number of samples that `bytes` claim to hold, without checking anything else: for counters.
    #[inline]
    pub fn peek_len(bytes: &[u8]) -> usize {
        if bytes.first_chunk() == Some(&MAGIC) { u32_at(bytes, 8) as usize } else { 0 }
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.values.len() / VALUE_BYTES
    }

    /// Whether there are no samples.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Number of rows in the series table.
    pub fn series_len(&self) -> usize {
        self.ends.len() / 4
    }

    /// The labels of a series of this batch; no labels for a reference beyond the table.
    pub fn labels(&self, series: SeriesRef) -> LabelsView<'a> {
        let row = series.0 as usize;
        if row >= self.series_len() {
            return LabelsView::default();
        }
        let start = if row == 0 { 0 } else { u32_at(self.ends, (row - 1) * 4) as usize };
        LabelsView::trusted(&self.table[start..u32_at(self.ends, row * 4) as usize])
    }

    /// All samples in the order in which they were pushed.
    pub fn samples(&self) -> impl Iterator<Item = Sample> + use<'a> {
        let (mut series, mut timestamps) = (self.series, self.timestamps);
        let (mut row, mut timestamp) = (-1, 0);
        self.values.chunks_exact(VALUE_BYTES).map(move |value| {
            row += unzigzag(take_varint(&mut series).unwrap_or_default()) + 1;
            timestamp += unzigzag(take_varint(&mut timestamps).unwrap_or_default());
            Sample {
                series: SeriesRef(u32::try_from(row).unwrap_or_default()),
                timestamp: TimestampMs(timestamp),
                value: f64::from_bits(u64::from_le_bytes(value.try_into().unwrap_or_default())),
            }
        })
    }

    fn check_series(&self, ends_at: usize) -> Result<(), BatchError> {
        let mut start = 0;
        for row in 0..self.series_len() {
            let end = u32_at(self.ends, row * 4) as usize;
            let key = self.table.get(start..end).ok_or(BatchError::Malformed {
                at: ends_at + row * 4,
                expected: "an end of a series that rises and stays within the table",
            })?;
            LabelsView::parse(key)?;
            start = end;
        }
        if start != self.table.len() {
            let at = ends_at + self.ends.len() + start;
            return Err(BatchError::Malformed { at, expected: "no bytes behind the last series" });
        }
        Ok(())
    }

    fn check_columns(&self, columns_at: usize) -> Result<(), BatchError> {
        let (mut series, mut timestamps) = (self.series, self.timestamps);
        let (mut row, mut timestamp) = (-1_i64, 0_i64);
        let rows = self.series_len() as i64;
        for _ in 0..self.len() {
            let at = columns_at + self.series.len() - series.len();
            let step = take_varint(&mut series).map(unzigzag);
            row = step
                .and_then(|s| row.checked_add(s)?.checked_add(1))
                .filter(|r| (0..rows).contains(r))
                .ok_or(BatchError::Malformed { at, expected: "a reference to a series of the table" })?;
            let at = columns_at + self.series.len() + self.timestamps.len() - timestamps.len();
            let step = take_varint(&mut timestamps).map(unzigzag);
            timestamp = step
                .and_then(|s| timestamp.checked_add(s))
                .ok_or(BatchError::Malformed { at, expected: "a timestamp" })?;
            if !TimestampMs(timestamp).is_acceptable() {
                return Err(BatchError::BadTimestamp(timestamp));
            }
        }
        if !series.is_empty() || !timestamps.is_empty() {
            return Err(BatchError::Malformed { at: columns_at, expected: "columns as long as the values" });
        }
        Ok(())
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes)
}

/// Small numbers of either sign become small unsigned ones: 0, -1, 1, -2 → 0, 1, 2, 3.
fn zigzag(n: i64) -> u64 {
    ((n << 1) ^ (n >> 63)).cast_unsigned()
}

fn unzigzag(n: u64) -> i64 {
    (n >> 1).cast_signed() ^ -(n & 1).cast_signed()
}

/// LEB128, as protobuf has it: seven bits a byte, the high bit says that more follow.
#[allow(clippy::cast_possible_truncation)]
fn put_varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut n = 0;
    for (i, &byte) in bytes.iter().enumerate().take(VARINT_BYTES_MAX) {
        if i == VARINT_BYTES_MAX - 1 && byte > 1 {
            return None; // would not fit into 64 bits
        }
        n |= u64::from(byte & 0x7f) << (7 * i);
        if byte < 0x80 {
            *bytes = &bytes[i + 1..];
            return Some(n);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::Labels;
    use proptest::prelude::*;

    fn cpu_batch() -> Batch {
        let mut batch = Batch::new();
        for core in ["0", "1"] {
            let series = batch.series([("__name__", "cpu"), ("core", core)]).unwrap();
            batch.push(series, TimestampMs(1000), 0.5).unwrap();
            batch.push(series, TimestampMs(2000), f64::from_bits(STALE_NAN_BITS)).unwrap();
        }
        batch
    }

    #[test]
    fn what_is_encoded_is_read_back() {
        let bytes = cpu_batch().encode();
        assert!(bytes.len() <= cpu_batch().encoded_bytes_max());
        let view = BatchView::parse(&bytes).unwrap();
        assert_eq!((BatchView::peek_len(&bytes), BatchView::peek_len(b"SCB")), (view.len(), 0));
        let rows: Vec<_> = view
            .samples()
            .map(|s| (view.labels(s.series).to_string(), s.timestamp.0, s.value.to_bits()))
            .collect();
        let half = 0.5_f64.to_bits();
        let (zero, one) = (r#"cpu{core="0"}"#.to_owned(), r#"cpu{core="1"}"#.to_owned());
        assert_eq!(
            rows,
            [
                (zero.clone(), 1000, half),
                (zero, 2000, STALE_NAN_BITS),
                (one.clone(), 1000, half),
                (one, 2000, STALE_NAN_BITS)
            ]
        );
    }

    /// The bytes of `FORMAT.md`. If this fails, the version byte must rise and the old form stay readable.
    #[test]
    fn the_golden_file_holds() {
        assert_eq!(cpu_batch().encode(), include_bytes!("../testdata/batch-v1.bin"));
    }

    #[test]
    fn a_series_given_twice_in_a_row_is_written_once() {
        let mut batch = Batch::new();
        let first = batch.series([("a", "1"), ("b", "2")]).unwrap();
        assert_eq!(batch.series([("b", "2"), ("a", "1")]).unwrap(), first);
        assert_eq!(batch.series([("a", "1")]).unwrap(), SeriesRef(1));
        batch.series([("a", "1"), ("a", "2")]).unwrap_err();
        assert_eq!(
            batch.series([("a", "1")]).unwrap(),
            SeriesRef(1),
            "a refused series leaves nothing behind"
        );
    }

    #[test]
    fn a_metric_name_is_one_label_more() {
        let names: Vec<_> = (0..64).map(|i| format!("l{i}")).collect();
        let mut batch = Batch::new();
        let of = batch.series(names.iter().map(|n| (n.as_str(), "v"))).unwrap();
        assert_eq!(batch.series_renamed(of, "a"), Err(LabelError::TooMany(65).into()));
        assert_eq!(batch.series_renamed(of, ""), Ok(of));
        let of = batch.series(names[1..].iter().map(|n| (n.as_str(), "v"))).unwrap();
        let named = batch.series_renamed(of, "a").unwrap();
        assert!(batch.series_renamed(named, "b").is_ok(), "a name that is replaced is no label more");
    }

    #[test]
    fn times_outside_the_limits_are_refused() {
        let mut batch = Batch::new();
        let series = batch.series([("a", "1")]).unwrap();
        assert_eq!(batch.push(series, TimestampMs(-1), 0.0), Err(BatchError::BadTimestamp(-1)));
        batch.push(series, TimestampMs::MAX, 0.0).unwrap();
    }

    #[test]
    fn a_warm_batch_allocates_nothing_a_sample() {
        let mut batch = cpu_batch();
        let mut out = batch.encode();
        let capacities =
            |b: &Batch| [b.table.capacity(), b.ends.capacity(), b.series.capacity(), b.values.capacity()];
        let before = (capacities(&batch), out.capacity());
        batch.clear();
        out.clear();
        let series = batch.series([("core", "1"), ("__name__", "cpu")]).unwrap();
        batch.push(series, TimestampMs(3000), 1.0).unwrap();
        batch.encode_into(&mut out);
        assert_eq!((capacities(&batch), out.capacity()), before);
    }

    #[test]
    fn a_cleared_batch_still_holds_its_memory() {
        let mut batch = Batch::new();
        assert_eq!(batch.capacity_bytes(), 0);
        let series = batch.series([("a", "1")]).unwrap();
        for _ in 0..1000 {
            batch.push(series, TimestampMs(1), 1.0).unwrap();
        }
        let full = batch.capacity_bytes();
        assert!(full >= 1000 * (4 + 8 + 8), "{full} bytes");
        batch.clear();
        assert_eq!(batch.capacity_bytes(), full);
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_refused_or_read_without_a_panic() {
        let bytes = cpu_batch().encode();
        for cut in 0..bytes.len() {
            BatchView::parse(&bytes[..cut]).unwrap_err();
        }
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            if let Ok(view) = BatchView::parse(&bad) {
                assert!(view.samples().all(|s| (s.series.0 as usize) < view.series_len()));
            }
        }
    }

    #[test]
    fn what_is_rolled_back_never_was() {
        let mut batch = Batch::new();
        let a = batch.series([("__name__", "a")]).unwrap();
        batch.push(a, TimestampMs(1), 1.0).unwrap();
        let before = batch.encode();
        let mark = batch.mark();
        let again = batch.series([("__name__", "a")]).unwrap();
        batch.push(again, TimestampMs(2), 2.0).unwrap();
        let b = batch.series([("__name__", "b")]).unwrap();
        batch.push(b, TimestampMs(3), 3.0).unwrap();
        batch.rollback(mark);
        assert_eq!(batch.encode(), before);
        let c = batch.series([("__name__", "c")]).unwrap();
        assert_eq!(c, SeriesRef(1), "the row is free again");
    }

    proptest! {
        #[test]
        fn any_batch_round_trips(
            rows in proptest::collection::vec(("[a-c]", 0..TimestampMs::MAX.0, any::<u64>()), 0..50),
        ) {
            let mut batch = Batch::new();
            for (name, timestamp, bits) in &rows {
                let series = batch.series([("__name__", name.as_str())]).unwrap();
                batch.push(series, TimestampMs(*timestamp), f64::from_bits(*bits)).unwrap();
            }
            let bytes = batch.encode();
            let view = BatchView::parse(&bytes).unwrap();
            let back: Vec<_> = view
                .samples()
                .map(|s| (view.labels(s.series).metric_name().to_owned(), s.timestamp.0, s.value.to_bits()))
                .collect();
            prop_assert_eq!(back, rows);
        }

        #[test]
        fn a_renamed_series_is_the_one_that_was_written_out(
            names in proptest::collection::btree_set("[A-Zaz_][a-z_]{0,9}", 0..6),
            (first, second) in ("[a-zA-Z]{0,3}", "[a-zA-Z-]{0,3}"),
        ) {
            let labels = |name| {
                let others = names.iter().filter(|n| *n != "__name__").map(|n| (n.as_str(), "v"));
                others.chain([("__name__", name)]).collect::<Vec<_>>()
            };
            let mut batch = Batch::new();
            let of = batch.series(labels(&first)).unwrap();
            let renamed = batch.series_renamed(of, &second);
            let mut expected = Batch::new();
            expected.series(labels(&first)).unwrap();
            prop_assert_eq!(renamed, expected.series(labels(&second)));
            prop_assert_eq!(batch.encode(), expected.encode());
        }

        #[test]
        fn any_bytes_are_refused_or_read(tail in proptest::collection::vec(any::<u8>(), 0..80)) {
            let bytes = [&MAGIC[..], &tail].concat();
            if let Ok(view) = BatchView::parse(&bytes) {
                for sample in view.samples() {
                    let _ = Labels::new(view.labels(sample.series).iter()).unwrap();
                }
            }
        }
    }
}
