//! The log of a queue service.
//!
//! What never changes is asked once, as soon as the service answers: how many partitions there are, how safe records can
//! be, whether it knows batches again. Until then there are no producers, since nobody can say to which partition a record
//! belongs.

mod producer;

use self::producer::RemoteProducer;
use super::{Answer, Client};
use crate::routes::queue::{CONSUME_WAIT_MAX, STORED};
use contracts::{
    http::percent_encode,
    limits::{FETCH_BYTES_MAX, FETCH_RECORDS_MAX},
    queue::{
        Ack, Assignment, Bounds, FetchLimit, GroupStatus, Log, LogError, Membership, Offset, Partition,
        Producer, Records,
    },
};
use queue::wire;
use serde::Deserialize;
use serde_json::json;
use std::{
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

/// How soon a service that does not wait is asked again. One that serves one client after the other cannot: a long poll
/// would keep it from taking the record that is waited for.
const POLL: Duration = Duration::from_millis(20);

/// A log behind `/produce` and `/consume`.
pub struct RemoteLog {
    client: Client,
    fixed: OnceLock<Fixed>,
    /// Whether producers are given what the service can, where it can less than they ask for.
    ack_is_a_wish: bool,
}

/// What never changes while the service runs.
#[derive(Clone, Copy, Debug)]
struct Fixed {
    partitions: u32,
    ack_max: Ack,
    knows_batches: bool,
    group_members_max: usize,
}

#[derive(Deserialize)]
struct Topics {
    topics: Vec<Topic>,
}

#[derive(Deserialize)]
struct Topic {
    ack_max: Ack,
    #[serde(default)]
    knows_batches: bool,
    #[serde(default = "one")]
    group_members_max: usize,
    partitions: Vec<PartitionBounds>,
}

#[derive(Deserialize)]
struct PartitionBounds {
    #[serde(flatten)]
    bounds: Bounds,
}

fn one() -> usize {
    1
}

impl RemoteLog {
    /// The log of the service at the client's base URL. It need not be there yet.
    pub fn new(client: Client) -> Self {
        Self { client, fixed: OnceLock::new(), ack_is_a_wish: false }
    }

    /// The same, but who asks for an acknowledgement that the service cannot give gets the strongest that it can. For whoever
    /// must say what it wants before the service is there to be asked.
    #[must_use]
    pub fn at_most(self) -> Self {
        Self { ack_is_a_wish: true, ..self }
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

    /// Asked until the service has answered once.
    fn fixed(&self) -> Result<Fixed, LogError> {
        if let Some(fixed) = self.fixed.get() {
            return Ok(*fixed);
        }
        let Topic { ack_max, knows_batches, group_members_max, partitions } = self.topic()?;
        let partitions = u32::try_from(partitions.len()).unwrap_or(u32::MAX);
        let fixed = Fixed { partitions, ack_max, knows_batches, group_members_max };
        Ok(*self.fixed.get_or_init(|| fixed))
    }
}

/// Records that were fetched as such.
fn decode(answer: &Answer, out: &mut Records) -> Result<(), LogError> {
    out.decode(&answer.body)
        .map_err(|at| LogError::Failed(format!("fetched records are broken at byte {at}")))
}

impl Log for RemoteLog {
    /// 1 until the service has answered.
    fn partitions(&self) -> u32 {
        self.fixed().map_or(1, |fixed| fixed.partitions)
    }

    fn ack_max(&self) -> Ack {
        self.fixed().map_or(Ack::Memory, |fixed| fixed.ack_max)
    }

    fn knows_batches(&self) -> bool {
        self.fixed().is_ok_and(|fixed| fixed.knows_batches)
    }

    fn group_members_max(&self) -> usize {
        self.fixed().map_or(1, |fixed| fixed.group_members_max)
    }

    fn producer(&self, ack: Ack) -> Result<Box<dyn Producer>, LogError> {
        let fixed = self.fixed()?;
        let best = fixed.ack_max;
        if ack > best && !self.ack_is_a_wish {
            return Err(LogError::AckTooStrong { asked: ack, best });
        }
        Ok(Box::new(RemoteProducer::new(self.client.clone(), ack.min(best), fixed)))
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
        out.clear();
        let deadline = Instant::now() + limit.wait;
        // Frames are whole: what is over the limit of the last one is left out here.
        let (count, bytes) = (limit.records_max.min(FETCH_RECORDS_MAX), limit.bytes_max.min(FETCH_BYTES_MAX));
        let limit = FetchLimit { records_max: count, bytes_max: bytes, ..limit };
        let path =
            format!("/consume?partition={}&offset={}&count={count}&bytes={bytes}", partition.0, from.0);
        loop {
            let asked = Instant::now();
            let wait = deadline.saturating_duration_since(asked).min(CONSUME_WAIT_MAX);
            let answer = self.client.get_as(&format!("{path}&wait={}", wait.as_millis()), STORED);
            let answer = answer.map_err(LogError::Failed)?;
            answer.success(LogError::Failed)?;
            if answer.content_type != STORED {
                decode(&answer, out)?;
            } else if wire::decode(&answer.body, partition, from, limit, out).is_err() && out.is_empty() {
                // Damaged, there or on the way. The log itself says which records are lost, or gives them.
                let answer = self.client.get(&path).map_err(LogError::Failed)?;
                answer.success(LogError::Failed)?;
                decode(&answer, out)?;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if !out.is_empty() || left.is_zero() {
                return Ok(());
            }
            if asked.elapsed() < wait {
                thread::sleep(POLL.min(left));
            }
        }
    }

    fn subscribe(&self, group: &str, member: &str) -> Result<Membership, LogError> {
        let asked = json!({"group": group, "member": member});
        self.client.post_json("/subscribe", &asked).map_err(LogError::Failed)?.json(LogError::Failed)
    }

    fn rejoin(&self, membership: &Membership) -> Result<Membership, LogError> {
        let Membership { group, member, generation, .. } = membership;
        let asked = json!({"group": group, "member": member, "generation": generation});
        self.client.post_json("/subscribe", &asked).map_err(LogError::Failed)?.json(LogError::Failed)
    }

    fn heartbeat(&self, membership: &Membership) -> Result<u64, LogError> {
        #[derive(Deserialize)]
        struct Alive {
            generation: u64,
        }
        let answer = self.client.post_json("/heartbeat", membership).map_err(LogError::Failed)?;
        answer.json::<Alive, _>(LogError::Failed).map(|alive| alive.generation)
    }

    fn leave(&self, membership: &Membership) -> Result<(), LogError> {
        self.client.post_json("/leave", membership).map_err(LogError::Failed)?.success(LogError::Failed)
    }

    fn assign(&self, group: &str, assignment: Assignment) -> Result<(), LogError> {
        let asked = json!({"group": group, "assignment": assignment});
        self.client.post_json("/assign", &asked).map_err(LogError::Failed)?.success(LogError::Failed)
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
