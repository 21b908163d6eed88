//! Consumer groups: who is their member, and how far they came.
//!
//! They are kept in one small file, as text, that is replaced as a whole. It is written with commits and heartbeats, at
//! most once a second, and when the log is closed: what a crash loses of it is about a second of commits, so that some
//! records are read again, and reading a record again changes nothing downstream.
//!
//! A group has one member here, who reads all partitions.

use contracts::{
    limits::{GROUP_NAME_BYTES_MAX, GROUPS_MAX},
    queue::{GroupStatus, LogError, MemberStatus, Membership, Offset, Partition, PartitionLag},
};
use crc32c::crc32c;
use std::{collections::BTreeMap, fmt::Write as _, io};

/// The first line of the file.
const TITLE: &str = "systems-craft groups 2";

/// Every group by its name.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    known: BTreeMap<String, Group>,
    /// How many were declared by whoever opened the log: strangers cannot use up their places.
    declared: usize,
    /// Whether something has changed that the file does not say.
    changed: bool,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Group {
    generation: u64,
    /// Nobody after a restart: members must subscribe again.
    member: String,
    /// By partition; those that it never committed are missing.
    committed: BTreeMap<u32, u64>,
}

impl Group {
    fn members(&self, partitions: Vec<Partition>) -> Vec<MemberStatus> {
        let Self { generation, member, .. } = self;
        let status = || MemberStatus {
            member: member.clone(),
            generation: *generation,
            partitions,
            ..MemberStatus::default()
        };
        if member.is_empty() { Vec::new() } else { vec![status()] }
    }

    fn lag(&self, partition: Partition) -> PartitionLag {
        let committed = self.committed.get(&partition.0).copied().map(Offset);
        PartitionLag { partition, committed, ..PartitionLag::default() }
    }
}

impl Groups {
    /// Makes sure that these exist, and so hold the log even before they first subscribe.
    pub(crate) fn declare(&mut self, names: &[String]) {
        for name in names {
            self.known.entry(name.clone()).or_default();
        }
        self.declared = names.len();
    }

    pub(crate) fn subscribe(
        &mut self,
        name: &str,
        member: &str,
        partitions: u32,
    ) -> Result<Membership, LogError> {
        check_name(name)?;
        check_name(member)?;
        if self.known.len() >= self.declared + GROUPS_MAX && !self.known.contains_key(name) {
            return Err(LogError::TooManyGroups(GROUPS_MAX));
        }
        let group = self.known.entry(name.to_owned()).or_default();
        group.generation += 1;
        member.clone_into(&mut group.member);
        let generation = group.generation;
        self.changed = true;
        Ok(Membership {
            group: name.to_owned(),
            member: member.to_owned(),
            generation,
            partitions: (0..partitions).map(Partition).collect(),
        })
    }

    /// Whether the member is still its group's current one.
    pub(crate) fn check(&self, membership: &Membership) -> Result<(), LogError> {
        let Membership { group, member, generation, .. } = membership;
        match self.known.get(group) {
            Some(known) if known.generation == *generation && known.member == *member => Ok(()),
            known => {
                let current = known.map_or(0, |known| known.generation);
                Err(LogError::Fenced { group: group.clone(), asked: *generation, current })
            }
        }
    }

    pub(crate) fn commit(&mut self, name: &str, partition: Partition, next: u64) {
        if let Some(group) = self.known.get_mut(name) {
            group.committed.insert(partition.0, next);
            self.changed = true;
        }
    }

    pub(crate) fn committed(&self, name: &str, partition: Partition) -> Option<u64> {
        self.known.get(name)?.committed.get(&partition.0).copied()
    }

    /// All groups, as far as is known here: where the partitions end is not.
    pub(crate) fn status(&self, partitions: u32) -> Vec<GroupStatus> {
        let all = || (0..partitions).map(Partition);
        let status = |(name, group): (&String, &Group)| GroupStatus {
            group: name.clone(),
            generation: group.generation,
            members: group.members(all().collect()),
            partitions: all().map(|partition| group.lag(partition)).collect(),
            ..GroupStatus::default()
        };
        self.known.iter().map(status).collect()
    }

    /// Up to where every group is done in each partition; nothing is, if one of them never committed, or there is none.
    pub(crate) fn done(&self, partitions: u32) -> Vec<u64> {
        let done = |partition| {
            let of = |group: &Group| group.committed.get(&partition).copied().unwrap_or(0);
            self.known.values().map(of).min().unwrap_or(0)
        };
        (0..partitions).map(done).collect()
    }

    /// After a power cut a commit may be on disk, and the records before it not. What comes to lie at those offsets
    /// then was never read by anybody.
    pub(crate) fn forget_beyond(&mut self, ends: &[u64]) {
        for group in self.known.values_mut() {
            group.committed.retain(|partition, _| (*partition as usize) < ends.len());
            for (partition, next) in &mut group.committed {
                *next = (*next).min(ends[*partition as usize]);
            }
        }
    }

    /// Has the file's content written, if it has changed. If that fails it is tried again the next time.
    pub(crate) fn save(&mut self, write: impl FnOnce(&str) -> io::Result<()>) {
        if self.changed {
            self.changed = write(&self.encode()).is_err();
        }
    }

