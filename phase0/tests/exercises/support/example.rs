//! Programs that a learner writes in `examples/`: run, and stopped if they do not end.

use super::{PATIENCE, ensure};
use std::{
    env,
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

/// Runs one, feeding it `input`. `None` as its status's code means that it had to be stopped.
pub(crate) fn run(name: &str, args: &[&str], input: &str) -> Output {
    let mut child = Command::new(find(name))
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

/// Where cargo has put it: it builds the examples of a package together with its tests.
fn find(name: &str) -> PathBuf {
    let source = format!("examples/{name}.rs");
    ensure(
        Path::new(env!("CARGO_MANIFEST_DIR")).join(&source).is_file(),
        format!("the program {name}"),
        format!("its source in {source}"),
        "there is no such file",
    );
    let checks = env::current_exe().expect("this program has a path");
    let built = checks.parent().and_then(Path::parent).expect("it lies in the build folder's `deps`");
    built.join("examples").join(name)
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
