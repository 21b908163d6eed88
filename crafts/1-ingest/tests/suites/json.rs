//! What every parser of the JSON contract must do, whichever it is: `crafts/0-contracts/openapi/ingest.yaml`, `POST /metrics`.
//!
//! Three oracles: a table; `serde_json` for what is JSON, and for numbers and texts; phase 0 for everything, on documents
//! that are nearly right.

use contracts::{BatchError, TimestampMs, http::ApiError, limits::LABELS_PER_SERIES_MAX};
use ingest::{
    frame::Frame,
    slots::{Incoming, Parse, Sink},
};
use proptest::{prelude::*, sample::select};
use std::{cell::RefCell, fmt::Write};

pub(crate) const ARRIVED: TimestampMs = TimestampMs(1000);

/// A sample that outlives its request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Owned {
    name: String,
    value_bits: u64,
    timestamp: TimestampMs,
    labels: Vec<(String, String)>,
    client: String,
}

/// Takes everything.
#[derive(Default)]
struct Collect(Vec<Owned>);

impl Sink for Collect {
    fn push(&mut self, sample: &Incoming<'_>) -> Result<(), BatchError> {
        let labels = sample.labels.iter().filter(|(_, value)| !value.is_empty());
        self.0.push(Owned {
            name: sample.name.to_owned(),
            value_bits: sample.value.to_bits(),
            timestamp: sample.timestamp,
            labels: labels.map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
            client: sample.client.to_owned(),
        });
        Ok(())
    }
}

