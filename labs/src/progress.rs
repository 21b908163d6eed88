//! What a learner has done, as the engine writes it: one line a check, appended and never changed, in the learner's own
//! folder. Nothing leaves the machine. What a line says, and how it is read, stands in [`course::progress`], which the page
//! reads too.
//!
//! A line that a crash or a full disk cut short is passed over, and the next one begins on a line of its own.

use crate::{
    LabError,
    catalogue::{Catalogue, Gate, Lab},
    exercise::files_below,
    gate::{Judgement, Verdict},
    workshop::Workshop,
};
pub use benches::report::figure;
use benches::stats::Estimate;
pub use course::progress::{Entry, FILE, LabName, Map, Next, Outcome, Progress, Ratio, Row, State};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::Path,
};

/// The labs, as the map of the course names them.
pub fn names(catalogue: &Catalogue) -> Vec<LabName> {
    let name = |lab: &Lab| LabName { slug: lab.slug.clone(), phase: lab.number(), title: lab.title.clone() };
    catalogue.labs.iter().map(name).collect()
}

/// Of what the gates said, once all tests held: the worst of it. Where nothing is asked, all of it holds.
pub fn outcome(judged: &[Judgement]) -> Outcome {
    judged.iter().map(|judgement| judgement.verdict.into()).min().unwrap_or(Outcome::Passed)
}

impl From<Verdict> for Outcome {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Passed => Self::Passed,
            Verdict::NotYet => Self::NotYet,
            Verdict::Unclear => Self::Unclear,
            Verdict::TooNoisy => Self::TooNoisy,
            Verdict::NotMeasurable => Self::NotMeasurable,
            Verdict::Unverified => Self::Unverified,
        }
    }
}

/// A check of what the learner wrote, which ends now. `judged` is what the lab's gates said, in their order, as far as
/// they came.
///
/// # Errors
/// When what the learner wrote cannot be read.
pub fn entry(
    lab: &Lab,
    workshop: &Workshop,
    outcome: Outcome,
    judged: &[Judgement],
) -> Result<Entry, LabError> {
    let measured = judged.iter().zip(&lab.gates).find(|(judgement, _)| judgement.ratio.is_some());
    let mine = measured.and_then(|(judgement, _)| judgement.ratio).map(ratio);
    Ok(Entry {
        at: jiff::Timestamp::now().to_string(),
        slug: lab.slug.clone(),
        verdict: outcome,
        ratio: mine.map(|mine| mine.ratio),
        interval: mine.map(|mine| mine.interval),
        load: measured.and_then(|(_, gate)| load(gate)),
        reference: measured.and_then(|(judgement, _)| judgement.reference).map(ratio),
        source_hash: source_hash(&workshop.place(lab))?,
        machine: machine(),
    })
}

fn ratio(estimate: Estimate) -> Ratio {
    Ratio { ratio: estimate.median, interval: (estimate.low, estimate.high) }
}

fn load(gate: &Gate) -> Option<String> {
    if let Gate::Load { load, .. } = gate { Some(load.clone()) } else { None }
}

/// Adds a check to what the learner who works in this folder has done.
///
/// # Errors
/// When it cannot be written.
pub fn append(dir: &Path, entry: &Entry) -> Result<(), LabError> {
    let path = dir.join(FILE);
    let wrong = |error: io::Error| LabError::io(&path, error);
    let json = serde_json::to_string(entry).map_err(|error| wrong(error.into()))?;
    let mut file = OpenOptions::new().read(true).append(true).create(true).open(&path).map_err(wrong)?;
    // Two checks may end at the same time; the lock goes with the file.
    file.lock().map_err(wrong)?;
    let before = if is_torn(&mut file).map_err(wrong)? { "\n" } else { "" };
    file.write_all(format!("{before}{json}\n").as_bytes()).map_err(wrong)
}

/// Whether the last line was cut short.
fn is_torn(file: &mut File) -> io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(false);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

