//! The labs there are: what `lab.toml` says of each, and what follows from the course's table.
//!
//! A lab of a craft is a step of it: the slot that the step changes is the learner's. What filled the slot before is the
//! previous form, what fills it after is the reference, and all other slots stay as they are in that phase. So a lab says
//! hardly more than which step it is, and nothing of it can drift from the code. An exercise is no slot of anything: a whole
//! package is the learner's.

use crate::{
    LabError,
    exercise::{Exercise, PACKAGE},
    read,
};
use course::{
    PhaseId, TABLE_FILE, Table,
    table::{Craft, Phase, Slot, Variant},
};
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// Where the labs stand in the repository.
pub const LABS_DIR: &str = "labs";
/// The folder of the learner's own crates, below [`LABS_DIR`].
pub const WORK_DIR: &str = "work";
/// Folders of [`LABS_DIR`] that hold no labs.
const OTHERS: [&str; 3] = ["src", "kit", WORK_DIR];

/// All labs of a repository, in the order of the course.
pub struct Catalogue {
    /// The repository.
    pub root: PathBuf,
    /// Each of them.
    pub labs: Vec<Lab>,
}

/// One lab.
#[derive(Clone, Debug)]
pub struct Lab {
    /// Its stable name: `single-pass-json`.
    pub slug: String,
    /// What it is, in a few words.
    pub title: String,
    /// The step of the course; the warm-up is none.
    pub step: Option<PhaseId>,
    /// How long it takes.
    pub minutes: u32,
    /// Its folder, with the brief, the hints and the wrong turns.
    pub dir: PathBuf,
    /// What the learner rebuilds.
    pub slot: String,
    /// What the learner begins with.
    pub starter: Starter,
    /// What the course ends with.
    pub reference: Form,
    /// What stood there before; the warm-up has nothing before it.
    pub previous: Option<Form>,
    /// What the slot is a part of; the warm-up and the exercises are whole by themselves.
    pub whole: Option<Whole>,
    /// The named tests that the starter fails, exactly.
    pub fails: Vec<String>,
    /// What is measured at the end.
    pub gates: Vec<Gate>,
    /// What a check cannot find, and where to look for it; told when everything else holds.
    pub beyond: Option<String>,
    /// What makes it an exercise, if it is one: then the slot is the package, and nothing is measured.
    pub exercise: Option<Exercise>,
}

/// What a learner begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Starter {
    /// The previous form: every test is green, and it is too slow.
    Optimise,
    /// The reference, without the bodies of these functions.
    Holes(Vec<String>),
    /// A package as it is, to which the exercise adds something.
    Package,
}

/// A type that fills a slot, and the files that make it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Form {
    /// As the files declare it: `SinglePass`.
    pub type_name: String,
    /// Where each file stands in the learner's crate → where it stands in the repository.
    pub files: BTreeMap<String, String>,
}

/// A craft as it is in a phase, put together from its slots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whole {
    /// The craft's package: `ingest`.
    pub package: String,
    /// The manifests of the craft and of its superseded variants: whatever they use, the learner may use.
    pub manifests: [String; 2],
    /// What the slots are put together in, within the package: `service::Server`.
    pub type_path: String,
    /// The types of the slots in their order, as the learner's crate names them; `None` for the learner's own.
    pub slots: Vec<Option<String>>,
}

impl Whole {
    /// What the craft is called in a learner's crate, which itself has the package's name: so a file of the craft reads
    /// the same there.
    pub fn alias(&self) -> String {
        alias_of(&self.package)
    }

    /// The package of the superseded variants.
    pub fn phases_package(&self) -> String {
        format!("{}-phases", self.package)
    }
}

/// What the workspace of the learners' crates calls the package of a craft.
pub fn alias_of(package: &str) -> String {
    format!("craft-{package}")
}

