//! The command line: from words to a [`Workload`], and from an [`Outcome`] to an exit code.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};

use crate::Error;
use crate::format::FormatName;
use crate::progress::Progress;
use crate::provenance::Provenance;
use crate::report::{self, Report};
use crate::run::{Outcome, run};
use crate::sample::{Identity, TIMESTAMP_MS_RANGE};
use crate::schedule::Shape;
use crate::slo::FailIf;
use crate::target::{Target, Token, checked_path};
use crate::verdict::Verdict;
use crate::verify::{Check, Verified, verify};
use crate::workload::{BATCH_SAMPLES_MAX, CLIENTS_MAX, Load, PIPELINE_MAX, THREADS_MAX, Until, Workload};

/// No run: the server cannot be reached, not one request succeeded, or a result cannot be written.
const EXIT_FAILED: u8 = 1;
/// The command line is wrong. Also clap's own.
const EXIT_USAGE: u8 = 2;
/// What was accepted is not what can be queried.
const EXIT_VERIFY: u8 = 3;
/// `--fail-if` or `--min-success` was not kept.
const EXIT_SLO: u8 = 4;

const EXAMPLES: &str = "\
Examples:
  load-tester 8080 50 10                           50 clients, 10 requests each
  load-tester 8080 -c 50 -d 10s --verify           as fast as 50 clients go, then check what arrived
  load-tester 8080 --rate 5000 -d 10s              open loop: 5000 requests a second, come what may
  load-tester 8080 --ramp 100:20000 -d 60s --html r.html

Exit codes:
  0  the run is complete (and verified, and kept to its limits, where asked)
  1  the run failed: no server, not one request succeeded, or a result could not be written
  2  the command line is wrong
  3  --verify: what was accepted is not what can be queried, or the server could not be asked
  4  --fail-if or --min-success was not kept";

/// Loads a server with samples, measures honestly, and checks that what was accepted arrived.
#[derive(Parser, Debug)]
#[command(name = "load-tester", version, about, after_help = EXAMPLES)]
struct Arguments {
    /// Port on 127.0.0.1 (or give --url)
    #[arg(value_name = "PORT", required_unless_present = "url", conflicts_with = "url",
          value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// Clients, as --clients
    #[arg(value_name = "CLIENTS", conflicts_with = "clients")]
    clients_bare: Option<u32>,
    /// Requests each, as --requests
    #[arg(value_name = "REQUESTS", conflicts_with_all = ["requests", "duration"])]
    requests_bare: Option<u64>,

    /// Server, as http://host:port/path
    #[arg(long)]
    url: Option<Target>,
    /// Path that the samples are sent to
    #[arg(long, value_parser = checked_path)]
    path: Option<String>,
    /// Bearer token; better given in the environment, where `ps` does not show it
    #[arg(long, env = "LOAD_TESTER_TOKEN", hide_env_values = true)]
    token: Option<Token>,

