//! Rounds with everybody in them: the form before twice, the reference, and all students whose tests hold, in an order that
//! is rotated from round to round.

use crate::gate::{
    Round, Stop,
    measure::{Contest, Who},
};
use benches::{ladder::rotated, process::allow_many_files};
use course::PhaseId;
use std::{path::Path, time::Duration};

/// A student, as somebody to be measured.
#[derive(Clone, Copy, Debug)]
pub struct Contestant<'a> {
    /// Who.
    pub alias: &'a str,
    /// The program that has the student's form in it.
    pub program: &'a Path,
}

/// What was seen of a student.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measured {
    /// In their order.
    pub rounds: Vec<Round>,
    /// Why there are no more of them.
    pub stop: Option<Stop>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Previous,
    Again,
    Reference,
    /// By number.
    Student(usize),
}

/// Measures everybody on this step; one for each contestant. `None` if there is no such load.
pub fn measure(
    baseline: &Path,
    step: PhaseId,
    load: &str,
    rounds: usize,
    contestants: &[Contestant<'_>],
    watch: &mut dyn FnMut(&str),
) -> Option<Vec<Measured>> {
    let contest = Contest::new(baseline, step, load, 1.0)?;
    let mut measured = vec![Measured::default(); contestants.len()];
    if let Err(error) = allow_many_files() {
        let stop = Some(Stop::NotMeasurable(format!("{error:#}")));
        measured.iter_mut().for_each(|one| one.stop.clone_from(&stop));
        return Some(measured);
    }
    let order = order(contestants.len());
    let mut patience = Duration::from_secs(60);
    for round in 0..rounds {
        watch(&format!("round {} of {rounds}", round + 1));
        let mut shared = Shared::default();
        let mut mine = vec![None; contestants.len()];
        for turn in rotated(&order, u32::try_from(round).unwrap_or(u32::MAX)) {
            let (who, program) = match turn {
                Turn::Previous | Turn::Again => (Who::Previous, baseline),
                Turn::Reference => (Who::Reference, baseline),
                // Whose work was not done once, is not asked again.
                Turn::Student(number) if measured[number].stop.is_some() => continue,
                Turn::Student(number) => (Who::Mine, contestants[number].program),
            };
            let rate = Contest { program, ..contest.clone() }.rate(who, round, &mut patience);
            match turn {
                Turn::Previous => shared.previous = Some(rate),
                Turn::Again => shared.again = Some(rate),
                Turn::Reference => shared.reference = Some(rate),
                Turn::Student(number) => mine[number] = Some(rate),
            }
        }
        for (one, mine) in measured.iter_mut().zip(mine) {
            let Some(mine) = mine else { continue };
            match shared.with(mine) {
                Ok(round) => one.rounds.push(round),
                Err(stop) => one.stop = Some(stop),
            }
        }
    }
    Some(measured)
}

/// The form before comes first and in the middle: a machine that slows down within a round shows it.
fn order(students: usize) -> Vec<Turn> {
    let half = students / 2;
    let mut order = vec![Turn::Previous];
    order.extend((0..half).map(Turn::Student));
    order.push(Turn::Again);
    order.extend((half..students).map(Turn::Student));
    order.push(Turn::Reference);
    order
}

/// What all students of a round share.
#[derive(Default)]
struct Shared {
    previous: Option<Result<f64, Stop>>,
    again: Option<Result<f64, Stop>>,
    reference: Option<Result<f64, Stop>>,
}

impl Shared {
    fn with(&self, mine: Result<f64, Stop>) -> Result<Round, Stop> {
        // The student's own first: who did not do the work, did not, whatever happened to others.
        let mine = mine?;
        let of = |rate: &Option<Result<f64, Stop>>| {
            rate.clone()
                .unwrap_or_else(|| Err(Stop::NotMeasurable("somebody was left out of a round".to_owned())))
        };
        Ok(Round {
            previous: of(&self.previous)?,
            mine,
            reference: of(&self.reference)?,
            again: of(&self.again)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_has_one_turn_a_round_and_the_form_before_two() {
        for students in 0..5 {
            let order = order(students);
            assert_eq!(order.len(), students + 3);
            assert!((0..students).all(|number| order.contains(&Turn::Student(number))));
            assert_eq!(order.first(), Some(&Turn::Previous));
        }
        use Turn::{Again, Previous, Reference, Student};
        assert_eq!(order(3), [Previous, Student(0), Again, Student(1), Student(2), Reference]);
    }

    #[test]
    fn whose_work_is_not_done_is_told_before_what_others_failed_at() {
        let failed = || Some(Err(Stop::NotMeasurable("x".to_owned())));
        let shared = Shared { previous: Some(Ok(1.0)), again: Some(Ok(1.0)), reference: failed() };
        let lost = Stop::Unverified("lost".to_owned());
        assert_eq!(shared.with(Err(lost.clone())), Err(lost));
        assert_eq!(shared.with(Ok(2.0)), Err(Stop::NotMeasurable("x".to_owned())));
        let whole = Shared { reference: Some(Ok(4.0)), ..shared };
        let round = Round { previous: 1.0, mine: 2.0, reference: 4.0, again: 1.0 };
        assert_eq!(whole.with(Ok(2.0)), Ok(round));
    }

    #[test]
    fn an_unknown_load_measures_nobody() {
        assert!(
            measure(Path::new("lab"), PhaseId { craft: 1, phase: 3 }, "no-such-load", 7, &[], &mut |_| {})
                .is_none()
        );
    }
}
