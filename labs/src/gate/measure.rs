//! Makes the rounds that the gate judges: one program has everybody in it, compiled alike, and the bench's own test stand
//! ([`benches::stand`]) measures them one after the other, in an order that is rotated from round to round.

use crate::gate::{Judgement, Round, Stop, decide, power::Power};
use benches::{
    ladder::rotated, loads, loads::Load, noise::Noise, process::allow_many_files, results::Slice,
    stand::Stand, tool::Pinning, traffic,
};
use course::PhaseId;
use std::{ffi::OsString, path::Path, process::ExitCode, time::Duration};

/// The words that make this program generate load, which it does as a child of itself: `craft lab generate …`.
pub const GENERATE: [&str; 2] = ["lab", "generate"];

/// The word that makes a lab's program a phase server.
const SERVE: &str = "serve";
/// The learner's form, as the program calls it.
const MINE: &str = "mine";
/// Everybody. The form before comes twice, and the two are two apart, whichever begins.
const ORDER: [Who; 4] = [Who::Previous, Who::Mine, Who::Again, Who::Reference];
/// The craft whose phases are servers.
const INGESTION: u32 = 1;
/// What the samples' values are derived from.
const SEED: u64 = 42;

/// What is measured, and how.
#[derive(Clone, Debug)]
pub struct Contest<'a> {
    /// The lab's program.
    pub program: &'a Path,
    /// Who runs where, and what makes this program generate the load.
    pub pinning: Pinning,
    /// Under what.
    pub load: Load,
    /// How much of the reference's gain is enough, on a logarithmic scale.
    pub share: f64,
    /// The form before, as the program calls it: `phase2`.
    pub previous: String,
    /// What the course ends with: `phase3`.
    pub reference: String,
    /// Length of a measurement.
    pub seconds: f64,
    /// How long to wait, all in all, for others to leave the machine alone.
    pub patience: Duration,
}

/// Whether the phases of this step's craft are servers, which a load can be put on.
pub fn is_measured(step: PhaseId) -> bool {
    step.craft == INGESTION
}

/// Generates load, if the words after [`GENERATE`] say so.
pub fn generate(words: &[OsString]) -> Option<ExitCode> {
    traffic::generate(words)
}

/// Somebody who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    Previous,
    Mine,
    Reference,
    Again,
}

impl<'a> Contest<'a> {
    /// Of a step of ingestion, under a load of the bench; `None` if there is no such load, or the step is another craft's:
    /// what is loaded is a server.
    pub fn new(program: &'a Path, step: PhaseId, load: &str, share: f64) -> Option<Self> {
        let number = is_measured(step).then_some(step.phase)?;
        Some(Self {
            program,
            pinning: Pinning::detect().with_generator_words(&GENERATE),
            // What is killed cannot say how much it did.
            load: loads::craft1(SEED).into_iter().find(|one| one.name == load && !one.kill)?,
            share,
            previous: format!("phase{}", number.checked_sub(1)?),
            reference: format!("phase{number}"),
            seconds: 1.5,
            patience: Duration::from_secs(20),
        })
    }

    /// Measures until it is decided, or as good as it gets. `watch` is told of each round as it begins, from 1.
    pub fn run(&self, watch: &mut dyn FnMut(usize)) -> Judgement {
        let mut patience = self.patience;
        let decided =
            allow_many_files().map_err(|error| Stop::NotMeasurable(format!("{error:#}"))).and_then(|()| {
                decide(self.share, |number| {
                    watch(number + 1);
                    self.round(number, &mut patience)
                })
            });
        Judgement::of(&decided, Power::now())
    }

    /// Makes one round, and waits for others no longer than `patience`, which becomes less.
    ///
    /// # Errors
    /// When somebody's work was not done.
    pub fn round(&self, number: usize, patience: &mut Duration) -> Result<Round, Stop> {
        let mut rates = Vec::with_capacity(ORDER.len());
        for who in rotated(&ORDER, number_of(number)) {
            rates.push((who, self.rate(who, number, patience)?));
        }
        let of = |who| rates.iter().find(|(measured, _)| *measured == who).map(|(_, rate)| *rate);
        let round = || {
            Some(Round {
                previous: of(Who::Previous)?,
                mine: of(Who::Mine)?,
                reference: of(Who::Reference)?,
                again: of(Who::Again)?,
            })
        };
        round().ok_or_else(|| Stop::NotMeasurable("somebody was left out of a round".to_owned()))
    }

    /// Measures somebody once, in this round: requests a second, if the work was done.
    ///
    /// # Errors
    /// When it was not.
    pub(crate) fn rate(&self, who: Who, round: usize, patience: &mut Duration) -> Result<f64, Stop> {
        let words = [SERVE.to_owned()];
        let stand =
            Stand { program: self.program, words: &words, pinning: &self.pinning, seconds: self.seconds };
        *patience = Noise::wait_for_quiet(std::process::id(), *patience);
        let slice = stand.slice(&self.load, self.name(who), number_of(round));
        rate(who, &slice, self.seconds)
    }

