//! The OpenAPI files, the routes and what was really answered: all three must agree.

#![allow(clippy::unwrap_used)] // a test that cannot go on should stop

use conformance::{
    client::Url,
    http::{HttpReport, Part, Target, check_target},
};
use contracts::openapi::FILES;
use platform::{Node, NodeConfig, Role};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

/// Method, path with `{}` for each parameter.
type Operation = (String, String);

fn documents() -> BTreeMap<&'static str, Value> {
    FILES
        .iter()
        .map(|(name, text)| (*name, serde_saphyr::from_str(text).unwrap_or_else(|e| panic!("{name}: {e}"))))
        .collect()
}

fn operations(document: &Value) -> BTreeMap<Operation, Value> {
    let mut found = BTreeMap::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            if ["get", "post", "put", "delete"].contains(&method.as_str()) {
                found.insert((method.to_uppercase(), normal(path)), operation.clone());
            }
        }
    }
    found
}

/// Parameters may have other names on either side.
fn normal(path: &str) -> String {
    let segment = |s: &str| if s.contains('{') { "{}".to_owned() } else { s.to_owned() };
    path.split('/').map(segment).collect::<Vec<_>>().join("/")
}

fn start(roles: &[Role], name: &str, chosen: &[(Role, &Node)]) -> Node {
    let dir =
        PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("openapi-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    let mut config = NodeConfig::up(([127, 0, 0, 1], 0).into(), dir);
    config.roles = roles.to_vec();
    config.agent = false;
    config.evaluate_every = Duration::from_secs(3600);
    for (role, node) in chosen {
        config.chosen.insert(*role, format!("http://{}", node.addr()));
    }
    Node::start(&config).unwrap()
}

/// The five services, each alone.
fn five(name: &str) -> Vec<(Role, Node)> {
    let of = |role: Role, upstream: &[(Role, &Node)]| {
        start(&[role], &format!("{name}-{}", role.as_str()), upstream)
    };
    let queue = of(Role::Queue, &[]);
    let ingest = of(Role::Ingest, &[(Role::Queue, &queue)]);
    let storage = of(Role::Storage, &[(Role::Queue, &queue)]);
    let query = of(Role::Query, &[(Role::Storage, &storage)]);
    let alert = of(Role::Alert, &[(Role::Query, &query)]);
    vec![
        (Role::Ingest, ingest),
        (Role::Queue, queue),
        (Role::Storage, storage),
        (Role::Query, query),
        (Role::Alert, alert),
    ]
}

#[test]
fn every_route_is_documented_and_everything_documented_is_a_route() {
    let documents = documents();
    for (role, node) in five("routes") {
        let documented: BTreeSet<Operation> = operations(&documents[role.as_str()]).into_keys().collect();
        let served: BTreeSet<Operation> =
            node.routes().iter().map(|r| (r.method.to_owned(), normal(r.path))).collect();
        let missing: Vec<_> = served.difference(&documented).collect();
        let invented: Vec<_> = documented.difference(&served).collect();
        assert!(
            missing.is_empty() && invented.is_empty(),
            "{}: not documented {missing:?}, not served {invented:?}",
            role.as_str()
        );
    }
}

/// Statuses that any request to any path may get, documented once a file rather than at each operation.
const ANYWHERE: [u16; 11] = [400, 401, 403, 408, 411, 413, 415, 417, 431, 501, 505];

fn assert_documented(report: &HttpReport) {
    let documents = documents();
    let mut statuses: BTreeMap<Operation, BTreeSet<u16>> = BTreeMap::new();
    for document in documents.values() {
        for (operation, body) in operations(document) {
            let codes = body["responses"].as_object().unwrap().keys().filter_map(|c| c.parse::<u16>().ok());
            statuses.entry(operation).or_default().extend(codes);
        }
    }
    let mut seen = 0;
    for observed in &report.observed {
        let method = if observed.method == "HEAD" { "GET" } else { &observed.method };
        let Some(codes) = statuses.get(&(method.to_owned(), normal(&observed.path))) else {
            // No such operation: then only the answers for that are right.
            assert!(
                [404, 405].contains(&observed.status) || ANYWHERE.contains(&observed.status),
                "{observed:?} is documented nowhere"
            );
            continue;
        };
        assert!(
            codes.contains(&observed.status) || ANYWHERE.contains(&observed.status),
            "{observed:?} is not documented: {codes:?}"
        );
        seen += 1;
    }
    assert!(seen > 20, "only {seen} documented operations were seen: does the suite still ask anything?");
}

#[test]
fn five_services_pass_the_black_box_suites_and_answer_only_what_is_documented() {
    let nodes = five("suite");
    let target = nodes.iter().fold(Target::new(), |target, (role, node)| {
        let part = Part::ALL.into_iter().find(|p| p.as_str() == role.as_str()).unwrap();
        target.with(part, Url::parse(&format!("http://{}", node.addr())).unwrap())
    });
    let report = check_target(&Arc::new(target));
    report.assert_all_hold();
    assert_documented(&report);
}

#[test]
fn one_process_passes_the_black_box_suites() {
    let node = start(&Role::ALL, "one", &[]);
    let report = conformance::http::check(&format!("http://{}", node.addr())).unwrap();
    report.assert_all_hold();
    assert_documented(&report);
}