    /// Clients, each with one connection and one series [default: 10]
    #[arg(short, long, help_heading = "Load")]
    clients: Option<u32>,
    /// Closed loop: requests of each client [default: 10, unless there is a --duration]
    #[arg(short = 'n', long, conflicts_with_all = ["duration", "rate", "ramp", "spike"], help_heading = "Load")]
    requests: Option<u64>,
    /// How long, such as 10s, 500ms, 2m, 1h [default with a rate: 10s, with --soak: 1h]
    #[arg(short, long, value_parser = duration, help_heading = "Load")]
    duration: Option<Duration>,
    /// Open loop: requests a second, sent on time whatever the server does
    #[arg(long, value_parser = rate, conflicts_with_all = ["ramp", "spike"], help_heading = "Load")]
    rate: Option<f64>,
    /// Open loop: from one rate to another in a straight line
    #[arg(long, value_name = "FROM:TO", value_parser = rates, conflicts_with = "spike", help_heading = "Load")]
    ramp: Option<(f64, f64)>,
    /// Open loop: a rate, and another one in the middle fifth
    #[arg(long, value_name = "BASE:PEAK", value_parser = rates, help_heading = "Load")]
    spike: Option<(f64, f64)>,
    /// With --rate: a long run whose end is compared with its beginning
    #[arg(long, requires = "rate", help_heading = "Load")]
    soak: bool,
    /// Keep connections open (the default)
    #[arg(long, conflicts_with = "no_keep_alive", help_heading = "Load")]
    keep_alive: bool,
    /// A new connection for each request
    #[arg(long, help_heading = "Load")]
    no_keep_alive: bool,
    /// Open every connection before the clock starts: then the time to connect is in nobody's latency
    #[arg(long, conflicts_with = "no_keep_alive", help_heading = "Load")]
    connect_first: bool,
    /// Requests on their way on one connection
    #[arg(long, default_value_t = 1, help_heading = "Load")]
    pipeline: usize,
    /// Samples in a request
    #[arg(long, default_value_t = 1, help_heading = "Load")]
    batch: usize,
    /// How samples are written
    #[arg(long, value_enum, default_value_t = FormatName::Json, help_heading = "Load")]
    format: FormatName,
    /// Event loops, one thread each
    #[arg(long, default_value_t = 1, help_heading = "Load")]
    threads: usize,
    /// What the samples' values are derived from
    #[arg(long, default_value_t = 1, help_heading = "Load")]
    seed: u64,
    /// Timestamp of each series' first sample, ms since 1970 [default: now]
    #[arg(long, value_name = "MS", help_heading = "Load")]
    base: Option<u64>,
    /// How long an answer may take
    #[arg(long, default_value = "10s", value_parser = duration, help_heading = "Load")]
    request_timeout: Duration,
    /// How long a connection may take
    #[arg(long, default_value = "5s", value_parser = duration, help_heading = "Load")]
    connect_timeout: Duration,

    /// Afterwards, query every sample: accepted must equal queryable
    #[arg(long, help_heading = "Verify")]
    verify: bool,
    /// How long accepted samples may take to become visible
    #[arg(long, default_value = "30s", value_parser = duration, help_heading = "Verify")]
    verify_timeout: Duration,
    /// Samples that one query may answer with
    #[arg(long, value_name = "SAMPLES", default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..),
          help_heading = "Verify")]
    verify_window: u64,
    /// Where to query [default: /query on the same server]
    #[arg(long, help_heading = "Verify")]
    query_url: Option<Target>,

    /// JSON on stdout instead of text
    #[arg(long, help_heading = "Output")]
    json: bool,
    /// JSON into a file
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    json_file: Option<PathBuf>,
    /// The seconds as CSV into a file
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    csv: Option<PathBuf>,
    /// A report with charts into one HTML file
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    html: Option<PathBuf>,
    /// No progress on stderr
    #[arg(short, long, help_heading = "Output")]
    quiet: bool,

    /// Exit with 4 when a latency is exceeded, such as p99>50ms; may be repeated
    #[arg(long, value_name = "RULE", help_heading = "Limits")]
    fail_if: Vec<FailIf>,
    /// Exit with 4 when fewer percent of the requests are answered 2xx
    #[arg(long, value_name = "PERCENT", value_parser = percent, help_heading = "Limits")]
    min_success: Option<f64>,
}

/// Runs the command.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let words: Vec<OsString> = arguments.into_iter().collect();
    let parsed =
        Arguments::try_parse_from(&words).and_then(|arguments| workload(&arguments).map(|w| (arguments, w)));
    let (arguments, workload) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => {
            // Nobody is left to tell if the terminal is gone.
            let _ = error.print();
            return if error.use_stderr() { EXIT_USAGE.into() } else { ExitCode::SUCCESS };
        }
    };
    match execute(&arguments, &workload, &command_line(&words)) {
        Ok(code) => code.into(),
        Err(error) => {
            eprintln!("load-tester: {error}");
            EXIT_FAILED.into()
        }
    }
}

