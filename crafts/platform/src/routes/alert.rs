//! Alerting over HTTP: `openapi/alert.yaml`. Rules, alerts and channels, and the two of Prometheus's own forms.

use super::{Params, Route, json_body, param};
use contracts::{
    TimestampMs,
    alert::{Alert, AlertError, Alerter, Rule, RuleStatus},
    http::{ApiError, Request, Response},
    limits::RULE_BYTES_MAX,
    query::format_value,
};
use serde_json::{Value, json};
use std::sync::Arc;

/// Routes of the alert service.
pub fn routes(alerter: &Arc<dyn Alerter>) -> Vec<Route> {
    type Run = fn(&dyn Alerter, &Request<'_>, &Params<'_>) -> Result<Response, ApiError>;
    let table: [(&str, &str, Run); 8] = [
        ("GET", "/rules", |alerter, _, _| {
            Ok(Response::json(200, &json!({"rules": alerter.rules().map_err(refusal)?})))
        }),
        ("POST", "/rules", put_rule),
        ("DELETE", "/rules/{name}", |alerter, _, params| {
            alerter.delete_rule(&params[0]).map(|()| Response::status(204)).map_err(refusal)
        }),
        ("POST", "/rules/evaluate", evaluate),
        ("GET", "/alerts", |alerter, _, _| {
            Ok(Response::json(200, &json!({"alerts": alerter.alerts().map_err(refusal)?})))
        }),
        ("GET", "/channels", |alerter, _, _| {
            Ok(Response::json(200, &json!({"channels": alerter.channels().map_err(refusal)?})))
        }),
        ("GET", "/api/v1/rules", prometheus_rules),
        ("GET", "/api/v1/alerts", |alerter, _, _| {
            let alerts: Vec<_> = alerter.alerts().map_err(refusal)?.iter().map(prometheus_alert).collect();
            Ok(Response::json(200, &json!({"status": "success", "data": {"alerts": alerts}})))
        }),
    ];
    let bind = |(method, path, run): (&'static str, &'static str, Run)| {
        let alerter = alerter.clone();
        Route::new("alert", method, path, move |request, params| run(&*alerter, request, params))
    };
    table.into_iter().map(bind).collect()
}

fn put_rule(alerter: &dyn Alerter, request: &Request<'_>, _: &Params<'_>) -> Result<Response, ApiError> {
    if request.body.len() > RULE_BYTES_MAX {
        return Err(ApiError::new(
            413,
            "body_too_large",
            format!("a rule of more than {RULE_BYTES_MAX} bytes"),
        ));
    }
    let rule: Rule = json_body(request)?;
    alerter.put_rule(rule.clone()).map_err(refusal)?;
    Ok(Response::json(201, &rule))
}

fn evaluate(alerter: &dyn Alerter, request: &Request<'_>, _: &Params<'_>) -> Result<Response, ApiError> {
    let at = param(request, "time", "milliseconds")?.map_or_else(phase0::now, TimestampMs);
    alerter.evaluate(at).map(|()| Response::status(204)).map_err(refusal)
}

fn prometheus_rules(alerter: &dyn Alerter, _: &Request<'_>, _: &Params<'_>) -> Result<Response, ApiError> {
    let alerts = alerter.alerts().map_err(refusal)?;
    let rule = |status: &RuleStatus| -> Value {
        let own: Vec<_> =
            alerts.iter().filter(|a| a.rule == status.rule.name).map(prometheus_alert).collect();
        json!({
            "type": "alerting", "name": status.rule.name, "query": status.rule.expr,
            "duration": status.rule.for_ms as f64 / 1000.0, "labels": status.rule.labels,
            "annotations": status.rule.annotations, "alerts": own, "state": status.state,
            "health": match (&status.error, status.last_evaluation_ms) {
                (Some(_), _) => "err", (None, Some(_)) => "ok", (None, None) => "unknown"
            },
            "lastError": status.error, "evaluationTime": status.evaluation_seconds,
            "lastEvaluation": status.last_evaluation_ms.unwrap_or_default().to_string(),
        })
    };
    let rules: Vec<_> = alerter.rules().map_err(refusal)?.iter().map(rule).collect();
    let group = json!({"name": "rules", "file": "", "interval": 0, "rules": rules});
    Ok(Response::json(200, &json!({"status": "success", "data": {"groups": [group]}})))
}

fn prometheus_alert(alert: &Alert) -> Value {
    json!({
        "labels": alert.labels, "annotations": alert.annotations, "state": alert.state,
        "activeAt": alert.active_since_ms.to_string(), "value": format_value(alert.value),
    })
}

#[allow(clippy::needless_pass_by_value)] // the shape that `map_err` wants
fn refusal(error: AlertError) -> ApiError {
    match &error {
        AlertError::BadRule { .. } => ApiError::of(400, "bad_rule", &error),
        AlertError::NoSuchRule(_) => ApiError::of(404, "no_such_rule", &error),
        AlertError::TooManyRules(_) => ApiError::of(422, "too_many_rules", &error),
        AlertError::Failed(_) => ApiError::of(500, "alerting_failed", &error),
    }
}
