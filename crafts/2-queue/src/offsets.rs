//! How far the groups of consumers came, and which generation each has reached: what of the groups survives a restart.
//!
//! It is kept in one small file, as text, that is replaced as a whole. It is written with commits and heartbeats, at
//! most once a second, with each new generation, and when the log is closed: what a crash loses of it is about a second
//! of commits, so that some records are read again, and reading a record again changes nothing downstream.

use contracts::{
    limits::{GROUP_NAME_BYTES_MAX, GROUPS_MAX},
    queue::{Assignment, LogError, Offset, Partition, PartitionLag},
};
use crc32c::crc32c;
use std::{collections::BTreeMap, fmt::Write as _};

/// The groups' file.
pub const FILE: &str = "groups";
/// Its first line.
const TITLE: &str = "systems-craft groups 2";
/// Stands in the line of a group whose partitions are dealt out so. In other lines nothing stands there: so they read as
/// they did before there was a choice.
const RANGE: &str = "range";

/// Every group by its name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offsets {
    known: BTreeMap<String, Progress>,
    /// How many were declared by whoever opened the log: strangers cannot use up their places.
    declared: usize,
}

/// One group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Rises with every change of its membership.
    pub generation: u64,
    /// How its partitions are dealt out.
    pub assignment: Assignment,
    /// By partition; those that it never committed are missing.
    committed: BTreeMap<u32, u64>,
}

impl Offsets {
    /// Makes sure that these exist, and so hold the log even before they first subscribe.
    pub fn declare(&mut self, names: &[String]) {
        for name in names {
            self.known.entry(name.clone()).or_default();
        }
        self.declared = names.len();
    }

    /// All groups, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Progress)> {
        self.known.iter().map(|(name, progress)| (name.as_str(), progress))
    }

    /// A group that is known.
    pub fn get(&self, name: &str) -> Option<&Progress> {
        self.known.get(name)
    }

    /// A group, which begins to be known if it was not.
    ///
    /// # Errors
    /// [`LogError::BadName`], [`LogError::TooManyGroups`].
    pub fn know(&mut self, name: &str) -> Result<&mut Progress, LogError> {
        check_name(name)?;
        if self.known.len() >= self.declared + GROUPS_MAX && !self.known.contains_key(name) {
            return Err(LogError::TooManyGroups(GROUPS_MAX));
        }
        Ok(self.known.entry(name.to_owned()).or_default())
    }

    /// The generation of a group; 0 of one that is not known.
    pub fn generation(&self, name: &str) -> u64 {
        self.known.get(name).map_or(0, |group| group.generation)
    }

    /// Higher than before if any group has begun a generation since.
    pub fn generations(&self) -> u64 {
        self.known.values().map(|group| group.generation).fold(0, u64::wrapping_add)
    }

    /// Everything before `next` is done. Of a group that is not known nothing is kept.
    pub fn commit(&mut self, name: &str, partition: Partition, next: Offset) {
        if let Some(group) = self.known.get_mut(name) {
            group.committed.insert(partition.0, next.0);
        }
    }

    /// How far a group came; `None` if it never committed.
    pub fn committed(&self, name: &str, partition: Partition) -> Option<Offset> {
        self.known.get(name)?.committed(partition)
    }

    /// Up to where every group is done in each partition; nothing is, if one of them never committed, or there is none.
    pub fn done(&self, partitions: u32) -> Vec<u64> {
        let done = |partition| {
            let of = |group: &Progress| group.committed.get(&partition).copied().unwrap_or(0);
            self.known.values().map(of).min().unwrap_or(0)
        };
        (0..partitions).map(done).collect()
    }

    /// After a power cut a commit may be on disk, and the records before it not. What comes to lie at those offsets
    /// then was never read by anybody.
    pub fn forget_beyond(&mut self, ends: &[u64]) {
        for group in self.known.values_mut() {
            group.committed.retain(|partition, _| (*partition as usize) < ends.len());
            for (partition, next) in &mut group.committed {
                *next = (*next).min(ends[*partition as usize]);
            }
        }
    }

    /// A line a group: `name generation`, then `range` if that is so, then `partition=committed` for each; and a checksum of
    /// everything before it.
    pub fn encode(&self) -> String {
        let mut text = format!("{TITLE}\n");
        for (name, Progress { generation, assignment, committed }) in &self.known {
            let _ = write!(text, "{name} {generation}");
            if *assignment == Assignment::Range {
                let _ = write!(text, " {RANGE}");
            }
            for (partition, next) in committed {
                let _ = write!(text, " {partition}={next}");
            }
            text.push('\n');
        }
        let checksum = crc32c(text.as_bytes());
        let _ = writeln!(text, "{checksum:08x}");
        text
    }

    /// Reads what [`Offsets::encode`] wrote.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn decode(text: &[u8]) -> Result<Self, String> {
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
        let known = lines.map(|line| group_of(line).ok_or_else(|| format!("{line:?} is no group")));
        Ok(Self { known: known.collect::<Result<_, _>>()?, ..Self::default() })
    }
}

