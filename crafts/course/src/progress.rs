//! What a learner has done, and where that is in the course. It is read here, for whoever shows it, and written by the
//! engine of the labs: one line a check, appended and never changed, in the folder of the learner's own crates.
//!
//! ```text
//! {"at":"2026-01-31T12:00:00Z","slug":"single-pass-json","verdict":"passed","ratio":1.9,"interval":[1.8,2.0],
//!  "load":"fifty","reference":{"ratio":2.4,"interval":[2.3,2.5]},"source_hash":"9d1c5b21","machine":"…"}
//! ```
//!
//! Lines are keyed by the lab's slug, which never changes, so that progress survives every reordering of the course.
//! A line that a crash or a full disk cut short is passed over. What is not known of a line of an earlier version is left
//! out, and what a later version says more is not asked for.
//!
//! It knows of a lab only what the map shows: which labs there are is for others to find out.

use crate::CourseError;
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    path::Path,
};

/// The file, in the folder of the learner's crates.
pub const FILE: &str = "progress.jsonl";
/// Of a longer file the end is read, where the latest checks are: years of them.
pub const FILE_BYTES_MAX: u64 = 4 << 20;
/// Of more lines the last ones are read.
pub const LINES_MAX: usize = 10_000;

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
    /// Whether the learner has something to mend.
    pub fn fails(self) -> bool {
        self <= Self::NotYet
    }

    /// Whether the machine could tell: a ratio from a noisy one, or from one where nothing is gained, is not worth showing.
    pub fn is_telling(self) -> bool {
        matches!(self, Self::Passed | Self::NotYet | Self::Unclear)
    }

    /// For people, in few words.
    pub fn words(self) -> &'static str {
        match self {
            Self::DoesNotCompile => "does not compile",
            Self::Broken => "tests break",
            Self::Unverified => "not verified",
            Self::NotYet => "not fast enough yet",
            Self::NotMeasurable => "right, no gain here",
            Self::TooNoisy => "right, too noisy",
            Self::Unclear => "right, too close",
            Self::Passed => "passed",
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
    /// The load under which it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<String>,
    /// How many times the form before the reference was, in the same run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<Ratio>,
    /// Tells changes of what was checked from none.
    pub source_hash: String,
    /// On which machine, in words.
    pub machine: String,
}

/// A ratio that was measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ratio {
    /// The median of the rounds.
    pub ratio: f64,
    /// Its 95 % interval.
    pub interval: (f64, f64),
}

impl Entry {
    /// Whether all of it held.
    pub fn is_passed(&self) -> bool {
        self.verdict == Outcome::Passed
    }

    /// Whether all tests held, and nothing that was measured speaks against it.
    pub fn is_right(&self) -> bool {
        !self.verdict.fails()
    }

    fn measured(&self) -> Option<Measured> {
        let mine = Ratio { ratio: self.ratio?, interval: self.interval? };
        let measured = Measured {
            mine,
            reference: self.reference,
            load: self.load.clone(),
            at: self.at.clone(),
            machine: self.machine.clone(),
        };
        self.verdict.is_telling().then_some(measured)
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
    pub fn read(dir: &Path) -> Result<Self, CourseError> {
        let path = dir.join(FILE);
        let bytes = match end_of(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(CourseError::file(&path.to_string_lossy(), error.to_string())),
        };
        let said = |line: &&[u8]| !line.trim_ascii().is_empty();
        let lines = bytes.split(|byte| *byte == b'\n').rev().filter(said).take(LINES_MAX);
        let mut progress = Self::default();
        for line in lines {
            match serde_json::from_slice(line) {
                Ok(entry) => progress.entries.push(entry),
                Err(_) => progress.unreadable += 1,
            }
        }
        progress.entries.reverse();
        Ok(progress)
    }

    /// The last check of a lab.
    pub fn latest(&self, slug: &str) -> Option<&Entry> {
        self.of(slug).last()
    }

    /// The best check of a lab; of two that are as good, the one with the higher ratio, and then the later one.
    pub fn best(&self, slug: &str) -> Option<&Entry> {
        self.of(slug).max_by(|a, b| is_better(a, b))
    }

    /// The best ratio of a lab that a machine could tell.
    pub fn measured(&self, slug: &str) -> Option<Measured> {
        self.of(slug).filter(|entry| entry.measured().is_some()).max_by(|a, b| is_better(a, b))?.measured()
    }

    fn of(&self, slug: &str) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| entry.slug == slug)
    }
}

