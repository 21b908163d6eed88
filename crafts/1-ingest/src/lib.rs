//! Craft 1: from bytes on a socket to samples in the log.
//!
//! Read [`slots`] first: it draws how a request travels through the four slots, each of which is one file here. Then the
//! files in the order of the data's way: [`engine`] and [`http`], [`service`], [`limit`], [`parse`] and [`wire`],
//! [`number`], [`frame`], [`handoff`]; [`composition`] names what fills the slots.
//!
//! Invariants: what is answered with 202 or 204 has settled at the configured acknowledgement; a request that is refused
//! has left nothing behind; no buffer grows without a named bound; nothing here knows which log stands behind it.

// So that a file of a slot reads the same wherever it stands.
extern crate self as ingest;

pub mod slots;

pub mod engine;
pub mod peer;
pub mod transfer;

pub mod budget;
pub mod listen;

pub mod http;

pub mod service;

mod elsewhere;

pub mod handlers;

pub mod limit;

pub mod parse;

pub mod wire;

pub mod number;

pub mod frame;

pub mod handoff;
pub mod outlet;
pub mod ring;

pub mod composition;

pub use composition::{Final, NAME, TITLE};