/// What is measured, and how much is enough.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum Gate {
    /// Something that is counted.
    Counter {
        /// Its name, as the kit counts it.
        counter: String,
        /// So many times the count that it is held against.
        at_most: f64,
        /// Which that is.
        #[serde(default)]
        of: Of,
    },
    /// Requests a second under a load of the bench: of a step of ingestion.
    Load {
        /// Its name.
        load: String,
        /// Of the reference's gain over the previous form, on a logarithmic scale.
        share: f64,
    },
}

/// Whose count a learner's is held against.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Of {
    /// The previous form's: the step makes it less.
    #[default]
    Previous,
    /// The reference's: the previous form did nothing of the kind, and now it has a price.
    Reference,
}

/// `lab.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Told {
    phase: Option<String>,
    slug: Option<String>,
    title: Option<String>,
    component: Option<Component>,
    exercise: Option<Exercise>,
    minutes: u32,
    starter: StarterKind,
    #[serde(default)]
    holes: Vec<String>,
    #[serde(default)]
    copy: Vec<String>,
    #[serde(default)]
    fails: Vec<String>,
    #[serde(default, rename = "gate")]
    gates: Vec<Gate>,
    beyond: Option<String>,
}

/// What the warm-up rebuilds.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Component {
    slot: String,
    file: String,
    #[serde(rename = "type")]
    type_name: String,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum StarterKind {
    Optimise,
    Holes,
    Package,
}

impl Catalogue {
    /// Reads the labs of the repository that `inside` lies in.
    ///
    /// # Errors
    /// When it is no repository of the course, or a lab's description is wrong: which, and what.
    pub fn open(inside: &Path) -> Result<Self, LabError> {
        let found = inside.ancestors().find(|dir| dir.join(TABLE_FILE).is_file());
        let root = found.ok_or_else(|| LabError::NoCourse(inside.to_owned()))?.to_owned();
        let table_path = root.join(TABLE_FILE);
        let table =
            Table::parse(&read(&table_path)?).map_err(|e| LabError::file(&table_path, e.to_string()))?;
        let mut labs = Vec::new();
        for dir in folders(&root.join(LABS_DIR))? {
            if OTHERS.iter().any(|other| dir.ends_with(other)) {
                continue;
            }
            for lab in folders(&dir)? {
                labs.push(read_lab(&root, &table, &lab)?);
            }
        }
        labs.sort_by_key(|lab| {
            (lab.step.map(|step| (step.craft, step.phase)), lab.exercise.as_ref().map(|one| one.number))
        });
        Ok(Self { root, labs })
    }

    /// The lab of this name.
    ///
    /// # Errors
    /// Which there are.
    pub fn find(&self, slug: &str) -> Result<&Lab, LabError> {
        self.labs.iter().find(|lab| lab.slug == slug).ok_or_else(|| LabError::NoLab {
            slug: slug.to_owned(),
            there: self.labs.iter().map(|lab| lab.slug.as_str()).collect::<Vec<_>>().join(", "),
        })
    }
}

impl Lab {
    /// What the learner begins with, before holes are made.
    pub fn start(&self) -> &Form {
        match (&self.starter, &self.previous) {
            (Starter::Optimise, Some(previous)) => previous,
            _ => &self.reference,
        }
    }

    /// `1.3`, or `0` for the warm-up and the exercises.
    pub fn number(&self) -> String {
        self.step.map_or_else(|| "0".to_owned(), |step| step.to_string())
    }

    /// The file that the learner begins to read: `src/parse.rs`.
    pub fn main_file(&self) -> String {
        self.exercise.as_ref().map_or_else(|| format!("src/{}.rs", self.slot), |one| one.file.clone())
    }
}

