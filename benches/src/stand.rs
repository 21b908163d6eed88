//! The test stand: one phase under one load, measured once.
//!
//! Every measurement has a server of its own, freshly started and warmed up, and ends with a look into the server's log:
//! what was accepted must be there. Who is measured when, and how often, is for others to say ([`crate::ladder`]).

use crate::{
    loads::Load,
    noise::Noise,
    process::Watch,
    results::{Counts, Slice, Verified},
    server::{Found, PhaseServer, Said, Setting, Snapshot, ask},
    strace,
    tool::Pinning,
    traffic::{self, Requests, Running, SlowClients, Traffic},
};
use anyhow::{Context, Result, bail};
use std::{path::Path, thread, time::Duration};
use tempfile::TempDir;

/// Load before the measured load: caches, branch predictors and the phase's own buffers are warm then.
const WARM_UP_S: f64 = 0.5;
/// How much of the load a server sees that is killed under it.
const KILLED_AFTER: f64 = 0.6;
/// What overload is: so many times what the server was seen to carry.
const OVERLOAD: f64 = 3.0;
/// Length of a run in which calls and allocations are counted.
const COUNT_S: f64 = 1.0;

/// Where phases are measured.
#[derive(Clone, Copy, Debug)]
pub struct Stand<'a> {
    /// The server's program.
    pub program: &'a Path,
    /// The words that make it a phase server, if it is more than that.
    pub words: &'a [String],
    /// Who runs where.
    pub pinning: &'a Pinning,
    /// Length of a measurement.
    pub seconds: f64,
}

impl Stand<'_> {
    /// Measures a phase once. What it does not stand is in the slice as a failure.
    pub fn slice(&self, load: &Load, phase: &str, round: u32) -> Slice {
        let mut slice =
            Slice { round, load: load.name.clone(), subject: phase.to_owned(), ..Slice::default() };
        let filled = if load.kill { self.kill(load, &mut slice) } else { self.measure(load, &mut slice) };
        slice.failure = filled.err().map(|error| format!("{error:#}"));
        slice
    }

    /// Counts calls and allocations of a phase, in a run of their own since counting costs time.
    ///
    /// # Errors
    /// When the phase does not stand the load, or nobody can count here.
    pub fn count(&self, load: &Load, phase: &str) -> Result<Counts> {
        let pinning = self.pinning_for(load);
        let (server, _log) = self.start(&pinning, load, phase, true)?;
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
            subject: phase.to_owned(),
            allocations: allocations.map(|count| count as f64 / answered(&requests)),
            calls: calls.into_iter().map(|(name, count)| (name, count as f64 / answered(&traced))).collect(),
        })
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
        let words: Vec<&str> = self.words.iter().map(String::as_str).chain(["--count", path]).collect();
        match ask(self.program, &words)? {
            Said::Counted { found } => slice.verified = Some(sent.against(found)),
            other => bail!("the program was to count, and said {other:?}"),
        }
        Ok(())
    }

    fn pinning_for(&self, load: &Load) -> Pinning {
        if load.all_cores { self.pinning.unpinned() } else { self.pinning.clone() }
    }

    /// A server, and the directory of its log if it has one, which goes when it is dropped.
    fn start(
        &self,
        pinning: &Pinning,
        load: &Load,
        subject: &str,
        allocations: bool,
    ) -> Result<(PhaseServer, Option<TempDir>)> {
        let setting = Setting {
            words: self.words.to_vec(),
            phase: subject.to_owned(),
            log: load.log.clone(),
            allocations,
        };
        let directory = load.log.file.then(tempfile::tempdir).transpose()?;
        let path = directory.as_ref().map(TempDir::path);
        Ok((PhaseServer::start(self.program, pinning, &setting, path, &[])?, directory))
    }
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
