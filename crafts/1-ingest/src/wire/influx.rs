//! InfluxDB line protocol, as versions 1 and 2 take it.
//!
//! ```text
//! measurement[,tag=value…] field=value[,field=value…] [timestamp]
//!
//! cpu,host=web-1,core=0 user=12.5,system=3.25,count=42i 1700000000000000000
//!   →  cpu_user{host="web-1",core="0"}    12.5   1700000000000
//!      cpu_system{host="web-1",core="0"}  3.25   1700000000000
//!      cpu_count{host="web-1",core="0"}   42     1700000000000
//! ```
//!
//! `FORMATS.md` says what becomes of everything that a sample has no place for. A line is taken whole or not at all.
//!
//! Lines of one client resemble each other, and the speed comes from there. A line of one field that comes in the same turn
//! as last time is known by its text. In all others, measurement and tags that are, byte for
//! byte, those of the line before are not read again; nor is the key of a field that stood in the same place in the line
//! before, so that its metric name need not be built.
//!
//! Invariant: what is read from a line depends on the line alone, never on what stood before it.

mod head;

mod columns;

pub use columns::FIELDS_PER_LINE_MAX;

use columns::Columns;
use head::{Head, Rewritten};

use super::{
    Format, Taken,
    known::Known,
    scan::{Bad, Class, Cursor, Ends, Outcome, Part, Stamp, parts, too_large},
};
use crate::{
    number::{Decimal, scan_f64, scan_i64},
    slots::{Row, Sink},
};
use arrayvec::ArrayVec;
use contracts::{TimestampMs, http::ApiError, labels::METRIC_NAME, limits::BODY_BYTES_MAX};

/// Most bytes that measurements and tags of one body may take, beside those that it has, once each sample has its own. A
/// line writes them once for all its fields: four bytes of body can become a whole label set. Beyond: 413
/// `batch_too_large`.
pub const EXPANDED_BYTES_MAX: usize = 8 * BODY_BYTES_MAX;

/// Samples that are given to the sink at a time.
const ROW_VALUES_MAX: usize = 64;

/// Reads line protocol.
#[derive(Debug, Default)]
pub struct LineProtocol {
    precision: Precision,
    known: Known,
    /// Of this body.
    stamp: Stamp,
    rewritten: Rewritten,
    columns: Columns,
    /// The numbers of the current line, and the column of each.
    values: Vec<(usize, f64)>,
    /// Where the value of its first field stands.
    value_at: usize,
    /// How many fields it has.
    fields: usize,
}

/// The unit of timestamps.
#[derive(Clone, Copy, Debug, Default)]
enum Precision {
    #[default]
    Nanoseconds,
    Microseconds,
    Milliseconds,
    Seconds,
    Minutes,
    Hours,
}

impl LineProtocol {
    /// The unit of the timestamps: `ns` (also if none is said), `us`, `ms`, `s`, `m`, `h`, and the older `n`, `u`, `µ`.
    ///
    /// # Errors
    /// 400 `bad_precision`.
    pub fn set_precision(&mut self, precision: Option<&str>) -> Result<(), ApiError> {
        self.precision = match precision.unwrap_or_default() {
            "" | "ns" | "n" => Precision::Nanoseconds,
            "us" | "u" | "\u{b5}" | "\u{3bc}" => Precision::Microseconds,
            "ms" => Precision::Milliseconds,
            "s" => Precision::Seconds,
            "m" => Precision::Minutes,
            "h" => Precision::Hours,
            other => {
                let shown: String = other.chars().take(16).collect();
                let message = format!("precision {shown:?} is none of ns, us, ms, s, m, h");
                return Err(ApiError::new(400, "bad_precision", message));
            }
        };
        Ok(())
    }
}

impl Format for LineProtocol {
    fn parse(&mut self, body: &[u8], arrived: TimestampMs, sink: &mut impl Sink) -> Result<Taken, ApiError> {
        let mut outcome = Outcome::new(body, sink);
        self.stamp = Stamp::default();
        let mut expanded_bytes = 0;
        for part in parts(body) {
            match part {
                Part::Lines { text, at } => {
                    self.lines(text, at, arrived, &mut expanded_bytes, &mut outcome)?;
                }
                Part::NotUtf8 { at } => outcome.refuse(at, at, "UTF-8 expected"),
            }
        }
        Ok(outcome.taken())
    }
}

