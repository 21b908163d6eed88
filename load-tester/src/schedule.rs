//! When each request of an open loop is meant to be sent.
//!
//! A schedule is a row of segments in which the rate goes from one value to another in a straight line. The number
//! of requests due by time *t* is the area under that line, so request *i*'s intended time is the *t* at which
//! the area reaches *i*: a formula, not a queue. A tester that falls behind therefore never forgets what it owes.

use serde::Serialize;

const NS_PER_S: f64 = 1e9;

/// How an open loop's rate (requests a second) changes over its duration.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(tag = "shape", rename_all = "kebab-case")]
pub enum Shape {
    /// The same rate all the time.
    Constant {
        /// Requests a second.
        rate: f64,
    },
    /// In a straight line from one rate to another.
    Ramp {
        /// Requests a second at the beginning.
        from: f64,
        /// Requests a second at the end.
        to: f64,
    },
    /// The middle fifth at another rate.
    Spike {
        /// Requests a second in the first and the last two fifths.
        base: f64,
        /// Requests a second in the middle fifth.
        peak: f64,
    },
    /// Constant, and held long enough that drift shows: the report compares the last fifth with the first.
    Soak {
        /// Requests a second.
        rate: f64,
    },
}

impl Shape {
    /// The times that follow from this shape when it is stretched over `duration_ns`.
    pub fn schedule(self, duration_ns: u64) -> Schedule {
        let whole_s = duration_ns as f64 / NS_PER_S;
        match self {
            Self::Constant { rate } | Self::Soak { rate } => Schedule::new(&[(whole_s, rate, rate)]),
            Self::Ramp { from, to } => Schedule::new(&[(whole_s, from, to)]),
            Self::Spike { base, peak } => Schedule::new(&[
                (whole_s * 0.4, base, base),
                (whole_s * 0.2, peak, peak),
                (whole_s * 0.4, base, base),
            ]),
        }
    }
}

/// The intended send times of a whole run.
#[derive(Clone, Debug)]
pub struct Schedule {
    segments: Vec<Segment>,
    total: u64,
}

#[derive(Clone, Debug)]
struct Segment {
    start_s: f64,
    length_s: f64,
    from: f64,
    to: f64,
    /// Requests due before this segment begins.
    before: f64,
}

impl Schedule {
    /// From `(seconds, rate at its beginning, rate at its end)`.
    fn new(parts: &[(f64, f64, f64)]) -> Self {
        let (mut start_s, mut before) = (0.0, 0.0);
        let mut segments = Vec::with_capacity(parts.len());
        for &(length_s, from, to) in parts {
            segments.push(Segment { start_s, length_s, from, to, before });
            start_s += length_s;
            before += length_s * f64::midpoint(from, to);
        }
        // The area can come out as 49999.999…; a request that is due within a millionth of its turn is due.
        Self { segments, total: to_u64((before + 1e-6).floor()) }
    }

    /// How many requests the schedule asks for.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// When request number `index` (from 0) is due, in ns from the start of the run.
    pub fn intended_ns(&self, index: u64) -> u64 {
        let wanted = index as f64;
        let segment = self.segments.iter().rev().find(|segment| segment.before <= wanted);
        let Some(segment) = segment.or(self.segments.first()) else { return 0 };
        to_u64((segment.start_s + segment.time_s(wanted - segment.before)) * NS_PER_S)
    }
}

impl Segment {
    /// The time at which `area` requests of this segment are due: the positive root of
    /// `slope/2 · t² + from · t = area`, in the form that does not cancel and holds for a slope of zero.
    fn time_s(&self, area: f64) -> f64 {
        if area <= 0.0 {
            return 0.0;
        }
        let slope = (self.to - self.from) / self.length_s;
        let root = (self.from * self.from + 2.0 * slope * area).max(0.0).sqrt();
        (2.0 * area / (self.from + root)).min(self.length_s)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`as` saturates, which is what is meant"
)]
fn to_u64(number: f64) -> u64 {
    number as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;

    /// How many requests are due in each second.
    fn per_second(shape: Shape, seconds: u64) -> Vec<u64> {
        let schedule = shape.schedule(seconds * SECOND_NS);
        let mut counts = vec![0; usize::try_from(seconds).unwrap()];
        for index in 0..schedule.total() {
            counts[usize::try_from(schedule.intended_ns(index) / SECOND_NS).unwrap()] += 1;
        }
        counts
    }

    #[test]
    fn a_constant_rate_is_evenly_spaced() {
        let schedule = Shape::Constant { rate: 1000.0 }.schedule(3 * SECOND_NS);
        assert_eq!(schedule.total(), 3000);
        for index in 0..3000 {
            assert!(schedule.intended_ns(index).abs_diff(index * 1_000_000) <= 1);
        }
    }

    #[test]
    fn a_ramp_rises_in_a_straight_line() {
        assert_eq!(per_second(Shape::Ramp { from: 0.0, to: 400.0 }, 4), [50, 150, 250, 350]);
        let down = per_second(Shape::Ramp { from: 400.0, to: 0.0 }, 4);
        assert_eq!(down.iter().sum::<u64>(), 800);
        assert!(down.is_sorted_by(|a, b| a > b), "{down:?}");
    }

    #[test]
    fn a_spike_stands_in_the_middle_fifth() {
        let shape = Shape::Spike { base: 10.0, peak: 500.0 };
        assert_eq!(per_second(shape, 5), [10, 10, 500, 10, 10]);
    }

    #[test]
    fn times_never_go_back() {
        let shapes = [
            Shape::Ramp { from: 3.0, to: 9000.0 },
            Shape::Ramp { from: 9000.0, to: 3.0 },
            Shape::Spike { base: 1.5, peak: 777.7 },
        ];
        for shape in shapes {
            let schedule = shape.schedule(2 * SECOND_NS);
            let times: Vec<_> = (0..schedule.total()).map(|index| schedule.intended_ns(index)).collect();
            assert!(times.is_sorted() && times.last().unwrap() <= &(2 * SECOND_NS), "{shape:?}");
        }
    }
}
