//! Queries over HTTP: `openapi/query.yaml`. `GET /query` for raw points, and `/api/v1` as Prometheus serves it,
//! so that Grafana and `promtool` find what they know.

use super::{Params, Route, bad_parameter};
use contracts::{
    Labels, TimeRange, TimestampMs,
    http::{ApiError, Request, Response, form_pairs},
    limits::LOOKBACK_MS,
    query::{QueryEngine, QueryError, QueryValue, SeriesPoints, Steps, format_value},
    storage::StorageError,
};
use phase0::now;
use serde_json::{Value, json};
use std::{borrow::Cow, sync::Arc};

/// Routes of the query service.
pub fn routes(engine: &Arc<dyn QueryEngine>) -> Vec<Route> {
    let mut routes = vec![Route::new("query", "GET", "/query", {
        let engine = engine.clone();
        move |request, _| points(&*engine, request)
    })];
    type Api = fn(&dyn QueryEngine, &Form<'_>, &Params<'_>) -> Result<Value, Failure>;
    let both: [(&str, Api); 4] = [
        ("/api/v1/query", instant),
        ("/api/v1/query_range", range),
        ("/api/v1/labels", label_names),
        ("/api/v1/series", series),
    ];
    let get_only: [(&str, Api); 2] =
        [("/api/v1/label/{name}/values", label_values), ("/api/v1/status/buildinfo", build_info)];
    let every = both.into_iter().flat_map(|(path, run)| [("GET", path, run), ("POST", path, run)]);
    for (method, path, run) in every.chain(get_only.into_iter().map(|(path, run)| ("GET", path, run))) {
        let engine = engine.clone();
        routes.push(Route::new("query", method, path, move |request, params| {
            Ok(match Form::of(request).and_then(|form| run(&*engine, &form, params)) {
                Ok(data) => Response::json(200, &json!({"status": "success", "data": data})),
                Err(failure) => failure.into(),
            })
        }));
    }
    routes
}

fn points(engine: &dyn QueryEngine, request: &Request<'_>) -> Result<Response, ApiError> {
    let name =
        request.param("name").ok_or_else(|| bad_parameter("the parameter name is missing: a selector"))?;
    let time = |parameter: &str| {
        let text = request.param(parameter)?;
        let parsed = text.parse().ok().map(TimestampMs).or_else(|| TimestampMs::parse_rfc3339(&text));
        Some(parsed.ok_or_else(|| bad_parameter(format!("{parameter} must be milliseconds or RFC 3339"))))
    };
    let end = time("end").transpose()?.unwrap_or_else(now);
    let start = time("start").transpose()?.unwrap_or(TimestampMs(end.0.saturating_sub(LOOKBACK_MS)));
    let found = engine.points(&name, TimeRange { start, end }).map_err(|e| match &e {
        QueryError::Bad { at, .. } => ApiError { at: Some(*at as u64), ..ApiError::of(400, "bad_query", &e) },
        QueryError::TooLarge(_) => ApiError::of(400, "too_large", &e),
        QueryError::Storage(StorageError::TooManySamples(_)) => ApiError::of(422, "too_many_samples", &e),
        QueryError::Storage(_) => ApiError::of(500, "query_failed", &e),
    })?;
    let series: Vec<_> = found
        .iter()
        .map(|s| {
            let points: Vec<_> =
                s.timestamps.iter().zip(&s.values).map(|(t, v)| json!([t, format_value(*v)])).collect();
            json!({"labels": s.labels, "points": points})
        })
        .collect();
    Ok(Response::json(200, &json!({"name": name, "series": series})))
}

fn instant(engine: &dyn QueryEngine, form: &Form<'_>, _: &Params<'_>) -> Result<Value, Failure> {
    let at = form.time("time")?.unwrap_or_else(now);
    let value = engine.instant(form.required("query")?, at)?;
    let at_s = seconds(at.0);
    Ok(match value {
        QueryValue::Scalar(value) => json!({"resultType": "scalar", "result": [at_s, format_value(value)]}),
        QueryValue::String(text) => json!({"resultType": "string", "result": [at_s, text]}),
        QueryValue::Vector(samples) => {
            let one = |s: &contracts::query::InstantSample| json!({"metric": s.labels, "value": [seconds(s.timestamp.0), format_value(s.value)]});
            json!({"resultType": "vector", "result": samples.iter().map(one).collect::<Vec<_>>()})
        }
        QueryValue::Matrix(series) => matrix(&series),
    })
}

fn range(engine: &dyn QueryEngine, form: &Form<'_>, _: &Params<'_>) -> Result<Value, Failure> {
    let time =
        |name| form.time(name)?.ok_or_else(|| Failure::bad_data(format!("the parameter {name} is missing")));
    let (start, end) = (time("start")?, time("end")?);
    let step = form.required("step")?;
    let step_ms =
        duration_ms(step).ok_or_else(|| Failure::bad_data(format!("step {step:?} is no duration")))?;
    let steps = Steps::new(TimeRange { start, end }, step_ms)?;
    Ok(matrix(&engine.range(form.required("query")?, steps)?))
}

fn matrix(series: &[SeriesPoints]) -> Value {
    let one = |s: &SeriesPoints| {
        let values = s.timestamps.iter().zip(&s.values).map(|(t, v)| json!([seconds(*t), format_value(*v)]));
        json!({"metric": s.labels, "values": values.collect::<Vec<_>>()})
    };
    json!({"resultType": "matrix", "result": series.iter().map(one).collect::<Vec<_>>()})
}

