//! The log keeps its contract.

#![allow(clippy::unwrap_used)] // a test that cannot go on should stop

use contracts::queue::{
    Ack, Assignment, Bounds, FetchLimit, GroupStatus, Log, LogError, Membership, Offset, Partition, Producer,
    Records, Stored,
};
use queue::{Codec, FileLog, LogConfig};
use std::sync::Arc;
use tempfile::TempDir;

#[test]
fn the_log_keeps_its_contract() {
    conformance::queue::check(|| open(LogConfig::for_groups(&[]))).assert_all_hold();
}

#[test]
fn the_log_keeps_its_contract_with_a_group_that_never_comes() {
    conformance::queue::check(|| open(LogConfig::for_groups(&["storage"]))).assert_all_hold();
}

#[test]
fn the_log_keeps_its_contract_in_segments_of_a_few_records() {
    conformance::queue::check(|| {
        open(LogConfig { segment_bytes_max: 4 << 10, codec: Codec::Lz4, ..LogConfig::for_groups(&[]) })
    })
    .assert_all_hold();
}

#[test]
fn the_log_keeps_its_contract_with_several_partitions() {
    conformance::queue::check(|| {
        open(LogConfig { segment_bytes_max: 16 << 10, partitions: 3, ..LogConfig::for_groups(&[]) })
    })
    .assert_all_hold();
}

fn open(config: LogConfig) -> Arc<dyn Log> {
    let dir = tempfile::tempdir().unwrap();
    let (log, recovery) = FileLog::open(dir.path(), config).unwrap();
    assert_eq!((recovery.records, recovery.cut), (0, None));
    Arc::new(Temporary { log, _dir: dir })
}

/// A log whose directory goes when the log has gone. Fields are dropped in this order.
struct Temporary {
    log: FileLog,
    _dir: TempDir,
}

impl Log for Temporary {
    fn partitions(&self) -> u32 {
        self.log.partitions()
    }

    fn ack_max(&self) -> Ack {
        self.log.ack_max()
    }

    fn producer(&self, ack: Ack) -> Result<Box<dyn Producer>, LogError> {
        self.log.producer(ack)
    }

    fn bounds(&self, partition: Partition) -> Result<Bounds, LogError> {
        self.log.bounds(partition)
    }

    fn fetch(
        &self,
        p: Partition,
        from: Offset,
        limit: FetchLimit,
        out: &mut Records,
    ) -> Result<(), LogError> {
        self.log.fetch(p, from, limit, out)
    }

    fn subscribe(&self, group: &str, member: &str) -> Result<Membership, LogError> {
        self.log.subscribe(group, member)
    }

    fn rejoin(&self, membership: &Membership) -> Result<Membership, LogError> {
        self.log.rejoin(membership)
    }

    fn heartbeat(&self, membership: &Membership) -> Result<u64, LogError> {
        self.log.heartbeat(membership)
    }

    fn leave(&self, membership: &Membership) -> Result<(), LogError> {
        self.log.leave(membership)
    }

    fn assign(&self, group: &str, assignment: Assignment) -> Result<(), LogError> {
        self.log.assign(group, assignment)
    }

    fn groups(&self) -> Result<Vec<GroupStatus>, LogError> {
        self.log.groups()
    }

    fn group_members_max(&self) -> usize {
        self.log.group_members_max()
    }

    fn fetch_stored(
        &self,
        partition: Partition,
        from: Offset,
        limit: FetchLimit,
    ) -> Result<Option<Stored>, LogError> {
        self.log.fetch_stored(partition, from, limit)
    }

    fn commit(&self, membership: &Membership, partition: Partition, next: Offset) -> Result<(), LogError> {
        self.log.commit(membership, partition, next)
    }

    fn committed(&self, group: &str, partition: Partition) -> Result<Option<Offset>, LogError> {
        self.log.committed(group, partition)
    }
}
