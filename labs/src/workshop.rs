//! Where learners' crates stand: a cargo workspace of its own, beside the repository's.
//!
//! ```text
//! labs/work/
//!   Cargo.toml Cargo.lock       made anew before each build, from those of the repository
//!   single-pass-json/           the learner's
//!     Cargo.toml src/lib.rs src/main.rs src/parse.rs
//!   .backup/                    what reset and reveal replaced
//!   progress.jsonl
//! ```
//!
//! Invariants: a crate appears whole or not at all (it is written beside its place and renamed); nothing that the learner
//! wrote is replaced before a copy of it stands in `.backup`; what does not compile in one lab stops no other, since only
//! folders with a manifest are members, and only the lab that was asked for is built. It builds into the repository's own
//! build folder, and with its lock file, so that libraries are compiled once. Labs may be built at the same time.

use crate::{
    LabError,
    catalogue::{Catalogue, Form, Lab, Starter, alias_of},
    exercise, holes, read, write,
};
use course::TABLE_FILE;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};
use toml::{Table, Value};

/// What the crate's own main program is called.
pub const PROGRAM: &str = "lab";
const BACKUP_DIR: &str = ".backup";

/// A folder of learners' crates.
#[derive(Clone, Debug)]
pub struct Workshop {
    /// The repository.
    root: PathBuf,
    /// The folder.
    dir: PathBuf,
}

impl Workshop {
    /// In this folder, for labs of this repository.
    pub fn new(root: &Path, dir: &Path) -> Self {
        Self { root: root.to_owned(), dir: dir.to_owned() }
    }

