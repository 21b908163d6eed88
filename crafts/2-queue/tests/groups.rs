//! Consumer groups: scenes that one should know. `groups_model` has whatever may happen.

#![allow(clippy::unwrap_used)] // a test that cannot go on should stop

mod groups_model;

use contracts::{
    limits::GROUP_MEMBERS_MAX,
    queue::{Assignment, LogError, Membership, Offset, Partition},
};
use queue::{
    groups::ConsumerGroups,
    offsets::Offsets,
    slots::{Groups, GroupsSetup},
};
use std::collections::BTreeMap;

/// Of the groups in these tests; there is no clock but the numbers that they are told.
const TIMEOUT_MS: u64 = 100;

fn groups(partitions: u32) -> ConsumerGroups {
    reopened(partitions, Offsets::default())
}

fn reopened(partitions: u32, offsets: Offsets) -> ConsumerGroups {
    ConsumerGroups::new(GroupsSetup { partitions, heartbeat_timeout_ms: TIMEOUT_MS }, offsets)
}

fn numbers(membership: &Membership) -> Vec<u32> {
    membership.partitions.iter().map(|partition| partition.0).collect()
}

/// Has each member do what a consumer does, until nothing changes any more.
fn settle(groups: &mut ConsumerGroups, members: &mut [Membership], now_ms: u64) {
    loop {
        let before = members.to_vec();
        for membership in &mut *members {
            if groups.heartbeat(membership, now_ms).unwrap() > membership.generation {
                *membership = groups.rejoin(membership, now_ms).unwrap();
            }
        }
        if before == members {
            return;
        }
    }
}

/// Members `m0`, `m1`, … that have settled.
fn settled(groups: &mut ConsumerGroups, count: usize) -> Vec<Membership> {
    let mut members: Vec<_> =
        (0..count).map(|i| groups.subscribe("group", &format!("m{i}"), 0).unwrap()).collect();
    settle(groups, &mut members, 0);
    members
}

/// Of which member each partition is.
fn owners(members: &[Membership]) -> BTreeMap<u32, String> {
    let of = |m: &Membership| numbers(m).into_iter().map(|p| (p, m.member.clone())).collect::<Vec<_>>();
    members.iter().flat_map(of).collect()
}

fn moved(before: &BTreeMap<u32, String>, after: &BTreeMap<u32, String>) -> usize {
    after.iter().filter(|(partition, owner)| before.get(partition) != Some(owner)).count()
}

fn fenced<T>(result: &Result<T, LogError>) -> bool {
    matches!(result, Err(LogError::Fenced { .. }))
}

#[test]
fn a_newcomer_gets_a_partition_only_after_its_holder_has_let_go_of_it() {
    let mut groups = groups(4);
    let first = groups.subscribe("group", "first", 0).unwrap();
    assert_eq!((first.generation, numbers(&first)), (1, vec![0, 1, 2, 3]));

    let second = groups.subscribe("group", "second", 1).unwrap();
    assert_eq!((second.generation, numbers(&second)), (2, vec![]), "the first still holds everything");
    assert_eq!(groups.holds(&first, Partition(3), 2), Ok(()), "and may commit until it has rejoined");
    assert_eq!(groups.rejoin(&second, 2).map(|m| numbers(&m)), Ok(vec![]), "asking again changes nothing");

    assert_eq!(groups.heartbeat(&first, 3), Ok(2));
    let first_again = groups.rejoin(&first, 3).unwrap();
    assert_eq!(
        (first_again.generation, numbers(&first_again)),
        (3, vec![0, 1]),
        "so that the second is called"
    );
    assert!(
        fenced(&groups.holds(&first_again, Partition(3), 4)),
        "what it let go of is not its own any more"
    );
    assert!(fenced(&groups.holds(&first, Partition(0), 4)), "it has moved on from its old generation");

    assert_eq!(groups.heartbeat(&second, 4), Ok(3));
    let second = groups.rejoin(&second, 4).unwrap();
    assert_eq!((second.generation, numbers(&second)), (3, vec![2, 3]));
    assert_eq!(groups.heartbeat(&first_again, 5), Ok(3), "nothing is left to do");
    assert_eq!(groups.status(5)[0].rebalances, 2, "that somebody was called again is no rebalance");
}

#[test]
fn who_has_not_yet_joined_a_generation_needs_no_second_call() {
    let mut groups = groups(4);
    let first = groups.subscribe("group", "first", 0).unwrap();
    let second = groups.subscribe("group", "second", 0).unwrap();
    let third = groups.subscribe("group", "third", 0).unwrap();
    assert_eq!((second.generation, third.generation), (2, 3));
    let first = groups.rejoin(&first, 0).unwrap();
    assert_eq!(first.generation, 4, "the third waits in generation 3, and is called");
    let mut all = [first, second, third];
    settle(&mut groups, &mut all, 0);
    assert_eq!(all.each_ref().map(|m| (m.generation, m.partitions.len())), [(4, 2), (4, 1), (4, 1)]);
}