fn is_better(a: &Entry, b: &Entry) -> std::cmp::Ordering {
    let ratio = |entry: &Entry| entry.ratio.unwrap_or(0.0);
    a.verdict.cmp(&b.verdict).then(ratio(a).total_cmp(&ratio(b)))
}

/// The last bytes of a file, from the beginning of a line.
fn end_of(path: &Path) -> io::Result<Vec<u8>> {
    let data = fs::metadata(path)?;
    // A pipe would keep whoever asks waiting.
    if !data.is_file() {
        return Err(io::Error::other("is no file"));
    }
    let passed_over = data.len().saturating_sub(FILE_BYTES_MAX);
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(passed_over))?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    if passed_over > 0 {
        let first = bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |end| end + 1);
        bytes.drain(..first);
    }
    Ok(bytes)
}

/// A lab, as the map names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabName {
    /// Its stable name.
    pub slug: String,
    /// Where it is in the course: `1.3`; what stands before the crafts begins with `0`.
    pub phase: String,
    /// What it is, in a few words.
    pub title: String,
}

/// The labs of the course in their order, and how far the learner is in each.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Map {
    /// In the order of the course.
    pub labs: Vec<Row>,
    /// What to do next; `None` once there is nothing left.
    pub next: Option<Next>,
}

/// A lab on the map.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// Which lab.
    #[serde(flatten)]
    pub lab: LabName,
    /// How far it is.
    pub state: State,
    /// The same as a sign; it never stands alone.
    pub mark: &'static str,
    /// The same in words.
    pub words: &'static str,
    /// How often it was checked.
    pub checks: usize,
    /// When the best check was, RFC 3339.
    pub at: Option<String>,
    /// How the last check ended, where that is not as good as the best one.
    pub last: Option<&'static str>,
    /// What was measured, where it was.
    pub measured: Option<Measured>,
}

/// How far a lab is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Not begun.
    Open,
    /// Begun, and not checked.
    Begun,
    /// Checked; something is wrong.
    Failing,
    /// All tests hold; it is not fast enough.
    NotYet,
    /// All tests hold; this machine could not decide the rest.
    Undecided,
    /// All of it held once.
    Passed,
}

impl State {
    /// As a sign.
    pub fn mark(self) -> &'static str {
        match self {
            Self::Open => "·",
            Self::Begun => "○",
            Self::Failing => "✗",
            Self::NotYet => "◐",
            Self::Undecided => "≈",
            Self::Passed => "✓",
        }
    }
}

/// A learner's ratio, and what it is to be held against. All of it is from one run, on one machine.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measured {
    /// The learner's over the form before.
    #[serde(flatten)]
    pub mine: Ratio,
    /// The reference's over the form before, if the line says so.
    pub reference: Option<Ratio>,
    /// The load, if the line says so.
    pub load: Option<String>,
    /// When.
    pub at: String,
    /// On which machine.
    pub machine: String,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Next {
    /// With which lab.
    pub slug: String,
    /// As it is typed.
    pub command: String,
}

impl Map {
    /// Of these labs, for the learner who works in this folder. It is read anew each time.
    ///
    /// # Errors
    /// When what was done cannot be read.
    pub fn read(labs: &[LabName], dir: &Path) -> Result<Self, CourseError> {
        let progress = Progress::read(dir)?;
        let begun = |lab: &LabName| dir.join(&lab.slug).join("Cargo.toml").is_file();
        let labs: Vec<Row> = labs.iter().map(|lab| row(lab, &progress, begun(lab))).collect();
        let next = next(&labs);
        Ok(Self { labs, next })
    }
}

fn row(lab: &LabName, progress: &Progress, begun: bool) -> Row {
    let (best, latest) = (progress.best(&lab.slug), progress.latest(&lab.slug));
    let state = match best.map(|best| best.verdict) {
        None if begun => State::Begun,
        None => State::Open,
        Some(Outcome::Passed) => State::Passed,
        Some(Outcome::NotYet) => State::NotYet,
        Some(verdict) if verdict.fails() => State::Failing,
        Some(_) => State::Undecided,
    };
    let words = match (best, state) {
        (Some(best), _) => best.verdict.words(),
        (None, State::Begun) => "begun",
        (None, _) => "not begun",
    };
    let last = latest.filter(|latest| best.is_some_and(|best| latest.verdict < best.verdict));
    Row {
        lab: lab.clone(),
        state,
        mark: state.mark(),
        words,
        checks: progress.of(&lab.slug).count(),
        at: best.map(|best| best.at.clone()),
        last: last.map(|last| last.verdict.words()),
        measured: progress.measured(&lab.slug),
    }
}

