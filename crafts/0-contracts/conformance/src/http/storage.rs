//! The storage service. What is written stays, so every claim uses a metric of its own.

use super::{
    HttpClaim, claim,
    target::{BATCH, Part, Target, expect, expect_error, now_ms},
};
use crate::{
    claim::{Check, Explain, ensure, equal},
    client::{Reply, Url},
    rows::{Row, batch_of, metric},
};
use contracts::{BatchView, Labels, batch::STALE_NAN_BITS, queue::payload_at};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

const NEEDS: &[Part] = &[Part::Storage];

pub(super) const CLAIMS: &[HttpClaim] = &[
    claim("what was written is queried exactly, bits and times", NEEDS, exact),
    claim("what was written without sync is queried after one", NEEDS, unsynced),
    claim("both ends of a range are included", NEEDS, both_ends),
    claim("matchers of all four kinds select", NEEDS, matchers),
    claim("a replay changes nothing and the last write wins", NEEDS, last_write_wins),
    claim("series tells the labels of what matches", NEEDS, series),
    claim("labels with any text come back", NEEDS, labels),
    claim("more samples than asked for are 422 with the bound", NEEDS, too_many),
    claim("what is no batch is 400, wherever it breaks, and nothing of it is taken", NEEDS, bad_batches),
    claim("what is no selection is 400", NEEDS, bad_selects),
];

const BATCHES: &str = "application/vnd.systems-craft.batches";

/// Bits by time by labels.
type Found = BTreeMap<Labels, BTreeMap<i64, u64>>;

fn storage(target: &Target) -> Result<&Url, String> {
    target.url(Part::Storage).ok_or("no storage service".to_owned())
}

fn write(target: &Target, path: &str, rows: &[Row]) -> Check {
    let reply = target.post(storage(target)?, path, BATCH, &batch_of(rows)?.encode())?;
    expect(&reply, 204).map(|_| ())
}

fn select(name: &str, more: &[(&str, &str, &str)], start: i64, end: i64) -> Value {
    let all = [&[("__name__", "=", name)], more].concat();
    let matchers: Vec<_> = all.iter().map(|(n, op, v)| json!({"name": n, "op": op, "value": v})).collect();
    json!({"matchers": matchers, "start": start, "end": end})
}

fn everything(name: &str) -> Value {
    select(name, &[], 0, 253_402_300_799_999)
}

fn query(target: &Target, select: &Value) -> Result<Found, String> {
    let reply = target.post_json(storage(target)?, "/query", select)?;
    let kind =
        expect(&reply, 200).map_err(|why| format!("POST /query of {select}: {why}"))?.header("content-type");
    equal("Content-Type of the answer", &kind, &Some(BATCHES))?;
    decode(&reply.body)
}

/// Reads `length u32 · batch`, repeated; a series' samples lie one behind the other and ascend.
fn decode(body: &[u8]) -> Result<Found, String> {
    let (mut found, mut at) = (Found::new(), 0);
    let mut current: Option<Labels> = None;
    while at < body.len() {
        let bytes =
            payload_at(body, at).ok_or(format!("the batch at byte {at} of the answer is cut short"))?;
        let batch = BatchView::parse(bytes).explain("reading a batch of the answer")?;
        for sample in batch.samples() {
            let labels = batch.labels(sample.series).to_labels();
            if current.as_ref() != Some(&labels) {
                ensure(!found.contains_key(&labels), || {
                    format!("the samples of {labels} do not lie together")
                })?;
                current = Some(labels.clone());
            }
            let samples = found.entry(labels).or_default();
            let rises = samples.last_key_value().is_none_or(|(last, _)| *last < sample.timestamp.0);
            ensure(rises, || format!("a sample at {} does not follow those before it", sample.timestamp))?;
            samples.insert(sample.timestamp.0, sample.value.to_bits());
        }
        at += 4 + bytes.len();
    }
    Ok(found)
}

fn found_of(rows: &[Row]) -> Found {
    let mut found = Found::new();
    for (labels, at, value) in rows {
        found.entry(labels.clone()).or_default().insert(*at, value.to_bits());
    }
    found
}

