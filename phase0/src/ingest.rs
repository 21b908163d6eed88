//! Stage 1c: a request → samples in the log, and the answer.
//!
//! All or nothing: one bad metric refuses its whole request, with the byte at which it went wrong. 202 is sent
//! once the batch is in the queue — which here is memory, so a crash loses it all the same.
//!
//! What is wrong with it: a producer is opened for every request, and everything is copied twice — from the
//! text into a [`Metric`], from there into a batch.

use crate::{
    http,
    json::{self, Value},
    now,
};
use contracts::{
    Batch, BatchError, LabelError, TimestampMs,
    http::{ApiError, Request, Response},
    ingest::{Ingest, IngestConfig, Site, partition_of},
    labels::METRIC_NAME,
    limits::{CLIENT_ID_BYTES_MAX, RECORD_BYTES_MAX},
    query::parse_value,
    queue::{Log, LogError, NewRecord, Partition, Ticket},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::Arc,
    time::Duration,
};

/// A batch that has grown beyond this is closed and another begun: one more series can never pass the limit then.
const BATCH_BYTES: usize = RECORD_BYTES_MAX / 2;
/// How long a request waits for its batch to be safe.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(5);

/// Phase 0's server. Without a log it is only an HTTP engine.
pub struct SequentialIngest {
    config: IngestConfig,
    log: Option<Arc<dyn Log>>,
}

impl SequentialIngest {
    /// A server that appends to `log`.
    pub fn new(config: IngestConfig, log: Option<Arc<dyn Log>>) -> Self {
        Self { config, log }
    }

    /// Takes the samples of one request.
    fn accept(&self, log: &dyn Log, request: &Request<'_>) -> Result<Response, ApiError> {
        check_content_type(request)?;
        let metrics = parse_metrics(request.body, now())?;
        let mut batches = BTreeMap::<Partition, Vec<Batch>>::new();
        for metric in &metrics {
            let list = batches.entry(partition_of(&metric.client_id, log.partitions())).or_default();
            if list.last().is_none_or(|batch| batch.encoded_bytes_max() > BATCH_BYTES) {
                list.push(Batch::new());
            }
            if let Some(batch) = list.last_mut() {
                metric.add_to(batch)?;
            }
        }
        produce(log, &self.config, &batches)?;
        Ok(Response::json(202, &BTreeMap::from([("accepted", metrics.len())])))
    }
}

impl Ingest for SequentialIngest {
    fn serve(&self, site: &Site<'_>) -> io::Result<()> {
        http::serve(site, &self.config, &|request: &Request<'_>| match (
            &self.log,
            request.method,
            request.path,
        ) {
            (Some(log), "POST", "/metrics") => self.accept(log.as_ref(), request).into(),
            _ => site.rest.handle(request),
        })
    }
}

fn produce(
    log: &dyn Log,
    config: &IngestConfig,
    batches: &BTreeMap<Partition, Vec<Batch>>,
) -> Result<(), ApiError> {
    let mut producer = log.producer(config.ack).map_err(|e| refusal(&e))?;
    let mut last = Ticket(0);
    for (partition, batch) in
        batches.iter().flat_map(|(partition, list)| list.iter().map(move |b| (partition, b)))
    {
        let submitted = producer.submit(NewRecord { partition: *partition, payload: &batch.encode() });
        last = match submitted {
            Ok(ticket) => ticket,
            // With nothing handed over before, this is a plain refusal.
            Err(e) if last == Ticket(0) => return Err(refusal(&e)),
            Err(e) => return Err(not_settled(&e.to_string())),
        };
    }
    let settled = producer.flush().and_then(|()| producer.wait(last, SETTLE_TIMEOUT));
    match settled {
        Ok(ticket) if ticket >= last => Ok(()),
        Ok(_) => Err(not_settled("it took too long")),
        Err(e) => Err(not_settled(&e.to_string())),
    }
}

/// The one refusal after which a part may have been taken all the same.
fn not_settled(why: &str) -> ApiError {
    let message = format!("the samples were handed over, but what became of them is not known: {why}");
    ApiError::new(503, "not_settled", message).retry_after(1)
}

