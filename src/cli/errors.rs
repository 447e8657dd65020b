//! How a command that failed says so: `error:`, `caused by:` and `hint:` lines,
//! and the exit code.

use std::fmt::{self, Write as _};
use std::io;
use std::process::ExitCode;

use super::terminal::{Style, count, say};
use crate::ground::{Problem, Problems, files};

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    /// All is well.
    Done,
    /// A stage or the disk failed, or a check found something.
    Failed,
    /// The user's file or arguments are wrong, or nothing could be started.
    Wrong,
    /// The user stopped it.
    Interrupted,
}

impl Exit {
    /// The number that the shell sees.
    pub(super) fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Wrong => 2,
            Self::Interrupted => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// An error that knows what to do about it.
#[derive(Debug)]
pub(super) struct Mistake {
    what: String,
    hint: Option<String>,
    source: Option<anyhow::Error>,
}

impl Mistake {
    /// Something the user asked for that cannot be.
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), hint: None, source: None }
    }

    /// Adds what to do.
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the cause.
    pub(super) fn because(mut self, source: impl Into<anyhow::Error>) -> Self {
        self.source = Some(source.into());
        self
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Mistake {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(AsRef::as_ref)
    }
}

/// Prints an error and gives the exit code that goes with it. A reader of
/// stdout that went away is no error.
pub(super) fn report(error: &anyhow::Error, style: Style) -> Exit {
    if is_broken_pipe(error) {
        return Exit::Done;
    }
    say(&describe(error, style));
    // A disk that is full or failing is nobody's mistake.
    if files::disk_hint(error.as_ref()).is_some() { Exit::Failed } else { Exit::Wrong }
}

/// The mistakes in a file, all of them, and how many there are.
pub(super) fn describe_problems(problems: &Problems, file: &str, style: Style) -> String {
    let mut text = String::new();
    for problem in &problems.0 {
        text.push_str(&describe_problem(problem, style));
        text.push_str("\n\n");
    }
    text + &format!("{} in {file}; nothing ran", count(problems.0.len() as u64, "mistake"))
}

fn describe_problem(problem: &Problem, style: Style) -> String {
    let plain = problem.to_string();
    let coloured = plain.lines().map(|line| {
        if let Some(what) = line.strip_prefix("error: ") {
            format!("{} {}", style.red("error:"), style.bold(what))
        } else if let Some(hint) = line.strip_prefix("  hint: ") {
            format!("  {} {hint}", style.cyan("hint:"))
        } else {
            line.to_owned()
        }
    });
    coloured.collect::<Vec<_>>().join("\n")
}

/// The lines of a failure: what, why, what to do.
pub(super) fn describe_failure(what: &str, causes: &[String], hint: Option<&str>, style: Style) -> String {
    let mut text = format!("{} {what}", style.red("error:"));
    for cause in causes {
        write!(text, "\n  {} {cause}", style.red("caused by:")).ok();
    }
    if let Some(hint) = hint {
        let lines = hint.lines().collect::<Vec<_>>().join("\n        ");
        write!(text, "\n  {} {lines}", style.cyan("hint:")).ok();
    }
    text
}

/// An error with its causes, each said once, and the first hint found on the way.
pub(super) fn describe(error: &anyhow::Error, style: Style) -> String {
    let mut messages: Vec<String> = Vec::new();
    let mut hint = files::disk_hint(error.as_ref());
    for link in error.chain() {
        let message = link.to_string();
        if messages.last() != Some(&message) {
            messages.push(message);
        }
        hint = hint.or_else(|| hint_of(link));
    }
    let what = messages.remove(0);
    describe_failure(&what, &messages, hint.as_deref(), style)
}

fn hint_of(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    error.downcast_ref::<Mistake>().and_then(|mistake| mistake.hint.clone())
}

/// Whether somewhere in the chain a pipe was closed at its other end.
pub(super) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().filter_map(|link| link.downcast_ref::<io::Error>()).any(|e| e.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn causes_are_said_once_and_the_hint_last() {
        let cause = anyhow!("permission denied");
        let error =
            anyhow::Error::new(Mistake::new("could not open the store").hint("choose another folder").because(cause));
        let text = describe(&error, Style::new(false));
        assert_eq!(
            text,
            "error: could not open the store\n  caused by: permission denied\n  hint: choose another folder"
        );
    }

    #[test]
    fn a_full_disk_is_no_mistake_and_the_hint_is_about_it() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let error = anyhow::Error::new(Mistake::new("could not open the store").hint("another folder").because(full));
        assert_eq!(report(&error, Style::new(false)), Exit::Failed);
        assert!(
            describe(&error, Style::new(false))
                .ends_with("\n  hint: free some space on that disk, then run again: what is finished is kept")
        );
    }

    #[test]
    fn a_closed_pipe_is_no_error() {
        let error = anyhow::Error::new(io::Error::from(io::ErrorKind::BrokenPipe)).context("could not print");
        assert_eq!(report(&error, Style::new(false)), Exit::Done);
    }

    #[test]
    fn mistakes_are_counted() {
        let problems = Problems(vec![Problem::new("a"), Problem::new("b").hint("c")]);
        let text = describe_problems(&problems, "p.yaml", Style::new(false));
        assert_eq!(text, "error: a\n\nerror: b\n  hint: c\n\n2 mistakes in p.yaml; nothing ran");
    }
}
