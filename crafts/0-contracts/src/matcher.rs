//! Matchers: which series a selector means.
//!
//! Prometheus's four: `=`, `!=`, `=~`, `!~`. A regular expression must match the whole value, and a label that
//! a series lacks has the empty value.

use crate::{
    labels::LabelsView,
    limits::{MATCHERS_MAX, REGEX_BYTES_MAX},
};
use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};
use std::fmt;

/// How a matcher compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum MatchOp {
    /// The value is this one.
    #[serde(rename = "=")]
    Equal,
    /// The value is another one.
    #[serde(rename = "!=")]
    NotEqual,
    /// The whole value matches.
    #[serde(rename = "=~")]
    Matches,
    /// The whole value does not match.
    #[serde(rename = "!~")]
    MatchesNot,
}

impl MatchOp {
    /// As it is written in a selector.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Matches => "=~",
            Self::MatchesNot => "!~",
        }
    }
}

/// Why a matcher was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MatcherError {
    /// The regular expression does not compile, or would be too large.
    #[error("label {name:?}: {why}")]
    BadRegex {
        /// The label that it was meant for.
        name: String,
        /// What the compiler said, on one line.
        why: String,
    },
    /// More than [`MATCHERS_MAX`].
    #[error("{0} matchers, the most is {MATCHERS_MAX}")]
    TooMany(usize),
}

/// One condition on one label.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "PlainMatcher", into = "PlainMatcher")]
pub struct Matcher {
    name: String,
    op: MatchOp,
    value: String,
    /// Only for the two regular operations.
    regex: Option<Regex>,
}

impl Matcher {
    /// A condition on the label `name`.
    ///
    /// # Errors
    /// [`MatcherError::BadRegex`] if `op` is regular and `value` is no regular expression.
    pub fn new(name: &str, op: MatchOp, value: &str) -> Result<Self, MatcherError> {
        let regex = match op {
            MatchOp::Equal | MatchOp::NotEqual => None,
            MatchOp::Matches | MatchOp::MatchesNot => Some(whole_value_regex(name, value)?),
        };
        Ok(Self { name: name.to_owned(), op, value: value.to_owned(), regex })
    }

    /// `__name__="name"`.
    pub fn metric(name: &str) -> Self {
        let (label, value) = (crate::labels::METRIC_NAME.to_owned(), name.to_owned());
        Self { name: label, op: MatchOp::Equal, value, regex: None }
    }

    /// The label it looks at.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it compares.
    pub fn op(&self) -> MatchOp {
        self.op
    }

    /// The text it compares with.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Whether a label with this value fits.
    pub fn matches(&self, value: &str) -> bool {
        match (self.op, &self.regex) {
            (MatchOp::Equal, _) => value == self.value,
            (MatchOp::NotEqual, _) => value != self.value,
            (MatchOp::Matches, regex) => regex.as_ref().is_some_and(|r| r.is_match(value)),
            (MatchOp::MatchesNot, regex) => !regex.as_ref().is_some_and(|r| r.is_match(value)),
        }
    }

    /// Whether every one of `matchers` fits these labels.
    pub fn all_match(matchers: &[Self], labels: LabelsView<'_>) -> bool {
        matchers.iter().all(|m| m.matches(labels.get(&m.name)))
    }
}

/// As in a selector: `core=~"0|1"`.
impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{:?}", self.name, self.op.as_str(), self.value)
    }
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, self.op, &self.value) == (&other.name, other.op, &other.value)
    }
}

fn whole_value_regex(name: &str, value: &str) -> Result<Regex, MatcherError> {
    let build = |pattern: &str| {
        RegexBuilder::new(pattern).size_limit(REGEX_BYTES_MAX).dfa_size_limit(REGEX_BYTES_MAX).build()
    };
    // Alone first: `a)|(b` is no expression, but would become one between our parentheses.
    build(value).and_then(|_| build(&format!("^(?s:{value})$"))).map_err(|e| {
        let why = e.to_string();
        let why = why.lines().last().unwrap_or("bad regular expression").trim_start_matches("error: ");
        MatcherError::BadRegex {
            name: name.to_owned(),
            why: format!("{value:?} is no regular expression: {why}"),
        }
    })
}

/// The JSON form: `{"name":"core","op":"=~","value":"0|1"}`.
#[derive(Serialize, Deserialize)]
struct PlainMatcher {
    name: String,
    op: MatchOp,
    value: String,
}

impl From<Matcher> for PlainMatcher {
    fn from(m: Matcher) -> Self {
        Self { name: m.name, op: m.op, value: m.value }
    }
}

impl TryFrom<PlainMatcher> for Matcher {
    type Error = MatcherError;
    fn try_from(m: PlainMatcher) -> Result<Self, MatcherError> {
        Self::new(&m.name, m.op, &m.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::Labels;

    #[test]
    fn a_regex_must_match_the_whole_value_and_absent_is_empty() {
        let labels = Labels::new([("__name__", "cpu"), ("core", "10")]).unwrap();
        let fits =
            |name, op, value| Matcher::all_match(&[Matcher::new(name, op, value).unwrap()], labels.view());
        assert!(fits("core", MatchOp::Matches, "1.|2."));
        assert!(!fits("core", MatchOp::Matches, "1|0"));
        assert!(fits("core", MatchOp::MatchesNot, "1"));
        assert!(fits("gone", MatchOp::Equal, ""));
        assert!(fits("gone", MatchOp::Matches, ".*"));
        assert!(!fits("gone", MatchOp::NotEqual, ""));
        assert!(fits("__name__", MatchOp::Equal, "cpu"));
    }

    #[test]
    fn a_bad_regex_names_the_label_and_a_huge_one_is_refused() {
        let refused = |value| Matcher::new("core", MatchOp::Matches, value).unwrap_err().to_string();
        assert!(refused("(").contains("core"));
        assert!(refused("(").contains("unclosed group"), "{}", refused("("));
        assert!(refused("a)|(b").contains("unopened group"), "{}", refused("a)|(b"));
        assert!(refused(r"(\w{100}){100}").contains("size limit"), "{}", refused(r"(\w{100}){100}"));
    }

    #[test]
    fn json_and_back() {
        let matcher: Matcher = serde_json::from_str(r#"{"name":"core","op":"=~","value":"0|1"}"#).unwrap();
        assert!(matcher.matches("1"));
        assert_eq!(serde_json::to_string(&matcher).unwrap(), r#"{"name":"core","op":"=~","value":"0|1"}"#);
        serde_json::from_str::<Matcher>(r#"{"name":"core","op":"=~","value":"("}"#).unwrap_err();
    }
}
