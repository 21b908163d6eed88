//! The gate: is what the learner wrote fast enough? A ratio, never a time.
//!
//! Where something can be counted, the count decides, and no statistics are needed ([`count`]). Else the form before, the
//! learner's and the reference are measured in turns, in one invocation and round after round, and the form before
//! once more, which shows how noisy the machine is:
//!
//! ```text
//!       the form before                 the bar                    the reference
//!   ──────────┼────────────────────────────┼─────────────────────────────┼──────▶ requests/s, logarithmic
//!             0                          share                           1
//!       ◀─────┼─────▶  the form before, measured again: wider than a quarter of the way, and nothing is decided
//! ```
//!
//! In each round the learner's is held against the bar of that round; what slows a whole round down cancels out. The
//! median of the rounds and its bootstrap interval decide ([`Estimate`]). An interval that holds the bar asks for more
//! rounds, up to a bound.
//!
//! Invariants: only [`Verdict::NotYet`] and [`Verdict::Unverified`] fail a learner, and the first of them needs two looks
//! in a row; work that is not in the log never passes, however fast it was. How often the gate errs all the same,
//! [`simulation`] finds out. It runs nothing itself, which [`measure`] does.

pub mod measure;

pub mod power;

pub mod simulation;

use crate::{catalogue::Of, program::Counted};
use benches::{report::figure, stats::Estimate};
use power::Power;
use serde::{Deserialize, Serialize};

/// Rounds before the first look.
pub const ROUNDS_MIN: usize = 7;
/// Rounds from one look to the next. An even number: of an odd number of rounds, one is in the middle.
pub const ROUNDS_MORE: usize = 4;
/// Rounds after which it stays undecided.
pub const ROUNDS_MAX: usize = ROUNDS_MIN + 3 * ROUNDS_MORE;

/// How far the form before may be from itself, as a share of the reference's gain on a logarithmic scale.
const NOISE_SHARE_MAX: f64 = 0.25;
/// Where the reference gains less than this, there is nothing to gain.
const GAIN_MIN: f64 = 1.1;

/// What a gate says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Enough.
    Passed,
    /// Not enough, beyond doubt.
    NotYet,
    /// So close to the bar that all rounds there may be do not tell.
    Unclear,
    /// The form before cannot be told from itself.
    TooNoisy,
    /// The reference gains nothing here, or cannot be measured.
    NotMeasurable,
    /// What was answered with 2xx is not in the log, or the server did not live to say.
    Unverified,
}

impl Verdict {
    /// Whether it is the learner who has something to mend. The machine is never the learner's fault.
    pub fn fails(self) -> bool {
        matches!(self, Self::NotYet | Self::Unverified)
    }
}

/// A verdict, for the learner.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// In one word.
    pub verdict: Verdict,
    /// How many times the form before the learner's is. A count has none: nothing is a multiple of no allocations.
    pub ratio: Option<Estimate>,
    /// How many times the form before the reference is, in the same rounds.
    pub reference: Option<Estimate>,
    /// What happened, and what to do next.
    pub words: String,
}

/// One round: requests a second of everybody, measured one after the other. None of them is zero.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Round {
    /// The form before.
    pub previous: f64,
    /// The learner's.
    pub mine: f64,
    /// What the course ends with.
    pub reference: f64,
    /// The form before, once more.
    pub again: f64,
}

/// Why no more rounds were made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The learner's did not do the work that it was seen to do.
    Unverified(String),
    /// Somebody else's did not.
    NotMeasurable(String),
}

/// What the rounds come to so far.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Look {
    /// What they allow to say.
    pub verdict: Verdict,
    /// The learner's over the form before.
    pub mine: Estimate,
    /// The reference over the form before.
    pub reference: Estimate,
    /// The learner's over the bar.
    pub against_bar: Estimate,
    /// The form before over itself.
    pub noise: Estimate,
    /// Times the form before that are enough.
    pub enough: f64,
}

