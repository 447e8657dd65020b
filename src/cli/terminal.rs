//! Where text goes and how it looks: data on stdout, all else on stderr, with
//! colour only where it is wanted. A reader that goes away ends the writing
//! without a word.

use std::io::{self, IsTerminal, Write};

use super::arguments::When;

pub(super) use crate::ground::thousands;

/// How text is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Style {
    colour: bool,
}

impl Style {
    /// A style with or without colour: for tests.
    #[cfg(test)]
    pub(super) fn new(colour: bool) -> Self {
        Self { colour }
    }

    /// What to do when the user said `when`, on a stream that is a terminal or not.
    pub(super) fn decide(when: When, is_terminal: bool, no_color: bool) -> Self {
        let colour = match when {
            When::Always => true,
            When::Never => false,
            When::Auto => is_terminal && !no_color,
        };
        Self { colour }
    }

    /// For stdout.
    pub(super) fn of_stdout(when: When) -> Self {
        Self::decide(when, io::stdout().is_terminal(), no_color())
    }

    /// For stderr.
    pub(super) fn of_stderr(when: When) -> Self {
        Self::decide(when, io::stderr().is_terminal(), no_color())
    }

    pub(super) fn red(self, text: &str) -> String {
        self.paint("1;31", text)
    }

    pub(super) fn green(self, text: &str) -> String {
        self.paint("32", text)
    }

    pub(super) fn yellow(self, text: &str) -> String {
        self.paint("33", text)
    }

    pub(super) fn cyan(self, text: &str) -> String {
        self.paint("36", text)
    }

    pub(super) fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    pub(super) fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

fn no_color() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
        || std::env::var_os("TERM").is_some_and(|value| value == "dumb")
}

/// Prints data.
///
/// # Errors
/// Whatever stdout answers; a closed pipe is recognised by the caller of all
/// commands, which then stops silently.
pub(super) fn data(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    if !text.ends_with('\n') {
        out.write_all(b"\n")?;
    }
    out.flush()
}

/// Prints a line for people. If nobody can read it, nothing is lost.
pub(super) fn say(text: &str) {
    // In one piece: standard error is not buffered.
    io::stderr().lock().write_all(format!("{text}\n").as_bytes()).ok();
}

/// `1 row`, `1,200 rows`.
pub(super) fn count(number: u64, word: &str) -> String {
    format!("{} {word}{}", thousands(number), if number == 1 { "" } else { "s" })
}

/// Seconds for people: `0.4 s`, `41.2 s`, `3 min 05 s`, `2 h 10 min`.
pub(super) fn duration(seconds: f64) -> String {
    let whole = seconds.round().max(0.0) as u64;
    match whole {
        0..60 => format!("{seconds:.1} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}

/// A time that is only guessed: `12 s`, `33 min`, `5 h 27 min`, `3 days 2 h`.
pub(super) fn duration_about(seconds: f64) -> String {
    let whole = seconds.ceil().max(0.0) as u64;
    match whole {
        0..120 => format!("{whole} s"),
        120..7200 => format!("{} min", whole.div_ceil(60)),
        7200..172_800 => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
        _ => format!("{} days {} h", whole / 86_400, whole % 86_400 / 3600),
    }
}

/// Bytes for people: `512 B`, `1.4 MB`.
pub(super) fn bytes(number: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if number < 1000 {
        return format!("{number} B");
    }
    let mut value = number as f64 / 1000.0;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_is_used_where_it_is_wanted() {
        assert_eq!(Style::decide(When::Auto, true, false).red("x"), "\u{1b}[1;31mx\u{1b}[0m");
        assert_eq!(Style::decide(When::Auto, true, true).red("x"), "x");
        assert_eq!(Style::decide(When::Auto, false, false).red("x"), "x");
        assert_eq!(Style::decide(When::Never, true, false).red("x"), "x");
        assert_ne!(Style::decide(When::Always, false, true).red("x"), "x");
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([0, 999, 1000, 1_234_567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!((count(1, "row"), count(1200, "row")), ("1 row".into(), "1,200 rows".into()));
    }

    #[test]
    fn times_and_sizes_are_readable() {
        assert_eq!([0.44, 59.0, 65.0, 7800.0].map(duration), ["0.4 s", "59.0 s", "1 min 05 s", "2 h 10 min"]);
        let guessed = [3.2, 1970.0, 19_624.0, 266_400.0].map(duration_about);
        assert_eq!(guessed, ["4 s", "33 min", "5 h 27 min", "3 days 2 h"]);
        assert_eq!([7, 1400, 999_999, 2_000_000_000].map(bytes), ["7 B", "1.4 kB", "1.0 MB", "2.0 GB"]);
    }
}
