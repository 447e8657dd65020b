//! The runs of the store, newest first; two of them can be chosen to compare.

use maud::{Markup, html};

use super::answer::Answer;
use super::frame::{Frame, Tab};
use super::project::Project;
use super::query::{self, Query};
use super::words;
use crate::engine::{self, EngineError, RunRecord};
use crate::ground::{age, count, duration};

/// So many are listed at once, and at most.
const LISTED: usize = 50;
const MOST: usize = 2_000;

/// The page.
///
/// # Errors
/// If the runs cannot be listed.
pub(super) fn page(project: &Project, query: &Query) -> Result<Answer, EngineError> {
    let limit = query.value("limit").and_then(|text| text.parse().ok()).unwrap_or(LISTED).clamp(1, MOST);
    let (runs, more) = engine::runs(&project.store, None, limit)?;
    let content = html! {
        h1 { "Runs" }
        form action="/diff" method="get" {
            (table(&runs, project.now, true))
            @if runs.len() > 1 { p { button type="submit" { "Compare the two chosen" } } }
        }
        @if more > 0 {
            p { (count(more as u64, "older run")) ". " a href=(format!("/runs?limit={}", (limit * 4).min(MOST))) { "Show more" } }
        }
    };
    let pipeline = Some(project.pipeline.name.as_str());
    Ok(Frame { tab: Tab::Runs, pipeline, title: "Runs", refresh: None }.answer(&content))
}

/// Runs as a table; with `choice` two of them can be chosen.
pub(super) fn table(runs: &[RunRecord], now: u64, choice: bool) -> Markup {
    if runs.is_empty() {
        return html! { p.dim { "Nothing has run in this store yet." } };
    }
    let is_paid = runs.iter().any(|run| run.spent.usd > 0.0);
    let choice = choice && runs.len() > 1;
    html! {
        div.scroll tabindex="0" role="region" aria-label="Runs" {
            table {
                thead {
                    tr {
                        @if choice { th scope="col" { "first" } th scope="col" { "second" } }
                        th scope="col" { "run" }
                        th scope="col" { "state" }
                        th scope="col" { "pipeline" }
                        th.num scope="col" { "when" }
                        th.num scope="col" { "took" }
                        th.num scope="col" { "ran" }
                        th.num scope="col" { "cached" }
                        th.num scope="col" { "failed" }
                        th.num scope="col" { "requests" }
                        th.num scope="col" { "tokens" }
                        @if is_paid { th.num scope="col" { "cost" } }
                    }
                }
                tbody {
                    @for (place, run) in runs.iter().enumerate() {
                        tr {
                            @if choice { (choose("a", run, place == 1)) (choose("b", run, place == 0)) }
                            td { a.mono href=(query::run(&run.run)) { (run.run) } }
                            td { (words::of_run(run.state)) }
                            td { (run.pipeline.as_deref().unwrap_or("?")) }
                            td.num { (age(run.at_millis, now)) " ago" }
                            td.num { (run.seconds.map_or_else(String::new, duration)) }
                            td.num { (run.ran) }
                            td.num { (run.cached) }
                            td.num { (words::some(run.failed as u64)) }
                            td.num { (words::some(run.spent.requests)) }
                            td.num { (words::some(run.spent.tokens())) }
                            @if is_paid { td.num { (words::some_money(run.spent.usd)) } }
                        }
                    }
                }
            }
        }
    }
}

fn choose(name: &str, run: &RunRecord, checked: bool) -> Markup {
    let which = if name == "a" { "first" } else { "second" };
    html! {
        td { input type="radio" name=(name) value=(run.run) checked[checked] aria-label=(format!("{which}: {}", run.run)); }
    }
}
