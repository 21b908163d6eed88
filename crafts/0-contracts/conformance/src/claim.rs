//! Claims, how they are run, and the report of how they went.

use serde::Serialize;
use std::{
    any::Any,
    fmt::{self, Debug, Display},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

/// After this a claim counts as hanging. Far more than any needs: it bounds, it does not measure.
pub const CLAIM_SECONDS_MAX: u64 = 90;
/// How long a claim waits for what an implementation promises to do soon.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
/// Names the seed of what is random, to repeat a run that failed.
pub const SEED_VARIABLE: &str = "CONFORMANCE_SEED";

/// What the check of a claim gives: `Err` says what was expected and what came.
pub type Check = Result<(), String>;

/// One thing that every implementation must do. `S` makes or reaches the implementation.
pub struct Claim<S: ?Sized> {
    /// The claim, as a sentence.
    pub says: &'static str,
    /// Holds it against an implementation.
    pub check: fn(&S) -> Check,
}

/// How the check of one claim went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "verdict", content = "why")]
pub enum Verdict {
    /// It holds.
    Holds,
    /// It does not: what was expected, and what came.
    Broken(String),
    /// It could not be checked here, and why.
    Skipped(String),
}

/// A claim and how it went.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// The claim, as a sentence.
    pub says: &'static str,
    /// How it went.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// How long the check took.
    pub took_ms: u64,
}

/// How a whole suite went.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Name of the suite.
    pub suite: &'static str,
    /// Its claims, in order.
    pub outcomes: Vec<Outcome>,
}

impl Report {
    /// Whether no claim is broken.
    pub fn holds(&self) -> bool {
        self.broken().next().is_none()
    }

    /// The claims that are broken, and why.
    pub fn broken(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.outcomes.iter().filter_map(|o| match &o.verdict {
            Verdict::Broken(why) => Some((o.says, why.as_str())),
            Verdict::Holds | Verdict::Skipped(_) => None,
        })
    }

    /// For tests.
    ///
    /// # Panics
    /// If any claim is broken, with all that are.
    #[track_caller]
    pub fn assert_all_hold(&self) {
        let broken: Vec<String> =
            self.broken().map(|(says, why)| format!("{}: {says} — {why}", self.suite)).collect();
        assert!(
            broken.is_empty(),
            "{} of {} claims are broken:\n{}",
            broken.len(),
            self.outcomes.len(),
            broken.join("\n")
        );
    }
}

/// A line a claim, for people.
impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for outcome in &self.outcomes {
            let (word, why) = match &outcome.verdict {
                Verdict::Holds => ("holds  ", String::new()),
                Verdict::Broken(why) => ("BROKEN ", format!(" — {why}")),
                Verdict::Skipped(why) => ("skipped", format!(" — {why}")),
            };
            writeln!(f, "{word} {}: {}{why}", self.suite, outcome.says)?;
        }
        let count =
            |wanted: fn(&Verdict) -> bool| self.outcomes.iter().filter(|o| wanted(&o.verdict)).count();
        let holds = count(|v| matches!(v, Verdict::Holds));
        let skipped = count(|v| matches!(v, Verdict::Skipped(_)));
        let broken = self.outcomes.len() - holds - skipped;
        writeln!(f, "{}: {holds} hold, {broken} broken, {skipped} skipped", self.suite)
    }
}

/// Checks every claim, one after the other.
pub fn run<S: ?Sized + Send + Sync + 'static>(
    suite: &'static str,
    subject: &Arc<S>,
    claims: &[Claim<S>],
) -> Report {
    let outcomes = claims.iter().map(|claim| outcome(claim.says, claim.check, subject)).collect();
    Report { suite, outcomes }
}

