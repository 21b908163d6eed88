//! Benchmarks, their results, and the comparisons with real peers.
//!
//! Each comparison is a program in `src/bin/` that runs by itself and writes one file into `results/`. What they
//! share is here: finding and pinning other people's programs ([`tool`]), a floor server ([`nginx`]), knowing when the
//! machine was busy with other things ([`noise`]), and the few
//! statistics that are used ([`stats`]).

pub mod nginx;
pub mod noise;
pub mod stats;
pub mod tool;