/// Says whether two checks were of the same source: the CRC-32 of the names and texts of all files below `src/`, and below
/// `examples/` if there are any. It is meant to tell changes from none, and not to prove anything to anybody.
///
/// # Errors
/// When a file cannot be read.
pub fn source_hash(place: &Path) -> Result<String, LabError> {
    let mut hash = crc32fast::Hasher::new();
    let src = place.join("src");
    fs::metadata(&src).map_err(|error| LabError::io(&src, error))?;
    let mut files = files_below(place, &["src"])?;
    // An exercise may ask for programs of their own.
    files.extend(files_below(place, &["examples"])?);
    for name in files {
        let path = place.join(&name);
        let text = fs::read(&path).map_err(|error| LabError::io(&path, error))?;
        // With their lengths, so that no byte can move from a name to a text or from one file to the next unseen.
        for part in [name.as_bytes(), &text] {
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part);
        }
    }
    Ok(format!("{:08x}", hash.finalize()))
}

/// This machine, as far as a ratio may depend on it: `AMD EPYC 7B13, 2 of 4 cores, x86_64, Debian GNU/Linux 13`.
pub(crate) fn machine() -> String {
    let machine = benches::traffic::provenance().machine;
    let cores = match machine.cores_usable {
        usable if usable == machine.cores => format!("{usable} cores"),
        usable => format!("{usable} of {} cores", machine.cores),
    };
    format!("{}, {cores}, {}, {}", machine.cpu_model, machine.arch, machine.os)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(slug: &str, verdict: Outcome, ratio: Option<f64>) -> Entry {
        Entry {
            at: "2026-01-31T12:00:00Z".to_owned(),
            slug: slug.to_owned(),
            verdict,
            ratio,
            interval: ratio.map(|ratio| (ratio - 0.1, ratio + 0.1)),
            load: None,
            reference: None,
            source_hash: "0badcafe".to_owned(),
            machine: "a machine, 2 cores".to_owned(),
        }
    }

    fn judgement(verdict: Verdict) -> Judgement {
        Judgement { verdict, ratio: None, reference: None, words: String::new() }
    }

    #[test]
    fn what_was_done_is_read_back_in_its_order() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Progress::read(dir.path()).unwrap(), Progress::default(), "nothing was done yet");
        let entries = [checked("a", Outcome::Broken, None), checked("b", Outcome::Passed, Some(1.9))];
        entries.iter().for_each(|entry| append(dir.path(), entry).unwrap());
        let progress = Progress::read(dir.path()).unwrap();
        assert_eq!((&progress.entries[..], progress.unreadable), (&entries[..], 0));
    }

    #[test]
    fn a_line_cut_short_anywhere_loses_itself_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second, third) = (
            checked("a", Outcome::Broken, None),
            checked("a", Outcome::NotYet, None),
            checked("a", Outcome::Passed, None),
        );
        append(dir.path(), &first).unwrap();
        let path = dir.path().join(FILE);
        let whole = fs::read(&path).unwrap();
        append(dir.path(), &second).unwrap();
        let both = fs::read(&path).unwrap();
        // Without its line break alone, a line is still whole.
        for cut in whole.len() + 1..both.len() - 1 {
            fs::write(&path, &both[..cut]).unwrap();
            let torn = Progress::read(dir.path()).unwrap();
            assert_eq!((&torn.entries[..], torn.unreadable), (&[first.clone()][..], 1), "cut at {cut}");
            append(dir.path(), &third).unwrap();
            let mended = Progress::read(dir.path()).unwrap();
            assert_eq!(mended.entries, [first.clone(), third.clone()], "cut at {cut}");
        }
        fs::write(&path, &both[..both.len() - 1]).unwrap();
        append(dir.path(), &third).unwrap();
        assert_eq!(Progress::read(dir.path()).unwrap().entries, [first, second, third]);
    }

    #[test]
    fn checks_that_end_at_the_same_time_are_all_kept() {
        let dir = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    (0..20).for_each(|_| append(dir.path(), &checked("a", Outcome::Passed, None)).unwrap())
                });
            }
        });
        let progress = Progress::read(dir.path()).unwrap();
        assert_eq!((progress.entries.len(), progress.unreadable), (160, 0));
    }

    #[test]
    fn the_hash_changes_with_every_name_and_text_and_with_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
            source_hash(dir.path()).unwrap()
        };
        let first = write("src/parse.rs", "fn parse() {}");
        assert_eq!(first.len(), 8);
        let second = write("src/parse/json.rs", "");
        assert_ne!(first, second, "another file");
        let third = write("src/parse/json.rs", " ");
        assert_ne!(second, third, "a space more");
        assert_eq!(write("src/parse/json.rs", ""), second, "the same again");
        assert_eq!(write("Cargo.toml", "[package]"), second, "what is generated does not count");
        assert!(source_hash(&dir.path().join("nowhere")).is_err());
    }

    #[test]
    fn the_worst_of_several_gates_is_the_outcome() {
        let judged = |verdicts: &[Verdict]| {
            outcome(&verdicts.iter().map(|verdict| judgement(*verdict)).collect::<Vec<_>>())
        };
        assert_eq!(judged(&[]), Outcome::Passed);
        assert_eq!(judged(&[Verdict::Passed, Verdict::Passed]), Outcome::Passed);
        assert_eq!(judged(&[Verdict::Passed, Verdict::TooNoisy]), Outcome::TooNoisy);
        assert_eq!(judged(&[Verdict::Unclear, Verdict::NotYet]), Outcome::NotYet);
        assert_eq!(judged(&[Verdict::NotYet, Verdict::Unverified]), Outcome::Unverified);
        let all = [
            Verdict::Passed,
            Verdict::NotYet,
            Verdict::Unclear,
            Verdict::TooNoisy,
            Verdict::NotMeasurable,
            Verdict::Unverified,
        ];
        assert!(all.iter().all(|verdict| judged(&[*verdict]).fails() == verdict.fails()));
    }

    #[test]
    fn a_line_says_what_the_ratio_is_to_be_held_against() {
        let catalogue = Catalogue::open(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let workshop = Workshop::new(&catalogue.root, dir.path());
        // A lab whose gates are a counter, and then a load.
        let lab = catalogue.find("single-pass-json").unwrap();
        assert_eq!(lab.gates.len(), 2);
        fs::create_dir_all(workshop.place(lab).join("src")).unwrap();
        let counted = judgement(Verdict::Passed);
        let estimate = |median: f64| Estimate { median, low: median - 0.5, high: median + 0.5, values: 7 };
        let measured =
            Judgement { ratio: Some(estimate(2.0)), reference: Some(estimate(3.0)), ..counted.clone() };

        let whole = entry(lab, &workshop, Outcome::Passed, &[counted.clone(), measured]).unwrap();
        assert_eq!((whole.ratio, whole.interval), (Some(2.0), Some((1.5, 2.5))));
        assert_eq!(whole.reference, Some(Ratio { ratio: 3.0, interval: (2.5, 3.5) }));
        assert_eq!(whole.load.as_deref(), Some("fifty"));
        let counted_only = entry(lab, &workshop, Outcome::NotYet, &[counted]).unwrap();
        assert_eq!((counted_only.ratio, counted_only.load, counted_only.reference), (None, None, None));
    }

    #[test]
    fn the_map_names_every_lab_once_and_in_the_order_of_the_course() {
        let catalogue = Catalogue::open(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap();
        let slugs: Vec<String> = names(&catalogue).into_iter().map(|name| name.slug).collect();
        assert_eq!(slugs, catalogue.labs.iter().map(|lab| lab.slug.clone()).collect::<Vec<_>>());
        assert!(names(&catalogue).iter().any(|name| name.phase == "1.3" && name.slug == "single-pass-json"));
    }

    #[test]
    fn the_machine_is_told_in_words() {
        assert!(machine().contains(" cores, "), "{}", machine());
    }
}
