//! The phases of craft 1.

pub mod engine;

pub mod parse;

pub mod limit;

pub mod handoff;
