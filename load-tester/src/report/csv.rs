//! The seconds as CSV, for a spreadsheet.

use std::fmt::Write;

use super::Report;

/// One line a second, numbers only, so that nothing needs quoting.
pub fn csv(report: &Report) -> String {
    let mut csv = "second,span_ms,answered,ok,unanswered,p50_us,p99_us\n".to_owned();
    for second in &report.seconds {
        // Writing to a String cannot fail.
        let _ = writeln!(
            csv,
            "{},{},{},{},{},{},{}",
            second.index,
            second.span_ms,
            second.answered,
            second.ok,
            second.unanswered,
            second.p50_us,
            second.p99_us
        );
    }
    csv
}
