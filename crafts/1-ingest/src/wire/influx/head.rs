//! Measurement and tags of a line → labels.
//!
//! Nearly every head is plain: its keys are names that the contract takes, and nothing in it is escaped. A plain head is
//! read without a thought for anything else, and its labels are borrowed from the text. Any other one, the wrong ones
//! included, is read again from its beginning by the whole grammar.

use super::{Columns, KEY_END, NAME, push_name, skip_escaped, unescaped};
use crate::wire::scan::{Bad, Cursor, Ends, Text, begins_with_short};
use arrayvec::ArrayVec;
use contracts::{labels::METRIC_NAME, limits::LABELS_PER_SERIES_MAX};

/// Most tags of a line: one label is the name.
const TAGS_MAX: usize = LABELS_PER_SERIES_MAX - 1;

/// Labels as a sink takes them.
pub(super) type Labels<'t> = ArrayVec<(&'t str, &'t str), TAGS_MAX>;

/// The head of the last line of a text.
#[derive(Debug, Default)]
pub(super) struct Head<'a> {
    /// As it stands in the text. Empty if the last line had none that could be read.
    bytes: &'a [u8],
    /// Its labels, if it is plain.
    plain: Option<Labels<'a>>,
}

/// The labels of a head that is not plain. It outlives the text, so that its buffers are used again.
#[derive(Debug, Default)]
pub(super) struct Rewritten {
    labels: Vec<(Text, Text)>,
    scratch: String,
}

impl<'a> Head<'a> {
    /// Goes over measurement and tags. The names of `columns` are those of the measurement then.
    #[inline(always)]
    pub(super) fn read(
        &mut self,
        cursor: &mut Cursor<'a>,
        rewritten: &mut Rewritten,
        columns: &mut Columns,
    ) -> Result<(), Bad> {
        // The space ends it: no backslash stands before it, for that would have made it a part of the head.
        let rest = cursor.rest();
        if !self.bytes.is_empty() && rest.starts_with(self.bytes) && rest.get(self.bytes.len()) == Some(&b' ')
        {
            cursor.at += self.bytes.len();
            return Ok(());
        }
        self.read_anew(cursor, rewritten, columns)
    }

    /// Bytes of measurement and tags.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The labels as they stand in the text, if they do.
    #[inline(always)]
    pub(super) fn plain_labels(&self) -> Option<&[(&'a str, &'a str)]> {
        self.plain.as_deref()
    }

    #[inline(never)]
    fn read_anew(
        &mut self,
        at: &mut Cursor<'a>,
        rewritten: &mut Rewritten,
        columns: &mut Columns,
    ) -> Result<(), Bad> {
        self.bytes = &[];
        let start = at.at;
        let labels = self.plain.get_or_insert_default();
        if let Some((measurement_end, end)) = read_plain(*at, labels) {
            at.at = measurement_end;
            columns.set_measurement(at.since(start));
            at.at = end;
        } else {
            self.plain = None;
            rewritten.read(at, columns)?;
        }
        self.bytes = at.between(start, at.at);
        Ok(())
    }
}

/// Reads a plain head. Returns where its measurement ends and where it ends itself; `None` says nothing. `labels` come in
/// as those of another head: the same keys in the same places are likely.
#[inline(always)]
fn read_plain<'a>(mut cursor: Cursor<'a>, labels: &mut Labels<'a>) -> Option<(usize, usize)> {
    let start = cursor.at;
    cursor.skip_until(&MEASUREMENT_END);
    let measurement_end = cursor.at;
    if measurement_end == start {
        return None;
    }
    let mut count = 0;
    while cursor.take(b',') {
        let key_at = cursor.at;
        let rest = cursor.rest();
        let stands_here =
            |key: &&str| begins_with_short(rest, key.as_bytes()) && rest.get(key.len()) == Some(&b'=');
        let known = labels.get(count).map(|label| label.0).filter(stands_here);
        match known {
            Some(key) => cursor.at += key.len(),
            None => cursor.skip_while(&NAME),
        }
        let key = cursor.since(key_at);
        if !cursor.take(b'=') || (known.is_none() && !is_label_name(key)) {
            return None;
        }
        let value_at = cursor.at;
        cursor.skip_until(&KEY_END);
        let value = cursor.since(value_at);
        if value.is_empty() {
            return None;
        }
        match labels.get_mut(count) {
            Some(label) => *label = (key, value),
            None => labels.try_push((key, value)).ok()?,
        }
        count += 1;
    }
    labels.truncate(count);
    (cursor.peek() == b' ').then_some((measurement_end, cursor.at))
}

