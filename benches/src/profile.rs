//! Where a phase spends its processor time: its server samples itself while it is loaded, and draws what it saw.

use crate::{
    course::CoursePhase,
    loads::Load,
    process::Watch,
    results::Before,
    server::{Hot, LastWords, PhaseServer, Setting},
    tool::Pinning,
    traffic::{self, Requests},
};
use anyhow::{Context, Result, bail};
use std::path::Path;

/// What to look at.
#[derive(Debug)]
pub struct Profile<'a> {
    /// The server's program.
    pub program: &'a Path,
    /// Its phase's number.
    pub phase: u32,
    /// Under what.
    pub load: &'a Load,
    /// How long.
    pub seconds: f64,
    /// Where the flame graph goes.
    pub out: &'a Path,
}

/// What was seen.
#[derive(Debug)]
pub struct Profiled {
    /// The functions in which most samples fell.
    pub top: Vec<Hot>,
    /// What the load saw. A server that samples itself is a little slower.
    pub requests: Requests,
    /// Processor time that it used, in cores; where the kernel does not tell, none.
    pub cores: Option<f64>,
}

/// What the course sets out to remove with each step: samples each phase's predecessor under the load on which the step
/// shows, or under the first of `loads` where there is more to see there than one server's work, or nothing end to end.
/// `watch` is told of each.
///
/// # Errors
/// When a server or its load fails.
pub fn before_steps(
    program: &Path,
    phases: &[CoursePhase],
    loads: &[Load],
    seconds: f64,
    watch: &mut dyn FnMut(&str),
) -> Result<Vec<Before>> {
    let first = loads.first().context("there is no load")?;
    let drawn = tempfile::NamedTempFile::new()?;
    let mut found = Vec::new();
    for step in phases.iter().filter(|step| step.number > 0) {
        let load =
            loads.iter().find(|load| load.name == step.load && is_one_servers_work(load)).unwrap_or(first);
        let phase = step.number - 1;
        watch(&format!("phase {phase} under {}, before {}", load.name, step.slug));
        let profiled = Profile { program, phase, load, seconds, out: drawn.path() }.run()?;
        found.push(Before {
            step: step.number,
            subject: format!("phase{phase}"),
            load: load.name.clone(),
            ok_per_s: profiled.requests.ok_per_s,
            unit: None,
            cores: profiled.cores,
            top: profiled.top,
        });
    }
    Ok(found)
}

fn is_one_servers_work(load: &Load) -> bool {
    !load.overload && !load.kill && load.beside.is_none()
}

impl Profile<'_> {
    /// Loads the server and has it draw.
    ///
    /// # Errors
    /// When the server or the load fails, or the graph cannot be written.
    pub fn run(&self) -> Result<Profiled> {
        if !is_one_servers_work(self.load) {
            bail!("under the load {} there is more than one thing to see; choose another", self.load.name);
        }
        let pinning = if self.load.all_cores { Pinning::none() } else { Pinning::detect() };
        let setting = Setting {
            words: Vec::new(),
            phase: format!("phase{}", self.phase),
            log: self.load.log.clone(),
            allocations: false,
        };
        let directory = self.load.log.file.then(tempfile::tempdir).transpose()?;
        let path = directory.as_ref().map(tempfile::TempDir::path);
        let out = std::path::absolute(self.out)?;
        let out = out.to_str().context("the file for the flame graph has an odd name")?;
        let server = PhaseServer::start(self.program, &pinning, &setting, path, &["--profile", out])?;
        let watch = Watch::begin(server.id());
        let requests = traffic::run(&pinning, server.port, &self.load.traffic, self.seconds)?;
        let used = watch.end();
        let LastWords { top, .. } = server.drain()?;
        let cores = used.map(|used| (used.cpu_user_us + used.cpu_system_us) as f64 / 1e6 / requests.seconds);
        Ok(Profiled { top, requests, cores })
    }
}

/// The hottest functions, for people.
pub fn text(top: &[Hot]) -> String {
    let mut text = format!("{:>6}  {:>6}  function\n", "own", "total");
    for hot in top {
        text.push_str(&format!("{:>5.1}%  {:>5.1}%  {}\n", hot.own * 100.0, hot.total * 100.0, hot.function));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hottest_functions_are_told_in_percent() {
        let hot = Hot { function: "parse".to_owned(), own: 0.25, total: 0.5 };
        let text = text(&[hot]);
        assert!(text.contains(" 25.0%   50.0%  parse"), "{text}");
    }
}
