//! The ladder: every phase under every load that shows something, round after round.
//!
//! Within a round the phases follow each other under one load, and the order is rotated from round to round: a machine
//! that slows down or heats up meanwhile favours nobody, and two neighbours are compared within a round. Every slice
//! is measured by itself ([`crate::stand`]). A phase that does not stand a load is a result, not an error.

use crate::{
    loads::Load,
    noise::Noise,
    progress::Progress,
    results::{Counts, Slice},
    server::{Said, ask},
    stand::Stand,
    tool::Pinning,
};
use anyhow::{Result, bail};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// Loads under which they are counted.
const COUNTED: [&str; 4] = ["plain", "fifty", "many", "pipelined"];

/// What is to be measured.
#[derive(Debug)]
pub struct Ladder<'a> {
    /// The server's program.
    pub program: PathBuf,
    /// Who runs where.
    pub pinning: Pinning,
    /// Under what.
    pub loads: &'a [Load],
    /// Numbers of the phases, ascending.
    pub phases: &'a [u32],
    /// How often.
    pub rounds: u32,
    /// Length of a measurement.
    pub seconds: f64,
    /// How long to wait, all in all, for others to leave the machine alone.
    pub patience: Duration,
}

impl Ladder<'_> {
    /// Measures all of it.
    ///
    /// # Errors
    /// None that one phase or one load could cause: these stand in the slices.
    pub fn run(&self, progress: &Progress) -> Result<Vec<Slice>> {
        let mut slices = Vec::with_capacity(self.slices());
        let mut patience = self.patience;
        for round in 0..self.rounds {
            for load in self.loads {
                for phase in rotated(&self.phases_under(load), round) {
                    progress.step(&format!(
                        "round {} of {}: phase {phase} under {}",
                        round + 1,
                        self.rounds,
                        load.name
                    ));
                    patience = Noise::wait_for_quiet(std::process::id(), patience);
                    slices.push(self.stand().slice(load, &format!("phase{phase}"), round));
                }
            }
        }
        Ok(slices)
    }

    /// How many slices there will be.
    pub fn slices(&self) -> usize {
        let each_round: usize = self.loads.iter().map(|load| self.phases_under(load).len()).sum();
        each_round * self.rounds as usize
    }

    /// How many counting runs there will be.
    pub fn counts(&self) -> usize {
        self.counted().map(|load| self.phases_under(load).len()).sum()
    }

    /// Counts calls and allocations, in runs of their own since counting costs time.
    pub fn count(&self, progress: &Progress) -> Vec<Counts> {
        let mut counts = Vec::new();
        for load in self.counted() {
            for phase in self.phases_under(load) {
                progress.step(&format!("counting: phase {phase} under {}", load.name));
                // What cannot be counted is left out; that a phase does not stand the load is in its slices.
                counts.extend(self.stand().count(load, &format!("phase{phase}")).ok());
            }
        }
        counts
    }

    fn counted(&self) -> impl Iterator<Item = &Load> {
        self.loads.iter().filter(|load| COUNTED.contains(&load.name.as_str()))
    }

    fn phases_under(&self, load: &Load) -> Vec<u32> {
        self.phases.iter().copied().filter(|phase| load.phases.contains(phase)).collect()
    }

    fn stand(&self) -> Stand<'_> {
        Stand { program: &self.program, words: &[], pinning: &self.pinning, seconds: self.seconds }
    }
}

/// Each one begins once before any begins twice.
pub fn rotated<T: Clone>(all: &[T], round: u32) -> Vec<T> {
    let mut order = all.to_vec();
    if !order.is_empty() {
        order.rotate_left(round as usize % all.len());
    }
    order
}

/// The program that serves the phases, beside this one.
///
/// # Errors
/// When it has not been built.
pub fn phase_server() -> Result<PathBuf> {
    crate::server::beside_this("phase-server")
}

/// The numbers of the phases that the program can serve.
///
/// # Errors
/// When it does not say.
pub fn served(program: &Path) -> Result<Vec<u32>> {
    match ask(program, &["--list"])? {
        Said::Phases { phases } => {
            let number = |name: &str| name.strip_prefix("phase").and_then(|digits| digits.parse().ok());
            Ok(phases.iter().filter_map(|phase| number(&phase.name)).collect())
        }
        other => bail!("the program was to list its phases, and said {other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_phase_is_first_once() {
        assert_eq!(rotated(&[0, 3, 5], 0), [0, 3, 5]);
        assert_eq!(rotated(&[0, 3, 5], 1), [3, 5, 0]);
        assert_eq!(rotated(&[0, 3, 5], 5), [5, 0, 3]);
        assert_eq!(rotated::<u32>(&[], 5), [0_u32; 0]);
    }
}
