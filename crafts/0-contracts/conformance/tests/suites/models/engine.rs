//! A query engine of level 0 over storage in memory.

use super::store;
use contracts::{
    Labels, Matcher, TimeRange, TimestampMs,
    batch::STALE_NAN_BITS,
    limits::{LOOKBACK_MS, QUERY_BYTES_MAX},
    parse_selector,
    query::{InstantSample, QueryEngine, QueryError, QueryValue, SeriesPoints, Steps, parse_value},
    storage::{Select, SeriesWriter, Storage},
};
use std::{collections::BTreeSet, ops::ControlFlow, sync::Arc};

/// What an engine can get wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    NoLookBack,
    LooksBackTooFar,
    LeftEndIncluded,
    ShowsStale,
    StaleIsAnyNan,
    SampleTime,
    DropsName,
    ComparesAsBool,
    GreaterIsAtLeast,
    NoLookBackInRange,
    KeepsEmptyLines,
    PointsExcludeEnd,
    Unsorted,
    IgnoresRest,
    WrongByte,
    CountsChars,
    AnyLength,
    SelectsEverything,
    OnlyFirstSelector,
    IgnoresRangeOfLabels,
}

pub(crate) fn open(
    fault: Fault,
) -> impl Fn() -> (Arc<dyn SeriesWriter>, Arc<dyn QueryEngine>) + Send + Sync + 'static {
    move || {
        let store = store::open(store::Fault::None)();
        (store.clone(), Arc::new(MemoryEngine { fault, store }))
    }
}

pub(crate) struct MemoryEngine {
    fault: Fault,
    store: Arc<dyn Storage>,
}

struct Query {
    matchers: Vec<Matcher>,
    comparison: Option<(String, f64)>,
}

impl MemoryEngine {
    pub(crate) fn new(store: Arc<dyn Storage>) -> Self {
        Self { fault: Fault::None, store }
    }

    fn is(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    fn parse(&self, text: &str) -> Result<Query, QueryError> {
        self.check_length(text)?;
        self.parse_all(text).map_err(|e| match e {
            QueryError::Bad { why, .. } if self.is(Fault::WrongByte) => QueryError::Bad { at: 0, why },
            QueryError::Bad { at, why } if self.is(Fault::CountsChars) => {
                QueryError::Bad { at: text.chars().count().min(at), why }
            }
            e => e,
        })
    }

    fn check_length(&self, text: &str) -> Result<(), QueryError> {
        if text.len() > QUERY_BYTES_MAX && !self.is(Fault::AnyLength) {
            return Err(QueryError::TooLarge(format!("{} bytes", text.len())));
        }
        Ok(())
    }

    fn parse_all(&self, text: &str) -> Result<Query, QueryError> {
        let bad = |at: usize, why: &str| QueryError::Bad { at, why: why.to_owned() };
        let (matchers, end) = self.selector(text)?;
        let rest = &text[end..];
        if rest.is_empty() || self.is(Fault::IgnoresRest) {
            return Ok(Query { matchers, comparison: None });
        }
        let op = ["==", "!=", ">=", "<=", ">", "<"].into_iter().find(|op| rest.starts_with(op));
        let op = op.ok_or_else(|| bad(end, "expected a comparison"))?;
        let number = rest[op.len()..].trim_start();
        let at = text.len() - number.len();
        let digits = number.trim_end();
        let (sign, digits) = match digits.strip_prefix('-') {
            Some(digits) => (-1.0, digits.trim_start()),
            None => (1.0, digits.strip_prefix('+').unwrap_or(digits)),
        };
        let (word, rest) = digits.split_at(digits.find(' ').unwrap_or(digits.len()));
        let number = parse_value(word).ok_or_else(|| bad(at, "expected a number"))?;
        if !rest.trim().is_empty() {
            return Err(bad(text.trim_end().len() - rest.trim().len(), "expected the end"));
        }
        Ok(Query { matchers, comparison: Some((op.to_owned(), sign * number)) })
    }

    fn selector(&self, text: &str) -> Result<(Vec<Matcher>, usize), QueryError> {
        if text == "{}" && self.is(Fault::SelectsEverything) {
            return Ok((vec![], 2));
        }
        parse_selector(text).map_err(|e| QueryError::Bad { at: e.at, why: e.why })
    }

    fn whole_selector(&self, text: &str) -> Result<Vec<Matcher>, QueryError> {
        self.check_length(text)?;
        let (matchers, end) = self.selector(text)?;
        if end < text.len() {
            return Err(QueryError::Bad { at: end, why: "expected the end".to_owned() });
        }
        Ok(matchers)
    }

    fn raw(&self, matchers: Vec<Matcher>, range: TimeRange) -> Result<Vec<SeriesPoints>, QueryError> {
        let mut found = Vec::new();
        self.store.select(&Select::new(matchers, range), &mut |labels, timestamps, values| {
            let (timestamps, values) = (timestamps.to_vec(), values.to_vec());
            found.push(SeriesPoints { labels: labels.to_labels(), timestamps, values });
            ControlFlow::Continue(())
        })?;
        found.sort_by(|a, b| a.labels.cmp(&b.labels));
        if self.is(Fault::Unsorted) {
            found.reverse();
        }
        Ok(found)
    }

    fn at(&self, query: &Query, at: TimestampMs, look_back: i64) -> Result<Vec<InstantSample>, QueryError> {
        let range = TimeRange::new(at.0 - look_back + 1, at.0);
        let mut elements = Vec::new();
        for series in self.raw(query.matchers.clone(), range)? {
            let value = *series.values.last().unwrap();
            let stale =
                value.to_bits() == STALE_NAN_BITS || (self.is(Fault::StaleIsAnyNan) && value.is_nan());
            let Some(value) = self.compared(query, value).filter(|_| !stale || self.is(Fault::ShowsStale))
            else {
                continue;
            };
            let time = if self.is(Fault::SampleTime) { *series.timestamps.last().unwrap() } else { at.0 };
            let named = !self.is(Fault::DropsName) || query.comparison.is_none();
            let labels = if named { series.labels } else { series.labels.without(&["__name__"]) };
            elements.push(InstantSample { labels, timestamp: TimestampMs(time), value });
        }
        Ok(elements)
    }

    fn compared(&self, query: &Query, value: f64) -> Option<f64> {
        let Some((op, number)) = &query.comparison else { return Some(value) };
        let holds = match op.as_str() {
            ">" if self.is(Fault::GreaterIsAtLeast) => value >= *number,
            ">" => value > *number,
            ">=" => value >= *number,
            "<" => value < *number,
            "<=" => value <= *number,
            "==" => value == *number,
            _ => value != *number,
        };
        if self.is(Fault::ComparesAsBool) { Some(f64::from(u8::from(holds))) } else { holds.then_some(value) }
    }

    fn found(&self, selectors: &[&str], range: TimeRange) -> Result<BTreeSet<Labels>, QueryError> {
        let range = if self.is(Fault::IgnoresRangeOfLabels) { TimeRange::ALL } else { range };
        let mut found = BTreeSet::new();
        let many = if self.is(Fault::OnlyFirstSelector) { 1 } else { usize::MAX };
        for selector in selectors.iter().take(many) {
            found.extend(self.store.series(&Select::new(self.whole_selector(selector)?, range))?);
        }
        if selectors.is_empty() {
            found.extend(self.store.series(&Select::new(vec![], range))?);
        }
        Ok(found)
    }
}

impl QueryEngine for MemoryEngine {
    fn instant(&self, query: &str, at: TimestampMs) -> Result<QueryValue, QueryError> {
        let look_back = match self.fault {
            Fault::NoLookBack => 1,
            Fault::LooksBackTooFar => 2 * LOOKBACK_MS,
            Fault::LeftEndIncluded => LOOKBACK_MS + 1,
            _ => LOOKBACK_MS,
        };
        Ok(QueryValue::Vector(self.at(&self.parse(query)?, at, look_back)?))
    }

