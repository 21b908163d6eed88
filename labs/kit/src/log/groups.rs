//! Members that come, go, fall silent and come back; time is the test's.

use super::{
    LogTest,
    rig::{FIRST, GROUP, HEARTBEAT_MS, Rig, append, payload, producer},
};
use crate::check::{Check, Must, Unmet, broken, doing, ensure, expect};
use contracts::queue::{Ack, Assignment, Log, LogError, Membership, Offset, Partition};
use queue_phases::OpenPhaseOn as OpenOn;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

pub(super) const TESTS: &[LogTest] = &[
    LogTest::since(5, "members-share-the-partitions-and-leave-none-out", share_all),
    LogTest::since(5, "a-newcomer-gets-what-was-let-go-and-not-before", let_go_first),
    LogTest::since(5, "who-is-silent-for-too-long-is-expelled", silent_is_expelled),
    LogTest::since(5, "who-speaks-in-time-stays", speaks_in_time),
    LogTest::since(5, "who-was-expelled-commits-nothing", zombie),
    LogTest::since(5, "who-leaves-gives-everything-at-once", leaves),
    LogTest::since(5, "who-still-holds-a-partition-may-commit-it", commits_while_moving),
    LogTest::since(5, "sticky-moves-no-more-than-it-must", sticky),
    LogTest::since(5, "range-deals-out-neighbours-in-the-order-of-names", range),
    LogTest::since(5, "no-two-ever-hold-a-partition", never_two),
    LogTest::since(5, "generations-go-on-after-a-restart", generations_go_on),
];

type Members = BTreeMap<String, Membership>;

fn join(log: &Arc<dyn Log>, member: &str) -> Result<Membership, Unmet> {
    let sent = format!("{member} subscribes");
    doing(&sent);
    log.subscribe(GROUP, member).must(&sent)
}

fn rejoin(log: &Arc<dyn Log>, membership: &Membership) -> Result<Membership, Unmet> {
    let sent = format!("{} rejoins", membership.member);
    doing(&sent);
    log.rejoin(membership).must(&sent)
}

fn heartbeat(log: &Arc<dyn Log>, membership: &Membership) -> Result<u64, Unmet> {
    let sent = format!("{} says that it is alive", membership.member);
    doing(&sent);
    log.heartbeat(membership).must(&sent)
}

/// Everybody rejoins until nobody needs to any more.
fn settle(log: &Arc<dyn Log>, members: &mut Members) -> Check {
    for _ in 0..20 {
        let mut moved = false;
        for membership in members.values_mut() {
            let generation = heartbeat(log, membership)?;
            let again = rejoin(log, membership)?;
            moved |= generation > membership.generation || again.partitions != membership.partitions;
            *membership = again;
        }
        if !moved {
            return Ok(());
        }
    }
    broken("everybody rejoins, 20 times in turn", "partitions come to rest", "they still move")
}

/// By name, the partitions of each.
fn held(members: &Members) -> BTreeMap<&str, Vec<u32>> {
    let numbers = |membership: &Membership| membership.partitions.iter().map(|p| p.0).collect();
    members.values().map(|membership| (membership.member.as_str(), numbers(membership))).collect()
}

/// A group of these members at rest.
fn group(log: &Arc<dyn Log>, names: &[&str]) -> Result<Members, Unmet> {
    let mut members = Members::new();
    for name in names {
        members.insert((*name).to_owned(), join(log, name)?);
        settle(log, &mut members)?;
    }
    Ok(members)
}

/// Nobody's is another's, and all are somebody's.
fn expect_shared(sent: &str, members: &Members, partitions: u32) -> Check {
    let mut all: Vec<u32> = members.values().flat_map(|m| m.partitions.iter().map(|p| p.0)).collect();
    all.sort_unstable();
    let each = (0..partitions).collect::<Vec<_>>();
    expect(sent, format!("held: {each:?}"), format!("held: {all:?}"))
}

