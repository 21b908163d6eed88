//! How records become a frame's body.

pub mod copied;
