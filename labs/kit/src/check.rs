//! Named tests: what they find, how they are run, and what they say of a fault.
//!
//! A test is a function that gives back what it sent, what it expected and what it observed. It has one idea, and its
//! name is a sentence about it. It asserts nothing: a panic is always the learner's code's, and is told as that.

use serde::Serialize;
use std::{
    any::Any,
    collections::HashSet,
    ffi::OsString,
    fmt::Display,
    fs, mem,
    ops::RangeInclusive,
    panic::{self, PanicHookInfo},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// How long a test waits for what should happen. Nothing takes so long that works.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// How long a test listens for what should not happen.
pub const MOMENT: Duration = Duration::from_millis(300);
/// How much of a text is shown.
const SHOWN_CHARS_MAX: usize = 300;
/// Every phase from the first one.
pub const ALL: RangeInclusive<u32> = 0..=u32::MAX;

/// A named test of something.
#[derive(Clone)]
pub struct Test {
    /// A sentence, as in `texts-keep-their-escapes`.
    pub name: String,
    /// The phases of the craft in which it holds. The one that it is about is the first of them.
    pub phases: RangeInclusive<u32>,
    run: Arc<dyn Fn() -> Check + Send + Sync>,
}

/// What the function of a test gives back.
pub type Check = Result<(), Unmet>;

/// Why a test does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unmet {
    /// Something is wrong with what is tested.
    Broken(Feedback),
    /// This machine cannot try it, and why.
    Skipped(String),
}

/// What a test found. This is how it is said to who reads along.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Holds(()),
    /// Not as it should be.
    Broken(Feedback),
    /// It could not be tried here, and why.
    Skipped(String),
}

/// What is wrong, for whoever wrote it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Feedback {
    /// What was done.
    pub sent: String,
    /// What should have come of it.
    pub expected: String,
    /// What did.
    pub observed: String,
}

impl Test {
    /// A test that holds from this phase on.
    pub fn since(phase: u32, name: &str, run: fn() -> Check) -> Self {
        Self::new(name.to_owned(), phase..=u32::MAX, run)
    }

    /// A test of these phases.
    pub fn new(
        name: String,
        phases: RangeInclusive<u32>,
        run: impl Fn() -> Check + Send + Sync + 'static,
    ) -> Self {
        Self { name, phases, run: Arc::new(run) }
    }

    /// Runs it on a thread of its own. A panic anywhere in the process while it runs breaks it; so tests are run one after
    /// the other. Threads that an earlier test has left behind may panic late: that is none of this one's.
    pub fn run(&self) -> Verdict {
        let _alone = lock(&RUNNING);
        doing("");
        lock(&PANICS).clear();
        lock(&KEPT).clear();
        let left_behind = threads();
        panic::set_hook(Box::new(move |info| {
            if this_thread().is_some_and(|this| left_behind.contains(&this)) {
                return;
            }
            lock(&PANICS).push(Panic::of(info));
            lock(&KEPT).iter().for_each(|keep| keep());
        }));
        let run = self.run.clone();
        let spawned = thread::Builder::new().name(self.name.chars().take(15).collect()).spawn(move || run());
        let ended = match spawned {
            Ok(thread) => thread.join().ok(),
            Err(error) => return Verdict::Skipped(format!("there is no thread for it: {error}")),
        };
        drop(panic::take_hook());
        let panicked = lock(&PANICS).first().cloned();
        self.judge(ended, panicked)
    }

    /// The first panic explains whatever came after it.
    fn judge(&self, ended: Option<Check>, panicked: Option<Panic>) -> Verdict {
        let panicked = match panicked {
            Some(Panic::Unwritten(what)) => return Verdict::Broken(Feedback::unwritten(what)),
            Some(Panic::Other(text)) => Some(text),
            None => None,
        };
        if panicked.is_none() {
            match ended {
                Some(Ok(())) => return Verdict::Holds(()),
                Some(Err(Unmet::Skipped(why))) => return Verdict::Skipped(why),
                Some(Err(Unmet::Broken(feedback))) => return Verdict::Broken(feedback),
                None => {}
            }
        }
        let observed = panicked.unwrap_or_else(|| "panicked".to_owned());
        Verdict::Broken(match ended {
            Some(Err(Unmet::Broken(feedback))) => Feedback { observed, ..feedback },
            _ => {
                let sent = lock(&DOING).clone();
                let sent = if sent.is_empty() { self.name.replace('-', " ") } else { sent };
                Feedback { sent, expected: "no panic".to_owned(), observed }
            }
        })
    }
}

/// One test at a time: panics are the whole process's.
static RUNNING: Mutex<()> = Mutex::new(());
/// What the running test does just now, for when that panics.
static DOING: Mutex<String> = Mutex::new(String::new());
/// The panics since the running test began.
static PANICS: Mutex<Vec<Panic>> = Mutex::new(Vec::new());