impl LineProtocol {
    /// Takes lines that begin at `offset` of the body.
    fn lines<S: Sink>(
        &mut self,
        text: &str,
        offset: usize,
        arrived: TimestampMs,
        expanded_bytes: &mut usize,
        outcome: &mut Outcome<'_, S>,
    ) -> Result<(), ApiError> {
        let mut head = Head::default();
        let mut cursor = Cursor::new(text);
        while !cursor.is_at_end() {
            cursor.skip_blanks();
            let line_at = cursor.at;
            if self.known_line(&mut cursor, offset, arrived, outcome)? {
                continue;
            }
            match self.line(&mut cursor, &mut head) {
                // Nothing to read, or only strings.
                Ok(_) if self.values.is_empty() => {}
                Ok(timestamp) => {
                    *expanded_bytes += (self.values.len() - 1) * head.len();
                    if *expanded_bytes > EXPANDED_BYTES_MAX {
                        let message =
                            format!("the tags of all samples have more than {EXPANDED_BYTES_MAX} bytes");
                        return Err(too_large(offset + line_at, message));
                    }
                    let timestamp = timestamp.unwrap_or(arrived);
                    if let Some(labels) = head.plain_labels() {
                        self.push(offset + line_at, labels, timestamp, outcome)?;
                        self.learn(cursor.between(line_at, self.value_at), labels);
                    } else {
                        let mut labels = ArrayVec::new();
                        self.rewritten.resolve(text, &mut labels);
                        self.push(offset + line_at, &labels, timestamp, outcome)?;
                    }
                }
                Err(bad) => {
                    outcome.refuse(offset + line_at, offset + bad.at, bad.expected);
                    cursor.at = end_of_bad_line(text.as_bytes(), line_at);
                }
            }
        }
        Ok(())
    }

    /// Takes a line whose series is known, if its turn has come and nothing is wrong with it; says whether that was so.
    #[inline(always)]
    fn known_line<S: Sink>(
        &mut self,
        cursor: &mut Cursor<'_>,
        offset: usize,
        arrived: TimestampMs,
        outcome: &mut Outcome<'_, S>,
    ) -> Result<bool, ApiError> {
        let (precision, stamp) = (self.precision, &mut self.stamp);
        self.known.take(cursor, (offset, arrived), outcome, |behind| {
            let value = field_value(behind).ok()??;
            let ends = matches!(behind.peek(), b' ' | b'\t' | b'\r' | b'\n');
            ends.then(|| precision.read_end(behind, stamp).ok())?.map(|timestamp| (value, timestamp))
        })
    }

    /// The series of a line that was read is known from now on, if it is its only field.
    fn learn(&mut self, text: &[u8], labels: &[(&str, &str)]) {
        if let ([(0, _)], 1) = (self.values.as_slice(), self.fields) {
            let name = (METRIC_NAME, self.columns.metric_name(0));
            self.known.learn(text, labels.iter().copied().chain([name]));
        }
    }

    /// Reads a line into `values`; none if it is empty or a comment. Returns its timestamp, if it bears one.
    #[inline(always)]
    fn line<'a>(&mut self, cursor: &mut Cursor<'a>, head: &mut Head<'a>) -> Result<Option<TimestampMs>, Bad> {
        self.values.clear();
        if cursor.take_line_end() {
            return Ok(None);
        }
        if cursor.peek() == b'#' {
            cursor.skip_line();
            return Ok(None);
        }
        head.read(cursor, &mut self.rewritten, &mut self.columns)?;
        cursor.skip_blanks();
        self.fields(cursor)?;
        self.precision.read_end(cursor, &mut self.stamp)
    }

    #[inline(always)]
    fn fields(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Bad> {
        for column in 0.. {
            self.columns.read(cursor, column)?;
            self.fields = column + 1;
            if column == 0 {
                self.value_at = cursor.at;
            }
            if let Some(number) = field_value(cursor)? {
                self.values.push((column, number));
            }
            if !cursor.take(b',') {
                break;
            }
        }
        match cursor.peek() {
            b' ' | b'\t' | b'\r' | b'\n' => Ok(()),
            _ => Err(Bad::new(cursor.at, "',', a space or the end of the line expected behind a field")),
        }
    }

    #[inline(always)]
    fn push<S: Sink>(
        &self,
        line_at: usize,
        labels: &[(&str, &str)],
        timestamp: TimestampMs,
        outcome: &mut Outcome<'_, S>,
    ) -> Result<(), ApiError> {
        for numbers in self.values.chunks(ROW_VALUES_MAX) {
            // Filled where it stands: returned from a function, it would be copied whole.
            let mut values = ArrayVec::<_, ROW_VALUES_MAX>::new();
            values.extend(numbers.iter().map(|&(column, number)| (self.columns.metric_name(column), number)));
            outcome.push(line_at, &Row { client: "", labels, timestamp, values: &values })?;
        }
        Ok(())
    }
}

