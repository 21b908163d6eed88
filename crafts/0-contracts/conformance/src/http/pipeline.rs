//! All services together: what goes in at one end comes out at the other.

use super::{
    HttpClaim, claim,
    target::{Part, Target, expect, expect_error, metrics_of, now_ms, path},
};
use crate::{
    claim::{Check, equal, eventually},
    rows::{Row, metric},
};
use contracts::query::parse_value;
use serde_json::{Value, json};

const IN_AND_OUT: &[Part] = &[Part::Ingest, Part::Query];

pub(super) const CLAIMS: &[HttpClaim] = &[
    claim("what ingest accepted is queried exactly", IN_AND_OUT, accepted_is_queried),
    claim("the samples of one client keep their order: the last one wins", IN_AND_OUT, last_wins),
    claim("a metric without a timestamp bears the time of its arrival", IN_AND_OUT, arrival_time),
    claim("tags are labels, and an empty label is none", IN_AND_OUT, tags),
    claim("of a refused body nothing is taken", IN_AND_OUT, all_or_nothing),
    claim(
        "a record that is no batch does not stop those behind it",
        &[Part::Ingest, Part::Queue, Part::Query],
        poison,
    ),
    claim(
        "a metric over its threshold raises an alert",
        &[Part::Ingest, Part::Query, Part::Alert],
        end_to_end,
    ),
];

/// Labels without the name, and points.
pub(super) type Line = (Value, Vec<(i64, f64)>);

fn post(target: &Target, body: &Value) -> Check {
    let ingest = target.url(Part::Ingest).ok_or("no ingest service")?;
    expect(&target.post_json(ingest, "/metrics", body)?, 202).map(|_| ())
}

/// Series of a metric between two times: labels without the name, and points.
fn points(target: &Target, name: &str, start: i64, end: i64) -> Result<Vec<Line>, String> {
    let query = target.url(Part::Query).ok_or("no query service")?;
    let asked = path("/query", &[("name", name), ("start", &start.to_string()), ("end", &end.to_string())]);
    let body = expect(&target.get(query, &asked)?, 200)?.json()?;
    let point = |p: &Value| Some((p[0].as_i64()?, parse_value(p[1].as_str()?)?));
    let series = |s: &Value| {
        let mut labels = s["labels"].clone();
        labels.as_object_mut()?.remove("__name__");
        Some((labels, s["points"].as_array()?.iter().map(point).collect::<Option<Vec<_>>>()?))
    };
    let all = body["series"].as_array().and_then(|all| all.iter().map(series).collect());
    all.ok_or(format!("expected series with labels and points, got {body:.300}"))
}

/// Waits until the metric has so many points in all.
pub(super) fn wait_for(target: &Target, name: &str, count: usize, around: i64) -> Result<Vec<Line>, String> {
    eventually(&format!("{count} accepted samples of {name} can be queried"), || {
        let found = points(target, name, around - 60_000, around + 60_000)?;
        Ok((found.iter().map(|(_, p)| p.len()).sum::<usize>() >= count).then_some(found))
    })
}

fn accepted_is_queried(target: &Target) -> Check {
    let (name, now) = (target.fresh_name(), now_ms());
    let values = [75.5, 0.1, -0.0, 5e-324, 1.797_693_134_862_315_7e308, 1e21, 123_456_789.125];
    let rows: Vec<Row> = (0..)
        .zip(values)
        .flat_map(|(i, v)| ["a \"b\"", "ü\n"].map(|host| (metric(&name, &[("host", host)]), now + i * 10, v)))
        .collect();
    post(target, &metrics_of(&rows))?;
    let mut found = wait_for(target, &name, rows.len(), now)?;
    found.sort_by_key(|(labels, _)| labels.to_string());
    let expected = ["a \"b\"", "ü\n"]
        .map(|host| {
            (json!({"host": host}), (0..).zip(values).map(|(i, v)| (now + i * 10, v.to_bits())).collect())
        })
        .to_vec();
    let bits = |points: Vec<(i64, f64)>| points.into_iter().map(|(at, v)| (at, v.to_bits())).collect();
    equal(
        "what was queried",
        &found.into_iter().map(|(l, p)| (l, bits(p))).collect::<Vec<(Value, Vec<(i64, u64)>)>>(),
        &expected,
    )
}

fn last_wins(target: &Target) -> Check {
    let (name, now) = (target.fresh_name(), now_ms());
    for value in 0..10 {
        post(target, &json!({"name": name, "value": value, "timestamp": now, "client_id": "conformance"}))?;
    }
    // Behind them in the same partition: when it can be seen, all before it have arrived.
    post(target, &json!({"name": name, "value": 99, "timestamp": now + 1, "client_id": "conformance"}))?;
    let found = wait_for(target, &name, 2, now)?;
    equal("points", &found, &vec![(json!({}), vec![(now, 9.0), (now + 1, 99.0)])])
}

