//! The parsers alone: text in, samples to a sink, one thread.
//!
//! Prediction: one pass over the JSON takes a fraction of the time that searching it again for each field takes, and the
//! more so the more samples a body has. The line formats read 500 MB/s and more when nothing but reading is asked of
//! them; into a frame, where each series is sorted, checked and copied, they are slower. Both are measured.

#![allow(clippy::unwrap_used)] // a bench that cannot go on should stop
#![allow(missing_docs)] // of what criterion's macros make

use contracts::{BatchError, TimestampMs};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ingest::{
    frame::Frame,
    parse::SinglePass,
    slots::{Canonical, Incoming, Parse, Row, Series, Sink},
    wire::{Format, influx::LineProtocol, prometheus::Exposition, remote_write::RemoteWrite},
};
use ingest_phases::parse::find::FindParser;
use load_tester::{
    format::{Body, FormatName},
    sample::Identity,
};
use std::{hint::black_box, time::Duration};

/// When every request arrived.
const ARRIVED: TimestampMs = TimestampMs(1_700_000_000_000);
/// Hosts that a body of a line format is about.
const HOSTS: u32 = 100;
/// Fields of each.
const FIELDS: [&str; 10] =
    ["user", "system", "idle", "iowait", "irq", "softirq", "steal", "guest", "nice", "guest_nice"];

criterion_group! {
    name = parsers;
    config = Criterion::default().sample_size(30).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = json, wire
}
criterion_main!(parsers);

fn json(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parse");
    for batch in [1, 50] {
        let body = json_body(batch);
        let body = body.bytes();
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(BenchmarkId::new("find", batch), |b| b.iter(parsing(FindParser, body)));
        group.bench_function(BenchmarkId::new("single-pass", batch), |b| {
            b.iter(parsing(SinglePass::default(), body))
        });
    }
    group.finish();
}

/// As the load tester sends them: 113 bytes a sample.
fn json_body(batch: usize) -> Box<dyn Body> {
    let samples = Identity { name: "load_0123456789ab".to_owned(), seed: 1, base_ms: 1_700_000_000_000 };
    let mut body = FormatName::Json.format().body(&samples.name, 37, batch);
    for index in 0..batch {
        let sequence = index as u64;
        body.set(index, samples.timestamp_ms(sequence), samples.value(37, sequence));
    }
    body
}

/// Reads a body into a frame, as a request does.
fn parsing(mut parser: impl Parse, body: &[u8]) -> impl FnMut() {
    let mut frame = Frame::new(1);
    move || {
        frame.clear();
        frame.begin();
        black_box(parser.parse(black_box(body), ARRIVED, &mut frame).unwrap());
    }
}

fn wire(criterion: &mut Criterion) {
    let (influx, prometheus, remote_write) = (influx_body(), prometheus_body(), remote_write_body());
    let mut group = criterion.benchmark_group("wire");
    let mut both = |name: &str, body: &[u8], alone: &mut dyn FnMut(&[u8]), framed: &mut dyn FnMut(&[u8])| {
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(name, |b| b.iter(|| alone(black_box(body))));
        group.bench_function(format!("{name}-into-frame"), |b| b.iter(|| framed(black_box(body))));
    };
    both(
        "influx",
        influx.as_bytes(),
        &mut counting(LineProtocol::default()),
        &mut framing(LineProtocol::default()),
    );
    both(
        "prometheus",
        prometheus.as_bytes(),
        &mut counting(Exposition::default()),
        &mut framing(Exposition::default()),
    );
    both(
        "remote-write",
        &remote_write,
        &mut counting(RemoteWrite::default()),
        &mut framing(RemoteWrite::default()),
    );
    group.finish();
}

/// Every body of the line formats holds so many samples; a parser that takes fewer is not fast but wrong.
fn samples() -> usize {
    HOSTS as usize * FIELDS.len()
}

/// The parser alone: what it gives is looked at and not kept.
fn counting(mut format: impl Format) -> impl FnMut(&[u8]) {
    move |body| {
        let mut sink = Count::default();
        let taken = format.parse(body, ARRIVED, &mut sink).unwrap();
        assert_eq!((taken.samples, taken.refused, sink.samples), (samples(), 0, samples()));
        black_box(sink.sum);
    }
}

