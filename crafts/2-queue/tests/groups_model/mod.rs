//! Whatever may happen to groups, against a model that knows only the contract's words: who should be alive, what they
//! were handed, what they committed.

use crate::{TIMEOUT_MS, fenced, groups, reopened};
use contracts::queue::{Assignment, GroupStatus, LogError, Membership, Offset, Partition};
use proptest::{collection::vec, prelude::*};
use queue::{groups::ConsumerGroups, offsets::Offsets, slots::Groups};
use std::collections::{BTreeMap, BTreeSet};

const GROUPS: [&str; 2] = ["storage", "other"];
const CLIENTS: usize = 10;
/// Clients share names: a process that was started again, while the old one may still be there.
const NAMES: [&str; 3] = ["a", "b", "c"];

/// A client's group and name.
fn identity(client: usize) -> (&'static str, &'static str) {
    (GROUPS[client % GROUPS.len()], NAMES[client / GROUPS.len() % NAMES.len()])
}

#[derive(Clone, Debug)]
enum Step {
    Subscribe(usize),
    Heartbeat(usize),
    Rejoin(usize),
    Leave(usize),
    Commit(usize, u32),
    /// A heartbeat that was under way while its sender joined again.
    OldHeartbeat(usize),
    OldCommit(usize, u32),
    Sleep(u64),
    Assign(usize, Assignment),
    Reopen,
    /// All who are alive do what a consumer does, as often as it takes.
    Settle,
}

fn step() -> impl Strategy<Value = Step> {
    let client = || 0..CLIENTS;
    prop_oneof![
        4 => client().prop_map(Step::Subscribe),
        6 => client().prop_map(Step::Heartbeat),
        6 => client().prop_map(Step::Rejoin),
        1 => client().prop_map(Step::Leave),
        4 => (client(), 0..12_u32).prop_map(|(client, partition)| Step::Commit(client, partition)),
        1 => client().prop_map(Step::OldHeartbeat),
        1 => (client(), 0..12_u32).prop_map(|(client, partition)| Step::OldCommit(client, partition)),
        4 => (0..TIMEOUT_MS * 3 / 2).prop_map(Step::Sleep),
        1 => (0..GROUPS.len(), prop_oneof![Just(Assignment::Range), Just(Assignment::Sticky)])
            .prop_map(|(group, assignment)| Step::Assign(group, assignment)),
        1 => Just(Step::Reopen),
        2 => Just(Step::Settle),
    ]
}

#[derive(Default)]
struct Client {
    membership: Option<Membership>,
    /// What it had before it joined again.
    old: Option<Membership>,
}

