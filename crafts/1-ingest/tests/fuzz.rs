//! Every parser that a stranger can reach, fed with what is nearly right.
//!
//! Inputs are made from good ones by a few mutations each. A short run is part of every test run, with a seed that does
//! not change. `FUZZ_SECONDS=600 cargo test --release -p ingest --test fuzz -- --ignored --nocapture` runs for as long as
//! it is told, from a seed that it prints; `FUZZ_SEED` repeats one. A new parser is one line in [`TARGETS`].

#![allow(clippy::unwrap_used)] // a test that cannot go on should stop

mod http_support;

use contracts::TimestampMs;
use http_support::{cases, outcome, reference};
use ingest::{
    composition::Final,
    frame::Frame,
    service::Server,
    slots::Parse,
    wire::{Format, influx::LineProtocol, prometheus::Exposition, remote_write::RemoteWrite},
};
use std::{
    env,
    marker::PhantomData,
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

/// What is fuzzed.
struct Target {
    name: &'static str,
    /// Inputs to begin with, good and bad.
    corpus: fn() -> Vec<Vec<u8>>,
    /// Pieces of its language.
    words: &'static [&'static [u8]],
    /// Panics where an input shows that something is wrong.
    check: fn(&[u8], &mut fastrand::Rng),
}

const TARGETS: &[Target] = &[
    Target { name: "http", corpus: http_corpus, words: HTTP_WORDS, check: check_http },
    Target { name: "json", corpus: json_corpus, words: JSON_WORDS, check: check_json },
    Target { name: "influx", corpus: influx_corpus, words: LINE_WORDS, check: check_format::<LineProtocol> },
    Target { name: "prometheus", corpus: text_corpus, words: LINE_WORDS, check: check_format::<Exposition> },
    Target { name: "remote write", corpus: protobuf_corpus, words: &[], check: check_format::<RemoteWrite> },
];

const SHORT_RUN_INPUTS: u64 = 10_000;
const SHORT_RUN_SEED: u64 = 9112;
const MUTATIONS_MAX: usize = 5;
const INPUT_BYTES_MAX: usize = 64 << 10;

#[test]
fn a_short_run_finds_nothing() {
    for target in TARGETS {
        fuzz(target, SHORT_RUN_SEED, |inputs| inputs >= SHORT_RUN_INPUTS);
    }
}

/// From what is refused at its first byte, no mutation leads anywhere.
#[test]
fn what_the_inputs_are_made_of_is_taken() {
    for input in json_corpus() {
        json_parser().parse(&input, ARRIVED, &mut Frame::new(1)).unwrap();
    }
    assert_taken::<LineProtocol>(influx_corpus());
    assert_taken::<Exposition>(text_corpus());
    assert_taken::<RemoteWrite>(protobuf_corpus());
}

fn assert_taken<F: Format + Default>(corpus: Vec<Vec<u8>>) {
    for input in corpus {
        let taken = F::default().parse(&input, ARRIVED, &mut Frame::new(1)).unwrap();
        assert!(taken.samples > 0 && taken.refused == 0, "{}: {taken:?}", input.escape_ascii());
    }
}

#[test]
#[ignore = "runs for FUZZ_SECONDS, 60 if nobody says"]
fn a_long_run_finds_nothing() {
    let number = |name: &str| env::var(name).ok().and_then(|text| text.parse().ok());
    let seed = number("FUZZ_SEED").unwrap_or_else(|| fastrand::u64(..));
    let seconds = number("FUZZ_SECONDS").unwrap_or(60) / TARGETS.len() as u64;
    for target in TARGETS {
        let began = Instant::now();
        let inputs = fuzz(target, seed, |_| began.elapsed() >= Duration::from_secs(seconds));
        println!("{}: {inputs} inputs in {seconds} s, FUZZ_SEED={seed}", target.name);
    }
}

