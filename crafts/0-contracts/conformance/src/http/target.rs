//! What the suites speak with: up to five services, each at its URL.

use crate::{
    claim::{Check, ensure, eventually},
    client::{self, Reply, Url},
    openapi::check_answer,
    rows::{Row, batch_of},
};
use contracts::{http::percent_encode, query::format_value};
use serde::Serialize;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

/// A service of the pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// Craft 1.
    Ingest,
    /// Craft 2.
    Queue,
    /// Craft 3.
    Storage,
    /// Craft 4.
    Query,
    /// Craft 5.
    Alert,
}

impl Part {
    /// All five, in the order of the data's way.
    pub const ALL: [Self; 5] = [Self::Ingest, Self::Queue, Self::Storage, Self::Query, Self::Alert];

    /// Its name, which is also that of its OpenAPI file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Queue => "queue",
            Self::Storage => "storage",
            Self::Query => "query",
            Self::Alert => "alert",
        }
    }
}

/// An answer that was seen: what an OpenAPI file must document.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Observed {
    /// HTTP method.
    pub method: String,
    /// As in the OpenAPI file: `/rules/{name}`.
    pub path: String,
    /// Status code.
    pub status: u16,
}

/// The services under test.
pub struct Target {
    urls: BTreeMap<Part, Url>,
    observed: Mutex<BTreeSet<Observed>>,
    /// Makes the names of this run its own.
    run: i64,
    numbers: AtomicU32,
}

impl Target {
    /// No services yet.
    pub fn new() -> Self {
        Self { urls: BTreeMap::new(), observed: Mutex::default(), run: now_ms(), numbers: AtomicU32::new(0) }
    }

    /// With a service at a URL.
    #[must_use]
    pub fn with(mut self, part: Part, url: Url) -> Self {
        self.urls.insert(part, url);
        self
    }

    /// Whatever services answer at this URL.
    ///
    /// # Errors
    /// If none does.
    pub fn at(url: &Url) -> Result<Self, String> {
        let mut target = Self::new();
        for part in Part::ALL {
            if target.answers(url, part)? {
                target = target.with(part, url.clone());
            }
        }
        ensure(!target.urls.is_empty(), || {
            format!("no service of this pipeline answers at {}", url.authority)
        })?;
        Ok(target)
    }

    /// Whether a path that only this service has is there: asked in a way that changes nothing.
    fn answers(&self, url: &Url, part: Part) -> Result<bool, String> {
        let reply = match part {
            Part::Ingest => self.post(url, "/metrics", "application/json", b"[]"),
            // A pipeline in one process lets its topics be read and takes no records: only a service that does is asked.
            Part::Queue => {
                self.post(url, "/produce?partition=0", "application/vnd.systems-craft.records", b"")
            }
            Part::Storage => self.post(url, "/series", "application/json", b"[]"),
            Part::Query => self.get(url, "/api/v1/status/buildinfo"),
            Part::Alert => self.get(url, "/rules"),
        }?;
        Ok(!matches!(reply.status, 404 | 405))
    }

    /// Where a service is, if the target has it.
    pub fn url(&self, part: Part) -> Option<&Url> {
        self.urls.get(&part)
    }

    /// Every URL once, with the first service that is there.
    pub fn hosts(&self) -> Vec<(Part, &Url)> {
        let mut hosts: Vec<(Part, &Url)> = Vec::new();
        for (part, url) in &self.urls {
            if hosts.iter().all(|(_, known)| *known != url) {
                hosts.push((*part, url));
            }
        }
        hosts
    }

