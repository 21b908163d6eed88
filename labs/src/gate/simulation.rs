//! How often the gate errs: it judges thousands of learners who do not exist, and of whom the truth is known.
//!
//! Each measurement is the true rate times noise: log-normal for itself, log-normal for its whole round, and now and then
//! an outlier, when somebody else had the processor for a while. Random numbers are seeded: the same simulation gives the
//! same figures, which stand in `benches/results/gate-simulation.json`, and a test holds them there.

use crate::gate::{Round, Verdict, decide};
use fastrand::Rng;
use serde::{Deserialize, Serialize};

/// Where the figures stand, from the root of the repository.
pub const RESULTS: &str = "benches/results/gate-simulation.json";
/// How they are made again.
const REPRODUCE: &str = "cargo run --release -p labs --example gate-simulation";
/// The form's name and version.
const SCHEMA: &str = "systems-craft/gate-simulation/1";

/// Learners of each kind.
const TRIALS: u32 = 400;
const SEED: u64 = 42;
/// Of the reference's gain, as most labs ask it.
const SHARE: f64 = 0.5;
/// What the reference gains: hardly, twice, and as a step from threads to an event loop does.
const GAINS: [f64; 3] = [1.25, 2.0, 20.0];
/// Standard deviations of a measurement's logarithm: a quiet machine, a desktop, a laptop in a lecture.
const NOISES: [f64; 3] = [0.02, 0.05, 0.15];
/// How much of the reference's gain the learner has.
const POSITIONS: [f64; 7] = [0.0, 0.25, 0.4, 0.5, 0.6, 0.75, 1.0];
/// Standard deviation of the logarithm of what slows a whole round down.
const ROUND_NOISE: f64 = 0.1;
/// So many of the measurements are outliers.
const OUTLIERS: f64 = 0.05;
/// What is left of an outlier's rate, at least and at most.
const OUTLIER_KEEPS: (f64, f64) = (0.3, 0.9);

/// What was simulated, and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Simulation {
    /// The form of this file.
    pub schema: String,
    /// The command that makes it again.
    pub reproduce: String,
    /// Where the random numbers begin.
    pub seed: u64,
    /// Learners of each kind.
    pub trials: u32,
    /// Of the reference's gain, on a logarithmic scale, that is enough.
    pub share: f64,
    /// Standard deviation of the logarithm of what slows a whole round down.
    pub round_noise: f64,
    /// Share of the measurements that are outliers.
    pub outliers: f64,
    /// What an outlier keeps of its rate, at least and at most.
    pub outlier_keeps: (f64, f64),
    /// Of all who had less than the share, those who passed.
    pub false_passes_percent: f64,
    /// Of those of the kind that passes most often wrongly.
    pub false_passes_percent_worst: f64,
    /// Of all who had the share or more, those who were told that they had not.
    pub false_fails_percent: f64,
    /// Of those of the kind that fails most often wrongly.
    pub false_fails_percent_worst: f64,
    /// All kinds.
    pub kinds: Vec<Kind>,
}

/// A kind of learner on a kind of machine, and what they were told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kind {
    /// What the reference gains.
    pub gain: f64,
    /// How much of that the learner has, on a logarithmic scale.
    pub position: f64,
    /// Standard deviation of a measurement's logarithm.
    pub noise: f64,
    /// How many passed.
    pub passed: u32,
    /// How many failed.
    pub not_yet: u32,
    /// How many were too close to tell.
    pub unclear: u32,
    /// For how many the machine was too noisy.
    pub too_noisy: u32,
    /// For how many the reference did not gain.
    pub not_measurable: u32,
    /// Rounds that were made, on average.
    pub rounds_mean: f64,
}

/// Simulates all kinds.
pub fn simulate() -> Simulation {
    let mut random = Rng::with_seed(SEED);
    let mut kinds = Vec::new();
    for gain in GAINS {
        for noise in NOISES {
            for position in POSITIONS {
                kinds.push(kind(&mut random, gain, noise, position));
            }
        }
    }
    let has_enough = |kind: &&Kind| kind.position >= SHARE;
    let (enough, too_little): (Vec<&Kind>, Vec<&Kind>) = kinds.iter().partition(has_enough);
    let (false_passes_percent, false_passes_percent_worst) = percent(&too_little, |kind| kind.passed);
    let (false_fails_percent, false_fails_percent_worst) = percent(&enough, |kind| kind.not_yet);
    Simulation {
        schema: SCHEMA.to_owned(),
        reproduce: REPRODUCE.to_owned(),
        seed: SEED,
        trials: TRIALS,
        share: SHARE,
        round_noise: ROUND_NOISE,
        outliers: OUTLIERS,
        outlier_keeps: OUTLIER_KEEPS,
        false_passes_percent,
        false_passes_percent_worst,
        false_fails_percent,
        false_fails_percent_worst,
        kinds,
    }
}

