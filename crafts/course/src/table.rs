//! The table of the phases: `crafts/phases.toml` as it is read.
//!
//! A table that was read is sound in itself: names are told once, and every phase fills every slot with a type that is
//! declared. Whether the files it names exist is for [`crate::phase`] to find out, on the commit it is asked for.

use crate::CourseError;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt, str::FromStr};

/// All crafts that have phases, and what their branches do without.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// In the order of the data's way.
    #[serde(rename = "craft")]
    pub crafts: Vec<Craft>,
    /// What a phase branch is, beside its slots.
    #[serde(default)]
    pub branch: Branch,
}

/// One craft and its phases.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Craft {
    /// 1 for ingestion.
    pub number: u32,
    /// As the pipeline calls its slot: `ingest`.
    pub name: String,
    /// For people.
    pub title: String,
    /// Its directory in the repository.
    pub dir: String,
    /// Its package.
    pub package: String,
    /// The file that names the types of the slots, below `dir`.
    pub composition: String,
    /// The type that they are put together in, as a path within the package; the slots are its parameters, in their
    /// order: `service::Server`.
    pub whole: String,
    /// The directory of the variants, below `dir`.
    pub variants_dir: String,
    /// In reading order.
    #[serde(rename = "slot")]
    pub slots: Vec<Slot>,
    /// What filled the slots before.
    #[serde(rename = "variant", default)]
    pub variants: Vec<Variant>,
    /// From the naive to the final one.
    #[serde(rename = "phase")]
    pub phases: Vec<Phase>,
}

/// A slot, and what fills it in the end.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Slot {
    /// `engine`
    pub name: String,
    /// The final form, below the craft's `dir`.
    pub file: String,
    /// The type it declares.
    #[serde(rename = "type")]
    pub type_name: String,
    /// Files and directories below `dir` that only the final form has: its helpers, its tests.
    #[serde(default)]
    pub with: Vec<String>,
    /// Lines elsewhere that only the final form needs.
    #[serde(default)]
    pub cut: Vec<Cut>,
}

/// What filled a slot in an earlier phase.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    /// Whose.
    pub slot: String,
    /// The type it declares.
    #[serde(rename = "type")]
    pub type_name: String,
    /// Below the craft's `variants_dir`.
    pub file: String,
    /// More files below `variants_dir`, which go beside the slot's file.
    #[serde(default)]
    pub beside: Vec<String>,
    /// Those of the slot's `with` that this variant needs as well.
    #[serde(default)]
    pub keeps: Vec<String>,
}

/// One step.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Phase {
    /// Consecutive.
    pub number: u32,
    /// A stable name.
    pub slug: String,
    /// What it is, in a few words.
    pub title: String,
    /// The one bottleneck that it removes, as a sentence.
    pub removes: String,
    /// What it makes worse, if anything.
    #[serde(default)]
    pub costs: Option<String>,
    /// Slot → type.
    pub slots: BTreeMap<String, String>,
    /// What a 202 says.
    pub promise: Promise,
    /// The load under which its step shows.
    pub load: String,
    /// What was expected of it before it was measured.
    #[serde(default)]
    pub predict: Option<Predict>,
    /// Below so many cores the step cannot be seen.
    pub cores_min: u32,
}

/// What a 202 says of its samples.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Promise {
    /// They are in memory, and gone with the process.
    Memory,
    /// They are as safe as `--ack` asked for.
    Ack,
}

/// An expectation, with the phase before as its measure.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Predict {
    /// Which counter or clock: `throughput`.
    pub measure: String,
    /// `requests/s`
    pub unit: String,
    /// The load that it was said of, where that turned out to be another than the one that shows the step.
    #[serde(default)]
    pub load: Option<String>,
    /// The phase before, under this phase's load.
    pub from: f64,
    /// This phase.
    pub to: f64,
}

/// What a phase branch is, beside its slots.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Branch {
    /// Files and directories that no phase has.
    #[serde(default)]
    pub gone: Vec<String>,
    /// Lines that no phase has.
    #[serde(default)]
    pub cut: Vec<Cut>,
    /// Files that read differently there.
    #[serde(default)]
    pub replace: Vec<Replace>,
    /// What the lock file has only because of features that something gone had asked for: the lock file itself does not
    /// say why it has what it has.
    #[serde(default)]
    pub unlock: Vec<Unlock>,
}

/// One library's need of another.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Unlock {
    /// Whose need.
    pub package: String,
    /// Of what.
    pub needs: String,
}

/// Lines of a file.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Cut {
    /// From the root of the repository.
    pub file: String,
    /// Whole lines without their indentation. Each must be there exactly once.
    pub lines: Vec<String>,
}

