//! The load: our tester as a child on its own core, and clients that are slow on purpose.

use crate::{process::allow_many_files, tool::Pinning};
use anyhow::{Context, Result, bail};
use load_tester::provenance::Provenance;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    ffi::OsString,
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    process::{Child, ChildStdout, ExitCode, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// The word that makes the runner's own program the load tester.
pub const AS_LOAD_TESTER: &str = "load-tester";
/// The word that makes it slow clients.
pub const AS_SLOW_CLIENTS: &str = "slow-clients";

/// What a request does not get an answer to within this time, it will not be counted for.
const REQUEST_TIMEOUT: &str = "2s";
/// Opening slow connections is given up after this: a server that accepts none would keep us for ever.
const OPENING_MAX: Duration = Duration::from_secs(5);
/// One connection is not waited for longer than this.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
/// How often slow clients look at their connections.
const TICK: Duration = Duration::from_millis(100);

/// What is sent, and how fast.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Traffic {
    /// Clients, each with one connection.
    pub connections: u32,
    /// Requests on their way on one connection.
    pub pipeline: u32,
    /// Samples in a request.
    pub batch: u32,
    /// Requests a second, whatever the server does; without it, a client sends when it was answered.
    pub rate: Option<f64>,
    /// Whether all connections stand before the first request: then no latency holds the time to connect.
    #[serde(default)]
    pub connect_first: bool,
    /// What the samples' values are derived from.
    pub seed: u64,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Requests {
    /// From the first request to the last answer.
    pub seconds: f64,
    /// Requests that were begun.
    pub started: u64,
    /// Requests that were answered, with whatever status.
    pub answered: u64,
    /// Requests that were answered 2xx.
    pub ok: u64,
    /// Requests that were given up.
    pub unanswered: u64,
    /// `ok` in percent of those that were asked for.
    pub success_percent: f64,
    /// Requests answered 2xx a second.
    pub ok_per_s: f64,
    /// Open loop: requests a second that were asked for.
    pub rate_asked: Option<f64>,
    /// Answers by status.
    pub by_status: BTreeMap<String, u64>,
    /// What was not answered, by reason.
    pub failures: BTreeMap<String, u64>,
    /// Percentiles of the latency, from when a request was meant to be sent to its answer.
    pub latency_us: BTreeMap<String, f64>,
    /// Share of its core that the tester worked, 0 to 1.
    pub tester_cpu: Option<f64>,
    /// The tester was the limit: the server may be faster than this.
    pub tester_saturated: bool,
}

impl Requests {
    /// A percentile: `p50`, `p99`, `p99.9`.
    pub fn latency(&self, percentile: &str) -> Option<f64> {
        self.latency_us.get(percentile).copied()
    }

    /// Of the tester's report.
    fn of(report: &Value) -> Result<Self> {
        let result = &report["result"];
        let count = |name: &str| result[name].as_u64().with_context(|| format!("the report has no {name}"));
        let counts = |name: &str| -> BTreeMap<String, u64> {
            let map = result[name].as_object().into_iter().flatten();
            map.filter_map(|(key, n)| Some((key.clone(), n.as_u64().filter(|n| *n > 0)?))).collect()
        };
        let latency = result["latency_us"].as_object().context("the report has no latency")?;
        let seconds = result["elapsed_ms"].as_f64().context("the report has no time")? / 1000.0;
        let (ok, answered) = (count("ok")?, count("answered")?);
        Ok(Self {
            seconds,
            started: count("requests_started")?,
            answered,
            ok,
            unanswered: count("unanswered")?,
            success_percent: result["success_percent"].as_f64().unwrap_or_default(),
            ok_per_s: ok as f64 / seconds.max(1e-9),
            rate_asked: result["rate_asked"].as_f64(),
            by_status: counts("by_status"),
            failures: counts("failures"),
            // Of no answers there is no latency; the tester's zeros would look like a very fast server.
            latency_us: latency
                .iter()
                .filter(|_| answered > 0)
                .filter_map(|(name, us)| Some((name.clone(), us.as_f64()?)))
                .collect(),
            tester_cpu: report["verdict"]["thread_cpu_max"].as_f64(),
            tester_saturated: report["verdict"]["tester_saturated"].as_bool().unwrap_or(false),
        })
    }
}

/// A load under way.
#[derive(Debug)]
pub struct Running(Child);

impl Running {
    /// Starts the tester on the load's core.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(pinning: &Pinning, port: u16, traffic: &Traffic, seconds: f64) -> Result<Self> {
        let mut command = pinning.this_as_generator()?;
        command.args([AS_LOAD_TESTER, &port.to_string(), "--quiet", "--json", "--threads", "1"]);
        command.args([
            "--clients",
            &traffic.connections.to_string(),
            "--pipeline",
            &traffic.pipeline.to_string(),
        ]);
        command.args(["--batch", &traffic.batch.to_string(), "--seed", &traffic.seed.to_string()]);
        command.args(["--duration", &format!("{seconds}s"), "--request-timeout", REQUEST_TIMEOUT]);
        if traffic.connect_first {
            command.arg("--connect-first");
        }
        if let Some(rate) = traffic.rate {
            command.args(["--rate", &format!("{rate:.3}")]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Ok(Self(command.spawn().context("cannot start the load tester")?))
    }

    /// Waits for its end. That nothing succeeded is a result too.
    ///
    /// # Errors
    /// When it has no report.
    pub fn finish(self) -> Result<Requests> {
        let output = self.0.wait_with_output().context("the load tester was lost")?;
        match serde_json::from_slice::<Value>(&output.stdout) {
            Ok(report) => Requests::of(&report),
            Err(_) => bail!("the load tester: {}", String::from_utf8_lossy(&output.stderr).trim()),
        }
    }
}

/// Runs a load to its end.
///
/// # Errors
/// When there is no report.
pub fn run(pinning: &Pinning, port: u16, traffic: &Traffic, seconds: f64) -> Result<Requests> {
    Running::start(pinning, port, traffic, seconds)?.finish()
}

/// Machine, commit, compiler: as every results file has them.
pub fn provenance() -> Provenance {
    Provenance::collect(std::path::Path::new("."))
}

/// Connections that are there and ask for next to nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Beside {
    /// How many.
    pub connections: u32,
    /// Each sends one more byte of a request that never ends this often; without it, nothing at all.
    pub drip_ms: Option<u64>,
}

/// How they fared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BesideReport {
    /// Connections that stood when the load began.
    pub open_at_begin: u64,
    /// Connections that stood at its end, those that were opened again included.
    pub open_at_end: u64,
    /// Connections that the server closed, and that were opened again.
    pub reopened: u64,
}

