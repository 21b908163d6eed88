//! Other people's senders: what they were given to send is what a query gives back.
//!
//! Each sends for `CRAFT_SENDERS_SECONDS`, which is a few here and a minute where the claim of a release is made.

#![allow(clippy::unwrap_used)] // a test that cannot go on should stop

mod common;

use common::{Running, points, program, within};
use contracts::query::format_value;
use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

/// Series on each page that is scraped.
const SERIES: u64 = 20;
/// Pages at the end that may still have been on their way when the sender was stopped.
const IN_FLIGHT: u64 = 5;

fn sending_time() -> Duration {
    let seconds = std::env::var("CRAFT_SENDERS_SECONDS").ok().and_then(|s| s.parse().ok());
    Duration::from_secs(seconds.unwrap_or(6))
}

/// A process of somebody else's, ended by its id.
struct Sender(Child);

impl Sender {
    fn start(program: &Path, args: &[&str]) -> Self {
        let mut command = Command::new(program);
        command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_prometheus_agent_is_queried_back() {
    let Some(prometheus) = program(&["prometheus"], "prometheus") else { return };
    scraped_by("prometheus", |config, dir, url| {
        let config_text = format!("{config}remote_write:\n  - url: {url}/api/v1/write\n");
        let path = dir.join("prometheus.yml");
        std::fs::write(&path, config_text).unwrap();
        Sender::start(
            &prometheus,
            &[
                "--enable-feature=agent",
                &format!("--config.file={}", path.display()),
                &format!("--storage.agent.path={}", dir.join("agent").display()),
                "--web.listen-address=127.0.0.1:0",
            ],
        )
    });
}

#[test]
fn a_vmagent_is_queried_back() {
    let Some(vmagent) = program(&["vmagent"], "victoria-metrics") else { return };
    scraped_by("vmagent", |config, dir, url| {
        let path = dir.join("vmagent.yml");
        std::fs::write(&path, config).unwrap();
        Sender::start(
            &vmagent,
            &[
                &format!("-promscrape.config={}", path.display()),
                &format!("-remoteWrite.url={url}/api/v1/write"),
                &format!("-remoteWrite.tmpDataPath={}", dir.join("vmagent").display()),
                "-httpListenAddr=127.0.0.1:0",
            ],
        )
    });
}

#[test]
fn an_influx_client_is_queried_back() {
    const CLIENT: &str = r#"
import sys, time
from influxdb import InfluxDBClient
client = InfluxDBClient(host="127.0.0.1", port=int(sys.argv[1]), database="any", gzip=True)
assert client.ping()
n, until = 0, time.time() + float(sys.argv[2])
while time.time() < until:
    points = [{"measurement": "influx sent", "tags": {"host": "web 1", "core": str(core)},
               "time": 1700000000000 + n, "fields": {"value": n / 7, "count": n, "up": True, "text": "a b"}}
              for core in range(5)]
    assert client.write_points(points, time_precision="ms")
    n += 1
    time.sleep(0.01)
print(n)
"#;
    // The package belongs to the system's own Python, which need not be the first in the path.
    let python = Path::new("/usr/bin/python3");
    let has_client = Command::new(python).args(["-c", "import influxdb"]).stderr(Stdio::null()).status();
    if !has_client.is_ok_and(|status| status.success()) {
        let message = "the Influx client is not installed (Debian: apt-get install python3-influxdb)";
        assert!(std::env::var_os("CRAFT_REQUIRE_PEERS").is_none(), "{message}");
        eprintln!("left out: {message}");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let up = Running::node(&["up", "--no-agent"], dir.path());
    let port = up.url.rsplit(':').next().unwrap().to_owned();
    let seconds = sending_time().as_secs().to_string();
    let out = Command::new(python).args(["-c", CLIENT, &port, &seconds]).output().unwrap();
    assert!(out.status.success(), "{}", common::text(&out.stderr));
    let sent: u64 = common::text(&out.stdout).trim().parse().unwrap();
    assert!(sent > 0);
    for core in 0..5 {
        for (field, value) in [("value", |n| n as f64 / 7.0), ("count", |n| n as f64), ("up", |_| 1.0)]
            as [(&str, fn(u64) -> f64); 3]
        {
            let selector = format!("influx_sent_{field}{{host=\"web 1\",core=\"{core}\"}}");
            let found = within(&selector, || {
                let found = points(&up.url, &selector);
                (found.first().is_some_and(|(_, points)| points.len() as u64 == sent)).then_some(found)
            });
            let expected: Vec<_> =
                (0..sent).map(|n| (1_700_000_000_000 + n.cast_signed(), format_value(value(n)))).collect();
            assert_eq!(found[0].1, expected, "{selector}");
        }
    }
}

/// Lets a sender scrape pages whose every value is new, and asks for all of them.
fn scraped_by(name: &str, start: impl FnOnce(&str, &Path, &str) -> Sender) {
    let dir = tempfile::tempdir().unwrap();
    let up = Running::node(&["up", "--no-agent"], &dir.path().join("data"));
    let (target, served) = serve_numbered_pages();
    let config = format!(
        "global:\n  scrape_interval: 200ms\n  scrape_timeout: 200ms\nscrape_configs:\n  - job_name: numbered\n    \
         static_configs:\n      - targets: ['{target}']\n"
    );
    let sender = start(&config, dir.path(), &up.url);
    within("the first scrape", || (served.load(Ordering::Relaxed) > 0).then_some(()));
    thread::sleep(sending_time());
    let pages = served.load(Ordering::Relaxed) - IN_FLIGHT;
    // What was scraped has a while to be sent: senders collect for seconds before they do.
    for series in 0..SERIES {
        let selector = format!("sent{{series=\"{series}\",text=\"a \\\"b\\\" ü\"}}");
        let expected: BTreeSet<String> =
            (0..pages).map(|page| format_value(value_on(page, series))).collect();
        within(&format!("every page that {name} scraped is there: {selector}"), || {
            let found = points(&up.url, &selector);
            let (_, points) = found.first()?;
            let values: BTreeSet<String> = points.iter().map(|(_, value)| value.clone()).collect();
            assert_eq!(values.len(), points.len(), "{selector}: a sample twice");
            expected.is_subset(&values).then_some(())
        });
    }
    drop(sender);
}

/// Serves `sent{series="S"} N + S/8` on page N.
fn serve_numbered_pages() -> (String, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = listener.local_addr().unwrap().to_string();
    let served = Arc::new(AtomicU64::new(0));
    let count = served.clone();
    thread::spawn(move || {
        for stream in listener.incoming() {
            // A scraper that gave up is its own matter: its page is not counted.
            if serve_page(stream.unwrap(), count.load(Ordering::Relaxed)).is_ok() {
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    (target, served)
}

fn value_on(page: u64, series: u64) -> f64 {
    page as f64 + series as f64 / 8.0
}

fn serve_page(mut stream: TcpStream, number: u64) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    while lines.next().is_some_and(|line| line.is_ok_and(|l| !l.is_empty())) {}
    let lines = (0..SERIES).map(|series| {
        format!("sent{{series=\"{series}\",text=\"a \\\"b\\\" ü\"}} {}\n", value_on(number, series))
    });
    let body = format!("# TYPE sent gauge\n{}", lines.collect::<String>());
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nConnection: close\r\n";
    stream.write_all(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes())
}
