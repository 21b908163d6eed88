//! The series of a storage service.

use super::Client;
use crate::routes::storage::BATCH;
use contracts::{
    Batch, BatchView, Labels, SeriesRef, TimestampMs,
    queue::payload_at,
    storage::{Select, SelectStats, SeriesReader, SeriesWriter, StorageError, Visit},
};
use serde::Deserialize;
use std::ops::ControlFlow;

/// Largest body that a write sends: below every service's limit.
const WRITE_BYTES_MAX: usize = 8 << 20;

/// A storage behind `/write` and `/query`.
pub struct RemoteStorage {
    client: Client,
}

impl RemoteStorage {
    /// The storage of the service at the client's base URL. It need not be there yet.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    fn send(&self, batch: &Batch) -> Result<(), StorageError> {
        let answer =
            self.client.post("/write?sync=false", BATCH, &batch.encode()).map_err(StorageError::Failed)?;
        answer.success(StorageError::Failed)
    }
}

impl SeriesWriter for RemoteStorage {
    fn write(&self, batch: &BatchView<'_>) -> Result<(), StorageError> {
        let mut part = Batch::new();
        let mut bytes = 0;
        let mut row = None;
        for sample in batch.samples() {
            let labels = batch.labels(sample.series);
            let new_row = row.filter(|(of, _)| *of == sample.series).map_or_else(
                || {
                    bytes += labels.as_bytes().len();
                    part.series_of(labels)
                },
                |(_, row)| Ok(row),
            );
            bytes += size_of::<f64>() * 3;
            let pushed = new_row.and_then(|r| part.push(r, sample.timestamp, sample.value).map(|()| r));
            let new_row: SeriesRef = pushed.map_err(|e| StorageError::Failed(e.to_string()))?;
            row = Some((sample.series, new_row));
            if bytes > WRITE_BYTES_MAX {
                self.send(&part)?;
                part.clear();
                (bytes, row) = (0, None);
            }
        }
        if part.is_empty() { Ok(()) } else { self.send(&part) }
    }

    fn sync(&self) -> Result<(), StorageError> {
        let answer = self.client.post("/sync", BATCH, b"").map_err(StorageError::Failed)?;
        answer.success(StorageError::Failed)
    }
}

impl SeriesReader for RemoteStorage {
    fn select(&self, select: &Select, visit: &mut Visit<'_>) -> Result<SelectStats, StorageError> {
        let answer = self.client.post_json("/query", select).map_err(StorageError::Failed)?;
        answer.success(StorageError::Failed)?;
        let broken = |what: String| StorageError::Failed(format!("an answer that could not be read: {what}"));
        let mut at = 0;
        let mut open = OpenSeries::default();
        let mut stats = SelectStats::default();
        while at < answer.body.len() {
            let payload =
                payload_at(&answer.body, at).ok_or_else(|| broken(format!("cut short at byte {at}")))?;
            at += 4 + payload.len();
            let batch = BatchView::parse(payload).map_err(|e| broken(e.to_string()))?;
            for sample in batch.samples() {
                let labels = batch.labels(sample.series);
                if open.labels.view() != labels && open.visit(visit, &mut stats).is_break() {
                    return Ok(stats);
                }
                if open.timestamps.is_empty() {
                    open.labels = labels.to_labels();
                }
                open.push(sample.timestamp, sample.value);
            }
        }
        let _ = open.visit(visit, &mut stats);
        Ok(stats)
    }

    fn series(&self, select: &Select) -> Result<Vec<Labels>, StorageError> {
        #[derive(Deserialize)]
        struct Found {
            series: Vec<Labels>,
        }
        let answer = self.client.post_json("/series", select).map_err(StorageError::Failed)?;
        answer.json::<Found, _>(StorageError::Failed).map(|found| found.series)
    }
}

/// A series may go on from one batch of the answer to the next: it is visited when another begins.
#[derive(Default)]
struct OpenSeries {
    labels: Labels,
    timestamps: Vec<i64>,
    values: Vec<f64>,
}

impl OpenSeries {
    fn push(&mut self, at: TimestampMs, value: f64) {
        self.timestamps.push(at.0);
        self.values.push(value);
    }

    fn visit(&mut self, visit: &mut Visit<'_>, stats: &mut SelectStats) -> ControlFlow<()> {
        if self.timestamps.is_empty() {
            return ControlFlow::Continue(());
        }
        stats.series += 1;
        stats.samples += self.values.len() as u64;
        let flow = visit(self.labels.view(), &self.timestamps, &self.values);
        self.timestamps.clear();
        self.values.clear();
        flow
    }
}
