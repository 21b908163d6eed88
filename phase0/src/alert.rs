//! Stage 5: vectors → alerts → people.
//!
//! Each rule is evaluated by a query; each element of its result is an alert that fires at once.
//!
//! What is wrong with it: somebody must poll it; a firing alert is told again at every evaluation; a rule with
//! `for` is refused; a notification that fails is gone; and all of it is forgotten at a restart.

use contracts::{
    Labels, TimestampMs,
    alert::{
        Alert, AlertError, AlertState, Alerter, Channel, Notification, NotificationKind, Notifier, Rule,
        RuleStatus,
    },
    labels::METRIC_NAME,
    limits::RULES_MAX,
    query::{InstantSample, QueryEngine, QueryError, QueryValue},
};
use std::{
    collections::BTreeMap,
    io::Write as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

/// The label that carries a rule's name.
const ALERT_NAME: &str = "alertname";

/// Evaluates rules when told to.
pub struct PolledAlerter {
    engine: Arc<dyn QueryEngine>,
    notifier: Arc<dyn Notifier>,
    rules: Mutex<BTreeMap<String, Watched>>,
}

struct Watched {
    status: RuleStatus,
    firing: BTreeMap<Labels, Alert>,
}

impl PolledAlerter {
    /// An alerter without rules.
    pub fn new(engine: Arc<dyn QueryEngine>, notifier: Arc<dyn Notifier>) -> Self {
        Self { engine, notifier, rules: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Watched>> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn evaluate_rule(&self, watched: &mut Watched, now: TimestampMs) {
        let begun = Instant::now();
        let found = find_alerts(self.engine.as_ref(), &watched.status.rule, now);
        watched.status.evaluation_seconds = begun.elapsed().as_secs_f64();
        watched.status.last_evaluation_ms = Some(now);
        watched.status.error = found.as_ref().err().cloned();
        let Ok(mut found) = found else { return };
        for (labels, alert) in &mut found {
            if let Some(before) = watched.firing.get(labels) {
                alert.active_since_ms = before.active_since_ms;
            }
            self.tell(NotificationKind::Firing, alert, now);
        }
        for alert in watched.firing.values().filter(|alert| !found.contains_key(&alert.labels)) {
            self.tell(NotificationKind::Resolved, alert, now);
        }
        watched.status.state = if found.is_empty() { AlertState::Inactive } else { AlertState::Firing };
        watched.firing = found;
    }

    fn tell(&self, kind: NotificationKind, alert: &Alert, at_ms: TimestampMs) {
        let notification = Notification { kind, alert: alert.clone(), at_ms };
        if let Err(e) = self.notifier.notify(&notification) {
            let _ = writeln!(std::io::stderr(), "a notification of {} was lost: {e}", alert.labels);
        }
    }
}

impl Alerter for PolledAlerter {
    fn put_rule(&self, rule: Rule) -> Result<(), AlertError> {
        check_rule(self.engine.as_ref(), &rule)?;
        let mut rules = self.lock();
        if rules.len() >= RULES_MAX && !rules.contains_key(&rule.name) {
            return Err(AlertError::TooManyRules(RULES_MAX));
        }
        // Alerts of the old rule stay until the next evaluation, which resolves what the new one does not find.
        let firing = rules.remove(&rule.name).map_or_else(BTreeMap::new, |old| old.firing);
        let state = if firing.is_empty() { AlertState::Inactive } else { AlertState::Firing };
        let name = rule.name.clone();
        let status =
            RuleStatus { rule, state, last_evaluation_ms: None, evaluation_seconds: 0.0, error: None };
        rules.insert(name, Watched { status, firing });
        Ok(())
    }

    fn delete_rule(&self, name: &str) -> Result<(), AlertError> {
        let gone = self.lock().remove(name).ok_or_else(|| AlertError::NoSuchRule(name.to_owned()))?;
        for alert in gone.firing.values() {
            self.tell(NotificationKind::Resolved, alert, crate::now());
        }
        Ok(())
    }

    fn rules(&self) -> Result<Vec<RuleStatus>, AlertError> {
        Ok(self.lock().values().map(|w| w.status.clone()).collect())
    }

    fn alerts(&self) -> Result<Vec<Alert>, AlertError> {
        Ok(self.lock().values().flat_map(|w| w.firing.values().cloned()).collect())
    }

    fn channels(&self) -> Result<Vec<Channel>, AlertError> {
        Ok(vec![self.notifier.channel()])
    }

    fn evaluate(&self, now: TimestampMs) -> Result<(), AlertError> {
        // The lock is held while people are told: whoever asks for the rules meanwhile waits.
        self.lock().values_mut().for_each(|watched| self.evaluate_rule(watched, now));
        Ok(())
    }
}

/// Refuses what could never be evaluated, rather than failing every ten seconds from then on.
fn check_rule(engine: &dyn QueryEngine, rule: &Rule) -> Result<(), AlertError> {
    let bad = |why: String| Err(AlertError::BadRule { name: rule.name.clone(), why });
    if rule.name.is_empty() || rule.name.len() > 200 || rule.name.chars().any(char::is_control) {
        return bad("the name must have 1 to 200 bytes and no control characters".to_owned());
    }
    if rule.for_ms > 0 {
        return bad("this alerter cannot wait: for_ms must be 0".to_owned());
    }
    if rule.labels.contains_key(METRIC_NAME) || rule.labels.contains_key(ALERT_NAME) {
        return bad(format!("the labels {METRIC_NAME} and {ALERT_NAME} are not for rules to set"));
    }
    if let Err(e) = Labels::new(rule.labels.iter().map(|(n, v)| (n.as_str(), v.as_str()))) {
        return bad(e.to_string());
    }
    match engine.check(&rule.expr) {
        Err(e @ (QueryError::Bad { .. } | QueryError::TooLarge(_))) => {
            Err(AlertError::bad_expr(&rule.name, &e))
        }
        _ => Ok(()),
    }
}

fn find_alerts(
    engine: &dyn QueryEngine,
    rule: &Rule,
    now: TimestampMs,
) -> Result<BTreeMap<Labels, Alert>, String> {
    match engine.instant(&rule.expr, now).map_err(|e| e.to_string())? {
        QueryValue::Vector(samples) => {
            let mut found = BTreeMap::new();
            for sample in &samples {
                let alert = make_alert(rule, sample, now)?;
                // Two alerts that nobody can tell apart would be one, and its end would say nothing.
                if let Some(twin) = found.insert(alert.labels.clone(), alert) {
                    return Err(format!("two elements give an alert with the same labels: {}", twin.labels));
                }
            }
            Ok(found)
        }
        _ => Err("the expression gives no instant vector".to_owned()),
    }
}

fn make_alert(rule: &Rule, sample: &InstantSample, now: TimestampMs) -> Result<Alert, String> {
    let mut labels: BTreeMap<&str, &str> = sample.labels.view().iter().collect();
    labels.remove(METRIC_NAME);
    labels.extend(rule.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    labels.insert(ALERT_NAME, &rule.name);
    Ok(Alert {
        rule: rule.name.clone(),
        labels: Labels::new(labels).map_err(|e| e.to_string())?,
        annotations: rule.annotations.clone(),
        state: AlertState::Firing,
        value: sample.value,
        active_since_ms: now,
    })
}

/// Prints notifications, a line each.
pub struct Print;

impl Notifier for Print {
    fn channel(&self) -> Channel {
        Channel { name: "terminal".to_owned(), kind: "print".to_owned() }
    }

    fn notify(&self, notification: &Notification) -> Result<(), String> {
        let Notification { kind, alert, at_ms } = notification;
        let word = match kind {
            NotificationKind::Firing => "FIRING  ",
            NotificationKind::Resolved => "RESOLVED",
        };
        let summary = alert.annotations.get("summary").map_or("", String::as_str);
        println!(
            "{at_ms} {word} {} {} = {} {summary}",
            alert.rule,
            alert.labels.without(&[ALERT_NAME]),
            alert.value
        );
        Ok(())
    }
}