/// Slow clients at work; dropping them ends them.
#[derive(Debug)]
pub struct SlowClients {
    child: Child,
    said: BufReader<ChildStdout>,
}

impl SlowClients {
    /// Starts them, and waits until their connections stand.
    ///
    /// # Errors
    /// When they do not start.
    pub fn start(pinning: &Pinning, port: u16, beside: &Beside) -> Result<Self> {
        let mut command = pinning.this_as_generator()?;
        command.args([AS_SLOW_CLIENTS, &port.to_string(), &beside.connections.to_string()]);
        command.args(beside.drip_ms.map(|ms| ms.to_string()));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut said = BufReader::new(child.stdout.take().context("the slow clients have no stdout")?);
        let mut ready = String::new();
        said.read_line(&mut ready).context("the slow clients did not begin")?;
        Ok(Self { child, said })
    }

    /// Ends them.
    ///
    /// # Errors
    /// When they have nothing to say.
    pub fn finish(mut self) -> Result<BesideReport> {
        drop(self.child.stdin.take());
        let mut words = String::new();
        self.said.read_line(&mut words).context("the slow clients were lost")?;
        self.child.wait()?;
        serde_json::from_str(&words).context("the slow clients have nothing to say")
    }
}

impl Drop for SlowClients {
    fn drop(&mut self) {
        // Both only fail when they have ended by themselves, which is just as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Generates load, if the words after the program's own name say so: whoever measures is started again as a generator,
/// and so has to begin with this. `None`: they say something else.
pub fn generate(words: &[OsString]) -> Option<ExitCode> {
    let (first, rest) = words.split_first()?;
    if first == AS_LOAD_TESTER {
        return Some(load_tester::cli::main(words.to_vec()));
    }
    if first != AS_SLOW_CLIENTS {
        return None;
    }
    let rest: Vec<String> = rest.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let ended = allow_many_files().and_then(|()| slow_clients(&rest));
    Some(match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{AS_SLOW_CLIENTS}: {error:#}");
            ExitCode::FAILURE
        }
    })
}

/// The program that [`SlowClients`] runs: `PORT CONNECTIONS [DRIP_MS]`, until stdin ends.
fn slow_clients(words: &[String]) -> Result<()> {
    let (port, connections, drip) = match words {
        [port, connections] => (port, connections, None),
        [port, connections, ms] => (port, connections, Some(Duration::from_millis(ms.parse()?))),
        _ => bail!("{AS_SLOW_CLIENTS} PORT CONNECTIONS [DRIP_MS]"),
    };
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port.parse()?));
    let ended = Arc::new(AtomicBool::new(false));
    let end = ended.clone();
    thread::spawn(move || {
        // Whatever comes, or an error: the other end is gone.
        let _ = std::io::stdin().read(&mut [0]);
        end.store(true, Ordering::Relaxed);
    });
    let mut clients = Slow::open(address, connections.parse()?, drip);
    let open_at_begin = clients.streams.len() as u64;
    println!("{open_at_begin}");
    while !ended.load(Ordering::Relaxed) {
        thread::sleep(TICK);
        clients.tick();
    }
    let open_at_end =
        clients.streams.iter_mut().filter_map(|(stream, _)| is_open(stream).then_some(())).count();
    let report = BesideReport { open_at_begin, open_at_end: open_at_end as u64, reopened: clients.reopened };
    println!("{}", serde_json::to_string(&report)?);
    Ok(())
}

