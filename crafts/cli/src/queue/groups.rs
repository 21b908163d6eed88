//! `craft queue groups`.

use super::{Server, is_set, stop_on_signal};
use crate::style::{Tone, clear, out, paint};
use anyhow::Result;
use clap::Args;
use contracts::queue::{Assignment, GroupStatus, Log, Partition, PartitionLag};
use serde_json::json;
use std::{
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

/// How often a Ctrl-C is looked for between two looks at the groups.
const GLANCE: Duration = Duration::from_millis(50);

/// Arguments of `craft queue groups`.
#[derive(Args)]
pub(super) struct GroupsArgs {
    /// Only this group.
    group: Option<String>,
    /// Look again every second, until Ctrl-C.
    #[arg(long, short)]
    watch: bool,
}

/// Each group with its members, and a line a partition.
pub(super) fn run(server: &Server, args: &GroupsArgs) -> Result<ExitCode> {
    let log = server.log()?;
    let stop = stop_on_signal()?;
    loop {
        let mut groups = log.groups().map_err(|e| server.explain(&e))?;
        groups.retain(|group| args.group.as_ref().is_none_or(|asked| *asked == group.group));
        if args.watch && !server.json {
            clear();
        }
        show(server, args, &groups);
        let begun = Instant::now();
        while args.watch && !is_set(&stop) && begun.elapsed() < Duration::from_secs(1) {
            thread::sleep(GLANCE);
        }
        if !args.watch || is_set(&stop) {
            // A group that is not there is what was asked for and not found.
            let found = args.group.is_none() || !groups.is_empty();
            return Ok(if found { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
    }
}

fn show(server: &Server, args: &GroupsArgs, groups: &[GroupStatus]) {
    if server.json {
        out!("{}", json!({ "groups": groups }));
        return;
    }
    groups.iter().for_each(print);
    match &args.group {
        Some(group) if groups.is_empty() => eprintln!("no group has the name {group:?}"),
        _ => eprintln!("{} groups", groups.len()),
    }
}

fn print(group: &GroupStatus) {
    let lag: u64 = group.partitions.iter().map(|p| p.lag).sum();
    out!(
        "{}  generation {}, {}, rebalanced {} times, lag {}",
        paint(Tone::Strong, &group.group),
        group.generation,
        match group.assignment {
            Assignment::Range => "range",
            Assignment::Sticky => "sticky",
        },
        group.rebalances,
        paint(if lag == 0 { Tone::Good } else { Tone::Warn }, &lag.to_string()),
    );
    if group.members.is_empty() {
        out!("  {}", paint(Tone::Faint, "no members"));
    }
    for member in &group.members {
        let behind = if member.generation == group.generation { "" } else { ", has yet to rejoin" };
        let silent =
            format!("heard of {:.1} s ago{behind}", Duration::from_millis(member.silent_ms).as_secs_f64());
        out!("  {}  {}", member.member, paint(Tone::Faint, &silent));
    }
    let head = format!("{:>9} {:>14} {:>14} {:>10}  {}", "partition", "committed", "end", "lag", "member");
    out!("  {}", paint(Tone::Faint, &head));
    for PartitionLag { partition, committed, end, lag } in &group.partitions {
        let committed = committed.map_or("-".to_owned(), |offset| offset.0.to_string());
        let holder = holder(group, *partition);
        out!("  {:>9} {committed:>14} {:>14} {lag:>10}  {holder}", partition.0, end.0);
    }
}

fn holder(group: &GroupStatus, partition: Partition) -> &str {
    let holds = group.members.iter().find(|member| member.partitions.contains(&partition));
    holds.map_or("-", |member| &member.member)
}