/// A file that stands in for another.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Replace {
    /// Whose place.
    pub file: String,
    /// What stands there on a branch.
    pub with: String,
}

/// A phase as people say it: `1.3` is phase 3 of craft 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PhaseId {
    /// 1 for ingestion.
    pub craft: u32,
    /// 0 for the naive one.
    pub phase: u32,
}

impl FromStr for PhaseId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('.').map(|(craft, phase)| (craft.parse(), phase.parse()));
        let Some((Ok(craft), Ok(phase))) = parts else {
            return Err("write CRAFT.PHASE, as in 1.3".to_owned());
        };
        Ok(Self { craft, phase })
    }
}

impl fmt::Display for PhaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.craft, self.phase)
    }
}

impl Table {
    /// Reads a table.
    ///
    /// # Errors
    /// What is wrong with it, in one line.
    pub fn parse(text: &str) -> Result<Self, CourseError> {
        let table: Self = toml::from_str(text).map_err(|e| {
            let line = e.span().map_or(0, |at| text[..at.start].matches('\n').count() + 1);
            CourseError::Table(format!("line {line}: {}", e.message().replace('\n', " ")))
        })?;
        for (at, craft) in table.crafts.iter().enumerate() {
            if table.crafts[..at].iter().any(|other| other.number == craft.number) {
                return Err(CourseError::Table(format!("craft {} is told twice", craft.number)));
            }
            craft.check()?;
        }
        Ok(table)
    }

    /// The phase, and the craft that has it.
    ///
    /// # Errors
    /// Which there are.
    pub fn find(&self, id: PhaseId) -> Result<(&Craft, &Phase), CourseError> {
        let craft = self.crafts.iter().find(|craft| craft.number == id.craft);
        let found = craft.and_then(|craft| {
            craft.phases.iter().find(|phase| phase.number == id.phase).map(|phase| (craft, phase))
        });
        found.ok_or_else(|| {
            let there: Vec<_> = self.crafts.iter().filter_map(Craft::range).collect();
            CourseError::Table(format!("there is no phase {id}; there are {}", there.join(", ")))
        })
    }
}

impl Craft {
    /// What fills the slot in this phase: `None` is its final form.
    ///
    /// # Errors
    /// When the table does not say.
    pub fn variant(&self, phase: &Phase, slot: &Slot) -> Result<Option<&Variant>, CourseError> {
        let name = phase.slots.get(&slot.name);
        let name = name.ok_or_else(|| self.wrong(phase, &format!("nothing fills slot {}", slot.name)))?;
        if *name == slot.type_name {
            return Ok(None);
        }
        let found = self.variants.iter().find(|v| v.slot == slot.name && v.type_name == *name);
        found.map(Some).ok_or_else(|| self.wrong(phase, &format!("slot {} has no variant {name}", slot.name)))
    }

    /// The branch of a phase.
    pub fn branch(&self, phase: &Phase) -> String {
        format!("{}/phase-{}", self.branches(), phase.number)
    }

    /// What all branches of this craft begin with.
    pub fn branches(&self) -> String {
        format!("craft{}", self.number)
    }

    /// The file's place in the repository, from its place in the craft.
    pub fn path(&self, file: &str) -> String {
        format!("{}/{file}", self.dir)
    }

    /// The package of the variants.
    pub fn phases_package(&self) -> String {
        format!("{}-phases", self.package)
    }

    /// The directory of that package in the repository.
    pub fn phases_dir(&self) -> String {
        self.path(self.variants_dir.trim_end_matches("/src"))
    }

    /// The place of a variant's file in the repository.
    pub fn variant_path(&self, file: &str) -> String {
        format!("{}/{}/{file}", self.dir, self.variants_dir)
    }

    fn range(&self) -> Option<String> {
        let (first, last) = (self.phases.first()?, self.phases.last()?);
        Some(format!("{0}.{1} to {0}.{2}", self.number, first.number, last.number))
    }

    fn wrong(&self, phase: &Phase, what: &str) -> CourseError {
        CourseError::Table(format!("phase {}.{}: {what}", self.number, phase.number))
    }

