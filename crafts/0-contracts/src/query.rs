//! Craft 4: from a text to vectors.
//!
//! The language is PromQL. The contract has levels, so that a naive engine can be honest: level 0 is a selector
//! `name{label="value",…}`, optionally compared with a number (`cpu > 0.9`); what an engine does not know, it
//! refuses with the byte at which it stopped understanding — it never answers something else.

use crate::{
    labels::Labels,
    limits::QUERY_STEPS_MAX,
    storage::StorageError,
    time::{TimeRange, TimestampMs},
};
use serde::{Deserialize, Serialize};

/// Why a query was refused or failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QueryError {
    /// The text is no query that this engine understands.
    #[error("{why} at byte {at}")]
    Bad {
        /// Byte of the text.
        at: usize,
        /// What was expected.
        why: String,
    },
    /// A bound on steps or length.
    #[error("{0}")]
    TooLarge(String),
    /// Storage refused or failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// One series at one time.
#[derive(Clone, Debug, PartialEq)]
pub struct InstantSample {
    /// Which series.
    pub labels: Labels,
    /// The time of the evaluation.
    pub timestamp: TimestampMs,
    /// The value then.
    pub value: f64,
}

/// One series over time, in two columns of the same length, ascending.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesPoints {
    /// Which series.
    pub labels: Labels,
    /// Milliseconds.
    pub timestamps: Vec<i64>,
    /// Values.
    pub values: Vec<f64>,
}

/// What an expression evaluates to at one time.
#[derive(Clone, Debug, PartialEq)]
pub enum QueryValue {
    /// A number.
    Scalar(f64),
    /// A text.
    String(String),
    /// An instant vector: the latest sample of each series, not older than the look-back.
    Vector(Vec<InstantSample>),
    /// A range vector: the raw samples of each series.
    Matrix(Vec<SeriesPoints>),
}

/// The times of a range query: `start`, `start + step`, … up to `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steps {
    range: TimeRange,
    step_ms: i64,
    count: i64,
}

impl Steps {
    /// # Errors
    /// A step that is not positive, an end before the start, or more than [`QUERY_STEPS_MAX`] steps.
    pub fn new(range: TimeRange, step_ms: i64) -> Result<Self, QueryError> {
        if step_ms <= 0 {
            return Err(QueryError::TooLarge("the step must be longer than zero".to_owned()));
        }
        if range.end < range.start {
            return Err(QueryError::TooLarge("the end lies before the start".to_owned()));
        }
        let too_long = || QueryError::TooLarge("the range is too long".to_owned());
        let span = range.end.0.checked_sub(range.start.0).ok_or_else(too_long)?;
        let count = (span / step_ms).saturating_add(1);
        if count > QUERY_STEPS_MAX as i64 {
            return Err(QueryError::TooLarge(format!(
                "{count} steps, the most is {QUERY_STEPS_MAX}; take a longer step or a shorter range"
            )));
        }
        Ok(Self { range, step_ms, count })
    }

    /// First and last time.
    pub fn range(&self) -> TimeRange {
        self.range
    }

    /// Milliseconds from one time to the next.
    pub fn step_ms(&self) -> i64 {
        self.step_ms
    }

    /// Every time at which the expression is evaluated.
    pub fn times(&self) -> impl Iterator<Item = TimestampMs> + use<> {
        let Self { range, step_ms, count } = *self;
        // By count: `i * step_ms` never passes the span, so nothing here can overflow.
        (0..count).map(move |i| TimestampMs(range.start.0 + i * step_ms))
    }
}

/// Evaluates queries against one storage.
pub trait QueryEngine: Send + Sync {
    /// Whether this engine understands the text, without reading any sample if that can be had.
    ///
    /// # Errors
    /// Any [`QueryError`].
    fn check(&self, query: &str) -> Result<(), QueryError> {
        self.instant(query, TimestampMs::MIN).map(drop)
    }

    /// The value of an expression at one time.
    ///
    /// # Errors
    /// Any [`QueryError`].
    fn instant(&self, query: &str, at: TimestampMs) -> Result<QueryValue, QueryError>;

    /// The values of an expression at each of many times, sorted by labels. A series absent at a time has no
    /// point there.
    ///
    /// # Errors
    /// Any [`QueryError`].
    fn range(&self, query: &str, steps: Steps) -> Result<Vec<SeriesPoints>, QueryError>;