fn label_names(engine: &dyn QueryEngine, form: &Form<'_>, _: &Params<'_>) -> Result<Value, Failure> {
    Ok(json!(engine.label_names(&form.selectors(), form.range()?)?))
}

fn label_values(engine: &dyn QueryEngine, form: &Form<'_>, params: &Params<'_>) -> Result<Value, Failure> {
    Ok(json!(engine.label_values(&params[0], &form.selectors(), form.range()?)?))
}

fn series(engine: &dyn QueryEngine, form: &Form<'_>, _: &Params<'_>) -> Result<Value, Failure> {
    let selectors = form.selectors();
    if selectors.is_empty() {
        return Err(Failure::bad_data("at least one match[] is needed"));
    }
    let found: Vec<Labels> = engine.series(&selectors, form.range()?)?;
    Ok(json!(found))
}

/// Grafana asks this to learn what it speaks with.
fn build_info(_: &dyn QueryEngine, _: &Form<'_>, _: &Params<'_>) -> Result<Value, Failure> {
    Ok(
        json!({"version": env!("CARGO_PKG_VERSION"), "revision": "", "branch": "", "buildUser": "", "buildDate": "", "goVersion": ""}),
    )
}

/// Parameters of the query string and, for POST, of a form body.
struct Form<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Form<'a> {
    fn of(request: &Request<'a>) -> Result<Self, Failure> {
        let body =
            std::str::from_utf8(request.body).map_err(|_| Failure::bad_data("the body is not UTF-8"))?;
        Ok(Self(request.params().chain(form_pairs(body)).collect()))
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_ref())
    }

    fn required(&self, name: &str) -> Result<&str, Failure> {
        self.get(name).ok_or_else(|| Failure::bad_data(format!("the parameter {name} is missing")))
    }

    fn selectors(&self) -> Vec<&str> {
        self.0.iter().filter(|(n, _)| n == "match[]").map(|(_, value)| value.as_ref()).collect()
    }

    /// Unix seconds with a fraction, or RFC 3339.
    fn time(&self, name: &str) -> Result<Option<TimestampMs>, Failure> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let parsed = millis(text).map(TimestampMs).or_else(|| TimestampMs::parse_rfc3339(text));
        parsed
            .map(Some)
            .ok_or_else(|| Failure::bad_data(format!("{name} {text:?} is no time: seconds or RFC 3339")))
    }

    fn range(&self) -> Result<TimeRange, Failure> {
        let (start, end) = (self.time("start")?, self.time("end")?);
        Ok(TimeRange { start: start.unwrap_or(TimestampMs::MIN), end: end.unwrap_or(TimestampMs::MAX) })
    }
}

/// An error in Prometheus's own form.
struct Failure {
    status: u16,
    kind: &'static str,
    message: String,
    detail: Value,
}

impl Failure {
    fn bad_data(message: impl Into<String>) -> Self {
        Self { status: 400, kind: "bad_data", message: message.into(), detail: Value::Null }
    }
}

impl From<QueryError> for Failure {
    fn from(e: QueryError) -> Self {
        let (status, kind) = match &e {
            QueryError::Bad { .. } | QueryError::TooLarge(_) => (400, "bad_data"),
            QueryError::Storage(StorageError::TooManySamples(_)) => (422, "execution"),
            QueryError::Storage(_) => (500, "internal"),
        };
        Self { status, kind, message: e.to_string(), detail: serde_json::to_value(&e).unwrap_or_default() }
    }
}

impl From<Failure> for Response {
    fn from(f: Failure) -> Self {
        let mut body = json!({"status": "error", "errorType": f.kind, "error": f.message});
        if !f.detail.is_null() {
            body["detail"] = f.detail;
        }
        Self::json(f.status, &body)
    }
}

/// Milliseconds as Prometheus writes times: seconds with up to three decimals.
fn seconds(ms: i64) -> Value {
    if ms % 1000 == 0 { json!(ms / 1000) } else { json!(ms as f64 / 1000.0) }
}

/// `1.5` seconds, finite, to the nearest millisecond.
#[allow(clippy::cast_possible_truncation)] // bounded by the filter
fn millis(text: &str) -> Option<i64> {
    let ms = (text.parse::<f64>().ok()? * 1000.0).round();
    (ms.abs() < 9e15).then_some(ms as i64)
}

/// Seconds with a fraction, or PromQL's durations: `1h30m`, `500ms`.
fn duration_ms(text: &str) -> Option<i64> {
    const UNITS: [(&str, i64); 7] = [
        ("ms", 1),
        ("s", 1000),
        ("m", 60_000),
        ("h", 3_600_000),
        ("d", 86_400_000),
        ("w", 604_800_000),
        ("y", 31_536_000_000),
    ];
    if let Some(ms) = millis(text) {
        return Some(ms);
    }
    let (mut rest, mut total) = (text, 0_i64);
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let count: i64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let (unit, ms) = UNITS.into_iter().find(|(unit, _)| rest.starts_with(unit))?;
        rest = &rest[unit.len()..];
        total = total.checked_add(count.checked_mul(ms)?)?;
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_times_in_all_their_forms() {
        for (text, ms) in [("15", 15_000), ("0.5", 500), ("500ms", 500), ("1m", 60_000), ("1h30m", 5_400_000)]
        {
            assert_eq!(duration_ms(text), Some(ms), "{text}");
        }
        for text in ["", "m", "1x", "1h-1m", "99999999999999999999s", "inf", "NaN"] {
            assert_eq!(duration_ms(text), None, "{text}");
        }
        assert_eq!(seconds(1_763_689_000_123).to_string(), "1763689000.123");
        assert_eq!(millis("1763689000.123"), Some(1_763_689_000_123));
    }
}
