//! Points within a range of values.

use super::support::{
    ensure, is_bad_parameter, now_ms,
    server::{Setup, points},
};
use serde_json::json;

#[test]
#[ignore = "an exercise"]
fn points_are_chosen_by_value() {
    let server = Setup::new().start();
    let values =
        [json!(-4), json!(1), json!(2.5), json!(5), json!(7.5), json!(10), json!("NaN"), json!("+Inf")];
    let begun = now_ms() - 10_000;
    for (value, at) in values.iter().zip(begun..) {
        server.send(&json!({ "name": "v", "value": value, "timestamp": at }));
    }
    server.wait_for_points("v", values.len());
    for (params, expected, why) in [
        ("", "-4 1 2.5 5 7.5 10 NaN +Inf", "no bound, no change"),
        ("&min=2.5", "2.5 5 7.5 10 +Inf", "the bound itself is within"),
        ("&max=5", "-4 1 2.5 5", "the bound itself is within"),
        ("&min=2.5&max=7.5", "2.5 5 7.5", "both together"),
        ("&min=-1e3", "-4 1 2.5 5 7.5 10 +Inf", "NaN is not within anything"),
        ("&min=-Inf&max=0", "-4", "-Inf is a bound"),
        ("&min=100&max=200", "", "nothing lies there"),
        ("&min=7&max=3", "", "nothing can lie there"),
    ] {
        let answer = server.get(&format!("/query?name=v{params}"));
        let found = points(&answer.json()).join(" ");
        ensure(
            answer.status == 200 && found == expected,
            format!("the values {}, then GET /query?name=v{params}", json!(values)),
            format!("200 with the values [{expected}]: {why}"),
            answer,
        );
    }
    let empty = server.get("/query?name=v&min=100");
    let infinite = empty.json()["series"].as_array().map(Vec::len);
    ensure(infinite == Some(1), "GET /query?name=v&min=100", "+Inf is above 100", &empty);
    let empty = server.get("/query?name=v&min=100&max=200");
    let series = empty.json()["series"].as_array().map(Vec::len);
    ensure(
        series == Some(0),
        "GET /query?name=v&min=100&max=200",
        "a series without points is left out",
        &empty,
    );
    let narrow = server.get(&format!("/query?name=v&min=2.5&end={}", begun + 3));
    let right = points(&narrow.json()) == ["2.5", "5"];
    ensure(
        right,
        "GET /query?name=v&min=2.5&end=(time of the 5)",
        "[2.5 5]: start and end go on working",
        narrow,
    );
}

#[test]
#[ignore = "an exercise"]
fn a_bound_that_is_no_number_is_refused_by_name() {
    let server = Setup::new().start();
    for (params, culprit) in
        [("min=abc", "min"), ("max=", "max"), ("min=1&max=1x", "max"), ("min=NaN", "min")]
    {
        let answer = server.get(&format!("/query?name=v&{params}"));
        is_bad_parameter(&answer, culprit, &format!("GET /query?name=v&{params}"));
    }
}
