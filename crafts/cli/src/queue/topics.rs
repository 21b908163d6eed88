//! `craft queue topics`.

use super::{Server, partitions};
use crate::style::{Tone, out, paint};
use anyhow::Result;
use contracts::queue::{Log, TOPIC};
use serde_json::json;
use std::process::ExitCode;

/// A line a partition, or a line of JSON.
pub(super) fn run(server: &Server) -> Result<ExitCode> {
    let log = server.log()?;
    // Asked first: how many partitions there are is not known before the service has answered.
    log.bounds(contracts::queue::Partition(0)).map_err(|e| server.explain(&e))?;
    let mut held = Vec::new();
    for partition in partitions(log.partitions()) {
        held.push((partition, log.bounds(partition).map_err(|e| server.explain(&e))?));
    }
    if server.json {
        let partitions: Vec<_> = held
            .iter()
            .map(|(partition, bounds)| json!({"partition": partition, "start": bounds.start, "end": bounds.end}))
            .collect();
        out!("{}", json!({"topics": [{"name": TOPIC, "ack_max": log.ack_max(), "partitions": partitions}]}));
        return Ok(ExitCode::SUCCESS);
    }
    out!("{}  acknowledges at {} at most", paint(Tone::Strong, TOPIC), log.ack_max().as_str());
    out!(
        "  {}",
        paint(Tone::Faint, &format!("{:>9} {:>14} {:>14} {:>14}", "partition", "start", "end", "records"))
    );
    for (partition, bounds) in held {
        let records = bounds.end.0 - bounds.start.0;
        out!("  {:>9} {:>14} {:>14} {records:>14}", partition.0, bounds.start.0, bounds.end.0);
    }
    Ok(ExitCode::SUCCESS)
}
