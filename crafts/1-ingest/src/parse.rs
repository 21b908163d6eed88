//! Slot 2: the text of a request → samples, in one pass.
//!
//! The text is gone through once, from front to back; before that it is checked to be UTF-8, and only a long number or a
//! text with escapes is looked at again. A metric's fields are borrowed and handed to the [`Sink`] when its closing brace
//! has been read; nothing is built in between, and nothing is allocated once the buffers of [`SinglePass`] are warm.
//! `crafts/0-contracts/openapi/ingest.yaml` says what is read, and what refuses it.
//!
//! Which fault is told must not depend on how the text is read: text that is no JSON comes first, wherever it stands;
//! then the first metric with a fault of its own; then the first one that the sink does not take. So reading stops only
//! where the text is no JSON. Other faults are kept, and judged at the end of what they stand in.

mod fault;
mod json;

use self::{
    fault::{Fault, Wrong},
    json::{Reader, Text, unescaped},
};
use arrayvec::ArrayVec;
use contracts::{
    BatchError, LabelError, TimestampMs,
    http::ApiError,
    labels::METRIC_NAME,
    limits::{CLIENT_ID_BYTES_MAX, LABELS_PER_SERIES_MAX},
};
use ingest::slots::{Incoming, Parse, Sink};

/// Reads every body in one pass; see the module.
#[derive(Debug, Default)]
pub struct SinglePass {
    buffers: Buffers,
}

/// What is kept from one body to the next, so that the next allocates nothing.
#[derive(Debug, Default)]
struct Buffers {
    /// Keys of the objects that are being read, the innermost object's last.
    keys: Vec<Key>,
    /// Texts whose escapes were resolved, one behind the other, and where each ends.
    resolved: String,
    ends: Vec<usize>,
}

/// What the buffers keep of what one strange body has made of them.
const KEPT_KEYS: usize = 4 << 10;
const KEPT_BYTES: usize = 64 << 10;

impl Parse for SinglePass {
    fn parse(&mut self, body: &[u8], arrived: TimestampMs, sink: &mut impl Sink) -> Result<usize, ApiError> {
        let text = std::str::from_utf8(body)
            .map_err(|e| ApiError::bad_input("bad_json", e.valid_up_to(), "these bytes are not UTF-8"))?;
        let (reader, buffers) = (Reader::new(text), &mut self.buffers);
        let mut document =
            Document { text, reader, arrived, sink, buffers, count: 0, refused: None, not_taken: None };
        let read = document.read();
        let Document { count, refused, not_taken, .. } = document;
        self.buffers.trim();
        read?;
        match (refused, not_taken) {
            (Some(fault), _) => Err(fault.into()),
            (None, Some(error)) => Err(*error),
            (None, None) => Ok(count),
        }
    }
}

/// A body that is being read.
struct Document<'t, 'p, S> {
    text: &'t str,
    reader: Reader<'t>,
    arrived: TimestampMs,
    sink: &'p mut S,
    buffers: &'p mut Buffers,
    /// Metrics so far.
    count: usize,
    /// The first fault of a metric.
    refused: Option<Fault>,
    /// The first refusal of the sink. Any fault of a metric comes before it.
    not_taken: Option<Box<ApiError>>,
}

/// A value of JSON that is what it should be, or is not. Faults of the text itself take the outer way, [`Read`].
type Judged<T> = Result<T, Fault>;
type Read<T> = Result<Judged<T>, Fault>;