    /// The learner's own.
    pub fn of_learner(catalogue: &Catalogue) -> Self {
        use crate::catalogue::{LABS_DIR, WORK_DIR};
        Self::new(&catalogue.root, &catalogue.root.join(LABS_DIR).join(WORK_DIR))
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The repository whose labs these are.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where a lab's crate stands, or would.
    pub fn place(&self, lab: &Lab) -> PathBuf {
        self.dir.join(&lab.slug)
    }

    /// Whether a lab has been started, and still stands.
    pub fn has(&self, lab: &Lab) -> bool {
        self.place(lab).join("Cargo.toml").is_file()
    }

    /// Makes a lab's crate with its starter.
    ///
    /// # Errors
    /// It is there already; or it cannot be written.
    pub fn start(&self, lab: &Lab) -> Result<PathBuf, LabError> {
        let place = self.place(lab);
        if self.has(lab) {
            return Err(LabError::Started { slug: lab.slug.clone(), place });
        }
        self.put(lab, lab.start(), &starter_files(&self.root, lab)?)?;
        Ok(place)
    }

    /// Puts the starter back, and returns where the learner's files were copied to, if there were any.
    ///
    /// # Errors
    /// When files cannot be read or written.
    pub fn reset(&self, lab: &Lab) -> Result<Option<PathBuf>, LabError> {
        self.put(lab, lab.start(), &starter_files(&self.root, lab)?)
    }

    /// Puts the reference in place of what the learner has; returns where that was copied to.
    ///
    /// # Errors
    /// When files cannot be read or written.
    pub fn reveal(&self, lab: &Lab) -> Result<Option<PathBuf>, LabError> {
        self.put(lab, &lab.reference, &reference_files(&self.root, lab)?)
    }

    /// Puts these files into a lab's crate, whatever was there; returns where that was copied to.
    ///
    /// # Errors
    /// When files cannot be read or written.
    pub fn put(
        &self,
        lab: &Lab,
        form: &Form,
        files: &BTreeMap<String, String>,
    ) -> Result<Option<PathBuf>, LabError> {
        fs::create_dir_all(&self.dir).map_err(|e| LabError::io(&self.dir, e))?;
        let fresh = tempfile::Builder::new().prefix(".making-").tempdir_in(&self.dir);
        let fresh = fresh.map_err(|e| LabError::io(&self.dir, e))?;
        for (name, text) in files {
            write(&fresh.path().join(name), text)?;
        }
        for (name, text) in self.frame(lab, form)? {
            write(&fresh.path().join(name), &text)?;
        }
        let backup = self.back_up(lab)?;
        let (place, fresh) = (self.place(lab), fresh.keep());
        fs::rename(&fresh, &place).map_err(|e| LabError::io(&place, e))?;
        Ok(backup)
    }

    /// The files of a crate that are not the learner's.
    fn frame(&self, lab: &Lab, form: &Form) -> Result<Vec<(&'static str, String)>, LabError> {
        let manifest = ("Cargo.toml", self.manifest_text(lab)?);
        if lab.exercise.is_some() {
            return Ok(vec![manifest]);
        }
        Ok(vec![manifest, ("src/lib.rs", lib_text(lab, form)), ("src/main.rs", main_text(lab))])
    }

    /// What stands in a lab's place and is the learner's: the starter's files, whatever became of them, and new ones.
    ///
    /// # Errors
    /// When a folder cannot be read.
    pub fn files(&self, lab: &Lab) -> Result<Vec<String>, LabError> {
        let mut files = exercise::files_below(&self.place(lab), &exercise::FOLDERS)?;
        files
            .retain(|name| lab.exercise.is_some() || !["src/lib.rs", "src/main.rs"].contains(&name.as_str()));
        Ok(files)
    }

    /// Removes what stands in a lab's place, without a copy: for proofs.
    pub(crate) fn throw_away(&self, lab: &Lab) -> Result<(), LabError> {
        let place = self.place(lab);
        if place.exists() { fs::remove_dir_all(&place).map_err(|e| LabError::io(&place, e)) } else { Ok(()) }
    }

    /// Moves what stands in a lab's place into the backups. A folder that was deleted half way is kept as well.
    fn back_up(&self, lab: &Lab) -> Result<Option<PathBuf>, LabError> {
        let place = self.place(lab);
        if !place.exists() {
            return Ok(None);
        }
        let backups = self.dir.join(BACKUP_DIR);
        fs::create_dir_all(&backups).map_err(|e| LabError::io(&backups, e))?;
        let free = (1..).map(|n| backups.join(format!("{}-{n}", lab.slug))).find(|path| !path.exists());
        let Some(backup) = free else { return Ok(None) };
        fs::rename(&place, &backup).map_err(|e| LabError::io(&place, e))?;
        Ok(Some(backup))
    }

    /// Whether the course has changed since a lab was begun: its starter or its reference is no longer what it was then.
    ///
    /// # Errors
    /// When files cannot be read.
    pub fn is_behind(&self, lab: &Lab) -> Result<bool, LabError> {
        let now = self.made_from(lab)?;
        Ok(self.noted(lab)?.is_some_and(|noted| noted != now))
    }

    /// The state of the course that a lab was made from, as its manifest has it.
    fn noted(&self, lab: &Lab) -> Result<Option<String>, LabError> {
        let path = self.place(lab).join("Cargo.toml");
        // Whoever broke their manifest hears so from cargo.
        let Ok(manifest) = read(&path)?.parse::<Table>() else { return Ok(None) };
        let noted = ["package", "metadata", "lab", "made-from"]
            .iter()
            .try_fold(&Value::Table(manifest), |value, key| value.get(key))
            .and_then(Value::as_str)
            .map(str::to_owned);
        Ok(noted)
    }

    /// Tells one state of the lab's own files in the repository from another.
    fn made_from(&self, lab: &Lab) -> Result<String, LabError> {
        let mut hash = crc32fast::Hasher::new();
        for files in [starter_files(&self.root, lab)?, reference_files(&self.root, lab)?] {
            for (name, text) in files {
                hash.update(name.as_bytes());
                hash.update(text.as_bytes());
            }
        }
        Ok(format!("{:08x}", hash.finalize()))
    }

    /// Writes the workspace's manifest and lock file as the repository has them now: an update of the repository in the
    /// middle of a lab so reaches it with the next build.
    ///
    /// # Errors
    /// When files cannot be read or written.
    pub fn refresh(&self) -> Result<(), LabError> {
        let manifest = self.workspace_text()?;
        self.replace("Cargo.toml", &manifest)?;
        self.replace("Cargo.lock", &read(&self.root.join("Cargo.lock"))?)
    }

    /// Writes an exercise's manifest as the repository has it now: it names the checks, whatever the learner did to it.
    ///
    /// # Errors
    /// When files cannot be read or written.
    pub fn renew_manifest(&self, lab: &Lab) -> Result<(), LabError> {
        let made_from = self.noted(lab)?.map_or_else(|| self.made_from(lab), Ok)?;
        self.replace(&format!("{}/Cargo.toml", lab.slug), &self.exercise_manifest(lab, &made_from)?)
    }

    fn exercise_manifest(&self, lab: &Lab, made_from: &str) -> Result<String, LabError> {
        exercise::manifest(&self.root, &self.place(lab), &program_of(lab), made_from)
    }

    /// Writes a file of the workspace whole: cargo may read it at this moment, for another lab.
    fn replace(&self, name: &str, text: &str) -> Result<(), LabError> {
        let path = self.dir.join(name);
        if fs::read_to_string(&path).is_ok_and(|there| there == text) {
            return Ok(());
        }
        let fresh = tempfile::Builder::new().prefix(".making-").tempfile_in(&self.dir);
        let fresh = fresh.map_err(|e| LabError::io(&self.dir, e))?;
        fs::write(fresh.path(), text).map_err(|e| LabError::io(fresh.path(), e))?;
        fresh.persist(&path).map_err(|e| LabError::io(&path, e.error))?;
        Ok(())
    }

    /// The crates that have a manifest. Others are left out: cargo would refuse all for the sake of one.
    fn members(&self) -> Result<Vec<Value>, LabError> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(|e| LabError::io(&self.dir, e))? {
            let entry = entry.map_err(|e| LabError::io(&self.dir, e))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if !name.starts_with('.') && entry.path().join("Cargo.toml").is_file() {
                found.push(name);
            }
        }
        found.sort();
        Ok(found.into_iter().map(Value::String).collect())
    }

