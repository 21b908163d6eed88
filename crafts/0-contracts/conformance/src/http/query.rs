//! The query service: `GET /query`, and Prometheus's own API.

use super::{
    HttpClaim, claim, sampled,
    target::{Part, Target, expect, expect_error, now_ms, path},
};
use crate::{
    claim::{Check, ensure, equal},
    client::{Reply, Url},
    rows::{Row, metric},
};
use contracts::{TimestampMs, batch::STALE_NAN_BITS, query::format_value};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const NEEDS: &[Part] = &[Part::Query];

pub(super) const CLAIMS: &[HttpClaim] = &[
    sampled("GET /query gives the points of a selector, both ends included", NEEDS, points),
    sampled("GET /query without times means the last 5 minutes", NEEDS, points_by_default),
    sampled("GET /query takes times as milliseconds or RFC 3339", NEEDS, points_by_text),
    claim("GET /query refuses what is no selector with its byte", NEEDS, bad_points),
    sampled("/api/v1/query gives a vector, by GET and by POST", NEEDS, instant),
    sampled("values are written as Prometheus writes them", NEEDS, values),
    sampled("a comparison filters", NEEDS, comparison),
    sampled("a stale series is not in the vector", &[Part::Query, Part::Storage], stale),
    sampled("/api/v1/query_range gives a matrix, by GET and by POST", NEEDS, range),
    sampled("/api/v1/labels, label values and series follow match[] and times", NEEDS, metadata),
    claim("what is missing or malformed is 400 bad_data in Prometheus's form", NEEDS, bad_data),
    claim("too many steps are 400 bad_data", NEEDS, too_many_steps),
    claim("build info is there for those who ask what they speak with", NEEDS, build_info),
];

const FORM: &str = "application/x-www-form-urlencoded";

fn query(target: &Target) -> Result<&Url, String> {
    target.url(Part::Query).ok_or("no query service".to_owned())
}

/// Seconds as Prometheus writes them.
fn seconds(ms: i64) -> String {
    format!("{}.{:03}", ms.div_euclid(1000), ms.rem_euclid(1000))
}

/// A metric of this claim's own, of three hosts whose values are 0, 1 and 2, at five times a second apart.
struct Seeded {
    name: String,
    /// The first time, on a whole second.
    start: i64,
}

impl Seeded {
    /// `Err` where the target takes no samples.
    fn new(target: &Target) -> Result<Self, String> {
        let seeded = Self { name: target.fresh_name(), start: (now_ms() - 30_000) / 1000 * 1000 };
        let rows: Vec<Row> = (0..5)
            .flat_map(|i| ["a", "b", "c"].into_iter().enumerate().map(move |(value, host)| (i, host, value)))
            .map(|(i, host, value)| (seeded.labels(host), seeded.start + i * 1000, value as f64))
            .collect();
        target.seed(&rows)?;
        Ok(seeded)
    }

    fn labels(&self, host: &str) -> contracts::Labels {
        metric(&self.name, &[("host", host)])
    }

    fn labels_json(&self, host: &str) -> Value {
        json!({"__name__": self.name, "host": host})
    }

    fn end(&self) -> i64 {
        self.start + 4000
    }
}

fn points_of(target: &Target, parameters: &[(&str, &str)]) -> Result<Value, String> {
    let asked = path("/query", parameters);
    let reply = target.get(query(target)?, &asked)?;
    expect(&reply, 200).map_err(|why| format!("GET {asked}: {why}"))?.json()
}

fn points(target: &Target) -> Check {
    let seeded = Seeded::new(target)?;
    let (start, end) = (seeded.start + 1000, seeded.start + 3000);
    let selector = format!("{}{{host!=\"b\"}}", seeded.name);
    let found =
        points_of(target, &[("name", &selector), ("start", &start.to_string()), ("end", &end.to_string())])?;
    let line = |host: &str, value: &str| {
        let points: Vec<_> = (1..=3).map(|i| json!([seeded.start + i * 1000, value])).collect();
        json!({"labels": seeded.labels_json(host), "points": points})
    };
    equal("points", &found, &json!({"name": selector, "series": [line("a", "0"), line("c", "2")]}))
}

fn points_by_default(target: &Target) -> Check {
    let seeded = Seeded::new(target)?;
    let found = points_of(target, &[("name", &seeded.name)])?;
    let counts: Vec<_> = found["series"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|s| s["points"].as_array().map_or(0, Vec::len))
        .collect();
    equal("points of the last 5 minutes, by series", &counts, &vec![5, 5, 5])
}

