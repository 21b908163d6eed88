//! `craft queue verify`: a log's files, every checksum.

use crate::style::{Tone, out, paint, say};
use anyhow::{Result, anyhow};
use clap::Args;
use queue::{Damage, FileLog, Verified};
use serde_json::json;
use std::{path::PathBuf, process::ExitCode};

/// Arguments of `craft queue verify`.
#[derive(Args)]
pub(super) struct VerifyArgs {
    /// The log's directory, as in data/queue. Nobody may have it open.
    dir: PathBuf,
}

/// A line for each damage; exit code 1 if there is any. A torn tail is none: nobody was told that it is safe.
pub(super) fn run(json: bool, args: &VerifyArgs) -> Result<ExitCode> {
    // The error tells its source itself.
    let found = FileLog::verify(&args.dir).map_err(|error| anyhow!("{error}"))?;
    if json {
        out!("{}", to_json(&found));
    } else {
        print(&found);
    }
    Ok(if found.damage.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(found: &Verified) {
    for damage in &found.damage {
        let lost = if damage.frames > 0 { format!(", {} frames lost", damage.frames) } else { String::new() };
        let place = format!("{}, byte {}", damage.file.display(), damage.at);
        out!("{} {place}: {} ({} bytes{lost})", paint(Tone::Bad, "damaged"), damage.what, damage.bytes);
    }
    if let Some(torn) = &found.torn {
        let place = format!("{}, byte {}", torn.file.display(), torn.at);
        let said = "torn by a crash; opening the log cuts it off, and nobody was told that it is safe";
        out!("{} {place}: {} bytes {said}", paint(Tone::Warn, "torn"), torn.bytes);
    }
    for (partition, bounds) in found.partitions.iter().enumerate() {
        out!("partition {partition}  {}..{}", bounds.start.0, bounds.end.0);
    }
    let whole = if found.damage.is_empty() { "all of it is whole" } else { "the rest is whole" };
    say(&format!(
        "{} segments, {} bytes, {} frames read: {whole}",
        found.segments, found.bytes, found.frames
    ));
}

fn to_json(found: &Verified) -> serde_json::Value {
    let damage = |d: &Damage| json!({"file": d.file, "at": d.at, "bytes": d.bytes, "frames": d.frames, "what": d.what});
    json!({
        "segments": found.segments, "bytes": found.bytes, "frames": found.frames, "partitions": found.partitions,
        "damage": found.damage.iter().map(damage).collect::<Vec<_>>(),
        "torn": found.torn.as_ref().map(|t| json!({"file": t.file, "at": t.at, "bytes": t.bytes})),
    })
}