    fn workspace_text(&self) -> Result<String, LabError> {
        let repository = self.repository_manifest()?;
        let wanted = |key: &str| repository.get("workspace").and_then(|w| w.get(key)).cloned();
        let mut workspace = Table::new();
        workspace.insert("resolver".to_owned(), Value::String("3".to_owned()));
        workspace.insert("members".to_owned(), Value::Array(self.members()?));
        if let Some(package) = wanted("package") {
            workspace.insert("package".to_owned(), package);
        }
        let mut dependencies = match wanted("dependencies") {
            Some(Value::Table(dependencies)) => dependencies,
            _ => Table::new(),
        };
        for (_, dependency) in &mut dependencies {
            if let Some(path) = dependency.get_mut("path")
                && let Some(relative) = path.as_str()
            {
                *path = Value::String(self.root.join(relative).to_string_lossy().into_owned());
            }
        }
        for (package, alias) in self.aliases()? {
            if let Some(Value::Table(mut craft)) = dependencies.get(&package).cloned() {
                craft.insert("package".to_owned(), Value::String(package));
                dependencies.insert(alias, Value::Table(craft));
            }
        }
        workspace.insert("dependencies".to_owned(), Value::Table(dependencies));
        workspace.insert("lints".to_owned(), Value::Table(lints(wanted("lints").as_ref())));
        let mut manifest = Table::new();
        manifest.insert("workspace".to_owned(), Value::Table(workspace));
        if let Some(profile) = repository.get("profile") {
            manifest.insert("profile".to_owned(), profile.clone());
        }
        let text = toml::to_string(&manifest).map_err(|e| LabError::file(&self.dir, e.to_string()))?;
        Ok(format!("# Made anew before each build, from the repository's.\n\n{text}"))
    }

    /// The crafts by other names: a learner's crate takes the name of its craft, so that its copy of a craft's file names
    /// the craft as it names itself.
    fn aliases(&self) -> Result<Vec<(String, String)>, LabError> {
        let path = self.root.join(TABLE_FILE);
        let table = course::Table::parse(&read(&path)?).map_err(|e| LabError::file(&path, e.to_string()))?;
        let packages = table.crafts.into_iter().map(|craft| craft.package);
        let mut aliases: Vec<_> = packages.map(|package| (package.clone(), alias_of(&package))).collect();
        // Crates that were begun when there was one craft ask for it by this name, and the workspace is one for all.
        aliases.push(("ingest".to_owned(), "craft".to_owned()));
        Ok(aliases)
    }

    fn repository_manifest(&self) -> Result<Table, LabError> {
        let path = self.root.join("Cargo.toml");
        read(&path)?.parse().map_err(|e: toml::de::Error| LabError::file(&path, e.to_string()))
    }

