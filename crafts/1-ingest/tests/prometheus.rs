//! Prometheus text and OpenMetrics against their specifications, and against a writer of random lines.

#![allow(clippy::unwrap_used)] // a test that cannot go on should stop

mod lines;

use ingest::wire::{Format, prometheus::Exposition};
use lines::{ARRIVED, Row, assert_refused, parse, row};
use proptest::{collection::vec, prelude::*};

fn text_format() -> Exposition {
    Exposition::default()
}

fn open_metrics() -> Exposition {
    let mut format = Exposition::default();
    format.set_open_metrics(true);
    format
}

fn rows(mut format: Exposition, body: &str) -> Vec<Row> {
    let (rows, taken) = parse(&mut format, body.as_bytes());
    assert_eq!(taken.refused, 0, "{body:?}: {:?}", taken.named);
    rows
}

/// The example of the specification of the text format, but for its help texts.
const EXAMPLE: &str = r#"# HELP http_requests_total Requests.
# TYPE http_requests_total counter
http_requests_total{method="post",code="200"} 1027 1395066363000
http_requests_total{method="post",code="400"}    3 1395066363000

# Escaping in label values:
msdos_file_access_time_seconds{path="C:\\DIR\\FILE.TXT",error="Cannot find file:\n\"FILE.TXT\""} 1.458255915e9

# Minimalistic line:
metric_without_timestamp_and_labels 12.47

# A weird metric from before the epoch is refused; this one is from its first second:
something_weird{problem="division by zero"} +Inf 3982

# TYPE http_request_duration_seconds histogram
http_request_duration_seconds_bucket{le="0.05"} 24054
http_request_duration_seconds_bucket{le="+Inf"} 144320
http_request_duration_seconds_sum 53423
http_request_duration_seconds_count 144320
"#;