/// Goes over the value of a field. A string is none that a sample could hold.
#[inline(always)]
fn field_value(cursor: &mut Cursor<'_>) -> Result<Option<f64>, Bad> {
    match cursor.peek() {
        b'0'..=b'9' | b'-' | b'.' => number(cursor).map(Some),
        b'"' => string(cursor).map(|()| None),
        b'a'..=b'z' | b'A'..=b'Z' => boolean(cursor).map(Some),
        _ => Err(Bad::new(cursor.at, VALUE_EXPECTED)),
    }
}

const VALUE_EXPECTED: &str = "a number, a boolean or a string in double quotes expected";

/// A float, `42i` or `42u`. Integers beyond 2^53 are rounded to the nearest float.
#[inline(always)]
fn number(cursor: &mut Cursor<'_>) -> Result<f64, Bad> {
    let start = cursor.at;
    let Some(number) = scan_f64(cursor.rest()) else { return Err(Bad::new(start, VALUE_EXPECTED)) };
    cursor.at += number.bytes;
    if matches!(cursor.peek(), b'i' | b'u') {
        // Whatever has 18 digits fits.
        let fits = number.is_integer && number.bytes <= 18 && cursor.peek() == b'i';
        if !fits && !is_integer(cursor.between(start, cursor.at), cursor.peek()) {
            return Err(Bad::new(start, "an integer that fits 64 bits expected"));
        }
        cursor.at += 1;
    } else if !number.value.is_finite() {
        return Err(Bad::new(start, "a number that fits 64 bits expected"));
    }
    Ok(number.value)
}

/// Whether the text is an integer that a field of this type can hold.
fn is_integer(text: &[u8], suffix: u8) -> bool {
    let decimal = Decimal::scan(text);
    decimal.is_some_and(|d| if suffix == b'i' { d.to_i64().is_some() } else { d.to_u64().is_some() })
}

#[inline(always)]
fn boolean(cursor: &mut Cursor<'_>) -> Result<f64, Bad> {
    let start = cursor.at;
    cursor.skip_while(&LETTERS);
    match cursor.since(start) {
        "t" | "T" | "true" | "True" | "TRUE" => Ok(1.0),
        "f" | "F" | "false" | "False" | "FALSE" => Ok(0.0),
        _ => Err(Bad::new(start, VALUE_EXPECTED)),
    }
}

fn string(cursor: &mut Cursor<'_>) -> Result<(), Bad> {
    let end = string_end(cursor.rest());
    cursor.at += end.ok_or_else(|| Bad::new(cursor.at, "a double quote expected that ends this string"))?;
    Ok(())
}

/// Where a string ends that begins `bytes`: behind the quote that no backslash escapes.
fn string_end(bytes: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        at += memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}

impl Precision {
    /// Goes over the timestamp, if there is one, to the end of the line.
    #[inline(always)]
    fn read_end(self, cursor: &mut Cursor<'_>, stamp: &mut Stamp) -> Result<Option<TimestampMs>, Bad> {
        cursor.skip_blanks();
        if let Some(timestamp) = stamp.take(cursor) {
            return Ok(Some(timestamp));
        }
        if cursor.take_line_end() {
            return Ok(None);
        }
        let start = cursor.at;
        let timestamp = self.read(cursor)?;
        cursor.skip_blanks();
        if !cursor.take_line_end() {
            return Err(Bad::new(cursor.at, "the end of the line expected"));
        }
        stamp.note(cursor.since(start), timestamp);
        Ok(Some(timestamp))
    }

    /// Goes over a timestamp. What is finer than a millisecond is cut off, towards the past.
    #[inline(always)]
    fn read(self, cursor: &mut Cursor<'_>) -> Result<TimestampMs, Bad> {
        if let Some((timestamp, bytes)) = scan_i64(cursor.rest())
            && let Some(timestamp) = self.to_ms(timestamp).filter(|t| t.is_acceptable())
        {
            cursor.at += bytes;
            return Ok(timestamp);
        }
        Err(Bad::new(cursor.at, self.expected()))
    }

