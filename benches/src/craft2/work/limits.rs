//! What the machine can, whatever a log does with it.

use super::{
    super::slice::{Figures, Task},
    producing::raw,
    sending::Drain,
};
use anyhow::{Result, bail};
use std::{
    hint::black_box,
    io::Write,
    time::{Duration, Instant},
};

const MIB: f64 = 1_048_576.0;
/// Copied, and sent, at once: larger than the processor's caches would be a measure of the memory alone.
const BLOCK_BYTES: usize = 64 << 10;
/// The memory that is copied through, larger than any cache.
const COPIED_BYTES: usize = 256 << 20;

pub(super) fn measure(task: &Task) -> Result<Figures> {
    match task.subject.as_str() {
        "sync-64k" => synced(task, 64 << 10),
        "sync-128k" => synced(task, 128 << 10),
        "memcpy" => Ok(copied(task.seconds)),
        "loopback" => looped_back(task),
        other => bail!("there is no limit {other:?}"),
    }
}

/// In MiB a second, with what one write and its sync take.
fn synced(task: &Task, bytes: usize) -> Result<Figures> {
    let mut figures = raw(&task.dir, bytes, 1, task.seconds)?;
    if let Some(rate) = figures.get_mut("throughput") {
        *rate *= bytes as f64 / MIB;
    }
    Ok(figures)
}

fn copied(seconds: f64) -> Figures {
    let (from, mut to) = (vec![1_u8; COPIED_BYTES], vec![0_u8; COPIED_BYTES]);
    let (mut bytes, begun) = (0_usize, Instant::now());
    while begun.elapsed() < Duration::from_secs_f64(seconds) {
        to.copy_from_slice(black_box(&from));
        black_box(&mut to);
        bytes += COPIED_BYTES;
    }
    speed(bytes as f64, begun.elapsed())
}

fn looped_back(task: &Task) -> Result<Figures> {
    let (mut socket, drain) = Drain::start(task.other_core)?;
    let block = vec![7; BLOCK_BYTES];
    let (mut bytes, begun) = (0, Instant::now());
    while begun.elapsed() < Duration::from_secs_f64(task.seconds) {
        socket.write_all(&block)?;
        bytes += BLOCK_BYTES;
    }
    drop(socket);
    let drained = drain.finish()?;
    anyhow::ensure!(drained == bytes as u64, "{bytes} bytes were sent, {drained} came");
    Ok(speed(bytes as f64, begun.elapsed()))
}

pub(super) fn speed(bytes: f64, elapsed: Duration) -> Figures {
    Figures::from([("throughput".to_owned(), bytes / MIB / elapsed.as_secs_f64())])
}