/// Makes rounds until they decide, or until there have been enough of them. `next` makes the one of this number, from 0.
///
/// # Errors
/// What `next` says, at once: no other round could mend it.
pub fn decide(share: f64, next: impl FnMut(usize) -> Result<Round, Stop>) -> Result<Look, Stop> {
    decide_within(share, ROUNDS_MAX, next)
}

/// The same with another bound: [`ROUNDS_MIN`] and a multiple of [`ROUNDS_MORE`].
///
/// # Errors
/// What `next` says.
pub fn decide_within(
    share: f64,
    rounds_max: usize,
    mut next: impl FnMut(usize) -> Result<Round, Stop>,
) -> Result<Look, Stop> {
    let mut rounds = Vec::with_capacity(rounds_max);
    for number in 0..ROUNDS_MIN {
        rounds.push(next(number)?);
    }
    let mut before = None;
    loop {
        let look = look(&rounds, share);
        if is_final(look.as_ref(), before) || rounds.len() >= rounds_max {
            let unlooked = || Stop::NotMeasurable("nothing was measured".to_owned());
            return look.map(|look| certain(look, before)).ok_or_else(unlooked);
        }
        before = look.map(|look| look.verdict);
        for _ in 0..ROUNDS_MORE {
            rounds.push(next(rounds.len())?);
        }
    }
}

/// Judges a count. It is the same on every machine: nothing is uncertain.
pub fn count(counted: &Counted, at_most: f64, of: Of) -> Judgement {
    let Counted { counter, previous, mine, reference } = counted;
    let counter = counter.replace('_', " ");
    let allowed = at_most
        * match of {
            Of::Previous => previous,
            Of::Reference => reference,
        };
    let [counted, before, best, most] = [*mine, *previous, *reference, allowed].map(figure);
    let (verdict, words) = if *reference > allowed {
        let words = format!(
            "The reference itself comes to {best} {counter}, where {most} are allowed: this is a mistake of the \
             lab's, and nothing of yours. Please report it."
        );
        (Verdict::NotMeasurable, words)
    } else if *mine <= allowed {
        let beside = match of {
            Of::Previous => format!("Before it there were {before}"),
            Of::Reference => format!("The reference comes to {best}"),
        };
        (Verdict::Passed, format!("Passed: {counted} {counter}. {beside}, and {most} are allowed."))
    } else {
        let before = match of {
            Of::Previous => format!("Before it there were {before}, and the reference"),
            Of::Reference => "The reference".to_owned(),
        };
        let words = format!(
            "Not yet: {counted} {counter}, where {most} are allowed. {before} comes to {best}. It is right already; the \
             next hint says where to look."
        );
        (Verdict::NotYet, words)
    };
    Judgement { verdict, ratio: None, reference: None, words }
}

impl Judgement {
    /// Tells what was decided, or why nothing was.
    pub fn of(decided: &Result<Look, Stop>, power: Power) -> Self {
        match decided {
            Ok(look) => Self {
                verdict: look.verdict,
                ratio: Some(look.mine),
                reference: Some(look.reference),
                words: words(look, power),
            },
            Err(Stop::Unverified(why)) => Self {
                verdict: Verdict::Unverified,
                ratio: None,
                reference: None,
                words: format!(
                    "Not verified: {why}. Only work that is done counts, however fast the answer is. Mend this before \
                     you look at the speed."
                ),
            },
            Err(Stop::NotMeasurable(why)) => Self {
                verdict: Verdict::NotMeasurable,
                ratio: None,
                reference: None,
                words: format!(
                    "Not measurable here: {why}. This is no failure of yours: your tests hold. Try again, and if it \
                     stays like this, please report it."
                ),
            },
        }
    }
}

/// What these rounds alone allow to say; `None` of no rounds.
fn look(rounds: &[Round], share: f64) -> Option<Look> {
    let over = |of: &dyn Fn(&Round) -> f64| Estimate::of(&rounds.iter().map(of).collect::<Vec<f64>>());
    let mine = over(&|round| round.mine / round.previous)?;
    let reference = over(&|round| round.reference / round.previous)?;
    let noise = over(&|round| round.again / round.previous)?;
    let bar = |round: &Round| round.previous * (round.reference / round.previous).powf(share);
    let against_bar = over(&|round| round.mine / bar(round))?;
    let enough = reference.median.powf(share);
    let verdict = verdict(&reference, &noise, &against_bar);
    Some(Look { verdict, mine, reference, against_bar, noise, enough })
}

