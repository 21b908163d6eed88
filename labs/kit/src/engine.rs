//! Slot: connections → requests. Against real sockets, and an application whose tickets a test settles by hand.

mod served;

mod waits;

use self::served::{Desk, Said, Served, config, post};
use crate::{
    Slot,
    check::{Check, MOMENT, Must, PATIENCE, Test, Unmet, doing, ensure, eventually, expect},
    count::{Counter, Threads},
};
use anyhow::{Context, Result, ensure as require};
use benches::process::allow_many_files;
use contracts::ingest::IngestConfig;
use ingest::{engine::ReactorPerCore, slots::Engine};
use ingest_phases::engine::{
    event_loop::EventLoop, keep_alive::KeepAlive, sequential::Sequential,
    thread_per_connection::ThreadPerConnection, thread_pool::ThreadPool,
};
use socket2::SockRef;
use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    thread,
    time::Duration,
};

/// A head whose body is still to come; the server says that it has seen it.
const HALF: &str = "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n";
/// A bound of a server that a test wants to see reached.
const SHORT: Duration = Duration::from_millis(300);
/// Connections whose threads are counted.
const CONNECTIONS: usize = 1000;
/// Requests whose connections are counted.
const REQUESTS: u32 = 1000;

/// The engine, filled by this type.
pub fn engine<E: Engine>() -> Slot {
    Slot {
        tests: vec![
            Test::since(0, "a-request-in-pieces-is-answered", pieces::<E>),
            Test::since(0, "a-large-body-is-taken-whole", large::<E>),
            Test::since(0, "a-client-is-told-to-go-on-before-it-sends-its-body", go_on::<E>),
            Test::since(0, "a-reply-is-held-until-its-ticket-has-settled", held::<E>),
            Test::since(0, "what-is-lost-is-never-acknowledged", lost::<E>),
            Test::since(0, "a-ticket-that-never-settles-is-given-up", given_up::<E>),
            Test::since(0, "a-request-that-drips-is-refused-when-its-time-is-up", drips::<E>),
            Test::since(0, "a-silent-connection-is-closed", silent::<E>),
            Test::since(0, "a-body-that-is-too-large-is-refused-and-the-client-hears-why", too_large::<E>),
            Test::since(0, "a-client-that-vanishes-leaves-nothing-behind", vanishes::<E>),
            Test::since(0, "a-client-that-reads-slowly-gets-everything", reads_slowly::<E>),
            Test::since(0, "a-drain-finishes-the-request-that-has-begun", drain_finishes::<E>),
            Test::since(0, "a-drain-answers-what-has-arrived", drain_answers::<E>),
            Test::since(0, "a-drain-lets-nobody-in", drain_closes::<E>),
            Test::since(1, "a-slow-client-stops-nobody", slow_client::<E>),
            Test::since(1, "who-waits-for-the-log-stops-nobody", slow_log::<E>),
            Test::since(1, "a-loss-is-told-to-everybody-who-waits", lost_once::<E>),
            Test::since(0, "a-loss-at-the-hand-over-is-told", waits::loss::<E>),
            Test::since(1, "connections-beyond-the-limit-are-told-so", too_many::<E>),
            Test::since(5, "a-connection-serves-many-requests", many_requests::<E>),
            Test::since(5, "answers-come-in-the-order-of-requests", pipelined::<E>),
            Test::since(5, "requests-that-come-together-are-handed-over-together", bursts::<E>),
            Test::since(5, "large-answers-to-requests-in-one-write-all-arrive", waits::room::<E>),
            // Not in a pool: there, who is silent holds a thread that others wait for.
            Test::new("a-connection-may-rest-between-requests".to_owned(), 5..=6, waits::rest::<E>),
            Test::since(8, "a-connection-may-rest-between-requests", waits::rest::<E>),
            Test::since(5, "a-connection-that-has-waited-can-wait-again", waits::log_again::<E>),
            Test::since(5, "a-drain-does-not-wait-for-the-silent", waits::silent_at_the_end::<E>),
            Test::since(7, "threads-are-bounded", bounded_threads::<E>),
            Test::since(7, "a-silent-client-makes-room-for-who-waits", makes_room::<E>),
            Test::new("who-finds-the-queue-full-is-told-so".to_owned(), 7..=7, full_queue::<E>),
            Test::since(7, "a-client-that-vanishes-takes-no-thread-with-it", waits::thread::<E>),
            Test::since(8, "a-client-that-stays-keeps-nobody-waiting", stays::<E>),
            Test::since(8, "a-thousand-silent-connections-stop-nobody", thousand::<E>),
            Test::since(8, "an-answer-from-another-thread-arrives", waits::another_thread::<E>),
            Test::since(8, "who-has-more-to-run-has-its-next-turn-at-once", waits::next_turn::<E>),
            Test::since(8, "what-settles-at-the-flush-is-answered-in-that-turn", waits::same_turn::<E>),
            Test::since(9, "connections-are-spread-over-the-reactors", spread::<E>),
            Test::since(9, "a-thread-that-panics-is-the-end-of-all", waits::reactor::<E>),
            Test::since(9, "nobody-else-can-have-the-port", own_port::<E>),
        ],
        counters: vec![
            Counter {
                name: "accepts_per_thousand_requests",
                phases: 5..=5,
                mine: accepts_per_thousand_requests::<E>,
                of_phase: |phase| match phase {
                    0 => accepts_per_thousand_requests::<Sequential>(),
                    1..5 => accepts_per_thousand_requests::<ThreadPerConnection>(),
                    _ => accepts_per_thousand_requests::<KeepAlive>(),
                },
            },
            Counter {
                name: "threads_per_thousand_connections",
                phases: 7..=8,
                mine: threads_per_thousand_connections::<E>,
                of_phase: |phase| match phase {
                    0..7 => threads_per_thousand_connections::<KeepAlive>(),
                    7 => threads_per_thousand_connections::<ThreadPool>(),
                    8 => threads_per_thousand_connections::<EventLoop>(),
                    _ => threads_per_thousand_connections::<ReactorPerCore>(),
                },
            },
        ],
        queue: None,
    }
}

