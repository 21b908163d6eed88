//! Slot: who reads which partition. The members of a group share them.
//!
//! ```text
//!            subscribe                    silent for too long, leaves, or is replaced
//!  nobody ─────────────▶ member ─────────────────────────────────────────▶ fenced: must subscribe again
//!                        │    ▲
//!        heartbeat says: │    │ rejoin: lets go of what others are to have,
//!  a new generation ─────┘    └ gets what is its own and free
//! ```
//!
//! Whenever somebody comes or goes a new *generation* begins, and the partitions are dealt out anew (`assignment`). Nobody
//! stops for that: each member goes on with what it holds, is told with its next heartbeat, and rejoins when it is
//! between two batches (`members`).
//!
//! A *zombie* is a member that was expelled and does not know it: its process stood still, its network was cut. It may
//! still be busy with records that somebody else has been given since. What keeps it from harm is that its generation is
//! not that of any member: its heartbeats, and above all its commits, are refused.
//!
//! Invariants:
//!
//! * No two members hold one partition, whatever their generations.
//! * What is handed out in one generation is disjoint.
//! * A generation is never given twice, also not after a restart: the log writes its file before it answers.
//!
//! It has no clock and no thread. Every call that asks something of a member first expels who was silent for too long, so
//! that no answer ever counts on the dead, however late the log's own thread comes to it.

mod assignment;
mod members;

use self::members::Members;
use contracts::{
    limits::GROUP_MEMBERS_MAX,
    queue::{Assignment, GroupStatus, LogError, Membership, Partition},
};
use queue::{
    offsets::{Offsets, Progress, check_name},
    slots::{Groups, GroupsSetup},
};
use std::collections::BTreeMap;

/// Groups whose members share the partitions.
#[derive(Debug)]
pub struct ConsumerGroups {
    setup: GroupsSetup,
    /// How far each group came, and its generation.
    offsets: Offsets,
    /// By group; those that nobody has subscribed to since the log was opened are missing.
    members: BTreeMap<String, Members>,
    /// Before this nobody can have been silent for too long: so nobody needs to be looked at. None without members.
    expiry_ms: Option<u64>,
}

impl Groups for ConsumerGroups {
    const MEMBERS_MAX: usize = GROUP_MEMBERS_MAX;

    fn new(setup: GroupsSetup, offsets: Offsets) -> Self {
        Self { setup, offsets, members: BTreeMap::new(), expiry_ms: None }
    }

    fn offsets(&self) -> &Offsets {
        &self.offsets
    }

    fn offsets_mut(&mut self) -> &mut Offsets {
        &mut self.offsets
    }

    fn subscribe(&mut self, group: &str, member: &str, now_ms: u64) -> Result<Membership, LogError> {
        self.expire(now_ms);
        check_name(member)?;
        self.offsets.know(group)?;
        let members = self.members.entry(group.to_owned()).or_default();
        if members.len() >= GROUP_MEMBERS_MAX && !members.knows(member) {
            let group = group.to_owned();
            return Err(LogError::TooManyMembers { group, members_max: GROUP_MEMBERS_MAX });
        }
        members.admit(member, now_ms);
        let expiry_ms = now_ms.saturating_add(self.setup.heartbeat_timeout_ms);
        self.expiry_ms = Some(self.expiry_ms.map_or(expiry_ms, |earlier| earlier.min(expiry_ms)));
        self.begin_generation(group);
        Ok(self.join(group, member))
    }

    fn rejoin(&mut self, membership: &Membership, now_ms: u64) -> Result<Membership, LogError> {
        self.heartbeat(membership, now_ms)?;
        Ok(self.join(&membership.group, &membership.member))
    }

    fn heartbeat(&mut self, membership: &Membership, now_ms: u64) -> Result<u64, LogError> {
        self.expire(now_ms);
        let Membership { group, member, generation, .. } = membership;
        let members = self.members.get_mut(group);
        let heard = members.is_some_and(|members| members.hear(member, *generation, now_ms));
        if heard { Ok(self.offsets.generation(group)) } else { Err(self.fenced(membership)) }
    }

    fn leave(&mut self, membership: &Membership, now_ms: u64) -> Result<(), LogError> {
        self.heartbeat(membership, now_ms)?;
        if let Some(members) = self.members.get_mut(&membership.group) {
            members.remove(&membership.member);
            self.begin_generation(&membership.group);
        }
        Ok(())
    }

    fn assign(&mut self, group: &str, assignment: Assignment, now_ms: u64) -> Result<(), LogError> {
        // Whoever was to be expelled before is replaced by the rule that held then.
        self.expire(now_ms);
        self.offsets.know(group)?.assignment = assignment;
        Ok(())
    }

    fn holds(&mut self, membership: &Membership, partition: Partition, now_ms: u64) -> Result<(), LogError> {
        self.heartbeat(membership, now_ms)?;
        let members = self.members.get(&membership.group);
        let holds = members.is_some_and(|members| members.holds(&membership.member, partition.0));
        if holds { Ok(()) } else { Err(self.fenced(membership)) }
    }

    fn expire(&mut self, now_ms: u64) -> Option<u64> {
        if self.expiry_ms.is_some_and(|expiry_ms| expiry_ms <= now_ms) {
            let timeout_ms = self.setup.heartbeat_timeout_ms;
            let expel = |members: &mut Members| members.expel(now_ms, timeout_ms);
            let changed: Vec<String> = self
                .members
                .iter_mut()
                .filter_map(|(group, members)| expel(members).then(|| group.clone()))
                .collect();
            changed.iter().for_each(|group| self.begin_generation(group));
            self.expiry_ms = self.members.values().filter_map(|members| members.expiry_ms(timeout_ms)).min();
        }
        self.expiry_ms
    }

    fn status(&self, now_ms: u64) -> Vec<GroupStatus> {
        let status = |(name, progress): (&str, &Progress)| {
            let members = self.members.get(name);
            GroupStatus {
                group: name.to_owned(),
                generation: progress.generation,
                assignment: progress.assignment,
                rebalances: members.map_or(0, Members::rebalances),
                members: members.map(|members| members.status(now_ms)).unwrap_or_default(),
                partitions: progress.lags(self.setup.partitions),
            }
        };
        self.offsets.iter().map(status).collect()
    }
}

impl ConsumerGroups {
    /// Somebody has come or gone.
    fn begin_generation(&mut self, group: &str) {
        let Ok(progress) = self.offsets.know(group) else { return };
        progress.generation += 1;
        let assignment = progress.assignment;
        if let Some(members) = self.members.get_mut(group) {
            members.deal(assignment, self.setup.partitions);
        }
    }

    /// Moves a member on to the current generation. If others wait for what it lets go of, another one begins, so that they
    /// hear of it; nothing is dealt out anew for that.
    fn join(&mut self, group: &str, member: &str) -> Membership {
        let mut generation = self.offsets.generation(group);
        let mut partitions = Vec::new();
        if let Some(members) = self.members.get_mut(group) {
            if members.join(member, generation) {
                generation += 1;
                members.join(member, generation);
            }
            partitions = members.partitions(member);
        }
        if let Ok(progress) = self.offsets.know(group) {
            progress.generation = generation;
        }
        Membership { group: group.to_owned(), member: member.to_owned(), generation, partitions }
    }

    fn fenced(&self, membership: &Membership) -> LogError {
        let Membership { group, generation, .. } = membership;
        LogError::Fenced { group: group.clone(), asked: *generation, current: self.offsets.generation(group) }
    }
}
