//! What of a student's work is taken: the lab's own files, from a folder or from a revision of a git repository. The
//! manifest, the main program and the library's frame are ours in any case.

use crate::catalogue::Lab;
use std::{
    collections::BTreeMap,
    fs,
    path::{Component, Path, PathBuf},
    process::Command,
};

/// More files than this are no lab.
const FILES_MAX: usize = 100;
/// A larger file is no lab's.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// The files that we write.
const OURS: [&str; 2] = ["src/lib.rs", "src/main.rs"];

/// Where a student's work is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The lab's crate as a folder: the one that has `src/` in it.
    Folder(PathBuf),
    /// The lab's crate in a revision of a repository.
    Git {
        /// Where the repository is.
        repository: PathBuf,
        /// Anything that git takes for a commit.
        revision: String,
        /// The crate's folder in it; empty for the repository itself.
        path: String,
    },
}

/// What was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    /// By their places in the crate.
    pub files: BTreeMap<String, String>,
    /// The type that fills the slot.
    pub type_name: String,
}

impl Source {
    /// Takes paths to be relative to this folder.
    pub(super) fn stand_in(&mut self, beside: &Path) {
        let (Self::Folder(path) | Self::Git { repository: path, .. }) = self;
        *path = beside.join(&*path);
    }

    /// All Rust files below `src/`, ours too.
    fn read(&self) -> Result<BTreeMap<String, String>, String> {
        match self {
            Self::Folder(folder) => {
                let mut found = BTreeMap::new();
                read_folder(folder, "src", &mut found)?;
                Ok(found)
            }
            Self::Git { repository, revision, path } => read_revision(repository, revision, path),
        }
    }
}

/// Takes a student's work. `given` are the files of the starter: what of them is missing was not changed.
///
/// # Errors
/// Why there is nothing to take, to be followed by a full stop.
pub fn collect(lab: &Lab, given: &BTreeMap<String, String>, source: &Source) -> Result<Work, String> {
    let mut theirs = source.read()?;
    let frame = theirs.remove(OURS[0]).unwrap_or_default();
    theirs.remove(OURS[1]);
    if !theirs.contains_key(&lab.main_file()) {
        return Err(format!("there is no {}", lab.main_file()));
    }
    let is_theirs =
        |name: &str| given.contains_key(name) || module_of(name).is_none_or(|m| declares(&frame, m));
    let mut files = given.clone();
    files.extend(theirs.into_iter().filter(|(name, _)| is_theirs(name)));
    let type_name = type_in(&frame, &lab.slot).unwrap_or_else(|| lab.start().type_name.clone());
    Ok(Work { files, type_name })
}

/// `parse` for `src/parse.rs`; nothing for a module's module.
fn module_of(name: &str) -> Option<&str> {
    let module = name.strip_prefix("src/")?.strip_suffix(".rs")?;
    (!module.contains('/')).then_some(module)
}

fn declares(frame: &str, module: &str) -> bool {
    let declared = format!("mod {module};");
    frame.lines().any(|line| line.trim().trim_start_matches("pub ") == declared)
}

/// The type that the frame says is the student's, if it is in the slot's module.
fn type_in(frame: &str, slot: &str) -> Option<String> {
    let path = frame.lines().find_map(|line| line.trim().strip_prefix("pub type Mine = "))?;
    let name = path.strip_suffix(';')?.strip_prefix(slot)?.strip_prefix("::")?;
    // It is put into our frame: a path, and nothing else.
    let is_path = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':');
    is_path.then(|| name.to_owned())
}

