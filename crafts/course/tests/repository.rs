//! The phases of this very repository, as it stands in the work tree.

#![allow(clippy::unwrap_used)] // a test that cannot go on should stop

mod fixture;

use course::{
    TABLE_FILE, Table,
    branches::{self, Outcome, Written},
    git::Git,
    phase,
    table::{Craft, Phase, Slot},
    tree::Tree,
};
use fixture::Repository;
use std::{collections::BTreeSet, fs, path::Path, sync::LazyLock};

/// The work tree, committed in a repository of its own, and the branches of its phases; nothing where this is no
/// repository.
static COPY: LazyLock<Option<(Repository, Written)>> = LazyLock::new(|| {
    let copy = copy()?;
    let written = branches::write(&Git::open(copy.path()).unwrap()).unwrap();
    Some((copy, written))
});

fn copy() -> Option<Repository> {
    let root = fixture::this_repository();
    if !root.join(".git").exists() {
        eprintln!(
            "left out: {} is no git repository, so there is nothing to make phases from",
            root.display()
        );
        return None;
    }
    let copy = Repository::empty();
    let listed = fixture::git_in(&root, &["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    for path in listed.split_terminator('\0').filter(|path| root.join(path).exists()) {
        let to = copy.path().join(path);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(root.join(path), to).unwrap();
    }
    copy.commit("As it stands");
    Some(copy)
}

fn table() -> Table {
    Table::parse(&fs::read_to_string(fixture::this_repository().join(TABLE_FILE)).unwrap()).unwrap()
}

#[test]
fn the_table_keeps_what_it_promises() {
    let Some((copy, _)) = &*COPY else { return };
    let git = Git::open(copy.path()).unwrap();
    let (head, _) = git.head().unwrap();
    let tree = Tree::of(&git, &head).unwrap();
    assert_eq!(phase::contradictions(&tree, &table()).unwrap(), Vec::<String>::new());
}

#[test]
fn every_phase_is_written_and_its_neighbour_differs_in_one_slot() {
    let Some((copy, written)) = &*COPY else { return };
    assert!(written.branches.iter().all(|b| b.outcome == Outcome::Created), "{written:?}");
    for craft in &table().crafts {
        for pair in craft.phases.windows(2) {
            let (before, after) = (craft.branch(&pair[0]), craft.branch(&pair[1]));
            let moved = |slot: &&Slot| pair[0].slots[&slot.name] != pair[1].slots[&slot.name];
            let allowed: BTreeSet<String> =
                craft.slots.iter().filter(moved).flat_map(|slot| files_of(craft, slot)).collect();
            for change in copy.changes(&before, &after) {
                let path = &change[2..];
                let own = allowed.iter().any(|a| Path::new(path).starts_with(a));
                assert!(own, "{before} to {after} changes {path}, which is none of {allowed:?}");
            }
        }
    }
}

/// What may change with a slot: its files, what names them, and the manifests.
fn files_of(craft: &Craft, slot: &Slot) -> Vec<String> {
    let mut files = vec!["Cargo.toml".to_owned(), "Cargo.lock".to_owned()];
    files.extend([&craft.composition, &slot.file, "src/lib.rs", "Cargo.toml"].map(|file| craft.path(file)));
    files.extend(slot.with.iter().map(|file| craft.path(file)));
    files.extend(slot.cut.iter().map(|cut| cut.file.clone()));
    for variant in craft.variants.iter().filter(|variant| variant.slot == slot.name) {
        for beside in &variant.beside {
            let name = Path::new(beside).file_name().unwrap();
            files.push(craft.path(Path::new(&slot.file).with_file_name(name).to_str().unwrap()));
        }
    }
    files
}

#[test]
fn a_phase_reads_as_if_nobody_had_planned_a_later_one() {
    let Some((copy, _)) = &*COPY else { return };
    for craft in &table().crafts {
        for (at, phase) in craft.phases.iter().enumerate() {
            let branch = craft.branch(phase);
            let (earlier, later) = craft.phases.split_at(at + 1);
            let words = foreign_words(craft, earlier, later);
            for (path, text) in texts(copy, &branch, &craft.dir) {
                for word in &words {
                    assert!(!says(&text, word), "{branch}: {path} speaks of {word}");
                }
            }
        }
    }
}

/// The names of later phases and of what fills their slots, unless an earlier phase has them too.
fn foreign_words(craft: &Craft, earlier: &[Phase], later: &[Phase]) -> BTreeSet<String> {
    let types = |phases: &[Phase]| -> BTreeSet<String> {
        phases.iter().flat_map(|phase| phase.slots.values().cloned()).collect()
    };
    let mut words: BTreeSet<String> = types(later).difference(&types(earlier)).cloned().collect();
    // Phase 0 is also the name of the whole naive pipeline.
    words.extend(later.iter().flat_map(|p| [format!("phase{}", p.number), format!("phase {}", p.number)]));
    words.extend(later.iter().map(|phase| phase.title.clone()));
    words.extend(later.iter().map(|phase| phase.slug.clone()));
    // Words of HTTP and of the log's contract, which knew of them before we did.
    words.retain(|word| !["keep-alive", "KeepAlive", "Packed"].contains(&word.as_str()));
    words.extend([craft.variants_dir.clone(), "later phase".to_owned(), "superseded".to_owned()]);
    words
}

/// Whether a text says a word, not only as a part of another. A type's name is one as it is written: what it is called
/// after is a word of the language, too.
fn says(text: &str, word: &str) -> bool {
    let is_type = word.starts_with(char::is_uppercase) && !word.contains(' ');
    let (text, word) =
        if is_type { (text.to_owned(), word.to_owned()) } else { (text.to_lowercase(), word.to_lowercase()) };
    let part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '-');
    text.match_indices(&word)
        .any(|(at, _)| !part(text[..at].chars().next_back()) && !part(text[at + word.len()..].chars().next()))
}

