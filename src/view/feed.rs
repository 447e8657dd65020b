//! What a live page is sent: the parts of it that are other than before, each
//! as it is to stand there. It follows the run's log, whoever writes it; it
//! waits for a run where none is at work, and goes on to the next one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use maud::{Markup, html};
use serde_json::{Map, Value, json};

use super::project::{Project, View};
use super::run;
use super::story::{StageStory, Story, Told};
use super::{query, words};
use crate::engine::{Gauge, Outcome, RunState, Tail, newest_at_work, run_record, runs};
use crate::ground::{age, count, duration, rate, thousands, time_about};
use crate::pipeline::{Detail, Graph};
use crate::stage::failure;

/// One live page.
pub(super) struct Feed {
    view: Arc<View>,
    /// The run that is asked for; none for whichever is at work.
    wanted: Option<String>,
    tail: Option<Tail>,
    /// Runs that are not the next one.
    others: BTreeSet<String>,
    story: Story,
    /// What the page was sent last.
    sent: BTreeMap<&'static str, Value>,
}

impl Feed {
    pub(super) fn new(view: Arc<View>, wanted: Option<String>) -> Self {
        Self { view, wanted, tail: None, others: BTreeSet::new(), story: Story::default(), sent: BTreeMap::new() }
    }

    /// A JSON object of the parts that changed since the last call; none if
    /// nothing did. Reads files.
    pub(super) fn next_message(&mut self) -> Option<String> {
        let parts = match self.view.project() {
            Ok(project) => self.parts(&project),
            Err(_) => BTreeMap::from([("head", told(&broken())), ("title", json!("mistakes"))]),
        };
        let mut changed = Map::new();
        for (name, value) in parts {
            if self.sent.get(name) != Some(&value) {
                changed.insert(name.to_owned(), value.clone());
                self.sent.insert(name, value);
            }
        }
        (!changed.is_empty()).then(|| Value::Object(changed).to_string())
    }

    fn parts(&mut self, project: &Project) -> BTreeMap<&'static str, Value> {
        self.choose(project);
        let Some(tail) = &mut self.tail else { return waiting(project, self.wanted.as_deref()) };
        // Asked before the log is read: a run that ends meanwhile has told all.
        let is_at_work = tail.is_at_work();
        tail.next_events().into_iter().for_each(|event| self.story.apply(event));
        let state = match (self.story.seconds, is_at_work) {
            (None, true) => RunState::Running,
            (None, false) => RunState::Crashed,
            (Some(_), _) => match self.story.ended() {
                (_, 0, 0) => RunState::Complete,
                (_, 0, _) => RunState::Stopped,
                _ => RunState::Failed,
            },
        };
        let run = tail.run().to_owned();
        let (ended, _, _) = self.story.ended();
        let planned = self.story.planned.max(ended);
        BTreeMap::from([
            ("head", told(&head(&run, state, &self.story, project.now))),
            ("running", told(&running(&self.story))),
            ("log", told(&run::log(&self.story))),
            ("nodes", nodes(project, &self.story, state != RunState::Running)),
            ("status", json!(format!("{}: {ended} of {planned} stages", state.word()))),
            ("title", json!(format!("{ended}/{planned} {}", state.word()))),
        ])
    }

    /// Which run is told: the one asked for, else the newest at work. One that
    /// has ended stays until another begins.
    fn choose(&mut self, project: &Project) {
        let is_over = self.story.seconds.is_some() || self.tail.as_ref().is_some_and(|tail| !tail.is_at_work());
        if self.tail.is_some() && (self.wanted.is_some() || !is_over) {
            return;
        }
        let found = match &self.wanted {
            Some(run) => run_record(&project.store, run).map(|record| record.run),
            None => newest_at_work(&project.store, &project.pipeline.name, &mut self.others).ok().flatten(),
        };
        let current = self.tail.as_ref().map(Tail::run);
        if let Some(run) = found.filter(|run| current != Some(run.as_str())) {
            self.tail = Some(Tail::of(&project.store, &run));
            self.story = Story::default();
        }
    }
}

fn told(markup: &Markup) -> Value {
    Value::String(markup.0.clone())
}

fn broken() -> Markup {
    html! {
        h1 { "Live" }
        p.note.bad { "The pipeline's file or the store cannot be read. " a href="/" { "See why" } "; this page goes on when that is mended." }
    }
}

