//! What the formats of many lines share: a cursor, classes of bytes, texts that may have been rewritten, line numbers.
//!
//! Nothing here knows a format.

use super::Taken;
use crate::slots::{Canonical, Incoming, Row, Sink};
use arrayvec::ArrayVec;
use contracts::{BatchError, TimestampMs, http::ApiError};

/// A set of bytes: one look-up a byte, whatever the set.
pub(super) struct Class([bool; 256]);

impl Class {
    /// The set of these bytes.
    pub(super) const fn of(bytes: &[u8]) -> Self {
        let mut has = [false; 256];
        let mut i = 0;
        while i < bytes.len() {
            has[bytes[i] as usize] = true;
            i += 1;
        }
        Self(has)
    }

    #[inline(always)]
    pub(super) fn has(&self, byte: u8) -> bool {
        self.0[usize::from(byte)]
    }
}

/// A set of bytes that end something, looked for eight at a time: short texts have lengths that no branch predictor can
/// foresee, and a loop over their bytes costs a wrong guess each.
pub(super) struct Ends {
    class: Class,
    /// All others are below this byte, and few that are not in the set are.
    below: u8,
    /// Those that are not below it.
    above: [u8; 2],
}

impl Ends {
    /// The set of `bytes`, all of which are below `below` or are one of `above`.
    pub(super) const fn new(bytes: &[u8], below: u8, above: [u8; 2]) -> Self {
        assert!(below <= 0x80);
        let mut i = 0;
        while i < bytes.len() {
            assert!(bytes[i] < below || bytes[i] == above[0] || bytes[i] == above[1]);
            i += 1;
        }
        Self { class: Class::of(bytes), below, above }
    }

    /// The first of eight bytes that is below `below` or one of `above`; 8 if none is.
    #[inline(always)]
    fn first_candidate(&self, bytes: [u8; 8]) -> usize {
        const EVERY: u64 = 0x0101_0101_0101_0101;
        // The high bit of each byte that is less, and perhaps of bytes behind it, since it borrows from them.
        let less = |word: u64, than: u8| word.wrapping_sub(EVERY * u64::from(than)) & !word & (EVERY * 0x80);
        let word = u64::from_le_bytes(bytes);
        let [one, two] = self.above.map(|byte| less(word ^ (EVERY * u64::from(byte)), 1));
        (less(word, self.below) | one | two).trailing_zeros() as usize / 8
    }
}

/// A place in a text. Behind its end stands an endless newline, which ends whatever is being read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a> {
    text: &'a str,
    pub(super) at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.at >= self.text.len()
    }

    #[inline(always)]
    pub(super) fn peek(&self) -> u8 {
        self.text.as_bytes().get(self.at).copied().unwrap_or(b'\n')
    }

    /// What has not been read.
    #[inline(always)]
    pub(super) fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    /// The text from `start` to here.
    #[inline(always)]
    pub(super) fn since(&self, start: usize) -> &'a str {
        &self.text[start..self.at]
    }

    /// The whole text.
    #[inline(always)]
    pub(super) fn text(&self) -> &'a str {
        self.text
    }

    /// Some bytes of it.
    #[inline(always)]
    pub(super) fn between(&self, start: usize, end: usize) -> &'a [u8] {
        &self.text.as_bytes()[start..end]
    }

    /// Goes over `byte` if it stands here.
    #[inline(always)]
    pub(super) fn take(&mut self, byte: u8) -> bool {
        let stands_here = self.text.as_bytes().get(self.at) == Some(&byte);
        self.at += usize::from(stands_here);
        stands_here
    }

    /// Goes over bytes of a class.
    #[inline(always)]
    pub(super) fn skip_while(&mut self, class: &Class) {
        let rest = self.rest();
        self.at += rest.iter().position(|b| !class.has(*b)).unwrap_or(rest.len());
    }

    /// Goes to the next byte of a set.
    #[inline(always)]
    pub(super) fn skip_until(&mut self, ends: &Ends) {
        while let Some(eight) = self.rest().first_chunk() {
            let step = ends.first_candidate(*eight);
            self.at += step;
            if step < 8 {
                if ends.class.has(self.peek()) {
                    return;
                }
                self.at += 1;
            }
        }
        while !self.is_at_end() && !ends.class.has(self.peek()) {
            self.at += 1;
        }
    }

    /// Goes over spaces and tabs.
    #[inline(always)]
    pub(super) fn skip_blanks(&mut self) {
        while matches!(self.peek(), b' ' | b'\t') {
            self.at += 1;
        }
    }

    /// Goes over the end of a line if it stands here, with or without a carriage return.
    #[inline(always)]
    pub(super) fn take_line_end(&mut self) -> bool {
        let rest = self.rest();
        let return_bytes =
            usize::from(rest.first() == Some(&b'\r') && matches!(rest.get(1), None | Some(b'\n')));
        match rest.get(return_bytes) {
            None | Some(b'\n') => {
                self.at = self.text.len().min(self.at + return_bytes + 1);
                true
            }
            Some(_) => false,
        }
    }

    /// Goes to the beginning of the next line.
    pub(super) fn skip_line(&mut self) {
        let rest = self.rest();
        self.at += memchr::memchr(b'\n', rest).map_or(rest.len(), |newline| newline + 1);
    }
}

