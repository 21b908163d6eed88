//! Git, as a program: the few commands from which phases are read and written.
//!
//! Only plumbing is used. An index of its own is written beside the repository's, which stays as it is, and so does the
//! work tree. What depends on the machine or on its user is pinned: identity, dates, encodings.

use crate::CourseError;
use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
    ffi::OsString,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Output, Stdio},
};
use tempfile::TempDir;

/// Who writes phase branches. Nobody else uses this name, so that a branch whose tip has another committer is known to
/// be somebody's own.
pub const IDENTITY: (&str, &str) = ("Systems Craft", "phases@systems-craft.invalid");

/// A repository, seen from a directory within it.
pub struct Git {
    dir: PathBuf,
    /// Where what is written goes instead of the repository.
    aside: Option<Aside>,
    /// For the temporary index.
    scratch: TempDir,
    read: RefCell<HashMap<String, Vec<u8>>>,
    written: RefCell<HashMap<Vec<u8>, String>>,
}

/// A store of objects that is thrown away in the end.
struct Aside {
    objects: TempDir,
    /// The repository's own, to be read from.
    shared: PathBuf,
}

/// One file of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// `100644`, `100755`, `120000`
    pub mode: String,
    /// The hash of its content.
    pub blob: String,
}

/// A commit to be written.
pub struct NewCommit<'a> {
    /// Its tree.
    pub tree: &'a str,
    /// The one before.
    pub parent: Option<&'a str>,
    /// Of author and committer: seconds since 1970.
    pub seconds: &'a str,
    /// Subject, body, trailers.
    pub message: &'a str,
}

impl Git {
    /// The repository that `dir` is in.
    ///
    /// # Errors
    /// No git, no repository, no commit.
    pub fn open(dir: &Path) -> Result<Self, CourseError> {
        let mut git = Self {
            dir: dir.to_owned(),
            aside: None,
            scratch: TempDir::new()?,
            read: RefCell::default(),
            written: RefCell::default(),
        };
        let find = ["rev-parse", "--show-toplevel"];
        let top = git.output(&find, None)?;
        // Git may also refuse a repository, of another owner for one: then its own words are to be heard.
        if String::from_utf8_lossy(&top.stderr).contains("not a git repository") {
            return Err(CourseError::NoRepository(dir.display().to_string()));
        }
        let top = checked(&find, top)?;
        if !git.output(&["rev-parse", "--quiet", "--verify", "HEAD^{commit}"], None)?.status.success() {
            return Err(CourseError::NoCommit);
        }
        git.dir = PathBuf::from(trimmed(&top));
        Ok(git)
    }

    /// The same repository; but what is written is not kept.
    ///
    /// # Errors
    /// When there is no place for temporary files.
    pub fn aside(mut self) -> Result<Self, CourseError> {
        let shared = self.run(&["rev-parse", "--git-path", "objects"], None)?;
        let shared = self.dir.join(shared);
        self.aside = Some(Aside { objects: TempDir::new()?, shared });
        Ok(self)
    }

    /// Hash and committer's date (seconds since 1970) of HEAD.
    ///
    /// # Errors
    /// When git fails.
    pub fn head(&self) -> Result<(String, String), CourseError> {
        let line = self.run(&["log", "-1", "--no-show-signature", "--format=%H %ct", "HEAD"], None)?;
        let (hash, seconds) = line.split_once(' ').unwrap_or((&line, "0"));
        Ok((hash.to_owned(), seconds.to_owned()))
    }

    /// Whether files that git keeps differ from HEAD.
    ///
    /// # Errors
    /// When git fails.
    pub fn is_dirty(&self) -> Result<bool, CourseError> {
        // Without optional locks `status` does not write the index that it refreshed.
        let status = ["--no-optional-locks", "status", "--porcelain", "--untracked-files=no"];
        Ok(!self.run(&status, None)?.is_empty())
    }

