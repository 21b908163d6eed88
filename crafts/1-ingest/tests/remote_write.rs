//! Remote write 1.0, with `prost` as the oracle in both directions.

#![allow(clippy::unwrap_used)] // a test that cannot go on should stop

use contracts::{
    BatchError, BatchView, TimestampMs,
    batch::STALE_NAN_BITS,
    limits::{BATCH_SAMPLES_MAX, LABELS_PER_SERIES_MAX},
};
use ingest::{
    frame::Frame,
    slots::{Incoming, Sink},
    wire::{Format, Taken, remote_write::RemoteWrite},
};
use proptest::prelude::*;
use prost::Message;

/// The messages as the specification declares them, but for what is passed over.
#[derive(Clone, PartialEq, Message)]
struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    timeseries: Vec<TimeSeries>,
}

#[derive(Clone, PartialEq, Message)]
struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
}

#[derive(Clone, PartialEq, Message)]
struct Label {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct Sample {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    timestamp: i64,
}

fn label(name: &str, value: &str) -> Label {
    Label { name: name.to_owned(), value: value.to_owned() }
}

fn series(labels: &[(&str, &str)], samples: &[(i64, f64)]) -> TimeSeries {
    TimeSeries {
        labels: labels.iter().map(|(name, value)| label(name, value)).collect(),
        samples: samples.iter().map(|&(timestamp, value)| Sample { value, timestamp }).collect(),
    }
}

fn request(timeseries: Vec<TimeSeries>) -> Vec<u8> {
    WriteRequest { timeseries }.encode_to_vec()
}

/// Name, labels, time, and the bits of the value.
type Row = (String, Vec<(String, String)>, i64, u64);

/// Takes everything, and forbids nothing.
#[derive(Default)]
struct Collect(Vec<Row>);

impl Sink for Collect {
    fn push(&mut self, sample: &Incoming<'_>) -> Result<(), BatchError> {
        let labels = sample.labels.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        self.0.push((sample.name.to_owned(), labels, sample.timestamp.0, sample.value.to_bits()));
        Ok(())
    }
}

/// Code and byte of a refusal.
type Refused = (&'static str, Option<u64>);

/// What was taken, or why nothing was.
fn read(body: &[u8]) -> Result<(Taken, Vec<Row>), Refused> {
    let mut sink = Collect::default();
    let taken = RemoteWrite::default().parse(body, TimestampMs(0), &mut sink).map_err(|e| (e.code, e.at))?;
    assert_eq!(taken.samples, sink.0.len());
    Ok((taken, sink.0))
}

/// A series as it is written, a time, and the bits of a value.
type Logged = (String, i64, u64);

/// Into a frame: as the log would hold it, and the number and code of each series that is refused.
fn into_frame(timeseries: Vec<TimeSeries>) -> (Vec<Logged>, Vec<(usize, &'static str)>) {
    let mut frame = Frame::new(1);
    let taken = RemoteWrite::default().parse(&request(timeseries), TimestampMs(0), &mut frame).unwrap();
    let mut rows = Vec::new();
    for (_, batch) in frame.batches() {
        let bytes = batch.encode();
        let view = BatchView::parse(&bytes).unwrap();
        let row =
            |s: contracts::Sample| (view.labels(s.series).to_string(), s.timestamp.0, s.value.to_bits());
        rows.extend(view.samples().map(row));
    }
    assert_eq!(taken.refused, taken.named.len());
    (rows, taken.named.iter().map(|refusal| (refusal.line, refusal.code)).collect())
}

/// Written byte by byte from the specification: `up{job="a"} 1` at 1000 ms, with metadata, an exemplar, a native histogram
/// and an unknown field around it that are passed over.
const GOLDEN: &[u8] = &[
    0x1a, 0x04, 0x08, 0x01, 0x12, 0x00, // metadata = 3: a counter without a name
    0x0a, 0x31, // timeseries = 1, 49 bytes
    0x0a, 0x0e, // labels = 1
    0x0a, 0x08, b'_', b'_', b'n', b'a', b'm', b'e', b'_', b'_', // name = 1
    0x12, 0x02, b'u', b'p', // value = 2
    0x0a, 0x08, // labels = 1
    0x0a, 0x03, b'j', b'o', b'b', // name = 1
    0x12, 0x01, b'a', // value = 2
    0x12, 0x0c, // samples = 2
    0x09, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, // value = 1, a double
    0x10, 0xe8, 0x07, // timestamp = 2, a varint
    0x1a, 0x00, // exemplars = 3, empty
    0x22, 0x00, // histograms = 4, empty
    0x7d, 1, 2, 3, 4, // field 15, four bytes
];

#[test]
fn a_request_written_from_the_specification_is_read() {
    let (taken, rows) = read(GOLDEN).unwrap();
    assert_eq!((taken.samples, taken.refused), (1, 0));
    let labels = vec![("job".to_owned(), "a".to_owned())];
    assert_eq!(rows, [("up".to_owned(), labels, 1000, 1_f64.to_bits())]);
    // As it travels: a snappy block of one literal.
    let length = u8::try_from(GOLDEN.len()).unwrap();
    let block = [&[length, (length - 1) << 2][..], GOLDEN].concat();
    assert_eq!(snap::raw::Decoder::new().decompress_vec(&block).unwrap(), GOLDEN);
}

#[test]
fn what_is_no_protobuf_is_refused_whole_at_its_byte() {
    let refused = |body: &[u8]| read(body).unwrap_err();
    assert_eq!(read(b"").unwrap().0, Taken::default());
    assert_eq!(refused(&[0x0a]), ("bad_protobuf", Some(1)), "no length");
    assert_eq!(refused(&GOLDEN[..GOLDEN.len() - 1]), ("bad_protobuf", Some(7)), "a length behind the end");
    assert_eq!(refused(&[0x08, 0x01]), ("bad_protobuf", Some(0)), "a series that is a number");
    assert_eq!(refused(&[0x02, 0x00]), ("bad_protobuf", Some(0)), "field number 0");
    assert_eq!(refused(&[0x0b]), ("bad_protobuf", Some(0)), "a group");
    assert_eq!(refused(&[0x0f]), ("bad_protobuf", Some(0)), "wire type 7");
    assert_eq!(
        refused(&[0x18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02]),
        ("bad_protobuf", Some(1))
    );
    assert_eq!(refused(&[0x0a, 0x05, 0x0a, 0x03, 0x0a, 0x01, 0xff]), ("bad_protobuf", Some(6)), "no UTF-8");
    assert_eq!(
        refused(&[0x0a, 0x03, 0x0a, 0x02, 0x0a, 0x01]),
        ("bad_protobuf", Some(3)),
        "a label longer than its series"
    );
    assert_eq!(refused(&[0x0a, 0x04, 0x12, 0x02, 0x10]), ("bad_protobuf", Some(1)));
    assert_eq!(
        refused(&[0x0a, 0x04, 0x12, 0x02, 0x08, 0x01]),
        ("bad_protobuf", Some(4)),
        "a value that is a varint"
    );
}

#[test]
fn a_series_that_is_refused_leaves_its_neighbours_alone() {
    let good = |name: &str| series(&[("__name__", name), ("l", "v")], &[(1, 1.0)]);
    let bad = [
        (series(&[("l", "v")], &[(1, 1.0)]), "missing_field"),
        (series(&[("__name__", ""), ("l", "v")], &[(1, 1.0)]), "missing_field"),
        (series(&[("__name__", "größe")], &[(1, 1.0)]), "bad_name"),
        (series(&[("__name__", &"n".repeat(4097))], &[(1, 1.0)]), "bad_name"),
        (series(&[("__name__", "a"), ("härte", "v")], &[(1, 1.0)]), "bad_label"),
        (series(&[("__name__", "a"), ("", "v")], &[(1, 1.0)]), "bad_label"),
        (series(&[("__name__", "a"), ("l", &"v".repeat(4097))], &[(1, 1.0)]), "bad_label"),
        (series(&[("__name__", "a"), ("__name__", "a")], &[(1, 1.0)]), "bad_label"),
        (series(&[("__name__", "a"), ("l", "v"), ("l", "v")], &[(1, 1.0)]), "bad_label"),
        (series(&[("l", "v"), ("__name__", "a"), ("k", "v"), ("l", "")], &[(1, 1.0)]), "bad_label"),
        (series(&[("__name__", "a")], &[(1, 1.0), (-1, 2.0)]), "bad_timestamp"),
        (series(&[("__name__", "a")], &[(1, 1.0), (i64::MAX, 2.0), (3, 3.0)]), "bad_timestamp"),
    ];
    for (bad, code) in bad {
        let (rows, refused) = into_frame(vec![good("before"), bad.clone(), good("behind")]);
        let names: Vec<_> = rows.iter().map(|(labels, ..)| labels.as_str()).collect();
        assert_eq!(names, ["before{l=\"v\"}", "behind{l=\"v\"}"], "{bad:?}");
        assert_eq!(refused, [(2, code)], "{bad:?}");
    }
}

#[test]
fn labels_need_no_order_and_an_empty_one_is_none() {
    let (rows, refused) =
        into_frame(vec![series(&[("z", "1"), ("gone", ""), ("__name__", "up"), ("A", "2")], &[(5, 0.5)])]);
    assert_eq!((rows, refused), (vec![(r#"up{A="2",z="1"}"#.to_owned(), 5, 0.5_f64.to_bits())], vec![]));
}

#[test]
fn as_many_labels_are_taken_as_the_contract_allows() {
    let names: Vec<_> = (0..=LABELS_PER_SERIES_MAX).map(|i| format!("l{i:02}")).collect();
    let of = |count: usize| {
        let labels = names[..count].iter().map(|name| (name.as_str(), "v"));
        let labels: Vec<_> = [("__name__", "a")].into_iter().chain(labels).collect();
        into_frame(vec![series(&labels, &[(1, 1.0)])]).1
    };
    assert_eq!(of(LABELS_PER_SERIES_MAX - 1), []);
    assert_eq!(of(LABELS_PER_SERIES_MAX), [(1, "bad_label")]);
    assert_eq!(of(LABELS_PER_SERIES_MAX + 1), [(1, "bad_label")]);
}

#[test]
fn a_series_without_samples_is_nothing() {
    assert_eq!(into_frame(vec![series(&[], &[]), series(&[("no name", "")], &[])]), (vec![], vec![]));
}

#[test]
fn what_is_left_out_is_zero_and_samples_may_stand_before_labels() {
    let labels = series(&[("__name__", "a")], &[]).encode_to_vec();
    let message = [&[0x12, 0x00][..], &labels].concat();
    let body = [&[0x0a, u8::try_from(message.len()).unwrap()][..], &message].concat();
    assert_eq!(read(&body).unwrap().1, [("a".to_owned(), vec![], 0, 0)]);
}

#[test]
fn a_stale_marker_keeps_its_bits() {
    let (rows, _) = into_frame(vec![series(&[("__name__", "a")], &[(1, f64::from_bits(STALE_NAN_BITS))])]);
    assert_eq!(rows, [("a".to_owned(), 1, STALE_NAN_BITS)]);
}

#[test]
fn more_samples_than_a_batch_holds_are_refused_whole() {
    let of = |samples: usize| {
        // An empty sample: zero at zero.
        let message =
            [series(&[("__name__", "a")], &[]).encode_to_vec(), [0x12, 0x00].repeat(samples)].concat();
        let mut body = vec![0x0a];
        prost::encoding::encode_varint(message.len() as u64, &mut body);
        body.extend(message);
        let mut frame = Frame::new(1);
        let taken = RemoteWrite::default().parse(&body, TimestampMs(0), &mut frame);
        taken.map(|taken| (taken.samples, frame.samples())).map_err(|e| (e.status, e.code))
    };
    assert_eq!(of(BATCH_SAMPLES_MAX), Ok((BATCH_SAMPLES_MAX, BATCH_SAMPLES_MAX)));
    assert_eq!(of(BATCH_SAMPLES_MAX + 1), Err((413, "batch_too_large")));
}

/// Has room for some samples and no more.
struct Small(usize);

impl Sink for Small {
    fn push(&mut self, _: &Incoming<'_>) -> Result<(), BatchError> {
        self.0 = self.0.checked_sub(1).ok_or(BatchError::Full)?;
        Ok(())
    }
}

#[test]
fn a_series_that_fits_in_part_refuses_all() {
    let body = request(vec![series(&[("__name__", "a")], &[(1, 1.0), (2, 2.0)])]);
    let of = |room| RemoteWrite::default().parse(&body, TimestampMs(0), &mut Small(room));
    assert_eq!(of(2).unwrap().samples, 2);
    assert_eq!(of(1).map_err(|e| (e.status, e.code)), Err((413, "batch_too_large")));
}

/// The oracle's view of a body: rows, and the numbers of the series that are refused; `None` where it is no protobuf.
fn oracle(body: &[u8]) -> Option<(Vec<Row>, Vec<usize>)> {
    let request = WriteRequest::decode(body).ok()?;
    let (mut rows, mut refused) = (Vec::new(), Vec::new());
    for (number, series) in (1..).zip(request.timeseries) {
        let mut names: Vec<_> = series.labels.iter().map(|label| label.name.as_str()).collect();
        names.sort_unstable();
        let is_unique = names.windows(2).all(|pair| pair[0] != pair[1]);
        let (metric_name, others): (Vec<_>, Vec<_>) =
            series.labels.iter().partition(|l| l.name == "__name__");
        let is_named = metric_name.first().is_some_and(|label| !label.value.is_empty());
        let times = series.samples.iter().map(|sample| TimestampMs(sample.timestamp));
        if series.samples.is_empty() {
            continue;
        }
        if !is_unique
            || !is_named
            || others.len() > LABELS_PER_SERIES_MAX
            || !times.clone().all(TimestampMs::is_acceptable)
        {
            refused.push(number);
            continue;
        }
        let labels: Vec<_> = others.iter().map(|label| (label.name.clone(), label.value.clone())).collect();
        let row = |s: &Sample| (metric_name[0].value.clone(), labels.clone(), s.timestamp, s.value.to_bits());
        rows.extend(series.samples.iter().map(row));
    }
    Some((rows, refused))
}

/// Ours and the oracle's must be the same, but that groups, which no version of the messages has, are refused here.
fn agree(body: &[u8]) -> Result<(), TestCaseError> {
    let mut sink = Collect::default();
    match (RemoteWrite::default().parse(body, TimestampMs(0), &mut sink), oracle(body)) {
        (Ok(taken), Some((rows, refused))) => {
            let named: Vec<_> = taken.named.iter().map(|refusal| refusal.line).collect();
            prop_assert_eq!((sink.0, taken.refused), (rows, refused.len()), "{:x?}", body);
            prop_assert_eq!(&named[..], &refused[..named.len()], "{:x?}", body);
        }
        (Ok(_), None) => prop_assert!(false, "taken, but no protobuf: {body:x?}"),
        (Err(e), None) => prop_assert_eq!(e.code, "bad_protobuf"),
        (Err(e), Some(_)) => prop_assert!(e.message.contains("or a length"), "{e}: {body:x?}"),
    }
    Ok(())
}

fn requests() -> impl Strategy<Value = Vec<TimeSeries>> {
    let name = prop_oneof![Just("__name__".to_owned()), "[a-c]{1,2}", "\\PC{0,3}"];
    let label = (name, "\\PC{0,6}").prop_map(|(name, value)| Label { name, value });
    let time = prop_oneof![9 => 0..=TimestampMs::MAX.0, 1 => any::<i64>()];
    let sample =
        (any::<u64>(), time).prop_map(|(bits, timestamp)| Sample { value: f64::from_bits(bits), timestamp });
    let labels = (any::<bool>(), proptest::collection::vec(label, 0..5)).prop_map(|(named, mut labels)| {
        if named {
            labels.retain(|label| label.name != "__name__");
            labels.insert(labels.len() / 2, self::label("__name__", "up"));
        }
        labels
    });
    let series = (labels, proptest::collection::vec(sample, 0..4));
    proptest::collection::vec(series.prop_map(|(labels, samples)| TimeSeries { labels, samples }), 0..6)
}

#[test]
fn a_request_that_is_cut_or_has_a_bit_flipped_is_what_prost_says() {
    let stale = f64::from_bits(STALE_NAN_BITS);
    let rich = request(vec![
        series(
            &[("__name__", "up"), ("job", "prometheus")],
            &[(1_700_000_000_000, 1.0), (1_700_000_015_000, stale)],
        ),
        series(&[("z", "größe"), ("__name__", "b"), ("a", "")], &[(0, 0.0), (-1, 1.0)]),
        series(&[], &[(1, 1.0)]),
    ]);
    for body in [&rich[..], GOLDEN] {
        for cut in 0..=body.len() {
            agree(&body[..cut]).unwrap();
        }
        for bit in 0..body.len() * 8 {
            let mut flipped = body.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            agree(&flipped).unwrap();
        }
    }
}

proptest! {
    #[test]
    fn what_prost_writes_is_read(timeseries in requests()) {
        agree(&request(timeseries))?;
    }

    #[test]
    fn what_is_damaged_is_judged_as_prost_judges_it(
        timeseries in requests(),
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut body = request(timeseries);
        for (at, byte) in damage {
            if !body.is_empty() {
                let at = at.index(body.len());
                body[at] = byte;
            }
        }
        agree(&body)?;
    }

    #[test]
    fn any_bytes_are_read_or_refused(body in proptest::collection::vec(any::<u8>(), 0..64)) {
        agree(&body)?;
    }

    #[test]
    fn bytes_that_look_like_fields_are_read_or_refused(
        body in proptest::collection::vec(proptest::sample::select(vec![0x0a_u8, 0x12, 0x09, 0x10, 0, 1, 2, 3, 4, 8, 0x80]), 0..32),
    ) {
        agree(&body)?;
    }
}
