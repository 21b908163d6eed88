//! The peers: what one would use instead, measured beside chosen phases in the same rounds.
//!
//! nginx does nothing but answer: it is the price of the kernel. axum with serde_json parses, and hands nothing on. The
//! phases parse, limit, and hand over. Each has one core, and the load another; both our tester and wrk load them, since
//! a generator that is the limit for one of them says nothing about how they compare.

use crate::{
    loads::{Generator, Load},
    nginx::Nginx,
    noise::Noise,
    process::Watch,
    progress::Progress,
    results::{Slice, Subject, Verified},
    server::{PhaseServer, Setting},
    tool::{self, Pinning},
    traffic::{self, Requests},
    wrk::Wrk,
};
use anyhow::{Context, Result, ensure};
use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

/// Load before the measured load.
const WARM_UP_S: f64 = 0.5;
/// What Debian calls them.
const PACKAGES: [(&str, &str); 2] = [("nginx", "nginx-light"), ("wrk", "wrk")];

/// The programs of others.
#[derive(Clone, Debug)]
pub struct Programs {
    /// nginx.
    pub nginx: PathBuf,
    /// wrk.
    pub wrk: PathBuf,
    /// The minimal axum server.
    pub axum: PathBuf,
    /// What they say of themselves.
    pub versions: Vec<(&'static str, String)>,
}

impl Programs {
    /// Finds them, with `install` has Debian's apt install what is missing, and builds the axum server.
    ///
    /// # Errors
    /// When one is missing; the error says how to install it.
    pub fn find(root: &Path, install: bool) -> Result<Self> {
        if install {
            let missing = PACKAGES.iter().filter(|(p, package)| tool::find(p, package).is_err());
            tool::install(&missing.map(|(_, package)| *package).collect::<Vec<_>>())?;
        }
        let [nginx, wrk] = PACKAGES.map(|(program, package)| tool::find(program, package));
        let advice = "or craft bench peers --install";
        let (nginx, wrk) = (nginx.context(advice)?, wrk.context(advice)?);
        let versions = vec![("nginx", tool::version(&nginx, "-v")), ("wrk", tool::version(&wrk, "-v"))];
        Ok(Self { axum: build_axum(root)?, nginx, wrk, versions })
    }

    fn version(&self, of: &str) -> String {
        self.versions
            .iter()
            .find(|(name, _)| *name == of)
            .map_or(String::new(), |(_, version)| version.clone())
    }
}

/// In a target directory of its own below ours, from its own lock file.
fn build_axum(root: &Path) -> Result<PathBuf> {
    let here = std::env::current_exe()?;
    let target =
        here.parent().and_then(Path::parent).context("this program stands in no target directory")?;
    let target = target.join("peers");
    let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--release", "--locked", "--quiet", "--manifest-path"])
        .arg(root.join("benches/peers/axum-server/Cargo.toml"))
        .arg("--target-dir")
        .arg(&target)
        .stdout(Stdio::null())
        .status()
        .context("cannot start cargo, which builds the axum server")?;
    ensure!(status.success(), "cargo could not build the axum server");
    Ok(target.join("release/axum-server"))
}

/// Whom to measure.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Who {
    Nginx,
    Axum,
    Phase(u32),
}

impl Who {
    fn name(&self) -> String {
        match self {
            Self::Nginx => "nginx".to_owned(),
            Self::Axum => "axum".to_owned(),
            Self::Phase(number) => format!("phase{number}"),
        }
    }
}

/// A comparison.
#[derive(Debug)]
pub struct Contest<'a> {
    /// The programs of others.
    pub programs: Programs,
    /// Ours.
    pub phase_server: PathBuf,
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

/// A running server; dropping it ends it.
enum Server {
    Nginx(Nginx),
    Axum(Axum),
    Phase(PhaseServer),
}

struct Axum {
    child: Child,
    port: u16,
}