fn execute(arguments: &Arguments, workload: &Workload, command_line: &[String]) -> Result<u8, Error> {
    let stop = stop_on_ctrl_c();
    let progress = Progress::new(workload, arguments.quiet);
    let outcome = run(workload, &stop, &mut |second| progress.second(second));
    let outcome = outcome.inspect_err(|_| progress.finish())?;
    let verified = if workload.verify {
        progress.verifying();
        Some(check(arguments, workload, &outcome)?)
    } else {
        None
    };
    progress.finish();
    let report = Report::new(
        workload,
        &outcome,
        Verdict::of(workload, &outcome),
        verified,
        command_line.to_vec(),
        Provenance::collect(Path::new(".")),
        stop.load(Ordering::Relaxed),
    );
    write(arguments, &report)?;
    Ok(exit_code(arguments, &report, &outcome))
}

fn check(arguments: &Arguments, workload: &Workload, outcome: &Outcome) -> Result<Verified, Error> {
    let same_server = Target { path: "/query".to_owned(), ..workload.target.clone() };
    let target = match &arguments.query_url {
        Some(url) if url.path == "/" => Target { path: "/query".to_owned(), ..url.clone() },
        Some(url) => url.clone(),
        None => same_server,
    };
    verify(&Check {
        target: &target,
        token: workload.token.as_ref(),
        identity: &workload.identity,
        batch: workload.batch,
        fates: &outcome.fates,
        timeout: arguments.verify_timeout,
        window_samples: arguments.verify_window,
    })
}

fn write(arguments: &Arguments, report: &Report) -> Result<(), Error> {
    let to_file = |path: &Option<PathBuf>, content: &dyn Fn() -> String| match path {
        Some(path) => {
            std::fs::write(path, content()).map_err(|source| Error::Output { path: path.clone(), source })
        }
        None => Ok(()),
    };
    to_file(&arguments.json_file, &|| report::json(report))?;
    to_file(&arguments.csv, &|| report::csv(report))?;
    to_file(&arguments.html, &|| report::html(report))?;
    let text = if arguments.json { report::json(report) } else { report::text(report) };
    std::io::stdout()
        .write_all(text.as_bytes())
        .map_err(|source| Error::Output { path: PathBuf::from("stdout"), source })
}

fn exit_code(arguments: &Arguments, report: &Report, outcome: &Outcome) -> u8 {
    if report.verified.as_ref().is_some_and(|verified| !verified.holds()) {
        eprintln!("load-tester: verify failed: accepted and queryable differ (see the report)");
        return EXIT_VERIFY;
    }
    let mut broken: Vec<String> =
        arguments.fail_if.iter().filter_map(|rule| rule.exceeded(&outcome.latency)).collect();
    let success = report.result.success_percent;
    if let Some(minimum) = arguments.min_success.filter(|minimum| success < *minimum) {
        broken.push(format!("--min-success {minimum}: it is {success:.3}"));
    }
    for rule in &broken {
        eprintln!("load-tester: limit not kept: {rule}");
    }
    if !broken.is_empty() {
        return EXIT_SLO;
    }
    if outcome.tally.ok() == 0 {
        eprintln!("load-tester: not one request succeeded");
        return EXIT_FAILED;
    }
    0
}

/// The first Ctrl-C ends the load and the report is still written; the second ends the program.
fn stop_on_ctrl_c() -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // Without a handler Ctrl-C simply ends the program, which is no reason not to run.
        let _ = signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&stop));
        let _ = signal_hook::flag::register(signal, Arc::clone(&stop));
    }
    stop
}

/// The words as they were given, without the secret.
fn command_line(words: &[OsString]) -> Vec<String> {
    let mut hide_next = false;
    words
        .iter()
        .map(|word| {
            let word = word.to_string_lossy();
            if std::mem::replace(&mut hide_next, word == "--token") {
                "***".to_owned()
            } else if word.starts_with("--token=") {
                "--token=***".to_owned()
            } else {
                word.into_owned()
            }
        })
        .collect()
}

