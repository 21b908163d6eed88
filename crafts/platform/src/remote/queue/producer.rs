//! Records on their way to a queue service.
//!
//! They gather by partition, as the body of a request, until a flush sends them, one request after the other. A request
//! whose answer never came may have been taken or not. So where the service knows batches again each carries who sends it
//! and the how manieth it is, and is sent again, the same, until there is an answer: nothing is lost then, and nothing
//! doubled. Where it does not, such a request is the end of the producer.

use super::Fixed;
use crate::{
    remote::{Answer, Client},
    routes::queue::{PACKED, RECORDS},
};
use contracts::{
    http::ErrorBody,
    limits::{BATCH_RECORDS_MAX, BODY_BYTES_MAX, RECORD_BYTES_MAX},
    packed,
    queue::{
        Ack, Identity, LogError, NewRecord, Offset, Partition, Placed, Producer, Ticket, payload_at,
        put_payload,
    },
};
use queue::codec::{SHRINKS_BY_PART, TRIED_BYTES_MIN};
use serde::Deserialize;
use std::{
    collections::{HashMap, VecDeque},
    task::Waker,
    thread,
    time::{Duration, Instant},
};

/// Bytes that wait for a flush, or for a service that is full. Beyond: [`LogError::Full`].
const HELD_BYTES_MAX: usize = 32 << 20;
/// How long one flush tries: less than ingestion lets a client wait, so that most never hear of a service that comes back.
const RETRY_FOR: Duration = Duration::from_secs(4);
/// The pause between two tries doubles from the first to the second of these.
const RETRY_FIRST: Duration = Duration::from_millis(10);
const RETRY_LAST: Duration = Duration::from_millis(500);

/// One thread's way to the service.
pub(super) struct RemoteProducer {
    client: Client,
    ack: Ack,
    fixed: Fixed,
    /// What the caller has called the batch that it submits.
    asked: Option<Identity>,
    own: OwnIdentity,
    /// Bodies that still grow, at most one a partition, in the order of their first records.
    open: Vec<Batch>,
    /// Bodies to be sent, in this order.
    closed: VecDeque<Batch>,
    held_bytes: usize,
    /// Places of records behind one that still waits.
    landed: Vec<Placed>,
    placed: Vec<Placed>,
    last: Ticket,
    settled: Ticket,
    waker: Option<Waker>,
    /// Once nobody knows what became of a request, nothing later may be acknowledged as if it were safe.
    failed: Option<LogError>,
}

/// Records of one partition as the body of a request.
struct Batch {
    partition: Partition,
    /// What the caller has called it.
    asked: Option<Identity>,
    /// As it was called when it was first sent.
    sent_as: Option<Identity>,
    tickets: Vec<Ticket>,
    body: Vec<u8>,
}

/// The name under which batches are sent that the caller has not named.
struct OwnIdentity {
    producer: u64,
    /// By partition: the number of the next batch.
    next: HashMap<Partition, u32>,
}

impl OwnIdentity {
    fn fresh() -> Self {
        Self { producer: fastrand::u64(1..), next: HashMap::new() }
    }

    fn take(&mut self, partition: Partition) -> Identity {
        let next = self.next.entry(partition).or_insert(0);
        let identity = Identity { producer: self.producer, sequence: *next };
        *next = next.wrapping_add(1);
        identity
    }
}

/// What came of one request.
enum Sent {
    /// Where the records lie.
    At(Vec<Offset>),
    /// Nothing was taken, and it may be tried again.
    NotTaken(LogError),
    /// Nobody knows.
    Unknown(String),
    /// It was refused for good.
    Refused(LogError),
}

impl RemoteProducer {
    pub(super) fn new(client: Client, ack: Ack, fixed: Fixed) -> Self {
        Self {
            client,
            ack,
            fixed,
            asked: None,
            own: OwnIdentity::fresh(),
            open: Vec::new(),
            closed: VecDeque::new(),
            held_bytes: 0,
            landed: Vec::new(),
            placed: Vec::new(),
            last: Ticket(0),
            settled: Ticket(0),
            waker: None,
            failed: None,
        }
    }

    fn healthy(&self) -> Result<(), LogError> {
        self.failed.clone().map_or(Ok(()), Err)
    }

