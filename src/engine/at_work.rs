//! What a run that is at work in another process has told of its stages: read
//! from its log, which it holds locked.

use super::error::EngineError;
use super::event::{Event, Gauge};
use super::runs::{events, is_at_work, names, opening};
use crate::store::Store;

/// A run that another process is doing.
#[derive(Debug, Clone, PartialEq)]
pub struct AtWork {
    /// Its name.
    pub run: String,
    /// When it began: milliseconds since 1970-01-01 UTC.
    pub at_millis: u64,
    /// The stages that run now, and how far each said last that it is: the log
    /// has that every second at first, and every minute of a stage that runs for long.
    pub stages: Vec<(String, Option<Gauge>)>,
}

/// The runs of a pipeline that are at work now, newest first.
///
/// # Errors
/// [`EngineError::Store`] if the runs cannot be listed.
pub fn at_work(store: &Store, pipeline: &str) -> Result<Vec<AtWork>, EngineError> {
    let mut found = Vec::new();
    for run in names(store)?.into_iter().filter(|run| is_at_work(store, run)) {
        let (name, at_millis) = opening(store, &run);
        if name.as_deref() == Some(pipeline) {
            let stages = running(events(store, &run));
            found.push(AtWork { run, at_millis, stages });
        }
    }
    Ok(found)
}

/// The stages that have started and not ended, in the order of their starts.
fn running(events: Vec<Event>) -> Vec<(String, Option<Gauge>)> {
    let mut running: Vec<(String, Option<Gauge>)> = Vec::new();
    for event in events {
        match event {
            Event::StageStarted { stage, .. } => running.push((stage, None)),
            Event::StageProgress { stage, gauge } => {
                if let Some((_, last)) = running.iter_mut().find(|(name, _)| *name == stage) {
                    *last = Some(gauge);
                }
            }
            Event::StageFinished { stage, .. }
            | Event::StageFailed { stage, .. }
            | Event::StageSkipped { stage, .. } => {
                running.retain(|(name, _)| *name != stage);
            }
            _ => {}
        }
    }
    running
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_ended_runs_no_more() {
        let started = |stage: &str| Event::StageStarted { stage: stage.into(), kind: "k".into(), reasons: Vec::new() };
        let progress = |rows| Event::StageProgress { stage: "b".into(), gauge: Gauge { rows, ..Gauge::default() } };
        let ended = Event::StageSkipped { stage: "a".into(), because: "stopped".into() };
        let events = vec![started("a"), started("b"), progress(1), ended, progress(2), started("c")];
        let gauge = Gauge { rows: 2, ..Gauge::default() };
        assert_eq!(running(events), [("b".to_owned(), Some(gauge)), ("c".to_owned(), None)]);
    }
}
