//! What every service has: health, readiness, its own metrics, its documents, one form of error.

use super::{
    HttpClaim, claim,
    target::{Part, Target, expect, expect_error},
};
use crate::{
    claim::{Check, ensure, equal},
    client::{Connection, Reply, Url, request},
};
use contracts::query::parse_value;
use serde_json::json;

pub(super) const CLAIMS: &[HttpClaim] = &[
    claim("GET /health says that the service is alive", &[], health),
    claim("GET /ready says whether the service can serve, and why not", &[], ready),
    claim("GET /metrics is Prometheus text", &[], metrics),
    claim("GET /openapi lists files that are served", &[], openapi),
    claim("what is not there is 404 in the form of every error", &[], not_found),
    claim("a method that a path does not take is 405 with Allow", &[], wrong_method),
    claim("HEAD is answered as GET, without a body", &[], head),
    claim("any traceparent is put up with", &[], traceparent),
    claim("a query string does not hide a path", &[], query_string),
];

/// Runs a check at every host of the target.
fn at_each_host(target: &Target, check: impl Fn(Part, &Url) -> Check) -> Check {
    target.hosts().into_iter().try_for_each(|(part, url)| {
        check(part, url).map_err(|why| format!("{why} (at the {} service)", part.as_str()))
    })
}

fn health(target: &Target) -> Check {
    at_each_host(target, |_, url| {
        let reply = target.get(url, "/health")?;
        equal("GET /health", &expect(&reply, 200)?.json()?, &json!({"status": "ok"}))?;
        is_type("GET /health", &reply, "application/json")
    })
}

fn ready(target: &Target) -> Check {
    at_each_host(target, |_, url| {
        let reply = target.get(url, "/ready")?;
        let body = reply.json()?;
        let explained = body["why"].as_str().is_some_and(|why| !why.is_empty());
        let holds = match reply.status {
            200 => body["ready"] == true,
            503 => body["ready"] == false && explained,
            _ => false,
        };
        ensure(holds, || {
            format!("expected 200 and ready:true, or 503, ready:false and why, got {} {body}", reply.status)
        })
    })
}

fn metrics(target: &Target) -> Check {
    at_each_host(target, |_, url| {
        let reply = target.get(url, "/metrics")?;
        is_type("GET /metrics", expect(&reply, 200)?, "text/plain")?;
        let text = String::from_utf8(reply.body).map_err(|e| format!("the metrics are not UTF-8: {e}"))?;
        ensure(text.ends_with('\n'), || "the metrics must end with a line feed".to_owned())?;
        let mut samples = 0;
        for (number, line) in (1..).zip(text.lines()) {
            samples += usize::from(
                is_sample(line).map_err(|why| format!("line {number} of the metrics, {line:?}: {why}"))?,
            );
        }
        ensure(samples > 0, || "the metrics hold no sample".to_owned())
    })
}

/// Whether a line of Prometheus's text format is a sample; an error if it is nothing of it.
fn is_sample(line: &str) -> Result<bool, String> {
    if let Some(type_of) = line.strip_prefix("# TYPE ") {
        let kind = type_of.split(' ').nth(1).unwrap_or_default();
        let known = ["counter", "gauge", "histogram", "summary", "untyped"].contains(&kind);
        return ensure(known && type_of.split(' ').count() == 2, || "no type".to_owned()).map(|()| false);
    }
    if line.is_empty() || line.starts_with('#') {
        return Ok(false);
    }
    let name_bytes = line.bytes().take_while(|b| b.is_ascii_alphanumeric() || b"_:".contains(b)).count();
    let mut rest = &line[name_bytes..];
    ensure(name_bytes > 0 && !line.starts_with(|c: char| c.is_ascii_digit()), || {
        "no metric name".to_owned()
    })?;
    if let Some(labels) = rest.strip_prefix('{') {
        rest = after_labels(labels)?;
    }
    let mut words = rest.split_ascii_whitespace();
    let value = words.next().ok_or("no value")?;
    parse_value(value).ok_or(format!("{value:?} is no value"))?;
    let timestamp_is_good = words.next().is_none_or(|text| text.parse::<i64>().is_ok());
    ensure(timestamp_is_good && words.next().is_none(), || "too much behind the value".to_owned())
        .map(|()| true)
}

/// What follows the `}` of `name="value",…}`.
fn after_labels(text: &str) -> Result<&str, String> {
    let mut rest = text;
    loop {
        if let Some(after) = rest.strip_prefix('}') {
            return Ok(after);
        }
        let (name, after) = rest.split_once("=\"").ok_or("a label without a value")?;
        let good = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        ensure(good, || format!("{name:?} is no label name"))?;
        let mut escaped = false;
        let end = after.char_indices().find(|(_, c)| {
            let ends = *c == '"' && !escaped;
            escaped = *c == '\\' && !escaped;
            ends
        });
        let (end, _) = end.ok_or("a label value without an end")?;
        rest = &after[end + 1..];
        rest = rest.strip_prefix(',').unwrap_or(rest);
    }
}

