//! What a log costs, counted on a disk in memory: the same on every machine.

use super::{
    readers::messages_read_twice,
    rig::{FIRST, Rig, SEGMENT_BYTES, producer, settle, submit},
};
use crate::{
    check::Unmet,
    count::{Count, Counter},
};
use anyhow::{Result, anyhow, ensure};
use contracts::{
    http::{Body, Handler, Request, Response},
    ingest::Shutdown,
    queue::{Ack, FetchLimit, Log, Offset, Records, Ticket},
};
use platform::routes::{
    Router,
    queue::{self as queue_routes, Patience},
};
use queue::wire;
use queue_phases::{Open, OpenPhaseOn as OpenOn, PHASES};
use std::sync::Arc;

/// What can be counted of a log.
pub(super) fn counters<L: Open>() -> Vec<Counter> {
    let counter = |name, phases, mine: Count, of_phase| Counter { name, phases, mine, of_phase };
    vec![
        counter(
            "syncs_per_message_of_a_batch",
            1..=1,
            || syncs_per_message_of_a_batch(L::open_on),
            |phase| syncs_per_message_of_a_batch(open_of(phase)),
        ),
        counter(
            "syncs_per_thousand_messages",
            2..=4,
            || syncs_per_thousand_messages(L::open_on),
            |phase| syncs_per_thousand_messages(open_of(phase)),
        ),
        counter(
            "bytes_read_to_open_a_log",
            3..=3,
            || bytes_read_to_open(L::open_on),
            |phase| bytes_read_to_open(open_of(phase)),
        ),
        counter(
            "messages_read_twice",
            5..=5,
            || messages_read_twice(L::open_on),
            |phase| messages_read_twice(open_of(phase)),
        ),
        counter(
            "bytes_written_per_record",
            6..=6,
            || bytes_written_per_record(L::open_on),
            |phase| bytes_written_per_record(open_of(phase)),
        ),
        counter(
            "bytes_copied_per_record_fetched",
            6..=6,
            || bytes_copied_per_record_fetched(L::open_on),
            |phase| bytes_copied_per_record_fetched(open_of(phase)),
        ),
    ]
}

fn open_of(phase: u32) -> OpenOn {
    let at = usize::try_from(phase).unwrap_or(usize::MAX).min(PHASES.len() - 1);
    PHASES[at].open_on
}

/// Of a producer that flushes a hundred messages at a time, at the strongest acknowledgement that the log gives.
fn syncs_per_message_of_a_batch(open: OpenOn) -> Result<f64> {
    const MESSAGES: u32 = 100;
    const BATCHES: u32 = 10;
    let rig = Rig::new(open);
    let log = rig.log().map_err(said)?;
    let mut producer = producer(&log, log.ack_max()).map_err(said)?;
    let before = rig.disk.counts().syncs;
    for _ in 0..BATCHES {
        let mut last = Ticket(0);
        for number in 0..MESSAGES {
            last = submit(&mut *producer, FIRST, &number.to_le_bytes()).map_err(said)?;
        }
        settle(&mut *producer, last, "a hundred messages, a flush, and a wait").map_err(said)?;
    }
    let syncs = rig.disk.counts().syncs - before;
    Ok(as_f64(syncs) / f64::from(MESSAGES * BATCHES))
}

/// Of 64 producers that send a message each and then wait for it, again and again. One thread does all of it: first all
/// flush, then all wait, so that who shares a sync does so each time.
fn syncs_per_thousand_messages(open: OpenOn) -> Result<f64> {
    const PRODUCERS: u32 = 64;
    const ROUNDS: u32 = 16;
    let rig = Rig::new(open);
    let log = rig.log().map_err(said)?;
    let mut producers = Vec::new();
    for _ in 0..PRODUCERS {
        producers.push(producer(&log, Ack::Disk).map_err(said)?);
    }
    let before = rig.disk.counts().syncs;
    for round in 0..ROUNDS {
        let mut tickets = Vec::new();
        for producer in &mut producers {
            tickets.push(submit(&mut **producer, FIRST, &round.to_le_bytes()).map_err(said)?);
            producer.flush()?;
        }
        for (producer, ticket) in producers.iter_mut().zip(tickets) {
            settle(&mut **producer, ticket, "a message, a flush, and a wait").map_err(said)?;
        }
    }
    let syncs = rig.disk.counts().syncs - before;
    Ok(as_f64(syncs) * 1_000.0 / f64::from(PRODUCERS * ROUNDS))
}

/// Of a log of many segments, when it is opened after a kill.
fn bytes_read_to_open(open: OpenOn) -> Result<f64> {
    const SEGMENTS: u64 = 20;
    let rig = Rig::new(open);
    let log = rig.log().map_err(said)?;
    let mut producer = producer(&log, Ack::Os).map_err(said)?;
    let payload = [7; 1_000];
    let mut last = None;
    for number in 0..SEGMENTS * SEGMENT_BYTES / 1_000 {
        last = Some(submit(&mut *producer, FIRST, &payload).map_err(said)?);
        if number % 16 == 15 {
            producer.flush()?;
        }
    }
    if let Some(last) = last {
        settle(&mut *producer, last, "the last record").map_err(said)?;
    }
    let again = rig.after(&rig.disk.seen());
    drop(again.log().map_err(said)?);
    Ok(as_f64(again.disk.counts().read_bytes))
}

