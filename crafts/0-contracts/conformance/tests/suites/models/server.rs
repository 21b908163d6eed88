//! A small HTTP server for the storage and the alert service over the models in memory: a thread a connection, a
//! connection a request. Strict unless it is told to be wrong.

use super::alerter;
use contracts::{
    Batch, BatchView, TimestampMs,
    alert::{AlertError, Alerter, Channel, Notification, Notifier, Rule},
    http::{ApiError, Request, Response, percent_decode, reason},
    limits::{BODY_BYTES_MAX, HEAD_BYTES_MAX, HEADERS_MAX, RULE_BYTES_MAX},
    openapi::FILES,
    query::format_value,
    queue::put_payload,
    storage::{Select, Storage, StorageError},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// What a server can get wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    BareLineFeeds,
    AnyVersion,
    FoldedHeaders,
    SpaceBeforeColon,
    ControlCharacters,
    TwoHosts,
    NoHeadBound,
    SignedLengths,
    LastLengthWins,
    LengthBesideChunks,
    NoBodyBound,
    NoLengthIsNothing,
    TakesCutBodies,
    NeverContinues,
    DiesOfGarbage,
    HeadWithBody,
    NoAllow,
    PlainErrors,
    HealthInWords,
    BadExposition,
    ListsMissingFiles,
    PutIs200,
    NoDetail,
    ShowsNoAlerts,
    RawNames,
    IgnoresSyncedWrites,
    WrongContentType,
    UndocumentedStatus,
}

/// How long a request may take to arrive.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

struct Server {
    fault: Fault,
    store: Arc<dyn Storage>,
    alerter: Arc<dyn Alerter>,
    dead: AtomicBool,
}

/// Starts a server that runs as long as the tests do; returns its address.
pub(crate) fn start(fault: Fault) -> String {
    let (store, alerter) = alerter::open_with_store(alerter::Fault::None, Arc::new(Nobody));
    let server = Arc::new(Server { fault, store, alerter, dead: AtomicBool::new(false) });
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let server = server.clone();
            std::thread::spawn(move || server.serve(stream));
        }
    });
    format!("http://{address}")
}

struct Nobody;

impl Notifier for Nobody {
    fn channel(&self) -> Channel {
        Channel { name: "nobody".to_owned(), kind: "none".to_owned() }
    }

    fn notify(&self, _: &Notification) -> Result<(), String> {
        Ok(())
    }
}

struct Head {
    method: String,
    target: String,
    body_bytes: usize,
    expects: bool,
}

