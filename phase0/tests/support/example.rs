//! Programs that a learner writes in `phase0/examples/`: built by cargo, run, and stopped if they do not end.

use super::PATIENCE;
use serde_json::Value;
use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

/// Builds and runs one, feeding it `input`. `None` as its status's code means that it had to be stopped.
pub(crate) fn run(name: &str, args: &[&str], input: &str) -> Output {
    let mut child = Command::new(build(name))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("cargo has just built it");
    // Dropped at once, so that the program sees the end. If it does not read its input, that shows elsewhere.
    let _ = child.stdin.take().expect("it is a pipe").write_all(input.as_bytes());
    wait(child)
}

fn build(name: &str) -> PathBuf {
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    let command = format!("cargo build -p phase0 --example {name}");
    assert!(
        home.join("examples").join(format!("{name}.rs")).is_file(),
        "\n  sent:     {command}\n  expected: a program in phase0/examples/{name}.rs\n  observed: there is no such file\n"
    );
    let build = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "-p", "phase0", "--example", name])
        .arg("--message-format=json-render-diagnostics")
        .current_dir(home)
        .output()
        .expect("cargo runs, since it runs this");
    let complaint = String::from_utf8_lossy(&build.stderr);
    assert!(
        build.status.success(),
        "\n  sent:     {command}\n  expected: it compiles\n  observed:\n{complaint}"
    );
    // Only cargo knows where it puts things.
    let messages = String::from_utf8_lossy(&build.stdout);
    let mut programs = messages.lines().filter_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        let ours = message["target"]["name"] == name && message["target"]["kind"][0] == "example";
        ours.then(|| message["executable"].as_str().map(PathBuf::from)).flatten()
    });
    programs.next_back().expect("cargo says where the program lies")
}

fn wait(mut child: Child) -> Output {
    let deadline = Instant::now() + PATIENCE * 2;
    while matches!(child.try_wait(), Ok(None)) && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(20));
    }
    // An error here means that it has ended already.
    let _ = child.kill();
    child.wait_with_output().expect("it has ended")
}
