//! The first page: how the pipeline stands, what it came to, its DAG, and its
//! last runs.

use std::collections::BTreeSet;

use maud::{Markup, html};

use super::answer::Answer;
use super::frame::{Frame, Tab, facts, text};
use super::project::{Project, View};
use super::{board, cells, query, runs, words};
use crate::drawing::{Dag, Node, folded};
use crate::engine::{self, EngineError, Plan, RunRecord, State};
use crate::ground::{age, count};

/// So many runs are listed.
const LAST_RUNS: usize = 6;

/// The page.
///
/// # Errors
/// If the runs cannot be listed.
pub(super) fn page(view: &View, project: &Project) -> Result<Answer, EngineError> {
    let name = project.pipeline.name.as_str();
    let plan = project.plan(view);
    let (last, more) = engine::runs(&project.store, Some(name), LAST_RUNS)?;
    let at_work = engine::newest_at_work(&project.store, name, &mut BTreeSet::new())?;
    let known = plan.as_ref().ok();
    let boards = board::boards(project, known);
    let is_synthetic = known.is_some_and(|plan| plan.stages.iter().any(|stage| stage.synthetic));
    let content = html! {
        div.title {
            h1 { (name) }
            @if is_synthetic { (words::synthetic_mark()) }
        }
        @if let Some(run) = &at_work {
            p.banner { (words::badge("running", "running")) " " (run) " is at work. " a href="/live" { "Watch it live" } }
        }
        (summary(project, known, last.first()))
        @if let Err(error) = &plan { p.note.bad { (error) @if let Some(hint) = error.hint() { ": " (hint) } } }
        @if let Ok(plan) = &plan { (cells::warnings(&plan.warnings)) }
        @if boards.is_empty() { (nothing_yet()) }
        @for (place, board) in boards.iter().enumerate() {
            (board)
            @if place == 0 && is_synthetic { (words::synthetic_note()) }
        }
        section {
            h2 { "Stages" }
            (legend())
            div.dag-wrap tabindex="0" role="region" aria-label="Stages" { (dag(project, known).svg()) }
        }
        section {
            h2 { "Last runs" }
            (runs::table(&last, project.now, false))
            @if more > 0 { p { a href="/runs" { "All runs" } } }
        }
    };
    Ok(Frame { tab: Tab::Pipeline, pipeline: Some(name), title: "Pipeline", refresh: None }.answer(&content))
}

fn nothing_yet() -> Markup {
    html! {
        section.board {
            h2 { "Results" }
            p.dim { "No final result is there yet: " code { "refrain run" } " makes it, and " a href="/live" { "Live" } " shows how." }
        }
    }
}

fn summary(project: &Project, plan: Option<&Plan>, last: Option<&RunRecord>) -> Markup {
    let pipeline = &project.pipeline;
    let mut told = Vec::new();
    if let Some(plan) = plan {
        let blocked = plan.stages.len() - plan.fresh() - plan.stale() - plan.undecided();
        let parts = [
            (plan.fresh(), "done", "fresh"),
            (plan.stale(), "stale", "stale"),
            (plan.undecided(), "stale", "undecided"),
            (blocked, "failed", "blocked"),
        ];
        let states = html! {
            @for (number, class, word) in parts.into_iter().filter(|(number, _, _)| *number > 0) {
                (words::badge(class, &format!("{number} {word}"))) " "
            }
        };
        told.push(("stages", states));
    }
    if !pipeline.variants.is_empty() {
        told.push(("variants", text(pipeline.variants.len().to_string())));
    }
    if pipeline.seeds.len() > 1 {
        told.push(("seeds", text(pipeline.seeds.len().to_string())));
    }
    if let Some(run) = last {
        let ago = format!("{} ago", age(run.at_millis, project.now));
        told.push(("last run", html! { a href=(query::run(&run.run)) { (ago) } " " (words::of_run(run.state)) }));
        if run.seconds.is_some() {
            told.push(("it did", text(format!("{} ran, {} cached", run.ran, run.cached))));
        }
    }
    told.push(("file", html! { code { (pipeline.file.display()) } }));
    facts(&told)
}

/// The DAG with the stages' states.
fn dag(project: &Project, plan: Option<&Plan>) -> Dag {
    let dress = |node: &mut Node, instances: &[usize]| {
        node.href = Some(query::stage(&node.id));
        let states: Vec<&State> = plan
            .iter()
            .flat_map(|plan| &plan.stages)
            .filter(|planned| instances.contains(&planned.index))
            .map(|planned| &planned.state)
            .collect();
        let of = |wanted: &str| states.iter().filter(|state| words::of_state(state).0 == wanted).count();
        let class = ["failed", "stale", "done"].into_iter().find(|class| of(class) > 0);
        class.unwrap_or("waiting").clone_into(&mut node.class);
        let missing = states.len() - of("done");
        if node.class != "done" && missing < states.len() {
            node.sub = format!("{missing} of {} to make", states.len());
        }
    };
    folded(&project.pipeline, dress)
}

/// What the colours mean.
fn legend() -> Markup {
    html! {
        p.legend {
            @for (class, word) in [("done", "fresh"), ("stale", "to be made"), ("failed", "cannot run")] {
                span class=(format!("key {class}")) { (word) } " "
            }
        }
    }
}

/// How many of a thing, as a link's words.
pub(super) fn instances(number: usize) -> String {
    count(number as u64, "instance")
}