fn refusal(error: &LogError) -> ApiError {
    match error {
        LogError::Full => ApiError::of(503, "queue_full", error).retry_after(1),
        LogError::RecordTooLarge { .. } => ApiError::of(413, "record_too_large", error),
        // No time will mend these.
        LogError::AckTooStrong { .. } | LogError::NoSuchPartition { .. } => {
            ApiError::of(500, "misconfigured", error)
        }
        _ => ApiError::of(503, "queue_unavailable", error).retry_after(1),
    }
}

/// curl's default type is let through: whoever tries this out by hand should not have to know about types.
fn check_content_type(request: &Request<'_>) -> Result<(), ApiError> {
    let value = request.header("content-type").unwrap_or("application/json");
    let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match essence.as_str() {
        "application/json" | "text/plain" | "text/json" | "application/x-www-form-urlencoded" => Ok(()),
        _ => Err(ApiError::new(415, "bad_content_type", "send application/json")),
    }
}

/// One metric of a request, copied out of its text.
#[derive(Debug, PartialEq)]
pub struct Metric {
    /// Metric name.
    pub name: String,
    /// Value.
    pub value: f64,
    /// When; the time of arrival if it said nothing.
    pub timestamp: TimestampMs,
    /// All other labels.
    pub labels: Vec<(String, String)>,
    /// Chooses the partition.
    pub client_id: String,
    /// Byte of the body at which it begins, and at which its name does.
    at: usize,
    name_at: usize,
}

impl Metric {
    fn add_to(&self, batch: &mut Batch) -> Result<(), ApiError> {
        if self.name.is_empty() {
            return Err(ApiError::bad_input("bad_name", self.name_at, "the name is empty"));
        }
        let labels = self.labels.iter().map(|(n, v)| (n.as_str(), v.as_str()));
        let added = batch
            .series(labels.chain([(METRIC_NAME, self.name.as_str())]))
            .and_then(|series| batch.push(series, self.timestamp, self.value));
        added.map_err(|e| match &e {
            BatchError::BadTimestamp(_) => ApiError::bad_input("bad_timestamp", self.at, e.to_string()),
            BatchError::Full => ApiError::new(413, "batch_too_large", e.to_string()),
            BatchError::Labels(LabelError::BadMetricName(_)) => self.bad_name(&e),
            BatchError::Labels(LabelError::ValueTooLong(name, _)) if name == METRIC_NAME => self.bad_name(&e),
            _ => ApiError::bad_input("bad_label", self.at, e.to_string()),
        })
    }

    fn bad_name(&self, error: &BatchError) -> ApiError {
        ApiError::bad_input("bad_name", self.name_at, error.to_string())
    }
}

/// Reads one object, an array of them, or `{"metrics":[…]}`.
///
/// # Errors
/// The first thing that is wrong, and its byte.
pub fn parse_metrics(body: &[u8], arrived: TimestampMs) -> Result<Vec<Metric>, ApiError> {
    let root = json::parse(body)?;
    if root.is_object() {
        refuse_duplicates(root)?;
    }
    let list = if root.is_object() { root.find("metrics") } else { Some(root) };
    match list {
        None => Ok(vec![parse_metric(root, arrived)?]),
        Some(list) if root.is_object() && root.find("name").is_some() => {
            let message = "an object is either one metric or a list of \"metrics\", not both";
            Err(ApiError::bad_input("bad_type", list.at, message))
        }
        Some(list) if list.is_array() => list.items().into_iter().map(|m| parse_metric(m, arrived)).collect(),
        Some(other) => {
            Err(ApiError::bad_input("bad_type", other.at, "expected a metric or an array of metrics"))
        }
    }
}

