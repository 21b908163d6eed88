//! Slot: the text of a request → samples. Tables of bodies and what is to come of each, written as text.
//!
//! What a body says is written `cpu{core="0"} = 1.5 at 1000 of web-1`: labels sorted, the time in milliseconds, the client
//! if it named one; several samples with a semicolon between them. A refusal is its code and its byte.

use crate::{
    Slot,
    check::{Check, Must, Test, doing, expect},
    count::{Counter, allocations},
};
use anyhow::{Result, anyhow, ensure};
use contracts::{BatchError, TimestampMs, http::ApiError, limits::LABELS_PER_SERIES_MAX};
use ingest::{
    frame::Frame,
    parse::SinglePass,
    slots::{Incoming, Parse, Sink},
};
use ingest_phases::parse::find::FindParser;
use std::time::Instant;

/// When every body arrived.
const ARRIVED: TimestampMs = TimestampMs(1000);
/// Keys of an object, and how many times as many another one has.
const KEYS: usize = 500;
const KEYS_TIMES: usize = 16;
/// That many times the work is still in proportion: half-way between 16 and its square.
const WORK_TIMES_MAX: u32 = 64;
/// A time is the best of as many.
const TRIES: usize = 3;
const IN_PROPORTION: &str = "work in proportion to the keys";
/// Metrics of a body whose allocations are counted.
const METRICS: usize = 50;
/// Bodies that are counted, and as many before them, until all buffers are warm.
const BODIES: u32 = 100;

/// The parser, filled by this type.
pub fn parse<P: Parse>() -> Slot {
    Slot {
        tests: vec![
            Test::since(0, "one-metric-a-list-and-an-object-of-metrics-are-read", shapes::<P>),
            Test::since(0, "fields-come-in-any-order-with-any-space-between", order::<P>),
            Test::since(0, "texts-keep-their-escapes", escapes::<P>),
            Test::since(0, "a-key-may-be-written-with-escapes", escaped_keys::<P>),
            Test::since(0, "numbers-are-read-to-the-last-bit", numbers::<P>),
            Test::since(0, "a-time-is-a-number-or-a-text-or-left-out", times::<P>),
            Test::since(0, "labels-tags-and-client-are-handed-on", labels::<P>),
            Test::since(0, "unknown-fields-are-skipped-whatever-they-hold", unknown_fields::<P>),
            Test::since(0, "text-that-is-no-json-is-refused-at-its-byte", no_json::<P>),
            Test::since(0, "what-is-no-json-comes-before-every-other-fault", precedence::<P>),
            Test::since(0, "a-missing-or-mistyped-field-is-refused-at-its-byte", mistyped::<P>),
            Test::since(0, "a-key-given-twice-is-refused", duplicates::<P>),
            Test::since(0, "nesting-is-bounded", depth::<P>),
            Test::since(0, "what-is-no-utf-8-is-refused", no_utf8::<P>),
            Test::since(0, "names-and-labels-that-are-none-are-refused", into_frame::<P>),
            Test::since(0, "one-body-leaves-nothing-for-the-next", leftovers::<P>),
            Test::since(0, "very-many-keys-are-no-way-to-stop-a-thread", very_many_keys::<P>),
        ],
        counters: vec![Counter {
            name: "allocations_per_body",
            phases: 3..=3,
            mine: allocations_per_body::<P>,
            of_phase: |phase| {
                if phase < 3 {
                    allocations_per_body::<FindParser>()
                } else {
                    allocations_per_body::<SinglePass>()
                }
            },
        }],
        queue: None,
    }
}

