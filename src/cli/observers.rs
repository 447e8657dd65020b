//! Who watches a run for the user: JSON lines for programs, a live view on a
//! terminal, plain lines elsewhere.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::narrator::Narrator;
use super::terminal::{Style, count, data, say, thousands};
use crate::engine::{Event, Observer};

/// How often a stage that runs for long says so where there is no live view.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// Events on stdout, one JSON object per line.
#[derive(Debug, Default)]
pub(super) struct JsonLines {
    order: Mutex<()>,
}

impl Observer for JsonLines {
    fn event(&self, event: &Event) {
        let _in_order = lock(&self.order);
        if let Ok(line) = serde_json::to_string(event) {
            // A reader that went away does not stop the run.
            data(&line).ok();
        }
    }
}

/// Lines on stderr, without times.
#[derive(Debug)]
pub(super) struct PlainLines {
    state: Mutex<(Narrator, BTreeMap<String, Instant>)>,
}

impl PlainLines {
    /// Lines in that style.
    pub(super) fn new(style: Style) -> Self {
        Self { state: Mutex::new((Narrator::new(style, false), BTreeMap::new())) }
    }
}

impl Observer for PlainLines {
    fn event(&self, event: &Event) {
        let mut state = lock(&self.state);
        let (narrator, heard) = &mut *state;
        narrator.tell(event).iter().for_each(|line| say(line));
        match event {
            Event::StageStarted { stage, .. } => {
                heard.insert(stage.clone(), Instant::now());
            }
            Event::StageProgress { stage, rows, total } => {
                if let Some(last) = heard.get_mut(stage)
                    && last.elapsed() >= HEARTBEAT
                {
                    *last = Instant::now();
                    let of = total.map(|total| format!(" of {}", thousands(total))).unwrap_or_default();
                    say(&format!("  {stage}  {}{of} rows", thousands(*rows)));
                }
            }
            _ => {}
        }
    }
}

/// A bar per running stage at the foot of the terminal; what is finished
/// scrolls above.
pub(super) struct LiveView {
    bars: MultiProgress,
    /// What is to be said when the view comes back; nothing while it is there.
    held: Mutex<Option<Vec<String>>>,
    state: Mutex<LiveState>,
}

struct LiveState {
    narrator: Narrator,
    running: BTreeMap<String, ProgressBar>,
    overall: Option<ProgressBar>,
    requests: u64,
}

impl LiveView {
    /// A view in that style.
    pub(super) fn new(style: Style) -> Self {
        Self {
            bars: MultiProgress::with_draw_target(ProgressDrawTarget::stderr()),
            held: Mutex::default(),
            state: Mutex::new(LiveState {
                narrator: Narrator::new(style, true),
                running: BTreeMap::new(),
                overall: None,
                requests: 0,
            }),
        }
    }

    /// Takes the view away while a question stands on the terminal, and brings
    /// it back with all that was said meanwhile. Nothing waits for that.
    pub(super) fn hide(&self, down: bool) {
        let mut held = lock(&self.held);
        if down {
            held.get_or_insert_default();
            self.bars.clear().ok();
            self.bars.set_draw_target(ProgressDrawTarget::hidden());
            return;
        }
        self.bars.set_draw_target(ProgressDrawTarget::stderr());
        let lines = held.take().unwrap_or_default();
        drop(held);
        for line in &lines {
            self.say(line);
        }
    }

    /// A line above the bars.
    pub(super) fn say(&self, line: &str) {
        if let Some(held) = &mut *lock(&self.held) {
            held.push(line.to_owned());
        } else if self.bars.println(line).is_err() {
            say(line);
        }
    }

    fn start(&self, state: &mut LiveState, stage: &str) {
        let bar = ProgressBar::no_length().with_style(unmeasured()).with_prefix(stage.to_owned());
        let bar = match &state.overall {
            Some(overall) => self.bars.insert_before(overall, bar),
            None => self.bars.add(bar),
        };
        bar.enable_steady_tick(Duration::from_millis(120));
        state.running.insert(stage.to_owned(), bar);
    }

    fn end(&self, state: &mut LiveState, stage: &str, sent: u64) {
        if let Some(bar) = state.running.remove(stage) {
            bar.finish_and_clear();
            self.bars.remove(&bar);
        }
        state.requests += sent;
        if let Some(overall) = &state.overall {
            overall.inc(1);
            if state.requests > 0 {
                overall.set_message(count(state.requests, "request"));
            }
        }
    }

