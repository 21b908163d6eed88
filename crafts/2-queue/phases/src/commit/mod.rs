//! When a batch is written and synced.

pub mod sync_each;
