//! A small server to load: on the standard library, slow, and as honest as the test wants it.
#![allow(dead_code, reason = "each test binary uses its own part")]
#![allow(clippy::unwrap_used, reason = "in a test that is the assertion")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

/// What the server does with the n-th POST (from 0).
#[derive(Clone, Copy, Debug)]
pub(crate) enum Answer {
    /// Stores it and answers 202 with a length.
    Accept,
    /// Stores it and answers 202 in chunks.
    AcceptChunked,
    /// Stores it and answers 202 without a length, ended by the connection's end.
    AcceptUntilClose,
    /// Stores it and answers 202 after a while.
    AcceptAfter(Duration),
    /// Answers with a status and does not store it.
    Refuse(u16),
    /// Answers that nobody knows what became of it, and stores it or not.
    Unsure(bool),
    /// Stores it and cuts the connection in the middle of the answer.
    CutShort,
    /// Cuts the connection instead of an answer, and stores nothing.
    Cut,
    /// Never answers.
    Silence,
    /// Answers something that is not HTTP.
    Nonsense,
    /// Answers without ever coming to an end.
    Flood,
    /// Answers twice.
    Twice,
}

/// What is wrong with the samples that can be queried.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Lie {
    None,
    LosesEvery(u64),
    AltersEvery(u64),
    DuplicatesEvery(u64),
    KeepsRefused,
    InventsSamples,
    /// Not visible until the n-th query.
    LateUntil(u64),
    /// Answers every query 503.
    QueriesFail,
}

#[derive(Clone, Copy)]
pub(crate) struct Behaviour {
    pub(crate) answer: fn(u64) -> Answer,
    pub(crate) lie: Lie,
    /// Serves one request at a time and closes, as the naive pipeline does.
    pub(crate) one_at_a_time: bool,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self { answer: |_| Answer::Accept, lie: Lie::None, one_at_a_time: false }
    }
}

type Points = BTreeMap<(String, String), Vec<(i64, f64)>>;

pub(crate) struct Server {
    pub(crate) port: u16,
    pub(crate) posts: Arc<AtomicU64>,
    pub(crate) connections: Arc<AtomicU64>,
    pub(crate) saw_token: Arc<AtomicBool>,
    shared: Arc<Shared>,
}

struct Shared {
    behaviour: Behaviour,
    posts: Arc<AtomicU64>,
    queries: AtomicU64,
    saw_token: Arc<AtomicBool>,
    stored: AtomicU64,
    points: Mutex<Points>,
}

impl Server {
    pub(crate) fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (posts, connections) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let saw_token = Arc::new(AtomicBool::new(false));
        let shared = Arc::new(Shared {
            behaviour,
            posts: Arc::clone(&posts),
            queries: AtomicU64::new(0),
            saw_token: Arc::clone(&saw_token),
            stored: AtomicU64::new(0),
            points: Mutex::new(Points::new()),
        });
        let (counter, serving) = (Arc::clone(&connections), Arc::clone(&shared));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                counter.fetch_add(1, Ordering::SeqCst);
                let shared = Arc::clone(&serving);
                if behaviour.one_at_a_time {
                    shared.serve(&stream);
                } else {
                    thread::spawn(move || shared.serve(&stream));
                }
            }
        });
        Self { port, posts, connections, saw_token, shared }
    }

    pub(crate) fn stored(&self) -> u64 {
        self.shared.stored.load(Ordering::SeqCst)
    }
}

impl Shared {
    /// Until the connection ends, from either side.
    fn serve(&self, stream: &TcpStream) {
        stream.set_nodelay(true).unwrap();
        let mut reader = BufReader::new(stream);
        while let Some((line, keep_alive, body)) = self.request(&mut reader) {
            let path = line.split(' ').nth(1).unwrap_or("").to_owned();
            let keep_alive = keep_alive && !self.behaviour.one_at_a_time;
            let stays = if line.starts_with("GET") {
                self.query(stream, &path);
                false
            } else {
                self.post(stream, &body, keep_alive)
            };
            if !stays {
                return;
            }
        }
    }