fn arrival_time(target: &Target) -> Check {
    /// Clocks of two machines may differ this much.
    const CLOCK_SKEW_MS_MAX: i64 = 30_000;
    let (name, before) = (target.fresh_name(), now_ms());
    post(target, &json!({"name": name, "value": 1}))?;
    let after = now_ms();
    let found = wait_for(target, &name, 1, before)?;
    let at = found.first().and_then(|(_, points)| points.first()).map_or(0, |(at, _)| *at);
    let bounds = before - CLOCK_SKEW_MS_MAX..=after + CLOCK_SKEW_MS_MAX;
    crate::claim::ensure(bounds.contains(&at), || format!("its time: expected {before} to {after}, got {at}"))
}

fn tags(target: &Target) -> Check {
    let (name, now) = (target.fresh_name(), now_ms());
    let body = json!([
        {"name": name, "value": 1, "timestamp": now, "tags": {"host": "a", "gone": ""}},
        {"name": name, "value": 2, "timestamp": now + 1, "labels": {"host": "a"}, "type": "gauge", "client_id": "c"},
    ]);
    post(target, &body)?;
    let found = wait_for(target, &name, 2, now)?;
    equal("series", &found, &vec![(json!({"host": "a"}), vec![(now, 1.0), (now + 1, 2.0)])])
}

fn all_or_nothing(target: &Target) -> Check {
    let (name, now) = (target.fresh_name(), now_ms());
    let ingest = target.url(Part::Ingest).ok_or("no ingest service")?;
    let good = json!({"name": name, "value": 1, "timestamp": now, "client_id": "conformance"});
    let many = vec![good.clone(); 500];
    for bad in
        [json!({"name": "a-b", "value": 1}), json!({"name": name}), json!({"name": name, "value": "x"})]
    {
        let body = Value::Array([many.clone(), vec![bad]].concat());
        expect_error(
            "a body whose last metric is bad",
            &target.post_json(ingest, "/metrics", &body)?,
            400,
            &["bad_name", "bad_label", "missing_field", "bad_type", "bad_number"],
        )?;
    }
    let cut = format!("[{good},{good}");
    let reply = target.post(ingest, "/metrics", "application/json", cut.as_bytes())?;
    expect_error("a body without its end", &reply, 400, &["bad_json"])?;
    post(target, &json!({"name": name, "value": 2, "timestamp": now + 1, "client_id": "conformance"}))?;
    let found = wait_for(target, &name, 1, now)?;
    equal("all that is there", &found, &vec![(json!({}), vec![(now + 1, 2.0)])])
}

fn poison(target: &Target) -> Check {
    let (name, now) = (target.fresh_name(), now_ms());
    let queue = target.url(Part::Queue).ok_or("no queue service")?;
    for junk in [&b"this is no batch"[..], b"", b"SCB\x01 but not for long"] {
        let reply = target.post(queue, "/produce?client_id=conformance", "application/octet-stream", junk)?;
        expect(&reply, 200)?;
    }
    post(target, &json!({"name": name, "value": 1, "timestamp": now, "client_id": "conformance"}))?;
    wait_for(target, &name, 1, now).map(|_| ())
}

fn end_to_end(target: &Target) -> Check {
    let name = target.fresh_name();
    let alert = target.url(Part::Alert).ok_or("no alert service")?;
    let rule = json!({"name": name, "expr": format!("{name} > 0.9")});
    expect(&target.post_json(alert, "/rules", &rule)?, 201)?;
    let result =
        post(target, &json!({"name": name, "value": 0.95, "labels": {"host": "a"}})).and_then(|()| {
            eventually("the alert fires", || {
                expect(&target.call(alert, "POST", "/rules/evaluate", &[], Some(b""))?, 204)?;
                let listed = expect(&target.get(alert, "/alerts")?, 200)?.json()?;
                let alerts = listed["alerts"].as_array().into_iter().flatten();
                let mut own = alerts.filter(|a| a["rule"].as_str() == Some(&name) && a["state"] == "firing");
                Ok(own.next().cloned())
            })
        });
    let deleted = target.call(alert, "DELETE", &format!("/rules/{name}"), &[], None)?;
    equal("labels of the alert", &result?["labels"], &json!({"alertname": name, "host": "a"}))?;
    expect(&deleted, 204).map(|_| ())
}