/// What was begun comes first; then the way on from the furthest lab, since labs may be left out; then what was left out;
/// then what only the machine kept from being decided.
fn next(labs: &[Row]) -> Option<Next> {
    let is_open = |row: &&Row| row.state == State::Open;
    let with = |states: &[State]| labs.iter().find(|row| states.contains(&row.state));
    let furthest = labs.iter().rposition(|row| row.state != State::Open).map_or(0, |at| at + 1);
    let row = with(&[State::Begun, State::Failing, State::NotYet])
        .or_else(|| labs[furthest..].iter().find(is_open))
        .or_else(|| labs.iter().find(is_open))
        .or_else(|| with(&[State::Undecided]))?;
    let verb = if row.state == State::Open { "start" } else { "check" };
    let slug = row.lab.slug.clone();
    Some(Next { command: format!("cargo craft lab {verb} {slug}"), slug })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    fn entry(slug: &str, verdict: Outcome, ratio: Option<f64>) -> Entry {
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

    fn line(entry: &Entry) -> String {
        serde_json::to_string(entry).unwrap()
    }

    fn labs(slugs: &[&str]) -> Vec<LabName> {
        let named = |(number, slug): (usize, &&str)| LabName {
            slug: (*slug).to_owned(),
            phase: format!("1.{}", number + 1),
            title: format!("about {slug}"),
        };
        slugs.iter().enumerate().map(named).collect()
    }

    /// The map of some labs after these lines.
    fn map(slugs: &[&str], lines: &str) -> Map {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), lines).unwrap();
        Map::read(&labs(slugs), dir.path()).unwrap()
    }

    #[test]
    fn the_form_of_a_line_is_what_others_read() {
        let before = entry("a", Outcome::NotYet, Some(1.5));
        let of_before = r#"{"at":"2026-01-31T12:00:00Z","slug":"a","verdict":"not-yet","ratio":1.5,"interval":[1.4,1.6],"source_hash":"0badcafe","machine":"a machine, 2 cores"}"#;
        assert_eq!(line(&before), of_before);
        assert_eq!(
            serde_json::from_str::<Entry>(of_before).unwrap(),
            before,
            "written before loads were told"
        );
        let reference = Some(Ratio { ratio: 2.5, interval: (2.25, 2.75) });
        let whole = Entry { load: Some("fifty".to_owned()), reference, ..before };
        let told = of_before.replace(
            r#","source_hash""#,
            r#","load":"fifty","reference":{"ratio":2.5,"interval":[2.25,2.75]},"source_hash""#,
        );
        assert_eq!(line(&whole), told);
        assert_eq!(serde_json::from_str::<Entry>(&told).unwrap(), whole);
        let from_later = of_before.replace(r#""slug""#, r#""mood":"fine","slug""#);
        assert!(serde_json::from_str::<Entry>(&from_later).is_ok(), "a later version may say more");
    }

    #[test]
    fn nothing_done_is_no_progress_and_no_error() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Progress::read(&dir.path().join("nowhere")).unwrap(), Progress::default());
        fs::create_dir(dir.path().join(FILE)).unwrap();
        let error = Progress::read(dir.path()).unwrap_err().to_string();
        assert!(error.ends_with("progress.jsonl: is no file"), "{error}");
    }

    #[test]
    fn a_line_that_says_nothing_is_passed_over() {
        let good = line(&entry("a", Outcome::Passed, Some(2.0)));
        let dir = tempfile::tempdir().unwrap();
        let mut bytes = b"\xff\xfe\x00\n\n[1,2]\n".to_vec();
        bytes.extend_from_slice(format!("{good}\n{{}}\n{good}\n{}", &good[..40]).as_bytes());
        fs::write(dir.path().join(FILE), bytes).unwrap();
        let progress = Progress::read(dir.path()).unwrap();
        assert_eq!((progress.entries.len(), progress.unreadable), (2, 4));
    }

    #[test]
    fn of_too_many_lines_the_last_ones_count() {
        let mut lines = String::new();
        writeln!(lines, "{}", line(&entry("first", Outcome::Passed, None))).unwrap();
        for _ in 0..LINES_MAX {
            // Blank lines are no lines.
            writeln!(lines, "{{}}\n").unwrap();
        }
        assert_eq!(map(&["first"], &lines).labs[0].state, State::Open);
        writeln!(lines, "{}", line(&entry("last", Outcome::Passed, None))).unwrap();
        assert_eq!(map(&["last"], &lines).labs[0].state, State::Passed);
    }

    #[test]
    fn of_too_many_bytes_the_last_ones_count_and_a_line_in_two_is_none() {
        let first = line(&entry("first", Outcome::Passed, None));
        let last = line(&entry("last", Outcome::Passed, None));
        let of_bytes = |bytes: usize| {
            let filling = " ".repeat(bytes - first.len() - last.len() - 3);
            map(&["first", "last"], &format!("{first}\n{filling}\n{last}\n"))
        };
        let max = usize::try_from(FILE_BYTES_MAX).unwrap();
        let states = |map: &Map| map.labs.iter().map(|row| row.state).collect::<Vec<_>>();
        assert_eq!(states(&of_bytes(max)), [State::Passed, State::Passed]);
        assert_eq!(states(&of_bytes(max + 1)), [State::Open, State::Passed]);
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
    fn a_ratio_that_noise_may_have_made_is_not_shown() {
        let noisy = [Outcome::TooNoisy, Outcome::NotMeasurable].map(|verdict| entry("a", verdict, Some(9.0)));
        let mut progress = Progress { entries: noisy.to_vec(), unreadable: 0 };
        assert_eq!(progress.measured("a"), None);
        progress.entries.push(entry("a", Outcome::NotYet, Some(1.2)));
        assert_eq!(progress.measured("a").unwrap().mine.ratio, 1.2, "less, and told beyond noise");
        progress.entries.push(entry("a", Outcome::Passed, None));
        assert_eq!(
            progress.measured("a").unwrap().mine.ratio,
            1.2,
            "a check without a ratio takes none away"
        );
    }

    #[test]
    fn each_lab_is_as_far_as_its_best_check() {
        let states = |entries: &[Entry]| {
            let lines: String = entries.iter().map(|entry| line(entry) + "\n").collect();
            let row = map(&["a"], &lines).labs.remove(0);
            (row.state, row.words, row.last, row.checks)
        };
        assert_eq!(states(&[]), (State::Open, "not begun", None, 0));
        let [broken, slow, close, passed] =
            [Outcome::Broken, Outcome::NotYet, Outcome::Unclear, Outcome::Passed]
                .map(|verdict| entry("a", verdict, None));
        assert_eq!(states(std::slice::from_ref(&broken)), (State::Failing, "tests break", None, 1));
        assert_eq!(
            states(&[broken.clone(), slow.clone()]),
            (State::NotYet, "not fast enough yet", None, 2),
            "the last one is the best"
        );
        assert_eq!(
            states(&[slow, close, broken.clone()]),
            (State::Undecided, "right, too close", Some("tests break"), 3)
        );
        assert_eq!(states(&[passed, broken]), (State::Passed, "passed", Some("tests break"), 2));
    }

    #[test]
    fn what_is_next_is_what_was_begun_then_the_way_on_then_what_was_left_out() {
        let lines: String = [
            ("a", Outcome::Passed),
            ("b", Outcome::TooNoisy),
            ("c", Outcome::Broken),
            ("d", Outcome::Passed),
        ]
        .map(|(slug, verdict)| line(&entry(slug, verdict, None)) + "\n")
        .concat();
        let next = |slugs: &[&str]| map(slugs, &lines).next.map(|next| next.command);
        let told = |command: &str| Some(format!("cargo craft lab {command}"));
        assert_eq!(next(&["x", "a", "b", "c", "d", "y"]), told("check c"));
        assert_eq!(next(&["x", "a", "b", "d", "y"]), told("start y"));
        assert_eq!(next(&["x", "a", "b", "d"]), told("start x"));
        assert_eq!(next(&["x", "y"]), told("start x"), "at the beginning");
        assert_eq!(next(&["a", "b", "d"]), told("check b"), "on a quieter machine");
        assert_eq!(next(&["a", "d"]), None);
    }

    #[test]
    fn a_crate_that_stands_there_is_a_lab_that_is_begun() {
        let dir = tempfile::tempdir().unwrap();
        let state = || Map::read(&labs(&["a"]), dir.path()).unwrap().labs[0].state;
        fs::create_dir(dir.path().join("a")).unwrap();
        assert_eq!(state(), State::Open, "half a folder is none");
        fs::write(dir.path().join("a/Cargo.toml"), "").unwrap();
        assert_eq!(state(), State::Begun);
    }
}
