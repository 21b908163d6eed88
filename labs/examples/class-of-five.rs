//! A class of five who do not exist: one who is good, one who is slow, one who is wrong, one whose work hangs, and one who
//! knows what is asked and does nothing else. Each must get the verdict that is theirs, twice.
//!
//! It compiles everybody, and so takes some minutes: `cargo run --release -p labs --example class-of-five`.

use anyhow::{Context, Result, ensure};
use labs::{
    catalogue::{Catalogue, Lab},
    class::{self, Class, Row, Student, collect::Source},
    gate::{
        ROUNDS_MIN, ROUNDS_MORE,
        measure::{GENERATE, generate},
    },
    progress::Outcome,
    prove::{Edit, Faulty, edited, read_faulty},
    workshop::{Workshop, reference_files, starter_files},
};
use std::{collections::BTreeMap, env, ffi::OsString, fs, path::Path, process::ExitCode};

const LAB: &str = "single-pass-json";

fn main() -> ExitCode {
    let words: Vec<OsString> = env::args_os().skip(1).collect();
    if let [first, second, rest @ ..] = &words[..]
        && *first == GENERATE[0]
        && *second == GENERATE[1]
    {
        return generate(rest).unwrap_or(ExitCode::FAILURE);
    }
    match twice() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn twice() -> Result<()> {
    let catalogue = Catalogue::open(Path::new(env!("CARGO_MANIFEST_DIR")))?;
    let lab = catalogue.find(LAB)?;
    let dir = tempfile::tempdir()?;
    let class = Class {
        lab: LAB.to_owned(),
        rounds: ROUNDS_MIN + ROUNDS_MORE,
        points_tests: 60.0,
        points_gate: 40.0,
        students: students(&catalogue, lab, dir.path())?,
    };
    let out = dir.path().join("out");
    for time in ["first", "second"] {
        let results = class::run(&catalogue, &class, &out, &mut |what| eprintln!("{time}: {what}"))?;
        let names: BTreeMap<String, String> =
            serde_json::from_str(&fs::read_to_string(out.join("names.json"))?)?;
        for student in &class.students {
            let row = results.rows.iter().find(|row| row.alias == names[&student.name]);
            let row = row.with_context(|| format!("{} is missing", student.name))?;
            println!("{time}: {} is {:?}: {}", student.name, row.verdict, row.words.join(" "));
            ensure!(is_right(&student.name, row), "the verdict on {} is wrong", student.name);
        }
    }
    Ok(())
}

/// What a machine cannot decide is no verdict against the good one.
fn is_right(name: &str, row: &Row) -> bool {
    match name {
        "good" => !row.verdict.fails(),
        "slow" => row.verdict == Outcome::NotYet,
        "cheating" => row.verdict == Outcome::Unverified,
        "hanging" => {
            row.verdict == Outcome::Broken && row.words.iter().any(|words| words.contains("hangs in"))
        }
        _ => row.verdict == Outcome::Broken,
    }
}

fn students(catalogue: &Catalogue, lab: &Lab, dir: &Path) -> Result<Vec<Student>> {
    let root = &catalogue.root;
    let reference = reference_files(root, lab)?;
    let with = |to: &str| {
        let edit = Edit {
            file: "src/parse.rs".to_owned(),
            from: "let (reader, buffers) = (Reader::new(text), &mut self.buffers);".to_owned(),
            to: format!("{to}\nlet (reader, buffers) = (Reader::new(text), &mut self.buffers);"),
        };
        let faulty = Faulty { says: String::new(), caught_by: Vec::new(), gate: None, edits: vec![edit] };
        edited(&reference, &faulty).map_err(anyhow::Error::msg)
    };
    let wrong = read_faulty(lab, "hands-on-what-is-escaped")?;
    let reference_type = &lab.reference;
    let works = [
        ("good", reference_type, reference.clone()),
        ("slow", lab.start(), starter_files(root, lab)?),
        ("wrong", reference_type, edited(&reference, &wrong).map_err(anyhow::Error::msg)?),
        ("hanging", reference_type, with("while text.len() > 2 { std::thread::yield_now(); }")?),
        // Of what the load sends, nothing is read.
        (
            "cheating",
            reference_type,
            with(r#"if text.starts_with("{\"metrics\":[{\"timestamp\":1") { return Ok(50); }"#)?,
        ),
    ];
    let mut students = Vec::new();
    for (name, form, files) in works {
        let workshop = Workshop::new(root, &dir.join(name));
        workshop.put(lab, form, &files)?;
        students.push(Student { name: name.to_owned(), source: Source::Folder(workshop.place(lab)) });
    }
    Ok(students)
}
