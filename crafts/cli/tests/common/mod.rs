//! Real processes of `craft`, and a client to talk to them.

#![allow(clippy::unwrap_used, dead_code, unreachable_pub)] // shared by several test programs, each using its part

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::{
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

/// The longest that a test waits for something that should come soon. It bounds, it does not measure.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// `craft` with some arguments, not started yet. No colour, no settings of whoever runs the tests.
pub fn craft(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_craft"));
    command.args(args).env_remove("CRAFT_TOKEN").env_remove("RUST_LOG").env("NO_COLOR", "1");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs it to its end.
pub fn output(args: &[&str]) -> Output {
    craft(args).output().unwrap()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A running `craft up`, `craft serve` or `craft agent`.
pub struct Running {
    child: Child,
    stderr: Option<thread::JoinHandle<String>>,
    pub url: String,
}

impl Running {
    /// Starts a node on a free port and waits until it says where it listens.
    pub fn node(args: &[&str], data: &Path) -> Self {
        Self::node_in(Path::new("."), args, data)
    }

    /// The same, at an address.
    pub fn node_on(address: &str, args: &[&str], data: &Path) -> Self {
        Self::node_at(Path::new("."), address, args, data)
    }

    /// The same as `node`, standing in this directory.
    pub fn node_in(dir: &Path, args: &[&str], data: &Path) -> Self {
        Self::node_at(dir, "127.0.0.1:0", args, data)
    }

    fn node_at(dir: &Path, address: &str, args: &[&str], data: &Path) -> Self {
        let data = data.to_str().unwrap();
        let args = [args, &["--listen", address, "--data", data, "--json"]].concat();
        let mut running = Self::run(craft(&args).current_dir(dir));
        let line = running.first_line();
        let started: Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line:?}"));
        running.url = started["url"].as_str().unwrap().to_owned();
        running
    }

    pub fn start(args: &[&str]) -> Self {
        Self::run(&mut craft(args))
    }

    fn run(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let stderr = thread::spawn(move || {
            let mut all = String::new();
            let _ = stderr.read_to_string(&mut all);
            all
        });
        Self { child, stderr: Some(stderr), url: String::new() }
    }

    fn first_line(&mut self) -> String {
        let stdout = self.child.stdout.take().unwrap();
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            let mut lines = BufReader::new(stdout).lines();
            let _ = sender.send(lines.next().and_then(Result::ok).unwrap_or_default());
            lines.for_each(drop); // keep the pipe open and empty
        });
        receiver.recv_timeout(PATIENCE).expect("craft said nothing")
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Ctrl-C; returns the exit code and what it said on stderr.
    pub fn interrupt(mut self) -> (Option<i32>, String) {
        self.signal(Signal::INT);
        self.wait()
    }

    pub fn wait(&mut self) -> (Option<i32>, String) {
        let status = within("the process ends", || self.child.try_wait().unwrap());
        (status.code(), self.stderr.take().unwrap().join().unwrap())
    }

    pub fn get(&self, path: &str) -> (u16, Value) {
        get(&self.url, path)
    }

    pub fn post(&self, path: &str, body: &str) -> (u16, Value) {
        post(&self.url, path, body)
    }
}

/// By its id, and never left behind.
impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder().http_status_as_error(false).proxy(None);
    config.timeout_global(Some(PATIENCE)).build().new_agent()
}

fn read(result: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> (u16, Value) {
    let mut response = result.unwrap();
    let body = response.body_mut().with_config().limit(1 << 30).read_to_string().unwrap();
    (response.status().as_u16(), serde_json::from_str(&body).unwrap_or(Value::String(body)))
}

pub fn get(url: &str, path: &str) -> (u16, Value) {
    read(agent().get(format!("{url}{path}")).call())
}

pub fn get_with(url: &str, path: &str, header: &str, value: &str) -> (u16, Value) {
    read(agent().get(format!("{url}{path}")).header(header, value).call())
}

pub fn post(url: &str, path: &str, body: &str) -> (u16, Value) {
    read(agent().post(format!("{url}{path}")).content_type("application/json").send(body))
}

pub fn post_as(url: &str, path: &str, content_type: &str, body: &[u8]) -> (u16, Value) {
    read(agent().post(format!("{url}{path}")).content_type(content_type).send(body))
}

pub fn delete(url: &str, path: &str) -> (u16, Value) {
    read(agent().delete(format!("{url}{path}")).call())
}

/// Waits until `look` finds something.
pub fn within<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain until {what}");
        thread::sleep(Duration::from_millis(30));
    }
}

/// All points of a selector, as `(labels, [(ms, value)])`, sorted as they come.
pub fn points(url: &str, selector: &str) -> Vec<(Value, Vec<(i64, String)>)> {
    let name: String = contracts::http::percent_encode(selector);
    let (status, body) = get(url, &format!("/query?name={name}&start=0&end=253402300799999"));
    assert_eq!(status, 200, "{body}");
    let row = |series: &Value| {
        let points = series["points"].as_array().unwrap().iter();
        let points = points.map(|p| (p[0].as_i64().unwrap(), p[1].as_str().unwrap().to_owned())).collect();
        (series["labels"].clone(), points)
    };
    body["series"].as_array().unwrap().iter().map(row).collect()
}

/// A program of the system that a test needs. Where it is not installed the test is left out and says so, unless
/// `CRAFT_REQUIRE_PEERS` is set, as CI does.
pub fn program(names: &[&str], package: &str) -> Option<PathBuf> {
    let dirs: Vec<PathBuf> = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).collect();
    let found =
        dirs.iter().flat_map(|dir| names.iter().map(move |n| dir.join(n))).find(|path| path.is_file());
    if found.is_none() {
        let message = format!("{} is not installed (Debian: apt-get install {package})", names[0]);
        assert!(std::env::var_os("CRAFT_REQUIRE_PEERS").is_none(), "{message}");
        eprintln!("left out: {message}");
    }
    found
}
