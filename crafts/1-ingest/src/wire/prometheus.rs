//! The text formats that applications show their metrics in: Prometheus text 0.0.4, and OpenMetrics 1.0.
//!
//! ```text
//! # TYPE http_requests_total counter
//! http_requests_total{method="post",code="200"} 1027 1395066363000
//!   →  http_requests_total{method="post",code="200"}  1027  1395066363000
//! ```
//!
//! They differ in three things: OpenMetrics ends with `# EOF`, counts its timestamps in seconds with a fraction, and may
//! put an exemplar behind a value. `FORMATS.md` says what becomes of everything that a sample has no place for.
//!
//! A series that comes in the same turn as last time is known by its text. Where it is not, a family's lines stand together
//! and have the same keys, so a name and a key are first compared with those of the line before. Invariant: what is read from a line depends on the line alone, never on what stood before it.

use super::{
    Format, Taken,
    known::Known,
    scan::{Bad, Class, Cursor, Ends, Outcome, Part, Stamp, begins_with_short, parts},
};
use crate::{
    number::{Decimal, scan_f64, scan_i64},
    slots::{Incoming, Sink},
};
use arrayvec::ArrayVec;
use contracts::{TimestampMs, http::ApiError, labels::METRIC_NAME, limits::LABELS_PER_SERIES_MAX};

/// Reads Prometheus text or OpenMetrics.
#[derive(Debug, Default)]
pub struct Exposition {
    is_open_metrics: bool,
    known: Known,
    /// Of this body.
    stamp: Stamp,
    /// Label values that had escapes.
    scratch: String,
}

/// Labels of a line: one is the name.
type Labels<'t> = ArrayVec<(&'t str, &'t str), { LABELS_PER_SERIES_MAX - 1 }>;

/// The series of a line as it stands in the text.
#[derive(Debug, Default)]
struct Series<'a> {
    name: &'a str,
    labels: Labels<'a>,
    /// Whether there is a backslash in a label value.
    has_escapes: bool,
}

impl Exposition {
    /// OpenMetrics instead of the text format 0.0.4.
    pub fn set_open_metrics(&mut self, open: bool) {
        self.is_open_metrics = open;
    }
}

impl Format for Exposition {
    fn parse(&mut self, body: &[u8], arrived: TimestampMs, sink: &mut impl Sink) -> Result<Taken, ApiError> {
        let lines = if self.is_open_metrics { before_eof(body)? } else { body };
        let mut outcome = Outcome::new(body, sink);
        self.stamp = Stamp::default();
        for part in parts(lines) {
            match part {
                Part::Lines { text, at } => self.lines(text, at, arrived, &mut outcome)?,
                Part::NotUtf8 { at } => outcome.refuse(at, at, "UTF-8 expected"),
            }
        }
        Ok(outcome.taken())
    }
}

impl Exposition {
    /// Takes lines that begin at `offset` of the body.
    fn lines<S: Sink>(
        &mut self,
        text: &str,
        offset: usize,
        arrived: TimestampMs,
        outcome: &mut Outcome<'_, S>,
    ) -> Result<(), ApiError> {
        let mut series = Series::default();
        let mut cursor = Cursor::new(text);
        while !cursor.is_at_end() {
            cursor.skip_blanks();
            let line_at = cursor.at;
            if cursor.take_line_end() {
                continue;
            }
            if cursor.peek() == b'#' {
                self.comment(&mut cursor, offset)?;
                continue;
            }
            if self.known_sample(&mut cursor, offset, arrived, outcome)? {
                continue;
            }
            match self.sample(&mut cursor, &mut series) {
                Ok((value_at, value, timestamp)) => {
                    let timestamp = timestamp.unwrap_or(arrived);
                    self.push(&series, value, timestamp, offset + line_at, outcome)?;
                    if !series.has_escapes {
                        self.known.learn(cursor.between(line_at, value_at), series.pairs());
                    }
                }
                Err(bad) => {
                    outcome.refuse(offset + line_at, offset + bad.at, bad.expected);
                    cursor.at = line_at;
                    cursor.skip_line();
                }
            }
        }
        Ok(())
    }

    /// Goes over a comment or metadata, which nothing here keeps.
    fn comment(&self, cursor: &mut Cursor<'_>, offset: usize) -> Result<(), ApiError> {
        let start = cursor.at;
        cursor.skip_line();
        if self.is_open_metrics && cursor.since(start).trim_end() == "# EOF" {
            return Err(no_eof(offset + cursor.at, "nothing may stand behind # EOF"));
        }
        Ok(())
    }

