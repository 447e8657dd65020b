//! Two runs side by side, as `refrain diff` compares them.

use maud::{Markup, html};
use serde_json::Value;

use super::answer::Answer;
use super::frame::{Frame, Tab};
use super::project::{Project, View};
use super::query::{self, Query};
use super::words;
use crate::engine::{
    self, Compared, DiffOptions, End, EngineError, Field, OutputDiff, Part, RunDiff, StageDiff, Summary,
};
use crate::ground::{count, thousands};
use crate::table::{Table, TableError, decimal, rows_as_json, value_text};

/// So many runs are offered.
const OFFERED: usize = 100;

/// The page: `a` and `b` name the runs, `last~1` and `last` without them.
///
/// # Errors
/// If a run is not there or a table cannot be read.
pub(super) fn page(view: &View, project: &Project, query: &Query) -> Result<Answer, EngineError> {
    let names = engine::run_names(&project.store)?;
    let chosen = [query.value("a"), query.value("b")];
    let content = if names.len() < 2 && chosen == [None, None] {
        html! { h1 { "Diff" } p.dim { "There are not yet two runs to compare." } }
    } else {
        let before = engine::find_run(&project.store, chosen[0].unwrap_or("last~1"))?;
        let now = engine::find_run(&project.store, chosen[1].unwrap_or("last"))?;
        let keys = view.settings.keys;
        let options = DiffOptions { stage: None, by: Vec::new(), keys: &keys };
        let compared = engine::diff(&project.store, &before, &now, &options);
        html! {
            h1 { "Diff" }
            (choice(&names, &before, &now))
            @match compared { Ok(diff) => (described(&diff)), Err(error) => (not_compared(&error)) }
        }
    };
    let pipeline = Some(project.pipeline.name.as_str());
    Ok(Frame { tab: Tab::Diff, pipeline, title: "Diff", refresh: None }.answer(&content))
}

fn not_compared(error: &EngineError) -> Markup {
    html! { p.note.bad { (error) @if let Some(hint) = error.hint() { ": " (hint) } } }
}

fn choice(names: &[String], before: &str, now: &str) -> Markup {
    let select = |name: &str, label: &str, chosen: &str| {
        html! {
            label {
                (label) " "
                select name=(name) {
                    @for run in names.iter().take(OFFERED) { option value=(run) selected[run == chosen] { (run) } }
                    @if !names.iter().take(OFFERED).any(|run| run == chosen) { option value=(chosen) selected { (chosen) } }
                }
            }
        }
    };
    html! {
        form.choice action="/diff" method="get" {
            (select("a", "first", before)) (select("b", "second", now)) button type="submit" { "Compare" }
        }
    }
}

fn described(diff: &RunDiff) -> Markup {
    let run = |summary: &Summary| html! { a.mono href=(query::run(&summary.run)) { (summary.run) } span.dim { " (" (summary.pipeline) ")" } };
    let is_synthetic = diff.before.sandbox.is_some() || diff.now.sandbox.is_some();
    html! {
        p { (run(&diff.before)) " → " (run(&diff.now)) @if is_synthetic { " " (words::synthetic_mark()) } }
        @for stage in &diff.stages { (stage_diff(stage)) }
        p.dim { "The same in both: " (count(diff.same as u64, if diff.stages.is_empty() { "stage" } else { "other stage" })) }
    }
}

fn stage_diff(stage: &StageDiff) -> Markup {
    let changed: Vec<&Field> =
        stage.fields.iter().filter(|field| field.is_changed() && field.part != Part::Input).collect();
    let both_done = matches!((&stage.before, &stage.now), (Some(End::Done(_)), Some(End::Done(_))));
    html! {
        section.diff {
            h2 { (stage.stage) " " span.dim { (ends(stage)) } }
            @if !changed.is_empty() {
                table.settings {
                    thead { tr { th scope="col" { "made from" } th scope="col" { "first" } th scope="col" { "second" } } }
                    tbody {
                        @for field in changed {
                            tr { th scope="row" { (field.name) } td { (side(field.before.as_ref())) } td { (side(field.now.as_ref())) } }
                        }
                    }
                }
            }
            @for (name, output) in &stage.outputs {
                @match output {
                    OutputDiff::Gone(why) => p { code { (name) } ": " (why) },
                    OutputDiff::Compared(compared) => (output_diff(name, compared)),
                }
            }
            @if both_done && stage.outputs.is_empty() { p.dim { "the same rows" } }
        }
    }
}

