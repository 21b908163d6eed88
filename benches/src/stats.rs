//! The middle of a few rounds, and how sure one can be of it. Medians, because one disturbed round must not decide.

use serde::{Deserialize, Serialize};

/// The middle value, or the mean of the two in the middle; `None` of nothing.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

/// A median and how far the rounds lie apart.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The middle.
    pub median: f64,
    /// The lowest round.
    pub min: f64,
    /// The highest round.
    pub max: f64,
}

impl Spread {
    /// Of at least one value.
    pub fn of(values: &[f64]) -> Option<Self> {
        let min = values.iter().copied().reduce(f64::min)?;
        let max = values.iter().copied().reduce(f64::max)?;
        Some(Self { median: median(values)?, min, max })
    }
}

/// Resamples of a bootstrap: enough that the interval no longer moves.
const RESAMPLES: usize = 10_000;
/// Share of the resamples' medians that lies below the interval, and above it.
const TAIL: f64 = 0.025;

/// A median and its 95 % bootstrap interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The middle.
    pub median: f64,
    /// 2.5 % of the resamples' medians lie below.
    pub low: f64,
    /// 2.5 % of them lie above.
    pub high: f64,
    /// How many values there were.
    pub values: usize,
}

/// Fewer values than this may agree by chance alone.
const VALUES_MIN: usize = 3;

impl Estimate {
    /// The percentile bootstrap (Efron, 1979): what would the median have been, had other rounds been drawn? With few
    /// rounds this is as good as all of them, which is what few rounds deserve. The same values give the same interval.
    pub fn of(values: &[f64]) -> Option<Self> {
        let median = median(values)?;
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (low, high) = if sorted.len() % 2 == 1 { known(&sorted) } else { drawn(&sorted) };
        Some(Self { median, low, high, values: sorted.len() })
    }

    /// Whether this is above 1 beyond doubt.
    pub fn is_above_1(&self) -> bool {
        self.values >= VALUES_MIN && self.low > 1.0
    }

    /// Whether this is below 1 beyond doubt.
    pub fn is_below_1(&self) -> bool {
        self.values >= VALUES_MIN && self.high < 1.0
    }
}

/// The interval of an odd number of values. Nothing has to be drawn: a resample's median is one of the values, and it is
/// at most the one of rank j if more than half of the draws are, each with probability j/n (Efron, 1979, section 3).
fn known(sorted: &[f64]) -> (f64, f64) {
    let n = sorted.len();
    let rank = (1..n).find(|rank| more_than_half(n, *rank as f64 / n as f64) > TAIL).unwrap_or(n);
    (sorted[rank - 1], sorted[n - rank])
}

/// That more than half of `n` draws succeed, each with `probability`, which is neither 0 nor 1.
fn more_than_half(n: usize, probability: f64) -> f64 {
    let (yes, no) = (probability.ln(), (1.0 - probability).ln());
    // In logarithms: the binomial coefficients of many rounds are beyond what a float holds.
    let mut ways = 0.0;
    let mut sum = 0.0;
    for successes in 1..=n {
        let failures = n - successes;
        ways += ((failures + 1) as f64 / successes as f64).ln();
        if successes > failures {
            sum += (ways + successes as f64 * yes + failures as f64 * no).exp();
        }
    }
    sum
}

/// The interval of an even number of values, where a median lies between two of them.
fn drawn(sorted: &[f64]) -> (f64, f64) {
    let mut random = fastrand::Rng::with_seed(0x5eed);
    let mut medians: Vec<f64> = (0..RESAMPLES)
        .filter_map(|_| {
            let drawn: Vec<f64> = sorted.iter().map(|_| sorted[random.usize(..sorted.len())]).collect();
            median(&drawn)
        })
        .collect();
    medians.sort_by(f64::total_cmp);
    let tail = RESAMPLES / 40;
    (medians[tail], medians[RESAMPLES - 1 - tail])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_is_the_middle() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 9.0]), Some(3.0));
        assert_eq!(median(&[4.0, 1.0, 9.0, 2.0]), Some(3.0));
        assert_eq!(Spread::of(&[2.0, 1.0]), Some(Spread { median: 1.5, min: 1.0, max: 2.0 }));
    }

    #[test]
    fn the_interval_of_equal_rounds_has_no_width() {
        assert_eq!(Estimate::of(&[]), None);
        let same = Estimate::of(&[2.0; 5]).unwrap();
        assert_eq!(same, Estimate { median: 2.0, low: 2.0, high: 2.0, values: 5 });
        assert!(same.is_above_1() && !same.is_below_1());
        assert!(!Estimate::of(&[2.0; 2]).unwrap().is_above_1(), "two may agree by chance");
    }

    #[test]
    fn the_interval_of_five_rounds_is_all_of_them() {
        let few = Estimate::of(&[1.4, 0.9, 1.2, 1.1, 1.3]).unwrap();
        assert_eq!(few, Estimate { median: 1.2, low: 0.9, high: 1.4, values: 5 });
        assert!(!few.is_above_1(), "one round below 1 among five is too much");
    }

    #[test]
    fn the_interval_narrows_with_the_rounds_as_theory_has_it() {
        // The 95 % interval of a median of n from a uniform distribution on 0..2 is close to 1 ± 1.96 / √n.
        let values: Vec<f64> = (0..400).map(|n| f64::from(n) / 200.0).collect();
        let many = Estimate::of(&values).unwrap();
        assert!((many.low - 0.902).abs() < 0.03 && (many.high - 1.098).abs() < 0.03, "{many:?}");
        assert_eq!(Estimate::of(&values), Some(many), "the same values give the same interval");
    }
    #[test]
    fn what_is_known_is_what_drawing_would_come_to() {
        for n in [3_u32, 5, 7, 11, 19, 101] {
            let values: Vec<f64> = (1..=n).map(f64::from).collect();
            let (low, high) = known(&values);
            let (drawn_low, drawn_high) = drawn(&values);
            // Within one rank: where a tail ends close to a rank, drawing falls on either side of it.
            assert!(
                (low - drawn_low).abs() <= 1.0 && (high - drawn_high).abs() <= 1.0,
                "{n}: {low} {drawn_low}"
            );
            assert!((low + high - f64::from(n) - 1.0).abs() < 1e-9, "it lies evenly about the middle");
        }
        // 7 draws: more than half of them are the lowest in 1 % of all cases, and one of the lowest two in 11 %.
        assert_eq!(known(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]), (2.0, 6.0));
    }

    #[test]
    fn the_order_of_the_rounds_is_of_no_matter() {
        assert_eq!(Estimate::of(&[3.0, 1.0, 2.0, 4.0]), Estimate::of(&[1.0, 2.0, 3.0, 4.0]));
    }
}
