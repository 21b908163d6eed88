//! Slot: who reads which partition. A group has one member, who reads all of them.
//!
//! Whoever subscribes takes the group over: a new generation begins, and the member before is fenced, whether it is alive
//! or not. So a consumer that was cut off and comes back cannot commit over the one that has replaced it.
//!
//! What is wrong with it: a second consumer does not share the work, it only takes it away; and one that has died
//! leaves its partitions unread until somebody subscribes.

use contracts::queue::{Assignment, GroupStatus, LogError, MemberStatus, Membership, Partition};
use queue::{
    offsets::{Offsets, check_name},
    slots::{Groups, GroupsSetup},
};
use std::collections::BTreeMap;

/// Groups of one member.
#[derive(Debug)]
pub struct OneReader {
    partitions: u32,
    offsets: Offsets,
    /// By group; those that nobody has subscribed to since the log was opened are missing.
    readers: BTreeMap<String, Reader>,
}

#[derive(Debug)]
struct Reader {
    member: String,
    heard_at_ms: u64,
    rebalances: u64,
}

impl Groups for OneReader {
    const MEMBERS_MAX: usize = 1;

    fn new(setup: GroupsSetup, offsets: Offsets) -> Self {
        Self { partitions: setup.partitions, offsets, readers: BTreeMap::new() }
    }

    fn offsets(&self) -> &Offsets {
        &self.offsets
    }

    fn offsets_mut(&mut self) -> &mut Offsets {
        &mut self.offsets
    }

    fn subscribe(&mut self, group: &str, member: &str, now_ms: u64) -> Result<Membership, LogError> {
        check_name(member)?;
        let progress = self.offsets.know(group)?;
        progress.generation += 1;
        let generation = progress.generation;
        let before = self.readers.get(group).map_or(0, |reader| reader.rebalances);
        let reader = Reader { member: member.to_owned(), heard_at_ms: now_ms, rebalances: before + 1 };
        self.readers.insert(group.to_owned(), reader);
        let partitions = (0..self.partitions).map(Partition).collect();
        Ok(Membership { group: group.to_owned(), member: member.to_owned(), generation, partitions })
    }

    fn rejoin(&mut self, membership: &Membership, now_ms: u64) -> Result<Membership, LogError> {
        let generation = self.heartbeat(membership, now_ms)?;
        let partitions = (0..self.partitions).map(Partition).collect();
        Ok(Membership { generation, partitions, ..membership.clone() })
    }

    fn heartbeat(&mut self, membership: &Membership, now_ms: u64) -> Result<u64, LogError> {
        let Membership { group, member, generation, .. } = membership;
        let current = self.offsets.generation(group);
        match self.readers.get_mut(group) {
            Some(reader) if current == *generation && reader.member == *member => {
                reader.heard_at_ms = now_ms;
                Ok(current)
            }
            _ => Err(LogError::Fenced { group: group.clone(), asked: *generation, current }),
        }
    }

    fn leave(&mut self, membership: &Membership, now_ms: u64) -> Result<(), LogError> {
        self.heartbeat(membership, now_ms)?;
        self.readers.remove(&membership.group);
        Ok(())
    }

    fn assign(&mut self, group: &str, _assignment: Assignment, _now_ms: u64) -> Result<(), LogError> {
        // One member gets all partitions, however they are dealt out.
        self.offsets.know(group).map(|_| ())
    }

    fn holds(&mut self, membership: &Membership, _: Partition, now_ms: u64) -> Result<(), LogError> {
        self.heartbeat(membership, now_ms).map(|_| ())
    }

    fn expire(&mut self, _now_ms: u64) -> Option<u64> {
        None
    }

    fn status(&self, now_ms: u64) -> Vec<GroupStatus> {
        let all = self.offsets.iter();
        all.map(|(name, progress)| {
            let reader = self.readers.get(name);
            let members = reader.map(|reader| MemberStatus {
                member: reader.member.clone(),
                generation: progress.generation,
                partitions: (0..self.partitions).map(Partition).collect(),
                silent_ms: now_ms.saturating_sub(reader.heard_at_ms),
            });
            GroupStatus {
                group: name.to_owned(),
                generation: progress.generation,
                rebalances: reader.map_or(0, |reader| reader.rebalances),
                members: members.into_iter().collect(),
                partitions: progress.lags(self.partitions),
                ..GroupStatus::default()
            }
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups(offsets: Offsets) -> OneReader {
        OneReader::new(GroupsSetup { partitions: 2, heartbeat_timeout_ms: 10 }, offsets)
    }

    #[test]
    fn a_newcomer_takes_all_and_fences_who_was_there() {
        let mut groups = groups(Offsets::default());
        let first = groups.subscribe("g", "a", 1).unwrap();
        assert_eq!((first.generation, first.partitions.len()), (1, 2));
        let second = groups.subscribe("g", "b", 2).unwrap();
        let fenced = LogError::Fenced { group: "g".to_owned(), asked: 1, current: 2 };
        assert_eq!(groups.heartbeat(&first, 3), Err(fenced.clone()));
        assert_eq!(groups.holds(&first, Partition(0), 3), Err(fenced));
        assert_eq!(groups.heartbeat(&second, 3), Ok(2));
        let status = &groups.status(7)[0];
        assert_eq!((status.rebalances, status.members[0].silent_ms), (2, 4));
        groups.leave(&second, 8).unwrap();
        assert!(groups.heartbeat(&second, 9).is_err() && groups.status(9)[0].members.is_empty());
    }

    #[test]
    fn after_a_restart_nobody_is_a_member_and_generations_go_on() {
        let mut groups = groups(Offsets::default());
        let before = groups.subscribe("g", "a", 1).unwrap();
        let mut again = self::groups(groups.offsets().clone());
        assert!(again.heartbeat(&before, 2).is_err());
        assert_eq!(again.subscribe("g", "a", 2).unwrap().generation, 2);
    }
}
