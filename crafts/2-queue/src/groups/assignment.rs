//! Which member is to have which partition: a function, without memory.
//!
//! Everybody's share is the same, but for one partition more where they do not come out even. *Range* is how a page of a
//! phone book is cut; *sticky* asks first who holds what, so that only what must move does: a partition that moves costs a
//! pause, and whatever its reader has in its caches.
//!
//! Both are Kafka's ideas (range from the beginning, sticky: KIP-54). There a client deals for all the others; here the
//! log does, so that two clients cannot deal differently.

use contracts::queue::Assignment;
use std::{cmp::Reverse, collections::BTreeSet};

/// Partitions, ascending.
pub(super) type Share = BTreeSet<u32>;

/// A share for each member, in the order of the members' names. `held` says what each of them holds.
pub(super) fn deal(assignment: Assignment, partitions: u32, held: &[&Share]) -> Vec<Share> {
    match assignment {
        Assignment::Range => range(partitions, held.len()),
        Assignment::Sticky => sticky(partitions, held),
    }
}

fn range(partitions: u32, members: usize) -> Vec<Share> {
    let mut left = 0..partitions;
    (0..members).map(|member| left.by_ref().take(size(partitions, members, member)).collect()).collect()
}

fn sticky(partitions: u32, held: &[&Share]) -> Vec<Share> {
    // The larger shares go to those who hold the most: given to others, one partition more would have to move.
    let mut by_held: Vec<usize> = (0..held.len()).collect();
    by_held.sort_by_key(|member| Reverse(held[*member].len()));
    let mut sizes = vec![0; held.len()];
    for (rank, member) in by_held.into_iter().enumerate() {
        sizes[member] = size(partitions, held.len(), rank);
    }
    let mut shares: Vec<Share> =
        held.iter().zip(&sizes).map(|(held, size)| held.iter().copied().take(*size).collect()).collect();
    let kept: Share = shares.iter().flatten().copied().collect();
    let mut rest = (0..partitions).filter(|partition| !kept.contains(partition));
    for (share, size) in shares.iter_mut().zip(sizes) {
        let missing = size - share.len();
        share.extend(rest.by_ref().take(missing));
    }
    shares
}

/// How many partitions the first, the second, … of the members gets.
fn size(partitions: u32, members: usize, rank: usize) -> usize {
    let partitions = partitions as usize;
    partitions / members + usize::from(rank < partitions % members)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*};

    fn share(partitions: impl IntoIterator<Item = u32>) -> Share {
        partitions.into_iter().collect()
    }

    fn dealt(assignment: Assignment, partitions: u32, held: &[Share]) -> Vec<Share> {
        deal(assignment, partitions, &held.iter().collect::<Vec<_>>())
    }

    #[test]
    fn a_range_is_cut_into_neighbours_and_the_first_get_one_more() {
        let nothing = vec![Share::new(); 3];
        assert_eq!(dealt(Assignment::Range, 8, &nothing), [share(0..3), share(3..6), share(6..8)]);
        assert_eq!(dealt(Assignment::Range, 2, &nothing), [share(0..1), share(1..2), share([])]);
    }

    #[test]
    fn a_newcomer_takes_no_more_than_its_share_from_those_who_hold_everything() {
        let held = [share([0, 2, 4, 6]), share([]), share([1, 3, 5, 7])];
        let expected = [share([0, 2, 4]), share([6, 7]), share([1, 3, 5])];
        assert_eq!(dealt(Assignment::Sticky, 8, &held), expected);
    }

    #[test]
    fn what_a_dead_member_held_is_all_that_moves() {
        let held = [share([0, 5, 6]), share([2, 3, 7])];
        assert_eq!(dealt(Assignment::Sticky, 8, &held), [share([0, 1, 5, 6]), share([2, 3, 4, 7])]);
    }

    #[test]
    fn without_members_nobody_gets_anything() {
        assert_eq!(dealt(Assignment::Sticky, 8, &[]), Vec::<Share>::new());
        assert_eq!(dealt(Assignment::Range, 8, &[]), Vec::<Share>::new());
    }

    /// Up to six members, who hold partitions as it happens, and some that nobody holds.
    fn holdings() -> impl Strategy<Value = (u32, Vec<Share>)> {
        (1..=6_usize, vec(0..=6_usize, 1..20)).prop_map(|(members, holders)| {
            let held = |member| (0..).zip(&holders).filter(move |(_, holder)| **holder == member);
            let shares = (0..members).map(|member| held(member).map(|(partition, _)| partition).collect());
            (u32::try_from(holders.len()).unwrap(), shares.collect())
        })
    }

    /// The most partitions that can stay where they are, found by trying everybody who could get one more.
    fn most_that_can_stay(partitions: u32, held: &[Share]) -> usize {
        let (base, larger) =
            (partitions as usize / held.len(), partitions % u32::try_from(held.len()).unwrap());
        let stay = |set: u32| {
            let size = |member: usize| base + usize::from(set & (1 << member) != 0);
            held.iter().enumerate().map(|(member, held)| held.len().min(size(member))).sum()
        };
        (0..1_u32 << held.len()).filter(|set| set.count_ones() == larger).map(stay).max().unwrap()
    }

    proptest! {
        #[test]
        fn everything_is_dealt_once_and_fairly((partitions, held) in holdings()) {
            for assignment in [Assignment::Range, Assignment::Sticky] {
                let shares = dealt(assignment, partitions, &held);
                let mut all: Vec<u32> = shares.iter().flatten().copied().collect();
                all.sort_unstable();
                prop_assert_eq!(all, (0..partitions).collect::<Vec<_>>());
                let sizes = || shares.iter().map(Share::len);
                prop_assert!(sizes().max().unwrap() - sizes().min().unwrap() <= 1, "{:?}", shares);
            }
        }

        #[test]
        fn sticky_moves_no_partition_that_could_stay((partitions, held) in holdings()) {
            let shares = dealt(Assignment::Sticky, partitions, &held);
            let stay: usize = held.iter().zip(&shares).map(|(held, share)| held.intersection(share).count()).sum();
            prop_assert_eq!(stay, most_that_can_stay(partitions, &held), "{:?} became {:?}", held, shares);
        }

        #[test]
        fn a_range_is_contiguous((partitions, held) in holdings()) {
            let in_turn: Vec<u32> = dealt(Assignment::Range, partitions, &held).into_iter().flatten().collect();
            prop_assert!(in_turn.is_sorted());
        }
    }
}