/// What is done before anything unwinds.
static KEPT: Mutex<Vec<Box<dyn Fn() + Send>>> = Mutex::new(Vec::new());

/// Keeps this for good if something panics while the running test lasts. What is dropped while a panic unwinds must not
/// panic itself, or the program ends; and what has panicked once may do so again when it is closed.
pub fn keep_if_panicked<T: ?Sized + Send + Sync + 'static>(what: &Arc<T>) {
    let what = Arc::downgrade(what);
    lock(&KEPT).push(Box::new(move || mem::forget(what.upgrade())));
}

/// What a panic says.
#[derive(Clone, Debug)]
enum Panic {
    /// Of a `todo!()`: what is not written yet.
    Unwritten(String),
    /// `panicked: no such thing at src/parse.rs:12:5`.
    Other(String),
}

/// What they protect is whole at any time, so that a panic does no harm to it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Notes what is done next, for when that panics.
pub fn doing(what: &str) {
    excerpt(what).clone_into(&mut lock(&DOING));
}

impl Panic {
    fn of(info: &PanicHookInfo<'_>) -> Self {
        let message = message_of(info.payload());
        let place = info.location().map_or_else(String::new, |location| {
            format!(" at {}:{}:{}", short_path(location.file()), location.line(), location.column())
        });
        match message.strip_prefix(TODO) {
            Some(rest) => Self::Unwritten(unwritten(rest, &place)),
            None => Self::Other(format!("panicked: {}{place}", excerpt(message))),
        }
    }
}

/// How the message of every `todo!()` begins.
const TODO: &str = "not yet implemented";

/// A hole of a starter names its function. Any other `todo!()` is told by its place alone.
fn unwritten(rest: &str, place: &str) -> String {
    match rest.split('`').nth(1) {
        Some(function) => format!("`{function}` is not written yet,{place}"),
        None => format!("there is a `todo!()`{place}"),
    }
}

impl Feedback {
    /// The same of every test that comes to this place: what each of them was about to do says nothing yet.
    fn unwritten(observed: String) -> Self {
        let [sent, expected] = ["a call of it", "that it is written"].map(str::to_owned);
        Self { sent, expected, observed }
    }
}

fn message_of(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message")
}

/// A path as it is within its crate: where that lies differs from machine to machine.
fn short_path(path: &str) -> &str {
    path.rfind("/src/").map_or(path, |at| &path[at + 1..])
}

/// Holds what was observed against what was expected.
///
/// # Errors
/// They differ.
pub fn expect(sent: &str, expected: impl Display, observed: impl Display) -> Check {
    let (expected, observed) = (expected.to_string(), observed.to_string());
    if expected == observed { Ok(()) } else { broken(sent, &expected, &observed) }
}

/// Holds a condition; `observed` says what is the case where it does not hold.
///
/// # Errors
/// It does not hold.
pub fn ensure(holds: bool, sent: &str, expected: &str, observed: impl Display) -> Check {
    if holds { Ok(()) } else { broken(sent, expected, &observed.to_string()) }
}

/// What is wrong.
///
/// # Errors
/// Always.
pub fn broken<T>(sent: &str, expected: &str, observed: &str) -> Result<T, Unmet> {
    let [sent, expected, observed] = [sent, expected, observed].map(excerpt);
    Err(Unmet::Broken(Feedback { sent, expected, observed }))
}

/// Asks until it is so, or patience ends. Returns whether it became so.
pub fn eventually(mut is_so: impl FnMut() -> bool) -> bool {
    let begun = Instant::now();
    while !is_so() {
        if begun.elapsed() > PATIENCE {
            return false;
        }
        thread::sleep(Duration::from_millis(2));
    }
    true
}

/// What must go through in a test, so that it can go on.
pub trait Must<T> {
    /// It has, or the test is broken.
    ///
    /// # Errors
    /// It has not.
    fn must(self, sent: &str) -> Result<T, Unmet>;

    /// It has, or this machine cannot try it.
    ///
    /// # Errors
    /// It has not.
    fn or_skip(self, what: &str) -> Result<T, Unmet>;
}

impl<T, E: Display> Must<T> for Result<T, E> {
    fn must(self, sent: &str) -> Result<T, Unmet> {
        self.or_else(|error| broken(sent, "no error", &format!("the error: {error}")))
    }

    fn or_skip(self, what: &str) -> Result<T, Unmet> {
        self.map_err(|error| Unmet::Skipped(format!("{what}: {error}")))
    }
}

/// The beginning of a text, and how much there is of it if that is not all.
pub fn excerpt(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS_MAX) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], text.len()),
    }
}

/// A sentence as a name: `what is no UTF-8 is refused` is `what-is-no-utf-8-is-refused`.
pub fn name_of(sentence: &str) -> String {
    let letters = |c: char| !c.is_ascii_alphanumeric();
    sentence.split(letters).filter(|word| !word.is_empty()).collect::<Vec<_>>().join("-").to_lowercase()
}

