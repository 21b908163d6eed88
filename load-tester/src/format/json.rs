//! The pipeline's own JSON.

use super::{Body, Format};
use crate::sample::{TIMESTAMP_DIGITS, VALUE_BYTES, Value, write_digits};

/// See [`super::FormatName::Json`].
pub(super) struct Json;

impl Format for Json {
    fn headers(&self) -> &'static [(&'static str, &'static str)] {
        &[("Content-Type", "application/json")]
    }

    fn body(&self, name: &str, client: u32, batch: usize) -> Box<dyn Body> {
        Box::new(JsonBody::new(name, client, batch))
    }
}

struct JsonBody {
    bytes: Vec<u8>,
    /// Where the first object's timestamp and value stand, and how far it is to the next object's.
    timestamp_at: usize,
    value_at: usize,
    stride: usize,
}

const OBJECT_OPEN: &str = r#"{"timestamp":"#;

impl JsonBody {
    fn new(name: &str, client: u32, batch: usize) -> Self {
        let before_value = format!(r#","name":"{name}","value":"#);
        let after_value = format!(r#","labels":{{"client":"{client}"}},"client_id":"c{client}"}}"#);
        let object = format!(
            "{OBJECT_OPEN}{}{before_value}{}{after_value}",
            "0".repeat(TIMESTAMP_DIGITS),
            "0".repeat(VALUE_BYTES)
        );
        let (open, close) = if batch == 1 { ("", "") } else { (r#"{"metrics":["#, "]}") };
        let bytes = format!("{open}{}{close}", vec![object.as_str(); batch].join(",")).into_bytes();
        let timestamp_at = open.len() + OBJECT_OPEN.len();
        let value_at = timestamp_at + TIMESTAMP_DIGITS + before_value.len();
        Self { bytes, timestamp_at, value_at, stride: object.len() + ",".len() }
    }
}

impl Body for JsonBody {
    fn set(&mut self, index: usize, timestamp_ms: u64, value: Value) {
        let timestamp_at = self.timestamp_at + index * self.stride;
        write_digits(&mut self.bytes[timestamp_at..timestamp_at + TIMESTAMP_DIGITS], timestamp_ms);
        let value_at = self.value_at + index * self.stride;
        value.write(&mut self.bytes[value_at..value_at + VALUE_BYTES]);
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Identity;

    fn body_of(batch: usize) -> (Identity, serde_json::Value) {
        let identity = Identity { name: "load_ab".to_owned(), seed: 9, base_ms: 1_700_000_000_000 };
        let mut body = Json.body(&identity.name, 37, batch);
        for index in 0..batch {
            let sequence = index as u64;
            body.set(index, identity.timestamp_ms(sequence), identity.value(37, sequence));
        }
        (identity, serde_json::from_slice(body.bytes()).unwrap())
    }

    fn check(identity: &Identity, sequence: u64, object: &serde_json::Value) {
        assert_eq!(object["timestamp"], identity.base_ms + sequence);
        assert_eq!(object["name"], "load_ab");
        assert_eq!(object["value"], identity.value(37, sequence).as_f64());
        assert_eq!(object["labels"]["client"], "37");
        assert_eq!(object["client_id"], "c37");
    }

    #[test]
    fn one_sample_is_a_single_object() {
        let (identity, body) = body_of(1);
        check(&identity, 0, &body);
    }

    #[test]
    fn several_samples_are_each_patched_in_their_own_place() {
        let (identity, body) = body_of(3);
        let metrics = body["metrics"].as_array().unwrap();
        assert_eq!(metrics.len(), 3);
        for (sequence, object) in metrics.iter().enumerate() {
            check(&identity, sequence as u64, object);
        }
    }
}
