//! The production server: which type fills each slot.

use crate::engine::ReactorPerCore;
use crate::handoff::RingHandoff;
use crate::limit::ShardedLimiter;
use crate::parse::SinglePass;
use crate::service::Server;

/// As it is asked for.
pub const NAME: &str = "phase9";
/// What it is, in a few words.
pub const TITLE: &str = "a reactor per core";
/// Ingestion, put together.
pub type Final = Server<ReactorPerCore, SinglePass, ShardedLimiter, RingHandoff>;