fn parse_metric(metric: Value<'_>, arrived: TimestampMs) -> Result<Metric, ApiError> {
    if !metric.is_object() {
        return Err(ApiError::bad_input("bad_type", metric.at, "expected a metric: an object"));
    }
    refuse_duplicates(metric)?;
    let labels = match (metric.find("labels"), metric.find("tags")) {
        (Some(_), Some(tags)) => {
            return Err(ApiError::bad_input(
                "duplicate_key",
                tags.at,
                "\"tags\" is another word for \"labels\"",
            ));
        }
        (labels, tags) => labels.or(tags).map_or(Ok(Vec::new()), parse_labels)?,
    };
    if let Some(kind) = metric.find("type") {
        text_of(kind, "type")?;
    }
    let name = required(metric, "name")?;
    Ok(Metric {
        name: text_of(name, "name")?,
        value: parse_number(required(metric, "value")?)?,
        timestamp: metric.find("timestamp").map_or(Ok(arrived), parse_timestamp)?,
        client_id: metric.find("client_id").map_or(Ok(String::new()), parse_client_id)?,
        labels,
        at: metric.at,
        name_at: name.at,
    })
}

fn parse_labels(labels: Value<'_>) -> Result<Vec<(String, String)>, ApiError> {
    if !labels.is_object() {
        return Err(ApiError::bad_input("bad_type", labels.at, "labels must be an object of strings"));
    }
    refuse_duplicates(labels)?;
    let pair = |(key, value): (Value<'_>, Value<'_>)| match key.as_text() {
        Some(name) if name == METRIC_NAME => {
            Err(ApiError::bad_input("bad_label", key.at, "the metric's name goes into the field \"name\""))
        }
        name => Ok((name.unwrap_or_default(), text_of(value, "a label's value")?)),
    };
    labels.members().into_iter().map(pair).collect()
}

fn parse_number(value: Value<'_>) -> Result<f64, ApiError> {
    let number = match value.as_text() {
        // JSON has no words for these three; Prometheus's API writes them so.
        Some(text) => matches!(text.as_str(), "NaN" | "+Inf" | "-Inf").then(|| parse_value(&text)).flatten(),
        None => value.as_number().filter(|n| n.is_finite()),
    };
    let message = "value must be a number that a 64-bit float can hold, or \"NaN\", \"+Inf\", \"-Inf\"";
    number.ok_or_else(|| ApiError::bad_input("bad_number", value.at, message))
}

fn parse_timestamp(value: Value<'_>) -> Result<TimestampMs, ApiError> {
    let parsed = match value.as_text() {
        Some(text) => TimestampMs::parse_rfc3339(&text),
        None => value.raw().parse().ok().map(TimestampMs),
    };
    let message = "timestamp must be RFC 3339 or whole milliseconds, from 1970 to 9999";
    parsed
        .filter(|t| t.is_acceptable())
        .ok_or_else(|| ApiError::bad_input("bad_timestamp", value.at, message))
}

fn parse_client_id(value: Value<'_>) -> Result<String, ApiError> {
    let text = text_of(value, "client_id")?;
    if text.len() > CLIENT_ID_BYTES_MAX {
        let message = format!("client_id has {} bytes, the most is {CLIENT_ID_BYTES_MAX}", text.len());
        return Err(ApiError::bad_input("bad_client_id", value.at, message));
    }
    Ok(text)
}

fn required<'t>(metric: Value<'t>, key: &str) -> Result<Value<'t>, ApiError> {
    let message = format!("this metric has no {key:?}");
    metric.find(key).ok_or_else(|| ApiError::bad_input("missing_field", metric.at, message))
}

fn text_of(value: Value<'_>, what: &str) -> Result<String, ApiError> {
    value
        .as_text()
        .ok_or_else(|| ApiError::bad_input("bad_type", value.at, format!("{what} must be a string")))
}

