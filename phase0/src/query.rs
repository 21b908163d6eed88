//! Stage 4: text → selector → vectors.
//!
//! The language is level 0: a selector, optionally compared with a number. What it does not know it refuses.
//!
//! What is wrong with it: a range query looks through all points of a series again at every step; every query
//! reads what the one before it has just read.

use contracts::{
    Labels, Matcher, TimeRange, TimestampMs,
    batch::STALE_NAN_BITS,
    limits::{LOOKBACK_MS, MATCHERS_MAX, QUERY_BYTES_MAX, SELECTORS_MAX},
    parse_selector,
    query::{InstantSample, QueryEngine, QueryError, QueryValue, SeriesPoints, Steps, parse_value},
    storage::{Select, SeriesReader},
};
use std::{collections::BTreeSet, ops::ControlFlow, sync::Arc};

/// An engine for selectors and comparisons.
pub struct SelectorEngine {
    storage: Arc<dyn SeriesReader>,
}

impl SelectorEngine {
    /// An engine that reads from `storage`.
    pub fn new(storage: Arc<dyn SeriesReader>) -> Self {
        Self { storage }
    }

    fn read(&self, matchers: Vec<Matcher>, range: TimeRange) -> Result<Vec<SeriesPoints>, QueryError> {
        let mut found = Vec::new();
        self.storage.select(&Select::new(matchers, range), &mut |labels, timestamps, values| {
            let (timestamps, values) = (timestamps.to_vec(), values.to_vec());
            found.push(SeriesPoints { labels: labels.to_labels(), timestamps, values });
            ControlFlow::Continue(())
        })?;
        found.sort_by(|a, b| a.labels.cmp(&b.labels));
        Ok(found)
    }

    /// One selection a selector; everything if there is none.
    fn selects(selectors: &[&str], range: TimeRange) -> Result<Vec<Select>, QueryError> {
        if selectors.is_empty() {
            return Ok(vec![Select::new(Vec::new(), range)]);
        }
        if selectors.len() > SELECTORS_MAX {
            return Err(QueryError::TooLarge(format!(
                "{} selectors, the most is {SELECTORS_MAX}",
                selectors.len()
            )));
        }
        let mut matchers = 0;
        let mut select = |text: &&str| {
            let select = Select::new(parse_plain_selector(text)?, range);
            matchers += select.matchers.len();
            if matchers > MATCHERS_MAX {
                return Err(QueryError::TooLarge(format!(
                    "{matchers} matchers in all, the most is {MATCHERS_MAX}"
                )));
            }
            Ok(select)
        };
        selectors.iter().map(&mut select).collect()
    }
}

impl QueryEngine for SelectorEngine {
    fn check(&self, query: &str) -> Result<(), QueryError> {
        parse(query).map(drop)
    }

    fn instant(&self, query: &str, at: TimestampMs) -> Result<QueryValue, QueryError> {
        let expr = parse(query)?;
        let series = self.read(expr.matchers.clone(), lookback(at, at))?;
        let samples = series.into_iter().filter_map(|points| {
            let value = latest(&points, at).filter(|v| expr.keeps(*v))?;
            Some(InstantSample { labels: points.labels, timestamp: at, value })
        });
        Ok(QueryValue::Vector(samples.collect()))
    }

    fn range(&self, query: &str, steps: Steps) -> Result<Vec<SeriesPoints>, QueryError> {
        let expr = parse(query)?;
        let TimeRange { start, end } = steps.range();
        let series = self.read(expr.matchers.clone(), lookback(start, end))?;
        let stepped = series.into_iter().map(|points| {
            let kept =
                steps.times().filter_map(|at| Some((at.0, latest(&points, at).filter(|v| expr.keeps(*v))?)));
            let (timestamps, values) = kept.unzip();
            SeriesPoints { labels: points.labels.clone(), timestamps, values }
        });
        Ok(stepped.filter(|points| !points.values.is_empty()).collect())
    }

    fn points(&self, selector: &str, range: TimeRange) -> Result<Vec<SeriesPoints>, QueryError> {
        self.read(parse_plain_selector(selector)?, range)
    }

    fn series(&self, selectors: &[&str], range: TimeRange) -> Result<Vec<Labels>, QueryError> {
        let mut found = BTreeSet::new();
        for select in Self::selects(selectors, range)? {
            found.extend(self.storage.series(&select)?);
        }
        Ok(found.into_iter().collect())
    }

