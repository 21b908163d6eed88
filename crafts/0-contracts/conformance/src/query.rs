//! The suite of a query engine at level 0: selectors, compared with numbers.
//!
//! Whatever more an engine understands, it must understand this. No claim asks it to refuse what some PromQL is;
//! only what no PromQL is must be refused, with the byte at which it stops being one.

use crate::{
    claim::{Check, Claim, Explain, Report, ensure, equal, run},
    rows::{Row, metric, write_synced},
};
use contracts::{
    Labels, TimeRange, TimestampMs,
    batch::STALE_NAN_BITS,
    limits::{LOOKBACK_MS, MATCHERS_MAX, QUERY_BYTES_MAX},
    query::{InstantSample, QueryEngine, QueryError, QueryValue, SeriesPoints, Steps},
    storage::SeriesWriter,
};
use std::{collections::BTreeMap, fmt::Debug, sync::Arc};

/// The way in and the way out of one engine and its storage.
pub type Subject = (Arc<dyn SeriesWriter>, Arc<dyn QueryEngine>);

/// Opens an engine over a fresh, empty storage.
pub type Open = dyn Fn() -> Subject + Send + Sync;

/// Holds the whole suite against an implementation.
pub fn check(open: impl Fn() -> Subject + Send + Sync + 'static) -> Report {
    let open: Arc<Open> = Arc::new(open);
    run("query", &open, CLAIMS)
}

/// What a query engine must do.
pub const CLAIMS: &[Claim<Open>] = &[
    Claim { says: "an empty storage answers every question with nothing", check: empty_storage },
    Claim { says: "every form of a selector selects what it means", check: selectors },
    Claim { says: "quoted values may hold escapes, in either quotes", check: escapes },
    Claim {
        says: "a comparison keeps the elements for which it holds, with value and name",
        check: comparisons,
    },
    Claim { says: "numbers may have signs, points and exponents, and may be infinite", check: numbers },
    Claim { says: "a comparison with NaN never holds, but != does", check: not_a_number },
    Claim { says: "an instant takes the latest sample at or before it", check: latest_sample },
    Claim {
        says: "an instant looks back 5 minutes, the sample of exactly 5 minutes ago excluded",
        check: look_back,
    },
    Claim { says: "an element bears the time of the evaluation, not of its sample", check: evaluation_time },
    Claim { says: "a stale marker ends its series until the next sample", check: stale },
    Claim { says: "an ordinary NaN is a value like any other", check: plain_nan },
    Claim { says: "a range evaluates at each step, with the look-back of an instant", check: range_steps },
    Claim {
        says: "a range has no points where the series is absent or the comparison fails",
        check: range_gaps,
    },
    Claim { says: "points are the raw samples, both ends included", check: raw_points },
    Claim { says: "ranges, points and series are sorted by labels", check: sorted },
    Claim { says: "series, label names and label values follow selectors and range", check: metadata },
    Claim {
        says: "what no PromQL is, is refused with the byte where it stops being one",
        check: syntax_errors,
    },
    Claim { says: "a selector that fits everything is refused", check: fits_everything },
    Claim { says: "points, series and labels refuse bad selectors as well", check: bad_selectors },
    Claim { says: "a text over the limit is refused, one of the longest is not too long", check: long_texts },
    Claim { says: "deep and hostile texts are refused and do no harm", check: hostile_texts },
    Claim { says: "more matchers than the limit are refused, as many as it are not", check: many_matchers },
];

/// Far from the epoch, as real times are, and divisible by everything below.
const T: i64 = 1_700_000_000_000;

fn empty_storage(open: &Open) -> Check {
    let (_, engine) = open();
    equal("an instant", &vector(&*engine, "cpu", T)?, &BTreeMap::new())?;
    equal("a comparison", &vector(&*engine, "cpu > 1", T)?, &BTreeMap::new())?;
    equal("a range", &engine.range("cpu", steps(T, T + 1000, 100)?).explain("range")?, &Vec::new())?;
    let range = TimeRange::new(T, T + 1000);
    equal("points", &engine.points("cpu", range).explain("points")?, &Vec::new())?;
    equal("series", &engine.series(&["cpu"], range).explain("series")?, &Vec::new())?;
    equal("label names", &engine.label_names(&[], range).explain("label names")?, &Vec::new())?;
    equal("label values", &engine.label_values("a", &[], range).explain("label values")?, &Vec::new())
}

