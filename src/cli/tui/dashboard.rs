//! The dashboard of a run as a value: events and keys change it, and nothing
//! else does. Time comes in as the time since the run began.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::super::errors::describe_failure;
use super::super::narrator::Narrator;
use super::super::terminal::Style;
use super::facts::Facts;
use super::keys::{Key, Pane, Reply, Wish};
use super::limiter::LimiterView;
use super::rows::{self, Row};
use super::stage::{Mark, Stage, StageState};
use crate::engine::Event;
use crate::web::Spent;

/// From so many instances on, those of one stage share a row.
const FOLD_FROM: usize = 16;
/// So many lines of the log are kept.
const KEPT_LINES: usize = 5000;

/// What is shown of a run.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact or a choice of its own")]
pub(super) struct Dashboard {
    pub(super) pipeline: String,
    pub(super) stages: Vec<Stage>,
    places: BTreeMap<String, usize>,
    pub(super) limiters: BTreeMap<String, LimiterView>,
    /// The lines that the run told, without colour.
    pub(super) log: Vec<String>,
    narrator: Narrator,
    /// Whether the run has begun.
    pub(super) is_planned: bool,
    pub(super) sandbox: bool,
    /// What is asked of the user.
    pub(super) question: Option<Question>,
    /// Whether the run was told to stop.
    pub(super) is_stopping: bool,
    pub(super) is_helping: bool,
    pub(super) only_failed: bool,
    pub(super) pane: Pane,
    /// How far the pane is scrolled away from where it stands by itself.
    pub(super) scroll: usize,
    /// The row that the user chose; none while the dashboard follows the run.
    chosen: Option<String>,
    /// The stages whose instances have rows of their own.
    unfolded: BTreeSet<String>,
}

/// Something that is asked of the user.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) title: &'static str,
    pub(super) words: String,
    /// What may be answered.
    pub(super) choice: String,
    pub(super) may_raise: bool,
}

impl Dashboard {
    /// The dashboard of a run that has not begun.
    pub(super) fn new(facts: Facts) -> Self {
        let limiter = |(name, limits): (String, _)| {
            let budget = facts.budgets.get(&name).cloned();
            (name, LimiterView::new(limits, budget))
        };
        let limiters = facts.limits.into_iter().map(limiter).collect();
        let mut stages: Vec<Stage> = facts.stages.into_iter().map(Stage::new).collect();
        for place in 0..stages.len() {
            for read in stages[place].facts.reads.clone() {
                stages[read].read_by.push(place);
            }
        }
        let mut unfolded = BTreeSet::new();
        if stages.len() < FOLD_FROM {
            unfolded.extend(stages.iter().map(|stage| rows::stage_of(&stage.facts.id).to_owned()));
        }
        Self {
            pipeline: facts.pipeline,
            places: stages.iter().enumerate().map(|(place, stage)| (stage.facts.id.clone(), place)).collect(),
            stages,
            limiters,
            log: Vec::new(),
            narrator: Narrator::new(Style::new(false), true),
            is_planned: false,
            sandbox: false,
            question: None,
            is_stopping: false,
            is_helping: false,
            only_failed: false,
            pane: Pane::default(),
            scroll: 0,
            chosen: None,
            unfolded,
        }
    }

    /// Takes in what happened.
    pub(super) fn event(&mut self, event: &Event, now: Duration) {
        for line in self.narrator.tell(event) {
            self.say(&line);
        }
        match event {
            Event::RunStarted { sandbox, .. } => {
                self.is_planned = true;
                self.sandbox = sandbox.is_some();
            }
            Event::StageProgress { stage, gauge } => {
                self.spend(stage, gauge.spent, now);
                self.change(stage, |stage| stage.gauge = Some(gauge.clone()));
            }
            Event::StageFinished { stage, spent, .. } | Event::StageFailed { stage, spent, .. } => {
                self.spend(stage, *spent, now);
                self.change(stage, |stage| apply(stage, event, now));
            }
            Event::StageStarted { stage, .. }
            | Event::RowsKnown { stage, .. }
            | Event::StageNote { stage, .. }
            | Event::StageWarning { stage, .. }
            | Event::StageSkipped { stage, .. } => self.change(stage, |stage| apply(stage, event, now)),
            Event::Warning { .. } | Event::Shared { .. } | Event::Finished { .. } => {}
        }
    }

    /// Adds lines to the log.
    pub(super) fn say(&mut self, text: &str) {
        self.log.extend(text.lines().map(str::to_owned));
        let surplus = self.log.len().saturating_sub(KEPT_LINES);
        self.log.drain(..surplus);
    }

    fn change(&mut self, id: &str, change: impl FnOnce(&mut Stage)) {
        if let Some(place) = self.places.get(id) {
            change(&mut self.stages[*place]);
        }
    }

    /// Counts what a stage spent since it was last heard of.
    fn spend(&mut self, id: &str, spent: Spent, now: Duration) {
        let Some(place) = self.places.get(id) else { return };
        let stage = &mut self.stages[*place];
        let more = spent - stage.spent;
        stage.spent = spent;
        if let Some(limiter) = stage.facts.limiter.as_ref().and_then(|name| self.limiters.get_mut(name)) {
            limiter.add(more, now);
        }
    }

