//! What every engine must do. `KEEPS` says whether a connection serves more than one request.

use super::{Client, Lab, PATIENCE, Served, config, post, wait_until};
use contracts::ingest::IngestConfig;
use ingest::slots::Engine;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, SockRef, Socket, Type};
use std::{
    fs::File,
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    process::Command,
    thread,
    time::{Duration, Instant},
};

/// A head whose body is still to come; the server says that it has seen it.
const HALF: &str = "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n";
const SHORT: Duration = Duration::from_millis(300);

/// Makes a test of each of them.
#[macro_export]
macro_rules! engine_suite {
    ($module:ident, $engine:ty, [$($test:ident),* $(,)?]) => {
        mod $module {
            $(#[test] fn $test() { $crate::engine_support::suite::$test::<$engine>(); })*
        }
    };
}

pub fn a_request_in_pieces_of_seven_bytes_is_answered<E: Engine>() {
    let served = Served::start::<E>(&Lab::new(), config());
    let mut client = served.connect();
    for piece in post("twelve bytes").as_bytes().chunks(7) {
        client.send(piece);
        thread::sleep(Duration::from_millis(1));
    }
    let answer = client.answer();
    assert_eq!((answer.status, answer.body.as_str()), (202, r#"{"accepted":12}"#));
    served.stop();
}

pub fn a_connection_serves_one_request_and_is_closed<E: Engine>() {
    let served = Served::start::<E>(&Lab::new(), config());
    let mut client = served.connect();
    client.send(post("a") + &post("bb"));
    let answer = client.answer();
    assert_eq!((answer.status, answer.body.as_str()), (202, r#"{"accepted":1}"#));
    assert!(answer.head.contains("Connection: close"), "{}", answer.head);
    assert!(client.is_closed());
    assert_eq!(served.ask("ccc").body, r#"{"accepted":3}"#);
    served.stop();
}

pub fn a_connection_serves_many_requests<E: Engine>() {
    let served = Served::start::<E>(&Lab::new(), config());
    let mut client = served.connect();
    for body in ["a", "bb", "ccc"] {
        client.send(post(body));
        let answer = client.answer();
        assert_eq!(answer.body, format!(r#"{{"accepted":{}}}"#, body.len()));
        assert!(!answer.head.contains("Connection: close"), "{}", answer.head);
    }
    client.send("GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_eq!(client.answer().status, 404);
    assert!(client.is_closed());
    served.stop();
}

pub fn requests_that_come_together_are_handed_over_together<E: Engine>() {
    let lab = Lab::new();
    let served = Served::start::<E>(&lab, config());
    let mut client = served.connect();
    client.send(post("a").repeat(16));
    for _ in 0..16 {
        assert_eq!(client.answer().status, 202);
    }
    assert_eq!(lab.bursts(), 1, "sixteen requests in one packet are one burst");
    served.stop();
}

/// Far more answers than may pile up, so that requests are kept back again and again.
pub fn ten_thousand_pipelined_requests_are_answered_in_order<E: Engine>() {
    let served = Served::start::<E>(&Lab::new(), config());
    let mut client = served.connect();
    let mut writing = client.stream.try_clone().unwrap();
    let writer = thread::spawn(move || {
        for n in 0..10_000 {
            writing.write_all(post(&"x".repeat(n % 100)).as_bytes()).unwrap();
        }
        writing.shutdown(Shutdown::Write).unwrap();
    });
    for n in 0..10_000 {
        assert_eq!(client.answer().body, format!(r#"{{"accepted":{}}}"#, n % 100), "request {n}");
    }
    assert!(client.is_closed(), "after the client had said that it would send no more");
    writer.join().unwrap();
    served.stop();
}

pub fn a_client_is_told_to_go_on_before_it_sends_its_body<E: Engine>() {
    let served = Served::start::<E>(&Lab::new(), config());
    let mut client = served.connect();
    client.send(HALF);
    assert_eq!(client.answer().status, 100);
    client.send("abc");
    assert_eq!(client.answer().body, r#"{"accepted":3}"#);
    served.stop();
}

pub fn a_reply_is_held_until_its_ticket_has_settled<E: Engine>() {
    let lab = Lab::by_hand();
    let served = Served::start::<E>(&lab, config());
    let mut client = served.connect();
    client.send(post("abc"));
    lab.wait_for_flushed(1);
    assert!(client.hears_nothing(), "what is not safe is not acknowledged");
    lab.settle();
    assert_eq!(client.answer().body, r#"{"accepted":3}"#);
    served.stop();
}

/// While answers are held, nobody who can be served stands still.
pub fn who_waits_for_the_log_stops_nobody<E: Engine>() {
    let lab = Lab::by_hand();
    let served = Served::start::<E>(&lab, config());
    let mut clients: Vec<Client> = (0..40).map(|_| served.connect()).collect();
    clients.iter_mut().for_each(|client| client.send(post("abc")));
    lab.wait_for_flushed(40);
    let mut other = served.connect();
    other.send("GET /bytes?count=5 HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(other.answer().body, "xxxxx");
    lab.settle();
    assert!(clients.iter_mut().all(|client| client.answer().status == 202));
    served.stop();
}

pub fn what_is_lost_is_never_acknowledged<E: Engine>() {
    let lab = Lab::by_hand();
    let served = Served::start::<E>(&lab, config());
    let mut client = served.connect();
    client.send(post("abc"));
    lab.wait_for_flushed(1);
    lab.lose("the disk is gone");
    let answer = client.answer();
    assert_eq!(answer.status, 503);
    assert!(
        answer.body.contains("not_settled") && answer.body.contains("the disk is gone"),
        "{}",
        answer.body
    );
    assert!(client.is_closed());
    served.stop();
}

/// The log fails and works again before the engine looks. It is told once, and must tell everybody who waited.
pub fn what_is_lost_for_a_moment_is_never_acknowledged<E: Engine>() {
    let lab = Lab::by_hand();
    let served = Served::start::<E>(&lab, config());
    let mut clients: Vec<Client> = (0..20).map(|_| served.connect()).collect();
    clients.iter_mut().for_each(|client| client.send(post("abc")));
    lab.wait_for_flushed(20);
    lab.lose_once("the disk was gone");
    for client in &mut clients {
        let answer = client.answer();
        assert_eq!(answer.status, 503, "{}", answer.body);
        assert!(answer.body.contains("the disk was gone"), "{}", answer.body);
    }
    let before = lab.flushed();
    let mut client = served.connect();
    client.send(post("abc"));
    lab.wait_for_flushed(before + 1);
    assert!(client.hears_nothing());
    lab.settle();
    assert_eq!(client.answer().status, 202, "and then it goes on");
    served.stop();
}

pub fn a_ticket_that_never_settles_is_given_up<E: Engine>() {
    let lab = Lab::by_hand();
    let served = Served::start::<E>(&lab, IngestConfig { settle_timeout: SHORT, ..config() });
    let mut client = served.connect();
    client.send(post("abc"));
    let answer = client.answer();
    assert_eq!(answer.status, 503);
    assert!(answer.body.contains("not_settled"), "{}", answer.body);
    served.stop();
}

/// A byte now and then does not buy more time.
pub fn a_request_that_drips_is_refused_when_its_time_is_up<E: Engine>() {
    let served = Served::start::<E>(&Lab::new(), IngestConfig { request_timeout: SHORT, ..config() });
    let mut client = served.connect();
    let mut writing = client.stream.try_clone().unwrap();
    client.send("POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n");
    let dripping = thread::spawn(move || {
        while writing.write_all(b"x").is_ok() {
            thread::sleep(Duration::from_millis(5));
        }
    });
    let answer = client.answer();
    assert_eq!(answer.status, 408);
    assert!(answer.body.contains("request_timeout"), "{}", answer.body);
    client.rest();
    dripping.join().unwrap();
    assert_eq!(served.ask("a").status, 202);
    served.stop();
}

pub fn a_silent_connection_is_closed<E: Engine>() {
    let config = IngestConfig { idle_timeout: SHORT, keep_alive_timeout: SHORT, ..config() };
    let served = Served::start::<E>(&Lab::new(), config);
    assert!(served.connect().is_closed());
    served.stop();
}

/// It gets no more than fits into the buffers between, and keeps nobody from anything.
pub fn a_client_that_does_not_read_is_dropped<E: Engine>() {
    const COUNT: usize = 64 << 20;
    let config = IngestConfig { request_timeout: SHORT, connections_max: 1, ..config() };
    let served = Served::start::<E>(&Lab::new(), config);
    let mut lazy = served.connect();
    lazy.send(format!("GET /bytes?count={COUNT} HTTP/1.1\r\nHost: x\r\n\r\n"));
    wait_until("the only seat", || served.ask("a").status == 202);
    let read = lazy.rest().len();
    assert!(read < COUNT, "all {read} bytes were sent to somebody who did not read");
    served.stop();
}

pub fn a_client_that_reads_slowly_gets_everything<E: Engine>() {
    const COUNT: usize = 16 << 20;
    let served = Served::start::<E>(&Lab::new(), config());
    let mut client = served.connect();
    SockRef::from(&client.stream).set_recv_buffer_size(64 << 10).unwrap();
    client.send(format!("GET /bytes?count={COUNT} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"));
    let (mut read, mut piece) = (0, vec![0; 256 << 10]);
    loop {
        match client.stream.read(&mut piece).unwrap() {
            0 => break,
            n => read += n,
        }
        thread::sleep(Duration::from_millis(1));
    }
    assert!(read > COUNT, "{read} bytes");
    served.stop();
}

/// The answer comes before the client has finished, and must survive that.
pub fn a_body_that_is_too_large_is_refused_and_the_client_hears_why<E: Engine>() {
    let served = Served::start::<E>(&Lab::new(), IngestConfig { body_bytes_max: 1000, ..config() });
    let mut client = served.connect();
    client.send("POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n\r\n");
    client.send(vec![b'x'; 2_000_000]);
    assert_eq!(client.answer().status, 413);
    assert!(client.is_closed());
    served.stop();
}

pub fn a_client_that_vanishes_at_any_byte_leaves_nothing_behind<E: Engine>() {
    let config = IngestConfig { connections_max: 4, ..config() };
    let served = Served::start::<E>(&Lab::new(), config);
    let request = post("abc");
    for cut in 0..=request.len() {
        let mut client = served.connect();
        client.send(&request[..cut]);
        if cut % 2 == 1 {
            // A reset rather than an orderly end.
            SockRef::from(&client.stream).set_linger(Some(Duration::ZERO)).unwrap();
        }
        drop(client);
        // Its seat is free as soon as the engine has looked.
        wait_until("a free seat", || {
            let mut client = served.connect();
            client.send(&request);
            client.answer().status == 202
        });
    }
    served.stop();
}

pub fn connections_beyond_the_limit_are_told_so<E: Engine>() {
    let lab = Lab::new();
    let served = Served::start::<E>(&lab, IngestConfig { connections_max: 3, ..config() });
    let mut seated: Vec<Client> = (0..3).map(|_| served.connect()).collect();
    // Each must have been seen before the next comes.
    for client in &mut seated {
        client.send(HALF);
        assert_eq!(client.answer().status, 100);
    }
    let refused = served.connect().answer();
    assert_eq!(refused.status, 503);
    assert!(refused.body.contains("too_many_connections"), "{}", refused.body);
    assert!(refused.head.contains("Retry-After: "), "{}", refused.head);
    assert_eq!(lab.refused(), [503], "and it was counted");
    for client in &mut seated {
        client.send("abc");
        assert_eq!(client.answer().status, 202, "those who were there suffer nothing");
    }
    drop(seated);
    wait_until("a free seat", || {
        let mut client = served.connect();
        client.send(post("a"));
        client.answer().status == 202
    });
    served.stop();
}

pub fn who_wants_more_memory_than_there_is_suffers_alone<E: Engine>() {
    let served = Served::start::<E>(&Lab::new(), IngestConfig { buffered_bytes_max: 20_000, ..config() });
    let mut modest = served.connect();
    let large = post(&"x".repeat(15_000));
    // All of this is read at once, so that with the answer to the first request the part of the second is counted.
    modest.send(post("a") + &large[..12_000]);
    assert_eq!(modest.answer().status, 202);
    let mut greedy = served.connect();
    greedy.send("POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n");
    greedy.send(vec![b'x'; 100_000]);
    let answer = greedy.answer();
    assert_eq!(answer.status, 503);
    assert!(answer.body.contains("overloaded"), "{}", answer.body);
    modest.send(&large[12_000..]);
    assert_eq!(modest.answer().body, r#"{"accepted":15000}"#);
    served.stop();
}

/// What has begun is finished; who comes now is refused by the kernel; who is silent is let go.
pub fn a_drain_finishes_what_has_begun<E: Engine>() {
    let lab = Lab::by_hand();
    let mut served = Served::start::<E>(&lab, config());
    let (mut waiting, mut half, mut silent) = (served.connect(), served.connect(), served.connect());
    waiting.send(post("abc"));
    lab.wait_for_flushed(1);
    half.send("POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(half.answer().status, 100);
    served.begin_stop();
    assert!(silent.is_closed(), "although it was allowed to be silent for {PATIENCE:?}");
    wait_until("refused connections", || TcpStream::connect(served.address).is_err());
    assert!(!served.has_ended());
    half.send("abcd");
    lab.wait_for_flushed(2);
    lab.settle();
    for (client, body) in [(&mut waiting, r#"{"accepted":3}"#), (&mut half, r#"{"accepted":4}"#)] {
        assert_eq!(client.answer().body, body);
        assert!(client.is_closed());
    }
    served.wait().unwrap();
    TcpListener::bind(served.address).expect("the port is free again");
}

/// The engine that serves one client at a time can finish only that one.
pub fn a_drain_finishes_the_request_that_has_begun<E: Engine>() {
    let mut served = Served::start::<E>(&Lab::new(), config());
    let mut half = served.connect();
    half.send("POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(half.answer().status, 100);
    served.begin_stop();
    half.send("abcd");
    assert_eq!(half.answer().body, r#"{"accepted":4}"#);
    served.wait().unwrap();
    TcpListener::bind(served.address).expect("the port is free again");
}

/// A request that had arrived before the end is answered, even if nobody had looked at it yet.
pub fn a_drain_answers_what_has_arrived<E: Engine>() {
    let served = Served::start::<E>(&Lab::new(), config());
    let mut clients: Vec<Client> = (0..20).map(|_| served.connect()).collect();
    clients.iter_mut().for_each(|client| client.send(post("abc")));
    served.stop();
    for mut client in clients {
        assert_eq!(client.answer().status, 202);
    }
}

/// Neither who does not read nor who does not send, whatever their own timeouts say.
pub fn a_drain_waits_for_nobody_for_ever<E: Engine>() {
    let served = Served::start::<E>(&Lab::new(), IngestConfig { request_timeout: PATIENCE * 10, ..config() });
    let (mut lazy, mut half) = (served.connect(), served.connect());
    lazy.send("GET /bytes?count=67108864 HTTP/1.1\r\nHost: x\r\n\r\n");
    half.send("POST /metrics HTTP/1.1\r\nHost:");
    thread::sleep(Duration::from_millis(50));
    let begun = Instant::now();
    served.stop();
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
}

pub fn a_thousand_silent_connections_stop_nobody<E: Engine>() {
    silent_connections::<E>(1_000);
}

pub fn almost_ten_thousand_silent_connections_stop_nobody<E: Engine>() {
    silent_connections::<E>(9_800);
}

fn silent_connections<E: Engine>(count: usize) {
    allow_descriptors(count * 2 + 200);
    let served = Served::start::<E>(&Lab::new(), config());
    let silent: Vec<Client> = (0..count).map(|_| served.connect()).collect();
    let mut talking = served.connect();
    for _ in 0..100 {
        talking.send(post("abc"));
        assert_eq!(talking.answer().status, 202);
    }
    for mut client in silent.into_iter().step_by(97) {
        client.send(post("abc"));
        assert_eq!(client.answer().status, 202);
    }
    served.stop();
}

/// Raises this process's limit if it is too low.
pub fn allow_descriptors(count: usize) {
    let (count, limit) = (u64::try_from(count).unwrap(), getrlimit(Resource::Nofile));
    if limit.current.is_some_and(|current| current < count) {
        let maximum = limit.maximum.map(|maximum| maximum.max(count));
        setrlimit(Resource::Nofile, Rlimit { current: Some(count), maximum })
            .expect("the hard limit of descriptors is too low for this test");
    }
}

const CHILD: &str = "ENGINE_TEST_WITHOUT_DESCRIPTORS";

/// In a process of its own, which may have so few descriptors that they run out. `name` is that of the test.
pub fn without_descriptors<E: Engine>(name: &str) {
    if std::env::var_os(CHILD).is_some() {
        return in_the_child::<E>();
    }
    let tests = std::env::current_exe().unwrap();
    let child = Command::new(tests).args([name, "--exact", "--nocapture"]).env(CHILD, "1").output().unwrap();
    let said = String::from_utf8_lossy(&child.stdout).into_owned() + &String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success() && said.contains("1 passed"), "{said}");
}

fn in_the_child<E: Engine>() {
    let lab = Lab::new();
    let served = Served::start::<E>(&lab, config());
    let mut first = served.connect();
    first.send(HALF);
    assert_eq!(first.answer().status, 100);

    // The clients are in this process too, and take what the server could have had.
    limit_descriptors(60);
    let mut fillers: Vec<_> = (0..4).map(|_| File::open("/dev/null").unwrap()).collect();
    let mut clients = Vec::new();
    while let Ok(stream) = TcpStream::connect(served.address) {
        clients.push(Client::new(stream));
        // The server takes its half meanwhile.
        thread::sleep(Duration::from_millis(5));
    }
    assert!(clients.len() > 10);
    // A descriptor for one more client, and none for the server. A thread that waits in `accept` has one already, so it may
    // be the second client that is told.
    let said = loop {
        drop(fillers.pop().expect("one of four clients is refused"));
        let mut client = served.connect();
        client.send(HALF);
        let answer = client.answer();
        clients.push(client);
        if answer.status != 100 {
            break answer;
        }
    };
    assert_eq!(said.status, 503);
    assert!(said.body.contains("too_many_connections"), "{}", said.body);
    assert!(lab.refused().contains(&503), "and it was counted");
    first.send("abc");
    assert_eq!(first.answer().status, 202, "who is served goes on");
    drop(clients);

    // Now not even the reserve is of use.
    let waiting = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    limit_descriptors(3);
    waiting.connect(&served.address.into()).unwrap();
    let before = processor_time();
    thread::sleep(Duration::from_millis(500));
    let used = processor_time() - before;
    assert!(used < Duration::from_millis(250), "{used:?} of 500 ms: it is spinning");
    limit_descriptors(60);
    let mut waiting = Client::new(waiting.into());
    waiting.send(post("abc"));
    // A thread that waits in `accept` had a descriptor for it, and knew that there was none for the next.
    assert!([202, 503].contains(&waiting.answer().status));
    wait_until("room again", || served.ask("abc").status == 202);
    served.stop();
}

fn limit_descriptors(count: u64) {
    let limit = Rlimit { current: Some(count), maximum: getrlimit(Resource::Nofile).maximum };
    setrlimit(Resource::Nofile, limit).unwrap();
}

/// What this process has used so far.
fn processor_time() -> Duration {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(used.tv_sec.try_into().unwrap(), used.tv_nsec.try_into().unwrap())
}
