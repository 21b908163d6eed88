//! Groups whose members share the partitions, or whose only member has them all.

use super::{Fault, Kind, PARTITIONS};
use contracts::{
    limits::{GROUP_MEMBERS_MAX, GROUP_NAME_BYTES_MAX, GROUPS_MAX},
    queue::{
        Assignment, Bounds, GroupStatus, LogError, MemberStatus, Membership, Offset, Partition, PartitionLag,
    },
};
use std::collections::{BTreeMap, BTreeSet};

pub(super) struct Groups {
    kind: Kind,
    fault: Fault,
    known: BTreeMap<String, Group>,
}

#[derive(Default)]
struct Group {
    generation: u64,
    assignment: Assignment,
    rebalances: u64,
    members: BTreeMap<String, Member>,
    /// Those who have left, where they keep what they had.
    ghosts: BTreeSet<Partition>,
    committed: BTreeMap<Partition, Offset>,
}

#[derive(Default)]
struct Member {
    /// The generation that it has joined.
    joined: u64,
    holds: BTreeSet<Partition>,
    /// What it is to have once nobody else holds it.
    due: BTreeSet<Partition>,
}

fn all() -> impl DoubleEndedIterator<Item = Partition> {
    (0..PARTITIONS).map(Partition)
}

impl Groups {
    pub(super) fn new(kind: Kind, fault: Fault) -> Self {
        Self { kind, fault, known: BTreeMap::new() }
    }

    pub(super) fn subscribe(&mut self, group: &str, member: &str) -> Result<Membership, LogError> {
        self.check_name(group)?;
        self.check_name(member)?;
        let (kind, fault) = (self.kind, self.fault);
        if !self.known.contains_key(group) && self.known.len() == GROUPS_MAX && fault != Fault::NoGroupBound {
            return Err(LogError::TooManyGroups(GROUPS_MAX));
        }
        let before = self.known.values().map(|g| g.generation).max().unwrap_or(0);
        let entry = self.known.entry(group.to_owned()).or_default();
        let is_full = entry.members.len() >= GROUP_MEMBERS_MAX && !entry.members.contains_key(member);
        if is_full && fault != Fault::NoMemberBound {
            return Err(LogError::TooManyMembers { group: group.to_owned(), members_max: GROUP_MEMBERS_MAX });
        }
        if kind == Kind::Plain && fault != Fault::ForgetsFencing {
            entry.members.clear();
        }
        if fault == Fault::FencesTheOthersToo && entry.members.contains_key(member) {
            entry.members.clear();
        }
        // What a former self held is free.
        entry.members.insert(member.to_owned(), Member::default());
        entry.generation += 1;
        if fault == Fault::OneGenerationForAllGroups {
            entry.generation = before + 1;
            let generation = entry.generation;
            self.known.values_mut().for_each(|g| g.generation = generation);
        }
        let entry = self.known.entry(group.to_owned()).or_default();
        entry.deal(fault);
        Ok(entry.join(group, member, fault))
    }

    pub(super) fn rejoin(&mut self, who: &Membership) -> Result<Membership, LogError> {
        self.check(who)?;
        let fault = self.fault;
        let group = self.known.entry(who.group.clone()).or_default();
        if fault == Fault::MovesOnWithoutNeed {
            group.generation += 1;
        }
        Ok(group.join(&who.group, &who.member, fault))
    }

    pub(super) fn heartbeat(&self, who: &Membership) -> Result<u64, LogError> {
        self.check(who)?;
        Ok(match self.fault {
            Fault::TellsNoGeneration => 0,
            Fault::TellsNobody => who.generation,
            _ => self.known[&who.group].generation,
        })
    }

    pub(super) fn leave(&mut self, who: &Membership) -> Result<(), LogError> {
        self.check(who)?;
        let fault = self.fault;
        let group = self.known.entry(who.group.clone()).or_default();
        if fault == Fault::LeaversStay {
            return Ok(());
        }
        if let Some(left) = group.members.remove(&who.member).filter(|_| fault == Fault::LeaversKeepTheirs) {
            group.ghosts.extend(left.holds);
        }
        group.generation += 1;
        group.deal(fault);
        Ok(())
    }

    pub(super) fn assign(&mut self, group: &str, assignment: Assignment) -> Result<(), LogError> {
        self.check_name(group)?;
        self.known.entry(group.to_owned()).or_default().assignment = assignment;
        Ok(())
    }

    pub(super) fn may_commit(&self, who: &Membership, partition: Partition) -> Result<(), LogError> {
        self.check(who)?;
        let group = &self.known[&who.group];
        let holds = group.members.get(&who.member).is_none_or(|member| member.holds.contains(&partition));
        let is_late = self.fault == Fault::FencesHolders && who.generation < group.generation;
        if (holds || self.fault == Fault::TakesAnyCommit) && !is_late {
            return Ok(());
        }
        Err(self.fenced(who))
    }

    pub(super) fn commit(&mut self, name: &str, partition: Partition, next: Offset) {
        let fault = self.fault;
        for (known, group) in &mut self.known {
            if known == name || fault == Fault::SharesCommits {
                let committed = group.committed.entry(partition).or_insert(next);
                *committed = if fault == Fault::CommitsNeverFall { next.max(*committed) } else { next };
            }
        }
    }