/// A value of a field; several lines as they are.
fn side(value: Option<&Value>) -> Markup {
    let text = match value {
        None => "–".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    html! { @if text.trim_end().contains('\n') { pre tabindex="0" { (text) } } @else { (text) } }
}

/// What is to be said of how it ended, if that is not "well" in both.
fn ends(stage: &StageDiff) -> String {
    match (&stage.before, &stage.now) {
        (Some(End::Done(_)), Some(End::Done(_))) | (None, None) => String::new(),
        (Some(_), None) => "only in the first run".to_owned(),
        (None, Some(_)) => "only in the second run".to_owned(),
        (Some(one), Some(other)) => {
            format!("{} in the first run, {} in the second", words::of_end(one), words::of_end(other))
        }
    }
}

fn output_diff(name: &str, compared: &Compared) -> Markup {
    let found = &compared.difference;
    let (before, now) = compared.rows;
    let rows =
        if before == now { count(now, "row") } else { format!("{} → {}", thousands(before), count(now, "row")) };
    let by = if compared.keyed { format!("by {}", found.keys.join(", ")) } else { "compared whole".to_owned() };
    let counts = [
        ("good", found.added.len(), "added"),
        ("bad", found.removed.len(), "removed"),
        ("warn-text", found.changed.len(), "changed"),
    ];
    let is_same = counts.iter().all(|(_, number, _)| *number == 0);
    let columns: Vec<String> =
        found.columns.iter().map(|(column, rows)| format!("{column} in {}", count(*rows, "row"))).collect();
    html! {
        p {
            code { (name) } ": " (rows) " " span.dim { (by) } " "
            @for (class, number, word) in counts.into_iter().filter(|(_, number, _)| *number > 0) {
                span class=(class) { (thousands(number as u64)) " " (word) } " "
            }
            @if is_same { @if found.reordered { "the same rows in another order" } @else { "the same rows" } }
        }
        @if !found.new_columns.is_empty() { p.dim { "new columns: " (found.new_columns.join(", ")) } }
        @if !found.gone_columns.is_empty() { p.dim { "columns gone: " (found.gone_columns.join(", ")) } }
        @if !columns.is_empty() { p.dim { "changed: " (columns.join(", ")) } }
        @match details(compared) { Ok(details) => (details), Err(error) => p.note.bad { (error) } }
    }
}

/// Some keys, and of small tables with numbers the changed cells.
fn details(compared: &Compared) -> Result<Markup, TableError> {
    let found = &compared.difference;
    let mut sets =
        vec![("added", &compared.added, found.added.len()), ("removed", &compared.removed, found.removed.len())];
    if compared.metrics.is_none() {
        sets.push(("changed", &compared.changed, found.changed.len()));
    }
    sets.retain(|(_, _, all)| *all > 0);
    let keys = sets.iter().map(|(_, table, _)| key_words(table, &found.keys)).collect::<Result<Vec<_>, _>>()?;
    let metrics = metrics(compared)?;
    Ok(html! {
        @if keys.iter().any(|keys| !keys.is_empty()) {
            ul.samples {
                @for ((word, _, all), keys) in sets.iter().zip(&keys) {
                    li { span.dim { (word) " " } (keys.join("; ")) @if *all > keys.len() { "; …" } }
                }
            }
        }
        (metrics)
    })
}

fn key_words(table: &Table, keys: &[String]) -> Result<Vec<String>, TableError> {
    let words = |row: &Value| keys.iter().map(|key| value_text(&row[key.as_str()])).collect::<Vec<_>>().join(" ");
    Ok(rows_as_json(table)?.iter().map(words).collect())
}

/// The changed cells of a small table with numbers.
fn metrics(compared: &Compared) -> Result<Markup, TableError> {
    let Some((before, now)) = &compared.metrics else { return Ok(super::frame::nothing()) };
    let found = &compared.difference;
    let (old, new) = (rows_as_json(before)?, rows_as_json(now)?);
    let mut lines = Vec::new();
    for (one, other) in old.iter().zip(&new) {
        for column in found.columns.keys().map(String::as_str).filter(|column| one[*column] != other[*column]) {
            let key = found.keys.iter().map(|key| value_text(&other[key.as_str()])).collect::<Vec<_>>().join(" ");
            lines.push((key, column, &one[column], &other[column]));
        }
    }
    Ok(html! {
        @if !lines.is_empty() {
            div.scroll tabindex="0" role="region" aria-label="Changed numbers" {
                table {
                    thead {
                        tr {
                            th scope="col" { (found.keys.join(" ")) }
                            th scope="col" { "column" }
                            th.num scope="col" { "first" }
                            th.num scope="col" { "second" }
                            th.num scope="col" { "difference" }
                        }
                    }
                    tbody {
                        @for (key, column, was, is) in &lines {
                            tr { td { (key) } td { (column) } td.num { (value_text(was)) } td.num { (value_text(is)) } td.num { (change(was, is)) } }
                        }
                    }
                }
            }
        }
    })
}

/// By how much a number is another; nothing for what is none.
fn change(before: &Value, now: &Value) -> String {
    let sign = |is_more: bool| if is_more { "+" } else { "" };
    match (before.as_i64(), now.as_i64(), before.as_f64(), now.as_f64()) {
        (Some(was), Some(is), _, _) => {
            let change = i128::from(is) - i128::from(was);
            format!("{}{change}", sign(change > 0))
        }
        (_, _, Some(was), Some(is)) => format!("{}{}", sign(is > was), decimal(is - was)),
        _ => String::new(),
    }
}
