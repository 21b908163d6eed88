//! One phase as a tree: its variants stand where the final files stood, and nothing that is later exists. All other
//! crafts stand there in their final form.
//!
//! The composition is the real one with other types in it, the manifests are the real ones with less in them: there is
//! no template that could drift.

use crate::{
    CourseError, TABLE_FILE, manifest, rust,
    table::{Craft, Cut, Phase, Slot, Table, Variant},
    tree::{Tree, is_below},
};
use std::path::Path;

/// The table of a commit.
///
/// # Errors
/// When it has none, or the table is wrong.
pub fn table_of(head: &Tree<'_>, commit: &str) -> Result<Table, CourseError> {
    if !head.has(TABLE_FILE) {
        return Err(CourseError::NoTable(commit.to_owned()));
    }
    Table::parse(&head.text(TABLE_FILE)?)
}

/// The tree of a phase, made from that of a commit.
///
/// # Errors
/// Where the table and the commit contradict each other.
pub fn make<'g>(
    head: &Tree<'g>,
    table: &Table,
    craft: &Craft,
    phase: &Phase,
) -> Result<Tree<'g>, CourseError> {
    let mut tree = head.clone();
    for slot in &craft.slots {
        if let Some(variant) = craft.variant(phase, slot)? {
            fill(&mut tree, craft, slot, variant)?;
        }
    }
    compose(&mut tree, craft, phase)?;
    for replace in &table.branch.replace {
        let text = tree.text(&replace.with)?.replace(CRAFT_DIR, &craft.dir);
        tree.put(&replace.file, &text)?;
    }
    for cut in &table.branch.cut {
        cut_from(&mut tree, cut)?;
    }
    for path in &table.branch.gone {
        tree.remove(path)?;
    }
    manifest::trim(&mut tree, &craft.dir, &table.branch.unlock)?;
    Ok(tree)
}

/// In a file that stands in for another: the directory of the craft whose phase it is.
const CRAFT_DIR: &str = "{craft-dir}";

/// Puts a variant into a slot, and takes away what only the final form has.
fn fill(tree: &mut Tree<'_>, craft: &Craft, slot: &Slot, variant: &Variant) -> Result<(), CourseError> {
    for with in slot.with.iter().filter(|with| !variant.keeps.contains(with)) {
        tree.remove(&craft.path(with))?;
        // A directory with the slot's own name holds modules of its file, which leaves with them.
        if let Some(module) = module_of(with).filter(|module| Some(*module) != module_of(&slot.file)) {
            edit(tree, &craft.path(LIB), |text| rust::remove_module(text, module))?;
        }
    }
    for cut in &slot.cut {
        cut_from(tree, cut)?;
    }
    let text = declaring(tree, &craft.variant_path(&variant.file), &variant.type_name)?;
    tree.put(&craft.path(&slot.file), &text)?;
    for beside in &variant.beside {
        put_beside(tree, craft, slot, beside)?;
    }
    Ok(())
}

const LIB: &str = "src/lib.rs";

/// A file that stands beside the variant stands beside the slot's file, and is declared after it.
fn put_beside(tree: &mut Tree<'_>, craft: &Craft, slot: &Slot, beside: &str) -> Result<(), CourseError> {
    let from = craft.variant_path(beside);
    let text = tree.text(&from)?;
    let name = Path::new(beside).file_name().and_then(|name| name.to_str()).unwrap_or(beside);
    let to = Path::new(&slot.file).with_file_name(name);
    let to = to.to_str().unwrap_or(name);
    let (Some(after), Some(module)) = (module_of(&slot.file), module_of(to)) else {
        return Err(CourseError::file(&from, format!("cannot stand beside {}", slot.file)));
    };
    if tree.has(&craft.path(to)) {
        return Err(CourseError::file(&from, format!("is to stand at {to}, where there is a file already")));
    }
    tree.put(&craft.path(to), &text)?;
    edit(tree, &craft.path(LIB), |text| rust::add_module(text, after, module))
}

/// The module that the library declares for a file or a directory right below `src`.
fn module_of(file: &str) -> Option<&str> {
    let name = file.strip_prefix("src/")?;
    let name = name.strip_suffix(".rs").unwrap_or(name);
    (!name.contains('/') && !name.contains('.')).then_some(name)
}

/// Names the phase's types where the final ones were named.
fn compose(tree: &mut Tree<'_>, craft: &Craft, phase: &Phase) -> Result<(), CourseError> {
    edit(tree, &craft.path(&craft.composition), |text| {
        let mut text = text.to_owned();
        for slot in &craft.slots {
            text = rust::replace_identifier(&text, &slot.type_name, &phase.slots[&slot.name])?;
        }
        let text = rust::replace_constant(&text, "NAME", &format!("phase{}", phase.number))?;
        rust::replace_constant(&text, "TITLE", &phase.title)
    })
}

fn cut_from(tree: &mut Tree<'_>, cut: &Cut) -> Result<(), CourseError> {
    edit(tree, &cut.file, |text| rust::cut_lines(text, &cut.lines))
}

fn edit(
    tree: &mut Tree<'_>,
    path: &str,
    change: impl FnOnce(&str) -> Result<String, String>,
) -> Result<(), CourseError> {
    let text = change(&tree.text(path)?).map_err(|problem| CourseError::file(path, problem))?;
    tree.put(path, &text)
}

/// The text of a file that must declare a type.
fn declaring(tree: &Tree<'_>, path: &str, type_name: &str) -> Result<String, CourseError> {
    let text = tree.text(path)?;
    match rust::declares(&text, type_name) {
        Ok(true) => Ok(text),
        Ok(false) => Err(CourseError::file(path, format!("does not declare {type_name}"))),
        Err(problem) => Err(CourseError::file(path, problem)),
    }
}

/// Whatever the table promises and the commit does not keep: files that are not there, types that are not declared.
///
/// # Errors
/// When git fails.
pub fn contradictions(head: &Tree<'_>, table: &Table) -> Result<Vec<String>, CourseError> {
    let mut found = Vec::new();
    for craft in &table.crafts {
        let finals = craft.slots.iter().map(|slot| (craft.path(&slot.file), &slot.type_name));
        let variants = craft.variants.iter().map(|v| (craft.variant_path(&v.file), &v.type_name));
        for (path, type_name) in finals.chain(variants) {
            found.extend(declaring(head, &path, type_name).err().map(|error| error.to_string()));
        }
        let composition = craft.path(&craft.composition);
        let whole = craft.whole.rsplit("::").next().unwrap_or_default();
        if !rust::identifiers(&head.text(&composition)?).is_ok_and(|names| names.contains(whole)) {
            found.push(format!("{composition}: does not name {whole}"));
        }
        let with = craft.slots.iter().flat_map(|slot| &slot.with).map(|file| craft.path(file));
        let beside = craft.variants.iter().flat_map(|v| &v.beside).map(|file| craft.variant_path(file));
        let missing = with.chain(beside).filter(|path| !head.paths().any(|file| is_below(file, path)));
        found.extend(missing.map(|path| format!("{path}: there is no such file")));
    }
    Ok(found)
}