/// Of records as samples are, which resemble each other, a hundred a flush.
fn bytes_written_per_record(open: OpenOn) -> Result<f64> {
    const RECORDS: u32 = 2_000;
    let rig = Rig::packing(open);
    let log = rig.log().map_err(said)?;
    let mut producer = producer(&log, Ack::Os).map_err(said)?;
    let written = |rig: &Rig| rig.disk.counts().written_bytes;
    // What a log writes before its first record, and what it fills with zeros, is told apart by what is written twice.
    let mut batch = |from: u32| -> Result<()> {
        let mut last = None;
        for number in from..from + 100 {
            last = Some(submit(&mut *producer, FIRST, sample(number).as_bytes()).map_err(said)?);
        }
        last.map_or(Ok(()), |last| settle(&mut *producer, last, "a hundred records").map_err(said))
    };
    batch(0)?;
    let before = written(&rig);
    for from in (100..100 + RECORDS).step_by(100) {
        batch(from)?;
    }
    Ok(as_f64(written(&rig) - before) / f64::from(RECORDS))
}

/// Of all records of a log, fetched over HTTP by a consumer that takes frames as they lie, up to where an engine sends the
/// answers: the bytes that were read from the disk into memory, and those of the answers that stand in memory. What an
/// engine is told to send from a file is neither. The log packs nothing, so that all forms have the same bytes to send; of
/// each frame the head is looked at, whatever stands behind it, and so they are of a thousand records each.
fn bytes_copied_per_record_fetched(open: OpenOn) -> Result<f64> {
    const RECORDS: u32 = 16_000;
    const BATCH: u32 = 1_000;
    let mut rig = Rig::new(open);
    rig.config.segment_bytes_max = 1 << 20;
    let log = rig.log().map_err(said)?;
    let mut producer = producer(&log, Ack::Os).map_err(said)?;
    for number in 0..RECORDS {
        let last = submit(&mut *producer, FIRST, sample(number).as_bytes()).map_err(said)?;
        if (number + 1).is_multiple_of(BATCH) {
            settle(&mut *producer, last, "a thousand records").map_err(said)?;
        }
    }
    let service = Service::of(&log);
    let (mut copied, mut next) = (0, 0);
    while next < RECORDS {
        let (bytes, records) = service.fetch(&rig, next)?;
        copied += bytes;
        ensure!(!records.is_empty(), "a fetch from {next} of {RECORDS} records came back empty");
        for (offset, payload) in records.iter() {
            let is_next = offset.0 == u64::from(next) && payload == sample(next).as_bytes();
            ensure!(is_next, "what came as record {next} is not what was sent as that");
            next += 1;
        }
    }
    Ok(as_f64(copied) / f64::from(RECORDS))
}

/// The queue's service, without an engine.
struct Service(Router);

impl Service {
    fn of(log: &Arc<dyn Log>) -> Self {
        let patience = Patience {
            draining: Shutdown::default(),
            stopping: Shutdown::default(),
            consumes_waiting_max: 0,
        };
        Self(Router::new(queue_routes::reading(log, &patience)))
    }

    /// Some records, and how many bytes were copied for them.
    fn fetch(&self, rig: &Rig, from: u32) -> Result<(u64, Records)> {
        let read = || rig.disk.counts().read_bytes;
        let query = format!("partition={}&offset={from}", FIRST.0);
        let headers: &[(&str, &[u8])] = &[("accept", queue_routes::STORED.as_bytes())];
        let (method, path, body) = ("GET", "/consume", &b""[..]);
        let before = read();
        let Response { status, content_type, body, .. } =
            self.0.handle(&Request { method, path, query: &query, headers, body, peer: None });
        let (asked, bytes) = (read(), body.len());
        let is_memory = matches!(body, Body::Bytes(_));
        let answer = body.read()?;
        ensure!(status == 200, "a fetch from {from} was answered with {status}");
        // What is read only now would have gone from its file to the socket; the rest of the answer stood in memory.
        let sent_from_files = if is_memory { 0 } else { read() - asked };
        let mut records = Records::new();
        if content_type == queue_routes::STORED {
            wire::decode(&answer, FIRST, Offset(from.into()), FetchLimit::default(), &mut records)?;
        } else {
            let decoded = records.decode(&answer);
            ensure!(decoded.is_ok(), "the answer to a fetch from {from} cannot be read");
        }
        Ok((asked - before + bytes - sent_from_files, records))
    }
}

fn sample(number: u32) -> String {
    format!(
        "{{\"name\":\"http_requests_total\",\"labels\":{{\"instance\":\"web-{}\",\"job\":\"api\"}},\"timestamp\":{},\"value\":{}}}",
        number % 16,
        1_720_000_000_000 + u64::from(number) * 10,
        number * 3
    )
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
pub(super) fn as_f64(count: u64) -> f64 {
    count as f64
}

pub(super) fn said(unmet: Unmet) -> anyhow::Error {
    match unmet {
        Unmet::Broken(feedback) => {
            anyhow!("{}: expected {}, observed {}", feedback.sent, feedback.expected, feedback.observed)
        }
        Unmet::Skipped(why) => anyhow!(why),
    }
}
