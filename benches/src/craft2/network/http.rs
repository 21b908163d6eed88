//! Our queue over HTTP: produce in batches, beside a log that keeps nothing and an engine that does nothing; and fetch.

use super::{
    super::{
        loads::{LAST, MESSAGE_BYTES, PACKED, RAW},
        slice::Figures,
        subject::{Messages, Setting, Subject},
        work::{FILL_BYTES, RETENTION_BYTES, raw},
    },
    Stand, WARM_UP_S,
    client::{self, Pace, Protocol},
    server::Server,
};
use anyhow::{Context, Result, bail, ensure};
use contracts::queue::{FetchLimit, Offset, Partition, Records, put_payload};
use queue::{Codec, wire};
use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    process::Command,
    time::Duration,
};

/// Requests on their way. With 1,000 messages each that is what the peers have at most.
const IN_FLIGHT: usize = 10;
/// With 100 messages each, as many as a sync is good for: what is looked at is not how long one takes.
const SMALL_IN_FLIGHT: usize = 64;
/// The log that is fetched.
const LOG_BYTES: u64 = 256 << 20;
/// As agents send them.
const MESSAGES_A_COMMIT: usize = 100;
/// Records that a fetch asks for.
const FETCHED: u64 = 10_000;

pub(super) fn produce(stand: &Stand<'_>) -> Result<Figures> {
    posted(
        stand,
        LAST,
        &[],
        "disk",
        1000,
        Pace { in_flight: IN_FLIGHT, seconds: stand.seconds, units: 1000.0 },
    )
}

/// In requests: that is what the engine is asked for. The log has gone through its files before, as one has that has run
/// for a while: what is looked at is not how a file system gives out new blocks.
pub(super) fn produce_100(stand: &Stand<'_>, what: &str) -> Result<Figures> {
    let pace = Pace { in_flight: SMALL_IN_FLIGHT, seconds: stand.seconds, units: 1.0 };
    match what {
        RAW => raw(stand.dir, SMALL_IN_FLIGHT * 100 * MESSAGE_BYTES, SMALL_IN_FLIGHT, stand.seconds),
        LAST => {
            let dir = stand.dir.join("queue");
            fs::create_dir(&dir)?;
            let setting = Setting { retention_bytes_max: Some(RETENTION_BYTES), ..Setting::default() };
            Subject::open(LAST, &dir, &setting)?.fill(&Messages::new(stand.seed), FILL_BYTES, 1000)?;
            let retention = ["--retention-bytes".to_owned(), RETENTION_BYTES.to_string()];
            posted(stand, what, &retention, "disk", 100, pace)
        }
        _ => posted(stand, what, &[], "memory", 100, pace),
    }
}

fn posted(
    stand: &Stand<'_>,
    what: &str,
    arguments: &[String],
    ack: &str,
    messages: usize,
    pace: Pace,
) -> Result<Figures> {
    let held = || -> Result<f64> {
        let subject = Subject::open(LAST, &stand.dir.join("queue"), &Setting::default())?;
        Ok(subject.log.bounds(Partition(0))?.end.0 as f64)
    };
    let before = if stand.dir.join("queue").exists() { held()? } else { 0.0 };
    let server = start(stand, what, arguments)?;
    let socket = server.connect()?;
    let post = Requests::post(&Messages::new(stand.seed), messages, ack);
    let (_, mut answered) = client::run(&socket, &post, Pace { seconds: WARM_UP_S, ..pace })?;
    let mut figures = server.watched(|| {
        let seen = client::run(&socket, &post, pace)?;
        answered += seen.1;
        Ok(seen)
    })?;
    // It is killed, and what it has acknowledged must be there.
    drop(server);
    if what == LAST {
        let found = held()? - before;
        let acknowledged = answered / pace.units * messages as f64;
        ensure!(found >= acknowledged, "{acknowledged} messages were acknowledged, the log has {found}");
        figures.insert("acknowledged".to_owned(), acknowledged);
        figures.insert("found".to_owned(), found);
    }
    Ok(figures)
}

fn start(stand: &Stand<'_>, what: &str, arguments: &[String]) -> Result<Server> {
    let mut command = Command::new(&stand.programs.queue_server);
    command.args(["--what", what, "--dir"]).arg(stand.dir).args(arguments);
    Server::ours(command)
}

/// The whole of a log that the page cache holds, again and again.
pub(super) fn fetch(stand: &Stand<'_>, what: &str) -> Result<Figures> {
    let dir = stand.dir.join("queue");
    fs::create_dir(&dir)?;
    let codec = if what == PACKED { Codec::Lz4 } else { Codec::Raw };
    let subject = Subject::open(LAST, &dir, &Setting { codec, ..Setting::default() })?;
    subject.fill(&Messages::new(stand.seed), LOG_BYTES, MESSAGES_A_COMMIT)?;
    drop(subject);
    let server = start(stand, LAST, &[])?;
    let socket = server.connect()?;
    let gets = Requests::gets(LOG_BYTES / MESSAGE_BYTES as u64 / FETCHED);
    let wire = checked(&socket, &gets, 3)?;
    let units = (FETCHED * MESSAGE_BYTES as u64) as f64 / f64::from(1 << 20);
    let pace = |seconds| Pace { in_flight: IN_FLIGHT, seconds, units };
    client::run(&socket, &gets, pace(WARM_UP_S))?;
    let mut figures = server.watched(|| client::run(&socket, &gets, pace(stand.seconds)))?;
    figures.insert("wire_bytes_per_record".to_owned(), wire as f64 / FETCHED as f64);
    Ok(figures)
}

