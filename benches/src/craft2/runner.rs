//! Every subject under every load, round after round.
//!
//! Within a round the subjects follow each other under one load, and the order is rotated from round to round: a machine
//! that slows down or heats up meanwhile favours nobody, and neighbours are compared within a round. What a subject does
//! not stand is a result, not an error.

use super::{
    loads::{Load, RAW},
    network::{self, Programs},
    results::Slice,
    slice::{self, Figures, Task},
};
use crate::{ladder::rotated, noise::Noise, progress::Progress, tool::Pinning};
use anyhow::Result;
use std::{path::PathBuf, process::Command, time::Duration};

/// What is to be measured.
#[derive(Debug)]
pub struct Runner<'a> {
    /// `phase-log`.
    pub program: PathBuf,
    /// Servers, ours and others'.
    pub programs: Programs,
    /// Who runs where.
    pub pinning: Pinning,
    /// Under what.
    pub loads: &'a [Load],
    /// Which of the loads' subjects are measured.
    pub wanted: &'a dyn Wanted,
    /// How often.
    pub rounds: u32,
    /// Length of a measurement.
    pub seconds: f64,
    /// What messages are derived from.
    pub seed: u64,
    /// How long to wait, all in all, for others to leave the machine alone.
    pub patience: Duration,
}

/// Who is to be measured.
pub trait Wanted: std::fmt::Debug {
    /// Whether this one is.
    fn is_wanted(&self, subject: &str) -> bool;
}

impl Runner<'_> {
    /// Measures all of it.
    pub fn run(&self, progress: &Progress) -> Vec<Slice> {
        let mut slices = Vec::with_capacity(self.slices());
        let mut patience = self.patience;
        for round in 0..self.rounds {
            for load in self.loads {
                patience = Noise::wait_for_quiet(std::process::id(), patience);
                for subject in rotated(&self.subjects(load), round) {
                    let round_of = format!("round {} of {}", round + 1, self.rounds);
                    progress.step(&format!("{round_of}: {subject} under {}", load.name));
                    slices.push(self.slice(load, &subject, round));
                }
            }
        }
        slices
    }

    /// How many slices there will be.
    pub fn slices(&self) -> usize {
        self.loads.iter().map(|load| self.subjects(load).len()).sum::<usize>() * self.rounds as usize
    }

    fn subjects(&self, load: &Load) -> Vec<String> {
        load.subjects.iter().filter(|subject| self.wanted.is_wanted(subject)).cloned().collect()
    }

    fn slice(&self, load: &Load, subject: &str, round: u32) -> Slice {
        let noise = Noise::alone();
        let seen = self.seen(load, subject);
        let others_cores = noise.others_cores();
        let (figures, failure) = match seen {
            Ok(figures) => (figures, None),
            Err(error) => (Figures::new(), Some(format!("{error:#}"))),
        };
        Slice { round, load: load.name.clone(), subject: subject.to_owned(), others_cores, figures, failure }
    }

    fn seen(&self, load: &Load, subject: &str) -> Result<Figures> {
        let dir = slice::directory()?;
        if load.network {
            let stand = network::Stand {
                programs: &self.programs,
                dir: dir.path(),
                seconds: self.seconds,
                seed: self.seed,
            };
            return stand.measure(&load.name, subject);
        }
        let task = Task {
            load: load.name.clone(),
            subject: subject.to_owned(),
            seconds: self.seconds,
            seed: self.seed,
            dir: dir.path().to_owned(),
            other_core: self.pinning.cores.filter(|_| !load.all_cores).map(|cores| cores.1),
            allocations: false,
            profile: None,
            role: None,
        };
        let figures = slice::seen(self.command(load, &task))?;
        Ok(if COUNTED.contains(&load.name.as_str()) && subject != RAW {
            self.with_allocations(load, task, figures)
        } else {
            figures
        })
    }

    /// Allocations are counted in a run of their own, since counting costs time.
    fn with_allocations(&self, load: &Load, task: Task, mut figures: Figures) -> Figures {
        const NAME: &str = "allocations_per_message";
        let Ok(dir) = slice::directory() else { return figures };
        let seconds = task.seconds.min(COUNT_S);
        let task = Task { allocations: true, dir: dir.path().to_owned(), seconds, ..task };
        // What cannot be counted is left out.
        let counted = slice::seen(self.command(load, &task)).ok();
        figures.extend(counted.and_then(|counted| Some((NAME.to_owned(), *counted.get(NAME)?))));
        figures
    }

    fn command(&self, load: &Load, task: &Task) -> Command {
        let mut command = match load.all_cores {
            true => Command::new(&self.program),
            false => self.pinning.server(&self.program),
        };
        task.words(&mut command);
        if task.allocations {
            command.arg("--allocations");
        }
        command
    }
}

/// Loads under which allocations are counted.
const COUNTED: [&str; 2] = ["single", "thousand"];
/// Length of a run in which they are.
const COUNT_S: f64 = 0.2;
