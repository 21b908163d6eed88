//! `POST /produce`: records of a request into the log, and where they lie as its answer.
//!
//! A [`Clerk`] belongs to one thread and has a producer for each level of acknowledgement. Requests that came together are
//! flushed together, and none waits for the fsync of the one before: it is noted with its tickets, and answered when they
//! have settled. So one connection that sends request after request fills the log as fast as many do.
//!
//! All of a request's records are appended or none, as far as that can be known before: what could refuse one of them is
//! looked at first. A log that turns full or fails in the middle leaves some of them in it; then the answer is 503
//! `not_settled`, and who wants to send them again without doubling them identifies the batch.

use super::{PACKED, RECORDS, not_settled, refusal};
use crate::routes::{bad_parameter, param, text_param};
use contracts::{
    http::{ApiError, Deferred, Request, Response},
    ingest::{Shutdown, partition_of},
    limits::{CLIENT_ID_BYTES_MAX, RECORD_BYTES_MAX},
    packed::{BadPacked, PackedRecords},
    queue::{Ack, Identity, Log, LogError, NewRecord, Partition, Placed, Producer, Ticket, payload_at},
};
use serde::{Deserialize, de::IntoDeserializer};
use std::{
    collections::VecDeque,
    fmt::Write as _,
    sync::Arc,
    task::Waker,
    time::{Duration, Instant},
};

/// How long a request waits for its records to be safe. After that: 503 `not_settled`.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(5);
/// So much is taken from requests that came together before it is flushed, more of them or not.
const FLUSH_BYTES: usize = 1 << 20;
/// A query that is longer is read each time.
const QUERY_BYTES_KEPT: usize = 256;
/// Records of a body for which there is room before they are counted.
const GUESS_MAX: usize = 4096;
/// Room for unpacking that a thread keeps.
const ROOM_BYTES_KEPT: usize = 1 << 20;
/// Requests of one thread that wait for their records to be safe. Beyond: 503 `queue_full`.
const WAITING_MAX: usize = 64 << 10;

/// Takes requests and answers them when their records are safe.
pub(super) struct Clerk {
    log: Arc<dyn Log>,
    draining: Shutdown,
    /// By level of acknowledgement.
    desks: [Desk; 3],
    waker: Option<Waker>,
    /// Ready to be fetched.
    answers: Vec<(u64, Response)>,
    /// For unpacking a batch; kept for its memory.
    room: Vec<u8>,
    /// A query, and what it asks for.
    last: Option<(String, Asked)>,
}

impl Clerk {
    pub(super) fn new(log: Arc<dyn Log>, draining: Shutdown) -> Self {
        let desks = [Ack::Memory, Ack::Os, Ack::Disk].map(Desk::new);
        Self { log, draining, desks, waker: None, answers: Vec::new(), room: Vec::new(), last: None }
    }

    /// Answers one request, and waits for it.
    pub(super) fn answer(mut self, request: &Request<'_>) -> Response {
        let mut answers = Vec::new();
        if let Err(refusal) = self.take(0, request) {
            return refusal;
        }
        self.flush();
        loop {
            self.finished(&mut answers);
            if let Some((_, answer)) = answers.pop() {
                return answer;
            }
            self.desks.iter_mut().for_each(Desk::wait);
        }
    }

    fn try_take(&mut self, number: u64, request: &Request<'_>) -> Result<(), ApiError> {
        if self.draining.is_set() {
            let message = "this queue is stopping and takes no more records";
            return Err(ApiError::new(503, "draining", message).retry_after(1));
        }
        let asked = self.asked(request)?;
        let records = Records::of(request, &mut self.room)?;
        let at = self.desks.iter().position(|desk| desk.ack == asked.ack).unwrap_or_default();
        let desk = &mut self.desks[at];
        desk.open(&*self.log, self.waker.as_ref()).map_err(|e| refusal(&e))?;
        desk.take(number, &asked, &records, &mut self.answers)?;
        self.room.clear();
        self.room.shrink_to(ROOM_BYTES_KEPT);
        Ok(())
    }

    /// What a request asks for. An agent asks for the same with each, so that what the last one asked for is kept.
    fn asked(&mut self, request: &Request<'_>) -> Result<Asked, ApiError> {
        if let Some((query, asked)) = &self.last
            && query == request.query
        {
            return Ok(*asked);
        }
        let asked = Asked::of(request, self.log.partitions())?;
        if asked.identity.is_none() && request.query.len() <= QUERY_BYTES_KEPT {
            self.last = Some((request.query.to_owned(), asked));
        }
        Ok(asked)
    }
}

