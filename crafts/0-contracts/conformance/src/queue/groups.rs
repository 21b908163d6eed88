//! Groups, whoever is in them: who may commit, and what is remembered.

use super::{
    Open,
    talk::{FIRST, all, append, committed, fetch, is_fenced, numbered, offsets_of, out_of_range, partitions},
    told::{same_offsets, same_records},
};
use crate::claim::{Check, Claim, Explain, ensure, equal, refused};
use contracts::{
    limits::GROUPS_MAX,
    queue::{Ack, GroupStatus, LogError, Membership, Offset, PartitionLag},
};
use std::collections::BTreeSet;

pub(super) const CLAIMS: &[Claim<Open>] = &[
    Claim { says: "a lone member reads every partition", check: lone_member },
    Claim { says: "a heartbeat tells the group's generation", check: heartbeat_tells },
    Claim {
        says: "a member that moves on where nothing has changed keeps its place",
        check: rejoin_unchanged,
    },
    Claim { says: "a member that subscribes again fences its former self", check: same_member_again },
    Claim { says: "who never joined is fenced", check: stranger_is_fenced },
    Claim { says: "a fenced commit changes nothing", check: fenced_commit },
    Claim {
        says: "what a group committed is told, per partition, and nothing before",
        check: committed_is_told,
    },
    Claim { says: "a group may rewind", check: rewind },
    Claim { says: "a commit beyond the end is refused with the true bounds", check: commit_beyond_end },
    Claim { says: "a new member resumes where the group stands", check: commits_outlive_members },
    Claim { says: "groups do not disturb each other", check: groups_are_apart },
    Claim { says: "what one group has not committed stays, though another has", check: uncommitted_stays },
    Claim {
        says: "groups tells each group by its name, its members, and how far it came in every partition",
        check: groups_told,
    },
    Claim { says: "bad names of groups and members are refused, the longest good one is not", check: names },
    Claim { says: "there is a bound on the number of groups", check: too_many_groups },
];

fn lone_member(open: &Open) -> Check {
    let log = open();
    let membership = log.subscribe("group", "member").explain("subscribe")?;
    equal(
        "subscribe as \"member\" of \"group\", the names in the membership",
        &(&*membership.group, &*membership.member),
        &("group", "member"),
    )?;
    let mut given = membership.partitions.clone();
    given.sort_unstable();
    equal("subscribe as the only member, its partitions", &given, &partitions(&*log).collect())?;
    log.heartbeat(&membership).map(|_| ()).explain("heartbeat of a lone member")
}

fn same_member_again(open: &Open) -> Check {
    let log = open();
    let before = log.subscribe("group", "member").explain("subscribe")?;
    let after = log.subscribe("group", "member").explain("subscribing again")?;
    ensure(after.generation > before.generation, || {
        format!(
            "the same member subscribes again, its generation: expected more than {}; got {}",
            before.generation, after.generation
        )
    })?;
    let what = "a heartbeat with its old membership, after the same member subscribed again";
    is_fenced(what, &log.heartbeat(&before).map(|_| ()), &before, after.generation)?;
    log.heartbeat(&after).map(|_| ()).explain("heartbeat after subscribing again")
}

fn stranger_is_fenced(open: &Open) -> Check {
    let log = open();
    let stranger = |group: &str, generation| Membership {
        group: group.to_owned(),
        member: "stranger".to_owned(),
        generation,
        partitions: vec![FIRST],
    };
    for generation in [0, 1, u64::MAX] {
        let who = stranger("nobody", generation);
        let expected = |e: &LogError| matches!(e, LogError::Fenced { asked, .. } if *asked == generation);
        refused("a heartbeat in a group that nobody joined", &log.heartbeat(&who), "Fenced", expected)?;
        refused(
            "a commit in a group that nobody joined",
            &log.commit(&who, FIRST, Offset(0)),
            "Fenced",
            expected,
        )?;
    }
    let member = log.subscribe("group", "member").explain("subscribe")?;
    let who = stranger("group", member.generation);
    let fenced = |e: &LogError| matches!(e, LogError::Fenced { .. });
    refused("a heartbeat of a stranger who guessed the generation", &log.heartbeat(&who), "Fenced", fenced)?;
    refused(
        "a commit of a stranger who guessed the generation",
        &log.commit(&who, FIRST, Offset(0)),
        "Fenced",
        fenced,
    )?;
    log.heartbeat(&member).map(|_| ()).explain("heartbeat of the true member")
}

fn fenced_commit(open: &Open) -> Check {
    let log = open();
    append(&*log, Ack::Memory, FIRST, &numbered("record", 5))?;
    let first = log.subscribe("group", "member").explain("subscribe")?;
    log.commit(&first, FIRST, Offset(1)).explain("commit")?;
    let second = log.subscribe("group", "member").explain("subscribe")?;
    is_fenced(
        "a commit at 4 of a member's former self",
        &log.commit(&first, FIRST, Offset(4)),
        &first,
        second.generation,
    )?;
    let what = "a commit at 1, then one at 4 that was fenced; committed";
    equal(what, &committed(&*log, "group", FIRST)?, &Some(1))
}