    /// What all stages have spent.
    pub(super) fn spent(&self) -> Spent {
        self.stages.iter().map(|stage| stage.spent).sum()
    }

    /// How many instances are in each state.
    pub(super) fn counts(&self) -> BTreeMap<Mark, usize> {
        let mut counts = BTreeMap::new();
        for stage in &self.stages {
            *counts.entry(stage.mark()).or_default() += 1;
        }
        counts
    }

    /// The rows of the list of stages, in the order of the pipeline.
    pub(super) fn rows(&self) -> Vec<Row> {
        rows::rows(&self.stages, &self.unfolded, self.only_failed)
    }

    /// Which of the rows is selected: the one the user chose, else the first
    /// that runs, else the first that waits.
    pub(super) fn selected(&self, rows: &[Row]) -> usize {
        let chosen = self.chosen.as_ref().and_then(|name| rows.iter().position(|row| row.name() == name));
        let first = |mark: Mark| rows.iter().position(|row| row.mark(&self.stages) == mark);
        chosen.or_else(|| first(Mark::Running)).or_else(|| first(Mark::Waiting)).unwrap_or(0)
    }

    /// Takes in a key, and gives what is to be done beyond the dashboard.
    pub(super) fn key(&mut self, key: Key) -> Option<Wish> {
        if key == Key::Stop {
            self.is_stopping = true;
            return Some(Wish::Stop);
        }
        if let Some(question) = &self.question {
            let reply = match key {
                Key::Letter('y') => Reply::Yes,
                Key::Letter('n') | Key::Enter => Reply::No,
                Key::Letter('r') if question.may_raise => Reply::Raise,
                _ => return None,
            };
            return Some(Wish::Answer(reply));
        }
        if std::mem::take(&mut self.is_helping) {
            return None;
        }
        match key {
            Key::Up => self.step(|at, _| at.saturating_sub(1)),
            Key::Down => self.step(|at, last| (at + 1).min(last)),
            Key::Home => self.step(|_, _| 0),
            Key::End => self.step(|_, last| last),
            Key::Enter => self.fold(),
            Key::Escape => (self.chosen, self.scroll, self.only_failed) = (None, 0, false),
            Key::PageUp => {
                self.scroll = if self.pane == Pane::Log { self.scroll + 5 } else { self.scroll.saturating_sub(5) }
            }
            Key::PageDown => {
                self.scroll = if self.pane == Pane::Log { self.scroll.saturating_sub(5) } else { self.scroll + 5 }
            }
            Key::Next => (self.pane, self.scroll) = (self.pane.next(), 0),
            Key::Previous => (self.pane, self.scroll) = (self.pane.previous(), 0),
            Key::Letter('f') => self.only_failed = !self.only_failed,
            Key::Letter('?') => self.is_helping = true,
            Key::Letter(_) | Key::Stop => {}
        }
        None
    }

    /// Chooses another row.
    fn step(&mut self, to: impl FnOnce(usize, usize) -> usize) {
        let rows = self.rows();
        let at = to(self.selected(&rows), rows.len().saturating_sub(1));
        if self.pane == Pane::Details {
            self.scroll = 0;
        }
        self.chosen = rows.get(at).map(|row| row.name().to_owned());
    }

    /// Folds or unfolds the instances of the selected stage.
    fn fold(&mut self) {
        let rows = self.rows();
        let Some(row) = rows.get(self.selected(&rows)) else { return };
        if matches!(row, Row::Instance { below: false, .. }) {
            return;
        }
        let stage = rows::stage_of(row.name()).to_owned();
        if !self.unfolded.remove(&stage) {
            self.unfolded.insert(stage.clone());
        }
        self.chosen = Some(stage);
    }
}

/// What an event says of its stage.
fn apply(stage: &mut Stage, event: &Event, now: Duration) {
    match event {
        Event::StageStarted { reasons, .. } => {
            stage.state = StageState::Running { since: now };
            stage.reasons.clone_from(reasons);
        }
        Event::RowsKnown { known, .. } => stage.known = Some(known.to_string()),
        Event::StageNote { text, .. } => {
            text.clone_into(&mut stage.note);
            stage.keep_line(text);
        }
        Event::StageWarning { text, .. } => stage.warnings.push(text.clone()),
        Event::StageFinished { outcome, rows, seconds, key, blessed, statuses, .. } => {
            stage.finish(*outcome, *rows, *seconds, blessed.as_deref());
            stage.key = Some(key.short());
            keep_statuses(stage, statuses);
        }
        Event::StageFailed { error, causes, hint, statuses, .. } => {
            let why = describe_failure(error, causes, hint.as_deref(), Style::new(false));
            stage.state = StageState::Failed { why: why.lines().map(str::to_owned).collect() };
            keep_statuses(stage, statuses);
        }
        Event::StageSkipped { because, .. } => stage.state = StageState::Skipped { because: because.clone() },
        _ => {}
    }
}

fn keep_statuses(stage: &mut Stage, statuses: &BTreeMap<String, u64>) {
    if !statuses.is_empty() {
        stage.gauge.get_or_insert_default().statuses.clone_from(statuses);
    }
}
