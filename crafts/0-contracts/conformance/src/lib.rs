//! The conformance suites: what every implementation of a contract must do.
//!
//! A suite is a list of claims in sentences. Each runs alone, on an implementation of its own, so that what is
//! broken reads as a sentence: *queue: what was appended is fetched in order — expected …, got …*. Everybody
//! runs the same suites: the naive component, every phase, the final craft, a learner's own code, and, through
//! [`http`], anything that speaks the HTTP form, in whatever language.
//!
//! ```no_run
//! # fn open_my_log() -> std::sync::Arc<dyn contracts::queue::Log> { unimplemented!() }
//! conformance::queue::check(open_my_log).assert_all_hold();
//! ```
//!
//! Invariants: a claim rests on the contract alone and never on how an implementation goes about it; every wait
//! is bounded, so a suite ends even where an implementation hangs; a panic of the implementation breaks its
//! claim and no other; what is random prints its seed. No claim measures speed.

pub mod claim;

pub mod alert;
pub mod query;
pub mod queue;
pub mod storage;

pub mod client;
pub mod crash;
pub mod http;
pub mod openapi;

mod rows;
pub use claim::{Claim, Outcome, Report, Verdict};
