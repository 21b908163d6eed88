//! The queue over HTTP: `openapi/queue.yaml`.

mod produce;

use super::{Route, bad_parameter, json_body, param, required};
use contracts::{
    http::{ApiError, Body, Deferred, Request, Response},
    ingest::Shutdown,
    limits::{FETCH_BYTES_MAX, FETCH_RECORDS_MAX},
    queue::{Assignment, FetchLimit, Log, LogError, Membership, Offset, Partition, Records, TOPIC},
};
use produce::Clerk;
use queue::wire;
use serde::Deserialize;
use serde_json::json;
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

/// Several records in one body: each `length u32 · payload`.
pub const RECORDS: &str = "application/vnd.systems-craft.records";
/// The same packed: see `contracts::packed`.
pub const PACKED: &str = "application/vnd.systems-craft.records+lz4";
/// Fetched records: each `offset u64 · length u32 · payload`.
pub const FETCHED: &str = "application/vnd.systems-craft.fetched";
/// The same as they lie in the log's files: see `queue::wire`.
pub const STORED: &str = wire::STORED;

/// The longest that a consume waits for its first record, whatever was asked for.
pub const CONSUME_WAIT_MAX: Duration = Duration::from_secs(10);
/// Consumes that wait at once, where others are served meanwhile. One more is answered at once. It is half of the threads
/// in which the final engine answers, so that there are always some for who does not wait.
pub const CONSUMES_WAITING_MAX: usize = 16;
/// How often a consume that waits looks whether the service is to stop.
const WAIT_SLICE: Duration = Duration::from_millis(200);

/// When the queue service takes no more, when it waits for nobody, and for how many it waits at all.
#[derive(Clone)]
pub struct Patience {
    /// While this is set, nothing is taken any more, and what is there is still given.
    pub draining: Shutdown,
    /// Once this is set, nobody waits for records any more.
    pub stopping: Shutdown,
    /// Consumes that may wait at once: none where the engine serves one client after the other.
    pub consumes_waiting_max: usize,
}

/// Routes of the queue service.
pub fn routes(log: &Arc<dyn Log>, patience: &Patience) -> Vec<Route> {
    let mut all = reading(log, patience);
    all.push(Route::new("queue", "POST", "/produce", {
        let (log, draining) = (log.clone(), patience.draining.clone());
        move |request, _| Ok(Clerk::new(log.clone(), draining.clone()).answer(request))
    }));
    all.extend([
        Route::new("queue", "POST", "/subscribe", with(log, subscribe)),
        Route::new("queue", "POST", "/assign", with(log, assign)),
        Route::new("queue", "POST", "/heartbeat", with(log, heartbeat)),
        Route::new("queue", "POST", "/leave", with(log, leave)),
        Route::new("queue", "POST", "/commit", with(log, commit)),
    ]);
    all
}

/// What changes nothing. A pipeline in one process has these: who looks along must not be able to hold the log, as a group
/// that subscribes and never commits does, nor to put anything into it but samples.
pub fn reading(log: &Arc<dyn Log>, patience: &Patience) -> Vec<Route> {
    vec![
        Route::new("queue", "GET", "/consume", {
            let (log, patience, waiting) = (log.clone(), patience.clone(), AtomicUsize::new(0));
            move |request, _| consume(&*log, request, &patience, &waiting)
        }),
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

/// For an engine whose threads do not wait: takes the records of requests as they come, and answers when they are safe.
pub fn deferred(log: Arc<dyn Log>, draining: Shutdown) -> Box<dyn Deferred> {
    Box::new(Clerk::new(log, draining))
}

/// Some records may be in the log, and all of them may be.
fn not_settled(why: &str) -> ApiError {
    let message = format!("the records were handed over, but what became of them is not known: {why}");
    ApiError::new(503, "not_settled", message).retry_after(1)
}

fn consume(
    log: &dyn Log,
    request: &Request<'_>,
    patience: &Patience,
    waiting: &AtomicUsize,
) -> Result<Response, ApiError> {
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
    let wait_ms = param(request, "wait", "a number of milliseconds")?.unwrap_or(0);
    let wait = Duration::from_millis(wait_ms).min(CONSUME_WAIT_MAX);
    let mut records = Records::new();
    if limit.records_max > 0 {
        if let Some(stored) = stored(log, request, partition, offset, limit)? {
            return Ok(stored);
        }
        log.fetch(partition, offset, limit, &mut records).map_err(|e| refusal(&e))?;
        if records.is_empty() && !wait.is_zero() {
            let slice = FetchLimit { wait: WAIT_SLICE, ..limit };
            wait_for_records(log, partition, offset, slice, wait, (patience, waiting), &mut records)?;
        }
    }
    Ok(Response::body(200, FETCHED, records.encode()))
}

/// Frames as they lie, if they are asked for, the log gives any, and there are some already: who waits at the end is served
/// with so few that it makes no difference.
fn stored(
    log: &dyn Log,
    request: &Request<'_>,
    partition: Partition,
    offset: Offset,
    limit: FetchLimit,
) -> Result<Option<Response>, ApiError> {
    if !request.header("accept").is_some_and(|accepted| accepted.contains(STORED)) {
        return Ok(None);
    }
    let stored = log.fetch_stored(partition, offset, limit).map_err(|e| refusal(&e))?;
    let stored = stored.filter(|stored| !stored.slices.is_empty());
    Ok(stored.map(|stored| Response::body(200, STORED, Body::Slices(wire::envelope(&stored)))))
}

/// Fetches again and again, each time waiting a little, until there is something, the time is over, or the service stops.
fn wait_for_records(
    log: &dyn Log,
    partition: Partition,
    offset: Offset,
    slice: FetchLimit,
    wait: Duration,
    (patience, waiting): (&Patience, &AtomicUsize),
    records: &mut Records,
) -> Result<(), ApiError> {
    let Some(_place) = WaitingPlace::take(waiting, patience.consumes_waiting_max) else { return Ok(()) };
    let deadline = Instant::now() + wait;
    while records.is_empty() && !patience.stopping.is_set() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        let limit = FetchLimit { wait: slice.wait.min(left), ..slice };
        log.fetch(partition, offset, limit, records).map_err(|e| refusal(&e))?;
    }
    Ok(())
}

/// One of the places for who waits; given back when it is dropped. Relaxed: only the count matters.
struct WaitingPlace<'a>(&'a AtomicUsize);

