//! The whole pipeline with the page, and the learner's own form in its slot.

use crate::{Lab, MINE, TITLE};
use anyhow::{Context, Result, bail};
use clap::Args;
use course::progress::{LabName, Map};
use platform::{
    Node, NodeConfig, Role,
    routes::page::Teller,
    slots::{Choice, OpenIngest},
};
use signal_hook::consts::{SIGINT, SIGTERM};
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

/// How often the foreground looks for a signal.
const GLANCE: Duration = Duration::from_millis(50);

/// Where the pipeline listens, and where a queue alone does: as `craft up` and `craft serve queue`.
const PIPELINE_ADDR: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
const QUEUE_ADDR: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8082);

/// What `lab up` is told.
#[derive(Args, Clone, Debug)]
pub(crate) struct UpArguments {
    /// Listen here; port 0 takes any free one. Without it: 127.0.0.1:8080, and 127.0.0.1:8082 with --alone
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,
    /// Only the queue's service, as `craft serve queue` is: other processes produce, and are members of groups. For labs of
    /// the queue
    #[arg(long)]
    alone: bool,
    /// Cut the log into at least so many partitions. Without it: as many as it has, and one if it is new
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    partitions: Option<u32>,
    /// Keep everything that stays in this directory; it is made if it is not there
    #[arg(long, value_name = "DIR", default_value = "data")]
    pub(crate) data: PathBuf,
    /// Where bench runs wrote the journeys through the phases, for the page
    #[arg(long, value_name = "DIR")]
    pub(crate) journeys: Option<PathBuf>,
    /// Serve the book from this directory
    #[arg(long, value_name = "DIR")]
    pub(crate) book: Option<PathBuf>,
    /// Where the learner's crates are, and what was done, for the page
    #[arg(long, value_name = "DIR", requires = "labs")]
    work: Option<PathBuf>,
    /// The labs of the course, for the page: a list of slug, phase and title
    #[arg(long, value_name = "JSON", requires = "work")]
    labs: Option<String>,
}

/// Runs it in the foreground, until Ctrl-C.
///
/// # Errors
/// When it does not start.
pub(crate) fn run(lab: &Lab, arguments: &UpArguments) -> Result<ExitCode> {
    let config = config(lab, arguments)?;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // A second Ctrl-C ends the process at once, drained or not.
        signal_hook::flag::register_conditional_shutdown(signal, 130, stop.clone())?;
        signal_hook::flag::register(signal, stop.clone())?;
    }
    let node = Node::start(&config)?;
    announce(lab, &config, &node);
    while !stop.load(Ordering::Relaxed) && node.is_serving() {
        thread::sleep(GLANCE);
    }
    let failed = !node.is_serving();
    eprintln!("stopping; Ctrl-C again ends at once");
    let drained = node.stop();
    eprintln!("{drained}");
    Ok(if failed || !drained.is_complete() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// All five services, or the queue alone, with the learner's form in its slot.
fn config(lab: &Lab, arguments: &UpArguments) -> Result<NodeConfig> {
    let UpArguments { listen, data, .. } = arguments;
    let mut config = if arguments.alone {
        if lab.slot.queue.is_none() {
            bail!("{} is no lab of the queue, which alone can run --alone", lab.slug);
        }
        NodeConfig::serve(Role::Queue, listen.unwrap_or(QUEUE_ADDR), data.clone())
    } else {
        NodeConfig::up(listen.unwrap_or(PIPELINE_ADDR), data.clone())
    };
    config.log.partitions = arguments.partitions;
    config.journeys.clone_from(&arguments.journeys);
    config.progress = progress(arguments)?;
    config.book.clone_from(&arguments.book);
    if let Some(server) = lab.server {
        let open: Arc<OpenIngest> = Arc::new(server.open);
        config.slots.ingest.push(Choice::new(MINE, TITLE, open));
        config.chosen.insert(Role::Ingest, MINE.to_owned());
    } else if let Some(open) = &lab.slot.queue {
        config.slots.queue.push(Choice::new(MINE, TITLE, open.clone()));
        config.chosen.insert(Role::Queue, MINE.to_owned());
    } else {
        bail!("{} has nothing that could run in the pipeline", lab.slug);
    }
    Ok(config)
}

/// What the page shows of the course, which `craft lab run` tells: this program knows no lab but its own.
fn progress(arguments: &UpArguments) -> Result<Option<Teller>> {
    let Some((work, labs)) = arguments.work.clone().zip(arguments.labs.as_ref()) else { return Ok(None) };
    let labs: Vec<LabName> = serde_json::from_str(labs).context("--labs is no list of labs")?;
    Ok(Some(Arc::new(move || serde_json::json!(Map::read(&labs, &work).ok()))))
}

/// What was started, and where to look.
fn announce(lab: &Lab, config: &NodeConfig, node: &Node) {
    let url = format!("http://{}", node.addr());
    let alone = config.roles == [Role::Queue];
    let what = if alone { "queue" } else { "pipeline" };
    eprintln!("the {what} serves on {url}, with your {}", lab.slug);
    for (role, name, title) in node.filled() {
        eprintln!("  {:<8} {name:<8} {title}", role.as_str());
    }
    eprintln!("  {:<8} {}", "data", config.data_dir.display());
    if alone {
        eprintln!(
            "Produce with: cargo craft queue produce --url {url} hello. Look with: cargo craft queue groups --url {url} \
             --watch. Ctrl-C stops."
        );
    } else {
        eprintln!("Open {url}/ for the live page. Send samples with POST {url}/metrics. Ctrl-C stops.");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use std::{fs, path::Path};

    fn arguments(work: &Path, labs: &str) -> UpArguments {
        UpArguments {
            listen: None,
            alone: false,
            partitions: None,
            data: PathBuf::new(),
            journeys: None,
            book: None,
            work: Some(work.to_owned()),
            labs: Some(labs.to_owned()),
        }
    }

    #[test]
    fn the_page_is_told_of_the_labs_that_craft_names_and_of_what_was_done_since() {
        let dir = tempfile::tempdir().unwrap();
        let labs = r#"[{"slug":"keep-alive","phase":"1.5","title":"keep-alive"}]"#;
        let tell = progress(&arguments(dir.path(), labs)).unwrap().unwrap();
        assert_eq!(tell()["labs"][0]["state"], "open");
        let line = json!({"at": "2026-01-31T12:00:00Z", "slug": "keep-alive", "verdict": "passed", "source_hash": "0", "machine": ""});
        fs::write(dir.path().join("progress.jsonl"), format!("{line}\n")).unwrap();
        assert_eq!(tell()["labs"][0]["state"], "passed");
        fs::remove_file(dir.path().join("progress.jsonl")).unwrap();
        fs::create_dir(dir.path().join("progress.jsonl")).unwrap();
        assert_eq!(tell(), Value::Null, "what cannot be read stops nothing");
    }

    #[test]
    fn labs_that_are_no_list_are_refused_and_without_any_nothing_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let refused = progress(&arguments(dir.path(), "{}")).map(drop).unwrap_err();
        assert!(refused.to_string().contains("--labs"), "{refused}");
        let none = UpArguments { work: None, labs: None, ..arguments(dir.path(), "") };
        assert!(progress(&none).unwrap().is_none());
    }
}