fn read_folder(root: &Path, below: &str, found: &mut BTreeMap<String, String>) -> Result<(), String> {
    let dir = root.join(below);
    let entries = fs::read_dir(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    for entry in entries {
        let entry = entry.map_err(|e| format!("{}: {e}", dir.display()))?;
        let name = format!("{below}/{}", entry.file_name().to_string_lossy());
        // Of the entry and not of what it points to: a link could point to anything on this machine.
        let kind = entry.metadata().map_err(|e| format!("{name}: {e}"))?;
        if kind.is_dir() {
            read_folder(root, &name, found)?;
        } else if kind.is_file() && name.ends_with(".rs") {
            if kind.len() > FILE_BYTES_MAX {
                return Err(too_large(&name));
            }
            let text = fs::read_to_string(entry.path()).map_err(|e| format!("{name}: {e}"))?;
            add(found, name, text)?;
        }
    }
    Ok(())
}

fn read_revision(repository: &Path, revision: &str, path: &str) -> Result<BTreeMap<String, String>, String> {
    let prefix = match path.trim_matches('/') {
        "" => String::new(),
        path => format!("{path}/"),
    };
    let from_here = format!("{prefix}src/");
    // `--end-of-options`: a revision is what somebody else wrote.
    let listed = git(repository, &["ls-tree", "-r", "-l", "-z", "--end-of-options", revision, &from_here])?;
    let mut found = BTreeMap::new();
    for line in listed.split('\0').filter(|line| !line.is_empty()) {
        // `100644 blob HASH    1234\tsrc/parse.rs`
        let (about, full) = line.split_once('\t').ok_or("git does not list files as expected")?;
        let about: Vec<&str> = about.split_whitespace().collect();
        let [mode, "blob", hash, bytes] = about[..] else { continue };
        let Some(name) = full.strip_prefix(&prefix).filter(|name| name.ends_with(".rs")) else { continue };
        if !mode.starts_with("100") {
            continue;
        }
        if bytes.parse::<u64>().is_ok_and(|bytes| bytes > FILE_BYTES_MAX) {
            return Err(too_large(name));
        }
        add(&mut found, name.to_owned(), git(repository, &["cat-file", "blob", hash])?)?;
    }
    Ok(found)
}

fn add(found: &mut BTreeMap<String, String>, name: String, text: String) -> Result<(), String> {
    // Nothing stops anybody from writing `..` into a tree of git by hand: it would lead out of the crate.
    if Path::new(&name).components().any(|part| !matches!(part, Component::Normal(_))) {
        return Err(format!("{name} is no place in a crate"));
    }
    found.insert(name, text);
    if found.len() > FILES_MAX { Err(format!("there are more than {FILES_MAX} files")) } else { Ok(()) }
}

fn too_large(name: &str) -> String {
    format!("{name} has more than {FILE_BYTES_MAX} bytes")
}

fn git(repository: &Path, words: &[&str]) -> Result<String, String> {
    let output = Command::new("git").arg("-C").arg(repository).args(words).output();
    let output = output.map_err(|e| format!("git cannot be run: {e}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("git says: {}", said.lines().next().unwrap_or("nothing")));
    }
    String::from_utf8(output.stdout).map_err(|_| "a file is not UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::Catalogue;

    fn lab() -> Lab {
        let catalogue = Catalogue::open(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
        catalogue.find("single-pass-json").unwrap().clone()
    }

    const FRAME: &str = "pub use craft::*;\npub mod parse;\npub mod mine;\npub type Mine = parse::Quick;\n";

    /// A crate with these files below a folder.
    fn crate_in(root: &Path, files: &[(&str, &str)]) -> Source {
        for (name, text) in files {
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Source::Folder(root.to_owned())
    }

    fn given() -> BTreeMap<String, String> {
        BTreeMap::from([("src/parse.rs".to_owned(), "given".to_owned())])
    }

    #[test]
    fn a_students_own_files_are_taken_and_ours_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let source = crate_in(
            dir.path(),
            &[
                ("src/parse.rs", "theirs"),
                ("src/parse/fast.rs", "theirs too"),
                ("src/mine.rs", "declared"),
                ("src/parse copy.rs", "an editor's"),
                ("src/lib.rs", FRAME),
                ("src/main.rs", "fn main() {}"),
                ("src/notes.txt", "no code"),
                ("build.rs", "fn main() {}"),
                ("Cargo.toml", "[package]"),
            ],
        );
        let work = collect(&lab(), &given(), &source).unwrap();
        let names: Vec<&str> = work.files.keys().map(String::as_str).collect();
        assert_eq!(names, ["src/mine.rs", "src/parse.rs", "src/parse/fast.rs"]);
        assert_eq!(work.files["src/parse.rs"], "theirs");
        assert_eq!(work.type_name, "Quick");
    }

    #[test]
    fn a_frame_that_says_more_than_a_name_is_not_believed() {
        let lab = lab();
        let dir = tempfile::tempdir().unwrap();
        for frame in ["", "pub type Mine = limit::Other;", "pub type Mine = parse::A; fn f() {};"] {
            let source = crate_in(dir.path(), &[("src/parse.rs", ""), ("src/lib.rs", frame)]);
            assert_eq!(collect(&lab, &given(), &source).unwrap().type_name, lab.start().type_name, "{frame}");
        }
    }

    #[test]
    fn a_revision_is_read_without_being_checked_out() {
        let dir = tempfile::tempdir().unwrap();
        let run = |words: &[&str]| {
            let identity = ["-c", "user.name=t", "-c", "user.email=t@localhost"];
            git(dir.path(), &[&identity[..], words].concat()).unwrap()
        };
        run(&["init", "-q"]);
        crate_in(&dir.path().join("lab"), &[("src/parse.rs", "committed"), ("src/lib.rs", FRAME)]);
        run(&["add", "."]);
        run(&["commit", "-q", "-m", "mine"]);
        crate_in(&dir.path().join("lab"), &[("src/parse.rs", "changed since")]);
        let source = |revision: &str| Source::Git {
            repository: dir.path().to_owned(),
            revision: revision.to_owned(),
            path: "lab".to_owned(),
        };
        let work = collect(&lab(), &given(), &source("HEAD")).unwrap();
        assert_eq!((work.files["src/parse.rs"].as_str(), work.type_name.as_str()), ("committed", "Quick"));
        assert!(
            collect(&lab(), &given(), &source("no-such-revision")).unwrap_err().starts_with("git says: ")
        );
        assert!(collect(&lab(), &given(), &source("--help")).is_err(), "a revision is no option");
    }

    /// Else it would write a build script, which runs while we compile, or anything anywhere.
    #[test]
    fn a_tree_that_leads_out_of_the_crate_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        git(dir.path(), &["init", "-q"]).unwrap();
        let store = |kind: &str, bytes: &[u8]| {
            let path = dir.path().join("object");
            fs::write(&path, bytes).unwrap();
            let path = path.to_str().unwrap();
            git(dir.path(), &["hash-object", "-t", kind, "-w", "--literally", path])
                .unwrap()
                .trim()
                .to_owned()
        };
        let entry = |mode: &str, name: &str, hash: &str| {
            let hash =
                (0..hash.len()).step_by(2).map(|at| u8::from_str_radix(&hash[at..at + 2], 16).unwrap());
            format!("{mode} {name}\0").into_bytes().into_iter().chain(hash).collect::<Vec<u8>>()
        };
        let file = store("blob", b"fn main() {}");
        let outside = store("tree", &entry("100644", "build.rs", &file));
        let inside = [entry("40000", "..", &outside), entry("100644", "parse.rs", &file)].concat();
        let root = store("tree", &entry("40000", "src", &store("tree", &inside)));
        let source = Source::Git { repository: dir.path().to_owned(), revision: root, path: String::new() };
        assert_eq!(collect(&lab(), &given(), &source).unwrap_err(), "src/../build.rs is no place in a crate");
    }

    #[test]
    fn what_is_missing_or_too_much_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let nowhere = Source::Folder(dir.path().join("nowhere"));
        assert!(collect(&lab(), &given(), &nowhere).unwrap_err().contains("nowhere"));
        let source = crate_in(dir.path(), &[("src/other.rs", "")]);
        assert_eq!(collect(&lab(), &given(), &source).unwrap_err(), "there is no src/parse.rs");
        fs::write(dir.path().join("src/parse.rs"), vec![b' '; (1 << 20) + 1]).unwrap();
        assert!(collect(&lab(), &given(), &source).unwrap_err().contains("more than 1048576 bytes"));
    }

    #[test]
    #[cfg(unix)]
    fn a_link_to_something_else_on_this_machine_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("src")).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", dir.path().join("src/parse.rs")).unwrap();
        let source = Source::Folder(dir.path().to_owned());
        assert_eq!(collect(&lab(), &given(), &source).unwrap_err(), "there is no src/parse.rs");
    }
}