#[test]
fn the_example_of_the_specification_is_read() {
    let arrived = ARRIVED.0;
    let expected = [
        row(r#"http_requests_total{code="200",method="post"}"#, 1_395_066_363_000, 1027.0),
        row(r#"http_requests_total{code="400",method="post"}"#, 1_395_066_363_000, 3.0),
        row(
            r#"msdos_file_access_time_seconds{error="Cannot find file:\n\"FILE.TXT\"",path="C:\\DIR\\FILE.TXT"}"#,
            arrived,
            1.458255915e9,
        ),
        row("metric_without_timestamp_and_labels", arrived, 12.47),
        row(r#"something_weird{problem="division by zero"}"#, 3_982, f64::INFINITY),
        row(r#"http_request_duration_seconds_bucket{le="0.05"}"#, arrived, 24054.0),
        row(r#"http_request_duration_seconds_bucket{le="+Inf"}"#, arrived, 144_320.0),
        row("http_request_duration_seconds_sum", arrived, 53_423.0),
        row("http_request_duration_seconds_count", arrived, 144_320.0),
    ];
    assert_eq!(rows(text_format(), EXAMPLE), expected);
}

#[test]
fn lines_become_samples() {
    let arrived = ARRIVED.0;
    let table: &[(&str, &[Row])] = &[
        ("", &[]),
        ("\n\r\n \t\n#\n# any words = \"here\n#TYPE\n", &[]),
        ("a 1", &[row("a", arrived, 1.0)]),
        ("a 1\r\nb 2\r\n", &[row("a", arrived, 1.0), row("b", arrived, 2.0)]),
        ("\t a \t 1 \t 5 \t", &[row("a", 5, 1.0)]),
        ("a{} 1", &[row("a", arrived, 1.0)]),
        ("a{ } 1", &[row("a", arrived, 1.0)]),
        ("a {b=\"c\"} 1", &[row("a{b=\"c\"}", arrived, 1.0)]),
        ("a{b=\"c\"}1", &[row("a{b=\"c\"}", arrived, 1.0)]),
        ("a{b=\"c\",} 1", &[row("a{b=\"c\"}", arrived, 1.0)]),
        ("a{ b = \"c\" , d\t=\t\"e\" , } 1", &[row("a{b=\"c\",d=\"e\"}", arrived, 1.0)]),
        ("a{b=\"\"} 1", &[row("a", arrived, 1.0)]),
        ("a{b=\"}, \u{e9}#=\"} 1", &[row("a{b=\"}, \u{e9}#=\"}", arrived, 1.0)]),
        (r#"a{b="\\\"\n\\n"} 1"#, &[row(r#"a{b="\\\"\n\\n"}"#, arrived, 1.0)]),
        (r#"a{b="x\d",c="\\"} 1"#, &[row(r#"a{b="x\\d",c="\\"}"#, arrived, 1.0)]),
        (":job:rate5m{_1=\"x\"} 1", &[row(":job:rate5m{_1=\"x\"}", arrived, 1.0)]),
        // Values.
        ("a -1.5e-3", &[row("a", arrived, -1.5e-3)]),
        ("a +1", &[row("a", arrived, 1.0)]),
        ("a .5\na 5.\na -0", &[row("a", arrived, 0.5), row("a", arrived, 5.0), row("a", arrived, -0.0)]),
        ("a NaN\na nan", &[row("a", arrived, f64::NAN), row("a", arrived, f64::NAN)]),
        ("a Inf\na +Inf\na inf\na Infinity", &[(); 4].map(|()| row("a", arrived, f64::INFINITY))),
        ("a -Inf\na -infinity", &[(); 2].map(|()| row("a", arrived, f64::NEG_INFINITY))),
        ("a 1 0", &[row("a", 0, 1.0)]),
        ("a 1 -0", &[row("a", 0, 1.0)]),
        ("a 1 253402300799999", &[row("a", 253_402_300_799_999, 1.0)]),
        // What is like the line before is not the line before.
        (
            "a{b=\"1\"} 1\na{bc=\"2\"} 2\nab 3\na 4\na{c=\"\"} 5",
            &[
                row("a{b=\"1\"}", arrived, 1.0),
                row("a{bc=\"2\"}", arrived, 2.0),
                row("ab", arrived, 3.0),
                row("a", arrived, 4.0),
                row("a", arrived, 5.0),
            ],
        ),
    ];
    for (body, expected) in table {
        assert_eq!(rows(text_format(), body), *expected, "{body:?}");
    }
}

/// Lines that both formats refuse, with the byte and a part of the message.
const BAD: [(&str, usize, &str); 38] = [
    ("1a 1", 0, "name of a metric"),
    ("-a 1", 0, "name of a metric"),
    ("{a=\"b\"} 1", 0, "name of a metric"),
    ("\"a\" 1", 0, "name of a metric"),
    ("a", 1, "'{' or a space"),
    ("a-1", 1, "'{' or a space"),
    ("a.b 1", 1, "'{' or a space"),
    ("a ", 2, "a value"),
    ("a x", 2, "a value"),
    ("a 0x1p-2", 3, "behind the value"),
    ("a 1_000", 3, "behind the value"),
    ("a 1,5", 3, "behind the value"),
    ("a 1e", 3, "behind the value"),
    ("a +NaN", 2, "a value"),
    ("a Infinit", 2, "a value"),
    ("a --1", 2, "a value"),
    ("a 1e999", 2, "64 bits"),
    ("a{", 2, "name of a label"),
    ("a{1b=\"c\"} 1", 2, "name of a label"),
    ("a{b:c=\"d\"} 1", 3, "'='"),
    ("a{,} 1", 2, "name of a label"),
    ("a{b=\"c\",,} 1", 8, "name of a label"),
    ("a{b} 1", 3, "'='"),
    ("a{b=c} 1", 4, "double quotes"),
    ("a{b='c'} 1", 4, "double quotes"),
    ("a{b=\"c} 1", 9, "double quote expected"),
    ("a{b=\"c\\\"} 1", 11, "double quote expected"),
    ("a{b=\"c\\", 7, "double quote expected"),
    ("a{b=\"c\"", 7, "',' or '}'"),
    ("a{b=\"c\" d=\"e\"} 1", 8, "',' or '}'"),
    ("a{b=\"c\"}", 8, "a value"),
    ("a{__name__=\"b\"} 1", 2, "__name__"),
    ("a{b=\"c\",b=\"d\"} 1", 0, "twice"),
    ("a 1 x", 4, "1970"),
    ("a 1 -1", 4, "1970"),
    ("a 1 99999999999999999999", 4, "1970"),
    ("a 1 2 3", 6, "end of the line"),
    ("a 1 2x", 5, "end of the line"),
];

#[test]
fn a_bad_line_is_refused_at_its_byte_and_loses_no_neighbours() {
    for (bad, at, message) in BAD {
        assert_refused(&mut text_format(), "good{a=\"b\"} 1 2", bad, at, message);
    }
    let only_text = [
        ("a 1 1.5", 5, "end of the line"),
        ("a 1 +5", 4, "1970"),
        ("a 1 # {} 1", 4, "1970"),
        ("a 1 253402300800000", 4, "1970"),
    ];
    for (bad, at, message) in only_text {
        assert_refused(&mut text_format(), "good 1", bad, at, message);
    }
    let long = [
        (format!("a{{b=\"{}\"}} 1", "x".repeat(4_097)), 0, "4097 bytes"),
        (format!("a{{{}=\"x\"}} 1", "b".repeat(256)), 0, "256 bytes"),
        (format!("{} 1", "a".repeat(4_097)), 0, "4097 bytes"),
    ];
    for (bad, at, message) in &long {
        assert_refused(&mut text_format(), "good 1", bad, *at, message);
    }
    let too_many: String = (0..64).map(|i| format!("l{i}=\"x\",")).collect();
    assert_refused(
        &mut text_format(),
        "good 1",
        &format!("a{{{too_many}}} 1"),
        2 + too_many.len() - 1,
        "63 labels",
    );
    let just_fits: String = (0..63).map(|i| format!("l{i}=\"x\",")).collect();
    assert_eq!(rows(text_format(), &format!("a{{{just_fits}}} 1")).len(), 1);
}

#[test]
fn open_metrics_refuses_the_same_lines() {
    for (bad, at, message) in BAD {
        let body = format!("good 1\n{bad}\ngood 2\n# EOF\n");
        let (rows, taken) = parse(&mut open_metrics(), body.as_bytes());
        assert_eq!((rows.len(), taken.refused), (2, 1), "{bad:?}: {:?}", taken.named);
        let refusal = &taken.named[0];
        assert_eq!((refusal.line, refusal.at), (2, 7 + at), "{bad:?}: {}", refusal.message);
        assert!(refusal.message.contains(message), "{bad:?}: {}", refusal.message);
    }
}

#[test]
fn open_metrics_are_read() {
    let body = r#"# TYPE acme_http_router_request_seconds summary
# UNIT acme_http_router_request_seconds seconds
# HELP acme_http_router_request_seconds Latency though all of ACME's HTTP request router.
acme_http_router_request_seconds_sum{path="/api/v1",method="GET"} 9036.32
acme_http_router_request_seconds_created{path="/api/v1",method="GET"} 1605281325.0
# TYPE foo counter
foo_total 17.0 1520879607.789 # {trace_id="KOO5S4vxi0o"} 0.67
foo_bucket{le="10.0"} 17 # {trace_id="oHg5SJYRHA0",b="\"}"} 9.8 1520879607.789
foo_bucket{le="+Inf"} 17 1520879607 # {} -Inf
# TYPE state stateset
state{state="a"} 1
# TYPE build info
build_info{version="1"} 1
# EOF
"#;
    let arrived = ARRIVED.0;
    let expected = [
        row(r#"acme_http_router_request_seconds_sum{method="GET",path="/api/v1"}"#, arrived, 9036.32),
        row(
            r#"acme_http_router_request_seconds_created{method="GET",path="/api/v1"}"#,
            arrived,
            1_605_281_325.0,
        ),
        row("foo_total", 1_520_879_607_789, 17.0),
        row(r#"foo_bucket{le="10.0"}"#, arrived, 17.0),
        row(r#"foo_bucket{le="+Inf"}"#, 1_520_879_607_000, 17.0),
        row(r#"state{state="a"}"#, arrived, 1.0),
        row(r#"build_info{version="1"}"#, arrived, 1.0),
    ];
    assert_eq!(rows(open_metrics(), body), expected);
}

#[test]
fn seconds_become_milliseconds_towards_the_past() {
    let table = [
        ("0", 0),
        ("-0.0", 0),
        (".0019", 1),
        ("1.", 1_000),
        ("1.5", 1_500),
        ("1.9999", 1_999),
        ("+1", 1_000),
        ("1520879607.7890001", 1_520_879_607_789),
        ("253402300799.9999", 253_402_300_799_999),
        ("1.5e9", 1_500_000_000_000),
        ("1e-3", 1),
    ];
    for (text, ms) in table {
        assert_eq!(rows(open_metrics(), &format!("a 1 {text}\n# EOF")), [row("a", ms, 1.0)], "{text}");
    }
    for text in [
        "-0.0001",
        "-1",
        "253402300800",
        "1e300",
        "-1e-9",
        "NaN",
        "99999999999999999999",
        "9223372036854775.9",
    ] {
        let (_, taken) = parse(&mut open_metrics(), format!("a 1 {text}\n# EOF").as_bytes());
        assert_eq!((taken.refused, taken.named[0].at), (1, 4), "{text}");
    }
}

#[test]
fn a_bad_exemplar_is_refused_with_its_line() {
    let table = [
        ("a 1 #", 5, "exemplar"),
        ("a 1 # x", 6, "exemplar"),
        ("a 1 # {a=b} 1", 9, "double quotes"),
        ("a 1 # {}", 8, "a value"),
        ("a 1 # {} 1 x", 11, "end of the line"),
        ("a 1 # {} 1 1 1", 13, "end of the line"),
    ];
    for (bad, at, message) in table {
        let (rows, taken) = parse(&mut open_metrics(), format!("{bad}\nb 1\n# EOF\n").as_bytes());
        assert_eq!((rows.len(), taken.refused, taken.named[0].at), (1, 1, at), "{bad:?}");
        assert!(taken.named[0].message.contains(message), "{bad:?}: {}", taken.named[0].message);
    }
}

#[test]
fn open_metrics_without_its_end_are_refused_whole() {
    for (body, at) in [
        ("", 0),
        ("a 1\n", 4),
        ("a 1 # EOF\n", 10),
        ("a 1\n# EOF\nb 2\n", 14),
        ("a 1\n# EOF\n# EOF\n", 10),
        ("a 1\n# EOF \n", 11),
        ("a 1\n# EOF\n\n", 11),
        ("a 1\n#EOF\n", 9),
        ("a 1\n# EO", 8),
    ] {
        let error =
            open_metrics().parse(body.as_bytes(), ARRIVED, &mut lines::Collected::default()).unwrap_err();
        assert_eq!((error.status, error.code, error.at), (400, "no_eof", Some(at)), "{body:?}");
    }
    for body in ["# EOF", "# EOF\n", "# EOF\r\n", "\n# EOF"] {
        assert_eq!(rows(open_metrics(), body), []);
    }
    assert_eq!(rows(text_format(), "# EOF\na 1").len(), 1, "to the text format it is a comment");
}

#[test]
fn a_line_that_is_no_utf8_is_refused_alone() {
    let body = b"a 1\n# HELP \xff\nb{c=\"\xc3\x28\"} 1\nd 1";
    let (rows, taken) = parse(&mut text_format(), body);
    assert_eq!(rows, [row("a", ARRIVED.0, 1.0), row("d", ARRIVED.0, 1.0)]);
    let places: Vec<_> = taken.named.iter().map(|r| (r.line, r.at)).collect();
    assert_eq!(places, [(2, 11), (3, 18)]);
}

/// A line as an application has it before it is written.
#[derive(Clone, Debug)]
struct Line {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
    timestamp: Option<i64>,
    blank: &'static str,
}

fn line() -> impl Strategy<Value = Line> {
    let label = ("[a-zA-Z_][a-zA-Z0-9_]{0,9}", prop_oneof!["[a-z0-9/.-]{0,12}", "[\\PC\n\"\\\\]{0,9}"]);
    let value = prop_oneof![any::<f64>(), (0..1_000_000_u32).prop_map(|n| f64::from(n) / 100.0)];
    let timestamp = proptest::option::of(0..253_402_300_800_000_i64);
    let blank = proptest::sample::select(&[" ", "  ", "\t", " \t "][..]);
    ("[a-zA-Z_:][a-zA-Z0-9_:]{0,30}", vec(label, 0..5), value, timestamp, blank)
        .prop_map(|(name, labels, value, timestamp, blank)| Line { name, labels, value, timestamp, blank })
        .prop_filter("different labels", |line| {
            let mut names: Vec<_> = line.labels.iter().map(|(name, _)| name).collect();
            names.sort_unstable();
            names.windows(2).all(|pair| pair[0] != pair[1])
        })
}

impl Line {
    fn write(&self, timestamp: Option<String>) -> String {
        let escaped = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let labels: Vec<_> = self.labels.iter().map(|(k, v)| format!("{k}=\"{}\"", escaped(v))).collect();
        let braces = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let blank = self.blank;
        let timestamp = timestamp.map_or(String::new(), |t| blank.to_owned() + &t);
        format!("{}{braces}{blank}{:?}{timestamp}\n", self.name, self.value)
    }

    fn row(&self) -> Row {
        let pairs = self.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let labels = contracts::Labels::new(pairs.chain([("__name__", self.name.as_str())])).unwrap();
        // Text has one NaN.
        let value = if self.value.is_nan() { f64::NAN } else { self.value };
        row(&labels.to_string(), self.timestamp.unwrap_or(ARRIVED.0), value)
    }
}

/// Text that is nearly one of the formats.
fn near_miss() -> impl Strategy<Value = Vec<u8>> {
    const PIECES: [&[u8]; 26] = [
        b"a{b=\"c\"} 1\n",
        b"a 1\n",
        b"a",
        b"{",
        b"}",
        b"b=\"",
        b"\"",
        b"=",
        b",",
        b" ",
        b"\t",
        b"\n",
        b"\r\n",
        b"\\",
        b"# ",
        b"# EOF",
        b"1",
        b"-",
        b".",
        b"e",
        b"NaN",
        b"+Inf",
        b"\xc3\xa9",
        b"\xff",
        b"__name__",
        b"123456789012345678901234567890",
    ];
    vec(proptest::sample::select(&PIECES[..]), 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn what_was_written_comes_back(lines in vec(line(), 0..8)) {
        let body: String = lines.iter().map(|line| line.write(line.timestamp.map(|t| t.to_string()))).collect();
        prop_assert_eq!(rows(text_format(), &body), lines.iter().map(Line::row).collect::<Vec<_>>(), "{}", body);
    }

    #[test]
    fn what_was_written_as_open_metrics_comes_back(lines in vec(line(), 0..8)) {
        let seconds = |ms: i64| format!("{}.{:03}", ms / 1_000, ms % 1_000);
        let body: String = lines.iter().map(|line| line.write(line.timestamp.map(seconds))).collect();
        let body = body + "# EOF\n";
        prop_assert_eq!(rows(open_metrics(), &body), lines.iter().map(Line::row).collect::<Vec<_>>(), "{}", body);
    }

    #[test]
    fn a_line_means_the_same_wherever_it_stands(
        lines in vec(prop_oneof![
            4 => "(a|ab)(\\{(b|bc|c)=\"[xy]?\"(,(b|bc|c)=\"x\\\\\\\\\")?\\})? 1",
            1 => "(a|ab)?\\{?(b|bc)?=?\"?x?\"?[,}]? ?1?",
        ], 0..12),
    ) {
        let together = parse(&mut text_format(), lines.join("\n").as_bytes());
        let mut format = text_format();
        let each: Vec<_> = lines.iter().map(|line| parse(&mut text_format(), line.as_bytes())).collect();
        let warm: Vec<_> = lines.iter().map(|line| parse(&mut format, line.as_bytes())).collect();
        prop_assert_eq!(&each, &warm);
        prop_assert_eq!(&together.0, &each.iter().flat_map(|(rows, _)| rows.clone()).collect::<Vec<_>>());
        prop_assert_eq!(together.1.refused, each.iter().map(|(_, taken)| taken.refused).sum::<usize>());
    }

    #[test]
    fn nothing_panics_and_everything_is_counted(body in near_miss()) {
        let (rows, _) = parse(&mut text_format(), &body);
        let (more, _) = parse(&mut text_format(), &[&body, &b"\nlast 1"[..]].concat());
        prop_assert_eq!(&more[..rows.len()], &rows[..], "what follows changes nothing");
        prop_assert_eq!(more.len(), rows.len() + 1);
        // A body that is cut off is noticed, one that is not may still be refused for an end in its middle.
        let mut sink = lines::Collected::default();
        let _ = open_metrics().parse(&[&body, &b"\n# EOF"[..]].concat(), ARRIVED, &mut sink);
    }
}
