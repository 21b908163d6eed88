//! The members of one group: who is alive, and who holds which partition.
//!
//! A partition that is to move goes through three hands. First it is dealt to somebody else: *due*. Who holds it lets go of
//! it when it next joins, and not before, since it may be in the middle of it. Then it is free, and whose due it is takes
//! it when it joins. So no partition is ever held by two, and those that stay where they are never stop being read. Kafka
//! calls it cooperative rebalancing (KIP-429).

use super::assignment::{Share, deal};
use contracts::queue::{Assignment, MemberStatus, Partition};
use std::{collections::BTreeMap, mem};

/// A group's members by name. Shares that are held are disjoint, and so are those that are due.
#[derive(Debug, Default)]
pub(super) struct Members {
    by_name: BTreeMap<String, Member>,
    /// How often partitions were dealt out.
    rebalances: u64,
}

#[derive(Debug)]
struct Member {
    /// The generation that it has joined: with it a member is told from a former self of the same name, and from who it
    /// was itself before it last joined.
    joined: u64,
    /// When it last said something.
    heard_ms: u64,
    /// What it reads.
    holds: Share,
    /// What it is to read, as soon as nobody else does.
    due: Share,
}

impl Members {
    pub(super) fn len(&self) -> usize {
        self.by_name.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    pub(super) fn rebalances(&self) -> u64 {
        self.rebalances
    }

    pub(super) fn knows(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// Whether this is a member as it was when it last joined. If so, it is alive.
    pub(super) fn hear(&mut self, name: &str, generation: u64, now_ms: u64) -> bool {
        match self.by_name.get_mut(name) {
            Some(member) if member.joined == generation => {
                member.heard_ms = member.heard_ms.max(now_ms);
                true
            }
            _ => false,
        }
    }

    pub(super) fn holds(&self, name: &str, partition: u32) -> bool {
        self.by_name.get(name).is_some_and(|member| member.holds.contains(&partition))
    }

    /// Lets somebody in, who has yet to join. What a former self held is theirs: it cannot go on with it any more.
    pub(super) fn admit(&mut self, name: &str, now_ms: u64) {
        let holds = self.by_name.remove(name).map(|former| former.holds).unwrap_or_default();
        let member = Member { joined: 0, heard_ms: now_ms, holds, due: Share::new() };
        self.by_name.insert(name.to_owned(), member);
    }

    /// What they held is free.
    pub(super) fn remove(&mut self, name: &str) {
        self.by_name.remove(name);
    }

    /// Removes who was silent for so long; says whether there was anybody.
    pub(super) fn expel(&mut self, now_ms: u64, timeout_ms: u64) -> bool {
        let before = self.by_name.len();
        self.by_name.retain(|_, member| member.expiry_ms(timeout_ms) > now_ms);
        self.by_name.len() < before
    }

    /// When the first of them is to be expelled, if they all stay silent.
    pub(super) fn expiry_ms(&self, timeout_ms: u64) -> Option<u64> {
        self.by_name.values().map(|member| member.expiry_ms(timeout_ms)).min()
    }

    /// Decides anew what is whose due.
    pub(super) fn deal(&mut self, assignment: Assignment, partitions: u32) {
        if self.is_empty() {
            return;
        }
        self.rebalances += 1;
        let held: Vec<&Share> = self.by_name.values().map(|member| &member.holds).collect();
        let shares = deal(assignment, partitions, &held);
        for (member, share) in self.by_name.values_mut().zip(shares) {
            member.due = share;
        }
    }

    /// Has a member let go of what is not its due, and take what is and nobody holds. Says whether somebody who has joined
    /// this generation before could take more now: they must be called once more.
    pub(super) fn join(&mut self, name: &str, generation: u64) -> bool {
        let others = |(other, _): &(&String, &Member)| other.as_str() != name;
        let taken: Share =
            self.by_name.iter().filter(others).flat_map(|(_, other)| other.holds.iter().copied()).collect();
        let Some(member) = self.by_name.get_mut(name) else { return false };
        member.joined = generation;
        let holds = member.due.difference(&taken).copied().collect();
        let held = mem::replace(&mut member.holds, holds);
        let released: Share = held.difference(&member.holds).copied().collect();
        let waits =
            |(_, other): (&String, &Member)| other.joined == generation && !other.due.is_disjoint(&released);
        self.by_name.iter().filter(others).any(waits)
    }

    /// What a member holds.
    pub(super) fn partitions(&self, name: &str) -> Vec<Partition> {
        self.by_name.get(name).map(Member::partitions).unwrap_or_default()
    }

    pub(super) fn status(&self, now_ms: u64) -> Vec<MemberStatus> {
        let status = |(name, member): (&String, &Member)| MemberStatus {
            member: name.clone(),
            generation: member.joined,
            partitions: member.partitions(),
            silent_ms: now_ms.saturating_sub(member.heard_ms),
        };
        self.by_name.iter().map(status).collect()
    }
}

impl Member {
    fn expiry_ms(&self, timeout_ms: u64) -> u64 {
        self.heard_ms.saturating_add(timeout_ms)
    }

    fn partitions(&self) -> Vec<Partition> {
        self.holds.iter().copied().map(Partition).collect()
    }
}