/// Runs until it is enough; returns how many inputs there were.
fn fuzz(target: &Target, seed: u64, is_enough: impl Fn(u64) -> bool) -> u64 {
    let (mut rng, corpus) = (fastrand::Rng::with_seed(seed), (target.corpus)());
    let mut inputs = 0;
    while !is_enough(inputs) {
        let input = mutated(&corpus, target.words, &mut rng);
        let run = catch_unwind(AssertUnwindSafe(|| (target.check)(&input, &mut rng)));
        assert!(
            run.is_ok(),
            "{} failed, FUZZ_SEED={seed}, input {inputs}: b\"{}\"",
            target.name,
            input.escape_ascii()
        );
        inputs += 1;
    }
    inputs
}

/// One of the corpus, or several in a row, with a few changes.
fn mutated(corpus: &[Vec<u8>], words: &[&[u8]], rng: &mut fastrand::Rng) -> Vec<u8> {
    let mut input = Vec::new();
    for _ in 0..rng.usize(1..4) {
        input.extend_from_slice(&corpus[rng.usize(..corpus.len())]);
    }
    for _ in 0..rng.usize(..=MUTATIONS_MAX) {
        let (from, to) = (rng.usize(..=input.len()), rng.usize(..=input.len()));
        let part = from.min(to)..from.max(to).min(from.min(to) + 32);
        match rng.u8(..8) {
            0 => drop(input.splice(part, [rng.u8(..)])),
            1 => drop(input.splice(part.start..part.start, [rng.u8(..)])),
            2 => drop(input.drain(part)),
            3 => input.truncate(to),
            4 => input.extend_from_within(part),
            5 | 6 => drop(input.splice(
                part.start..part.start,
                rng.choice(words).copied().unwrap_or_default().iter().copied(),
            )),
            _ => {
                let byte = part.start.min(input.len().saturating_sub(1));
                if let Some(byte) = input.get_mut(byte) {
                    *byte ^= 1 << rng.u8(..8);
                }
            }
        }
    }
    input.truncate(INPUT_BYTES_MAX);
    input
}

const HTTP_WORDS: &[&[u8]] = &[
    b"\r\n",
    b"\r\n\r\n",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b"\t",
    b":",
    b";",
    b",",
    b"0\r\n\r\n",
    b"5\r\nhello\r\n",
    b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Content-Encoding: gzip\r\n",
    b"Connection: close\r\n",
    b"Connection: keep-alive\r\n",
    b"Expect: 100-continue\r\n",
    b"Host: x\r\n",
    b"X: y\r\n",
    b"GET / HTTP/1.1\r\n",
    b"POST /m?a=b HTTP/1.1\r\n",
    b"HTTP/1.0",
    b"http://x",
    b"ffffffffffffffff",
    b"18446744073709551616",
    b"\xff",
];

/// The long ones take most of the time and show nothing that the table does not.
fn http_corpus() -> Vec<Vec<u8>> {
    cases::all().into_iter().map(|case| case.bytes).filter(|bytes| bytes.len() < 400).collect()
}

/// In pieces or whole, the same becomes of it; and what is accepted is what a second reader accepts.
fn check_http(input: &[u8], rng: &mut fastrand::Rng) {
    let cuts: Vec<usize> = (0..rng.usize(..8)).map(|_| rng.usize(..=input.len())).collect();
    let whole = outcome(input, &[]);
    assert_eq!(outcome(input, &cuts), whole, "cut at {cuts:?}");
    assert_eq!(whole.calls, reference::calls(input));
}

const ARRIVED: TimestampMs = TimestampMs(1_700_000_000_000);

const JSON_WORDS: &[&[u8]] = &[
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\"",
    b"\\",
    b"\\u00e9",
    b"\\ud83d",
    b"null",
    b"true",
    b"-0",
    b"1e309",
    b"1e-400",
    b"\"labels\":{",
    b"\"tags\":{",
    b"\"name\":",
    b"\"NaN\"",
    b"\xff",
    b"\0",
];