    /// Takes a line whose series is known, if its turn has come and nothing is wrong with it; says whether that was so.
    #[inline(always)]
    fn known_sample<S: Sink>(
        &mut self,
        cursor: &mut Cursor<'_>,
        offset: usize,
        arrived: TimestampMs,
        outcome: &mut Outcome<'_, S>,
    ) -> Result<bool, ApiError> {
        let (stamp, is_open_metrics) = (&mut self.stamp, self.is_open_metrics);
        self.known.take(cursor, (offset, arrived), outcome, |behind| {
            behind.skip_blanks();
            read_point(behind, stamp, is_open_metrics).ok()
        })
    }

    /// Goes over a line that holds a sample. Returns where its value stands, the value and the time.
    #[inline(always)]
    fn sample<'a>(
        &mut self,
        cursor: &mut Cursor<'a>,
        series: &mut Series<'a>,
    ) -> Result<(usize, f64, Option<TimestampMs>), Bad> {
        series.read(cursor)?;
        let value_at = cursor.at;
        let (value, timestamp) = read_point(cursor, &mut self.stamp, self.is_open_metrics)?;
        Ok((value_at, value, timestamp))
    }

    #[inline(always)]
    fn push<S: Sink>(
        &mut self,
        series: &Series<'_>,
        value: f64,
        timestamp: TimestampMs,
        line_at: usize,
        outcome: &mut Outcome<'_, S>,
    ) -> Result<(), ApiError> {
        let sample = Incoming { client: "", name: series.name, labels: &series.labels, timestamp, value };
        if !series.has_escapes {
            return outcome.push_sample(line_at, &sample);
        }
        let mut labels = Labels::new();
        unescape(&series.labels, &mut self.scratch, &mut labels);
        outcome.push_sample(line_at, &Incoming { labels: &labels, ..sample })
    }
}

impl<'a> Series<'a> {
    /// All labels, the name among them.
    fn pairs(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.labels.iter().copied().chain([(METRIC_NAME, self.name)])
    }

    /// Goes over a name and its labels. What is still there of another line is what is likely to stand here.
    #[inline(always)]
    fn read(&mut self, cursor: &mut Cursor<'a>) -> Result<(), Bad> {
        let rest = cursor.rest();
        if begins_with_short(rest, self.name.as_bytes())
            && matches!(rest.get(self.name.len()), Some(b'{' | b' '))
            && !self.name.is_empty()
        {
            self.name = &cursor.text()[cursor.at..cursor.at + self.name.len()];
            cursor.at += self.name.len();
        } else {
            self.name = read_name(cursor, &METRIC_NAME_CLASS, "the name of a metric expected")?;
        }
        self.has_escapes = false;
        let is_blank_behind = matches!(cursor.peek(), b' ' | b'\t');
        cursor.skip_blanks();
        if cursor.take(b'{') {
            let count = read_labels(cursor, &mut self.labels, &mut self.has_escapes)?;
            self.labels.truncate(count);
            cursor.skip_blanks();
        } else {
            self.labels.clear();
            if !is_blank_behind {
                return Err(Bad::new(cursor.at, "'{' or a space and a value expected behind the name"));
            }
        }
        Ok(())
    }
}

/// Goes over labels and the brace behind them, and returns how many there are. `labels` come in as those of another line.
#[inline(always)]
fn read_labels<'a>(
    cursor: &mut Cursor<'a>,
    labels: &mut Labels<'a>,
    has_escapes: &mut bool,
) -> Result<usize, Bad> {
    let mut count = 0;
    loop {
        cursor.skip_blanks();
        if cursor.take(b'}') {
            return Ok(count);
        }
        let rest = cursor.rest();
        let stands_here =
            |key: &&str| begins_with_short(rest, key.as_bytes()) && rest.get(key.len()) == Some(&b'=');
        let key = match labels.get(count).map(|label| label.0).filter(stands_here) {
            Some(key) => {
                cursor.at += key.len();
                key
            }
            None => read_key(cursor)?,
        };
        let value = read_label_value(cursor, has_escapes)?;
        match labels.get_mut(count) {
            Some(label) => *label = (key, value),
            None => labels
                .try_push((key, value))
                .map_err(|_| Bad::new(cursor.at, "at most 63 labels expected"))?,
        }
        count += 1;
        cursor.skip_blanks();
        if !cursor.take(b',') {
            return if cursor.take(b'}') {
                Ok(count)
            } else {
                Err(Bad::new(cursor.at, "',' or '}' expected behind a label"))
            };
        }
    }
}