fn share_all(open: OpenOn) -> Check {
    for (names, partitions) in
        [(&["a", "b", "c"][..], 8), (&["a", "b"][..], 7), (&["a", "b", "c", "d"][..], 2)]
    {
        let log = Rig::with_partitions(open, partitions).log()?;
        let members = group(&log, names)?;
        let sent =
            format!("{} members join a group of {partitions} partitions one after the other", names.len());
        expect_shared(&sent, &members, partitions)?;
        let counts: Vec<usize> = members.values().map(|membership| membership.partitions.len()).collect();
        let (least, most) = (counts.iter().min().copied(), counts.iter().max().copied());
        let fair = least.zip(most).is_some_and(|(least, most)| most - least <= 1);
        ensure(fair, &sent, "nobody has two more than another", format!("they have {counts:?}"))?;
    }
    Ok(())
}

fn let_go_first(open: OpenOn) -> Check {
    let log = Rig::with_partitions(open, 4).log()?;
    let first = join(&log, "a")?;
    let all = |membership: &Membership| format!("{} holds {:?}", membership.member, numbers(membership));
    expect("a subscribes alone to four partitions", "a holds [0, 1, 2, 3]", all(&first))?;
    let second = join(&log, "b")?;
    expect("then b subscribes, and a has not rejoined yet", "b holds []", all(&second))?;
    let sent = "then a is alive";
    let generation = heartbeat(&log, &first)?;
    ensure(generation > first.generation, sent, "it hears of a newer generation", "it does not")?;
    let early = rejoin(&log, &second)?;
    expect("b rejoins before a does", "b holds []", all(&early))?;
    let first = rejoin(&log, &first)?;
    ensure(first.partitions.len() == 2, "a rejoins", "it keeps two", all(&first))?;
    let second = rejoin(&log, &early)?;
    let members = Members::from([("a".to_owned(), first), ("b".to_owned(), second)]);
    expect_shared("and b after it", &members, 4)
}

fn numbers(membership: &Membership) -> Vec<u32> {
    membership.partitions.iter().map(|partition| partition.0).collect()
}

fn silent_is_expelled(open: OpenOn) -> Check {
    let rig = Rig::with_partitions(open, 4);
    let log = rig.log()?;
    let mut members = group(&log, &["a", "b"])?;
    let sent = "a and b share four partitions; a says nothing for as long as the heartbeat timeout, b does";
    for _ in 0..4 {
        rig.pass(HEARTBEAT_MS / 3);
        if let Some(b) = members.get("b") {
            heartbeat(&log, b)?;
        }
    }
    let a = members.remove("a");
    settle(&log, &mut members)?;
    expect_shared(sent, &members, 4)?;
    let Some(a) = a else { return Ok(()) };
    let answer = log.heartbeat(&a);
    ensure(
        matches!(answer, Err(LogError::Fenced { .. })),
        "then a is alive again",
        "it is fenced",
        "it is not",
    )
}

fn speaks_in_time(open: OpenOn) -> Check {
    let rig = Rig::with_partitions(open, 4);
    let log = rig.log()?;
    let members = group(&log, &["a", "b"])?;
    let sent = "two members say that they are alive just before the heartbeat timeout, ten times";
    for _ in 0..10 {
        rig.pass(HEARTBEAT_MS - 1);
        for membership in members.values() {
            let generation = heartbeat(&log, membership)?;
            let right = generation == membership.generation;
            ensure(
                right,
                sent,
                "no new generation begins",
                format!("{} hears of a new one", membership.member),
            )?;
        }
    }
    Ok(())
}

