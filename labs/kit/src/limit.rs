//! Slot: who may send how much. Times are the tests' own: no clock is asked.
//!
//! There is no counter here. What sharding removes is that two threads want the same lock at the same moment; who waits for
//! whom cannot be seen from outside without the learner's help. Nor is it timed: on two cores, two threads that do nothing
//! but call `admit` do not tell one lock from many, if what is done under it is cheap (`cargo bench -p benches --bench
//! limiter` with another `SHARDS` shows it).

use crate::{
    Slot,
    check::{Check, Test, broken, doing, ensure, expect},
};
use contracts::TimestampMs;
use ingest::slots::Limit;
use std::thread;

/// Noon of some day.
const NOON: i64 = 1_800_000_000_000;
/// Names of a flood. More than any limiter should remember.
const FLOOD: usize = 400_000;

/// The limiter, filled by this type.
pub fn limit<L: Limit>() -> Slot {
    Slot {
        tests: vec![
            Test::since(0, "a-client-may-send-its-share-and-no-more", share::<L>),
            Test::since(0, "silence-gives-the-whole-share-back", silence::<L>),
            Test::since(0, "no-second-sees-more-than-twice-the-share", bounds::<L>),
            Test::since(0, "clients-do-not-take-from-each-other", apart::<L>),
            Test::since(0, "a-client-is-any-bytes", any_bytes::<L>),
            Test::since(0, "refused-requests-are-not-counted", refused::<L>),
            Test::since(0, "a-clock-that-goes-back-does-no-harm", clock::<L>),
            Test::since(0, "who-is-refused-is-told-when-to-come-back", retry::<L>),
            Test::since(0, "two-threads-count-exactly", threads::<L>),
            Test::since(0, "what-is-remembered-of-clients-is-bounded", bounded::<L>),
            Test::since(0, "a-flood-of-names-takes-nothing-from-those-who-were-there", flood::<L>),
            Test::since(4, "a-window-slides-over-the-border-of-a-second", sliding::<L>),
        ],
        counters: Vec::new(),
        queue: None,
    }
}

fn admits(limit: &impl Limit, client: impl AsRef<[u8]>, ms: i64) -> bool {
    limit.admit(client.as_ref(), TimestampMs(NOON + ms)).is_ok()
}

/// How many of so many requests at one time are admitted.
fn admitted(limit: &impl Limit, client: &str, requests: usize, ms: i64) -> usize {
    (0..requests).filter(|_| admits(limit, client, ms)).count()
}

fn share<L: Limit>() -> Check {
    for share in [1, 2, 10, 1000] {
        let limit = L::new(share);
        let sent = format!("a share of {share}, and {} requests of one client at noon", share * 3);
        doing(&sent);
        let admitted = admitted(&limit, "a", share as usize * 3, 0);
        expect(&sent, format!("{share} are admitted"), format!("{admitted} are admitted"))?;
    }
    let sent = "a share of nothing, and one request";
    expect(sent, "refused", if admits(&L::new(0), "a", 0) { "admitted" } else { "refused" })
}

fn silence<L: Limit>() -> Check {
    let limit = L::new(10);
    for ms in [0, 2_500, 5_900, 1_000_000_000] {
        let sent =
            format!("a share of 10, and 15 requests {ms} ms after noon, two seconds of silence before them");
        doing(&sent);
        expect(&sent, "10 are admitted", format!("{} are admitted", admitted(&limit, "a", 15, ms)))?;
    }
    Ok(())
}

/// Requests at times that are the same in each run, some close together and some far apart.
fn bounds<L: Limit>() -> Check {
    for share in [1_u32, 3, 7, 19] {
        let limit = L::new(share);
        doing(&format!("a share of {share}, and requests of one client at irregular times"));
        let (mut now, mut state, mut times) = (0, 12_345_u64, Vec::new());
        for _ in 0..2_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            now += i64::try_from(state >> 33).unwrap_or_default() % 120;
            if admits(&limit, "a", now) {
                times.push(now);
            }
        }
        let most = times.iter().enumerate().map(|(first, begin)| {
            (times[first..].iter().take_while(|time| **time < begin + 1000).count(), *begin)
        });
        let (most, begin) = most.max().unwrap_or_default();
        let sent = format!("a share of {share}, and a request every 0 to 119 ms");
        let observed = format!("{most} are admitted in the second from {begin} ms after noon");
        ensure(most <= 2 * share as usize, &sent, &format!("{} at most in any second", 2 * share), observed)?;
        let second = |time: &i64| time.div_euclid(1000);
        let most = times.iter().map(|at| times.iter().filter(|t| second(t) == second(at)).count()).max();
        let most = most.unwrap_or_default();
        let expected = format!("{share} at most in a second of the clock");
        ensure(most <= share as usize, &sent, &expected, format!("{most} are admitted in one"))?;
    }
    Ok(())
}

fn apart<L: Limit>() -> Check {
    let limit = L::new(3);
    for client in 0..5_000 {
        let name = format!("client-{client}");
        let admitted = admitted(&limit, &name, 4, 0);
        let sent = format!("a share of 3, and 4 requests of {name}, {client} other clients before it");
        expect(&sent, "3 are admitted", format!("{admitted} are admitted"))?;
    }
    Ok(())
}

fn any_bytes<L: Limit>() -> Check {
    let limit = L::new(1);
    let long = vec![b'x'; 100_000];
    let clients: [&[u8]; 6] = [b"", b"\0", b"\0\0", b"\xff\xfe", &long, &long[1..]];
    for client in clients {
        let sent = format!("a share of 1, and 2 requests of a client whose name has {} bytes", client.len());
        doing(&sent);
        let admitted = [admits(&limit, client, 0), admits(&limit, client, 0)];
        expect(&sent, "[true, false]", format!("{admitted:?}"))?;
    }
    Ok(())
}

