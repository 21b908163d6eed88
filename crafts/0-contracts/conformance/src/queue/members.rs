//! Groups whose members share the partitions.
//!
//! How partitions are dealt out is the implementation's business, as far as nothing here says otherwise. So claims look at
//! what every way of dealing has to keep: nobody holds what another holds, nobody loses what they did not let go of, and
//! in the end everything is held.

use super::{
    Open,
    talk::{FIRST, append, committed, numbered, partitions},
};
use crate::claim::{Check, Claim, Explain, ensure, equal, refused, seed, with_seed};
use contracts::queue::{Ack, Assignment, Log, LogError, Membership, Offset, Partition};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

pub(super) const CLAIMS: &[Claim<Open>] = &[
    Claim {
        says: "a newcomer is given nothing that another holds, and the other is told of it by its heartbeat",
        check: newcomer_waits,
    },
    Claim {
        says: "once everybody has moved on, the members hold everything, and none much more than another",
        check: shares,
    },
    Claim {
        says: "who holds a partition may commit in it, before and after it has moved on, and nobody else may",
        check: holders_commit,
    },
    Claim { says: "who leaves is fenced, and the others get what it held", check: leaves },
    Claim {
        says: "who comes back under its own name fences its former self and nobody else",
        check: comes_back,
    },
    Claim { says: "sticky moves nothing that could have stayed", check: sticky },
    Claim { says: "range deals out neighbours, in the order of the members' names", check: range },
    Claim {
        says: "groups tells what each member holds, and counts how often it was dealt out",
        check: members_told,
    },
    Claim { says: "there is a bound on the number of members", check: too_many_members },
    Claim { says: "each group shares by itself", check: groups_share_apart },
    Claim {
        says: "whatever members do, no partition has two holders, and in the end each has one",
        check: whatever_they_do,
    },
];

/// Rounds in which everybody is told and moves on, until nothing changes: one to let go, one to get, and more to spare.
const ROUNDS_MAX: usize = 20;
/// Most members of a claim.
const MEMBERS: usize = 5;

/// A group's members, as they see themselves.
struct Cast {
    log: Arc<dyn Log>,
    group: &'static str,
    members: BTreeMap<String, Membership>,
}

impl Cast {
    fn new(log: Arc<dyn Log>, group: &'static str) -> Self {
        Self { log, group, members: BTreeMap::new() }
    }

    /// With so many members who have all moved on.
    fn of(log: Arc<dyn Log>, names: &[&str]) -> Result<Self, String> {
        let mut cast = Self::new(log, "group");
        for name in names {
            cast.join(name)?;
            cast.move_on()?;
        }
        Ok(cast)
    }

    fn join(&mut self, name: &str) -> Result<Membership, String> {
        let what = format!("{name:?} subscribes");
        let membership = self.log.subscribe(self.group, name).explain(&what)?;
        let before = self.members.values().map(|other| other.generation).max().unwrap_or(0);
        ensure(membership.generation > before, || {
            format!("{what}: expected a generation above {before}; got {}", membership.generation)
        })?;
        self.members.insert(name.to_owned(), membership.clone());
        self.are_apart(&what)?;
        Ok(membership)
    }

    fn leave(&mut self, name: &str) -> Result<Membership, String> {
        let membership = self.members.remove(name).ok_or_else(|| format!("no member {name:?}"))?;
        self.log.leave(&membership).explain(&format!("{name:?} leaves"))?;
        Ok(membership)
    }

    /// Tells the log that a member is alive, and moves it on if that is what it hears. Says whether it was.
    fn hear(&mut self, name: &str) -> Result<bool, String> {
        let held = self.members[name].clone();
        let told = self.log.heartbeat(&held).explain(&format!("a heartbeat of {name:?}"))?;
        if told <= held.generation {
            return Ok(false);
        }
        let what = format!("{name:?} moves on from generation {}", held.generation);
        let moved = self.log.rejoin(&held).explain(&what)?;
        ensure(moved.generation >= told, || {
            format!("{what}: expected generation {told} or more, as it was told; got {}", moved.generation)
        })?;
        self.members.insert(name.to_owned(), moved);
        self.are_apart(&what)?;
        Ok(true)
    }