/// Whether bytes of [`NAME`] are the name of a label that a tag may set.
fn is_label_name(key: &str) -> bool {
    !key.is_empty() && !key.as_bytes()[0].is_ascii_digit() && key != METRIC_NAME
}

impl Rewritten {
    /// The labels, in a text that they were read from.
    #[cold]
    pub(super) fn resolve<'t>(&'t self, text: &'t str, labels: &mut Labels<'t>) {
        let resolve = |part: Text| part.resolve(text, &self.scratch);
        labels.extend(self.labels.iter().map(|&(name, value)| (resolve(name), resolve(value))));
    }

    #[cold]
    fn read(&mut self, cursor: &mut Cursor<'_>, columns: &mut Columns) -> Result<(), Bad> {
        self.labels.clear();
        self.scratch.clear();
        let start = cursor.at;
        skip_escaped(cursor, &MEASUREMENT_END);
        if cursor.at == start {
            return Err(Bad::new(start, "a measurement expected"));
        }
        columns.set_measurement(cursor.since(start));
        while cursor.take(b',') {
            if self.labels.len() == TAGS_MAX {
                return Err(Bad::new(cursor.at, "at most 63 tags expected"));
            }
            let name = self.key(cursor)?;
            let value = self.value(cursor)?;
            self.labels.push((name, value));
        }
        if cursor.peek() == b' ' {
            Ok(())
        } else {
            Err(Bad::new(cursor.at, "a space and fields expected behind measurement and tags"))
        }
    }

    /// Goes over a key and the `=` behind it.
    fn key(&mut self, cursor: &mut Cursor<'_>) -> Result<Text, Bad> {
        let start = cursor.at;
        skip_escaped(cursor, &KEY_END);
        let key = cursor.since(start);
        if key.is_empty() {
            return Err(Bad::new(start, "the key of a tag expected"));
        }
        if !cursor.take(b'=') {
            return Err(Bad::new(cursor.at, "'=' and a value expected behind the key of a tag"));
        }
        let scratch_at = self.scratch.len();
        push_name(key, false, &mut self.scratch);
        if self.scratch[scratch_at..] == *METRIC_NAME {
            return Err(Bad::new(
                start,
                "a tag other than __name__ expected: measurement and field are the name",
            ));
        }
        Ok(Text::Scratch { start: scratch_at, end: self.scratch.len() })
    }

    fn value(&mut self, cursor: &mut Cursor<'_>) -> Result<Text, Bad> {
        let start = cursor.at;
        skip_escaped(cursor, &KEY_END);
        let (value, end) = (cursor.since(start), cursor.at);
        if value.is_empty() {
            return Err(Bad::new(start, "the value of a tag expected"));
        }
        if cursor.peek() == b'=' {
            return Err(Bad::new(
                end,
                "',' or a space expected behind the value of a tag; '=' in it is written \\=",
            ));
        }
        if !value.contains('\\') {
            return Ok(Text::Body { start, end });
        }
        let scratch_at = self.scratch.len();
        self.scratch.extend(unescaped(value));
        Ok(Text::Scratch { start: scratch_at, end: self.scratch.len() })
    }
}

/// A measurement may hold a `=`.
const MEASUREMENT_END: Ends = Ends::new(b", \n\\", b'-', *b"\\\\");