impl Server {
    fn is(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    /// Reads one request, answers it, and closes once the client has.
    fn serve(&self, mut stream: TcpStream) {
        if self.dead.load(Ordering::Relaxed) {
            return;
        }
        let (head, response) = match self.read(&mut stream) {
            Ok(None) => return,
            Ok(Some((head, body))) => {
                let response = self.answer(&head, &body);
                (Some(head), response)
            }
            Err(e) => {
                self.dead.store(e.status == 400 && self.is(Fault::DiesOfGarbage), Ordering::Relaxed);
                (None, Response::from(e))
            }
        };
        let is_head = head.is_some_and(|h| h.method == "HEAD") && !self.is(Fault::HeadWithBody);
        let _ = stream.write_all(&encode(&response, is_head));
        let _ = stream.shutdown(Shutdown::Write);
        // Until the client has read the answer: closing on unread bytes could take it away again.
        let _ = stream.set_read_timeout(Some(Duration::from_millis(200)));
        let _ = std::io::copy(&mut stream.take(4 << 20), &mut std::io::sink());
    }

    fn read(&self, stream: &mut TcpStream) -> Result<Option<(Head, Vec<u8>)>, ApiError> {
        let deadline = Instant::now() + REQUEST_TIMEOUT;
        let end: &[u8] = b"\r\n\r\n";
        let (mut buffer, mut head) = (Vec::new(), None);
        loop {
            if head.is_none() {
                let found = buffer.windows(4).position(|w| w == end).map(|at| at + 4);
                let found = found.or_else(|| self.bare_end(&buffer));
                let bytes = found.unwrap_or(buffer.len());
                if bytes > HEAD_BYTES_MAX && !self.is(Fault::NoHeadBound) {
                    return Err(ApiError::new(431, "head_too_large", "too large"));
                }
                if let Some(at) = found {
                    let parsed = self.parse(&buffer[..at])?;
                    buffer.drain(..at);
                    if parsed.expects && !self.is(Fault::NeverContinues) {
                        let _ = stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n");
                    }
                    head = Some(parsed);
                }
            }
            if let Some(parsed) = head.take_if(|h| buffer.len() >= h.body_bytes) {
                buffer.truncate(parsed.body_bytes);
                return Ok(Some((parsed, buffer)));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let late = || ApiError::new(408, "request_timeout", "too slow");
            if left.is_zero() {
                return Err(late());
            }
            let _ = stream.set_read_timeout(Some(left));
            let mut some = [0; 8192];
            match stream.read(&mut some) {
                Ok(0) if buffer.is_empty() && head.is_none() => return Ok(None),
                Ok(0) => match head.filter(|_| self.is(Fault::TakesCutBodies)) {
                    Some(parsed) => return Ok(Some((parsed, buffer))),
                    None => return Err(ApiError::new(400, "cut_short", "cut short")),
                },
                Ok(count) => buffer.extend_from_slice(&some[..count]),
                Err(_) => return Err(late()),
            }
        }
    }

    fn bare_end(&self, buffer: &[u8]) -> Option<usize> {
        let at = buffer.windows(2).position(|w| w == b"\n\n").map(|at| at + 2);
        if self.is(Fault::BareLineFeeds) {
            return at;
        }
        // A server that waited for more would be right as well, but slow to say so.
        at.map(|_| buffer.len())
    }

    fn parse(&self, head: &[u8]) -> Result<Head, ApiError> {
        let bad = |what: &str| ApiError::new(400, "bad_header", what);
        let mut text = String::from_utf8_lossy(head).into_owned();
        if self.is(Fault::BareLineFeeds) {
            text = text.replace("\r\n", "\n").replace('\n', "\r\n");
        }
        if self.is(Fault::FoldedHeaders) {
            text = text.replace("\r\n ", " ").replace("\r\n\t", " ");
        }
        let controls = text.replace("\r\n", "").contains(|c: char| c.is_ascii_control() && c != '\t');
        if controls && !self.is(Fault::ControlCharacters) {
            return Err(bad("a control character"));
        }
        let mut lines = text.trim_end_matches("\r\n").split("\r\n");
        let (method, target) = self.request_line(lines.next().unwrap_or_default())?;
        let headers = lines.map(|line| self.header(line)).collect::<Result<Vec<_>, _>>()?;
        if headers.len() > HEADERS_MAX && !self.is(Fault::NoHeadBound) {
            return Err(ApiError::new(431, "too_many_headers", "too many"));
        }
        let all = |name: &str| {
            headers.iter().filter(|(n, _)| n == name).map(|(_, v)| v.as_str()).collect::<Vec<_>>()
        };
        let hosts = all("host").len();
        if hosts != 1 && !(self.is(Fault::TwoHosts) && hosts > 1) {
            return Err(bad("exactly one Host"));
        }
        let body_bytes = self.body_bytes(&method, &all("content-length"), &all("transfer-encoding"))?;
        let expects = match all("expect")[..] {
            [] => false,
            ["100-continue"] => true,
            _ => return Err(ApiError::new(417, "bad_expectation", "unknown")),
        };
        Ok(Head { method, target, body_bytes, expects })
    }

    fn request_line(&self, line: &str) -> Result<(String, String), ApiError> {
        let bad = |what: &str| ApiError::new(400, "bad_request_line", what);
        let words: Vec<_> = line.split(' ').collect();
        let [method, target, version] = words[..] else { return Err(bad("not three words")) };
        // An absolute target means its path.
        let path = target
            .strip_prefix("http://")
            .map_or(target, |rest| rest.find('/').map_or("/", |at| &rest[at..]));
        if !is_token(method) || !path.starts_with('/') || !path.is_ascii() {
            return Err(bad("a method and a path"));
        }
        match version {
            "HTTP/1.1" => Ok((method.to_owned(), path.to_owned())),
            _ if self.is(Fault::AnyVersion) => Ok((method.to_owned(), path.to_owned())),
            "HTTP/1.0" | "HTTP/2.0" | "HTTP/0.9" => Err(ApiError::new(505, "bad_version", "HTTP/1.1")),
            _ => Err(bad("no version")),
        }
    }

    fn header(&self, line: &str) -> Result<(String, String), ApiError> {
        let (name, value) = line.split_once(':').unwrap_or_default();
        let name = if self.is(Fault::SpaceBeforeColon) { name.trim_end() } else { name };
        if !is_token(name) {
            return Err(ApiError::new(400, "bad_header", "no header"));
        }
        Ok((name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned()))
    }

    fn body_bytes(&self, method: &str, lengths: &[&str], codings: &[&str]) -> Result<usize, ApiError> {
        let bad = || ApiError::new(400, "bad_header", "a Content-Length");
        let beside = self.is(Fault::LengthBesideChunks);
        if !codings.is_empty() && lengths.is_empty() {
            return Err(ApiError::new(501, "transfer_encoding", "none is known"));
        }
        if !codings.is_empty() && !beside {
            return Err(bad());
        }
        let length = match lengths {
            [] if matches!(method, "POST" | "PUT") && !self.is(Fault::NoLengthIsNothing) => {
                return Err(ApiError::new(411, "length_required", "a length"));
            }
            [] => return Ok(0),
            [one] => one,
            [.., last] if self.is(Fault::LastLengthWins) => last,
            _ => return Err(bad()),
        };
        let length = if self.is(Fault::SignedLengths) { length.trim_start_matches('+') } else { length };
        if length.is_empty() || !length.bytes().all(|b| b.is_ascii_digit()) {
            return Err(bad());
        }
        let bytes = length.parse().unwrap_or(usize::MAX);
        if bytes > BODY_BYTES_MAX && !self.is(Fault::NoBodyBound) {
            return Err(ApiError::new(413, "body_too_large", "too large"));
        }
        Ok(bytes)
    }

    fn answer(&self, head: &Head, body: &[u8]) -> Response {
        let (path, query) = head.target.split_once('?').unwrap_or((&head.target, ""));
        let method = if head.method == "HEAD" { "GET" } else { &head.method };
        let request = Request { method, path, query, headers: &[], body, peer: None };
        self.route(&request).into()
    }

    fn route(&self, request: &Request<'_>) -> Result<Response, ApiError> {
        match (request.method, request.path) {
            ("GET", "/health") if self.is(Fault::HealthInWords) => Ok(Response::text(200, "ok")),
            ("GET", "/health") => Ok(Response::json(200, &json!({"status": "ok"}))),
            ("GET", "/ready") => Ok(Response::json(200, &json!({"ready": true}))),
            ("GET", "/metrics") if self.is(Fault::BadExposition) => Ok(Response::text(200, "up = 1\n")),
            ("GET", "/metrics") => Ok(Response::text(200, "# TYPE up gauge\nup{a=\"b\"} 1\n")),
            ("GET", "/openapi") => {
                let mut files: Vec<_> =
                    FILES.iter().map(|(name, _)| format!("/openapi/{name}.yaml")).collect();
                files.extend(self.is(Fault::ListsMissingFiles).then(|| "/openapi/more.yaml".to_owned()));
                Ok(Response::json(200, &json!({ "files": files })))
            }
            ("POST", "/write" | "/sync" | "/query" | "/series") => self.storage(request),
            ("GET" | "POST" | "DELETE", path) if path.starts_with("/rules") => self.rules(request),
            ("GET", "/alerts" | "/channels" | "/api/v1/rules" | "/api/v1/alerts") => {
                self.alerts(request.path)
            }
            (_, "/health" | "/ready" | "/metrics" | "/openapi") => Err(self.not_allowed(request)),
            ("GET", path) => match FILES.iter().find(|(name, _)| path == format!("/openapi/{name}.yaml")) {
                Some((_, text)) => Ok(Response::body(200, "application/yaml", text.as_bytes())),
                None => self.nowhere(path),
            },
            (_, path) => self.nowhere(path),
        }
    }

    fn nowhere(&self, path: &str) -> Result<Response, ApiError> {
        if self.is(Fault::PlainErrors) {
            Ok(Response::text(404, "not found"))
        } else {
            Err(ApiError::no_such_path(path))
        }
    }

    fn not_allowed(&self, request: &Request<'_>) -> ApiError {
        let allow = if self.is(Fault::NoAllow) { "" } else { "GET" };
        ApiError::method_not_allowed(request.method, request.path, allow)
    }

    fn storage(&self, request: &Request<'_>) -> Result<Response, ApiError> {
        if request.path == "/sync" {
            return Ok(Response::status(204));
        }
        if request.path == "/write" {
            let batch =
                BatchView::parse(request.body).map_err(|e| ApiError::new(400, "bad_batch", e.to_string()))?;
            if !self.is(Fault::IgnoresSyncedWrites) || batch.len() != 10 {
                self.store.write(&batch).unwrap();
            }
            return Ok(Response::status(204));
        }
        let select: Select = json_of(request.body)?;
        if request.path == "/series" {
            let series = self.store.series(&select).unwrap();
            let status = if self.is(Fault::UndocumentedStatus) { 206 } else { 200 };
            return Ok(Response::json(status, &json!({ "series": series })));
        }
        let mut out = Vec::new();
        let found = self.store.select(&select, &mut |labels, timestamps, values| {
            let mut batch = Batch::new();
            let series = batch.series_of(labels).unwrap();
            for (at, value) in timestamps.iter().zip(values) {
                batch.push(series, TimestampMs(*at), *value).unwrap();
            }
            put_payload(&batch.encode(), &mut out);
            ControlFlow::Continue(())
        });
        match found {
            Err(e @ StorageError::TooManySamples(_)) => Err(ApiError::of(422, "too_many_samples", &e)),
            Err(e) => Err(ApiError::of(500, "storage_failed", &e)),
            Ok(_) if self.is(Fault::WrongContentType) => {
                Ok(Response::body(200, "application/octet-stream", out))
            }
            Ok(_) => Ok(Response::body(200, "application/vnd.systems-craft.batches", out)),
        }
    }

    fn rules(&self, request: &Request<'_>) -> Result<Response, ApiError> {
        match (request.method, request.path) {
            ("GET", "/rules") => Ok(Response::json(200, &json!({"rules": self.alerter.rules().unwrap()}))),
            ("POST", "/rules") if request.body.len() > RULE_BYTES_MAX => {
                Err(ApiError::new(413, "body_too_large", "too large"))
            }
            ("POST", "/rules") => {
                let rule: Rule = json_of(request.body)?;
                self.alerter.put_rule(rule.clone()).map_err(|e| self.refusal(&e))?;
                Ok(Response::json(if self.is(Fault::PutIs200) { 200 } else { 201 }, &rule))
            }
            ("POST", "/rules/evaluate") => {
                let time = request.param("time").and_then(|text| text.parse().ok());
                let time = time.ok_or_else(|| ApiError::new(400, "bad_parameter", "no time"))?;
                self.alerter.evaluate(TimestampMs(time)).unwrap();
                Ok(Response::status(204))
            }
            ("DELETE", path) => {
                let name = path.trim_start_matches("/rules/");
                let name = if self.is(Fault::RawNames) { name.into() } else { percent_decode(name, false) };
                self.alerter.delete_rule(&name).map_err(|e| self.refusal(&e))?;
                Ok(Response::status(204))
            }
            (_, path) => self.nowhere(path),
        }
    }

    fn alerts(&self, path: &str) -> Result<Response, ApiError> {
        let mut alerts = self.alerter.alerts().unwrap();
        alerts.retain(|_| !self.is(Fault::ShowsNoAlerts));
        let told = |alert: &contracts::alert::Alert| -> Value {
            json!({
                "labels": alert.labels, "annotations": alert.annotations, "state": alert.state,
                "activeAt": alert.active_since_ms.to_string(), "value": format_value(alert.value),
            })
        };
        let data = match path {
            "/alerts" => return Ok(Response::json(200, &json!({ "alerts": alerts }))),
            "/channels" => {
                return Ok(Response::json(200, &json!({"channels": self.alerter.channels().unwrap()})));
            }
            "/api/v1/alerts" => json!({"alerts": alerts.iter().map(told).collect::<Vec<_>>()}),
            _ => {
                let rule = |s: &contracts::alert::RuleStatus| {
                    let own: Vec<_> = alerts.iter().filter(|a| a.rule == s.rule.name).map(told).collect();
                    json!({
                        "type": "alerting", "name": s.rule.name, "query": s.rule.expr, "state": s.state,
                        "health": "ok", "alerts": own,
                    })
                };
                let rules: Vec<_> = self.alerter.rules().unwrap().iter().map(rule).collect();
                json!({"groups": [{"name": "all", "rules": rules}]})
            }
        };
        Ok(Response::json(200, &json!({"status": "success", "data": data})))
    }

    fn refusal(&self, error: &AlertError) -> ApiError {
        let (status, code) = match error {
            AlertError::BadRule { .. } => (400, "bad_rule"),
            AlertError::NoSuchRule(_) => (404, "no_such_rule"),
            AlertError::TooManyRules(_) => (422, "too_many_rules"),
            AlertError::Failed(_) => (500, "alerting_failed"),
        };
        let detailed = ApiError::of(status, code, error);
        if self.is(Fault::NoDetail) { ApiError { detail: None, ..detailed } } else { detailed }
    }
}

fn json_of<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|e| ApiError::bad_input("bad_json", e.column(), e.to_string()))
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

fn encode(response: &Response, is_head: bool) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {} {}\r\n", response.status, reason(response.status));
    if !response.content_type.is_empty() {
        head.push_str(&format!("Content-Type: {}\r\n", response.content_type));
    }
    for (name, value) in &response.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("Content-Length: {}\r\nConnection: close\r\n\r\n", response.body.len()));
    let body: &[u8] = if is_head { b"" } else { response.body.bytes() };
    [head.as_bytes(), body].concat()
}