    pub(super) fn committed(&self, group: &str, partition: Partition) -> Option<Offset> {
        self.known.get(group)?.committed.get(&partition).copied()
    }

    pub(super) fn status(&self, bounds: impl Fn(Partition) -> Bounds) -> Vec<GroupStatus> {
        let lag = |group: &Group, partition: Partition| {
            let committed = group.committed.get(&partition).copied();
            let mut lag = PartitionLag::of(partition, committed, bounds(partition));
            if self.fault == Fault::LagFromTheStart {
                lag.lag = lag.end.0;
            }
            lag
        };
        let status = |(name, group): (&String, &Group)| GroupStatus {
            group: name.clone(),
            generation: group.generation,
            assignment: group.assignment,
            rebalances: group.rebalances,
            members: group.members.iter().map(|(name, member)| member.status(name)).collect(),
            partitions: all().map(|partition| lag(group, partition)).collect(),
        };
        self.known.iter().map(status).collect()
    }

    fn check(&self, who: &Membership) -> Result<(), LogError> {
        let group = self.known.get(&who.group);
        let member = group.and_then(|group| group.members.get(&who.member));
        let holds = match (group, member) {
            (Some(_), Some(_)) if self.fault == Fault::FormerSelfStays => true,
            (Some(_), Some(member)) => member.joined == who.generation,
            (Some(group), None) => self.fault == Fault::TrustsStrangers && group.generation == who.generation,
            (None, _) => false,
        };
        if holds { Ok(()) } else { Err(self.fenced(who)) }
    }

    fn fenced(&self, who: &Membership) -> LogError {
        let current = self.known.get(&who.group).map_or(0, |group| group.generation);
        LogError::Fenced { group: who.group.clone(), asked: who.generation, current }
    }

    fn check_name(&self, name: &str) -> Result<(), LogError> {
        let good = (1..=GROUP_NAME_BYTES_MAX).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
        if good || self.fault == Fault::TakesAnyName {
            Ok(())
        } else {
            Err(LogError::BadName(name.to_owned()))
        }
    }
}

impl Group {
    /// Decides what each member is to have.
    fn deal(&mut self, fault: Fault) {
        if fault != Fault::CountsNoRebalances {
            self.rebalances += 1;
        }
        let count = self.members.len();
        if count == 0 {
            return;
        }
        let sticky = self.assignment == Assignment::Sticky || fault == Fault::KnowsOneAssignment;
        let size =
            |rank: usize| PARTITIONS as usize / count + usize::from(rank < PARTITIONS as usize % count);
        let mut names: Vec<String> = self.members.keys().cloned().collect();
        let mut shares: BTreeMap<String, BTreeSet<Partition>> = BTreeMap::new();
        if sticky && fault != Fault::DealsAnew {
            names.sort_by_key(|name| std::cmp::Reverse(self.members[name].holds.len()));
            for (rank, name) in names.iter().enumerate() {
                let kept = self.members[name].holds.iter().copied().take(size(rank)).collect();
                shares.insert(name.clone(), kept);
            }
        }
        let kept: BTreeSet<_> = shares.values().flatten().copied().collect();
        let mut rest: Vec<_> = all().filter(|partition| !kept.contains(partition)).rev().collect();
        for (rank, name) in names.iter().enumerate() {
            let share = shares.entry(name.clone()).or_default();
            let size = if fault == Fault::DealsAllToTheFirst { PARTITIONS as usize } else { size(rank) };
            while share.len() < size {
                let Some(partition) = rest.pop() else { break };
                share.insert(partition);
            }
        }
        for (name, member) in &mut self.members {
            member.due = shares.remove(name).unwrap_or_default();
            if fault == Fault::LeavesHoles && count > 1 {
                member.due.remove(&Partition(PARTITIONS - 1));
            }
        }
    }

    /// Moves a member on: it lets go of what is not its due, and gets what is and nobody holds.
    fn join(&mut self, group: &str, name: &str, fault: Fault) -> Membership {
        let others = |(other, _): &(&String, &Member)| other.as_str() != name;
        let mut taken: BTreeSet<_> = self
            .members
            .iter()
            .filter(others)
            .flat_map(|(_, other)| other.holds.iter().copied())
            .chain(self.ghosts.iter().copied())
            .collect();
        let is_new = self.members[name].joined == 0;
        if fault == Fault::HandsOverAtOnce || (fault == Fault::TakesWhatIsDue && !is_new) {
            taken.clear();
        }
        let member = &self.members[name];
        let holds: BTreeSet<_> = member.due.difference(&taken).copied().collect();
        let lets_go = member.holds.difference(&holds).count() > 0;
        if lets_go {
            self.generation += 1; // so that whoever waits for it hears of it
        }
        let generation = self.generation;
        if let Some(member) = self.members.get_mut(name) {
            member.joined = generation;
            member.holds = holds;
        }
        Membership {
            group: group.to_owned(),
            member: name.to_owned(),
            generation,
            partitions: self.members[name].holds.iter().copied().collect(),
        }
    }
}

impl Member {
    fn status(&self, name: &str) -> MemberStatus {
        MemberStatus {
            member: name.to_owned(),
            generation: self.joined,
            partitions: self.holds.iter().copied().collect(),
            silent_ms: 0,
        }
    }
}