fn workload(arguments: &Arguments) -> Result<Workload, clap::Error> {
    let clients = arguments.clients.or(arguments.clients_bare).unwrap_or(10);
    within("--clients", u64::from(clients), u64::from(CLIENTS_MAX))?;
    within("--threads", arguments.threads as u64, THREADS_MAX as u64)?;
    within("--pipeline", arguments.pipeline as u64, PIPELINE_MAX as u64)?;
    within("--batch", arguments.batch as u64, BATCH_SAMPLES_MAX as u64)?;
    if arguments.no_keep_alive && arguments.pipeline > 1 {
        return Err(usage("--pipeline needs a connection that is kept: drop --no-keep-alive"));
    }
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let base_ms = arguments.base.unwrap_or(u64::try_from(now_ms).unwrap_or(u64::MAX));
    if !TIMESTAMP_MS_RANGE.contains(&base_ms) {
        return Err(usage("--base is not a time in milliseconds with 13 digits"));
    }
    Ok(Workload {
        target: target(arguments),
        load: load(arguments)?,
        clients,
        // A loop without a client would only wait.
        threads: arguments.threads.min(clients as usize),
        batch: arguments.batch,
        pipeline: arguments.pipeline,
        keep_alive: !arguments.no_keep_alive,
        connect_first: arguments.connect_first,
        format: arguments.format,
        identity: Identity { name: format!("load_{}", run_id()), seed: arguments.seed, base_ms },
        request_timeout: arguments.request_timeout,
        connect_timeout: arguments.connect_timeout,
        verify: arguments.verify,
        token: arguments.token.clone(),
    })
}

fn target(arguments: &Arguments) -> Target {
    let mut target = arguments.url.clone().unwrap_or(Target {
        host: "127.0.0.1".to_owned(),
        port: arguments.port.unwrap_or(0),
        path: "/".to_owned(),
    });
    if let Some(path) = &arguments.path {
        target.path.clone_from(path);
    } else if target.path == "/" {
        target.path = "/metrics".to_owned();
    }
    target
}

fn load(arguments: &Arguments) -> Result<Load, clap::Error> {
    let shape = match (arguments.rate, arguments.ramp, arguments.spike) {
        (Some(rate), ..) if arguments.soak => Some(Shape::Soak { rate }),
        (Some(rate), ..) => Some(Shape::Constant { rate }),
        (_, Some((from, to)), _) => Some(Shape::Ramp { from, to }),
        (.., Some((base, peak))) => Some(Shape::Spike { base, peak }),
        _ => None,
    };
    let requests = arguments.requests.or(arguments.requests_bare);
    match (shape, arguments.duration) {
        (Some(_), _) if requests.is_some() => {
            Err(usage("a rate goes with a --duration, not with a number of requests"))
        }
        (Some(shape), duration) => {
            let default = Duration::from_secs(if arguments.soak { 3600 } else { 10 });
            Ok(Load::Open { shape, duration: duration.unwrap_or(default) })
        }
        (None, Some(duration)) => Ok(Load::Closed { until: Until::Elapsed(duration) }),
        (None, None) => {
            let each = requests.unwrap_or(10);
            within("--requests", each, u64::from(u32::MAX))?;
            Ok(Load::Closed { until: Until::RequestsEach(each) })
        }
    }
}

/// 12 hexadecimal digits: enough that no two runs meet.
fn run_id() -> String {
    format!("{:012x}", fastrand::u64(..) >> 16)
}

fn within(name: &str, value: u64, max: u64) -> Result<(), clap::Error> {
    if (1..=max).contains(&value) { Ok(()) } else { Err(usage(&format!("{name} is from 1 to {max}"))) }
}

fn usage(message: &str) -> clap::Error {
    Arguments::command().error(ErrorKind::ValueValidation, message)
}

