//! The queue over HTTP: `openapi/queue.yaml`.

use super::{Route, bad_parameter, json_body, param, required};
use contracts::{
    http::{ApiError, Request, Response},
    ingest::{Shutdown, partition_of},
    limits::{FETCH_BYTES_MAX, FETCH_RECORDS_MAX, RECORD_BYTES_MAX},
    queue::{
        Ack, FetchLimit, Log, LogError, Membership, NewRecord, Offset, Partition, Records, TOPIC, Ticket,
        payload_at,
    },
};
use serde::{Deserialize, de::IntoDeserializer};
use serde_json::json;
use std::{sync::Arc, time::Duration};

/// Several records in one body: each `length u32 · payload`.
pub const RECORDS: &str = "application/vnd.systems-craft.records";
/// Fetched records: each `offset u64 · length u32 · payload`.
pub const FETCHED: &str = "application/vnd.systems-craft.fetched";

/// How long a produce waits for its records to be safe.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(5);

/// Routes of the queue service. While it drains, it takes no more and still gives.
pub fn routes(log: &Arc<dyn Log>, draining: Shutdown) -> Vec<Route> {
    let mut all = reading(log);
    all.push(Route::new("queue", "POST", "/produce", {
        let log = log.clone();
        move |request, _| {
            if draining.is_set() {
                let message = "this queue is stopping and takes no more records";
                return Err(ApiError::new(503, "draining", message).retry_after(1));
            }
            produce(&*log, request)
        }
    }));
    all.extend([
        Route::new("queue", "POST", "/subscribe", with(log, subscribe)),
        Route::new("queue", "POST", "/heartbeat", with(log, heartbeat)),
        Route::new("queue", "POST", "/commit", with(log, commit)),
    ]);
    all
}

/// What changes nothing. A pipeline in one process has these: who looks along must not be able to hold the log, as a group
/// that subscribes and never commits does, nor to put anything into it but samples.
pub fn reading(log: &Arc<dyn Log>) -> Vec<Route> {
    vec![
        Route::new("queue", "GET", "/consume", with(log, consume)),
        Route::new("queue", "GET", "/topics", with(log, topics)),
        Route::new("queue", "GET", "/groups", with(log, groups)),
        Route::new("queue", "GET", "/committed", with(log, committed)),
    ]
}

fn with(
    log: &Arc<dyn Log>,
    handle: fn(&dyn Log, &Request<'_>) -> Result<Response, ApiError>,
) -> impl Fn(&Request<'_>, &super::Params<'_>) -> Result<Response, ApiError> + Send + Sync + 'static {
    let log = log.clone();
    move |request, _| handle(&*log, request)
}

fn produce(log: &dyn Log, request: &Request<'_>) -> Result<Response, ApiError> {
    let partition = match (param(request, "partition", "a number")?, request.param("client_id")) {
        (Some(partition), None) => Partition(partition),
        (None, client) => partition_of(&client.unwrap_or_default(), log.partitions()),
        (Some(_), Some(_)) => return Err(bad_parameter("give partition or client_id, not both")),
    };
    let ack = request.param("ack").map_or(Ok(Ack::Memory), |text| {
        let ack: Result<Ack, serde::de::value::Error> = Ack::deserialize(text.as_ref().into_deserializer());
        ack.map_err(|_| bad_parameter("ack must be memory, os or disk"))
    })?;
    let payloads = match request.header("content-type") {
        Some(RECORDS) => split(request.body)?,
        _ => vec![request.body],
    };
    // All or none: what can be known before is checked before.
    if let Some(bytes) = payloads.iter().map(|p| p.len()).find(|bytes| *bytes > RECORD_BYTES_MAX) {
        return Err(refusal(&LogError::RecordTooLarge { bytes, bytes_max: RECORD_BYTES_MAX }));
    }
    let mut producer = log.producer(ack).map_err(|e| refusal(&e))?;
    let mut last = Ticket(0);
    for payload in payloads {
        last = match producer.submit(NewRecord { partition, payload }) {
            Ok(ticket) => ticket,
            Err(e) if last == Ticket(0) => return Err(refusal(&e)),
            Err(e) => return Err(not_settled(&e.to_string())),
        };
    }
    match producer.flush().and_then(|()| producer.wait(last, SETTLE_TIMEOUT)) {
        Ok(settled) if settled >= last => {}
        Ok(_) => return Err(not_settled("it took too long")),
        Err(e) => return Err(not_settled(&e.to_string())),
    }
    let mut placed = Vec::new();
    producer.placed(&mut placed);
    let records: Vec<_> =
        placed.iter().map(|p| json!({"partition": p.partition, "offset": p.offset})).collect();
    Ok(Response::json(200, &json!({ "records": records })))
}

/// Some records may be in the log, and all of them may be.
fn not_settled(why: &str) -> ApiError {
    let message = format!("the records were handed over, but what became of them is not known: {why}");
    ApiError::new(503, "not_settled", message).retry_after(1)
}