    fn check(&self) -> Result<(), CourseError> {
        for (at, phase) in self.phases.iter().enumerate() {
            if at > 0 && phase.number != self.phases[at - 1].number + 1 {
                return Err(self.wrong(phase, "phases are numbered one by one"));
            }
            if self.phases[..at].iter().any(|other| other.slug == phase.slug) {
                return Err(self.wrong(phase, &format!("slug {:?} is told twice", phase.slug)));
            }
            if let Some(stray) = phase.slots.keys().find(|name| self.slots.iter().all(|s| s.name != **name)) {
                return Err(self.wrong(phase, &format!("there is no slot {stray}")));
            }
            for slot in &self.slots {
                self.variant(phase, slot)?;
            }
        }
        for variant in &self.variants {
            let used = self.phases.iter().any(|p| p.slots.get(&variant.slot) == Some(&variant.type_name));
            if !used {
                return Err(CourseError::Table(format!("variant {} is in no phase", variant.type_name)));
            }
            let slot = self.slots.iter().find(|slot| slot.name == variant.slot);
            let with = slot.map_or(&[][..], |slot| &slot.with);
            if let Some(stray) = variant.keeps.iter().find(|file| !with.contains(file)) {
                let message = format!("variant {} keeps {stray}, which is not the slot's", variant.type_name);
                return Err(CourseError::Table(message));
            }
        }
        match self.phases.last() {
            None => Err(CourseError::Table(format!("craft {} has no phases", self.number))),
            Some(last) if self.slots.iter().any(|s| last.slots[&s.name] != s.type_name) => {
                Err(self.wrong(last, "the last phase is the final form in every slot"))
            }
            Some(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOUND: &str = r#"
        [[craft]]
        number = 1
        name = "mill"
        title = "a mill"
        dir = "mill"
        package = "mill"
        composition = "src/composition.rs"
        whole = "run::Mill"
        variants_dir = "phases/src"
        [[craft.slot]]
        name = "grind"
        file = "src/grind.rs"
        type = "Stones"
        with = ["src/water.rs"]
        [[craft.variant]]
        slot = "grind"
        type = "Mortar"
        file = "grind/mortar.rs"
        [[craft.phase]]
        number = 0
        slug = "mortar"
        title = "by hand"
        removes = "Nothing."
        slots = { grind = "Mortar" }
        promise = "memory"
        load = "plain"
        cores_min = 1
        [[craft.phase]]
        number = 1
        slug = "stones"
        title = "by water"
        removes = "Arms tire."
        slots = { grind = "Stones" }
        promise = "ack"
        load = "plain"
        cores_min = 1
    "#;

    #[test]
    fn a_sound_table_is_read() {
        let table = Table::parse(SOUND).unwrap();
        let (craft, phase) = table.find("1.0".parse().unwrap()).unwrap();
        assert_eq!(craft.branch(phase), "craft1/phase-0");
        assert_eq!(craft.variant(phase, &craft.slots[0]).unwrap().unwrap().file, "grind/mortar.rs");
        assert!(craft.variant(&craft.phases[1], &craft.slots[0]).unwrap().is_none());
    }

    #[test]
    fn each_contradiction_is_named() {
        let cases = [
            ("number = 1\n        slug", "number = 3\n        slug", "numbered one by one"),
            (r#"slug = "stones""#, r#"slug = "mortar""#, "slug \"mortar\" is told twice"),
            (r#"{ grind = "Mortar" }"#, r#"{ grind = "Hammer" }"#, "slot grind has no variant Hammer"),
            (r#"{ grind = "Mortar" }"#, "{}", "phase 1.0: nothing fills slot grind"),
            (r#"{ grind = "Stones" }"#, r#"{ grind = "Stones", sift = "A" }"#, "there is no slot sift"),
            (r#"{ grind = "Stones" }"#, r#"{ grind = "Mortar" }"#, "the last phase is the final form"),
            (r#"{ grind = "Mortar" }"#, r#"{ grind = "Stones" }"#, "variant Mortar is in no phase"),
            (r#"file = "grind/mortar.rs""#, "file = \"a.rs\"\nkeeps = [\"src/air.rs\"]", "keeps src/air.rs"),
            (r#"promise = "ack""#, r#"promise = "hope""#, "unknown variant `hope`"),
            (r#"load = "plain""#, r#"laod = "plain""#, "unknown field `laod`"),
            ("[[craft]]", "[[craft", "line 2: "),
        ];
        for (good, bad, expected) in cases {
            assert!(SOUND.contains(good), "{good}");
            let error = Table::parse(&SOUND.replacen(good, bad, 1)).unwrap_err().to_string();
            assert!(error.starts_with("crafts/phases.toml: ") && error.contains(expected), "{bad}: {error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn a_phase_that_is_not_there_lists_those_that_are() {
        let table = Table::parse(SOUND).unwrap();
        let error = table.find(PhaseId { craft: 1, phase: 7 }).unwrap_err().to_string();
        assert!(error.contains("no phase 1.7; there are 1.0 to 1.1"), "{error}");
        for wrong in ["", "1", "1.", ".3", "a.b", "1.2.3", "-1.2"] {
            assert!(wrong.parse::<PhaseId>().is_err(), "{wrong}");
        }
    }
}
