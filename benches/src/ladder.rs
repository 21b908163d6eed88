//! The ladder: every phase under every load that shows something, round after round.
//!
//! Within a round the phases follow each other under one load, and the order is rotated from round to round: a machine
//! that slows down or heats up meanwhile favours nobody, and two neighbours are compared within a round. Every slice
//! has a server of its own, freshly started and warmed up. A phase that does not stand a load is a result, not an error.

use crate::{
    loads::Load,
    noise::Noise,
    process::Watch,
    progress::Progress,
    results::{Counts, Slice, Verified},
    server::{Found, PhaseServer, Said, Setting, Snapshot, ask},
    strace,
    tool::Pinning,
    traffic::{self, Requests, Running, SlowClients, Traffic},
};
use anyhow::{Context, Result, bail};
use std::{
    path::{Path, PathBuf},
    thread,
    time::Duration,
};
use tempfile::TempDir;

/// Load before the measured load: caches, branch predictors and the phase's own buffers are warm then.
const WARM_UP_S: f64 = 0.5;
/// How much of the load a server sees that is killed under it.
const KILLED_AFTER: f64 = 0.6;
/// What overload is: so many times what the server was seen to carry.
const OVERLOAD: f64 = 3.0;
/// Length of a run in which calls and allocations are counted.
const COUNT_S: f64 = 1.0;
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
                    slices.push(self.slice(load, phase, round));
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
                counts.extend(self.count_one(load, phase).ok());
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

    fn slice(&self, load: &Load, phase: u32, round: u32) -> Slice {
        let mut slice =
            Slice { round, load: load.name.clone(), subject: format!("phase{phase}"), ..Slice::default() };
        let filled = if load.kill { self.kill(load, &mut slice) } else { self.measure(load, &mut slice) };
        slice.failure = filled.err().map(|error| format!("{error:#}"));
        slice
    }

    fn measure(&self, load: &Load, slice: &mut Slice) -> Result<()> {
        let pinning = self.pinning_for(load);
        let (server, _log) = self.start(&pinning, load, &slice.subject, false)?;
        let mut sent = Sent::default();
        sent.add(load, &traffic::run(&pinning, server.port, &load.traffic, WARM_UP_S)?);
        if load.overload || load.beside.is_some() {
            let before = traffic::run(&pinning, server.port, &load.traffic, self.seconds)?;
            sent.add(load, &before);
            slice.before = Some(before);
        }
        let traffic = self.traffic(load, slice)?;
        let beside = load
            .beside
            .as_ref()
            .map(|beside| SlowClients::start(&pinning, server.port, beside))
            .transpose()?;
        let before = server.snapshot()?;
        let (noise, watch) = (Noise::begin(server.id()), Watch::begin(server.id()));
        let requests = traffic::run(&pinning, server.port, &traffic, self.seconds)?;
        slice.used = watch.end();
        slice.switches = Some(switches(before, server.snapshot()?));
        slice.beside = beside.map(SlowClients::finish).transpose()?;
        slice.others_cores = noise.others_cores();
        sent.add(load, &requests);
        slice.requests = Some(requests);
        let last = server.drain()?;
        slice.drain_ms = Some(last.drain_ms);
        slice.verified = Some(sent.against(last.found));
        Ok(())
    }

    /// Three times what was carried, if that is asked.
    fn traffic(&self, load: &Load, slice: &Slice) -> Result<Traffic> {
        if !load.overload {
            return Ok(load.traffic.clone());
        }
        let carried = slice.before.as_ref().map_or(0.0, |before| before.ok_per_s);
        if carried <= 0.0 {
            bail!("it carried nothing, of which there is no multiple");
        }
        Ok(Traffic { rate: Some(carried * OVERLOAD), ..load.traffic.clone() })
    }

    /// Ends the server in the middle, and looks at what it left.
    fn kill(&self, load: &Load, slice: &mut Slice) -> Result<()> {
        let pinning = self.pinning_for(load);
        let (server, log) = self.start(&pinning, load, &slice.subject, false)?;
        let running = Running::start(&pinning, server.port, &load.traffic, self.seconds)?;
        thread::sleep(Duration::from_secs_f64(self.seconds * KILLED_AFTER));
        server.kill()?;
        let mut sent = Sent::default();
        let requests = running.finish()?;
        sent.add(load, &requests);
        slice.requests = Some(requests);
        let directory = log.context("a server without a file leaves nothing")?;
        let path = directory.path().to_str().context("the temporary directory has an odd name")?;
        match ask(&self.program, &["--count", path])? {
            Said::Counted { found } => slice.verified = Some(sent.against(found)),
            other => bail!("the program was to count, and said {other:?}"),
        }
        Ok(())
    }

    fn count_one(&self, load: &Load, phase: u32) -> Result<Counts> {
        let subject = format!("phase{phase}");
        let pinning = self.pinning_for(load);
        let (server, _log) = self.start(&pinning, load, &subject, true)?;
        traffic::run(&pinning, server.port, &load.traffic, WARM_UP_S)?;
        let before = server.snapshot()?;
        let requests = traffic::run(&pinning, server.port, &load.traffic, COUNT_S)?;
        let allocations =
            server.snapshot()?.allocations.zip(before.allocations).map(|(after, before)| after - before);
        let (calls, traced) =
            strace::count(server.id(), || traffic::run(&pinning, server.port, &load.traffic, COUNT_S))?;
        let answered = |requests: &Requests| requests.answered.max(1) as f64;
        Ok(Counts {
            load: load.name.clone(),
            subject,
            allocations: allocations.map(|count| count as f64 / answered(&requests)),
            calls: calls.into_iter().map(|(name, count)| (name, count as f64 / answered(&traced))).collect(),
        })
    }

    fn pinning_for(&self, load: &Load) -> Pinning {
        if load.all_cores { Pinning::none() } else { self.pinning.clone() }
    }

    /// A server, and the directory of its log if it has one, which goes when it is dropped.
    fn start(
        &self,
        pinning: &Pinning,
        load: &Load,
        subject: &str,
        allocations: bool,
    ) -> Result<(PhaseServer, Option<TempDir>)> {
        let setting = Setting { phase: subject.to_owned(), log: load.log.clone(), allocations };
        let directory = load.log.file.then(tempfile::tempdir).transpose()?;
        let path = directory.as_ref().map(TempDir::path);
        Ok((PhaseServer::start(&self.program, pinning, &setting, path, &[])?, directory))
    }
}