fn openapi(target: &Target) -> Check {
    at_each_host(target, |part, url| {
        let listed = expect(&target.get(url, "/openapi")?, 200)?.json()?;
        let files = listed["files"].as_array().ok_or(format!("expected a list of files, got {listed}"))?;
        let own = format!("/openapi/{}.yaml", part.as_str());
        ensure(files.iter().any(|f| f.as_str() == Some(&own)), || {
            format!("{own} is not listed in {listed}")
        })?;
        for file in files.iter().filter_map(|f| f.as_str()) {
            let text = expect(&target.get(url, file)?, 200)?.text();
            ensure(text.starts_with("openapi: 3.1"), || {
                format!("{file} does not begin with its version: {text:.40}")
            })?;
        }
        Ok(())
    })
}

fn not_found(target: &Target) -> Check {
    at_each_host(target, |_, url| {
        for path in [
            "/nowhere",
            "/health/",
            "/health/x",
            "//health",
            "/HEALTH",
            "/openapi/none.yaml",
            "/%00",
            "/openapi/../../../etc/passwd",
            "/openapi/..%2f..%2fCargo.toml",
            "/api/v1/label//values",
            "/%ff%fe?a",
        ] {
            // Where a file would be, other methods may be 405.
            let methods = if path.starts_with("/openapi") { &["GET"][..] } else { &["GET", "POST"] };
            for method in methods.iter().copied() {
                let body = (method == "POST").then_some(&b"{}"[..]);
                let reply = target.call(url, method, path, &[("Content-Type", "application/json")], body)?;
                expect_error(&format!("{method} {path}"), &reply, 404, &["no_such_path"])?;
            }
        }
        Ok(())
    })
}

fn wrong_method(target: &Target) -> Check {
    at_each_host(target, |_, url| {
        for (method, path) in [
            ("DELETE", "/health"),
            ("POST", "/ready"),
            ("PUT", "/metrics"),
            ("BREW", "/openapi"),
            ("get", "/health"),
        ] {
            let reply =
                target.call(url, method, path, &[("Content-Type", "application/json")], Some(b"{}"))?;
            expect_error(&format!("{method} {path}"), &reply, 405, &["method_not_allowed"])?;
            let allow = reply.header("allow").unwrap_or_default();
            let names_get = allow.split(',').any(|m| m.trim() == "GET");
            ensure(names_get, || format!("{method} {path}: Allow must name GET, got {allow:?}"))?;
        }
        Ok(())
    })
}

fn head(target: &Target) -> Check {
    at_each_host(target, |_, url| {
        for path in ["/health", "/openapi", "/nowhere"] {
            let get = target.get(url, path)?;
            let mut connection = Connection::open(url)?;
            // The answer will tell if it did not arrive.
            let _ = connection.send(&request(url, "HEAD", path, &[], None));
            let head = connection.reply(true)?.ok_or(format!("HEAD {path}: closed without an answer"))?;
            let rest = connection.rest()?;
            equal(&format!("status of HEAD {path}"), &head.status, &get.status)?;
            equal(&format!("bytes behind the head of HEAD {path}"), &rest.len(), &0)?;
            if let Some(length) = head.header("content-length") {
                equal(&format!("Content-Length of HEAD {path}"), &length, &&*get.body.len().to_string())?;
            }
        }
        Ok(())
    })
}

fn traceparent(target: &Target) -> Check {
    at_each_host(target, |_, url| {
        let long = "0".repeat(4000);
        for value in [
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-0000000000000000-00",
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-the-future-will-be-like",
            "nonsense",
            "",
            &long,
        ] {
            let reply = target.call(url, "GET", "/health", &[("traceparent", value)], None)?;
            expect(&reply, 200).map_err(|why| format!("traceparent: {value:.60}: {why}"))?;
        }
        Ok(())
    })
}

fn query_string(target: &Target) -> Check {
    at_each_host(target, |_, url| {
        for path in ["/health?", "/health?a=b&c", "/health?%zz=%", "/health??", "/health?/nowhere"] {
            expect(&target.get(url, path)?, 200).map_err(|why| format!("GET {path}: {why}"))?;
        }
        Ok(())
    })
}

fn is_type(what: &str, reply: &Reply, expected: &str) -> Check {
    let got = reply.header("content-type").unwrap_or_default();
    ensure(got.starts_with(expected), || format!("{what}: Content-Type: expected {expected}, got {got:?}"))
}

#[cfg(test)]
mod tests {
    use super::is_sample;

    #[test]
    fn lines_of_the_text_format() {
        for line in ["up 1", "a:b{c=\"d\",} +Inf 123", r#"a{b="\"}\\",c="é"} 1e-7"#, "a{} NaN"] {
            assert_eq!(is_sample(line), Ok(true), "{line}");
        }
        for line in ["", "# a comment", "# TYPE up gauge", "# HELP up any text"] {
            assert_eq!(is_sample(line), Ok(false), "{line}");
        }
        for line in
            ["9up 1", "up", "up one", "up{a=b} 1", "up{a=\"b} 1", "up 1 x", "# TYPE up thing", "up 1 2 3"]
        {
            is_sample(line).unwrap_err();
        }
    }
}
