//! A learner's clone: the repository as git knows it here, what is not committed yet included.

#![allow(clippy::unwrap_used)] // a test that cannot go on should stop

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};
use tempfile::TempDir;

/// It stands in a folder whose name has a space in it.
pub(crate) struct Scratch {
    pub(crate) root: PathBuf,
    _dir: TempDir,
}

impl Scratch {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let scratch = Self { root: dir.path().join("my clone"), _dir: dir };
        let origin = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let listed = Command::new("git").args(["ls-files", "-z"]).current_dir(&origin).output().unwrap();
        assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
        for file in String::from_utf8(listed.stdout).unwrap().split_terminator('\0') {
            // What is deleted and not yet committed is still listed.
            let Ok(bytes) = fs::read(origin.join(file)) else { continue };
            let to = scratch.root.join(file);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::write(to, bytes).unwrap();
        }
        scratch.git(&["init", "--quiet"]);
        scratch.git(&["add", "--all"]);
        scratch
    }

    pub(crate) fn git(&self, words: &[&str]) -> String {
        let output = Command::new("git").args(words).current_dir(&self.root).output().unwrap();
        assert!(output.status.success(), "git {words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}
