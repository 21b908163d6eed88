//! Forms that are wrong on purpose: each is caught by the test that is about its fault, and says the same each time.

#![allow(clippy::unwrap_used)] // a test that cannot go on should stop

use contracts::{
    BatchError, TimestampMs,
    http::ApiError,
    ingest::{IngestConfig, Site},
    queue::{Log, LogError, Ticket},
};
use ingest::{
    frame::Frame,
    handoff::RingHandoff,
    parse::SinglePass,
    slots::{App, Engine, Handoff, Incoming, Limit, Lost, Parse, Sink, Submit},
};
use lab_kit::{
    Slot,
    check::{Feedback, Verdict},
    engine, handoff, limit, parse,
};
use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex},
    task::Waker,
    time::Duration,
};

/// What the named test of a slot says. It must be broken, and the same when it is run again.
fn feedback(slot: &Slot, phase: u32, name: &str) -> Feedback {
    let test = slot.tests_of(phase).find(|test| test.name == name).unwrap();
    let [first, again] = [test.run(), test.run()];
    assert_eq!(first, again, "{name} says something else each time");
    let Verdict::Broken(feedback) = first else { panic!("{name}: {first:?}") };
    feedback
}

fn holds(slot: &Slot, phase: u32, name: &str) -> bool {
    slot.tests_of(phase).find(|test| test.name == name).unwrap().run() == Verdict::Holds(())
}

/// Forgets the last letter of every label that had an escape.
#[derive(Default)]
struct Forgetful(SinglePass);

struct Shortening<'s, S>(&'s mut S);

impl<S: Sink> Sink for Shortening<'_, S> {
    fn push(&mut self, sample: &Incoming<'_>) -> Result<(), BatchError> {
        let shorten = |value: &'_ str| value.rfind('"').map_or(value.len(), |at| at);
        let labels: Vec<_> =
            sample.labels.iter().map(|(name, value)| (*name, &value[..shorten(value)])).collect();
        self.0.push(&Incoming { labels: &labels, ..*sample })
    }
}

impl Parse for Forgetful {
    fn parse(&mut self, body: &[u8], arrived: TimestampMs, sink: &mut impl Sink) -> Result<usize, ApiError> {
        self.0.parse(body, arrived, &mut Shortening(sink))
    }
}

