//! Prometheus remote write 1.0: series and their samples, as protobuf.
//!
//! ```text
//! WriteRequest { repeated TimeSeries timeseries = 1; }        what else there is, is passed over by its length:
//! TimeSeries   { repeated Label labels = 1;                   metadata, exemplars, native histograms
//!                repeated Sample samples = 2; }
//! Label        { string name = 1;  string value = 2; }
//! Sample       { double value = 1; int64 timestamp = 2; }     milliseconds since 1970
//! ```
//!
//! The messages are read where they lie, and texts are borrowed from them: a decoder that builds structs allocates twice
//! for every label. Snappy, which the body comes in, has been undone before, and its bombs with it.
//!
//! A body that is no protobuf is refused whole. A series that the contract forbids is refused by its number, from 1, and
//! its neighbours are taken; of a series, all samples are taken or none. Labels need no order, and a stale marker keeps
//! its bits.
//!
//! Specification: <https://prometheus.io/docs/specs/prw/remote_write_spec/>, and the wire format of Protocol Buffers, of
//! which groups alone are missing: no version of these messages ever had one.

use super::{Format, Taken};
use crate::slots::{Series, Sink};
use arrayvec::ArrayVec;
use contracts::{
    BatchError, LabelError, TimestampMs,
    http::ApiError,
    labels::METRIC_NAME,
    limits::{BATCH_SAMPLES_MAX, LABELS_PER_SERIES_MAX},
};

/// Reads bodies of remote write; see the module.
#[derive(Debug, Default)]
pub struct RemoteWrite {
    /// The samples of the series that is being read.
    samples: Vec<(TimestampMs, f64)>,
}

/// Samples for which the buffer keeps room from one body to the next.
const KEPT_SAMPLES: usize = 4 << 10;

impl Format for RemoteWrite {
    fn parse(&mut self, body: &[u8], _: TimestampMs, sink: &mut impl Sink) -> Result<Taken, ApiError> {
        let taken = self.read(body, sink);
        self.samples.clear();
        self.samples.shrink_to(KEPT_SAMPLES);
        taken
    }
}

impl RemoteWrite {
    fn read(&mut self, body: &[u8], sink: &mut impl Sink) -> Result<Taken, ApiError> {
        let mut taken = Taken::default();
        let mut request = Message { body, at: 0, end: body.len() };
        let (mut number, mut samples) = (0, 0);
        while let Some(field) = request.next_field()? {
            if field.number != 1 {
                continue;
            }
            number += 1;
            let message = request.message(field)?;
            let labels = read_series(message, &mut self.samples)?;
            samples += self.samples.len();
            if samples > BATCH_SAMPLES_MAX {
                return Err(too_large());
            }
            if self.samples.is_empty() {
                continue;
            }
            let pushed = match labels {
                Ok(labels) => push(&labels, &self.samples, message.at, sink)?,
                Err(refused) => Err(refused),
            };
            match pushed {
                Ok(()) => taken.samples += self.samples.len(),
                Err(refused) => taken.refuse(number, refused.at, refused.code, refused.message),
            }
        }
        Ok(taken)
    }
}

/// Why a series is not taken, and at which byte of the body.
struct Refused {
    at: usize,
    code: &'static str,
    message: String,
}

/// A series' labels, borrowed from the body.
#[derive(Default)]
struct SeriesLabels<'b> {
    metric_name: Option<&'b str>,
    /// The greatest name of the others, and all of them.
    greatest: &'b str,
    pairs: ArrayVec<(&'b str, &'b str), LABELS_PER_SERIES_MAX>,
}

