//! System calls by name, counted by `strace -c`. It stops the process at each of them: counts hold, times do not.

use crate::tool;
use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    collections::BTreeMap,
    fs,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

/// Until it has attached to all threads.
const ATTACH: Duration = Duration::from_millis(300);

/// The calls that a process makes while `work` is done. None at all where there is no `strace`, or it may not look.
///
/// # Errors
/// When the work fails.
pub fn count<T>(process: u32, work: impl FnOnce() -> Result<T>) -> Result<(BTreeMap<String, u64>, T)> {
    let Ok(strace) = tool::find("strace", "strace") else { return Ok((BTreeMap::new(), work()?)) };
    let directory = tempfile::tempdir()?;
    let table = directory.path().join("table");
    let mut child = Command::new(strace)
        .args(["-f", "-c", "-o"])
        .arg(&table)
        .args(["-p", &process.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    thread::sleep(ATTACH);
    let done = work();
    let id = i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("no process id")?;
    // It fails when strace was not allowed to attach, and has ended already.
    let _ = kill_process(id, Signal::INT);
    child.wait()?;
    let calls = fs::read_to_string(&table).map_or_else(|_| BTreeMap::new(), |table| parse(&table));
    Ok((calls, done?))
}

/// `% time  seconds  usecs/call  calls  [errors]  syscall`, a line of dashes, the calls, dashes, `total`.
fn parse(table: &str) -> BTreeMap<String, u64> {
    let row = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (name, calls) = (words.last()?, words.get(3)?.parse().ok()?);
        words.first()?.parse::<f64>().ok()?;
        (*name != "total").then(|| ((*name).to_owned(), calls))
    };
    table.lines().filter_map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn straces_table_is_read() {
        let table = "% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 71.23    0.003421           2      1500           sendto
 20.00    0.001000           1       900        12 recvfrom
------ ----------- ----------- --------- --------- ----------------
100.00    0.004421           1      2400        12 total
";
        assert_eq!(parse(table), BTreeMap::from([("sendto".to_owned(), 1500), ("recvfrom".to_owned(), 900)]));
        assert_eq!(parse("strace: attach: Operation not permitted\n"), BTreeMap::new());
    }
}
