//! Slot 2: the text of a request → samples, by finding each field in it.
//!
//! The text is checked whole. After that every question — where is "name"? where is "value"? — goes through its object
//! from the front again. It is strict, and refuses what it refuses at the right byte.
//!
//! What is wrong with it: to pass a value means to check it again, so that a field deep in a list is read once for every
//! level around it and once for every question asked of its object. Each key that a question passes is copied into a
//! `String` to be compared, and each metric into a struct before any is handed on.

use contracts::{
    BatchError, LabelError, TimestampMs,
    http::ApiError,
    labels::METRIC_NAME,
    limits::{CLIENT_ID_BYTES_MAX, JSON_DEPTH_MAX},
};
use ingest::slots::{Incoming, Parse, Sink};

/// Finds each field of a metric from the front; see the module.
#[derive(Debug, Default)]
pub struct FindParser;

impl Parse for FindParser {
    fn parse(&mut self, body: &[u8], arrived: TimestampMs, sink: &mut impl Sink) -> Result<usize, ApiError> {
        let metrics = read(body, arrived)?;
        metrics.iter().try_for_each(|metric| metric.push(sink))?;
        Ok(metrics.len())
    }
}

/// A metric, copied out of its text.
struct Metric {
    /// Byte at which it begins, and at which its name does.
    at: usize,
    name_at: usize,
    name: String,
    value: f64,
    timestamp: TimestampMs,
    labels: Vec<(String, String)>,
    client: String,
}

impl Metric {
    fn push(&self, sink: &mut impl Sink) -> Result<(), ApiError> {
        require(!self.name.is_empty(), "bad_name", self.name_at, "the name is empty")?;
        let labels: Vec<_> =
            self.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let Self { client, name, timestamp, value, .. } = self;
        let sample = Incoming { client, name, labels: &labels, timestamp: *timestamp, value: *value };
        sink.push(&sample).map_err(|error| {
            let is_name = match &error {
                BatchError::Full => return ApiError::new(413, "batch_too_large", error.to_string()),
                BatchError::Labels(LabelError::ValueTooLong(label, _)) => label == METRIC_NAME,
                BatchError::Labels(LabelError::BadMetricName(_)) => true,
                _ => false,
            };
            let (code, at) = if is_name { ("bad_name", self.name_at) } else { ("bad_label", self.at) };
            ApiError::bad_input(code, at, error.to_string())
        })
    }
}

fn read(body: &[u8], arrived: TimestampMs) -> Result<Vec<Metric>, ApiError> {
    let text = std::str::from_utf8(body)
        .or_else(|e| refuse("bad_json", e.valid_up_to(), "these bytes are not UTF-8"))?;
    let root = Value { text, at: behind_space(text, 0) };
    require(root.at < text.len(), "empty_body", root.at, "the body is empty; expected JSON")?;
    let end = behind_space(text, behind_value(text, root.at, 0)?);
    require(end == text.len(), "bad_json", end, "expected nothing behind the value")?;
    refuse_equal_keys(root)?;
    match root.find("metrics") {
        None if root.is('{') => Ok(vec![read_metric(root, arrived)?]),
        Some(list) if root.find("name").is_some() => {
            refuse("bad_type", list.at, "an object is either one metric or a list of \"metrics\", not both")
        }
        found => {
            let list = found.unwrap_or(root);
            require(list.is('['), "bad_type", list.at, "expected a metric or an array of metrics")?;
            list.parts().into_iter().map(|metric| read_metric(metric, arrived)).collect()
        }
    }
}

fn read_metric(metric: Value<'_>, arrived: TimestampMs) -> Result<Metric, ApiError> {
    require(metric.is('{'), "bad_type", metric.at, "expected a metric: an object")?;
    refuse_equal_keys(metric)?;
    if let (Some(_), Some(tags)) = (metric.find("labels"), metric.find("tags")) {
        return refuse("duplicate_key", tags.at, "\"tags\" is another word for \"labels\"");
    }
    let labels = metric.find("labels").or_else(|| metric.find("tags")).map_or(Ok(vec![]), read_labels)?;
    metric.find("type").map_or(Ok(String::new()), |kind| kind.string("type must be a string"))?;
    let missing =
        |what: &str| ApiError::bad_input("missing_field", metric.at, format!("this metric has no {what:?}"));
    let name = metric.find("name").ok_or_else(|| missing("name"))?;
    Ok(Metric {
        at: metric.at,
        name_at: name.at,
        name: name.string("name must be a string")?,
        value: read_number(metric.find("value").ok_or_else(|| missing("value"))?)?,
        timestamp: metric.find("timestamp").map_or(Ok(arrived), read_timestamp)?,
        labels,
        client: metric.find("client_id").map_or(Ok(String::new()), read_client)?,
    })
}