    /// Every file of a commit.
    ///
    /// # Errors
    /// When git fails.
    pub fn files(&self, commit: &str) -> Result<BTreeMap<String, Entry>, CourseError> {
        let listed = self.bytes(&["ls-tree", "-r", "-z", "--full-tree", commit], None)?;
        let listed = String::from_utf8_lossy(&listed);
        let entries = listed.split_terminator('\0').filter_map(|line| {
            let (about, path) = line.split_once('\t')?;
            let mut about = about.split(' ');
            let (mode, _kind, blob) = (about.next()?, about.next()?, about.next()?);
            Some((path.to_owned(), Entry { mode: mode.to_owned(), blob: blob.to_owned() }))
        });
        Ok(entries.collect())
    }

    /// The content of a file.
    ///
    /// # Errors
    /// When git fails.
    pub fn read(&self, blob: &str) -> Result<Vec<u8>, CourseError> {
        if let Some(known) = self.read.borrow().get(blob) {
            return Ok(known.clone());
        }
        let content = self.bytes(&["cat-file", "blob", blob], None)?;
        self.read.borrow_mut().insert(blob.to_owned(), content.clone());
        Ok(content)
    }

    /// Writes the content of a file; returns its hash.
    ///
    /// # Errors
    /// When git fails.
    pub fn write(&self, content: &[u8]) -> Result<String, CourseError> {
        if let Some(known) = self.written.borrow().get(content) {
            return Ok(known.clone());
        }
        let blob = self.run(&["hash-object", "-w", "--stdin"], Some(content))?;
        self.written.borrow_mut().insert(content.to_owned(), blob.clone());
        Ok(blob)
    }

    /// Writes a tree of these files; returns its hash.
    ///
    /// # Errors
    /// When git fails.
    pub fn write_tree(&self, files: &BTreeMap<String, Entry>) -> Result<String, CourseError> {
        let listed: String =
            files.iter().map(|(path, file)| format!("{} {}\t{path}\0", file.mode, file.blob)).collect();
        // What an earlier tree left there would stay.
        let index = self.index();
        if index.exists() {
            fs::remove_file(&index)?;
        }
        self.run(&["update-index", "-z", "--index-info"], Some(listed.as_bytes()))?;
        self.run(&["write-tree"], None)
    }

