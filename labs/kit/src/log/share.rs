//! One sync for everybody who waits, and none too few.

use super::{
    LogTest,
    rig::{FIRST, Rig, all, bounds, payload, producer, submit},
};
use crate::check::{Check, MOMENT, Must, PATIENCE, Unmet, broken, doing, ensure, eventually};
use contracts::queue::{Ack, Log, LogError, Ticket};
use queue::line::LINE_BYTES_MAX;
use queue_phases::OpenPhaseOn as OpenOn;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

pub(super) const TESTS: &[LogTest] = &[
    LogTest::since(1, "who-polls-is-served-as-well", polled),
    LogTest::since(1, "what-was-flushed-does-not-go-with-its-producer", producer_goes),
    LogTest::since(1, "nothing-settles-at-disk-while-its-sync-lasts", not_before),
    LogTest::since(4, "who-waits-while-a-sync-is-under-way-shares-the-next", shares_the_next),
    LogTest::since(4, "a-sync-is-good-for-what-was-written-before-it-began", written_before),
    LogTest::since(4, "an-answer-at-os-waits-for-no-sync-of-others", os_beside_a_sync),
    LogTest::since(4, "a-sync-that-fails-is-told-to-everybody-who-waits", failure_is_told),
    LogTest::since(4, "what-nobody-waits-for-is-written-before-it-fills-the-memory", line_is_bounded),
];

/// Who shares a sync.
const PRODUCERS: usize = 32;

fn polled(open: OpenOn) -> Check {
    let rig = Rig::new(open);
    let log = rig.log()?;
    let mut producer = producer(&log, Ack::Disk)?;
    let sent = "a record at ack disk, a flush, and nobody waits: `settled` is asked again and again";
    doing(sent);
    let ticket = submit(&mut *producer, FIRST, &payload(0))?;
    producer.flush().must(sent)?;
    let settles = eventually(|| producer.settled().is_ok_and(|settled| settled >= ticket));
    ensure(settles, sent, "its ticket settles", "it does not")
}

fn producer_goes(open: OpenOn) -> Check {
    let rig = Rig::new(open);
    let log = rig.log()?;
    let mut producer = producer(&log, Ack::Disk)?;
    let sent = "a record at ack disk, a flush, and the producer is dropped";
    doing(sent);
    submit(&mut *producer, FIRST, &payload(0))?;
    producer.flush().must(sent)?;
    drop(producer);
    let is_there = || all(&log, FIRST).is_ok_and(|found| found == [(0, payload(0))]);
    ensure(eventually(is_there), sent, "the record is there", "it is not")
}

fn not_before(open: OpenOn) -> Check {
    let rig = Rig::new(open);
    let log = rig.log()?;
    let sent = "a record at ack disk, a flush, and `settled` is asked again and again while its sync lasts";
    let expected = "its ticket settles when the sync has ended";
    doing(sent);
    let held = Held::new(&rig);
    let mut producer = producer(&log, Ack::Disk)?;
    submit(&mut *producer, FIRST, &payload(0))?;
    let (polls, goes_on) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(true)));
    let (polled, may_go_on) = (polls.clone(), goes_on.clone());
    let polling = spawn("polls", move || {
        producer.flush()?;
        while producer.settled()? < Ticket(1) {
            if !may_go_on.load(Ordering::Relaxed) {
                return Ok::<_, LogError>(false);
            }
            polled.fetch_add(1, Ordering::Relaxed);
            thread::sleep(Duration::from_millis(1));
        }
        Ok(true)
    })?;
    let begun = eventually(|| rig.disk.holds_one() || polling.is_finished());
    let before = polls.load(Ordering::Relaxed);
    // A flush that syncs by itself does not come to ask.
    wait_a_moment_for(|| polling.is_finished() || polls.load(Ordering::Relaxed) > 0);
    if polls.load(Ordering::Relaxed) > 0 {
        eventually(|| polling.is_finished() || polls.load(Ordering::Relaxed) > before + 1);
    }
    // No sync has ended yet, so that whatever has settled did so too early.
    let early = polling.is_finished();
    drop(held);
    if begun {
        eventually(|| polling.is_finished());
    }
    // Where no sync ever begins for who polls, nothing settles too early either: that is another test's.
    goes_on.store(false, Ordering::Relaxed);
    match polling.join() {
        Ok(Ok(settled)) => {
            ensure(!(early && settled), sent, expected, "it settles before")?;
            ensure(settled || !begun, sent, expected, "it does not settle")
        }
        Ok(Err(error)) => broken(sent, expected, &error.to_string()),
        Err(_) => broken(sent, expected, "a panic"),
    }
}

