//! What the checks stand on: a `phase0` of their own, an HTTP client, a server that misbehaves on request.
//!
//! Everything is seen from outside, through sockets, files and the terminal, so that no check knows how an
//! exercise was solved. Waits are deadlines: a slow machine makes a check slow, not red.

pub(crate) mod client;
pub(crate) mod example;
pub(crate) mod fake;
pub(crate) mod server;

use std::{
    fmt::Display,
    thread,
    time::{Duration, Instant, UNIX_EPOCH},
};

/// How long anything may take that should happen at all.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// As parameters of a query: whenever it was.
pub(crate) const ALL_TIME: &str = "start=0&end=253402300799999";
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(20);

/// The three lines that every failure consists of. What was observed is kept to a readable length.
pub(crate) fn ensure(holds: bool, sent: impl Display, expected: impl Display, observed: impl Display) {
    let observed: String = observed.to_string().chars().take(2_000).collect();
    assert!(holds, "\n  sent:     {sent}\n  expected: {expected}\n  observed: {observed}\n");
}

/// Refused, and the parameter is named.
pub(crate) fn is_bad_parameter(answer: &client::Answer, culprit: &str, sent: &str) {
    let error = &answer.json()["error"];
    let named = error["message"]
        .as_str()
        .is_some_and(|m| m.split(|c: char| !c.is_alphanumeric()).any(|word| word == culprit));
    ensure(
        answer.status == 400 && error["code"] == "bad_parameter" && named,
        sent,
        format!("400, the code bad_parameter, and a message that names {culprit:?}"),
        answer,
    );
}

/// Looks until there is something to see, or patience is over.
pub(crate) fn wait_for<T>(mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let seen = look();
        if seen.is_some() || Instant::now() >= deadline {
            return seen;
        }
        thread::sleep(LOOK_AGAIN_AFTER);
    }
}

/// This machine's clock, as samples bear it.
pub(crate) fn now_ms() -> i64 {
    let since = UNIX_EPOCH.elapsed().expect("the clock stands after 1970");
    i64::try_from(since.as_millis()).expect("the clock stands before the year 292 million")
}
