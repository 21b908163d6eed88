//! Where the steps' predecessors spend their processor time: what there is to remove.

use super::{
    loads::{self, Load},
    slice::{self, Task},
};
use crate::{course::CoursePhase, results::Before, server::Hot, tool::Pinning};
use anyhow::{Context, Result, bail};
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// Loads whose work can be sampled. Under the others a log sleeps, or is gone before there is anything to see.
const SAMPLED: [&str; 5] = ["single", "sixty-four", "thousand", "eight-thousand", "fetch"];

/// What to look at.
#[derive(Debug)]
pub struct Profile<'a> {
    /// `phase-log`.
    pub program: &'a Path,
    /// Its phase's number.
    pub phase: u32,
    /// The name of the load.
    pub load: &'a str,
    /// How long.
    pub seconds: f64,
    /// What messages are derived from.
    pub seed: u64,
    /// Where the flame graph goes.
    pub out: &'a Path,
}

/// What was seen.
#[derive(Debug)]
pub struct Profiled {
    /// The functions in which most samples fell.
    pub top: Vec<Hot>,
    /// The figure that counts, while it was sampled, which makes a log a little slower.
    pub figure: f64,
    /// What that is counted in.
    pub unit: String,
    /// Processor time that it used, in cores; where the kernel does not tell, none.
    pub cores: Option<f64>,
}

impl Profile<'_> {
    /// Has a log work, and draw.
    ///
    /// # Errors
    /// When it does not stand the load, or the graph cannot be written.
    pub fn run(&self) -> Result<Profiled> {
        let Some(load) = loads::craft2().into_iter().find(|load| load.name == self.load && is_sampled(load))
        else {
            bail!(
                "under the load {} there is nothing to sample; choose of {}",
                self.load,
                SAMPLED.join(", ")
            );
        };
        let dir = slice::directory()?;
        let task = Task {
            load: load.name.clone(),
            subject: format!("phase{}", self.phase),
            seconds: self.seconds,
            seed: self.seed,
            dir: dir.path().to_owned(),
            other_core: None,
            allocations: false,
            profile: Some(std::path::absolute(self.out)?),
            role: None,
        };
        let pinning = if load.all_cores { Pinning::none() } else { Pinning::detect() };
        let mut command: Command = pinning.server(self.program);
        task.words(&mut command);
        let (figures, top) = slice::profiled(command)?;
        let figure = figures.get(&load.measure).copied().context("the log did not say how fast it was")?;
        Ok(Profiled { top, figure, unit: load.unit, cores: figures.get("cores").copied() })
    }
}

fn is_sampled(load: &Load) -> bool {
    SAMPLED.contains(&load.name.as_str())
}

/// Samples each phase's predecessor under the load on which the step shows, or as one producer's work where nothing is to
/// be seen there. `watch` is told of each.
///
/// # Errors
/// When a log does not stand its load.
pub fn before_steps(
    program: &Path,
    phases: &[CoursePhase],
    (seconds, seed): (f64, u64),
    watch: &mut dyn FnMut(&str),
) -> Result<Vec<Before>> {
    let drawn = tempfile::NamedTempFile::new()?;
    let out: PathBuf = drawn.path().to_owned();
    let mut found = Vec::new();
    for step in phases.iter().filter(|step| step.number > 0) {
        let load = if SAMPLED.contains(&step.load.as_str()) { step.load.as_str() } else { "single" };
        let phase = step.number - 1;
        watch(&format!("phase {phase} under {load}, before {}", step.slug));
        let profiled = Profile { program, phase, load, seconds, seed, out: &out }.run()?;
        found.push(Before {
            step: step.number,
            subject: format!("phase{phase}"),
            load: load.to_owned(),
            ok_per_s: profiled.figure,
            unit: Some(profiled.unit),
            cores: profiled.cores,
            top: profiled.top,
        });
    }
    Ok(found)
}
