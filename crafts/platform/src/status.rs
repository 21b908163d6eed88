//! What a node says of its stages in numbers: for Prometheus, and for the page.

use crate::{
    lag,
    meter::firing,
    node::NodeConfig,
    parts::{Parts, depth},
    routes::service::Gauges,
};
use contracts::queue::Log;
use serde_json::{Value, json};
use std::{
    fmt::Write as _,
    sync::{Arc, atomic::Ordering::Relaxed},
};

/// The counters of each stage in Prometheus text.
pub(crate) fn gauges(parts: &Parts) -> Arc<Gauges> {
    let parts = parts.clone();
    Arc::new(move |out| {
        let m = &parts.meters;
        let counters = [
            ("craft_ingest_bytes_total", "Bytes of bodies with samples.", m.ingest_bytes.get()),
            (
                "craft_ingest_refused_total",
                "Requests with samples that were refused.",
                m.ingest_refused.get(),
            ),
            ("craft_queue_records_total", "Records appended to the log.", m.queue_records.get()),
            ("craft_queue_samples_total", "Samples appended to the log.", m.queue_samples.get()),
            ("craft_storage_samples_total", "Samples written to storage.", m.storage_samples.get()),
            ("craft_storage_commits_total", "Syncs of storage.", m.storage_commits.get()),
            (
                "craft_storage_lost_records_total",
                "Records that the log could not give to storage any more: damaged, or dropped before.",
                m.storage_lost_records.get(),
            ),
            ("craft_query_queries_total", "Queries evaluated.", m.query_queries.get()),
            ("craft_query_errors_total", "Queries that failed.", m.query_errors.get()),
            ("craft_query_samples_read_total", "Samples that queries have read.", m.query_samples_read.get()),
            ("craft_alert_evaluations_total", "Rounds of rule evaluation.", m.alert_evaluations.get()),
            ("craft_alert_notifications_total", "Notifications delivered.", m.alert_notifications.get()),
        ];
        for (name, help, value) in counters {
            let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} counter\n{name} {value}\n");
        }
        // Of a log elsewhere its own service tells.
        if let Some(groups) =
            parts.log.as_deref().filter(|_| parts.owns_log).and_then(|log| log.groups().ok())
        {
            lag::render(&groups, out);
        }
        if let Some(depth) = parts.log.as_deref().and_then(|log| depth(log).ok()) {
            let name = "craft_queue_depth_records";
            let _ = write!(
                out,
                "# HELP {name} Records that storage has not committed.\n# TYPE {name} gauge\n{name} {depth}\n"
            );
        }
    })
}

/// What the page shows besides the series themselves.
pub(crate) fn status(config: &NodeConfig, parts: &Parts) -> Arc<dyn Fn() -> Value + Send + Sync> {
    let (parts, agent, ack) = (parts.clone(), config.agent, parts.ack);
    let data_dir = config.data_dir.display().to_string();
    let started_ms = phase0::now();
    Arc::new(move || {
        let m = &parts.meters;
        let slots: Vec<_> = parts
            .filled
            .iter()
            .map(|(slot, name, title)| json!({"slot": slot.as_str(), "name": name, "title": title}))
            .collect();
        let log = parts.log.as_deref();
        let alerter = parts.alerter.as_deref();
        json!({
            "version": env!("CARGO_PKG_VERSION"), "shape": "one process", "agent": agent, "data_dir": data_dir,
            "started_ms": started_ms, "now_ms": phase0::now(), "slots": slots,
            "stages": {
                "ingest": {
                    "requests_total": m.ingest_requests, "refused_total": m.ingest_refused,
                    "samples_total": m.queue_samples, "bytes_total": m.ingest_bytes,
                },
                "queue": {
                    "records_total": m.queue_records, "samples_total": m.queue_samples, "ack": ack,
                    "depth_records": log.and_then(|l| depth(l).ok()), "partitions": log.map(Log::partitions),
                    "groups": log.and_then(|l| l.groups().ok()),
                },
                "storage": {
                    "batches_total": m.storage_batches, "samples_total": m.storage_samples,
                    "commits_total": m.storage_commits,
                },
                "query": {
                    "queries_total": m.query_queries, "errors_total": m.query_errors,
                    "samples_read_total": m.query_samples_read, "last_ms": m.query_last_us.load(Relaxed) as f64 / 1000.0,
                },
                "alert": {
                    "evaluations_total": m.alert_evaluations, "notifications_total": m.alert_notifications,
                    "rules": alerter.map_or(0, |a| a.rules().unwrap_or_default().len()),
                    "firing": alerter.map_or(0, firing),
                },
            },
        })
    })
}
