//! Superseded ways to read a request's text.

pub mod find;
