//! The composition root: puts the crafts together into one process or into five services.
//!
//! ```text
//!  agent ─▶ ingest ─▶ queue ─▶ consumer ─▶ storage ◀─ query ◀─ alert
//!              └───────────── routes, telemetry, page ─────────┘
//! ```
//!
//! A [`Node`] runs any set of the five [`Role`]s. Each slot takes an implementation by name, or a URL: then the
//! slot is filled by a client of the service there, behind the same contract. Nothing but this crate (and the
//! benches, labs and command line above it) knows several crafts.

pub mod node;
pub mod slots;

pub mod agent;
pub mod remote;
pub mod routes;
pub mod telemetry;

mod consumer;
mod defaults;
mod lag;
mod meter;
mod parts;
mod status;

pub use consumer::Consumed;
pub use defaults::default_rules;
pub use node::{Drained, Node, NodeConfig, Role, StartError};
pub use phase0::now;
