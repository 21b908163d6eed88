//! The book of this very tree: it builds, its links hold, and the command line understands its commands. That they work,
//! `tests/commands.rs` finds out.

#[path = "../../tests/shell/mod.rs"]
mod shell;

use super::*;
use crate::Args;
use clap::{Parser, error::ErrorKind};
use course::Table;
use shell::told;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

fn tree() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Each HTML page by its place in the book, and every other file of it.
struct Built {
    pages: BTreeMap<String, String>,
    files: BTreeSet<String>,
}

static BUILT: LazyLock<Built> = LazyLock::new(|| {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("book");
    build(tree(), &out).unwrap();
    let mut built = Built { pages: BTreeMap::new(), files: BTreeSet::new() };
    collect(&out, "", &mut built);
    built
});

fn collect(dir: &Path, prefix: &str, built: &mut Built) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = format!("{prefix}{}", path.file_name().unwrap().to_str().unwrap());
        if path.is_dir() {
            collect(&path, &format!("{name}/"), built);
        } else {
            if name.ends_with(".html") {
                built.pages.insert(name.clone(), fs::read_to_string(&path).unwrap());
            }
            built.files.insert(name);
        }
    }
}

#[test]
fn the_book_has_a_chapter_for_every_phase_and_nothing_unresolved() {
    let table = Table::parse(&fs::read_to_string(tree().join(TABLE_FILE)).unwrap()).unwrap();
    for craft in &table.crafts {
        for phase in craft.phases.iter().filter(|phase| phase.number > 0) {
            let page = format!("{}/{}.html", craft.name, phase.slug);
            let text = BUILT.pages.get(&page).unwrap_or_else(|| panic!("the book has no {page}"));
            let place = |section: &str| {
                let anchor = text.find(&format!("id=\"{section}\""));
                anchor.unwrap_or_else(|| panic!("{page} has no section {section}"))
            };
            assert!(
                SECTIONS.is_sorted_by_key(|section| place(section)),
                "{page} has another order of sections"
            );
            assert!(text.contains(&format!("cargo craft lab start {}", phase.slug)), "{page} begins no lab");
        }
    }
    for (page, text) in &BUILT.pages {
        assert!(!text.contains("{{#"), "{page} has a directive that was not replaced");
    }
}

/// What every chapter of a phase has, as anchors, in this order: the lab stands before the walk-through, which is its
/// solution.
const SECTIONS: [&str; 7] = ["problem", "idea", "lab", "walk-through", "result", "learning", "going-further"];

