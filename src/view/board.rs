//! Results that nothing else reads, where they are small: what a pipeline is
//! for. A number and its interval are one cell, with a mark on a scale that the
//! whole column shares.

use std::collections::{BTreeMap, BTreeSet};

use maud::{Markup, html};
use serde_json::Value;

use super::cells::cell;
use super::project::Project;
use super::{query, words};
use crate::engine::{Plan, State};
use crate::pipeline::Instance;
use crate::store::{Manifest, ObjectState};
use crate::table::{Table, TableError, decimal, read_first_rows, read_parquet, rows_as_json, value_text};

/// A final table has at most so many rows.
const SMALL: u64 = 40;
/// So many are shown.
const MOST: usize = 6;
/// Columns of a table with intervals that are left to its artifact.
const LEFT_OUT: [&str; 3] = ["p", "users", "on_test"];
/// The width of a scale in pixels, and the room at its ends.
const SCALE: f64 = 120.0;
const ROOM: f64 = 5.0;

/// The final results, those with intervals first.
pub(super) fn boards(project: &Project, plan: Option<&Plan>) -> Vec<Markup> {
    let mut boards: Vec<(bool, Markup)> = Vec::new();
    let all = &project.pipeline.instances;
    let sources = all.iter().flat_map(|instance| instance.inputs.values().flatten());
    let read: BTreeSet<usize> = sources.map(|source| source.instance).collect();
    for index in (0..all.len()).filter(|index| !read.contains(index)) {
        let Some(manifest) = project.manifest(plan, index) else { continue };
        // One that cannot be read is told on the stage's own page.
        if let Ok(Some(board)) = board(project, plan, index, &manifest) {
            boards.push(board);
        }
    }
    boards.sort_by_key(|(has_intervals, _)| !has_intervals);
    boards.into_iter().map(|(_, board)| board).take(MOST).collect()
}

/// One result, and whether it has intervals; none if it is large or not there.
fn board(
    project: &Project,
    plan: Option<&Plan>,
    index: usize,
    manifest: &Manifest,
) -> Result<Option<(bool, Markup)>, TableError> {
    let instance = &project.pipeline.instances[index];
    let main = instance.stage.outputs().into_iter().next().map(|port| port.name).unwrap_or_default();
    let Some(artifact) = manifest.outputs.get(&*main).filter(|artifact| artifact.rows <= SMALL) else {
        return Ok(None);
    };
    if project.store.check(artifact) != ObjectState::Good {
        return Ok(None);
    }
    let table = read_first_rows(&project.store.object_path(&artifact.hash), SMALL as usize)?;
    let planned = plan.and_then(|plan| plan.stages.iter().find(|planned| planned.index == index));
    let is_fresh = planned.is_none_or(|planned| matches!(planned.state, State::Fresh { .. }));
    let is_synthetic = planned.is_some_and(|planned| planned.synthetic);
    let name = instance.id.to_string();
    let (has_intervals, rows) = grid(&table, &links(project, instance))?;
    let mut sentences = sentences(project, manifest, &main)?;
    if let (Ok(variants), Ok(verdicts)) = (table.strings("variant"), table.strings("verdict")) {
        let said = variants.iter().flatten().zip(verdicts.iter().map(Option::unwrap_or_default));
        sentences.extend(project.pipeline.one_seed(index, said));
    }
    let content = html! {
        section.board {
            h2 {
                a href=(query::stage(&name)) { (name) }
                @if is_synthetic { " " (words::synthetic_mark()) }
                @if !is_fresh { " " (words::badge("stale", "of before the last change")) }
            }
            (rows)
            @if !sentences.is_empty() { ul.sentences { @for sentence in &sentences { li { (sentence) } } } }
        }
    };
    Ok(Some((has_intervals, content)))
}

/// Where the labels of what an instance reads lead to: `V1` to `evaluate@V1`.
fn links(project: &Project, instance: &Instance) -> BTreeMap<String, String> {
    let sources = instance.inputs.values().flatten();
    let link = |source: &crate::pipeline::Source| {
        let label = source.label.split('#').next().unwrap_or_default().to_owned();
        (label, query::stage(&project.pipeline.instances[source.instance].id.to_string()))
    };
    sources.map(link).collect()
}

/// What the other outputs say in words: their column `words`.
fn sentences(project: &Project, manifest: &Manifest, main: &str) -> Result<Vec<String>, TableError> {
    let mut sentences = Vec::new();
    for (name, artifact) in &manifest.outputs {
        let has_words = artifact.column("words").is_some();
        if name == main || !has_words || project.store.check(artifact) != ObjectState::Good {
            continue;
        }
        let table = read_parquet(&project.store.object_path(&artifact.hash), Some(&["words".to_owned()]))?;
        sentences.extend(table.strings("words")?.iter().flatten().map(str::to_owned));
    }
    Ok(sentences)
}

/// The columns that are shown, and of those with an interval the scale.
struct Columns {
    shown: Vec<String>,
    scales: BTreeMap<String, (f64, f64)>,
}

