//! Where text goes and how it looks: data on stdout, all else on stderr, with
//! colour only where it is wanted. A reader that goes away ends the writing
//! without a word.

use std::io::{self, IsTerminal, Write};

use super::arguments::When;

pub(super) use crate::ground::{bytes, count, duration, thousands};

/// How text is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Style {
    colour: bool,
}

impl Style {
    /// A style with or without colour.
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

    /// Whether there is colour.
    pub(super) fn is_coloured(self) -> bool {
        self.colour
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
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) || terminal_is_dumb()
}

/// How many columns the terminal on standard output has; 0 if there is none.
pub(super) fn width_of_stdout() -> usize {
    if !io::stdout().is_terminal() {
        return 0;
    }
    ratatui::crossterm::terminal::size().map_or(0, |(columns, _)| usize::from(columns))
}

/// Whether the terminal says that it can do nothing but show lines.
pub(super) fn terminal_is_dumb() -> bool {
    std::env::var_os("TERM").is_some_and(|value| value == "dumb")
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
    fn guessed_times_are_readable() {
        let guessed = [3.2, 1970.0, 19_624.0, 266_400.0].map(duration_about);
        assert_eq!(guessed, ["4 s", "33 min", "5 h 27 min", "3 days 2 h"]);
    }
}
