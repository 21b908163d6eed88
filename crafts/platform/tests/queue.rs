//! The queue service from outside: what goes wrong with it, and what its clients make of that.

#![allow(clippy::unwrap_used)] // a test that cannot go on should stop

use contracts::{
    Batch, TimestampMs,
    ingest::partition_of,
    limits::RECORD_BYTES_MAX,
    queue::{Bounds, Log, LogError, Offset, Partition, put_payload},
};
use platform::{
    Node, NodeConfig, Role,
    remote::{Client, RemoteLog},
    routes::queue::{CONSUMES_WAITING_MAX, RECORDS},
};
use serde_json::{Value, json};
use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::Path,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

/// The longest that a test waits for something that should come soon. It bounds, it does not measure.
const PATIENCE: Duration = Duration::from_secs(30);

fn anywhere() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

fn queue_at(listen: SocketAddr, dir: &Path, partitions: u32) -> Node {
    let mut config = NodeConfig::serve(Role::Queue, listen, dir.to_owned());
    config.log.partitions = Some(partitions);
    Node::start(&config).unwrap()
}

/// A service that finds its queue at this address.
fn behind(role: Role, queue: SocketAddr, dir: &Path) -> Node {
    let mut config = NodeConfig::serve(role, anywhere(), dir.to_owned());
    config.chosen.insert(Role::Queue, format!("http://{queue}"));
    Node::start(&config).unwrap()
}

fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder().http_status_as_error(false).proxy(None);
    config.timeout_global(Some(PATIENCE)).build().new_agent()
}

fn get(node: &Node, path: &str) -> (u16, Vec<u8>) {
    let mut response = agent().get(format!("http://{}{path}", node.addr())).call().unwrap();
    (response.status().as_u16(), response.body_mut().read_to_vec().unwrap())
}

