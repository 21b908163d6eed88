//! A tree that can be changed without anybody else seeing it: the files of a commit, and what was made of them.

use crate::{
    CourseError,
    git::{Entry, Git},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

/// Files by their path from the root of the repository.
#[derive(Clone)]
pub struct Tree<'g> {
    git: &'g Git,
    files: BTreeMap<String, Entry>,
    changed: BTreeSet<String>,
}

impl<'g> Tree<'g> {
    /// The files of a commit.
    ///
    /// # Errors
    /// When git fails.
    pub fn of(git: &'g Git, commit: &str) -> Result<Self, CourseError> {
        Ok(Self { git, files: git.files(commit)?, changed: BTreeSet::new() })
    }

    /// Whether there is this file.
    pub fn has(&self, path: &str) -> bool {
        self.files.contains_key(path)
    }

    /// The paths of all files, sorted.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// What was written or removed since it was a commit's.
    pub fn changed(&self) -> &BTreeSet<String> {
        &self.changed
    }

    /// The text of a file.
    ///
    /// # Errors
    /// When it is not there, or no text.
    pub fn text(&self, path: &str) -> Result<String, CourseError> {
        let Some(file) = self.files.get(path) else { return Err(missing(path)) };
        String::from_utf8(self.git.read(&file.blob)?).map_err(|_| CourseError::file(path, "is not UTF-8"))
    }

    /// Writes a file; one that is there keeps its mode.
    ///
    /// # Errors
    /// When git fails.
    pub fn put(&mut self, path: &str, text: &str) -> Result<(), CourseError> {
        let blob = self.git.write(text.as_bytes())?;
        let mode = self.files.get(path).map_or("100644", |file| &file.mode).to_owned();
        let entry = Entry { mode, blob };
        if self.files.get(path) != Some(&entry) {
            self.files.insert(path.to_owned(), entry);
            self.changed.insert(path.to_owned());
        }
        Ok(())
    }

    /// Removes a file, or a directory with all that is in it; returns the files it removed.
    ///
    /// # Errors
    /// When there is neither.
    pub fn remove(&mut self, path: &str) -> Result<Vec<String>, CourseError> {
        let below = |file: &&String| *file == path || is_below(file, path);
        let found: Vec<String> = self.files.keys().filter(below).cloned().collect();
        if found.is_empty() {
            return Err(missing(path));
        }
        for file in &found {
            self.files.remove(file);
            self.changed.insert(file.clone());
        }
        Ok(found)
    }

    /// Writes it to the repository; returns its hash.
    ///
    /// # Errors
    /// When git fails.
    pub fn write(&self) -> Result<String, CourseError> {
        self.git.write_tree(&self.files)
    }
}

/// Whether a path lies within a directory.
pub fn is_below(path: &str, dir: &str) -> bool {
    dir.is_empty() || Path::new(path).starts_with(dir)
}

fn missing(path: &str) -> CourseError {
    CourseError::file(path, "there is no such file in this commit")
}