fn start<E: Engine>(config: IngestConfig) -> Result<Served, Unmet> {
    Served::start::<E>(&Desk::new(), config)
}

fn accepted(bytes: usize) -> String {
    format!("202 {{\"accepted\":{bytes}}}")
}

fn pieces<E: Engine>() -> Check {
    let served = start::<E>(config())?;
    let sent = "a request with a body of twelve bytes, seven bytes at a time";
    doing(sent);
    let mut client = served.connect()?;
    for piece in post("twelve bytes").as_bytes().chunks(7) {
        client.send(piece);
        thread::sleep(Duration::from_millis(1));
    }
    expect(sent, accepted(12), client.answer())?;
    served.stop()
}

fn large<E: Engine>() -> Check {
    const BYTES: usize = 3 << 20;
    let served = start::<E>(config())?;
    let sent = "a body of three megabytes, and then a small one on another connection";
    doing(sent);
    let mut client = served.connect()?;
    client.send(post(&"x".repeat(BYTES)));
    expect(sent, accepted(BYTES), client.answer())?;
    expect(sent, accepted(1), served.ask("a")?)?;
    served.stop()
}

fn go_on<E: Engine>() -> Check {
    let served = start::<E>(config())?;
    let sent = "a head with Expect: 100-continue, and the body when the server says so";
    doing(sent);
    let mut client = served.connect()?;
    client.send(HALF);
    expect(sent, "100", client.answer())?;
    client.send("abc");
    expect(sent, accepted(3), client.answer())?;
    served.stop()
}

fn held<E: Engine>() -> Check {
    let desk = Desk::by_hand();
    let served = Served::start::<E>(&desk, config())?;
    let sent = "a request whose ticket has not settled";
    doing(sent);
    let mut client = served.connect()?;
    client.send(post("abc"));
    desk.flushed(1, sent)?;
    ensure(client.hears_nothing(), sent, "no answer", "an answer, before anything is safe")?;
    desk.settle();
    expect("and then the ticket settles", accepted(3), client.answer())?;
    served.stop()
}