fn post(node: &Node, path: &str, kind: &str, body: &[u8]) -> (u16, Value) {
    let request = agent().post(format!("http://{}{path}", node.addr())).content_type(kind);
    let mut response = request.send(body).unwrap();
    let text = response.body_mut().read_to_string().unwrap();
    (response.status().as_u16(), serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

fn within<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain until {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// A batch of one sample, which is found again by its value in the log's files.
fn batch(value: f64) -> Vec<u8> {
    let mut batch = Batch::new();
    let series = batch.series([("__name__", "x")]).unwrap();
    batch.push(series, TimestampMs(1), value).unwrap();
    batch.encode()
}

#[test]
fn a_record_over_the_limit_is_413_and_nothing_of_its_request_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let node = queue_at(anywhere(), dir.path(), 1);
    let large = vec![0; RECORD_BYTES_MAX + 1];
    let (status, body) = post(&node, "/produce?partition=0", "application/octet-stream", &large);
    assert_eq!((status, &body["error"]["code"]), (413, &json!("record_too_large")));
    assert_eq!(body["error"]["detail"]["record_too_large"]["bytes"], json!(large.len()));
    let mut several = Vec::new();
    put_payload(b"small", &mut several);
    put_payload(&large, &mut several);
    let (status, body) = post(&node, "/produce?partition=0", RECORDS, &several);
    assert_eq!((status, &body["error"]["code"]), (413, &json!("record_too_large")));
    let log = RemoteLog::new(Client::new(&format!("http://{}", node.addr()), None).unwrap());
    assert_eq!(log.bounds(Partition(0)), Ok(Bounds::default()));
}

#[test]
fn a_directory_that_another_has_is_not_opened_and_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let _first = queue_at(anywhere(), dir.path(), 1);
    let config = NodeConfig::serve(Role::Queue, anywhere(), dir.path().to_owned());
    let why = Node::start(&config).map(|_| ()).unwrap_err().to_string();
    assert!(why.contains("another process has this log open"), "{why}");
    assert!(why.contains(dir.path().to_str().unwrap()), "{why}");
}

/// Turns a bit of a record round, in whichever file it lies.
fn damage(dir: &Path, record: &[u8]) {
    let files = fs::read_dir(dir.join("queue")).unwrap().map(|entry| entry.unwrap().path());
    let mut times = 0;
    for path in files.filter(|path| path.extension().is_some_and(|e| e == "log")) {
        let mut bytes = fs::read(&path).unwrap();
        let found = bytes.windows(record.len()).position(|window| window == record);
        if let Some(at) = found {
            bytes[at + record.len() - 1] ^= 1;
            fs::write(&path, bytes).unwrap();
            times += 1;
        }
    }
    assert_eq!(times, 1, "the record lies in one file");
}

#[test]
fn damage_is_410_with_where_to_go_on_and_storage_passes_it_loudly() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("queue");
    let node = queue_at(anywhere(), &data, 1);
    for value in [1.5, 2.5, 3.5, 4.5] {
        let (status, _) =
            post(&node, "/produce?partition=0&ack=disk", "application/octet-stream", &batch(value));
        assert_eq!(status, 200);
    }
    drop(node); // and its log is closed
    damage(&data, &batch(2.5));

    let node = queue_at(anywhere(), &data, 1);
    let (status, body) = get(&node, "/consume?partition=0&offset=1");
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((status, &body["error"]["code"]), (410, &json!("damaged")), "{body}");
    let detail: LogError = serde_json::from_value(body["error"]["detail"].clone()).unwrap();
    let expected = |e: &LogError| {
        matches!(e, LogError::Damaged { partition: Partition(0), from: Offset(1), next: Offset(2), .. })
    };
    assert!(expected(&detail), "{detail:?}");
    for good in [0, 2, 3] {
        assert_eq!(get(&node, &format!("/consume?partition=0&offset={good}")).0, 200, "offset {good}");
    }

    let storage = behind(Role::Storage, node.addr(), &dir.path().join("storage"));
    within("storage has come to the end", || {
        let (_, body) = get(&node, "/committed?group=storage&partition=0");
        (body == br#"{"offset":4}"#).then_some(())
    });
    let (_, metrics) = get(&storage, "/metrics");
    let metrics = String::from_utf8(metrics).unwrap();
    assert!(metrics.contains("\ncraft_storage_lost_records_total 1\n"), "{metrics}");
    assert!(metrics.contains("\ncraft_storage_samples_total 3\n"), "{metrics}");
    let (_, metrics) = get(&node, "/metrics");
    let metrics = String::from_utf8(metrics).unwrap();
    assert!(
        metrics.contains("\ncraft_queue_lag_records{group=\"storage\",partition=\"0\"} 0\n"),
        "{metrics}"
    );
    let drained = storage.stop();
    assert!(drained.to_string().contains("1 records were LOST"), "{drained}");
}

#[test]
fn who_waits_beyond_the_last_place_is_answered_at_once_and_the_others_when_a_record_comes() {
    let dir = tempfile::tempdir().unwrap();
    let node = queue_at(anywhere(), dir.path(), 1);
    let (tell, told) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..=CONSUMES_WAITING_MAX {
            let (node, tell) = (&node, tell.clone());
            scope.spawn(move || tell.send(get(node, "/consume?partition=0&offset=0&wait=10000")));
        }
        assert_eq!(told.recv_timeout(PATIENCE).unwrap(), (200, Vec::new()), "one finds no place to wait");
        assert_eq!(post(&node, "/produce?partition=0", "application/octet-stream", b"news").0, 200);
        for _ in 0..CONSUMES_WAITING_MAX {
            let (status, body) = told.recv_timeout(PATIENCE).unwrap();
            assert!(status == 200 && body.ends_with(b"news"), "{status}, {} bytes", body.len());
        }
    });
}

#[test]
fn an_ingestion_that_was_there_before_its_queue_spreads_clients_over_all_partitions() {
    const PARTITIONS: u32 = 4;
    let dir = tempfile::tempdir().unwrap();
    // A port that is free, and will be the queue's.
    let at = TcpListener::bind(anywhere()).unwrap().local_addr().unwrap();
    let ingest = behind(Role::Ingest, at, &dir.path().join("ingest"));
    let send = |client: &str| {
        let body = json!({"name": "early", "value": 1, "client_id": client}).to_string();
        post(&ingest, "/metrics", "application/json", body.as_bytes()).0
    };
    assert_eq!(send("a"), 503, "there is no queue yet");
    let queue = queue_at(at, &dir.path().join("queue"), PARTITIONS);
    let log = RemoteLog::new(Client::new(&format!("http://{at}"), None).unwrap());
    let clients: Vec<String> = (0..16).map(|n| format!("client-{n}")).collect();
    within("the ingestion has found its queue", || (send(&clients[0]) == 202).then_some(()));
    clients[1..].iter().for_each(|client| assert_eq!(send(client), 202));
    let mut expected = [0_u64; PARTITIONS as usize];
    clients.iter().for_each(|client| expected[partition_of(client, PARTITIONS).0 as usize] += 1);
    let found: Vec<_> = (0..PARTITIONS).map(|p| log.bounds(Partition(p)).unwrap().end.0).collect();
    assert!(expected.iter().filter(|count| **count > 0).count() > 1, "{expected:?}");
    assert_eq!(found, expected);
    drop(queue);
}