/// `starts_with` for keys: two words that may overlap are faster than a call for so few bytes.
#[inline(always)]
pub(super) fn begins_with_short(bytes: &[u8], key: &[u8]) -> bool {
    let Some(begin) = bytes.get(..key.len()) else { return false };
    match key.len() {
        17..=32 => {
            begin.first_chunk::<16>() == key.first_chunk() && begin.last_chunk::<16>() == key.last_chunk()
        }
        8..=16 => {
            begin.first_chunk::<8>() == key.first_chunk() && begin.last_chunk::<8>() == key.last_chunk()
        }
        4..=7 => begin.first_chunk::<4>() == key.first_chunk() && begin.last_chunk::<4>() == key.last_chunk(),
        _ => begin == key,
    }
}

/// The timestamp that was read last, with the end of its line: in a body that was gathered at once, all are the same.
#[derive(Debug, Default)]
pub(super) struct Stamp {
    text: ArrayVec<u8, STAMP_BYTES_MAX>,
    time: TimestampMs,
}

/// Nanoseconds since 1970 have 19 digits until 2286, and a line may end with two bytes.
const STAMP_BYTES_MAX: usize = 21;

impl Stamp {
    /// Goes over it, if it stands here.
    #[inline(always)]
    pub(super) fn take(&self, cursor: &mut Cursor<'_>) -> Option<TimestampMs> {
        let stands_here = !self.text.is_empty() && begins_with_short(cursor.rest(), &self.text);
        cursor.at += if stands_here { self.text.len() } else { 0 };
        stands_here.then_some(self.time)
    }

    /// It was read, and `text` is what was read of it, with the end of the line.
    pub(super) fn note(&mut self, text: &str, time: TimestampMs) {
        self.text.clear();
        if text.ends_with('\n') && self.text.try_extend_from_slice(text.as_bytes()).is_ok() {
            self.time = time;
        }
    }
}

/// Where a text stands: in the body as it came, or rewritten in a scratch buffer. It is no reference, since buffers that
/// outlive a body cannot hold one into it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Text {
    Body { start: usize, end: usize },
    Scratch { start: usize, end: usize },
}

impl Text {
    #[inline(always)]
    pub(super) fn resolve<'t>(self, body: &'t str, scratch: &'t str) -> &'t str {
        match self {
            Self::Body { start, end } => &body[start..end],
            Self::Scratch { start, end } => &scratch[start..end],
        }
    }
}

/// A line that is not taken: where it went wrong, and what was expected there. Small, and nothing to drop: it is returned
/// from every function of the hot path.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bad {
    pub(super) at: usize,
    pub(super) expected: &'static str,
}

impl Bad {
    pub(super) fn new(at: usize, expected: &'static str) -> Self {
        Self { at, expected }
    }
}

/// A part of a body: a run of lines that are UTF-8, or one that is not.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Part<'a> {
    /// Begins at this byte of the body.
    Lines { text: &'a str, at: usize },
    /// The line has a byte here that is no UTF-8.
    NotUtf8 { at: usize },
}

/// Cuts a body into parts. Nearly every body is one: a single check is much cheaper than one for every name and value.
pub(super) fn parts(body: &[u8]) -> impl Iterator<Item = Part<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = body.get(at..).filter(|rest| !rest.is_empty())?;
        let start = at;
        let (text, wrong_at) = match std::str::from_utf8(rest) {
            Ok(text) => (text, None),
            Err(e) => {
                let whole = &rest[..e.valid_up_to()];
                let lines_bytes = memchr::memrchr(b'\n', whole).map_or(0, |newline| newline + 1);
                (std::str::from_utf8(&whole[..lines_bytes]).unwrap_or_default(), Some(at + e.valid_up_to()))
            }
        };
        match wrong_at {
            Some(wrong_at) if text.is_empty() => {
                let behind = &body[wrong_at..];
                at = wrong_at + memchr::memchr(b'\n', behind).map_or(behind.len(), |newline| newline + 1);
                Some(Part::NotUtf8 { at: wrong_at })
            }
            _ => {
                at += text.len();
                Some(Part::Lines { text, at: start })
            }
        }
    })
}