/// `10s`, `500ms`, `1.5m`, `2h`, `100us`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let seconds = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err("a duration has a unit: us, ms, s, m or h, as in 10s".to_owned()),
    };
    let number: f64 = number.parse().map_err(|_| format!("{number:?} is not a number"))?;
    Duration::try_from_secs_f64(number * seconds)
        .ok()
        .filter(|duration| !duration.is_zero() && *duration <= DURATION_MAX)
        .ok_or_else(|| "a duration is more than 0 and at most 1000h".to_owned())
}

/// Longer is a slip of the finger.
const DURATION_MAX: Duration = Duration::from_hours(1000);

/// More cannot be meant: a request each 100 ns.
const RATE_MAX: f64 = 1e7;

fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| format!("{text:?} is not a number"))?;
    if rate > 0.0 && rate <= RATE_MAX {
        Ok(rate)
    } else {
        Err(format!("a rate is above 0 and at most {RATE_MAX}"))
    }
}

fn rates(text: &str) -> Result<(f64, f64), String> {
    let (from, to) =
        text.split_once(':').ok_or("write two rates with a colon between them, as in 100:5000")?;
    Ok((rate(from)?, rate(to)?))
}

fn percent(text: &str) -> Result<f64, String> {
    let percent: f64 = text.parse().map_err(|_| format!("{text:?} is not a number"))?;
    if (0.0..=100.0).contains(&percent) {
        Ok(percent)
    } else {
        Err("a percentage is from 0 to 100".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Workload, clap::Error> {
        let words = line.split(' ');
        Arguments::try_parse_from(words).and_then(|arguments| workload(&arguments))
    }

    #[test]
    fn the_bare_form_is_port_clients_requests() {
        let workload = parse("load-tester 8080 50 10").unwrap();
        assert_eq!(workload.target.to_string(), "http://127.0.0.1:8080/metrics");
        assert_eq!(workload.clients, 50);
        assert_eq!(workload.load, Load::Closed { until: Until::RequestsEach(10) });
        assert!(workload.keep_alive);
    }

    #[test]
    fn a_rate_opens_the_loop() {
        let workload = parse("load-tester --url http://localhost:1/x --rate 5000 --duration 10s").unwrap();
        let shape = Shape::Constant { rate: 5000.0 };
        assert_eq!(workload.load, Load::Open { shape, duration: Duration::from_secs(10) });
        assert_eq!(workload.target.path, "/x");
        assert_eq!(workload.requests_asked(), Some(50_000));
    }

    #[test]
    fn wrong_lines_are_usage_errors() {
        for line in [
            "load-tester",
            "load-tester 0",
            "load-tester 8080 0 5",
            "load-tester 8080 5 0",
            "load-tester 8080 5 5 5",
            "load-tester 8080 --url http://h/",
            "load-tester 8080 --rate 5 --ramp 1:2",
            "load-tester 8080 5 5 --rate 5",
            "load-tester 8080 --rate 0",
            "load-tester 8080 --rate nan",
            "load-tester 8080 --soak",
            "load-tester 8080 --ramp 5",
            "load-tester 8080 -d 10",
            "load-tester 8080 -d 0s",
            "load-tester 8080 --no-keep-alive --pipeline 4",
            "load-tester 8080 --batch 0",
            "load-tester 8080 --threads 100000",
            "load-tester 8080 --path x",
            "load-tester 8080 --base 12",
            "load-tester 8080 --fail-if slow",
            "load-tester 8080 --min-success 101",
            "load-tester 8080 --format yaml",
        ] {
            let error = parse(line).expect_err(line);
            assert!(error.use_stderr(), "{line}");
        }
    }

    #[test]
    fn the_token_is_not_in_the_command_line_that_is_kept() {
        let words = ["x", "--token", "s3cret", "--token=s3cret", "8080"].map(OsString::from);
        assert_eq!(command_line(&words), ["x", "--token", "***", "--token=***", "8080"]);
    }

    #[test]
    fn the_help_is_consistent() {
        Arguments::command().debug_assert();
    }
}
