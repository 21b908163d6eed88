//! Craft 2: the log between ingest and storage.
//!
//! ```text
//!  submit ─▶ batch ─▶ line ──────▶ tail ──────▶ segment files ──▶ walk ─▶ fetch
//!           (its own) (all of them, (one writes  (page cache,     (pread)
//!                      in order)     for all)     disk)
//!                                     └──▶ view: what lies where ──▲
//! ```
//!
//! [`FileLog`] is one sequence of frames for all partitions, cut into segment files. In comes what producers submit, out
//! goes what consumers fetch; between them everything is in files, so that what was acknowledged at `os` survives
//! `kill -9`, and at `disk` a power cut. `FORMAT.md` draws the bytes.
//!
//! The files, in the order of a record's way through them:
//!
//! | file | owns |
//! |---|---|
//! | [`log`] | the contract's `Log`; what the log's parts share |
//! | `producer` | the contract's `Producer`: one thread's way in |
//! | `pending` | what was submitted and is not written: a batch a producer, one line for all |
//! | `frame` | the bytes of a frame: head, checksums, records |
//! | `tail` | the one place that writes frames, grows files and rolls over to the next |
//! | `sync` | group commit: one write and one fsync for everybody who waits |
//! | `index`, `view` | which record lies in which file, for readers |
//! | `walk`, `fetch` | from bytes to frames to records, everything checked |
//! | `groups`, `retention` | who read how far; what nobody needs any more |
//! | `segment` | a file's name and head |
//! | `recovery`, `scan` | what a crash left, made whole again |
//! | `disk` | what all of this needs of a disk |
//!
//! Invariants:
//!
//! * A record is visible to readers only after its write has returned, and acknowledged only after that.
//! * All segments but the last are whole, end with their index, and have been synced.
//! * A segment has its name only after its head is on disk, and frames only after its name is.
//! * No record is taken by an opening that has not said, on disk, that it writes.
//! * What stands in the line keeps its offsets and its order, whatever fails, until it is written.
//! * A failed fsync breaks the log for good: the kernel may have dropped the pages, and a second fsync that succeeds
//!   would say nothing about them.
//!
//! What it deliberately does not do yet: compress (a frame names its codec), refuse duplicates (a frame has room for its
//! producer's number and sequence), share a group's partitions among members, replicate.

#[cfg(not(unix))]
compile_error!("the log reads and writes at positions, which needs a Unix");

pub mod log;

mod producer;

mod pending;

mod frame;

mod tail;

mod sync;

mod index;
mod view;

mod fetch;
mod walk;

mod groups;
mod retention;

mod segment;

mod recovery;
mod scan;

mod disk;

pub use log::{FileLog, LogConfig};
pub use recovery::{Cut, Gap, OpenError, Recovery};

#[cfg(test)]
mod sim;
#[cfg(test)]
mod tests;