fn read_labels(labels: Value<'_>) -> Result<Vec<(String, String)>, ApiError> {
    require(labels.is('{'), "bad_type", labels.at, "labels must be an object of strings")?;
    refuse_equal_keys(labels)?;
    let mut pairs = Vec::new();
    for (key, value) in labels.members() {
        let is_other = key.unescaped().as_deref() != Some(METRIC_NAME);
        require(is_other, "bad_label", key.at, "the metric's name goes into the field \"name\"")?;
        let value = value.string("a label's value must be a string")?;
        pairs.push((key.unescaped().unwrap_or_default(), value));
    }
    Ok(pairs)
}

fn read_number(value: Value<'_>) -> Result<f64, ApiError> {
    let number = match value.unescaped().as_deref() {
        Some("NaN") => Some(f64::NAN),
        Some("+Inf") => Some(f64::INFINITY),
        Some("-Inf") => Some(f64::NEG_INFINITY),
        Some(_) => None,
        None => value.raw().parse().ok().filter(|number: &f64| number.is_finite()),
    };
    let message = "value must be a number that a 64-bit float can hold, or \"NaN\", \"+Inf\", \"-Inf\"";
    number.map_or_else(|| refuse("bad_number", value.at, message), Ok)
}

fn read_timestamp(value: Value<'_>) -> Result<TimestampMs, ApiError> {
    let time = match value.unescaped() {
        Some(text) => TimestampMs::parse_rfc3339(&text),
        None => value.raw().parse().ok().map(TimestampMs),
    };
    let message = "timestamp must be RFC 3339 or whole milliseconds, from 1970 to 9999";
    let time = time.filter(|time| time.is_acceptable());
    time.map_or_else(|| refuse("bad_timestamp", value.at, message), Ok)
}

fn read_client(value: Value<'_>) -> Result<String, ApiError> {
    let client = value.string("client_id must be a string")?;
    let is_short = client.len() <= CLIENT_ID_BYTES_MAX;
    let message = format!("client_id is longer than {CLIENT_ID_BYTES_MAX} bytes");
    require(is_short, "bad_client_id", value.at, &message)?;
    Ok(client)
}

fn refuse_equal_keys(object: Value<'_>) -> Result<(), ApiError> {
    let mut before = std::collections::HashSet::new();
    match object.members().into_iter().find(|(key, _)| !before.insert(key.unescaped())) {
        Some((key, _)) => refuse("duplicate_key", key.at, "this key is given twice"),
        None => Ok(()),
    }
}

/// The value that begins at a byte of a text that was checked.
#[derive(Clone, Copy)]
struct Value<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Value<'t> {
    fn is(self, open: char) -> bool {
        self.text[self.at..].starts_with(open)
    }

    /// As it stands there. Where it ends is found by checking it again.
    fn raw(self) -> &'t str {
        &self.text[self.at..behind_value(self.text, self.at, 0).unwrap_or(self.text.len())]
    }

    /// The value of a key, looked for from the front.
    fn find(self, key: &str) -> Option<Self> {
        self.members()
            .into_iter()
            .find(|(k, _)| k.unescaped().as_deref() == Some(key))
            .map(|(_, value)| value)
    }

    /// The keys and values of an object; nothing of any other value.
    fn members(self) -> Vec<(Self, Self)> {
        let parts = if self.is('{') { self.parts() } else { vec![] };
        parts.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect()
    }

    /// The items of an array; the keys and values of an object, in turn.
    fn parts(self) -> Vec<Self> {
        let mut parts = Vec::new();
        let mut at = behind_space(self.text, self.at + 1);
        while !self.text[at..].starts_with([']', '}']) {
            parts.push(Self { at, ..self });
            at = behind_space(self.text, at + parts[parts.len() - 1].raw().len());
            if self.text[at..].starts_with([',', ':']) {
                at = behind_space(self.text, at + 1);
            }
        }
        parts
    }

    /// What a string says.
    fn unescaped(self) -> Option<String> {
        let inner = self.raw().strip_prefix('"')?.strip_suffix('"')?;
        let (mut said, mut rest) = (String::new(), inner);
        while let Some(c) = rest.chars().next() {
            let (c, length) = if c == '\\' { escape(rest)? } else { (c, c.len_utf8()) };
            said.push(c);
            rest = &rest[length..];
        }
        Some(said)
    }

    fn string(self, otherwise: &str) -> Result<String, ApiError> {
        self.unescaped().map_or_else(|| refuse("bad_type", self.at, otherwise), Ok)
    }
}

