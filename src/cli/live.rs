//! The live view of a run on a terminal: a line per running stage and one for
//! the run at the foot; what is finished scrolls above.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use console::Term;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use super::gauge::{Layout, about, live_line, spending};
use super::narrator::Narrator;
use super::observers::lock;
use super::terminal::{Style, say};
use crate::engine::{Event, Gauge, Observer};
use crate::web::Spent;

/// The width where the terminal does not tell its own.
const USUAL_WIDTH: usize = 80;
/// Columns that the mark before each line takes.
const MARK: usize = 2;

/// A line per running stage at the foot of the terminal.
pub(super) struct LiveView {
    lines: MultiProgress,
    /// What is to be said when the view comes back; nothing while it is there.
    held: Mutex<Option<Vec<String>>>,
    width: fn() -> usize,
    state: Mutex<LiveState>,
}

struct LiveState {
    narrator: Narrator,
    style: Style,
    running: BTreeMap<String, Running>,
    overall: Option<ProgressBar>,
    /// What the stages spent that have ended.
    spent: Spent,
}

/// A running stage.
struct Running {
    line: ProgressBar,
    gauge: Option<Gauge>,
    note: String,
}

impl LiveView {
    /// A view in that style.
    pub(super) fn new(style: Style) -> Self {
        Self {
            lines: MultiProgress::with_draw_target(ProgressDrawTarget::stderr()),
            held: Mutex::default(),
            width: terminal_width,
            state: Mutex::new(LiveState {
                narrator: Narrator::new(style, true),
                style,
                running: BTreeMap::new(),
                overall: None,
                spent: Spent::default(),
            }),
        }
    }

    /// Takes the view away while a question stands on the terminal, and brings
    /// it back with all that was said meanwhile. Nothing waits for that.
    pub(super) fn hide(&self, down: bool) {
        let mut held = lock(&self.held);
        if down {
            held.get_or_insert_default();
            self.lines.clear().ok();
            self.lines.set_draw_target(ProgressDrawTarget::hidden());
            return;
        }
        self.lines.set_draw_target(ProgressDrawTarget::stderr());
        let texts = held.take().unwrap_or_default();
        drop(held);
        for text in &texts {
            self.say(text);
        }
    }

    /// Lines above those of the stages.
    pub(super) fn say(&self, text: &str) {
        if let Some(held) = &mut *lock(&self.held) {
            held.push(text.to_owned());
            return;
        }
        // One by one: several at once are padded to one long line, which shows
        // when the terminal becomes wider.
        for line in text.lines() {
            if self.lines.println(line).is_err() {
                say(line);
            }
        }
    }

    fn begin(&self, state: &mut LiveState, stages: usize) {
        let line = self.lines.add(ProgressBar::new(stages as u64).with_style(whole_run()));
        line.enable_steady_tick(Duration::from_millis(500));
        state.overall = Some(line);
    }

    fn start(&self, state: &mut LiveState, stage: &str) {
        let line = ProgressBar::no_length().with_style(unmeasured()).with_prefix(stage.to_owned());
        let line = match &state.overall {
            Some(overall) => self.lines.insert_before(overall, line),
            None => self.lines.add(line),
        };
        line.enable_steady_tick(Duration::from_millis(120));
        state.running.insert(stage.to_owned(), Running { line, gauge: None, note: String::new() });
    }

    fn measure(&self, state: &mut LiveState, stage: &str, gauge: &Gauge) {
        if let Some(running) = state.running.get_mut(stage) {
            if running.gauge.is_none() {
                running.line.set_style(measured());
            }
            running.gauge = Some(gauge.clone());
            self.draw(state, stage);
            state.sum_up();
        }
    }

    fn note(&self, state: &mut LiveState, stage: &str, text: &str) {
        if let Some(running) = state.running.get_mut(stage) {
            text.clone_into(&mut running.note);
            self.draw(state, stage);
        }
    }

    /// Puts a stage's line together, for the terminal as wide as it is now.
    fn draw(&self, state: &LiveState, stage: &str) {
        let names = state.running.keys().map(|stage| stage.chars().count()).max().unwrap_or(0);
        let layout = Layout { width: (self.width)().saturating_sub(MARK), names, style: state.style };
        if let Some(Running { line, gauge, note }) = state.running.get(stage) {
            line.set_message(match gauge {
                Some(gauge) => live_line(stage, gauge, note, layout),
                None => note.clone(),
            });
        }
    }

    fn end(&self, state: &mut LiveState, stage: &str, spent: Option<Spent>) {
        let running = state.running.remove(stage);
        if let Some(running) = &running {
            running.line.finish_and_clear();
            self.lines.remove(&running.line);
        }
        let told = running.and_then(|running| running.gauge).map(|gauge| gauge.spent);
        state.spent += spent.or(told).unwrap_or_default();
        state.sum_up();
        if let Some(overall) = &state.overall {
            overall.inc(1);
        }
    }

