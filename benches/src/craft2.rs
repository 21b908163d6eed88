//! The bench of craft 2: every phase of the log under every load that shows something, its goals, and its peers.
//!
//! Unlike ingestion, a log can be measured without a network. So most slices are a process that opens a log, works with it
//! and says what it saw, in named figures ([`loads`], [`mod@slice`], [`work`]); the others are a server and its clients
//! ([`network`]). [`runner`] puts them in rotated rounds, [`results`] keeps all of it, and [`goals`] and [`tables`] tell.

pub mod loads;

pub mod runner;
pub mod slice;

pub mod subject;
pub mod work;

pub mod network;

pub mod results;

pub mod goals;
pub mod journey;
pub mod profiles;
pub mod tables;