#[test]
fn who_is_silent_too_long_is_expelled_and_its_partitions_are_given_to_others() {
    let mut groups = groups(4);
    let mut members = settled(&mut groups, 2);
    let generation = members[0].generation;
    let now = TIMEOUT_MS - 1;
    assert_eq!(groups.heartbeat(&members[0], now), Ok(generation));
    assert_eq!(groups.expire(now), Some(TIMEOUT_MS), "one millisecond before");
    assert_eq!(groups.status(now)[0].members.len(), 2);

    assert_eq!(
        groups.heartbeat(&members[0], TIMEOUT_MS),
        Ok(generation + 1),
        "the survivor's next heartbeat"
    );
    assert_eq!(groups.status(TIMEOUT_MS)[0].members.len(), 1);
    let zombie = members.pop().unwrap();
    settle(&mut groups, &mut members, TIMEOUT_MS);
    assert_eq!(numbers(&members[0]), [0, 1, 2, 3]);

    for result in [
        groups.heartbeat(&zombie, TIMEOUT_MS).map(|_| ()),
        groups.holds(&zombie, zombie.partitions[0], TIMEOUT_MS),
        groups.rejoin(&zombie, TIMEOUT_MS).map(|_| ()),
        groups.leave(&zombie, TIMEOUT_MS),
    ] {
        let current = generation + 1;
        let expected = LogError::Fenced { group: "group".to_owned(), asked: zombie.generation, current };
        assert_eq!(result, Err(expected));
    }
    assert_eq!(groups.status(TIMEOUT_MS)[0].generation, generation + 1, "nothing of it had an effect");
}

#[test]
fn nobody_has_to_watch_the_clock() {
    let mut groups = groups(2);
    let lonely = groups.subscribe("group", "lonely", 0).unwrap();
    assert!(fenced(&groups.heartbeat(&lonely, TIMEOUT_MS)), "its own heartbeat comes too late");
    let late = groups.subscribe("group", "late", 10 * TIMEOUT_MS).unwrap();
    let next = groups.subscribe("group", "next", 20 * TIMEOUT_MS).unwrap();
    assert_eq!(numbers(&next), [0, 1], "who came late has died meanwhile");
    assert!(fenced(&groups.holds(&late, Partition(0), 20 * TIMEOUT_MS)));
    assert_eq!(groups.expire(100 * TIMEOUT_MS), None, "nobody is left to expect");
}

#[test]
fn a_commit_is_a_sign_of_life() {
    let mut groups = groups(1);
    let busy = groups.subscribe("group", "busy", 0).unwrap();
    for now in (0..10 * TIMEOUT_MS).step_by(usize::try_from(TIMEOUT_MS).unwrap() - 1) {
        assert_eq!(groups.holds(&busy, Partition(0), now), Ok(()));
    }
}

#[test]
fn what_a_member_leaves_is_free_at_once() {
    let mut groups = groups(4);
    let mut members = settled(&mut groups, 2);
    let gone = members.remove(0);
    groups.leave(&gone, 1).unwrap();
    assert!(fenced(&groups.heartbeat(&gone, 1)) && fenced(&groups.leave(&gone, 1)));
    assert_eq!(groups.heartbeat(&members[0], 1), Ok(gone.generation + 1));
    assert_eq!(groups.rejoin(&members[0], 1).map(|m| numbers(&m)), Ok(vec![0, 1, 2, 3]));
}

#[test]
fn a_member_that_subscribes_again_fences_its_former_self_and_keeps_its_partitions() {
    let mut groups = groups(6);
    let members = settled(&mut groups, 3);
    let again = groups.subscribe("group", "m1", 1).unwrap();
    assert_eq!(numbers(&again), numbers(&members[1]));
    assert!(again.generation > members[1].generation);
    assert!(
        fenced(&groups.heartbeat(&members[1], 1))
            && fenced(&groups.holds(&members[1], again.partitions[0], 1))
    );
    assert_eq!(groups.status(1)[0].members.len(), 3);
}

#[test]
fn sticky_moves_only_what_must_move_when_one_comes_or_goes() {
    let mut groups = groups(12);
    let mut members = settled(&mut groups, 4);
    let four = owners(&members);
    members.push(groups.subscribe("group", "m4", 0).unwrap());
    settle(&mut groups, &mut members, 0);
    let five = owners(&members);
    assert_eq!((five.len(), moved(&four, &five)), (12, 2), "a fifth of twelve, rounded down");

    let gone = members.remove(1);
    groups.leave(&gone, 0).unwrap();
    settle(&mut groups, &mut members, 0);
    let again = owners(&members);
    assert_eq!((again.len(), moved(&five, &again)), (12, gone.partitions.len()));
}