    /// The crate may use whatever the craft uses.
    fn manifest_text(&self, lab: &Lab) -> Result<String, LabError> {
        if lab.exercise.is_some() {
            return self.exercise_manifest(lab, &self.made_from(lab)?);
        }
        let mut names = vec!["contracts".to_owned(), "lab-kit".to_owned()];
        if let Some(whole) = &lab.whole {
            names.extend([whole.alias(), whole.phases_package()]);
            for manifest in &whole.manifests {
                names.extend(
                    self.dependencies_of(manifest)?.into_iter().filter(|name| *name != whole.package),
                );
            }
        }
        names.sort();
        names.dedup();
        let dependencies: String = names.iter().map(|name| format!("{name}.workspace = true\n")).collect();
        Ok(format!(
            "[package]\nname = \"lab-{}\"\nversion = \"0.0.0\"\nedition.workspace = true\npublish = false\n\n\
             # The state of the course that it was made from.\n[package.metadata.lab]\nmade-from = \"{}\"\n\n\
             [lib]\nname = \"mine\"\n\n[[bin]]\nname = \"{}\"\npath = \"src/main.rs\"\n\n{}\n\
             [dependencies]\n{dependencies}",
            lab.slug,
            self.made_from(lab)?,
            program_of(lab),
            lints_text(&lab.starter)
        ))
    }

    /// The names of what a manifest of the repository asks for.
    fn dependencies_of(&self, manifest: &str) -> Result<Vec<String>, LabError> {
        let path = self.root.join(manifest);
        let table: Table =
            read(&path)?.parse().map_err(|e: toml::de::Error| LabError::file(&path, e.to_string()))?;
        let dependencies = table.get("dependencies").and_then(Value::as_table);
        Ok(dependencies.into_iter().flat_map(Table::keys).cloned().collect())
    }
}

/// Whatever is behind a hole is unused, which the learner knows.
fn lints_text(starter: &Starter) -> &'static str {
    match starter {
        Starter::Optimise | Starter::Package => "[lints]\nworkspace = true\n",
        // A crate has its own lints or the workspace's, not both.
        Starter::Holes(_) => {
            "[lints.rust]\n# While there are holes. Delete this line, and hear what is left over.\nunused = \"allow\"\n\
             unexpected_cfgs = { level = \"allow\", priority = 1 }\n"
        }
    }
}

/// Of the repository's lints only the flags that its files are compiled with: the compiler has to know the words of a
/// `cfg`. The house's own rules are no business of the learner's.
fn lints(repository: Option<&Value>) -> Table {
    const KNOWN_CFGS: &str = "unexpected_cfgs";
    let known = repository.and_then(|lints| lints.get("rust")).and_then(|rust| rust.get(KNOWN_CFGS));
    let rust: Table = known.map(|known| (KNOWN_CFGS.to_owned(), known.clone())).into_iter().collect();
    Table::from_iter([("rust".to_owned(), Value::Table(rust))])
}

/// What a lab's program is called in the build folder, which all labs share.
pub fn program_of(lab: &Lab) -> String {
    format!("{PROGRAM}-{}", lab.slug)
}

/// The files of a lab's starter, by their place in its crate.
///
/// # Errors
/// When a file cannot be read, or a hole names no function.
pub fn starter_files(root: &Path, lab: &Lab) -> Result<BTreeMap<String, String>, LabError> {
    let mut files = form_files(root, lab, lab.start())?;
    let Starter::Holes(names) = &lab.starter else { return Ok(files) };
    for hole in names {
        let at = files.iter().find(|(_, text)| holes::has(text, hole)).map(|(name, _)| name.clone());
        let at = at.ok_or_else(|| {
            LabError::file(&lab.dir.join("lab.toml"), format!("no file of the lab has a function {hole}"))
        })?;
        let holed = holes::make(&files[&at], &[hole]).map_err(|e| LabError::file(Path::new(&at), e))?;
        files.insert(at, holed);
    }
    Ok(files)
}

/// The files of a lab's reference, by their place in its crate.
///
/// # Errors
/// When a file cannot be read.
pub fn reference_files(root: &Path, lab: &Lab) -> Result<BTreeMap<String, String>, LabError> {
    let files = form_files(root, lab, &lab.reference)?;
    if lab.exercise.is_some() { exercise::solved(lab, &files) } else { Ok(files) }
}