/// No run is at work.
fn waiting(project: &Project, wanted: Option<&str>) -> BTreeMap<&'static str, Value> {
    let last = runs(&project.store, Some(&project.pipeline.name), 1).ok().and_then(|(runs, _)| runs.into_iter().next());
    let head = html! {
        h1 { "Live" }
        @if let Some(run) = wanted {
            p { "There is no run “" (run) "” in this store yet. This page starts by itself when there is one." }
        } @else {
            p { "No run is at work. This page starts by itself when one begins: " code { "refrain run " (project.pipeline.file.display()) } }
        }
        @if let Some(run) = &last {
            p.dim { "The last one, " a.mono href=(query::run(&run.run)) { (run.run) } ", began " (age(run.at_millis, project.now)) " ago and is " (run.state.word()) "." }
        }
    };
    let none = Value::String(String::new());
    let nodes = nodes(project, &Story::default(), false);
    BTreeMap::from([
        ("head", told(&head)),
        ("running", none.clone()),
        ("log", none.clone()),
        ("nodes", nodes),
        ("status", json!("no run is at work")),
        ("title", json!("waiting")),
    ])
}

fn head(run: &str, state: RunState, story: &Story, now: u64) -> Markup {
    let (ended, failed, skipped) = story.ended();
    let planned = story.planned.max(ended);
    let seconds = story.seconds.unwrap_or_else(|| (now.saturating_sub(story.at_millis) / 1000) as f64);
    let took = if story.seconds.is_some() { duration(seconds) } else { time_about(seconds) };
    let spending = words::spending(&story.spent());
    html! {
        div.title {
            h1 { "Run " a.mono href=(query::run(run)) { (run) } }
            (words::of_run(state))
            @if story.sandbox.is_some() { (words::synthetic_mark()) }
        }
        div.gauges {
            div { span.dim { "stages" } b { (ended) span.dim { " of " (planned) } } }
            div { span.dim { @if story.seconds.is_some() { "took" } @else { "running for" } } b { (took) } }
            @if failed > 0 { div { span.dim { "failed" } b.bad { (failed) } } }
            @if skipped > 0 { div { span.dim { "skipped" } b { (skipped) } } }
            @for amount in &spending {
                @let (number, word) = amount.split_once(' ').unwrap_or((amount.as_str(), "cost"));
                div { span.dim { (word) } b { (number) } }
            }
        }
        (bar(ended as f64 / planned.max(1) as f64))
        @if story.seconds.is_some() || state == RunState::Crashed {
            p.dim { "This run is over. " a href=(query::run(run)) { "Its page" } " stays; here the next one will be shown." }
        }
    }
}

/// A bar that is full at 1. SVG, since a style in a page is not allowed.
fn bar(share: f64) -> Markup {
    let width = (share.clamp(0.0, 1.0) * 1000.0).round() as u64;
    html! {
        svg.bar viewBox="0 0 1000 6" preserveAspectRatio="none" aria-hidden="true" {
            rect.bar-back width="1000" height="6" {}
            rect.bar-done width=(width) height="6" {}
        }
    }
}

/// The stages that run, with their gauges.
fn running(story: &Story) -> Markup {
    let stages: Vec<&StageStory> = story.stages.iter().filter(|stage| stage.state == Told::Running).collect();
    html! {
        @if !stages.is_empty() && story.seconds.is_none() {
            div.scroll tabindex="0" role="region" aria-label="Running stages" {
                table.running {
                    thead {
                        tr {
                            th scope="col" { "running" }
                            th.grow scope="col" { }
                            th.num scope="col" { "rows" }
                            th.num scope="col" { "rate" }
                            th.num scope="col" { "time left" }
                            th.num scope="col" { "requests" }
                            th scope="col" { }
                        }
                    }
                    tbody { @for stage in stages { (gauge_row(stage)) } }
                }
            }
        }
    }
}

fn gauge_row(stage: &StageStory) -> Markup {
    let none = Gauge::default();
    let gauge = stage.gauge.as_ref().unwrap_or(&none);
    let rows = match (gauge.total, stage.gauge.is_some()) {
        (Some(total), _) => format!("{} of {}", thousands(gauge.rows), thousands(total)),
        (None, true) => thousands(gauge.rows),
        (None, false) => String::new(),
    };
    let left = gauge.seconds_left.filter(|seconds| *seconds >= 0.5).map(time_about).unwrap_or_default();
    let failed: u64 =
        gauge.statuses.iter().filter(|(status, _)| failure(status).is_some()).map(|(_, number)| number).sum();
    html! {
        tr {
            td { a href=(query::stage(&stage.name)) { (stage.name) } }
            td.grow { @if let Some(share) = share(gauge) { (bar(share)) } @else { span.dim { (stage.reasons.first().map_or("", String::as_str)) } } }
            td.num { (rows) }
            td.num { (gauge.per_second.and_then(rate).unwrap_or_default()) }
            td.num { (left) }
            td.num { (words::some(gauge.spent.requests)) }
            td {
                @if failed > 0 { span.bad { (count(failed, "row")) " failed " } }
                @if let Some(waiting) = &gauge.waiting { span.warn-text { "waiting " (time_about(waiting.seconds)) ": " (waiting.why) } }
            }
        }
    }
}