impl Contest<'_> {
    /// Measures all of it.
    ///
    /// # Errors
    /// None that one server or one load could cause: these stand in the slices.
    pub fn run(&self, progress: &Progress) -> Result<Vec<Slice>> {
        let mut slices = Vec::new();
        let mut patience = self.patience;
        for round in 0..self.rounds {
            for load in self.loads {
                let mut order = self.who(load);
                let first = round as usize % order.len().max(1);
                order.rotate_left(first);
                for who in order {
                    progress.step(&format!(
                        "round {} of {}: {} under {}",
                        round + 1,
                        self.rounds,
                        who.name(),
                        load.name
                    ));
                    patience = Noise::wait_for_quiet(std::process::id(), patience);
                    let mut slice =
                        Slice { round, load: load.name.clone(), subject: who.name(), ..Slice::default() };
                    slice.failure =
                        self.measure(load, &who, &mut slice).err().map(|error| format!("{error:#}"));
                    slices.push(slice);
                }
            }
        }
        Ok(slices)
    }

    /// How many slices there will be.
    pub fn slices(&self) -> usize {
        self.loads.iter().map(|load| self.who(load).len()).sum::<usize>() * self.rounds as usize
    }

    /// Who is measured, with what they are.
    pub fn subjects(&self, phases: &[Subject]) -> Vec<Subject> {
        let peer = |name: &str, title: String| Subject { name: name.to_owned(), title, phase: None };
        let mut subjects = vec![
            peer("nginx", format!("{}, answers and does nothing", self.programs.version("nginx"))),
            peer("axum", "axum and serde_json, parses and hands nothing on".to_owned()),
        ];
        subjects.extend(phases.iter().cloned());
        subjects
    }

    fn who(&self, load: &Load) -> Vec<Who> {
        let phases = self.phases.iter().copied().filter(|phase| load.phases.contains(phase));
        [Who::Nginx, Who::Axum].into_iter().chain(phases.map(Who::Phase)).collect()
    }

    fn measure(&self, load: &Load, who: &Who, slice: &mut Slice) -> Result<()> {
        let server = self.start(load, who)?;
        let wrk = match load.generator {
            Generator::LoadTester => None,
            Generator::Wrk => Some(Wrk::new(&self.programs.wrk, &load.traffic)?),
        };
        let run = |seconds| match &wrk {
            Some(wrk) => wrk.run(&self.pinning, server.port(), &load.traffic, seconds),
            None => traffic::run(&self.pinning, server.port(), &load.traffic, seconds),
        };
        let warm_up = run(WARM_UP_S)?;
        let (noise, watch) = (Noise::begin(server.id()), Watch::begin(server.id()));
        let requests = run(self.seconds)?;
        slice.used = watch.end();
        slice.others_cores = noise.others_cores();
        // wrk stops in the middle of its requests: the log holds some that it never counted.
        let unsure = |r: &Requests| {
            if wrk.is_some() {
                u64::from(load.traffic.connections * load.traffic.pipeline)
            } else {
                r.unanswered
            }
        };
        let (accepted, unknown) = (warm_up.ok + requests.ok, unsure(&warm_up) + unsure(&requests));
        slice.requests = Some(requests);
        if let Server::Phase(server) = server {
            let last = server.drain()?;
            slice.drain_ms = Some(last.drain_ms);
            slice.verified = Some(Verified { accepted, unknown, found: last.found.samples });
        }
        Ok(())
    }

    fn start(&self, load: &Load, who: &Who) -> Result<Server> {
        Ok(match who {
            Who::Nginx => Server::Nginx(Nginx::start(&self.programs.nginx, &self.pinning)?),
            Who::Axum => Server::Axum(Axum::start(&self.programs.axum, &self.pinning)?),
            Who::Phase(number) => {
                let setting = Setting {
                    words: Vec::new(),
                    phase: format!("phase{number}"),
                    log: load.log.clone(),
                    allocations: false,
                };
                Server::Phase(PhaseServer::start(&self.phase_server, &self.pinning, &setting, None, &[])?)
            }
        })
    }
}

impl Axum {
    fn start(program: &Path, pinning: &Pinning) -> Result<Self> {
        let mut child = pinning
            .server(program)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let stdout = child.stdout.take().context("the axum server has no stdout")?;
        let mut axum = Self { child, port: 0 };
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        axum.port = line.trim().parse().context("the axum server did not start")?;
        Ok(axum)
    }
}

impl Drop for Axum {
    fn drop(&mut self) {
        // Both only fail when it has ended by itself, which is just as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    fn port(&self) -> u16 {
        match self {
            Self::Nginx(nginx) => nginx.port,
            Self::Axum(axum) => axum.port,
            Self::Phase(server) => server.port,
        }
    }

    fn id(&self) -> u32 {
        match self {
            Self::Nginx(nginx) => nginx.id(),
            Self::Axum(axum) => axum.child.id(),
            Self::Phase(server) => server.id(),
        }
    }
}
