//! Results at the end of a run, as a person reads them first: a number and its
//! interval in one cell, and of a leaderboard what fits a terminal.

use serde_json::Value;

use super::cells;
use super::grid::{Align, Grid, width};
use crate::engine::Resolved;
use crate::ground::InstanceId;
use crate::table::{Table, read_parquet, rows_as_json, value_text};

use super::project::Project;

/// Columns of a leaderboard with intervals that are left to its artifact: the
/// verdict has in words what they say.
const LEFT_OUT: [&str; 3] = ["p", "users", "on_test"];
/// How columns begin that are shown where the terminal is wide enough.
const WHERE_WIDE: [&str; 4] = ["mrr", "recall@", "coverage@", "popularity@"];

/// A table as lines, indented by `indent`. Where columns `x`, `x_low` and `x_high`
/// say an interval, they are one column, and what is less asked for is left
/// out; some of it only if the terminal is not `wide` enough for it.
///
/// # Errors
/// If a value cannot be printed.
pub(super) fn text(table: &Table, indent: usize, wide: usize) -> anyhow::Result<String> {
    const MAX_CELL: usize = 40;
    let whole = grid(table, true)?.text(indent, MAX_CELL);
    if whole.lines().all(|line| width(line) <= wide) {
        return Ok(whole);
    }
    Ok(grid(table, false)?.text(indent, MAX_CELL))
}

fn grid(table: &Table, with_all: bool) -> anyhow::Result<Grid> {
    let names = table.column_names();
    let rows = rows_as_json(table)?;
    let there = |name: &str| names.iter().any(|other| other == name);
    let is_interval = |name: &str| {
        let low = format!("{name}_low");
        there(&low) && there(&format!("{name}_high")) && rows.iter().any(|row| !row[low.as_str()].is_null())
    };
    if !names.iter().any(|name| is_interval(name)) {
        return cells::grid(table, false);
    }
    let is_aside = |name: &str| {
        ["_low", "_high", "_sd"].iter().any(|end| name.ends_with(end))
            || ["warm_", "cold_"].iter().any(|start| name.starts_with(start))
            || LEFT_OUT.contains(&name)
            || (!with_all && WHERE_WIDE.iter().any(|start| name.starts_with(start)))
    };
    let shown: Vec<&String> = names.iter().filter(|name| !is_aside(name)).collect();
    let is_number = |name: &str| rows.iter().all(|row| row[name].is_number() || row[name].is_null());
    let align = |name: &str| if is_number(name) && !is_interval(name) { Align::Right } else { Align::Left };
    let mut grid = Grid::new(shown.iter().map(|name| (name.as_str(), align(name))));
    for row in &rows {
        grid.row(shown.iter().map(|name| cell(row, name, is_interval(name))));
    }
    Ok(grid)
}

fn cell(row: &Value, name: &str, with_interval: bool) -> String {
    let value = value_text(&row[name]);
    let [low, high] = ["low", "high"].map(|end| row[format!("{name}_{end}")].as_f64());
    match (low, high) {
        (Some(low), Some(high)) if with_interval => format!("{value} [{low:.4}, {high:.4}]"),
        _ => value,
    }
}

/// What is to be said beside a stage's table: that its verdicts rest on one
/// seed, and what its other outputs say in words, in their column `words`.
///
/// # Errors
/// If one cannot be read.
pub(super) fn words(project: &Project, of: &Resolved, table: &Table) -> anyhow::Result<Vec<String>> {
    let mut lines = Vec::new();
    if let (Ok(variants), Ok(verdicts)) = (table.strings("variant"), table.strings("verdict")) {
        let said = variants.iter().flatten().zip(verdicts.iter().map(Option::unwrap_or_default));
        let at = project.pipeline.instances.iter().position(|instance| instance.id == of.id);
        lines.extend(at.and_then(|at| project.pipeline.one_seed(at, said)));
    }
    for (name, artifact) in &of.manifest.outputs {
        if *name == of.output || !artifact.columns.iter().any(|column| column.name == "words") {
            continue;
        }
        let id = InstanceId { stage: format!("{}.{name}", of.id.stage), ..of.id.clone() };
        let Ok(resolved) = project.resolve(&id.to_string()) else { continue };
        let table = read_parquet(&resolved.path, Some(&["words".to_owned()]))?;
        lines.extend(table.strings("words")?.iter().flatten().map(str::to_owned));
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Float64Array, StringArray};

    use super::*;

    fn board(low: Option<f64>) -> Table {
        let number = |values: [Option<f64>; 2]| -> ArrayRef { Arc::new(Float64Array::from(values.to_vec())) };
        let text = |values: [&str; 2]| -> ArrayRef { Arc::new(StringArray::from(values.to_vec())) };
        Table::of_columns([
            ("variant", text(["V1", "top"])),
            ("hr@10", number([Some(0.0712), Some(0.055)])),
            ("hr@10_low", number([low, None])),
            ("hr@10_high", number([low.map(|low| low + 0.03), None])),
            ("warm_hr@10", number([Some(0.2), Some(0.1)])),
            ("hr@10_sd", number([Some(0.006), None])),
            ("p", number([Some(0.01), None])),
            ("mrr", number([Some(0.04), Some(0.03)])),
            ("verdict", text(["better", "baseline"])),
            ("users", number([Some(9.0), Some(9.0)])),
        ])
        .unwrap()
    }

    #[test]
    fn a_number_and_its_interval_are_one_cell() {
        insta::assert_snapshot!(text(&board(Some(0.056)), 0, 40).unwrap(), @r"
        variant  hr@10                    verdict
        ───────  ───────────────────────  ────────
        V1       0.0712 [0.0560, 0.0860]  better
        top      0.0550                   baseline
        ");
    }

    #[test]
    fn what_is_beyond_accuracy_is_shown_where_there_is_room() {
        insta::assert_snapshot!(text(&board(Some(0.056)), 0, 60).unwrap(), @r"
        variant  hr@10                       mrr  verdict
        ───────  ───────────────────────  ──────  ────────
        V1       0.0712 [0.0560, 0.0860]  0.0400  better
        top      0.0550                   0.0300  baseline
        ");
    }

    #[test]
    fn a_table_without_intervals_is_shown_whole() {
        let text = text(&board(None), 0, 40).unwrap();
        assert!(text.contains("hr@10_low") && text.contains("users"), "{text}");
    }
}