fn committed_is_told(open: &Open) -> Check {
    let log = open();
    for partition in partitions(&*log) {
        append(&*log, Ack::Memory, partition, &numbered("record", 5))?;
        equal("committed of a group that nobody joined", &committed(&*log, "group", partition)?, &None)?;
    }
    let membership = log.subscribe("group", "member").explain("subscribe")?;
    equal("committed of a group that has not committed yet", &committed(&*log, "group", FIRST)?, &None)?;
    for (next, partition) in (1..=5).cycle().zip(partitions(&*log)) {
        log.commit(&membership, partition, Offset(next)).explain("commit")?;
    }
    for (next, partition) in (1..=5).cycle().zip(partitions(&*log)) {
        let what = format!("a commit at {next} in partition {}, then committed", partition.0);
        equal(&what, &committed(&*log, "group", partition)?, &Some(next))?;
    }
    log.commit(&membership, FIRST, Offset(5)).explain("commit at the end")?;
    equal("a commit at 5, the end of the log, then committed", &committed(&*log, "group", FIRST)?, &Some(5))
}

fn rewind(open: &Open) -> Check {
    let log = open();
    append(&*log, Ack::Memory, FIRST, &numbered("record", 5))?;
    let membership = log.subscribe("group", "member").explain("subscribe")?;
    for next in [3, 1, 0, 2] {
        log.commit(&membership, FIRST, Offset(next)).explain(&format!("commit at {next}"))?;
        let what = format!("commits at 3, 1, 0 and 2 in turn; committed after that at {next}");
        equal(&what, &committed(&*log, "group", FIRST)?, &Some(next))?;
    }
    Ok(())
}

fn commit_beyond_end(open: &Open) -> Check {
    let log = open();
    append(&*log, Ack::Memory, FIRST, &numbered("record", 5))?;
    let membership = log.subscribe("group", "member").explain("subscribe")?;
    for asked in [6, u64::MAX] {
        let expected = out_of_range(asked, 0, 5);
        let result = log.commit(&membership, FIRST, Offset(asked));
        refused(
            &format!("a commit at {asked} where the log holds 0..5"),
            &result,
            &format!("{expected:?}"),
            |e| *e == expected,
        )?;
    }
    equal("committed after commits that were refused", &committed(&*log, "group", FIRST)?, &None)
}

fn commits_outlive_members(open: &Open) -> Check {
    let log = open();
    append(&*log, Ack::Memory, FIRST, &numbered("record", 5))?;
    let first = log.subscribe("group", "first").explain("subscribe")?;
    log.commit(&first, FIRST, Offset(2)).explain("commit")?;
    log.leave(&first).explain("leave")?;
    let second = log.subscribe("group", "second").explain("subscribe")?;
    let at = committed(&*log, "group", FIRST)?;
    equal("a commit at 2, the member leaves, a second one subscribes, then committed", &at, &Some(2))?;
    let what = "a fetch from 2, where the group stands, of a log that ends at 5";
    same_offsets(what, &offsets_of(&fetch(&*log, FIRST, 2, all())?), &[2, 3, 4])?;
    if second.partitions.contains(&FIRST) {
        log.commit(&second, FIRST, Offset(5)).explain("commit of the second member")?;
        equal(
            "a commit at 5 of the second member, then committed",
            &committed(&*log, "group", FIRST)?,
            &Some(5),
        )?;
    }
    Ok(())
}

fn groups_are_apart(open: &Open) -> Check {
    let log = open();
    append(&*log, Ack::Memory, FIRST, &numbered("record", 5))?;
    let one = log.subscribe("one", "member").explain("subscribe")?;
    let two = log.subscribe("two", "member").explain("subscribe")?;
    log.heartbeat(&one).explain("heartbeat after another group was joined")?;
    log.commit(&one, FIRST, Offset(4)).explain("commit")?;
    equal(
        "a commit at 4 of group \"one\", then committed of \"two\"",
        &committed(&*log, "two", FIRST)?,
        &None,
    )?;
    log.commit(&two, FIRST, Offset(1)).explain("commit")?;
    equal(
        "commits at 4 of \"one\" and at 1 of \"two\", then committed of \"one\"",
        &committed(&*log, "one", FIRST)?,
        &Some(4),
    )?;
    equal(
        "commits at 4 of \"one\" and at 1 of \"two\", then committed of \"two\"",
        &committed(&*log, "two", FIRST)?,
        &Some(1),
    )
}

fn uncommitted_stays(open: &Open) -> Check {
    let log = open();
    let slow = log.subscribe("slow", "member").explain("subscribe")?;
    let quick = log.subscribe("quick", "member").explain("subscribe")?;
    let payloads = numbered("record", 100);
    append(&*log, Ack::Memory, FIRST, &payloads)?;
    log.commit(&quick, FIRST, Offset(100)).explain("commit")?;
    let mut expected: Vec<_> = (0..).zip(payloads).collect();
    let what = "the quick group commits at 100, the slow one nothing; a fetch from 0";
    same_records(what, &fetch(&*log, FIRST, 0, all())?, &expected)?;
    log.commit(&slow, FIRST, Offset(40)).explain("commit of the slow group at 40")?;
    append(&*log, Ack::Memory, FIRST, &[b"more".to_vec()])?;
    expected.push((100, b"more".to_vec()));
    let what = "the quick group commits at 100, the slow one at 40; a fetch from 40";
    same_records(what, &fetch(&*log, FIRST, 40, all())?, &expected[40..])
}