    /// Everybody hears and moves on, until nobody is told anything new.
    fn move_on(&mut self) -> Check {
        let names: Vec<String> = self.members.keys().cloned().collect();
        for _ in 0..ROUNDS_MAX {
            let mut changed = false;
            for name in &names {
                changed |= self.hear(name)?;
            }
            if !changed {
                return Ok(());
            }
        }
        Err(format!("{} members still told to move on after {ROUNDS_MAX} rounds", names.len()))
    }

    fn are_apart(&self, what: &str) -> Check {
        let mut holder = BTreeMap::new();
        for (name, membership) in &self.members {
            for partition in &membership.partitions {
                if let Some(other) = holder.insert(*partition, name) {
                    return Err(format!(
                        "{what}: expected a holder for each partition; got {other:?} and {name:?} for partition {}",
                        partition.0
                    ));
                }
            }
        }
        Ok(())
    }

    /// Everything is held, and fairly.
    fn hold_all(&self, what: &str) -> Check {
        self.are_apart(what)?;
        let held: BTreeSet<_> = self.members.values().flat_map(|m| m.partitions.iter().copied()).collect();
        let all: BTreeSet<_> = partitions(&*self.log).collect();
        equal(&format!("{what}; what is held by anybody"), &held, &all)?;
        let counts: Vec<_> = self.members.values().map(|m| m.partitions.len()).collect();
        let (least, most) = (counts.iter().min(), counts.iter().max());
        ensure(most.zip(least).is_none_or(|(most, least)| most - least <= 1), || {
            format!("{what}: expected shares that differ by one at most; got {counts:?}")
        })
    }

    fn all_held(&self) -> BTreeMap<String, BTreeSet<Partition>> {
        self.members.keys().map(|name| (name.clone(), self.held(name))).collect()
    }

    fn held(&self, name: &str) -> BTreeSet<Partition> {
        self.members.get(name).map(|m| m.partitions.iter().copied().collect()).unwrap_or_default()
    }
}

fn fenced(e: &LogError) -> bool {
    matches!(e, LogError::Fenced { .. })
}

fn newcomer_waits(open: &Open) -> Check {
    let mut cast = Cast::new(open(), "group");
    let first = cast.join("first")?;
    let all: Vec<_> = partitions(&*cast.log).collect();
    equal("the first member's partitions", &cast.held("first"), &all.into_iter().collect())?;
    let second = cast.join("second")?;
    equal("a second member subscribes, what it is given", &second.partitions, &Vec::new())?;
    let told = cast.log.heartbeat(&first).explain("a heartbeat of the first member after that")?;
    ensure(told >= second.generation, || {
        format!(
            "a second member begins generation {}; a heartbeat of the first: expected to be told so; got {told}",
            second.generation
        )
    })?;
    // What is to be the second's by now is still the first's, who has not moved on.
    cast.join("third")?;
    cast.hear("second")?;
    equal(
        "a third subscribes, the second moves on and the first not; what it holds",
        &cast.held("second"),
        &BTreeSet::new(),
    )
}

fn shares(open: &Open) -> Check {
    for assignment in [Assignment::Sticky, Assignment::Range] {
        let mut cast = Cast::new(open(), "group");
        cast.log.assign("group", assignment).explain("assign")?;
        for count in 1..=MEMBERS.min(cast.log.group_members_max()) {
            cast.join(&format!("member-{count}"))?;
            cast.move_on()?;
            cast.hold_all(&format!("{assignment:?}, {count} members who have moved on"))?;
        }
    }
    Ok(())
}

fn holders_commit(open: &Open) -> Check {
    let log = open();
    for partition in partitions(&*log) {
        append(&*log, Ack::Memory, partition, &numbered("record", 5))?;
    }
    let mut cast = Cast::new(log.clone(), "group");
    let first = cast.join("first")?;
    cast.join("second")?;
    for partition in partitions(&*log) {
        let what = "a commit of the first member, who holds everything, after a second subscribed";
        log.commit(&first, partition, Offset(1)).explain(what)?;
    }
    cast.move_on()?;
    for partition in partitions(&*log) {
        for (name, membership) in &cast.members {
            let what = format!("a commit of {name:?} in partition {}", partition.0);
            let result = log.commit(membership, partition, Offset(3));
            if membership.partitions.contains(&partition) {
                result.explain(&format!("{what}, which it holds"))?;
                log.commit(membership, partition, Offset(2)).explain("another one")?;
            } else {
                refused(&format!("{what}, which another holds"), &result, "Fenced", fenced)?;
            }
        }
        let told = committed(&*log, "group", partition)?;
        equal("commits of a holder at 2, and of another at 3; committed", &told, &Some(2))?;
    }
    Ok(())
}