fn read_key<'a>(cursor: &mut Cursor<'a>) -> Result<&'a str, Bad> {
    let start = cursor.at;
    let key = read_name(cursor, &LABEL_NAME_CLASS, "the name of a label or '}' expected")?;
    if key == METRIC_NAME {
        return Err(Bad::new(start, "a label other than __name__ expected: the name stands before the '{'"));
    }
    Ok(key)
}

#[inline(always)]
fn read_name<'a>(cursor: &mut Cursor<'a>, class: &Class, expected: &'static str) -> Result<&'a str, Bad> {
    let start = cursor.at;
    cursor.skip_while(class);
    let name = cursor.since(start);
    if name.as_bytes().first().is_none_or(u8::is_ascii_digit) {
        Err(Bad::new(start, expected))
    } else {
        Ok(name)
    }
}

/// Goes over the `=` and the value in double quotes, which is returned with its escapes.
#[inline(always)]
fn read_label_value<'a>(cursor: &mut Cursor<'a>, has_escapes: &mut bool) -> Result<&'a str, Bad> {
    cursor.skip_blanks();
    if !cursor.take(b'=') {
        return Err(Bad::new(cursor.at, "'=' expected behind the name of a label"));
    }
    cursor.skip_blanks();
    if !cursor.take(b'"') {
        return Err(Bad::new(cursor.at, "a value in double quotes expected"));
    }
    let start = cursor.at;
    cursor.skip_until(&VALUE_END);
    while cursor.peek() == b'\\' {
        *has_escapes = true;
        cursor.at += 1;
        // Whatever it escapes. A newline ends the line all the same.
        if matches!(cursor.peek(), b'"' | b'\\') {
            cursor.at += 1;
        }
        cursor.skip_until(&VALUE_END);
    }
    let value = cursor.since(start);
    if cursor.take(b'"') {
        Ok(value)
    } else {
        Err(Bad::new(cursor.at, "a double quote expected before the end of the line"))
    }
}

/// Writes the labels without their escapes. A backslash before anything but `\`, `"` and `n` is a backslash.
#[cold]
fn unescape<'t>(escaped: &[(&'t str, &str)], scratch: &'t mut String, labels: &mut Labels<'t>) {
    scratch.clear();
    let mut ends = ArrayVec::<usize, LABELS_PER_SERIES_MAX>::new();
    for (_, value) in escaped {
        let mut chars = value.chars().peekable();
        while let Some(c) = chars.next() {
            let meant = match chars.peek() {
                Some('n') => Some('\n'),
                Some(&next @ ('"' | '\\')) => Some(next),
                _ => None,
            };
            match meant.filter(|_| c == '\\') {
                Some(meant) => {
                    scratch.push(meant);
                    chars.next();
                }
                None => scratch.push(c),
            }
        }
        ends.push(scratch.len());
    }
    let mut start = 0;
    for ((name, _), &end) in escaped.iter().zip(&ends) {
        labels.push((name, &scratch[start..end]));
        start = end;
    }
}

/// Goes over what stands behind a series, to the end of the line.
#[inline(always)]
fn read_point(
    cursor: &mut Cursor<'_>,
    stamp: &mut Stamp,
    is_open_metrics: bool,
) -> Result<(f64, Option<TimestampMs>), Bad> {
    let value = read_value(cursor)?;
    cursor.skip_blanks();
    if let Some(timestamp) = stamp.take(cursor) {
        return Ok((value, Some(timestamp)));
    }
    if cursor.take_line_end() {
        return Ok((value, None));
    }
    let start = cursor.at;
    let timestamp = match cursor.peek() {
        b'#' if is_open_metrics => None,
        _ => Some(read_timestamp(cursor, is_open_metrics)?),
    };
    cursor.skip_blanks();
    if is_open_metrics && cursor.peek() == b'#' {
        skip_exemplar(cursor)?;
    }
    if !cursor.take_line_end() {
        return Err(Bad::new(cursor.at, "the end of the line expected"));
    }
    if let Some(timestamp) = timestamp {
        stamp.note(cursor.since(start), timestamp);
    }
    Ok((value, timestamp))
}

#[inline(always)]
fn read_timestamp(cursor: &mut Cursor<'_>, is_open_metrics: bool) -> Result<TimestampMs, Bad> {
    let (read, expected) = if is_open_metrics {
        (scan_seconds(cursor.rest()), "a time from 1970 to 9999 expected, in seconds")
    } else {
        (scan_i64(cursor.rest()), "a time from 1970 to 9999 expected, an integer of milliseconds")
    };
    let acceptable = read.filter(|(ms, _)| TimestampMs(*ms).is_acceptable());
    let Some((ms, bytes)) = acceptable else { return Err(Bad::new(cursor.at, expected)) };
    cursor.at += bytes;
    Ok(TimestampMs(ms))
}

