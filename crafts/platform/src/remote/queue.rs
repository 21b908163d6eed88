//! The log of a queue service.

use super::Client;
use crate::routes::queue::RECORDS;
use contracts::{
    http::percent_encode,
    limits::{BODY_BYTES_MAX, RECORD_BYTES_MAX},
    queue::{
        Ack, Bounds, FetchLimit, GroupStatus, Log, LogError, Membership, NewRecord, Offset, Partition,
        Placed, Producer, Records, Ticket, put_payload,
    },
};
use serde::Deserialize;
use serde_json::json;
use std::{
    sync::OnceLock,
    task::Waker,
    thread,
    time::{Duration, Instant},
};

/// How often an empty log is asked again. A long poll would hold the one connection of a naive server.
const POLL: Duration = Duration::from_millis(20);

/// A log behind `/produce` and `/consume`.
pub struct RemoteLog {
    client: Client,
    topic: OnceLock<(u32, Ack)>,
}

#[derive(Deserialize)]
struct Topics {
    topics: Vec<Topic>,
}

#[derive(Deserialize)]
struct Topic {
    ack_max: Ack,
    partitions: Vec<PartitionBounds>,
}

#[derive(Deserialize)]
struct PartitionBounds {
    #[serde(flatten)]
    bounds: Bounds,
}

impl RemoteLog {
    /// The log of the service at the client's base URL. It need not be there yet.
    pub fn new(client: Client) -> Self {
        Self { client, topic: OnceLock::new() }
    }

    fn topic(&self) -> Result<Topic, LogError> {
        let answer = self.client.get("/topics").map_err(LogError::Failed)?;
        let topics: Topics = answer.json(LogError::Failed)?;
        topics
            .topics
            .into_iter()
            .next()
            .ok_or_else(|| LogError::Failed("the service has no topic".to_owned()))
    }

    /// What never changes, asked once; `None` until the service answers.
    fn fixed(&self) -> Option<(u32, Ack)> {
        if let Some(fixed) = self.topic.get() {
            return Some(*fixed);
        }
        let topic = self.topic().ok()?;
        let count = u32::try_from(topic.partitions.len()).unwrap_or(1);
        Some(*self.topic.get_or_init(|| (count, topic.ack_max)))
    }
}

impl Log for RemoteLog {
    fn partitions(&self) -> u32 {
        self.fixed().map_or(1, |(partitions, _)| partitions)
    }

    fn ack_max(&self) -> Ack {
        self.fixed().map_or(Ack::Memory, |(_, best)| best)
    }

    fn producer(&self, ack: Ack) -> Result<Box<dyn Producer>, LogError> {
        // Until it is known what the service can, the service itself refuses what it cannot.
        let (partitions, best) = self.fixed().unwrap_or((1, Ack::Disk));
        if ack > best {
            return Err(LogError::AckTooStrong { asked: ack, best });
        }
        let client = self.client.clone();
        Ok(Box::new(RemoteProducer {
            client,
            ack,
            partitions,
            last: Ticket(0),
            settled: Ticket(0),
            held: Vec::new(),
            placed: Vec::new(),
            waker: None,
            failed: None,
        }))
    }

    fn bounds(&self, partition: Partition) -> Result<Bounds, LogError> {
        let topic = self.topic()?;
        let partitions = u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX);
        let found = topic.partitions.get(partition.0 as usize);
        found.map(|p| p.bounds).ok_or(LogError::NoSuchPartition { asked: partition, partitions })
    }

    fn fetch(
        &self,
        partition: Partition,
        from: Offset,
        limit: FetchLimit,
        out: &mut Records,
    ) -> Result<(), LogError> {
        let deadline = Instant::now() + limit.wait;
        let (count, bytes) = (limit.records_max, limit.bytes_max);
        let path =
            format!("/consume?partition={}&offset={}&count={count}&bytes={bytes}", partition.0, from.0);
        loop {
            let answer = self.client.get(&path).map_err(LogError::Failed)?;
            answer.success(LogError::Failed)?;
            let broken = |at| LogError::Failed(format!("fetched records are broken at byte {at}"));
            out.decode(&answer.body).map_err(broken)?;
            if !out.is_empty() || Instant::now() >= deadline {
                return Ok(());
            }
            thread::sleep(POLL.min(deadline.saturating_duration_since(Instant::now())));
        }
    }

    fn subscribe(&self, group: &str, member: &str) -> Result<Membership, LogError> {
        let asked = json!({"group": group, "member": member});
        self.client.post_json("/subscribe", &asked).map_err(LogError::Failed)?.json(LogError::Failed)
    }

    fn heartbeat(&self, membership: &Membership) -> Result<u64, LogError> {
        let answer = self.client.post_json("/heartbeat", membership).map_err(LogError::Failed)?;
        answer.success(LogError::Failed).map(|()| membership.generation)
    }

    fn groups(&self) -> Result<Vec<GroupStatus>, LogError> {
        #[derive(Deserialize)]
        struct Groups {
            groups: Vec<GroupStatus>,
        }
        let answer = self.client.get("/groups").map_err(LogError::Failed)?;
        answer.json::<Groups, _>(LogError::Failed).map(|all| all.groups)
    }

    fn commit(&self, membership: &Membership, partition: Partition, next: Offset) -> Result<(), LogError> {
        let Membership { group, member, generation, .. } = membership;
        let asked = json!({"group": group, "member": member, "generation": generation, "partition": partition, "offset": next});
        self.client.post_json("/commit", &asked).map_err(LogError::Failed)?.success(LogError::Failed)
    }

    fn committed(&self, group: &str, partition: Partition) -> Result<Option<Offset>, LogError> {
        #[derive(Deserialize)]
        struct Committed {
            offset: Option<Offset>,
        }
        let path = format!("/committed?group={}&partition={}", percent_encode(group), partition.0);
        let answer = self.client.get(&path).map_err(LogError::Failed)?;
        answer.json::<Committed, _>(LogError::Failed).map(|c| c.offset)
    }
}

