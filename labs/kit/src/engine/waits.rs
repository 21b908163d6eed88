//! Tests of what is easily forgotten: a client that waits for something else than its own next byte.
//!
//! It may wait for room for its answers, for the log, for another thread, for its next turn, for a thread that serves it,
//! or for the end. Nothing of that is told by its socket, so the engine has to come back to it by itself.

use super::{
    HALF, accepted,
    served::{Desk, Said, Served, config, get, post},
    start,
};
use crate::check::{Check, Must, PATIENCE, doing, ensure, eventually, expect};
use contracts::ingest::IngestConfig;
use ingest::slots::Engine;
use socket2::SockRef;
use std::time::{Duration, Instant};

/// Answers that fill an engine's output again and again, although all requests are there after one read.
pub(super) fn room<E: Engine>() -> Check {
    const COUNT: usize = 300;
    const BYTES: usize = 20_000;
    let served = start::<E>(config())?;
    let sent = "300 requests in one write, for 20000 bytes each and a byte more from one to the next";
    doing(sent);
    let mut client = served.connect()?;
    let bytes_of = |number: usize| BYTES + number;
    client.send((0..COUNT).map(|number| get(bytes_of(number))).collect::<String>());
    for number in 0..COUNT {
        let expected = format!("answer {} of 300, with {} bytes", number + 1, bytes_of(number));
        let observed = match client.answer() {
            Said::Answer { status: 200, body, .. } => {
                format!("answer {} of 300, with {} bytes", number + 1, body.len())
            }
            other => format!("{other} after {number} answers"),
        };
        expect(sent, expected, observed)?;
    }
    served.stop()
}

/// Who has been served may be silent for longer than who has not.
pub(super) fn rest<E: Engine>() -> Check {
    let config = IngestConfig { idle_timeout: Duration::from_millis(20), ..config() };
    let served = start::<E>(config)?;
    let sent =
        "a request, and then nothing for a while, where idle_timeout is short and keep_alive_timeout is long";
    doing(sent);
    let mut client = served.connect()?;
    client.send(post("a"));
    expect(sent, accepted(1), client.answer())?;
    ensure(client.hears_nothing(), sent, "the connection stays", "it is closed")?;
    client.send(post("bb"));
    expect("and then another request", accepted(2), client.answer())?;
    served.stop()
}

pub(super) fn log_again<E: Engine>() -> Check {
    let desk = Desk::by_hand();
    let served = Served::start::<E>(&desk, config())?;
    let mut client = served.connect()?;
    for sent in [
        "a request whose ticket has not settled",
        "a second one on the same connection, which has waited before",
    ] {
        doing(sent);
        let before = desk.handed_over();
        client.send(post("abc"));
        desk.flushed(before + 1, sent)?;
        // By then the engine has made up its mind to wait.
        ensure(client.hears_nothing(), sent, "no answer", "an answer, before anything is safe")?;
        desk.settle();
        expect(&format!("{sent}; and then it settles"), accepted(3), client.answer())?;
    }
    served.stop()
}

/// Told between the hand-over and the answer, and never again: its connection does not wait for the log yet.
pub(super) fn loss<E: Engine>() -> Check {
    let desk = Desk::new();
    let served = Served::start::<E>(&desk, config())?;
    let sent = "a request whose samples are lost while they are handed over, and then the log works again";
    doing(sent);
    desk.lose_at_flush("the disk was gone");
    expect(sent, "503 not_settled", served.ask("abc")?)?;
    expect("another request, once the log works", accepted(1), served.ask("a")?)?;
    served.stop()
}

pub(super) fn another_thread<E: Engine>() -> Check {
    let desk = Desk::new();
    let served = Served::start::<E>(&desk, config())?;
    let sent = "a query that another thread answers (Answer::Later), and behind it a request with samples";
    doing(sent);
    let mut client = served.connect()?;
    client.send(format!("GET /later HTTP/1.1\r\nHost: x\r\n\r\n{}", post("abc")));
    let asked = eventually(|| desk.owed() > 0);
    ensure(asked, sent, "the query is asked", "it is not")?;
    ensure(client.hears_nothing(), sent, "no answer until there is one", "an answer")?;
    desk.keep_promises();
    expect("and then the other thread has the answer", "200 later", client.answer())?;
    expect("and then the answer to the request behind it", accepted(3), client.answer())?;
    served.stop()
}

