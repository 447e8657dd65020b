//! The lines of the panes beside the stages: details of the selected one, limits
//! and budgets, and the log.

use std::time::Duration;

use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::super::gauge::{about, outcome, plain_line};
use super::super::terminal::{count, duration};
use super::dashboard::Dashboard;
use super::limiter::Use;
use super::look::{Look, bar, wrapped};
use super::rows::Row;
use super::stage::{Stage, StageState};
use super::stages;

/// Columns of a limit's bar.
const BAR: usize = 10;
/// So many names stand in a list.
const NAMED: usize = 12;

/// Lines put together piece by piece.
struct Lines {
    width: usize,
    lines: Vec<Line<'static>>,
}

impl Lines {
    /// A text, in as many lines as it needs.
    fn add(&mut self, text: &str, style: Style) {
        let pieces = wrapped(text, self.width).into_iter();
        self.lines.extend(pieces.map(|piece| Line::from(Span::styled(piece, style))));
    }

    /// A heading with texts below, if there are any.
    fn section(&mut self, title: &str, texts: impl IntoIterator<Item = String>, style: Style) {
        let mut texts = texts.into_iter().peekable();
        if texts.peek().is_some() {
            self.add(title, Look::bold());
            texts.for_each(|text| self.add(&format!("  {text}"), style));
        }
    }
}

/// Everything about the selected row.
pub(super) fn details(dashboard: &Dashboard, now: Duration, look: Look, width: usize) -> Vec<Line<'static>> {
    let rows = dashboard.rows();
    let mut lines = Lines { width, lines: Vec::new() };
    match rows.get(dashboard.selected(&rows)) {
        None => {}
        Some(Row::Instance { place, .. }) => of_instance(dashboard, &dashboard.stages[*place], now, look, &mut lines),
        Some(Row::Stage { name, places }) => {
            let first = &dashboard.stages[places[0]];
            lines.add(
                &format!("{name}  {}, {}", first.facts.kind, count(places.len() as u64, "instance")),
                Look::bold(),
            );
            for place in places {
                let stage = &dashboard.stages[*place];
                let mark = stage.mark();
                let text = format!("{} {}  {}", mark.sign(), stage.facts.id, state_words(dashboard, stage, now));
                lines.add(&text, look.mark(mark));
            }
            lines.add("Enter gives each a row of its own", Look::dim());
        }
    }
    lines.lines
}

fn of_instance(dashboard: &Dashboard, stage: &Stage, now: Duration, look: Look, lines: &mut Lines) {
    let mark = stage.mark();
    lines.add(&format!("{}  {}", stage.facts.id, stage.facts.kind), Look::bold());
    lines.add(&state_words(dashboard, stage, now), look.mark(mark));
    if let StageState::Failed { why } = &stage.state {
        lines.section("why it failed", why.iter().cloned(), look.bad());
    }
    lines.section("why it runs", stage.reasons.iter().cloned(), Style::new());
    let rows = stage.gauge.as_ref().map(|gauge| plain_line("", gauge).trim_start().to_owned());
    let outcome = stage.gauge.as_ref().and_then(|gauge| outcome(&gauge.statuses));
    lines.section("rows", stage.known.clone().into_iter().chain(rows).chain(outcome), Style::new());
    lines.section("key", stage.key.clone(), Style::new());
    lines.section("limiter", stage.facts.limiter.clone(), Style::new());
    lines.section("warnings", stage.warnings.iter().cloned(), look.warning());
    lines.section("last told", stage.lines.iter().rev().take(5).rev().cloned(), Style::new());
    lines.section("reads", names(dashboard, &stage.facts.reads), Style::new());
    lines.section("read by", names(dashboard, &stage.read_by), Style::new());
    lines.section("settings", stage.facts.settings.iter().cloned(), Style::new());
}

fn names(dashboard: &Dashboard, places: &[usize]) -> Option<String> {
    let mut names: Vec<String> =
        places.iter().take(NAMED).map(|place| dashboard.stages[*place].facts.id.clone()).collect();
    if places.len() > NAMED {
        names.push(format!("and {} more", places.len() - NAMED));
    }
    (!names.is_empty()).then(|| names.join(", "))
}

/// An instance's state in a few words.
fn state_words(dashboard: &Dashboard, stage: &Stage, now: Duration) -> String {
    match &stage.state {
        StageState::Waiting => stages::waiting(dashboard, stage),
        StageState::Running { since } => format!("running for {}", about(now.saturating_sub(*since).as_secs_f64())),
        StageState::Done { rows, seconds, unchanged } => {
            let as_before = if *unchanged { ", as before" } else { "" };
            format!("done: {}{as_before}, in {}", count(*rows, "row"), duration(*seconds))
        }
        StageState::Cached { how } => how.clone(),
        StageState::Failed { .. } => "failed".to_owned(),
        StageState::Skipped { because } => format!("skipped: {because}"),
    }
}

/// What is used of each limit and budget, and what is waited for.
pub(super) fn limits(dashboard: &Dashboard, now: Duration, look: Look, width: usize) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    for (name, limiter) in &dashboard.limiters {
        let waits = dashboard.stages.iter().filter(|stage| stage.facts.limiter.as_ref() == Some(name));
        let mut waits = waits.filter(|stage| matches!(stage.state, StageState::Running { .. }));
        let waiting = waits.find_map(|stage| stage.gauge.as_ref()?.waiting.as_ref());
        let mut head = vec![Span::styled(name.clone(), Look::bold())];
        if let Some(waiting) = waiting {
            let words = format!("  waits {}: {}", about(waiting.seconds), waiting.why);
            head.push(Span::styled(words, look.warning()));
        }
        lines.push(Line::from(head));
        lines.extend(limiter.limits(now, dashboard.sandbox).iter().map(|used| gauge(used, look, width)));
        for used in limiter.budget() {
            let words = format!("budget: {}", used.words);
            lines.push(gauge(&Use { words, ..used }, look, width));
        }
    }
    lines
}

fn gauge(used: &Use, look: Look, width: usize) -> Line<'static> {
    let mut parts = vec![Span::raw("  ")];
    if let Some(share) = used.share.filter(|_| width >= 3 * BAR) {
        let style = if share >= 1.0 { look.warning() } else { look.lively() };
        parts.extend([Span::styled(bar(share, BAR), style), Span::raw("  ")]);
    }
    parts.push(Span::raw(used.words.clone()));
    Line::from(parts)
}

/// The last lines of the log, at least so many if there are.
pub(super) fn log(dashboard: &Dashboard, look: Look, width: usize, wanted: usize) -> Vec<Line<'static>> {
    let last = dashboard.log.len().saturating_sub(wanted);
    let mut lines = Lines { width, lines: Vec::new() };
    for line in &dashboard.log[last..] {
        lines.add(line, look.told(line));
    }
    lines.lines
}
