//! The report for a terminal.

use std::fmt::Write;

use super::{Latency, Report};
use crate::tally::FAILURES;
use crate::verify::Verified;

/// The figures first, what to think of them last, where the eye ends up.
pub fn text(report: &Report) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = figures(&mut out, report);
    let _ = counts(&mut out, report);
    if let Some(verified) = &report.verified {
        let _ = verification(&mut out, verified);
    }
    let _ = notes(&mut out, report);
    out
}

fn figures(out: &mut String, report: &Report) -> std::fmt::Result {
    let (workload, result) = (&report.workload, &report.result);
    writeln!(
        out,
        "{}  ({}, {}, {} a request)",
        workload.target,
        counted(u64::from(workload.clients), "client"),
        super::connections(report),
        counted(workload.batch as u64, "sample")
    )?;
    let asked = result.rate_asked.map_or(String::new(), |asked| format!(" of {asked:.1} asked"));
    writeln!(
        out,
        "  rate      {:.1} answers/s{asked}, {:.1} samples/s accepted",
        result.rate_achieved, result.samples_per_second
    )?;
    writeln!(
        out,
        "  requests  {} begun, {} answered, {} 2xx ({:.3} %), {} unanswered in {:.2} s",
        result.requests_started,
        result.answered,
        result.ok,
        result.success_percent,
        result.unanswered,
        result.elapsed_ms / 1000.0
    )?;
    latency(out, "latency", &result.latency_us)?;
    if let Some(service) = &result.service_us {
        latency(out, "service", service)?;
    }
    Ok(())
}

fn latency(out: &mut String, label: &str, latency: &Latency) -> std::fmt::Result {
    write!(out, "  {label:<9}")?;
    for (name, us) in latency.named() {
        write!(out, " {name} {}", human_us(us))?;
    }
    writeln!(out)
}

fn counts(out: &mut String, report: &Report) -> std::fmt::Result {
    let result = &report.result;
    for (status, count) in &result.by_status {
        writeln!(out, "  status    {status}: {count}")?;
    }
    for failure in FAILURES {
        let count = result.failures.get(failure.key()).copied().unwrap_or(0);
        if count > 0 {
            writeln!(out, "  failed    {}: {count}", failure.label())?;
        }
    }
    if let Some(said) = &result.last_failure {
        writeln!(out, "            one of them said: {said}")?;
    }
    writeln!(
        out,
        "  network   {} connections ({} reconnects), {} out, {} in",
        result.connections,
        result.reconnects,
        human_bytes(result.bytes_out),
        human_bytes(result.bytes_in)
    )
}

fn verification(out: &mut String, verified: &Verified) -> std::fmt::Result {
    let word = if verified.holds() { "verified " } else { "NOT VERIFIED" };
    writeln!(
        out,
        "  {word} {} samples accepted, {} found once and right, in {} queries and {} ms",
        verified.accepted, verified.found, verified.queries, verified.waited_ms
    )?;
    for (what, count) in wrong(verified).into_iter().filter(|(_, count)| *count > 0) {
        writeln!(out, "            {what}: {count}")?;
    }
    if let Some(error) = &verified.error {
        writeln!(out, "            {error}")?;
    }
    for example in &verified.examples {
        writeln!(out, "            {example}")?;
    }
    Ok(())
}

/// All that can go wrong with a sample, and how often it did.
pub(super) fn wrong(verified: &Verified) -> [(&'static str, u64); 7] {
    [
        ("accepted, but missing", verified.missing),
        ("found more than once", verified.duplicated),
        ("found with another value", verified.altered),
        ("refused, but found", verified.refused_found),
        ("found, but never sent", verified.never_sent_found),
        ("without an answer, found", verified.unknown_found),
        ("without an answer, not found", verified.unknown_missing),
    ]
}

fn notes(out: &mut String, report: &Report) -> std::fmt::Result {
    if report.interrupted {
        writeln!(out, "  ! Interrupted: the figures are those of the part that was run.")?;
    }
    for note in &report.verdict.notes {
        writeln!(out, "  ! {note}")?;
    }
    Ok(())
}

/// µs with a unit that fits.
pub(super) fn human_us(us: f64) -> String {
    match us {
        us if us < 1000.0 => format!("{us:.0}µs"),
        us if us < 1_000_000.0 => format!("{:.2}ms", us / 1000.0),
        us => format!("{:.2}s", us / 1_000_000.0),
    }
}

/// A number with its noun.
pub(super) fn counted(number: u64, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// Bytes with a unit that fits.
pub(super) fn human_bytes(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", units[unit]) }
}