/// How much of a stage's rows is done.
fn share(gauge: &Gauge) -> Option<f64> {
    gauge.total.filter(|total| *total > 0).map(|total| gauge.rows.min(total) as f64 / total as f64)
}

/// How each node of the DAG looks: class, second line, and how far it is.
fn nodes(project: &Project, story: &Story, is_over: bool) -> Value {
    let by_name: BTreeMap<&str, &StageStory> = story.stages.iter().map(|stage| (stage.name.as_str(), stage)).collect();
    let look = |index: &usize| by_name.get(project.pipeline.instances[*index].id.to_string().as_str()).copied();
    let drawn = Graph::of(&project.pipeline, Detail::Stages).nodes.into_iter().map(|node| {
        let told: Vec<&StageStory> = node.instances.iter().filter_map(look).collect();
        let (class, sub, part) = node_of(&told, node.instances.len(), node.kind, is_over);
        (node.name, json!({"class": class, "sub": sub, "part": part}))
    });
    Value::Object(drawn.collect())
}

/// The look of a node that stands for so many instances, some of which have
/// been told of, in a run that may be over.
fn node_of(told: &[&StageStory], all: usize, kind: &str, is_over: bool) -> (&'static str, String, Option<f64>) {
    let of = |class: &str| told.iter().filter(|stage| stage.state.class() == class).count();
    let done = of("done");
    let class = if of("failed") > 0 {
        "failed"
    } else if !is_over && (of("running") > 0 || (done > 0 && done < all)) {
        "running"
    } else if done == all || (is_over && done > 0 && done == told.len()) {
        "done"
    } else if of("skipped") + of("running") > 0 {
        "skipped"
    } else {
        "waiting"
    };
    let share_of = |stage: &&StageStory| match stage.state {
        Told::Done(_) => 1.0,
        Told::Running => stage.gauge.as_ref().and_then(share).unwrap_or(0.0),
        _ => 0.0,
    };
    let part = (class == "running").then(|| told.iter().map(share_of).sum::<f64>() / all.max(1) as f64);
    let part = part.map(|part| (part * 1000.0).round() / 1000.0);
    if all > 1 {
        let sub = if told.is_empty() { kind.to_owned() } else { format!("{done} of {all}") };
        return (class, sub, part);
    }
    let sub = match told.first() {
        None => kind.to_owned(),
        Some(stage) => match (&stage.state, &stage.gauge) {
            (Told::Running, Some(gauge)) => match gauge.total {
                Some(total) => format!("{} of {}", thousands(gauge.rows), thousands(total)),
                None => count(gauge.rows, "row"),
            },
            (Told::Done(Outcome::Ran | Outcome::Unchanged), _) => {
                format!("{}, {}", count(stage.rows.unwrap_or(0), "row"), duration(stage.seconds.unwrap_or(0.0)))
            }
            (Told::Done(_), _) => "cached".to_owned(),
            (state, _) => state.word().to_owned(),
        },
    };
    (class, sub, part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(state: Told, gauge: Option<Gauge>) -> StageStory {
        StageStory { state, gauge, rows: Some(1200), seconds: Some(2.0), ..StageStory::default() }
    }

    #[test]
    fn a_node_shows_what_its_instances_do() {
        let half = stage(Told::Running, Some(Gauge { rows: 5, total: Some(10), ..Gauge::default() }));
        let ran = stage(Told::Done(Outcome::Ran), None);
        let cached = stage(Told::Done(Outcome::Cached), None);
        let skipped = stage(Told::Skipped("no".into()), None);
        assert_eq!(node_of(&[], 1, "embed", false), ("waiting", "embed".into(), None));
        assert_eq!(node_of(&[&half], 1, "embed", false), ("running", "5 of 10".into(), Some(0.5)));
        assert_eq!(node_of(&[&ran], 1, "embed", false), ("done", "1,200 rows, 2.0 s".into(), None));
        assert_eq!(node_of(&[&cached], 1, "embed", false), ("done", "cached".into(), None));
        assert_eq!(node_of(&[&ran, &half], 4, "embed", false), ("running", "1 of 4".into(), Some(0.375)));
        assert_eq!(node_of(&[&ran], 4, "embed", false), ("running", "1 of 4".into(), Some(0.25)), "the others wait");
        assert_eq!(node_of(&[&ran, &cached], 2, "embed", false), ("done", "2 of 2".into(), None));
        assert_eq!(node_of(&[&skipped], 1, "embed", false), ("skipped", "skipped".into(), None));
        assert_eq!(node_of(&[&ran], 4, "embed", true), ("done", "1 of 4".into(), None), "no more was wanted");
        assert_eq!(node_of(&[&half], 1, "embed", true).0, "skipped", "its process is gone");
    }
}
