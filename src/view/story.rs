//! What a run has told so far, put together from its events: for the page of a
//! run and for the live page alike.

use std::collections::BTreeMap;

use crate::engine::{Event, Failure, Gauge, Outcome};
use crate::ground::{count, duration, thousands};
use crate::web::Spent;

use super::words;

/// So many lines of the log are kept: the last ones.
const KEPT_LINES: usize = 400;

/// A run.
#[derive(Debug, Default)]
pub(super) struct Story {
    pub(super) pipeline: String,
    pub(super) at_millis: u64,
    pub(super) sandbox: Option<String>,
    /// How many instances it is about.
    pub(super) planned: usize,
    /// In the order in which they were first told of.
    pub(super) stages: Vec<StageStory>,
    /// The place of each instance in `stages`.
    places: BTreeMap<String, usize>,
    /// Warnings that are no stage's.
    pub(super) warnings: Vec<String>,
    /// The log's last lines.
    pub(super) lines: Vec<Line>,
    /// How many lines there were before them.
    pub(super) left_out: usize,
    /// How long the whole took, once it has ended.
    pub(super) seconds: Option<f64>,
}

/// A line of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// Its look: `done`, `failed`, `warn`, `running` or `dim`.
    pub(super) class: &'static str,
    pub(super) stage: String,
    pub(super) text: String,
}

/// One instance in a run.
#[derive(Debug, Default)]
pub(super) struct StageStory {
    pub(super) name: String,
    pub(super) state: Told,
    pub(super) reasons: Vec<String>,
    pub(super) rows: Option<u64>,
    pub(super) seconds: Option<f64>,
    pub(super) spent: Spent,
    pub(super) synthetic: bool,
    pub(super) warnings: Vec<String>,
    pub(super) gauge: Option<Gauge>,
}

/// How far an instance is.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) enum Told {
    /// Nothing was heard of it but a warning.
    #[default]
    Waiting,
    Running,
    Done(Outcome),
    Failed(Failure),
    Skipped(String),
}

impl Told {
    /// Its class.
    pub(super) fn class(&self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Done(_) => "done",
            Self::Failed(_) => "failed",
            Self::Skipped(_) => "skipped",
        }
    }

    /// Its word.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Done(outcome) => words::of_outcome(*outcome),
            Self::Failed(_) => "failed",
            Self::Skipped(_) => "skipped",
        }
    }
}

impl Story {
    /// Takes the next event.
    pub(super) fn apply(&mut self, event: Event) {
        match event {
            Event::RunStarted { pipeline, stages, sandbox, at_millis, .. } => {
                (self.pipeline, self.planned, self.sandbox, self.at_millis) = (pipeline, stages, sandbox, at_millis);
            }
            Event::StageStarted { stage, kind, reasons } => {
                self.line("running", &stage, reasons.first().unwrap_or(&kind).clone());
                let told = self.stage(&stage);
                (told.state, told.reasons) = (Told::Running, reasons);
            }
            Event::RowsKnown { stage, known } => {
                let text = format!("{} of {} known already", thousands(known.known), count(known.rows, "row"));
                self.line("dim", &stage, text);
            }
            Event::StageProgress { stage, gauge } => {
                let told = self.stage(&stage);
                (told.spent, told.gauge) = (gauge.spent, Some(gauge));
            }
            Event::StageNote { .. } => {}
            Event::StageWarning { stage, text, remembered } => {
                let when = if remembered { "when it was made: " } else { "" };
                self.line("warn", &stage, format!("{when}{text}"));
                self.stage(&stage).warnings.push(text);
            }
            Event::Warning { text } => {
                self.line("warn", "", text.clone());
                self.warnings.push(text);
            }
            Event::Finished { seconds, .. } => self.seconds = Some(seconds),
            ended => self.end(ended),
        }
    }