    fn name(&self, who: Who) -> &str {
        match who {
            Who::Previous | Who::Again => &self.previous,
            Who::Mine => MINE,
            Who::Reference => &self.reference,
        }
    }
}

impl Who {
    /// For people.
    fn words(self) -> &'static str {
        match self {
            Self::Previous | Self::Again => "the form before",
            Self::Mine => "your server",
            Self::Reference => "the reference",
        }
    }

    /// A reason not to go on: whose work was not done, has to mend it.
    fn stop(self, why: String) -> Stop {
        if self == Self::Mine { Stop::Unverified(why) } else { Stop::NotMeasurable(why) }
    }
}

/// As the bench numbers rounds.
fn number_of(round: usize) -> u32 {
    u32::try_from(round).unwrap_or(u32::MAX)
}

/// Requests a second, if the work was done.
fn rate(who: Who, slice: &Slice, seconds: f64) -> Result<f64, Stop> {
    let round = slice.round + 1;
    if let Some(failure) = &slice.failure {
        return Err(who.stop(format!("in round {round} {} could not be measured: {failure}", who.words())));
    }
    let (Some(requests), Some(verified)) = (&slice.requests, slice.verified) else {
        return Err(who.stop(format!("in round {round} {} said nothing of its work", who.words())));
    };
    if !verified.holds() {
        let unsure = match verified.unknown {
            0 => String::new(),
            unknown => format!(" (and did not answer for {unknown} more, or with 503)"),
        };
        return Err(who.stop(format!(
            "in round {round} {} answered 2xx for {} samples{unsure}, and its log has {} of them",
            who.words(),
            verified.accepted,
            verified.found
        )));
    }
    // Of nothing there is no multiple: who answered no request is taken for one who answered one.
    Ok(requests.ok_per_s.max(1.0 / seconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use benches::{results::Verified, traffic::Requests};

    fn slice(ok_per_s: f64, accepted: u64, found: u64) -> Slice {
        Slice {
            requests: Some(Requests { ok_per_s, ..Requests::default() }),
            verified: Some(Verified { accepted, unknown: 0, found }),
            ..Slice::default()
        }
    }

    #[test]
    fn work_that_is_in_the_log_counts_with_its_rate() {
        assert_eq!(rate(Who::Mine, &slice(250.0, 500, 500), 2.0), Ok(250.0));
        assert_eq!(rate(Who::Mine, &slice(0.0, 0, 0), 2.0), Ok(0.5), "as if one request had been answered");
    }

    #[test]
    fn work_that_is_not_in_the_log_stops_the_gate_however_fast_it_was() {
        let Err(Stop::Unverified(why)) = rate(Who::Mine, &slice(1e9, 500, 499), 2.0) else { panic!() };
        assert_eq!(why, "in round 1 your server answered 2xx for 500 samples, and its log has 499 of them");
        let invented = rate(Who::Mine, &slice(1e9, 500, 501), 2.0);
        assert!(matches!(invented, Err(Stop::Unverified(_))), "nobody sent that many");
    }

    #[test]
    fn a_server_that_did_not_live_to_say_is_not_verified() {
        let ended = Slice { failure: Some("the server has ended".to_owned()), ..slice(1e9, 500, 500) };
        let Err(Stop::Unverified(why)) = rate(Who::Mine, &ended, 2.0) else { panic!() };
        assert!(why.ends_with("your server could not be measured: the server has ended"), "{why}");
        let silent = Slice { verified: None, ..slice(1e9, 500, 500) };
        assert!(matches!(rate(Who::Mine, &silent, 2.0), Err(Stop::Unverified(_))));
    }

    #[test]
    fn what_others_fail_at_is_not_the_learners_fault() {
        for who in [Who::Previous, Who::Again, Who::Reference] {
            assert!(matches!(rate(who, &slice(1e9, 500, 499), 2.0), Err(Stop::NotMeasurable(_))));
        }
    }

    #[test]
    fn everybody_begins_a_round_once_before_anybody_begins_two() {
        let first: Vec<Who> = (0..4).map(|number| rotated(&ORDER, number)[0]).collect();
        assert_eq!(first, ORDER);
    }

    #[test]
    fn a_load_that_kills_its_server_or_does_not_exist_is_no_gate() {
        let program = Path::new("lab");
        let contest = |craft, phase, load| Contest::new(program, PhaseId { craft, phase }, load, 0.5);
        assert!(contest(1, 3, "kill-9").is_none());
        assert!(contest(1, 3, "no-such-load").is_none());
        assert!(contest(1, 0, "plain").is_none(), "nothing is before the first phase");
        assert!(contest(2, 3, "fifty").is_none(), "a log is no server");
        let contest = contest(1, 3, "fifty").unwrap();
        assert_eq!((contest.previous.as_str(), contest.reference.as_str()), ("phase2", "phase3"));
    }
}