fn exact(target: &Target) -> Check {
    let (name, now) = (target.fresh_name(), now_ms());
    let values = [
        0.0,
        -0.0,
        0.1,
        f64::MAX,
        f64::MIN_POSITIVE / 4.0,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::NAN,
        f64::from_bits(STALE_NAN_BITS),
    ];
    let rows: Vec<Row> = (0..)
        .zip(values)
        .flat_map(|(i, value)| {
            ["a", "b"].map(|host| (metric(&name, &[("host", host)]), now + i * 1000, value))
        })
        .collect();
    write(target, "/write", &rows)?;
    equal("everything", &query(target, &everything(&name))?, &found_of(&rows))?;
    equal("a metric that nobody wrote", &query(target, &everything(&target.fresh_name()))?, &Found::new())
}

fn unsynced(target: &Target) -> Check {
    let (name, now) = (target.fresh_name(), now_ms());
    let rows: Vec<Row> = (0..10).map(|i| (metric(&name, &[]), now + i, i as f64)).collect();
    write(target, "/write?sync=false", &rows)?;
    expect(&target.post(storage(target)?, "/sync", "application/json", b"")?, 204)?;
    equal("everything after the sync", &query(target, &everything(&name))?, &found_of(&rows))
}

fn both_ends(target: &Target) -> Check {
    let (name, now) = (target.fresh_name(), now_ms());
    let rows: Vec<Row> = (0..5).map(|i| (metric(&name, &[]), now + i * 10, i as f64)).collect();
    write(target, "/write", &rows)?;
    for (start, end) in [(10, 30), (11, 29), (0, 0), (41, 50), (30, 10)] {
        let inside: Vec<Row> =
            rows.iter().filter(|r| (now + start..=now + end).contains(&r.1)).cloned().collect();
        let found = query(target, &select(&name, &[], now + start, now + end))?;
        equal(&format!("samples from {start} to {end}"), &found, &found_of(&inside))?;
    }
    Ok(())
}

fn matchers(target: &Target) -> Check {
    let (name, now) = (target.fresh_name(), now_ms());
    let rows: Vec<Row> =
        ["a", "b", "ab", ""].map(|host| (metric(&name, &[("host", host)]), now, 1.0)).to_vec();
    write(target, "/write", &rows)?;
    let cases: [(&str, &str, &[usize]); 7] = [
        ("=", "a", &[0]),
        ("=", "", &[3]),
        ("!=", "a", &[1, 2, 3]),
        ("=~", "a|b", &[0, 1]),
        ("=~", "a.*", &[0, 2]),
        ("!~", "a.*", &[1, 3]),
        ("!~", ".+", &[3]),
    ];
    for (op, value, expected) in cases {
        let expected: Vec<Row> = expected.iter().map(|i| rows[*i].clone()).collect();
        let found = query(target, &select(&name, &[("host", op, value)], now, now))?;
        equal(&format!("series with host{op}{value:?}"), &found, &found_of(&expected))?;
    }
    Ok(())
}

fn last_write_wins(target: &Target) -> Check {
    let (name, now) = (target.fresh_name(), now_ms());
    let row = |at: i64, value: f64| (metric(&name, &[]), now + at, value);
    let first = [row(20, 2.0), row(10, 1.0), row(0, 0.0)];
    for _ in 0..2 {
        write(target, "/write", &first)?;
    }
    equal("after a replay, out of order", &query(target, &everything(&name))?, &found_of(&first))?;
    write(target, "/write", &[row(10, 7.0), row(10, 8.0)])?;
    let expected = [row(0, 0.0), row(10, 8.0), row(20, 2.0)];
    equal("after a rewrite", &query(target, &everything(&name))?, &found_of(&expected))
}

fn series(target: &Target) -> Check {
    let (name, now) = (target.fresh_name(), now_ms());
    let rows: Vec<Row> = ["a", "b"].map(|host| (metric(&name, &[("host", host)]), now, 1.0)).to_vec();
    write(target, "/write", &rows)?;
    let ask = |select: &Value| -> Result<BTreeSet<Labels>, String> {
        let reply = target.post_json(storage(target)?, "/series", select)?;
        let body = expect(&reply, 200)?.json()?;
        let listed: Vec<Labels> = serde_json::from_value(body["series"].clone()).explain("reading series")?;
        let found: BTreeSet<_> = listed.iter().cloned().collect();
        equal("number of series, each once", &found.len(), &listed.len())?;
        Ok(found)
    };
    equal("series", &ask(&everything(&name))?, &rows.iter().map(|r| r.0.clone()).collect())?;
    let b = select(&name, &[("host", "=", "b")], now, now);
    equal("series of host b", &ask(&b)?, &BTreeSet::from([rows[1].0.clone()]))?;
    equal("series of another time", &ask(&select(&name, &[], now + 1, now + 2))?, &BTreeSet::new())
}

