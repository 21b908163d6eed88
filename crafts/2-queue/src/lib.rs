//! Craft 2: the log between ingest and storage.
//!
//! ```text
//!  producers ─▶ pending ─▶ tail ─────▶ segment files ─────▶ walk ─▶ fetch
//!               (memory)   (one lock)  (page cache, disk)   (pread)
//!                              └──▶ view: what lies where ──▲
//! ```
//!
//! [`FileLog`] is one append-only sequence of records, cut into segment files. In comes what producers submit, out
//! goes what consumers fetch; between them everything is in files, so that what was acknowledged at `os` survives
//! `kill -9`, and at `disk` a power cut. `FORMAT.md` draws the bytes.
//!
//! The files in reading order:
//!
//! | file | owns |
//! |---|---|
//! | [`log`] | the contract's `Log`; opening, fetching, waiting, retention |
//! | `producer` | the contract's `Producer`: what was submitted and is not written yet |
//! | `tail` | the one place that writes records: append, roll over to a new segment, cut back what failed |
//! | `sync` | group commit: one fsync for everything that was written before it; a thread that keeps little unsynced |
//! | `view` | which record lies in which file, for readers |
//! | `walk` | from bytes to records, everything checked |
//! | `record`, `segment` | the bytes of a record and of a file's head |
//! | `groups` | who read how far |
//! | `recovery` | what a crash left, made whole again |
//! | `disk` | files, and in tests a disk that is full or fails |
//!
//! Invariants:
//!
//! * A record is visible to readers only after its write has returned, and acknowledged only after that.
//! * All segments but the last are whole and have been synced.
//! * Of what a write that failed has left nothing stays: the file is cut back, or the log is broken for good.
//! * A failed fsync breaks the log for good: the kernel may have dropped the pages, and a second fsync that succeeds
//!   would say nothing about them.
//!
//! What it deliberately does not do: several partitions, compression, an index on disk.

#[cfg(not(unix))]
compile_error!("the log reads and writes at positions, which needs a Unix");

pub mod log;

mod producer;

mod tail;

mod sync;

mod view;

mod walk;

mod record;
mod segment;

mod groups;

mod recovery;

mod disk;

pub use log::{FileLog, LogConfig};
pub use recovery::{Cut, OpenError, Recovery};

#[cfg(test)]
mod tests;