/// Goes over a value: a decimal, or `NaN`, `Inf` and `Infinity` in any case.
#[inline(always)]
fn read_value(cursor: &mut Cursor<'_>) -> Result<f64, Bad> {
    let start = cursor.at;
    let value = match scan_f64(cursor.rest()) {
        Some(number) if number.value.is_finite() => {
            cursor.at += number.bytes;
            number.value
        }
        Some(_) => return Err(Bad::new(start, "a number that fits 64 bits expected")),
        None => read_word(cursor)?,
    };
    match cursor.peek() {
        b' ' | b'\t' | b'\r' | b'\n' => Ok(value),
        _ => Err(Bad::new(cursor.at, "a space or the end of the line expected behind the value")),
    }
}

#[cold]
fn read_word(cursor: &mut Cursor<'_>) -> Result<f64, Bad> {
    let start = cursor.at;
    cursor.skip_while(&WORD_CLASS);
    let word = cursor.since(start).to_ascii_lowercase();
    match word.as_str() {
        "nan" => Ok(f64::NAN),
        "inf" | "+inf" | "infinity" | "+infinity" => Ok(f64::INFINITY),
        "-inf" | "-infinity" => Ok(f64::NEG_INFINITY),
        _ => Err(Bad::new(start, "a value expected: a decimal number, NaN, +Inf or -Inf")),
    }
}

/// Goes over `# {trace_id="…"} 0.67 1520879607.789`: one example of what was counted, with a trace to look at.
#[cold]
fn skip_exemplar(cursor: &mut Cursor<'_>) -> Result<(), Bad> {
    cursor.at += 1;
    cursor.skip_blanks();
    if !cursor.take(b'{') {
        return Err(Bad::new(cursor.at, "the labels of an exemplar expected"));
    }
    read_labels(cursor, &mut Labels::new(), &mut false)?;
    cursor.skip_blanks();
    read_value(cursor)?;
    cursor.skip_blanks();
    if let Some(seconds) = Decimal::scan(cursor.rest()) {
        cursor.at += seconds.text.len();
    }
    cursor.skip_blanks();
    Ok(())
}

/// The milliseconds of a time in seconds, and the bytes of its text. What is finer than a millisecond is cut off.
fn scan_seconds(bytes: &[u8]) -> Option<(i64, usize)> {
    let seconds = Decimal::scan(bytes)?;
    let text = seconds.text;
    if seconds.has_exponent {
        let ms = (seconds.to_f64() * 1_000.0).floor();
        let fits = (0.0..=TimestampMs::MAX.0 as f64).contains(&ms);
        // Its integer fits by far.
        #[allow(clippy::cast_possible_truncation)]
        return fits.then_some((ms as i64, text.len()));
    }
    // By its digits: a float has not enough of them to tell each millisecond of each second from the next.
    if seconds.negative && text.iter().any(|b| (b'1'..=b'9').contains(b)) {
        return None;
    }
    let integer_at = usize::from(!text[0].is_ascii_digit() && text[0] != b'.');
    let (integer, fraction) = text[integer_at..].split_at(seconds.integer_digits);
    let whole = if integer.is_empty() { 0 } else { scan_i64(integer)?.0 };
    let digits = fraction.iter().skip(1).chain(b"000").take(3);
    let ms = digits.fold(0, |ms, digit| ms * 10 + i64::from(digit - b'0'));
    Some((whole.checked_mul(1_000)?.checked_add(ms)?, text.len()))
}

/// The lines before the last one, which must be `# EOF`: without it, nobody knows how much of the body is missing.
fn before_eof(body: &[u8]) -> Result<&[u8], ApiError> {
    let end = body.strip_suffix(b"\n").unwrap_or(body);
    let end = end.strip_suffix(b"\r").unwrap_or(end);
    let lines = end.strip_suffix(b"# EOF").filter(|lines| lines.is_empty() || lines.ends_with(b"\n"));
    lines.ok_or_else(|| no_eof(body.len(), "the last line must be # EOF; this body may have been cut off"))
}

fn no_eof(at: usize, message: &str) -> ApiError {
    ApiError::bad_input("no_eof", at, message)
}

const LABEL_NAME_CLASS: Class = Class::of(b"_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ");
const METRIC_NAME_CLASS: Class =
    Class::of(b":_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ");
const WORD_CLASS: Class = Class::of(b"+-abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ");
const VALUE_END: Ends = Ends::new(b"\"\\\n", b'\n' + 1, *b"\"\\");