impl<'a> WaitingPlace<'a> {
    fn take(taken: &'a AtomicUsize, places: usize) -> Option<Self> {
        let one_more = |taken: usize| (taken < places).then_some(taken + 1);
        let before = taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
        before.is_ok().then_some(Self(taken))
    }
}

impl Drop for WaitingPlace<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn topics(log: &dyn Log, _: &Request<'_>) -> Result<Response, ApiError> {
    let partitions = (0..log.partitions()).map(|partition| {
        let bounds = log.bounds(Partition(partition)).map_err(|e| refusal(&e))?;
        Ok(json!({"partition": partition, "start": bounds.start, "end": bounds.end}))
    });
    let partitions = partitions.collect::<Result<Vec<_>, ApiError>>()?;
    let topic = json!({
        "name": TOPIC, "ack_max": log.ack_max(), "knows_batches": log.knows_batches(),
        "group_members_max": log.group_members_max(), "partitions": partitions,
    });
    Ok(Response::json(200, &json!({ "topics": [topic] })))
}

fn groups(log: &dyn Log, _: &Request<'_>) -> Result<Response, ApiError> {
    log.groups().map(|all| Response::json(200, &json!({ "groups": all }))).map_err(|e| refusal(&e))
}

/// Who wants to be a member, or is one and wants to move on to the group's current generation.
#[derive(Deserialize)]
struct Subscription {
    group: String,
    member: String,
    #[serde(default)]
    generation: Option<u64>,
    #[serde(default)]
    assignment: Option<Assignment>,
}

fn subscribe(log: &dyn Log, request: &Request<'_>) -> Result<Response, ApiError> {
    let Subscription { group, member, generation, assignment } = json_body(request)?;
    if let Some(assignment) = assignment {
        log.assign(&group, assignment).map_err(|e| refusal(&e))?;
    }
    let membership = match generation {
        None => log.subscribe(&group, &member),
        Some(generation) => log.rejoin(&Membership { group, member, generation, partitions: Vec::new() }),
    };
    membership.map(|m| Response::json(200, &m)).map_err(|e| refusal(&e))
}

fn assign(log: &dyn Log, request: &Request<'_>) -> Result<Response, ApiError> {
    #[derive(Deserialize)]
    struct Asked {
        group: String,
        assignment: Assignment,
    }
    let Asked { group, assignment } = json_body(request)?;
    log.assign(&group, assignment).map(|()| Response::status(204)).map_err(|e| refusal(&e))
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
    let generation = log.heartbeat(&progress.membership()).map_err(|e| refusal(&e))?;
    Ok(Response::json(200, &json!({ "generation": generation })))
}

fn leave(log: &dyn Log, request: &Request<'_>) -> Result<Response, ApiError> {
    let progress: Progress = json_body(request)?;
    log.leave(&progress.membership()).map(|()| Response::status(204)).map_err(|e| refusal(&e))
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
