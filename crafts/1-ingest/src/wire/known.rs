//! Series that came before: from their text at once to their canonical labels.
//!
//! An agent sends the same series every few seconds, and nearly always in the same order. So what a line begins with is
//! first compared with the series that last time followed the one before it. If it is that series, nothing of it is read,
//! sorted or checked again. One that comes out of turn is read like one that never came, and its turn is noted.
//!
//! Invariant: a text is learnt with what the whole grammar made of it, and a line that begins with the text and goes on
//! with a value means that series. So what is read from a line depends on the line alone, never on what was learnt.
//!
//! Nothing here knows a format. What is kept is bounded by [`KNOWN_BYTES_MAX`]; beyond, what is known stays until too much
//! of what comes is not.

use super::scan::{Cursor, Outcome};
use crate::slots::{Canonical, Sink};
use contracts::{Labels, LabelsView, TimestampMs, http::ApiError};
use std::{collections::HashMap, sync::Arc};

/// Memory that the series of one format may take, for each thread that reads it: some thirty thousand of usual size.
pub const KNOWN_BYTES_MAX: usize = 8 << 20;
/// Longer texts are not worth it: they take the room of many others.
const TEXT_BYTES_MAX: usize = 512;
/// What a series takes beside its text and its labels: two headers, a row and a place in a table.
const SERIES_BYTES: usize = 128;
/// All are forgotten when so many times more were turned away: learning them anew is worth it then.
const TURNED_AWAY_TIMES: usize = 8;

/// What was learnt.
#[derive(Debug, Default)]
pub(super) struct Known {
    series: Vec<Series>,
    /// Their numbers.
    by_text: HashMap<Arc<[u8]>, usize>,
    bytes: usize,
    /// The series of the line before, if it is known.
    last: Option<usize>,
    /// For want of room, since all were forgotten.
    turned_away: usize,
}

#[derive(Debug)]
struct Series {
    /// From the begin of a line to its value.
    text: Arc<[u8]>,
    labels: Labels,
    /// Who came after it.
    next: Option<usize>,
}

impl Known {
    /// Takes a line whose series is known, if its turn has come and `read` finds nothing wrong with what stands behind the
    /// series' text: a value, and when it was, to the end of the line. Says whether that was so.
    #[inline(always)]
    pub(super) fn take<S: Sink>(
        &mut self,
        cursor: &mut Cursor<'_>,
        (offset, arrived): (usize, TimestampMs),
        outcome: &mut Outcome<'_, S>,
        read: impl FnOnce(&mut Cursor<'_>) -> Option<(f64, Option<TimestampMs>)>,
    ) -> Result<bool, ApiError> {
        let Some((bytes, labels)) = self.expected(cursor.rest()) else { return Ok(false) };
        let mut behind = *cursor;
        behind.at += bytes;
        let Some((value, timestamp)) = read(&mut behind) else { return Ok(false) };
        let timestamp = timestamp.unwrap_or(arrived);
        outcome.push_canonical(offset + cursor.at, &Canonical { client: "", labels, timestamp, value })?;
        self.pass();
        *cursor = behind;
        Ok(true)
    }

    /// The series whose turn it is, if `line` begins with it: how long its text is, and its labels.
    #[inline(always)]
    fn expected(&self, line: &[u8]) -> Option<(usize, LabelsView<'_>)> {
        let series = &self.series[self.series[self.last?].next?];
        line.starts_with(&series.text).then(|| (series.text.len(), series.labels.view()))
    }

    /// The line was one of the series whose turn it was.
    #[inline(always)]
    fn pass(&mut self) {
        self.last = self.last.and_then(|last| self.series[last].next);
    }

    /// A line had to be read that begins with `text`, and its series has these labels.
    #[inline(never)]
    pub(super) fn learn<'p>(&mut self, text: &[u8], labels: impl Iterator<Item = (&'p str, &'p str)>) {
        let number = match self.by_text.get(text) {
            Some(number) => Some(*number),
            None => self.add(text, labels),
        };
        if let Some(last) = self.last.filter(|_| number.is_some()) {
            self.series[last].next = number;
        }
        self.last = number;
    }

    fn add<'p>(&mut self, text: &[u8], labels: impl Iterator<Item = (&'p str, &'p str)>) -> Option<usize> {
        if text.len() > TEXT_BYTES_MAX {
            return None;
        }
        if self.bytes >= KNOWN_BYTES_MAX {
            self.turned_away += 1;
            if self.turned_away < self.series.len() * TURNED_AWAY_TIMES {
                return None;
            }
            *self = Self::default();
        }
        let labels = Labels::new(labels).ok()?;
        self.bytes += text.len() + labels.view().as_bytes().len() + SERIES_BYTES;
        let (text, number) = (Arc::<[u8]>::from(text), self.series.len());
        self.by_text.insert(text.clone(), number);
        self.series.push(Series { text, labels, next: None });
        Some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learn(known: &mut Known, text: &str) {
        known.learn(text.as_bytes(), [("__name__", text.trim_end())].into_iter());
    }

    fn expected(known: &Known, line: &str) -> Option<String> {
        known.expected(line.as_bytes()).map(|(bytes, labels)| format!("{} of {labels}", &line[..bytes]))
    }

    #[test]
    fn who_came_after_another_is_expected_after_it() {
        let mut known = Known::default();
        assert_eq!(expected(&known, "a 1"), None);
        ["a ", "b ", "c ", "a "].iter().for_each(|text| learn(&mut known, text));
        assert_eq!(expected(&known, "b 1").as_deref(), Some("b  of b"));
        assert_eq!(expected(&known, "bb 1"), None);
        assert_eq!(expected(&known, "c 1"), None, "it is not its turn");
        known.pass();
        assert_eq!(expected(&known, "c 1").as_deref(), Some("c  of c"));
        learn(&mut known, "a ");
        learn(&mut known, "b ");
        assert_eq!(expected(&known, "a 1").as_deref(), Some("a  of a"), "the last order counts");
        assert_eq!(known.series.len(), 3);
    }

    #[test]
    fn what_is_no_series_is_not_learnt() {
        let mut known = Known::default();
        learn(&mut known, "a ");
        learn(&mut known, "no-name ");
        known.learn(&[b'x'; TEXT_BYTES_MAX + 1], [("__name__", "x")].into_iter());
        assert_eq!((known.series.len(), known.last), (1, None));
    }

    #[test]
    fn what_is_known_is_bounded_and_forgotten_when_others_come() {
        let mut known = Known::default();
        let comes = |known: &mut Known, number: usize| learn(known, &format!("series_{number} "));
        let mut count = 0;
        while known.bytes < KNOWN_BYTES_MAX {
            comes(&mut known, count);
            count += 1;
        }
        for number in 0..2 * count {
            comes(&mut known, number);
        }
        assert_eq!((known.series.len(), known.turned_away), (count, count), "strangers are turned away");
        for number in 0..TURNED_AWAY_TIMES * count {
            comes(&mut known, count + number);
        }
        assert!(known.bytes <= KNOWN_BYTES_MAX + TEXT_BYTES_MAX);
        assert!(!known.by_text.contains_key(b"series_0 ".as_slice()), "in the end they are taken instead");
    }
}
