//! The formats that ingestion takes beside JSON: line protocol, Prometheus text, OpenMetrics, remote write.

use super::{
    HttpClaim,
    pipeline::wait_for,
    target::{Part, Target, expect, expect_error, now_ms},
};
use crate::{
    claim::{Check, ensure, equal},
    client::{Reply, Url},
};
use contracts::batch::STALE_NAN_BITS;
use serde_json::{Value, json};

const IN: &[Part] = &[Part::Ingest];
const IN_AND_OUT: &[Part] = &[Part::Ingest, Part::Query];

/// A claim about a format other than JSON.
const fn of_formats(says: &'static str, needs: &'static [Part], check: fn(&Target) -> Check) -> HttpClaim {
    HttpClaim { says, needs, samples: false, formats: true, check }
}

pub(super) const CLAIMS: &[HttpClaim] = &[
    of_formats("line protocol is answered with 204, in every precision", IN, line_protocol),
    of_formats("an unknown precision is refused as bad_precision", IN, precision),
    of_formats("a bad line is named by its number", IN, bad_lines),
    of_formats("Influx clients that ask whether somebody is here are told so", IN, ping),
    of_formats("Prometheus text and OpenMetrics are answered with 204", IN, exposition),
    of_formats("OpenMetrics that was cut short is refused whole as no_eof", IN, no_eof),
    of_formats("remote write is answered with 204", IN, remote_write),
    of_formats("what is no remote write is refused", IN, bad_remote_write),
    of_formats("bodies coded with gzip are taken, unknown codings are 415", IN, codings),
    of_formats("what came as line protocol is queried exactly", IN_AND_OUT, lines_are_queried),
    of_formats("what came as Prometheus text is queried exactly", IN_AND_OUT, text_is_queried),
    of_formats(
        "what came by remote write is queried exactly, stale markers too",
        IN_AND_OUT,
        remote_is_queried,
    ),
    of_formats("the neighbours of a bad line are taken", IN_AND_OUT, neighbours),
];

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

fn ingest(target: &Target) -> Result<&Url, String> {
    target.url(Part::Ingest).ok_or("no ingest service".to_owned())
}

fn post(target: &Target, path: &str, content_type: &str, body: &str) -> Result<Reply, String> {
    target.post(ingest(target)?, path, content_type, body.as_bytes())
}

fn is_written(what: &str, reply: &Reply) -> Check {
    expect(reply, 204).map_err(|why| format!("{what}: {why}"))?;
    equal(&format!("{what}: the body of a 204"), &reply.body, &Vec::new())
}

fn line_protocol(target: &Target) -> Check {
    for path in ["/write", "/api/v2/write"] {
        for (query, time) in [
            ("", "1758116723123000000"),
            ("?precision=ns", "1758116723123000000"),
            ("?db=any&precision=us", "1758116723123000"),
            ("?precision=ms&bucket=b&org=o", "1758116723123"),
            ("?precision=s", "1758116723"),
            ("", ""),
        ] {
            let body = format!("conformance_a,host=web\\ 1 f=1.5,i=-3i,u=7u,b=t,s=\"a \\\"b\\\"\" {time}\n");
            is_written(&body, &post(target, &format!("{path}{query}"), "text/plain", &body)?)?;
        }
    }
    for body in ["# nothing but a comment\n", "\n\n", ""] {
        is_written(&format!("{body:?}"), &post(target, "/write", "text/plain", body)?)?;
    }
    Ok(())
}

fn precision(target: &Target) -> Check {
    let reply = post(target, "/write?precision=weeks", "text/plain", "conformance_a f=1 1\n")?;
    expect_error("precision=weeks", &reply, 400, &["bad_precision"]).map(|_| ())
}

fn bad_lines(target: &Target) -> Check {
    for (path, good, bad) in [
        ("/write", "conformance_a f=1 1758116723123000000\n", "conformance_a f=1,=2 1758116723123000000\n"),
        ("/write", "conformance_a f=1 1758116723123000000\n", "conformance_a f=x\n"),
        ("/write", "conformance_a f=1 1758116723123000000\n", "nothing_but_a_name\n"),
        ("/api/v1/import/prometheus", "conformance_a 1 1758116723123\n", "conformance_a{x=1} 1\n"),
        ("/api/v1/import/prometheus", "conformance_a 1 1758116723123\n", "conformance_a one\n"),
        ("/api/v1/import/prometheus", "conformance_a 1 1758116723123\n", "a-b 1\n"),
    ] {
        let body = format!("{good}{good}{bad}{good}");
        let what = format!("{path}, bad line {bad:?}");
        let error = expect_error(&what, &post(target, path, "text/plain", &body)?, 400, &["partial_write"])?;
        let named = error["message"].as_str().is_some_and(|m| m.contains("line 3"));
        ensure(named, || format!("{what}: expected the message to name line 3, got {error}"))?;
        let (first, last) = (2 * good.len() as u64, (2 * good.len() + bad.len()) as u64);
        ensure(error["at"].as_u64().is_some_and(|at| (first..=last).contains(&at)), || {
            format!("{what}: expected an `at` from {first} to {last}, got {error}")
        })?;
    }
    Ok(())
}

