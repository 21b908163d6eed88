//! The production server: which type fills each slot.

use crate::{
    engine::ReactorPerCore, handoff::RingHandoff, limit::ShardedLimiter, parse::SinglePass, service::Server,
};

/// As it is asked for.
pub const NAME: &str = "phase9";
/// What it is, in a few words.
pub const TITLE: &str = "a reactor per core";
/// Ingestion as it should be run.
pub type Final = Server<ReactorPerCore, SinglePass, ShardedLimiter, RingHandoff>;
