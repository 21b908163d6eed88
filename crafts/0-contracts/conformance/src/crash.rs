//! What a log must keep through `kill -9`: a load on any [`Log`](contracts::queue::Log), and the books that are held against the log afterwards.
//!
//! ```text
//!  Ledger::orders ─▶ work: producers and members on a log ─▶ notes, on files ─▶ Ledger::hear
//!                                    ╳ killed                                       │
//!                    the log, opened again ─────────────────────────────────▶ Ledger::check
//! ```
//!
//! One life of the log's process after the other is ended by a signal. What was acknowledged, read and committed in it is
//! noted in files, which outlive the process: whether the load runs in the process that is killed, or in another one that
//! talks to it over HTTP, makes no difference. Every record is a pure function of its tag and of the plan's seed, so nothing
//! is remembered but tags.
//!
//! What is checked:
//!
//! * What was acknowledged at `os` or `disk` is there, whole, and where the log had said.
//! * What a reader has seen is still there, unless it was committed and dropped since.
//! * Within a partition each producer's records are in its order, without a gap.
//! * No record is there twice: not those that were sent once, nor those whose producer repeats what was not answered, under
//!   the number of the first time. Such a batch is there as a whole or not at all.
//! * A group gets every record, at least once; a partition is not handed to two members of one generation; generations
//!   never fall.
//!
//! What is no crash (a full disk, damage) is left to others, and so is a loss of power: a page cache outlives a process.

mod ledger;
mod load;
mod notes;
mod record;

pub use ledger::{Ledger, Seen};
pub use load::work;

use contracts::queue::Ack;
use serde::{Deserialize, Serialize};

/// The group whose members read the log.
pub const GROUP: &str = "readers";

/// What a load consists of.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// All that is drawn follows from it.
    pub seed: u64,
    /// Producers that send everything once; each waits for another one of these levels.
    pub plain: Vec<Ack>,
    /// Producers that repeat what was not answered, under its number; none, if the log does not offer that. At the strongest
    /// level.
    pub identified: u32,
    /// Members of [`GROUP`]; fewer, if the log's groups cannot have so many.
    pub members: u32,
    /// What the load does wrong.
    pub fault: Option<Fault>,
}

/// A load that does something wrong shows that the check would see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fault {
    /// Plain producers acknowledge what they have not written.
    AcknowledgesFirst,
    /// What was not answered is repeated without its number.
    RepeatsAsNew,
    /// Members commit what they have not read.
    CommitsUnread,
}

/// What one life of the load is to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Orders {
    /// What it consists of.
    pub plan: Plan,
    /// The how manieth life it is, from 1.
    pub life: u32,
    /// For each identified producer and partition: the first batch that was not answered.
    pub unanswered: Vec<(u32, u32, u32)>,
}
