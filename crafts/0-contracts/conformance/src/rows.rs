//! Rows of samples, the way in which the suites write what they read back.

use crate::claim::Explain;
use contracts::{Batch, BatchView, Labels, TimestampMs, storage::SeriesWriter};

/// One sample with the labels of its series.
pub(crate) type Row = (Labels, i64, f64);

/// Labels that are known to be good. A broken set is a bug of the suite, which its claim reports.
pub(crate) fn labels(pairs: &[(&str, &str)]) -> Labels {
    Labels::new(pairs.iter().copied()).expect("the suites write only good labels")
}

/// A metric name and further labels.
pub(crate) fn metric(name: &str, pairs: &[(&str, &str)]) -> Labels {
    labels(&[&[("__name__", name)], pairs].concat())
}

/// All rows as one batch, in their order, a table row for every change of series.
pub(crate) fn batch_of(rows: &[Row]) -> Result<Batch, String> {
    let mut batch = Batch::new();
    for (labels, timestamp, value) in rows {
        let series = batch.series_of(labels.view()).explain("building a batch")?;
        batch.push(series, TimestampMs(*timestamp), *value).explain("building a batch")?;
    }
    Ok(batch)
}

/// Writes all rows as one batch, without a sync.
pub(crate) fn write(storage: &(impl SeriesWriter + ?Sized), rows: &[Row]) -> Result<(), String> {
    let bytes = batch_of(rows)?.encode();
    let view = BatchView::parse(&bytes).explain("reading back a batch")?;
    storage.write(&view).explain("write")
}

/// Writes all rows as one batch and syncs.
pub(crate) fn write_synced(storage: &(impl SeriesWriter + ?Sized), rows: &[Row]) -> Result<(), String> {
    write(storage, rows)?;
    storage.sync().explain("sync")
}
