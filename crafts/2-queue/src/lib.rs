//! Craft 2: the log between ingest and storage.
//!
//! [`FileLog`] is one sequence of frames for all partitions, in files. In comes what producers submit, out goes what
//! consumers fetch; what was acknowledged at `os` survives `kill -9`, and at `disk` a power cut. `FORMAT.md` draws the
//! bytes.
//!
//! Read [`slots`] first: it draws how a record travels through the four slots, each of which is one file here. Then the
//! files in the order of a record's way:
//!
//! | file | owns |
//! |---|---|
//! | [`log`] | the contract's `Log`: what fills the slots, put together |
//! | `producer` | the contract's `Producer`: one thread's way in |
//! | [`transfer`] | slot: from records to a frame's body, and back |
//! | [`codec`], [`frame`] | how a body is stored; the bytes of a frame: head, checksums |
//! | [`mod@line`] | what was submitted and is not written: a batch a producer, one line for all |
//! | [`commit`], [`wakers`] | slot: when the line is written and synced, and who waits for it |
//! | [`batches`] | which batches of identified producers are in the log already |
//! | [`marks`] | how far the log is written, and how far it is on disk |
//! | [`store`] | slot: where records lie, how they are found again, and what a crash leaves |
//! | [`groups`], [`offsets`] | slot: who reads which partition; and how far they came |
//! | [`open`] | how a log is to be, and what is found when it is opened |
//! | [`disk`], [`outside`] | what all of this needs of a disk, of clocks and of chance |
//! | [`wire`] | stored frames on their way to a consumer elsewhere |
//! | [`composition`] | what fills the slots |
//!
//! Invariants:
//!
//! * A record is visible to readers only after its write has returned, and acknowledged only after that.
//! * What stands in the line keeps its offsets and its order, whatever fails, until it is written.
//! * A store that is broken stays broken until it is opened again.
//!
//! What it deliberately does not do: know what a record is, or speak HTTP; replicate.

#[cfg(not(unix))]
compile_error!("the log reads and writes at positions, which needs a Unix");

// So that a file of a slot reads the same wherever it stands.
extern crate self as queue;

pub mod slots;

pub mod log;

mod producer;

pub mod transfer;

pub mod codec;
pub mod frame;

pub mod line;

pub mod batches;

pub mod commit;

pub mod wakers;

pub mod marks;

pub mod store;

pub mod groups;

pub mod offsets;

pub mod open;

pub mod disk;

pub mod outside;

#[cfg(any(test, feature = "sim"))]
pub mod sim;

pub mod wire;

pub mod composition;

pub use codec::Codec;
pub use composition::{FileLog, NAME, TITLE};
pub use open::{Cut, Damage, Gap, LogConfig, OpenError, Recovery, Verified};
