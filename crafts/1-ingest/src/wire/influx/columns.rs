//! Keys of fields → metric names.
//!
//! The fields of one measurement are the same in nearly every line, in the same order. So a key is first compared with the
//! one that stood in its place before; if they are equal, the name is there already.

use super::{KEY_END, push_name, push_rest_of_name, skip_escaped};
use crate::wire::scan::{Bad, Cursor, begins_with_short};
use contracts::limits::LABEL_VALUE_BYTES_MAX;

/// Most fields of one line. Beyond: the line is refused.
pub const FIELDS_PER_LINE_MAX: usize = 4_096;

/// The fields of the lines before, by their place.
#[derive(Debug, Default)]
pub(super) struct Columns {
    /// The measurement as it was written.
    measurement: String,
    /// What its metric names begin with.
    prefix: String,
    /// The first `used` belong to the measurement. Those behind them keep their buffers.
    columns: Vec<Column>,
    used: usize,
}

#[derive(Debug, Default)]
struct Column {
    /// As it was written, with the `=` behind it.
    key: String,
    metric_name: String,
}

impl Columns {
    /// Forgets all columns if this is another measurement.
    #[inline(always)]
    pub(super) fn set_measurement(&mut self, written: &str) {
        if self.measurement != written {
            self.begin_measurement(written);
        }
    }

    #[inline(never)]
    fn begin_measurement(&mut self, written: &str) {
        self.used = 0;
        self.measurement.clear();
        self.measurement.push_str(written);
        self.prefix.clear();
        push_name(written, true, &mut self.prefix);
        self.prefix.push('_');
    }

    /// The metric name of a column that has been read.
    #[inline(always)]
    pub(super) fn metric_name(&self, column: usize) -> &str {
        &self.columns[column].metric_name
    }

    /// Goes over the key of the field number `column`, and the `=` behind it. Those before it have been read.
    #[inline(always)]
    pub(super) fn read(&mut self, cursor: &mut Cursor<'_>, column: usize) -> Result<(), Bad> {
        if let Some(known) = self.columns[..self.used].get(column)
            && begins_with_short(cursor.rest(), known.key.as_bytes())
        {
            cursor.at += known.key.len();
            return Ok(());
        }
        self.learn(cursor, column)
    }

    /// Reads a key that did not stand here before.
    #[inline(never)]
    fn learn(&mut self, cursor: &mut Cursor<'_>, column: usize) -> Result<(), Bad> {
        self.used = column;
        let start = cursor.at;
        if column == FIELDS_PER_LINE_MAX {
            return Err(Bad::new(start, "at most 4096 fields expected"));
        }
        skip_escaped(cursor, &KEY_END);
        let key = cursor.since(start);
        if key.is_empty() {
            return Err(Bad::new(start, "the key of a field expected"));
        }
        if !cursor.take(b'=') {
            return Err(Bad::new(cursor.at, "'=' and a value expected behind the key of a field"));
        }
        if self.prefix.len() + key.len() > LABEL_VALUE_BYTES_MAX {
            return Err(Bad::new(start, "at most 4096 bytes of measurement and field expected"));
        }
        if column == self.columns.len() {
            self.columns.push(Column::default());
        }
        let learnt = &mut self.columns[column];
        learnt.key.clear();
        learnt.key.push_str(cursor.since(start));
        learnt.metric_name.clear();
        learnt.metric_name.push_str(&self.prefix);
        push_rest_of_name(key, true, &mut learnt.metric_name);
        self.used += 1;
        Ok(())
    }
}
