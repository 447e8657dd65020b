//! A run in its middle, for tests of the dashboard.

use std::collections::BTreeMap;
use std::time::Duration;

use super::dashboard::Dashboard;
use super::facts::{Facts, StageFacts};
use crate::engine::{Event, Gauge, Outcome, Waiting};
use crate::ground::ContentHash;
use crate::web::{BudgetSettings, LimiterSettings, Spent};

fn stage(id: &str, kind: &'static str, reads: &[usize], limiter: Option<&str>) -> StageFacts {
    let settings = vec![format!("of: {id}"), "k: 10".to_owned()];
    StageFacts { id: id.to_owned(), kind, settings, reads: reads.to_vec(), limiter: limiter.map(str::to_owned) }
}

/// A crawl, summaries, and what is trained for these variants.
pub(super) fn facts(variants: &[&str]) -> Facts {
    let mut stages = vec![
        stage("users", "crawl_users", &[], Some("lastfm")),
        stage("tags", "crawl_top_tags", &[0], Some("lastfm")),
        stage("summaries", "summarize", &[1], Some("groq")),
        stage("split", "split_leave_last_out", &[0], None),
    ];
    for variant in variants {
        stages.push(stage(&format!("train@{variant}"), "train_two_tower", &[2, 3], None));
    }
    for (at, variant) in variants.iter().enumerate() {
        stages.push(stage(&format!("evaluate@{variant}"), "evaluate", &[3, 4 + at], None));
    }
    let lastfm = LimiterSettings { per_second: Some(5.0), ..LimiterSettings::default() };
    let groq = LimiterSettings {
        per_minute: Some(30.0),
        tokens_per_minute: Some(6000.0),
        per_day: Some(14_400.0),
        ..LimiterSettings::default()
    };
    Facts {
        pipeline: "music".to_owned(),
        stages,
        limits: BTreeMap::from([("lastfm".to_owned(), lastfm), ("groq".to_owned(), groq)]),
        budgets: BTreeMap::from([("groq".to_owned(), BudgetSettings { usd: Some(2.0), ..BudgetSettings::default() })]),
    }
}

pub(super) fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn started(stage: &str, why: &str) -> Event {
    Event::StageStarted { stage: stage.into(), kind: "k".into(), reasons: vec![why.into()] }
}

pub(super) fn finished(stage: &str, outcome: Outcome, spent: Spent) -> Event {
    Event::StageFinished {
        stage: stage.into(),
        outcome,
        rows: 1200,
        seconds: 3.2,
        spent,
        statuses: BTreeMap::new(),
        synthetic: false,
        key: ContentHash::of(b""),
        blessed: None,
    }
}

pub(super) fn requests(requests: u64, tokens: u64, usd: f64) -> Spent {
    Spent { requests, prompt_tokens: tokens, completion_tokens: 0, usd }
}

/// A run in its middle: one stage cached, one done, two at work, one failed.
pub(super) fn busy(variants: &[&str]) -> Dashboard {
    let mut dashboard = Dashboard::new(facts(variants));
    let start = Event::RunStarted {
        run: "r".into(),
        pipeline: "music".into(),
        stages: 4 + 2 * variants.len(),
        fresh: 1,
        sandbox: None,
        at_millis: 0,
    };
    let gauge = Gauge {
        rows: 420,
        total: Some(1000),
        statuses: BTreeMap::from([("ok".to_owned(), 408), ("failed: HTTP 503".to_owned(), 12)]),
        spent: requests(25, 5800, 0.19),
        per_second: Some(4.9),
        seconds_left: Some(118.0),
        waiting: Some(Waiting { seconds: 41.0, why: "its 6,000 tokens a minute are used up".into() }),
    };
    let events = [
        (0, start),
        (1, finished("users", Outcome::Cached, Spent::default())),
        (1, started("tags", "setting max_tags: 4 -> 5")),
        (1, started("split", "it never ran")),
        (5, finished("tags", Outcome::Ran, requests(34, 0, 0.0))),
        (6, started("summaries", "it never ran")),
        (50, Event::StageWarning { stage: "summaries".into(), text: "a short answer".into(), remembered: false }),
        (58, Event::StageNote { stage: "split".into(), text: "sorting".into() }),
        (60, Event::StageProgress { stage: "summaries".into(), gauge }),
        (
            61,
            Event::StageFailed {
                stage: "split".into(),
                error: "could not split".into(),
                causes: vec!["no user has three rows".into()],
                hint: Some("lower `min_per_user`".into()),
                seconds: 2.0,
                spent: Spent::default(),
                statuses: BTreeMap::new(),
            },
        ),
    ];
    for (second, event) in events {
        dashboard.event(&event, at(second));
    }
    for variant in variants {
        let because = "`split` failed".to_owned();
        dashboard.event(&Event::StageSkipped { stage: format!("train@{variant}"), because }, at(61));
    }
    dashboard
}