/// The request that never ends.
const HEAD: &[u8] = b"POST /metrics HTTP/1.1\r\nHost: slow\r\nX-Padding: ";

struct Slow {
    address: SocketAddr,
    drip: Option<Duration>,
    /// With the number of bytes sent so far.
    streams: Vec<(TcpStream, usize)>,
    next_drip: Instant,
    reopened: u64,
}

impl Slow {
    fn open(address: SocketAddr, connections: usize, drip: Option<Duration>) -> Self {
        let begun = Instant::now();
        let mut streams = Vec::with_capacity(connections);
        while streams.len() < connections && begun.elapsed() < OPENING_MAX {
            streams.extend(connect(address));
        }
        let mut slow = Self { address, drip, streams, next_drip: Instant::now(), reopened: 0 };
        slow.tick();
        slow
    }

    /// Sends what is due, and opens again what was closed: then a byte cannot be sent. To read from each of them as well
    /// would take the core that the measured load needs.
    fn tick(&mut self) {
        let Some(drip) = self.drip.filter(|_| Instant::now() >= self.next_drip) else { return };
        self.next_drip = Instant::now() + drip;
        for (stream, sent) in &mut self.streams {
            let byte = HEAD.get(*sent).copied().unwrap_or(b'a');
            if stream.write(&[byte]).is_ok() {
                *sent += 1;
            } else if let Some(again) = connect(self.address) {
                (*stream, *sent) = again;
                self.reopened += 1;
            }
        }
    }
}

fn connect(address: SocketAddr) -> Option<(TcpStream, usize)> {
    let stream = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT).ok()?;
    stream.set_nonblocking(true).ok()?;
    Some((stream, 0))
}

/// Whether nothing was heard of the server: an answer to half a request, or an end, both mean that it is over.
fn is_open(stream: &mut TcpStream) -> bool {
    let mut byte = [0];
    matches!(stream.read(&mut byte), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn the_testers_report_is_read() {
        let report = serde_json::json!({
            "result": {
                "elapsed_ms": 2000.0, "requests_started": 12, "answered": 11, "ok": 10, "unanswered": 1,
                "success_percent": 83.3, "rate_asked": null, "by_status": {"202": 10, "503": 1},
                "failures": {"timeout": 1, "reset": 0}, "latency_us": {"p50": 5.0, "p99.9": 9.0}
            },
            "verdict": {"thread_cpu_max": 0.5, "tester_saturated": true}
        });
        let requests = Requests::of(&report).unwrap();
        assert_eq!((requests.ok, requests.unanswered, requests.tester_saturated), (10, 1, true));
        assert!((requests.ok_per_s - 5.0).abs() < 1e-9);
        assert_eq!(requests.latency("p99.9"), Some(9.0));
        assert_eq!(
            requests.failures,
            BTreeMap::from([("timeout".to_owned(), 1)]),
            "what did not happen is left out"
        );
        assert!(Requests::of(&serde_json::json!({"result": {}})).is_err());
    }

    #[test]
    fn slow_clients_drip_a_byte_at_a_time_and_come_back() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut slow = Slow::open(listener.local_addr().unwrap(), 2, Some(Duration::ZERO));
        let (mut one, _) = listener.accept().unwrap();
        let (two, _) = listener.accept().unwrap();
        slow.tick();
        slow.tick();
        let mut bytes = [0; 3];
        one.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, &HEAD[..3]);
        drop(two);
        // The end of a connection on this machine has arrived by the time that the next one is accepted.
        let begun = Instant::now();
        while slow.reopened == 0 && begun.elapsed() < Duration::from_secs(5) {
            slow.tick();
        }
        assert_eq!(slow.reopened, 1);
        listener.accept().unwrap();
    }
}