fn names(open: &Open) -> Check {
    let log = open();
    let (longest, too_long) = ("n".repeat(128), "n".repeat(129));
    for bad in ["", too_long.as_str(), "é", "a\nb", "a\0", "\x7f", "a\u{200b}"] {
        // A name that is far too long may be cut before it is told back.
        let expected = |e: &LogError| matches!(e, LogError::BadName(name) if bad.starts_with(name.as_str()));
        let what = |of: &str| {
            format!("subscribe with {:?} as the name of a {of}", bad.chars().take(20).collect::<String>())
        };
        refused(&what("group"), &log.subscribe(bad, "member"), "BadName with the name", expected)?;
        refused(&what("member"), &log.subscribe("group", bad), "BadName with the name", expected)?;
    }
    for good in [longest.as_str(), "!", "a-b.c_d/e:f", "~"] {
        log.subscribe(good, good).explain(&format!("subscribe as {good:?}"))?;
    }
    Ok(())
}

fn too_many_groups(open: &Open) -> Check {
    let log = open();
    for i in 0..GROUPS_MAX {
        log.subscribe(&format!("group-{i}"), "member").explain(&format!("subscribe of group {}", i + 1))?;
    }
    let result = log.subscribe("one-too-many", "member");
    refused("subscribe in one group more than GROUPS_MAX", &result, "TooManyGroups", |e| {
        *e == LogError::TooManyGroups(GROUPS_MAX)
    })?;
    log.subscribe("group-0", "other").map(|_| ()).explain("another member of a group that is there")
}

fn heartbeat_tells(open: &Open) -> Check {
    let log = open();
    log.subscribe("group", "member").explain("subscribe")?;
    let now = log.subscribe("group", "member").explain("subscribing again")?;
    let told = log.heartbeat(&now).explain("heartbeat")?;
    equal("a heartbeat of a group's only member", &told, &now.generation)
}

fn rejoin_unchanged(open: &Open) -> Check {
    let log = open();
    let before = log.subscribe("group", "member").explain("subscribe")?;
    let after = log.rejoin(&before).explain("rejoin")?;
    equal("the only member moves on to its own generation; its place", &after, &before)?;
    log.heartbeat(&after).map(|_| ()).explain("heartbeat after that")?;
    let stale = Membership { generation: before.generation + 1, ..before };
    refused("moving on from a generation that never was", &log.rejoin(&stale), "Fenced", |e| {
        matches!(e, LogError::Fenced { .. })
    })
}

fn groups_told(open: &Open) -> Check {
    let log = open();
    append(&*log, Ack::Memory, FIRST, &numbered("record", 5))?;
    for name in ["b", "a"] {
        log.subscribe(name, "member").explain("subscribe")?;
    }
    let b = log.subscribe("b", "member").explain("subscribing again")?;
    log.commit(&b, FIRST, Offset(2)).explain("commit")?;
    let told = log.groups().explain("groups")?;
    let named = |name: &str| told.iter().find(|group| group.group == name);
    let names: BTreeSet<_> = told.iter().map(|group| &*group.group).collect();
    ensure(names.contains("a") && names.contains("b") && names.len() == told.len(), || {
        format!("groups: expected \"a\" and \"b\", each group once; got {names:?}")
    })?;
    let status = named("b").ok_or("groups tells nothing of \"b\"")?;
    equal("groups, the generation of \"b\"", &status.generation, &b.generation)?;
    let members: Vec<_> =
        status.members.iter().map(|m| (&*m.member, m.generation, m.partitions.clone())).collect();
    let all: Vec<_> = partitions(&*log).collect();
    equal("groups, the members of \"b\"", &members, &vec![("member", b.generation, all)])?;
    lags(status, &[(Some(2), 5)])?;
    lags(named("a").ok_or("groups tells nothing of \"a\"")?, &[(None, 5)])
}

/// The first partitions must stand so, committed and end, and all others must be empty.
fn lags(status: &GroupStatus, first: &[(Option<u64>, u64)]) -> Check {
    let stands = |partition: usize| first.get(partition).copied().unwrap_or((None, 0));
    for (number, told) in status.partitions.iter().enumerate() {
        let (committed, end) = stands(number);
        let expected = PartitionLag {
            partition: told.partition,
            committed: committed.map(Offset),
            end: Offset(end),
            lag: end - committed.unwrap_or(0),
        };
        equal(&format!("groups, how far {:?} came", status.group), told, &expected)?;
        equal("groups, partitions in their order", &(told.partition.0 as usize), &number)?;
    }
    ensure(status.partitions.len() >= first.len(), || {
        format!("groups: expected every partition; got {}", status.partitions.len())
    })
}