    /// A line a group: `name generation`, then `partition=committed` for each, and a checksum of everything before it.
    fn encode(&self) -> String {
        let mut text = format!("{TITLE}\n");
        for (name, Group { generation, committed, .. }) in &self.known {
            let _ = write!(text, "{name} {generation}");
            for (partition, next) in committed {
                let _ = write!(text, " {partition}={next}");
            }
            text.push('\n');
        }
        let checksum = crc32c(text.as_bytes());
        let _ = writeln!(text, "{checksum:08x}");
        text
    }

    /// Reads what [`Groups::save`] had written.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn decode(text: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(text).map_err(|e| e.to_string())?;
        let cut_short = "it is cut short";
        let last = text.strip_suffix('\n').and_then(|all| all.rfind('\n')).ok_or(cut_short)?;
        let (body, checksum) = text.split_at(last + 1);
        if checksum.trim_end() != format!("{:08x}", crc32c(body.as_bytes())) {
            return Err("its checksum is wrong".to_owned());
        }
        let mut lines = body.lines();
        if lines.next() != Some(TITLE) {
            return Err(format!("it does not begin with {TITLE:?}"));
        }
        let line = |line: &str| {
            let mut words = line.split(' ');
            let (name, generation) = (words.next()?, words.next()?.parse().ok()?);
            check_name(name).ok()?;
            let committed = words.map(|word| {
                let (partition, next) = word.split_once('=')?;
                Some((partition.parse().ok()?, next.parse().ok()?))
            });
            let committed = committed.collect::<Option<_>>()?;
            Some((name.to_owned(), Group { generation, member: String::new(), committed }))
        };
        let known = lines.map(|l| line(l).ok_or_else(|| format!("{l:?} is no group")));
        Ok(Self { known: known.collect::<Result<_, _>>()?, ..Self::default() })
    }
}

fn check_name(name: &str) -> Result<(), LogError> {
    let fits = (1..=GROUP_NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_graphic());
    if fits { Ok(()) } else { Err(LogError::BadName(name.chars().take(GROUP_NAME_BYTES_MAX).collect())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Groups {
        let mut groups = Groups::default();
        groups.declare(&["storage".to_owned()]);
        groups.subscribe("a-b.c/d:~!", "m", 2).unwrap();
        groups.subscribe("other", "m", 2).unwrap();
        groups.commit("other", Partition(1), u64::MAX);
        groups.commit("other", Partition(0), 3);
        groups
    }

    #[test]
    fn the_text_reads_back_without_the_members() {
        let text = example().encode();
        assert_eq!(
            text.lines().collect::<Vec<_>>()[..4],
            [TITLE, "a-b.c/d:~! 1", "other 1 0=3 1=18446744073709551615", "storage 0"]
        );
        let mut back = Groups::decode(text.as_bytes()).unwrap();
        assert_eq!(back.encode(), text);
        let stale = Membership {
            group: "other".to_owned(),
            member: "m".to_owned(),
            generation: 1,
            partitions: Vec::new(),
        };
        assert!(matches!(back.check(&stale), Err(LogError::Fenced { current: 1, .. })));
        assert_eq!(back.subscribe("other", "m", 2).unwrap().generation, 2);
    }

    #[test]
    fn what_could_not_be_saved_is_saved_the_next_time() {
        let mut groups = example();
        groups.save(|_| Err(io::ErrorKind::StorageFull.into()));
        let mut saved = String::new();
        groups.save(|text| {
            text.clone_into(&mut saved);
            Ok(())
        });
        assert_eq!(saved, groups.encode());
        groups.save(|_| panic!("nothing has changed since"));
    }

    #[test]
    fn every_shorter_text_and_every_flipped_bit_is_noticed() {
        let text = example().encode().into_bytes();
        for end in 0..text.len() {
            assert!(Groups::decode(&text[..end]).is_err(), "the first {end} bytes");
        }
        for at in 0..text.len() {
            for bit in 0..8 {
                let mut wrong = text.clone();
                wrong[at] ^= 1 << bit;
                assert!(Groups::decode(&wrong).is_err(), "byte {at}, bit {bit}");
            }
        }
    }

    #[test]
    fn the_slowest_group_decides_what_is_done() {
        let mut groups = Groups::default();
        assert_eq!(groups.done(2), [0, 0], "without a group nobody has said that anything is done");
        groups.declare(&["storage".to_owned()]);
        groups.subscribe("quick", "m", 2).unwrap();
        groups.commit("quick", Partition(0), 9);
        assert_eq!(groups.done(2), [0, 0]);
        groups.commit("storage", Partition(0), 5);
        assert_eq!(groups.done(2), [5, 0]);
        groups.commit("quick", Partition(7), 1);
        groups.forget_beyond(&[7, 0]);
        let committed = |group, partition| groups.committed(group, Partition(partition));
        assert_eq!(
            (committed("quick", 0), committed("storage", 0), committed("quick", 7)),
            (Some(7), Some(5), None)
        );
    }
}