/// Each one begins once before any begins twice.
fn rotated(phases: &[u32], round: u32) -> Vec<u32> {
    let mut order = phases.to_vec();
    if !order.is_empty() {
        order.rotate_left(round as usize % phases.len());
    }
    order
}

/// Times that a thread went to sleep, and that one had to make room.
fn switches(before: Snapshot, after: Snapshot) -> (u64, u64) {
    (
        after.switches_voluntary - before.switches_voluntary,
        after.switches_involuntary - before.switches_involuntary,
    )
}

/// What was sent to one server, all runs together.
#[derive(Debug, Default)]
struct Sent {
    accepted: u64,
    unknown: u64,
}

impl Sent {
    fn add(&mut self, load: &Load, requests: &Requests) {
        let samples = u64::from(load.traffic.batch);
        // 503 `not_settled` says that the fate is not known, and other 503s cannot be told from it by their status.
        let unsure = requests.unanswered + requests.by_status.get("503").copied().unwrap_or(0);
        self.accepted += requests.ok * samples;
        self.unknown += unsure * samples;
    }

    fn against(&self, found: Found) -> Verified {
        Verified { accepted: self.accepted, unknown: self.unknown, found: found.samples }
    }
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
        assert_eq!(rotated(&[], 5), [0_u32; 0]);
    }
}