/// Code and byte of a refusal.
type Refused = (&'static str, Option<u64>);

fn refused(error: &ApiError) -> Refused {
    (error.code, error.at)
}

fn parse<P: Parse>(parser: &mut P, body: &[u8]) -> Result<Vec<Owned>, Refused> {
    let mut sink = Collect::default();
    let count = parser.parse(body, ARRIVED, &mut sink).map_err(|e| refused(&e))?;
    assert_eq!(count, sink.0.len());
    Ok(sink.0)
}

/// The same into a frame, which refuses what the contract forbids.
pub(crate) fn into_frame<P: Parse>(parser: &mut P, body: &[u8]) -> Result<usize, Refused> {
    parser.parse(body, ARRIVED, &mut Frame::new(1)).map_err(|e| refused(&e))
}

pub(crate) fn table<P: Parse>(new: fn() -> P) {
    let mut parser = new();
    let mut check = |body: &[u8], expected: Result<usize, (&str, u64)>| {
        let expected = expected.map_err(|(code, at)| (code, Some(at)));
        assert_eq!(into_frame(&mut parser, body), expected, "{}", String::from_utf8_lossy(body));
    };
    for (body, count) in TAKEN {
        check(body.as_bytes(), Ok(count));
    }
    for (body, code, at) in REFUSED {
        check(body.as_bytes(), Err((code, at)));
    }
    check(b"[\xff]", Err(("bad_json", 1)));
    check(b"{\"name\":1,x \xc0\x80", Err(("bad_json", 12)));
    // A number is no JSON wherever it stands, whatever it is for.
    for (number, wrong_at) in BAD_NUMBERS {
        for before in
            [r#"{"name":"a","value":"#, r#"{"timestamp":"#, r#"{"x":"#, r#"{"name":"a","labels":{"x":"#]
        {
            check(
                format!("{before}{number},").as_bytes(),
                Err(("bad_json", (before.len() + wrong_at) as u64)),
            );
        }
    }
    let with = |fields: &str| format!(r#"{{"name":"a","value":1,{fields}}}"#);
    let deep = |depth: usize| with(&format!(r#""x":{}{}"#, "[".repeat(depth), "]".repeat(depth)));
    check(deep(31).as_bytes(), Ok(1));
    check(deep(32).as_bytes(), Err(("too_deep", 57)));
    check("[".repeat(100_000).as_bytes(), Err(("too_deep", 32)));
    check(format!("{{\"metrics\":{}", "[".repeat(100_000)).as_bytes(), Err(("too_deep", 42)));
    let labels = |count: usize, value: &str| {
        let labels: Vec<_> = (0..count).map(|i| format!(r#""l{i}":"{value}""#)).collect();
        with(&format!(r#""labels":{{{}}}"#, labels.join(",")))
    };
    check(labels(LABELS_PER_SERIES_MAX - 1, "v").as_bytes(), Ok(1));
    check(labels(LABELS_PER_SERIES_MAX, "v").as_bytes(), Err(("bad_label", 0)));
    check(labels(LABELS_PER_SERIES_MAX + 1, "v").as_bytes(), Err(("bad_label", 0)));
    check(labels(LABELS_PER_SERIES_MAX * 10, "").as_bytes(), Ok(1));
    check(with(&format!(r#""client_id":"{}""#, "c".repeat(128))).as_bytes(), Ok(1));
    check(with(&format!(r#""client_id":"{}""#, "c".repeat(129))).as_bytes(), Err(("bad_client_id", 34)));
    check(with(&format!(r#""client_id":"{}""#, r"\u0063".repeat(128))).as_bytes(), Ok(1));
    check(with(&format!(r#""client_id":"{}""#, r"\u00e9".repeat(65))).as_bytes(), Err(("bad_client_id", 34)));
    check(with(&format!(r#""labels":{{"l":"{}"}}"#, "v".repeat(4097))).as_bytes(), Err(("bad_label", 0)));
    check(format!(r#"{{"value":1,"name":"{}"}}"#, "n".repeat(4097)).as_bytes(), Err(("bad_name", 18)));
    let unknown = |count: usize| (0..count).map(|i| format!(r#""k{i}":0"#)).collect::<Vec<_>>().join(",");
    check(with(&unknown(1000)).as_bytes(), Ok(1));
    let twice = with(&format!("{},{}", unknown(1000), unknown(1000)));
    let second = twice.rfind("\"k0\"").map_or(0, |at| at as u64);
    check(twice.as_bytes(), Err(("duplicate_key", second)));
}

const TAKEN: [(&str, usize); 19] = [
    (r#"{"name":"a","value":1}"#, 1),
    (r#"{"metrics":[]}"#, 0),
    ("[]", 0),
    (" [ ] ", 0),
    ("\t{\r\n\"metrics\" :\n[ ] } ", 0),
    (r#"[{"name":"a","value":1},{"name":"b","value":"NaN"}]"#, 2),
    (r#"{"metrics":[{"name":"a","value":1},{"name":"b","value":1}]}"#, 2),
    // Fields around a list mean nothing, wherever they stand.
    (r#"{"value":true,"labels":7,"metrics":[{"name":"a","value":1}],"tags":[],"timestamp":"x"}"#, 1),
    (r#"{"x":{"a":1,"a":1},"metrics":[{"x":"1","name":"a","value":1}],"y":0}"#, 1),
    // An object in a list is a metric, whatever else it holds.
    (r#"[{"name":"a","value":1,"metrics":[{}]}]"#, 1),
    (r#"{"name":"a","value":1,"type":"gauge","unit":null,"nested":{"any":[1,true,{"x":"y"}]},"":0}"#, 1),
    (r#"{"n\u0061me":"\u0061","\u0076alue":"\u004eaN","l\u0061bels":{"\u0061":"\ud83e\udd80"}}"#, 1),
    (r#"{"name":"a","value":1,"labels":{"empty":"","also_empty":""}}"#, 1),
    (r#"{"name":"a","value":1,"labels":{"a-b":""}}"#, 1),
    (r#"{"name":"a","value":-0.0e+0,"timestamp":-0}"#, 1),
    (r#"{"name":"a","value":1e-999,"timestamp":253402300799999}"#, 1),
    (r#"{"name":"a","value":1,"timestamp":"2025-09-17\u005413:45:23Z"}"#, 1),
    (r#"{"name":"a","value":1,"x":{"__name__":"b"}}"#, 1),
    (r#"{"metrics":[{"name":"a","value":1,"labels":{"x":"1"}}],"x":1}"#, 1),
];

const REFUSED: [(&str, &str, u64); 77] = [
    ("", "empty_body", 0),
    (" \r\n", "empty_body", 3),
    ("7", "bad_type", 0),
    (" \"a\"", "bad_type", 1),
    ("null", "bad_type", 0),
    ("[1]", "bad_type", 1),
    ("[[]]", "bad_type", 1),
    ("{", "bad_json", 1),
    ("[", "bad_json", 1),
    ("{}", "missing_field", 0),
    ("{} x", "bad_json", 3),
    ("[1] 2", "bad_json", 4),
    ("nul", "bad_json", 0),
    ("nullx", "bad_json", 4),
    ("\u{feff}{}", "bad_json", 0),
    ("\u{a0}{}", "bad_json", 0),
    (r#"{"a":NaN}"#, "bad_json", 5),
    (r#"{"a":01}"#, "bad_json", 5),
    (r#"{"a":-01}"#, "bad_json", 6),
    (r#"{"a":-}"#, "bad_json", 6),
    (r#"{"a":-.5}"#, "bad_json", 6),
    (r#"{"a":.5}"#, "bad_json", 5),
    (r#"{"a":+5}"#, "bad_json", 5),
    (r#"{"a":1.}"#, "bad_json", 7),
    (r#"{"a":1.e5}"#, "bad_json", 7),
    (r#"{"a":1.e}"#, "bad_json", 7),
    (r#"{"a":01.}"#, "bad_json", 5),
    (r#"{"a":1e}"#, "bad_json", 7),
    (r#"{"a":1e+}"#, "bad_json", 8),
    (r#"{"a":1.5.5}"#, "bad_json", 8),
    (r#"{"a":1,}"#, "bad_json", 7),
    ("[1,]", "bad_json", 3),
    ("[1 1]", "bad_json", 3),
    (r#"{"a" 1}"#, "bad_json", 5),
    (r#"{"a":1 "b":2}"#, "bad_json", 7),
    ("{a:1}", "bad_json", 1),
    (r#"["\ud800"]"#, "bad_json", 2),
    (r#"["\ud800\u0041"]"#, "bad_json", 2),
    (r#"["\ud83e\\udd80"]"#, "bad_json", 2),
    (r#"["\udc00"]"#, "bad_json", 2),
    (r#"["abc\x"]"#, "bad_json", 5),
    (r#"["abcdefgh\u12"]"#, "bad_json", 10),
    ("[\"abcdefghi\n\"]", "bad_json", 11),
    ("[\"abcdefghi", "bad_json", 1),
    ("[\"abc\\", "bad_json", 5),
    // Text that is no JSON comes before everything else that is wrong, wherever it stands.
    (r#"[{"name":1},{"name":"a","value":1e999},}]"#, "bad_json", 39),
    (r#"{"value":1}"#, "missing_field", 0),
    (r#"[{"name":"a","value":1},{"name":"a"}]"#, "missing_field", 24),
    (r#"{"Name":"a","Value":1}"#, "missing_field", 0),
    (r#"{"name":1,"value":1}"#, "bad_type", 8),
    (r#"{"name":"a","value":1e999}"#, "bad_number", 20),
    (r#"{"name":"a","value":"1"}"#, "bad_number", 20),
    (r#"{"name":"a","value":null}"#, "bad_number", 20),
    (r#"{"name":"a","value":1,"timestamp":1.5}"#, "bad_timestamp", 34),
    (r#"{"name":"a","value":1,"timestamp":1e3}"#, "bad_timestamp", 34),
    (r#"{"name":"a","value":1,"timestamp":-1}"#, "bad_timestamp", 34),
    (r#"{"name":"a","value":1,"timestamp":null}"#, "bad_timestamp", 34),
    (r#"{"name":"a","value":1,"timestamp":99999999999999999999}"#, "bad_timestamp", 34),
    (r#"{"name":"a","value":1,"timestamp":"1758116723123"}"#, "bad_timestamp", 34),
    (r#"{"name":"a","value":1,"client_id":7}"#, "bad_type", 34),
    (r#"{"name":"a","value":1,"type":7}"#, "bad_type", 29),
    (r#"{"name":"a","name":"b","value":1}"#, "duplicate_key", 12),
    (r#"{"name":"a","n\u0061me":"b","value":1}"#, "duplicate_key", 12),
    (r#"{"name":"a","value":1,"labels":{"x":"1","\u0078":"2"}}"#, "duplicate_key", 40),
    (r#"{"name":"a","value":1,"labels":{"x":"","x":""}}"#, "duplicate_key", 39),
    (r#"{"name":"a","value":1,"labels":{},"tags":{}}"#, "duplicate_key", 41),
    (r#"{"name":"a","value":1,"tags":{},"labels":{}}"#, "duplicate_key", 29),
    (r#"{"name":"a","value":1,"labels":{"x":1}}"#, "bad_type", 36),
    (r#"{"name":"a","value":1,"labels":[]}"#, "bad_type", 31),
    (r#"{"name":"a","value":1,"labels":{"__name__":"b"}}"#, "bad_label", 32),
    (r#"[{"name":"a","value":1,"labels":{"a-b":"x"}}]"#, "bad_label", 1),
    (r#"{"value":1,"name":""}"#, "bad_name", 18),
    (r#"{"value":1,"name":"a b"}"#, "bad_name", 18),
    // What the frame would refuse comes after every fault of a metric.
    (r#"[{"name":"a b","value":1},{"name":"c","value":"x"}]"#, "bad_number", 46),
    (r#"{"name":"a","value":1,"metrics":[]}"#, "bad_type", 32),
    (r#"{"metrics":[{"value":1}],"x":1,"x":1}"#, "duplicate_key", 31),
    (r#"{"metrics":[{"value":1}],"name":1}"#, "bad_type", 11),
];

/// Numbers that are none, and the byte at which they stop to be one.
const BAD_NUMBERS: [(&str, usize); 20] = [
    ("00", 0),
    ("01", 0),
    ("-", 1),
    ("-01", 1),
    ("-.5", 1),
    (".5", 0),
    ("+1", 0),
    ("1.", 2),
    ("01.", 0),
    ("00.5", 0),
    ("1..5", 2),
    ("1.5.5", 3),
    ("1.e5", 2),
    ("1e", 2),
    ("1e+", 3),
    ("1.5e-", 5),
    ("1.5x", 3),
    ("0x1", 1),
    ("012345678901234567", 0),
    ("1234567890123456.", 17),
];

/// What is JSON is for `serde_json` to say, but for the nesting, which it bounds elsewhere, and for numbers beyond `f64`.
pub(crate) fn what_is_json_is_what_serde_json_takes<P: Parse>(new: fn() -> P) {
    let text = "[\\[\\]{}:,\"\\\\/a0-9eE.+ \\-unltrfs]{0,16}";
    let wrapped = proptest::bool::ANY;
    proptest!(|(text in text, wrapped in wrapped)| {
        let body = if wrapped { format!(r#"{{"name":"a","value":1,"x":{text}}}"#) } else { text };
        let theirs = serde_json::from_str::<serde_json::Value>(&body);
        let beyond = theirs.as_ref().is_err_and(|e| e.to_string().contains("out of range"));
        let ours = parse(&mut new(), body.as_bytes());
        let is_json = !matches!(ours, Err(("bad_json" | "empty_body" | "too_deep", _)));
        prop_assert!(is_json == theirs.is_ok() || beyond, "{body:?}: {ours:?}, {theirs:?}");
    });
}

pub(crate) fn numbers_are_those_of_serde_json_bit_for_bit<P: Parse>(new: fn() -> P) {
    let text = "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?";
    proptest!(|(text in text, bits: u64, any_double: bool)| {
        let double = f64::from_bits(bits);
        let text = if any_double && double.is_finite() { format!("{double:?}") } else { text };
        let body = format!(r#"{{"name":"a","value":{text}}}"#);
        let ours = parse(&mut new(), body.as_bytes());
        match serde_json::from_str::<f64>(&text) {
            Ok(theirs) => prop_assert_eq!(ours.unwrap()[0].value_bits, theirs.to_bits(), "{}", text),
            Err(_) => prop_assert_eq!(ours, Err(("bad_number", Some(20))), "{}", text),
        }
    });
}

pub(crate) fn texts_are_those_of_serde_json<P: Parse>(new: fn() -> P) {
    proptest!(|(name in "\\PC{1,12}", value in any::<String>(), client in "\\PC{0,20}", escape: [bool; 3])| {
        let [name_in_json, value_in_json, client_in_json] =
            [(&name, escape[0]), (&value, escape[1]), (&client, escape[2])].map(|(text, escape)| written(text, escape));
        let body = format!(
            r#"{{"name":{name_in_json},"value":1,"labels":{{"l":{value_in_json}}},"client_id":{client_in_json}}}"#
        );
        let oracle: serde_json::Value = serde_json::from_str(&body).unwrap();
        let ours = parse(&mut new(), body.as_bytes()).unwrap().remove(0);
        prop_assert_eq!(oracle["name"].as_str(), Some(&*ours.name));
        prop_assert_eq!(oracle["client_id"].as_str(), Some(&*ours.client));
        let labels: Vec<_> = ours.labels.iter().map(|(_, value)| value).collect();
        let label = oracle["labels"]["l"].as_str().unwrap();
        prop_assert_eq!(labels, if label.is_empty() { vec![] } else { vec![label] });
    });
}

/// A string of JSON; with `escape`, in escapes throughout.
fn written(text: &str, escape: bool) -> String {
    if !escape {
        return serde_json::to_string(text).unwrap();
    }
    let units = text.encode_utf16().fold(String::new(), |mut units, unit| {
        write!(units, "\\u{unit:04x}").unwrap();
        units
    });
    format!("\"{units}\"")
}

/// Phase 0 on the same body. What its batches would refuse is told without its byte.
fn phase_0(body: &[u8]) -> Result<Vec<Owned>, Refused> {
    let metrics = phase0::ingest::parse_metrics(body, ARRIVED).map_err(|e| refused(&e))?;
    let owned: Vec<_> = metrics
        .into_iter()
        .map(|metric| Owned {
            name: metric.name,
            value_bits: metric.value.to_bits(),
            timestamp: metric.timestamp,
            labels: metric.labels.into_iter().filter(|(_, value)| !value.is_empty()).collect(),
            client: metric.client_id,
        })
        .collect();
    match owned.iter().find(|m| m.name.is_empty() || m.labels.len() > LABELS_PER_SERIES_MAX) {
        Some(metric) if metric.name.is_empty() => Err(("bad_name", None)),
        Some(_) => Err(("bad_label", None)),
        None => Ok(owned),
    }
}

pub(crate) fn near_misses_are_judged_as_phase_0_judges_them<P: Parse>(new: fn() -> P) {
    let config = ProptestConfig { cases: 4096, ..ProptestConfig::default() };
    // One parser for all of them: what one body leaves in its buffers must not show in the next.
    let parser = RefCell::new(new());
    proptest!(config, |(body in near_misses())| {
        let (ours, theirs) = (parse(&mut *parser.borrow_mut(), &body), phase_0(&body));
        let shown = String::from_utf8_lossy(&body);
        match (ours, theirs) {
            (Err((ours, _)), Err((theirs, None))) => prop_assert_eq!(ours, theirs, "{}", shown),
            (ours, theirs) => prop_assert_eq!(ours, theirs, "{}", shown),
        }
    });
}

/// Bodies that are metrics, or would be but for a few bytes.
pub(crate) fn near_misses() -> impl Strategy<Value = Vec<u8>> {
    let shape = select(vec!["one", "list", "wrapped", "wrapped late", "bare"]);
    let metrics = proptest::collection::vec(object(), 0..4);
    let around = object();
    let damage = (any::<proptest::sample::Index>(), damages());
    let damage = prop_oneof![2 => Just(vec![]), 1 => proptest::collection::vec(damage, 1..3)];
    (shape, metrics, around, damage).prop_map(|(shape, metrics, around, damage)| {
        let list = format!("[{}]", metrics.join(","));
        let rest = around.trim_start_matches('{').trim_start();
        let comma = if rest == "}" { "" } else { "," };
        let body = match shape {
            "one" => around,
            "list" => list,
            "wrapped" => format!("{{\"metrics\":{list}{comma}{rest}"),
            "wrapped late" => format!("{}{comma}\"metrics\": {list}}}", around.trim_end_matches('}')),
            _ => metrics.concat(),
        };
        let mut body = body.into_bytes();
        for (at, damage) in damage {
            let at = at.index(body.len() + 1);
            damage.apply(&mut body, at);
        }
        body
    })
}

/// An object of fields that are mostly what they should be, each mostly given once.
fn object() -> impl Strategy<Value = String> {
    let name = select(vec!["a", "a", "a", "a:b", "", "9", "a b", "\\u0061"]);
    let name = name.prop_map(|name| format!(r#""name":"{name}""#));
    let value = select(VALUES).prop_map(|value| format!(r#""value":{value}"#));
    let value = prop_oneof![3 => Just(r#""value":1.5"#.to_owned()), 1 => value];
    let good = select(GOOD).prop_map(str::to_owned);
    let any = (select(FIELDS), select(VALUES)).prop_map(|(key, value)| format!("{key}:{value}"));
    let others = proptest::collection::vec(prop_oneof![2 => good, 1 => any], 0..4);
    let space = select(vec!["", "", "", " ", "\n\t"]);
    let is_there = proptest::bool::weighted(0.9);
    (name, is_there, value, is_there, others, space).prop_map(
        |(name, has_name, value, has_value, mut members, space)| {
            let middle = members.len() / 2;
            members.splice(middle..middle, has_name.then_some(name));
            members.extend(has_value.then_some(value));
            let comma = format!("{space},{space}");
            format!("{{{space}{}{space}}}", members.join(&comma))
        },
    )
}

const GOOD: &[&str] = &[
    r#""timestamp":1700000000000"#,
    r#""timestamp":"2025-09-17T13:45:23.123Z""#,
    r#""labels":{"host":"web-1","core":"0"}"#,
    r#""tags":{"host":"web-1"}"#,
    r#""client_id":"c1""#,
    r#""type":"gauge""#,
    r#""unit":{"a":[1,2,{"b":null}]}"#,
    r#""note":"\u00e9\n""#,
];

const FIELDS: &[&str] = &[
    r#""name""#,
    r#""value""#,
    r#""timestamp""#,
    r#""timestamp""#,
    r#""labels""#,
    r#""labels""#,
    r#""tags""#,
    r#""client_id""#,
    r#""client_id""#,
    r#""type""#,
    r#""metrics""#,
    r#""x""#,
    r#""\u0078""#,
    r#""n\u0061me" "#,
    r#""""#,
];

const VALUES: &[&str] = &[
    "1",
    "-0",
    "1e999",
    "0.1e-3",
    "01",
    "-1",
    "253402300800000",
    "99999999999999999999",
    r#""a""#,
    r#""""#,
    r#""NaN""#,
    r#""\u004eaN""#,
    r#""+Inf""#,
    r#""\ud83e\udd80""#,
    r#""2025-09-17T15:45:23+02:00""#,
    r#""2025-02-29T00:00:00Z""#,
    "null",
    "true",
    "[]",
    "{}",
    r#"[{"name":"b","value":2}]"#,
    r#"{"host":"a","host":"b"}"#,
    r#"{"host":"a","h\u006fst":""}"#,
    r#"{"a":"","b":"2"}"#,
    r#"{"a":1}"#,
    r#"{"__name__":"a"}"#,
    r#"{"a":1,"__name__":"a"}"#,
    r#"{"__name__":1}"#,
    r#"{"a-b":"1"}"#,
    r#"{"a":"1","b":"","c":"\u0041"}"#,
    r#""2025-09-17\u005413:45:23Z""#,
    "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]",
    "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
];

#[derive(Clone, Debug)]
enum Damage {
    Insert(Vec<u8>),
    Delete(usize),
    Change(u8),
    Cut,
}

fn damages() -> impl Strategy<Value = Damage> {
    let tokens =
        select(vec!["{", "}", "[", "]", ",", ":", "\"", "\\", " ", "\\u12", "e", "-", "0", "é", "\n"]);
    prop_oneof![
        4 => tokens.prop_map(|token| Damage::Insert(token.as_bytes().to_vec())),
        4 => (1..4_usize).prop_map(Damage::Delete),
        1 => any::<u8>().prop_map(Damage::Change),
        1 => Just(Damage::Cut),
    ]
}

impl Damage {
    fn apply(self, body: &mut Vec<u8>, at: usize) {
        match self {
            Self::Insert(bytes) => drop(body.splice(at..at, bytes)),
            Self::Delete(count) => drop(body.drain(at..(at + count).min(body.len()))),
            Self::Change(byte) => body.iter_mut().skip(at).take(1).for_each(|b| *b = byte),
            Self::Cut => body.truncate(at),
        }
    }
}