    // One division by a constant each: the compiler makes it a multiplication.
    #[inline(always)]
    fn to_ms(self, n: i64) -> Option<TimestampMs> {
        let ms = match self {
            Self::Nanoseconds => n.div_euclid(1_000_000),
            Self::Microseconds => n.div_euclid(1_000),
            Self::Milliseconds => n,
            Self::Seconds => n.checked_mul(1_000)?,
            Self::Minutes => n.checked_mul(60_000)?,
            Self::Hours => n.checked_mul(3_600_000)?,
        };
        Some(TimestampMs(ms))
    }

    #[cold]
    fn expected(self) -> &'static str {
        match self {
            Self::Nanoseconds => "a time from 1970 to 9999 expected, an integer of nanoseconds",
            Self::Microseconds => "a time from 1970 to 9999 expected, an integer of microseconds",
            Self::Milliseconds => "a time from 1970 to 9999 expected, an integer of milliseconds",
            Self::Seconds => "a time from 1970 to 9999 expected, an integer of seconds",
            Self::Minutes => "a time from 1970 to 9999 expected, an integer of minutes",
            Self::Hours => "a time from 1970 to 9999 expected, an integer of hours",
        }
    }
}

const NAME: Class = Class::of(b"_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ");
const LETTERS: Class = Class::of(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ");
/// Keys of tags and fields, and values of tags.
const KEY_END: Ends = Ends::new(b",= \n\\", b'-', *b"=\\");

/// Whether a backslash before this byte takes its meaning from it. Before anything else it is a backslash.
fn is_escapable(byte: u8) -> bool {
    matches!(byte, b',' | b'=' | b' ')
}

/// Goes to the next byte of `end` that no backslash escapes; `end` holds the backslash itself.
fn skip_escaped(cursor: &mut Cursor<'_>, end: &Ends) {
    loop {
        cursor.skip_until(end);
        if !cursor.take(b'\\') {
            return;
        }
        cursor.at += usize::from(is_escapable(cursor.peek()));
    }
}

/// Appends a measurement or the key of a tag as a name that the contract takes: `cpu-total` → `cpu_total`, `9p` → `_9p`.
fn push_name(written: &str, may_hold_colons: bool, out: &mut String) {
    if written.starts_with(|c: char| c.is_ascii_digit()) {
        out.push('_');
    }
    push_rest_of_name(written, may_hold_colons, out);
}

/// The same for what does not begin a name.
fn push_rest_of_name(written: &str, may_hold_colons: bool, out: &mut String) {
    if written.bytes().all(|b| NAME.has(b)) {
        out.push_str(written);
        return;
    }
    for c in unescaped(written) {
        let stays = c.is_ascii_alphanumeric() || c == '_' || (may_hold_colons && c == ':');
        out.push(if stays { c } else { '_' });
    }
}

/// The characters without the backslashes that escape something.
fn unescaped(written: &str) -> impl Iterator<Item = char> {
    let next = |at: usize| written.as_bytes().get(at + 1).copied();
    let kept =
        written.char_indices().filter(move |&(at, c)| c != '\\' || !next(at).is_some_and(is_escapable));
    kept.map(|(_, c)| c)
}

/// Where the line behind a bad one begins. A newline in a string ends no line, so that nobody's text becomes samples
/// because of what stands before it; but a string that never ends is no string, and loses no neighbours.
fn end_of_bad_line(text: &[u8], line_at: usize) -> usize {
    let newline_from =
        |at: usize| memchr::memchr(b'\n', &text[at..]).map_or(text.len(), |newline| at + newline + 1);
    let is_escaped = |at: usize| at > line_at && text[at - 1] == b'\\';
    // Only fields have strings. They begin behind the first space that no backslash escapes.
    let mut breaks = memchr::memchr2_iter(b' ', b'\n', &text[line_at..]).map(|found| line_at + found);
    let Some(mut at) = breaks.find(|at| text[*at] == b'\n' || !is_escaped(*at)) else { return text.len() };
    while let Some(found) = memchr::memchr2(b'"', b'\n', &text[at..]) {
        at += found;
        if text[at] == b'\n' {
            return at + 1;
        }
        let begins_string = text[at - 1] == b'=' && !is_escaped(at - 1);
        match string_end(&text[at..]) {
            _ if !begins_string => at += 1,
            Some(bytes) => at += bytes,
            None => return newline_from(at),
        }
    }
    text.len()
}