fn ping(target: &Target) -> Check {
    let reply = target.get(ingest(target)?, "/ping")?;
    is_written("GET /ping", &reply)?;
    ensure(reply.header("x-influxdb-version").is_some(), || "expected X-Influxdb-Version".to_owned())
}

fn exposition(target: &Target) -> Check {
    let path = "/api/v1/import/prometheus";
    let text = "# HELP conformance_a What it \\\\ is.\n# TYPE conformance_a gauge\nconformance_a 1\n\
                conformance_a{host=\"a \\\"b\\\"\\n\",core=\"0\",} 1.5e3 1758116723123\nconformance_a NaN\nconformance_a{} +Inf\nconformance_a -Inf";
    is_written(text, &post(target, path, "text/plain; version=0.0.4", text)?)?;
    let open = "# TYPE conformance_a counter\n# UNIT conformance_a seconds\nconformance_a_total{x=\"1\"} 5 1758116723.123 # {trace_id=\"a\"} 1\n# EOF\n";
    is_written(open, &post(target, path, OPEN_METRICS, open)?)?;
    is_written("an empty body", &post(target, path, "text/plain", "")?)
}

fn no_eof(target: &Target) -> Check {
    let body = "conformance_a 1\nconformance_a 2\n";
    let reply = post(target, "/api/v1/import/prometheus", OPEN_METRICS, body)?;
    expect_error("OpenMetrics without # EOF", &reply, 400, &["no_eof"]).map(|_| ())
}

fn send_remote(target: &Target, body: &[u8]) -> Result<Reply, String> {
    let headers = [
        ("Content-Type", "application/x-protobuf"),
        ("Content-Encoding", "snappy"),
        ("X-Prometheus-Remote-Write-Version", "0.1.0"),
    ];
    target.call(ingest(target)?, "POST", "/api/v1/write", &headers, Some(body))
}

fn remote_write(target: &Target) -> Check {
    let one = series(&[("__name__", "conformance_a"), ("host", "web-1")], &[(1_758_116_723_123, 1.0)]);
    is_written("one series", &send_remote(target, &snappy(&one))?)?;
    let unsorted =
        series(&[("z", "1"), ("__name__", "conformance_a"), ("b", "")], &[(1, -0.0), (2, f64::NAN)]);
    is_written("two series", &send_remote(target, &snappy(&[one, unsorted].concat()))?)?;
    is_written("nothing", &send_remote(target, &snappy(b""))?)
}

fn bad_remote_write(target: &Target) -> Check {
    let good = series(&[("__name__", "conformance_a")], &[(1, 1.0)]);
    let cut = &good[..good.len() - 3];
    expect_error("cut protobuf", &send_remote(target, &snappy(cut))?, 400, &["bad_protobuf"])?;
    expect_error("no snappy", &send_remote(target, &good)?, 400, &["bad_encoding"])?;
    let nameless = series(&[("host", "a")], &[(1, 1.0)]);
    let reply = send_remote(target, &snappy(&[good, nameless].concat()))?;
    expect_error("a series without a name", &reply, 400, &["partial_write"])?;
    let reply = post(target, "/api/v1/write", "application/json", "{}")?;
    expect_error("remote write as JSON", &reply, 415, &["bad_content_type"]).map(|_| ())
}

/// `conformance_a f=1 1758116723123000000` and a line feed, as gzip wrote it.
const GZIPPED: &[u8] = &[
    0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0xff, 0x4b, 0xce, 0xcf, 0x4b, 0xcb, 0x2f, 0xca,
    0x4d, 0xcc, 0x4b, 0x4e, 0x8d, 0x4f, 0x54, 0x48, 0xb3, 0x35, 0x54, 0x30, 0x34, 0x37, 0xb5, 0x30, 0x34,
    0x34, 0x33, 0x37, 0x32, 0x36, 0x34, 0x32, 0x36, 0x00, 0x03, 0x2e, 0x00, 0x4f, 0x25, 0x3a, 0x47, 0x26,
    0x00, 0x00, 0x00,
];

fn codings(target: &Target) -> Check {
    let url = ingest(target)?;
    let coded = |coding: &str, body: &[u8]| {
        target.call(url, "POST", "/write", &[("Content-Encoding", coding)], Some(body))
    };
    is_written("gzip", &coded("gzip", GZIPPED)?)?;
    is_written("identity", &coded("identity", b"conformance_a f=1\n")?)?;
    expect_error("broken gzip", &coded("gzip", &GZIPPED[..20])?, 400, &["bad_encoding"])?;
    for unknown in ["zstd", "br", "gzip, gzip", "compress"] {
        expect_error(unknown, &coded(unknown, b"x")?, 415, &["bad_content_encoding"])?;
    }
    Ok(())
}

/// Labels without the name; times and the bits of values.
type Points = Vec<(Value, Vec<(i64, u64)>)>;

