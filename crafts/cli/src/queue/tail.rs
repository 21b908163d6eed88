//! `craft queue tail`: records as they lie in the log, and as they come.
//!
//! Alone it remembers nothing: where to begin is told on the command line. As a member of a group it reads what the group
//! gives it, from where the group stands, and commits what it has printed.

use super::{Server, is_set, partitions, stop_on_signal};
use crate::style::{Tone, out, paint, say};
use anyhow::{Result, bail};
use clap::Args;
use contracts::{
    BatchView, TimestampMs,
    query::format_value,
    queue::{Bounds, FetchLimit, Log, LogError, Membership, Offset, Partition, Records},
};
use platform::remote::RemoteLog;
use serde_json::{Value, json};
use std::{collections::BTreeMap, process::ExitCode, sync::atomic::AtomicBool, thread, time::Duration};

/// How long one fetch waits for a record. A Ctrl-C takes so long at most.
const WAIT: Duration = Duration::from_millis(250);
/// The pause after an error that may pass.
const PAUSE: Duration = Duration::from_millis(500);

/// Arguments of `craft queue tail`.
#[derive(Args)]
pub(super) struct TailArgs {
    /// Read this partition; without it, all.
    #[arg(long, value_name = "NUMBER")]
    partition: Option<u32>,
    /// Where to begin: `start`, `end`, an offset, or the last so many records, as in -10. Without it: the last ten; with
    /// --follow, the end.
    #[arg(long, value_name = "PLACE", allow_hyphen_values = true, conflicts_with = "group")]
    from: Option<String>,
    /// Go on, and print what comes, until Ctrl-C.
    #[arg(long, short)]
    follow: bool,
    /// Stop after this many records.
    #[arg(long, value_name = "COUNT")]
    count: Option<u64>,
    /// Be a member of this group: read what it gives, from where it stands, and commit what was printed.
    #[arg(long, value_name = "NAME", conflicts_with = "partition")]
    group: Option<String>,
    /// The member's name. Without it: one that nobody else has.
    #[arg(long, value_name = "NAME", requires = "group")]
    member: Option<String>,
    /// Print the bytes of each record and a line feed, nothing else.
    #[arg(long, conflicts_with = "json")]
    raw: bool,
}