/// The folders in a folder, by name.
fn folders(dir: &Path) -> Result<Vec<PathBuf>, LabError> {
    let entries = fs::read_dir(dir).map_err(|e| LabError::io(dir, e))?;
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(|e| LabError::io(dir, e))?.path();
        if path.is_dir() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn read_lab(root: &Path, table: &Table, dir: &Path) -> Result<Lab, LabError> {
    let path = dir.join("lab.toml");
    let told: Told = toml::from_str(&read(&path)?).map_err(|e| LabError::file(&path, e.to_string()))?;
    let wrong = |problem: String| LabError::file(&path, problem);
    if (told.starter == StarterKind::Holes) == told.holes.is_empty() {
        return Err(wrong("holes are for a starter with holes, and it needs some".to_owned()));
    }
    if (told.starter == StarterKind::Package) != told.exercise.is_some() {
        return Err(wrong("an exercise begins with the package, and nothing else does".to_owned()));
    }
    let starter = match told.starter {
        StarterKind::Optimise => Starter::Optimise,
        StarterKind::Package => Starter::Package,
        StarterKind::Holes => Starter::Holes(told.holes.clone()),
    };
    let lab = match (&told.phase, &told.component, &told.exercise) {
        (Some(phase), None, None) => {
            let id: PhaseId = phase.parse().map_err(wrong)?;
            let (craft, phase) = table.find(id).map_err(|e| wrong(e.to_string()))?;
            of_step(root, craft, phase, &told, starter, dir).map_err(wrong)?
        }
        (None, Some(component), None) => of_component(component, &told, starter, dir).map_err(wrong)?,
        (None, None, Some(exercise)) => of_exercise(root, exercise, &told, dir).map_err(wrong)?,
        _ => return Err(wrong("a lab is either a phase, a component, or an exercise".to_owned())),
    };
    if dir.file_name().is_none_or(|name| *name != *lab.slug) {
        return Err(wrong(format!("its folder must be called {}", lab.slug)));
    }
    Ok(lab)
}

fn of_component(component: &Component, told: &Told, starter: Starter, dir: &Path) -> Result<Lab, String> {
    if starter == Starter::Optimise {
        return Err("there is nothing before it that could be optimised".to_owned());
    }
    let dest = format!("src/{}.rs", component.slot);
    let reference = Form {
        type_name: component.type_name.clone(),
        files: BTreeMap::from([(dest, component.file.clone())]),
    };
    of_no_step("a component", told, dir, &component.slot, starter, reference)
}

fn of_exercise(root: &Path, exercise: &Exercise, told: &Told, dir: &Path) -> Result<Lab, String> {
    if !told.fails.is_empty() || !told.gates.is_empty() {
        return Err("an exercise's starter fails all of its checks, and nothing is measured".to_owned());
    }
    let place_of = |file: &String| file.trim_start_matches(PACKAGE).trim_start_matches('/').to_owned();
    let files = rust_files(root, &format!("{PACKAGE}/src"))?;
    let reference = Form {
        type_name: PACKAGE.to_owned(),
        files: files.iter().map(|file| (place_of(file), file.clone())).collect(),
    };
    let lab = of_no_step("an exercise", told, dir, PACKAGE, Starter::Package, reference)?;
    Ok(Lab { exercise: Some(exercise.clone()), ..lab })
}

/// What no craft's table knows: it has its own name, nothing before it, and no server around it.
fn of_no_step(
    what: &str,
    told: &Told,
    dir: &Path,
    slot: &str,
    starter: Starter,
    reference: Form,
) -> Result<Lab, String> {
    let (Some(slug), Some(title)) = (&told.slug, &told.title) else {
        return Err(format!("{what} needs a slug and a title"));
    };
    Ok(Lab {
        slug: slug.clone(),
        title: title.clone(),
        step: None,
        minutes: told.minutes,
        dir: dir.to_owned(),
        slot: slot.to_owned(),
        starter,
        reference,
        previous: None,
        whole: None,
        fails: told.fails.clone(),
        gates: told.gates.clone(),
        beyond: told.beyond.clone(),
        exercise: None,
    })
}

fn of_step(
    root: &Path,
    craft: &Craft,
    phase: &Phase,
    told: &Told,
    starter: Starter,
    dir: &Path,
) -> Result<Lab, String> {
    let before = craft.phases.iter().find(|p| p.number + 1 == phase.number);
    let before = before.ok_or("the first phase has none before it, and so nothing to better")?;
    let changed = craft.slots.iter().find(|slot| phase.slots[&slot.name] != before.slots[&slot.name]);
    let slot = changed.ok_or("this phase changes no slot")?;
    let form = |phase: &Phase| {
        let variant = craft.variant(phase, slot).map_err(|e| e.to_string())?;
        form_of(root, craft, slot, variant, &told.copy)
    };
    let mut slots = Vec::new();
    for other in &craft.slots {
        let variant = craft.variant(phase, other).map_err(|e| e.to_string())?;
        slots.push((other.name != slot.name).then(|| path_of(craft, other, variant)));
    }
    let whole = Whole {
        package: craft.package.clone(),
        manifests: [&craft.dir, &craft.phases_dir()].map(|dir| format!("{dir}/Cargo.toml")),
        type_path: craft.whole.clone(),
        slots,
    };
    Ok(Lab {
        slug: phase.slug.clone(),
        title: phase.title.clone(),
        step: Some(PhaseId { craft: craft.number, phase: phase.number }),
        minutes: told.minutes,
        dir: dir.to_owned(),
        slot: slot.name.clone(),
        starter,
        reference: form(phase)?,
        previous: Some(form(before)?),
        whole: Some(whole),
        fails: told.fails.clone(),
        gates: told.gates.clone(),
        beyond: told.beyond.clone(),
        exercise: None,
    })
}

/// The files of a form: the slot's own, its submodules, what stands beside it, and copies that the lab asks for.
fn form_of(
    root: &Path,
    craft: &Craft,
    slot: &Slot,
    variant: Option<&Variant>,
    copy: &[String],
) -> Result<Form, String> {
    let mut files = BTreeMap::new();
    let type_name = match variant {
        Some(variant) => {
            files.insert(slot.file.clone(), craft.variant_path(&variant.file));
            for beside in &variant.beside {
                let name = Path::new(beside).file_name().and_then(|name| name.to_str());
                let name = name.ok_or_else(|| format!("{beside} is no file"))?;
                files.insert(format!("src/{name}"), craft.variant_path(beside));
            }
            &variant.type_name
        }
        None => {
            files.insert(slot.file.clone(), craft.path(&slot.file));
            let submodules = slot.file.trim_end_matches(".rs");
            let below = rust_files(root, &craft.path(submodules))?;
            for file in below.into_iter().filter(|file| !is_of_tests(file)) {
                let dest = file.strip_prefix(&format!("{}/", craft.dir)).unwrap_or(&file).to_owned();
                files.insert(dest, file);
            }
            &slot.type_name
        }
    };
    for file in copy {
        files.insert(file.clone(), craft.path(file));
    }
    Ok(Form { type_name: type_name.clone(), files })
}

/// Whether a file is a module of tests, or below one: a learner's crate has named tests instead.
fn is_of_tests(file: &str) -> bool {
    Path::new(file).iter().any(|part| part == "tests" || part == "tests.rs")
}

/// The files below a folder of the repository, if there is such a folder.
fn rust_files(root: &Path, dir: &str) -> Result<Vec<String>, String> {
    let Ok(entries) = fs::read_dir(root.join(dir)) else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|e| format!("{dir}: {e}"))?;
        let name = format!("{dir}/{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            found.extend(rust_files(root, &name)?);
        } else if name.ends_with(".rs") {
            found.push(name);
        }
    }
    found.sort();
    Ok(found)
}

/// A type's path, as the learner's crate names it.
fn path_of(craft: &Craft, slot: &Slot, variant: Option<&Variant>) -> String {
    let (package, file, type_name) = match variant {
        Some(variant) => (craft.phases_package(), variant.file.as_str(), &variant.type_name),
        None => (alias_of(&craft.package), slot.file.trim_start_matches("src/"), &slot.type_name),
    };
    let module = file.trim_end_matches(".rs").replace('/', "::");
    format!("{}::{module}::{type_name}", package.replace('-', "_"))
}
