//! The live page: the DAG of the run at work, how far its stages are, and its
//! log. What is on it comes by [`super::feed`]; the script only puts it there.

use maud::html;

use super::answer::Answer;
use super::frame::{Frame, Tab};
use super::project::Project;
use super::query::{self, Query};
use crate::drawing::{Node, folded};
use crate::engine::EngineError;

/// The page; of the run that is named, else of the one at work or the next one.
///
/// # Errors
/// None.
#[expect(clippy::unnecessary_wraps, reason = "as all pages")]
pub(super) fn page(project: &Project, query: &Query) -> Result<Answer, EngineError> {
    let feed = match query.value("run") {
        Some(run) => format!("/live/events?run={}", query::path([run]).trim_start_matches('/')),
        None => "/live/events".to_owned(),
    };
    let dress = |node: &mut Node, _: &[usize]| {
        node.href = Some(query::stage(&node.id));
        "waiting".clone_into(&mut node.class);
    };
    let content = html! {
        div #live data-feed=(feed) {
            div #live-head { h1 { "Live" } p.dim { "Asking what is at work …" } }
            noscript { p.note.warn { "This page is kept up to date by a script, and scripts are off. " a href="/runs" { "Runs" } " shows the same when it is loaded again." } }
            p #live-lost .note.warn hidden { "The view does not answer: it was stopped, or is busy. This page goes on when it is back." }
            p #live-status .hidden role="status" {}
            div #live-running {}
            div.dag-wrap tabindex="0" role="region" aria-label="Stages" { (folded(&project.pipeline, dress).svg()) }
            section { h2 { "Log" } div #live-log {} }
        }
    };
    let pipeline = Some(project.pipeline.name.as_str());
    Ok(Frame { tab: Tab::Live, pipeline, title: "Live", refresh: None }.answer(&content))
}
