//! Is our load tester the bottleneck sooner than wrk is?
//!
//! Both load the same nginx, which answers 202 and does nothing else, with one thread, 50 kept connections and a
//! POST of the same size. wrk sends one fixed request and looks at little of the answer; ours sends another body
//! each time and keeps a histogram of three digits. Prediction: ours is at least as fast all the same.
//!
//! Rounds are rotated (each goes first every other time), each of the two has two slices of a round in the order
//! A B B A, and they are compared within the round, so that a machine that becomes slower favours neither.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use benches::nginx::Nginx;
use benches::noise::{Noise, OTHERS_CORES_MAX};
use benches::stats::Spread;
use benches::tool::{Pinning, find, version};
use clap::Parser;
use load_tester::format::FormatName;
use load_tester::provenance::Provenance;
use serde::Serialize;

/// The first word by which this program runs as the load tester, so that both are always the same build.
const AS_LOAD_TESTER: &str = "--as-load-tester";

const CONNECTIONS: u32 = 50;

/// A disturbed round is measured again, but not for ever: this many rounds for each that counts.
const ATTEMPTS_MAX: u32 = 4;

/// A name of the length that the tester's runs have.
const SAMPLE_NAME: &str = "load_0123456789ab";

/// Compares the load tester with wrk on an nginx that answers 202.
#[derive(Parser, Debug)]
#[command(name = "against-wrk")]
struct Arguments {
    /// Rounds that count
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Seconds that each of the two has in a round, in two slices
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=20))]
    seconds: u32,
    /// Seconds to wait, all in all, for the machine to become quiet before a round
    #[arg(long, default_value_t = 60)]
    patience: u64,
    /// Where the results go
    #[arg(long, default_value = "benches/results/load-tester-against-wrk.json")]
    out: PathBuf,
}

#[derive(Debug, Serialize)]
struct Results {
    schema: &'static str,
    reproduce: String,
    started_at: String,
    #[serde(flatten)]
    provenance: Provenance,
    wrk: String,
    nginx: String,
    /// The server's core and the generator's; `null` when nothing was pinned.
    pinned_to_cores: Option<(usize, usize)>,
    connections: u32,
    seconds_each: u32,
    /// Of wrk's body; the tester's differs by the digits of its client numbers.
    body_bytes: usize,
    /// Rounds in which others used more than this many cores are kept here and do not count.
    others_cores_max: f64,
    /// Whether there were too few quiet rounds, so that all had to count.
    disturbed: bool,
    rounds: Vec<Round>,
    wrk_requests_per_second: Spread,
    load_tester_requests_per_second: Spread,
    /// Ours over wrk's, within each round.
    ratio: Spread,
    /// The same per processor time of the server.
    ratio_per_server_cpu: Spread,
}

#[derive(Debug, Serialize)]
struct Round {
    first: &'static str,
    wrk: f64,
    load_tester: f64,
    ratio: f64,
    /// The same for requests per processor time of the server. Where the server is the limit, this is what decides,
    /// and other processes disturb it less.
    ratio_per_server_cpu: f64,
    /// How many cores other processes used meanwhile, in the worst slice.
    others_cores: Option<f64>,
    /// What the rates above are the means of.
    wrk_slices: Vec<Slice>,
    load_tester_slices: Vec<Slice>,
}

#[derive(Debug, Serialize)]
struct Slice {
    /// Requests a second.
    rate: f64,
    /// Share of its core that the tester worked, 0 to 1; wrk does not tell.
    cpu: Option<f64>,
    /// Processor time of the server, in the kernel's ticks.
    server_ticks: u64,
    /// How many cores other processes used.
    others_cores: Option<f64>,
}

impl Round {
    fn is_quiet(&self) -> bool {
        self.others_cores.is_none_or(|cores| cores <= OTHERS_CORES_MAX)
    }
}