    fn label_names(&self, selectors: &[&str], range: TimeRange) -> Result<Vec<String>, QueryError> {
        let mut found = BTreeSet::new();
        for select in Self::selects(selectors, range)? {
            found.extend(self.storage.label_names(&select)?);
        }
        Ok(found.into_iter().collect())
    }

    fn label_values(
        &self,
        name: &str,
        selectors: &[&str],
        range: TimeRange,
    ) -> Result<Vec<String>, QueryError> {
        let mut found = BTreeSet::new();
        for select in Self::selects(selectors, range)? {
            found.extend(self.storage.label_values(name, &select)?);
        }
        Ok(found.into_iter().collect())
    }
}

/// A query of level 0.
struct Expr {
    matchers: Vec<Matcher>,
    comparison: Option<(Comparison, f64)>,
}

type Comparison = fn(&f64, &f64) -> bool;

/// The longer ones first: `>=` begins with `>`.
const COMPARISONS: [(&str, Comparison); 6] =
    [(">=", f64::ge), ("<=", f64::le), ("==", f64::eq), ("!=", f64::ne), (">", f64::gt), ("<", f64::lt)];

impl Expr {
    /// A comparison is a filter: it drops what does not hold and leaves the rest as it is.
    fn keeps(&self, value: f64) -> bool {
        self.comparison.is_none_or(|(holds, bound)| holds(&value, &bound))
    }
}

fn parse(text: &str) -> Result<Expr, QueryError> {
    let (matchers, end) = parse_start(text)?;
    let rest = &text[end..];
    if rest.is_empty() {
        return Ok(Expr { matchers, comparison: None });
    }
    let Some((sign, holds)) = COMPARISONS.into_iter().find(|(sign, _)| rest.starts_with(sign)) else {
        return bad(
            end,
            "expected a comparison or the end; this engine knows selectors and comparisons with a number",
        );
    };
    let number = rest[sign.len()..].trim_start();
    match parse_value(number.trim_end()) {
        Some(bound) => Ok(Expr { matchers, comparison: Some((holds, bound)) }),
        None => bad(text.len() - number.len(), "expected a number"),
    }
}

/// A selector and nothing else.
fn parse_plain_selector(text: &str) -> Result<Vec<Matcher>, QueryError> {
    match parse_start(text)? {
        (matchers, end) if end == text.len() => Ok(matchers),
        (_, end) => bad(end, "expected nothing behind the selector"),
    }
}

fn parse_start(text: &str) -> Result<(Vec<Matcher>, usize), QueryError> {
    if text.len() > QUERY_BYTES_MAX {
        return Err(QueryError::TooLarge(format!(
            "a query of {} bytes, the most is {QUERY_BYTES_MAX}",
            text.len()
        )));
    }
    parse_selector(text).map_err(|e| QueryError::Bad { at: e.at, why: e.why })
}

fn bad<T>(at: usize, why: &str) -> Result<T, QueryError> {
    Err(QueryError::Bad { at, why: why.to_owned() })
}

/// Everything that an evaluation from `start` to `end` can look back on. The far end is excluded, as in
/// Prometheus 3.
fn lookback(start: TimestampMs, end: TimestampMs) -> TimeRange {
    TimeRange { start: TimestampMs(start.0.saturating_sub(LOOKBACK_MS - 1)), end }
}

/// The last value up to `at`, unless it is too old or says that the series ended.
fn latest(points: &SeriesPoints, at: TimestampMs) -> Option<f64> {
    let window = lookback(at, at);
    let index = points.timestamps.iter().rposition(|t| window.contains(TimestampMs(*t)))?;
    Some(points.values[index]).filter(|v| v.to_bits() != STALE_NAN_BITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[a{}=~!\",<>0-9.eE+é -]{0,24}") {
            let _ = parse(&text);
        }
    }

    #[test]
    fn what_it_does_not_know_it_refuses_with_the_place() {
        let refused = |text: &str| parse(text).map(|_| ()).unwrap_err().to_string();
        assert!(refused("rate(cpu[5m])").ends_with("at byte 4"), "{}", refused("rate(cpu[5m])"));
        assert!(refused("cpu > on").ends_with("expected a number at byte 6"));
        assert!(refused("cpu > 1 or mem > 2").ends_with("at byte 6"));
        assert!(refused("cpu =~ 1").ends_with("at byte 4"));
        parse(" cpu{core=\"0\"} >= -1.5e3 ").unwrap_or_else(|e| panic!("{e}"));
    }
}
