//! A server as a child process, ours or another's: found, started, waited for, and ended.

use crate::{process::Watch, tool};
use anyhow::{Context, Result, bail};
use std::{
    io::{BufRead, BufReader},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::super::slice::Figures;

/// How long it may take to listen.
const START_TIMEOUT: Duration = Duration::from_secs(10);
/// What Debian calls the peers' programs and their packages, and how they tell their version.
const PEERS: [(&str, &str, &str); 3] = [
    ("nats-server", "nats-server", "--version"),
    ("redis-server", "redis-server", "--version"),
    ("victoria-metrics", "victoria-metrics", "--version"),
];

/// The servers' programs.
#[derive(Clone, Debug)]
pub struct Programs {
    /// Our queue, as a service.
    pub queue_server: PathBuf,
    /// Our ingestion, before a log.
    pub phase_server: PathBuf,
}

impl Programs {
    /// Finds ours; the peers are looked for when they are measured.
    ///
    /// # Errors
    /// When they have not been built.
    pub fn find() -> Result<Self> {
        let [queue_server, phase_server] = ["queue-server", "phase-server"].map(crate::server::beside_this);
        Ok(Self { queue_server: queue_server?, phase_server: phase_server? })
    }

    /// What the peers say of themselves, those that are installed.
    pub fn versions() -> Vec<(&'static str, String)> {
        let version = |(program, package, flag)| {
            let path = tool::find(program, package).ok()?;
            Some((program, tool::version(&path, flag)))
        };
        PEERS.into_iter().filter_map(version).collect()
    }

    /// The packages that are not installed.
    pub fn missing() -> Vec<&'static str> {
        let is_missing = |&(program, package): &(&str, &str)| tool::find(program, package).is_err();
        let peers = PEERS.into_iter().map(|(program, package, _)| (program, package));
        peers.filter(is_missing).map(|(_, package)| package).collect()
    }
}

/// A running server; dropping it kills it.
#[derive(Debug)]
pub(super) struct Server {
    child: Child,
    pub(super) port: u16,
}

impl Server {
    /// One of ours, which says on stdout where it listens.
    pub(super) fn ours(mut command: Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().display()))?;
        let stdout = child.stdout.take().context("our server has no stdout")?;
        let mut server = Self { child, port: 0 };
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        server.port = line.trim().parse().context("our server did not start")?;
        Ok(server)
    }

    /// A peer that is told its port.
    pub(super) fn peer(program: &str, words: impl FnOnce(&mut Command, u16)) -> Result<Self> {
        let (_, package, _) =
            PEERS.into_iter().find(|(name, ..)| *name == program).context("an unknown peer")?;
        let port = free_port()?;
        let mut command = Command::new(tool::find(program, package)?);
        words(&mut command, port);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let server =
            Self { child: command.spawn().with_context(|| format!("cannot start {program}"))?, port };
        let begun = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if begun.elapsed() > START_TIMEOUT {
                bail!("{program} does not listen");
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(server)
    }

    pub(super) fn connect(&self) -> Result<TcpStream> {
        let socket = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        socket.set_nodelay(true)?;
        Ok(socket)
    }

    /// Watches it while something is done; adds what it used for each of so many units.
    pub(super) fn watched(&self, work: impl FnOnce() -> Result<(Figures, f64)>) -> Result<Figures> {
        let watch = Watch::begin(self.child.id());
        let seen = work();
        let used = watch.end();
        let (mut figures, units) = seen?;
        if let Some(used) = used {
            let cpu_us = (used.cpu_user_us + used.cpu_system_us) as f64;
            figures.insert("server_cpu_us".to_owned(), cpu_us / units.max(1.0));
            figures.insert("server_memory_mb".to_owned(), used.resident_bytes_max as f64 / 1e6);
        }
        Ok(figures)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both only fail when it has ended by itself, which is just as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Free now; that nobody takes it in between is likely, and seen at once if not.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
