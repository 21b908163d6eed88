//! The line on stderr while a run goes on.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::run::Second;
use crate::workload::Workload;

/// A bar over the seconds of the run, or over its requests where the end is a count.
pub(crate) struct Progress {
    bar: ProgressBar,
    by_time: bool,
}

impl Progress {
    /// Silent when asked to be, or when nobody is looking.
    pub(crate) fn new(workload: &Workload, quiet: bool) -> Self {
        let length = match workload.duration() {
            Some(duration) => duration.as_secs().max(1),
            None => workload.requests_asked().unwrap_or(0),
        };
        let silent = quiet || !std::io::stderr().is_terminal();
        let target = if silent { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(Some(length), target);
        if let Ok(style) = ProgressStyle::with_template(template()) {
            bar.set_style(style);
        }
        Self { bar, by_time: workload.duration().is_some() }
    }

    pub(crate) fn second(&self, second: &Second) {
        self.bar.inc(if self.by_time { 1 } else { second.answered + second.unanswered });
        self.bar.set_message(format!(
            "{} answers/s, {} not 2xx, {} unanswered, p99 {:.2} ms",
            second.answered,
            second.answered - second.ok,
            second.unanswered,
            second.p99_us / 1000.0
        ));
    }

    /// Says that the load is over and the check has begun.
    pub(crate) fn verifying(&self) {
        self.bar.set_message("verifying: asking for everything that was accepted");
    }

    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// With colour, unless <https://no-color.org> is asked for.
fn template() -> &'static str {
    if std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) {
        "{elapsed:>4} [{bar:30}] {msg}"
    } else {
        "{elapsed:>4} [{bar:30.cyan/blue}] {msg}"
    }
}
