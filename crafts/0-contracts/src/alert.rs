//! Craft 5: from vectors to people.
//!
//! A rule is an expression; every element of the vector it evaluates to is an alert. An [`Alerter`] keeps their
//! states and hands changes to a [`Notifier`]. Names and states are those of Prometheus's alerting rules.
//! Every firing alert is delivered at least once; whether it is repeated is the implementation's business.

use crate::{labels::Labels, query::QueryError, time::TimestampMs};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Why an alerter refused or failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertError {
    /// The rule cannot be taken as it is.
    #[error("rule {name:?}: {why}")]
    BadRule {
        /// Its name.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// No rule of this name.
    #[error("there is no rule {0:?}")]
    NoSuchRule(String),
    /// A bound on the number of rules.
    #[error("there are {0} rules already, which is the most")]
    TooManyRules(usize),
    /// It could not go on.
    #[error("alerting failed: {0}")]
    Failed(String),
}

/// When to raise alerts, and what to say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Unique; becomes the label `alertname`.
    pub name: String,
    /// Each element of the resulting vector is an alert.
    pub expr: String,
    /// How long an element must be there before its alert fires. An implementation that cannot wait refuses
    /// a rule that asks for it.
    #[serde(default)]
    pub for_ms: u64,
    /// Added to the labels of each alert; they win over the element's own.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Carried along for people to read.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

/// Where a rule or an alert stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AlertState {
    /// The expression gives nothing.
    Inactive,
    /// It gives something, but not yet for long enough.
    Pending,
    /// It is time to act.
    Firing,
}

impl AlertState {
    /// As it is written in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inactive => "inactive",
            Self::Pending => "pending",
            Self::Firing => "firing",
        }
    }
}

/// A rule and how its last evaluation went.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RuleStatus {
    /// The rule.
    #[serde(flatten)]
    pub rule: Rule,
    /// The highest state of its alerts.
    pub state: AlertState,
    /// When it was last evaluated.
    pub last_evaluation_ms: Option<TimestampMs>,
    /// How long that took.
    pub evaluation_seconds: f64,
    /// Why the last evaluation failed, if it did. The states before it are kept.
    pub error: Option<String>,
}

/// One element of a rule's vector. Inactive ones are not kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// Name of the rule.
    pub rule: String,
    /// The element's labels without its metric name, the rule's labels, and `alertname`.
    pub labels: Labels,
    /// The rule's annotations.
    pub annotations: BTreeMap<String, String>,
    /// Pending or firing.
    pub state: AlertState,
    /// The element's value at the last evaluation.
    #[serde(with = "value_text")]
    pub value: f64,
    /// When the element first appeared.
    pub active_since_ms: TimestampMs,
}

/// Whether a notification says that an alert began or that it is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NotificationKind {
    /// It fires.
    Firing,
    /// It fired, and does no more.
    Resolved,
}

/// What a person is told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Notification {
    /// Began or over.
    pub kind: NotificationKind,
    /// The alert, as it was when the notification was made.
    pub alert: Alert,
    /// When it was made.
    pub at_ms: TimestampMs,
}

/// Where notifications go.
pub trait Notifier: Send + Sync {
    /// Its name and kind, for the list of channels.
    fn channel(&self) -> Channel;

    /// Delivers one notification.
    ///
    /// # Errors
    /// Why it was not delivered.
    fn notify(&self, notification: &Notification) -> Result<(), String>;
}

/// A way to people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Channel {
    /// Unique.
    pub name: String,
    /// `print`, `webhook`, …
    pub kind: String,
}

/// Keeps rules and the states of their alerts.
pub trait Alerter: Send + Sync {
    /// Adds a rule, or replaces the one of the same name.
    ///
    /// # Errors
    /// [`AlertError::BadRule`] if it could never be evaluated; [`AlertError::TooManyRules`].
    fn put_rule(&self, rule: Rule) -> Result<(), AlertError>;

    /// Removes a rule; its firing alerts resolve.
    ///
    /// # Errors
    /// [`AlertError::NoSuchRule`].
    fn delete_rule(&self, name: &str) -> Result<(), AlertError>;

    /// All rules, sorted by name.
    ///
    /// # Errors
    /// [`AlertError::Failed`].
    fn rules(&self) -> Result<Vec<RuleStatus>, AlertError>;

    /// All alerts that are pending or firing, sorted by rule and labels.
    ///
    /// # Errors
    /// [`AlertError::Failed`].
    fn alerts(&self) -> Result<Vec<Alert>, AlertError>;

    /// Where notifications go.
    ///
    /// # Errors
    /// [`AlertError::Failed`].
    fn channels(&self) -> Result<Vec<Channel>, AlertError>;

    /// Evaluates every rule as of `now` and delivers what follows from it. A rule that fails keeps its error in
    /// its [`RuleStatus`] and does not stop the others.
    ///
    /// # Errors
    /// [`AlertError::Failed`].
    fn evaluate(&self, now: TimestampMs) -> Result<(), AlertError>;
}

impl AlertError {
    /// A rule whose expression was refused.
    pub fn bad_expr(name: &str, error: &QueryError) -> Self {
        Self::BadRule { name: name.to_owned(), why: format!("expr: {error}") }
    }
}

/// Values in JSON as in Prometheus's API, as text, since JSON has no NaN.
mod value_text {
    use crate::query::{format_value, parse_value};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format_value(*value))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_value(&text).ok_or_else(|| D::Error::custom(format!("{text:?} is no value")))
    }
}