impl<'t, S: Sink> Document<'t, '_, S> {
    fn read(&mut self) -> Result<(), Fault> {
        self.reader.skip_space();
        let at = self.reader.at();
        match self.reader.peek() {
            None => {
                return Err(Wrong::Empty.at(at));
            }
            Some(b'{') => self.read_root_object()?,
            Some(b'[') => self.read_list(1)?,
            Some(_) => {
                self.reader.skip(0)?;
                self.refuse(Wrong::NoList.at(at));
            }
        }
        self.reader.finish()
    }

    /// One metric, or an object around a list of them: which of both is known at its end only.
    fn read_root_object(&mut self) -> Result<(), Fault> {
        let mut fields = Fields::default();
        self.read_fields(&mut fields, 0)?;
        let Some(list) = fields.list else {
            self.take(&fields);
            return Ok(());
        };
        // Its own faults come before those of the metrics within.
        if let Err(fault) = fields.judge_as_list(list) {
            self.refused = Some(fault);
        }
        Ok(())
    }

    /// Reads the array that stands here. `depth` counts the arrays and objects around its items, and so below.
    fn read_list(&mut self, depth: usize) -> Result<(), Fault> {
        self.reader.enter();
        let mut first = true;
        while self.reader.next_item(first)? {
            self.read_metric(depth)?;
            first = false;
        }
        Ok(())
    }

    fn read_metric(&mut self, depth: usize) -> Result<(), Fault> {
        if self.reader.peek() != Some(b'{') {
            let at = self.reader.at();
            self.reader.skip(depth)?;
            self.refuse(Wrong::NoMetric.at(at));
            return Ok(());
        }
        let mut fields = Fields::default();
        self.read_fields(&mut fields, depth)?;
        self.take(&fields);
        Ok(())
    }

    /// Reads the object that stands here.
    fn read_fields(&mut self, fields: &mut Fields<'t>, depth: usize) -> Result<(), Fault> {
        fields.at = self.reader.at();
        let outer_keys = self.buffers.keys.len();
        self.reader.enter();
        let mut first = true;
        while self.reader.next_member(first)? {
            first = false;
            let key_at = self.reader.at();
            match self.read_field_name()? {
                Ok(field) => {
                    fields.see(field, key_at);
                    self.read_field(field, fields, depth)?;
                }
                Err(key) => {
                    self.buffers.keys.push(Key { at: key_at, bytes: key.raw.len(), escaped: key.escaped });
                    self.reader.skip(depth + 1)?;
                }
            }
        }
        let twice = self.close_keys(outer_keys);
        fields.twice_at = fields.twice_at.into_iter().chain(twice).min();
        Ok(())
    }

    /// A key that means something, or another one.
    #[inline]
    fn read_field_name(&mut self) -> Result<Result<Field, Text<'t>>, Fault> {
        // As machines write it, it is compared with its quotes and its colon at once; where its first letter says so.
        let initial = self.reader.peek_behind();
        for (key, field) in Field::KEYS {
            if initial == Some(key.as_bytes()[1]) && self.reader.take(key.as_bytes()) {
                self.reader.skip_space();
                return Ok(Ok(field));
            }
        }
        let key = self.reader.key()?;
        Ok(Field::of(key).ok_or(key))
    }

    fn read_field(&mut self, field: Field, fields: &mut Fields<'t>, depth: usize) -> Result<(), Fault> {
        let (at, inner) = (self.reader.at(), depth + 1);
        match field {
            Field::Name => {
                let text = self.read_text(inner, Wrong::NameType)?;
                fields.name = Some(text.map(|text| fields.keep(text)));
                fields.name_at = at;
            }
            Field::Value => fields.value = Some(self.read_value(inner)?),
            Field::Timestamp => fields.timestamp = Some(self.read_timestamp(inner)?),
            Field::Labels => self.read_labels(fields, inner)?,
            Field::Tags => {
                fields.tags_at = Some(at);
                self.read_labels(fields, inner)?;
            }
            Field::ClientId => {
                let text = self.read_text(inner, Wrong::ClientType)?;
                fields.client = Some(text.and_then(|text| check_client(at, fields.keep(text), text)));
            }
            Field::Type => fields.kind = Some(self.read_text(inner, Wrong::TypeType)?.map(|_| ())),
            Field::Metrics if depth == 0 && self.reader.peek() == Some(b'[') => {
                self.read_list(inner + 1)?;
                fields.list = Some(List { at, is_array: true });
            }
            Field::Metrics => {
                self.reader.skip(inner)?;
                fields.list = Some(List { at, is_array: false });
            }
        }
        Ok(())
    }

    #[inline]
    fn read_text(&mut self, depth: usize, otherwise: Wrong) -> Read<Text<'t>> {
        if self.reader.peek() == Some(b'"') {
            return self.reader.string().map(Ok);
        }
        let at = self.reader.at();
        self.reader.skip(depth)?;
        Ok(Err(otherwise.at(at)))
    }

    #[inline]
    fn read_value(&mut self, depth: usize) -> Read<f64> {
        let at = self.reader.at();
        let number = match self.reader.peek() {
            Some(b'-' | b'0'..=b'9') => match self.reader.short_number() {
                Some(number) => Some(number.to_f64()),
                None => Some(self.reader.number()?.to_f64()).filter(|n| n.is_finite()),
            },
            Some(b'"') => number_in_words(self.reader.string()?),
            _ => {
                self.reader.skip(depth)?;
                None
            }
        };
        Ok(number.ok_or(Wrong::BadValue.at(at)))
    }

    #[inline]
    fn read_timestamp(&mut self, depth: usize) -> Read<TimestampMs> {
        let at = self.reader.at();
        let time = match self.reader.peek() {
            Some(b'-' | b'0'..=b'9') => match self.reader.short_number() {
                Some(number) => number.to_i64().map(TimestampMs),
                None => self.reader.number()?.to_i64().map(TimestampMs),
            },
            Some(b'"') => {
                let text = self.reader.string()?;
                if text.escaped { self.resolved_time(text) } else { TimestampMs::parse_rfc3339(text.raw) }
            }
            _ => {
                self.reader.skip(depth)?;
                None
            }
        };
        let acceptable = time.filter(|time| time.is_acceptable());
        Ok(acceptable.ok_or(Wrong::BadTimestamp.at(at)))
    }

    fn read_labels(&mut self, fields: &mut Fields<'t>, depth: usize) -> Result<(), Fault> {
        if self.reader.peek() != Some(b'{') {
            let at = self.reader.at();
            self.reader.skip(depth)?;
            fields.labels = Some(Err(Wrong::LabelsType.at(at)));
            return Ok(());
        }
        let outer_keys = self.buffers.keys.len();
        let mut judged = Ok(());
        self.reader.enter();
        let mut first = true;
        while self.reader.next_member(first)? {
            first = false;
            let at = self.reader.at();
            let key = self.reader.key()?;
            self.buffers.keys.push(Key { at, bytes: key.raw.len(), escaped: key.escaped });
            let value = self.read_text(depth + 1, Wrong::LabelType)?;
            if key.is(METRIC_NAME) {
                judged = judged.and(Err(Wrong::MetricNameAsLabel.at(at)));
            }
            judged = judged.and(value.map(|value| fields.add_label(key, value)));
        }
        let twice = self.close_keys(outer_keys);
        fields.labels = Some(twice.map_or(judged, |at| Err(Wrong::KeyTwice.at(at))));
        Ok(())
    }

    /// The object whose keys are those from `outer_keys` on has ended. Returns where its first key stands that was there
    /// before: JSON leaves open which of two equal keys counts, and two programs that choose differently see two metrics.
    #[inline]
    fn close_keys(&mut self, outer_keys: usize) -> Option<usize> {
        let keys = &mut self.buffers.keys;
        let twice = if keys.len() > outer_keys + 1 {
            first_duplicate(self.text, &mut keys[outer_keys..])
        } else {
            None
        };
        keys.truncate(outer_keys);
        twice
    }

    fn refuse(&mut self, fault: Fault) {
        self.refused.get_or_insert(fault);
    }

    /// A metric was read to its end.
    #[inline]
    fn take(&mut self, fields: &Fields<'t>) {
        self.count += 1;
        if self.refused.is_some() {
            return;
        }
        match fields.judge(self.arrived) {
            Err(fault) => self.refuse(fault),
            Ok(sample) if self.not_taken.is_none() => {
                self.not_taken = self.push(&sample, fields).err().map(Box::new)
            }
            Ok(_) => {}
        }
    }

    #[inline]
    fn push(&mut self, sample: &Incoming<'t>, fields: &Fields<'t>) -> Result<(), ApiError> {
        if sample.name.is_empty() {
            return Err(Wrong::NameEmpty.at(fields.name_at).into());
        }
        let pushed = if fields.has_too_many_labels {
            Err(LabelError::TooMany(LABELS_PER_SERIES_MAX + 1).into())
        } else {
            let sample = Incoming { labels: &fields.pairs, ..*sample };
            if fields.has_escapes { self.push_resolved(&sample) } else { self.sink.push(&sample) }
        };
        pushed.map_err(|e| not_taken(&e, fields))
    }

    /// Resolves the escapes of all texts of a metric before it is pushed.
    #[cold]
    fn push_resolved(&mut self, sample: &Incoming<'_>) -> Result<(), BatchError> {
        let Buffers { resolved, ends, .. } = &mut *self.buffers;
        resolved.clear();
        ends.clear();
        let labels = sample.labels.iter().flat_map(|(name, value)| [name, value]);
        for raw in [&sample.client, &sample.name].into_iter().chain(labels) {
            resolved.extend(unescaped(raw));
            ends.push(resolved.len());
        }
        let mut start = 0;
        let mut texts = ends.iter().map(|end| &resolved[std::mem::replace(&mut start, *end)..*end]);
        let mut next = || texts.next().unwrap_or_default();
        let (client, name) = (next(), next());
        let labels: ArrayVec<_, LABELS_PER_SERIES_MAX> =
            sample.labels.iter().map(|_| (next(), next())).collect();
        self.sink.push(&Incoming { client, name, labels: &labels, ..*sample })
    }

    #[cold]
    fn resolved_time(&mut self, text: Text<'t>) -> Option<TimestampMs> {
        self.buffers.resolved.clear();
        self.buffers.resolved.extend(text.chars());
        TimestampMs::parse_rfc3339(&self.buffers.resolved)
    }
}