fn json_corpus() -> Vec<Vec<u8>> {
    let texts = [
        r#"{"timestamp":"2025-09-17T13:45:23.123Z","name":"cpu","value":75.5,"labels":{"host":"web-1","core":"0"}}"#,
        r#"[{"name":"a","value":1},{"name":"b","value":"NaN","timestamp":1758116723123,"tags":{"x":"\u00e9\n"}}]"#,
        r#"{"metrics":[{"name":"queue_depth","value":-1.5e3,"client_id":"agent-1","type":"gauge","other":{"a":[null,true]}}]}"#,
        " [ ] ",
    ];
    texts.map(|text| text.as_bytes().to_vec()).to_vec()
}

/// That of the composition, whichever it is.
fn json_parser() -> impl Parse {
    fn of<E, P: Parse, L, H>(_: PhantomData<Server<E, P, L, H>>) -> P {
        P::default()
    }
    of(PhantomData::<Final>)
}

/// The frame has as many samples as were counted.
fn check_json(input: &[u8], _: &mut fastrand::Rng) {
    let mut frame = Frame::new(1);
    frame.begin();
    if let Ok(count) = json_parser().parse(input, ARRIVED, &mut frame) {
        assert_eq!(frame.samples(), count);
    }
    frame.rollback();
    assert!(frame.is_empty());
}

const LINE_WORDS: &[&[u8]] = &[
    b"\n",
    b"\r\n",
    b" ",
    b",",
    b"=",
    b"\"",
    b"\\",
    b"\\ ",
    b"{",
    b"}",
    b"#",
    b"# TYPE a counter\n",
    b"# EOF\n",
    b"1i",
    b"1u",
    b"t",
    b"NaN",
    b"+Inf",
    b"1e309",
    b"-",
    b"9223372036854775808",
    b"le=\"+Inf\"",
    b"\0",
    b"\xff",
];

fn influx_corpus() -> Vec<Vec<u8>> {
    let texts = [
        "cpu,host=web-1,core=0 usage=75.5,busy=12i,up=t 1700000000000000000\n",
        "a\\ b,c\\,d=e\\=f text=\"a \\\"b\\\" c\",n=1u\n# a comment\n\nm v=-1.5e-3 1\n",
    ];
    texts.map(|text| text.as_bytes().to_vec()).to_vec()
}

fn text_corpus() -> Vec<Vec<u8>> {
    let texts = [
        "# HELP a What it is.\n# TYPE a counter\na_total{host=\"web-1\",path=\"C:\\\\x \\\"y\\\"\\n\"} 1027 1395066363000\n",
        "# TYPE h histogram\nh_bucket{le=\"0.5\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum NaN\n# EOF\n",
    ];
    texts.map(|text| text.as_bytes().to_vec()).to_vec()
}

/// A write request of one series: `cpu{host="a"}` with one sample.
fn protobuf_corpus() -> Vec<Vec<u8>> {
    let label = |name: &[u8], value: &[u8]| field(1, &[field(1, name), field(2, value)].concat());
    let sample = field(2, &[&[0x09][..], &1.5_f64.to_le_bytes(), &[0x10, 0x80, 0x01]].concat());
    let series = field(1, &[label(b"__name__", b"cpu"), label(b"host", b"a"), sample].concat());
    vec![series.clone(), series.repeat(3)]
}

/// A field whose length is one byte.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, u8::try_from(content.len()).unwrap()][..], content].concat()
}

/// The frame has as many samples as were counted, and a refusal has its line.
fn check_format<F: Format + Default>(input: &[u8], _: &mut fastrand::Rng) {
    let mut frame = Frame::new(1);
    frame.begin();
    if let Ok(taken) = F::default().parse(input, ARRIVED, &mut frame) {
        assert_eq!(frame.samples(), taken.samples);
        assert!(taken.named.len() <= taken.refused);
        assert!(taken.named.iter().all(|refusal| refusal.line > 0 && refusal.at <= input.len()), "{taken:?}");
    }
    frame.rollback();
    assert!(frame.is_empty());
}
