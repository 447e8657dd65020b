//! Every stage as a panel: what it is, what it read, what it made, and how to
//! look further.

use maud::{Markup, html};
use serde_json::Value;

use super::super::{OutputFacts, StageFacts};
use super::page::{Page, stage_anchor};
use super::words::{bytes, count, duration, moment, shell};
use crate::ground::{dollars, thousands};

/// A value with more characters is broken into lines.
const LONG: usize = 40;

/// All panels, in the order of the pipeline.
pub(super) fn section(page: &Page<'_>) -> Option<Markup> {
    let stages = &page.report.stages;
    (!stages.is_empty()).then(|| {
        html! {
            p.note {
                (count(stages.len() as u64, "stage instance")) " in the order of the pipeline, each after all that it reads."
                (page.mark())
            }
            div.tools {}
            @for (at, stage) in stages.iter().enumerate() { (panel(page, at, stage)) }
        }
    })
}

fn panel(page: &Page<'_>, at: usize, stage: &StageFacts) -> Markup {
    let took = stage.seconds.map_or_else(String::new, duration);
    html! {
        details.stage {
            summary {
                span.id { (stage.id) }
                span.kind { (stage.kind) }
                span.rows { @if stage.key.is_some() { (count(stage.rows, "row")) } }
                span.took { (took) }
                span.state.{ "is-" (stage.state) } { (state(stage)) @if !stage.warnings.is_empty() { " ⚠" } }
            }
            div.panel id=(stage_anchor(at)) {
                p { (stage.kind_summary) "." @if stage.synthetic { " " span.synthetic { "synthetic" } } }
                @for reason in &stage.reasons { p.gap { (reason) } }
                @for warning in &stage.warnings { p.warning { "⚠ " (warning) } }
                div.two {
                    dl { (facts(page, at, stage)) }
                    (settings(&stage.settings))
                }
                @for (number, output) in stage.outputs.iter().enumerate() { (artifact(page, stage, number, output)) }
                (commands(page, stage))
            }
        }
    }
}

fn state(stage: &StageFacts) -> &'static str {
    match (stage.key, stage.state) {
        (None, _) => "not made",
        (_, "fresh") => "up to date",
        (_, state) => state,
    }
}

fn facts(page: &Page<'_>, at: usize, stage: &StageFacts) -> Markup {
    let report = page.report;
    let readers: Vec<&str> = page.readers(at).map(|stage| stage.id.as_str()).collect();
    html! {
        dt { "reads" }
        dd {
            @if stage.inputs.is_empty() { "nothing of this pipeline" }
            @for (at, input) in stage.inputs.iter().enumerate() {
                @if at > 0 { br; }
                @if let Some(from) = report.stages.get(input.from) {
                    span.port { (input.port) } " from " (page.stage_link(&from.id)) @if is_other(from, &input.output) { "." (input.output) }
                }
            }
        }
        @if !readers.is_empty() { dt { "is read by" } dd { (page.stage_links(readers)) } }
        @if let Some(line) = stage.line { dt { "stands at" } dd { "line " (line) " of " code { (report.file) } } }
        @if let Some(key) = &stage.key { dt { "key" } dd { code title=(key) { (key.short()) } } }
        @if let Some(millis) = stage.made_at_millis { dt { "made" } dd { (moment(millis)) } }
        @if let Some(seconds) = stage.seconds {
            dt { "took" }
            dd { (duration(seconds)) @if stage.requests > 0 { ", " (count(stage.requests, "request")) } }
        }
        @if stage.tokens > 0 || stage.usd.is_some() {
            dt { "spent" }
            dd { (count(stage.tokens, "token")) @if let Some(usd) = stage.usd { ", " (dollars(usd)) } " over all runs" }
        }
        @if let Some(outcome) = stage.outcome { dt { "last run" } dd { (outcome) } }
    }
}

/// Whether an output is not the stage's main one.
fn is_other(stage: &StageFacts, output: &str) -> bool {
    stage.outputs.first().is_some_and(|first| first.name != output)
}

fn settings(settings: &Value) -> Markup {
    let is_empty = settings.is_null() || settings.as_object().is_some_and(serde_json::Map::is_empty);
    let lines = if is_empty { None } else { serde_yaml::to_string(settings).ok() };
    html! { @if let Some(lines) = lines { pre.settings { (lines.trim_end()) } } }
}

fn artifact(page: &Page<'_>, stage: &StageFacts, number: usize, output: &OutputFacts) -> Markup {
    let is_number = |at: usize| output.columns.get(at).is_some_and(|(_, kind)| kind.starts_with(['i', 'u', 'f']));
    let caption = html! {
        b { (output.name) } " of " (stage.id) ": " (count(output.rows, "row")) ", " (bytes(output.bytes))
        ", artifact " code title=(output.hash) { (output.hash.short()) }
        @if !output.first_rows.is_empty() && (output.first_rows.len() as u64) < output.rows {
            "; the first " (thousands(output.first_rows.len() as u64)) " are shown"
        }
    };
    let table = html! {
        table.rows {
            thead {
                tr {
                    @for (at, (name, kind)) in output.columns.iter().enumerate() {
                        th class=[look(is_number(at), "")] { (name) br; span.type { (kind) } }
                    }
                }
            }
            tbody {
                @for row in &output.first_rows {
                    tr {
                        @for (at, cell) in row.iter().enumerate() {
                            td class=[look(is_number(at), cell)] { (cell) }
                        }
                    }
                }
            }
        }
    };
    html! {
        (page.table(&caption, &table))
        @if number > 0 { p.further { code { (command(page, "show", &reference(stage, &output.name))) } } }
    }
}

/// The class of a cell.
fn look(is_number: bool, cell: &str) -> Option<&'static str> {
    let is_long = cell.chars().nth(LONG).is_some();
    if is_number { Some("right") } else { is_long.then_some("long") }
}

/// How an output that is not the main one is named: `evaluate.ranks@V1`.
fn reference(stage: &StageFacts, output: &str) -> String {
    let rest = stage.id.strip_prefix(stage.stage.as_str()).unwrap_or_default();
    format!("{}.{output}{rest}", stage.stage)
}

fn command(page: &Page<'_>, verb: &str, of: &str) -> String {
    format!("refrain {verb} {} {}", shell(&page.report.file), shell(of))
}

fn commands(page: &Page<'_>, stage: &StageFacts) -> Markup {
    let line = |verb: &str, what: &str| {
        html! { li { code { (command(page, verb, &stage.id)) } " " span.note { (what) } } }
    };
    html! {
        ul.further {
            (line("show", "its columns and first rows"))
            (line("why", "what it was made from, and what has changed since"))
            (line("path", "the Parquet file, for other programs"))
            li { code { "refrain kinds " (stage.kind) } " " span.note { "what this kind can do" } }
        }
    }
}
