//! The course's phases: the table that names them, each of them as a tree and as a git branch of its own, and how far a
//! learner is in them.
//!
//! The crafts hold their final form, and beside it every variant that it superseded. Nothing is kept twice: what a
//! phase looked like is *made*, from one commit, by putting its variants where the final files stand and taking away
//! whatever knows of later phases. `git diff craft1/phase-2 craft1/phase-3` is then one step of the course and nothing
//! else.
//!
//! ```text
//! crafts/phases.toml ──▶ table ─┐
//!                               ├─▶ phase (slots, composition, cuts) ─▶ manifest, lock ─▶ branches, diff
//! a commit ──▶ git ──▶ tree ────┘
//! progress.jsonl ──▶ progress ──▶ map of the course
//! ```
//!
//! Invariants: the work tree and the index are never touched; the same commit gives the same hashes; a branch with
//! anybody's own work on it is never overwritten; no network. It knows nothing of the crafts but what the table says:
//! files and git are its whole world.

pub mod table;

pub mod git;

pub mod tree;

pub mod phase;

mod rust;

mod manifest;

mod lock;

pub mod branches;

pub mod progress;

pub use table::{PhaseId, Table};

/// Where the table stands in the repository.
pub const TABLE_FILE: &str = "crafts/phases.toml";

/// Why there are no phases to be had. Each is one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum CourseError {
    /// The program cannot be run.
    #[error("git cannot be run ({0}); phase branches and diffs are made by it: install it, or mend the PATH")]
    NoGit(std::io::Error),
    /// Nothing to read phases from.
    #[error(
        "{0} is not in a git repository; phases are made from a commit: clone the repository, not its archive"
    )]
    NoRepository(String),
    /// A repository without a commit.
    #[error("the repository has no commit yet; phases are made from one")]
    NoCommit,
    /// The commit has no table.
    #[error(
        "{TABLE_FILE} is not in {0}; a phase branch has none: check out the branch that it was generated from"
    )]
    NoTable(String),
    /// A command that should have worked.
    #[error("git {command} failed: {message}")]
    Git {
        /// Its first arguments.
        command: String,
        /// The first line of what it said.
        message: String,
    },
    /// The table contradicts itself.
    #[error("{TABLE_FILE}: {0}")]
    Table(String),
    /// The table contradicts the tree, or a file is not what a phase can be made from.
    #[error("{path}: {problem}")]
    File {
        /// Where.
        path: String,
        /// What was expected, and what was found.
        problem: String,
    },
    /// A branch's name is the beginning of those to be written.
    #[error(
        "a branch called {0} is in the way of {0}/phase-…, since git keeps branches as paths; \
         rename it: git branch -m {0} another-name"
    )]
    NameTaken(String),
    /// The temporary index, or the pipe to git.
    #[error("a temporary file or pipe failed: {0}")]
    Io(#[from] std::io::Error),
}

impl CourseError {
    fn file(path: &str, problem: impl Into<String>) -> Self {
        Self::File { path: path.to_owned(), problem: problem.into() }
    }
}