fn lost<E: Engine>() -> Check {
    let desk = Desk::by_hand();
    let served = Served::start::<E>(&desk, config())?;
    let sent = "a request that the log takes and loses";
    doing(sent);
    let mut client = served.connect()?;
    client.send(post("abc"));
    desk.flushed(1, sent)?;
    desk.lose("the disk is gone");
    expect(sent, "503 not_settled", client.answer())?;
    served.stop()
}

fn given_up<E: Engine>() -> Check {
    let desk = Desk::by_hand();
    let served = Served::start::<E>(&desk, IngestConfig { settle_timeout: SHORT, ..config() })?;
    let sent = "a request whose ticket never settles, where that is waited for 300 ms";
    doing(sent);
    let mut client = served.connect()?;
    client.send(post("abc"));
    expect(sent, "503 not_settled", client.answer())?;
    served.stop()
}

/// A byte now and then does not buy more time.
fn drips<E: Engine>() -> Check {
    let served = start::<E>(IngestConfig { request_timeout: SHORT, ..config() })?;
    let sent = "a body that comes a byte every few milliseconds, where a request has 300 ms";
    doing(sent);
    let mut client = served.connect()?;
    client.send("POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n");
    let mut writing = client.stream.try_clone().or_skip("no second socket")?;
    let dripping = thread::spawn(move || {
        // Until it is told to go, or has told for longer than anybody would wait.
        for _ in 0..PATIENCE.as_millis() / 5 {
            if writing.write_all(b"x").is_err() {
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
    });
    let answer = client.answer();
    let _ = client.stream.shutdown(Shutdown::Both);
    let _ = dripping.join();
    expect(sent, "408 request_timeout", answer)?;
    expect("another request after it", accepted(1), served.ask("a")?)?;
    served.stop()
}

fn silent<E: Engine>() -> Check {
    let config = IngestConfig { idle_timeout: SHORT, keep_alive_timeout: SHORT, ..config() };
    let served = start::<E>(config)?;
    let sent = "nothing, where a connection may be silent for 300 ms";
    doing(sent);
    expect(sent, "a closed connection", served.connect()?.answer())?;
    served.stop()
}

/// The answer comes before the client has finished, and must survive that.
fn too_large<E: Engine>() -> Check {
    let served = start::<E>(IngestConfig { body_bytes_max: 1000, ..config() })?;
    let sent = "a body of two million bytes, where a thousand are allowed";
    doing(sent);
    let mut client = served.connect()?;
    client.send("POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n\r\n");
    client.send(vec![b'x'; 2_000_000]);
    let answer = client.answer();
    expect(sent, "413", answer.status())?;
    expect(sent, "a closed connection", client.answer())?;
    served.stop()
}

fn vanishes<E: Engine>() -> Check {
    let served = start::<E>(IngestConfig { connections_max: 4, ..config() })?;
    let request = post("abc");
    for cut in 0..=request.len() {
        let how = if cut % 2 == 1 { "resets its connection" } else { "closes its connection" };
        let sent = format!(
            "a client that {how} after {cut} bytes, and then a request, where 4 connections may be open"
        );
        doing(&sent);
        let mut client = served.connect()?;
        client.send(&request[..cut]);
        if cut % 2 == 1 {
            SockRef::from(&client.stream).set_linger(Some(Duration::ZERO)).or_skip("no socket options")?;
        }
        drop(client);
        // Its seat is free as soon as the engine has looked.
        let mut said = Said::Nothing;
        eventually(|| {
            said = served.ask("abc").unwrap_or(Said::Nothing);
            said.status() == 202
        });
        expect(&sent, accepted(3), said)?;
    }
    served.stop()
}

fn reads_slowly<E: Engine>() -> Check {
    const COUNT: usize = 8 << 20;
    let served = start::<E>(config())?;
    let sent = "a request for eight megabytes, which are read a little at a time";
    doing(sent);
    let mut client = served.connect()?;
    SockRef::from(&client.stream).set_recv_buffer_size(64 << 10).or_skip("no socket options")?;
    client.send(format!("GET /bytes?count={COUNT} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
    let (mut bytes, mut piece) = (0, vec![0; 256 << 10]);
    while let Ok(n) = client.stream.read(&mut piece) {
        if n == 0 {
            break;
        }
        bytes += n;
        thread::sleep(Duration::from_millis(1));
    }
    ensure(bytes > COUNT, sent, "all of them, behind a head", "less")?;
    served.stop()
}

fn drain_finishes<E: Engine>() -> Check {
    let mut served = start::<E>(config())?;
    let sent = "a head; then the engine is told to stop; then the body";
    doing(sent);
    let mut half = served.connect()?;
    half.send("POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n");
    expect(sent, "100", half.answer())?;
    served.begin_stop();
    half.send("abcd");
    expect(sent, accepted(4), half.answer())?;
    served.wait()
}

/// A request that had arrived before the end is answered, even if nobody had looked at it yet.
fn drain_answers<E: Engine>() -> Check {
    let served = start::<E>(config())?;
    let sent = "requests on twenty connections, and at once the engine is told to stop";
    doing(sent);
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(served.connect()?);
    }
    clients.iter_mut().for_each(|client| client.send(post("abc")));
    served.begin_stop();
    for client in &mut clients {
        expect(sent, accepted(3), client.answer())?;
    }
    served.stop()
}

fn drain_closes<E: Engine>() -> Check {
    let mut served = start::<E>(config())?;
    let sent = "a head; then the engine is told to stop; then another client comes";
    doing(sent);
    let mut half = served.connect()?;
    half.send(HALF);
    expect(sent, "100", half.answer())?;
    served.begin_stop();
    // Where one client is served at a time, the door can only be shut once that one has been.
    half.send("abc");
    expect(sent, accepted(3), half.answer())?;
    served.wait()?;
    let refused = eventually(|| TcpStream::connect(served.address).is_err());
    ensure(refused, sent, "it is refused", "it is let in")?;
    let free = TcpListener::bind(served.address);
    ensure(free.is_ok(), sent, "the port is free once the engine has returned", "it is still taken")
}

/// What phase 1 is about.
fn slow_client<E: Engine>() -> Check {
    let served = start::<E>(config())?;
    let sent = "half a head of one client, and a whole request of another";
    doing(sent);
    let (mut half, mut other) = (served.connect()?, served.connect()?);
    half.send("POST /metrics HTTP/1.1\r\n");
    thread::sleep(Duration::from_millis(20));
    other.send(post("abc"));
    expect(sent, accepted(3), other.answer())?;
    half.send("Host: x\r\nContent-Length: 2\r\n\r\nab");
    expect("and then the rest of the first", accepted(2), half.answer())?;
    served.stop()
}

/// While answers are held, nobody who can be served stands still.
fn slow_log<E: Engine>() -> Check {
    let desk = Desk::by_hand();
    let served = Served::start::<E>(&desk, config())?;
    let sent = "requests of forty clients whose tickets have not settled, and a query of another client";
    doing(sent);
    let mut clients = Vec::new();
    for _ in 0..40 {
        clients.push(served.connect()?);
    }
    clients.iter_mut().for_each(|client| client.send(post("abc")));
    desk.flushed(40, sent)?;
    let mut other = served.connect()?;
    other.send("GET /bytes?count=5 HTTP/1.1\r\nHost: x\r\n\r\n");
    expect(sent, "200 xxxxx", other.answer())?;
    desk.settle();
    for client in &mut clients {
        expect("and then the tickets settle", accepted(3), client.answer())?;
    }
    served.stop()
}

/// The log fails and works again before the engine looks. It is told once, and must tell everybody who waited.
fn lost_once<E: Engine>() -> Check {
    let desk = Desk::by_hand();
    let served = Served::start::<E>(&desk, config())?;
    let sent = "requests of twenty clients that the log loses, and then the log works again";
    doing(sent);
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(served.connect()?);
    }
    clients.iter_mut().for_each(|client| client.send(post("abc")));
    desk.flushed(20, sent)?;
    desk.lose_once("the disk was gone");
    for client in &mut clients {
        expect(sent, "503 not_settled", client.answer())?;
    }
    let after = "another request, once the log works";
    let before = desk.handed_over();
    let mut client = served.connect()?;
    client.send(post("abc"));
    desk.flushed(before + 1, after)?;
    desk.settle();
    expect(after, accepted(3), client.answer())?;
    served.stop()
}

fn too_many<E: Engine>() -> Check {
    let desk = Desk::new();
    let served = Served::start::<E>(&desk, IngestConfig { connections_max: 3, ..config() })?;
    let sent = "a fourth connection, where three may be open and are";
    doing(sent);
    let mut seated = Vec::new();
    for _ in 0..3 {
        // Each must have been seen before the next comes.
        let mut client = served.connect()?;
        client.send(HALF);
        expect("one of three connections, where three may be open", "100", client.answer())?;
        seated.push(client);
    }
    let refused = served.connect()?.answer();
    expect(sent, "503 too_many_connections", &refused)?;
    ensure(
        refused.has("Retry-After: "),
        sent,
        "it is told when to try again, with Retry-After",
        "it is not",
    )?;
    let counted = eventually(|| desk.refused() == [503]);
    ensure(
        counted,
        sent,
        "the refusal is counted once, with its status",
        format!("{:?} were counted", desk.refused()),
    )?;
    for client in &mut seated {
        client.send("abc");
        expect("the bodies of the three", accepted(3), client.answer())?;
    }
    drop(seated);
    let mut said = Said::Nothing;
    eventually(|| {
        said = served.ask("a").unwrap_or(Said::Nothing);
        said.status() == 202
    });
    expect("another client, once the three are gone", accepted(1), said)?;
    served.stop()
}

/// What phase 5 is about.
fn many_requests<E: Engine>() -> Check {
    let served = start::<E>(config())?;
    let sent = "three requests on one connection, one after the other";
    doing(sent);
    let mut client = served.connect()?;
    for body in ["a", "bb", "ccc"] {
        client.send(post(body));
        let answer = client.answer();
        expect(sent, accepted(body.len()), &answer)?;
        ensure(!answer.has("Connection: close"), sent, "a connection that stays", "Connection: close")?;
    }
    client.send("GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let sent = "a request that says Connection: close";
    expect(sent, "404", client.answer())?;
    expect(sent, "a closed connection", client.answer())?;
    served.stop()
}

/// Far more answers than may pile up, so that requests are kept back again and again.
fn pipelined<E: Engine>() -> Check {
    const COUNT: usize = 10_000;
    let served = start::<E>(config())?;
    let sent = "ten thousand requests on one connection, without waiting for answers";
    doing(sent);
    let mut client = served.connect()?;
    let mut writing = client.stream.try_clone().or_skip("no second socket")?;
    let writer = thread::spawn(move || {
        for n in 0..COUNT {
            if writing.write_all(post(&"x".repeat(n % 100)).as_bytes()).is_err() {
                return;
            }
        }
        let _ = writing.shutdown(Shutdown::Write);
    });
    let mut wrong = Ok(());
    for n in 0..COUNT {
        let sent = format!("{sent}: number {n}");
        wrong = expect(&sent, accepted(n % 100), client.answer());
        if wrong.is_err() {
            break;
        }
    }
    if wrong.is_ok() {
        wrong = expect(
            "and then the client says that it will send no more",
            "a closed connection",
            client.answer(),
        );
    }
    let _ = client.stream.shutdown(Shutdown::Both);
    let _ = writer.join();
    wrong?;
    served.stop()
}

fn bursts<E: Engine>() -> Check {
    let desk = Desk::new();
    let served = Served::start::<E>(&desk, config())?;
    let sent = "sixteen requests in one write";
    doing(sent);
    let mut client = served.connect()?;
    client.send(post("a").repeat(16));
    for _ in 0..16 {
        expect(sent, accepted(1), client.answer())?;
    }
    expect(sent, "1 flush of what they brought", format!("{} flush of what they brought", desk.bursts()))?;
    served.stop()
}

/// What phase 7 is about.
fn bounded_threads<E: Engine>() -> Check {
    const CLIENTS: usize = 32;
    const MORE_MAX: usize = 8;
    let before =
        Threads::now().ok_or("this system does not say which threads a process has").or_skip("Linux")?;
    let served = start::<E>(IngestConfig { threads: 2, ..config() })?;
    let sent = "requests on 32 connections that stay open, where two threads are to serve";
    doing(sent);
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let mut client = served.connect()?;
        client.send(post("abc"));
        clients.push(client);
    }
    expect(sent, accepted(3), clients[0].answer())?;
    // Whoever would be given a thread has one by then.
    clients[CLIENTS - 1].hears_nothing();
    let more = before.started_since();
    let expected = format!("{MORE_MAX} threads more than before, at most");
    ensure(more <= MORE_MAX, sent, &expected, "more than that")?;
    drop(clients);
    served.stop()
}

/// Who says nothing where others wait has less time than where it costs nobody anything.
fn makes_room<E: Engine>() -> Check {
    let served = start::<E>(IngestConfig { threads: 1, idle_timeout: SHORT, ..config() })?;
    let sent = "a client that says nothing, and a request of another, where one thread serves and may wait 300 ms for silence";
    doing(sent);
    let silent = served.connect()?;
    thread::sleep(Duration::from_millis(20));
    expect(sent, accepted(3), served.ask("abc")?)?;
    drop(silent);
    served.stop()
}

/// A queue without an end is threads without a bound in another place.
fn full_queue<E: Engine>() -> Check {
    const CLIENTS: usize = 1500;
    enough_files(CLIENTS)?;
    let desk = Desk::new();
    let served = Served::start::<E>(&desk, IngestConfig { threads: 1, ..config() })?;
    let sent = "1500 connections, where one thread serves the first of them";
    doing(sent);
    let mut seated = served.connect()?;
    seated.send(post("abc"));
    expect(sent, accepted(3), seated.answer())?;
    let mut waiting = Vec::new();
    for _ in 0..CLIENTS {
        waiting.push(served.connect()?);
    }
    let full = eventually(|| !desk.refused().is_empty());
    ensure(full, sent, "some are refused: the queue in front of the thread is full", "nobody is refused")?;
    // Those who came last, at any rate.
    let last = waiting.last_mut().map_or(Said::Nothing, |client| client.answer());
    expect(sent, "503 too_many_connections", &last)?;
    ensure(
        last.has("Retry-After: "),
        sent,
        "they are told when to try again, with Retry-After",
        "they are not",
    )?;
    drop(seated);
    waiting[0].send(post("abc"));
    expect("the first of them leaves, and the second has its turn", accepted(3), waiting[0].answer())?;
    drop(waiting);
    served.stop()
}

/// What phase 8 is about: a thread belongs to no client.
fn stays<E: Engine>() -> Check {
    let served = start::<E>(IngestConfig { threads: 2, ..config() })?;
    let sent = "one more request than there are threads, on connections that stay open";
    doing(sent);
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = served.connect()?;
        client.send(post("abc"));
        expect(sent, accepted(3), client.answer())?;
        clients.push(client);
    }
    drop(clients);
    served.stop()
}

fn thousand<E: Engine>() -> Check {
    enough_files(CONNECTIONS)?;
    let served = start::<E>(config())?;
    let sent = "a thousand connections that say nothing, and requests on one more";
    doing(sent);
    let mut silent = Vec::new();
    for _ in 0..CONNECTIONS {
        silent.push(served.connect()?);
    }
    let mut talking = served.connect()?;
    for _ in 0..100 {
        talking.send(post("abc"));
        expect(sent, accepted(3), talking.answer())?;
    }
    for client in silent.iter_mut().step_by(97) {
        client.send(post("abc"));
        expect("and then some of the silent ones speak", accepted(3), client.answer())?;
    }
    drop((silent, talking));
    served.stop()
}

/// What phase 9 is about. If each connection fell on either side by chance alone, all would be on one in one run of 2^63.
fn spread<E: Engine>() -> Check {
    let desk = Desk::new();
    let served = Served::start::<E>(&desk, IngestConfig { threads: 2, ..config() })?;
    let sent = "requests on 64 connections, where there are two reactors";
    doing(sent);
    expect(sent, accepted(1), served.ask("a")?)?;
    let mut clients = Vec::new();
    for _ in 0..64 {
        let mut client = served.connect()?;
        client.send(post("a"));
        expect(sent, accepted(1), client.answer())?;
        clients.push(client);
    }
    let busy = desk.requests().iter().filter(|requests| **requests > 0).count();
    expect(sent, "2 workers have served some", format!("{busy} workers have served some"))?;
    drop(clients);
    served.stop()
}

fn own_port<E: Engine>() -> Check {
    let served = start::<E>(IngestConfig { threads: 2, ..config() })?;
    let sent = "another program wants to listen where the engine does";
    doing(sent);
    expect("a request", accepted(1), served.ask("a")?)?;
    ensure(TcpListener::bind(served.address).is_err(), sent, "the port is taken", "it gets the port")?;
    served.stop()
}

/// Both ends of each connection are in this process.
fn enough_files(connections: usize) -> Check {
    allow_many_files().or_skip("the limit of open files")?;
    let mut files = Vec::new();
    for _ in 0..connections * 2 + 100 {
        files.push(std::fs::File::open("/dev/null").or_skip("this system allows too few open files")?);
    }
    Ok(())
}

/// One client that keeps its connection for as long as the server does.
fn accepts_per_thousand_requests<E: Engine>() -> Result<f64> {
    let served = start::<E>(config()).map_err(unmet)?;
    let (mut accepts, mut kept) = (0, None);
    for _ in 0..REQUESTS {
        let mut client = match kept.take() {
            Some(client) => client,
            None => {
                accepts += 1;
                served.connect().map_err(unmet)?
            }
        };
        client.send(post("abc"));
        let answer = client.answer();
        require!(answer.status() == 202, "a request was answered with {answer}");
        kept = (!answer.has("Connection: close")).then_some(client);
    }
    drop(kept);
    served.stop().map_err(unmet)?;
    Ok(f64::from(accepts) * 1000.0 / f64::from(REQUESTS))
}

/// Threads beside the one that serves, while a thousand clients want something and stay.
fn threads_per_thousand_connections<E: Engine>() -> Result<f64> {
    enough_files(CONNECTIONS).map_err(unmet)?;
    let before = Threads::now().context("this system does not say which threads a process has")?;
    let served = start::<E>(config()).map_err(unmet)?;
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut client = served.connect().map_err(unmet)?;
        client.send(post("abc"));
        clients.push(client);
    }
    let answer = clients[0].answer();
    require!(answer.status() == 202, "a request was answered with {answer}");
    // Whoever would be given a thread has one once no more are started.
    let mut count = before.started_since();
    loop {
        thread::sleep(MOMENT);
        let now = before.started_since();
        if now <= count {
            break;
        }
        count = now;
    }
    drop(clients);
    served.stop().map_err(unmet)?;
    let more = u32::try_from(count.saturating_sub(1))?;
    Ok(f64::from(more))
}

fn unmet(why: Unmet) -> anyhow::Error {
    match why {
        Unmet::Skipped(why) => anyhow::anyhow!(why),
        Unmet::Broken(f) => anyhow::anyhow!("{}: expected {}, got {}", f.sent, f.expected, f.observed),
    }
}