impl Deferred for Clerk {
    fn route(&self) -> (&'static str, &'static str) {
        ("POST", "/produce")
    }

    fn take(&mut self, number: u64, request: &Request<'_>) -> Result<(), Response> {
        self.try_take(number, request).map_err(Response::from)
    }

    fn flush(&mut self) {
        for desk in &mut self.desks {
            desk.flush(&mut self.answers);
            desk.settle(&mut self.answers);
        }
        // A log that settles in its flush wakes nobody.
        if let Some(waker) = self.waker.as_ref().filter(|_| !self.answers.is_empty()) {
            waker.wake_by_ref();
        }
    }

    fn finished(&mut self, out: &mut Vec<(u64, Response)>) {
        self.desks.iter_mut().for_each(|desk| desk.settle(&mut self.answers));
        out.append(&mut self.answers);
    }

    fn set_waker(&mut self, waker: Waker) {
        self.waker = Some(waker);
    }
}

/// What the parameters say.
#[derive(Clone, Copy)]
struct Asked {
    partition: Partition,
    ack: Ack,
    identity: Option<Identity>,
}

impl Asked {
    fn of(request: &Request<'_>, partitions: u32) -> Result<Self, ApiError> {
        let partition = match (param(request, "partition", "a number")?, text_param(request, "client_id")?) {
            (Some(partition), None) => Partition(partition),
            (None, client) => partition_of_client(&client.unwrap_or_default(), partitions)?,
            (Some(_), Some(_)) => return Err(bad_parameter("give partition or client_id, not both")),
        };
        if partition.0 >= partitions {
            return Err(refusal(&LogError::NoSuchPartition { asked: partition, partitions }));
        }
        let ack = text_param(request, "ack")?.map_or(Ok(Ack::Memory), |text| {
            let ack: Result<Ack, serde::de::value::Error> =
                Ack::deserialize(text.as_ref().into_deserializer());
            ack.map_err(|_| bad_parameter("ack must be memory, os or disk"))
        })?;
        let identity = match (
            param(request, "producer", "a number from 1 on")?,
            param(request, "sequence", "a number below 4294967296")?,
        ) {
            (None, None) => None,
            (Some(0), _) => return Err(bad_parameter("producer must be a number from 1 on, not 0")),
            (Some(producer), Some(sequence)) => Some(Identity { producer, sequence }),
            _ => return Err(bad_parameter("producer and sequence go together: give both, or neither")),
        };
        Ok(Self { partition, ack, identity })
    }
}

fn partition_of_client(client: &str, partitions: u32) -> Result<Partition, ApiError> {
    let bytes = client.len();
    if bytes > CLIENT_ID_BYTES_MAX {
        let message = format!("client_id has {bytes} bytes, the most is {CLIENT_ID_BYTES_MAX}");
        return Err(bad_parameter(message));
    }
    Ok(partition_of(client, partitions))
}

