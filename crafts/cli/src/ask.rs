//! `craft query` and `craft alerts`: ask a running pipeline.

use crate::style::{Tone, out, paint};
use anyhow::{Context, Result, anyhow, bail};
use clap::{Args, Subcommand};
use contracts::{
    TimeRange, TimestampMs,
    alert::{AlertState, Alerter, Rule},
    query::{QueryEngine, QueryError, QueryValue, Steps, format_value},
};
use platform::{
    now,
    remote::{Client, RemoteAlerter, RemoteQuery},
};
use serde_json::json;
use std::process::ExitCode;

/// Where to ask.
#[derive(Args)]
struct Server {
    /// Base URL of the pipeline, or of the one service.
    #[arg(long, global = true, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    url: String,
    /// The server's token.
    #[arg(long, global = true, value_name = "TOKEN", env = "CRAFT_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
}

impl Server {
    fn client(&self) -> Result<Client> {
        Client::new(&self.url, self.token.as_deref()).map_err(anyhow::Error::msg)
    }
}

/// Arguments of `craft query`.
#[derive(Args)]
pub(crate) struct QueryArgs {
    /// The query, as in 'host_cpu_busy_ratio{core="0"} > 0.5'.
    query: String,
    /// Evaluate at this time: RFC 3339 or Unix milliseconds. Now, if absent.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    time: Option<TimestampMs>,
    /// Evaluate at every step of the last so many seconds.
    #[arg(long, value_name = "SECONDS", conflicts_with = "points")]
    last: Option<u32>,
    /// Seconds from step to step.
    #[arg(long, value_name = "SECONDS", default_value_t = 15)]
    step: u32,
    /// The raw samples of the last so many seconds, instead of an evaluation.
    #[arg(long, value_name = "SECONDS")]
    points: Option<u32>,
    #[command(flatten)]
    server: Server,
}

fn parse_time(text: &str) -> Result<TimestampMs, String> {
    let ms = text.parse().ok().map(TimestampMs).or_else(|| TimestampMs::parse_rfc3339(text));
    ms.ok_or_else(|| "expected RFC 3339 or Unix milliseconds".to_owned())
}

/// Prints a line a series and value.
pub(crate) fn query(args: &QueryArgs) -> Result<ExitCode> {
    let engine = RemoteQuery::new(args.server.client()?);
    let end = args.time.unwrap_or_else(now);
    let back = |seconds: u32| TimeRange::new(end.0 - i64::from(seconds) * 1000, end.0);
    let value = match (args.points, args.last) {
        (Some(seconds), _) => engine.points(&args.query, back(seconds)).map(QueryValue::Matrix),
        (None, Some(seconds)) => Steps::new(back(seconds), i64::from(args.step) * 1000)
            .and_then(|steps| engine.range(&args.query, steps))
            .map(QueryValue::Matrix),
        (None, None) => engine.instant(&args.query, end),
    };
    let value = value.map_err(|e| explain(&args.query, &e))?;
    if args.server.json {
        out!("{}", to_json(&value));
    } else {
        print(&value);
    }
    Ok(ExitCode::SUCCESS)
}

/// An error with the query under it and a caret at the place.
fn explain(query: &str, error: &QueryError) -> anyhow::Error {
    match error {
        QueryError::Bad { at, why } if *at <= query.len() && !query.contains('\n') => {
            let column = query.get(..*at).map_or(*at, |before| before.chars().count());
            anyhow!("{why}\n  {query}\n  {}^", " ".repeat(column))
        }
        e => anyhow!("{e}"),
    }
}

fn print(value: &QueryValue) {
    match value {
        QueryValue::Scalar(value) => out!("{}", format_value(*value)),
        QueryValue::String(text) => out!("{text}"),
        QueryValue::Vector(samples) => {
            samples.iter().for_each(|s| out!("{} {}", s.labels, paint(Tone::Strong, &format_value(s.value))));
            eprintln!("{} series", samples.len());
        }
        QueryValue::Matrix(series) => {
            for s in series {
                out!("{}", s.labels);
                for (at, value) in s.timestamps.iter().zip(&s.values) {
                    out!("  {} {}", TimestampMs(*at), paint(Tone::Strong, &format_value(*value)));
                }
            }
            eprintln!("{} series", series.len());
        }
    }
}

