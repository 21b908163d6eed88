//! What is said of consumer groups in Prometheus text: how far they are behind, who is in them, how often their partitions
//! were dealt out anew.
//!
//! A log may have a million pairs of a group and a partition. Groups are told one after the other, with all their partitions
//! as long as there is room for them, and in any case with the sum.

use contracts::queue::GroupStatus;
use std::fmt::{Display, Write as _};

/// Most pairs of a group and a partition that are told.
const PARTITIONS_TOLD_MAX: usize = 4096;

/// Appends the metrics of these groups to `out`.
pub(crate) fn render(groups: &[GroupStatus], out: &mut String) {
    let sum = |group: &GroupStatus| group.partitions.iter().map(|partition| partition.lag).sum();
    let members = |group: &GroupStatus| group.members.len() as u64;
    for (name, kind, help, value) in [
        (
            "lag_records",
            "gauge",
            "Records that the group has not committed.",
            &sum as &dyn Fn(&GroupStatus) -> u64,
        ),
        ("members", "gauge", "Members of the group.", &members),
        ("generation", "gauge", "The group's generation.", &|group| group.generation),
        ("rebalances_total", "counter", "How often its partitions were dealt out anew.", &|group| {
            group.rebalances
        }),
    ] {
        let name = format!("craft_queue_group_{name}");
        describe(&name, kind, help, out);
        for group in groups {
            let _ = writeln!(out, "{name}{{group=\"{}\"}} {}", escaped(&group.group), value(group));
        }
    }
    let name = "craft_queue_lag_records";
    describe(name, "gauge", "Records of the partition that the group has not committed.", out);
    let pairs =
        groups.iter().flat_map(|group| group.partitions.iter().map(move |partition| (group, partition)));
    for (group, told) in pairs.take(PARTITIONS_TOLD_MAX) {
        let (group, partition) = (escaped(&group.group), told.partition.0);
        let _ = writeln!(out, "{name}{{group=\"{group}\",partition=\"{partition}\"}} {}", told.lag);
    }
}

fn describe(name: &str, kind: impl Display, help: &str, out: &mut String) {
    let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
}

/// Names of groups are printable ASCII.
fn escaped(name: &str) -> String {
    name.replace('\\', "\\\\").replace('"', "\\\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use contracts::queue::{Bounds, MemberStatus, Offset, Partition, PartitionLag};

    fn group(name: &str, partitions: u32) -> GroupStatus {
        let bounds = Bounds { start: Offset(2), end: Offset(12) };
        let lag = |partition| PartitionLag::of(Partition(partition), Some(Offset(9)), bounds);
        GroupStatus {
            group: name.to_owned(),
            generation: 4,
            rebalances: 3,
            members: vec![MemberStatus::default()],
            partitions: (0..partitions).map(lag).collect(),
            ..GroupStatus::default()
        }
    }

    #[test]
    fn a_group_is_told_with_its_sum_and_each_partition() {
        let mut out = String::new();
        render(&[group(r#"a"b\c"#, 2)], &mut out);
        let values: Vec<_> = out.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            values,
            [
                r#"craft_queue_group_lag_records{group="a\"b\\c"} 6"#,
                r#"craft_queue_group_members{group="a\"b\\c"} 1"#,
                r#"craft_queue_group_generation{group="a\"b\\c"} 4"#,
                r#"craft_queue_group_rebalances_total{group="a\"b\\c"} 3"#,
                r#"craft_queue_lag_records{group="a\"b\\c",partition="0"} 3"#,
                r#"craft_queue_lag_records{group="a\"b\\c",partition="1"} 3"#,
            ]
        );
    }

    #[test]
    fn very_many_partitions_are_told_by_their_sum() {
        let groups: Vec<_> = (0..10).map(|n| group(&format!("g{n}"), 1024)).collect();
        let mut out = String::new();
        render(&groups, &mut out);
        let told = out.lines().filter(|line| line.starts_with("craft_queue_lag_records{")).count();
        assert_eq!(told, PARTITIONS_TOLD_MAX);
        assert!(out.contains(r#"craft_queue_group_lag_records{group="g9"} 3072"#));
    }
}
