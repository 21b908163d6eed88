//! The alert service. Rules are named after this run and deleted again, whatever comes of their claim.

use super::{
    HttpClaim, claim, sampled,
    target::{Part, Target, expect, expect_error, now_ms},
};
use crate::{
    claim::{Check, Explain, ensure, equal, eventually},
    client::{Reply, Url},
    rows::metric,
};
use contracts::{
    alert::{Alert, AlertState, Channel, Rule, RuleStatus},
    http::percent_encode,
    limits::RULE_BYTES_MAX,
};
use serde_json::{Value, json};

const NEEDS: &[Part] = &[Part::Alert];

pub(super) const CLAIMS: &[HttpClaim] = &[
    claim("a rule is put, listed, replaced and deleted", NEEDS, life_of_a_rule),
    claim("a name may hold what a path cannot", NEEDS, odd_names),
    claim("a rule that does not exist is 404", NEEDS, no_such_rule),
    claim("a bad rule is 400 bad_rule, and what is no rule is bad_json", NEEDS, bad_rules),
    claim("a rule over the limit is 413", NEEDS, too_large),
    sampled("an alert fires and ends with its series", NEEDS, fires_and_ends),
    claim("channels are listed", NEEDS, channels),
    claim("a bad time to evaluate at is 400", NEEDS, bad_times),
];

fn alert(target: &Target) -> Result<&Url, String> {
    target.url(Part::Alert).ok_or("no alert service".to_owned())
}

/// A rule that is deleted when its claim is done.
struct Put<'t> {
    target: &'t Target,
    name: String,
}

impl<'t> Put<'t> {
    fn new(target: &'t Target, rule: &Value) -> Result<Self, String> {
        let reply = target.post_json(alert(target)?, "/rules", rule)?;
        let name = rule["name"].as_str().unwrap_or_default().to_owned();
        let put = Self { target, name };
        let back: Rule =
            serde_json::from_value(expect(&reply, 201)?.json()?).explain("reading the rule that was put")?;
        let sent: Rule = serde_json::from_value(rule.clone()).explain("reading our own rule")?;
        equal("the rule that came back", &back, &sent)?;
        Ok(put)
    }

    fn delete(&self) -> Result<Reply, String> {
        self.target.call(
            alert(self.target)?,
            "DELETE",
            &format!("/rules/{}", percent_encode(&self.name)),
            &[],
            None,
        )
    }

    fn status(&self) -> Result<Option<RuleStatus>, String> {
        let listed = expect(&self.target.get(alert(self.target)?, "/rules")?, 200)?.json()?;
        let rules: Vec<RuleStatus> =
            serde_json::from_value(listed["rules"].clone()).explain("reading rules")?;
        ensure(rules.is_sorted_by_key(|r| &r.rule.name), || "the rules are not sorted by name".to_owned())?;
        Ok(rules.into_iter().find(|r| r.rule.name == self.name))
    }

    fn alerts(&self) -> Result<Vec<Alert>, String> {
        let listed = expect(&self.target.get(alert(self.target)?, "/alerts")?, 200)?.json()?;
        let alerts: Vec<Alert> =
            serde_json::from_value(listed["alerts"].clone()).explain("reading alerts")?;
        Ok(alerts.into_iter().filter(|a| a.rule == self.name).collect())
    }

    /// This rule and its alerts as Prometheus's API tells them.
    fn prometheus(&self) -> Result<(Value, Vec<Value>), String> {
        let url = alert(self.target)?;
        let rules = expect(&self.target.get(url, "/api/v1/rules")?, 200)?.json()?;
        let groups = rules["data"]["groups"].as_array().into_iter().flatten();
        let mut all = groups.flat_map(|g| g["rules"].as_array().into_iter().flatten());
        let rule = all.find(|r| r["name"].as_str() == Some(&self.name)).cloned();
        let alerts = expect(&self.target.get(url, "/api/v1/alerts")?, 200)?.json()?;
        equal(
            "status of both",
            &(&rules["status"], &alerts["status"]),
            &(&json!("success"), &json!("success")),
        )?;
        let alerts = alerts["data"]["alerts"].as_array().into_iter().flatten();
        let own = alerts.filter(|a| a["labels"]["alertname"].as_str() == Some(&self.name)).cloned().collect();
        Ok((rule.ok_or(format!("/api/v1/rules does not list {}", self.name))?, own))
    }

    fn evaluate(&self, at: i64) -> Check {
        let reply = self.target.call(
            alert(self.target)?,
            "POST",
            &format!("/rules/evaluate?time={at}"),
            &[],
            Some(b""),
        )?;
        expect(&reply, 204).map(|_| ())
    }
}

impl Drop for Put<'_> {
    fn drop(&mut self) {
        // It may be gone already; a failure of the claim matters more than one of this.
        let _ = self.delete();
    }
}

fn life_of_a_rule(target: &Target) -> Check {
    let name = target.fresh_name();
    let put = Put::new(target, &json!({"name": name, "expr": "conformance_none > 1"}))?;
    let status = put.status()?.ok_or("the rule is not listed")?;
    equal("state of a new rule", &status.state, &AlertState::Inactive)?;
    let full = json!({
        "name": name, "expr": "conformance_none > 2", "for_ms": 0, "labels": {"severity": "page"},
        "annotations": {"summary": "ünï \"quoted\"\nlines"},
    });
    let again = Put::new(target, &full)?;
    let status = put.status()?.ok_or("the replaced rule is not listed")?;
    equal("the replaced rule", &serde_json::to_value(&status.rule).explain("a rule")?, &full)?;
    let (told, _) = put.prometheus()?;
    equal("its expression in Prometheus's form", &told["query"], &json!("conformance_none > 2"))?;
    equal("its state there", &(&told["type"], &told["state"]), &(&json!("alerting"), &json!("inactive")))?;
    expect(&again.delete()?, 204)?;
    equal("the deleted rule", &put.status()?, &None)
}

