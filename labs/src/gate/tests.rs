use super::*;
use std::iter;

/// Rounds without noise.
fn steady(previous: f64, mine: f64, reference: f64) -> impl FnMut(usize) -> Result<Round, Stop> {
    move |_| Ok(Round { previous, mine, reference, again: previous })
}

fn verdict_of(next: impl FnMut(usize) -> Result<Round, Stop>) -> (Verdict, usize) {
    let look = decide(0.5, next).unwrap();
    (look.verdict, look.mine.values)
}

#[test]
fn the_bar_is_half_of_the_way_on_a_logarithmic_scale() {
    // From 100 to 400 it is 200.
    assert_eq!(verdict_of(steady(100.0, 201.0, 400.0)), (Verdict::Passed, ROUNDS_MIN));
    assert_eq!(verdict_of(steady(100.0, 199.0, 400.0)).0, Verdict::NotYet);
    let look = decide(0.5, steady(100.0, 300.0, 400.0)).unwrap();
    assert!((look.enough - 2.0).abs() < 1e-9 && (look.mine.median - 3.0).abs() < 1e-9);
}

#[test]
fn better_than_the_reference_is_enough_too() {
    assert_eq!(verdict_of(steady(100.0, 900.0, 400.0)), (Verdict::Passed, ROUNDS_MIN));
}

#[test]
fn one_look_alone_fails_nobody() {
    assert_eq!(verdict_of(steady(100.0, 100.0, 400.0)), (Verdict::NotYet, ROUNDS_MIN + ROUNDS_MORE));
    // Below the bar at the first look, and above it ever after.
    let mut recovers = |number: usize| {
        let mine = if number < ROUNDS_MIN { 150.0 } else { 300.0 };
        Ok(Round { previous: 100.0, mine, reference: 400.0, again: 100.0 })
    };
    assert_eq!(decide(0.5, &mut recovers).unwrap().verdict, Verdict::Unclear);
}

#[test]
fn rounds_that_disagree_ask_for_more_and_then_decide_nothing() {
    let wavers = |number: usize| {
        let mine = if number.is_multiple_of(2) { 150.0 } else { 260.0 };
        Ok(Round { previous: 100.0, mine, reference: 400.0, again: 100.0 })
    };
    let mut rounds = 0;
    let look = decide(0.5, |number| {
        rounds += 1;
        wavers(number)
    });
    assert_eq!((look.unwrap().verdict, rounds), (Verdict::Unclear, ROUNDS_MAX));
}

#[test]
fn what_slows_a_whole_round_down_is_of_no_matter() {
    let drifts = |number: usize| {
        let speed = 1.0 / (1 + number) as f64;
        let [previous, mine, reference] = [100.0, 250.0, 400.0].map(|rate| rate * speed);
        Ok(Round { previous, mine, reference, again: previous })
    };
    assert_eq!(verdict_of(drifts), (Verdict::Passed, ROUNDS_MIN));
}

#[test]
fn a_machine_that_differs_from_itself_by_much_of_the_gain_is_too_noisy() {
    let noisy = |reference: f64| {
        move |number: usize| {
            let again = if number.is_multiple_of(2) { 130.0 } else { 75.0 };
            Ok(Round { previous: 100.0, mine: reference, reference, again })
        }
    };
    assert_eq!(verdict_of(noisy(150.0)), (Verdict::TooNoisy, ROUNDS_MAX));
    assert_eq!(verdict_of(noisy(10_000.0)), (Verdict::Passed, ROUNDS_MIN), "of such a gain this is little");
    assert_eq!(verdict_of(noisy(100.0)).0, Verdict::TooNoisy, "where nothing is gained, noise may be why");
}

#[test]
fn where_the_reference_gains_nothing_nothing_is_asked() {
    assert_eq!(verdict_of(steady(100.0, 100.0, 100.0)), (Verdict::NotMeasurable, ROUNDS_MIN));
    assert_eq!(verdict_of(steady(100.0, 100.0, 60.0)), (Verdict::NotMeasurable, ROUNDS_MIN));
    assert_eq!(verdict_of(steady(100.0, 900.0, 105.0)).0, Verdict::NotMeasurable);
}

#[test]
fn who_is_faster_and_does_not_do_the_work_never_passes() {
    for liar in 0..ROUNDS_MIN {
        let decided = decide(0.5, |number| {
            let round = Round { previous: 100.0, mine: 1e9, reference: 400.0, again: 100.0 };
            if number == liar { Err(Stop::Unverified("lost some".to_owned())) } else { Ok(round) }
        });
        let judgement = Judgement::of(&decided, Power::Wall);
        assert_eq!(judgement.verdict, Verdict::Unverified);
        assert!(judgement.verdict.fails() && judgement.words.starts_with("Not verified: lost some."));
    }
}

