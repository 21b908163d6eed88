//! Benchmarks, their results, and the comparisons with real peers.
//!
//! The bench of a craft puts every phase of it under every load that shows something ([`loads`], [`ladder`]) and writes
//! one file with all that was seen ([`results`]). Everything that is told — the report, the book's tables, a comparison
//! of two machines — is worked out from such a file and from nothing else.
//!
//! Measured are processes ([`stand`]): a [`server`] that serves one phase, on a core of its own, and the [`traffic`] on
//! another.
//! What a server uses is asked of the kernel ([`process`], [`mod@strace`]); what others used meanwhile, too ([`noise`]).
//! Other people's programs are found and pinned by [`tool`].

pub mod compare;
pub mod course;
pub mod craft2;
pub mod goals;
pub mod journey;
pub mod ladder;
pub mod loads;
pub mod logs;
pub mod nginx;
pub mod noise;
pub mod parts;
pub mod peers;
pub mod phase_server;
pub mod process;
pub mod profile;
pub mod progress;
pub mod report;
pub mod results;
pub mod server;
pub mod stand;
pub mod stats;
pub mod strace;
pub mod summary;
pub mod tool;
pub mod traffic;
pub mod wrk;
