//! Accepted must equal queryable.
//!
//! After a run the tester asks the server for everything it sent, window by window, and compares with what it can
//! compute: each sample of a request that was answered 2xx exactly once and with its value, none of a refused
//! request, none that was never sent. A throughput figure without this counts what was thrown away fast.
//!
//! Memory: the fates (two bits a request) and one window. Nothing is kept a sample.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::fates::{Fate, Fates};
use crate::http;
use crate::sample::Identity;
use crate::target::{Target, Token};

/// How many wrong samples are named.
pub const EXAMPLES_MAX: usize = 10;

/// Between two looks at a window that is not complete yet.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// The longest that one query may take.
const QUERY_TIMEOUT: Duration = Duration::from_secs(30);

/// What to check, and where to ask.
#[derive(Clone, Debug)]
pub struct Check<'a> {
    /// Where to query; its path is the query's path.
    pub target: &'a Target,
    /// For a server that asks who is asking.
    pub token: Option<&'a Token>,
    /// What the samples were.
    pub identity: &'a Identity,
    /// Samples in a request.
    pub batch: usize,
    /// What became of each client's requests.
    pub fates: &'a [Fates],
    /// How long the server may take to show everything.
    pub timeout: Duration,
    /// The most samples that one query may have to answer with.
    pub window_samples: u64,
}

/// What the check found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Samples that were accepted.
    pub accepted: u64,
    /// Of these: found once, with the right value.
    pub found: u64,
    /// Of these: not found.
    pub missing: u64,
    /// Samples found more than once, counted for each time too many.
    pub duplicated: u64,
    /// Samples found with another value.
    pub altered: u64,
    /// Samples found that were refused.
    pub refused_found: u64,
    /// Samples found that were never sent.
    pub never_sent_found: u64,
    /// Samples without an answer that were found all the same: nobody's fault.
    pub unknown_found: u64,
    /// Samples without an answer that were not found: nobody's fault either.
    pub unknown_missing: u64,
    /// Queries that it took.
    pub queries: u64,
    /// How long until everything was visible, or was given up.
    pub waited_ms: u64,
    /// Why the server could not be asked, if so.
    pub error: Option<String>,
    /// The first wrong samples, in words.
    pub examples: Vec<String>,
}

impl Verified {
    /// Whether what was accepted is what can be queried.
    pub fn holds(&self) -> bool {
        let wrong =
            self.missing + self.duplicated + self.altered + self.refused_found + self.never_sent_found;
        wrong == 0 && self.error.is_none()
    }

    fn add(&mut self, window: Self) {
        self.found += window.found;
        self.missing += window.missing;
        self.duplicated += window.duplicated;
        self.altered += window.altered;
        self.refused_found += window.refused_found;
        self.never_sent_found += window.never_sent_found;
        self.unknown_found += window.unknown_found;
        self.unknown_missing += window.unknown_missing;
        let room = EXAMPLES_MAX.saturating_sub(self.examples.len());
        self.examples.extend(window.examples.into_iter().take(room));
    }
}

/// Asks for everything and compares. What the server answers, or that it does not, is in the result.
///
/// # Errors
/// When the query host's name stands for no address.
pub fn verify(check: &Check<'_>) -> Result<Verified, Error> {
    let address = check.target.address()?;
    let (start, batch) = (Instant::now(), check.batch as u64);
    let deadline = start + check.timeout;
    let accepted = check.fates.iter().map(|fates| fates.count(Fate::Accepted) * batch).sum();
    let mut verified = Verified { accepted, ..Verified::default() };
    let end = check.fates.iter().map(|fates| fates.end() * batch).max().unwrap_or(0);
    let span = (check.window_samples / (check.fates.len() as u64).max(1)).max(1);
    let mut first = 0;
    while first < end {
        let window = Window { check, address, first, last: (first + span).min(end) - 1 };
        match window.settle(deadline, &mut verified.queries) {
            Ok(found) => verified.add(found),
            Err(error) => {
                verified.error = Some(error);
                break;
            }
        }
        first += span;
    }
    verified.waited_ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(verified)
}

/// The samples `first..=last` of every client.
struct Window<'a> {
    check: &'a Check<'a>,
    address: SocketAddr,
    first: u64,
    last: u64,
}

/// The shape of the server's answer: values are strings, as in Prometheus's API.
#[derive(Deserialize)]
struct Answer {
    series: Vec<Series>,
}

#[derive(Deserialize)]
struct Series {
    labels: BTreeMap<String, String>,
    points: Vec<(i64, String)>,
}