    /// Which answers were seen so far.
    pub fn observed(&self) -> Vec<Observed> {
        self.observed.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// A name that nothing else has, good as a metric, a group, a rule.
    pub(super) fn fresh_name(&self) -> String {
        format!("conformance_{}_{}", self.run, self.fresh_number())
    }

    /// A number that this run has not given before.
    pub(super) fn fresh_number(&self) -> u32 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// A well-formed GET.
    pub(super) fn get(&self, url: &Url, target: &str) -> Result<Reply, String> {
        self.call(url, "GET", target, &[], None)
    }

    /// A well-formed POST.
    pub(super) fn post(
        &self,
        url: &Url,
        target: &str,
        content_type: &str,
        body: &[u8],
    ) -> Result<Reply, String> {
        self.call(url, "POST", target, &[("Content-Type", content_type)], Some(body))
    }

    /// A POST of JSON.
    pub(super) fn post_json(&self, url: &Url, target: &str, body: &Value) -> Result<Reply, String> {
        self.post(url, target, "application/json", body.to_string().as_bytes())
    }

    /// A well-formed request on a connection of its own, recorded. Asks again while the answer is a 503 or 429
    /// that says when to.
    pub(super) fn call(
        &self,
        url: &Url,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Result<Reply, String> {
        let bytes = client::request(url, method, target, headers, body);
        let what = format!("{method} {target:.100}");
        eventually(&format!("{what} is answered with something else than \"busy\""), || {
            let mut connection = client::Connection::open(url)?;
            // What the server says tells more than that it stopped listening.
            let _ = connection.send(&bytes);
            let reply = connection.reply(method == "HEAD").map_err(|why| format!("{what}: {why}"))?;
            let reply = reply.ok_or_else(|| format!("{what}: closed without an answer"))?;
            if let Some(seen) = self.record(method, target, &reply) {
                check_answer(&seen, reply.header("content-type"), &reply.body)
                    .map_err(|why| format!("{what}: {why}"))?;
            }
            let busy = matches!(reply.status, 429 | 503) && !target.starts_with("/ready");
            ensure(!busy || reply.header("retry-after").is_some(), || {
                format!("{what}: a {} must say Retry-After", reply.status)
            })?;
            Ok((!busy).then_some(reply))
        })
    }

    /// Remembers an answer, if it is one that an OpenAPI file should document.
    fn record(&self, method: &str, target: &str, reply: &Reply) -> Option<Observed> {
        let path = template(target.split('?').next().unwrap_or_default())?;
        let status = reply.status;
        // Paths and methods that are not there have no place in a file that lists what is; HEAD has none of its own.
        let is_absent = status == 405 || (status == 404 && reply.text().contains("\"no_such_path\""));
        if is_absent || method == "HEAD" {
            return None;
        }
        let seen = Observed { method: method.to_owned(), path: path.to_owned(), status };
        self.observed.lock().unwrap_or_else(PoisonError::into_inner).insert(seen.clone());
        Some(seen)
    }

    /// Puts samples where queries find them: into storage if the target has it, else through ingest.
    pub(super) fn seed(&self, rows: &[Row]) -> Check {
        if let Some(storage) = self.url(Part::Storage) {
            let bytes = batch_of(rows)?.encode();
            let reply = self.post(storage, "/write", BATCH, &bytes)?;
            return expect(&reply, 204).map(|_| ());
        }
        let ingest = self.url(Part::Ingest).ok_or("no service takes samples")?;
        let query = self.url(Part::Query).ok_or("no service gives samples back")?;
        expect(&self.post_json(ingest, "/metrics", &metrics_of(rows))?, 202)?;
        let names: BTreeSet<_> = rows.iter().map(|r| r.0.view().metric_name()).collect();
        names.into_iter().try_for_each(|name| {
            let times: Vec<i64> =
                rows.iter().filter(|r| r.0.view().metric_name() == name).map(|r| r.1).collect();
            let (first, last) = (times.iter().min().unwrap_or(&0), times.iter().max().unwrap_or(&0));
            eventually(&format!("the samples of {name} that ingest accepted can be queried"), || {
                let found =
                    self.get(query, &format!("/query?name={name}&start={first}&end={last}"))?.json()?;
                let series = found["series"].as_array().into_iter().flatten();
                let points: usize = series.map(|s| s["points"].as_array().map_or(0, Vec::len)).sum();
                Ok((points >= times.len()).then_some(()))
            })
        })
    }

    /// Whether ingestion says that it knows no other format: asked in a way that changes nothing.
    pub(super) fn takes_json_only(&self) -> bool {
        let Some(ingest) = self.url(Part::Ingest) else { return false };
        self.post(ingest, "/api/v2/write", "text/plain", b"").is_ok_and(|reply| reply.status == 501)
    }

    /// Whether [`Target::seed`] can work.
    pub(super) fn can_seed(&self) -> bool {
        self.url(Part::Storage).is_some()
            || (self.url(Part::Ingest).is_some() && self.url(Part::Query).is_some())
    }
}

impl Default for Target {
    fn default() -> Self {
        Self::new()
    }
}

/// This machine's clock.
pub(super) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or_default()
}

/// Content type of a batch.
pub(super) const BATCH: &str = "application/vnd.systems-craft.batch";

/// Rows as `POST /metrics` takes them.
pub(super) fn metrics_of(rows: &[Row]) -> Value {
    let metric = |(labels, at, value): &Row| {
        let finite = value.is_finite().then(|| json!(value));
        json!({
            "name": labels.view().metric_name(), "timestamp": at, "labels": labels.without(&["__name__"]),
            "value": finite.unwrap_or_else(|| json!(format_value(*value))),
        })
    };
    rows.iter().map(metric).collect()
}

/// A path with its parameters, from pairs, encoded.
pub(super) fn path(path: &str, parameters: &[(&str, &str)]) -> String {
    let pairs: Vec<_> =
        parameters.iter().map(|(n, v)| format!("{}={}", percent_encode(n), percent_encode(v))).collect();
    format!("{path}?{}", pairs.join("&"))
}

/// The reply, if it has this status.
pub(super) fn expect(reply: &Reply, status: u16) -> Result<&Reply, String> {
    if reply.status == status {
        return Ok(reply);
    }
    Err(format!("expected {status}, got {}: {:.300}", reply.status, reply.text()))
}

/// Holds a reply to the common error model; returns the error.
pub(super) fn expect_error(what: &str, reply: &Reply, status: u16, codes: &[&str]) -> Result<Value, String> {
    let wanted = codes.join(" or ");
    let got = || format!("{what}: expected {status} {wanted}, got {}: {:.300}", reply.status, reply.text());
    ensure(reply.status == status, got)?;
    let is_json = reply.header("content-type").is_some_and(|t| t.starts_with("application/json"));
    ensure(is_json, || {
        format!("{what}: an error is application/json, not {:?}", reply.header("content-type"))
    })?;
    let error = reply.json()?["error"].clone();
    let code = error["code"].as_str();
    let explained = error["message"].as_str().is_some_and(|m| !m.is_empty());
    ensure(code.is_some_and(|c| codes.contains(&c)) && explained, got)?;
    Ok(error)
}

/// The path of an OpenAPI file that a path belongs to.
fn template(path: &str) -> Option<&'static str> {
    const PATHS: &[&str] = &[
        "/health",
        "/ready",
        "/metrics",
        "/openapi",
        "/produce",
        "/consume",
        "/topics",
        "/groups",
        "/subscribe",
        "/assign",
        "/heartbeat",
        "/leave",
        "/commit",
        "/committed",
        "/write",
        "/api/v2/write",
        "/api/v1/write",
        "/api/v1/import/prometheus",
        "/ping",
        "/sync",
        "/query",
        "/series",
        "/api/v1/query",
        "/api/v1/query_range",
        "/api/v1/labels",
        "/api/v1/series",
        "/api/v1/status/buildinfo",
        "/rules",
        "/rules/evaluate",
        "/alerts",
        "/channels",
        "/api/v1/rules",
        "/api/v1/alerts",
    ];
    if let Some(known) = PATHS.iter().find(|p| **p == path) {
        return Some(known);
    }
    let between = |front: &str, back: &str| {
        path.strip_prefix(front)
            .and_then(|p| p.strip_suffix(back))
            .is_some_and(|p| !p.is_empty() && !p.contains('/'))
    };
    match () {
        () if between("/rules/", "") => Some("/rules/{name}"),
        () if between("/api/v1/label/", "/values") => Some("/api/v1/label/{name}/values"),
        () if between("/openapi/", ".yaml") => Some("/openapi/{file}"),
        () => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_find_their_templates() {
        assert_eq!(template("/rules"), Some("/rules"));
        assert_eq!(template("/rules/a%20b"), Some("/rules/{name}"));
        assert_eq!(template("/api/v1/label/host/values"), Some("/api/v1/label/{name}/values"));
        assert_eq!(template("/openapi/query.yaml"), Some("/openapi/{file}"));
        assert_eq!(template("/openapi/../x.yaml"), None);
        assert_eq!(template("/rules/a/b"), None);
    }
}