    fn begin(&self, state: &mut LiveState, stages: usize) {
        let bar = self.bars.add(ProgressBar::new(stages as u64).with_style(whole_run()));
        bar.enable_steady_tick(Duration::from_millis(500));
        state.overall = Some(bar);
    }

    fn finish(&self, state: &mut LiveState) {
        for bar in std::mem::take(&mut state.running).into_values().chain(state.overall.take()) {
            bar.finish_and_clear();
        }
        self.bars.clear().ok();
    }
}

impl Observer for LiveView {
    fn event(&self, event: &Event) {
        let mut state = lock(&self.state);
        match event {
            Event::RunStarted { stages, .. } => self.begin(&mut state, *stages),
            Event::StageStarted { stage, .. } => self.start(&mut state, stage),
            Event::StageProgress { stage, rows, total } => {
                if let Some(bar) = state.running.get(stage) {
                    if let Some(total) = *total
                        && bar.length() != Some(total)
                    {
                        bar.set_length(total);
                        bar.set_style(measured());
                    }
                    bar.set_position(*rows);
                }
            }
            Event::StageNote { stage, text } => {
                if let Some(bar) = state.running.get(stage) {
                    bar.set_message(text.clone());
                }
            }
            Event::StageFinished { stage, requests, .. } | Event::StageFailed { stage, requests, .. } => {
                self.end(&mut state, stage, *requests);
            }
            Event::StageSkipped { stage, .. } => self.end(&mut state, stage, 0),
            Event::StageWarning { .. } | Event::Warning { .. } | Event::RowsKnown { .. } => {}
            Event::Finished { .. } => self.finish(&mut state),
        }
        // The bar says that a stage started; the line would say it twice.
        if matches!(event, Event::StageStarted { .. }) {
            return;
        }
        let has_bars = state.overall.is_some();
        for line in state.narrator.tell(event) {
            if has_bars {
                self.say(&line);
            } else {
                say(&line);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn measured() -> ProgressStyle {
    style(
        "{spinner} {prefix:24!} {bar:20.cyan/dim} {human_pos}/{human_len} rows  {per_sec}  {eta} left  {wide_msg:.dim}",
    )
}

fn unmeasured() -> ProgressStyle {
    style("{spinner} {prefix:24!} {human_pos} rows  {elapsed}  {wide_msg:.dim}")
}

fn whole_run() -> ProgressStyle {
    style("  {pos} of {len} stages  {elapsed}  {wide_msg:.dim}")
}

/// A style by its template; the templates are tested.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()).with_key(
        "per_sec",
        |state: &indicatif::ProgressState, out: &mut dyn std::fmt::Write| {
            write!(out, "{:.0}/s", state.per_sec()).ok();
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_are_valid() {
        for template in ["{wide_msg:.dim}", "{bar:20.cyan/dim}", "{prefix:24!}", "{spinner} {human_pos}/{human_len}"] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }

    #[test]
    fn a_run_is_watched_from_its_start_to_its_end() {
        let view = LiveView::new(Style::new(false));
        view.bars.set_draw_target(ProgressDrawTarget::hidden());
        let stage = || "crawl".to_owned();
        let start = Event::RunStarted {
            run: "r".into(),
            pipeline: "p".into(),
            stages: 1,
            fresh: 0,
            sandbox: None,
            at_millis: 0,
        };
        view.event(&start);
        view.event(&Event::StageStarted { stage: stage(), kind: "crawl_users".into(), reasons: vec!["new".into()] });
        view.event(&Event::StageProgress { stage: stage(), rows: 3, total: Some(10) });
        {
            let state = lock(&view.state);
            assert_eq!(state.running["crawl"].position(), 3);
            assert_eq!(state.running["crawl"].length(), Some(10));
        }
        view.event(&Event::StageSkipped { stage: stage(), because: "stopped".into() });
        assert!(lock(&view.state).running.is_empty());
        view.event(&Event::Finished { stages: 1, ran: 0, cached: 0, failed: 0, skipped: 1, requests: 0, seconds: 0.1 });
        assert!(lock(&view.state).overall.is_none());
    }
}
