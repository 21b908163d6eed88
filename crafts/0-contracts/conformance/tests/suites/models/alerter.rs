//! An alerter in memory, over the engine in memory.

use super::{engine::MemoryEngine, store};
use conformance::alert::Subject;
use contracts::{
    Labels, TimestampMs,
    alert::{
        Alert, AlertError, AlertState, Alerter, Channel, Notification, NotificationKind, Notifier, Rule,
        RuleStatus,
    },
    limits::{RULE_BYTES_MAX, RULES_MAX},
    query::{InstantSample, QueryEngine, QueryError, QueryValue},
    storage::Storage,
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

/// What an alerter can get wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    TakesAnyExpression,
    TakesAnyLabel,
    RefusesLargeRules,
    NoRuleBound,
    ReplacesBeforeChecking,
    KeepsReplaced,
    ForgetsDeleteErrors,
    OneAlertARule,
    SeriesLabelsWin,
    KeepsMetricName,
    NoAlertname,
    NoAnnotations,
    FirstValueStays,
    SinceMoves,
    NeverEnds,
    ResolvesEarly,
    NeverResolves,
    NeverNotifies,
    NotifiesOnce,
    NotifiesPending,
    SilentDelete,
    ForgetsReplaced,
    FailureStopsOthers,
    NeverRetries,
    ForIsIgnored,
    ForCountsOn,
    UnsortedRules,
}

pub(crate) fn open(fault: Fault) -> impl Fn(Arc<dyn Notifier>) -> Subject + Send + Sync + 'static {
    move |notifier| {
        let (store, alerter) = open_with_store(fault, notifier);
        (store, alerter)
    }
}

pub(crate) fn open_with_store(
    fault: Fault,
    notifier: Arc<dyn Notifier>,
) -> (Arc<dyn Storage>, Arc<dyn Alerter>) {
    let store = store::open(store::Fault::None)();
    let engine = MemoryEngine::new(store.clone());
    (store, Arc::new(MemoryAlerter { fault, engine, notifier, state: Mutex::default() }))
}

struct MemoryAlerter {
    fault: Fault,
    engine: MemoryEngine,
    notifier: Arc<dyn Notifier>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    rules: BTreeMap<String, Known>,
    /// Notifications that were not delivered yet, oldest first.
    outbox: Vec<Notification>,
}

struct Known {
    status: RuleStatus,
    alerts: BTreeMap<Labels, Alert>,
}