fn verdict(reference: &Estimate, noise: &Estimate, against_bar: &Estimate) -> Verdict {
    let gains = reference.is_above_1() && reference.median >= GAIN_MIN;
    // Of a gain that is not there nothing can be a share: then noise is what would hide the least of gains.
    let noise_max = if gains { reference.median.ln() * NOISE_SHARE_MAX } else { GAIN_MIN.ln() };
    match () {
        () if reach(noise) > noise_max => Verdict::TooNoisy,
        () if !gains => Verdict::NotMeasurable,
        () if against_bar.is_above_1() => Verdict::Passed,
        () if against_bar.is_below_1() => Verdict::NotYet,
        () => Verdict::Unclear,
    }
}

/// How far an interval reaches from 1, on a logarithmic scale.
fn reach(interval: &Estimate) -> f64 {
    interval.low.ln().abs().max(interval.high.ln().abs())
}

/// Whether more rounds would change nothing.
fn is_final(look: Option<&Look>, before: Option<Verdict>) -> bool {
    look.is_none_or(|look| match look.verdict {
        Verdict::Passed | Verdict::Unverified => true,
        Verdict::NotYet => before == Some(Verdict::NotYet),
        Verdict::NotMeasurable => look.reference.high < GAIN_MIN,
        Verdict::Unclear | Verdict::TooNoisy => false,
    })
}

/// An interval of 95 % errs now and then, and the more often it is looked at, the more often. So one look alone never
/// fails a learner.
fn certain(look: Look, before: Option<Verdict>) -> Look {
    let alone = look.verdict == Verdict::NotYet && before != Some(Verdict::NotYet);
    Look { verdict: if alone { Verdict::Unclear } else { look.verdict }, ..look }
}

/// Whether intervals have something in common.
fn overlap(a: &Estimate, b: &Estimate) -> bool {
    a.low <= b.high && b.low <= a.high
}

fn words(look: &Look, power: Power) -> String {
    let [mine, reference, enough] = [look.mine.median, look.reference.median, look.enough].map(figure);
    let interval = |estimate: &Estimate| format!("[{}, {}]", figure(estimate.low), figure(estimate.high));
    let rounds = look.mine.values;
    match look.verdict {
        Verdict::Passed => format!(
            "Passed: yours answers {mine} times {} as many requests as the form before it. {enough} times are enough, and \
             the reference answers {reference} times {} as many.{}",
            interval(&look.mine),
            interval(&look.reference),
            if overlap(&look.mine, &look.reference) {
                " Nobody can tell yours from it, on this machine."
            } else {
                ""
            }
        ),
        Verdict::NotYet => format!(
            "Not yet: yours answers {mine} times {} as many requests as the form before it, where {enough} times are \
             enough; the reference answers {reference} times as many. It is right already; the next hint says where to \
             look.",
            interval(&look.mine)
        ),
        Verdict::Unclear => format!(
            "Too close to tell: after {rounds} rounds yours is {} times {} what is enough. This is no failure. {} Or \
             make it a little faster, so that there is no doubt.",
            figure(look.against_bar.median),
            interval(&look.against_bar),
            power.advice()
        ),
        Verdict::TooNoisy => format!(
            "This machine is too noisy now: the form before, measured twice, is anything of {} times itself. Yours was \
             {mine} times {} the form before, which does not count. This is no failure of yours: your tests hold. {}",
            interval(&look.noise),
            interval(&look.mine),
            power.advice()
        ),
        Verdict::NotMeasurable => format!(
            "Not measurable here: the reference itself answers {reference} times {} as many requests as the form before \
             it, so that nothing can be asked of yours. This is no failure of yours: your tests hold. {}",
            interval(&look.reference),
            power.advice()
        ),
        // No look says this: it stops the rounds before there is one.
        Verdict::Unverified => "Not verified.".to_owned(),
    }
}

#[cfg(test)]
mod tests;