fn refused<L: Limit>() -> Check {
    let sent = "a share of 5, and a request every millisecond for two seconds";
    doing(sent);
    let limit = L::new(5);
    let admitted = (0..2_000).filter(|ms| admits(&limit, "eager", *ms)).count();
    ensure((9..=10).contains(&admitted), sent, "9 or 10 are admitted", format!("{admitted} are admitted"))
}

/// Threads read the clock before they are counted, and clocks are set back.
fn clock<L: Limit>() -> Check {
    let limit = L::new(10);
    let sent = "a share of 10, and 20 requests each at 1000, 999, 998 and 1001 ms, in this order";
    doing(sent);
    let counts = [1_000, 999, 998, 1_001].map(|ms| admitted(&limit, "a", 20, ms));
    let total: usize = counts.iter().sum();
    ensure(counts[0] == 10, sent, "10 of the first 20 are admitted", format!("{counts:?} are admitted"))?;
    ensure(total <= 20, sent, "20 at most, both seconds together", format!("{counts:?} are admitted"))?;
    let sent = "a share of 10, and 100 requests, at 1000 and 999 ms in turns";
    let racing = L::new(10);
    let count = (0..100).filter(|n| admits(&racing, "a", if n % 2 == 0 { 1_000 } else { 999 })).count();
    ensure(count <= 20, sent, "20 at most, both seconds together", format!("{count} are admitted"))?;
    for (ms, what) in [(3_001_000, "an hour later"), (-3_600_000, "and then the clock is set back by hours")]
    {
        let sent = format!("20 requests {what}");
        doing(&sent);
        let count = admitted(&limit, "a", 20, ms);
        ensure(count > 0, &sent, "some are admitted", format!("{count} are admitted"))?;
    }
    doing("a request before 1970");
    expect("a request before 1970", true, admits(&L::new(1), "a", -2 * NOON))
}

fn retry<L: Limit>() -> Check {
    let limit = L::new(2);
    for ms in [0, 1, 500, 998, 999] {
        let begin = 1_000_000 * (ms + 1) + ms;
        let sent = format!("a share of 2, and 3 requests {ms} ms into a second");
        doing(&sent);
        expect(&sent, "2 are admitted", format!("{} are admitted", admitted(&limit, "a", 2, begin)))?;
        let Err(seconds) = limit.admit(b"a", TimestampMs(NOON + begin)) else {
            return broken(&sent, "the third is refused", "it is admitted");
        };
        let told = format!("it is told to come back after {seconds} s");
        ensure((1..=2).contains(&seconds), &sent, "it is told to come back after 1 or 2 s", &told)?;
        let back = admits(&limit, "a", begin + i64::from(seconds) * 1000);
        ensure(back, &format!("{sent}, and one more when it was told"), "it is admitted", "it is refused")?;
    }
    let nothing = L::new(0).admit(b"a", TimestampMs(NOON));
    ensure(nothing.is_err_and(|s| s >= 1), "a share of nothing", "1 s at least", format!("{nothing:?}"))
}

fn threads<L: Limit>() -> Check {
    let sent =
        "a share of 10000, and two threads with 9000 requests of one client each, within a few milliseconds";
    doing(sent);
    let limit = L::new(10_000);
    let counts = thread::scope(|scope| {
        let count = || (0..9_000).filter(|n| admits(&limit, "a", n % 7)).count();
        let threads = [scope.spawn(count), scope.spawn(count)];
        threads.map(|thread| thread.join().unwrap_or_default())
    });
    expect(sent, "10000 are admitted", format!("{} are admitted", counts[0] + counts[1]))
}

/// Newcomers beyond the bound share what they have, so that some are refused.
fn bounded<L: Limit>() -> Check {
    let limit = L::new(5);
    let sent = format!("a share of 5, and one request each of {FLOOD} clients within a second");
    doing(&sent);
    let count = (0..FLOOD).filter(|n| admits(&limit, format!("flood-{n}"), 1)).count();
    ensure(count < FLOOD, &sent, "some are refused: not everybody is remembered", "all are admitted")?;
    ensure(count >= 10_000, &sent, "thousands are remembered", format!("{count} are admitted"))?;
    let later = format!("{sent}, and a new client three seconds later");
    doing(&later);
    let count = admitted(&limit, "late", 10, 3_001);
    expect(&later, "5 of its 10 are admitted", format!("{count} of its 10 are admitted"))
}

fn flood<L: Limit>() -> Check {
    let limit = L::new(5);
    let sent = format!(
        "a share of 5, one request of a client, then {FLOOD} other names, then 10 of the client again"
    );
    doing(&sent);
    let first = admits(&limit, "old", 0);
    ensure(first, &sent, "the first is admitted", "it is refused")?;
    for n in 0..FLOOD {
        let _ = admits(&limit, format!("flood-{n}"), 1);
    }
    expect(
        &sent,
        "4 of the 10 are admitted",
        format!("{} of the 10 are admitted", admitted(&limit, "old", 10, 2)),
    )
}

/// What a count that begins anew in each second lets through: twice the share within a moment.
fn sliding<L: Limit>() -> Check {
    let limit = L::new(100);
    let sent =
        "a share of 100, 200 requests in the last millisecond of a second, 200 in the first of the next";
    doing(sent);
    let counts = [admitted(&limit, "a", 200, 999), admitted(&limit, "a", 200, 1_000)];
    expect(sent, 100, counts[0])?;
    ensure(
        counts[1] <= 10,
        sent,
        "hardly any of the second 200 are admitted",
        format!("{} are admitted", counts[1]),
    )
}