/// One of the answers is looked at: it must hold what was asked for. Returns its length.
fn checked(mut socket: &TcpStream, gets: &Requests, number: usize) -> Result<usize> {
    socket.write_all(gets.burst(number))?;
    let (mut bytes, mut buffer) = (Vec::new(), vec![0; 1 << 20]);
    let length = loop {
        if let Some(length) = answer(&bytes)?.filter(|length| bytes.len() >= *length) {
            break length;
        }
        let got = socket.read(&mut buffer)?;
        ensure!(got > 0, "the server closed the connection");
        bytes.extend_from_slice(&buffer[..got]);
    };
    let body = bytes.windows(4).position(|end| end == b"\r\n\r\n").map_or(length, |head| head + 4);
    let (mut records, from) = (Records::new(), Offset(number as u64 * FETCHED));
    let limit = FetchLimit { records_max: usize::MAX, bytes_max: usize::MAX, wait: Duration::ZERO };
    wire::decode(&bytes[body..length], Partition(0), from, limit, &mut records)?;
    ensure!(records.len() as u64 == FETCHED, "{} records came, {FETCHED} were asked for", records.len());
    Ok(length - body)
}

/// Requests that are sent in turn, each answered with 2xx.
pub(super) struct Requests {
    all: Vec<Vec<u8>>,
}

impl Requests {
    /// These bodies, to this path.
    pub(super) fn bodies(path: &str, content_type: &str, bodies: Vec<Vec<u8>>) -> Self {
        let request = |body: Vec<u8>| {
            let head = format!(
                "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {content_type}\r\n\
                 Content-Length: {}\r\n\r\n",
                body.len()
            );
            [head.into_bytes(), body].concat()
        };
        Self { all: bodies.into_iter().map(request).collect() }
    }

    fn post(messages: &Messages, count: usize, ack: &str) -> Self {
        let mut body = Vec::new();
        (0..count).for_each(|number| put_payload(messages.get(number), &mut body));
        let path = format!("/produce?partition=0&ack={ack}");
        Self::bodies(&path, "application/vnd.systems-craft.records", vec![body])
    }

    fn gets(count: u64) -> Self {
        let get = |number: u64| {
            let (offset, bytes) = (number * FETCHED, FETCHED * (MESSAGE_BYTES as u64 + 64));
            format!(
                "GET /consume?partition=0&offset={offset}&count={FETCHED}&bytes={bytes} HTTP/1.1\r\n\
                 Host: 127.0.0.1\r\nAccept: application/vnd.systems-craft.frames\r\n\r\n"
            )
            .into_bytes()
        };
        Self { all: (0..count).map(get).collect() }
    }
}

impl Protocol for Requests {
    fn burst(&self, number: usize) -> &[u8] {
        &self.all[number % self.all.len()]
    }

    fn answers(&self) -> usize {
        1
    }

    fn parse(&self, bytes: &[u8]) -> Result<(usize, usize)> {
        let (mut answers, mut at) = (0, 0);
        while let Some(length) = answer(&bytes[at..])? {
            if bytes.len() < at + length {
                break;
            }
            answers += 1;
            at += length;
        }
        Ok((answers, at))
    }
}

/// How long the first answer is, once its head is there.
fn answer(bytes: &[u8]) -> Result<Option<usize>> {
    let Some(head) = bytes.windows(4).position(|end| end == b"\r\n\r\n") else { return Ok(None) };
    let text = std::str::from_utf8(&bytes[..head]).context("the answer's head is no text")?;
    let status = text.split(' ').nth(1).context("the answer has no status")?;
    if !status.starts_with('2') {
        let said = String::from_utf8_lossy(&bytes[head + 4..]);
        bail!("it answered {status}: {}", said.chars().take(200).collect::<String>());
    }
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    ensure!(length.is_some() || status == "204", "the answer has no length");
    Ok(Some(head + 4 + length.unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_cut_at_their_length() {
        let requests = Requests::bodies("/", "text/plain", vec![vec![]]);
        let one = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc";
        let two = [one.as_slice(), b"HTTP/1.1 204 No Content\r\n\r\n"].concat();
        assert_eq!(requests.parse(&two).unwrap(), (2, two.len()));
        assert_eq!(requests.parse(&one[..one.len() - 1]).unwrap(), (0, 0));
        let error = requests.parse(b"HTTP/1.1 503 No\r\ncontent-length: 4\r\n\r\nfull").unwrap_err();
        assert!(error.to_string().contains("503: full"));
    }

    #[test]
    fn a_post_holds_what_it_says() {
        let post = Requests::post(&Messages::new(1), 10, "disk");
        let bytes = post.burst(0);
        let head = bytes.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4;
        assert_eq!(bytes.len() - head, 10 * 132);
        assert!(String::from_utf8_lossy(&bytes[..head]).contains("Content-Length: 1320\r\n"));
    }
}
