//! What a learner has done: one line a check, appended and never changed, in the learner's own folder. Nothing leaves the
//! machine.
//!
//! ```text
//! {"at":"2026-01-31T12:00:00Z","slug":"single-pass-json","verdict":"passed","ratio":1.9,"interval":[1.8,2.0],
//!  "source_hash":"9d1c5b21","machine":"…"}
//! ```
//!
//! Lines are keyed by the lab's slug, which never changes, so that progress survives every reordering of the course.
//! A line that a crash or a full disk cut short is passed over, and the next one begins on a line of its own.

use crate::{
    LabError,
    catalogue::Lab,
    gate::{Judgement, Verdict},
    workshop::Workshop,
};
use benches::stats::Estimate;
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

/// The file, in the folder of the learner's crates.
pub const FILE: &str = "progress.jsonl";

/// How a check ended, from the worst to the best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The compiler found errors.
    DoesNotCompile,
    /// A test breaks, or hangs.
    Broken,
    /// All tests hold; what was answered with 2xx under load is not in the log.
    Unverified,
    /// All tests hold; it is not fast enough.
    NotYet,
    /// All tests hold; the reference gains nothing on this machine.
    NotMeasurable,
    /// All tests hold; the machine was too noisy to measure on.
    TooNoisy,
    /// All tests hold; it is too close to what is asked.
    Unclear,
    /// All of it holds.
    Passed,
}

impl Outcome {
    /// Of what the gates said, once all tests held: the worst of it. Where nothing is asked, all of it holds.
    pub fn judged(judged: &[Judgement]) -> Self {
        judged.iter().map(|judgement| Self::of(judgement.verdict)).min().unwrap_or(Self::Passed)
    }

    /// Whether the learner has something to mend.
    pub fn fails(self) -> bool {
        self <= Self::NotYet
    }

    fn of(verdict: Verdict) -> Self {
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

/// One check.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// When, RFC 3339 in UTC.
    pub at: String,
    /// Of which lab.
    pub slug: String,
    /// How it ended.
    pub verdict: Outcome,
    /// How many times the form before the learner's was, if that was measured.
    pub ratio: Option<f64>,
    /// The 95 % interval of that.
    pub interval: Option<(f64, f64)>,
    /// [`source_hash`] of what was checked.
    pub source_hash: String,
    /// On which machine, in words.
    pub machine: String,
}

impl Entry {
    /// Of a check of what the learner wrote, which ends now.
    ///
    /// # Errors
    /// When what the learner wrote cannot be read.
    pub fn new(
        lab: &Lab,
        workshop: &Workshop,
        outcome: Outcome,
        ratio: Option<Estimate>,
    ) -> Result<Self, LabError> {
        Ok(Self {
            at: jiff::Timestamp::now().to_string(),
            slug: lab.slug.clone(),
            verdict: outcome,
            ratio: ratio.map(|ratio| ratio.median),
            interval: ratio.map(|ratio| (ratio.low, ratio.high)),
            source_hash: source_hash(&workshop.place(lab))?,
            machine: machine(),
        })
    }

    /// Whether all of it held.
    pub fn is_passed(&self) -> bool {
        self.verdict == Outcome::Passed
    }

    /// Whether all tests held, and nothing that was measured speaks against it.
    pub fn is_right(&self) -> bool {
        !self.verdict.fails()
    }
}

/// Everything that was done.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    /// In the order of time.
    pub entries: Vec<Entry>,
    /// Lines that say nothing, since they were cut short or belong to another version of this program.
    pub unreadable: usize,
}

impl Progress {
    /// Of the learner who works in this folder. Where nothing was checked yet, it is empty.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn read(dir: &Path) -> Result<Self, LabError> {
        let path = dir.join(FILE);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(LabError::io(&path, error)),
        };
        let mut progress = Self::default();
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()) {
            match serde_json::from_slice(line) {
                Ok(entry) => progress.entries.push(entry),
                Err(_) => progress.unreadable += 1,
            }
        }
        Ok(progress)
    }

    /// The last check of a lab.
    pub fn latest(&self, slug: &str) -> Option<&Entry> {
        self.of(slug).last()
    }

    /// The best check of a lab; of two that are as good, the one with the higher ratio, and then the later one.
    pub fn best(&self, slug: &str) -> Option<&Entry> {
        let ratio = |entry: &Entry| entry.ratio.unwrap_or(0.0);
        self.of(slug).max_by(|a, b| a.verdict.cmp(&b.verdict).then(ratio(a).total_cmp(&ratio(b))))
    }

    fn of(&self, slug: &str) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| entry.slug == slug)
    }
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

/// Says whether two checks were of the same source: the CRC-32 of the names and texts of all files below `src/` and `examples/`. It is
/// meant to tell changes from none, and not to prove anything to anybody.
///
/// # Errors
/// When a file cannot be read.
pub fn source_hash(place: &Path) -> Result<String, LabError> {
    let mut hash = crc32fast::Hasher::new();
    let mut files = sources(place, "src")?;
    // An exercise may ask for programs of their own.
    if place.join("examples").is_dir() {
        files.extend(sources(place, "examples")?);
    }
    for (name, path) in files {
        let text = fs::read(&path).map_err(|error| LabError::io(&path, error))?;
        // With their lengths, so that no byte can move from a name to a text or from one file to the next unseen.
        for part in [name.as_bytes(), &text] {
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part);
        }
    }
    Ok(format!("{:08x}", hash.finalize()))
}