fn labels(target: &Target) -> Check {
    let (name, now) = (target.fresh_name(), now_ms());
    let long = "v".repeat(4096);
    let texts = ["ünï 🦀", "a\"b'c`", "two\nlines\r\t", r"back\slash", "nul\0", " ", "{a=\"b\"}", &long];
    let rows: Vec<Row> = texts.iter().map(|t| (metric(&name, &[("text", t)]), now, 1.0)).collect();
    write(target, "/write", &rows)?;
    equal("everything", &query(target, &everything(&name))?, &found_of(&rows))?;
    for row in &rows {
        let text = row.0.view().get("text");
        let found = query(target, &select(&name, &[("text", "=", text)], now, now))?;
        equal(&format!("the series with text={text:.20?}"), &found, &found_of(std::slice::from_ref(row)))?;
    }
    Ok(())
}

fn too_many(target: &Target) -> Check {
    let (name, now) = (target.fresh_name(), now_ms());
    let rows: Vec<Row> = (0..20).map(|i| (metric(&name, &[]), now + i, 1.0)).collect();
    write(target, "/write", &rows)?;
    let mut select = everything(&name);
    select["samples_max"] = json!(19);
    let reply = target.post_json(storage(target)?, "/query", &select)?;
    let error = expect_error("20 samples, at most 19", &reply, 422, &["too_many_samples"])?;
    equal("its detail", &error["detail"], &json!({"too_many_samples": 19}))?;
    select["samples_max"] = json!(20);
    equal("20 samples, at most 20", &query(target, &select)?, &found_of(&rows))
}

fn bad_batches(target: &Target) -> Check {
    let (name, now) = (target.fresh_name(), now_ms());
    let rows: Vec<Row> = (0..3).map(|i| (metric(&name, &[("host", "a")]), now + i, 1.0)).collect();
    let good = batch_of(&rows)?.encode();
    let send = |what: &str, body: &[u8]| -> Check {
        let reply: Reply = target.post(storage(target)?, "/write", BATCH, body)?;
        expect_error(what, &reply, 400, &["bad_batch", "empty_body"]).map(|_| ())
    };
    for cut in [0, 1, 4, 23, good.len() / 2, good.len() - 1] {
        send(&format!("a batch cut at byte {cut}"), &good[..cut])?;
    }
    send("a batch and more", &[&good[..], b"x"].concat())?;
    send("no batch", b"hello")?;
    let version = [b"SCB\x63", &good[4..]].concat();
    send("a batch of a version that nobody knows", &version)?;
    let mut huge = good;
    huge[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
    send("a batch that claims 4 billion series", &huge)?;
    equal("samples taken of what was refused", &query(target, &everything(&name))?, &Found::new())
}

fn bad_selects(target: &Target) -> Check {
    for path in ["/query", "/series"] {
        for body in [
            "",
            "{",
            "[]",
            "{}",
            r#"{"matchers":[]}"#,
            r#"{"matchers":1,"start":0,"end":1}"#,
            r#"{"matchers":[],"start":"x","end":1}"#,
        ] {
            let reply = target.post(storage(target)?, path, "application/json", body.as_bytes())?;
            expect_error(&format!("POST {path} of {body:?}"), &reply, 400, &["bad_json", "empty_body"])?;
        }
        for (op, value) in [("=~", "("), ("!~", "*"), ("==", "x")] {
            let body = select("x", &[("host", op, value)], 0, 1);
            let reply = target.post_json(storage(target)?, path, &body)?;
            expect_error(&format!("POST {path} of {body}"), &reply, 400, &["bad_matcher", "bad_json"])?;
        }
    }
    Ok(())
}
