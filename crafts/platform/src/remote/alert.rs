//! The alerter of an alert service.

use super::Client;
use contracts::{
    TimestampMs,
    alert::{Alert, AlertError, Alerter, Channel, Rule, RuleStatus},
    http::percent_encode,
};
use serde::{Deserialize, de::DeserializeOwned};

/// An alerter behind `/rules` and `/alerts`.
pub struct RemoteAlerter {
    client: Client,
}

impl RemoteAlerter {
    /// The alerter of the service at the client's base URL. It need not be there yet.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, AlertError> {
        self.client.get(path).map_err(AlertError::Failed)?.json(AlertError::Failed)
    }
}

#[derive(Deserialize)]
struct Rules {
    rules: Vec<RuleStatus>,
}

#[derive(Deserialize)]
struct Alerts {
    alerts: Vec<Alert>,
}

#[derive(Deserialize)]
struct Channels {
    channels: Vec<Channel>,
}

impl Alerter for RemoteAlerter {
    fn put_rule(&self, rule: Rule) -> Result<(), AlertError> {
        let answer = self.client.post_json("/rules", &rule).map_err(AlertError::Failed)?;
        answer.success(AlertError::Failed)
    }

    fn delete_rule(&self, name: &str) -> Result<(), AlertError> {
        if name.is_empty() {
            return Err(AlertError::NoSuchRule(String::new())); // its path would be another one
        }
        let answer =
            self.client.delete(&format!("/rules/{}", percent_encode(name))).map_err(AlertError::Failed)?;
        answer.success(AlertError::Failed)
    }

    fn rules(&self) -> Result<Vec<RuleStatus>, AlertError> {
        self.get::<Rules>("/rules").map(|r| r.rules)
    }

    fn alerts(&self) -> Result<Vec<Alert>, AlertError> {
        self.get::<Alerts>("/alerts").map(|a| a.alerts)
    }

    fn channels(&self) -> Result<Vec<Channel>, AlertError> {
        self.get::<Channels>("/channels").map(|c| c.channels)
    }

    fn evaluate(&self, now: TimestampMs) -> Result<(), AlertError> {
        let path = format!("/rules/evaluate?time={}", now.0);
        self.client
            .post(&path, "application/json", b"")
            .map_err(AlertError::Failed)?
            .success(AlertError::Failed)
    }
}