fn main() -> ExitCode {
    let mut words: Vec<OsString> = std::env::args_os().collect();
    if words.get(1).is_some_and(|word| word == AS_LOAD_TESTER) {
        words.remove(1);
        return load_tester::cli::main(words);
    }
    match compare(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("against-wrk: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn compare(arguments: &Arguments) -> Result<()> {
    let (wrk, nginx) = (find("wrk", "wrk")?, find("nginx", "nginx-light")?);
    let pinning = Pinning::detect();
    let started_at = jiff::Timestamp::now().to_string();
    let server = Nginx::start(&nginx, &pinning)?;
    let directory = tempfile::tempdir()?;
    let body = FormatName::Json.format().body(SAMPLE_NAME, 37, 1);
    let script = wrk_script(directory.path(), body.bytes())?;
    let contest =
        Contest { pinning: &pinning, wrk: &wrk, script: &script, url: url(&server), server: server.id() };

    // Both once for nothing: caches, branch predictors and nginx's memory are warm for all rounds alike.
    contest.wrk(1)?;
    contest.load_tester(1)?;
    let rounds = contest.rounds(arguments)?;
    let quiet = rounds.iter().filter(|round| round.is_quiet()).count();
    let disturbed = quiet < arguments.rounds as usize;
    let counting: Vec<&Round> = rounds.iter().filter(|round| disturbed || round.is_quiet()).collect();
    if disturbed {
        println!(
            "Only {quiet} rounds were quiet: this machine is too busy for a verdict. All rounds are counted."
        );
    }
    let results = Results {
        schema: "systems-craft/against-wrk/1",
        reproduce: format!(
            "cargo run --release -p benches --bin against-wrk -- --rounds {} --seconds {}",
            arguments.rounds, arguments.seconds
        ),
        started_at,
        provenance: Provenance::collect(Path::new(".")),
        wrk: version(&wrk, "-v"),
        nginx: version(&nginx, "-v"),
        pinned_to_cores: pinning.cores,
        connections: CONNECTIONS,
        seconds_each: arguments.seconds,
        body_bytes: body.bytes().len(),
        others_cores_max: OTHERS_CORES_MAX,
        disturbed,
        wrk_requests_per_second: spread(&counting, |round| round.wrk)?,
        load_tester_requests_per_second: spread(&counting, |round| round.load_tester)?,
        ratio: spread(&counting, |round| round.ratio)?,
        ratio_per_server_cpu: spread(&counting, |round| round.ratio_per_server_cpu)?,
        rounds,
    };
    println!(
        "median {:>11.0}  {:>12.0}  {:>6.3}  {:>10.3}  (ratios {:.3} to {:.3})",
        results.wrk_requests_per_second.median,
        results.load_tester_requests_per_second.median,
        results.ratio.median,
        results.ratio_per_server_cpu.median,
        results.ratio.min,
        results.ratio.max
    );
    write(&arguments.out, &results)
}

struct Contest<'a> {
    pinning: &'a Pinning,
    wrk: &'a Path,
    script: &'a Path,
    url: String,
    server: u32,
}

impl Contest<'_> {
    /// As many quiet rounds as were asked for, and the disturbed ones between them.
    fn rounds(&self, arguments: &Arguments) -> Result<Vec<Round>> {
        println!(
            "{:>5}  {:>12}  {:>12}  {:>6}  {:>10}  others",
            "round", "wrk", "load-tester", "ratio", "server CPU"
        );
        let (mut rounds, mut quiet) = (Vec::new(), 0);
        let mut patience = Duration::from_secs(arguments.patience);
        while quiet < arguments.rounds && rounds.len() < (arguments.rounds * ATTEMPTS_MAX) as usize {
            patience = Noise::wait_for_quiet(self.server, patience);
            let number = u32::try_from(rounds.len())?;
            let round = self.round(number, arguments.seconds.div_ceil(2))?;
            println!(
                "{:>5}  {:>12.0}  {:>12.0}  {:>6.3}  {:>10.3}  {}{}",
                number + 1,
                round.wrk,
                round.load_tester,
                round.ratio,
                round.ratio_per_server_cpu,
                round.others_cores.map_or("unknown".to_owned(), |cores| format!("{cores:.2} cores")),
                if round.is_quiet() { "" } else { ": disturbed, does not count" }
            );
            quiet += u32::from(round.is_quiet());
            rounds.push(round);
        }
        Ok(rounds)
    }

    /// Each twice, in the order A B B A, so that a machine that slows down or speeds up meanwhile favours neither;
    /// and a moment for nothing first, because an idle machine gives the first one who comes a burst of speed.
    fn round(&self, number: u32, seconds: u32) -> Result<Round> {
        let wrk_first = number.is_multiple_of(2);
        self.wrk(1)?;
        let (mut wrk, mut ours) = (Vec::new(), Vec::new());
        for is_wrk in [wrk_first, !wrk_first, !wrk_first, wrk_first] {
            if is_wrk {
                wrk.push(self.slice(|| Ok((self.wrk(seconds)?, None)))?);
            } else {
                ours.push(self.slice(|| self.load_tester(seconds))?);
            }
        }
        let (wrk_rate, ours_rate) = (mean(&wrk, |slice| slice.rate), mean(&ours, |slice| slice.rate));
        let per_tick = |slices: &[Slice]| mean(slices, |slice| slice.rate / slice.server_ticks.max(1) as f64);
        Ok(Round {
            first: if wrk_first { "wrk" } else { "load-tester" },
            wrk: wrk_rate,
            load_tester: ours_rate,
            ratio: ours_rate / wrk_rate,
            ratio_per_server_cpu: per_tick(&ours) / per_tick(&wrk),
            others_cores: wrk.iter().chain(&ours).filter_map(|slice| slice.others_cores).reduce(f64::max),
            wrk_slices: wrk,
            load_tester_slices: ours,
        })
    }

    /// Measures, and watches what the server and the others used meanwhile.
    fn slice(&self, measure: impl FnOnce() -> Result<(f64, Option<f64>)>) -> Result<Slice> {
        let noise = Noise::begin(self.server);
        let (rate, cpu) = measure()?;
        let server_ticks = noise.server_ticks().unwrap_or(0);
        Ok(Slice { rate, cpu, server_ticks, others_cores: noise.others_cores() })
    }

    /// wrk's requests a second.
    fn wrk(&self, seconds: u32) -> Result<f64> {
        let mut command = self.pinning.generator(self.wrk);
        command.args(["-t1", &format!("-c{CONNECTIONS}"), &format!("-d{seconds}s"), "-s"]);
        parse_wrk(&output(command.arg(self.script).arg(&self.url))?)
    }

    /// The tester's requests a second, and its share of the core.
    fn load_tester(&self, seconds: u32) -> Result<(f64, Option<f64>)> {
        let this = std::env::current_exe().context("cannot find this program")?;
        let mut command = self.pinning.generator(&this);
        command.args([AS_LOAD_TESTER, "--quiet", "--json", "--threads", "1", "--clients"]);
        command.args([&CONNECTIONS.to_string(), "--duration", &format!("{seconds}s"), "--url", &self.url]);
        let report: serde_json::Value =
            serde_json::from_str(&output(&mut command)?).context("the tester's report")?;
        let result = &report["result"];
        ensure!(result["ok"] == result["requests_started"], "the tester had failures: {result:#}");
        let rate = result["rate_achieved"].as_f64().context("the tester's report has no rate")?;
        Ok((rate, report["verdict"]["thread_cpu_max"].as_f64()))
    }
}

