//! The loads of craft 2, and what each of them shows. A step shown under the wrong load shows nothing.

use serde::{Deserialize, Serialize};

/// What is done, and to whom.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// As it is asked for, and as `phases.toml` names it.
    pub name: String,
    /// What it shows.
    pub shows: String,
    /// The figure that counts, by its name among those of a slice.
    pub measure: String,
    /// What it is counted in.
    pub unit: String,
    /// Whether less of it is better.
    pub less_is_better: bool,
    /// Whether it goes through a socket to a server.
    pub network: bool,
    /// Whether the work may use every core; else the log has one of its own, and who reads a socket another.
    pub all_cores: bool,
    /// Who is put under it: phases, and what they are held against.
    pub subjects: Vec<String>,
}

/// Messages are this long, where nothing else is said.
pub const MESSAGE_BYTES: usize = 128;

/// The log as it is in the end.
pub const LAST: &str = "phase6";

/// Subjects that are other people's servers, and their programs.
const PEERS: [(&str, &str); 5] = [
    ("jetstream-1000", "nats-server"),
    ("jetstream-10000", "nats-server"),
    ("redis-100", "redis-server"),
    ("redis-1000", "redis-server"),
    ("victoria-metrics", "victoria-metrics"),
];

/// Whether a subject is somebody else's server.
pub fn is_peer(subject: &str) -> bool {
    program_of(subject).is_some()
}

/// The program of somebody else's server.
pub fn program_of(subject: &str) -> Option<&'static str> {
    PEERS.iter().find(|(name, _)| *name == subject).map(|(_, program)| *program)
}

/// What a subject is that is neither a phase nor somebody else's.
pub fn title_of(subject: &str) -> &'static str {
    match subject {
        PACKED => "phase 6, told to pack",
        RAW => "the same bytes into a file that has its blocks, a sync each",
        "alone" => "a log of one partition",
        "shared" => "a log of 64 partitions",
        "one-log" => "one log for all",
        "own-logs" => "a log for each",
        "without" => "no reader",
        "with" => "one reader",
        "tally" => "our server before a log that counts and forgets",
        "engine" => "our engine, which answers at once",
        _ => "",
    }
}

/// What the disk does, with no log.
pub const RAW: &str = "raw";

/// The same, told to pack what it is given.
pub const PACKED: &str = "packed";

/// All loads of craft 2: first those that its phases need, in their order; then those of its goals.
pub fn craft2() -> Vec<Load> {
    let mut loads = of_phases();
    loads.extend(of_the_last());
    loads.extend(of_the_network());
    loads
}

fn load(name: &str, (measure, unit): (&str, &str), subjects: Vec<String>, shows: &str) -> Load {
    Load {
        name: name.to_owned(),
        shows: shows.to_owned(),
        measure: measure.to_owned(),
        unit: unit.to_owned(),
        less_is_better: false,
        network: false,
        all_cores: false,
        subjects,
    }
}

fn phases(numbers: impl IntoIterator<Item = u32>, others: &[&str]) -> Vec<String> {
    let phases = numbers.into_iter().map(|number| format!("phase{number}"));
    phases.chain(others.iter().map(|&other| other.to_owned())).collect()
}

fn of_phases() -> Vec<Load> {
    let rate = ("throughput", "messages/s");
    vec![
        Load {
            less_is_better: true,
            ..load(
                "kill-9",
                ("lost", "% of acknowledged"),
                phases(0..=6, &[]),
                "`kill -9` in the middle of a producer's work: how much of what was acknowledged is gone",
            )
        },
        load(
            "single",
            rate,
            phases(0..=6, &[RAW]),
            "one producer, one message a commit, acknowledged at `disk` where the log can",
        ),
        Load {
            less_is_better: true,
            ..load(
                "restart",
                ("recovery_ms", "ms"),
                phases([2, 3, 6], &[]),
                "a log of 1 GiB is killed and opened again, from a warm page cache and from a cold one",
            )
        },
        load(
            "sixty-four",
            rate,
            phases(1..=6, &[RAW]),
            "64 producers of one thread, each commits one message at `disk`, and all wait together",
        ),
        Load {
            all_cores: true,
            ..load(
                "rebalance",
                ("throughput", "records/s"),
                phases([4, 5, 6], &[]),
                "four members that take 1 ms for 10 records share 8 partitions; one dies without a word",
            )
        },
        Load {
            all_cores: true,
            ..load(
                "fetch",
                ("throughput", "MiB/s"),
                phases(3..=6, &[PACKED]),
                "a reader sends the whole log to a loopback socket; counted is what the producers submitted",
            )
        },
        load(
            "thousand",
            rate,
            phases(1..=6, &[RAW]),
            "one producer, 1,000 messages a commit, acknowledged at `disk`",
        ),
        load(
            "eight-thousand",
            rate,
            phases(2..=6, &[RAW]),
            "8 producers of 1,000 messages each, acknowledged at `disk`, and all wait together",
        ),
    ]
}

