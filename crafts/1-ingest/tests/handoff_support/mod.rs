//! What the tests of all hand-overs share: a log that misbehaves on demand, and what every hand-over must do with one.

pub mod claims;
pub mod log;
