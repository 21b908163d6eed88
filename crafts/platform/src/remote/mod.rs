//! The contracts as clients: each trait spoken over HTTP to a service somewhere else.
//!
//! A remote component stands in a slot like any other, and passes the same conformance suite. Errors come back
//! as they were: a service sends the parts of its error as `detail`.

mod alert;
mod query;
mod queue;
mod storage;

pub use alert::RemoteAlerter;
pub use query::RemoteQuery;
pub use queue::RemoteLog;
pub use storage::RemoteStorage;

use crate::telemetry;
use contracts::http::{ErrorBody, percent_encode};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::{fmt::Display, time::Duration};

/// The longest that any answer may take.
const TIMEOUT: Duration = Duration::from_secs(30);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// The largest answer that is read.
const ANSWER_BYTES_MAX: u64 = 1 << 30;

/// A client of one service.
#[derive(Clone)]
pub struct Client {
    base: String,
    token: Option<String>,
    agent: ureq::Agent,
}

/// What a service answered.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) retry_after_s: Option<u32>,
    pub(crate) content_type: String,
    pub(crate) body: Vec<u8>,
}

impl Client {
    /// A client of the service at `base`, as in `http://127.0.0.1:8082`.
    ///
    /// # Errors
    /// A sentence if that is no such URL.
    pub fn new(base: &str, token: Option<&str>) -> Result<Self, String> {
        let base = base.trim_end_matches('/');
        if !base
            .strip_prefix("http://")
            .is_some_and(|rest| !rest.is_empty() && !rest.contains(['/', '?', '#']))
        {
            return Err(format!("{base:?} is no base URL; expected http://HOST:PORT"));
        }
        Ok(Self { base: base.to_owned(), token: token.map(str::to_owned), agent: agent(TIMEOUT) })
    }

    /// The same client, but no answer may take longer than this.
    #[must_use]
    pub fn within(&self, timeout: Duration) -> Self {
        Self { agent: agent(timeout), ..self.clone() }
    }

    /// Where it goes.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Whether the service says that it is ready.
    ///
    /// # Errors
    /// Why it is not.
    pub fn ready(&self) -> Result<(), String> {
        let answer = self.get("/ready")?;
        if answer.status == 200 { Ok(()) } else { Err(format!("{}: {}", self.base, answer.message())) }
    }

    pub(crate) fn get(&self, path_and_query: &str) -> Result<Answer, String> {
        self.get_as(path_and_query, "*/*")
    }

    /// The same, preferably of a media type.
    pub(crate) fn get_as(&self, path_and_query: &str, media_type: &str) -> Result<Answer, String> {
        let mut request = self.agent.get(self.url(path_and_query));
        request = request.header("traceparent", telemetry::traceparent()).header("Accept", media_type);
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        self.read(request.call())
    }

    pub(crate) fn delete(&self, path: &str) -> Result<Answer, String> {
        let mut request = self.agent.delete(self.url(path)).header("traceparent", telemetry::traceparent());
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        self.read(request.call())
    }

    pub(crate) fn post(
        &self,
        path_and_query: &str,
        content_type: &str,
        body: &[u8],
    ) -> Result<Answer, String> {
        let mut request =
            self.agent.post(self.url(path_and_query)).header("traceparent", telemetry::traceparent());
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        self.read(request.content_type(content_type).send(body))
    }

    pub(crate) fn post_form(&self, path: &str, params: &[(&str, &str)]) -> Result<Answer, String> {
        self.post(path, "application/x-www-form-urlencoded", form(params).as_bytes())
    }

    pub(crate) fn post_json(&self, path: &str, value: &impl serde::Serialize) -> Result<Answer, String> {
        let body = serde_json::to_vec(value).map_err(|e| e.to_string())?;
        self.post(path, "application/json", &body)
    }

    fn url(&self, path_and_query: &str) -> String {
        format!("{}{path_and_query}", self.base)
    }

    fn read(&self, result: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<Answer, String> {
        let failed = |e: &dyn Display| format!("{}: {e}", self.base);
        let mut response = result.map_err(|e| failed(&e))?;
        let retry_after = response.headers().get("retry-after").and_then(|v| v.to_str().ok());
        let retry_after_s = retry_after.and_then(|v| v.parse().ok());
        let content_type = response.headers().get("content-type").and_then(|v| v.to_str().ok());
        let content_type = content_type.unwrap_or_default().to_owned();
        let status = response.status().as_u16();
        let body = response
            .body_mut()
            .with_config()
            .limit(ANSWER_BYTES_MAX)
            .read_to_vec()
            .map_err(|e| failed(&e))?;
        Ok(Answer { status, retry_after_s, content_type, body })
    }
}

fn agent(timeout: Duration) -> ureq::Agent {
    let config = ureq::Agent::config_builder().http_status_as_error(false).max_redirects(0).proxy(None);
    config
        .timeout_global(Some(timeout))
        .timeout_connect(Some(CONNECT_TIMEOUT.min(timeout)))
        .build()
        .new_agent()
}

/// Parameters as a query string or a form body has them.
pub(crate) fn form(params: &[(&str, &str)]) -> String {
    let pairs: Vec<_> =
        params.iter().map(|(n, v)| format!("{}={}", percent_encode(n), percent_encode(v))).collect();
    pairs.join("&")
}

impl Answer {
    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The body of a success as JSON; of anything else, the error: as it was if its parts came along.
    pub(crate) fn json<T: DeserializeOwned, E: DeserializeOwned>(
        &self,
        other: impl Fn(String) -> E,
    ) -> Result<T, E> {
        self.success(&other)?;
        serde_json::from_slice(&self.body)
            .map_err(|e| other(format!("an answer that could not be read: {e}")))
    }

    pub(crate) fn success<E: DeserializeOwned>(&self, other: impl Fn(String) -> E) -> Result<(), E> {
        if self.is_success() {
            return Ok(());
        }
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        // In our own error the parts stand below `error`, in Prometheus's beside it.
        let detail = body.pointer("/error/detail").or_else(|| body.get("detail"));
        let as_it_was = detail.and_then(|d| serde_json::from_value(d.clone()).ok());
        Err(as_it_was.unwrap_or_else(|| other(self.message())))
    }

    /// What went wrong, in a sentence.
    pub(crate) fn message(&self) -> String {
        match serde_json::from_slice::<ErrorBody>(&self.body) {
            Ok(body) => format!("status {}: {}", self.status, body.error.message),
            Err(_) => {
                let text: String = String::from_utf8_lossy(&self.body).chars().take(200).collect();
                format!("status {}: {text}", self.status)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_has_a_host_and_nothing_else() {
        assert!(
            Client::new("http://127.0.0.1:8082/", None).is_ok_and(|c| c.base() == "http://127.0.0.1:8082")
        );
        for bad in ["", "127.0.0.1:8082", "https://x", "http://", "http://x/y", "http://x?y"] {
            assert!(Client::new(bad, None).is_err(), "{bad}");
        }
    }
}