/// The fields that mean something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Name,
    Value,
    Timestamp,
    Labels,
    Tags,
    ClientId,
    Type,
    /// In the outermost object alone.
    Metrics,
}

impl Field {
    /// The usual way to write them; the most frequent ones first.
    const KEYS: [(&str, Self); 8] = [
        ("\"name\":", Self::Name),
        ("\"value\":", Self::Value),
        ("\"timestamp\":", Self::Timestamp),
        ("\"labels\":", Self::Labels),
        ("\"tags\":", Self::Tags),
        ("\"client_id\":", Self::ClientId),
        ("\"type\":", Self::Type),
        ("\"metrics\":", Self::Metrics),
    ];

    fn of(key: Text<'_>) -> Option<Self> {
        let name_of = |written: &'static str| &written[1..written.len() - 2];
        Self::KEYS.into_iter().find(|(written, _)| key.is(name_of(written))).map(|(_, field)| field)
    }
}

/// What an object of the text holds, borrowed from it, its escapes not resolved.
#[derive(Default)]
struct Fields<'t> {
    /// Byte at which the object begins, and at which its name does.
    at: usize,
    name_at: usize,
    name: Option<Judged<&'t str>>,
    value: Option<Judged<f64>>,
    timestamp: Option<Judged<TimestampMs>>,
    client: Option<Judged<&'t str>>,
    kind: Option<Judged<()>>,
    /// Given as `labels` or as `tags`.
    labels: Option<Judged<()>>,
    tags_at: Option<usize>,
    list: Option<List>,
    /// Labels with a value.
    pairs: ArrayVec<(&'t str, &'t str), LABELS_PER_SERIES_MAX>,
    has_too_many_labels: bool,
    has_escapes: bool,
    /// Which fields were there, one bit each.
    seen: u8,
    /// The first key that was there before.
    twice_at: Option<usize>,
}

