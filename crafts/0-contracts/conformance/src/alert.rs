//! The suite of alerting: [`contracts::alert::Alerter`].
//!
//! Delivery may take its time and may be repeated, so claims about notifications evaluate again and again, on a
//! clock of their own, until what must come has come; what must not come is looked for in all that came.

use crate::{
    claim::{Check, Claim, Explain, Report, ensure, equal, eventually, refused, run},
    rows::{Row, metric, write_synced},
};
use contracts::{
    Labels, TimestampMs,
    alert::{
        Alert, AlertError, AlertState, Alerter, Channel, Notification, NotificationKind, Notifier, Rule,
        RuleStatus,
    },
    limits::{LOOKBACK_MS, RULE_BYTES_MAX, RULES_MAX},
    storage::SeriesWriter,
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

/// The way in of an alerter's storage, and the alerter.
pub type Subject = (Arc<dyn SeriesWriter>, Arc<dyn Alerter>);

/// Opens an alerter without rules over a fresh, empty storage; it notifies through what it is given, without
/// waiting longer than a second or two before it does.
pub type Open = dyn Fn(Arc<dyn Notifier>) -> Subject + Send + Sync;

/// Holds the whole suite against an implementation.
pub fn check(open: impl Fn(Arc<dyn Notifier>) -> Subject + Send + Sync + 'static) -> Report {
    let open: Arc<Open> = Arc::new(open);
    run("alert", &open, CLAIMS)
}

/// What an alerter must do.
pub const CLAIMS: &[Claim<Open>] = &[
    Claim { says: "a fresh alerter has no rules and no alerts", check: fresh },
    Claim { says: "its channel is listed", check: channels },
    Claim { says: "rules are listed as they were put, sorted by name", check: rules_are_listed },
    Claim { says: "a rule put again replaces the one of its name", check: replaced },
    Claim { says: "a deleted rule is gone, and what does not exist cannot be deleted", check: deleted },
    Claim { says: "a rule whose expression is none is refused when it is put", check: bad_expressions },
    Claim { says: "a rule with bad names or labels is refused", check: bad_rules },
    Claim { says: "a refused rule leaves the one of its name as it was", check: refusal_changes_nothing },
    Claim { says: "a rule up to the limit is taken", check: large_rule },
    Claim { says: "there is a bound on the number of rules", check: too_many_rules },
    Claim {
        says: "a rule fires while its expression gives something, and not before or after",
        check: states,
    },
    Claim { says: "a rule without data stays inactive", check: no_data },
    Claim { says: "an alert ends when its series is too old to be seen", check: series_vanishes },
    Claim { says: "every element of the vector is an alert of its own", check: alert_a_series },
    Claim {
        says: "an alert's labels are its element's without the name, the rule's, which win, and alertname",
        check: alert_labels,
    },
    Claim { says: "annotations are carried along", check: annotations },
    Claim {
        says: "value follows the series, active_since stays while the alert fires",
        check: value_and_since,
    },
    Claim { says: "active_since begins anew when the alert comes back", check: fires_anew },
    Claim { says: "alerts are sorted by rule and labels", check: sorted },
    Claim {
        says: "a firing alert is notified, and never as resolved before it is over",
        check: firing_notified,
    },
    Claim { says: "an alert that is over is notified as resolved", check: resolved_notified },
    Claim { says: "each alert is notified for itself", check: each_notified },
    Claim { says: "what never fired is never notified", check: silence },
    Claim { says: "the alerts of a deleted rule resolve", check: deleted_resolves },
    Claim { says: "the alerts that a replaced rule no longer gives resolve", check: replaced_resolves },
    Claim {
        says: "a notification that fails stops neither the evaluation nor other notifications",
        check: failing_notifier,
    },
    Claim { says: "a firing alert whose notification failed is notified again", check: retried },
    Claim { says: "a rule that waits is refused, or pending first and firing after its time", check: waits },
];

const T: i64 = 1_700_000_000_000;

fn fresh(open: &Open) -> Check {
    let bench = Bench::open(open);
    equal("rules", &bench.rules()?, &Vec::new())?;
    equal("alerts", &bench.alerts()?, &Vec::new())?;
    bench.evaluate(T).explain("an evaluation without rules")
}

fn channels(open: &Open) -> Check {
    let bench = Bench::open(open);
    let found = bench.alerter.channels().explain("channels")?;
    ensure(found.contains(&Recorder::own_channel()), || {
        format!("expected the notifier's own channel, got {found:?}")
    })
}

fn rules_are_listed(open: &Open) -> Check {
    let bench = Bench::open(open);
    let full = Rule {
        labels: map(&[("severity", "page"), ("team", "ünï \"x\"")]),
        annotations: map(&[("summary", "{{ $labels.host }} is hot\nvery"), ("any key!", "any value")]),
        ..rule("b full", "cpu > 0.9")
    };
    for rule in [rule("c", "cpu == 1"), full.clone(), rule("a", r#"cpu{host="x"} > 1"#)] {
        bench.put(&rule)?;
    }
    let expected = [rule("a", r#"cpu{host="x"} > 1"#), full, rule("c", "cpu == 1")];
    let found = bench.rules()?;
    equal("rules", &found.iter().map(|s| s.rule.clone()).collect::<Vec<_>>()[..], &expected)?;
    equal("states", &found.iter().map(|s| s.state).collect(), &vec![AlertState::Inactive; 3])?;
    equal("last evaluations", &found.iter().map(|s| s.last_evaluation_ms).collect(), &vec![None; 3])
}

fn replaced(open: &Open) -> Check {
    let bench = Bench::open(open);
    bench.put(&rule("hot", "cpu > 1"))?;
    let after = Rule { labels: map(&[("a", "b")]), ..rule("hot", "mem > 2") };
    bench.put(&after)?;
    equal("rules", &bench.rules()?.into_iter().map(|s| s.rule).collect(), &vec![after])
}

fn deleted(open: &Open) -> Check {
    let bench = Bench::open(open);
    bench.put(&rule("hot", "cpu > 1"))?;
    bench.put(&rule("cold", "cpu < 1"))?;
    bench.alerter.delete_rule("hot").explain("delete")?;
    equal("rules", &bench.rules()?.into_iter().map(|s| s.rule.name).collect(), &vec!["cold".to_owned()])?;
    for name in ["hot", "never there", ""] {
        let expected = AlertError::NoSuchRule(name.to_owned());
        let result = bench.alerter.delete_rule(name);
        refused(&format!("deleting {name:?}"), &result, &format!("{expected:?}"), |e| *e == expected)?;
    }
    Ok(())
}

fn bad_expressions(open: &Open) -> Check {
    let bench = Bench::open(open);
    for expr in ["", " ", "cpu{", "cpu >", "{}", r#"cpu{a=~"("}"#, "cpu > 1 1", &"(".repeat(20 << 10)] {
        bench.is_bad(&format!("expression {:?}", &expr[..expr.len().min(20)]), &rule("hot", expr))?;
    }
    equal("rules", &bench.rules()?, &Vec::new())
}

fn bad_rules(open: &Open) -> Check {
    let bench = Bench::open(open);
    let hot = rule("hot", "cpu > 1");
    bench.is_bad("an empty name", &rule("", "cpu > 1"))?;
    bench.is_bad("a name that no label can hold", &rule(&"n".repeat(5000), "cpu > 1"))?;
    for name in ["", "a-b", "9a", "é", "a b", "__name__", &"n".repeat(300)] {
        bench.is_bad(&format!("label {name:?}"), &Rule { labels: map(&[(name, "x")]), ..hot.clone() })?;
    }
    let long = "x".repeat(5000);
    bench.is_bad("a label value over the limit", &Rule { labels: map(&[("a", &long)]), ..hot.clone() })?;
    let many: BTreeMap<_, _> = (0..70).map(|i| (format!("l{i}"), "x".to_owned())).collect();
    bench.is_bad("more labels than a series may have", &Rule { labels: many, ..hot })?;
    equal("rules", &bench.rules()?, &Vec::new())
}

fn refusal_changes_nothing(open: &Open) -> Check {
    let bench = Bench::open(open);
    bench.put(&rule("hot", "cpu > 1"))?;
    bench.is_bad("a bad expression", &rule("hot", "cpu >"))?;
    equal("rules", &bench.rules()?.into_iter().map(|s| s.rule).collect(), &vec![rule("hot", "cpu > 1")])
}

fn large_rule(open: &Open) -> Check {
    let bench = Bench::open(open);
    // Leaves room for the rest of the rule as JSON.
    let text = "x".repeat(RULE_BYTES_MAX - 1000);
    let large = Rule { annotations: map(&[("text", &text)]), ..rule("hot", "cpu > 1") };
    bench.put(&large)?;
    equal("rules", &bench.rules()?.into_iter().map(|s| s.rule).collect(), &vec![large])
}

fn too_many_rules(open: &Open) -> Check {
    let bench = Bench::open(open);
    for i in 0..RULES_MAX {
        bench.put(&rule(&format!("rule {i}"), "cpu > 1"))?;
    }
    let result = bench.alerter.put_rule(rule("one too many", "cpu > 1"));
    refused("one rule too many", &result, "TooManyRules", |e| *e == AlertError::TooManyRules(RULES_MAX))?;
    bench.put(&rule("rule 7", "cpu > 2")).explain("replacing a rule when there is no room for more")
}

fn states(open: &Open) -> Check {
    let bench = Bench::open(open);
    bench.put(&rule("hot", "cpu > 0.9"))?;
    bench.put(&rule("other", "cpu > 100"))?;
    let cpu = metric("cpu", &[]);
    for (second, value, expected) in [
        (0, 0.5, AlertState::Inactive),
        (1, 0.9, AlertState::Inactive),
        (2, 0.91, AlertState::Firing),
        (3, 7.0, AlertState::Firing),
        (4, 0.1, AlertState::Inactive),
        (5, 1.0, AlertState::Firing),
    ] {
        let at = T + second * 1000;
        bench.write(&[(cpu.clone(), at, value)])?;
        bench.evaluate(at)?;
        let status = bench.status("hot")?;
        equal(&format!("state of cpu > 0.9 at a cpu of {value}"), &status.state, &expected)?;
        equal("last evaluation", &status.last_evaluation_ms, &Some(TimestampMs(at)))?;
        equal("error", &status.error, &None)?;
        ensure(status.evaluation_seconds >= 0.0, || format!("it took {} s", status.evaluation_seconds))?;
        equal("number of alerts", &bench.alerts()?.len(), &usize::from(expected == AlertState::Firing))?;
        equal("state of the other rule", &bench.status("other")?.state, &AlertState::Inactive)?;
    }
    Ok(())
}

fn no_data(open: &Open) -> Check {
    let bench = Bench::open(open);
    bench.put(&rule("hot", "cpu > 0"))?;
    bench.write(&[(metric("mem", &[]), T, 1.0)])?;
    bench.evaluate(T)?;
    equal("state", &bench.status("hot")?.state, &AlertState::Inactive)?;
    equal("alerts", &bench.alerts()?, &Vec::new())
}

fn series_vanishes(open: &Open) -> Check {
    let bench = Bench::firing(open, 1)?;
    bench.evaluate(T + LOOKBACK_MS - 1)?;
    equal("alerts 1 ms before the look-back ends", &bench.alerts()?.len(), &1)?;
    bench.evaluate(T + LOOKBACK_MS)?;
    equal("alerts when it has ended", &bench.alerts()?, &Vec::new())?;
    equal("state then", &bench.status("hot")?.state, &AlertState::Inactive)
}

fn alert_a_series(open: &Open) -> Check {
    let bench = Bench::firing(open, 5)?;
    bench.write(&[core(1, T + 1000, 0.1), core(3, T + 1000, 0.1), core(9, T + 1000, 1.0)])?;
    bench.evaluate(T + 1000)?;
    let cores: Vec<_> = bench.alerts()?.iter().map(|a| a.labels.view().get("core").to_owned()).collect();
    equal("cores that are hot", &cores, &["0", "2", "4", "9"].map(str::to_owned).to_vec())?;
    equal("state of the rule", &bench.status("hot")?.state, &AlertState::Firing)
}

fn alert_labels(open: &Open) -> Check {
    let bench = Bench::open(open);
    let labels = map(&[("severity", "page"), ("host", "from the rule")]);
    bench.put(&Rule { labels, ..rule("too hot", "cpu > 0") })?;
    let series =
        metric("cpu", &[("core", "0"), ("host", "from the series"), ("alertname", "from the series")]);
    bench.write(&[(series, T, 1.0)])?;
    bench.evaluate(T)?;
    let pairs = [("alertname", "too hot"), ("core", "0"), ("host", "from the rule"), ("severity", "page")];
    let expected = Labels::new(pairs).explain("labels")?;
    equal("labels of the alert", &bench.only_alert()?.labels, &expected)
}

fn annotations(open: &Open) -> Check {
    let bench = Bench::open(open);
    let annotations = map(&[("summary", "it is hot"), ("runbook", "https://example.org/hot?a=b")]);
    bench.put(&Rule { annotations: annotations.clone(), ..rule("hot", "cpu > 0") })?;
    bench.write(&[core(0, T, 1.0)])?;
    bench.evaluate(T)?;
    equal("annotations of the alert", &bench.only_alert()?.annotations, &annotations)?;
    let first = bench.notified(NotificationKind::Firing, T)?;
    equal("annotations of the notification", &first.alert.annotations, &annotations)
}

fn value_and_since(open: &Open) -> Check {
    let bench = Bench::open(open);
    bench.put(&rule("hot", "cpu > 0"))?;
    for (second, value) in [(0, 1.0), (1, 2.5), (2, f64::INFINITY), (3, 1e-300)] {
        let at = T + second * 1000;
        bench.write(&[core(0, at, value)])?;
        bench.evaluate(at)?;
        let alert = bench.only_alert()?;
        equal("value", &alert.value, &value)?;
        equal("active since", &alert.active_since_ms, &TimestampMs(T))?;
        equal("state", &alert.state, &AlertState::Firing)?;
        equal("rule", &*alert.rule, "hot")?;
    }
    Ok(())
}

fn fires_anew(open: &Open) -> Check {
    let bench = Bench::firing(open, 1)?;
    for (second, value) in [(1, 0.0), (2, 1.0)] {
        bench.write(&[core(0, T + second * 1000, value)])?;
        bench.evaluate(T + second * 1000)?;
    }
    equal("active since", &bench.only_alert()?.active_since_ms, &TimestampMs(T + 2000))
}

fn sorted(open: &Open) -> Check {
    let bench = Bench::open(open);
    for name in ["b", "c", "a"] {
        bench.put(&rule(name, "cpu > 0"))?;
    }
    bench.write(&[core(2, T, 1.0), core(0, T, 1.0), core(1, T, 1.0)])?;
    bench.evaluate(T)?;
    let found: Vec<_> = bench.alerts()?.into_iter().map(|a| (a.rule, a.labels)).collect();
    let mut expected = found.clone();
    expected.sort();
    equal("number of alerts", &found.len(), &9)?;
    equal("their order", &found, &expected)
}

fn firing_notified(open: &Open) -> Check {
    let bench = Bench::firing(open, 1)?;
    let first = bench.notified(NotificationKind::Firing, T)?;
    let alert = bench.only_alert()?;
    equal("labels of the notified alert", &first.alert.labels, &alert.labels)?;
    equal("its rule", &first.alert.rule, &alert.rule)?;
    equal("its state", &first.alert.state, &AlertState::Firing)?;
    equal("its value", &first.alert.value, &1.0)?;
    equal("since when it is active", &first.alert.active_since_ms, &TimestampMs(T))?;
    for second in 60..80 {
        bench.write(&[core(0, T + second * 1000, 1.0 + second as f64)])?;
        bench.evaluate(T + second * 1000)?;
    }
    equal("resolved while it fires", &bench.recorder.all(NotificationKind::Resolved), &Vec::new())
}

fn resolved_notified(open: &Open) -> Check {
    let bench = Bench::firing(open, 1)?;
    let first = bench.notified(NotificationKind::Firing, T)?;
    bench.write(&[core(0, T + 60_000, 0.0)])?;
    let last = bench.notified(NotificationKind::Resolved, T + 60_000)?;
    equal("labels of the resolved alert", &last.alert.labels, &first.alert.labels)?;
    ensure(last.at_ms >= first.at_ms, || {
        format!("resolved at {} after firing at {}", last.at_ms, first.at_ms)
    })?;
    equal("alerts in the end", &bench.alerts()?, &Vec::new())?;
    let kinds: Vec<_> = bench.recorder.sent().iter().map(|n| n.kind).collect();
    ensure(kinds.is_sorted_by_key(|kind| *kind == NotificationKind::Resolved), || {
        format!("expected all Firing before any Resolved, got {kinds:?}")
    })
}

fn each_notified(open: &Open) -> Check {
    let bench = Bench::firing(open, 4)?;
    let cores = |kind| -> Vec<String> {
        let mut cores: Vec<_> =
            bench.recorder.all(kind).iter().map(|n| n.alert.labels.view().get("core").to_owned()).collect();
        cores.sort();
        cores.dedup();
        cores
    };
    let all = ["0", "1", "2", "3"].map(str::to_owned).to_vec();
    bench.evaluate_until("all four cores are notified", T, || cores(NotificationKind::Firing) == all)?;
    bench.write(&[core(1, T + 60_000, 0.0), core(2, T + 60_000, 0.0)])?;
    let two = ["1", "2"].map(str::to_owned).to_vec();
    bench.evaluate_until("two of them are resolved", T + 60_000, || {
        cores(NotificationKind::Resolved) == two
    })?;
    equal("alerts that are left", &bench.alerts()?.len(), &2)
}

fn silence(open: &Open) -> Check {
    let bench = Bench::open(open);
    bench.put(&rule("hot", "cpu > 0.9"))?;
    bench.put(&rule("nothing", "gone > 0"))?;
    for second in 0..20 {
        bench.write(&[core(0, T + second * 1000, 0.9)])?;
        bench.evaluate(T + second * 1000)?;
    }
    bench.alerter.delete_rule("hot").explain("delete")?;
    bench.evaluate(T + 21_000)?;
    equal("notifications", &bench.recorder.sent(), &Vec::new())
}

fn deleted_resolves(open: &Open) -> Check {
    let bench = Bench::firing(open, 1)?;
    bench.notified(NotificationKind::Firing, T)?;
    bench.alerter.delete_rule("hot").explain("delete")?;
    bench.notified(NotificationKind::Resolved, T + 60_000)?;
    equal("alerts", &bench.alerts()?, &Vec::new())
}

fn replaced_resolves(open: &Open) -> Check {
    let bench = Bench::firing(open, 1)?;
    bench.notified(NotificationKind::Firing, T)?;
    bench.put(&rule("hot", "cpu > 1000"))?;
    bench.notified(NotificationKind::Resolved, T + 60_000)?;
    equal("alerts", &bench.alerts()?, &Vec::new())
}

fn failing_notifier(open: &Open) -> Check {
    let bench = Bench::open(open);
    bench.recorder.fail_for("core", "1", usize::MAX);
    bench.put(&rule("hot", "cpu > 0"))?;
    bench.put(&rule("zzz hotter", "cpu > 0.5"))?;
    bench.write(&[core(0, T, 1.0), core(1, T, 1.0), core(2, T, 1.0)])?;
    bench.evaluate_until("all alerts but those that cannot be delivered are notified", T, || {
        bench.recorder.delivered(NotificationKind::Firing) == 4
    })?;
    equal("alerts", &bench.alerts()?.len(), &6)?;
    bench.write(&[core(0, T + 60_000, 0.0), core(1, T + 60_000, 0.0), core(2, T + 60_000, 0.0)])?;
    bench.evaluate_until("they are resolved", T + 60_000, || {
        bench.recorder.delivered(NotificationKind::Resolved) == 4
    })?;
    equal("alerts in the end", &bench.alerts()?, &Vec::new())
}

fn retried(open: &Open) -> Check {
    let bench = Bench::open(open);
    bench.recorder.fail_for("core", "0", 2);
    bench.put(&rule("hot", "cpu > 0"))?;
    bench.write(&[core(0, T, 1.0)])?;
    bench.notified(NotificationKind::Firing, T).map(|_| ())
}

fn waits(open: &Open) -> Check {
    let bench = Bench::open(open);
    let patient = Rule { for_ms: 10_000, ..rule("hot", "cpu > 0") };
    match bench.alerter.put_rule(patient.clone()) {
        Err(AlertError::BadRule { .. }) => return Ok(()),
        result => result.explain("putting a rule that waits")?,
    }
    equal("for_ms", &bench.status("hot")?.rule, &patient)?;
    bench.write(&[core(0, T, 1.0)])?;
    for (at, expected) in
        [(0, AlertState::Pending), (5_000, AlertState::Pending), (9_999, AlertState::Pending)]
    {
        bench.evaluate(T + at)?;
        equal(&format!("state after {at} ms of 10000"), &bench.only_alert()?.state, &expected)?;
        equal("state of its rule", &bench.status("hot")?.state, &expected)?;
        equal("active since", &bench.only_alert()?.active_since_ms, &TimestampMs(T))?;
    }
    equal("notifications while it is pending", &bench.recorder.sent(), &Vec::new())?;
    bench.evaluate(T + 10_000)?;
    equal("state after 10000 ms", &bench.only_alert()?.state, &AlertState::Firing)?;
    equal("active since", &bench.only_alert()?.active_since_ms, &TimestampMs(T))?;
    bench.notified(NotificationKind::Firing, T + 10_000)?;
    // Gone before its time: it must wait anew, and nobody hears of it.
    bench.write(&[core(0, T + 60_000, 0.0)])?;
    bench.notified(NotificationKind::Resolved, T + 60_000)?;
    let sent = bench.recorder.sent().len();
    for (at, value) in [(200_000, 1.0), (205_000, 0.0), (206_000, 1.0), (215_999, 1.0)] {
        bench.write(&[core(0, T + at, value)])?;
        bench.evaluate(T + at)?;
    }
    equal("state 9999 ms after it came back", &bench.only_alert()?.state, &AlertState::Pending)?;
    equal("notifications", &bench.recorder.sent().len(), &sent)
}

// ── How the claims talk to an alerter ────────────────────────────────────────────────────────────────────────

/// An alerter with its storage, and what it has notified.
struct Bench {
    writer: Arc<dyn SeriesWriter>,
    alerter: Arc<dyn Alerter>,
    recorder: Arc<Recorder>,
}

impl Bench {
    fn open(open: &Open) -> Self {
        let recorder = Arc::new(Recorder::default());
        let (writer, alerter) = open(recorder.clone());
        Self { writer, alerter, recorder }
    }

    /// With the rule `hot: cpu > 0.9`, which fires for so many cores at `T`.
    fn firing(open: &Open, cores: usize) -> Result<Self, String> {
        let bench = Self::open(open);
        bench.put(&rule("hot", "cpu > 0.9"))?;
        bench.write(&(0..cores).map(|i| core(i, T, 1.0)).collect::<Vec<_>>())?;
        bench.evaluate(T)?;
        equal("number of alerts", &bench.alerts()?.len(), &cores)?;
        Ok(bench)
    }

    fn write(&self, rows: &[Row]) -> Check {
        write_synced(&*self.writer, rows)
    }

    fn put(&self, rule: &Rule) -> Check {
        self.alerter.put_rule(rule.clone()).explain(&format!("putting the rule {:?}", rule.name))
    }

    fn is_bad(&self, what: &str, rule: &Rule) -> Check {
        let result = self.alerter.put_rule(rule.clone());
        refused(
            &format!("a rule with {what}"),
            &result,
            "BadRule with its name and the reason",
            |e| matches!(e, AlertError::BadRule { name, why } if *name == rule.name && !why.is_empty()),
        )
    }

    fn evaluate(&self, at: i64) -> Check {
        self.alerter.evaluate(TimestampMs(at)).explain(&format!("evaluate at {at}"))
    }

    fn rules(&self) -> Result<Vec<RuleStatus>, String> {
        self.alerter.rules().explain("rules")
    }

    fn alerts(&self) -> Result<Vec<Alert>, String> {
        self.alerter.alerts().explain("alerts")
    }

    fn status(&self, name: &str) -> Result<RuleStatus, String> {
        self.rules()?
            .into_iter()
            .find(|s| s.rule.name == name)
            .ok_or(format!("the rule {name:?} is not listed"))
    }

    fn only_alert(&self) -> Result<Alert, String> {
        match <[Alert; 1]>::try_from(self.alerts()?) {
            Ok([alert]) => Ok(alert),
            Err(other) => Err(format!("expected one alert, got {other:?}")),
        }
    }

    /// The first delivered notification of this kind, evaluating from `from` on until there is one.
    fn notified(&self, kind: NotificationKind, from: i64) -> Result<Notification, String> {
        self.evaluate_until(&format!("a {kind:?} notification"), from, || self.recorder.delivered(kind) > 0)?;
        self.recorder.all(kind).into_iter().next().ok_or("the notification is gone again".to_owned())
    }

    /// Evaluates every 50 ms of its own clock until `is_so`. Patience ends long before the look-back does.
    fn evaluate_until(&self, what: &str, from: i64, is_so: impl Fn() -> bool) -> Check {
        let mut now = from;
        eventually(what, || {
            self.evaluate(now)?;
            now += 50;
            Ok(is_so().then_some(()))
        })
    }
}

/// Remembers what was delivered, and fails to deliver where it is told to.
#[derive(Default)]
struct Recorder {
    sent: Mutex<Vec<Notification>>,
    /// Label, value, and how often it still fails.
    failing: Mutex<Option<(&'static str, &'static str, usize)>>,
}

impl Recorder {
    fn own_channel() -> Channel {
        Channel { name: "conformance".to_owned(), kind: "recorder".to_owned() }
    }

    fn fail_for(&self, label: &'static str, value: &'static str, times: usize) {
        *self.failing.lock().unwrap_or_else(PoisonError::into_inner) = Some((label, value, times));
    }

    fn sent(&self) -> Vec<Notification> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn all(&self, kind: NotificationKind) -> Vec<Notification> {
        self.sent().into_iter().filter(|n| n.kind == kind).collect()
    }

    /// Of how many different alerts a notification of this kind was delivered.
    fn delivered(&self, kind: NotificationKind) -> usize {
        let all = self.all(kind);
        all.iter().map(|n| (&n.alert.rule, &n.alert.labels)).collect::<std::collections::BTreeSet<_>>().len()
    }
}

impl Notifier for Recorder {
    fn channel(&self) -> Channel {
        Self::own_channel()
    }

    fn notify(&self, notification: &Notification) -> Result<(), String> {
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((label, value, times)) = &mut *failing
            && notification.alert.labels.view().get(label) == *value
            && *times > 0
        {
            *times -= 1;
            return Err("the suite asked for this failure".to_owned());
        }
        drop(failing);
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).push(notification.clone());
        Ok(())
    }
}

fn rule(name: &str, expr: &str) -> Rule {
    Rule {
        name: name.to_owned(),
        expr: expr.to_owned(),
        for_ms: 0,
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
    }
}

fn core(number: usize, at: i64, value: f64) -> Row {
    (metric("cpu", &[("core", &number.to_string())]), at, value)
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}
