//! `POST /metrics`: JSON in, 202 or the byte at which it went wrong.

use super::{
    HttpClaim, claim,
    target::{Part, Target, expect, expect_error},
};
use crate::{
    claim::{Check, ensure, equal},
    client::{Reply, Url},
};
use contracts::limits::{CLIENT_ID_BYTES_MAX, JSON_DEPTH_MAX, LABEL_VALUE_BYTES_MAX, LABELS_PER_SERIES_MAX};
use serde_json::json;

const NEEDS: &[Part] = &[Part::Ingest];

pub(super) const CLAIMS: &[HttpClaim] = &[
    claim("one metric, an array and an object of metrics are accepted and counted", NEEDS, shapes),
    claim("nothing in a well-formed body is accepted as nothing", NEEDS, empty_shapes),
    claim("values may be any finite number, or NaN and infinities as text", NEEDS, values),
    claim("timestamps may be RFC 3339, milliseconds, or left out", NEEDS, timestamps),
    claim("labels, tags, client_id, type and unknown fields are accepted", NEEDS, optional_fields),
    claim("strings may hold escapes and any text", NEEDS, strings),
    claim("limits are accepted up to themselves", NEEDS, limits),
    claim("a body of many metrics is accepted whole", NEEDS, many),
    claim("what is no JSON is refused as bad_json at its byte", NEEDS, bad_json),
    claim("what is no UTF-8 or no Unicode is refused as bad_json", NEEDS, bad_text),
    claim("a key given twice is refused as duplicate_key", NEEDS, duplicate_keys),
    claim("nesting beyond the limit is refused as too_deep", NEEDS, too_deep),
    claim("a missing name or value is refused as missing_field", NEEDS, missing_fields),
    claim("a field of a wrong type is refused as bad_type", NEEDS, bad_types),
    claim("bad names, labels, timestamps and numbers are refused each as itself", NEEDS, bad_values),
    claim("the place of an error is in the bad metric, not in its good neighbours", NEEDS, place),
    claim("an empty body is refused as empty_body", NEEDS, empty_body),
    claim("content types that may be JSON are taken, others are 415", NEEDS, content_types),
];

/// Marks the bytes of a body among which an error must name one; the marks themselves are not sent.
const FROM: char = '⟦';
const TO: char = '⟧';

fn ingest(target: &Target) -> Result<&Url, String> {
    target.url(Part::Ingest).ok_or("no ingest service".to_owned())
}

fn send(target: &Target, body: &[u8]) -> Result<Reply, String> {
    target.post(ingest(target)?, "/metrics", "application/json", body)
}

fn accepted(target: &Target, body: &str, count: usize) -> Check {
    let what = || format!("POST /metrics of {body:.200}");
    let reply = send(target, body.as_bytes()).map_err(|why| format!("{}: {why}", what()))?;
    let got = expect(&reply, 202).map_err(|why| format!("{}: {why}", what()))?.json()?;
    equal(&what(), &got, &json!({"accepted": count}))
}

/// Refused with one of these codes at a byte between the marks, or anywhere in the body without marks.
fn is_refused(target: &Target, marked: &str, codes: &[&str]) -> Check {
    let first = marked.find(FROM).unwrap_or(0);
    let last = marked.find(TO).map_or(marked.len(), |at| at - FROM.len_utf8());
    let body = marked.replace([FROM, TO], "");
    let what = format!("POST /metrics of {body:.200}");
    let error = expect_error(&what, &send(target, body.as_bytes())?, 400, codes)?;
    let at = error["at"].as_u64().and_then(|at| usize::try_from(at).ok());
    ensure(at.is_some_and(|at| (first..=last).contains(&at)), || {
        format!("{what}: expected an `at` from {first} to {last}, got {error}")
    })
}