fn of_the_last() -> Vec<Load> {
    let speed = ("throughput", "MiB/s");
    vec![
        Load {
            less_is_better: true,
            ..load(
                "compressed",
                ("log_bytes_per_message", "B a message"),
                phases([5, 6], &[]),
                "one producer, 1,000 messages a commit: what the log writes for 128 bytes; phase 6 is told to pack",
            )
        },
        load(
            "one-of-64",
            speed,
            vec!["alone".to_owned(), "shared".to_owned()],
            "one partition is read alone: from a log that has no other, and from one with 63 others",
        ),
        load(
            "own-files",
            ("throughput", "messages/s"),
            vec!["one-log".to_owned(), "own-logs".to_owned()],
            "64 partitions take one message each a turn at `disk`: in one log, and in a log of its own for each",
        ),
        Load {
            less_is_better: true,
            all_cores: true,
            ..load(
                "readers",
                ("writer_p99_us", "µs"),
                vec!["without".to_owned(), "with".to_owned()],
                "a writer commits 1,000 messages at a time, without and with a reader that sends the log to a socket",
            )
        },
        load(
            "mapped",
            speed,
            vec!["pread".to_owned(), "mapped".to_owned()],
            "a file of 256 MiB is read and summed up as a fetch does it: by `pread`, and through a mapping",
        ),
        load(
            "limits",
            speed,
            ["sync-64k", "sync-128k", "memcpy", "loopback"].map(str::to_owned).into(),
            "what the machine can: a sync for each write of 64 and of 128 KiB, a copy in memory, a loopback socket",
        ),
    ]
}

fn of_the_network() -> Vec<Load> {
    let over = |load: Load| Load { network: true, all_cores: true, ..load };
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    vec![
        over(load(
            "produce",
            ("throughput", "messages/s"),
            names(&[LAST, "jetstream-1000", "jetstream-10000", "redis-100", "redis-1000"]),
            "one publisher over loopback: ours 1,000 messages a request at `disk`, JetStream with that many on their \
             way, Redis with that many in a pipeline",
        )),
        over(load(
            "produce-100",
            ("throughput", "requests/s"),
            names(&[LAST, "tally", "engine", RAW]),
            "`POST /produce` of 100 messages, 64 on their way: with the log at `disk`, with one that counts and forgets, the \
             engine alone, and as many bytes as are on their way written at once",
        )),
        over(load(
            "fetch-http",
            ("throughput", "MiB/s"),
            names(&[LAST, PACKED]),
            "`GET /consume` of stored frames over loopback, from a log of 256 MiB in the page cache",
        )),
        over(load(
            "samples-prometheus",
            ("throughput", "samples/s"),
            names(&[LAST, "victoria-metrics"]),
            "Prometheus text, 5,000 samples a request over 2 connections, into the log at `disk`",
        )),
        over(load(
            "samples-influx",
            ("throughput", "samples/s"),
            names(&[LAST, "victoria-metrics"]),
            "line protocol, 5,000 samples a request over 2 connections, into the log at `disk`",
        )),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::course::phases_of;
    use queue_phases::PHASES;
    use std::{collections::BTreeSet, path::Path};

    #[test]
    fn every_load_has_a_name_of_its_own_and_somebody_to_put_under_it() {
        let loads = craft2();
        let names: BTreeSet<_> = loads.iter().map(|load| &load.name).collect();
        assert_eq!(names.len(), loads.len());
        assert!(loads.iter().all(|load| !load.subjects.is_empty()));
    }

    #[test]
    fn each_phase_is_measured_under_the_load_that_shows_it_and_so_is_the_one_before() {
        let loads = craft2();
        let table = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crafts/phases.toml");
        let phases = phases_of(&table, 2).unwrap();
        assert_eq!(phases.iter().map(|phase| phase.number).collect::<Vec<_>>(), (0..=6).collect::<Vec<_>>());
        for phase in &phases[1..] {
            let load = loads.iter().find(|load| load.name == phase.load).unwrap();
            let is_measured = |number: u32| load.subjects.contains(&format!("phase{number}"));
            assert!(is_measured(phase.number) && is_measured(phase.number - 1), "{}", phase.slug);
            assert_eq!(phase.predict.as_ref().unwrap().unit, load.unit, "{}", phase.slug);
        }
    }

    #[test]
    fn the_last_is_the_last_and_every_phase_can_be_opened() {
        assert_eq!(PHASES.last().map(|phase| phase.name), Some(LAST));
        let named = |subject: &String| subject.starts_with("phase");
        let subjects = craft2().into_iter().flat_map(|load| load.subjects).filter(named);
        for subject in subjects {
            assert!(PHASES.iter().any(|phase| phase.name == subject), "{subject}");
        }
    }
}