fn zombie(open: OpenOn) -> Check {
    let rig = Rig::with_partitions(open, 2);
    let log = rig.log()?;
    let mut producer = producer(&log, Ack::Os)?;
    for number in 0..10 {
        append(&mut *producer, FIRST, &payload(number))?;
    }
    let mut members = group(&log, &["a", "b"])?;
    let owner = members.iter().find(|(_, m)| m.partitions.contains(&FIRST)).map(|(name, _)| name.clone());
    let Some(zombie) = owner.and_then(|name| members.remove(&name)) else {
        return broken("two members share two partitions", "somebody holds the first", "nobody does");
    };
    log.commit(&zombie, FIRST, Offset(3)).must("who holds a partition commits 3 of its 10 records")?;
    for _ in 0..4 {
        rig.pass(HEARTBEAT_MS / 3);
        for membership in members.values() {
            heartbeat(&log, membership)?;
        }
    }
    settle(&log, &mut members)?;
    let sent = "it falls silent, another takes over and commits 7; and then it commits 4";
    for membership in members.values() {
        log.commit(membership, FIRST, Offset(7)).must(sent)?;
    }
    let late = log.commit(&zombie, FIRST, Offset(4));
    ensure(matches!(late, Err(LogError::Fenced { .. })), sent, "it is fenced", "its commit is taken")?;
    let told = log.committed(GROUP, FIRST).must(sent)?;
    expect(sent, "7 are committed", format!("{} are committed", told.map_or(0, |offset| offset.0)))
}

fn leaves(open: OpenOn) -> Check {
    let log = Rig::with_partitions(open, 6).log()?;
    let mut members = group(&log, &["a", "b", "c"])?;
    let Some(a) = members.remove("a") else { return Ok(()) };
    log.leave(&a).must("a leaves")?;
    settle(&log, &mut members)?;
    expect_shared("three share six partitions, and one leaves", &members, 6)?;
    let answer = log.commit(&a, FIRST, Offset(0));
    ensure(matches!(answer, Err(LogError::Fenced { .. })), "and then commits", "it is fenced", "it is not")
}

fn commits_while_moving(open: OpenOn) -> Check {
    let log = Rig::with_partitions(open, 2).log()?;
    let mut producer = producer(&log, Ack::Os)?;
    for partition in 0..2 {
        append(&mut *producer, Partition(partition), &payload(0))?;
    }
    let a = join(&log, "a")?;
    let b = join(&log, "b")?;
    let sent =
        "a holds two partitions, b has subscribed, a has not rejoined yet and commits what it has read";
    for partition in 0..2 {
        log.commit(&a, Partition(partition), Offset(1)).must(sent)?;
    }
    let a = rejoin(&log, &a)?;
    let b = rejoin(&log, &b)?;
    let sent = "a has let one of them go, b holds it, and a commits both";
    for partition in [0, 1].map(Partition) {
        let answer = log.commit(&a, partition, Offset(1));
        let may = a.partitions.contains(&partition);
        let right = if may { answer.is_ok() } else { matches!(answer, Err(LogError::Fenced { .. })) };
        ensure(right, sent, "only what it holds is taken", format!("partition {}: not so", partition.0))?;
    }
    ensure(b.partitions.len() == 1, "b rejoins after a", "it holds one", format!("{:?}", numbers(&b)))
}

fn sticky(open: OpenOn) -> Check {
    let log = Rig::with_partitions(open, 12).log()?;
    log.assign(GROUP, Assignment::Sticky).must("sticky assignment is asked for")?;
    let mut members = group(&log, &["a", "b", "c"])?;
    let before: BTreeMap<String, BTreeSet<Partition>> = sets(&members);
    let d = join(&log, "d")?;
    members.insert("d".to_owned(), d);
    settle(&log, &mut members)?;
    let sent = "a, b and c share twelve partitions, four each, and d joins";
    expect_shared(sent, &members, 12)?;
    let with_four = sets(&members);
    let moved = moved(&before, &with_four);
    expect(sent, "3 partitions have moved", format!("{moved} partitions have moved"))?;
    let Some(b) = members.remove("b") else { return Ok(()) };
    log.leave(&b).must("b leaves")?;
    settle(&log, &mut members)?;
    let sent = "then b leaves, who had three";
    expect_shared(sent, &members, 12)?;
    let moved = self::moved(&with_four, &sets(&members));
    expect(sent, "3 partitions have moved", format!("{moved} partitions have moved"))
}