fn selectors(open: &Open) -> Check {
    let (writer, engine) = open();
    let all = [
        metric("cpu", &[("a", "b"), ("c", "x"), ("e", "foo"), ("g", "i")]),
        metric("cpu", &[("a", "b"), ("c", "d"), ("e", "foo"), ("g", "i")]),
        metric("cpu", &[("a", "B"), ("c", "x"), ("e", "afoo"), ("g", "h")]),
        metric("cpu", &[]),
        metric("mem:used:5m", &[("a", "b")]),
        metric("_x", &[("a_1", "b")]),
    ];
    let rows: Vec<Row> = (0..).zip(&all).map(|(i, l)| (l.clone(), T, f64::from(i))).collect();
    write_synced(&*writer, &rows)?;
    let cases: &[(&str, &[usize])] = &[
        ("cpu", &[0, 1, 2, 3]),
        ("mem:used:5m", &[4]),
        ("_x", &[5]),
        ("cp", &[]),
        ("cpu{}", &[0, 1, 2, 3]),
        (r#"{__name__="cpu"}"#, &[0, 1, 2, 3]),
        (r#"{__name__=~"cpu|_x"}"#, &[0, 1, 2, 3, 5]),
        (r#"{__name__!="cpu",a="b"}"#, &[4]),
        (r#"{a="b"}"#, &[0, 1, 4]),
        (r#"{a_1="b"}"#, &[5]),
        (r#"cpu{a="b"}"#, &[0, 1]),
        (r#"cpu{a!="b"}"#, &[2, 3]),
        (r#"cpu{a=""}"#, &[3]),
        (r#"cpu{a!=""}"#, &[0, 1, 2]),
        (r#"cpu{e=~"f.*"}"#, &[0, 1]),
        (r#"cpu{e=~"foo|"}"#, &[0, 1, 3]),
        (r#"cpu{g!~"h"}"#, &[0, 1, 3]),
        (r#"cpu{a="b",c!="d",e=~"f.*",g!~"h"}"#, &[0]),
        (r#"cpu{a="b",a!="c"}"#, &[0, 1]),
        (r#"cpu{a="b",}"#, &[0, 1]),
        (r#"cpu{ a = "b" , c != "d" }"#, &[0]),
        ("  cpu\t{\n a=\"b\"\r\n}  ", &[0, 1]),
        ("cpu{a='b'}", &[0, 1]),
        (r#"cpu{a='b',c!="d"}"#, &[0]),
    ];
    for (query, expected) in cases {
        let rows: Vec<_> = expected.iter().map(|i| rows[*i].clone()).collect();
        equal(query, &vector(&*engine, query, T)?, &elements(&rows))?;
    }
    Ok(())
}

fn escapes(open: &Open) -> Check {
    let (writer, engine) = open();
    let values =
        [r#"say "x""#, "it's", r"back\slash", "two\nlines", "a\ttab", "ünï 🦀", "a{b=c},d", "#no comment"];
    let rows: Vec<Row> = values.iter().map(|v| (metric("cpu", &[("a", v)]), T, 1.0)).collect();
    write_synced(&*writer, &rows)?;
    let cases: &[(&str, usize)] = &[
        (r#"cpu{a="say \"x\""}"#, 0),
        (r#"cpu{a='say "x"'}"#, 0),
        (r#"cpu{a='it\'s'}"#, 1),
        (r#"cpu{a="it's"}"#, 1),
        (r#"cpu{a="back\\slash"}"#, 2),
        (r"cpu{a='back\\slash'}", 2),
        (r#"cpu{a=~"back\\\\slash"}"#, 2),
        (r#"cpu{a="two\nlines"}"#, 3),
        (r#"cpu{a="a\ttab"}"#, 4),
        (r#"cpu{a="ünï 🦀"}"#, 5),
        (r#"cpu{a="a{b=c},d"}"#, 6),
        (r##"cpu{a="#no comment"}"##, 7),
    ];
    for (query, expected) in cases {
        equal(query, &vector(&*engine, query, T)?, &elements(&[rows[*expected].clone()]))?;
    }
    Ok(())
}

fn comparisons(open: &Open) -> Check {
    let (writer, engine) = open();
    let rows: Vec<Row> = [-1.0, 0.0, 0.5, 1.0, 2.0]
        .iter()
        .map(|v| (metric("cpu", &[("core", &v.to_string())]), T, *v))
        .collect();
    write_synced(&*writer, &rows)?;
    let cases: &[(&str, Holds)] = &[
        ("cpu > 0.5", |v| v > 0.5),
        ("cpu >= 0.5", |v| v >= 0.5),
        ("cpu < 0.5", |v| v < 0.5),
        ("cpu <= 0.5", |v| v <= 0.5),
        ("cpu == 0.5", |v| v == 0.5),
        ("cpu != 0.5", |v| v != 0.5),
        ("cpu > -1", |v| v > -1.0),
        ("cpu == -1", |v| v == -1.0),
        ("cpu>1", |v| v > 1.0),
        ("cpu==1", |v| v == 1.0),
        ("cpu<-0.5", |v| v < -0.5),
        (" cpu  >=\n1 ", |v| v >= 1.0),
        (r#"cpu{core!="2"} > 0"#, |v| v > 0.0 && v != 2.0),
        ("{__name__=\"cpu\"} != 0", |v| v != 0.0),
        ("cpu > 100", |_| false),
    ];
    for (query, holds) in cases {
        let kept: Vec<Row> = rows.iter().filter(|r| holds(r.2)).cloned().collect();
        equal(query, &vector(&*engine, query, T)?, &elements(&kept))?;
    }
    Ok(())
}

fn numbers(open: &Open) -> Check {
    let (writer, engine) = open();
    let values = [1500.0, -0.25, 0.0, f64::INFINITY, f64::NEG_INFINITY, 1e-9];
    let rows: Vec<Row> =
        (0..).zip(values).map(|(i, v): (i32, f64)| (metric("x", &[("i", &i.to_string())]), T, v)).collect();
    write_synced(&*writer, &rows)?;
    let cases: &[(&str, &[usize])] = &[
        ("x == 1500", &[0]),
        ("x == 1500.0", &[0]),
        ("x == 1.5e3", &[0]),
        ("x == 1.5E+3", &[0]),
        ("x == 15e2", &[0]),
        ("x == +1500", &[0]),
        ("x == -0.25", &[1]),
        ("x == -25e-2", &[1]),
        ("x == -.25", &[1]),
        ("x == 0", &[2]),
        ("x == -0", &[2]),
        ("x == +Inf", &[3]),
        ("x == Inf", &[3]),
        ("x == -Inf", &[4]),
        ("x < +Inf", &[0, 1, 2, 4, 5]),
        ("x == 1e-9", &[5]),
    ];
    for (query, expected) in cases {
        let rows: Vec<_> = expected.iter().map(|i| rows[*i].clone()).collect();
        equal(query, &vector(&*engine, query, T)?, &elements(&rows))?;
    }
    Ok(())
}

fn not_a_number(open: &Open) -> Check {
    let (writer, engine) = open();
    let row = (metric("cpu", &[]), T, f64::NAN);
    write_synced(&*writer, std::slice::from_ref(&row))?;
    for query in ["cpu > 0", "cpu >= 0", "cpu < 0", "cpu <= 0", "cpu == 0"] {
        equal(query, &vector(&*engine, query, T)?, &BTreeMap::new())?;
    }
    equal("cpu != 0", &vector(&*engine, "cpu != 0", T)?, &elements(&[row]))
}

fn latest_sample(open: &Open) -> Check {
    let (writer, engine) = open();
    let cpu = metric("cpu", &[]);
    write_synced(&*writer, &[(cpu.clone(), T, 1.0), (cpu.clone(), T + 10, 2.0), (cpu.clone(), T + 20, 3.0)])?;
    for (at, expected) in
        [(T - 1, None), (T, Some(1.0)), (T + 9, Some(1.0)), (T + 10, Some(2.0)), (T + 99, Some(3.0))]
    {
        let expected: Vec<Row> = expected.map(|v| (cpu.clone(), at, v)).into_iter().collect();
        equal(&format!("cpu at {}", at - T), &vector(&*engine, "cpu", at)?, &elements(&expected))?;
    }
    Ok(())
}

fn look_back(open: &Open) -> Check {
    let (writer, engine) = open();
    let row = (metric("cpu", &[]), T, 1.0);
    write_synced(&*writer, std::slice::from_ref(&row))?;
    let at = |later| vector(&*engine, "cpu", T + later);
    equal("1 ms less than 5 minutes later", &at(LOOKBACK_MS - 1)?, &elements(&[row]))?;
    equal("exactly 5 minutes later", &at(LOOKBACK_MS)?, &BTreeMap::new())?;
    equal("1 ms more than 5 minutes later", &at(LOOKBACK_MS + 1)?, &BTreeMap::new())
}

fn evaluation_time(open: &Open) -> Check {
    let (writer, engine) = open();
    write_synced(&*writer, &[(metric("cpu", &[]), T, 1.0)])?;
    let times: Vec<_> = instant(&*engine, "cpu", T + 500)?.into_iter().map(|s| s.timestamp.0).collect();
    equal("times of the elements", &times, &vec![T + 500])
}

fn stale(open: &Open) -> Check {
    let (writer, engine) = open();
    let (ended, going) = (metric("cpu", &[("core", "0")]), metric("cpu", &[("core", "1")]));
    let marker = f64::from_bits(STALE_NAN_BITS);
    let rows = [
        (ended.clone(), T, 1.0),
        (going.clone(), T, 2.0),
        (ended.clone(), T + 1000, marker),
        (ended.clone(), T + 5000, 3.0),
    ];
    write_synced(&*writer, &rows)?;
    let two = (going, 0, 2.0);
    equal(
        "before the marker",
        &vector(&*engine, "cpu", T + 999)?,
        &elements(&[(ended.clone(), 0, 1.0), two.clone()]),
    )?;
    equal("at the marker", &vector(&*engine, "cpu", T + 1000)?, &elements(std::slice::from_ref(&two)))?;
    equal("after the marker", &vector(&*engine, "cpu", T + 4999)?, &elements(std::slice::from_ref(&two)))?;
    equal(
        "a comparison after the marker",
        &vector(&*engine, "cpu != 7", T + 4999)?,
        &elements(std::slice::from_ref(&two)),
    )?;
    equal("after the next sample", &vector(&*engine, "cpu", T + 5000)?, &elements(&[(ended, 0, 3.0), two]))
}

fn plain_nan(open: &Open) -> Check {
    let (writer, engine) = open();
    let cpu = metric("cpu", &[]);
    write_synced(&*writer, &[(cpu.clone(), T, 1.0), (cpu.clone(), T + 10, f64::NAN)])?;
    equal("cpu", &vector(&*engine, "cpu", T + 20)?, &elements(&[(cpu, 0, f64::NAN)]))
}

fn range_steps(open: &Open) -> Check {
    let (writer, engine) = open();
    let cpu = metric("cpu", &[]);
    write_synced(&*writer, &[(cpu.clone(), T, 1.0), (cpu.clone(), T + 25, 2.0), (cpu.clone(), T + 30, 3.0)])?;
    let found = range(&*engine, "cpu", steps(T, T + 45, 10)?)?;
    let expected = [(T, 1.0), (T + 10, 1.0), (T + 20, 1.0), (T + 30, 3.0), (T + 40, 3.0)];
    equal("cpu every 10 ms", &found, &lines(&[(cpu.clone(), &expected)]))?;
    let found = range(&*engine, "cpu", steps(T + 25, T + 25, 1000)?)?;
    equal("cpu at a single step", &found, &lines(&[(cpu.clone(), &[(T + 25, 2.0)])]))?;
    let last = T + 30 + LOOKBACK_MS;
    let found = range(&*engine, "cpu", steps(last - 2, last + 2, 1)?)?;
    equal("cpu until the look-back ends", &found, &lines(&[(cpu, &[(last - 2, 3.0), (last - 1, 3.0)])]))
}

fn range_gaps(open: &Open) -> Check {
    let (writer, engine) = open();
    let (a, b) = (metric("cpu", &[("core", "0")]), metric("cpu", &[("core", "1")]));
    let marker = f64::from_bits(STALE_NAN_BITS);
    let rows = [
        (a.clone(), T, 5.0),
        (a.clone(), T + 10, 1.0),
        (a.clone(), T + 20, 6.0),
        (b.clone(), T + 10, 7.0),
        (b.clone(), T + 20, marker),
        (b.clone(), T + 30, 8.0),
        (metric("cpu", &[("core", "2")]), T, 0.0),
    ];
    write_synced(&*writer, &rows)?;
    let found = range(&*engine, "cpu > 2", steps(T, T + 30, 10)?)?;
    let expected =
        lines(&[(a, &[(T, 5.0), (T + 20, 6.0), (T + 30, 6.0)]), (b, &[(T + 10, 7.0), (T + 30, 8.0)])]);
    equal("cpu > 2 every 10 ms, without the series for which it never holds", &found, &expected)
}

fn raw_points(open: &Open) -> Check {
    let (writer, engine) = open();
    let (cpu, mem) = (metric("cpu", &[]), metric("mem", &[]));
    let rows: Vec<Row> = (0..5).map(|i| (cpu.clone(), T + i * 10, i as f64)).chain([(mem, T, 9.0)]).collect();
    write_synced(&*writer, &rows)?;
    let points = |start, end| -> Result<_, String> {
        let found = engine.points("cpu", TimeRange::new(start, end)).explain("points")?;
        columns(&found)
    };
    let expected = lines(&[(cpu.clone(), &[(T + 10, 1.0), (T + 20, 2.0), (T + 30, 3.0)])]);
    equal("points of cpu from 10 to 30", &points(T + 10, T + 30)?, &expected)?;
    equal("points of cpu from 11 to 29", &points(T + 11, T + 29)?, &lines(&[(cpu, &[(T + 20, 2.0)])]))?;
    equal("points of cpu from 41 on: there is no look-back", &points(T + 41, T + 99)?, &BTreeMap::new())
}

fn sorted(open: &Open) -> Check {
    let (writer, engine) = open();
    let all: Vec<Labels> = (0..40).map(|i| metric("cpu", &[("core", &(i * 7 % 40).to_string())])).collect();
    let rows: Vec<Row> = all.iter().map(|l| (l.clone(), T, 1.0)).collect();
    write_synced(&*writer, &rows)?;
    let around = TimeRange::new(T, T + 10);
    let mut expected = all;
    expected.sort();
    let names = |found: Vec<SeriesPoints>| found.into_iter().map(|s| s.labels).collect::<Vec<_>>();
    equal(
        "order of a range",
        &names(engine.range("cpu", steps(T, T + 10, 10)?).explain("range")?),
        &expected,
    )?;
    equal("order of points", &names(engine.points("cpu", around).explain("points")?), &expected)?;
    equal("order of series", &engine.series(&["cpu"], around).explain("series")?, &expected)
}

fn metadata(open: &Open) -> Check {
    let (writer, engine) = open();
    let cpu = metric("cpu", &[("core", "0"), ("host", "a")]);
    let mem = metric("mem", &[("host", "b")]);
    let old = metric("old", &[("host", "z"), ("gone", "yes")]);
    write_synced(&*writer, &[(cpu.clone(), T, 1.0), (mem.clone(), T, 1.0), (old, T - 100_000, 1.0)])?;
    let range = TimeRange::new(T - 10, T);
    let series = |selectors: &[&str]| engine.series(selectors, range).explain("series");
    equal("series of cpu", &series(&["cpu"])?, &vec![cpu.clone()])?;
    let mut both = vec![cpu, mem];
    both.sort();
    equal("series of cpu or mem", &series(&["mem", "cpu"])?, &both)?;
    equal("series that two selectors mean", &series(&["cpu", r#"{host=~"a|b"}"#])?, &both)?;
    equal("series outside the range", &series(&["old"])?, &Vec::new())?;
    let texts = |all: &[&str]| all.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
    let names = |selectors: &[&str]| engine.label_names(selectors, range).explain("label names");
    equal("label names", &names(&[])?, &texts(&["__name__", "core", "host"]))?;
    equal("label names of mem", &names(&["mem"])?, &texts(&["__name__", "host"]))?;
    let values =
        |name: &str, selectors: &[&str]| engine.label_values(name, selectors, range).explain("label values");
    equal("values of __name__", &values("__name__", &[])?, &texts(&["cpu", "mem"]))?;
    equal("values of host", &values("host", &[])?, &texts(&["a", "b"]))?;
    equal("values of host of cpu", &values("host", &["cpu"])?, &texts(&["a"]))?;
    equal("values of host of cpu or mem", &values("host", &["cpu", "mem"])?, &texts(&["a", "b"]))?;
    equal("values of a label that nobody has", &values("none", &[])?, &Vec::new())
}

fn syntax_errors(open: &Open) -> Check {
    let (_, engine) = open();
    // The text, and the first and last byte that may be named: where a word or a quote begins or ends is taste.
    let cases: &[(&str, usize, usize)] = &[
        ("", 0, 0),
        ("   ", 0, 3),
        ("cpu{", 4, 4),
        ("cpu{a", 5, 5),
        ("cpu{a=", 6, 6),
        ("cpu{a=}", 6, 6),
        ("cpu{a=b}", 6, 6),
        ("cpu{a=1}", 6, 6),
        (r#"cpu{a="b"#, 6, 8),
        (r#"cpu{a='b"}"#, 6, 10),
        (r#"cpu{a="b""#, 9, 9),
        (r#"cpu{a="b"}}"#, 10, 10),
        (r#"cpu{a="ü🦀"}}"#, 15, 15),
        (r#"cpu{a=="b"}"#, 5, 6),
        (r#"cpu{a="b" c="d"}"#, 10, 10),
        (r#"cpu{a="b",,c="d"}"#, 10, 10),
        (r#"cpu{,a="b"}"#, 4, 4),
        (r#"cpu{1a="b"}"#, 4, 5),
        (r#"cpu{a-b="c"}"#, 5, 5),
        (r#"cpu{a>"b"}"#, 5, 5),
        (r#"cpu{a=~"("}"#, 4, 10),
        (r#"cpu{a!~"*"}"#, 4, 10),
        (r#"cpu{a=~"a)|(b"}"#, 4, 14),
        (r#"cpu{a="\q"}"#, 6, 9),
        ("cpu{a=\"b\nc\"}", 6, 12),
        (r#"cpu{__name__="mem"}"#, 0, 19),
        ("cpu cpu", 4, 4),
        ("cpu }", 4, 4),
        ("cpu >", 5, 5),
        ("cpu > > 1", 6, 6),
        ("cpu => 1", 4, 5),
        ("cpu = 1", 4, 4),
        ("cpu > 1 1", 6, 8),
        ("> 1", 0, 0),
        ("}", 0, 0),
        ("ü", 0, 0),
        ("cpu;", 3, 3),
        ("cpu\u{a0}> 1", 3, 3),
        ("cpu > 1.2.3", 6, 9),
    ];
    for (query, first, last) in cases {
        let result = engine.instant(query, TimestampMs(T));
        bad_at(&format!("an instant of {query:?}"), &result, *first, *last)?;
        let result = engine.range(query, steps(T, T + 10, 10)?);
        bad_at(&format!("a range of {query:?}"), &result, *first, *last)?;
    }
    Ok(())
}

fn fits_everything(open: &Open) -> Check {
    let (_, engine) = open();
    for query in ["{}", r#"{a=""}"#, r#"{a=~".*"}"#, r#"{a!="b"}"#, r#"{a!~"b+"}"#, r#"{__name__=~"cpu|"}"#] {
        let result = engine.instant(query, TimestampMs(T));
        bad_at(&format!("{query}, which also fits series without labels"), &result, 0, query.len())?;
    }
    for query in [r#"{a=~".+"}"#, r#"{a!=""}"#, r#"{a!~""}"#, r#"{a="b",c=""}"#] {
        engine.instant(query, TimestampMs(T)).explain(query)?;
    }
    Ok(())
}

fn bad_selectors(open: &Open) -> Check {
    let (_, engine) = open();
    let range = TimeRange::new(T, T + 10);
    for (text, first, last) in
        [("", 0, 0), ("cpu{", 4, 4), ("cpu{a=}", 6, 6), ("{}", 0, 2), ("cpu > 1", 4, 4), ("cpu cpu", 4, 4)]
    {
        bad_at(&format!("points of {text:?}"), &engine.points(text, range), first, last)?;
        // Which of several selectors is meant, the byte alone does not say; so it must be right for the first.
        bad_at(&format!("series of {text:?}"), &engine.series(&[text, "cpu"], range), first, last)?;
        bad_at(&format!("label names of {text:?}"), &engine.label_names(&[text], range), first, last)?;
        bad_at(&format!("label values of {text:?}"), &engine.label_values("a", &[text], range), first, last)?;
    }
    Ok(())
}

fn long_texts(open: &Open) -> Check {
    let (_, engine) = open();
    let of_length = |bytes: usize| format!("cpu{{a=\"{}\"}}", "x".repeat(bytes - r#"cpu{a=""}"#.len()));
    engine.instant(&of_length(QUERY_BYTES_MAX), TimestampMs(T)).explain("a query of QUERY_BYTES_MAX")?;
    let range = TimeRange::new(T, T + 10);
    for text in [of_length(QUERY_BYTES_MAX + 1), of_length(20 << 10), format!("cpu{}", " ".repeat(20 << 10))]
    {
        let what = format!("of {} bytes", text.len());
        is_refused(&format!("an instant {what}"), &engine.instant(&text, TimestampMs(T)))?;
        is_refused(&format!("a range {what}"), &engine.range(&text, steps(T, T + 10, 10)?))?;
        is_refused(&format!("points {what}"), &engine.points(&text, range))?;
        is_refused(&format!("series {what}"), &engine.series(&[&text], range))?;
        is_refused(&format!("label names {what}"), &engine.label_names(&[&text], range))?;
        is_refused(&format!("label values {what}"), &engine.label_values("a", &[&text], range))?;
    }
    Ok(())
}

fn hostile_texts(open: &Open) -> Check {
    let (_, engine) = open();
    let many = QUERY_BYTES_MAX - 10;
    let hostile = [
        "(".repeat(many),
        "-".repeat(many),
        "{".repeat(many),
        "cpu{".repeat(many / 4),
        "cpu > ".repeat(many / 6),
        format!("cpu{{a=~\"{}\"}}", "(".repeat(many - 20)),
        r#"cpu{a=~"(\\w{100}){100}"}"#.to_owned(),
        "\0".to_owned(),
        "cpu{a=\"".to_owned() + &"\\".repeat(many),
    ];
    for text in hostile {
        let what: String = text.chars().take(20).collect();
        is_refused(&format!("{what:?}…"), &engine.instant(&text, TimestampMs(T)))?;
    }
    Ok(())
}

fn many_matchers(open: &Open) -> Check {
    let (writer, engine) = open();
    let row = (metric("cpu", &[("a", "b")]), T, 1.0);
    write_synced(&*writer, std::slice::from_ref(&row))?;
    let with = |count| format!("cpu{{{}}}", "a=\"b\",".repeat(count));
    // The metric name is a matcher, too.
    equal(
        "as many matchers as the limit",
        &vector(&*engine, &with(MATCHERS_MAX - 1), T)?,
        &elements(&[row]),
    )?;
    is_refused("one matcher more than the limit", &engine.instant(&with(MATCHERS_MAX), TimestampMs(T)))
}

// ── How the claims talk to an engine ─────────────────────────────────────────────────────────────────────────

/// What a comparison keeps.
type Holds = fn(f64) -> bool;

/// Bits by labels: what an instant vector holds, whatever its order.
type Elements = BTreeMap<Labels, u64>;

/// Times and bits by labels: what a range holds.
type Lines = BTreeMap<Labels, Vec<(i64, u64)>>;

fn elements(rows: &[Row]) -> Elements {
    rows.iter().map(|(labels, _, value)| (labels.clone(), value.to_bits())).collect()
}

fn lines(series: &[(Labels, &[(i64, f64)])]) -> Lines {
    series
        .iter()
        .map(|(l, points)| (l.clone(), points.iter().map(|(at, v)| (*at, v.to_bits())).collect()))
        .collect()
}

fn instant(engine: &dyn QueryEngine, query: &str, at: i64) -> Result<Vec<InstantSample>, String> {
    match engine.instant(query, TimestampMs(at)).explain(&format!("{query:?} at {at}"))? {
        QueryValue::Vector(samples) => Ok(samples),
        other => Err(format!("{query:?}: expected an instant vector, got {other:?}")),
    }
}

fn vector(engine: &dyn QueryEngine, query: &str, at: i64) -> Result<Elements, String> {
    let samples = instant(engine, query, at)?;
    let found: Elements = samples.iter().map(|s| (s.labels.clone(), s.value.to_bits())).collect();
    ensure(found.len() == samples.len(), || format!("{query:?}: one series gave two elements: {samples:?}"))?;
    Ok(found)
}

fn range(engine: &dyn QueryEngine, query: &str, steps: Steps) -> Result<Lines, String> {
    columns(&engine.range(query, steps).explain(&format!("a range of {query:?}"))?)
}

/// Holds every series to the contract: once, with points, two columns of one length, ascending.
fn columns(found: &[SeriesPoints]) -> Result<Lines, String> {
    let mut all = Lines::new();
    for SeriesPoints { labels, timestamps, values } in found {
        let bits = values.iter().map(|v| v.to_bits());
        let again = all.insert(labels.clone(), timestamps.iter().copied().zip(bits).collect()).is_some();
        let rising = timestamps.is_sorted_by(|a, b| a < b);
        ensure(!again && rising && !timestamps.is_empty() && timestamps.len() == values.len(), || {
            format!("{labels}: expected one series with points, ascending, got {timestamps:?} and {values:?}")
        })?;
    }
    Ok(all)
}

fn steps(start: i64, end: i64, step_ms: i64) -> Result<Steps, String> {
    Steps::new(TimeRange::new(start, end), step_ms).explain("steps")
}

fn bad_at<T: Debug>(what: &str, result: &Result<T, QueryError>, first: usize, last: usize) -> Check {
    let expected = || match first == last {
        true => format!("Bad at byte {first}"),
        false => format!("Bad at a byte from {first} to {last}"),
    };
    crate::claim::refused(
        what,
        result,
        &expected(),
        |e| matches!(e, QueryError::Bad { at, why } if (first..=last).contains(at) && !why.is_empty()),
    )
}

fn is_refused<T: Debug>(what: &str, result: &Result<T, QueryError>) -> Check {
    crate::claim::refused(what, result, "Bad or TooLarge", |e| {
        matches!(e, QueryError::Bad { .. } | QueryError::TooLarge(_))
    })
}