impl Window<'_> {
    /// Looks until nothing is missing or the time is over: what is accepted may take a moment to be visible.
    fn settle(&self, deadline: Instant, queries: &mut u64) -> Result<Verified, String> {
        loop {
            *queries += 1;
            let looked = self.look();
            let settled = matches!(&looked, Ok(found) if found.missing == 0);
            if settled || Instant::now() >= deadline {
                return looked;
            }
            thread::sleep(LOOK_AGAIN_AFTER);
        }
    }

    fn look(&self) -> Result<Verified, String> {
        let identity = self.check.identity;
        let path = format!(
            "{}?name={}&start={}&end={}",
            self.check.target.path,
            identity.name,
            identity.timestamp_ms(self.first),
            identity.timestamp_ms(self.last)
        );
        let (status, body) =
            http::get(self.check.target, self.address, &path, self.check.token, QUERY_TIMEOUT)?;
        // A name that the server has never heard of is an answer too: it holds nothing of it.
        let series = match status {
            200 => {
                let answer: Answer = serde_json::from_slice(&body)
                    .map_err(|error| format!("the answer to GET {path} is not as agreed: {error}"))?;
                answer.series
            }
            404 => Vec::new(),
            _ => return Err(format!("GET {path} was answered {status}: {}", excerpt(&body))),
        };
        Ok(self.compare(&series))
    }

    fn compare(&self, series: &[Series]) -> Verified {
        let mut found = Verified::default();
        let width = usize::try_from(self.last - self.first + 1).unwrap_or(usize::MAX);
        let mut seen = vec![false; width.saturating_mul(self.check.fates.len())];
        for one in series {
            for (timestamp_ms, value) in &one.points {
                self.point(&one.labels, *timestamp_ms, value, width, &mut seen, &mut found);
            }
        }
        self.absent(width, &seen, &mut found);
        found
    }

    fn point(
        &self,
        labels: &BTreeMap<String, String>,
        timestamp_ms: i64,
        value: &str,
        width: usize,
        seen: &mut [bool],
        found: &mut Verified,
    ) {
        let Some((client, sequence)) = self.place(labels, timestamp_ms) else {
            found.never_sent_found += 1;
            found.note(format!("found, never sent: {labels:?} at {timestamp_ms} = {value}"));
            return;
        };
        let offset = usize::try_from(sequence - self.first).unwrap_or(usize::MAX);
        let seen = &mut seen[client as usize * width + offset];
        if std::mem::replace(seen, true) {
            found.duplicated += 1;
            found.note(format!("found twice: {}", self.name(client, sequence)));
            return;
        }
        let expected = self.check.identity.value(client, sequence).as_f64();
        let right = value.parse::<f64>().is_ok_and(|value| value.to_bits() == expected.to_bits());
        let fate = self.fate(client, sequence);
        match fate {
            Fate::Accepted if right => found.found += 1,
            Fate::Unknown if right => found.unknown_found += 1,
            Fate::Accepted | Fate::Unknown => {
                found.altered += 1;
                found.note(format!("altered: {} is {value}, not {expected}", self.name(client, sequence)));
            }
            Fate::Refused => {
                found.refused_found += 1;
                found.note(format!("refused, but found: {}", self.name(client, sequence)));
            }
            Fate::NeverSent => {
                found.never_sent_found += 1;
                found.note(format!("found, never sent: {}", self.name(client, sequence)));
            }
        }
    }

    /// Counts what should have been there.
    fn absent(&self, width: usize, seen: &[bool], found: &mut Verified) {
        for (client, seen) in (0_u32..).zip(seen.chunks(width)) {
            for (sequence, _) in (self.first..).zip(seen).filter(|(_, seen)| !**seen) {
                match self.fate(client, sequence) {
                    Fate::Accepted => {
                        found.missing += 1;
                        found.note(format!("accepted, but missing: {}", self.name(client, sequence)));
                    }
                    Fate::Unknown => found.unknown_missing += 1,
                    Fate::Refused | Fate::NeverSent => {}
                }
            }
        }
    }

    /// The client and sequence that a point stands for, if it can be one of this window's.
    fn place(&self, labels: &BTreeMap<String, String>, timestamp_ms: i64) -> Option<(u32, u64)> {
        let client: u32 = labels.get("client")?.parse().ok()?;
        let sequence = u64::try_from(timestamp_ms).ok()?.checked_sub(self.check.identity.base_ms)?;
        let known =
            (client as usize) < self.check.fates.len() && (self.first..=self.last).contains(&sequence);
        known.then_some((client, sequence))
    }

    fn fate(&self, client: u32, sequence: u64) -> Fate {
        let request = sequence / self.check.batch as u64;
        self.check.fates.get(client as usize).map_or(Fate::NeverSent, |fates| fates.get(request))
    }

    fn name(&self, client: u32, sequence: u64) -> String {
        let identity = self.check.identity;
        format!("{}{{client=\"{client}\"}} at {}", identity.name, identity.timestamp_ms(sequence))
    }
}

impl Verified {
    fn note(&mut self, example: String) {
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(example);
        }
    }
}

fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(200)]);
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