    /// The raw samples that a selector means, both ends included, stale markers too, sorted by labels.
    ///
    /// # Errors
    /// Any [`QueryError`].
    fn points(&self, selector: &str, range: TimeRange) -> Result<Vec<SeriesPoints>, QueryError>;

    /// The series that any of the selectors means and that have samples in the range, sorted.
    ///
    /// # Errors
    /// Any [`QueryError`].
    fn series(&self, selectors: &[&str], range: TimeRange) -> Result<Vec<Labels>, QueryError>;

    /// Label names of the series that any of the selectors means (of all series without any), sorted.
    ///
    /// # Errors
    /// Any [`QueryError`].
    fn label_names(&self, selectors: &[&str], range: TimeRange) -> Result<Vec<String>, QueryError>;

    /// Values of one label among the series that any of the selectors means (all without any), sorted.
    ///
    /// # Errors
    /// Any [`QueryError`].
    fn label_values(
        &self,
        name: &str,
        selectors: &[&str],
        range: TimeRange,
    ) -> Result<Vec<String>, QueryError>;
}

/// A value as Prometheus's API writes it: the shortest text that gives the same `f64`, `NaN`, `+Inf`, `-Inf`.
pub fn format_value(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned()
    } else if value != 0.0 && !(1e-6..1e21).contains(&value.abs()) {
        with_exponent(&format!("{value:e}"))
    } else {
        format!("{value}")
    }
}

/// Go writes a sign and at least two digits: `1e+21`, `1e-07`.
fn with_exponent(text: &str) -> String {
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let (sign, digits) = exponent.strip_prefix('-').map_or(('+', exponent), |digits| ('-', digits));
    format!("{mantissa}e{sign}{digits:0>2}")
}

/// Reads what [`format_value`] writes, and any number that PromQL accepts in decimal.
pub fn parse_value(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "+Inf" | "Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        // Rust's parser takes "infinity" and "nan" in any case; the contract does not.
        _ if text.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b)) => text.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn steps_are_bounded_and_hold_both_ends() {
        let times: Vec<_> = Steps::new(TimeRange::new(0, 20), 10).unwrap().times().map(|t| t.0).collect();
        assert_eq!(times, [0, 10, 20]);
        Steps::new(TimeRange::new(0, 10), 0).unwrap_err();
        Steps::new(TimeRange::new(10, 0), 1).unwrap_err();
        Steps::new(TimeRange::new(0, 11_000), 1).unwrap_err();
        Steps::new(TimeRange::new(0, 10_999), 1).unwrap();
        Steps::new(TimeRange::new(i64::MIN, i64::MAX), 1).unwrap_err();
    }

    #[test]
    fn values_look_as_prometheus_writes_them() {
        let cases = [
            (1.0, "1"),
            (0.1, "0.1"),
            (-0.0, "-0"),
            (1e21, "1e+21"),
            (1e-7, "1e-07"),
            (-1.5e300, "-1.5e+300"),
            (f64::INFINITY, "+Inf"),
        ];
        for (value, text) in cases {
            assert_eq!(format_value(value), text);
        }
        assert_eq!(parse_value("nan"), None);
        assert_eq!(parse_value("infinity"), None);
        assert_eq!(parse_value(""), None);
    }

    proptest! {
        #[test]
        fn no_steps_overflow(start: i64, end: i64, step: i64) {
            if let Ok(steps) = Steps::new(TimeRange::new(start, end), step) {
                prop_assert!(steps.times().count() <= QUERY_STEPS_MAX);
                prop_assert!(steps.times().all(|t| steps.range().contains(t)));
            }
        }

        #[test]
        fn steps_near_the_ends_of_time_do_not_overflow(start in i64::MAX - 5..i64::MAX, span in 0..5_i64, step in 1..i64::MAX) {
            let steps = Steps::new(TimeRange::new(start, start.saturating_add(span)), step).unwrap();
            prop_assert!(steps.times().all(|t| steps.range().contains(t)));
        }

        #[test]
        fn every_value_comes_back(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            let back = parse_value(&format_value(value)).unwrap();
            prop_assert!(back.to_bits() == value.to_bits() || (back.is_nan() && value.is_nan()));
        }
    }
}