fn leaves(open: &Open) -> Check {
    let log = open();
    append(&*log, Ack::Memory, FIRST, &numbered("record", 5))?;
    let mut cast = Cast::of(log.clone(), &["first", "second"])?;
    let before = cast.members["second"].generation;
    let left = cast.leave("first")?;
    refused("a heartbeat of who has left", &log.heartbeat(&left), "Fenced", fenced)?;
    refused("a commit of who has left", &log.commit(&left, FIRST, Offset(1)), "Fenced", fenced)?;
    refused("moving on of who has left", &log.rejoin(&left), "Fenced", fenced)?;
    let told = log.heartbeat(&cast.members["second"]).explain("a heartbeat of who has stayed")?;
    ensure(told > before, || {
        format!("a heartbeat of who has stayed: expected a generation above {before}; got {told}")
    })?;
    cast.move_on()?;
    cast.hold_all("one of two members has left, and the other has moved on")
}

fn comes_back(open: &Open) -> Check {
    let log = open();
    append(&*log, Ack::Memory, FIRST, &numbered("record", 5))?;
    let mut cast = Cast::of(log.clone(), &["first", "second"])?;
    let former = cast.members["first"].clone();
    cast.join("first")?;
    for (what, result) in [
        ("a heartbeat", log.heartbeat(&former).map(|_| ())),
        ("a commit", log.commit(&former, FIRST, Offset(4))),
        ("leaving", log.leave(&former)),
    ] {
        refused(&format!("{what} of a former self"), &result, "Fenced", fenced)?;
    }
    log.heartbeat(&cast.members["second"]).explain("a heartbeat of the other member")?;
    cast.move_on()?;
    cast.hold_all("one of two members has come back, and both have moved on")
}

fn sticky(open: &Open) -> Check {
    ["a", "b", "c"].into_iter().try_for_each(|leaver| sticky_without(open, leaver))
}

/// Three members come, and one of them leaves.
fn sticky_without(open: &Open, leaver: &str) -> Check {
    let mut cast = Cast::of(open(), &["b", "c"])?;
    let before = cast.all_held();
    // Its name comes before the others', so that who deals by names alone gives it what they have.
    cast.join("a")?;
    cast.move_on()?;
    cast.hold_all("a third member has come, and all have moved on")?;
    for (name, before) in before {
        let now = cast.held(&name);
        ensure(now.is_subset(&before), || {
            format!("a third member comes; {name:?} held {before:?}: expected nothing else; got {now:?}")
        })?;
    }
    cast.leave(leaver)?;
    let before = cast.all_held();
    cast.move_on()?;
    for (name, before) in before {
        let now = cast.held(&name);
        ensure(now.is_superset(&before), || {
            format!("{leaver:?} leaves; {name:?} held {before:?}: expected to keep it; got {now:?}")
        })?;
    }
    Ok(())
}

fn range(open: &Open) -> Check {
    let log = open();
    let mut cast = Cast::of(log.clone(), &["c"])?;
    cast.log.assign("group", Assignment::Range).explain("assign")?;
    for name in ["a", "b"] {
        cast.join(name)?;
        cast.move_on()?;
        // In the order of their names.
        let dealt: Vec<_> = cast.members.values().flat_map(|m| m.partitions.iter().copied()).collect();
        let what =
            format!("{} members, range; what they hold, in the order of their names", cast.members.len());
        equal(&what, &dealt, &partitions(&*log).collect())?;
    }
    cast.hold_all("three members, range")
}

