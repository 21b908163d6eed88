//! What can be wrong with a body of metrics, said in one place.

use contracts::{
    http::ApiError,
    limits::{CLIENT_ID_BYTES_MAX, JSON_DEPTH_MAX},
};

/// What is wrong, and at which byte of the body. Two words, so that it passes through functions in registers: the
/// sentence for people is looked up when it is told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    pub(super) at: usize,
    pub(super) what: Wrong,
}

/// In the order in which a body can meet them.
#[derive(Clone, Copy, Debug)]
pub(super) enum Wrong {
    Empty,
    NoValue,
    NoKey,
    NoColon,
    NoCommaInObject,
    NoCommaInArray,
    NotClosed,
    ControlCharacter,
    BadEscape,
    BadInteger,
    NoDigit,
    TooDeep,
    NotTheEnd,
    KeyTwice,
    LabelsAndTags,
    NoList,
    MetricAndList,
    NoMetric,
    LabelsType,
    LabelType,
    MetricNameAsLabel,
    TypeType,
    NameMissing,
    NameType,
    NameEmpty,
    ValueMissing,
    BadValue,
    BadTimestamp,
    ClientType,
    ClientTooLong,
}

impl Wrong {
    pub(super) fn at(self, at: usize) -> Fault {
        Fault { at, what: self }
    }

    /// The code of `openapi/ingest.yaml`, and what to tell people.
    fn words(self) -> (&'static str, &'static str) {
        const {
            assert!(JSON_DEPTH_MAX == 32 && CLIENT_ID_BYTES_MAX == 128, "two sentences below say so");
        };
        match self {
            Self::Empty => ("empty_body", "the body is empty; expected JSON"),
            Self::NoValue => ("bad_json", "expected a value"),
            Self::NoKey => ("bad_json", "expected a key in quotes"),
            Self::NoColon => ("bad_json", "expected ':'"),
            Self::NoCommaInObject => ("bad_json", "expected ',' or '}'"),
            Self::NoCommaInArray => ("bad_json", "expected ',' or ']'"),
            Self::NotClosed => ("bad_json", "this string is not closed"),
            Self::ControlCharacter => ("bad_json", "a control character in a string must be escaped"),
            Self::BadEscape => ("bad_json", "no escape that JSON knows, or half of a surrogate pair"),
            Self::BadInteger => ("bad_json", "expected a number without leading zeros"),
            Self::NoDigit => ("bad_json", "expected a digit"),
            Self::TooDeep => ("too_deep", "arrays and objects nest deeper than 32 levels"),
            Self::NotTheEnd => ("bad_json", "expected nothing behind the value"),
            Self::KeyTwice => ("duplicate_key", "this key is given twice"),
            Self::LabelsAndTags => ("duplicate_key", "\"tags\" is another word for \"labels\""),
            Self::NoList => ("bad_type", "expected a metric or an array of metrics"),
            Self::MetricAndList => {
                ("bad_type", "an object is either one metric or a list of \"metrics\", not both")
            }
            Self::NoMetric => ("bad_type", "expected a metric: an object"),
            Self::LabelsType => ("bad_type", "labels must be an object of strings"),
            Self::LabelType => ("bad_type", "a label's value must be a string"),
            Self::MetricNameAsLabel => ("bad_label", "the metric's name goes into the field \"name\""),
            Self::TypeType => ("bad_type", "type must be a string"),
            Self::NameMissing => ("missing_field", "this metric has no \"name\""),
            Self::NameType => ("bad_type", "name must be a string"),
            Self::NameEmpty => ("bad_name", "the name is empty"),
            Self::ValueMissing => ("missing_field", "this metric has no \"value\""),
            Self::BadValue => (
                "bad_number",
                "value must be a number that a 64-bit float can hold, or \"NaN\", \"+Inf\", \"-Inf\"",
            ),
            Self::BadTimestamp => {
                ("bad_timestamp", "timestamp must be RFC 3339 or whole milliseconds, from 1970 to 9999")
            }
            Self::ClientType => ("bad_type", "client_id must be a string"),
            Self::ClientTooLong => ("bad_client_id", "client_id is longer than 128 bytes"),
        }
    }
}

impl From<Fault> for ApiError {
    fn from(fault: Fault) -> Self {
        let (code, message) = fault.what.words();
        Self::bad_input(code, fault.at, message)
    }
}