/// The field `metrics`.
#[derive(Clone, Copy)]
struct List {
    at: usize,
    is_array: bool,
}

impl<'t> Fields<'t> {
    #[inline]
    fn see(&mut self, field: Field, key_at: usize) {
        let bit = 1 << field as u8;
        if self.seen & bit != 0 && self.twice_at.is_none() {
            self.twice_at = Some(key_at);
        }
        self.seen |= bit;
    }

    fn has(&self, field: Field) -> bool {
        self.seen & (1 << field as u8) != 0
    }

    #[inline]
    fn keep(&mut self, text: Text<'t>) -> &'t str {
        self.has_escapes |= text.escaped;
        text.raw
    }

    #[inline]
    fn add_label(&mut self, name: Text<'t>, value: Text<'t>) {
        if !value.raw.is_empty() {
            let pair = (self.keep(name), self.keep(value));
            self.has_too_many_labels |= self.pairs.try_push(pair).is_err();
        }
    }

    /// The metric that the object is, but for its labels; or the first of its faults, in an order of its own.
    #[inline]
    fn judge(&self, arrived: TimestampMs) -> Judged<Incoming<'t>> {
        self.judge_keys()?;
        if let (true, Some(at)) = (self.has(Field::Labels), self.tags_at) {
            return Err(Wrong::LabelsAndTags.at(at));
        }
        self.labels.unwrap_or(Ok(()))?;
        self.kind.unwrap_or(Ok(()))?;
        Ok(Incoming {
            name: self.name.unwrap_or(Err(Wrong::NameMissing.at(self.at)))?,
            value: self.value.unwrap_or(Err(Wrong::ValueMissing.at(self.at)))?,
            timestamp: self.timestamp.unwrap_or(Ok(arrived))?,
            client: self.client.unwrap_or(Ok(""))?,
            labels: &[],
        })
    }