/// A request that wrk builds once: without a `request` function its script costs it nothing while it runs.
fn wrk_script(directory: &Path, body: &[u8]) -> Result<PathBuf> {
    let path = directory.join("post.lua");
    let body = std::str::from_utf8(body)?;
    let script = format!(
        "wrk.method = \"POST\"\nwrk.body = [[{body}]]\nwrk.headers[\"Content-Type\"] = \"application/json\"\n"
    );
    fs::write(&path, script).context("cannot write wrk's script")?;
    Ok(path)
}

/// `Requests/sec:` of wrk's text, provided that every answer was a success.
fn parse_wrk(text: &str) -> Result<f64> {
    if let Some(complaint) =
        text.lines().find(|line| line.contains("Non-2xx") || line.contains("Socket errors"))
    {
        bail!("wrk had failures: {}", complaint.trim());
    }
    let rate = text.lines().find_map(|line| line.strip_prefix("Requests/sec:"));
    let rate = rate.with_context(|| format!("wrk's answer has no rate: {text}"))?;
    rate.trim().parse().context("wrk's rate is not a number")
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} failed with {}: {}", output.status, said.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn url(server: &Nginx) -> String {
    format!("http://127.0.0.1:{}/metrics", server.port)
}

fn mean(slices: &[Slice], value: impl Fn(&Slice) -> f64) -> f64 {
    slices.iter().map(value).sum::<f64>() / slices.len() as f64
}

fn spread(rounds: &[&Round], value: impl Fn(&Round) -> f64) -> Result<Spread> {
    let values: Vec<f64> = rounds.iter().map(|round| value(round)).collect();
    Spread::of(&values).context("there were no rounds")
}

fn write(path: &Path, results: &Results) -> Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    }
    let json = serde_json::to_string_pretty(results)? + "\n";
    fs::write(path, json).with_context(|| format!("cannot write {}", path.display()))?;
    println!("written to {}", path.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrks_rate_is_read() {
        let text = "Running 4s test\n  10 requests in 4.00s, 1.0MB read\nRequests/sec:  60232.38\nTransfer/sec: 8MB\n";
        assert_eq!(parse_wrk(text).unwrap().to_bits(), 60232.38_f64.to_bits());
    }

    #[test]
    fn a_rate_of_failures_is_refused() {
        assert!(parse_wrk("  Non-2xx or 3xx responses: 5\nRequests/sec: 9.0\n").is_err());
        assert!(parse_wrk("  Socket errors: connect 1, read 0\nRequests/sec: 9.0\n").is_err());
        assert!(parse_wrk("nothing").is_err());
    }

    #[test]
    fn wrks_body_is_one_that_the_tester_would_send() {
        let body = FormatName::Json.format().body(SAMPLE_NAME, 37, 1);
        assert_eq!(body.bytes().len(), 113);
        let directory = tempfile::tempdir().unwrap();
        let script = fs::read_to_string(wrk_script(directory.path(), body.bytes()).unwrap()).unwrap();
        assert!(script.contains(std::str::from_utf8(body.bytes()).unwrap()));
    }
}