    fn range(&self, query: &str, steps: Steps) -> Result<Vec<SeriesPoints>, QueryError> {
        let query = self.parse(query)?;
        let look_back = if self.is(Fault::NoLookBackInRange) { 1 } else { LOOKBACK_MS };
        let mut lines: Vec<SeriesPoints> = Vec::new();
        if self.is(Fault::KeepsEmptyLines) {
            let around = TimeRange::new(steps.range().start.0 - LOOKBACK_MS, steps.range().end.0);
            lines = self.raw(query.matchers.clone(), around)?;
            lines.iter_mut().for_each(|line| (line.timestamps, line.values) = (vec![], vec![]));
        }
        for at in steps.times() {
            for element in self.at(&query, at, look_back)? {
                let known = lines.iter().position(|l| l.labels == element.labels);
                let line = known.unwrap_or_else(|| {
                    lines.push(SeriesPoints { labels: element.labels, timestamps: vec![], values: vec![] });
                    lines.len() - 1
                });
                lines[line].timestamps.push(at.0);
                lines[line].values.push(element.value);
            }
        }
        if !self.is(Fault::Unsorted) {
            lines.sort_by(|a, b| a.labels.cmp(&b.labels));
        }
        Ok(lines)
    }

    fn points(&self, selector: &str, range: TimeRange) -> Result<Vec<SeriesPoints>, QueryError> {
        let end = range.end.0 - i64::from(self.is(Fault::PointsExcludeEnd));
        self.raw(self.whole_selector(selector)?, TimeRange::new(range.start.0, end))
    }

    fn series(&self, selectors: &[&str], range: TimeRange) -> Result<Vec<Labels>, QueryError> {
        Ok(self.found(selectors, range)?.into_iter().collect())
    }

    fn label_names(&self, selectors: &[&str], range: TimeRange) -> Result<Vec<String>, QueryError> {
        let found = self.found(selectors, range)?;
        let names: BTreeSet<_> = found.iter().flat_map(|l| l.view().iter().map(|(name, _)| name)).collect();
        Ok(names.into_iter().map(str::to_owned).collect())
    }

    fn label_values(
        &self,
        name: &str,
        selectors: &[&str],
        range: TimeRange,
    ) -> Result<Vec<String>, QueryError> {
        let found = self.found(selectors, range)?;
        let values: BTreeSet<_> =
            found.iter().map(|l| l.view().get(name)).filter(|v| !v.is_empty()).collect();
        Ok(values.into_iter().map(str::to_owned).collect())
    }
}
