//! Time inside the pipeline: milliseconds since 1970-01-01T00:00:00Z, UTC, no leap seconds.
//!
//! Text form at the edges is RFC 3339. The calendar arithmetic is the era method of Howard Hinnant's
//! "chrono-Compatible Low-Level Date Algorithms" (2013): a year is counted from March, so that the leap day
//! is its last day and months fall into one linear formula.

use crate::limits::{TIMESTAMP_MS_MAX, TIMESTAMP_MS_MIN};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A point in time, in milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TimestampMs(pub i64);

impl TimestampMs {
    /// The earliest and the latest time that a sample may bear.
    pub const MIN: Self = Self(TIMESTAMP_MS_MIN);
    /// See [`TimestampMs::MIN`].
    pub const MAX: Self = Self(TIMESTAMP_MS_MAX);

    /// Whether a sample may bear this time.
    pub fn is_acceptable(self) -> bool {
        (Self::MIN..=Self::MAX).contains(&self)
    }

    /// Parses RFC 3339: `2025-09-17T13:45:23.123Z`, any fraction (cut to milliseconds), any offset.
    ///
    /// A leap second `:60` counts as the last millisecond before it, since this clock has no leap seconds.
    /// Returns `None` for anything else, local times without an offset included.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let b = text.as_bytes();
        let (year, month, day) = (digits(b, 0, 4)?, digits(b, 5, 2)?, digits(b, 8, 2)?);
        let (hour, minute, second) = (digits(b, 11, 2)?, digits(b, 14, 2)?, digits(b, 17, 2)?);
        let separators = [b[4], b[7], b[13], b[16]] == *b"--::" && matches!(b[10], b'T' | b't' | b' ');
        let in_range = (1..=12).contains(&month)
            && (1..=days_in_month(year, month)).contains(&day)
            && hour < 24
            && minute < 60
            && second <= 60;
        if !separators || !in_range {
            return None;
        }
        let (fraction_ms, rest) = fraction_ms(&b[19..])?;
        let offset_minutes = offset_minutes(rest)?;
        let (second, fraction_ms) = if second == 60 { (59, 999) } else { (second, fraction_ms) };
        let minutes = (days_from_civil(year, month, day) * 24 + hour) * 60 + minute - offset_minutes;
        Some(Self((minutes * 60 + second) * 1000 + fraction_ms))
    }
}

/// RFC 3339 with milliseconds in UTC, as in `2025-09-17T13:45:23.123Z`.
impl fmt::Display for TimestampMs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, ms) = (self.0.div_euclid(86_400_000), self.0.rem_euclid(86_400_000));
        let (year, month, day) = civil_from_days(days);
        let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", ms % 1000)
    }
}

/// A span of time, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeRange {
    /// First millisecond of the span.
    pub start: TimestampMs,
    /// Last millisecond of the span.
    pub end: TimestampMs,
}

impl TimeRange {
    /// Everything that a sample may bear.
    pub const ALL: Self = Self { start: TimestampMs::MIN, end: TimestampMs::MAX };

    /// From `start` to `end`, both included. An end before the start holds nothing.
    pub fn new(start: i64, end: i64) -> Self {
        Self { start: TimestampMs(start), end: TimestampMs(end) }
    }

    /// Whether `at` lies within.
    pub fn contains(&self, at: TimestampMs) -> bool {
        self.start <= at && at <= self.end
    }
}

fn digits(b: &[u8], at: usize, count: usize) -> Option<i64> {
    b.get(at..at + count)?.iter().try_fold(0, |n, c| c.is_ascii_digit().then(|| n * 10 + i64::from(c - b'0')))
}

/// `.123` and what follows it; digits beyond the third are dropped.
fn fraction_ms(b: &[u8]) -> Option<(i64, &[u8])> {
    let Some(b'.') = b.first() else { return Some((0, b)) };
    let count = b[1..].iter().take_while(|c| c.is_ascii_digit()).count();
    let ms = (0..3).fold(0, |ms, i| ms * 10 + if i < count { i64::from(b[1 + i] - b'0') } else { 0 });
    (count > 0).then_some((ms, &b[1 + count..]))
}

/// `Z`, `+05:30` or `-08:00`, and nothing after it.
fn offset_minutes(b: &[u8]) -> Option<i64> {
    match b {
        [b'Z' | b'z'] => Some(0),
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let (hours, minutes) = (digits(b, 1, 2)?, digits(b, 4, 2)?);
            let total = hours * 60 + minutes;
            (hours < 24 && minutes < 60).then_some(if *sign == b'-' { -total } else { total })
        }
        _ => None,
    }
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let (y, m) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let era = y.div_euclid(400);
    let year_of_era = y - era * 400;
    let day_of_year = (153 * m + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z - era * 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let m = (5 * day_of_year + 2) / 153;
    let (day, month) = (day_of_year - (153 * m + 2) / 5 + 1, if m < 10 { m + 3 } else { m - 9 });
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_the_forms_of_rfc_3339() {
        let at = |text| TimestampMs::parse_rfc3339(text).map(|t| t.0);
        assert_eq!(at("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(at("2025-09-17T13:45:23.123Z"), Some(1_758_116_723_123));
        assert_eq!(at("2025-09-17T13:45:23.1234567Z"), Some(1_758_116_723_123));
        assert_eq!(at("2025-09-17T13:45:23.1Z"), Some(1_758_116_723_100));
        assert_eq!(at("2025-09-17T15:45:23.123+02:00"), Some(1_758_116_723_123));
        assert_eq!(at("2025-09-17 08:15:23.123-05:30"), Some(1_758_116_723_123));
        assert_eq!(at("2016-12-31T23:59:60Z"), at("2016-12-31T23:59:59.999Z"));
    }

    #[test]
    fn refuses_what_is_not_a_time() {
        for text in [
            "",
            "Z",
            "2025",
            "2025-09-17",
            "2025-09-17T13:45:23",
            "2025-13-17T13:45:23Z",
            "2025-02-29T00:00:00Z",
            "2025-09-17T24:00:00Z",
            "2025-09-17T13:45:23.Z",
            "2025-09-17T13:45:23Zx",
            "2025-09-17T13:45:23+2:00",
            "2025-09-17T13:45:61Z",
            "+025-09-17T13:45:23Z",
            "2025-09-17T13:45:23é",
        ] {
            assert_eq!(TimestampMs::parse_rfc3339(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn agrees_with_jiff(ms in TIMESTAMP_MS_MIN..=TIMESTAMP_MS_MAX) {
            let ours = TimestampMs(ms).to_string();
            let theirs: jiff::Timestamp = ours.parse().unwrap();
            prop_assert_eq!(theirs.as_millisecond(), ms);
            prop_assert_eq!(TimestampMs::parse_rfc3339(&theirs.to_string()), Some(TimestampMs(ms)));
        }

        #[test]
        fn never_panics(text in "\\PC*") {
            let _ = TimestampMs::parse_rfc3339(&text);
        }

        #[test]
        fn never_panics_on_near_misses(text in "[0-9TZ:.+\\- é]{0,40}") {
            let _ = TimestampMs::parse_rfc3339(&text);
        }
    }
}
