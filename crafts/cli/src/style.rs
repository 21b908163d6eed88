//! A little colour where a person reads, none where `NO_COLOR` is set or a machine listens.

use std::{
    fmt::Arguments,
    io::{self, ErrorKind, IsTerminal, Write},
};

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

/// Prints a line of data to stdout; `out!("{}", x)`.
macro_rules! out {
    ($($word:tt)*) => { $crate::style::print_line(format_args!($($word)*)) };
}
pub(crate) use out;

/// Whoever read our output may have seen enough (`craft query … | head`): then there is nothing left to do.
pub(crate) fn print_line(line: Arguments<'_>) {
    if let Err(e) = writeln!(io::stdout(), "{line}") {
        let enough = e.kind() == ErrorKind::BrokenPipe;
        if !enough {
            say(&format!("craft: cannot write to stdout: {e}"));
        }
        std::process::exit(i32::from(!enough));
    }
}

/// Says something on stderr, if somebody is there to hear it.
pub(crate) fn say(words: &str) {
    let _ = writeln!(io::stderr(), "{words}");
}