fn odd_names(target: &Target) -> Check {
    for odd in ["with space", "a/b", "100%", "ünï", "?a=b&c#d", "..", "quote\"'"] {
        let name = format!("{} {odd}", target.fresh_name());
        let put = Put::new(target, &json!({"name": name, "expr": "conformance_none > 1"}))?;
        ensure(put.status()?.is_some(), || format!("{name:?} is not listed"))?;
        expect(&put.delete()?, 204).map_err(|why| format!("deleting {name:?}: {why}"))?;
    }
    Ok(())
}

fn no_such_rule(target: &Target) -> Check {
    let name = target.fresh_name();
    let reply = target.call(alert(target)?, "DELETE", &format!("/rules/{name}"), &[], None)?;
    let error = expect_error("deleting a rule that is not there", &reply, 404, &["no_such_rule"])?;
    equal("its detail", &error["detail"], &json!({"no_such_rule": name}))
}

fn bad_rules(target: &Target) -> Check {
    let name = target.fresh_name();
    let bad = [
        json!({"name": name, "expr": ""}),
        json!({"name": name, "expr": "cpu{"}),
        json!({"name": name, "expr": "{}"}),
        json!({"name": "", "expr": "conformance_none"}),
        json!({"name": name, "expr": "conformance_none", "labels": {"a-b": "x"}}),
        json!({"name": name, "expr": "conformance_none", "labels": {"__name__": "x"}}),
    ];
    for rule in bad {
        let reply = target.post_json(alert(target)?, "/rules", &rule)?;
        let error = expect_error(&format!("the rule {rule}"), &reply, 400, &["bad_rule"])?;
        equal("the name in its detail", &error["detail"]["bad_rule"]["name"], &rule["name"])?;
    }
    let no_rules = [
        String::new(),
        "{".to_owned(),
        "[]".to_owned(),
        "{}".to_owned(),
        format!(r#"{{"name":"{name}"}}"#),
        format!(r#"{{"name":"{name}","expr":1}}"#),
        format!(r#"{{"name":"{name}","expr":"x","for_ms":-1}}"#),
        format!(r#"{{"name":"{name}","expr":"x","unknown":1}}"#),
        format!(r#"{{"name":"{name}","expr":"x","labels":{{"a":1}}}}"#),
    ];
    for body in no_rules {
        let reply = target.post(alert(target)?, "/rules", "application/json", body.as_bytes())?;
        expect_error(&format!("the body {body:?}"), &reply, 400, &["bad_json", "empty_body"])?;
    }
    let put = Put { target, name };
    equal("a rule that was refused", &put.status()?, &None)
}

fn too_large(target: &Target) -> Check {
    let rule = json!({"name": target.fresh_name(), "expr": "conformance_none", "annotations": {"a": "x".repeat(RULE_BYTES_MAX)}});
    let reply = target.post_json(alert(target)?, "/rules", &rule)?;
    expect_error("a rule over the limit", &reply, 413, &["body_too_large"]).map(|_| ())
}

fn fires_and_ends(target: &Target) -> Check {
    let (name, now) = (target.fresh_name(), now_ms());
    let series = metric(&name, &[("host", "a")]);
    target.seed(&[(series.clone(), now, 0.95), (metric(&name, &[("host", "b")]), now, 0.5)])?;
    let labels = json!({"severity": "page"});
    let put = Put::new(
        target,
        &json!({"name": name, "expr": format!("{name} > 0.9"), "labels": labels, "annotations": {"summary": "hot"}}),
    )?;
    put.evaluate(now)?;
    let status = put.status()?.ok_or("the rule is not listed")?;
    equal("state", &status.state, &AlertState::Firing)?;
    // A service that also evaluates by itself may have done so since.
    ensure(status.last_evaluation_ms.is_some_and(|at| at.0 >= now), || {
        format!("last evaluation: got {status:?}")
    })?;
    let alerts = put.alerts()?;
    let [alert] = &alerts[..] else { return Err(format!("expected one alert, got {alerts:?}")) };
    let expected = json!({"alertname": name, "host": "a", "severity": "page"});
    equal("labels of the alert", &serde_json::to_value(&alert.labels).explain("labels")?, &expected)?;
    equal("its state and value", &(alert.state, alert.value), &(AlertState::Firing, 0.95))?;
    let (told, told_alerts) = put.prometheus()?;
    equal("its rule in Prometheus's form", &told["state"], &json!("firing"))?;
    equal("its labels there", &told_alerts.iter().map(|a| a["labels"].clone()).collect(), &vec![expected])?;
    target.seed(&[(series, now + 1000, 0.1)])?;
    eventually("the alert ends once its value is 0.1", || {
        put.evaluate(now + 1000)?;
        Ok(put.alerts()?.is_empty().then_some(()))
    })?;
    equal("state", &put.status()?.map(|s| s.state), &Some(AlertState::Inactive))
}

fn channels(target: &Target) -> Check {
    let listed = expect(&target.get(alert(target)?, "/channels")?, 200)?.json()?;
    let channels: Vec<Channel> =
        serde_json::from_value(listed["channels"].clone()).explain("reading channels")?;
    ensure(channels.iter().all(|c| !c.name.is_empty() && !c.kind.is_empty()), || format!("got {listed}"))
}

fn bad_times(target: &Target) -> Check {
    let reply = target.call(alert(target)?, "POST", "/rules/evaluate?time=noon", &[], Some(b""))?;
    expect_error("an evaluation at noon", &reply, 400, &["bad_parameter"]).map(|_| ())
}