/// Reads a series to its end, whatever is wrong with its labels: what is no protobuf must be found.
fn read_series<'b>(
    mut series: Message<'b>,
    samples: &mut Vec<(TimestampMs, f64)>,
) -> Result<Result<SeriesLabels<'b>, Refused>, Broken> {
    let mut labels = SeriesLabels::default();
    let mut refused = None;
    samples.clear();
    while let Some(field) = series.next_field()? {
        match field.number {
            1 => {
                let (name, value) = read_label(series.message(field)?)?;
                if refused.is_none() {
                    refused = labels.add(name, value, field.at).err();
                }
            }
            2 => {
                let (timestamp, value) = read_sample(series.message(field)?)?;
                if !timestamp.is_acceptable() && refused.is_none() {
                    let message = BatchError::BadTimestamp(timestamp.0).to_string();
                    refused = Some(Refused { at: field.at, code: "bad_timestamp", message });
                }
                samples.push((timestamp, value));
            }
            _ => {}
        }
    }
    Ok(refused.map_or(Ok(labels), Err))
}

impl<'b> SeriesLabels<'b> {
    fn add(&mut self, name: &'b str, value: &'b str, at: usize) -> Result<(), Refused> {
        let bad_label = |error: LabelError| Refused { at, code: "bad_label", message: error.to_string() };
        if name == METRIC_NAME {
            return match self.metric_name.replace(value) {
                Some(_) => Err(bad_label(LabelError::Twice(name.to_owned()))),
                None => Ok(()),
            };
        }
        // The specification demands that labels are sorted: then one comparison tells that a name is new.
        if self.greatest < name {
            self.greatest = name;
        } else if self.pairs.iter().any(|(before, _)| *before == name) {
            return Err(bad_label(LabelError::Twice(name.to_owned())));
        }
        let too_many = |_| bad_label(LabelError::TooMany(LABELS_PER_SERIES_MAX + 1));
        self.pairs.try_push((name, value)).map_err(too_many)
    }
}

/// Gives a series to the sink. One that does not fit may be there in part, so that nothing of the body can be taken.
fn push(
    labels: &SeriesLabels<'_>,
    samples: &[(TimestampMs, f64)],
    at: usize,
    sink: &mut impl Sink,
) -> Result<Result<(), Refused>, ApiError> {
    let Some(name) = labels.metric_name.filter(|name| !name.is_empty()) else {
        let message = format!("a series without the label {METRIC_NAME:?}");
        return Ok(Err(Refused { at, code: "missing_field", message }));
    };
    match sink.push_series(&Series { client: "", name, labels: &labels.pairs, samples }) {
        Err(BatchError::Full) => Err(too_large()),
        pushed => Ok(pushed.map_err(|e| Refused { at, code: code_of(&e), message: e.to_string() })),
    }
}

fn too_large() -> ApiError {
    let message =
        format!("more series or more than {BATCH_SAMPLES_MAX} samples than fit; send them in parts");
    ApiError::new(413, "batch_too_large", message)
}

fn code_of(error: &BatchError) -> &'static str {
    match error {
        BatchError::BadTimestamp(_) => "bad_timestamp",
        BatchError::Labels(LabelError::BadMetricName(_)) => "bad_name",
        BatchError::Labels(LabelError::ValueTooLong(name, _)) if name == METRIC_NAME => "bad_name",
        _ => "bad_label",
    }
}

fn read_label<'b>(mut label: Message<'b>) -> Result<(&'b str, &'b str), Broken> {
    let (mut name, mut value) = ("", "");
    while let Some(field) = label.next_field()? {
        match field.number {
            1 => name = label.text(field)?,
            2 => value = label.text(field)?,
            _ => {}
        }
    }
    Ok((name, value))
}

/// A field that is left out is zero.
fn read_sample(mut sample: Message<'_>) -> Result<(TimestampMs, f64), Broken> {
    let (mut timestamp, mut value) = (TimestampMs(0), 0.0);
    while let Some(field) = sample.next_field()? {
        match (field.number, field.content) {
            (1, Content::Eight(bits)) => value = f64::from_bits(bits),
            (1, _) => return Err(Broken { at: field.at, expected: "a double" }),
            (2, Content::Varint(ms)) => timestamp = TimestampMs(ms.cast_signed()),
            (2, _) => return Err(Broken { at: field.at, expected: "an integer" }),
            _ => {}
        }
    }
    Ok((timestamp, value))
}

