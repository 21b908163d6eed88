//! What the platform says of itself: RED metrics (rate, errors, duration) of every route, one structured log
//! line a request with its trace id, and who may come in at all.
//!
//! This is the [`Middleware`] around every engine. It takes no lock: engines call it from all their threads.

use crate::{
    meter::{Counter, Meters},
    routes::Router,
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use contracts::http::{ApiError, Middleware, Request, Response};
use std::{cell::Cell, fmt::Write as _, net::IpAddr, sync::Arc, time::Duration};

/// Upper bounds of the duration histogram, in seconds.
const BUCKETS_S: [f64; 12] =
    [0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 5.0];
/// One slot a status class: 1xx … 5xx.
const CLASSES: usize = 5;

/// Middleware and registry in one.
pub(crate) struct Telemetry {
    router: Arc<Router>,
    meters: Arc<Meters>,
    token: Option<String>,
    /// One a route of the router, and a last one for everything that no route took.
    routes: Vec<RouteStats>,
}

#[derive(Default)]
struct RouteStats {
    by_class: [Counter; CLASSES],
    buckets: [Counter; BUCKETS_S.len()],
    sum_us: Counter,
}

impl Telemetry {
    pub(crate) fn new(router: Arc<Router>, meters: Arc<Meters>, token: Option<String>) -> Self {
        let routes = (0..=router.routes().len()).map(|_| RouteStats::default()).collect();
        Self { router, meters, token, routes }
    }

    /// Prometheus text, appended to `out`.
    pub(crate) fn render(&self, out: &mut String) {
        out.push_str("# HELP craft_http_requests_total Requests by route and status class.\n");
        out.push_str("# TYPE craft_http_requests_total counter\n");
        for (labels, stats) in self.labelled() {
            for (class, count) in stats.by_class.iter().enumerate().filter(|(_, n)| n.get() > 0) {
                let count = count.get();
                let _ =
                    writeln!(out, "craft_http_requests_total{{{labels},status=\"{}xx\"}} {count}", class + 1);
            }
        }
        out.push_str(
            "# HELP craft_http_request_duration_seconds From the first byte of the request to the answer.\n",
        );
        out.push_str("# TYPE craft_http_request_duration_seconds histogram\n");
        for (labels, stats) in self.labelled() {
            let count: u64 = stats.by_class.iter().map(Counter::get).sum();
            if count == 0 {
                continue;
            }
            let mut below = 0;
            for (bound, bucket) in BUCKETS_S.iter().zip(&stats.buckets) {
                below += bucket.get();
                let _ = writeln!(
                    out,
                    "craft_http_request_duration_seconds_bucket{{{labels},le=\"{bound}\"}} {below}"
                );
            }
            let _ =
                writeln!(out, "craft_http_request_duration_seconds_bucket{{{labels},le=\"+Inf\"}} {count}");
            let sum_s = Duration::from_micros(stats.sum_us.get()).as_secs_f64();
            let _ = writeln!(out, "craft_http_request_duration_seconds_sum{{{labels}}} {sum_s}");
            let _ = writeln!(out, "craft_http_request_duration_seconds_count{{{labels}}} {count}");
        }
    }

    fn labelled(&self) -> impl Iterator<Item = (String, &RouteStats)> {
        let known =
            self.router.routes().iter().map(|r| format!("method=\"{}\",route=\"{}\"", r.method, r.path));
        known.chain(["method=\"\",route=\"\"".to_owned()]).zip(&self.routes)
    }

    /// `Authorization: Bearer TOKEN`, or Basic with the token as password, which is how a browser asks.
    fn is_allowed(&self, request: &Request<'_>) -> bool {
        let Some(token) = &self.token else { return true };
        // Whoever only asks whether we live learns nothing else.
        if matches!(request.path, "/health" | "/ready") {
            return true;
        }
        let Some((scheme, given)) = request.header("authorization").and_then(|v| v.split_once(' ')) else {
            return false;
        };
        match scheme.to_ascii_lowercase().as_str() {
            "bearer" => same_secret(given.trim(), token),
            "basic" => {
                let decoded = BASE64_STANDARD.decode(given.trim()).unwrap_or_default();
                let text = String::from_utf8_lossy(&decoded);
                text.split_once(':').is_some_and(|(_, password)| same_secret(password, token))
            }
            _ => false,
        }
    }
}

impl Middleware for Telemetry {
    fn before(&self, request: &Request<'_>) -> Result<(), Response> {
        TRACE.set(Some(trace_of(request.header("traceparent"))));
        if !self.is_allowed(request) {
            let message = "send \"Authorization: Bearer\" and the token of this server";
            let refusal = Response::from(ApiError::new(401, "unauthorized", message));
            return Err(refusal.with("WWW-Authenticate", "Basic realm=\"craft\", charset=\"UTF-8\""));
        }
        // Without a token we are for this machine alone. A name that a stranger made point here must not do: that is
        // how a web page would read and write us (DNS rebinding).
        if self.token.is_none() && !request.header("host").is_some_and(is_local_host) {
            let message = "without a token, only requests to localhost or to an address are answered";
            return Err(ApiError::new(403, "foreign_host", message).into());
        }
        // A page of another site may make a browser send us a request, but cannot hide where it comes from.
        let foreign = request.header("origin").is_some_and(|origin| {
            let host = origin.split_once("://").map_or("", |(_, host)| host);
            !request.header("host").is_some_and(|ours| ours.eq_ignore_ascii_case(host))
        });
        if foreign && !matches!(request.method, "GET" | "HEAD") {
            return Err(ApiError::new(
                403,
                "cross_origin",
                "requests from pages of another origin are refused",
            )
            .into());
        }
        Ok(())
    }

    fn after(&self, request: Option<&Request<'_>>, status: u16, took: Duration) {
        let route = request.and_then(|r| self.router.find(r.method, r.path));
        let stats = &self.routes[route.unwrap_or(self.routes.len() - 1)];
        stats.by_class[usize::from(status / 100).clamp(1, CLASSES) - 1].add(1);
        stats.sum_us.add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        let seconds = took.as_secs_f64();
        if let Some(bucket) = BUCKETS_S.iter().position(|bound| seconds <= *bound) {
            stats.buckets[bucket].add(1);
        }
        if let Some((request, _)) =
            request.zip(route.filter(|r| self.router.routes()[*r].service == "ingest"))
        {
            self.meters.ingest_requests.add(1);
            self.meters.ingest_refused.add(u64::from(status >= 400));
            self.meters.ingest_bytes.add(request.body.len() as u64);
        }
        let trace = TRACE.take();
        if status < 500 && !tracing::enabled!(target: "http", tracing::Level::DEBUG) {
            return;
        }
        let (method, path) = request.map_or(("-", "-"), |r| (r.method, r.path));
        let trace = trace.map_or_else(String::new, |t| format!("{t:032x}"));
        let took_us = took.as_micros();
        if status >= 500 {
            tracing::warn!(target: "http", trace, method, path, status, took_us, "request failed");
        } else {
            tracing::debug!(target: "http", trace, method, path, status, took_us, "request");
        }
    }

    /// The trace, for as long as this thread answers others.
    fn suspend(&self) -> u128 {
        TRACE.take().unwrap_or_default()
    }

    fn resume(&self, noted: u128) {
        TRACE.set(Some(noted).filter(|trace| *trace != 0));
    }
}

/// `localhost` or an address, with or without a port.
fn is_local_host(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    };
    let address = name.strip_prefix('[').and_then(|n| n.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok()
}

thread_local! {
    /// The trace of the request that this thread is answering.
    static TRACE: Cell<Option<u128>> = const { Cell::new(None) };
}

/// The W3C `traceparent` to pass on: the trace of the request that this thread is answering, a new span.
pub(crate) fn traceparent() -> String {
    let trace = TRACE.get().unwrap_or_else(new_trace);
    format!("00-{trace:032x}-{:016x}-01", fastrand::u64(1..))
}

/// The trace id of a `traceparent` (W3C Trace Context §3.2), or a new one where there is none that is valid.
fn trace_of(header: Option<&str>) -> u128 {
    let mut parts = header.unwrap_or_default().split('-');
    let (version, trace) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let lower_hex = |text: &str| text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let valid =
        version.len() == 2 && version != "ff" && trace.len() == 32 && lower_hex(version) && lower_hex(trace);
    valid
        .then(|| u128::from_str_radix(trace, 16).ok())
        .flatten()
        .filter(|t| *t != 0)
        .unwrap_or_else(new_trace)
}

fn new_trace() -> u128 {
    fastrand::u128(1..)
}

/// Takes the same time wherever the two differ, so that nobody can guess a secret byte by byte.
fn same_secret(given: &str, secret: &str) -> bool {
    let difference = given.bytes().zip(secret.bytes()).fold(0, |d, (a, b)| d | (a ^ b));
    given.len() == secret.len() && difference == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn telemetry(token: Option<&str>) -> Telemetry {
        Telemetry::new(Arc::new(Router::new(Vec::new())), Arc::default(), token.map(str::to_owned))
    }

    fn admit(telemetry: &Telemetry, method: &str, headers: &[(&str, &[u8])]) -> Result<(), u16> {
        let headers = &[headers, &[("Host", b"127.0.0.1:8080")]].concat();
        let request = Request { method, path: "/x", query: "", headers, body: b"", peer: None };
        telemetry.before(&request).map_err(|e| e.status)
    }

    #[test]
    fn a_token_is_asked_for_in_either_form() {
        let open = telemetry(None);
        assert_eq!(admit(&open, "GET", &[]), Ok(()));
        let guarded = telemetry(Some("s3cret"));
        assert_eq!(admit(&guarded, "GET", &[]), Err(401));
        assert_eq!(admit(&guarded, "GET", &[("Authorization", b"Bearer s3cret")]), Ok(()));
        assert_eq!(admit(&guarded, "GET", &[("Authorization", b"Bearer s3cre")]), Err(401));
        let basic = format!("Basic {}", BASE64_STANDARD.encode("anyone:s3cret"));
        assert_eq!(admit(&guarded, "GET", &[("Authorization", basic.as_bytes())]), Ok(()));
        let health =
            Request { method: "GET", path: "/health", query: "", headers: &[], body: b"", peer: None };
        assert!(guarded.before(&health).is_ok());
    }

    #[test]
    fn a_page_of_another_site_may_not_post() {
        let open = telemetry(None);
        let ours: &[(&str, &[u8])] = &[("Host", b"127.0.0.1:8080"), ("Origin", b"http://127.0.0.1:8080")];
        let theirs: &[(&str, &[u8])] = &[("Host", b"127.0.0.1:8080"), ("Origin", b"https://evil.example")];
        assert_eq!(admit(&open, "POST", ours), Ok(()));
        assert_eq!(admit(&open, "POST", theirs), Err(403));
        assert_eq!(admit(&open, "GET", theirs), Ok(()));
    }

    #[test]
    fn a_name_that_points_here_is_not_enough() {
        for host in ["localhost", "LOCALHOST:8080", "127.0.0.1:8080", "10.1.2.3", "[::1]:8080", "[::1]"] {
            assert!(is_local_host(host), "{host}");
        }
        for host in
            ["", "evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost.evil:80", ":80"]
        {
            assert!(!is_local_host(host), "{host}");
        }
        assert_eq!(admit(&telemetry(None), "GET", &[("Host", b"evil.example:8080")]), Err(403));
        let token: &[(&str, &[u8])] = &[("Host", b"craft.example"), ("Authorization", b"Bearer x")];
        assert_eq!(admit(&telemetry(Some("x")), "GET", token), Ok(()));
    }

    #[test]
    fn a_request_that_is_answered_later_keeps_its_trace() {
        let open = telemetry(None);
        let begin = |trace: &str| {
            let traceparent = format!("00-{trace}-b7ad6b7169203331-01");
            assert_eq!(admit(&open, "POST", &[("traceparent", traceparent.as_bytes())]), Ok(()));
        };
        let (first, second) = ("0af7651916cd43dd8448eb211c80319c", "1af7651916cd43dd8448eb211c80319c");
        begin(first);
        let noted = open.suspend();
        begin(second);
        assert!(traceparent().contains(second));
        open.after(None, 200, Duration::ZERO);
        open.resume(noted);
        assert!(traceparent().contains(first));
        open.after(None, 200, Duration::ZERO);
        assert!(!traceparent().contains(first), "it has ended");
    }

    #[test]
    fn a_trace_is_kept_and_a_broken_one_replaced() {
        let trace = "0af7651916cd43dd8448eb211c80319c";
        assert_eq!(format!("{:032x}", trace_of(Some(&format!("00-{trace}-b7ad6b7169203331-01")))), trace);
        for bad in [
            "",
            "00",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        ] {
            assert_ne!(trace_of(Some(bad)), 0);
        }
    }
}