    /// Sends everything, trying for so long. What a service that is full has not taken by then waits for the next time.
    fn send_all(&mut self, try_for: Duration) -> Result<(), LogError> {
        self.healthy()?;
        self.close_open()?;
        let deadline = Instant::now() + try_for;
        while let Some(mut batch) = self.closed.pop_front() {
            match self.send(&mut batch, deadline) {
                Sent::At(offsets) => self.land(&batch, offsets),
                Sent::NotTaken(LogError::Full) => {
                    self.closed.push_front(batch);
                    break;
                }
                // The caller's own batch, of which nothing was taken: whatever comes next may well be taken.
                Sent::Refused(e @ LogError::OutOfSequence { .. }) => {
                    self.held_bytes -= batch.body.len();
                    return Err(e);
                }
                Sent::NotTaken(e) | Sent::Refused(e) => return Err(self.fail(e)),
                Sent::Unknown(why) => return Err(self.fail(LogError::Failed(why))),
            }
        }
        self.settle();
        Ok(())
    }

    /// Sends one body until there is an answer that says what became of it.
    fn send(&mut self, batch: &mut Batch, deadline: Instant) -> Sent {
        let (mut pause, packed) = (RETRY_FIRST, batch.packed());
        loop {
            self.name(batch);
            let sent = self.ask(batch, packed.as_deref());
            let again = match &sent {
                Sent::At(_) => false,
                // The service has forgotten batches before this one, as it may where they were not on disk; so this is the
                // first under a new name. It was not taken, whatever became of earlier tries, or it would be known.
                Sent::Refused(LogError::OutOfSequence { expected, asked, .. })
                    if batch.asked.is_none() && is_gap(*expected, *asked) =>
                {
                    self.own = OwnIdentity::fresh();
                    batch.sent_as = None;
                    true
                }
                Sent::Refused(_) => false,
                Sent::NotTaken(_) => true,
                Sent::Unknown(_) => batch.sent_as.is_some(),
            };
            if !again || Instant::now() + pause > deadline {
                return sent;
            }
            thread::sleep(pause);
            pause = (pause * 2).min(RETRY_LAST);
        }
    }

    /// A batch keeps the name under which it was sent first.
    fn name(&mut self, batch: &mut Batch) {
        if batch.sent_as.is_none() {
            let own = || self.own.take(batch.partition);
            batch.sent_as = batch.asked.or_else(|| self.fixed.knows_batches.then(own));
        }
    }

    fn ask(&self, batch: &Batch, packed: Option<&[u8]>) -> Sent {
        let mut path = format!("/produce?partition={}&ack={}", batch.partition.0, self.ack.as_str());
        if let Some(Identity { producer, sequence }) = batch.sent_as {
            path.push_str(&format!("&producer={producer}&sequence={sequence}"));
        }
        let (media_type, body) = packed.map_or((RECORDS, &batch.body[..]), |packed| (PACKED, packed));
        match self.client.post(&path, media_type, body) {
            Ok(answer) => understand(&answer, batch),
            Err(why) => Sent::Unknown(why),
        }
    }

    fn land(&mut self, batch: &Batch, offsets: Vec<Offset>) {
        self.held_bytes -= batch.body.len();
        let place = |(ticket, offset): (&Ticket, Offset)| Placed {
            ticket: *ticket,
            partition: batch.partition,
            offset,
        };
        self.landed.extend(batch.tickets.iter().zip(offsets).map(place));
    }

    /// Everything before the first record that still waits is safe.
    fn settle(&mut self) {
        let waiting = self.closed.iter().filter_map(|batch| batch.tickets.first()).min();
        let upto = waiting.map_or(self.last, |first| Ticket(first.0 - 1));
        if upto > self.settled {
            self.landed.sort_unstable_by_key(|placed| placed.ticket);
            let count = self.landed.partition_point(|placed| placed.ticket <= upto);
            self.placed.extend(self.landed.drain(..count));
            self.settled = upto;
            self.waker.iter().for_each(Waker::wake_by_ref);
        }
    }

    fn fail(&mut self, error: LogError) -> LogError {
        self.failed = Some(error.clone());
        self.waker.iter().for_each(Waker::wake_by_ref);
        error
    }

