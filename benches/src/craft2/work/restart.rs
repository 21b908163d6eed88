//! A log is killed and opened again: how long that takes, from a warm page cache and from a cold one, and what memory.
//!
//! The log is one that was killed, and stays so: whoever opens it here ends without closing it. The page cache is made cold
//! by telling the kernel that the log's pages are not needed, which it heeds once they are on disk; inodes stay in memory.
//! `cold_read_mb` says what was read from the disk then: nothing read is nothing proved.

use super::{
    super::{
        slice::{self, Figures, Task},
        subject::{Messages, Setting, Subject},
    },
    counters::{own_io, own_memory},
};
use crate::stats::median;
use anyhow::{Context, Result, ensure};
use rustix::fs::{Advice, fadvise};
use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    path::Path,
    time::Instant,
};

/// Who fills the log and is killed.
pub(super) const BUILDER: &str = "builder";
/// Who opens it and goes.
pub(super) const OPENER: &str = "opener";
/// How large it is.
const LOG_BYTES: u64 = 1 << 30;
/// As agents send them.
const MESSAGES_A_COMMIT: usize = 100;
/// Openings of each kind.
const OPENINGS: usize = 3;

pub(super) fn measure(task: &Task) -> Result<Figures> {
    let mut builder = task.part(BUILDER)?.spawn().context("cannot start who fills the log")?;
    let said = builder.stdout.take().context("who fills the log has no stdout")?;
    let filled = BufReader::new(said).lines().next().is_some();
    builder.kill()?;
    builder.wait()?;
    ensure!(filled, "the log could not be filled");
    let opened = |cold: bool| -> Result<Vec<Figures>> {
        (0..OPENINGS)
            .map(|_| {
                if cold {
                    forget_pages(&task.dir)?;
                }
                slice::seen(task.part(OPENER)?)
            })
            .collect()
    };
    // The first opening finds what the kill left, and may tidy up: it is not counted.
    slice::seen(task.part(OPENER)?)?;
    let (warm, cold) = (opened(false)?, opened(true)?);
    let middle = |of: &[Figures], name: &str| {
        let values: Vec<f64> = of.iter().filter_map(|figures| figures.get(name).copied()).collect();
        median(&values).with_context(|| format!("no opening said its {name}"))
    };
    Ok(Figures::from([
        ("recovery_ms".to_owned(), middle(&warm, "ms")?),
        ("cold_ms".to_owned(), middle(&cold, "ms")?),
        ("cold_read_mb".to_owned(), middle(&cold, "read_mb")?),
        ("memory_mb".to_owned(), middle(&warm, "memory_mb")?),
        ("log_mb".to_owned(), bytes_in(&task.dir)? as f64 / 1e6),
    ]))
}

pub(super) fn build(task: &Task) -> Result<()> {
    let subject = Subject::open(&task.subject, &task.dir, &Setting::default())?;
    subject.fill(&Messages::new(task.seed), LOG_BYTES, MESSAGES_A_COMMIT)?;
    slice::println_json(&Figures::new())?;
    // Until it is killed.
    loop {
        std::thread::park();
    }
}

pub(super) fn open(task: &Task) -> Result<()> {
    let (memory, read) = (own_memory("VmRSS"), own_io("read_bytes"));
    let begun = Instant::now();
    let subject = Subject::open(&task.subject, &task.dir, &Setting::default())?;
    let ms = begun.elapsed().as_secs_f64() * 1e3;
    let more = |after: Option<u64>, before: Option<u64>| {
        after.zip(before).map_or(f64::NAN, |(after, before)| after.saturating_sub(before) as f64 / 1e6)
    };
    let figures = [
        ("ms", ms),
        ("memory_mb", more(own_memory("VmHWM"), memory)),
        ("read_mb", more(own_io("read_bytes"), read)),
    ];
    let told = figures.into_iter().filter(|(_, value)| value.is_finite());
    slice::println_json(&told.map(|(name, value)| (name.to_owned(), value)).collect())?;
    // Nothing is closed: the next one finds what this one found.
    std::mem::forget(subject);
    std::process::exit(0)
}

fn forget_pages(dir: &Path) -> Result<()> {
    for path in files_in(dir)? {
        let file = File::open(&path)?;
        file.sync_all()?;
        fadvise(&file, 0, None, Advice::DontNeed).context("the kernel keeps its pages")?;
    }
    Ok(())
}

fn bytes_in(dir: &Path) -> Result<u64> {
    Ok(files_in(dir)?.iter().filter_map(|path| Some(fs::metadata(path).ok()?.len())).sum())
}

fn files_in(dir: &Path) -> Result<Vec<std::path::PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        match path.is_dir() {
            true => files.extend(files_in(&path)?),
            false => files.push(path),
        }
    }
    Ok(files)
}