    /// Takes the event that ends a stage.
    fn end(&mut self, event: Event) {
        match event {
            Event::StageFinished { stage, outcome, rows, seconds, spent, synthetic, blessed, .. } => {
                let (class, text) = if outcome.has_run() {
                    let parts = [count(rows, "row"), duration(seconds)].into_iter().chain(words::spending(&spent));
                    ("done", parts.collect::<Vec<_>>().join(", "))
                } else {
                    let blessed = blessed.map(|why| format!("blessed: {why}"));
                    ("dim", blessed.unwrap_or_else(|| words::of_outcome(outcome).to_owned()))
                };
                self.line(class, &stage, text);
                let told = self.stage(&stage);
                (told.state, told.rows, told.seconds) = (Told::Done(outcome), Some(rows), Some(seconds));
                (told.spent, told.synthetic) = (spent, synthetic);
            }
            Event::StageFailed { stage, error, causes, hint, seconds, spent, .. } => {
                let why = std::iter::once(&error).chain(&causes).map(String::as_str).collect::<Vec<_>>().join(": ");
                self.line("failed", &stage, why);
                let told = self.stage(&stage);
                (told.state, told.seconds) = (Told::Failed(Failure { error, causes, hint }), Some(seconds));
                told.spent = spent;
            }
            Event::StageSkipped { stage, because } => {
                self.line("dim", &stage, format!("skipped: {because}"));
                self.stage(&stage).state = Told::Skipped(because);
            }
            _ => {}
        }
    }

    fn stage(&mut self, name: &str) -> &mut StageStory {
        let place = *self.places.entry(name.to_owned()).or_insert_with(|| {
            self.stages.push(StageStory { name: name.to_owned(), ..StageStory::default() });
            self.stages.len() - 1
        });
        &mut self.stages[place]
    }

    fn line(&mut self, class: &'static str, stage: &str, text: String) {
        self.lines.push(Line { class, stage: stage.to_owned(), text });
        // Not one by one: a run of thousands of stages has as many lines.
        if self.lines.len() > 2 * KEPT_LINES {
            let gone = self.lines.len() - KEPT_LINES;
            self.lines.drain(..gone);
            self.left_out += gone;
        }
    }

    /// What all stages have spent so far.
    pub(super) fn spent(&self) -> Spent {
        self.stages.iter().map(|stage| stage.spent).sum()
    }

    /// How many instances have ended, how many of them failed, and how many were not tried.
    pub(super) fn ended(&self) -> (usize, usize, usize) {
        let of = |class: &str| self.stages.iter().filter(|stage| stage.state.class() == class).count();
        (of("done") + of("failed") + of("skipped"), of("failed"), of("skipped"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::ContentHash;

    #[test]
    fn a_run_is_put_together_from_its_events() {
        let mut story = Story::default();
        let started =
            |stage: &str| Event::StageStarted { stage: stage.into(), kind: "k".into(), reasons: vec!["new".into()] };
        let spent = Spent { requests: 7, ..Spent::default() };
        let gauge = Gauge { rows: 3, total: Some(9), spent, ..Gauge::default() };
        story.apply(Event::RunStarted {
            run: "r".into(),
            pipeline: "p".into(),
            stages: 3,
            fresh: 0,
            sandbox: None,
            at_millis: 5,
        });
        story.apply(started("a"));
        story.apply(Event::StageProgress { stage: "a".into(), gauge });
        assert_eq!((story.stages[0].state.class(), story.spent().requests, story.ended()), ("running", 7, (0, 0, 0)));
        story.apply(Event::StageFinished {
            stage: "a".into(),
            outcome: Outcome::Ran,
            rows: 9,
            seconds: 2.0,
            spent: Spent { requests: 9, ..spent },
            statuses: BTreeMap::new(),
            synthetic: true,
            key: ContentHash::of(b""),
            blessed: None,
        });
        story.apply(started("b"));
        story.apply(Event::StageFailed {
            stage: "b".into(),
            error: "could not".into(),
            causes: vec!["no".into()],
            hint: None,
            seconds: 1.0,
            spent,
            statuses: BTreeMap::new(),
        });
        story.apply(Event::StageSkipped { stage: "c".into(), because: "`b` failed".into() });
        assert_eq!((story.spent().requests, story.ended(), story.planned), (16, (3, 1, 1), 3));
        let lines: Vec<String> =
            story.lines.iter().map(|line| format!("{} {} {}", line.class, line.stage, line.text)).collect();
        assert_eq!(
            lines,
            [
                "running a new",
                "done a 9 rows, 2.0 s, 9 requests",
                "running b new",
                "failed b could not: no",
                "dim c skipped: `b` failed"
            ]
        );
    }

    #[test]
    fn of_a_long_log_the_last_lines_stay() {
        let mut story = Story::default();
        (0..2_000).for_each(|at| story.apply(Event::Warning { text: at.to_string() }));
        assert_eq!(story.lines.last().map(|line| line.text.as_str()), Some("1999"));
        assert_eq!(story.left_out + story.lines.len(), 2_000);
        assert!(story.lines.len() <= 2 * KEPT_LINES);
    }
}
