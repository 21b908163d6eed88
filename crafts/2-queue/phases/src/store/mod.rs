//! Ways to keep records.

pub mod file_per_message;
pub mod memory;
pub mod write_ahead_log;
