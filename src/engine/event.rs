//! What happens while a run goes on, as values: the only way in which the
//! engine speaks. Printing is the observer's part, not this file's.

use serde::{Deserialize, Serialize};

use crate::ground::ContentHash;
use crate::stage::Known;

/// One thing that happened. As JSON: an object whose `event` is the variant in
/// snake case; `stage` is always an instance as `InstanceId` displays it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The first event: the plan is made and nothing has started.
    RunStarted {
        /// The run's name, which is its folder's name below `runs-v1`.
        run: String,
        /// The pipeline's name.
        pipeline: String,
        /// How many instances this run is about.
        stages: usize,
        /// How many of them are up to date already.
        fresh: usize,
        /// The identity of the sandbox world that answers instead of the real
        /// services, if one does. What comes of it is synthetic.
        sandbox: Option<String>,
        /// When: milliseconds since 1970-01-01 UTC.
        #[serde(default)]
        at_millis: u64,
    },
    /// A stage starts to do its work.
    StageStarted {
        /// The instance.
        stage: String,
        /// Its kind.
        kind: String,
        /// Why it runs, most telling first, in a user's words.
        reasons: Vec<String>,
    },
    /// How many rows of a stage that starts are in the memo already; for kinds
    /// that work row by row.
    RowsKnown {
        /// The instance.
        stage: String,
        /// The counts.
        #[serde(flatten)]
        known: Known,
    },
    /// How far a stage is; at most ten times a second for each, and once at its end.
    StageProgress {
        /// The instance.
        stage: String,
        /// Rows done.
        rows: u64,
        /// Rows there will be, once known.
        total: Option<u64>,
    },
    /// What a stage is doing, in a few words.
    StageNote {
        /// The instance.
        stage: String,
        /// The words.
        text: String,
    },
    /// Something the user should know; also sent when the result comes from the
    /// cache.
    StageWarning {
        /// The instance.
        stage: String,
        /// The warning.
        text: String,
        /// Whether it was given by an earlier run that made the result.
        remembered: bool,
    },
    /// Something the user should know that is no single stage's, such as damage
    /// that was found in the store and set aside.
    Warning {
        /// The warning.
        text: String,
    },
    /// A stage's result is there.
    StageFinished {
        /// The instance.
        stage: String,
        /// How it came to be there.
        outcome: Outcome,
        /// Rows of its main output.
        rows: u64,
        /// Time spent in this run, in seconds.
        seconds: f64,
        /// Requests sent in this run.
        requests: u64,
        /// Whether it, or something above it, is made from a sandbox's answers.
        synthetic: bool,
        /// The name of its result.
        key: ContentHash,
        /// Why a result of other circumstances was accepted as this one's, if it was.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        blessed: Option<String>,
    },
    /// A stage failed.
    StageFailed {
        /// The instance.
        stage: String,
        /// What was attempted, on what.
        error: String,
        /// The causes, outermost first.
        causes: Vec<String>,
        /// What to do.
        hint: Option<String>,
        /// Time spent, in seconds.
        seconds: f64,
        /// Requests sent; their answers are kept.
        requests: u64,
    },
    /// A stage was not run, because it cannot be or because the run stops.
    StageSkipped {
        /// The instance.
        stage: String,
        /// Why, in a user's words: "`crawl` failed".
        because: String,
    },
    /// The last event.
    Finished {
        /// How many instances this run was about: `ran + cached + failed + skipped`.
        stages: usize,
        /// How many did their work.
        ran: usize,
        /// How many had their result already, whatever the way.
        cached: usize,
        /// How many failed.
        failed: usize,
        /// How many were not tried.
        skipped: usize,
        /// Requests sent by all stages; answers from the memo do not count.
        requests: u64,
        /// Time from the first event to this one, in seconds.
        seconds: f64,
    },
}

/// How a stage's result came to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It did its work, and the result is new.
    Ran,
    /// It did its work, and the result is what it was: nothing below runs for it.
    Unchanged,
    /// It was up to date.
    Cached,
    /// Something above it ran, and gave what it had given before.
    CutOff,
    /// The same work was done before under other circumstances (the settings
    /// were switched back, or another stage or variant does the same).
    Restored,
    /// Another run on the same store made it meanwhile.
    Adopted,
}

impl Outcome {
    /// Whether the stage did its work in this run.
    #[must_use]
    pub fn has_run(self) -> bool {
        matches!(self, Self::Ran | Self::Unchanged)
    }
}

/// Whoever watches a run. Called from several threads, in the order of what
/// happened for each stage; it must not block for long.
pub trait Observer: Send + Sync {
    /// Something happened.
    fn event(&self, event: &Event);
}

/// Watches nothing.
#[derive(Debug, Default, Clone, Copy)]
pub struct NoObserver;

impl Observer for NoObserver {
    fn event(&self, _event: &Event) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_event_has_exactly_the_promised_fields() {
        let event = Event::Finished { stages: 4, ran: 1, cached: 2, failed: 1, skipped: 0, requests: 7, seconds: 0.5 };
        let text = serde_json::to_string(&event).expect("serialises");
        assert_eq!(
            text,
            r#"{"event":"finished","stages":4,"ran":1,"cached":2,"failed":1,"skipped":0,"requests":7,"seconds":0.5}"#
        );
        assert_eq!(serde_json::from_str::<Event>(&text).expect("reads back"), event);
    }

    #[test]
    fn outcomes_are_snake_case() {
        assert_eq!(serde_json::to_string(&Outcome::CutOff).expect("serialises"), r#""cut_off""#);
    }
}