    fn judge_as_list(&self, list: List) -> Judged<()> {
        self.judge_keys()?;
        if self.has(Field::Name) {
            return Err(Wrong::MetricAndList.at(list.at));
        }
        if !list.is_array {
            return Err(Wrong::NoList.at(list.at));
        }
        Ok(())
    }

    #[inline]
    fn judge_keys(&self) -> Judged<()> {
        self.twice_at.map_or(Ok(()), |at| Err(Wrong::KeyTwice.at(at)))
    }
}

/// A key that was read, to be compared with its neighbours at the end of their object.
#[derive(Clone, Copy, Debug)]
struct Key {
    /// Where its quote stands.
    at: usize,
    bytes: usize,
    escaped: bool,
}

/// Up to so many keys are compared with one another; more are sorted.
const COMPARED_KEYS_MAX: usize = 16;

/// Where the first key stands that was there before.
#[inline]
fn first_duplicate(text: &str, keys: &mut [Key]) -> Option<usize> {
    if keys.len() < 2 {
        return None;
    }
    let of = |key: &Key| Text { raw: &text[key.at + 1..][..key.bytes], escaped: key.escaped };
    if keys.len() > COMPARED_KEYS_MAX {
        // Of equal keys the second one is the first duplicate.
        keys.sort_unstable_by(|a, b| of(a).cmp(of(b)).then(a.at.cmp(&b.at)));
        let equal = keys.windows(2).filter(|pair| of(&pair[0]).cmp(of(&pair[1])).is_eq());
        return equal.map(|pair| pair[1].at).min();
    }
    let mut later = keys.iter().enumerate();
    let twice = later.find(|(i, key)| keys[..*i].iter().any(|before| of(before).cmp(of(key)).is_eq()));
    twice.map(|(_, key)| key.at)
}

impl Buffers {
    /// Forgets what they hold; gives back what one strange body has made of them.
    fn trim(&mut self) {
        self.keys.clear();
        self.resolved.clear();
        self.ends.clear();
        self.keys.shrink_to(KEPT_KEYS);
        self.resolved.shrink_to(KEPT_BYTES);
        self.ends.shrink_to(KEPT_KEYS);
    }
}

/// JSON has no words for these three; Prometheus's API writes them so.
fn number_in_words(text: Text<'_>) -> Option<f64> {
    let words = [("NaN", f64::NAN), ("+Inf", f64::INFINITY), ("-Inf", f64::NEG_INFINITY)];
    words.into_iter().find(|(word, _)| text.is(word)).map(|(_, number)| number)
}

#[inline]
fn check_client<'t>(at: usize, raw: &'t str, text: Text<'t>) -> Judged<&'t str> {
    let bytes = if text.escaped { text.chars().map(char::len_utf8).sum() } else { raw.len() };
    if bytes > CLIENT_ID_BYTES_MAX {
        return Err(Wrong::ClientTooLong.at(at));
    }
    Ok(raw)
}

/// What the sink said of a metric.
#[cold]
fn not_taken(error: &BatchError, fields: &Fields<'_>) -> ApiError {
    let (at, code) = match error {
        BatchError::Full => return ApiError::new(413, "batch_too_large", error.to_string()),
        BatchError::BadTimestamp(_) => (fields.at, "bad_timestamp"),
        BatchError::Labels(LabelError::BadMetricName(_)) => (fields.name_at, "bad_name"),
        BatchError::Labels(LabelError::ValueTooLong(name, _)) if name == METRIC_NAME => {
            (fields.name_at, "bad_name")
        }
        _ => (fields.at, "bad_label"),
    };
    ApiError::bad_input(code, at, error.to_string())
}