/// Where the lines of one body go: samples to the sink, the others to the list of what was refused.
pub(super) struct Outcome<'a, S> {
    body: &'a [u8],
    sink: &'a mut S,
    taken: Taken,
    /// Newlines before this byte of the body have been counted: only a line that is refused needs its number.
    counted_to: usize,
    newlines: usize,
}

impl<'a, S: Sink> Outcome<'a, S> {
    pub(super) fn new(body: &'a [u8], sink: &'a mut S) -> Self {
        Self { body, sink, taken: Taken::default(), counted_to: 0, newlines: 0 }
    }

    /// Refuses the line that begins at `line_at`, which never falls.
    #[cold]
    pub(super) fn refuse(&mut self, line_at: usize, at: usize, message: &str) {
        if let Some(more) = self.body.get(self.counted_to..line_at) {
            self.newlines += memchr::memchr_iter(b'\n', more).count();
            self.counted_to = line_at;
        }
        self.taken.refuse(self.newlines + 1, at, "bad_line", message);
    }

    /// Gives the samples of the line that begins at `line_at` to the sink. The sink refuses a row at its first sample, if at
    /// all: what it refuses are labels and times, which a row's samples share; the formats bound names themselves.
    #[inline(always)]
    pub(super) fn push(&mut self, line_at: usize, row: &Row<'_>) -> Result<(), ApiError> {
        match self.sink.push_row(row) {
            Ok(()) => self.taken.samples += row.values.len(),
            Err(e) => self.refuse_sample(line_at, &e)?,
        }
        Ok(())
    }

    /// The same for one sample of a known series.
    #[inline(always)]
    pub(super) fn push_canonical(&mut self, line_at: usize, sample: &Canonical<'_>) -> Result<(), ApiError> {
        match self.sink.push_canonical(sample) {
            Ok(()) => self.taken.samples += 1,
            Err(e) => self.refuse_sample(line_at, &e)?,
        }
        Ok(())
    }

    /// The same for one sample.
    #[inline(always)]
    pub(super) fn push_sample(&mut self, line_at: usize, sample: &Incoming<'_>) -> Result<(), ApiError> {
        match self.sink.push(sample) {
            Ok(()) => self.taken.samples += 1,
            Err(e) => self.refuse_sample(line_at, &e)?,
        }
        Ok(())
    }

    #[cold]
    fn refuse_sample(&mut self, line_at: usize, error: &BatchError) -> Result<(), ApiError> {
        if *error == BatchError::Full {
            return Err(too_large(line_at, error.to_string()));
        }
        self.refuse(line_at, line_at, &error.to_string());
        Ok(())
    }

    pub(super) fn taken(self) -> Taken {
        self.taken
    }
}

/// 413: more than a request may become.
pub(super) fn too_large(at: usize, message: String) -> ApiError {
    ApiError { status: 413, ..ApiError::bad_input("batch_too_large", at, message) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_line_that_is_no_utf8_stands_alone() {
        let body = b"one\ntwo\nth\xffree\nfour\n\xff\xff\n\xc3";
        let expected = [
            Part::Lines { text: "one\ntwo\n", at: 0 },
            Part::NotUtf8 { at: 10 },
            Part::Lines { text: "four\n", at: 15 },
            Part::NotUtf8 { at: 20 },
            Part::NotUtf8 { at: 23 },
        ];
        assert_eq!(parts(body).collect::<Vec<_>>(), expected);
        assert_eq!(parts(b"").next(), None);
    }

    #[test]
    fn a_line_ends_with_a_newline_a_return_before_it_or_the_text() {
        let ends = |text: &str| {
            let mut cursor = Cursor::new(text);
            (cursor.take_line_end(), cursor.at)
        };
        assert_eq!(ends("\na"), (true, 1));
        assert_eq!(ends("\r\na"), (true, 2));
        assert_eq!(ends(""), (true, 0));
        assert_eq!(ends("\r"), (true, 1));
        assert_eq!(ends("\ra"), (false, 0));
        assert_eq!(ends("a"), (false, 0));
    }

    proptest! {
        #[test]
        fn parts_hold_every_line_that_is_utf8(
            lines in proptest::collection::vec(prop_oneof![
                "[a-zé]{0,5}".prop_map(String::into_bytes),
                proptest::collection::vec(128_u8.., 1..4),
            ], 0..12),
        ) {
            let body = lines.join(&b'\n');
            let mut found = Vec::new();
            for part in parts(&body) {
                if let Part::Lines { text, at } = part {
                    prop_assert_eq!(&body[at..at + text.len()], text.as_bytes());
                    found.extend(text.lines().filter(|line| !line.is_empty()).map(str::to_owned));
                }
            }
            let expected = lines.iter().filter_map(|line| String::from_utf8(line.clone()).ok());
            prop_assert_eq!(found, expected.filter(|line| !line.is_empty()).collect::<Vec<_>>());
        }
    }
}
