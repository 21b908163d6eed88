//! A little colour where a person reads, none where `NO_COLOR` is set or a machine listens.

use std::io::IsTerminal;

/// Whether the user asked for no colour: <https://no-color.org>.
pub(crate) fn no_color() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty())
}

/// What a colour means here.
#[derive(Clone, Copy)]
pub(crate) enum Tone {
    Good,
    Warn,
    Bad,
    Faint,
    Strong,
}

/// `text` in a tone, if stdout is a terminal that may be coloured.
pub(crate) fn paint(tone: Tone, text: &str) -> String {
    if no_color() || !std::io::stdout().is_terminal() {
        return text.to_owned();
    }
    let code = match tone {
        Tone::Good => "32",
        Tone::Warn => "33",
        Tone::Bad => "31",
        Tone::Faint => "2",
        Tone::Strong => "1",
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}