    /// Writes a commit; returns its hash, which depends on nothing but what is given here.
    ///
    /// # Errors
    /// When git fails.
    pub fn write_commit(&self, commit: &NewCommit<'_>) -> Result<String, CourseError> {
        let mut args = vec!["-c", "i18n.commitEncoding=UTF-8", "commit-tree", commit.tree];
        if let Some(parent) = commit.parent {
            args.extend(["-p", parent]);
        }
        let date = format!("{} +0000", commit.seconds);
        let mut command = self.command(&args);
        for role in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{role}_NAME"), IDENTITY.0);
            command.env(format!("GIT_{role}_EMAIL"), IDENTITY.1);
            command.env(format!("GIT_{role}_DATE"), &date);
        }
        let output = feed(command, Some(commit.message.as_bytes()))?;
        checked(&args, output).map(|stdout| trimmed(&stdout))
    }

    /// The local branches whose names begin with `prefix/`, and the one called `prefix`; each with its tip.
    ///
    /// # Errors
    /// When git fails.
    pub fn branches(&self, prefix: &str) -> Result<BTreeMap<String, String>, CourseError> {
        let pattern = format!("refs/heads/{prefix}");
        let format = "--format=%(refname:lstrip=2) %(objectname)";
        let listed = self.run(&["for-each-ref", format, &pattern], None)?;
        let pairs = listed.lines().filter_map(|line| line.split_once(' '));
        Ok(pairs.map(|(name, tip)| (name.to_owned(), tip.to_owned())).collect())
    }

    /// Who wrote a commit, as name and address; and its message.
    ///
    /// # Errors
    /// When git fails.
    pub fn committer_and_message(&self, commit: &str) -> Result<(String, String, String), CourseError> {
        let text = self.run(&["log", "-1", "--no-show-signature", "--format=%cn%n%ce%n%B", commit], None)?;
        let mut lines = text.splitn(3, '\n').map(str::to_owned);
        let mut next = || lines.next().unwrap_or_default();
        Ok((next(), next(), next()))
    }

    /// The branches that are checked out, each with the work tree that has it.
    ///
    /// # Errors
    /// When git fails.
    pub fn checked_out(&self) -> Result<BTreeMap<String, String>, CourseError> {
        let listed = self.run(&["worktree", "list", "--porcelain"], None)?;
        let mut found = BTreeMap::new();
        let mut at = "";
        for line in listed.lines() {
            at = line.strip_prefix("worktree ").unwrap_or(at);
            if let Some(branch) = line.strip_prefix("branch refs/heads/") {
                found.insert(branch.to_owned(), at.to_owned());
            }
        }
        Ok(found)
    }

    /// Moves a branch from `old` (none: it must not be there) to `new`.
    ///
    /// # Errors
    /// When it has moved in the meantime, or its name is taken.
    pub fn move_branch(&self, name: &str, new: &str, old: Option<&str>) -> Result<(), CourseError> {
        let message = "craft phases branches";
        let reference = format!("refs/heads/{name}");
        self.run(&["update-ref", "-m", message, &reference, new, old.unwrap_or("")], None).map(drop)
    }

    /// Shows how two trees differ, on this process's own stdout (through a pager if that is a terminal).
    ///
    /// # Errors
    /// When git cannot be run.
    pub fn diff(&self, from: &Path, args: &[OsString]) -> Result<ExitStatus, CourseError> {
        let mut command = self.command(&["diff"]);
        command.current_dir(from).args(args);
        command.status().map_err(CourseError::NoGit)
    }

    /// The root of the work tree.
    pub fn root(&self) -> &Path {
        &self.dir
    }

    fn index(&self) -> PathBuf {
        self.scratch.path().join("index")
    }

    fn run(&self, args: &[&str], input: Option<&[u8]>) -> Result<String, CourseError> {
        self.bytes(args, input).map(|stdout| trimmed(&stdout))
    }

    fn bytes(&self, args: &[&str], input: Option<&[u8]>) -> Result<Vec<u8>, CourseError> {
        checked(args, self.output(args, input)?)
    }

    fn output(&self, args: &[&str], input: Option<&[u8]>) -> Result<Output, CourseError> {
        feed(self.command(args), input)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("git");
        command.args(args).current_dir(&self.dir).env("LC_ALL", "C");
        // The directory says which repository is meant, even within a hook of another one.
        for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX"] {
            command.env_remove(name);
        }
        if args.contains(&"update-index") || args.contains(&"write-tree") {
            command.env("GIT_INDEX_FILE", self.index());
        }
        if let Some(aside) = &self.aside {
            command.env("GIT_OBJECT_DIRECTORY", aside.objects.path());
            command.env("GIT_ALTERNATE_OBJECT_DIRECTORIES", &aside.shared);
        }
        command
    }
}

fn feed(mut command: Command, input: Option<&[u8]>) -> Result<Output, CourseError> {
    let stdin = if input.is_some() { Stdio::piped() } else { Stdio::null() };
    command.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(CourseError::NoGit)?;
    // These commands read all of their input before they answer: neither side waits for the other.
    if let (Some(input), Some(mut stdin)) = (input, child.stdin.take()) {
        stdin.write_all(input)?;
    }
    Ok(child.wait_with_output()?)
}

fn checked(args: &[&str], output: Output) -> Result<Vec<u8>, CourseError> {
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let message = said.lines().next().unwrap_or("it said nothing").to_owned();
    let command = args.iter().take(2).copied().collect::<Vec<_>>().join(" ");
    Err(CourseError::Git { command, message })
}

fn trimmed(stdout: &[u8]) -> String {
    String::from_utf8_lossy(stdout).trim_end_matches(['\n', '\r']).to_owned()
}
