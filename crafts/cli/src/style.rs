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

/// Prints bytes as they are, and a line feed.
pub(crate) fn print_bytes(bytes: &[u8]) {
    let mut stdout = io::stdout().lock();
    end_if_gone(stdout.write_all(bytes).and_then(|()| stdout.write_all(b"\n")));
}

/// Begins a new page, where a person looks at a terminal; elsewhere a page follows the other.
pub(crate) fn clear() {
    if io::stdout().is_terminal() && !no_color() {
        print!("\x1b[2J\x1b[H");
    }
}

pub(crate) fn print_line(line: Arguments<'_>) {
    end_if_gone(writeln!(io::stdout(), "{line}"));
}

/// Whoever read our output may have seen enough (`craft query … | head`): then there is nothing left to do.
fn end_if_gone(printed: io::Result<()>) {
    if let Err(e) = printed {
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
