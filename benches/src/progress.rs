//! How far it is, on stderr: a bar for people, lines for logs. Nothing is coloured.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;

/// The progress of a bench.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    lines: bool,
}

impl Progress {
    /// Of so many steps.
    pub fn new(steps: usize) -> Self {
        let bar = ProgressBar::new(steps as u64);
        let style = ProgressStyle::with_template("{pos}/{len} [{bar:30}] {eta_precise} left · {wide_msg}");
        // The template is constant; if it were wrong, the default would do.
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self { bar, lines: !std::io::stderr().is_terminal() }
    }

    /// The next step begins.
    pub fn step(&self, words: &str) {
        if self.lines {
            eprintln!("{}/{} {words}", self.bar.position() + 1, self.bar.length().unwrap_or(0));
        }
        self.bar.set_message(words.to_owned());
        self.bar.inc(1);
    }

    /// Nothing is left.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
