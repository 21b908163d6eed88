//! What the tests of all formats of many lines share.

use contracts::{BatchError, Labels, TimestampMs};
use ingest::{
    slots::{Incoming, Sink},
    wire::{Format, Taken},
};

/// The arrival time of every body.
pub(crate) const ARRIVED: TimestampMs = TimestampMs(1_234);

/// A sample as people write it: the series, the time, and the bits of the value.
pub(crate) type Row = (String, i64, u64);

/// Keeps what it is given, and refuses what the contract forbids.
#[derive(Default)]
pub(crate) struct Collected(pub(crate) Vec<Row>);

impl Sink for Collected {
    fn push(&mut self, sample: &Incoming<'_>) -> Result<(), BatchError> {
        let labels = sample.labels.iter().copied().chain([("__name__", sample.name)]);
        let labels = Labels::new(labels)?;
        if !sample.timestamp.is_acceptable() {
            return Err(BatchError::BadTimestamp(sample.timestamp.0));
        }
        self.0.push((labels.to_string(), sample.timestamp.0, sample.value.to_bits()));
        Ok(())
    }
}

/// Parses a body, and checks what must hold of every answer. It comes twice, since a parser remembers.
pub(crate) fn parse(format: &mut impl Format, body: &[u8]) -> (Vec<Row>, Taken) {
    let (mut sink, mut again) = (Collected::default(), Collected::default());
    let taken = format.parse(body, ARRIVED, &mut sink).unwrap();
    let taken_again = format.parse(body, ARRIVED, &mut again).unwrap();
    assert_eq!((&sink.0, &taken), (&again.0, &taken_again), "what was read before changes nothing");
    assert_eq!(taken.samples, sink.0.len(), "each sample is counted");
    assert_eq!(taken.named.len(), taken.refused.min(10), "the first refusals are named");
    let mut line_before = 0;
    for refusal in &taken.named {
        assert!(refusal.line > line_before, "a line is refused once: {:?}", taken.named);
        assert!(refusal.at <= body.len(), "{refusal:?} is not of the body");
        let line_of_byte = 1 + body[..refusal.at].iter().filter(|b| **b == b'\n').count();
        assert!(refusal.line <= line_of_byte, "{refusal:?} lies before its line");
        line_before = refusal.line;
    }
    (sink.0, taken)
}

/// A row with a value that is written as a number.
pub(crate) fn row(series: &str, timestamp: i64, value: f64) -> Row {
    (series.to_owned(), timestamp, value.to_bits())
}

/// Asserts that a body with one bad line among good ones is refused there, and that the others were taken.
pub(crate) fn assert_refused(format: &mut impl Format, good: &str, bad: &str, at: usize, message: &str) {
    let body = format!("{good}\n{bad}\n{good}\n");
    let (rows, taken) = parse(format, body.as_bytes());
    let good_rows = parse(format, good.as_bytes()).0.len();
    assert_eq!((rows.len(), taken.refused), (2 * good_rows, 1), "{bad:?}: {:?}", taken.named);
    let refusal = &taken.named[0];
    assert_eq!((refusal.line, refusal.code), (2, "bad_line"), "{bad:?}");
    assert_eq!(refusal.at, good.len() + 1 + at, "{bad:?}: {}", refusal.message);
    assert!(refusal.message.contains(message), "{bad:?}: {}", refusal.message);
}
