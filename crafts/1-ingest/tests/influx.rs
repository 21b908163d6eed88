//! Line protocol against its specification, and against a writer of random lines.

#![allow(clippy::unwrap_used)] // a test that cannot go on should stop

mod lines;

use contracts::TimestampMs;
use ingest::{
    frame::Frame,
    wire::{Format, influx::LineProtocol},
};
use lines::{ARRIVED, Row, assert_refused, parse, row};
use proptest::{collection::vec, prelude::*};

fn rows(body: &str) -> Vec<Row> {
    let (rows, taken) = parse(&mut LineProtocol::default(), body.as_bytes());
    assert_eq!(taken.refused, 0, "{body:?}: {:?}", taken.named);
    rows
}

#[test]
fn lines_become_samples() {
    let arrived = ARRIVED.0;
    let table: &[(&str, &[Row])] = &[
        // The shape of a line.
        ("cpu user=1.5 1700000000123456789", &[row("cpu_user", 1_700_000_000_123, 1.5)]),
        ("cpu,host=a,core=0 user=1", &[row(r#"cpu_user{core="0",host="a"}"#, arrived, 1.0)]),
        (
            "cpu,host=a user=1,system=2 5000000",
            &[row(r#"cpu_user{host="a"}"#, 5, 1.0), row(r#"cpu_system{host="a"}"#, 5, 2.0)],
        ),
        ("a b=1\nc d=2", &[row("a_b", arrived, 1.0), row("c_d", arrived, 2.0)]),
        ("", &[]),
        ("\n\r\n  \n# a comment, with=signs and \"quotes\n\t# another", &[]),
        ("a b=1\r\nc d=2 1000000\r\n", &[row("a_b", arrived, 1.0), row("c_d", 1, 2.0)]),
        ("  a   b=1   1000000  \n", &[row("a_b", 1, 1.0)]),
        ("a b=1 ", &[row("a_b", arrived, 1.0)]),
        ("a b=1,b=2", &[row("a_b", arrived, 1.0), row("a_b", arrived, 2.0)]),
        // Numbers.
        (
            "m a=1,b=-1.5,c=.5,d=2.,e=1e3,f=1E-3,g=-0",
            &[
                row("m_a", arrived, 1.0),
                row("m_b", arrived, -1.5),
                row("m_c", arrived, 0.5),
                row("m_d", arrived, 2.0),
                row("m_e", arrived, 1e3),
                row("m_f", arrived, 1e-3),
                row("m_g", arrived, -0.0),
            ],
        ),
        (
            "m a=42i,b=-42i,c=42u,d=9223372036854775807i,e=-9223372036854775808i,f=18446744073709551615u",
            &[
                row("m_a", arrived, 42.0),
                row("m_b", arrived, -42.0),
                row("m_c", arrived, 42.0),
                row("m_d", arrived, 9_223_372_036_854_775_807_i64 as f64),
                row("m_e", arrived, i64::MIN as f64),
                row("m_f", arrived, u64::MAX as f64),
            ],
        ),
        ("m a=9007199254740993i", &[row("m_a", arrived, 9_007_199_254_740_992.0)]),
        // Booleans.
        (
            "m a=t,b=T,c=true,d=True,e=TRUE",
            &["m_a", "m_b", "m_c", "m_d", "m_e"].map(|name| row(name, arrived, 1.0)),
        ),
        (
            "m a=f,b=F,c=false,d=False,e=FALSE",
            &["m_a", "m_b", "m_c", "m_d", "m_e"].map(|name| row(name, arrived, 0.0)),
        ),
        // Strings hold no number.
        (r#"m a="text",b=1"#, &[row("m_b", arrived, 1.0)]),
        (r#"m a="only text" 1"#, &[]),
        (r#"m a="",b=1"#, &[row("m_b", arrived, 1.0)]),
        (r#"m a="a \"quoted\" word, a=1 \\",b=1"#, &[row("m_b", arrived, 1.0)]),
        ("m a=\"two\nlines, one=1 \",b=1 1000000\nm b=2", &[row("m_b", 1, 1.0), row("m_b", arrived, 2.0)]),
        // Escapes.
        (r"m\,1\ x a=1", &[row("m_1_x_a", arrived, 1.0)]),
        (r"m,tag\ key\,\==a\ b\,c\=d\e\\x a=1", &[row(r#"m_a{tag_key__="a b,c=d\\e\\\\x"}"#, arrived, 1.0)]),
        (r"m,a=\ ,b=x\\\ y f\ \,\=g=1", &[row(r#"m_f___g{a=" ",b="x\\\\ y"}"#, arrived, 1.0)]),
        (r#"m,a="x" b=1"#, &[row(r#"m_b{a="\"x\""}"#, arrived, 1.0)]),
        (r#"m"x,a=1 "b"=1"#, &[row(r#"m_x__b_{a="1"}"#, arrived, 1.0)]),
        // Names that the contract forbids.
        ("cpu-total.9 load.1m=1", &[row("cpu_total_9_load_1m", arrived, 1.0)]),
        ("9p,1st=a 2nd=1", &[row(r#"_9p_2nd{_1st="a"}"#, arrived, 1.0)]),
        ("job:rate é=1", &[row("job:rate__", arrived, 1.0)]),
        ("m,a:b=x,größe=ü b=1", &[row(r#"m_b{a_b="x",gr__e="ü"}"#, arrived, 1.0)]),
        ("m,empty=\u{1f600} a=1", &[row("m_a{empty=\"\u{1f600}\"}", arrived, 1.0)]),
    ];
    for (body, expected) in table {
        assert_eq!(rows(body), *expected, "{body:?}");
    }
}

#[test]
fn a_bad_line_is_refused_at_its_byte_and_loses_no_neighbours() {
    let long_key = "k".repeat(4_095);
    let too_many_tags: String = (0..64).map(|i| format!(",t{i}=x")).collect();
    let too_many_fields = vec!["f=1"; 4_097].join(",");
    let table: &[(&str, usize, &str)] = &[
        (",a=b c=1", 0, "measurement"),
        ("=1", 2, "space and fields"),
        ("m", 1, "fields"),
        ("m ", 2, "key of a field"),
        ("m,a=b", 5, "fields"),
        ("m,a=b ", 6, "key of a field"),
        ("m, a=1", 2, "key of a tag"),
        ("m,=b a=1", 2, "key of a tag"),
        ("m,a a=1", 3, "'='"),
        ("m,a,b=c a=1", 3, "'='"),
        ("m,a= a=1", 4, "value of a tag"),
        ("m,a=,b=c a=1", 4, "value of a tag"),
        ("m,a=b=c a=1", 5, "written \\="),
        ("m,__name__=x a=1", 2, "__name__"),
        ("m,_-name__=x a=1", 2, "__name__"),
        ("m,a=1,a=2 a=1", 0, "twice"),
        ("m,a-b=1,a.b=2 a=1", 0, "twice"),
        ("m a", 3, "'='"),
        ("m a 1=1", 3, "'='"),
        ("m =1", 2, "key of a field"),
        ("m a=", 4, "a number, a boolean or a string"),
        ("m a=,b=1", 4, "a number, a boolean or a string"),
        ("m a= 1", 4, "a number, a boolean or a string"),
        ("m a=x", 4, "a number, a boolean or a string"),
        ("m a=tRUE", 4, "a number, a boolean or a string"),
        ("m a=NaN", 4, "a number, a boolean or a string"),
        ("m a=+Inf", 4, "a number, a boolean or a string"),
        ("m a=+1", 4, "a number, a boolean or a string"),
        ("m a=-", 4, "a number, a boolean or a string"),
        ("m a=.", 4, "a number, a boolean or a string"),
        ("m a='x'", 4, "a number, a boolean or a string"),
        ("m a=1e999", 4, "fits 64 bits"),
        ("m a=1.0i", 4, "integer"),
        ("m a=1e3i", 4, "integer"),
        ("m a=9223372036854775808i", 4, "integer"),
        ("m a=18446744073709551616u", 4, "integer"),
        ("m a=-1u", 4, "integer"),
        ("m a=1x", 5, "end of the line expected behind a field"),
        ("m a=1ii", 6, "end of the line expected behind a field"),
        ("m a=1.2.3", 7, "end of the line expected behind a field"),
        ("m a=1,", 6, "key of a field"),
        ("m a=1,,b=2", 6, "key of a field"),
        ("m a=1, b=2", 6, "key of a field"),
        (r#"m a="x"y"#, 7, "end of the line expected behind a field"),
        (r#"m a="x"#, 4, "double quote"),
        (r#"m a="x\"#, 4, "double quote"),
        ("m a=1 x", 6, "nanoseconds"),
        ("m a=1 1.5", 7, "end of the line"),
        ("m a=1 +5", 6, "nanoseconds"),
        ("m a=1 -", 6, "nanoseconds"),
        ("m a=1 -1", 6, "1970"),
        ("m a=1 9223372036854775808", 6, "nanoseconds"),
        ("m a=1 1 1", 8, "end of the line"),
        ("m a=1 1\r\r", 7, "end of the line"),
        (r#"m a="only text" -1"#, 16, "1970"),
        (r#"m a="two lines" b="#, 16, "nanoseconds"),
    ];
    for (bad, at, message) in table {
        assert_refused(&mut LineProtocol::default(), "good,host=a one=1,two=2 7000000", bad, *at, message);
    }
    let long = [
        (format!("m {long_key}=1"), 2, "4096 bytes"),
        (format!("m{too_many_tags} a=1"), 2 + too_many_tags.len() - ",t63=x".len(), "63 tags"),
        (format!("m {too_many_fields}"), 2 + 4 * 4_096, "4096 fields"),
        (format!("m,a={} a=1", "x".repeat(4_097)), 0, "4097 bytes"),
        (format!("m,{}=x a=1", "k".repeat(256)), 0, "256 bytes"),
    ];
    for (bad, at, message) in &long {
        assert_refused(&mut LineProtocol::default(), "good one=1", bad, *at, message);
    }
}

#[test]
fn what_just_fits_is_taken() {
    let tags: String = (0..63).map(|i| format!(",t{i}=x")).collect();
    assert_eq!(rows(&format!("m{tags} a=1")).len(), 1);
    assert_eq!(rows(&format!("m {}=1", "k".repeat(4_094)))[0].0.len(), 4_096);
    assert_eq!(rows(&format!("m {}", vec!["f=1"; 4_096].join(","))).len(), 4_096);
}

#[test]
fn a_bad_line_ends_where_a_good_one_would() {
    let refused_and_taken = |body: &str| {
        let (rows, taken) = parse(&mut LineProtocol::default(), body.as_bytes());
        (taken.named.iter().map(|r| r.line).collect::<Vec<_>>(), rows.len())
    };
    // The text of a string does not become samples because of what stands before it, or behind it.
    assert_eq!(refused_and_taken("m b=x,a=\"1\nevil v=1\n\",c=1\ngood v=1"), (vec![1], 1));
    assert_eq!(refused_and_taken("m a=\"1\nevil v=1\n\"x\ngood v=1"), (vec![1], 1));
    assert_eq!(refused_and_taken("m a=\"1\nevil v=1\n\" x\ngood v=1"), (vec![1], 1));
    // A quote elsewhere begins no string.
    assert_eq!(refused_and_taken("m,t,u=\"x b=1\ngood v=1\nm b=\"1\""), (vec![1], 1));
    assert_eq!(refused_and_taken("m b\\=\"x\ngood v=1\nm b=\"1\""), (vec![1], 1));
    assert_eq!(refused_and_taken("m b=1\"\ngood v=1\nm b=\"1\""), (vec![1], 1));
    // A string that never ends is no string.
    assert_eq!(refused_and_taken("m b=\"x\ngood v=1\ngood v=2"), (vec![1], 2));
    assert_eq!(refused_and_taken("m x b=\"x\ngood v=1\ngood v=2"), (vec![1], 2));
}

#[test]
fn a_line_that_is_no_utf8_is_refused_alone() {
    let body = b"a b=1\n# \xff comment\nc,d=\xc3\x28 e=1\nf g=1";
    let (rows, taken) = parse(&mut LineProtocol::default(), body);
    assert_eq!(rows, [row("a_b", ARRIVED.0, 1.0), row("f_g", ARRIVED.0, 1.0)]);
    let places: Vec<_> = taken.named.iter().map(|r| (r.line, r.at)).collect();
    assert_eq!(places, [(2, 8), (3, 22)]);
}

#[test]
fn eleven_bad_lines_are_counted_and_ten_named() {
    let (_, taken) = parse(&mut LineProtocol::default(), "x\n".repeat(11).as_bytes());
    assert_eq!((taken.refused, taken.named.len(), taken.named[9].line), (11, 10, 10));
}

#[test]
fn the_precision_is_that_of_the_request() {
    let mut format = LineProtocol::default();
    let times: &[(Option<&str>, &str, i64)] = &[
        (None, "1700000000123999999", 1_700_000_000_123),
        (Some(""), "1700000000123999999", 1_700_000_000_123),
        (Some("ns"), "999999", 0),
        (Some("n"), "1000000", 1),
        (Some("us"), "1700000000123999", 1_700_000_000_123),
        (Some("u"), "999", 0),
        (Some("µ"), "1000", 1),
        (Some("μ"), "1000", 1),
        (Some("ms"), "1700000000123", 1_700_000_000_123),
        (Some("s"), "1700000000", 1_700_000_000_000),
        (Some("m"), "2", 120_000),
        (Some("h"), "2", 7_200_000),
    ];
    for (precision, text, expected) in times {
        format.set_precision(*precision).unwrap();
        let (rows, _) = parse(&mut format, format!("a b=1 {text}").as_bytes());
        assert_eq!(rows, [row("a_b", *expected, 1.0)], "{precision:?}");
    }
    for (precision, text) in
        [("s", "9223372036854775"), ("s", "253402300800"), ("ms", "253402300800000"), ("ns", "-1")]
    {
        format.set_precision(Some(precision)).unwrap();
        let (_, taken) = parse(&mut format, format!("a b=1 {text}").as_bytes());
        assert_eq!((taken.refused, taken.named[0].at), (1, 6), "{text} {precision}: -1 ns is before 1970");
    }
    for unknown in ["NS", "d", "seconds", "1", &"x".repeat(1_000)] {
        let error = format.set_precision(Some(unknown)).unwrap_err();
        assert_eq!((error.status, error.code), (400, "bad_precision"));
        assert!(error.message.len() < 100);
    }
}

#[test]
fn a_body_whose_tags_would_fill_the_memory_is_refused_whole() {
    let tags: String = (0..60).map(|i| format!(",t{i}={}", "x".repeat(4_000))).collect();
    let fields = vec!["f=1"; 1_000].join(",");
    let mut sink = lines::Collected::default();
    let error = LineProtocol::default()
        .parse(format!("m{tags} {fields}").as_bytes(), ARRIVED, &mut sink)
        .unwrap_err();
    assert_eq!((error.status, error.code, error.at), (413, "batch_too_large", Some(0)));
    assert!(sink.0.is_empty());
}

#[test]
fn a_frame_takes_rows_as_it_takes_samples() {
    let body = b"cpu,host=a,Zone=b user=1,system=2i,idle=t 7000000\ncpu,host=b user=1\nmem free=3";
    let mut frame = Frame::new(1);
    frame.begin();
    let taken = LineProtocol::default().parse(body, TimestampMs(9), &mut frame).unwrap();
    assert_eq!((taken.samples, taken.refused), (5, 0));
    let encoded = frame.batches().next().unwrap().1.encode();
    let view = contracts::BatchView::parse(&encoded).unwrap();
    let found: Vec<Row> = view
        .samples()
        .map(|s| (view.labels(s.series).to_string(), s.timestamp.0, s.value.to_bits()))
        .collect();
    let expected = lines::parse(&mut LineProtocol::default(), body).0;
    let arrived_at_9 = |r: Row| (r.0, if r.1 == ARRIVED.0 { 9 } else { r.1 }, r.2);
    assert_eq!(found, expected.into_iter().map(arrived_at_9).collect::<Vec<_>>());
}

/// A line as a client has it before it is written.
#[derive(Clone, Debug)]
struct Line {
    measurement: String,
    tags: Vec<(String, String)>,
    fields: Vec<(String, Field)>,
    timestamp: Option<i64>,
}

#[derive(Clone, Debug)]
enum Field {
    Float(f64),
    Signed(i64),
    Unsigned(u64),
    Boolean(bool),
    Text(String),
}

/// Texts with everything that needs an escape. A backslash at the end would escape what follows it: that cannot be written.
fn text() -> impl Strategy<Value = String> {
    let any = prop_oneof![4 => "[a-z_][a-z0-9_]{0,9}", 1 => "[a-z ,=\\\\\"é#.-]{1,6}"];
    any.prop_filter("writable", |text| {
        !text.ends_with('\\') && !text.contains("\\ ") && !text.contains("\\,") && !text.contains("\\=")
    })
}

fn line() -> impl Strategy<Value = Line> {
    let field = prop_oneof![
        any::<f64>().prop_filter("finite", |f| f.is_finite()).prop_map(Field::Float),
        (0..10_000_u32).prop_map(|n| Field::Float(f64::from(n) / 100.0)),
        any::<i64>().prop_map(Field::Signed),
        any::<u64>().prop_map(Field::Unsigned),
        any::<bool>().prop_map(Field::Boolean),
        "[a-z\n\\\\\",= ]{0,9}".prop_map(Field::Text),
    ];
    let measurement = text().prop_filter("no comment", |text| !text.starts_with(['#', ' ']));
    let tags = vec((text(), text()), 0..4);
    (measurement, tags, vec((text(), field), 1..12), proptest::option::of(0..4_000_000_000_000_000_000_i64))
        .prop_map(|(measurement, tags, fields, timestamp)| Line { measurement, tags, fields, timestamp })
        .prop_filter("tags that stay different", |line| {
            let mut names: Vec<_> = line.tags.iter().map(|(name, _)| label_name(name)).collect();
            names.sort_unstable();
            names.windows(2).all(|pair| pair[0] != pair[1])
        })
}

impl Line {
    fn write(&self) -> String {
        let escaped = |text: &str| text.replace(',', "\\,").replace('=', "\\=").replace(' ', "\\ ");
        let tags = self.tags.iter().map(|(name, value)| format!(",{}={}", escaped(name), escaped(value)));
        let field = |field: &Field| match field {
            Field::Float(value) => format!("{value:?}"),
            Field::Signed(value) => format!("{value}i"),
            Field::Unsigned(value) => format!("{value}u"),
            Field::Boolean(value) => value.to_string(),
            Field::Text(value) => format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"")),
        };
        let fields: Vec<_> =
            self.fields.iter().map(|(k, v)| format!("{}={}", escaped(k), field(v))).collect();
        let timestamp = self.timestamp.map_or(String::new(), |t| format!(" {t}"));
        format!("{}{} {}{timestamp}", escaped(&self.measurement), tags.collect::<String>(), fields.join(","))
    }

    fn rows(&self) -> Vec<Row> {
        let timestamp = self.timestamp.map_or(ARRIVED.0, |ns| ns / 1_000_000);
        let numbers = self.fields.iter().filter_map(|(key, field)| {
            let value = match field {
                Field::Float(value) => *value,
                Field::Signed(value) => *value as f64,
                Field::Unsigned(value) => *value as f64,
                Field::Boolean(value) => f64::from(u8::from(*value)),
                Field::Text(_) => return None,
            };
            Some((key, value))
        });
        numbers
            .map(|(key, value)| {
                let name = metric_name(&format!("{}_{key}", self.measurement));
                let tags: Vec<_> =
                    self.tags.iter().map(|(name, value)| (label_name(name), value.clone())).collect();
                let pairs = tags.iter().map(|(name, value)| (name.as_str(), value.as_str()));
                let labels = contracts::Labels::new(pairs.chain([("__name__", name.as_str())])).unwrap();
                row(&labels.to_string(), timestamp, value)
            })
            .collect()
    }
}

fn label_name(written: &str) -> String {
    metric_name(written).replace(':', "_")
}

fn metric_name(written: &str) -> String {
    let digit = if written.starts_with(|c: char| c.is_ascii_digit()) { "_" } else { "" };
    let kept = |c: char| if c.is_ascii_alphanumeric() || c == ':' { c } else { '_' };
    digit.to_owned() + &written.chars().map(kept).collect::<String>()
}

/// Text that is nearly line protocol.
fn near_miss() -> impl Strategy<Value = Vec<u8>> {
    const PIECES: [&[u8]; 24] = [
        b"m,a=b f=1\n",
        b"m f=\"",
        b"\"\n",
        b"m",
        b",",
        b"=",
        b" ",
        b"\n",
        b"\r\n",
        b"\\",
        b"\"",
        b"#",
        b"1",
        b"-",
        b".",
        b"e",
        b"i",
        b"u",
        b"t",
        b"\xc3\xa9",
        b"\xff",
        b"a=1",
        b"\t",
        b"123456789012345678901234567890",
    ];
    vec(proptest::sample::select(&PIECES[..]), 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn what_was_written_comes_back(lines in vec(line(), 0..8)) {
        let body: String = lines.iter().map(|line| line.write() + "\n").collect();
        let (rows, taken) = parse(&mut LineProtocol::default(), body.as_bytes());
        prop_assert_eq!((taken.refused, taken.named), (0, vec![]), "{}", body);
        prop_assert_eq!(rows, lines.iter().flat_map(Line::rows).collect::<Vec<_>>(), "{}", body);
    }

    #[test]
    fn a_line_means_the_same_wherever_it_stands(
        lines in vec(prop_oneof![
            4 => "m,(a|ab)=(b|bc) (f|fg|h)=1(,(f|fg|h)=2)?( 1)?",
            1 => "(m|n)(,a=b)? f=[1x](,h=2)?",
            1 => "(m|mn)?,?(a|b)?=?[bc]?(\\\\ )? ?(f|g)?=?[0-9.eitu-]{0,4}",
        ], 0..12),
    ) {
        let together = parse(&mut LineProtocol::default(), lines.join("\n").as_bytes());
        let mut format = LineProtocol::default();
        let each: Vec<_> = lines.iter().map(|line| parse(&mut LineProtocol::default(), line.as_bytes())).collect();
        let warm: Vec<_> = lines.iter().map(|line| parse(&mut format, line.as_bytes())).collect();
        prop_assert_eq!(&each, &warm);
        prop_assert_eq!(&together.0, &each.iter().flat_map(|(rows, _)| rows.clone()).collect::<Vec<_>>());
        prop_assert_eq!(together.1.refused, each.iter().map(|(_, taken)| taken.refused).sum::<usize>());
    }

    #[test]
    fn nothing_panics_and_everything_is_counted(body in near_miss()) {
        let (rows, _) = parse(&mut LineProtocol::default(), &body);
        // What follows a body that ends with a line changes nothing of it.
        if body.ends_with(b"\n") && !body.contains(&b'"') {
            let (more, _) = parse(&mut LineProtocol::default(), &[&body, &b"last v=1"[..]].concat());
            prop_assert_eq!(&more[..rows.len()], &rows[..]);
            prop_assert_eq!(more.len(), rows.len() + 1);
        }
    }
}