#[test]
fn an_assignment_holds_from_the_next_generation_on_and_is_kept() {
    let mut groups = groups(6);
    let mut members = settled(&mut groups, 3);
    let sticky = owners(&members);
    groups.assign("group", Assignment::Range, 0).unwrap();
    settle(&mut groups, &mut members, 0);
    assert_eq!(owners(&members), sticky, "nobody has come or gone");

    let gone = members.remove(0);
    groups.leave(&gone, 0).unwrap();
    settle(&mut groups, &mut members, 0);
    assert_eq!(members.iter().map(numbers).collect::<Vec<_>>(), [[0, 1, 2], [3, 4, 5]]);

    let text = groups.offsets().encode();
    let again = reopened(6, Offsets::decode(text.as_bytes()).unwrap());
    assert_eq!(again.status(0)[0].assignment, Assignment::Range);
}

#[test]
fn after_a_restart_members_must_subscribe_again_and_generations_go_on() {
    let mut groups = groups(2);
    let member = groups.subscribe("group", "member", 5).unwrap();
    groups.offsets_mut().commit("group", Partition(1), Offset(7));
    let text = groups.offsets().encode();

    let mut groups = reopened(2, Offsets::decode(text.as_bytes()).unwrap());
    assert!(fenced(&groups.heartbeat(&member, 0)) && fenced(&groups.holds(&member, Partition(1), 0)));
    assert_eq!(groups.offsets().committed("group", Partition(1)), Some(Offset(7)));
    let again = groups.subscribe("group", "member", 0).unwrap();
    assert_eq!((again.generation, numbers(&again)), (member.generation + 1, vec![0, 1]));
}

#[test]
fn the_file_that_the_format_draws_is_one() {
    let page = include_str!("../FORMAT.md");
    let from = page.find("systems-craft groups").unwrap();
    let text = page[from..].split("```").next().unwrap();
    let drawn = Offsets::decode(text.as_bytes()).unwrap();
    assert_eq!(drawn.encode(), text);
    assert_eq!(drawn.get("other").map(|group| group.assignment), Some(Assignment::Range));
    assert_eq!(
        (drawn.generation("storage"), drawn.committed("storage", Partition(0))),
        (3, Some(Offset(4711)))
    );
}

#[test]
fn a_group_has_so_many_members_and_no_more() {
    let mut groups = groups(3);
    for i in 0..GROUP_MEMBERS_MAX {
        groups.subscribe("group", &format!("m{i}"), 0).unwrap();
    }
    let full = LogError::TooManyMembers { group: "group".to_owned(), members_max: GROUP_MEMBERS_MAX };
    assert_eq!(groups.subscribe("group", "one-more", 0), Err(full));
    assert!(groups.subscribe("group", "m7", 0).is_ok(), "who is a member already may come again");
    assert!(groups.subscribe("other", "one-more", 0).is_ok(), "another group has its own bound");
    assert!(groups.subscribe("group", "one-more", TIMEOUT_MS).is_ok(), "the others have died");
}

#[test]
fn a_name_that_is_none_leaves_nothing_behind() {
    let mut groups = groups(3);
    for (group, member) in [("", "m"), ("two words", "m"), ("group", ""), ("group", "a\nb")] {
        assert!(
            matches!(groups.subscribe(group, member, 0), Err(LogError::BadName(_))),
            "{group:?} {member:?}"
        );
    }
    assert_eq!(
        groups.assign("two words", Assignment::Range, 0),
        Err(LogError::BadName("two words".to_owned()))
    );
    assert_eq!(groups.status(0), []);
}

#[test]
fn groups_do_not_touch_each_other() {
    let mut groups = groups(2);
    let one = groups.subscribe("one", "member", 0).unwrap();
    let two = groups.subscribe("two", "member", 0).unwrap();
    assert_eq!((numbers(&one), numbers(&two)), (vec![0, 1], vec![0, 1]));
    let stranger = Membership { group: "two".to_owned(), ..one.clone() };
    assert_eq!(groups.heartbeat(&stranger, 1), Ok(1), "one name and one generation: it is that member");
    groups.leave(&two, 1).unwrap();
    assert_eq!(groups.heartbeat(&one, 2), Ok(1));
    let nobody = Membership { group: "three".to_owned(), ..one };
    let expected = LogError::Fenced { group: "three".to_owned(), asked: 1, current: 0 };
    assert_eq!(groups.heartbeat(&nobody, 2), Err(expected));
}
