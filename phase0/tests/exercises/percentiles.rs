//! Percentiles.

use super::support::{ALL_TIME, ensure, is_bad_parameter, now_ms, server::Setup};
use serde_json::json;

#[test]
#[ignore = "an exercise"]
fn the_nearest_rank_of_each_series() {
    let server = Setup::new().start();
    let begun = now_ms() - 10_000;
    // 1 to 100, each once, in an order that is not theirs: 37 generates every residue modulo 101.
    let shuffled = (1..=100_i64).map(|i| (i, i * 37 % 101));
    let many: Vec<_> = shuffled
        .map(|(i, v)| json!({ "name": "d", "value": v, "timestamp": begun + i, "labels": { "core": "0" } }))
        .collect();
    server.send(&many.into());
    server.send(&json!([
        { "name": "d", "value": -7.5, "timestamp": begun, "labels": { "core": "1" } },
        { "name": "d", "value": "NaN", "timestamp": begun + 1, "labels": { "core": "1" } },
    ]));
    server.wait_for_points("d", 102);
    for (p, expected) in [
        ("50", "50"),
        ("95", "95"),
        ("99", "99"),
        ("100", "100"),
        ("1", "1"),
        ("0.5", "1"),
        ("9.5", "10"),
        ("99.5", "100"),
        // Where p/100 is rounded up before it is multiplied, the rank comes out one too high.
        ("7", "7"),
        ("14", "14"),
        ("28", "28"),
        ("55", "55"),
        ("57", "57"),
    ] {
        let target = format!("/query/percentile?name=d&p={p}");
        let answer = server.get(&target);
        let ours = json!([
            { "labels": { "__name__": "d", "core": "0" }, "count": 100, "value": expected },
            { "labels": { "__name__": "d", "core": "1" }, "count": 1, "value": "-7.5" },
        ]);
        ensure(
            answer.status == 200 && answer.json()["series"] == ours,
            format!("the values 1 to 100 in disorder as core 0, -7.5 and NaN as core 1; GET {target}"),
            format!("200 with \"series\": {ours}"),
            answer,
        );
    }
    let target = format!("/query/percentile?name=d&p=100&start={}&end={}", begun + 1, begun + 2);
    let first_two = server.get(&target);
    let right = first_two.json()["series"][0]["value"] == "74" && first_two.json()["series"][0]["count"] == 2;
    ensure(right, format!("the same; GET {target}"), "the larger of the first two, 74", first_two);
}

#[test]
#[ignore = "an exercise"]
fn what_is_no_percentile_is_refused() {
    let server = Setup::new().start();
    for (params, culprit) in [
        ("name=d", "p"),
        ("name=d&p=", "p"),
        ("name=d&p=0", "p"),
        ("name=d&p=100.1", "p"),
        ("name=d&p=-1", "p"),
        ("name=d&p=NaN", "p"),
        ("p=50", "name"),
        ("name=d&p=50&start=noon", "start"),
    ] {
        let target = format!("/query/percentile?{params}");
        is_bad_parameter(&server.get(&target), culprit, &format!("GET {target}"));
    }
    let none = server.get(&format!("/query/percentile?name=unheard_of&p=50&{ALL_TIME}"));
    let right = none.status == 200 && none.json()["series"] == json!([]);
    ensure(right, "a percentile of a name that nobody ever sent", "200 with no series", none);
}