impl Simulation {
    /// The file.
    ///
    /// # Errors
    /// When it cannot be told as JSON.
    pub fn json(&self) -> serde_json::Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }
}

/// Of all kinds together, and of the worst of them.
fn percent(kinds: &[&Kind], wrong: fn(&Kind) -> u32) -> (f64, f64) {
    let of = |wrong: u32, trials: u32| f64::from(wrong) * 100.0 / f64::from(trials.max(1));
    let all: u32 = kinds.iter().map(|kind| wrong(kind)).sum();
    let trials: u32 = kinds.iter().map(|_| TRIALS).sum();
    let worst = kinds.iter().map(|kind| wrong(kind)).max().unwrap_or(0);
    (of(all, trials), of(worst, TRIALS))
}

fn kind(random: &mut Rng, gain: f64, noise: f64, position: f64) -> Kind {
    let mut kind = Kind {
        gain,
        position,
        noise,
        passed: 0,
        not_yet: 0,
        unclear: 0,
        too_noisy: 0,
        not_measurable: 0,
        rounds_mean: 0.0,
    };
    let mut rounds = 0_u32;
    for _ in 0..TRIALS {
        let decided = decide(SHARE, |_| {
            rounds += 1;
            Ok(round(random, gain, noise, position))
        });
        match decided.map(|look| look.verdict) {
            Ok(Verdict::Passed) => kind.passed += 1,
            Ok(Verdict::NotYet) => kind.not_yet += 1,
            Ok(Verdict::Unclear) => kind.unclear += 1,
            Ok(Verdict::TooNoisy) => kind.too_noisy += 1,
            Ok(Verdict::NotMeasurable | Verdict::Unverified) | Err(_) => kind.not_measurable += 1,
        }
    }
    kind.rounds_mean = f64::from(rounds) / f64::from(TRIALS);
    kind
}

/// The form before answers a thousand requests a second, but for the noise.
fn round(random: &mut Rng, gain: f64, noise: f64, position: f64) -> Round {
    let all = 1000.0 * (ROUND_NOISE * normal(random)).exp();
    let mut measured = |rate: f64| {
        let (least, most) = OUTLIER_KEEPS;
        let kept = if random.f64() < OUTLIERS { least + (most - least) * random.f64() } else { 1.0 };
        all * rate * kept * (noise * normal(random)).exp()
    };
    Round {
        previous: measured(1.0),
        mine: measured(gain.powf(position)),
        again: measured(1.0),
        reference: measured(gain),
    }
}

/// Close to a standard normal variable: twelve uniform ones have the variance 1 together (Irwin and Hall, 1927). Other
/// ways need logarithms and cosines, whose last digits differ from machine to machine.
fn normal(random: &mut Rng) -> f64 {
    (0..12).map(|_| random.f64()).sum::<f64>() - 6.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, path::Path};

    #[test]
    fn the_rates_at_which_the_gate_errs_are_those_in_the_results() {
        let simulation = simulate();
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(RESULTS);
        let written = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            written == simulation.json().unwrap(),
            "{} is not what the gate does now; make it again: {REPRODUCE}",
            path.display()
        );
        holds(&simulation);
    }

    /// What is promised of the gate, whatever the figures are.
    fn holds(simulation: &Simulation) {
        for kind in &simulation.kinds {
            let told = kind.passed + kind.not_yet + kind.unclear + kind.too_noisy + kind.not_measurable;
            assert_eq!(told, TRIALS, "{kind:?}");
            let of = |part: u32| f64::from(part) / f64::from(TRIALS);
            if kind.position >= SHARE {
                assert!(of(kind.not_yet) < 0.05, "who has enough fails: {kind:?}");
            }
            if kind.position >= 0.75 {
                assert!(of(kind.not_yet) < 0.005, "who has plenty fails: {kind:?}");
            }
            if kind.position <= 0.25 {
                assert!(of(kind.passed) < 0.01, "who has hardly anything passes: {kind:?}");
            }
            // On a machine whose noise is a twelfth of the gain or less, the gate decides what is far from the bar.
            let is_quiet = kind.noise <= kind.gain.ln() / 12.0;
            if is_quiet && kind.position >= 0.75 {
                assert!(of(kind.passed) > 0.95, "who has plenty does not pass: {kind:?}");
            }
            if is_quiet && kind.position <= 0.25 {
                assert!(of(kind.not_yet) > 0.95, "who has hardly anything does not fail: {kind:?}");
            }
        }
    }

    #[test]
    fn the_noise_is_as_wide_as_it_says() {
        let mut random = Rng::with_seed(1);
        let values: Vec<f64> = (0..10_000).map(|_| normal(&mut random)).collect();
        let mean = values.iter().sum::<f64>() / 10_000.0;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / 10_000.0;
        assert!(mean.abs() < 0.05 && (variance - 1.0).abs() < 0.05, "{mean} {variance}");
    }
}
