//! Who watches a run for the user where there is no live view: JSON lines for
//! programs, plain lines for people.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::gauge::plain_line;
use super::narrator::Narrator;
use super::terminal::{Style, data, say};
use crate::engine::{Event, Observer};

/// How often a stage that runs for long says so.
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

/// Lines on stderr, without times, but for those that say how far a stage is
/// that has run for half a minute.
#[derive(Debug)]
pub(super) struct PlainLines {
    started: Instant,
    state: Mutex<(Narrator, Heartbeats)>,
}

impl PlainLines {
    /// Lines in that style.
    pub(super) fn new(style: Style) -> Self {
        Self { started: Instant::now(), state: Mutex::new((Narrator::new(style, false), Heartbeats::default())) }
    }
}

impl Observer for PlainLines {
    fn event(&self, event: &Event) {
        let mut state = lock(&self.state);
        let (narrator, heartbeats) = &mut *state;
        let lines = narrator.tell(event);
        lines.iter().chain(&heartbeats.hear(event, self.started.elapsed())).for_each(|line| say(line));
    }
}

/// When each running stage was heard of last. Pure: time comes in as a value.
#[derive(Debug, Default)]
struct Heartbeats(BTreeMap<String, Duration>);

impl Heartbeats {
    /// A line about a stage that has not been heard of for long.
    fn hear(&mut self, event: &Event, now: Duration) -> Option<String> {
        match event {
            Event::StageStarted { stage, .. } => {
                self.0.insert(stage.clone(), now);
                None
            }
            Event::StageProgress { stage, gauge } => {
                let last = self.0.get_mut(stage)?;
                if now.saturating_sub(*last) < HEARTBEAT {
                    return None;
                }
                *last = now;
                Some(format!("  {}", plain_line(stage, gauge)))
            }
            Event::StageFinished { stage, .. }
            | Event::StageFailed { stage, .. }
            | Event::StageSkipped { stage, .. } => {
                self.0.remove(stage);
                None
            }
            _ => None,
        }
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Gauge;

    #[test]
    fn a_long_stage_is_heard_of_every_half_minute() {
        let mut heartbeats = Heartbeats::default();
        let stage = || "tags".to_owned();
        let start = Event::StageStarted { stage: stage(), kind: "crawl_top_tags".into(), reasons: Vec::new() };
        assert_eq!(heartbeats.hear(&start, Duration::from_secs(5)), None);
        let progress = |rows| Event::StageProgress { stage: stage(), gauge: Gauge { rows, ..Gauge::default() } };
        let told: Vec<String> =
            (5..100).filter_map(|second| heartbeats.hear(&progress(second), Duration::from_secs(second))).collect();
        assert_eq!(told, ["  tags  35 rows", "  tags  65 rows", "  tags  95 rows"]);
        heartbeats.hear(&Event::StageSkipped { stage: stage(), because: "stopped".into() }, Duration::from_secs(100));
        assert_eq!(heartbeats.hear(&progress(1), Duration::from_secs(200)), None, "its end has been told");
    }
}