/// The records of a body, all of which have been looked at.
enum Records<'b> {
    One(&'b [u8]),
    /// Of a body that is framed.
    Several(Vec<&'b [u8]>, usize),
    Packed(PackedRecords<'b>),
}

impl<'b> Records<'b> {
    fn of(request: &Request<'b>, room: &'b mut Vec<u8>) -> Result<Self, ApiError> {
        let body = request.body;
        match request.header_bytes("content-type") {
            Some(kind) if kind == RECORDS.as_bytes() => {
                framed(body).map(|payloads| Self::Several(payloads, body.len()))
            }
            Some(kind) if kind == PACKED.as_bytes() => {
                PackedRecords::open(body, room).map(Self::Packed).map_err(bad_packed)
            }
            _ => check_bytes(body.len()).map(|()| Self::One(body)),
        }
    }

    /// Bytes that a producer will hold of it, or a few more.
    fn bytes(&self) -> usize {
        match self {
            Self::One(body) => body.len(),
            Self::Several(_, bytes) => *bytes,
            Self::Packed(batch) => batch.bytes().len(),
        }
    }

    /// Gives all of them to the producer.
    ///
    /// # Errors
    /// Those of the log, and whether records before may have been taken.
    fn submit(&self, producer: &mut dyn Producer, to: Partition) -> Result<Tickets, (LogError, bool)> {
        match self {
            Self::One(payload) => submit_all(producer, to, &[payload]),
            Self::Several(payloads, _) => submit_all(producer, to, payloads),
            Self::Packed(batch) => {
                let last = producer.submit_packed(to, batch).map_err(|e| (e, batch.len() > 1))?;
                Ok(Tickets::upto(last, batch.len().into()))
            }
        }
    }
}

/// The tickets of a request's records; the last is below the first if there are none.
#[derive(Clone, Copy)]
struct Tickets {
    first: Ticket,
    last: Ticket,
}

impl Tickets {
    fn upto(last: Ticket, count: u64) -> Self {
        Self { first: Ticket((last.0 + 1).saturating_sub(count)), last }
    }
}

/// The first of them by itself: whether anything was taken is seen by whether that one was.
fn submit_all(
    producer: &mut dyn Producer,
    partition: Partition,
    payloads: &[&[u8]],
) -> Result<Tickets, (LogError, bool)> {
    let Some((payload, others)) = payloads.split_first() else { return Ok(Tickets::upto(Ticket(0), 0)) };
    let mut last = producer.submit(NewRecord { partition, payload }).map_err(|e| (e, false))?;
    if !others.is_empty() {
        last = producer.submit_all(partition, others).map_err(|e| (e, true))?;
    }
    Ok(Tickets::upto(last, payloads.len() as u64))
}

/// The records of a framed body: each `length u32 · payload`.
fn framed(body: &[u8]) -> Result<Vec<&[u8]>, ApiError> {
    // As many as there are if all are as long as the first.
    let guess = payload_at(body, 0).map_or(0, |first| body.len() / (4 + first.len()));
    let (mut payloads, mut at) = (Vec::with_capacity(guess.min(GUESS_MAX)), 0);
    while at < body.len() {
        let payload = payload_at(body, at)
            .ok_or_else(|| ApiError::bad_input("bad_records", at, "this record is cut short"))?;
        check_bytes(payload.len())?;
        payloads.push(payload);
        at += 4 + payload.len();
    }
    Ok(payloads)
}

fn check_bytes(bytes: usize) -> Result<(), ApiError> {
    let too_large = LogError::RecordTooLarge { bytes, bytes_max: RECORD_BYTES_MAX };
    if bytes > RECORD_BYTES_MAX { Err(refusal(&too_large)) } else { Ok(()) }
}

fn bad_packed(why: BadPacked) -> ApiError {
    match why {
        BadPacked::RecordTooLarge { bytes } => {
            refusal(&LogError::RecordTooLarge { bytes, bytes_max: RECORD_BYTES_MAX })
        }
        _ => ApiError::new(400, "bad_records", why.to_string()),
    }
}

/// One level of acknowledgement: its producer, and who waits for it.
struct Desk {
    ack: Ack,
    producer: Option<Box<dyn Producer>>,
    /// Bytes that were taken since the last flush.
    unflushed_bytes: usize,
    /// In the order of their tickets.
    waiting: VecDeque<Waiting>,
    /// Where records came to lie, in the order of their tickets.
    placed: Vec<Placed>,
    /// How many of the first of those somebody has been told of.
    told: usize,
}

/// A request whose records are in the log's hands.
struct Waiting {
    number: u64,
    since: Instant,
    partition: Partition,
    tickets: Tickets,
}

impl Desk {
    fn new(ack: Ack) -> Self {
        Self {
            ack,
            producer: None,
            unflushed_bytes: 0,
            waiting: VecDeque::new(),
            placed: Vec::new(),
            told: 0,
        }
    }

    /// Sees to it that there is a producer. One that failed never works again; the log may.
    fn open(&mut self, log: &dyn Log, waker: Option<&Waker>) -> Result<(), LogError> {
        if self.producer.is_none() {
            let mut producer = log.producer(self.ack)?;
            waker.into_iter().for_each(|waker| producer.set_waker(waker.clone()));
            self.producer = Some(producer);
        }
        Ok(())
    }

    fn take(
        &mut self,
        number: u64,
        asked: &Asked,
        records: &Records<'_>,
        answers: &mut Vec<(u64, Response)>,
    ) -> Result<(), ApiError> {
        if self.waiting.len() >= WAITING_MAX {
            return Err(refusal(&LogError::Full));
        }
        // An identified batch is alone in its flush. And one request stays far below what a producer may hold back.
        if asked.identity.is_some() || self.unflushed_bytes + records.bytes() > FLUSH_BYTES {
            self.flush(answers);
        }
        let Some(producer) = self.producer.as_deref_mut() else { return Err(not_settled("the log failed")) };
        if let Some(identity) = asked.identity {
            producer.identify(identity).map_err(|e| refusal(&e))?;
        }
        self.unflushed_bytes += records.bytes() + 1;
        let partition = asked.partition;
        let submitted = records.submit(producer, partition);
        let tickets = submitted.map_err(|(e, is_begun)| self.stop(&e, is_begun, asked, answers))?;
        self.waiting.push_back(Waiting { number, since: Instant::now(), partition, tickets });
        if asked.identity.is_some() { self.flush_identified(answers) } else { Ok(()) }
    }

    /// The log took no more, after some records of the request or before any.
    fn stop(
        &mut self,
        error: &LogError,
        is_begun: bool,
        asked: &Asked,
        answers: &mut Vec<(u64, Response)>,
    ) -> ApiError {
        // A part of an identified batch must never pass for the whole. What it shares with its producer, goes with it.
        if matches!(error, LogError::Failed(_)) || (is_begun && asked.identity.is_some()) {
            self.give_up(error, answers);
        }
        if is_begun { not_settled(&error.to_string()) } else { refusal(error) }
    }

    /// Publishes the batch that was taken last.
    ///
    /// # Errors
    /// It was not taken, since others before it are missing.
    fn flush_identified(&mut self, answers: &mut Vec<(u64, Response)>) -> Result<(), ApiError> {
        self.unflushed_bytes = 0;
        match self.producer.as_deref_mut().map(|producer| producer.flush()) {
            Some(Err(e @ LogError::OutOfSequence { .. })) => {
                self.waiting.pop_back();
                Err(refusal(&e))
            }
            Some(Err(e)) => {
                self.give_up(&e, answers);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn flush(&mut self, answers: &mut Vec<(u64, Response)>) {
        if std::mem::take(&mut self.unflushed_bytes) == 0 {
            return;
        }
        if let Some(Err(e)) = self.producer.as_deref_mut().map(|producer| producer.flush()) {
            self.give_up(&e, answers);
        }
    }

    /// Answers those whose records are safe, and those whose time is up.
    fn settle(&mut self, answers: &mut Vec<(u64, Response)>) {
        if self.waiting.is_empty() {
            return;
        }
        let Some(producer) = self.producer.as_deref_mut() else { return };
        let settled = match producer.settled() {
            Ok(settled) => settled,
            Err(e) => return self.give_up(&e, answers),
        };
        self.placed.drain(..std::mem::take(&mut self.told));
        producer.placed(&mut self.placed);
        while let Some(waiting) = self.waiting.pop_front_if(|waiting| waiting.tickets.last <= settled) {
            answers.push((waiting.number, self.answer_to(&waiting)));
        }
        let now = Instant::now();
        let is_late = |waiting: &mut Waiting| now.duration_since(waiting.since) >= SETTLE_TIMEOUT;
        while let Some(waiting) = self.waiting.pop_front_if(is_late) {
            answers.push((waiting.number, not_settled("it took too long").into()));
        }
    }

    /// Where the records of a request lie. They are neighbours, unless the log has let others in between.
    fn answer_to(&mut self, waiting: &Waiting) -> Response {
        let Waiting { partition, tickets: Tickets { first, last }, .. } = *waiting;
        let untold = &self.placed[self.told..];
        // What lies before it was given up.
        let before = untold.iter().take_while(|placed| placed.ticket < first).count();
        let its = untold[before..].iter().take_while(|placed| placed.ticket <= last);
        let its = &untold[before..before + its.count()];
        self.told += before + its.len();
        let offset = its.first().map_or(0, |placed| placed.offset.0);
        let mut body = format!(r#"{{"partition":{},"offset":{offset},"count":{}"#, partition.0, its.len());
        // Offsets rise: so the last of them tells whether others are in between.
        if its.last().is_some_and(|placed| placed.offset.0 - offset >= its.len() as u64) {
            let listed: Vec<String> = its.iter().map(|placed| placed.offset.0.to_string()).collect();
            let _ = write!(body, r#","offsets":[{}]"#, listed.join(","));
        }
        body.push('}');
        Response::body(200, "application/json", body.into_bytes())
    }

    /// The producer has failed: what it had taken has an unknown fate.
    fn give_up(&mut self, error: &LogError, answers: &mut Vec<(u64, Response)>) {
        let why = error.to_string();
        answers.extend(self.waiting.drain(..).map(|waiting| (waiting.number, not_settled(&why).into())));
        self.producer = None;
        self.placed.clear();
        self.told = 0;
        self.unflushed_bytes = 0;
    }

    /// Waits for those who wait, unless there are none. What goes wrong is told when it is asked what has settled.
    fn wait(&mut self) {
        if let Some((producer, last)) = self.producer.as_deref_mut().zip(self.waiting.back()) {
            let _ = producer.wait(last.tickets.last, SETTLE_TIMEOUT.saturating_sub(last.since.elapsed()));
        }
    }
}

#[cfg(test)]
mod tests;