fn shapes<P: Parse>() -> Check {
    table::<P>(&[
        (r#"{"name":"a","value":1}"#, "a = 1.0 at 1000"),
        (r#"[{"name":"a","value":1},{"name":"b","value":2}]"#, "a = 1.0 at 1000; b = 2.0 at 1000"),
        (
            r#"{"metrics":[{"name":"a","value":1},{"name":"a","value":2}]}"#,
            "a = 1.0 at 1000; a = 2.0 at 1000",
        ),
        ("[]", "nothing"),
        (r#"{"metrics":[]}"#, "nothing"),
        // Fields around a list mean nothing, wherever they stand; and a metric within a list is one, whatever it holds.
        (
            r#"{"value":true,"labels":7,"metrics":[{"name":"a","value":1}],"tags":[],"timestamp":"x"}"#,
            "a = 1.0 at 1000",
        ),
        (r#"[{"name":"a","value":1,"metrics":[{}]}]"#, "a = 1.0 at 1000"),
    ])
}

fn order<P: Parse>() -> Check {
    table::<P>(&[
        (r#"{"value":1,"name":"a"}"#, "a = 1.0 at 1000"),
        (r#"{"timestamp":5,"labels":{"x":"1"},"value":1,"name":"a"}"#, r#"a{x="1"} = 1.0 at 5"#),
        (" \t\r\n{ \"name\" : \"a\" ,\n\"value\" : 1 }\n ", "a = 1.0 at 1000"),
        ("\t{\r\n\"metrics\" :\n[ ] } ", "nothing"),
        (
            " [ { \"name\" : \"a\", \"value\" : 1 } , {\"name\":\"b\",\"value\":2} ] ",
            "a = 1.0 at 1000; b = 2.0 at 1000",
        ),
    ])
}

fn escapes<P: Parse>() -> Check {
    let text = |escaped: &str| format!(r#"{{"name":"a","value":1,"labels":{{"text":"{escaped}"}}}}"#);
    let label = |value: &str| format!("a{{text={value:?}}} = 1.0 at 1000");
    let mut parser = P::default();
    for (escaped, value) in [
        (r#"say \"hi\""#, "say \"hi\""),
        (r"C:\\dir\\", "C:\\dir\\"),
        (r#"\\\""#, "\\\""),
        (r"a\/b\b\f\n\r\t", "a/b\u{8}\u{c}\n\r\t"),
        (r"\u00e9 \u20ac", "é €"),
        (r"\ud83e\udd80 is 🦀", "🦀 is 🦀"),
        (r"\u0000", "\0"),
        ("{}[],:", "{}[],:"),
    ] {
        case(&mut parser, &text(escaped), &label(value))?;
    }
    table::<P>(&[
        (r#"{"name":"\u0061bc","value":1}"#, "abc = 1.0 at 1000"),
        (r#"{"name":"a","value":"\u004eaN"}"#, "a = NaN at 1000"),
        (r#"{"name":"a","value":1,"client_id":"web\u002d1"}"#, "a = 1.0 at 1000 of web-1"),
        (r#"{"name":"a","value":1,"timestamp":"1970-01-01\u005400:00:05Z"}"#, "a = 1.0 at 5000"),
    ])
}

fn escaped_keys<P: Parse>() -> Check {
    table::<P>(&[
        (r#"{"n\u0061me":"a","\u0076alue":1}"#, "a = 1.0 at 1000"),
        (r#"{"name":"a","value":1,"l\u0061bels":{"\u0068ost":"b"}}"#, r#"a{host="b"} = 1.0 at 1000"#),
        (r#"{"\u006detrics":[{"name":"a","value":1}]}"#, "a = 1.0 at 1000"),
        (r#"{"name":"a","n\u0061me":"b","value":1}"#, "duplicate_key at byte 12"),
    ])
}

fn numbers<P: Parse>() -> Check {
    let mut parser = P::default();
    let mut read = |text: &str| {
        // The standard library reads correctly rounded, and so must everybody.
        let value: f64 = text.parse().must("a number of the test's own")?;
        case(&mut parser, &format!(r#"{{"name":"a","value":{text}}}"#), &format!("a = {value:?} at 1000"))
    };
    for text in [
        "0",
        "-0",
        "1",
        "-1",
        "0.1",
        "1.5e3",
        "1E+3",
        "-1.0E-2",
        "75.5",
        "1e23",
        "5e-324",
        "1e-999",
        "9007199254740993",
        "123456789012345678901234567890",
        "2.2250738585072011e-308",
        "1.7976931348623157e308",
        "0.1000000000000000055511151231257827",
    ] {
        read(text)?;
    }
    // Bits of all kinds, the same ones each time.
    let mut bits = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..2_000 {
        bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let value = f64::from_bits(bits ^ (bits >> 29));
        if value.is_finite() {
            read(&format!("{value:e}"))?;
        }
    }
    table::<P>(&[
        (r#"{"name":"a","value":"NaN"}"#, "a = NaN at 1000"),
        (r#"{"name":"a","value":"+Inf"}"#, "a = inf at 1000"),
        (r#"{"name":"a","value":"-Inf"}"#, "a = -inf at 1000"),
        (r#"{"name":"a","value":1e999}"#, "bad_number at byte 20"),
        (r#"{"name":"a","value":"1"}"#, "bad_number at byte 20"),
    ])
}

fn times<P: Parse>() -> Check {
    let mut parser = P::default();
    for (time, expected) in [
        ("0", "a = 1.0 at 0"),
        ("-0", "a = 1.0 at 0"),
        ("1758116723123", "a = 1.0 at 1758116723123"),
        ("253402300799999", "a = 1.0 at 253402300799999"),
        (r#""1970-01-01T00:00:05Z""#, "a = 1.0 at 5000"),
        (r#""1970-01-01T02:00:00.25+02:00""#, "a = 1.0 at 250"),
        (r#""1970-02-01T00:00:00Z""#, "a = 1.0 at 2678400000"),
        ("1.5", "bad_timestamp at byte 34"),
        ("1e3", "bad_timestamp at byte 34"),
        ("-1", "bad_timestamp at byte 34"),
        ("null", "bad_timestamp at byte 34"),
        ("99999999999999999999", "bad_timestamp at byte 34"),
        (r#""1758116723123""#, "bad_timestamp at byte 34"),
        (r#""yesterday""#, "bad_timestamp at byte 34"),
    ] {
        case(&mut parser, &format!(r#"{{"name":"a","value":1,"timestamp":{time}}}"#), expected)?;
    }
    case(&mut parser, r#"{"name":"a","value":1}"#, "a = 1.0 at 1000")
}

fn labels<P: Parse>() -> Check {
    table::<P>(&[
        (
            r#"{"name":"a","value":1,"labels":{"host":"web-1","core":"0"}}"#,
            r#"a{core="0",host="web-1"} = 1.0 at 1000"#,
        ),
        (r#"{"name":"a","value":1,"tags":{"host":"web-1"}}"#, r#"a{host="web-1"} = 1.0 at 1000"#),
        (r#"{"name":"a","value":1,"labels":{}}"#, "a = 1.0 at 1000"),
        // An empty value is no label.
        (r#"{"name":"a","value":1,"labels":{"empty":"","x":"y"}}"#, r#"a{x="y"} = 1.0 at 1000"#),
        (r#"{"name":"a","value":1,"client_id":"agent-1"}"#, "a = 1.0 at 1000 of agent-1"),
        (
            r#"[{"name":"a","value":1,"labels":{"x":"1"}},{"name":"b","value":2}]"#,
            r#"a{x="1"} = 1.0 at 1000; b = 2.0 at 1000"#,
        ),
    ])
}

fn unknown_fields<P: Parse>() -> Check {
    let mut parser = P::default();
    for field in [
        r#""unit":null"#,
        r#""nested":{"any":[1,true,{"x":"y"}]}"#,
        r#""":0"#,
        r#""x":"}""#,
        r#""x":"\"value\":2""#,
        r#""x":"\\""#,
        r#""x":{"name":"b","value":2}"#,
        r#""x":[{"name":"b"},{"name":"b"}]"#,
        r#""x":{"y":1,"y":2}"#,
        r#""type":"gauge""#,
    ] {
        for body in [
            format!(r#"{{{field},"name":"a","value":1}}"#),
            format!(r#"{{"name":"a",{field},"value":1}}"#),
            format!(r#"[{{"name":"a","value":1,{field}}}]"#),
        ] {
            case(&mut parser, &body, "a = 1.0 at 1000")?;
        }
    }
    Ok(())
}

fn no_json<P: Parse>() -> Check {
    table::<P>(&[
        ("", "empty_body at byte 0"),
        (" \r\n", "empty_body at byte 3"),
        ("{", "bad_json at byte 1"),
        ("[", "bad_json at byte 1"),
        ("{a:1}", "bad_json at byte 1"),
        (r#"{"a" 1}"#, "bad_json at byte 5"),
        (r#"{"a":1,}"#, "bad_json at byte 7"),
        (r#"{"a":1 "b":2}"#, "bad_json at byte 7"),
        ("[1,]", "bad_json at byte 3"),
        ("[1 1]", "bad_json at byte 3"),
        ("{} x", "bad_json at byte 3"),
        ("nul", "bad_json at byte 0"),
        (r#"{"a":NaN}"#, "bad_json at byte 5"),
        (r#"{"a":01}"#, "bad_json at byte 5"),
        (r#"{"a":.5}"#, "bad_json at byte 5"),
        (r#"{"a":1.}"#, "bad_json at byte 7"),
        (r#"{"a":1e+}"#, "bad_json at byte 8"),
        (r#"["abc\x"]"#, "bad_json at byte 5"),
        (r#"["\ud800"]"#, "bad_json at byte 2"),
        (r#"["\ud83e\\udd80"]"#, "bad_json at byte 2"),
        ("[\"abcdefghi\n\"]", "bad_json at byte 11"),
        ("[\"abcdefghi", "bad_json at byte 1"),
    ])
}

fn precedence<P: Parse>() -> Check {
    table::<P>(&[
        (r#"[{"name":1},{"name":"a","value":1e999},}]"#, "bad_json at byte 39"),
        (r#"{"name":"a","value":1,"name":"b"} x"#, "bad_json at byte 34"),
        ("[1] 2", "bad_json at byte 4"),
        // Of several metrics that are wrong, the first is told; and what is wrong with a metric comes before its name.
        (r#"[{"value":1},{"name":"a","value":null}]"#, "missing_field at byte 1"),
        (r#"{"metrics":[{"value":1}],"x":1,"x":1}"#, "duplicate_key at byte 31"),
    ])
}

fn mistyped<P: Parse>() -> Check {
    table::<P>(&[
        ("7", "bad_type at byte 0"),
        ("null", "bad_type at byte 0"),
        ("[1]", "bad_type at byte 1"),
        ("[[]]", "bad_type at byte 1"),
        ("{}", "missing_field at byte 0"),
        (r#"{"value":1}"#, "missing_field at byte 0"),
        (r#"[{"name":"a","value":1},{"name":"a"}]"#, "missing_field at byte 24"),
        (r#"{"Name":"a","Value":1}"#, "missing_field at byte 0"),
        (r#"{"name":1,"value":1}"#, "bad_type at byte 8"),
        (r#"{"name":"a","value":null}"#, "bad_number at byte 20"),
        (r#"{"name":"a","value":1,"client_id":7}"#, "bad_type at byte 34"),
        (r#"{"name":"a","value":1,"labels":[]}"#, "bad_type at byte 31"),
        (r#"{"name":"a","value":1,"labels":{"x":1}}"#, "bad_type at byte 36"),
        (r#"{"name":"a","value":1,"metrics":[]}"#, "bad_type at byte 32"),
    ])
}

fn duplicates<P: Parse>() -> Check {
    table::<P>(&[
        (r#"{"name":"a","name":"b","value":1}"#, "duplicate_key at byte 12"),
        (r#"{"name":"a","value":1,"x":1,"x":1}"#, "duplicate_key at byte 28"),
        (r#"{"name":"a","value":1,"labels":{"x":"1","x":"2"}}"#, "duplicate_key at byte 40"),
        (r#"{"name":"a","value":1,"labels":{"x":"1","\u0078":"2"}}"#, "duplicate_key at byte 40"),
        (r#"{"name":"a","value":1,"labels":{},"tags":{}}"#, "duplicate_key at byte 41"),
        // The same key in two objects is two keys.
        (r#"[{"name":"a","value":1},{"name":"b","value":1}]"#, "a = 1.0 at 1000; b = 1.0 at 1000"),
    ])
}

fn depth<P: Parse>() -> Check {
    let nested =
        |depth: usize| format!(r#"{{"name":"a","value":1,"x":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
    let mut parser = P::default();
    case(&mut parser, &nested(31), "a = 1.0 at 1000")?;
    case(&mut parser, &nested(32), "too_deep at byte 57")?;
    // What counts them by calling itself runs out of stack here.
    case(&mut parser, &"[".repeat(100_000), "too_deep at byte 32")
}

fn no_utf8<P: Parse>() -> Check {
    let mut parser = P::default();
    for (body, expected) in [
        (&b"[\xff]"[..], "bad_json at byte 1"),
        (b"{\"name\":\"\xc3\",\"value\":1}", "bad_json at byte 9"),
        (b"{\"name\":\"a\",\"value\":1,\"x\":\"\xed\xa0\x80\"}", "bad_json at byte 27"),
        (b"{\"name\":\"a\",\"value\":1} \x80", "bad_json at byte 23"),
    ] {
        case_of_bytes(&mut parser, body, expected)?;
    }
    Ok(())
}

/// What the contract forbids is refused by the frame, and the parser says where it stood.
fn into_frame<P: Parse>() -> Check {
    let labels = |count: usize| {
        let labels: Vec<_> = (0..count).map(|n| format!(r#""l{n}":"v""#)).collect();
        format!(r#"{{"name":"a","value":1,"labels":{{{}}}}}"#, labels.join(","))
    };
    let (many, too_many) = (labels(LABELS_PER_SERIES_MAX - 1), labels(LABELS_PER_SERIES_MAX));
    let mut parser = P::default();
    for (body, expected) in [
        (r#"{"name":"a","value":1}"#, "taken"),
        (r#"{"value":1,"name":""}"#, "bad_name at byte 18"),
        (r#"{"value":1,"name":"a b"}"#, "bad_name at byte 18"),
        (r#"{"name":"a","value":1,"labels":{"__name__":"b"}}"#, "bad_label at byte 32"),
        (r#"[{"name":"a","value":1,"labels":{"a-b":"x"}}]"#, "bad_label at byte 1"),
        (&many, "taken"),
        (&too_many, "bad_label at byte 0"),
        // What the frame would refuse comes after every fault of a metric.
        (r#"[{"name":"a b","value":1},{"name":"c","value":"x"}]"#, "bad_number at byte 46"),
    ] {
        doing(body);
        let taken = parser.parse(body.as_bytes(), ARRIVED, &mut Frame::new(1));
        expect(body, expected, taken.map_or_else(|error| refusal(&error), |_| "taken".to_owned()))?;
    }
    Ok(())
}

/// One parser reads all bodies of a thread, with the buffers of the one before.
fn leftovers<P: Parse>() -> Check {
    let good = (r#"{"name":"b","value":2,"labels":{"y":"2"}}"#, r#"b{y="2"} = 2.0 at 1000"#);
    let mut cases = Vec::new();
    for before in [
        (r#"{"name":"a","value":1,"labels":{"x":"1""#, "bad_json at byte 39"),
        (r#"{"name":"a","value":1,"labels":{"y":"\n"}}"#, r#"a{y="\n"} = 1.0 at 1000"#),
        (r#"{"name":"a","value":1,"y":1,"y":1}"#, "duplicate_key at byte 28"),
        (r#"[{"name":"a","value":1,"client_id":"c"},{"name":1}]"#, "bad_type at byte 48"),
    ] {
        cases.extend([before, good]);
    }
    table::<P>(&cases)
}

/// Whoever compares each key with each works for minutes on a body that is sent in a moment, and nobody else is served.
fn very_many_keys<P: Parse>() -> Check {
    let keys = |count: usize, value: &str| {
        (0..count).map(|n| format!(r#""k{n:06}":{value}"#)).collect::<Vec<_>>().join(",")
    };
    grows_with::<P>("fields that mean nothing, each with a key of its own", |count| {
        format!(r#"{{"name":"a","value":1,{}}}"#, keys(count, "0"))
    })?;
    grows_with::<P>("labels that are empty, each with a name of its own", |count| {
        format!(r#"{{"name":"a","value":1,"labels":{{{}}}}}"#, keys(count, r#""""#))
    })
}

/// Sixteen times as many keys are about sixteen times the work; where every two of them meet, it is 256 times. How fast this
/// machine is, or how busy, takes nothing away from that: each time is the best of some.
fn grows_with<P: Parse>(what: &str, body: impl Fn(usize) -> String) -> Check {
    let (few, many) = (body(KEYS), body(KEYS * KEYS_TIMES));
    let sent = format!("a metric with {} {what}, and one with {KEYS}", KEYS * KEYS_TIMES);
    doing(&sent);
    for one in [&few, &many] {
        case_of_bytes(&mut P::default(), one.as_bytes(), "a = 1.0 at 1000")?;
    }
    let time = |body: &str| {
        let begun = Instant::now();
        // That it is taken was seen above.
        let _ = P::default().parse(body.as_bytes(), ARRIVED, &mut Told::default());
        begun.elapsed()
    };
    let few = (0..TRIES).map(|_| time(&few)).min().unwrap_or_default();
    let is_in_proportion = (0..TRIES).any(|_| time(&many) < few * WORK_TIMES_MAX);
    let observed =
        if is_in_proportion { IN_PROPORTION } else { "work that grows with the square of the keys" };
    expect(&sent, IN_PROPORTION, observed)
}

/// Holds each body against what is to come of it, all with one parser.
fn table<P: Parse>(cases: &[(&str, &str)]) -> Check {
    let mut parser = P::default();
    cases.iter().try_for_each(|(body, expected)| case(&mut parser, body, expected))
}

fn case<P: Parse>(parser: &mut P, body: &str, expected: &str) -> Check {
    case_of_bytes(parser, body.as_bytes(), expected)
}

fn case_of_bytes<P: Parse>(parser: &mut P, body: &[u8], expected: &str) -> Check {
    let sent = match str::from_utf8(body) {
        Ok(text) => text.to_owned(),
        Err(_) => body.escape_ascii().to_string(),
    };
    doing(&sent);
    let mut told = Told::default();
    let observed = match parser.parse(body, ARRIVED, &mut told) {
        Err(error) => refusal(&error),
        Ok(count) if count != told.0.len() => format!("{}; and it says that there were {count}", told.text()),
        Ok(_) => told.text(),
    };
    expect(&sent, expected, observed)
}

fn refusal(error: &ApiError) -> String {
    let at = error.at.map_or_else(|| "no byte".to_owned(), |at| format!("byte {at}"));
    format!("{} at {at}", error.code)
}

/// Takes everything, as text.
#[derive(Default)]
struct Told(Vec<String>);

impl Told {
    fn text(&self) -> String {
        if self.0.is_empty() { "nothing".to_owned() } else { self.0.join("; ") }
    }
}

impl Sink for Told {
    fn push(&mut self, sample: &Incoming<'_>) -> Result<(), BatchError> {
        let &Incoming { client, name, labels, timestamp, value } = sample;
        let present = labels.iter().filter(|(_, value)| !value.is_empty());
        let mut labels: Vec<String> = present.map(|(name, value)| format!("{name}={value:?}")).collect();
        labels.sort();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let client = if client.is_empty() { String::new() } else { format!(" of {client}") };
        self.0.push(format!("{name}{labels} = {value:?} at {}{client}", timestamp.0));
        Ok(())
    }
}

/// Bodies of fifty metrics into a frame, as a request brings them.
fn allocations_per_body<P: Parse>() -> Result<f64> {
    let metric = r#"{"timestamp":1700000000000,"name":"cpu_usage","value":37.25,"labels":{"host":"web-1","core":"7"}}"#;
    let body = format!("[{}]", vec![metric; METRICS].join(","));
    let (mut parser, mut frame) = (P::default(), Frame::new(1));
    let mut read = || -> Result<()> {
        for _ in 0..BODIES {
            frame.clear();
            frame.begin();
            let count = parser.parse(body.as_bytes(), ARRIVED, &mut frame);
            let count = count.map_err(|error| anyhow!("a good body was refused: {}", error.message))?;
            // What does not read everything has cheap allocations.
            ensure!(
                count == METRICS && frame.samples() == METRICS,
                "{METRICS} metrics were sent, {count} read"
            );
        }
        Ok(())
    };
    read()?;
    Ok(allocations(read)? as f64 / f64::from(BODIES))
}