/// Prints until all is read, or until Ctrl-C.
pub(super) fn run(server: &Server, args: &TailArgs) -> Result<ExitCode> {
    let log = server.log()?;
    log.bounds(Partition(args.partition.unwrap_or(0))).map_err(|e| server.explain(&e))?;
    let stop = stop_on_signal()?;
    let left = args.count.unwrap_or(u64::MAX);
    let mut printer = Printer { json: server.json, raw: args.raw, left, generation: None };
    match &args.group {
        Some(group) => as_member(server, &log, args, group, &stop, &mut printer)?,
        None => alone(server, &log, args, &stop, &mut printer)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn alone(
    server: &Server,
    log: &RemoteLog,
    args: &TailArgs,
    stop: &AtomicBool,
    printer: &mut Printer,
) -> Result<()> {
    let mut next = BTreeMap::new();
    for partition in partitions(log.partitions()).filter(|p| args.partition.is_none_or(|asked| asked == p.0))
    {
        let bounds = log.bounds(partition).map_err(|e| server.explain(&e))?;
        next.insert(partition, begin(args, bounds)?);
    }
    let mut records = Records::new();
    loop {
        let mut idle = true;
        for (partition, from) in &mut next {
            if is_set(stop) || printer.left == 0 {
                return Ok(());
            }
            match log.fetch(*partition, *from, printer.limit(Duration::ZERO), &mut records) {
                Ok(()) => {
                    idle &= records.is_empty();
                    *from = printer.print(*partition, &records).unwrap_or(*from);
                }
                Err(LogError::Damaged { next, .. }) if next > *from => {
                    say(&format!(
                        "partition {}: records {}..{} are damaged and left out",
                        partition.0, from.0, next.0
                    ));
                    (*from, idle) = (next, false);
                }
                Err(e) => return Err(server.explain(&e)),
            }
        }
        if idle && !args.follow {
            return Ok(());
        }
        if idle {
            wait_for_any(log, &next);
        }
    }
}

/// Where one begins who is no member of a group.
fn begin(args: &TailArgs, bounds: Bounds) -> Result<Offset> {
    let back = |records: u64| Offset(bounds.end.0.saturating_sub(records).max(bounds.start.0));
    match args.from.as_deref() {
        None if args.follow => Ok(bounds.end),
        None => Ok(back(10)),
        Some("start") => Ok(bounds.start),
        Some("end") => Ok(bounds.end),
        Some(place) => match (place.strip_prefix('-').map(str::parse), place.parse()) {
            (Some(Ok(records)), _) => Ok(back(records)),
            (None, Ok(offset)) => Ok(Offset(offset)),
            _ => bail!("--from {place:?}: expected start, end, an offset, or -N for the last N records"),
        },
    }
}

/// The first partition stands for all: what comes to another is seen when this wait is over.
fn wait_for_any(log: &RemoteLog, next: &BTreeMap<Partition, Offset>) {
    let Some((partition, from)) = next.first_key_value() else { return };
    let limit = FetchLimit { records_max: 1, wait: WAIT, ..FetchLimit::default() };
    // Whatever it says is asked again, and said then.
    let _ = log.fetch(*partition, *from, limit, &mut Records::new());
}

fn as_member(
    server: &Server,
    log: &RemoteLog,
    args: &TailArgs,
    group: &str,
    stop: &AtomicBool,
    printer: &mut Printer,
) -> Result<()> {
    let name = args.member.clone().unwrap_or_else(|| format!("craft-{:08x}", fastrand::u32(..)));
    let mut member = log.subscribe(group, &name).map_err(|e| server.explain(&e))?;
    say_place(&member);
    let mut records = Records::new();
    while !is_set(stop) && printer.left > 0 {
        match round(log, &mut member, printer, &mut records) {
            Ok(false) if !args.follow && !member.partitions.is_empty() => break,
            Ok(true) => {}
            Ok(false) => thread::sleep(if member.partitions.is_empty() { WAIT } else { Duration::ZERO }),
            Err(LogError::Fenced { .. }) => {
                say("the group has gone on without this member; subscribing again");
                member = log.subscribe(group, &name).map_err(|e| server.explain(&e))?;
                say_place(&member);
            }
            Err(LogError::Failed(why)) if args.follow => {
                say(&format!("{why}; trying again"));
                thread::sleep(PAUSE);
            }
            Err(e) => return Err(server.explain(&e)),
        }
    }
    // Who leaves without a word is missed only after the heartbeat timeout.
    let _ = log.leave(&member);
    Ok(())
}

/// Reads once from each partition of the member, commits, and says that it is alive. Says whether anything came.
fn round(
    log: &RemoteLog,
    member: &mut Membership,
    printer: &mut Printer,
    records: &mut Records,
) -> Result<bool, LogError> {
    let mut came = false;
    printer.generation = Some(member.generation);
    for (index, partition) in member.partitions.clone().into_iter().enumerate() {
        let bounds = log.bounds(partition)?;
        let from = log.committed(&member.group, partition)?.unwrap_or(bounds.start).max(bounds.start);
        // One wait a round is enough: the others are asked right after it.
        let wait = if came || index > 0 { Duration::ZERO } else { WAIT };
        let next = match log.fetch(partition, from, printer.limit(wait), records) {
            Err(LogError::Damaged { next, .. }) if next > from => {
                say(&format!(
                    "partition {}: records {}..{} are damaged and left out",
                    partition.0, from.0, next.0
                ));
                Some(next)
            }
            result => result.map(|()| printer.print(partition, records))?,
        };
        if let Some(next) = next {
            log.commit(member, partition, next)?;
            came = true;
        }
        if printer.left == 0 {
            break;
        }
    }
    if log.heartbeat(member)? != member.generation {
        *member = log.rejoin(member)?;
        say_place(member);
    }
    Ok(came)
}

fn say_place(member: &Membership) {
    let partitions: Vec<_> = member.partitions.iter().map(|p| p.0.to_string()).collect();
    let partitions = if partitions.is_empty() { "none yet".to_owned() } else { partitions.join(" ") };
    say(&format!(
        "{} is a member of {}, generation {}: partitions {partitions}",
        member.member, member.group, member.generation
    ));
}

struct Printer {
    json: bool,
    raw: bool,
    /// Records that may still be printed.
    left: u64,
    /// The generation in which the member that prints was given what it reads.
    generation: Option<u64>,
}

impl Printer {
    fn limit(&self, wait: Duration) -> FetchLimit {
        let default = FetchLimit::default();
        let records_max = usize::try_from(self.left).unwrap_or(usize::MAX).min(default.records_max);
        FetchLimit { records_max, wait, ..default }
    }

    /// Returns the offset behind the last record; `None` if there was none.
    fn print(&mut self, partition: Partition, records: &Records) -> Option<Offset> {
        let mut next = None;
        for (offset, payload) in records.iter() {
            if self.json {
                out!("{}", json_of(partition, offset, payload, self.generation));
            } else if self.raw {
                crate::style::print_bytes(payload);
            } else {
                print_record(partition, offset, payload);
            }
            self.left -= 1;
            next = Some(Offset(offset.0 + 1));
        }
        next
    }
}

/// A batch as its samples, a line each; anything else as text.
fn print_record(partition: Partition, offset: Offset, payload: &[u8]) {
    let place = paint(Tone::Faint, &format!("{}/{}", partition.0, offset.0));
    let Ok(batch) = BatchView::parse(payload) else {
        out!("{place} {}", payload.escape_ascii().to_string().replace("\\\"", "\"").replace("\\'", "'"));
        return;
    };
    for sample in batch.samples() {
        let (labels, value) = (batch.labels(sample.series), format_value(sample.value));
        out!("{place} {labels} {} {}", paint(Tone::Strong, &value), TimestampMs(sample.timestamp.0));
    }
}

fn json_of(partition: Partition, offset: Offset, payload: &[u8], generation: Option<u64>) -> Value {
    let mut record = json!({"partition": partition, "offset": offset, "bytes": payload.len()});
    if let Some(generation) = generation {
        record["generation"] = generation.into();
    }
    match (BatchView::parse(payload), str::from_utf8(payload)) {
        (Ok(batch), _) => {
            let one = |sample: contracts::Sample| {
                let labels: BTreeMap<_, _> = batch.labels(sample.series).iter().collect();
                json!({"labels": labels, "timestamp_ms": sample.timestamp, "value": format_value(sample.value)})
            };
            record["samples"] = batch.samples().map(one).collect();
        }
        (Err(_), Ok(text)) => record["text"] = text.into(),
        (Err(_), Err(_)) => record["escaped"] = payload.escape_ascii().to_string().into(),
    }
    record
}