fn points_by_text(target: &Target) -> Check {
    let seeded = Seeded::new(target)?;
    let (start, end) = (TimestampMs(seeded.start).to_string(), TimestampMs(seeded.end()).to_string());
    let by_text = points_of(target, &[("name", &seeded.name), ("start", &start), ("end", &end)])?;
    let (start, end) = (seeded.start.to_string(), seeded.end().to_string());
    let by_number = points_of(target, &[("name", &seeded.name), ("start", &start), ("end", &end)])?;
    equal("points by RFC 3339 and by milliseconds", &by_text, &by_number)
}

fn bad_points(target: &Target) -> Check {
    for (selector, at) in [("cpu{", 4), ("cpu{a=}", 6), ("cpu cpu", 4), ("", 0), (r#"cpu{a="ü"}}"#, 11)] {
        let reply = target.get(query(target)?, &path("/query", &[("name", selector)]))?;
        let error = expect_error(&format!("GET /query of {selector:?}"), &reply, 400, &["bad_query"])?;
        equal(&format!("the byte of {selector:?}"), &error["at"], &json!(at))?;
    }
    let long = "x".repeat(8000);
    for wrong in [
        "/query",
        "/query?start=0",
        "/query?name=cpu&start=x",
        "/query?name=cpu&end=2025-13-01T00:00:00Z",
        "/query?name=cpu&start=",
    ] {
        let reply = target.get(query(target)?, wrong)?;
        expect_error(&format!("GET {wrong}"), &reply, 400, &["bad_parameter", "bad_query"])?;
    }
    let reply = target.get(query(target)?, &path("/query", &[("name", &format!("{{a=\"{long}\""))]))?;
    expect_error("a long text without its end", &reply, 400, &["bad_query"]).map(|_| ())
}

/// The `data` of a successful answer of Prometheus's API, by GET and by POST, which must agree.
fn data(target: &Target, api: &str, parameters: &[(&str, &str)]) -> Result<Value, String> {
    let whole = path(api, parameters);
    let form = whole.split_once('?').map_or("", |(_, form)| form);
    let by_get = success(&whole, &target.get(query(target)?, &whole)?)?;
    let by_post = success(&whole, &target.post(query(target)?, api, FORM, form.as_bytes())?)?;
    equal(&format!("{api} by POST and by GET"), &by_post, &by_get)?;
    Ok(by_get)
}

fn success(what: &str, reply: &Reply) -> Result<Value, String> {
    let body = expect(reply, 200).map_err(|why| format!("{what}: {why}"))?.json()?;
    equal(&format!("status of {what}"), &body["status"], &json!("success"))?;
    Ok(body["data"].clone())
}

/// Values by labels as JSON writes them, whatever the order of the vector.
fn vector(target: &Target, query: &str, at: i64) -> Result<BTreeMap<String, Value>, String> {
    let found = data(target, "/api/v1/query", &[("query", query), ("time", &seconds(at))])?;
    equal(&format!("type of {query}"), &found["resultType"], &json!("vector"))?;
    let elements = found["result"].as_array().ok_or(format!("{query}: expected a result, got {found}"))?;
    for element in elements {
        let time = element["value"][0].as_f64().unwrap_or(f64::NAN);
        ensure((time * 1000.0).round() == at as f64, || {
            format!("{query}: expected the time {}, got {element}", seconds(at))
        })?;
    }
    Ok(elements.iter().map(|e| (e["metric"].to_string(), e["value"][1].clone())).collect())
}

fn instant(target: &Target) -> Check {
    let seeded = Seeded::new(target)?;
    let expected = |hosts: &[(&str, &str)]| -> BTreeMap<String, Value> {
        hosts.iter().map(|(host, value)| (seeded.labels_json(host).to_string(), json!(value))).collect()
    };
    let all = expected(&[("a", "0"), ("b", "1"), ("c", "2")]);
    equal("the vector at the last sample", &vector(target, &seeded.name, seeded.end())?, &all)?;
    equal("the vector half a second later", &vector(target, &seeded.name, seeded.end() + 500)?, &all)?;
    equal("the vector before the first", &vector(target, &seeded.name, seeded.start - 1)?, &BTreeMap::new())?;
    let one = vector(target, &format!("{{__name__=\"{}\",host=~\"[bx]\"}}", seeded.name), seeded.end())?;
    equal("the vector of host b", &one, &expected(&[("b", "1")]))?;
    let now = success(
        "/api/v1/query",
        &target.get(query(target)?, &path("/api/v1/query", &[("query", &seeded.name)]))?,
    )?;
    equal("elements at no given time, which is now", &now["result"].as_array().map_or(0, Vec::len), &3)
}

fn values(target: &Target) -> Check {
    let (name, now) = (target.fresh_name(), now_ms());
    let values = [0.1, -0.0, 1e21, 1e-7, 75.5, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 123_456_789.0];
    let labels = |i: usize| metric(&name, &[("i", &i.to_string())]);
    let rows: Vec<Row> = values.iter().enumerate().map(|(i, v)| (labels(i), now, *v)).collect();
    target.seed(&rows)?;
    let found = vector(target, &name, now)?;
    for (i, value) in values.iter().enumerate() {
        let key = json!({"__name__": name, "i": i.to_string()}).to_string();
        let text = found.get(&key).and_then(Value::as_str).unwrap_or("nothing");
        // Exponents are a matter of taste (`1e+21`); the number is not.
        let same =
            text == format_value(*value) || text.parse::<f64>().is_ok_and(|v| v.to_bits() == value.to_bits());
        ensure(same, || format!("the value {value}: expected {:?}, got {text:?}", format_value(*value)))?;
    }
    Ok(())
}

fn comparison(target: &Target) -> Check {
    let seeded = Seeded::new(target)?;
    for (condition, expected) in [
        ("> 0.5", vec!["b", "c"]),
        (">= 2", vec!["c"]),
        ("== 1", vec!["b"]),
        ("!= 1", vec!["a", "c"]),
        ("< 0", vec![]),
    ] {
        let found = vector(target, &format!("{} {condition}", seeded.name), seeded.end())?;
        let expected: Vec<String> =
            expected.iter().map(|host| seeded.labels_json(host).to_string()).collect();
        equal(
            &format!("hosts whose value is {condition}"),
            &found.into_keys().collect::<Vec<_>>(),
            &expected,
        )?;
    }
    Ok(())
}

fn stale(target: &Target) -> Check {
    // Written by storage's own form, since JSON has no stale marker.
    let seeded = Seeded::new(target)?;
    target.seed(&[(seeded.labels("b"), seeded.end() + 1000, f64::from_bits(STALE_NAN_BITS))])?;
    equal("elements before the marker", &vector(target, &seeded.name, seeded.end() + 999)?.len(), &3)?;
    equal("elements at the marker", &vector(target, &seeded.name, seeded.end() + 1000)?.len(), &2)
}

fn range(target: &Target) -> Check {
    let ask = |query: &str, start: i64, end: i64, step: &str| {
        let (start, end) = (seconds(start), seconds(end));
        data(
            target,
            "/api/v1/query_range",
            &[("query", query), ("start", &start), ("end", &end), ("step", step)],
        )
    };
    let now = now_ms();
    let nothing = json!({"resultType": "matrix", "result": []});
    equal("a matrix of nothing", &ask(&target.fresh_name(), now - 1000, now, "1")?, &nothing)?;
    let seeded = Seeded::new(target)?;
    let found = ask(&format!("{} > 0", seeded.name), seeded.start - 2000, seeded.start + 2000, "1")?;
    let line = |host: &str, value: &str| {
        let values: Vec<_> = (0..=2).map(|i| json!([seeded.start / 1000 + i, value])).collect();
        json!({"metric": seeded.labels_json(host), "values": values})
    };
    let expected = json!({"resultType": "matrix", "result": [line("b", "1"), line("c", "2")]});
    equal("the matrix from before the first sample on", &whole_seconds(found), &expected)?;
    let in_seconds = ask(&seeded.name, seeded.start, seeded.end(), "2")?;
    equal("a step of 2s and of 2", &ask(&seeded.name, seeded.start, seeded.end(), "2s")?, &in_seconds)
}

/// Times that are whole, as integers: `1700000000.0` and `1700000000` say the same.
fn whole_seconds(mut matrix: Value) -> Value {
    let series = matrix["result"].as_array_mut().into_iter().flatten();
    let points = series.filter_map(|s| s["values"].as_array_mut()).flatten();
    for point in points {
        if let Some(time) = point[0].as_f64().filter(|t| t.fract() == 0.0) {
            // Whole, and far below 2^53.
            #[allow(clippy::cast_possible_truncation)]
            let whole = time as i64;
            point[0] = json!(whole);
        }
    }
    matrix
}

fn metadata(target: &Target) -> Check {
    let seeded = Seeded::new(target)?;
    let (start, end) = (seconds(seeded.start), seconds(seeded.end()));
    let selector = format!("{}{{host!=\"b\"}}", seeded.name);
    let all = [("match[]", selector.as_str()), ("start", start.as_str()), ("end", end.as_str())];
    equal("labels", &data(target, "/api/v1/labels", &all)?, &json!(["__name__", "host"]))?;
    let mut series = data(target, "/api/v1/series", &all)?;
    let listed = series.as_array_mut().ok_or("series are no list")?;
    listed.sort_by_key(Value::to_string);
    equal("series", &series, &json!([seeded.labels_json("a"), seeded.labels_json("c")]))?;
    let values = |parameters: &[(&str, &str)]| -> Result<Value, String> {
        let asked = path("/api/v1/label/host/values", parameters);
        success(&asked, &target.get(query(target)?, &asked)?)
    };
    equal("values of host", &values(&all)?, &json!(["a", "c"]))?;
    let later = (seconds(seeded.end() + 1000), seconds(seeded.end() + 2000));
    let later = [("match[]", selector.as_str()), ("start", later.0.as_str()), ("end", later.1.as_str())];
    equal("series of a time without samples", &data(target, "/api/v1/series", &later)?, &json!([]))?;
    let names = success("names", &target.get(query(target)?, "/api/v1/label/__name__/values")?)?;
    let listed = names.as_array().is_some_and(|names| names.iter().any(|n| n.as_str() == Some(&seeded.name)));
    ensure(listed, || format!("{} is not among all metric names", seeded.name))
}

fn bad_data(target: &Target) -> Check {
    let url = query(target)?;
    for wrong in [
        "/api/v1/query",
        "/api/v1/query?query=",
        "/api/v1/query?query=cpu%7B",
        "/api/v1/query?query=cpu&time=x",
        "/api/v1/query?query=cpu%7Ba%3D~%22(%22%7D",
        "/api/v1/query_range",
        "/api/v1/query_range?query=cpu&start=0&end=1",
        "/api/v1/query_range?query=cpu&start=0&end=1&step=0",
        "/api/v1/query_range?query=cpu&start=0&end=1&step=-1",
        "/api/v1/query_range?query=cpu&start=0&end=1&step=x",
        "/api/v1/query_range?query=cpu&start=1&end=0&step=1",
        "/api/v1/query_range?query=cpu&start=x&end=1&step=1",
        "/api/v1/query_range?query=cpu%20%3E&start=0&end=1&step=1",
        "/api/v1/series",
        "/api/v1/series?match[]=cpu%7B",
        "/api/v1/series?match[]=%7B%7D",
        "/api/v1/labels?match[]=cpu%7B",
        "/api/v1/labels?start=x",
        "/api/v1/label/host/values?match[]=cpu%7B",
    ] {
        is_bad_data(wrong, &target.get(url, wrong)?)?;
    }
    is_bad_data("a form without a query", &target.post(url, "/api/v1/query", FORM, b"x=y")?)?;
    is_bad_data("a bad query in a form", &target.post(url, "/api/v1/query", FORM, b"query=cpu%7B&time=0")?)
}

fn too_many_steps(target: &Target) -> Check {
    let asked = "/api/v1/query_range?query=cpu&start=0&end=11000&step=1";
    is_bad_data(asked, &target.get(query(target)?, asked)?)?;
    let asked = "/api/v1/query_range?query=conformance_none&start=0&end=10999&step=1";
    success(asked, &target.get(query(target)?, asked)?).map(|_| ())
}

fn is_bad_data(what: &str, reply: &Reply) -> Check {
    let body = expect(reply, 400).map_err(|why| format!("{what}: {why}"))?.json()?;
    let explained = body["error"].as_str().is_some_and(|e| !e.is_empty());
    ensure(body["status"] == "error" && body["errorType"] == "bad_data" && explained, || {
        format!("{what}: expected status error, errorType bad_data and an error, got {body}")
    })
}

fn build_info(target: &Target) -> Check {
    let found = success("build info", &target.get(query(target)?, "/api/v1/status/buildinfo")?)?;
    ensure(found["version"].as_str().is_some_and(|v| !v.is_empty()), || {
        format!("expected a version, got {found}")
    })
}