/// All files below a folder, by their names from `place` on, with slashes on every system.
fn sources(place: &Path, below: &str) -> Result<Vec<(String, PathBuf)>, LabError> {
    let dir = place.join(below);
    let entries = fs::read_dir(&dir).map_err(|error| LabError::io(&dir, error))?;
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| LabError::io(&dir, error))?;
        let name = format!("{below}/{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            found.extend(sources(place, &name)?);
        } else {
            found.push((name, entry.path()));
        }
    }
    found.sort();
    Ok(found)
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

    fn entry(slug: &str, verdict: Outcome, ratio: Option<f64>) -> Entry {
        Entry {
            at: "2026-01-31T12:00:00Z".to_owned(),
            slug: slug.to_owned(),
            verdict,
            ratio,
            interval: ratio.map(|ratio| (ratio - 0.1, ratio + 0.1)),
            source_hash: "0badcafe".to_owned(),
            machine: "a machine, 2 cores".to_owned(),
        }
    }

    #[test]
    fn what_was_done_is_read_back_in_its_order() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Progress::read(dir.path()).unwrap(), Progress::default(), "nothing was done yet");
        let entries = [entry("a", Outcome::Broken, None), entry("b", Outcome::Passed, Some(1.9))];
        entries.iter().for_each(|entry| append(dir.path(), entry).unwrap());
        let progress = Progress::read(dir.path()).unwrap();
        assert_eq!((&progress.entries[..], progress.unreadable), (&entries[..], 0));
    }

    #[test]
    fn the_form_of_a_line_is_what_others_read() {
        let line = serde_json::to_string(&entry("a", Outcome::NotYet, Some(1.5))).unwrap();
        assert_eq!(
            line,
            r#"{"at":"2026-01-31T12:00:00Z","slug":"a","verdict":"not-yet","ratio":1.5,"interval":[1.4,1.6],"source_hash":"0badcafe","machine":"a machine, 2 cores"}"#
        );
        let from_later = line.replace(r#""slug""#, r#""mood":"fine","slug""#);
        assert!(serde_json::from_str::<Entry>(&from_later).is_ok(), "a later version may say more");
    }

    #[test]
    fn a_line_cut_short_anywhere_loses_itself_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second, third) = (
            entry("a", Outcome::Broken, None),
            entry("a", Outcome::NotYet, None),
            entry("a", Outcome::Passed, None),
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
    fn bytes_that_are_no_text_lose_their_line_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), b"\xff\xfe\x00\n\n").unwrap();
        append(dir.path(), &entry("a", Outcome::Passed, None)).unwrap();
        let progress = Progress::read(dir.path()).unwrap();
        assert_eq!((progress.entries.len(), progress.unreadable), (1, 1));
    }

    #[test]
    fn checks_that_end_at_the_same_time_are_all_kept() {
        let dir = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    (0..20).for_each(|_| append(dir.path(), &entry("a", Outcome::Passed, None)).unwrap())
                });
            }
        });
        let progress = Progress::read(dir.path()).unwrap();
        assert_eq!((progress.entries.len(), progress.unreadable), (160, 0));
    }

    #[test]
    fn the_best_check_is_kept_however_it_went_on() {
        let entries = vec![
            entry("a", Outcome::NotYet, Some(9.0)),
            entry("a", Outcome::Passed, Some(1.5)),
            entry("a", Outcome::Passed, Some(2.5)),
            entry("b", Outcome::Passed, Some(7.0)),
            entry("a", Outcome::Unclear, Some(2.0)),
            entry("a", Outcome::Broken, None),
        ];
        let progress = Progress { entries, unreadable: 0 };
        assert_eq!(progress.best("a").unwrap().ratio, Some(2.5));
        assert_eq!(progress.latest("a").unwrap().verdict, Outcome::Broken);
        assert!(progress.best("a").unwrap().is_passed());
        assert_eq!((progress.best("c"), progress.latest("c")), (None, None));
    }

    #[test]
    fn what_the_machine_cannot_tell_is_right_and_not_passed() {
        let is = |verdict| (entry("a", verdict, None).is_right(), entry("a", verdict, None).is_passed());
        assert_eq!(is(Outcome::Passed), (true, true));
        for undecided in [Outcome::Unclear, Outcome::TooNoisy, Outcome::NotMeasurable] {
            assert_eq!(is(undecided), (true, false));
        }
        for wrong in [Outcome::NotYet, Outcome::Unverified, Outcome::Broken, Outcome::DoesNotCompile] {
            assert_eq!(is(wrong), (false, false));
        }
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
            let judgement =
                |verdict: &Verdict| Judgement { verdict: *verdict, ratio: None, words: String::new() };
            Outcome::judged(&verdicts.iter().map(judgement).collect::<Vec<_>>())
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
    fn the_machine_is_told_in_words() {
        assert!(machine().contains(" cores, "), "{}", machine());
    }
}
