//! Other people's programs: where they are, which package has them, and which core they may use.

use std::env;
use std::fs;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Directories that hold servers on Debian, and are often missing from a user's `PATH`.
const MORE_DIRECTORIES: [&str; 3] = ["/usr/sbin", "/usr/local/sbin", "/sbin"];

/// The program's path, or an error that says which Debian package to install.
///
/// # Errors
/// When it is nowhere in `PATH` or the system directories.
pub fn find(program: &str, package: &str) -> Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(MORE_DIRECTORIES.map(PathBuf::from))
        .map(|directory| directory.join(program))
        .find(|candidate| candidate.is_file())
        .with_context(|| format!("{program} is not installed; on Debian: apt install {package}"))
}

/// Has Debian's apt install packages: as root, or through sudo where somebody is there to be asked for a password.
///
/// # Errors
/// When that cannot be done here.
pub fn install(packages: &[&str]) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    let is_root = rustix::process::geteuid().is_root();
    ensure!(
        is_root || std::io::stdin().is_terminal(),
        "only root can install; sudo needs a terminal to ask on"
    );
    let mut command = if is_root { Command::new("apt-get") } else { Command::new("sudo") };
    if !is_root {
        command.arg("apt-get");
    }
    command.args(["install", "--yes", "--no-install-recommends"]).args(packages);
    let status =
        command.stdout(std::io::stderr()).status().context("apt-get cannot be run; is this Debian?")?;
    ensure!(status.success(), "apt-get ended with {status}");
    Ok(())
}

/// The first line of what the program says of itself, on whichever stream.
pub fn version(program: &Path, flag: &str) -> String {
    let Ok(output) = Command::new(program).arg(flag).output() else { return "unknown".to_owned() };
    let said = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&said).lines().next().unwrap_or("unknown").trim().to_owned()
}

/// Pins server and generator to a core each, where that is possible.
#[derive(Clone, Debug)]
pub struct Pinning {
    taskset: Option<PathBuf>,
    /// The server's core and the generator's.
    pub cores: Option<(usize, usize)>,
    /// The words that make this program generate load ([`crate::traffic::generate`]), if it is more than a generator.
    generator_words: Vec<String>,
}

impl Pinning {
    /// With `taskset` and two usable cores; else nothing is pinned.
    pub fn detect() -> Self {
        let taskset = find("taskset", "util-linux").ok();
        let cores = match usable_cores()[..] {
            [server, generator, ..] if taskset.is_some() => Some((server, generator)),
            _ => None,
        };
        Self { taskset, cores, generator_words: Vec::new() }
    }

    /// Nothing is pinned: everybody may use every core.
    pub fn none() -> Self {
        Self { taskset: None, cores: None, generator_words: Vec::new() }
    }

    /// The same for a program that generates load after these words.
    pub fn with_generator_words(self, words: &[&str]) -> Self {
        Self { generator_words: words.iter().map(|word| (*word).to_owned()).collect(), ..self }
    }

    /// The same, but everybody may use every core.
    pub fn unpinned(&self) -> Self {
        Self { generator_words: self.generator_words.clone(), ..Self::none() }
    }

    /// A command that runs this very program as a generator of load, on the generator's core.
    ///
    /// # Errors
    /// When the system does not say where this program is.
    pub fn this_as_generator(&self) -> Result<Command> {
        let mut command = self.generator(&env::current_exe().context("cannot find this program")?);
        command.args(&self.generator_words);
        Ok(command)
    }

    /// A command that runs `program` on the server's core.
    pub fn server(&self, program: &Path) -> Command {
        self.on(self.cores.map(|cores| cores.0), program)
    }

    /// A command that runs `program` on the generator's core.
    pub fn generator(&self, program: &Path) -> Command {
        self.on(self.cores.map(|cores| cores.1), program)
    }

    fn on(&self, core: Option<usize>, program: &Path) -> Command {
        match (&self.taskset, core) {
            (Some(taskset), Some(core)) => {
                let mut command = Command::new(taskset);
                command.arg("-c").arg(core.to_string()).arg(program);
                command
            }
            _ => Command::new(program),
        }
    }
}

/// The cores that this process may run on, as Linux lists them.
fn usable_cores() -> Vec<usize> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    list.map_or(Vec::new(), parse_core_list)
}

/// `0-2,5` → 0, 1, 2, 5; what cannot be read is left out.
fn parse_core_list(list: &str) -> Vec<usize> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse::<usize>().ok()?..=last.parse::<usize>().ok()?)
    };
    list.trim().split(',').filter_map(range).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn core_lists_are_read() {
        assert_eq!(parse_core_list("\t0-2,5\n"), [0, 1, 2, 5]);
        assert_eq!(parse_core_list("3"), [3]);
        assert_eq!(parse_core_list(""), [0_usize; 0]);
    }

    #[test]
    fn a_missing_program_names_its_package() {
        let error = find("no-such-program-anywhere", "some-package").unwrap_err();
        assert!(error.to_string().contains("apt install some-package"));
    }
}
