//! Every parser that a stranger can reach, fed with what is nearly right.
//!
//! Inputs are made from good ones by a few mutations each. A short run is part of every test run, with a seed that does
//! not change. `FUZZ_SECONDS=600 cargo test --release -p ingest --test fuzz -- --ignored --nocapture` runs for as long as
//! it is told, from a seed that it prints; `FUZZ_SEED` repeats one. A new parser is one line in [`TARGETS`].

#![allow(clippy::unwrap_used)] // a test that cannot go on should stop

mod http_support;

use http_support::{cases, outcome, reference};
use std::{
    env,
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

const TARGETS: &[Target] =
    &[Target { name: "http", corpus: http_corpus, words: HTTP_WORDS, check: check_http }];

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
            5 | 6 => drop(input.splice(part.start..part.start, rng.choice(words).unwrap().iter().copied())),
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