impl Progress {
    /// How far it came; `None` if it never committed.
    pub fn committed(&self, partition: Partition) -> Option<Offset> {
        self.committed.get(&partition.0).copied().map(Offset)
    }

    /// What is known here of its lag in each partition: what it has committed.
    pub fn lags(&self, partitions: u32) -> Vec<PartitionLag> {
        let lag = |partition| PartitionLag {
            partition,
            committed: self.committed(partition),
            ..PartitionLag::default()
        };
        (0..partitions).map(Partition).map(lag).collect()
    }
}

/// Of a group or a member.
///
/// # Errors
/// [`LogError::BadName`].
pub fn check_name(name: &str) -> Result<(), LogError> {
    let fits = (1..=GROUP_NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_graphic());
    if fits { Ok(()) } else { Err(LogError::BadName(name.chars().take(GROUP_NAME_BYTES_MAX).collect())) }
}

fn group_of(line: &str) -> Option<(String, Progress)> {
    let mut words = line.split(' ').peekable();
    let (name, generation) = (words.next()?, words.next()?.parse().ok()?);
    check_name(name).ok()?;
    let range = words.next_if_eq(&RANGE).is_some();
    let assignment = if range { Assignment::Range } else { Assignment::Sticky };
    let committed = words.map(|word| {
        let (partition, next) = word.split_once('=')?;
        Some((partition.parse().ok()?, next.parse().ok()?))
    });
    Some((name.to_owned(), Progress { generation, assignment, committed: committed.collect::<Option<_>>()? }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Offsets {
        let mut groups = Offsets::default();
        groups.declare(&["storage".to_owned()]);
        groups.know("a-b.c/d:~!").unwrap().generation = 1;
        groups.know("other").unwrap().generation = 1;
        groups.know("ranged").unwrap().assignment = Assignment::Range;
        groups.commit("ranged", Partition(4), Offset(2));
        groups.commit("other", Partition(1), Offset(u64::MAX));
        groups.commit("other", Partition(0), Offset(3));
        groups
    }

    #[test]
    fn the_text_reads_back() {
        let text = example().encode();
        assert_eq!(
            text.lines().collect::<Vec<_>>()[..5],
            [TITLE, "a-b.c/d:~! 1", "other 1 0=3 1=18446744073709551615", "ranged 0 range 4=2", "storage 0"]
        );
        let back = Offsets::decode(text.as_bytes()).unwrap();
        assert_eq!((back.encode(), back.generation("other"), back.generation("nobody")), (text, 1, 0));
        let assignment = |name| back.get(name).map(|group| group.assignment);
        assert_eq!(
            assignment("other").zip(assignment("ranged")),
            Some((Assignment::Sticky, Assignment::Range))
        );
    }

    #[test]
    fn every_shorter_text_and_every_flipped_bit_is_noticed() {
        let text = example().encode().into_bytes();
        for end in 0..text.len() {
            assert!(Offsets::decode(&text[..end]).is_err(), "the first {end} bytes");
        }
        for at in 0..text.len() {
            for bit in 0..8 {
                let mut wrong = text.clone();
                wrong[at] ^= 1 << bit;
                assert!(Offsets::decode(&wrong).is_err(), "byte {at}, bit {bit}");
            }
        }
    }

    #[test]
    fn the_slowest_group_decides_what_is_done() {
        let mut groups = Offsets::default();
        assert_eq!(groups.done(2), [0, 0], "without a group nobody has said that anything is done");
        groups.declare(&["storage".to_owned()]);
        groups.know("quick").unwrap();
        groups.commit("quick", Partition(0), Offset(9));
        assert_eq!(groups.done(2), [0, 0]);
        groups.commit("storage", Partition(0), Offset(5));
        assert_eq!(groups.done(2), [5, 0]);
        groups.commit("quick", Partition(7), Offset(1));
        groups.forget_beyond(&[7, 0]);
        let committed = |group, partition| groups.committed(group, Partition(partition)).map(|o| o.0);
        assert_eq!(
            (committed("quick", 0), committed("storage", 0), committed("quick", 7)),
            (Some(7), Some(5), None)
        );
    }

    #[test]
    fn strangers_cannot_use_up_the_places_of_those_that_were_declared() {
        let mut groups = Offsets::default();
        groups.declare(&["storage".to_owned()]);
        for i in 0..GROUPS_MAX {
            groups.know(&format!("stranger-{i}")).unwrap();
        }
        assert_eq!(groups.know("one-more").map(|_| ()), Err(LogError::TooManyGroups(GROUPS_MAX)));
        assert!(groups.know("storage").is_ok() && groups.know("stranger-7").is_ok());
        assert!(groups.know("two words").is_err());
    }
}