    fn request(&self, reader: &mut impl BufRead) -> Option<(String, bool, Vec<u8>)> {
        let mut first = String::new();
        if reader.read_line(&mut first).ok()? == 0 {
            return None;
        }
        let (mut length, mut keep_alive) = (0, true);
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("Content-Length: ") {
                length = value.parse().unwrap();
            }
            keep_alive &= line != "Connection: close";
            if line == "Authorization: Bearer s3cret" {
                self.saw_token.store(true, Ordering::SeqCst);
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        Some((first, keep_alive, body))
    }

    /// Whether the connection stays.
    fn post(&self, mut stream: &TcpStream, body: &[u8], keep_alive: bool) -> bool {
        let answer = (self.behaviour.answer)(self.posts.fetch_add(1, Ordering::SeqCst));
        if !matches!(answer, Answer::Refuse(_) | Answer::Unsure(false) | Answer::Cut | Answer::Silence)
            || self.behaviour.lie == Lie::KeepsRefused
        {
            self.store(body);
        }
        let connection = if keep_alive { "keep-alive" } else { "close" };
        let accepted =
            format!("HTTP/1.1 202 Accepted\r\nConnection: {connection}\r\nContent-Length: 2\r\n\r\n{{}}");
        let text = match answer {
            Answer::Accept => accepted,
            Answer::AcceptAfter(wait) => {
                thread::sleep(wait);
                accepted
            }
            Answer::AcceptChunked => format!(
                "HTTP/1.1 202 Accepted\r\nConnection: {connection}\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{{\r\n1\r\n}}\r\n0\r\n\r\n"
            ),
            Answer::AcceptUntilClose => "HTTP/1.1 202 Accepted\r\n\r\n{}".to_owned(),
            Answer::Refuse(status) => format!(
                "HTTP/1.1 {status} No\r\nRetry-After: 1\r\nConnection: {connection}\r\nContent-Length: 0\r\n\r\n"
            ),
            Answer::Unsure(_) => {
                let body = r#"{"error":{"code":"not_settled","message":"it took too long"}}"#;
                let length = body.len();
                format!(
                    "HTTP/1.1 503 No\r\nConnection: {connection}\r\nContent-Length: {length}\r\n\r\n{body}"
                )
            }
            Answer::CutShort => accepted[..20].to_owned(),
            Answer::Cut => String::new(),
            Answer::Silence => {
                // Until the tester gives up and closes.
                let _ = stream.read(&mut [0; 1]);
                return false;
            }
            Answer::Flood => {
                let _ = stream.write_all(b"HTTP/1.1 202 Accepted\r\n\r\n");
                while stream.write_all(&[b'x'; 64 * 1024]).is_ok() {}
                return false;
            }
            Answer::Nonsense => "220 smtp ready\r\n".to_owned(),
            Answer::Twice => format!("{accepted}{accepted}"),
        };
        let written = stream.write_all(text.as_bytes()).is_ok();
        let ends =
            matches!(answer, Answer::AcceptUntilClose | Answer::CutShort | Answer::Cut | Answer::Nonsense);
        written && keep_alive && !ends
    }

    fn store(&self, body: &[u8]) {
        let body: Value = serde_json::from_slice(body).unwrap();
        let samples = match &body["metrics"] {
            Value::Array(samples) => samples.clone(),
            _ => vec![body],
        };
        let mut points = self.points.lock().unwrap();
        for sample in samples {
            let number = self.stored.fetch_add(1, Ordering::SeqCst);
            let key = (
                sample["name"].as_str().unwrap().to_owned(),
                sample["labels"]["client"].as_str().unwrap().to_owned(),
            );
            let point = (sample["timestamp"].as_i64().unwrap(), sample["value"].as_f64().unwrap());
            let every = |n: u64| number % n == n / 2;
            let series = points.entry(key).or_default();
            match self.behaviour.lie {
                Lie::LosesEvery(n) if every(n) => {}
                Lie::AltersEvery(n) if every(n) => series.push((point.0, point.1 + 0.001)),
                Lie::DuplicatesEvery(n) if every(n) => series.extend([point, point]),
                Lie::InventsSamples if number == 0 => series.extend([point, (point.0 + 5, 1.0)]),
                _ => series.push(point),
            }
        }
    }

    fn query(&self, mut stream: &TcpStream, path: &str) {
        let number = self.queries.fetch_add(1, Ordering::SeqCst);
        let hidden = matches!(self.behaviour.lie, Lie::LateUntil(n) if number < n);
        let parameter = |name: &str| {
            let pairs = path.split_once('?').unwrap().1.split('&');
            pairs.filter_map(|pair| pair.split_once('=')).find(|pair| pair.0 == name).unwrap().1
        };
        let (name, start) = (parameter("name"), parameter("start").parse::<i64>().unwrap());
        let end = parameter("end").parse::<i64>().unwrap();
        let points = self.points.lock().unwrap();
        let series: Vec<Value> = points
            .iter()
            .filter(|(key, _)| key.0 == name && !hidden)
            .map(|(key, points)| {
                let inside = points.iter().filter(|point| (start..=end).contains(&point.0));
                let points: Vec<Value> = inside.map(|point| json!([point.0, point.1.to_string()])).collect();
                json!({"labels": {"client": key.1}, "points": points})
            })
            .collect();
        let body = json!({"name": name, "series": series}).to_string();
        let status = if self.behaviour.lie == Lie::QueriesFail { "503 Later" } else { "200 OK" };
        let _ = write!(
            stream,
            "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
    }
}

/// Runs the command and returns its exit code, stdout and stderr.
pub(crate) fn load_tester(arguments: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } =
        Command::new(env!("CARGO_BIN_EXE_load-tester")).args(arguments).output().unwrap();
    (status.code().unwrap(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// Runs the command against a server, with `--json`; its exit code and its report.
pub(crate) fn report(server: &Server, arguments: &[&str]) -> (i32, Value) {
    let port = server.port.to_string();
    let (code, stdout, stderr) = load_tester(&[&[&port, "--json"], arguments].concat());
    let report = serde_json::from_str(&stdout).unwrap_or_else(|_| panic!("exit {code}, stderr: {stderr}"));
    (code, report)
}
