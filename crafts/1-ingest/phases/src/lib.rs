//! The phases of craft 1.

pub mod limit;
pub mod parse;

pub mod handoff;
