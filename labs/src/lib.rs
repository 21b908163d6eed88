//! The lab engine: the learner rebuilds one part of the living system, and the part serves in it minutes later.
//!
//! ```text
//! crafts/phases.toml ─┐
//! labs/…/lab.toml ────┴▶ catalogue ─▶ workshop (starter, holes) ─▶ labs/work/<slug>/ ◀── the learner
//!                                                                      │ build
//!                        progress ◀── check ◀── gate ◀── program ◀─────┘
//! ```
//!
//! Invariants: the work tree that git knows is never touched; what the learner wrote is never lost; no lab knows another.
//! It measures nothing itself, which `benches` does, and knows no craft but by the course's table: the crafts are linked
//! by the learner's own program, with the help of `lab-kit`.

pub mod catalogue;

pub mod holes;

pub mod workshop;

pub mod program;

pub mod exercise;

pub mod check;

pub mod prove;

pub mod gate;

pub mod progress;

pub mod class;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Why a lab cannot go on. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// Not inside the repository.
    #[error("{0} is not in the course's repository; labs are done inside a clone of it")]
    NoCourse(PathBuf),
    /// A name that is none.
    #[error("there is no lab {slug:?}; there are {there}")]
    NoLab {
        /// What was asked for.
        slug: String,
        /// All slugs.
        there: String,
    },
    /// A file says something wrong.
    #[error("{path}: {problem}")]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A file cannot be read or written.
    #[error("{path}: {error}")]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// It is there already.
    #[error(
        "{slug} was started already: yours is in {place}; `cargo craft lab reset {slug}` begins anew and keeps a copy"
    )]
    Started {
        /// Which lab.
        slug: String,
        /// Where.
        place: PathBuf,
    },
    /// It is not there.
    #[error(
        "{slug} was not started, or its folder is not whole; `cargo craft lab start {slug}` makes it, and keeps a copy of what is there"
    )]
    NotStarted {
        /// Which lab.
        slug: String,
    },
    /// A class does labs.
    #[error(
        "{slug} is an exercise, in which nothing is measured; a class is run on a lab that rebuilds a slot"
    )]
    Exercise {
        /// Which.
        slug: String,
    },
    /// A name that no test of the lab's begins with.
    #[error("there is no test {asked:?}; there are\n  {}", there.join("\n  "))]
    NoTest {
        /// What was asked for.
        asked: String,
        /// All names.
        there: Vec<String>,
    },
    /// Cargo cannot be run.
    #[error(
        "cargo cannot be run ({0}); labs are compiled: install a Rust toolchain (https://rustup.rs), or mend the PATH"
    )]
    NoCargo(io::Error),
    /// The compiler cannot compile anything.
    #[error(
        "the compiler cannot compile even an empty program, so this is no fault of yours: {0}\n\
         Is the toolchain whole (`rustup show`), is there a linker (`cc`), is there room on the disk (`df -h`)?"
    )]
    NoCompiler(String),
    /// The lab's program does not speak as it should.
    #[error("the lab's program {0}")]
    Program(String),
}

impl LabError {
    fn file(path: &Path, problem: impl Into<String>) -> Self {
        Self::File { path: path.to_owned(), problem: problem.into() }
    }

    fn io(path: &Path, error: io::Error) -> Self {
        Self::Io { path: path.to_owned(), error }
    }
}

/// Writes a file, and the folders in which it stands.
fn write(path: &Path, text: &str) -> Result<(), LabError> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).map_err(|e| LabError::io(dir, e))?;
    }
    fs::write(path, text).map_err(|e| LabError::io(path, e))
}

/// The text of a file.
fn read(path: &Path) -> Result<String, LabError> {
    fs::read_to_string(path).map_err(|e| LabError::io(path, e))
}
