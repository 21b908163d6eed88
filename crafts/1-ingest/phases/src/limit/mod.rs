//! Ways to say who may send how much.

pub mod global;
