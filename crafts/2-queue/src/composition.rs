//! The production log: which type fills each slot.

use crate::commit::GroupCommit;
use crate::groups::ConsumerGroups;
use crate::log::Queue;
use crate::store::Segments;
use crate::transfer::Packed;

/// As it is asked for.
pub const NAME: &str = "phase6";
/// What it is, in a few words.
pub const TITLE: &str = "compression and zero copy";
/// The log, put together.
pub type FileLog = Queue<Segments, GroupCommit, ConsumerGroups, Packed>;