#[test]
fn every_link_of_the_book_leads_somewhere() {
    let mut checked = 0;
    for (page, text) in &BUILT.pages {
        for link in links(text) {
            let (path, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = if path.is_empty() { page.clone() } else { resolve(page, path) };
            assert!(BUILT.files.contains(&target), "{page} links to {link}, and there is no {target}");
            if let Some(there) = BUILT.pages.get(&target).filter(|_| !anchor.is_empty()) {
                let is_there = there.contains(&format!("id=\"{anchor}\""));
                assert!(is_there, "{page} links to {link}, and {target} has no such place");
            }
            checked += 1;
        }
    }
    assert!(checked > 200, "only {checked} links: is this test still looking right?");
}

/// What a page loads and links to within the book.
fn links(page: &str) -> Vec<String> {
    let mut found = Vec::new();
    for attribute in [" href=\"", " src=\""] {
        for rest in page.split(attribute).skip(1) {
            let link = rest.split('"').next().unwrap_or_default().replace("&amp;", "&").replace("%20", " ");
            let is_outside =
                ["http://", "https://", "data:", "javascript:"].iter().any(|s| link.starts_with(s));
            if !is_outside && !link.is_empty() {
                found.push(link);
            }
        }
    }
    found
}

fn resolve(page: &str, path: &str) -> String {
    let path = path.split('?').next().unwrap_or_default();
    let mut parts: Vec<&str> = page.split('/').collect();
    parts.pop();
    for part in path.split('/') {
        match part {
            "." => {}
            ".." => drop(parts.pop().unwrap_or_else(|| panic!("{page} links out of the book: {path}"))),
            part => parts.push(part),
        }
    }
    let target = parts.join("/");
    if target.is_empty() || target.ends_with('/') { format!("{target}index.html") } else { target }
}

#[test]
fn the_command_line_understands_every_command_of_the_book() {
    let mut understood = 0;
    for (chapter, words) in craft_commands() {
        let told = words.join(" ");
        // What `bench` and `profile` are told goes on to a program of its own, whose tests read the book too.
        if let Err(error) = Args::try_parse_from(&words) {
            let is_help = error.kind() == ErrorKind::DisplayHelp;
            assert!(is_help, "{chapter}: {told}\n{error}");
        }
        understood += 1;
    }
    assert!(understood > 25, "only {understood} commands: is this test still looking right?");
}

#[test]
fn the_labs_that_are_told_are_there() {
    let labs = labs::catalogue::Catalogue::open(tree()).unwrap();
    for (file, words) in craft_commands() {
        if let [_, lab, _, slug, ..] = &words[..] {
            assert!(lab != "lab" || labs.find(slug).is_ok(), "{file}: there is no lab {slug}");
        }
    }
}

/// Those of them that `craft` is told, without cargo. What a shell's loop counts stands for a number.
fn craft_commands() -> Vec<(String, Vec<String>)> {
    let counted = |word: &String| if word.starts_with('$') { "1".to_owned() } else { word.clone() };
    let of_craft = |(chapter, words): (String, Vec<String>)| match &words[..] {
        [cargo, craft, ..] if cargo == "cargo" && craft == "craft" => {
            Some((chapter, words[1..].iter().map(counted).collect()))
        }
        _ => None,
    };
    told(tree()).into_iter().filter_map(of_craft).collect()
}

#[test]
fn the_packages_and_targets_that_the_book_names_are_there() {
    let manifest = tree().join("Cargo.toml");
    let metadata = cargo_metadata::MetadataCommand::new().manifest_path(manifest).no_deps().exec().unwrap();
    let mut checked = 0;
    for (chapter, words) in told(tree()) {
        let Some(at) = words.iter().position(|word| word == "cargo") else { continue };
        let behind = |flag: &str| Some(&words[at + words[at..].iter().position(|word| word == flag)? + 1]);
        let Some(name) = behind("-p") else { continue };
        let package = metadata.packages.iter().find(|package| package.name.as_str() == name);
        let package = package.unwrap_or_else(|| panic!("{chapter}: there is no package {name}"));
        for target in ["--bench", "--test"].into_iter().filter_map(behind) {
            assert!(package.targets.iter().any(|t| t.name == *target), "{chapter}: {name} has no {target}");
        }
        checked += 1;
    }
    assert!(checked > 5, "only {checked} commands: is this test still looking right?");
}

#[test]
fn the_files_that_the_book_names_are_there() {
    let places = ["benches/", "crafts/", "docs/", "load-tester/", "phase0/"];
    let mut checked = 0;
    for chapter in load(tree()).unwrap().book.chapters() {
        for word in
            chapter.content.split('`').filter(|word| places.iter().any(|place| word.starts_with(place)))
        {
            let is_path = |c: char| c.is_ascii_alphanumeric() || "/.-_".contains(c);
            if word.chars().all(is_path) && !word.contains("generated") {
                assert!(tree().join(word).exists(), "{}: there is no {word}", chapter.name);
                checked += 1;
            }
        }
    }
    assert!(checked > 20, "only {checked} files: is this test still looking right?");
}

#[test]
fn what_is_no_book_is_not_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("home");
    assert!(ensure_replaceable(&home).is_ok(), "nothing is there");
    fs::create_dir(&home).unwrap();
    assert!(ensure_replaceable(&home).is_ok(), "nothing is in it");
    fs::write(home.join("novel.txt"), "mine").unwrap();
    let refusal = build(tree(), &home).unwrap_err().to_string();
    assert!(refusal.contains("no book of ours"), "{refusal}");
    assert_eq!(fs::read_to_string(home.join("novel.txt")).unwrap(), "mine");
    fs::write(home.join(MARK), "").unwrap();
    assert!(ensure_replaceable(&home).is_ok(), "it was ours");
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(ensure_replaceable(&file).is_err());
}