/// Each answer fills the output, so that there are as many turns as requests. A loop that sleeps between them, and be it
/// for a tenth of a second, needs a minute.
pub(super) fn next_turn<E: Engine>() -> Check {
    const COUNT: usize = 600;
    let served = start::<E>(config())?;
    let sent = "600 requests at once on one connection, whose answers are so large that each takes a turn";
    doing(sent);
    let mut client = served.connect()?;
    client.send(get(70_000).repeat(COUNT));
    within_patience(sent, COUNT, || client.answer().status() == 200)?;
    served.stop()
}

/// A loop that answers before it hands over needs a turn more, and nothing wakes it up for that.
pub(super) fn same_turn<E: Engine>() -> Check {
    const COUNT: usize = 300;
    let served = start::<E>(config())?;
    let sent = "300 requests one after the other, whose tickets settle when they are flushed";
    doing(sent);
    let mut client = served.connect()?;
    within_patience(sent, COUNT, || {
        client.send(post("abc"));
        client.answer().status() == 202
    })?;
    served.stop()
}

/// So many answers, in a time of which they need a small part.
fn within_patience(sent: &str, answers: usize, mut is_answered: impl FnMut() -> bool) -> Check {
    let begun = Instant::now();
    let expected = format!("{answers} answers, without a pause before each");
    for _ in 0..answers {
        ensure(is_answered(), sent, &expected, "one of them is missing")?;
        ensure(
            begun.elapsed() < PATIENCE,
            sent,
            &expected,
            "the engine sleeps although there is something to do",
        )?;
    }
    Ok(())
}

/// While somebody else is waited for, so that it shows who is let go at once.
pub(super) fn silent_at_the_end<E: Engine>() -> Check {
    let mut served = start::<E>(config())?;
    let sent = "a client that was served and says nothing more, and half a request of another; then the engine is told to stop";
    doing(sent);
    let (mut silent, mut half) = (served.connect()?, served.connect()?);
    silent.send(post("abc"));
    expect(sent, accepted(3), silent.answer())?;
    half.send(HALF);
    expect(sent, "100", half.answer())?;
    served.begin_stop();
    let expected = "the silent one is let go at once, and the other is still waited for";
    let observed = silent.answer();
    ensure(observed == Said::Closed, sent, expected, format!("the silent one hears: {observed}"))?;
    half.send("abc");
    let observed = half.answer();
    ensure(
        observed.status() == 202,
        sent,
        expected,
        "the silent one is let go when all are, at the very last",
    )?;
    served.wait()
}

/// A thread that ends with its client is missing for ever.
pub(super) fn thread<E: Engine>() -> Check {
    const THREADS: usize = 2;
    let served = start::<E>(IngestConfig { threads: THREADS, ..config() })?;
    let sent =
        "clients that reset their connections in mid-request, one after the other, where two threads serve";
    doing(sent);
    for number in 0..3 * THREADS {
        let mut client = served.connect()?;
        client.send(HALF);
        let said = client.answer();
        let observed =
            if said.status() == 100 { "100".to_owned() } else { format!("{said} after {number} of them") };
        expect(sent, "100", observed)?;
        SockRef::from(&client.stream).set_linger(Some(Duration::ZERO)).or_skip("no socket options")?;
    }
    expect("and then a whole request", accepted(1), served.ask("a")?)?;
    served.stop()
}

/// Its connections, and those that the kernel goes on giving it, would never be served.
pub(super) fn reactor<E: Engine>() -> Check {
    let mut served = start::<E>(IngestConfig { threads: 2, ..config() })?;
    let sent = "a request that makes the thread panic which serves it, where two threads serve";
    doing(sent);
    let mut client = served.connect()?;
    client.send("GET /panic HTTP/1.1\r\nHost: x\r\n\r\n");
    served.fails(sent)
}