/// Checks one claim in a thread of its own, which is left behind if it hangs.
pub(crate) fn outcome<S: ?Sized + Send + Sync + 'static>(
    says: &'static str,
    check: fn(&S) -> Check,
    subject: &Arc<S>,
) -> Outcome {
    let began = Instant::now();
    let (sender, receiver) = mpsc::channel();
    let subject = subject.clone();
    let check = move || {
        let result = catch_unwind(AssertUnwindSafe(|| check(&subject)));
        // Nobody listens any more once the claim has counted as hanging.
        let _ = sender.send(result.unwrap_or_else(|panic| Err(format!("panicked: {}", text_of(&*panic)))));
    };
    let result = match thread::Builder::new().name(says.chars().take(15).collect()).spawn(check) {
        Ok(_) => receiver
            .recv_timeout(Duration::from_secs(CLAIM_SECONDS_MAX))
            .unwrap_or_else(|_| Err(format!("still not finished after {CLAIM_SECONDS_MAX} s"))),
        Err(e) => Err(format!("no thread to check it in: {e}")),
    };
    let verdict = result.map_or_else(Verdict::Broken, |()| Verdict::Holds);
    Outcome { says, verdict, took_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX) }
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message")
}

/// Two things that must be the same. Of large ones, only the surroundings of the first difference are told.
pub(crate) fn equal<T: PartialEq + Debug + ?Sized>(what: &str, got: &T, expected: &T) -> Check {
    if got == expected {
        return Ok(());
    }
    let (got, expected) = (format!("{got:?}"), format!("{expected:?}"));
    let same = got.bytes().zip(expected.bytes()).take_while(|(g, e)| g == e).count();
    let from = if got.len().max(expected.len()) > SHOWN_BYTES_MAX {
        same.saturating_sub(SHOWN_BYTES_MAX / 4)
    } else {
        0
    };
    Err(format!("{what}: expected {}, got {}", excerpt(&expected, from), excerpt(&got, from)))
}

/// A condition, and what to say where it fails.
pub(crate) fn ensure(holds: bool, why: impl FnOnce() -> String) -> Check {
    if holds { Ok(()) } else { Err(why()) }
}

/// An operation that must be refused, and with which error.
pub(crate) fn refused<T: Debug, E: Debug>(
    what: &str,
    result: &Result<T, E>,
    expected: &str,
    is_expected: impl FnOnce(&E) -> bool,
) -> Check {
    match result {
        Err(e) if is_expected(e) => Ok(()),
        Err(e) => Err(format!("{what}: expected {expected}, got the error {}", shown(e))),
        Ok(value) => Err(format!("{what}: expected {expected}, but it went through with {}", shown(value))),
    }
}

/// Errors of an implementation, with what was asked of it.
pub(crate) trait Explain<T> {
    /// Says what failed.
    fn explain(self, what: &str) -> Result<T, String>;
}

impl<T, E: Display> Explain<T> for Result<T, E> {
    fn explain(self, what: &str) -> Result<T, String> {
        self.map_err(|e| format!("{what}: expected no error; got {e}"))
    }
}

/// Asks again and again until `ask` gives something; `Err` once patience has ended.
pub(crate) fn eventually<T>(
    what: &str,
    mut ask: impl FnMut() -> Result<Option<T>, String>,
) -> Result<T, String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = ask()? {
            return Ok(found);
        }
        if Instant::now() > deadline {
            return Err(format!("{what}: still not so after {} s", PATIENCE.as_secs()));
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// The seed to use: the one asked for, or a fresh one.
pub(crate) fn seed() -> u64 {
    let asked = std::env::var(SEED_VARIABLE).ok().and_then(|text| text.parse().ok());
    asked.unwrap_or_else(|| fastrand::u64(..))
}

/// Adds the seed to what a random check found.
pub(crate) fn with_seed(seed: u64, check: impl FnOnce(&mut fastrand::Rng) -> Check) -> Check {
    check(&mut fastrand::Rng::with_seed(seed))
        .map_err(|why| format!("{why} ({SEED_VARIABLE}={seed} repeats it)"))
}

/// How much of a value a failure shows, so that it stays readable.
const SHOWN_BYTES_MAX: usize = 400;

/// Debug form, its end cut off if it is long.
fn shown(value: &(impl Debug + ?Sized)) -> String {
    excerpt(&format!("{value:?}"), 0)
}

fn excerpt(text: &str, from: usize) -> String {
    let from = text.floor_char_boundary(from);
    let to = text.floor_char_boundary(from + SHOWN_BYTES_MAX);
    let (before, after) = (if from > 0 { "… " } else { "" }, if to < text.len() { " …" } else { "" });
    format!("{before}{}{after}", &text[from..to])
}
