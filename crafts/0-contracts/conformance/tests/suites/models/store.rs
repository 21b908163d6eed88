//! Storage in memory.

use contracts::{
    BatchView, Labels, Matcher, TimestampMs,
    storage::{Select, SelectStats, SeriesReader, SeriesWriter, Storage, StorageError, Visit},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

/// What storage can get wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    FirstWriteWins,
    KeepsDuplicates,
    ExclusiveEnd,
    ExclusiveStart,
    NoSorting,
    LosesTheSign,
    OneNanForAll,
    RowsAreIdentities,
    AbsentNeverMatches,
    RegexAnywhere,
    IgnoresSecondMatcher,
    IgnoresSamplesMax,
    SamplesMaxOffByOne,
    AnswersAPart,
    IgnoresBreak,
    ShowsEmptySeries,
    CutsLongValues,
    LowerCaseLabels,
    MiscountsStats,
    ForgetsTheLastBatch,
    UnsortedNames,
}

#[derive(Default)]
struct State {
    series: BTreeMap<Labels, Vec<(i64, f64)>>,
}

pub(crate) struct MemoryStore {
    fault: Fault,
    state: Mutex<State>,
}

pub(crate) fn open(fault: Fault) -> impl Fn() -> Arc<dyn Storage> + Send + Sync + 'static {
    move || Arc::new(MemoryStore { fault, state: Mutex::default() })
}

impl MemoryStore {
    fn is(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    /// Labels as this storage remembers them.
    fn kept(&self, labels: &Labels) -> Labels {
        let pairs: Vec<_> = labels
            .view()
            .iter()
            .map(|(name, value)| match self.fault {
                Fault::CutsLongValues => (name.to_owned(), value.chars().take(1024).collect()),
                Fault::LowerCaseLabels => (name.to_owned(), value.to_lowercase()),
                _ => (name.to_owned(), value.to_owned()),
            })
            .collect();
        Labels::new(pairs.iter().map(|(n, v)| (n.as_str(), v.as_str()))).unwrap()
    }

    fn fits(&self, matchers: &[Matcher], labels: &Labels) -> bool {
        let view = labels.view();
        let held =
            if self.is(Fault::IgnoresSecondMatcher) { &matchers[..matchers.len().min(1)] } else { matchers };
        held.iter().all(|m| match self.fault {
            Fault::AbsentNeverMatches if view.get(m.name()).is_empty() => false,
            Fault::RegexAnywhere if m.op() == contracts::MatchOp::Matches => {
                let anywhere = format!(".*({}).*", m.value());
                Matcher::new(m.name(), m.op(), &anywhere).is_ok_and(|m| m.matches(view.get(m.name())))
            }
            _ => m.matches(view.get(m.name())),
        })
    }
}

impl SeriesWriter for MemoryStore {
    fn write(&self, batch: &BatchView<'_>) -> Result<(), StorageError> {
        let mut state = self.state.lock().unwrap();
        for sample in batch.samples() {
            let mut labels = self.kept(&batch.labels(sample.series).to_labels());
            if self.is(Fault::RowsAreIdentities) {
                let row = sample.series.0.to_string();
                let pairs: Vec<_> = labels.view().iter().chain([("row", row.as_str())]).collect();
                labels = Labels::new(pairs).unwrap();
            }
            let value = match self.fault {
                Fault::LosesTheSign if sample.value == 0.0 => 0.0,
                Fault::OneNanForAll if sample.value.is_nan() => f64::NAN,
                _ => sample.value,
            };
            let samples = state.series.entry(labels).or_default();
            let at = sample.timestamp.0;
            match samples.iter_mut().find(|s| s.0 == at) {
                Some(_) if self.is(Fault::FirstWriteWins) => {}
                Some(known) if !self.is(Fault::KeepsDuplicates) => known.1 = value,
                _ => samples.push((at, value)),
            }
            if !self.is(Fault::NoSorting) {
                samples.sort_by_key(|s| s.0);
            }
            if self.is(Fault::ForgetsTheLastBatch) && batch.len() == 7 {
                samples.pop();
            }
        }
        Ok(())
    }

    fn sync(&self) -> Result<(), StorageError> {
        Ok(())
    }
}

impl SeriesReader for MemoryStore {
    fn select(&self, select: &Select, visit: &mut Visit<'_>) -> Result<SelectStats, StorageError> {
        let state = self.state.lock().unwrap();
        let inside = |at: i64| {
            let range = select.range;
            range.contains(TimestampMs(at))
                && !(self.is(Fault::ExclusiveEnd) && at == range.end.0)
                && !(self.is(Fault::ExclusiveStart) && at == range.start.0)
        };
        let mut found: Vec<(&Labels, Vec<(i64, f64)>)> = Vec::new();
        for (labels, samples) in state.series.iter().filter(|(l, _)| self.fits(&select.matchers, l)) {
            let samples: Vec<_> = samples.iter().filter(|s| inside(s.0)).copied().collect();
            if !samples.is_empty() || self.is(Fault::ShowsEmptySeries) {
                found.push((labels, samples));
            }
        }
        let total: usize = found.iter().map(|(_, s)| s.len()).sum();
        let most = select.samples_max + usize::from(self.is(Fault::SamplesMaxOffByOne));
        if total > most && self.is(Fault::AnswersAPart) {
            found.truncate(1);
        } else if total > most && !self.is(Fault::IgnoresSamplesMax) {
            return Err(StorageError::TooManySamples(select.samples_max));
        }
        let mut stats = SelectStats::default();
        for (labels, samples) in found {
            let (times, values): (Vec<_>, Vec<_>) = samples.into_iter().unzip();
            stats.series += 1;
            stats.samples += values.len() as u64 + u64::from(self.is(Fault::MiscountsStats));
            if visit(labels.view(), &times, &values).is_break() && !self.is(Fault::IgnoresBreak) {
                break;
            }
        }
        Ok(stats)
    }

    fn label_names(&self, select: &Select) -> Result<Vec<String>, StorageError> {
        let series = self.series(select)?;
        let mut names: Vec<String> = series
            .iter()
            .flat_map(|s| s.view().iter().map(|(n, _)| n.to_owned()).collect::<Vec<_>>())
            .collect();
        if !self.is(Fault::UnsortedNames) {
            names.sort();
            names.dedup();
        }
        Ok(names)
    }
}