fn to_json(value: &QueryValue) -> serde_json::Value {
    match value {
        QueryValue::Scalar(value) => json!({"scalar": format_value(*value)}),
        QueryValue::String(text) => json!({"string": text}),
        QueryValue::Vector(samples) => {
            let one = |s: &contracts::query::InstantSample| json!({"labels": s.labels, "timestamp_ms": s.timestamp, "value": format_value(s.value)});
            json!({"vector": samples.iter().map(one).collect::<Vec<_>>()})
        }
        QueryValue::Matrix(series) => {
            let one = |s: &contracts::query::SeriesPoints| {
                let points: Vec<_> =
                    s.timestamps.iter().zip(&s.values).map(|(t, v)| json!([t, format_value(*v)])).collect();
                json!({"labels": s.labels, "points": points})
            };
            json!({"matrix": series.iter().map(one).collect::<Vec<_>>()})
        }
    }
}

/// Arguments of `craft alerts`.
#[derive(Args)]
pub(crate) struct AlertsArgs {
    #[command(subcommand)]
    action: Option<AlertsAction>,
    #[command(flatten)]
    server: Server,
}

#[derive(Subcommand)]
enum AlertsAction {
    /// Add a rule, or replace the one of this name.
    Add {
        /// Its name.
        name: String,
        /// Each element of its result is an alert, as in 'host_load1 > 4'.
        expr: String,
        /// What to tell people.
        #[arg(long)]
        summary: Option<String>,
        /// A label to add, as in severity=page. May be given several times.
        #[arg(long, value_name = "NAME=VALUE")]
        label: Vec<String>,
    },
    /// Delete a rule.
    Delete {
        /// Its name.
        name: String,
    },
}

/// Without an action: rules, their states, and the alerts there are.
pub(crate) fn alerts(args: &AlertsArgs) -> Result<ExitCode> {
    let alerter = RemoteAlerter::new(args.server.client()?);
    match &args.action {
        Some(AlertsAction::Add { name, expr, summary, label }) => {
            alerter.put_rule(make_rule(name, expr, summary.as_deref(), label)?)?;
            eprintln!("rule {name} is in place");
        }
        Some(AlertsAction::Delete { name }) => {
            alerter.delete_rule(name)?;
            eprintln!("rule {name} is gone");
        }
        None => list(&alerter, args.server.json)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn make_rule(name: &str, expr: &str, summary: Option<&str>, labels: &[String]) -> Result<Rule> {
    let pair = |text: &String| match text.split_once('=') {
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => bail!("--label {text:?}: expected NAME=VALUE"),
    };
    Ok(Rule {
        name: name.to_owned(),
        expr: expr.to_owned(),
        for_ms: 0,
        labels: labels.iter().map(pair).collect::<Result<_>>()?,
        annotations: summary.map(|s| ("summary".to_owned(), s.to_owned())).into_iter().collect(),
    })
}

fn list(alerter: &dyn Alerter, as_json: bool) -> Result<()> {
    let rules = alerter.rules().context("the rules cannot be read")?;
    let alerts = alerter.alerts().context("the alerts cannot be read")?;
    if as_json {
        out!("{}", json!({"rules": rules, "alerts": alerts}));
        return Ok(());
    }
    for status in &rules {
        let tone = match status.state {
            AlertState::Inactive => Tone::Good,
            AlertState::Pending => Tone::Warn,
            AlertState::Firing => Tone::Bad,
        };
        let state = paint(tone, &format!("{:<8}", status.state.as_str()));
        out!("{state} {}  {}", status.rule.name, paint(Tone::Faint, &status.rule.expr));
        if let Some(error) = &status.error {
            out!("         {}", paint(Tone::Bad, error));
        }
        for alert in alerts.iter().filter(|a| a.rule == status.rule.name) {
            let labels = alert.labels.without(&["alertname"]);
            out!("         {labels} = {} since {}", format_value(alert.value), alert.active_since_ms);
        }
    }
    eprintln!("{} rules, {} alerts", rules.len(), alerts.len());
    Ok(())
}
