//! Groups that have one member, who reads everything.

use super::{
    Open,
    talk::{FIRST, is_fenced},
};
use crate::claim::{Check, Claim, Explain, ensure};
use contracts::queue::Offset;
use std::collections::BTreeSet;

pub(super) const CLAIMS: &[Claim<Open>] = &[Claim {
    says: "a second member begins a new generation and fences the first",
    check: second_member_fences,
}];

fn second_member_fences(open: &Open) -> Check {
    let log = open();
    let first = log.subscribe("group", "first").explain("subscribe")?;
    let second = log.subscribe("group", "second").explain("subscribe")?;
    ensure(second.generation > first.generation, || {
        format!(
            "a second member subscribes, its generation: expected more than {}; got {}",
            first.generation, second.generation
        )
    })?;
    let given: BTreeSet<_> = second.partitions.iter().copied().collect();
    ensure(given.len() == second.partitions.len() && given.iter().all(|p| p.0 < log.partitions()), || {
        format!("a second member subscribes, its partitions: expected each once; got {:?}", second.partitions)
    })?;
    is_fenced(
        "a heartbeat of the first member after a second subscribed",
        &log.heartbeat(&first).map(|_| ()),
        &first,
        second.generation,
    )?;
    is_fenced(
        "a commit of the first member after a second subscribed",
        &log.commit(&first, FIRST, Offset(0)),
        &first,
        second.generation,
    )?;
    log.heartbeat(&second).explain("heartbeat of the second member")?;
    let again = log.subscribe("group", "first").explain("subscribing again")?;
    log.heartbeat(&again).map(|_| ()).explain("heartbeat after subscribing again")
}