/// Releases what is held, also when a test ends early.
struct Held<'r>(&'r Rig);

impl<'r> Held<'r> {
    fn new(rig: &'r Rig) -> Self {
        rig.disk.hold_syncs();
        Self(rig)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.disk.release_syncs();
    }
}

/// Has one sync begun and held: by a record of its own, on a thread that ends when it has settled.
fn one_under_way(
    rig: &Rig,
    log: &Arc<dyn Log>,
) -> Result<thread::JoinHandle<Result<Ticket, LogError>>, Unmet> {
    let mut producer = producer(log, Ack::Disk)?;
    submit(&mut *producer, FIRST, b"the first")?;
    let waiting = spawn("first", move || {
        producer.flush()?;
        producer.wait(Ticket(1), PATIENCE)
    })?;
    let begun = eventually(|| rig.disk.holds_one());
    ensure(begun, "a record at ack disk, and somebody waits for it", "a sync begins", "none does")?;
    Ok(waiting)
}

fn spawn<T: Send + 'static>(
    name: &str,
    run: impl FnOnce() -> T + Send + 'static,
) -> Result<thread::JoinHandle<T>, Unmet> {
    thread::Builder::new().name(name.to_owned()).spawn(run).or_skip("a thread")
}

fn shares_the_next(open: OpenOn) -> Check {
    let rig = Rig::new(open);
    let log = rig.log()?;
    let sent = "a sync is under way; 32 others flush a record each at ack disk and wait; the sync ends";
    doing(sent);
    let held = Held::new(&rig);
    let first = one_under_way(&rig, &log)?;
    let before = rig.disk.counts().syncs;
    let flushed = Arc::new(AtomicUsize::new(0));
    let mut others = Vec::new();
    for number in 0..PRODUCERS {
        let mut producer = producer(&log, Ack::Disk)?;
        submit(&mut *producer, FIRST, &payload(number))?;
        let flushed = flushed.clone();
        others.push(spawn("other", move || {
            producer.flush()?;
            flushed.fetch_add(1, Ordering::Relaxed);
            // Longer than this test waits for it: who is not woken is found.
            producer.wait(Ticket(1), 3 * PATIENCE)
        })?);
    }
    // Whoever syncs in the flush itself is not there yet, and never will be while the sync is held.
    wait_a_moment_for(|| flushed.load(Ordering::Relaxed) == PRODUCERS);
    drop(held);
    let woken = eventually(|| others.iter().all(thread::JoinHandle::is_finished));
    ensure(woken, sent, "all of them go on", "some still wait")?;
    let settled = first.join().is_ok_and(|waited| waited.is_ok());
    let others = others
        .into_iter()
        .filter_map(|thread| thread.join().ok())
        .filter(|waited| waited.as_ref().is_ok_and(|settled| *settled >= Ticket(1)));
    let settled = usize::from(settled) + others.count();
    ensure(settled == PRODUCERS + 1, sent, "all of them settle", format!("{settled} of 33 do"))?;
    let syncs = rig.disk.counts().syncs - before;
    // The next one is for all; one more if somebody came to the next too late.
    ensure(syncs <= 2, sent, "one more sync for all of them, or two", if syncs > 2 { "more" } else { "" })
}

fn wait_a_moment_for(mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() && begun.elapsed() < MOMENT {
        thread::sleep(Duration::from_millis(1));
    }
}