    fn finish(&self, state: &mut LiveState) {
        let running = std::mem::take(&mut state.running).into_values().map(|running| running.line);
        for line in running.chain(state.overall.take()) {
            line.finish_and_clear();
        }
        self.lines.clear().ok();
    }
}

impl LiveState {
    /// Tells what the whole run has spent so far.
    fn sum_up(&self) {
        let running = self.running.values().filter_map(|running| running.gauge.as_ref()).map(|gauge| gauge.spent);
        let spent: Spent = running.chain([self.spent]).sum();
        if let Some(overall) = &self.overall {
            overall.set_message(spending(&spent).join("  "));
        }
    }
}

impl Observer for LiveView {
    fn event(&self, event: &Event) {
        let mut state = lock(&self.state);
        match event {
            Event::RunStarted { stages, .. } => self.begin(&mut state, *stages),
            Event::StageStarted { stage, .. } => self.start(&mut state, stage),
            Event::StageProgress { stage, gauge } => self.measure(&mut state, stage, gauge),
            Event::StageNote { stage, text } => self.note(&mut state, stage, text),
            Event::StageFinished { stage, spent, .. } | Event::StageFailed { stage, spent, .. } => {
                self.end(&mut state, stage, Some(*spent));
            }
            Event::StageSkipped { stage, .. } => self.end(&mut state, stage, None),
            Event::StageWarning { .. } | Event::Warning { .. } | Event::RowsKnown { .. } | Event::Shared { .. } => {}
            Event::Finished { .. } => self.finish(&mut state),
        }
        // The line below says that a stage started; one above would say it twice.
        if matches!(event, Event::StageStarted { .. }) {
            return;
        }
        let is_drawn = state.overall.is_some();
        for line in state.narrator.tell(event) {
            if is_drawn {
                self.say(&line);
            } else {
                say(&line);
            }
        }
    }
}

fn terminal_width() -> usize {
    Term::stderr().size_checked().map_or(USUAL_WIDTH, |(_, columns)| usize::from(columns))
}

fn measured() -> ProgressStyle {
    style("{spinner} {wide_msg}")
}

fn unmeasured() -> ProgressStyle {
    style("{spinner} {prefix}  {took}  {wide_msg:.dim}")
}

fn whole_run() -> ProgressStyle {
    style("  {pos} of {len} stages  {took}  {wide_msg}")
}

/// A style by its template; the templates are tested.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()).with_key(
        "took",
        |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            out.write_str(&about(state.elapsed().as_secs_f64())).ok();
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_are_valid() {
        for template in ["{spinner} {wide_msg}", "{prefix}  {took}  {wide_msg:.dim}", "{pos} of {len} stages"] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }

    #[test]
    fn a_run_is_watched_from_its_start_to_its_end() {
        let mut view = LiveView::new(Style::new(false));
        view.lines.set_draw_target(ProgressDrawTarget::hidden());
        view.width = || 80;
        let stage = || "crawl".to_owned();
        view.event(&Event::RunStarted {
            run: "r".into(),
            pipeline: "p".into(),
            stages: 1,
            fresh: 0,
            sandbox: None,
            at_millis: 0,
        });
        view.event(&Event::StageStarted { stage: stage(), kind: "crawl_users".into(), reasons: vec!["new".into()] });
        view.event(&Event::StageNote { stage: stage(), text: "looking".into() });
        assert_eq!(lock(&view.state).running["crawl"].line.message(), "looking");
        let spent = Spent { requests: 4, ..Spent::default() };
        let gauge = Gauge { rows: 3, total: Some(10), spent, ..Gauge::default() };
        view.event(&Event::StageProgress { stage: stage(), gauge });
        {
            let state = lock(&view.state);
            assert_eq!(state.running["crawl"].line.message(), "crawl ███░░░░░░░ 3 of 10 rows  looking");
            assert_eq!(state.overall.as_ref().map(ProgressBar::message).as_deref(), Some("4 requests"));
        }
        view.event(&Event::StageSkipped { stage: stage(), because: "stopped".into() });
        {
            let state = lock(&view.state);
            assert!(state.running.is_empty());
            assert_eq!(state.spent.requests, 4, "what a stopped stage has spent stays in the sum");
        }
        let end = Event::Finished { stages: 1, ran: 0, cached: 0, failed: 0, skipped: 1, spent, seconds: 0.1 };
        view.event(&end);
        assert!(lock(&view.state).overall.is_none());
    }
}