fn texts(copy: &Repository, branch: &str, dir: &str) -> Vec<(String, String)> {
    let listed = copy.git(&["ls-tree", "-r", "--name-only", branch, "--", dir]);
    assert!(listed.lines().count() > 10, "{branch} has hardly a file in {dir}");
    listed.lines().map(|path| (path.to_owned(), copy.git(&["show", &format!("{branch}:{path}")]))).collect()
}

#[test]
fn no_file_stands_in_a_phase_that_uses_nothing_of_it() {
    let Some((copy, _)) = &*COPY else { return };
    for craft in &table().crafts {
        for phase in &craft.phases {
            let branch = craft.branch(phase);
            let sources = texts(copy, &branch, &craft.path("src"));
            let lib = copy.git(&["show", &format!("{branch}:{}", craft.path("src/lib.rs"))]);
            let modules = lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
            for module in modules.filter(|module| *module != "composition") {
                let own = [format!("/{module}.rs"), format!("/{module}/")];
                let others = sources.iter().filter(|(path, _)| {
                    !path.ends_with("/lib.rs") && own.iter().all(|own| !path.contains(own.as_str()))
                });
                let mut code =
                    others.flat_map(|(_, text)| text.lines()).filter(|l| !l.trim().starts_with("//"));
                let used =
                    code.any(|line| says(line, module)) || used_by_others(copy, &branch, craft, module);
                assert!(used, "{branch}: nobody uses {module}");
            }
        }
    }
}

/// Whether another package of the branch names a module of the craft.
fn used_by_others(copy: &Repository, branch: &str, craft: &Craft, module: &str) -> bool {
    let path = format!("{}::{module}", craft.package.replace('-', "_"));
    let elsewhere = format!(":!{}", craft.dir);
    let found = std::process::Command::new("git")
        .args(["grep", "--quiet", "--word-regexp", &path, branch, "--", "*.rs", &elsewhere])
        .current_dir(copy.path())
        .status();
    found.is_ok_and(|found| found.success())
}

#[test]
fn cargo_takes_the_lock_file_of_every_phase_without_a_network() {
    let Some((copy, written)) = &*COPY else { return };
    for branch in &written.branches {
        let tree = copy.export(&branch.commit);
        let metadata = fixture::cargo(tree.path(), &["--locked", "metadata", "--format-version", "1"]);
        let metadata =
            metadata.unwrap_or_else(|error| panic!("{}: {error}{}", branch.name, wish(tree.path())));
        for craft in &table().crafts {
            assert!(!metadata.contains(&craft.phases_package()), "{}", branch.name);
        }
    }
}

/// The lines of the lock file that cargo would rather not have: the table's `unlock` may have to name them.
fn wish(dir: &Path) -> String {
    let lock = || fs::read_to_string(dir.join("Cargo.lock")).unwrap();
    let before = lock();
    let updated = fixture::cargo(dir, &["metadata", "--format-version", "1"]);
    let after = lock();
    let unwanted: Vec<_> = before.lines().filter(|line| !after.lines().any(|l| l == *line)).collect();
    format!("cargo would drop {unwanted:#?} {}", updated.err().unwrap_or_default())
}
