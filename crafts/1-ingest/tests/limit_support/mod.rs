//! What every limiter must do, held against a log of the very times.

use contracts::TimestampMs;
use ingest::slots::Limit;
use std::{collections::HashMap, thread};

/// Noon of some day.
pub const NOON: i64 = 1_800_000_000_000;

fn admits(limit: &impl Limit, client: &str, ms: i64) -> bool {
    limit.admit(client.as_bytes(), TimestampMs(NOON + ms)).is_ok()
}

/// Requests of a few clients at rising times: how long after the one before, and whose.
pub type Requests = Vec<(i64, u8)>;

/// The times at which each client was admitted.
fn admitted_times<L: Limit>(requests_max_per_s: u32, requests: &Requests) -> HashMap<u8, Vec<i64>> {
    let limit = L::new(requests_max_per_s);
    let (mut now, mut admitted) = (0, HashMap::<u8, Vec<i64>>::new());
    for (later, client) in requests {
        now += later;
        if admits(&limit, &client.to_string(), now) {
            admitted.entry(*client).or_default().push(now);
        }
    }
    admitted
}

/// Never more than the share in a second of the clock, nor than twice the share in any.
pub fn bounds_hold<L: Limit>(requests_max_per_s: u32, requests: &Requests) -> Result<(), String> {
    for (client, times) in admitted_times::<L>(requests_max_per_s, requests) {
        let share = requests_max_per_s as usize;
        for (first, time) in times.iter().enumerate() {
            let aligned = times.iter().filter(|t| t.div_euclid(1000) == time.div_euclid(1000)).count();
            let sliding = times[first..].iter().take_while(|t| **t < time + 1000).count();
            if aligned > share || sliding > 2 * share {
                return Err(format!(
                    "client {client} at {time}: {aligned} and {sliding} of {share}: {times:?}"
                ));
            }
        }
    }
    Ok(())
}

/// Who has been silent for two seconds has its whole share again.
pub fn silence_gives_the_whole_share_back<L: Limit>() {
    let limit = L::new(10);
    for begin in [0, 2_500, 5_900, 1_000_000_000] {
        let admitted = (0..15).filter(|_| admits(&limit, "a", begin)).count();
        assert_eq!(admitted, 10, "at {begin} ms");
    }
}

pub fn clients_do_not_take_from_each_other<L: Limit>() {
    let limit = L::new(3);
    for client in 0..5_000 {
        for n in 0..4 {
            assert_eq!(admits(&limit, &format!("client-{client}"), 0), n < 3, "client {client}, request {n}");
        }
    }
}

/// A client may ask as often as it likes: what is refused is not counted.
pub fn refused_requests_are_not_counted<L: Limit>() {
    let limit = L::new(5);
    let admitted = (0..2_000).filter(|ms| admits(&limit, "eager", *ms)).count();
    assert!((9..=10).contains(&admitted), "{admitted} in two seconds");
}

/// Threads read the clock before they are counted, and clocks are set back.
pub fn a_clock_that_goes_back_does_no_harm<L: Limit>() {
    let limit = L::new(10);
    let admitted = |ms| (0..20).filter(|_| admits(&limit, "a", ms)).count();
    assert_eq!(admitted(1_000), 10);
    assert!(admitted(999) <= 10, "a moment back is no new share for ever");
    assert!(admitted(998) + admitted(1_001) <= 10);
    let racing = L::new(10);
    let border = (0..100).map(|n| if n % 2 == 0 { 1_000 } else { 999 });
    let admitted_at_border = border.filter(|ms| admits(&racing, "a", *ms)).count();
    assert!(admitted_at_border <= 20, "{admitted_at_border} by two threads at the border of a second");
    assert!(admitted(3_001_000) > 0);
    assert!(admitted(-3_600_000) > 0, "an hour back is no hour without service");
    assert!(admitted(-3_598_000) > 0);
    assert!(admits(&L::new(1), "a", -2 * NOON), "before 1970");
}

pub fn who_is_refused_is_told_when_to_come_back<L: Limit>() {
    let limit = L::new(2);
    for ms in [0, 1, 999] {
        let _ = limit.admit(b"a", TimestampMs(NOON + ms));
    }
    for ms in [0, 1, 500, 998, 999] {
        let begin = 1_000_000 * (ms + 1) + ms;
        assert!(admits(&limit, "a", begin) && admits(&limit, "a", begin));
        let seconds = limit.admit(b"a", TimestampMs(NOON + begin)).unwrap_err();
        assert!((1..=2).contains(&seconds), "{seconds} s");
        assert!(admits(&limit, "a", begin + i64::from(seconds) * 1000), "as it was told, at {ms} ms");
    }
    let nothing = L::new(0);
    assert!(nothing.admit(b"a", TimestampMs(NOON)).unwrap_err() >= 1);
}

pub fn two_threads_count_exactly<L: Limit>() {
    let limit = L::new(10_000);
    let admitted: usize = thread::scope(|scope| {
        let count = || (0..9_000).filter(|n| admits(&limit, "a", n % 7)).count();
        let threads = [scope.spawn(count), scope.spawn(count)];
        threads.into_iter().map(|t| t.join().unwrap()).sum()
    });
    assert_eq!(admitted, 10_000);
}

/// Names by the hundred thousand: those who were there keep their share, and whoever comes is served from a common one.
pub fn a_flood_of_names_takes_nothing_from_those_who_were_there<L: Limit>(clients_max: usize) {
    let limit = L::new(5);
    assert!(admits(&limit, "old", 0));
    let names = clients_max + clients_max / 4;
    let admitted = (0..names).filter(|n| admits(&limit, &format!("flood-{n}"), 1)).count();
    assert!(admitted >= clients_max / 2, "{admitted} of {names}");
    assert!(admitted < names, "there is a bound");
    let more = (0..10).filter(|_| admits(&limit, "old", 2)).count();
    assert_eq!(more, 4, "of five, one was used");
    assert!(admits(&limit, "late", 3_000), "places are free again once the flood is over");
    assert_eq!((0..10).filter(|_| admits(&limit, "late", 3_001)).count(), 4, "and of one's own");
}