/// A protobuf message: a span of the body.
#[derive(Clone, Copy)]
struct Message<'b> {
    body: &'b [u8],
    /// Where it is read next, and where it ends.
    at: usize,
    end: usize,
}

/// A field of a message.
#[derive(Clone, Copy)]
struct Field {
    /// Byte of the body at which it begins.
    at: usize,
    number: u64,
    content: Content,
}

#[derive(Clone, Copy)]
enum Content {
    Varint(u64),
    Eight(u64),
    /// Four bytes; no field of ours has them.
    Four,
    /// Whatever says its length: from here to there in the body.
    Bytes(usize, usize),
}

/// A body that is no protobuf, or not of these messages.
#[derive(Debug)]
struct Broken {
    at: usize,
    expected: &'static str,
}

impl From<Broken> for ApiError {
    fn from(broken: Broken) -> Self {
        let message = format!("no remote write 1.0: expected {}", broken.expected);
        Self::bad_input("bad_protobuf", broken.at, message)
    }
}

const VARINT_BYTES_MAX: usize = 10;
/// Field numbers have 29 bits.
const FIELD_NUMBER_MAX: u64 = (1 << 29) - 1;

impl<'b> Message<'b> {
    /// The next field; `None` at the end.
    #[inline]
    fn next_field(&mut self) -> Result<Option<Field>, Broken> {
        let at = self.at;
        if at == self.end {
            return Ok(None);
        }
        let key = self.varint()?;
        let number = key >> 3;
        if !(1..=FIELD_NUMBER_MAX).contains(&number) {
            return Err(Broken { at, expected: "a field number from 1 to 536870911" });
        }
        let content = match key & 7 {
            0 => Content::Varint(self.varint()?),
            1 => Content::Eight(u64::from_le_bytes(self.array()?)),
            2 => {
                let length_at = self.at;
                let length = usize::try_from(self.varint()?).ok().filter(|n| *n <= self.end - self.at);
                let expected = "a length that ends within its message";
                let length = length.ok_or(Broken { at: length_at, expected })?;
                self.at += length;
                Content::Bytes(self.at - length, self.at)
            }
            5 => self.array::<4>().map(|_| Content::Four)?,
            _ => return Err(Broken { at, expected: "a varint, 8 bytes, 4 bytes, or a length" }),
        };
        Ok(Some(Field { at, number, content }))
    }

    /// The message that a field of this one holds.
    #[inline]
    fn message(&self, field: Field) -> Result<Self, Broken> {
        match field.content {
            Content::Bytes(at, end) => Ok(Self { body: self.body, at, end }),
            _ => Err(Broken { at: field.at, expected: "a message" }),
        }
    }

    /// The text that a field holds.
    #[inline]
    fn text(&self, field: Field) -> Result<&'b str, Broken> {
        let Content::Bytes(at, end) = field.content else {
            return Err(Broken { at: field.at, expected: "a string" });
        };
        let text = std::str::from_utf8(&self.body[at..end]);
        text.map_err(|e| Broken { at: at + e.valid_up_to(), expected: "UTF-8" })
    }

    /// Seven bits a byte, the lowest first; the eighth says that another byte follows.
    #[inline]
    fn varint(&mut self) -> Result<u64, Broken> {
        let start = self.at;
        let mut value = 0;
        for (i, byte) in self.body[start..self.end].iter().take(VARINT_BYTES_MAX).enumerate() {
            // The tenth byte holds the 64th bit alone.
            if i == VARINT_BYTES_MAX - 1 && *byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << (7 * i);
            if *byte < 0x80 {
                self.at = start + i + 1;
                return Ok(value);
            }
        }
        Err(Broken { at: start, expected: "a varint of 64 bits" })
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Broken> {
        let bytes = self.body[self.at..self.end].first_chunk::<N>();
        let bytes =
            *bytes.ok_or(Broken { at: self.at, expected: "a number that ends within its message" })?;
        self.at += N;
        Ok(bytes)
    }
}