#[test]
fn a_parser_that_ends_a_text_at_an_escaped_quote_is_shown_the_text() {
    let slot = parse::<Forgetful>();
    let Feedback { sent, expected, observed } = feedback(&slot, 3, "texts-keep-their-escapes");
    assert_eq!(sent, r#"{"name":"a","value":1,"labels":{"text":"say \"hi\""}}"#);
    assert_eq!(expected, r#"a{text="say \"hi\""} = 1.0 at 1000"#);
    assert_eq!(observed, r#"a{text="say \"hi"} = 1.0 at 1000"#);
    assert!(holds(&slot, 3, "nesting-is-bounded"), "nothing else is wrong with it");
}

/// A hole that nobody has filled.
#[derive(Default)]
struct Unwritten;

impl Parse for Unwritten {
    fn parse(&mut self, _: &[u8], _: TimestampMs, _: &mut impl Sink) -> Result<usize, ApiError> {
        panic!("not yet implemented: lab: write `Unwritten::parse`")
    }
}

#[test]
fn a_hole_is_told_with_its_name_and_its_place_and_nothing_else() {
    let slot = parse::<Unwritten>();
    let told = feedback(&slot, 3, "text-that-is-no-json-is-refused-at-its-byte");
    assert!(told.observed.starts_with("`Unwritten::parse` is not written yet, at "), "{told:?}");
    assert!(told.observed.contains("tests/wrong.rs:"), "{told:?}");
    assert_eq!(
        told,
        feedback(&slot, 3, "texts-keep-their-escapes"),
        "the same of every test that comes there"
    );
}

/// Counts what it refuses, and so refuses a client that does not wait for ever.
struct CountsAll {
    share: u32,
    /// Of each client, the end of its silence and its requests until then.
    clients: Mutex<HashMap<Vec<u8>, (i64, u32)>>,
}

impl Limit for CountsAll {
    fn new(share: u32) -> Self {
        Self { share, clients: Mutex::default() }
    }

    fn admit(&self, client: &[u8], now: TimestampMs) -> Result<(), u32> {
        let mut clients = self.clients.lock().unwrap();
        let (last, count) = clients.entry(client.to_vec()).or_insert((now.0, 0));
        if now.0 - *last >= 1000 {
            *count = 0;
        }
        (*last, *count) = (now.0, *count + 1);
        if *count > self.share { Err(1) } else { Ok(()) }
    }
}

#[test]
fn a_limiter_that_counts_what_it_refuses_is_caught() {
    let slot = limit::<CountsAll>();
    let feedback = feedback(&slot, 4, "refused-requests-are-not-counted");
    assert_eq!(feedback.observed, "5 are admitted");
    assert!(holds(&slot, 4, "a-client-may-send-its-share-and-no-more"));
    assert!(!holds(&slot, 4, "what-is-remembered-of-clients-is-bounded"), "it remembers everybody");
}

/// Says that everything has settled that was handed over.
struct Hasty(RingHandoff);

struct HastySubmit {
    submit: <RingHandoff as Handoff>::Submit,
    issued: Ticket,
}

impl Handoff for Hasty {
    type Submit = HastySubmit;

    fn open(config: &IngestConfig, log: Arc<dyn Log>) -> Result<Self, LogError> {
        RingHandoff::open(config, log).map(Self)
    }

    fn submitter(&self) -> Result<HastySubmit, LogError> {
        Ok(HastySubmit { submit: self.0.submitter()?, issued: Ticket(0) })
    }

    fn close(self) -> Result<(), LogError> {
        self.0.close()
    }
}

impl Submit for HastySubmit {
    fn frame(&mut self) -> &mut Frame {
        self.submit.frame()
    }

    fn submit(&mut self) -> Result<Ticket, LogError> {
        self.issued = self.submit.submit()?;
        Ok(self.issued)
    }

    fn flush(&mut self) {
        self.submit.flush();
    }

    fn settled(&mut self) -> Result<Ticket, Lost> {
        Ok(self.issued)
    }

    fn wait(&mut self, _: Ticket, _: Duration) -> Result<Ticket, Lost> {
        Ok(self.issued)
    }

    fn set_waker(&mut self, waker: Waker) {
        self.submit.set_waker(waker);
    }
}

#[test]
fn a_hand_over_that_settles_what_was_only_taken_is_caught() {
    let slot = handoff::<Hasty>();
    let feedback = feedback(&slot, 6, "a-ticket-settles-when-the-log-has");
    assert_eq!(
        (feedback.expected.as_str(), feedback.observed.as_str()),
        ("its ticket does not settle", "its ticket settles")
    );
    assert!(holds(&slot, 6, "what-was-not-flushed-survives-its-thread"));
}

/// An engine that ends before anybody has come.
struct Absent;

impl Engine for Absent {
    const MAY_WAIT: bool = true;

    fn serve<A: App>(_: &IngestConfig, _: &Site<'_>, _: &A) -> io::Result<()> {
        Err(io::Error::other("nobody is at home"))
    }
}

#[test]
fn an_engine_that_serves_nobody_is_told_without_its_address() {
    let slot = engine::<Absent>();
    let test = slot.tests_of(1).find(|test| test.name == "a-slow-client-stops-nobody").unwrap();
    // Whether its door is shut before a client comes or after is chance; what is told may be either.
    for _ in 0..8 {
        let Verdict::Broken(feedback) = test.run() else { panic!("nobody was served") };
        assert!(!format!("{feedback:?}").contains("127.0.0.1"), "{feedback:?}");
    }
}