/// Checks the value at `at` by RFC 8259, and returns where it ends.
fn behind_value(text: &str, at: usize, depth: usize) -> Result<usize, ApiError> {
    let rest = &text[at..];
    let word = ["true", "false", "null"].into_iter().find(|word| rest.starts_with(word));
    match (rest.chars().next(), word) {
        (Some('{' | '['), _) if depth == JSON_DEPTH_MAX => {
            refuse("too_deep", at, &format!("arrays and objects nest deeper than {JSON_DEPTH_MAX} levels"))
        }
        (Some('{'), _) => behind_parts(text, at, depth, '}'),
        (Some('['), _) => behind_parts(text, at, depth, ']'),
        (Some('"'), _) => behind_string(text, at),
        (Some('-' | '0'..='9'), _) => behind_number(text, at),
        (_, Some(word)) => Ok(at + word.len()),
        _ => refuse("bad_json", at, "expected a value"),
    }
}

fn behind_parts(text: &str, open: usize, depth: usize, close: char) -> Result<usize, ApiError> {
    let mut at = behind_space(text, open + 1);
    if text[at..].starts_with(close) {
        return Ok(at + 1);
    }
    loop {
        if close == '}' {
            require(text[at..].starts_with('"'), "bad_json", at, "expected a key in quotes")?;
            at = behind_space(text, behind_string(text, at)?);
            require(text[at..].starts_with(':'), "bad_json", at, "expected ':'")?;
            at = behind_space(text, at + 1);
        }
        at = behind_space(text, behind_value(text, at, depth + 1)?);
        if text[at..].starts_with(close) {
            return Ok(at + 1);
        }
        require(text[at..].starts_with(','), "bad_json", at, "expected ',' or the closing bracket")?;
        at = behind_space(text, at + 1);
    }
}

fn behind_string(text: &str, open: usize) -> Result<usize, ApiError> {
    let mut at = open + 1;
    while let Some(c) = text[at..].chars().next() {
        match c {
            '"' => return Ok(at + 1),
            '\0'..='\x1f' => {
                return refuse("bad_json", at, "a control character in a string must be escaped");
            }
            '\\' => {
                let escape = escape(&text[at..]);
                let message = "no escape that JSON knows, or half of a surrogate pair";
                at += escape.map_or_else(|| refuse("bad_json", at, message), |(_, length)| Ok(length))?;
            }
            c => at += c.len_utf8(),
        }
    }
    refuse("bad_json", open, "this string is not closed")
}

/// `-? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)?`
fn behind_number(text: &str, start: usize) -> Result<usize, ApiError> {
    let behind_digits = |at: usize| at + text[at..].bytes().take_while(u8::is_ascii_digit).count();
    let first = start + usize::from(text[start..].starts_with('-'));
    let mut end = behind_digits(first);
    let is_plain = end > first && (end == first + 1 || !text[first..].starts_with('0'));
    require(is_plain, "bad_json", first, "expected a number without leading zeros")?;
    for (marks, signs) in [(&['.'][..], &[][..]), (&['e', 'E'], &['+', '-'])] {
        if text[end..].starts_with(marks) {
            let digits = end + 1 + usize::from(text[end + 1..].starts_with(signs));
            end = behind_digits(digits);
            require(end > digits, "bad_json", digits, "expected a digit")?;
        }
    }
    Ok(end)
}

/// What the escape at the front stands for, and its length; nothing for half of a surrogate pair.
fn escape(text: &str) -> Option<(char, usize)> {
    let unit = |at: usize| {
        let digits = text.get(at..at + 6)?.strip_prefix("\\u")?;
        u16::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with('+'))
    };
    let letter = text[1..].chars().next()?;
    if letter != 'u' {
        let simple = "n\nt\tr\rb\u{8}f\u{c}\"\"\\\\//".as_bytes().chunks(2);
        return simple
            .map(|pair| (pair[0], pair[1]))
            .find(|(l, _)| char::from(*l) == letter)
            .map(|(_, c)| (c.into(), 2));
    }
    let (first, second) = (unit(0)?, unit(6));
    match char::decode_utf16([first]).next()? {
        Ok(c) => Some((c, 6)),
        Err(_) => char::decode_utf16([first, second?]).next()?.ok().map(|c| (c, 12)),
    }
}

fn behind_space(text: &str, at: usize) -> usize {
    at + text[at..].bytes().take_while(|b| b" \t\r\n".contains(b)).count()
}

fn refuse<T>(code: &'static str, at: usize, message: &str) -> Result<T, ApiError> {
    Err(ApiError::bad_input(code, at, message))
}

fn require(holds: bool, code: &'static str, at: usize, message: &str) -> Result<(), ApiError> {
    if holds { Ok(()) } else { refuse(code, at, message) }
}
