//! `craft doctor`: is this machine fit to measure on?
//!
//! Two kinds of findings: limits that will stop a load test (open files, ports), and noise that will make its
//! figures lie (a busy machine, stolen time, a loop that does not always take the same time).

use crate::style::{Tone, out, paint};
use anyhow::{Context, Result};
use clap::Args;
use serde::Serialize;
use std::{
    fs,
    io::Write,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};
use sysinfo::System;

/// Enough for 10,000 connections, both ends of which may live here.
const OPEN_FILES_WANTED: u64 = 20_500;
/// Slices of fixed work, long enough to be interrupted, short enough to run many.
const SLICES: usize = 200;
/// A slice may be slower than the median by so much, in its 99th percentile.
const JITTER_MAX: f64 = 1.25;
/// Share of all cores that may be busy before anything is measured.
const BUSY_MAX: f64 = 0.10;
const SYNCS: usize = 20;

/// Arguments of `craft doctor`.
#[derive(Args)]
pub(crate) struct DoctorArgs {
    /// Directory whose disk is examined.
    #[arg(long, value_name = "DIR", default_value = ".")]
    data: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Finding {
    what: &'static str,
    found: String,
    verdict: Verdict,
    #[serde(skip_serializing_if = "str::is_empty")]
    advice: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Good,
    Warn,
    Bad,
}

/// Exit code 1 if anything is bad; a warning alone passes.
pub(crate) fn run(args: &DoctorArgs) -> Result<ExitCode> {
    if !args.json {
        eprintln!("examining this machine for a few seconds; leave it alone meanwhile");
    }
    let mut system = System::new().context("this machine gives no figures")?;
    let findings = vec![
        cores(),
        memory(&mut system),
        open_files(),
        ports(),
        busy(&mut system),
        jitter(),
        disk(&args.data)?,
    ];
    let worst_is_bad = findings.iter().any(|f| f.verdict == Verdict::Bad);
    let warned = findings.iter().any(|f| f.verdict == Verdict::Warn);
    if args.json {
        out!("{}", serde_json::json!({"fit": !worst_is_bad, "findings": findings}));
    } else {
        findings.iter().for_each(print);
        out!(
            "{}",
            match (worst_is_bad, warned) {
                (true, _) =>
                    paint(Tone::Bad, "not fit: mend what is bad, or do not trust what you measure here"),
                (false, true) => paint(
                    Tone::Warn,
                    "fit for ratios taken in one run; do not compare absolute figures from day to day"
                ),
                (false, false) => paint(Tone::Good, "fit to measure on"),
            }
        );
    }
    Ok(if worst_is_bad { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn print(finding: &Finding) {
    let (tone, word) = match finding.verdict {
        Verdict::Good => (Tone::Good, "good"),
        Verdict::Warn => (Tone::Warn, "warn"),
        Verdict::Bad => (Tone::Bad, "bad "),
    };
    out!("{} {:<12} {}", paint(tone, word), finding.what, finding.found);
    if !finding.advice.is_empty() && finding.verdict != Verdict::Good {
        out!("                  {}", paint(Tone::Faint, finding.advice));
    }
}

fn cores() -> Finding {
    let count = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let verdict = if count >= 4 {
        Verdict::Good
    } else if count >= 2 {
        Verdict::Warn
    } else {
        Verdict::Bad
    };
    let advice = "server and load generator share these cores: pin each to its own, and read CPU per request beside throughput";
    Finding { what: "cores", found: count.to_string(), verdict, advice }
}

fn memory(system: &mut System) -> Finding {
    system.refresh_memory();
    let gib = |bytes: u64| bytes as f64 / f64::from(1 << 30);
    let (total, free) = (gib(system.total_memory()), gib(system.available_memory()));
    let verdict = if free >= 2.0 {
        Verdict::Good
    } else if free >= 0.5 {
        Verdict::Warn
    } else {
        Verdict::Bad
    };
    let advice = "close what uses memory: a machine that swaps measures its disk";
    Finding { what: "memory", found: format!("{free:.1} of {total:.1} GiB available"), verdict, advice }
}

fn open_files() -> Finding {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let verdict = match limit {
        None => Verdict::Good,
        Some(n) if n >= OPEN_FILES_WANTED => Verdict::Good,
        Some(n) if n >= 1024 => Verdict::Warn,
        Some(_) => Verdict::Bad,
    };
    let found = limit.map_or("no limit".to_owned(), |n| n.to_string());
    Finding { what: "open files", found, verdict, advice: "for 10,000 connections: ulimit -n 65536" }
}

fn ports() -> Finding {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let bounds: Vec<u32> = text.split_whitespace().filter_map(|n| n.parse().ok()).collect();
    let [low, high] = bounds[..] else {
        return Finding {
            what: "ports",
            found: "not known on this system".to_owned(),
            verdict: Verdict::Good,
            advice: "",
        };
    };
    let count = high.saturating_sub(low) + 1;
    let verdict = if count >= 20_000 { Verdict::Good } else { Verdict::Warn };
    let advice = "a connection a request needs many: sysctl net.ipv4.ip_local_port_range=\"1024 65535\"";
    Finding { what: "ports", found: format!("{count} for outgoing connections"), verdict, advice }
}

/// Busy share of all cores over half a second in which we do nothing, and time that the host took away.
fn busy(system: &mut System) -> Finding {
    let before = cpu_times();
    system.refresh_cpu_usage();
    std::thread::sleep(Duration::from_millis(500));
    system.refresh_cpu_usage();
    let busy = f64::from(system.global_cpu_usage()) / 100.0;
    let stolen = match (before, cpu_times()) {
        (Some((steal, all)), Some((steal_now, all_now))) if all_now > all => {
            (steal_now - steal) / (all_now - all)
        }
        _ => 0.0,
    };
    let verdict = if busy <= BUSY_MAX && stolen < 0.01 {
        Verdict::Good
    } else if busy < 0.5 {
        Verdict::Warn
    } else {
        Verdict::Bad
    };
    let found =
        format!("{:.0} % of the cores busy, {:.1} % stolen by the host", busy * 100.0, stolen * 100.0);
    Finding {
        what: "noise",
        found,
        verdict,
        advice: "something else is running: end it, or take more rounds",
    }
}

/// Stolen and total ticks since boot, where the system tells.
fn cpu_times() -> Option<(f64, f64)> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    let ticks: Vec<f64> =
        text.lines().next()?.split_whitespace().skip(1).filter_map(|t| t.parse().ok()).collect();
    Some((*ticks.get(7)?, ticks.iter().take(8).sum()))
}

/// The same work many times over: how much longer does it sometimes take?
fn jitter() -> Finding {
    let mut slices: Vec<f64> = (0..SLICES)
        .map(|seed| {
            let begun = Instant::now();
            let sum = (0..400_000_u64).fold(seed as u64, |h, n| (h ^ n).wrapping_mul(0x0100_0000_01b3));
            std::hint::black_box(sum);
            begun.elapsed().as_secs_f64()
        })
        .collect();
    slices.sort_by(f64::total_cmp);
    let (median, p99) = (slices[SLICES / 2], slices[SLICES * 99 / 100]);
    let ratio = p99 / median.max(f64::MIN_POSITIVE);
    let verdict = if ratio <= JITTER_MAX { Verdict::Good } else { Verdict::Warn };
    let found = format!("the same work takes {ratio:.2} × its median in the 99th percentile");
    Finding {
        what: "jitter",
        found,
        verdict,
        advice: "compare as ratios, rotated, by medians; never two single runs",
    }
}

fn disk(dir: &std::path::Path) -> Result<Finding> {
    let mut file =
        tempfile::tempfile_in(dir).with_context(|| format!("cannot write to {}", dir.display()))?;
    let mut times: Vec<f64> = Vec::new();
    for _ in 0..SYNCS {
        let begun = Instant::now();
        file.write_all(&[0; 4096])?;
        file.sync_data()?;
        times.push(begun.elapsed().as_secs_f64() * 1e6);
    }
    times.sort_by(f64::total_cmp);
    let median = times[SYNCS / 2];
    // A real device needs some ten microseconds at the least; less means that nobody waits for it.
    let verdict = if median >= 10.0 { Verdict::Good } else { Verdict::Warn };
    let advice = "a sync this fast reaches no disk: what you measure of durability here is memory";
    Ok(Finding {
        what: "disk",
        found: format!("an fsync of 4 KiB takes {median:.0} µs at the median"),
        verdict,
        advice,
    })
}