fn form_files(root: &Path, lab: &Lab, form: &Form) -> Result<BTreeMap<String, String>, LabError> {
    let text = |from: &String| {
        let text = read(&root.join(from))?;
        // A package comes with its tests and with what they need; a slot's file has named tests instead.
        if lab.exercise.is_some() {
            return Ok(text);
        }
        holes::without_tests(&text).map_err(|e| LabError::file(Path::new(from), e))
    };
    form.files.iter().map(|(to, from)| Ok((to.clone(), text(from)?))).collect()
}

/// The crate's library: the learner's files as modules, and the craft around them.
fn lib_text(lab: &Lab, form: &Form) -> String {
    let modules: Vec<String> =
        form.files.keys().filter_map(|file| module_of(file)).map(|m| format!("pub mod {m};\n")).collect();
    let (slot, type_name) = (&lab.slot, &form.type_name);
    let mut text = format!(
        "//! The lab `{}`: {}. What stands beside this file is yours; this file puts it where it belongs.\n\n",
        lab.slug, lab.title
    );
    let names = lab.whole.as_ref().map(|whole| (rust_name(&whole.package), rust_name(&whole.alias())));
    if let Some((package, alias)) = &names {
        text += &format!(
            "// So that a file of the craft reads the same here: what does not stand here comes from the craft.\n\
             extern crate self as {package};\n\npub use {alias}::*;\n\n"
        );
    }
    text += &modules.join("\n");
    text += &format!(
        "\n/// What the lab is about. If you give your type another name, say so here.\npub type Mine = {slot}::{type_name};\n"
    );
    if let (Some(whole), Some((_, alias))) = (&lab.whole, &names) {
        let types: Vec<&str> = whole.slots.iter().map(|path| path.as_deref().unwrap_or("Mine")).collect();
        text += &format!(
            "\n/// The craft in this phase, with yours in it.\npub type Composition = {alias}::{}<\n    {},\n>;\n",
            whole.type_path,
            types.join(",\n    ")
        );
    }
    text
}

/// The name of a package, as code says it.
fn rust_name(package: &str) -> String {
    package.replace('-', "_")
}

/// `parse` for `src/parse.rs`; nothing for a file that is a module's module.
fn module_of(file: &str) -> Option<&str> {
    let name = file.strip_prefix("src/")?.strip_suffix(".rs")?;
    (!name.contains('/')).then_some(name)
}

/// The crate's program.
fn main_text(lab: &Lab) -> String {
    let phase = lab.step.map_or_else(|| "None".to_owned(), |step| format!("Some({})", step.phase));
    let slot = &lab.slot;
    let (slot, server) = match lab.whole.as_ref().map(|whole| whole.package.as_str()) {
        None => (format!("{slot}::<mine::Mine>"), "None"),
        Some(INGEST) => (format!("{slot}::<mine::Mine>"), "Some(lab_kit::server::<mine::Composition>())"),
        // A log is tried as a whole, whichever of its slots is the learner's.
        Some(_) => ("log::<mine::Composition>".to_owned(), "None"),
    };
    let ring = if lab.reference.files.contains_key(RING_FILE) { RING_TEXT } else { "" };
    format!(
        "//! The lab's program: it tests, counts, measures and runs what you wrote. `craft lab` calls it.\n\n\
         use std::process::ExitCode;\n\n\
         // So that the kit can count what you allocate.\n\
         #[global_allocator]\nstatic ALLOCATOR: lab_kit::CountingAllocator = lab_kit::CountingAllocator;\n\n\
         fn main() -> ExitCode {{\n    lab_kit::main(lab_kit::Lab {{\n        slug: \"{}\",\n        phase: {phase},\n        \
         slot: lab_kit::{slot}(){ring},\n        server: {server},\n    }})\n}}\n",
        lab.slug
    )
}

/// The craft whose slots are tried one by one, and then in a server.
const INGEST: &str = "ingest";

/// The ring that a hand-over is made with, where that is the learner's too …
const RING_FILE: &str = "src/ring.rs";
/// … and how the kit gets hold of it.
const RING_TEXT: &str = ".on(lab_kit::Ring {
            ring: mine::ring::ring,
            has_room: mine::ring::Pusher::has_room,
            push: mine::ring::Pusher::push,
            is_empty: mine::ring::Popper::is_empty,
            pop: mine::ring::Popper::pop,
        })";
