//! The suite of storage: [`contracts::storage::Storage`].

use crate::{
    claim::{Check, Claim, Explain, Report, ensure, equal, refused, run, seed, with_seed},
    rows::{Row, labels, metric, write, write_synced},
};
use contracts::{
    Batch, BatchView, Labels, MatchOp, Matcher, TimeRange, TimestampMs,
    batch::STALE_NAN_BITS,
    limits::{LABEL_VALUE_BYTES_MAX, LABELS_PER_SERIES_MAX},
    storage::{Select, SelectStats, SeriesReader, Storage, StorageError},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

/// Opens a fresh, empty storage.
pub type Open = dyn Fn() -> Arc<dyn Storage> + Send + Sync;

/// Holds the whole suite against an implementation.
pub fn check(open: impl Fn() -> Arc<dyn Storage> + Send + Sync + 'static) -> Report {
    let open: Arc<Open> = Arc::new(open);
    run("storage", &open, CLAIMS)
}

/// What storage must do.
pub const CLAIMS: &[Claim<Open>] = &[
    Claim { says: "an empty storage has no series", check: empty_storage },
    Claim { says: "what was written and synced is selected exactly", check: exact },
    Claim { says: "every f64 comes back with its bits, NaN and the stale marker too", check: every_value },
    Claim { says: "an empty batch changes nothing", check: empty_batch },
    Claim { says: "the earliest and the latest timestamp are kept", check: extreme_times },
    Claim { says: "a range includes both its ends", check: both_ends },
    Claim { says: "a range in which a series has no samples does not show the series", check: empty_range },
    Claim { says: "every matcher selects as Prometheus does, absent labels as empty ones", check: matchers },
    Claim { says: "a series is its labels: near names and values stay apart", check: near_names },
    Claim { says: "the same series twice in the table of a batch is one series", check: twice_in_table },
    Claim { says: "samples of many batches come together as one series", check: many_batches },
    Claim { says: "a batch written again changes nothing", check: replay },
    Claim { says: "the last write to a series and timestamp wins", check: last_write_wins },
    Claim { says: "the last write wins within one batch", check: last_write_wins_in_batch },
    Claim { says: "samples written out of order come back ascending", check: out_of_order },
    Claim {
        says: "a selection over samples_max is refused, one of exactly that many is not",
        check: samples_max,
    },
    Claim { says: "a visitor may break off", check: break_off },
    Claim { says: "series, label names and label values are told, sorted, each once", check: metadata },
    Claim { says: "absurd but legal labels come back as they were", check: absurd_labels },
    Claim { says: "writers and readers at once lose nothing and read nothing torn", check: concurrent },
    Claim { says: "random writes and selections agree with a map", check: agrees_with_model },
];

fn empty_storage(open: &Open) -> Check {
    let storage = open();
    storage.sync().explain("a sync of nothing")?;
    let select = Select::new(vec![], TimeRange::ALL);
    equal("series selected", &read(&*storage, &select)?, &BTreeMap::new())?;
    equal("series", &storage.series(&select).explain("series")?, &Vec::new())?;
    equal("label names", &storage.label_names(&select).explain("label names")?, &Vec::new())?;
    equal("label values", &storage.label_values("a", &select).explain("label values")?, &Vec::new())
}

fn exact(open: &Open) -> Check {
    let storage = open();
    let rows: Vec<Row> = (0..500)
        .map(|i| (metric("cpu", &[("core", ["0", "1", "2"][i % 3])]), 1_000 * i as i64, i as f64 / 7.0))
        .collect();
    write_synced(&*storage, &rows)?;
    equal("everything", &read_everything(&*storage)?, &model_of(&rows))
}

fn every_value(open: &Open) -> Check {
    let values = [
        0.0,
        -0.0,
        1.0,
        f64::MIN_POSITIVE / 2.0,
        f64::from_bits(1),
        f64::MAX,
        f64::MIN,
        f64::EPSILON,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::NAN,
        f64::from_bits(STALE_NAN_BITS),
        f64::from_bits(u64::MAX),
        9_007_199_254_740_993.0,
        0.1 + 0.2,
    ];
    let storage = open();
    let rows: Vec<Row> = (0..).zip(values).map(|(at, value)| (metric("value", &[]), at, value)).collect();
    write_synced(&*storage, &rows)?;
    equal("times and bits", &read_everything(&*storage)?, &model_of(&rows))
}

fn empty_batch(open: &Open) -> Check {
    let storage = open();
    write_synced(&*storage, &[])?;
    // A series in the table, but no sample of it.
    let mut batch = Batch::new();
    batch.series([("__name__", "cpu")]).explain("building a batch")?;
    let bytes = batch.encode();
    storage.write(&BatchView::parse(&bytes).explain("a batch")?).explain("write")?;
    storage.sync().explain("sync")?;
    equal("everything", &read_everything(&*storage)?, &BTreeMap::new())
}

fn extreme_times(open: &Open) -> Check {
    let storage = open();
    let rows: Vec<Row> = [TimestampMs::MIN.0, 1, TimestampMs::MAX.0 - 1, TimestampMs::MAX.0]
        .map(|at| (metric("cpu", &[]), at, 1.0))
        .to_vec();
    write_synced(&*storage, &rows)?;
    equal("everything", &read_everything(&*storage)?, &model_of(&rows))?;
    let beyond = Select::new(vec![], TimeRange::new(i64::MIN, i64::MAX));
    equal("a range beyond all times", &read(&*storage, &beyond)?, &model_of(&rows))
}

fn both_ends(open: &Open) -> Check {
    let storage = open();
    let rows: Vec<Row> = (1..=9).map(|at| (metric("cpu", &[]), at * 1000, at as f64)).collect();
    write_synced(&*storage, &rows)?;
    for (start, end) in [(3000, 6000), (3001, 5999), (0, 1000), (9000, 20_000), (5000, 5000), (2999, 6001)] {
        let found = read(&*storage, &Select::new(vec![], TimeRange::new(start, end)))?;
        let inside: Vec<Row> = rows.iter().filter(|r| (start..=end).contains(&r.1)).cloned().collect();
        equal(&format!("samples from {start} to {end}, both included"), &found, &model_of(&inside))?;
    }
    Ok(())
}

fn empty_range(open: &Open) -> Check {
    let storage = open();
    write_synced(&*storage, &[(metric("cpu", &[]), 1000, 1.0), (metric("mem", &[]), 5000, 1.0)])?;
    for (start, end, expected) in
        [(0, 999, 0), (1001, 4999, 0), (0, 1000, 1), (6000, 2000, 0), (5001, i64::MAX, 0)]
    {
        let select = Select::new(vec![], TimeRange::new(start, end));
        let what = format!("series from {start} to {end}");
        equal(&what, &read(&*storage, &select)?.len(), &expected)?;
        equal(&what, &storage.series(&select).explain("series")?.len(), &expected)?;
    }
    Ok(())
}

fn matchers(open: &Open) -> Check {
    let storage = open();
    let all = [
        metric("cpu", &[("core", "0"), ("host", "a")]),
        metric("cpu", &[("core", "1"), ("host", "a")]),
        metric("cpu", &[("core", "10")]),
        metric("mem", &[("host", "b")]),
        labels(&[("host", "a\nb")]),
    ];
    let rows: Vec<Row> = all.iter().map(|l| (l.clone(), 1000, 1.0)).collect();
    write_synced(&*storage, &rows)?;
    let cases: &[(&[Condition], &[usize])] = &[
        (&[], &[0, 1, 2, 3, 4]),
        (&[("__name__", MatchOp::Equal, "cpu")], &[0, 1, 2]),
        (&[("__name__", MatchOp::Equal, "")], &[4]),
        (&[("__name__", MatchOp::Equal, "cp")], &[]),
        (&[("__name__", MatchOp::NotEqual, "cpu")], &[3, 4]),
        (&[("host", MatchOp::Equal, "")], &[2]),
        (&[("host", MatchOp::NotEqual, "")], &[0, 1, 3, 4]),
        (&[("host", MatchOp::NotEqual, "a")], &[2, 3, 4]),
        (&[("core", MatchOp::Matches, "1")], &[1]),
        (&[("core", MatchOp::Matches, "1.*")], &[1, 2]),
        (&[("core", MatchOp::Matches, "0|1")], &[0, 1]),
        (&[("core", MatchOp::Matches, "0|")], &[0, 3, 4]),
        (&[("core", MatchOp::Matches, "")], &[3, 4]),
        (&[("core", MatchOp::Matches, ".*")], &[0, 1, 2, 3, 4]),
        (&[("core", MatchOp::Matches, ".+")], &[0, 1, 2]),
        (&[("core", MatchOp::MatchesNot, "1.*")], &[0, 3, 4]),
        (&[("core", MatchOp::MatchesNot, ".+")], &[3, 4]),
        (&[("core", MatchOp::MatchesNot, "")], &[0, 1, 2]),
        (&[("host", MatchOp::Matches, "a.b")], &[4]),
        (&[("host", MatchOp::Matches, "(?i)A")], &[0, 1]),
        (&[("gone", MatchOp::Equal, "")], &[0, 1, 2, 3, 4]),
        (&[("gone", MatchOp::Matches, "x?")], &[0, 1, 2, 3, 4]),
        (&[("gone", MatchOp::NotEqual, "")], &[]),
        (&[("gone", MatchOp::Equal, "x")], &[]),
        (&[("__name__", MatchOp::Equal, "cpu"), ("host", MatchOp::Equal, "a")], &[0, 1]),
        (&[("__name__", MatchOp::Equal, "cpu"), ("core", MatchOp::NotEqual, "0")], &[1, 2]),
        (&[("core", MatchOp::Matches, ".+"), ("core", MatchOp::NotEqual, "1")], &[0, 2]),
        (&[("core", MatchOp::Equal, "0"), ("core", MatchOp::Equal, "1")], &[]),
    ];
    for (conditions, expected) in cases {
        let matchers = matchers_of(conditions)?;
        let what = format!("series that fit {matchers:?}");
        let found = read(&*storage, &Select::new(matchers, TimeRange::ALL))?;
        let expected: BTreeSet<_> = expected.iter().map(|i| all[*i].clone()).collect();
        equal(&what, &found.into_keys().collect(), &expected)?;
    }
    Ok(())
}

fn near_names(open: &Open) -> Check {
    let storage = open();
    let near = [
        metric("a", &[]),
        metric("a", &[("b", "c")]),
        metric("a", &[("bc", "d")]),
        metric("a", &[("b", "cd")]),
        metric("a", &[("b", "c"), ("d", "e")]),
        metric("a", &[("b", "C")]),
        metric("a", &[("B", "c")]),
        metric("ab", &[("c", "d")]),
        metric("a", &[("b", " c")]),
        labels(&[("a", "b")]),
        labels(&[]),
    ];
    let rows: Vec<Row> = (0..).zip(&near).map(|(i, l)| (l.clone(), 1000, f64::from(i))).collect();
    write_synced(&*storage, &rows)?;
    equal("everything", &read_everything(&*storage)?, &model_of(&rows))
}

fn twice_in_table(open: &Open) -> Check {
    let storage = open();
    let (one, two) = (metric("cpu", &[("core", "1")]), metric("cpu", &[("core", "2")]));
    // The batch forgets the series before the last, so that this makes four rows of its table.
    let rows = [(one.clone(), 1000, 1.0), (two.clone(), 1000, 2.0), (one, 2000, 3.0), (two, 2000, 4.0)];
    write_synced(&*storage, &rows)?;
    equal("everything", &read_everything(&*storage)?, &model_of(&rows))
}

fn many_batches(open: &Open) -> Check {
    let storage = open();
    let rows: Vec<Row> = (0..300).map(|i| (metric("cpu", &[]), i * 10, i as f64)).collect();
    for some in rows.chunks(7) {
        write(&*storage, some)?;
    }
    storage.sync().explain("sync")?;
    equal("everything", &read_everything(&*storage)?, &model_of(&rows))
}

fn replay(open: &Open) -> Check {
    let storage = open();
    let rows: Vec<Row> =
        (0..200).map(|i| (metric("cpu", &[("core", ["0", "1"][i % 2])]), i as i64 * 10, i as f64)).collect();
    for _ in 0..3 {
        write_synced(&*storage, &rows)?;
    }
    // As after a crash between write and commit: an older part once more.
    write_synced(&*storage, &rows[50..120])?;
    let found = read_everything(&*storage)?;
    equal("everything", &found, &model_of(&rows))
}

fn last_write_wins(open: &Open) -> Check {
    let storage = open();
    let cpu = metric("cpu", &[]);
    write_synced(&*storage, &[(cpu.clone(), 1000, 1.0), (cpu.clone(), 2000, 2.0)])?;
    write_synced(&*storage, &[(cpu.clone(), 1000, 10.0)])?;
    equal(
        "after one rewrite",
        &read_everything(&*storage)?,
        &model_of(&[(cpu.clone(), 1000, 10.0), (cpu.clone(), 2000, 2.0)]),
    )?;
    write(&*storage, &[(cpu.clone(), 2000, 20.0)])?;
    write(&*storage, &[(cpu.clone(), 2000, f64::NAN)])?;
    write_synced(&*storage, &[(cpu.clone(), 2000, -0.0)])?;
    equal(
        "after several",
        &read_everything(&*storage)?,
        &model_of(&[(cpu.clone(), 1000, 10.0), (cpu, 2000, -0.0)]),
    )
}

fn last_write_wins_in_batch(open: &Open) -> Check {
    let storage = open();
    let (one, two) = (metric("cpu", &[("core", "1")]), metric("cpu", &[("core", "2")]));
    let rows = [
        (one.clone(), 1000, 1.0),
        (one.clone(), 1000, 2.0),
        (two, 1000, 9.0),
        (one.clone(), 1000, 3.0),
        (one, 500, 4.0),
    ];
    write_synced(&*storage, &rows)?;
    equal("everything", &read_everything(&*storage)?, &model_of(&rows))
}

fn out_of_order(open: &Open) -> Check {
    with_seed(seed(), |rng| {
        let storage = open();
        let mut rows: Vec<Row> = (0..400).map(|i| (metric("cpu", &[]), i * 10, i as f64)).collect();
        rng.shuffle(&mut rows);
        for some in rows.chunks(50) {
            write(&*storage, some)?;
        }
        storage.sync().explain("sync")?;
        equal("everything", &read_everything(&*storage)?, &model_of(&rows))
    })
}

fn samples_max(open: &Open) -> Check {
    let storage = open();
    let rows: Vec<Row> =
        (0..60).map(|i| (metric("cpu", &[("core", ["0", "1", "2"][i % 3])]), i as i64, 1.0)).collect();
    write_synced(&*storage, &rows)?;
    let select = |samples_max| Select { samples_max, ..Select::new(vec![], TimeRange::ALL) };
    for too_few in [0, 1, 20, 59] {
        let result = storage.select(&select(too_few), &mut |_, _, _| ControlFlow::Continue(()));
        let expected = StorageError::TooManySamples(too_few);
        refused(&format!("60 samples, at most {too_few}"), &result, &format!("{expected:?}"), |e| {
            *e == expected
        })?;
    }
    equal("60 samples, at most 60", &read(&*storage, &select(60))?, &model_of(&rows))?;
    let narrow = Select { range: TimeRange::new(0, 9), ..select(10) };
    equal("10 of the 60 samples, at most 10", &read(&*storage, &narrow)?, &model_of(&rows[..10]))
}

fn break_off(open: &Open) -> Check {
    let storage = open();
    let rows: Vec<Row> = (0..20).map(|i| (metric("cpu", &[("core", &i.to_string())]), 1000, 1.0)).collect();
    write_synced(&*storage, &rows)?;
    let mut visits = 0;
    let mut visit = |_: contracts::LabelsView<'_>, _: &[i64], _: &[f64]| {
        visits += 1;
        if visits == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    storage.select(&Select::new(vec![], TimeRange::ALL), &mut visit).explain("a selection broken off")?;
    equal("visits until the third broke off", &visits, &3)?;
    equal("everything, asked again", &read_everything(&*storage)?, &model_of(&rows))
}

fn metadata(open: &Open) -> Check {
    let storage = open();
    let rows = [
        (metric("mem", &[("host", "b")]), 1000, 1.0),
        (metric("cpu", &[("core", "1"), ("host", "a")]), 1000, 1.0),
        (metric("cpu", &[("core", "0"), ("host", "a")]), 2000, 1.0),
        (metric("disk", &[("device", "sda")]), 9000, 1.0),
    ];
    write_synced(&*storage, &rows)?;
    let texts = |all: &[&str]| all.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
    let all = Select::new(vec![], TimeRange::ALL);
    let mut sorted: Vec<_> = rows.iter().map(|r| r.0.clone()).collect();
    sorted.sort();
    equal("series", &storage.series(&all).explain("series")?, &sorted)?;
    let names = storage.label_names(&all).explain("label names")?;
    equal("label names", &names, &texts(&["__name__", "core", "device", "host"]))?;
    let values = |name: &str, select: &Select| storage.label_values(name, select).explain("label values");
    equal("values of host", &values("host", &all)?, &texts(&["a", "b"]))?;
    equal("values of __name__", &values("__name__", &all)?, &texts(&["cpu", "disk", "mem"]))?;
    equal("values of a label that nobody has", &values("gone", &all)?, &Vec::new())?;
    let cpu = Select::new(vec![Matcher::metric("cpu")], TimeRange::new(0, 1000));
    equal("series of cpu until 1000", &storage.series(&cpu).explain("series")?, &vec![rows[1].0.clone()])?;
    equal("values of core of cpu until 1000", &values("core", &cpu)?, &texts(&["1"]))?;
    let names = storage.label_names(&cpu).explain("label names")?;
    equal("label names of cpu", &names, &texts(&["__name__", "core", "host"]))
}

fn absurd_labels(open: &Open) -> Check {
    let storage = open();
    let longest = "v".repeat(LABEL_VALUE_BYTES_MAX);
    let long_name = "n".repeat(255);
    let many: Vec<String> = (0..LABELS_PER_SERIES_MAX).map(|i| format!("label_{i:02}")).collect();
    let many: Vec<_> = many.iter().map(|n| (n.as_str(), "v")).collect();
    let absurd = [
        labels(&[("a", "ünïcødé 数値 🦀")]),
        labels(&[("a", "\"quoted\" and 'quoted'")]),
        labels(&[("a", "two\nlines\r\n\ttab")]),
        labels(&[("a", r"back\slash \n \")]),
        labels(&[("a", "nul\0inside")]),
        labels(&[("a", "{b=\"c\"},d=~'.*'")]),
        labels(&[("a", " ")]),
        labels(&[("a", "../../etc/passwd"), ("b", "/"), ("c", "a,b;c|d")]),
        labels(&[("a", "\u{feff}\u{202e}\u{0}\u{10ffff}")]),
        labels(&[("__name__", "::a:_9")]),
        labels(&[("_", "_"), ("__", "__")]),
        labels(&[("a", &longest)]),
        labels(&[(&long_name, "v")]),
        labels(&many),
    ];
    let rows: Vec<Row> = (0..).zip(&absurd).map(|(i, l)| (l.clone(), 1000, f64::from(i))).collect();
    write_synced(&*storage, &rows)?;
    equal("everything", &read_everything(&*storage)?, &model_of(&rows))?;
    for (wanted, timestamp, value) in &rows {
        let exact: Result<Vec<_>, _> =
            wanted.view().iter().map(|(name, value)| Matcher::new(name, MatchOp::Equal, value)).collect();
        let found = read(&*storage, &Select::new(exact.explain("a matcher")?, TimeRange::ALL))?;
        equal(
            "the series that fits all its labels",
            &found,
            &model_of(&[(wanted.clone(), *timestamp, *value)]),
        )?;
    }
    Ok(())
}

fn concurrent(open: &Open) -> Check {
    const WRITERS: usize = 3;
    const BATCHES: usize = 60;
    let storage = open();
    let done = Arc::new(AtomicBool::new(false));
    let reader = {
        let (storage, done) = (storage.clone(), done.clone());
        thread::spawn(move || {
            while !done.load(Ordering::Acquire) {
                // Every batch writes two samples of one value: whoever sees another value reads something torn.
                for samples in read_everything(&*storage)?.values() {
                    let torn = samples.iter().find(|(at, bits)| **bits != (**at as f64).to_bits());
                    ensure(torn.is_none(), || format!("a reader saw {torn:?}, which nobody wrote"))?;
                }
            }
            Ok::<_, String>(())
        })
    };
    let writers: Vec<_> = (0..WRITERS)
        .map(|who| {
            let storage = storage.clone();
            thread::spawn(move || {
                rows_of_writer(who, BATCHES).chunks(10).try_for_each(|some| write(&*storage, some))?;
                storage.sync().explain("sync")
            })
        })
        .collect();
    let results: Vec<_> = writers.into_iter().map(thread::JoinHandle::join).collect();
    // Release pairs with the reader's Acquire.
    done.store(true, Ordering::Release);
    reader.join().map_err(|_| "the reader panicked".to_owned())??;
    for result in results {
        result.map_err(|_| "a writer panicked".to_owned())??;
    }
    let all: Vec<Row> = (0..WRITERS).flat_map(|who| rows_of_writer(who, BATCHES)).collect();
    equal("everything", &read_everything(&*storage)?, &model_of(&all))
}

/// Rows of two series, one of the writer's own and one that all writers share; a value is its own timestamp.
fn rows_of_writer(who: usize, batches: usize) -> Vec<Row> {
    let own = metric("own", &[("writer", &who.to_string())]);
    let shared = metric("shared", &[]);
    (0..batches as i64 * 5)
        .flat_map(|i| {
            let at = i * 10 + who as i64;
            [(own.clone(), at, at as f64), (shared.clone(), at, at as f64)]
        })
        .collect()
}

fn agrees_with_model(open: &Open) -> Check {
    with_seed(seed(), |rng| {
        let storage = open();
        let mut model = Model::new();
        for step in 0..150 {
            let rows = random_rows(rng);
            write(&*storage, &rows)?;
            add(&mut model, &rows);
            if rng.u8(..4) == 0 {
                storage.sync().explain("sync")?;
                let select = random_select(rng)?;
                let what = format!("step {step}: {select:?}");
                equal(&what, &read(&*storage, &select)?, &selected(&model, &select))?;
            }
        }
        storage.sync().explain("sync")?;
        equal("everything in the end", &read_everything(&*storage)?, &model)
    })
}

fn random_rows(rng: &mut fastrand::Rng) -> Vec<Row> {
    let count = rng.usize(0..40);
    (0..count)
        .map(|_| {
            let name = ["cpu", "mem", "disk"][rng.usize(..3)];
            // Some without a host: an absent label is a case of its own.
            let host = ["", "a", "b", "ab"][rng.usize(..4)];
            let value = if rng.bool() { f64::from(rng.u8(..)) } else { f64::from_bits(rng.u64(..)) };
            (metric(name, &[("host", host)]), rng.i64(0..300), value)
        })
        .collect()
}

fn random_select(rng: &mut fastrand::Rng) -> Result<Select, String> {
    let count = rng.usize(0..3);
    let conditions: Vec<_> = (0..count)
        .map(|_| {
            let op =
                [MatchOp::Equal, MatchOp::NotEqual, MatchOp::Matches, MatchOp::MatchesNot][rng.usize(..4)];
            match rng.bool() {
                true => ("__name__", op, ["cpu", "mem", "", "c.*", "none"][rng.usize(..5)]),
                false => ("host", op, ["a", "", "a|b", "a.*", ".+"][rng.usize(..5)]),
            }
        })
        .collect();
    let start = rng.i64(-10..310);
    Ok(Select::new(matchers_of(&conditions)?, TimeRange::new(start, start + rng.i64(0..200))))
}

// ── How the claims talk to storage ───────────────────────────────────────────────────────────────────────────

/// What storage should hold: for each series, bits by timestamp.
type Model = BTreeMap<Labels, BTreeMap<i64, u64>>;

/// Name, operator and value of a matcher.
type Condition = (&'static str, MatchOp, &'static str);

fn add(model: &mut Model, rows: &[Row]) {
    for (labels, timestamp, value) in rows {
        model.entry(labels.clone()).or_default().insert(*timestamp, value.to_bits());
    }
}

fn model_of(rows: &[Row]) -> Model {
    let mut model = Model::new();
    add(&mut model, rows);
    model
}

fn selected(model: &Model, select: &Select) -> Model {
    model
        .iter()
        .filter(|(labels, _)| Matcher::all_match(&select.matchers, labels.view()))
        .map(|(labels, samples)| {
            let inside = samples.iter().filter(|(at, _)| select.range.contains(TimestampMs(**at)));
            (labels.clone(), inside.map(|(at, bits)| (*at, *bits)).collect::<BTreeMap<_, _>>())
        })
        .filter(|(_, samples)| !samples.is_empty())
        .collect()
}

fn matchers_of(conditions: &[Condition]) -> Result<Vec<Matcher>, String> {
    conditions.iter().map(|(name, op, value)| Matcher::new(name, *op, value).explain("a matcher")).collect()
}

fn read_everything(storage: &(impl SeriesReader + ?Sized)) -> Result<Model, String> {
    read(storage, &Select::new(vec![], TimeRange::ALL))
}

/// What a selection visits. Holds every visit to the contract: each series once, with samples, two columns of
/// one length, ascending in time, no time twice, and a truthful count.
fn read(storage: &(impl SeriesReader + ?Sized), select: &Select) -> Result<Model, String> {
    let mut found = Model::new();
    let mut wrong = None;
    let mut samples = 0;
    let stats = storage
        .select(select, &mut |labels, timestamps, values| {
            samples += values.len() as u64;
            let columns = timestamps.iter().copied().zip(values.iter().map(|v| v.to_bits()));
            let again = found.insert(labels.to_labels(), columns.collect()).is_some();
            let rising = timestamps.is_sorted_by(|a, b| a < b);
            if again || !rising || timestamps.is_empty() || timestamps.len() != values.len() {
                wrong = Some(format!(
                    "{labels}: expected one visit with samples in ascending order, got times {timestamps:?}, {} values{}",
                    values.len(),
                    if again { ", visited before" } else { "" }
                ));
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })
        .explain("select")?;
    wrong.map_or(Ok(()), Err)?;
    equal("the count of what was visited", &stats, &SelectStats { series: found.len() as u64, samples })?;
    Ok(found)
}