/// Records wait here until the flush, then go in one request a run of one partition.
struct RemoteProducer {
    client: Client,
    ack: Ack,
    partitions: u32,
    last: Ticket,
    settled: Ticket,
    held: Vec<(Ticket, Partition, Vec<u8>)>,
    placed: Vec<Placed>,
    waker: Option<Waker>,
    /// Once a flush has failed, nobody knows what became of it: nothing later may be acknowledged as if it were safe.
    failed: Option<LogError>,
}

/// How many of the first records go into one request: of one partition, and below what a body may hold.
fn run_length(held: &[(Ticket, Partition, Vec<u8>)]) -> usize {
    let mut bytes = 0;
    let fits = |(_, partition, payload): &&(Ticket, Partition, Vec<u8>)| {
        bytes += 4 + payload.len();
        *partition == held[0].1 && bytes <= BODY_BYTES_MAX
    };
    held.iter().take_while(fits).count().max(1)
}

impl RemoteProducer {
    fn healthy(&self) -> Result<(), LogError> {
        self.failed.clone().map_or(Ok(()), Err)
    }

    fn send(&mut self, run: &[(Ticket, Partition, Vec<u8>)]) -> Result<(), LogError> {
        #[derive(Deserialize)]
        struct Produced {
            records: Vec<PlacedAt>,
        }
        #[derive(Deserialize)]
        struct PlacedAt {
            partition: Partition,
            offset: Offset,
        }
        let mut body = Vec::new();
        run.iter().for_each(|(_, _, payload)| put_payload(payload, &mut body));
        let path = format!("/produce?partition={}&ack={}", run[0].1.0, self.ack.as_str());
        let answer = self.client.post(&path, RECORDS, &body).map_err(LogError::Failed)?;
        let produced: Produced = answer.json(LogError::Failed)?;
        if produced.records.len() != run.len() {
            return Err(LogError::Failed("the service acknowledged another number of records".to_owned()));
        }
        for ((ticket, ..), at) in run.iter().zip(produced.records) {
            self.placed.push(Placed { ticket: *ticket, partition: at.partition, offset: at.offset });
            self.settled = *ticket;
        }
        Ok(())
    }
}

impl Producer for RemoteProducer {
    fn submit(&mut self, record: NewRecord<'_>) -> Result<Ticket, LogError> {
        let NewRecord { partition, payload } = record;
        self.healthy()?;
        if partition.0 >= self.partitions {
            return Err(LogError::NoSuchPartition { asked: partition, partitions: self.partitions });
        }
        if payload.len() > RECORD_BYTES_MAX {
            return Err(LogError::RecordTooLarge { bytes: payload.len(), bytes_max: RECORD_BYTES_MAX });
        }
        self.last.0 += 1;
        self.held.push((self.last, partition, payload.to_vec()));
        Ok(self.last)
    }

    fn flush(&mut self) -> Result<(), LogError> {
        self.healthy()?;
        let held = std::mem::take(&mut self.held);
        let mut rest = held.as_slice();
        while !rest.is_empty() {
            let (run, behind) = rest.split_at(run_length(rest));
            if let Err(e) = self.send(run) {
                self.failed = Some(e.clone());
                return Err(e);
            }
            rest = behind;
        }
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
        Ok(())
    }

    fn settled(&self) -> Result<Ticket, LogError> {
        self.healthy().map(|()| self.settled)
    }

    fn wait(&mut self, upto: Ticket, _: Duration) -> Result<Ticket, LogError> {
        if upto > self.settled {
            self.flush()?;
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
