//! Craft 2 before it was finished: every superseded way to fill a slot, and the phases that are made of them.
//!
//! One file a variant, holding only what differs from its successor. Dependencies run from here to the craft and never
//! back: without this crate the production log still builds. `crafts/phases.toml` is the course's table of what stands
//! here, and a test holds the two against each other.

pub mod store;

pub mod commit;

pub mod groups;

pub mod transfer;

mod compositions;

pub use compositions::*;