/// The same into a frame, as a request does it.
fn framing(mut format: impl Format) -> impl FnMut(&[u8]) {
    let mut frame = Frame::new(1);
    move |body| {
        frame.clear();
        frame.begin();
        let taken = format.parse(body, ARRIVED, &mut frame).unwrap();
        assert_eq!((taken.samples, frame.samples()), (samples(), samples()));
    }
}

/// Takes samples and keeps their number and their sum, so that nothing of the reading can be left out.
#[derive(Default)]
struct Count {
    samples: usize,
    sum: f64,
}

impl Count {
    fn take(&mut self, value: f64, text: usize) {
        self.samples += 1;
        self.sum += value + text as f64;
    }
}

impl Sink for Count {
    fn push(&mut self, sample: &Incoming<'_>) -> Result<(), BatchError> {
        self.take(sample.value, sample.labels.len() + sample.name.len());
        Ok(())
    }

    fn push_canonical(&mut self, sample: &Canonical<'_>) -> Result<(), BatchError> {
        self.take(sample.value, sample.labels.as_bytes().len());
        Ok(())
    }

    fn push_row(&mut self, row: &Row<'_>) -> Result<(), BatchError> {
        row.values.iter().for_each(|(name, value)| self.take(*value, name.len()));
        Ok(())
    }

    fn push_series(&mut self, series: &Series<'_>) -> Result<(), BatchError> {
        series.samples.iter().for_each(|(_, value)| self.take(*value, series.name.len()));
        Ok(())
    }
}

/// A value such as agents send: two digits, two decimals.
fn value(host: u32, field: usize) -> f64 {
    f64::from((host * 7919 + u32::try_from(field).unwrap_or(0) * 104_729) % 10_000) / 100.0
}

/// As Telegraf sends processor times: a line a host, ten fields.
fn influx_body() -> String {
    (0..HOSTS).fold(String::new(), |mut text, host| {
        text.push_str(&format!("cpu,host=web-{host:03},region=eu-central-1,env=production,core=total "));
        let fields: Vec<String> =
            FIELDS.iter().enumerate().map(|(n, field)| format!("{field}={:.2}", value(host, n))).collect();
        text + &fields.join(",") + " 1700000000000000000\n"
    })
}

/// As an exporter is scraped: a family with its head, then its samples.
fn prometheus_body() -> String {
    let mut text = String::new();
    for (n, field) in FIELDS.iter().enumerate() {
        text.push_str(&format!(
            "# HELP node_cpu_{field}_percent Share of the time.\n# TYPE node_cpu_{field}_percent gauge\n"
        ));
        for host in 0..HOSTS {
            let value = value(host, n);
            text.push_str(&format!(
                "node_cpu_{field}_percent{{host=\"web-{host:03}\",region=\"eu-central-1\",env=\"production\"}} {value:.2} 1700000000000\n"
            ));
        }
    }
    text
}

/// As an agent writes: a series a message, one sample in each.
fn remote_write_body() -> Vec<u8> {
    let mut body = Vec::new();
    for (n, field) in FIELDS.iter().enumerate() {
        for host in 0..HOSTS {
            let mut series = Vec::new();
            let (name, host_name) = (format!("node_cpu_{field}_percent"), format!("web-{host:03}"));
            for (label, text) in [
                ("__name__", name.as_str()),
                ("env", "production"),
                ("host", &host_name),
                ("region", "eu-central-1"),
            ] {
                let mut pair = Vec::new();
                put(&mut pair, 1, label.as_bytes());
                put(&mut pair, 2, text.as_bytes());
                put(&mut series, 1, &pair);
            }
            let mut sample = vec![1 << 3 | 1];
            sample.extend_from_slice(&value(host, n).to_le_bytes());
            sample.push(2 << 3);
            varint(&mut sample, 1_700_000_000_000);
            put(&mut series, 2, &sample);
            put(&mut body, 1, &series);
        }
    }
    body
}

/// A field of protobuf that has a length: its number, the length, the bytes.
fn put(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    out.push(field << 3 | 2);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Seven bits a byte, the lowest first, the highest bit saying that more follows.
fn varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push((number & 0x7f) as u8);
}