struct Model {
    groups: ConsumerGroups,
    partitions: u32,
    now_ms: u64,
    clients: Vec<Client>,
    /// Who is a member, by group and name, and when it was last heard of.
    alive: BTreeMap<(&'static str, &'static str), (usize, u64)>,
    /// The highest generation that anybody has seen of a group.
    seen: BTreeMap<&'static str, u64>,
    /// To whom a partition was handed in a generation of a group.
    handed: BTreeMap<(&'static str, u64, Partition), usize>,
    committed: BTreeMap<(&'static str, Partition), Offset>,
    commits: u64,
    assignment: BTreeMap<&'static str, Assignment>,
    /// The assignment that held when somebody last came or went.
    dealt: BTreeMap<&'static str, Assignment>,
}

type Checked = Result<(), TestCaseError>;

impl Model {
    fn new(partitions: u32) -> Self {
        Self {
            groups: groups(partitions),
            partitions,
            now_ms: 0,
            clients: (0..CLIENTS).map(|_| Client::default()).collect(),
            alive: BTreeMap::new(),
            seen: BTreeMap::new(),
            handed: BTreeMap::new(),
            committed: BTreeMap::new(),
            commits: 0,
            assignment: BTreeMap::new(),
            dealt: BTreeMap::new(),
        }
    }

    fn is_alive(&self, client: usize) -> bool {
        self.alive.get(&identity(client)).is_some_and(|(who, _)| *who == client)
    }

    fn someone_came_or_went(&mut self, group: &'static str) {
        self.dealt.insert(group, self.assignment.get(group).copied().unwrap_or_default());
    }

    /// What it was told is what it goes on with.
    fn is_handed(&mut self, client: usize, membership: Membership) -> Checked {
        let (group, member) = identity(client);
        prop_assert_eq!((membership.group.as_str(), membership.member.as_str()), (group, member));
        let seen = self.seen.entry(group).or_default();
        prop_assert!(membership.generation >= *seen, "{membership:?} after {seen}");
        *seen = membership.generation;
        for partition in &membership.partitions {
            let key = (group, membership.generation, *partition);
            let first = *self.handed.entry(key).or_insert(client);
            prop_assert_eq!(first, client, "{:?} was handed to two", key);
        }
        let client = &mut self.clients[client];
        let before = client.membership.replace(membership);
        if before.as_ref().map(|b| b.generation) != client.membership.as_ref().map(|m| m.generation) {
            client.old = before;
        }
        Ok(())
    }

    fn step(&mut self, step: &Step) -> Checked {
        match *step {
            Step::Subscribe(client) => {
                let (group, member) = identity(client);
                let membership = self.groups.subscribe(group, member, self.now_ms).unwrap();
                prop_assert!(membership.generation > self.seen.get(group).copied().unwrap_or(0));
                self.alive.insert((group, member), (client, self.now_ms));
                self.someone_came_or_went(group);
                self.is_handed(client, membership)?;
            }
            Step::Heartbeat(client) => {
                let Some(membership) = self.clients[client].membership.clone() else { return Ok(()) };
                let result = self.groups.heartbeat(&membership, self.now_ms);
                self.expect(client, &result)?;
                if let Ok(generation) = result {
                    prop_assert!(generation >= membership.generation);
                }
            }
            Step::Rejoin(client) => {
                let Some(membership) = self.clients[client].membership.clone() else { return Ok(()) };
                let result = self.groups.rejoin(&membership, self.now_ms);
                self.expect(client, &result)?;
                if let Ok(again) = result {
                    self.is_handed(client, again)?;
                }
            }
            Step::Leave(client) => {
                let Some(membership) = self.clients[client].membership.clone() else { return Ok(()) };
                let result = self.groups.leave(&membership, self.now_ms);
                self.expect(client, &result)?;
                if result.is_ok() {
                    self.alive.remove(&identity(client));
                    self.someone_came_or_went(identity(client).0);
                }
            }
            Step::Commit(client, partition) => self.commit(client, Partition(partition % self.partitions))?,
            Step::OldHeartbeat(client) => {
                let Some(old) = self.clients[client].old.clone() else { return Ok(()) };
                prop_assert!(fenced(&self.groups.heartbeat(&old, self.now_ms)), "{:?}", old);
            }
            Step::OldCommit(client, partition) => {
                let Some(old) = self.clients[client].old.clone() else { return Ok(()) };
                let partition = Partition(partition % self.partitions);
                prop_assert!(fenced(&self.groups.holds(&old, partition, self.now_ms)), "{:?}", old);
            }
            Step::Sleep(ms) => self.sleep(ms),
            Step::Assign(group, assignment) => {
                self.groups.assign(GROUPS[group], assignment, self.now_ms).unwrap();
                self.assignment.insert(GROUPS[group], assignment);
            }
            Step::Reopen => self.reopen(),
            Step::Settle => self.settle()?,
        }
        Ok(())
    }

    /// Whoever should be alive is heard, and nobody else.
    fn expect<T>(&mut self, client: usize, result: &Result<T, LogError>) -> Checked {
        prop_assert_eq!(result.is_ok(), self.is_alive(client));
        prop_assert_eq!(fenced(result), !self.is_alive(client));
        if let Some((who, heard_ms)) = self.alive.get_mut(&identity(client)).filter(|(who, _)| *who == client)
        {
            (*who, *heard_ms) = (client, self.now_ms);
        }
        Ok(())
    }

    /// As the log does it: who may, is written down.
    fn commit(&mut self, client: usize, partition: Partition) -> Checked {
        let Some(membership) = self.clients[client].membership.clone() else { return Ok(()) };
        let result = self.groups.holds(&membership, partition, self.now_ms);
        let holds = membership.partitions.contains(&partition);
        prop_assert_eq!(result.is_ok(), self.is_alive(client) && holds);
        prop_assert!(result.is_ok() || fenced(&result));
        if let Some((_, heard_ms)) = self.alive.get_mut(&identity(client)).filter(|(who, _)| *who == client) {
            *heard_ms = self.now_ms;
        }
        if result.is_ok() {
            self.commits += 1;
            let (group, next) = (identity(client).0, Offset(self.commits));
            self.groups.offsets_mut().commit(group, partition, next);
            self.committed.insert((group, partition), next);
        }
        Ok(())
    }

    fn sleep(&mut self, ms: u64) {
        // Millisecond by millisecond: who was silent for too long goes when that is so, not when somebody looks.
        for _ in 0..ms {
            self.now_ms += 1;
            let too_old = |heard_ms: u64| heard_ms + TIMEOUT_MS <= self.now_ms;
            let gone: BTreeSet<_> =
                self.alive.iter().filter(|(_, (_, heard))| too_old(*heard)).map(|(key, _)| *key).collect();
            for key in gone {
                self.alive.remove(&key);
                self.someone_came_or_went(key.0);
            }
        }
    }

    fn reopen(&mut self) {
        let text = self.groups.offsets().encode();
        self.groups = reopened(self.partitions, Offsets::decode(text.as_bytes()).unwrap());
        self.alive.clear();
    }

    fn settle(&mut self) -> Checked {
        // Two rounds: one in which everybody lets go, and one in which everybody takes. A third finds nothing to do.
        for round in 0..3 {
            let mut done = true;
            for client in 0..CLIENTS {
                let Some(membership) = self.clients[client].membership.clone() else { continue };
                if !self.is_alive(client) {
                    continue;
                }
                let result = self.groups.heartbeat(&membership, self.now_ms);
                self.expect(client, &result)?;
                if result != Ok(membership.generation) {
                    self.step(&Step::Rejoin(client))?;
                    done = false;
                }
            }
            prop_assert!(done || round < 2, "members are called again and again");
        }
        GROUPS.iter().try_for_each(|group| self.is_settled(group))
    }

    /// Everything is dealt, fairly, and a range in the order of the names.
    fn is_settled(&self, group: &'static str) -> Checked {
        let members: Vec<Vec<Partition>> = self
            .alive
            .iter()
            .filter(|((of, _), _)| *of == group)
            .map(|(_, (client, _))| self.clients[*client].membership.as_ref().unwrap().partitions.clone())
            .collect();
        let sizes = || members.iter().map(Vec::len);
        let (Some(most), Some(least)) = (sizes().max(), sizes().min()) else { return Ok(()) };
        prop_assert!(most - least <= 1, "{:?}", members);
        let in_turn: Vec<Partition> = members.iter().flatten().copied().collect();
        let all: Vec<Partition> = (0..self.partitions).map(Partition).collect();
        if self.dealt.get(group) == Some(&Assignment::Range) {
            prop_assert_eq!(&in_turn, &all);
        }
        let mut sorted = in_turn;
        sorted.sort_unstable();
        prop_assert_eq!(sorted, all);
        Ok(())
    }

    /// What must hold after every step.
    fn check(&mut self) -> Checked {
        let next = self.groups.expire(self.now_ms);
        let first = self.alive.values().map(|(_, heard_ms)| heard_ms + TIMEOUT_MS).min();
        prop_assert!(next.is_none_or(|next| next > self.now_ms));
        if let Some(first) = first {
            prop_assert!(next.is_some_and(|next| next <= first), "looking at {next:?} overlooks {first}");
        }
        let status = self.groups.status(self.now_ms);
        for group in GROUPS {
            let Some(status) = status.iter().find(|s| s.group == group) else { continue };
            let seen = self.seen.entry(group).or_default();
            prop_assert!(status.generation >= *seen);
            *seen = status.generation;
            for lag in &status.partitions {
                prop_assert_eq!(lag.committed, self.committed.get(&(group, lag.partition)).copied());
            }
            self.check_members(group, status)?;
        }
        Ok(())
    }

    /// Who is alive is a member, holds what it was handed, and nobody else holds any of it.
    fn check_members(&self, group: &'static str, status: &GroupStatus) -> Checked {
        let mut held = BTreeSet::new();
        let alive = self.alive.iter().filter(|((of, _), _)| *of == group);
        prop_assert_eq!(status.members.len(), alive.clone().count());
        for (member, ((_, name), (client, heard_ms))) in status.members.iter().zip(alive) {
            let membership = self.clients[*client].membership.as_ref().unwrap();
            prop_assert_eq!(member.member.as_str(), *name);
            prop_assert_eq!(member.generation, membership.generation);
            prop_assert_eq!(&member.partitions, &membership.partitions);
            prop_assert_eq!(member.silent_ms, self.now_ms - heard_ms);
            for partition in &member.partitions {
                prop_assert!(held.insert(*partition), "two live members hold {:?}", partition);
            }
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn groups_keep_their_promises_whatever_happens(partitions in 1..12_u32, steps in vec(step(), 0..150)) {
        let mut model = Model::new(partitions);
        for step in steps {
            model.step(&step)?;
            model.check()?;
        }
        model.settle()?;
    }
}