impl MemoryAlerter {
    fn is(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    fn check(&self, rule: &Rule) -> Result<(), AlertError> {
        let bad = |why: String| AlertError::BadRule { name: rule.name.clone(), why };
        if rule.name.is_empty() {
            return Err(bad("a rule needs a name".to_owned()));
        }
        if serde_json::to_vec(rule).unwrap().len() > RULE_BYTES_MAX / 2 && self.is(Fault::RefusesLargeRules) {
            return Err(bad("too large".to_owned()));
        }
        let labels = rule.labels.iter().map(|(n, v)| (n.as_str(), v.as_str()));
        if !self.is(Fault::TakesAnyLabel) {
            if rule.labels.contains_key("__name__") {
                return Err(bad("__name__ is no label of an alert".to_owned()));
            }
            Labels::new(labels.chain([("alertname", rule.name.as_str())])).map_err(|e| bad(e.to_string()))?;
        }
        match self.engine.instant(&rule.expr, TimestampMs(0)) {
            Err(e @ (QueryError::Bad { .. } | QueryError::TooLarge(_)))
                if !self.is(Fault::TakesAnyExpression) =>
            {
                Err(AlertError::bad_expr(&rule.name, &e))
            }
            _ => Ok(()),
        }
    }

    fn labels_of(&self, rule: &Rule, element: &Labels) -> Labels {
        let mut all: BTreeMap<&str, &str> = element.view().iter().collect();
        if !self.is(Fault::KeepsMetricName) {
            all.remove("__name__");
        }
        for (name, value) in &rule.labels {
            if !(self.is(Fault::SeriesLabelsWin) && all.contains_key(name.as_str())) {
                all.insert(name, value);
            }
        }
        if !self.is(Fault::NoAlertname) {
            all.insert("alertname", &rule.name);
        }
        Labels::new(all).unwrap()
    }

    fn evaluate_rule(&self, known: &mut Known, now: TimestampMs, outbox: &mut Vec<Notification>) {
        let rule = known.status.rule.clone();
        let mut elements = match self.engine.instant(&rule.expr, now) {
            Ok(QueryValue::Vector(elements)) => elements,
            _ => vec![],
        };
        if self.is(Fault::OneAlertARule) {
            elements.truncate(1);
        }
        let mut before = std::mem::take(&mut known.alerts);
        for InstantSample { labels, value, .. } in elements {
            let labels = self.labels_of(&rule, &labels);
            let mut alert = before.remove(&labels).unwrap_or(Alert {
                rule: rule.name.clone(),
                labels: labels.clone(),
                annotations: if self.is(Fault::NoAnnotations) {
                    BTreeMap::new()
                } else {
                    rule.annotations.clone()
                },
                state: AlertState::Inactive,
                value,
                active_since_ms: now,
            });
            if !self.is(Fault::FirstValueStays) {
                alert.value = value;
            }
            if self.is(Fault::SinceMoves) {
                alert.active_since_ms = now;
            }
            let waited = (now.0 - alert.active_since_ms.0) as u64 >= rule.for_ms;
            let state =
                if waited || self.is(Fault::ForIsIgnored) { AlertState::Firing } else { AlertState::Pending };
            let begins =
                state != alert.state && (state == AlertState::Firing || self.is(Fault::NotifiesPending));
            alert.state = state;
            if begins {
                outbox.push(Notification {
                    kind: NotificationKind::Firing,
                    alert: alert.clone(),
                    at_ms: now,
                });
            } else if self.is(Fault::ResolvesEarly) {
                outbox.push(Notification {
                    kind: NotificationKind::Resolved,
                    alert: alert.clone(),
                    at_ms: now,
                });
            }
            known.alerts.insert(labels, alert);
        }
        if self.is(Fault::NeverEnds) || self.is(Fault::ForCountsOn) && rule.for_ms > 0 {
            known.alerts.append(&mut before);
        }
        self.resolve(before, now, outbox);
        known.status.state = known.alerts.values().map(|a| a.state).max().unwrap_or(AlertState::Inactive);
        known.status.last_evaluation_ms = Some(now);
    }

    fn resolve(&self, over: BTreeMap<Labels, Alert>, now: TimestampMs, outbox: &mut Vec<Notification>) {
        let over = over.into_values().filter(|a| a.state == AlertState::Firing);
        if !self.is(Fault::NeverResolves) {
            outbox.extend(over.map(|alert| Notification {
                kind: NotificationKind::Resolved,
                alert,
                at_ms: now,
            }));
        }
    }

    fn deliver(&self, outbox: &mut Vec<Notification>) {
        let mut stopped = self.is(Fault::NeverNotifies);
        let mut delivered = 0;
        outbox.retain(|notification| {
            if stopped || (self.is(Fault::NotifiesOnce) && delivered > 0) {
                return !self.is(Fault::NotifiesOnce);
            }
            delivered += 1;
            let failed = self.notifier.notify(notification).is_err();
            stopped = failed && self.is(Fault::FailureStopsOthers);
            failed && !self.is(Fault::NeverRetries)
        });
    }
}

impl Alerter for MemoryAlerter {
    fn put_rule(&self, rule: Rule) -> Result<(), AlertError> {
        let mut state = self.state.lock().unwrap();
        if self.is(Fault::ReplacesBeforeChecking) {
            state.rules.remove(&rule.name);
        }
        self.check(&rule)?;
        let before = state.rules.get(&rule.name);
        if before.is_none() && state.rules.len() == RULES_MAX && !self.is(Fault::NoRuleBound) {
            return Err(AlertError::TooManyRules(RULES_MAX));
        }
        if before.is_some() && self.is(Fault::KeepsReplaced) {
            return Ok(());
        }
        let alerts =
            before.filter(|_| !self.is(Fault::ForgetsReplaced)).map(|k| k.alerts.clone()).unwrap_or_default();
        let name = rule.name.clone();
        let status = RuleStatus {
            rule,
            state: AlertState::Inactive,
            last_evaluation_ms: None,
            evaluation_seconds: 0.0,
            error: None,
        };
        state.rules.insert(name, Known { status, alerts });
        Ok(())
    }

    fn delete_rule(&self, name: &str) -> Result<(), AlertError> {
        let mut state = self.state.lock().unwrap();
        let Some(known) = state.rules.remove(name) else {
            return if self.is(Fault::ForgetsDeleteErrors) {
                Ok(())
            } else {
                Err(AlertError::NoSuchRule(name.to_owned()))
            };
        };
        let now = known.status.last_evaluation_ms.unwrap_or_default();
        if !self.is(Fault::SilentDelete) {
            self.resolve(known.alerts, now, &mut state.outbox);
        }
        Ok(())
    }

    fn rules(&self) -> Result<Vec<RuleStatus>, AlertError> {
        let mut rules: Vec<_> = self.state.lock().unwrap().rules.values().map(|k| k.status.clone()).collect();
        if self.is(Fault::UnsortedRules) {
            rules.reverse();
        }
        Ok(rules)
    }

    fn alerts(&self) -> Result<Vec<Alert>, AlertError> {
        let state = self.state.lock().unwrap();
        Ok(state.rules.values().flat_map(|k| k.alerts.values().cloned()).collect())
    }

    fn channels(&self) -> Result<Vec<Channel>, AlertError> {
        Ok(vec![self.notifier.channel()])
    }

    fn evaluate(&self, now: TimestampMs) -> Result<(), AlertError> {
        let state = &mut *self.state.lock().unwrap();
        for known in state.rules.values_mut() {
            self.evaluate_rule(known, now, &mut state.outbox);
        }
        self.deliver(&mut state.outbox);
        Ok(())
    }
}