#[test]
fn only_what_is_the_learners_own_fails_the_learner() {
    use Verdict::{NotMeasurable, NotYet, Passed, TooNoisy, Unclear, Unverified};
    assert!(NotYet.fails() && Unverified.fails());
    assert!([Passed, Unclear, TooNoisy, NotMeasurable].iter().all(|verdict| !verdict.fails()));
}

#[test]
fn every_verdict_says_what_happened_and_what_to_do_next() {
    let told = |decided: Result<Look, Stop>, power| Judgement::of(&decided, power).words;
    assert_eq!(
        told(decide(0.5, steady(100.0, 300.0, 400.0)), Power::Wall),
        "Passed: yours answers 3.00 times [3.00, 3.00] as many requests as the form before it. 2.00 times are enough, and the \
         reference answers 4.00 times [4.00, 4.00] as many."
    );
    assert_eq!(
        told(decide(0.5, steady(100.0, 110.0, 400.0)), Power::Battery),
        "Not yet: yours answers 1.10 times [1.10, 1.10] as many requests as the form before it, where 2.00 times are \
         enough; the reference answers 4.00 times as many. It is right already; the next hint says where to look."
    );
    assert_eq!(
        told(decide(0.5, steady(100.0, 100.0, 100.0)), Power::Wall),
        "Not measurable here: the reference itself answers 1.00 times [1.00, 1.00] as many requests as the form before \
         it, so that nothing can be asked of yours. This is no failure of yours: your tests hold. Close what else is \
         running, and check again."
    );
    let noisy = iter::repeat_n([130.0, 75.0], ROUNDS_MAX).flatten().map(|again| Round {
        previous: 100.0,
        mine: 150.0,
        reference: 150.0,
        again,
    });
    let rounds: Vec<Round> = noisy.collect();
    assert_eq!(
        told(decide(0.5, |number| Ok(rounds[number])), Power::Battery),
        "This machine is too noisy now: the form before, measured twice, is anything of [0.75, 1.30] times itself. Yours \
         was 1.50 times [1.50, 1.50] the form before, which does not count. This is no failure of yours: your tests hold. This machine runs on its battery, which slows processors down: plug it \
         in, close what else is running, and check again."
    );
    let reference = Err(Stop::NotMeasurable("in round 1 the reference could not be measured: x".to_owned()));
    assert!(
        told(reference, Power::Wall).contains("the reference could not be measured: x. This is no failure")
    );
}

#[test]
fn a_count_is_held_against_the_count_before() {
    let judged = |previous: f64, mine: f64, reference: f64| {
        let counter = "allocations_per_body".to_owned();
        count(&Counted { counter, previous, mine, reference }, 0.1, Of::Previous)
    };
    assert_eq!(judged(40.0, 0.0, 0.0).verdict, Verdict::Passed);
    assert_eq!(judged(40.0, 4.0, 0.0).verdict, Verdict::Passed, "as many as allowed are allowed");
    assert_eq!(judged(40.0, 41.0, 0.0).verdict, Verdict::NotYet);
    assert_eq!(
        judged(40.0, 5.0, 0.0).words,
        "Not yet: 5.00 allocations per body, where 4.00 are allowed. Before it there were 40.0, and the reference comes to 0. \
         It is right already; the next hint says where to look."
    );
    let missed = judged(40.0, 40.0, 5.0);
    assert_eq!(missed.verdict, Verdict::NotMeasurable, "what the reference misses is asked of nobody");
    assert_eq!(judged(40.0, f64::NAN, 0.0).verdict, Verdict::NotYet, "what is no number is not enough");
}

#[test]
fn a_count_of_what_was_not_done_before_is_held_against_the_reference() {
    let judged = |mine: f64| {
        let counter = "syncs_per_message".to_owned();
        count(&Counted { counter, previous: 0.0, mine, reference: 1.0 }, 1.5, Of::Reference)
    };
    assert_eq!(
        judged(1.5).words,
        "Passed: 1.50 syncs per message. The reference comes to 1.00, and 1.50 are allowed."
    );
    assert_eq!(
        judged(2.0).words,
        "Not yet: 2.00 syncs per message, where 1.50 are allowed. The reference comes to 1.00. It is right already; the \
         next hint says where to look."
    );
}
