//! Where a figure comes from: the machine, the code and the compiler.
//!
//! Every results file of the project carries this, because a figure without it cannot be compared with anything.

use std::path::Path;
use std::process::Command;
use std::thread;

use serde::{Deserialize, Serialize};

/// What a result depends on besides the workload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// The hardware and its operating system.
    pub machine: Machine,
    /// The code; `None` outside a git tree.
    pub commit: Option<Commit>,
    /// The compiler that built this program, `rustc --version`.
    pub rustc: String,
    /// `release` or `debug`.
    pub profile: String,
}

/// The hardware and its operating system.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's brand.
    pub cpu_model: String,
    /// Logical processors in the machine.
    pub cores: usize,
    /// Logical processors that this process may use (affinity and cgroup quota considered).
    pub cores_usable: usize,
    /// Main memory.
    pub memory_bytes: u64,
    /// The kernel's version.
    pub kernel: String,
    /// The operating system's name and version.
    pub os: String,
    /// The instruction set.
    pub arch: String,
}

/// A state of the code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// `git rev-parse HEAD`.
    pub rev: String,
    /// Whether tracked files differ from it.
    pub dirty: bool,
}

impl Provenance {
    /// Of this process, with the git tree that `directory` lies in.
    pub fn collect(directory: &Path) -> Self {
        Self {
            machine: Machine::collect(),
            commit: Commit::collect(directory),
            rustc: env!("BUILT_WITH_RUSTC").to_owned(),
            profile: env!("BUILT_PROFILE").to_owned(),
        }
    }
}

impl Machine {
    /// Of this machine; what the platform does not tell is `unknown` or 0.
    pub fn collect() -> Self {
        let mut system = sysinfo::System::new().ok();
        if let Some(system) = &mut system {
            system.refresh_memory();
            system.refresh_cpu_all();
        }
        let cpus = system.as_ref().map_or(&[][..], |system| system.cpus());
        let brand = cpus.first().map_or("", |cpu| cpu.brand()).trim();
        Self {
            cpu_model: if brand.is_empty() { unknown() } else { brand.to_owned() },
            cores: cpus.len(),
            cores_usable: thread::available_parallelism().map_or(0, usize::from),
            memory_bytes: system.as_ref().map_or(0, sysinfo::System::total_memory),
            kernel: sysinfo::System::kernel_version().unwrap_or_else(|_| unknown()),
            os: sysinfo::System::long_os_version().unwrap_or_else(|_| unknown()),
            arch: std::env::consts::ARCH.to_owned(),
        }
    }
}

fn unknown() -> String {
    "unknown".to_owned()
}

impl Commit {
    /// Of the git tree that `directory` lies in, if it lies in one and git is installed.
    pub fn collect(directory: &Path) -> Option<Self> {
        let rev = git(directory, &["rev-parse", "HEAD"])?;
        let status = git(directory, &["status", "--porcelain", "--untracked-files=no"])?;
        Some(Self { rev, dirty: !status.is_empty() })
    }
}

fn git(directory: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").arg("-C").arg(directory).args(arguments).output().ok()?;
    if !output.status.success() {
        return None;
    }
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_a_processor_and_memory() {
        let provenance = Provenance::collect(Path::new("."));
        assert!(provenance.machine.cores > 0);
        assert!(provenance.machine.memory_bytes > 1024 * 1024);
        assert!(provenance.rustc.starts_with("rustc "));
    }

    #[test]
    fn outside_a_git_tree_there_is_no_commit() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(Commit::collect(directory.path()), None);
    }

    #[test]
    fn a_changed_file_makes_the_tree_dirty() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let identity = ["-c", "user.name=t", "-c", "user.email=t@localhost"];
        git(path, &["init", "-q"]).unwrap();
        std::fs::write(path.join("file"), "one").unwrap();
        git(path, &["add", "file"]).unwrap();
        git(path, &[&identity[..], &["commit", "-q", "-m", "first"]].concat()).unwrap();
        let clean = Commit::collect(path).unwrap();
        assert!(!clean.dirty && clean.rev.len() >= 40);
        std::fs::write(path.join("file"), "two").unwrap();
        assert_eq!(Commit::collect(path).unwrap(), Commit { dirty: true, ..clean });
    }
}