impl Columns {
    fn of(names: &[String], rows: &[Value]) -> Self {
        let there = |name: &str| names.iter().any(|other| other == name);
        let mut scales = BTreeMap::new();
        for name in names {
            let (low, high) = (format!("{name}_low"), format!("{name}_high"));
            let ends = |row: &Value| Some((row[low.as_str()].as_f64()?, row[high.as_str()].as_f64()?));
            let values = rows.iter().filter_map(|row| row[name.as_str()].as_f64());
            let ends: Vec<(f64, f64)> = rows.iter().filter_map(ends).collect();
            if there(&low) && there(&high) && !ends.is_empty() {
                let least = ends.iter().map(|ends| ends.0).chain(values.clone()).fold(f64::INFINITY, f64::min);
                let most = ends.iter().map(|ends| ends.1).chain(values).fold(f64::NEG_INFINITY, f64::max);
                scales.insert(name.clone(), (least, most));
            }
        }
        let is_aside = |name: &str| {
            ["_low", "_high", "_sd"].iter().any(|end| name.ends_with(end))
                || ["warm_", "cold_"].iter().any(|start| name.starts_with(start))
                || LEFT_OUT.contains(&name)
        };
        let shown = names.iter().filter(|name| scales.is_empty() || !is_aside(name)).cloned().collect();
        Self { shown, scales }
    }
}

/// The table, and whether it has intervals.
fn grid(table: &Table, links: &BTreeMap<String, String>) -> Result<(bool, Markup), TableError> {
    let rows = rows_as_json(table)?;
    let columns = Columns::of(&table.column_names(), &rows);
    let is_number = |name: &str| rows.iter().all(|row| row[name].is_number() || row[name].is_null());
    let numeric = |name: &str| (is_number(name) && !columns.scales.contains_key(name)).then_some("num");
    let markup = html! {
        div.scroll tabindex="0" role="region" aria-label="Result" {
            table {
                thead { tr { @for name in &columns.shown { th scope="col" class=[numeric(name)] { (name) } } } }
                tbody {
                    @for row in &rows {
                        tr class=[row["verdict"].as_str().filter(|verdict| *verdict == "baseline").map(|_| "baseline")] {
                            @for name in &columns.shown {
                                td class=[numeric(name)] { (value(row, name, &columns, links)) }
                            }
                        }
                    }
                }
            }
        }
    };
    Ok((!columns.scales.is_empty(), markup))
}

fn value(row: &Value, name: &str, columns: &Columns, links: &BTreeMap<String, String>) -> Markup {
    let value = &row[name];
    if let (Some(scale), Some(number)) = (columns.scales.get(name), value.as_f64()) {
        let [low, high] = ["low", "high"].map(|end| row[format!("{name}_{end}")].as_f64());
        return html! {
            span.measure {
                span.value { (decimal(number)) }
                @if let (Some(low), Some(high)) = (low, high) {
                    (mark(number, low, high, *scale))
                    span.dim.interval { "[" (decimal(low)) ", " (decimal(high)) "]" }
                }
            }
        };
    }
    let text = value_text(value);
    match name {
        "variant" => match links.get(&text) {
            Some(href) => html! { a href=(href) { (text) } },
            None => cell(value),
        },
        "verdict" => {
            let class = match text.as_str() {
                text if text.starts_with("better") => "good",
                text if text.starts_with("worse") => "bad",
                _ => "dim",
            };
            html! { span class=(class) { (text) } }
        }
        _ => cell(value),
    }
}

/// A point and its interval on the column's scale.
fn mark(value: f64, low: f64, high: f64, (least, most): (f64, f64)) -> Markup {
    let width = SCALE - 2.0 * ROOM;
    let place = |number: f64| {
        let share = if most > least { (number - least) / (most - least) } else { 0.5 };
        format!("{:.1}", ROOM + share.clamp(0.0, 1.0) * width)
    };
    html! {
        svg.mark width=(SCALE) height="14" viewBox=(format!("0 0 {SCALE} 14")) aria-hidden="true" {
            line.axis x1="0" y1="7" x2=(SCALE) y2="7" {}
            line x1=(place(low)) y1="7" x2=(place(high)) y2="7" {}
            circle cx=(place(value)) cy="7" r="3.5" {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Float64Array, StringArray};

    use super::*;

    fn table(low: Option<f64>) -> Table {
        let number = |values: [Option<f64>; 2]| -> ArrayRef { Arc::new(Float64Array::from(values.to_vec())) };
        let text = |values: [&str; 2]| -> ArrayRef { Arc::new(StringArray::from(values.to_vec())) };
        Table::of_columns([
            ("variant", text(["V1", "<b>"])),
            ("hr@10", number([Some(0.07), Some(0.05)])),
            ("hr@10_low", number([low, None])),
            ("hr@10_high", number([low.map(|low| low + 0.04), None])),
            ("p", number([Some(0.01), None])),
            ("verdict", text(["better", "baseline"])),
        ])
        .unwrap()
    }

    #[test]
    fn a_number_and_its_interval_are_one_cell_and_labels_lead_to_stages() {
        let links = BTreeMap::from([("V1".to_owned(), "/stages/evaluate@V1".to_owned())]);
        let (has_intervals, markup) = grid(&table(Some(0.05)), &links).unwrap();
        let text = markup.into_string();
        assert!(has_intervals && text.contains("[0.0500, 0.0900]"), "{text}");
        assert!(text.contains("<a href=\"/stages/evaluate@V1\">V1</a>") && text.contains("&lt;b&gt;"), "{text}");
        assert!(!text.contains("hr@10_low") && !text.contains(">p<"), "{text}");
        assert!(text.contains("x1=\"5.0\"") && text.contains("x2=\"115.0\""), "the interval takes the scale: {text}");
    }

    #[test]
    fn a_table_without_intervals_is_shown_whole() {
        let (has_intervals, markup) = grid(&table(None), &BTreeMap::new()).unwrap();
        let text = markup.into_string();
        assert!(!has_intervals && text.contains("hr@10_low") && text.contains(">p<"), "{text}");
    }
}