fn shapes(target: &Target) -> Check {
    for (body, count) in [
        (r#"{"name":"conformance_a","value":1}"#, 1),
        (r#"[{"name":"conformance_a","value":1},{"name":"conformance_b","value":2}]"#, 2),
        (
            r#"{"metrics":[{"name":"conformance_a","value":1},{"name":"conformance_a","value":2},{"name":"conformance_b","value":2}]}"#,
            3,
        ),
        (r#"{"timestamp":"2025-09-17T13:45:23.123Z","name":"conformance_cpu_usage","value":75.5}"#, 1),
        (" \t\r\n{ \"value\" : 1 ,\n\"name\" : \"conformance_a\" }\n ", 1),
        (r#"{"value":1,"metrics":2,"name":"conformance_a"}"#, 1),
    ] {
        if body.contains("\"metrics\":2") {
            // A field that has a meaning elsewhere: ignored or refused, but never counted wrongly.
            let reply = send(target, body.as_bytes())?;
            ensure(matches!(reply.status, 202 | 400), || {
                format!("{body}: expected 202 or 400, got {}", reply.status)
            })?;
            continue;
        }
        accepted(target, body, count)?;
    }
    Ok(())
}

fn empty_shapes(target: &Target) -> Check {
    ["[]", r#"{"metrics":[]}"#, " [ ] ", "{\"metrics\" : [\n]}"]
        .iter()
        .try_for_each(|body| accepted(target, body, 0))
}

fn values(target: &Target) -> Check {
    for value in [
        "0",
        "-0",
        "1",
        "-1",
        "0.1",
        "1.5e3",
        "1E+3",
        "1e-3",
        "-1.0E-2",
        "123456789012345678901234567890",
        "1.7976931348623157e308",
        "5e-324",
        "1e-999",
        "0.1000000000000000055511151231257827",
        "\"NaN\"",
        "\"+Inf\"",
        "\"-Inf\"",
    ] {
        accepted(target, &format!(r#"{{"name":"conformance_a","value":{value}}}"#), 1)?;
    }
    Ok(())
}

fn timestamps(target: &Target) -> Check {
    for timestamp in [
        "0",
        "1758116723123",
        "253402300799999",
        "\"2025-09-17T13:45:23.123Z\"",
        "\"2025-09-17T13:45:23Z\"",
        "\"2025-09-17t13:45:23.123456789z\"",
        "\"2025-09-17T15:45:23+02:00\"",
        "\"2024-02-29T00:00:00-08:00\"",
        "\"1970-01-01T00:00:00Z\"",
        "\"9999-12-31T23:59:59.999Z\"",
        "\"2025-06-30T23:59:60Z\"",
    ] {
        accepted(target, &format!(r#"{{"name":"conformance_a","value":1,"timestamp":{timestamp}}}"#), 1)?;
    }
    Ok(())
}

fn optional_fields(target: &Target) -> Check {
    for fields in [
        r#""labels":{}"#,
        r#""labels":{"host":"a","core":"0"}"#,
        r#""tags":{"host":"a"}"#,
        r#""labels":{"empty":""}"#,
        r#""client_id":"agent-1""#,
        r#""type":"gauge""#,
        r#""unit":"percent","nested":{"any":[1,true,null,{"x":"y"}]},"":0"#,
    ] {
        accepted(target, &format!(r#"{{"name":"conformance_a","value":1,{fields}}}"#), 1)?;
    }
    Ok(())
}

fn strings(target: &Target) -> Check {
    for value in [
        r#"a\"b\\c\/d\b\f\n\r\t"#,
        r"é\u00e9\u20ac",
        r"\ud83e\udd80 🦀",
        r"\u0000",
        "\u{7f}",
        "{}[],:",
        "\u{10ffff}",
        "\u{feff}",
    ] {
        accepted(
            target,
            &format!(r#"{{"name":"conformance_a","value":1,"labels":{{"text":"{value}"}}}}"#),
            1,
        )?;
    }
    accepted(target, r#"{"n\u0061me":"conformance_a","v\u0061lue":1,"labels":{"\u0061":"b"}}"#, 1)
}

fn limits(target: &Target) -> Check {
    let with = |fields: &str| format!(r#"{{"name":"conformance_a","value":1,{fields}}}"#);
    let labels = |count: usize| (0..count).map(|i| format!("\"l{i}\":\"v\"")).collect::<Vec<_>>().join(",");
    // The metric name is a label, too.
    accepted(target, &with(&format!(r#""labels":{{{}}}"#, labels(LABELS_PER_SERIES_MAX - 1))), 1)?;
    accepted(target, &with(&format!(r#""labels":{{"a":"{}"}}"#, "v".repeat(LABEL_VALUE_BYTES_MAX))), 1)?;
    accepted(target, &with(&format!(r#""labels":{{"{}":"v"}}"#, "n".repeat(255))), 1)?;
    accepted(target, &with(&format!(r#""client_id":"{}""#, "c".repeat(CLIENT_ID_BYTES_MAX))), 1)?;
    accepted(target, &format!(r#"{{"name":"{}","value":1}}"#, "n".repeat(LABEL_VALUE_BYTES_MAX)), 1)?;
    // The metric's own object is the first level.
    accepted(target, &with(&format!(r#""x":{}"#, nested(JSON_DEPTH_MAX - 1))), 1)?;
    is_refused(target, &with(&format!(r#""labels":{{{}}}"#, labels(LABELS_PER_SERIES_MAX))), &["bad_label"])?;
    let too_long = "v".repeat(LABEL_VALUE_BYTES_MAX + 1);
    is_refused(target, &with(&format!(r#""labels":{{"a":"{too_long}"}}"#)), &["bad_label"])?;
    is_refused(target, &with(&format!(r#""labels":{{"{}":"v"}}"#, "n".repeat(256))), &["bad_label"])?;
    is_refused(
        target,
        &format!(r#"{{"name":"{}","value":1}}"#, "n".repeat(LABEL_VALUE_BYTES_MAX + 1)),
        &["bad_name"],
    )
}

fn many(target: &Target) -> Check {
    let one = r#"{"name":"conformance_many","value":1,"labels":{"host":"a"}}"#;
    accepted(target, &format!("[{}]", vec![one; 5_000].join(",")), 5_000)
}

fn bad_json(target: &Target) -> Check {
    for body in [
        "⟦x⟧",
        "{⟦⟧",
        "[⟦⟧",
        r#"{⟦"name"#,
        r#"{"name":"a","value":1⟦⟧"#,
        r#"[{"name":"a","value":1}⟦⟧"#,
        r#"[{"name":"a","value":1},⟦]⟧"#,
        r#"{"name":"a","value":1,⟦}⟧"#,
        r#"{"name":"a" ⟦"⟧value":1}"#,
        r#"{"name" ⟦"⟧a","value":1}"#,
        r#"{"name":"a","value":1}⟦x⟧"#,
        r#"{"name":"a","value":1} ⟦{⟧}"#,
        r#"{"name":"a","value":1}⟦,⟧"#,
        r#"{⟦n⟧ame:"a","value":1}"#,
        r#"{⟦'⟧name':"a","value":1}"#,
        r#"{"name":"a","value":⟦tru⟧}"#,
        r#"{"name":"a","value":1,"x":⟦nul}⟧"#,
        r#"{"name":"a","value":1,"x":⟦True⟧}"#,
        r#"{"name":"a","value":1,"x":⟦NaN⟧}"#,
        r#"{"name":"a","value":1,"x":"⟦\x⟧41"}"#,
        r#"{"name":"a","value":1,"x":"⟦\u12⟧"}"#,
        r#"{"name":"a","value":1,"x":"⟦\u+123⟧"}"#,
        "{\"name\":\"a\",\"value\":1,\"x\":\"a⟦\n⟧b\"}",
        "{\"name\":\"a\",\"value\":1,\"x\":\"a⟦\0⟧b\"}",
        "{\"name\":\"a\",⟦//⟧ comment\n\"value\":1}",
        r#"{"name":"a","value":1,⟦,⟧"x":1}"#,
        r#"{"name":⟦:⟧"a","value":1}"#,
        r#"[{"name":"a","value":1}⟦}⟧"#,
        "⟦\u{feff}⟧{\"name\":\"a\",\"value\":1}",
        "⟦\u{a0}⟧{\"name\":\"a\",\"value\":1}",
    ] {
        is_refused(target, body, &["bad_json"])?;
    }
    for number in [
        "01", "+1", ".5", "1.", "1e", "1e+", "-", "--1", "0x1", "1_000", "1,5", "NaN", "Infinity", "-Inf",
        "1.2.3", "1a",
    ] {
        let body = format!(r#"{{"name":"a","value":⟦{number}⟧}}"#);
        is_refused(target, &body, &["bad_json", "bad_number"])?;
    }
    Ok(())
}

fn bad_text(target: &Target) -> Check {
    for lone in [r"\ud800", r"\udc00", r"\ud800\u0041", r"\ud800x", r"\udbff\ud800", r"\ud83e\\udd80"] {
        is_refused(
            target,
            &format!(r#"{{"name":"a","value":1,"labels":{{"a":"⟦{lone}⟧"}}}}"#),
            &["bad_json"],
        )?;
    }
    for bytes in [&b"\xff"[..], b"\xc3", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\x80"] {
        let body = [br#"{"name":"a","value":1,"labels":{"a":"b"#, bytes, br#""}}"#].concat();
        let what = format!("a label value with the bytes {bytes:x?}");
        expect_error(&what, &send(target, &body)?, 400, &["bad_json"])?;
    }
    Ok(())
}

fn duplicate_keys(target: &Target) -> Check {
    for body in [
        r#"{"name":"a","value":1,⟦"value":2⟧}"#,
        r#"{"name":"a",⟦"name":"a"⟧,"value":1}"#,
        r#"{"name":"a","value":1,"timestamp":1,⟦"timestamp":1⟧}"#,
        r#"{"name":"a","value":1,"labels":{"a":"1",⟦"a":"2"⟧}}"#,
        r#"{"name":"a","value":1,"labels":{"a":"1",⟦"\u0061":"2"⟧}}"#,
        r#"{"name":"a","value":1,"labels":{},⟦"labels":{}⟧}"#,
        r#"{"name":"a","value":1,⟦"labels":{"a":"1"},"tags":{"b":"2"}⟧}"#,
        r#"{"name":"a","value":1,⟦"tags":{},"labels":{}⟧}"#,
        r#"{"name":"a","value":1,⟦"n\u0061me":"b"⟧}"#,
    ] {
        is_refused(target, body, &["duplicate_key"])?;
    }
    Ok(())
}

fn too_deep(target: &Target) -> Check {
    for depth in [JSON_DEPTH_MAX, 1000] {
        let body = format!(r#"{{"name":"a","value":1,"x":⟦{}⟧}}"#, nested(depth));
        is_refused(target, &body, &["too_deep"])?;
    }
    for hostile in
        ["[".repeat(1 << 20), "{\"a\":".repeat(1 << 18), format!("{{\"metrics\":{}", "[".repeat(1 << 20))]
    {
        let reply = send(target, hostile.as_bytes())?;
        expect_error("a megabyte of brackets", &reply, 400, &["too_deep", "bad_type", "bad_json"])?;
    }
    Ok(())
}

fn missing_fields(target: &Target) -> Check {
    for body in [
        "{}",
        r#"{"name":"a"}"#,
        r#"{"value":1}"#,
        "[{}]",
        r#"{"metrics":[{}]}"#,
        r#"[{"name":"a","value":1},⟦{"name":"b"}⟧]"#,
        r#"{"Name":"a","Value":1}"#,
    ] {
        is_refused(target, body, &["missing_field"])?;
    }
    Ok(())
}

fn bad_types(target: &Target) -> Check {
    for body in [
        "⟦1⟧",
        "⟦\"a\"⟧",
        "⟦null⟧",
        "⟦true⟧",
        "[⟦1⟧]",
        "[⟦null⟧]",
        "[⟦[]⟧]",
        r#"{"metrics":⟦1⟧}"#,
        r#"{"metrics":⟦{}⟧}"#,
        r#"{"metrics":[⟦"a"⟧]}"#,
        r#"{"name":⟦1⟧,"value":1}"#,
        r#"{"name":⟦null⟧,"value":1}"#,
        r#"{"name":"a","value":⟦true⟧}"#,
        r#"{"name":"a","value":⟦null⟧}"#,
        r#"{"name":"a","value":⟦[1]⟧}"#,
        r#"{"name":"a","value":⟦{}⟧}"#,
        r#"{"name":"a","value":1,"labels":⟦1⟧}"#,
        r#"{"name":"a","value":1,"labels":⟦[]⟧}"#,
        r#"{"name":"a","value":1,"labels":⟦"a=b"⟧}"#,
        r#"{"name":"a","value":1,"labels":{"a":⟦1⟧}}"#,
        r#"{"name":"a","value":1,"labels":{"a":⟦null⟧}}"#,
        r#"{"name":"a","value":1,"labels":{"a":⟦{}⟧}}"#,
        r#"{"name":"a","value":1,"client_id":⟦1⟧}"#,
    ] {
        // Where several types are right, a wrong one may also count as a wrong value.
        is_refused(target, body, &["bad_type", "bad_number"])?;
    }
    for value in ["\"1\"", "\"\"", "\"nan\"", "\"Infinity\"", "\"abc\"", "\"0x1\""] {
        is_refused(target, &format!(r#"{{"name":"a","value":⟦{value}⟧}}"#), &["bad_type", "bad_number"])?;
    }
    for timestamp in ["true", "null", "[]", "{}", "1.5"] {
        let body = format!(r#"{{"name":"a","value":1,"timestamp":⟦{timestamp}⟧}}"#);
        is_refused(target, &body, &["bad_type", "bad_timestamp"])?;
    }
    Ok(())
}

fn bad_values(target: &Target) -> Check {
    for name in ["", "9a", "a-b", "a b", "é", "a\\u0000", "a{b=\\\"c\\\"}", "a\\n", "-", "a.b"] {
        is_refused(target, &format!(r#"{{"name":"{name}","value":1}}"#), &["bad_name"])?;
    }
    for label in ["", "9a", "a-b", "a b", "é", "a:b", "__name__", "a\\n"] {
        let body = format!(r#"{{"name":"a","value":1,"labels":{{"{label}":"x"}}}}"#);
        is_refused(target, &body, &["bad_label"])?;
    }
    for timestamp in [
        "-1",
        "253402300800000",
        "99999999999999999999",
        "-99999999999999999999",
        "\"\"",
        "\"yesterday\"",
        "\"1758116723123\"",
        "\"2025-09-17\"",
        "\"2025-09-17T13:45:23\"",
        "\"2025-02-29T00:00:00Z\"",
        "\"2025-13-01T00:00:00Z\"",
        "\"2025-09-17T24:00:00Z\"",
        "\"2025-09-17T13:45:23.Z\"",
        "\"2025-09-17T13:45:23+2\"",
        "\"1969-12-31T23:59:59.999Z\"",
        "\"9999-12-31T23:59:59-00:01\"",
        "\" 2025-09-17T13:45:23Z\"",
        "\"2025-09-17T13:45:23Zé\"",
    ] {
        let body = format!(r#"{{"name":"a","value":1,"timestamp":⟦{timestamp}⟧}}"#);
        is_refused(target, &body, &["bad_timestamp"])?;
    }
    for number in ["1e999", "-1e999", "1e400", &"9".repeat(400)] {
        is_refused(target, &format!(r#"{{"name":"a","value":⟦{number}⟧}}"#), &["bad_number"])?;
    }
    let long = "c".repeat(CLIENT_ID_BYTES_MAX + 1);
    is_refused(target, &format!(r#"{{"name":"a","value":1,"client_id":"{long}"}}"#), &["bad_client_id"])
}

fn place(target: &Target) -> Check {
    let good = r#"{"name":"conformance_never","value":1}"#;
    for bad in [
        r#"{"name":"a-b","value":1}"#,
        r#"{"name":"a"}"#,
        r#"{"name":"a","value":"x"}"#,
        r#"{"name":"é","value":1e999}"#,
    ] {
        // Which of its errors is told is another claim's matter.
        let codes = ["bad_name", "bad_label", "missing_field", "bad_type", "bad_number"];
        for (before, after) in [(0, 3), (2, 2), (50, 0)] {
            let neighbours = |count| vec![good; count];
            let marked = format!("⟦{bad}⟧");
            let all = [neighbours(before), vec![marked.as_str()], neighbours(after)].concat().join(",\n");
            is_refused(target, &format!("[{all}]"), &codes)?;
            is_refused(target, &format!("{{\"metrics\":[{all}]}}"), &codes)?;
        }
    }
    // Characters of several bytes before it: `at` counts bytes.
    is_refused(target, r#"[{"name":"b","value":1,"x":"🦀🦀🦀"},⟦{"name":"a-b","value":1}⟧]"#, &["bad_name"])
}

fn empty_body(target: &Target) -> Check {
    expect_error("an empty body", &send(target, b"")?, 400, &["empty_body"])?;
    expect_error("a body of white space", &send(target, b" \r\n\t ")?, 400, &["empty_body", "bad_json"])
        .map(|_| ())
}

fn content_types(target: &Target) -> Check {
    let body = br#"{"name":"conformance_a","value":1}"#;
    let url = ingest(target)?;
    expect(&target.call(url, "POST", "/metrics", &[], Some(body))?, 202)
        .map_err(|why| format!("no Content-Type: {why}"))?;
    for good in [
        "application/json",
        "application/json; charset=utf-8",
        "APPLICATION/JSON",
        "text/plain",
        "application/x-www-form-urlencoded",
    ] {
        expect(&target.post(url, "/metrics", good, body)?, 202).map_err(|why| format!("{good}: {why}"))?;
    }
    for bad in [
        "image/png",
        "application/xml",
        "application/octet-stream",
        "text/html",
        "multipart/form-data; boundary=x",
    ] {
        expect_error(bad, &target.post(url, "/metrics", bad, body)?, 415, &["bad_content_type"])?;
    }
    Ok(())
}

fn nested(depth: usize) -> String {
    "[".repeat(depth) + &"]".repeat(depth)
}
