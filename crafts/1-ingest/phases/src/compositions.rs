//! The phases: which variant fills each slot. Read downwards, each line differs from the one above in one slot.

use crate::{
    engine::{
        event_loop::EventLoop, keep_alive::KeepAlive, sequential::Sequential,
        thread_per_connection::ThreadPerConnection, thread_pool::ThreadPool,
    },
    handoff::{in_request::InRequest, queue_writer::QueueWriter},
    limit::global::GlobalLimiter,
    parse::find::FindParser,
};
use contracts::{
    ingest::{Ingest, IngestConfig},
    queue::Log,
};
use ingest::{handoff::RingHandoff, limit::ShardedLimiter, parse::SinglePass, service::Server};
use std::sync::Arc;

/// One request at a time.
pub type Phase0 = Server<Sequential, FindParser, GlobalLimiter, InRequest>;
/// A thread for each connection.
pub type Phase1 = Server<ThreadPerConnection, FindParser, GlobalLimiter, InRequest>;
/// A writer behind a queue.
pub type Phase2 = Server<ThreadPerConnection, FindParser, GlobalLimiter, QueueWriter>;
/// One pass over the text.
pub type Phase3 = Server<ThreadPerConnection, SinglePass, GlobalLimiter, QueueWriter>;
/// A limiter in shards.
pub type Phase4 = Server<ThreadPerConnection, SinglePass, ShardedLimiter, QueueWriter>;
/// Connections that stay.
pub type Phase5 = Server<KeepAlive, SinglePass, ShardedLimiter, QueueWriter>;
/// A ring without locks.
pub type Phase6 = Server<KeepAlive, SinglePass, ShardedLimiter, RingHandoff>;
/// A bounded pool of threads.
pub type Phase7 = Server<ThreadPool, SinglePass, ShardedLimiter, RingHandoff>;
/// One event loop.
pub type Phase8 = Server<EventLoop, SinglePass, ShardedLimiter, RingHandoff>;
/// A reactor for each core: the production server.
pub type Phase9 = ingest::Final;

/// A phase by name.
#[derive(Clone, Copy)]
pub struct Phase {
    /// As it is asked for: `phase3`.
    pub name: &'static str,
    /// What it is, in a few words.
    pub title: &'static str,
    /// The types that fill its slots, as the compiler names them.
    pub types: fn() -> &'static str,
    /// Makes it.
    pub open: OpenPhase,
}

/// Makes a server; without a log it is an HTTP engine only.
pub type OpenPhase = fn(IngestConfig, Option<Arc<dyn Log>>) -> Arc<dyn Ingest>;

/// All of them, from the naive to the best.
pub const PHASES: [Phase; 10] = [
    phase::<Phase0>("phase0", "one request at a time"),
    phase::<Phase1>("phase1", "a thread per connection"),
    phase::<Phase2>("phase2", "a writer behind a queue"),
    phase::<Phase3>("phase3", "one pass over the JSON"),
    phase::<Phase4>("phase4", "a limiter in shards"),
    phase::<Phase5>("phase5", "keep-alive and pipelining"),
    phase::<Phase6>("phase6", "a lock-free ring"),
    phase::<Phase7>("phase7", "a pool of threads"),
    phase::<Phase8>("phase8", "one event loop"),
    phase::<Phase9>(ingest::NAME, ingest::TITLE),
];

/// What every composition can be made from.
pub trait Open: Ingest + Sized + 'static {
    /// Makes it; without a log it is an HTTP engine only.
    fn open(config: IngestConfig, log: Option<Arc<dyn Log>>) -> Self;
}

impl<E, P, L, H> Open for Server<E, P, L, H>
where
    Self: Ingest + 'static,
{
    fn open(config: IngestConfig, log: Option<Arc<dyn Log>>) -> Self {
        Self::new(config, log)
    }
}

/// A composition under a name.
pub const fn phase<S: Open>(name: &'static str, title: &'static str) -> Phase {
    Phase { name, title, types: std::any::type_name::<S>, open: |config, log| Arc::new(S::open(config, log)) }
}