/// As soon as it has settled the power is cut.
fn written_before(open: OpenOn) -> Check {
    let rig = Rig::new(open);
    let log = rig.log()?;
    let sent = "a sync is under way, a record at ack disk is flushed, the sync ends; when the record has settled the \
                power is cut";
    doing(sent);
    let held = Held::new(&rig);
    let first = one_under_way(&rig, &log)?;
    let mut producer = producer(&log, Ack::Disk)?;
    submit(&mut *producer, FIRST, b"the second")?;
    let flushed = Arc::new(AtomicUsize::new(0));
    let (said, disk) = (flushed.clone(), rig.disk.clone());
    let second = spawn("second", move || {
        producer.flush()?;
        said.store(1, Ordering::Relaxed);
        let settled = producer.wait(Ticket(1), PATIENCE)?;
        Ok::<_, LogError>((settled, disk.durable()))
    })?;
    wait_a_moment_for(|| flushed.load(Ordering::Relaxed) == 1);
    drop(held);
    let _ = first.join();
    let files = match second.join() {
        Ok(Ok((settled, files))) if settled >= Ticket(1) => files,
        Ok(Ok(_)) => return broken(sent, "its ticket settles", "it does not"),
        Ok(Err(error)) => return broken(sent, "its ticket settles", &error.to_string()),
        Err(_) => return broken(sent, "its ticket settles", "a panic"),
    };
    let after = rig.after(&files).log()?;
    let is_there = all(&after, FIRST)?.iter().any(|(_, payload)| payload == b"the second");
    ensure(is_there, sent, "the record is there", "it is gone")
}

fn os_beside_a_sync(open: OpenOn) -> Check {
    let rig = Rig::new(open);
    let log = rig.log()?;
    let sent = "a sync for others is under way, and a record at ack os is flushed and waited for";
    doing(sent);
    let held = Held::new(&rig);
    let first = one_under_way(&rig, &log)?;
    let mut producer = producer(&log, Ack::Os)?;
    submit(&mut *producer, FIRST, b"at os")?;
    let (said, heard) = std::sync::mpsc::channel();
    let waiting = spawn("at os", move || {
        let settled = producer.flush().and_then(|()| producer.wait(Ticket(1), PATIENCE));
        let _ = said.send(settled.is_ok_and(|settled| settled >= Ticket(1)));
    })?;
    let settles = heard.recv_timeout(PATIENCE / 2).unwrap_or(false);
    drop(held);
    let _ = (first.join(), waiting.join());
    ensure(settles, sent, "its ticket settles while the sync goes on", "it does not")
}

fn failure_is_told(open: OpenOn) -> Check {
    let rig = Rig::new(open);
    let log = rig.log()?;
    let sent = "a sync is under way, 8 others flush and wait, and the disk fails";
    doing(sent);
    let held = Held::new(&rig);
    let first = one_under_way(&rig, &log)?;
    let mut others = Vec::new();
    let flushed = Arc::new(AtomicUsize::new(0));
    for number in 0..8 {
        let mut producer = producer(&log, Ack::Disk)?;
        submit(&mut *producer, FIRST, &payload(number))?;
        let flushed = flushed.clone();
        others.push(spawn("other", move || {
            producer.flush()?;
            flushed.fetch_add(1, Ordering::Relaxed);
            producer.wait(Ticket(1), PATIENCE)
        })?);
    }
    wait_a_moment_for(|| flushed.load(Ordering::Relaxed) == 8);
    rig.disk.fail_syncs(true);
    drop(held);
    let mut waited: Vec<_> = others.into_iter().filter_map(|thread| thread.join().ok()).collect();
    waited.extend(first.join().ok());
    let told = waited.iter().filter(|waited| matches!(waited, Err(LogError::Failed(_)))).count();
    ensure(told == 9, sent, "all nine are told that the log failed", format!("{told} are"))
}

fn line_is_bounded(open: OpenOn) -> Check {
    const RECORD_BYTES: usize = 1 << 20;
    let mut rig = Rig::new(open);
    rig.config.segment_bytes_max = 8 << 20;
    let log = rig.log()?;
    let mut producer = producer(&log, Ack::Disk)?;
    let flushes = LINE_BYTES_MAX / RECORD_BYTES + 2;
    let sent = format!(
        "{flushes} flushes at ack disk of a record of a MiB each, and nobody waits: more than LINE_BYTES_MAX"
    );
    doing(&sent);
    let record = vec![7; RECORD_BYTES];
    for _ in 0..flushes {
        submit(&mut *producer, FIRST, &record)?;
        producer.flush().must(&sent)?;
    }
    let end = bounds(&log, FIRST)?.end.0;
    ensure(end > 0, &sent, "some of them are written", "none is: all of them stand in the line")
}
