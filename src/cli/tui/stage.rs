//! One instance on the dashboard: its state, and what was told of it.

use std::collections::VecDeque;
use std::time::Duration;

use super::facts::StageFacts;
use crate::engine::{Gauge, Outcome};
use crate::stage::failure;
use crate::web::Spent;

/// So many of the last lines of a stage are kept.
const KEPT_LINES: usize = 50;

/// An instance, and what has become of it.
#[derive(Debug, Clone)]
pub(super) struct Stage {
    pub(super) facts: StageFacts,
    /// The places of the instances that read it.
    pub(super) read_by: Vec<usize>,
    pub(super) state: StageState,
    /// Why it runs.
    pub(super) reasons: Vec<String>,
    pub(super) gauge: Option<Gauge>,
    /// What it is doing, in its own words.
    pub(super) note: String,
    /// What was known of its rows before it began.
    pub(super) known: Option<String>,
    pub(super) warnings: Vec<String>,
    /// The last that it told.
    pub(super) lines: VecDeque<String>,
    /// The name of its result.
    pub(super) key: Option<String>,
    pub(super) spent: Spent,
}

/// Where an instance stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum StageState {
    /// It has not come on yet.
    Waiting,
    /// It is at work, since this time of the run.
    Running { since: Duration },
    /// It has done its work.
    Done { rows: u64, seconds: f64, unchanged: bool },
    /// Its result was there.
    Cached { how: String },
    /// It failed: what, why, and what to do, line by line.
    Failed { why: Vec<String> },
    /// It was not tried.
    Skipped { because: String },
}

/// A state without what goes with it, the most urgent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Mark {
    Failed,
    Running,
    Waiting,
    Skipped,
    Done,
    Cached,
}

impl Mark {
    /// All of them.
    pub(super) const ALL: [Self; 6] =
        [Self::Failed, Self::Running, Self::Waiting, Self::Skipped, Self::Done, Self::Cached];

    /// The sign before a stage's name; as in the lines of a plain run.
    pub(super) fn sign(self) -> &'static str {
        match self {
            Self::Failed => "✗",
            Self::Running => ">",
            Self::Waiting => "·",
            Self::Skipped => "-",
            Self::Done => "✓",
            Self::Cached => "=",
        }
    }

    /// In a word.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Skipped => "skipped",
            Self::Done => "done",
            Self::Cached => "cached",
        }
    }

    /// Whether nothing more will become of it in this run.
    pub(super) fn is_end(self) -> bool {
        !matches!(self, Self::Running | Self::Waiting)
    }
}

impl Stage {
    /// One that has not come on yet.
    pub(super) fn new(facts: StageFacts) -> Self {
        Self {
            facts,
            read_by: Vec::new(),
            state: StageState::Waiting,
            reasons: Vec::new(),
            gauge: None,
            note: String::new(),
            known: None,
            warnings: Vec::new(),
            lines: VecDeque::new(),
            key: None,
            spent: Spent::default(),
        }
    }

    /// Its state without what goes with it.
    pub(super) fn mark(&self) -> Mark {
        match &self.state {
            StageState::Waiting => Mark::Waiting,
            StageState::Running { .. } => Mark::Running,
            StageState::Done { .. } => Mark::Done,
            StageState::Cached { .. } => Mark::Cached,
            StageState::Failed { .. } => Mark::Failed,
            StageState::Skipped { .. } => Mark::Skipped,
        }
    }

    /// Whether it failed, or some of its rows did.
    pub(super) fn has_failures(&self) -> bool {
        let rows_failed =
            || self.gauge.as_ref().is_some_and(|gauge| gauge.statuses.keys().any(|s| failure(s).is_some()));
        self.mark() == Mark::Failed || rows_failed()
    }

    /// Keeps a line that it told.
    pub(super) fn keep_line(&mut self, line: &str) {
        if self.lines.back().is_some_and(|last| last == line) {
            return;
        }
        if self.lines.len() == KEPT_LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(line.to_owned());
    }

    /// Its result is there.
    pub(super) fn finish(&mut self, outcome: Outcome, rows: u64, seconds: f64, blessed: Option<&str>) {
        self.state = if outcome.has_run() {
            StageState::Done { rows, seconds, unchanged: outcome == Outcome::Unchanged }
        } else {
            let how = blessed.map(|why| format!("blessed: {why}"));
            StageState::Cached { how: how.unwrap_or_else(|| super::super::narrator::how_cached(outcome).to_owned()) }
        };
    }
}