fn sets(members: &Members) -> BTreeMap<String, BTreeSet<Partition>> {
    members.iter().map(|(name, m)| (name.clone(), m.partitions.iter().copied().collect())).collect()
}

/// How many partitions somebody has who did not have them.
fn moved(
    before: &BTreeMap<String, BTreeSet<Partition>>,
    after: &BTreeMap<String, BTreeSet<Partition>>,
) -> usize {
    let none = BTreeSet::new();
    after.iter().map(|(name, now)| now.difference(before.get(name).unwrap_or(&none)).count()).sum()
}

fn range(open: OpenOn) -> Check {
    let log = Rig::with_partitions(open, 7).log()?;
    log.assign(GROUP, Assignment::Range).must("range assignment is asked for")?;
    let members = group(&log, &["c", "a", "b"])?;
    let expected = BTreeMap::from([("a", vec![0, 1, 2]), ("b", vec![3, 4]), ("c", vec![5, 6])]);
    expect(
        "c, a and b join a group of seven partitions that are dealt out by range",
        format!("{expected:?}"),
        format!("{:?}", held(&members)),
    )
}

/// A walk that is the same each time: members join, rejoin, speak, fall silent, leave, and come back as what they were.
fn never_two(open: OpenOn) -> Check {
    const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];
    let rig = Rig::with_partitions(open, 7);
    let log = rig.log()?;
    let mut state = 3_u64;
    let mut draw = move |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let sent = "members join, rejoin, speak, fall silent and leave, 600 times in an order drawn once";
    // What each believes to hold, until it is told otherwise.
    let mut members = Members::new();
    for step in 0..600_u32 {
        let name = usize::try_from(draw(5)).map_or("a", |at| NAMES[at % 5]);
        let known = members.get(name).cloned();
        match (draw(10), known) {
            (0..3, None) => drop(members.insert(name.to_owned(), join(&log, name)?)),
            (0, Some(membership)) => {
                members.remove(name);
                let left = log.leave(&membership);
                ensure(
                    matches!(left, Ok(()) | Err(LogError::Fenced { .. })),
                    sent,
                    "who leaves is let go, or had been expelled",
                    format!("step {step}: an error"),
                )?;
            }
            (1..9, Some(membership)) => match log.rejoin(&membership) {
                Ok(membership) => drop(members.insert(name.to_owned(), membership)),
                Err(LogError::Fenced { .. }) => drop(members.remove(name)),
                Err(error) => return broken(sent, "it rejoins, or is fenced", &error.to_string()),
            },
            _ => rig.pass(HEARTBEAT_MS / 8),
        }
        // Whoever could still commit holds what it believes to hold.
        members.retain(|_, membership| log.heartbeat(membership).is_ok() || membership.partitions.is_empty());
        let mut holders: BTreeMap<Partition, &str> = BTreeMap::new();
        for (name, membership) in &members {
            for partition in &membership.partitions {
                if let Some(other) = holders.insert(*partition, name) {
                    let observed = format!("step {step}: {other} and {name} hold partition {}", partition.0);
                    return broken(sent, "one live member at most holds a partition", &observed);
                }
            }
        }
    }
    Ok(())
}

fn generations_go_on(open: OpenOn) -> Check {
    let rig = Rig::with_partitions(open, 2);
    let log = rig.log()?;
    let members = group(&log, &["a", "b"])?;
    let last = members.values().map(|membership| membership.generation).max().unwrap_or_default();
    let sent = "two members join, a kill, and one of them joins again";
    let after = rig.after(&rig.disk.seen()).log()?;
    for membership in members.values() {
        let answer = after.heartbeat(membership);
        ensure(
            matches!(answer, Err(LogError::Fenced { .. })),
            sent,
            "memberships of before are fenced",
            "not so",
        )?;
    }
    let again = join(&after, "a")?;
    ensure(again.generation > last, sent, "a higher generation than before", format!("{}", again.generation))
}
