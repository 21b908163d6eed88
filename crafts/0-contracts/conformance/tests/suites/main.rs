//! The suites held against themselves: each must pass an implementation that is right, and each fault of one
//! that is wrong must break the claim that is about it.

// A model that panics where it should not fails its test all the same.
#![allow(clippy::unwrap_used)]
// Indices of a few records.
#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]

mod models;

mod alert;
mod crash;
mod http;
mod query;
mod queue;
mod storage;