fn members_told(open: &Open) -> Check {
    let mut cast = Cast::of(open(), &["b", "a"])?;
    let told = |cast: &Cast| {
        let groups = cast.log.groups().explain("groups")?;
        groups
            .into_iter()
            .find(|status| status.group == "group")
            .ok_or("groups tells nothing of \"group\"".to_owned())
    };
    let status = told(&cast)?;
    let members: Vec<_> =
        status.members.iter().map(|m| (m.member.clone(), m.generation, m.partitions.clone())).collect();
    let expected: Vec<_> =
        cast.members.iter().map(|(name, m)| (name.clone(), m.generation, m.partitions.clone())).collect();
    equal("groups, members by name, with generation and partitions", &members, &expected)?;
    equal("groups, how it is dealt out without being told", &status.assignment, &Assignment::Sticky)?;
    ensure(status.rebalances >= 2, || {
        format!("two members came: expected two rebalances or more; got {}", status.rebalances)
    })?;
    cast.leave("a")?;
    let after = told(&cast)?;
    ensure(after.rebalances > status.rebalances && after.generation > status.generation, || {
        format!(
            "a member left: expected more than {} rebalances and generation {}; got {} and {}",
            status.rebalances, status.generation, after.rebalances, after.generation
        )
    })?;
    equal("groups, how many members are left", &after.members.len(), &1)
}

fn too_many_members(open: &Open) -> Check {
    let log = open();
    let members_max = log.group_members_max();
    for number in 0..members_max {
        log.subscribe("group", &format!("member-{number}"))
            .explain(&format!("subscribe of member {} of {members_max}", number + 1))?;
    }
    let expected = LogError::TooManyMembers { group: "group".to_owned(), members_max };
    let result = log.subscribe("group", "one-too-many");
    refused("subscribe of one member more", &result, &format!("{expected:?}"), |e| *e == expected)?;
    log.subscribe("group", "member-0").explain("a member of a full group comes back")?;
    log.subscribe("other", "member").map(|_| ()).explain("a member of another group")
}

fn groups_share_apart(open: &Open) -> Check {
    let log = open();
    let mut casts = ["one", "two"].map(|group| Cast::new(log.clone(), group));
    for (count, cast) in casts.iter_mut().enumerate() {
        for number in 0..=count {
            cast.join(&format!("member-{number}"))?;
        }
        cast.move_on()?;
    }
    for cast in &casts {
        cast.hold_all(&format!("two groups of one and of two members; group {:?}", cast.group))?;
    }
    let alone = &casts[0].members["member-0"];
    let told = log.heartbeat(alone).explain("a heartbeat")?;
    equal("members of another group came; the generation of the first", &told, &alone.generation)
}

fn whatever_they_do(open: &Open) -> Check {
    const STEPS: usize = 400;
    with_seed(seed(), |rng| {
        let log = open();
        for partition in partitions(&*log) {
            append(&*log, Ack::Memory, partition, &numbered("record", 5))?;
        }
        let mut cast = Cast::new(log.clone(), "group");
        let mut zombies: Vec<Membership> = Vec::new();
        let names: Vec<String> = (0..MEMBERS).map(|n| format!("member-{n}")).collect();
        for _ in 0..STEPS {
            let name = &names[rng.usize(..names.len().min(log.group_members_max()))];
            let is_member = cast.members.contains_key(name);
            match (is_member, rng.u8(..10)) {
                (false, 0..=2) | (true, 0) => {
                    zombies.extend(cast.members.get(name).cloned());
                    cast.join(name)?;
                }
                (true, 1) => zombies.push(cast.leave(name)?),
                (true, 2..=5) => drop(cast.hear(name)?),
                (true, 6..=7) => may_commit(&cast, name, Partition(rng.u32(..log.partitions())))?,
                _ => {
                    let Some(zombie) = rng.choice(&zombies) else { continue };
                    refused("a heartbeat of a zombie", &log.heartbeat(zombie), "Fenced", fenced)?;
                    let commit = log.commit(zombie, FIRST, Offset(0));
                    refused("a commit of a zombie", &commit, "Fenced", fenced)?;
                }
            }
        }
        if cast.members.is_empty() {
            cast.join(&names[0])?;
        }
        cast.move_on()?;
        cast.hold_all(&format!("after {STEPS} steps, when everybody has moved on"))
    })
}

/// A commit is taken from who holds the partition and refused to everybody else.
fn may_commit(cast: &Cast, name: &str, partition: Partition) -> Check {
    let membership = &cast.members[name];
    let what = format!("a commit of {name:?} in partition {}", partition.0);
    let result = cast.log.commit(membership, partition, Offset(u64::from(partition.0) % 5));
    if membership.partitions.contains(&partition) {
        result.explain(&format!("{what}, which it holds"))
    } else {
        refused(&format!("{what}, which it does not hold"), &result, "Fenced", fenced)
    }
}