/// Labels and points of a metric, whatever order the series came in.
fn found(target: &Target, name: &str, count: usize, around: i64) -> Result<Points, String> {
    let mut lines: Points = wait_for(target, name, count, around)?
        .into_iter()
        .map(|(labels, points)| (labels, points.into_iter().map(|(at, v)| (at, v.to_bits())).collect()))
        .collect();
    lines.sort_by_key(|(labels, _)| labels.to_string());
    Ok(lines)
}

fn lines_are_queried(target: &Target) -> Check {
    let (name, now) = (target.fresh_name(), now_ms());
    let body = format!(
        "{name},host=web\\ 1,dc=a load.1=0.1,n=-3i,up=true,text=\"x\" {now}\n{name} load.1=2.5 {}\n",
        now + 10
    );
    is_written(&body, &post(target, "/write?precision=ms", "text/plain", &body)?)?;
    let labels = json!({"dc": "a", "host": "web 1"});
    let expected =
        [(json!({}), vec![(now + 10, 2.5_f64.to_bits())]), (labels.clone(), vec![(now, 0.1_f64.to_bits())])];
    let mut got = found(target, &format!("{name}_load_1"), 2, now)?;
    got.sort_by_key(|(labels, _)| labels.as_object().map_or(0, serde_json::Map::len));
    equal(&body, got.as_slice(), &expected)?;
    for (field, value) in [("n", -3.0_f64), ("up", 1.0)] {
        let got = found(target, &format!("{name}_{field}"), 1, now)?;
        equal(field, &got, &vec![(labels.clone(), vec![(now, value.to_bits())])])?;
    }
    Ok(())
}

fn text_is_queried(target: &Target) -> Check {
    let (name, now) = (target.fresh_name(), now_ms());
    let text = format!("{name}{{path=\"C:\\\\a\\n\\\"\"}} 1e-7 {now}\n");
    is_written(&text, &post(target, "/api/v1/import/prometheus", "text/plain", &text)?)?;
    let expected = vec![(json!({"path": "C:\\a\n\""}), vec![(now, 1e-7_f64.to_bits())])];
    equal(&text, &found(target, &name, 1, now)?, &expected)?;
    let other = target.fresh_name();
    let open = format!("{other} 4 {}.{:03}\n# EOF\n", now / 1000, now % 1000);
    is_written(&open, &post(target, "/api/v1/import/prometheus", OPEN_METRICS, &open)?)?;
    equal(&open, &found(target, &other, 1, now)?, &vec![(json!({}), vec![(now, 4.0_f64.to_bits())])])
}

fn remote_is_queried(target: &Target) -> Check {
    let (name, now) = (target.fresh_name(), now_ms());
    // A stale marker ends a series: queries do not show it, so the sample before it is what can be seen of it.
    let body = series(
        &[("__name__", &name), ("host", "ü")],
        &[(now, 0.1), (now + 10, 5e-324), (now + 20, f64::from_bits(STALE_NAN_BITS))],
    );
    is_written("three samples", &send_remote(target, &snappy(&body))?)?;
    let got = found(target, &name, 2, now)?;
    let [(labels, points)] = &got[..] else { return Err(format!("expected one series, got {got:?}")) };
    equal("labels", labels, &json!({"host": "ü"}))?;
    let expected = [(now, 0.1_f64.to_bits()), (now + 10, 5e-324_f64.to_bits())];
    equal("the samples before the marker", &points[..2], &expected)
}

fn neighbours(target: &Target) -> Check {
    let (name, now) = (target.fresh_name(), now_ms());
    let body = format!("{name} v=1 {now}\n{name} v= {now}\n{name} v=3 {}\n", now + 20);
    let reply = post(target, "/write?precision=ms", "text/plain", &body)?;
    expect_error(&body, &reply, 400, &["partial_write"])?;
    let got = found(target, &format!("{name}_v"), 2, now)?;
    equal(&body, &got, &vec![(json!({}), vec![(now, 1.0_f64.to_bits()), (now + 20, 3.0_f64.to_bits())])])
}

/// A `TimeSeries` as field 1 of a `WriteRequest`.
fn series(labels: &[(&str, &str)], samples: &[(i64, f64)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, value) in labels {
        let label = [field(1, name.as_bytes()), field(2, value.as_bytes())].concat();
        body.extend(field(1, &label));
    }
    for (at, value) in samples {
        let mut sample = vec![0x09];
        sample.extend(value.to_le_bytes());
        sample.push(0x10);
        varint(at.cast_unsigned(), &mut sample);
        body.extend(field(2, &sample));
    }
    field(1, &body)
}

/// A field of bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    varint(bytes.len() as u64, &mut out);
    out.extend_from_slice(bytes);
    out
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

/// Snappy's block format with nothing compressed: the length, then literals of at most 60 bytes.
fn snappy(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    varint(bytes.len() as u64, &mut out);
    for literal in bytes.chunks(60) {
        out.push((literal.len() as u64 - 1).to_le_bytes()[0] << 2);
        out.extend_from_slice(literal);
    }
    out
}
