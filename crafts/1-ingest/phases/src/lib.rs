//! The phases of craft 1.

pub mod parse;