fn split(body: &[u8]) -> Result<Vec<&[u8]>, ApiError> {
    let mut payloads = Vec::new();
    let mut at = 0;
    while at < body.len() {
        let cut_short = || ApiError::bad_input("bad_records", at, "this record is cut short");
        let payload = payload_at(body, at).ok_or_else(cut_short)?;
        at += 4 + payload.len();
        payloads.push(payload);
    }
    Ok(payloads)
}

fn consume(log: &dyn Log, request: &Request<'_>) -> Result<Response, ApiError> {
    let partition = Partition(required(request, "partition", "a number")?);
    let offset = Offset(required(request, "offset", "a number")?);
    let default = FetchLimit::default();
    let limit = FetchLimit {
        records_max: param(request, "count", "a number")?
            .unwrap_or(default.records_max)
            .min(FETCH_RECORDS_MAX),
        bytes_max: param(request, "bytes", "a number")?.unwrap_or(default.bytes_max).min(FETCH_BYTES_MAX),
        wait: Duration::ZERO,
    };
    let mut records = Records::new();
    if limit.records_max > 0 {
        log.fetch(partition, offset, limit, &mut records).map_err(|e| refusal(&e))?;
    }
    Ok(Response::body(200, FETCHED, records.encode()))
}

fn topics(log: &dyn Log, _: &Request<'_>) -> Result<Response, ApiError> {
    let partitions = (0..log.partitions()).map(|partition| {
        let bounds = log.bounds(Partition(partition)).map_err(|e| refusal(&e))?;
        Ok(json!({"partition": partition, "start": bounds.start, "end": bounds.end}))
    });
    let partitions = partitions.collect::<Result<Vec<_>, ApiError>>()?;
    Ok(Response::json(
        200,
        &json!({"topics": [{"name": TOPIC, "ack_max": log.ack_max(), "partitions": partitions}]}),
    ))
}

fn groups(log: &dyn Log, _: &Request<'_>) -> Result<Response, ApiError> {
    log.groups().map(|all| Response::json(200, &json!({ "groups": all }))).map_err(|e| refusal(&e))
}

#[derive(Deserialize)]
struct Subscription {
    group: String,
    member: String,
}

fn subscribe(log: &dyn Log, request: &Request<'_>) -> Result<Response, ApiError> {
    let asked: Subscription = json_body(request)?;
    log.subscribe(&asked.group, &asked.member).map(|m| Response::json(200, &m)).map_err(|e| refusal(&e))
}

/// A member says who it is, and perhaps how far it came.
#[derive(Deserialize)]
struct Progress {
    group: String,
    member: String,
    generation: u64,
    #[serde(default)]
    partition: Option<Partition>,
    #[serde(default)]
    offset: Option<Offset>,
}

impl Progress {
    fn membership(&self) -> Membership {
        let (group, member) = (self.group.clone(), self.member.clone());
        Membership { group, member, generation: self.generation, partitions: Vec::new() }
    }
}

fn heartbeat(log: &dyn Log, request: &Request<'_>) -> Result<Response, ApiError> {
    let progress: Progress = json_body(request)?;
    log.heartbeat(&progress.membership()).map(|_| Response::status(204)).map_err(|e| refusal(&e))
}

fn commit(log: &dyn Log, request: &Request<'_>) -> Result<Response, ApiError> {
    let progress: Progress = json_body(request)?;
    let (Some(partition), Some(offset)) = (progress.partition, progress.offset) else {
        return Err(bad_parameter("a commit needs a partition and an offset"));
    };
    log.commit(&progress.membership(), partition, offset)
        .map(|()| Response::status(204))
        .map_err(|e| refusal(&e))
}

fn committed(log: &dyn Log, request: &Request<'_>) -> Result<Response, ApiError> {
    let group: String = required(request, "group", "the name of a group")?;
    let partition = Partition(required(request, "partition", "a number")?);
    let offset = log.committed(&group, partition).map_err(|e| refusal(&e))?;
    Ok(Response::json(200, &json!({ "offset": offset })))
}

fn refusal(error: &LogError) -> ApiError {
    match error {
        LogError::NoSuchPartition { .. } => ApiError::of(404, "no_such_partition", error),
        LogError::OffsetOutOfRange { .. } => ApiError::of(416, "offset_out_of_range", error),
        LogError::AckTooStrong { .. } => ApiError::of(422, "ack_too_strong", error),
        LogError::RecordTooLarge { .. } => ApiError::of(413, "record_too_large", error),
        LogError::Full => ApiError::of(503, "queue_full", error).retry_after(1),
        LogError::Fenced { .. } => ApiError::of(409, "fenced", error),
        LogError::BadName(_) => ApiError::of(400, "bad_name", error),
        LogError::TooManyGroups(_) => ApiError::of(429, "too_many_groups", error).retry_after(60),
        LogError::TooManyMembers { .. } => ApiError::of(429, "too_many_members", error).retry_after(60),
        LogError::OutOfSequence { .. } => ApiError::of(409, "out_of_sequence", error),
        LogError::Damaged { .. } => ApiError::of(410, "damaged", error),
        LogError::NotOffered(_) => ApiError::of(501, "not_offered", error),
        LogError::Failed(_) => ApiError::of(500, "log_failed", error),
    }
}
