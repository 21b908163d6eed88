//! Craft 3: series on disk.
//!
//! A series holds at most one sample a millisecond, and the last one written wins. Writing the same batch
//! again therefore changes nothing: a consumer that crashed between write and commit may simply replay.

use crate::{
    batch::BatchView,
    labels::{Labels, LabelsView},
    limits::QUERY_SAMPLES_MAX,
    matcher::Matcher,
    time::TimeRange,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, ops::ControlFlow};

/// Why storage refused or failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StorageError {
    /// The answer would pass [`Select::samples_max`]: nothing is answered rather than a part.
    #[error("the selection holds more than {0} samples; narrow its time range or its matchers")]
    TooManySamples(usize),
    /// Reading, writing or syncing failed. After a failed write or sync, nothing more is accepted.
    #[error("storage failed: {0}")]
    Failed(String),
}

/// What to read.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Select {
    /// All must match. None selects every series.
    pub matchers: Vec<Matcher>,
    /// Both ends included.
    #[serde(flatten)]
    pub range: TimeRange,
    /// The most samples that the answer may hold.
    #[serde(default = "samples_max_default")]
    pub samples_max: usize,
}

impl Select {
    /// Everything that matches within a span, up to the default bound.
    pub fn new(matchers: Vec<Matcher>, range: TimeRange) -> Self {
        Self { matchers, range, samples_max: QUERY_SAMPLES_MAX }
    }
}

fn samples_max_default() -> usize {
    QUERY_SAMPLES_MAX
}

/// What a selection cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SelectStats {
    /// Series visited.
    pub series: u64,
    /// Samples visited.
    pub samples: u64,
}

/// One series of an answer: its labels, then two columns of the same length, ascending in time, no time twice.
pub type Visit<'v> = dyn FnMut(LabelsView<'_>, &[i64], &[f64]) -> ControlFlow<()> + 'v;

/// Takes batches.
pub trait SeriesWriter: Send + Sync {
    /// Writes a batch. Readers see it at the latest once [`SeriesWriter::sync`] has returned.
    ///
    /// # Errors
    /// [`StorageError::Failed`].
    fn write(&self, batch: &BatchView<'_>) -> Result<(), StorageError>;

    /// Returns once everything written before is as safe as this storage makes it, and readable.
    ///
    /// # Errors
    /// [`StorageError::Failed`]: what was written since the last sync has an unknown fate.
    fn sync(&self) -> Result<(), StorageError>;
}

/// Gives series back.
pub trait SeriesReader: Send + Sync {
    /// Visits every matching series that has samples in the range, each once, in no particular order.
    /// The visitor may break off.
    ///
    /// # Errors
    /// [`StorageError::TooManySamples`], [`StorageError::Failed`].
    fn select(&self, select: &Select, visit: &mut Visit<'_>) -> Result<SelectStats, StorageError>;

    /// The labels of every matching series that has samples in the range, sorted.
    ///
    /// # Errors
    /// As [`SeriesReader::select`].
    fn series(&self, select: &Select) -> Result<Vec<Labels>, StorageError> {
        let mut found = BTreeSet::new();
        self.select(select, &mut |labels, _, _| {
            found.insert(labels.to_labels());
            ControlFlow::Continue(())
        })?;
        Ok(found.into_iter().collect())
    }

    /// All label names of the matching series, sorted.
    ///
    /// # Errors
    /// As [`SeriesReader::select`].
    fn label_names(&self, select: &Select) -> Result<Vec<String>, StorageError> {
        let series = self.series(select)?;
        let names: BTreeSet<&str> =
            series.iter().flat_map(|s| s.view().iter().map(|(name, _)| name)).collect();
        Ok(names.into_iter().map(str::to_owned).collect())
    }

    /// All values that the label `name` has in the matching series, sorted.
    ///
    /// # Errors
    /// As [`SeriesReader::select`].
    fn label_values(&self, name: &str, select: &Select) -> Result<Vec<String>, StorageError> {
        let series = self.series(select)?;
        let values: BTreeSet<&str> =
            series.iter().map(|s| s.view().get(name)).filter(|v| !v.is_empty()).collect();
        Ok(values.into_iter().map(str::to_owned).collect())
    }
}

/// Both halves of one storage.
pub trait Storage: SeriesWriter + SeriesReader {}

impl<S: SeriesWriter + SeriesReader> Storage for S {}
