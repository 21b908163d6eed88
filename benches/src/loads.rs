//! The loads, and what each of them shows. A step shown under the wrong load shows nothing.

use crate::traffic::{Beside, Traffic};
use serde::{Deserialize, Serialize};

/// What is done to a server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// As it is asked for, and as `phases.toml` names it.
    pub name: String,
    /// What it shows.
    pub shows: String,
    /// Who sends it.
    pub generator: Generator,
    /// The requests.
    pub traffic: Traffic,
    /// Whether the rate is three times what the server was seen to carry just before.
    pub overload: bool,
    /// Connections beside them.
    pub beside: Option<Beside>,
    /// Whether the server is killed in the middle.
    pub kill: bool,
    /// Whether the server may use every core, the load's too; else it has one of its own.
    pub all_cores: bool,
    /// The log behind the server.
    pub log: LogSetting,
    /// The numbers of the phases that are put under it; a phase that is left out cannot stand it, or shows nothing.
    pub phases: Vec<u32>,
}

/// Who sends a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Generator {
    /// Ours: another sample each time, and every latency kept.
    LoadTester,
    /// wrk: the same bytes again and again.
    Wrk,
}

/// The log behind a measured server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogSetting {
    /// In a file; else records are counted and forgotten, so that ingestion alone is measured.
    pub file: bool,
    /// When a 202 may be sent.
    pub ack: String,
    /// Each flush takes so much longer.
    pub flush_us: u64,
    /// Each KiB of a flush takes so much longer.
    pub per_kib_us: u64,
    /// Batches that may wait for it, if not the default.
    pub waiting_batches_max: Option<usize>,
}

impl LogSetting {
    fn tally() -> Self {
        Self { file: false, ack: "memory".to_owned(), flush_us: 0, per_kib_us: 0, waiting_batches_max: None }
    }

    fn durable() -> Self {
        Self { file: true, ack: "os".to_owned(), ..Self::tally() }
    }
}

/// A rate that every phase with an event loop carries with ease: what is looked at is the latency.
const EASY_PER_S: f64 = 20_000.0;

/// 64 connections, one sample a request, each sent when the last was answered.
fn plain(seed: u64) -> Load {
    Load {
        name: "plain".to_owned(),
        shows: "64 connections, one sample a request, each sent when the last was answered".to_owned(),
        generator: Generator::LoadTester,
        traffic: Traffic { connections: 64, pipeline: 1, batch: 1, rate: None, connect_first: false, seed },
        overload: false,
        beside: None,
        kill: false,
        all_cores: false,
        log: LogSetting::tally(),
        phases: (0..=9).collect(),
    }
}

/// What phases and peers are put under together.
pub fn peers(seed: u64) -> Vec<Load> {
    let plain = plain(seed);
    let load = |name: &str, shows: &str, generator, pipeline, first| Load {
        name: name.to_owned(),
        shows: shows.to_owned(),
        generator,
        traffic: Traffic { pipeline, ..plain.traffic.clone() },
        phases: (first..=9).collect(),
        ..plain.clone()
    };
    use Generator::{LoadTester, Wrk};
    vec![
        load("single", "64 connections, one sample a request, by our tester", LoadTester, 1, 0),
        load("single-wrk", "64 connections, one sample a request, by wrk", Wrk, 1, 5),
        load("pipelined", "16 requests on their way on each connection, by our tester", LoadTester, 16, 5),
        load("pipelined-wrk", "16 requests in one write on each connection, by wrk", Wrk, 16, 5),
    ]
}

/// All loads of craft 1, in the order in which its phases need them.
pub fn craft1(seed: u64) -> Vec<Load> {
    let all = || (0..=9).collect::<Vec<u32>>();
    let plain = plain(seed);
    let traffic = plain.traffic.clone();
    let load = |name: &str, shows: &str, phases: Vec<u32>| Load {
        name: name.to_owned(),
        shows: shows.to_owned(),
        phases,
        ..plain.clone()
    };
    vec![
        plain.clone(),
        Load {
            beside: Some(Beside { connections: 1, drip_ms: Some(100) }),
            ..load(
                "dripper",
                "one client sends a byte of its request each 100 ms, beside the plain load",
                vec![0, 1, 5, 7, 8, 9],
            )
        },
        Load {
            log: LogSetting { flush_us: 1000, ..LogSetting::tally() },
            ..load("slow-disk", "each flush of the log takes 1 ms longer", vec![0, 1, 2, 6, 8, 9])
        },
        Load {
            traffic: Traffic { batch: 50, ..traffic.clone() },
            ..load("fifty", "50 samples a request: the parser is most of the work", all())
        },
        Load {
            traffic: Traffic { batch: 50, ..traffic.clone() },
            all_cores: true,
            ..load("all-cores", "50 samples a request, and the server may use every core", vec![6, 8, 9])
        },
        Load {
            traffic: Traffic { connections: 1000, ..traffic.clone() },
            ..load("many", "1,000 connections", vec![0, 1, 5, 6, 7, 8, 9])
        },
        Load {
            traffic: Traffic { pipeline: 16, ..traffic.clone() },
            ..load("pipelined", "16 requests on their way on each connection", vec![5, 6, 7, 8, 9])
        },
        Load {
            traffic: Traffic {
                connections: 100,
                rate: Some(EASY_PER_S),
                connect_first: true,
                ..traffic.clone()
            },
            ..load(
                "open-100",
                "20,000 requests a second, whatever comes back, over 100 connections",
                vec![6, 7, 8, 9],
            )
        },
        Load {
            traffic: Traffic {
                connections: 1000,
                rate: Some(EASY_PER_S),
                connect_first: true,
                ..traffic.clone()
            },
            beside: Some(Beside { connections: 9000, drip_ms: None }),
            ..load(
                "idle-10k",
                "the same over 1,000 connections, and 9,000 more that are open and silent",
                vec![6, 7, 8, 9],
            )
        },
        Load {
            beside: Some(Beside { connections: 5000, drip_ms: Some(1000) }),
            ..load(
                "slow-loris",
                "5,000 half-open requests that drip a byte a second, beside the plain load",
                vec![1, 6, 7, 8, 9],
            )
        },
        Load {
            traffic: Traffic { connections: 1000, ..traffic },
            overload: true,
            log: LogSetting { per_kib_us: 500, waiting_batches_max: Some(16), ..LogSetting::tally() },
            ..load(
                "overload",
                "a disk of 2 MiB/s, and three times the rate that the server was seen to carry",
                vec![0, 1, 2, 6, 7, 8, 9],
            )
        },
        Load {
            log: LogSetting::durable(),
            ..load(
                "durable",
                "the log is a file, and a 202 says that the operating system has the batch",
                all(),
            )
        },
        Load {
            log: LogSetting::durable(),
            kill: true,
            ..load("kill-9", "the server is killed in the middle; what its log holds is counted", all())
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_load_has_a_name_of_its_own_and_at_least_one_phase() {
        let loads = craft1(1);
        let mut names: Vec<_> = loads.iter().map(|load| load.name.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), loads.len());
        assert!(loads.iter().all(|load| !load.phases.is_empty() && load.phases.is_sorted()));
        assert!(
            loads.iter().all(|load| !load.kill || load.log.file),
            "what is killed must leave something behind"
        );
    }
}