    /// What is open waits to be sent; a batch that the caller has named has to be one request.
    fn close_open(&mut self) -> Result<(), LogError> {
        if self.asked.take().is_some() && self.open.len() > 1 {
            let batches = self.open.drain(..);
            self.held_bytes -= batches.map(|batch| batch.body.len()).sum::<usize>();
            return Err(LogError::NotOffered(
                "take one batch for several partitions, or over 16 MiB".to_owned(),
            ));
        }
        self.closed.extend(self.open.drain(..));
        Ok(())
    }
}

/// Whether batches before the one that was sent are missing, rather than that it is too old.
fn is_gap(expected: u32, asked: u32) -> bool {
    asked.wrapping_sub(expected) < u32::MAX / 2
}

fn understand(answer: &Answer, batch: &Batch) -> Sent {
    /// `offsets`, where they are no neighbours.
    #[derive(Deserialize)]
    struct Produced {
        partition: Partition,
        offset: Offset,
        count: usize,
        #[serde(default)]
        offsets: Option<Vec<Offset>>,
    }
    if answer.status == 503 {
        return unavailable(answer);
    }
    let expected = (batch.partition, batch.tickets.len());
    match answer.json(LogError::Failed) {
        Ok(Produced { partition, offset, count, offsets }) if (partition, count) == expected => {
            let neighbours = || (offset.0..).take(count).map(Offset).collect();
            match offsets.unwrap_or_else(neighbours) {
                offsets if offsets.len() == count => Sent::At(offsets),
                _ => Sent::Refused(LogError::Failed("the service told too few offsets".to_owned())),
            }
        }
        Ok(_) => Sent::Refused(LogError::Failed("the service acknowledged other records".to_owned())),
        Err(e) => Sent::Refused(e),
    }
}

/// 503 is said for many reasons, by their codes.
fn unavailable(answer: &Answer) -> Sent {
    let code = serde_json::from_slice::<ErrorBody>(&answer.body).map(|body| body.error.code);
    match code.as_deref() {
        Ok("queue_full" | "overloaded" | "too_many_connections") => Sent::NotTaken(LogError::Full),
        Ok("draining") => Sent::Refused(LogError::Failed(answer.message())),
        _ => Sent::Unknown(answer.message()),
    }
}

impl Producer for RemoteProducer {
    fn identify(&mut self, identity: Identity) -> Result<(), LogError> {
        if !self.fixed.knows_batches {
            return Err(LogError::NotOffered("know batches again that it has already".to_owned()));
        }
        self.flush()?;
        self.asked = Some(identity);
        Ok(())
    }

    fn submit(&mut self, record: NewRecord<'_>) -> Result<Ticket, LogError> {
        let NewRecord { partition, payload } = record;
        self.healthy()?;
        let partitions = self.fixed.partitions;
        if partition.0 >= partitions {
            return Err(LogError::NoSuchPartition { asked: partition, partitions });
        }
        if payload.len() > RECORD_BYTES_MAX {
            return Err(LogError::RecordTooLarge { bytes: payload.len(), bytes_max: RECORD_BYTES_MAX });
        }
        let bytes = 4 + payload.len();
        if self.held_bytes > 0 && self.held_bytes + bytes > HELD_BYTES_MAX {
            return Err(LogError::Full);
        }
        self.last.0 += 1;
        self.held_bytes += bytes;
        // The last of its partition, since order within it is kept.
        let last = self.open.iter().rposition(|batch| batch.partition == partition);
        let at = last.filter(|at| self.open[*at].body.len() + bytes <= BODY_BYTES_MAX).unwrap_or_else(|| {
            self.open.push(Batch::new(partition, self.asked));
            self.open.len() - 1
        });
        let batch = &mut self.open[at];
        batch.tickets.push(self.last);
        put_payload(payload, &mut batch.body);
        Ok(self.last)
    }

    fn flush(&mut self) -> Result<(), LogError> {
        self.send_all(RETRY_FOR)
    }

    fn settled(&self) -> Result<Ticket, LogError> {
        self.healthy().map(|()| self.settled)
    }

