//! Parts measured alone, by criterion: runs its benches, and reads what it keeps of them.

use crate::results::Part;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// One a slot.
const BENCHES: [&str; 3] = ["parsers", "limiter", "handoff"];

/// Runs all benches of parts, and returns their figures by name.
///
/// # Errors
/// When they do not build or run.
pub fn measure(root: &Path) -> Result<Vec<Part>> {
    // Of an earlier run there may be figures of benches that no longer exist.
    let directory = tempfile::tempdir()?;
    let status = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["bench", "--quiet", "--package", "benches"])
        .args(BENCHES.iter().flat_map(|bench| ["--bench", bench]))
        .current_dir(root)
        .env("CRITERION_HOME", directory.path())
        .stdin(Stdio::null())
        .stdout(std::io::stderr())
        .status()
        .context("cannot start cargo, which runs the benches of parts")?;
    ensure!(status.success(), "the benches of parts ended with {status}");
    let parts = read(directory.path())?;
    ensure!(!parts.is_empty(), "criterion has kept nothing that can be read");
    Ok(parts)
}

/// Every `new/benchmark.json` with the `estimates.json` beside it, ordered by name.
fn read(directory: &Path) -> Result<Vec<Part>> {
    let mut parts = Vec::new();
    for path in directories_called_new(directory)? {
        parts.push(part(&path).with_context(|| format!("in {}", path.display()))?);
    }
    parts.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(parts)
}

fn directories_called_new(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))? {
        let path = entry?.path();
        if path.join("benchmark.json").is_file() && path.ends_with("new") {
            found.push(path);
        } else if path.is_dir() {
            found.extend(directories_called_new(&path)?);
        }
    }
    Ok(found)
}

fn part(directory: &Path) -> Result<Part> {
    let read =
        |file: &str| -> Result<Value> { Ok(serde_json::from_slice(&fs::read(directory.join(file))?)?) };
    let (benchmark, estimates) = (read("benchmark.json")?, read("estimates.json")?);
    let throughput = &benchmark["throughput"];
    let median = &estimates["median"];
    let number = |value: &Value| value.as_f64().context("criterion's estimate is not a number");
    let interval = &median["confidence_interval"];
    Ok(Part {
        name: benchmark["full_id"].as_str().context("criterion's bench has no name")?.to_owned(),
        ns: number(&median["point_estimate"])?,
        ns_interval: (number(&interval["lower_bound"])?, number(&interval["upper_bound"])?),
        bytes: throughput["Bytes"].as_u64(),
        elements: throughput["Elements"].as_u64(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_criterion_keeps_is_read() {
        let directory = tempfile::tempdir().unwrap();
        for (name, kind, ns) in [("parse/b", "Bytes", 20.0), ("limiter/a", "Elements", 10.0)] {
            let path = directory.path().join(name.replace('/', "_")).join("new");
            fs::create_dir_all(&path).unwrap();
            let benchmark = serde_json::json!({"full_id": name, "throughput": {kind: 640}});
            let interval = serde_json::json!({"lower_bound": ns - 1.0, "upper_bound": ns + 1.0});
            let median = serde_json::json!({"point_estimate": ns, "confidence_interval": interval});
            fs::write(path.join("benchmark.json"), benchmark.to_string()).unwrap();
            fs::write(path.join("estimates.json"), serde_json::json!({ "median": median }).to_string())
                .unwrap();
        }
        let parts = read(directory.path()).unwrap();
        assert_eq!(parts.len(), 2);
        assert_eq!(
            (parts[0].name.as_str(), parts[0].elements, parts[0].bytes),
            ("limiter/a", Some(640), None)
        );
        assert_eq!(parts[1].ns_interval, (19.0, 21.0));
        assert_eq!(parts[1].bytes, Some(640));
    }
}
