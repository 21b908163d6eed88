//! `kill -9` in the middle of a producer's work: what was acknowledged, and what is there afterwards.
//!
//! The victim says after each commit how many messages were acknowledged so far; what it had no time left to say it has not
//! acknowledged to anybody. A process that is killed loses its memory and not the page cache: this is no test of a power
//! cut, which the craft's own tests make on a simulated disk.

use super::super::{
    slice::{Figures, Task},
    subject::{Setting, Subject, read_all, settle},
};
use anyhow::{Context, Result, ensure};
use contracts::queue::{NewRecord, Partition};
use std::{
    io::{Read, Write},
    thread,
    time::Duration,
};

/// Who is killed.
pub(super) const VICTIM: &str = "victim";
/// Messages a commit: several, so that a commit can be torn.
const COMMIT: u64 = 10;
/// Between two commits.
const PAUSE: Duration = Duration::from_micros(50);

pub(super) fn measure(task: &Task) -> Result<Figures> {
    let mut child = task.part(VICTIM)?.spawn().context("cannot start the victim")?;
    let mut said = child.stdout.take().context("the victim has no stdout")?;
    // Whoever writes into a full pipe waits: it is emptied while the victim lives.
    let reading = thread::spawn(move || {
        let mut bytes = Vec::new();
        said.read_to_end(&mut bytes).map(|_| bytes)
    });
    thread::sleep(Duration::from_secs_f64(task.seconds));
    let ended = child.try_wait()?;
    child.kill()?;
    child.wait()?;
    ensure!(ended.is_none(), "the victim ended before it was killed");
    let bytes = reading.join().map_err(|_| anyhow::anyhow!("nobody heard the victim"))??;
    let acknowledged = last_word(&bytes);
    ensure!(acknowledged > 0, "nothing was acknowledged before the end");
    let found = found(task)?;
    let lost = acknowledged.saturating_sub(found.in_order);
    Ok(Figures::from(
        [
            ("lost", 100.0 * lost as f64 / acknowledged as f64),
            ("lost_messages", lost as f64),
            ("acknowledged", acknowledged as f64),
            ("found", found.records as f64),
            ("out_of_order", (found.records - found.in_order) as f64),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    ))
}

/// Each message holds its number, so that what is found can be held against what was sent.
pub(super) fn victim(task: &Task) -> Result<()> {
    let subject = Subject::open(&task.subject, &task.dir, &Setting::default())?;
    let mut producer = subject.producer()?;
    let mut out = std::io::stdout().lock();
    let mut number = 0_u64;
    loop {
        let mut last = None;
        for _ in 0..COMMIT {
            let mut payload = [0; 128];
            payload[..8].copy_from_slice(&number.to_le_bytes());
            last = Some(producer.submit(NewRecord { partition: Partition(0), payload: &payload })?);
            number += 1;
        }
        producer.flush()?;
        settle(&mut *producer, last.context("a commit has messages")?)?;
        out.write_all(&number.to_le_bytes())?;
        out.flush()?;
        // What counts is what is lost and not how much is sent: a log in memory would fill it.
        thread::sleep(PAUSE);
    }
}

fn last_word(bytes: &[u8]) -> u64 {
    let last = bytes.chunks_exact(8).last().and_then(|word| word.try_into().ok());
    last.map_or(0, u64::from_le_bytes)
}

struct Found {
    records: u64,
    /// Those that come one after the other, from the first.
    in_order: u64,
}

fn found(task: &Task) -> Result<Found> {
    let subject = Subject::open(&task.subject, &task.dir, &Setting::default())?;
    let mut in_order = 0_u64;
    let (records, _) = read_all(&*subject.log, Partition(0), |_, payload| {
        in_order += u64::from(payload.starts_with(&in_order.to_le_bytes()));
    })?;
    Ok(Found { records, in_order })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_word_says_nothing() {
        let bytes = [20_u64.to_le_bytes(), 30_u64.to_le_bytes()].concat();
        assert_eq!(last_word(&bytes), 30);
        assert_eq!(last_word(&bytes[..15]), 20);
        assert_eq!(last_word(&[]), 0);
    }
}