/// JSON leaves open which of two equal keys counts; two programs that choose differently see two metrics.
fn refuse_duplicates(object: Value<'_>) -> Result<(), ApiError> {
    let mut seen = BTreeSet::new();
    match object.members().into_iter().find(|(key, _)| !seen.insert(key.as_text())) {
        Some((key, _)) => Err(ApiError::bad_input("duplicate_key", key.at, "this key is given twice")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: TimestampMs = TimestampMs(1000);

    fn refused(body: &str) -> (&'static str, u64) {
        let e = parse_metrics(body.as_bytes(), NOW).unwrap_err();
        (e.code, e.at.unwrap())
    }

    #[test]
    fn the_three_shapes_and_all_fields() {
        let one = br#"{"timestamp":"2025-09-17T13:45:23.123Z","name":"cpu","value":75.5,"tags":{"core":"0"},"client_id":"c","type":"gauge","else":[{}]}"#;
        let metric = parse_metrics(one, NOW).unwrap().remove(0);
        assert_eq!(
            (metric.name.as_str(), metric.value, metric.timestamp.0),
            ("cpu", 75.5, 1_758_116_723_123)
        );
        assert_eq!((metric.labels, metric.client_id.as_str()), (vec![("core".into(), "0".into())], "c"));
        for (body, count) in [
            (r#"{"name":"a","value":1}"#, 1),
            (r#"[{"name":"a","value":1},{"name":"b","value":"NaN"}]"#, 2),
            (r#"{"metrics":[{"name":"a","value":1}]}"#, 1),
            ("[]", 0),
        ] {
            let metrics = parse_metrics(body.as_bytes(), NOW).unwrap();
            assert_eq!(metrics.len(), count, "{body}");
            assert!(metrics.iter().all(|m| m.timestamp == NOW));
        }
    }

    #[test]
    fn each_refusal_names_its_byte() {
        assert_eq!(refused(r#"{"value":1}"#), ("missing_field", 0));
        assert_eq!(refused(r#"[{"name":"a","value":1},{"name":"a"}]"#), ("missing_field", 24));
        assert_eq!(refused(r#"{"name":1,"value":1}"#), ("bad_type", 8));
        assert_eq!(refused(r#"{"name":"a","value":1e999}"#), ("bad_number", 20));
        assert_eq!(refused(r#"{"name":"a","value":"1"}"#), ("bad_number", 20));
        assert_eq!(refused(r#"{"name":"a","value":1,"timestamp":1.5}"#), ("bad_timestamp", 34));
        assert_eq!(refused(r#"{"name":"a","value":1,"timestamp":-1}"#), ("bad_timestamp", 34));
        assert_eq!(
            refused(r#"{"name":"a","value":1,"timestamp":99999999999999999999}"#),
            ("bad_timestamp", 34)
        );
        assert_eq!(refused(r#"{"name":"a","name":"b","value":1}"#), ("duplicate_key", 12));
        assert_eq!(
            refused(r#"{"name":"a","value":1,"labels":{"x":"1","\u0078":"2"}}"#),
            ("duplicate_key", 40)
        );
        assert_eq!(refused(r#"{"name":"a","value":1,"labels":{},"tags":{}}"#), ("duplicate_key", 41));
        assert_eq!(refused(r#"{"name":"a","value":1,"labels":{"x":1}}"#), ("bad_type", 36));
        assert_eq!(refused(r#"{"name":"a","value":1,"labels":{"__name__":"b"}}"#), ("bad_label", 32));
        assert_eq!(refused("7"), ("bad_type", 0));
        assert_eq!(refused(r#"{"name":"a","value":1,"metrics":[]}"#), ("bad_type", 32));
    }

    proptest! {
        #[test]
        fn any_metric_round_trips(name in "[a-z_:][a-z0-9_:]{0,8}", value: f64, ms in 0..TimestampMs::MAX.0, label in "\\PC{0,8}") {
            prop_assume!(value.is_finite());
            let body = format!(r#"{{"name":{},"value":{value:?},"timestamp":{ms},"labels":{{"l":{}}}}}"#, json::quote(&name), json::quote(&label));
            let metric = parse_metrics(body.as_bytes(), NOW).unwrap().remove(0);
            prop_assert_eq!((metric.name, metric.value.to_bits(), metric.timestamp.0), (name, value.to_bits(), ms));
            prop_assert_eq!(metric.labels, [("l".to_owned(), label)]);
        }
    }
}
