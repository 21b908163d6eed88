//! What a run must keep to, as `p99>50ms` on the command line says it.

use std::str::FromStr;

use hdrhistogram::Histogram;

/// A latency that fails the run when it is exceeded.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FailIf {
    text: String,
    which: Which,
    limit_ns: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Which {
    Mean,
    Max,
    Quantile(f64),
}

impl FailIf {
    /// What happened, if it was exceeded.
    pub(crate) fn exceeded(&self, latency: &Histogram<u64>) -> Option<String> {
        let is_ns = match self.which {
            Which::Mean => latency.mean(),
            Which::Max => latency.max() as f64,
            Which::Quantile(quantile) => latency.value_at_quantile(quantile) as f64,
        };
        (is_ns > self.limit_ns as f64).then(|| format!("{}: it is {:.3} ms", self.text, is_ns / 1e6))
    }
}

impl FromStr for FailIf {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (which, limit) =
            text.split_once('>').ok_or("write it as p99>50ms: a measure, >, and a duration")?;
        let which = match which.trim() {
            "mean" => Which::Mean,
            "max" => Which::Max,
            percentile => {
                let digits = percentile.strip_prefix('p').and_then(|digits| digits.parse::<f64>().ok());
                let in_range = digits.filter(|percent| (0.0..=100.0).contains(percent));
                Which::Quantile(
                    in_range.ok_or("the measure is mean, max or p0 to p100, such as p99.9")? / 100.0,
                )
            }
        };
        let limit = crate::cli::duration(limit.trim())?;
        Ok(Self { text: text.to_owned(), which, limit_ns: crate::workload::nanoseconds(limit) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tally::histogram;

    fn exceeded(rule: &str) -> bool {
        let mut latency = histogram();
        for ms in 1..=100 {
            latency.record(ms * 1_000_000).unwrap();
        }
        rule.parse::<FailIf>().unwrap().exceeded(&latency).is_some()
    }

    #[test]
    fn a_limit_is_exceeded_or_not() {
        assert!(exceeded("p99>98ms"));
        assert!(!exceeded("p99>100ms"));
        assert!(exceeded("p50 > 49ms"));
        assert!(!exceeded("p99.9>1s"));
        assert!(exceeded("mean>50ms") && !exceeded("mean>51ms"));
        assert!(exceeded("max>99500us") && !exceeded("max>101ms"));
    }

    #[test]
    fn what_is_not_a_rule_is_refused() {
        for text in ["", "p99", "p99>", "p101>1ms", "q>1ms", "p99>fast", "p99<1ms", "pNaN>1ms"] {
            assert!(text.parse::<FailIf>().is_err(), "{text:?}");
        }
    }
}