/// The threads of this process, as Linux numbers them; none where it does not say.
fn threads() -> HashSet<OsString> {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    tasks.map(|task| task.file_name()).collect()
}

fn this_thread() -> Option<OsString> {
    Some(fs::read_link("/proc/thread-self").ok()?.file_name()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(check: fn() -> Check) -> Verdict {
        Test::since(0, "a-name", check).run()
    }

    #[test]
    fn who_was_left_behind_by_an_earlier_test_and_panics_late_breaks_none() {
        let (begun, wait) = std::sync::mpsc::channel::<()>();
        let left_behind = Mutex::new(Some(thread::spawn(move || wait.recv().expect("nobody sends"))));
        let begun = Mutex::new(Some(begun));
        let later = Test::new("later".to_owned(), ALL, move || {
            drop(lock(&begun).take());
            assert!(lock(&left_behind).take().is_some_and(|thread| thread.join().is_err()));
            Ok(())
        });
        assert_eq!(later.run(), Verdict::Holds(()));
        let own = Test::new("own".to_owned(), ALL, || {
            assert!(thread::spawn(|| panic!("of its own")).join().is_err());
            Ok(())
        });
        assert!(matches!(own.run(), Verdict::Broken(_)), "its own thread is its own");
    }

    #[test]
    fn a_panic_is_told_with_what_was_done_and_the_place_within_its_crate() {
        let verdict = run(|| {
            doing("one request");
            panic!("a bug in {}", "it")
        });
        let Verdict::Broken(feedback) = verdict else { panic!("{verdict:?}") };
        assert_eq!((feedback.sent.as_str(), feedback.expected.as_str()), ("one request", "no panic"));
        assert!(feedback.observed.starts_with("panicked: a bug in it at src/check.rs:"), "{feedback:?}");
    }

    #[test]
    fn what_is_not_written_yet_is_all_that_is_told_of_it() {
        let told = |check: fn() -> Check| match run(check) {
            Verdict::Broken(feedback) => feedback,
            verdict => panic!("{verdict:?}"),
        };
        let [first, again] = [1, 2].map(|_| {
            told(|| {
                let _ = thread::spawn(|| panic!("not yet implemented: lab: write `Ring::push`")).join();
                expect("a request", "an answer", "nothing")
            })
        });
        assert!(first.observed.starts_with("`Ring::push` is not written yet, at src/check.rs:"), "{first:?}");
        assert_eq!(first, again);
        assert_eq!((first.sent.as_str(), first.expected.as_str()), ("a call of it", "that it is written"));
        let plain = told(|| {
            doing("one request");
            panic!("not yet implemented")
        });
        assert!(plain.observed.starts_with("there is a `todo!()` at src/check.rs:"), "{plain:?}");
        assert_eq!(plain.sent, first.sent, "whatever it did");
    }

    #[test]
    fn a_panic_of_another_thread_breaks_a_test_that_noticed_nothing() {
        let verdict = run(|| {
            let _ = thread::spawn(|| panic!("behind its back")).join();
            Ok(())
        });
        assert!(
            matches!(&verdict, Verdict::Broken(f) if f.observed.contains("behind its back")),
            "{verdict:?}"
        );
        assert_eq!(run(|| Ok(())), Verdict::Holds(()), "and the next knows nothing of it");
    }

    #[test]
    fn a_panic_explains_what_a_test_then_misses() {
        let verdict = run(|| {
            let _ = thread::spawn(|| panic!("that is why")).join();
            expect("a request", "an answer", "nothing")
        });
        let Verdict::Broken(Feedback { sent, expected, observed }) = verdict else { panic!("{verdict:?}") };
        assert_eq!((sent.as_str(), expected.as_str()), ("a request", "an answer"));
        assert!(observed.contains("that is why"), "{observed}");
    }

    #[test]
    fn verdicts_are_said_as_the_engine_reads_them() {
        let said = |verdict: &Verdict| serde_json::to_string(verdict).unwrap();
        assert_eq!(said(&run(|| Ok(()))), r#"{"holds":null}"#);
        assert_eq!(
            said(&run(|| expect("a", "b", "c"))),
            r#"{"broken":{"sent":"a","expected":"b","observed":"c"}}"#
        );
        assert_eq!(said(&run(|| Err(Unmet::Skipped("why".to_owned())))), r#"{"skipped":"why"}"#);
    }

    #[test]
    fn long_texts_are_cut_where_a_character_ends() {
        let text = "é".repeat(1000);
        assert_eq!(excerpt(&text), format!("{}… (2000 bytes)", "é".repeat(SHOWN_CHARS_MAX)));
        assert_eq!(name_of("What is no UTF-8, is refused: 400!"), "what-is-no-utf-8-is-refused-400");
    }
}