    fn wait(&mut self, upto: Ticket, at_most: Duration) -> Result<Ticket, LogError> {
        if upto > self.settled {
            self.send_all(at_most.min(RETRY_FOR))?;
        }
        self.settled()
    }

    fn placed(&mut self, out: &mut Vec<Placed>) {
        out.append(&mut self.placed);
    }

    fn set_waker(&mut self, waker: Waker) {
        self.waker = Some(waker);
    }
}

impl Batch {
    fn new(partition: Partition, asked: Option<Identity>) -> Self {
        Self { partition, asked, sent_as: None, tickets: Vec::new(), body: Vec::new() }
    }

    /// The same records packed, if that is worth while. The service's log may keep them so.
    fn packed(&self) -> Option<Vec<u8>> {
        if self.body.len() < TRIED_BYTES_MIN || self.tickets.len() > BATCH_RECORDS_MAX {
            return None;
        }
        let mut at = 0;
        let packed = packed::pack(std::iter::from_fn(|| {
            let payload = payload_at(&self.body, at)?;
            at += 4 + payload.len();
            Some(payload)
        }));
        (packed.len() <= self.body.len() - self.body.len() / SHRINKS_BY_PART).then_some(packed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use contracts::queue::Log as _;
    use std::{
        io::{Read, Write},
        net::{TcpListener, TcpStream},
        sync::{Arc, Mutex},
    };

    /// What a service that is asked to append does.
    enum Does {
        /// Takes the request, and vanishes without an answer.
        Vanishes,
        /// Answers with a status and a body.
        Answers(u16, &'static str),
    }

    /// A service that does one thing after the other, and notes what it was asked.
    struct Service {
        url: String,
        asked: Arc<Mutex<Vec<String>>>,
    }

    impl Service {
        fn new(knows_batches: bool, does: Vec<Does>) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let url = format!("http://{}", listener.local_addr().unwrap());
            let asked = Arc::<Mutex<Vec<String>>>::default();
            let noted = asked.clone();
            thread::spawn(move || {
                let topic = format!(
                    r#"{{"topics":[{{"ack_max":"disk","knows_batches":{knows_batches},"partitions":[{{"start":0,"end":0}}]}}]}}"#
                );
                let mut does = does.into_iter();
                for stream in listener.incoming() {
                    let mut stream = stream.unwrap();
                    let target = request(&mut stream);
                    if target.starts_with("/topics") {
                        answer(&mut stream, 200, &topic);
                        continue;
                    }
                    noted.lock().unwrap().push(target);
                    match does.next() {
                        Some(Does::Answers(status, body)) => answer(&mut stream, status, body),
                        Some(Does::Vanishes) | None => {}
                    }
                }
            });
            Self { url, asked }
        }

        fn producer(&self) -> Box<dyn Producer> {
            let log = super::super::RemoteLog::new(Client::new(&self.url, None).unwrap());
            log.producer(Ack::Disk).unwrap()
        }

        /// Which batch each request said that it was.
        fn identities(&self) -> Vec<(u64, u32)> {
            let number = |target: &str, name: &str| {
                let (_, rest) = target.split_once(&format!("&{name}=")).unwrap();
                rest.split('&').next().unwrap().parse::<u64>().unwrap()
            };
            let asked = self.asked.lock().unwrap();
            let of = |target: &String| {
                (number(target, "producer"), u32::try_from(number(target, "sequence")).unwrap())
            };
            asked.iter().map(of).collect()
        }
    }

    /// Reads one request to its end and returns its target.
    fn request(stream: &mut TcpStream) -> String {
        let mut bytes = Vec::new();
        let mut some = [0; 4096];
        loop {
            let text = String::from_utf8_lossy(&bytes).to_lowercase();
            if let Some((head, _)) = text.split_once("\r\n\r\n") {
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
                let length: usize = length.map_or(0, |length| length.trim().parse().unwrap());
                if bytes.len() >= head.len() + 4 + length {
                    return head.split(' ').nth(1).unwrap().to_owned();
                }
            }
            let read = stream.read(&mut some).unwrap();
            assert!(read > 0, "a request that was cut short");
            bytes.extend_from_slice(&some[..read]);
        }
    }

    fn answer(stream: &mut TcpStream, status: u16, body: &str) {
        let head = format!("HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Type: application/json\r\n");
        let length = body.len();
        stream.write_all(format!("{head}Content-Length: {length}\r\n\r\n{body}").as_bytes()).unwrap();
    }

    fn submit(producer: &mut dyn Producer) -> Ticket {
        producer.submit(NewRecord { partition: Partition(0), payload: b"record" }).unwrap()
    }

    const TAKEN: &str = r#"{"partition":0,"offset":7,"count":1}"#;
    const FULL: &str = r#"{"error":{"code":"queue_full","message":"full","detail":"full"}}"#;
    const NOT_SETTLED: &str = r#"{"error":{"code":"not_settled","message":"who knows"}}"#;
    const GAP: &str = r#"{"error":{"code":"out_of_sequence","message":"gap","detail":{"out_of_sequence":{"producer":1,"partition":0,"expected":0,"asked":1}}}}"#;

    #[test]
    fn a_request_without_an_answer_is_sent_again_as_the_same_batch() {
        use Does::{Answers, Vanishes};
        let does = vec![Vanishes, Answers(503, NOT_SETTLED), Answers(503, FULL), Answers(200, TAKEN)];
        let service = Service::new(true, does);
        let mut producer = service.producer();
        let ticket = submit(&mut *producer);
        producer.flush().unwrap();
        assert_eq!(producer.settled(), Ok(ticket));
        let mut placed = Vec::new();
        producer.placed(&mut placed);
        assert_eq!(placed, [Placed { ticket, partition: Partition(0), offset: Offset(7) }]);
        let identities = service.identities();
        assert_eq!(identities.len(), 4);
        assert!(identities.iter().all(|identity| *identity == identities[0]), "{identities:?}");
    }

    #[test]
    fn the_next_batch_has_the_next_number() {
        let does = (0..3).map(|_| Does::Answers(200, TAKEN)).collect();
        let service = Service::new(true, does);
        let mut producer = service.producer();
        for _ in 0..3 {
            submit(&mut *producer);
            producer.flush().unwrap();
        }
        let numbers: Vec<_> = service.identities().into_iter().map(|(_, number)| number).collect();
        assert_eq!(numbers, [0, 1, 2]);
    }

    #[test]
    fn what_nobody_knows_the_fate_of_ends_a_producer_whose_batches_are_not_known_again() {
        let service = Service::new(false, vec![Does::Vanishes, Does::Answers(200, TAKEN)]);
        let mut producer = service.producer();
        submit(&mut *producer);
        assert!(matches!(producer.flush(), Err(LogError::Failed(_))));
        assert!(matches!(producer.settled(), Err(LogError::Failed(_))));
        let asked = service.asked.lock().unwrap().clone();
        assert_eq!(asked, ["/produce?partition=0&ack=disk"]);
    }

    /// A log that was not on disk has lost the batches before: what it has never seen may begin under another name.
    #[test]
    fn a_service_that_has_forgotten_earlier_batches_is_sent_the_next_under_a_new_name() {
        let does = vec![Does::Answers(200, TAKEN), Does::Answers(409, GAP), Does::Answers(200, TAKEN)];
        let service = Service::new(true, does);
        let mut producer = service.producer();
        for _ in 0..2 {
            submit(&mut *producer);
            producer.flush().unwrap();
        }
        let identities = service.identities();
        let [(before, 0), (same, 1), (after, 0)] = identities[..] else { panic!("{identities:?}") };
        assert!(before == same && before != after);
    }

    #[test]
    fn the_callers_own_batch_that_is_refused_is_told_and_the_next_one_sent() {
        let service = Service::new(true, vec![Does::Answers(409, GAP), Does::Answers(200, TAKEN)]);
        let mut producer = service.producer();
        producer.identify(Identity { producer: 1, sequence: 1 }).unwrap();
        submit(&mut *producer);
        assert!(matches!(producer.flush(), Err(LogError::OutOfSequence { expected: 0, asked: 1, .. })));
        producer.identify(Identity { producer: 1, sequence: 0 }).unwrap();
        let ticket = submit(&mut *producer);
        producer.flush().unwrap();
        assert_eq!(producer.settled(), Ok(ticket));
        assert_eq!(service.identities(), [(1, 1), (1, 0)]);
    }
}
