//! What happens while a run goes on, as values: the only way in which the
//! engine speaks. Printing is the observer's part, not this file's.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::sharing::Shared;
use crate::ground::ContentHash;
use crate::stage::Known;
use crate::web::Spent;

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
    /// How far a stage is: at most ten times a second for each, at least once a
    /// second while it runs, and once at its end. In `events.jsonl` every
    /// second at first and every minute later.
    StageProgress {
        /// The instance.
        stage: String,
        /// How far.
        #[serde(flatten)]
        gauge: Gauge,
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
        /// What was spent in this run.
        #[serde(flatten)]
        spent: Spent,
        /// How many rows ended how, by class of status; empty where rows have none.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        statuses: BTreeMap<String, u64>,
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
        /// What was spent; the answers are kept.
        #[serde(flatten)]
        spent: Spent,
        /// How many rows ended how, by class of status; empty where rows have none.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        statuses: BTreeMap<String, u64>,
    },
    /// A stage was not run, because it cannot be or because the run stops.
    StageSkipped {
        /// The instance.
        stage: String,
        /// Why, in a user's words: "`crawl` failed".
        because: String,
    },
    /// What was moved between the run and a shared store, if anything was; at its end.
    Shared {
        /// What was moved.
        #[serde(flatten)]
        shared: Shared,
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
        /// What all stages spent; answers from the memo are free.
        #[serde(flatten)]
        spent: Spent,
        /// Time from the first event to this one, in seconds.
        seconds: f64,
    },
}

/// How far a running stage is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Gauge {
    /// Rows done.
    pub rows: u64,
    /// Rows there will be, once known.
    pub total: Option<u64>,
    /// How many rows ended how, by class of status (`ok`, `not_found`,
    /// `failed: HTTP 503`), the rarest failures together; empty where rows have none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub statuses: BTreeMap<String, u64>,
    /// What was spent so far.
    #[serde(flatten)]
    pub spent: Spent,
    /// Rows per second over the last minute, those not counted that the memo knew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_second: Option<f64>,
    /// About how long it still takes, where that can be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds_left: Option<f64>,
    /// What its limiter waits for, if it does for more than a moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Waiting>,
}

/// Why nothing is asked for a while.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Waiting {
    /// How long still, in seconds.
    pub seconds: f64,
    /// For what, in a user's words: "the provider asked for a pause".
    pub why: String,
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
    /// It was made on another machine, and comes from the shared store.
    Pulled,
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
        let spent = Spent { requests: 7, prompt_tokens: 300, completion_tokens: 20, usd: 0.25 };
        let event = Event::Finished { stages: 4, ran: 1, cached: 2, failed: 1, skipped: 0, spent, seconds: 0.5 };
        let text = serde_json::to_string(&event).expect("serialises");
        assert_eq!(
            text,
            r#"{"event":"finished","stages":4,"ran":1,"cached":2,"failed":1,"skipped":0,"requests":7,"prompt_tokens":300,"completion_tokens":20,"usd":0.25,"seconds":0.5}"#
        );
        assert_eq!(serde_json::from_str::<Event>(&text).expect("reads back"), event);
    }

    #[test]
    fn progress_has_exactly_the_promised_fields() {
        let statuses = BTreeMap::from([("failed: HTTP 503".to_owned(), 2), ("ok".to_owned(), 40)]);
        let gauge = Gauge {
            rows: 42,
            total: Some(100),
            statuses,
            spent: Spent { requests: 44, prompt_tokens: 0, completion_tokens: 0, usd: 0.0 },
            per_second: Some(4.9),
            seconds_left: Some(11.8),
            waiting: Some(Waiting { seconds: 3.5, why: "the provider asked for a pause".to_owned() }),
        };
        let event = Event::StageProgress { stage: "tags".into(), gauge };
        let text = serde_json::to_string(&event).expect("serialises");
        assert_eq!(
            text,
            r#"{"event":"stage_progress","stage":"tags","rows":42,"total":100,"statuses":{"failed: HTTP 503":2,"ok":40},"requests":44,"prompt_tokens":0,"completion_tokens":0,"usd":0.0,"per_second":4.9,"seconds_left":11.8,"waiting":{"seconds":3.5,"why":"the provider asked for a pause"}}"#
        );
        assert_eq!(serde_json::from_str::<Event>(&text).expect("reads back"), event);
    }

    #[test]
    fn events_of_earlier_versions_are_read() {
        let read = |text: &str| serde_json::from_str::<Event>(text).expect("an event");
        let progress = read(r#"{"event":"stage_progress","stage":"tags","rows":3,"total":null}"#);
        assert_eq!(
            progress,
            Event::StageProgress { stage: "tags".into(), gauge: Gauge { rows: 3, ..Gauge::default() } }
        );
        let end = read(
            r#"{"event":"finished","stages":4,"ran":1,"cached":2,"failed":1,"skipped":0,"requests":7,"seconds":0.5}"#,
        );
        let spent = Spent { requests: 7, ..Spent::default() };
        assert_eq!(end, Event::Finished { stages: 4, ran: 1, cached: 2, failed: 1, skipped: 0, spent, seconds: 0.5 });
        let key = ContentHash::of(b"");
        let finished = read(&format!(
            r#"{{"event":"stage_finished","stage":"tags","outcome":"ran","rows":1,"seconds":2.0,"requests":3,"synthetic":false,"key":"{key}"}}"#
        ));
        let Event::StageFinished { spent, statuses, .. } = finished else { panic!("another event: {finished:?}") };
        assert!(spent == Spent { requests: 3, ..Spent::default() } && statuses.is_empty());
    }

    #[test]
    fn outcomes_are_snake_case() {
        assert_eq!(serde_json::to_string(&Outcome::CutOff).expect("serialises"), r#""cut_off""#);
    }
}
