//! All outputs of the pipeline: rows, size, hash, and when each was made.

use maud::html;

use super::answer::Answer;
use super::frame::{Frame, Tab};
use super::project::{Project, View};
use super::{query, words};
use crate::engine::EngineError;
use crate::ground::{age, bytes, count, thousands};

/// The page.
///
/// # Errors
/// None: where no plan can be made, the last results are shown.
#[expect(clippy::unnecessary_wraps, reason = "as all pages")]
pub(super) fn page(view: &View, project: &Project) -> Result<Answer, EngineError> {
    let plan = project.plan(view).ok();
    let all = &project.pipeline.instances;
    let made = (0..all.len()).filter_map(|index| Some((index, project.manifest(plan.as_ref(), index)?)));
    let made: Vec<_> = made.collect();
    let size: u64 =
        made.iter().flat_map(|(_, manifest)| manifest.outputs.values()).map(|artifact| artifact.bytes).sum();
    let number: usize = made.iter().map(|(_, manifest)| manifest.outputs.len()).sum();
    let state = |index: usize| {
        let planned = plan.as_ref()?.stages.iter().find(|planned| planned.index == index)?;
        Some((words::of_state(&planned.state), planned.synthetic))
    };
    let content = html! {
        div.title { h1 { "Artifacts" } span.dim { (count(number as u64, "output")) ", " (bytes(size)) } }
        @if made.is_empty() { p.dim { "Nothing has been made yet." } }
        @else {
            div.scroll tabindex="0" role="region" aria-label="Artifacts" {
                table {
                    thead {
                        tr {
                            th scope="col" { "stage" }
                            th scope="col" { "output" }
                            th scope="col" { "state" }
                            th scope="col" { "kind" }
                            th.num scope="col" { "rows" }
                            th.num scope="col" { "size" }
                            th.num scope="col" { "made" }
                            th scope="col" { "hash" }
                            th scope="col" { }
                        }
                    }
                    tbody {
                        @for (index, manifest) in &made {
                            @let name = all[*index].id.to_string();
                            @for (output, artifact) in &manifest.outputs {
                                tr {
                                    td { a href=(query::stage(&name)) { (name) } }
                                    td { (output) }
                                    td {
                                        @if let Some(((class, word), synthetic)) = state(*index) {
                                            (words::badge(class, word)) @if synthetic { " " (words::synthetic_mark()) }
                                        }
                                    }
                                    td.dim { (manifest.kind) }
                                    td.num { (thousands(artifact.rows)) }
                                    td.num { (bytes(artifact.bytes)) }
                                    td.num { (age(manifest.made_at_millis, project.now)) " ago" }
                                    td.mono title=(artifact.hash) { (artifact.hash.short()) }
                                    td { a href=(format!("/download/{}.parquet", artifact.hash)) { "Parquet" } }
                                }
                            }
                        }
                    }
                }
            }
        }
    };
    let pipeline = Some(project.pipeline.name.as_str());
    Ok(Frame { tab: Tab::Artifacts, pipeline, title: "Artifacts", refresh: None }.answer(&content))
}
