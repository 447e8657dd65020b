//! `refrain diff RUN RUN`: what two runs gave, side by side.

use serde_json::{Value, json};

use super::arguments::{DiffArguments, Global};
use super::errors::Exit;
use super::grid::{Align, Grid};
use super::terminal::{Style, count, data, say, thousands};
use super::{fields, project};
use crate::engine::{self, Compared, DiffOptions, End, Field, OutputDiff, Part, RunDiff, StageDiff, Summary};
use crate::kinds;
use crate::pipeline::example_of;
use crate::table::{Table, decimal, rows_as_json, value_text};

/// Compares two runs.
///
/// # Errors
/// If a run is not there or a table cannot be read.
pub(super) fn diff(global: &Global, arguments: &DiffArguments) -> anyhow::Result<Exit> {
    let store = project::open_store(global)?;
    let find = |text: &str| engine::find_run(&store, text).map_err(project::refused);
    let (before, now) = (find(&arguments.before)?, find(&arguments.now)?);
    let options = DiffOptions { stage: arguments.stage.clone(), by: arguments.by.clone(), keys: &declared_keys };
    let diff = engine::diff(&store, &before, &now, &options);
    project::say_warnings(&[], &store, Style::of_stderr(global.color));
    let diff = diff.map_err(project::refused)?;
    if arguments.json {
        data(&serde_json::to_string_pretty(&as_json(&diff)?)?)?;
    } else {
        data(&describe(&diff, Style::of_stdout(global.color))?)?;
        if diff.before.sandbox.is_some() || diff.now.sandbox.is_some() {
            say(&Style::of_stderr(global.color).yellow(super::run::SYNTHETIC));
        }
    }
    Ok(Exit::Done)
}

/// The key columns that a kind declares for an output.
pub(super) fn declared_keys(kind: &str, output: &str) -> Vec<String> {
    let outputs = kinds::find(kind).and_then(example_of).map(|stage| stage.outputs()).unwrap_or_default();
    let port = outputs.iter().find(|port| port.name == output);
    port.map(|port| port.key.clone()).unwrap_or_default()
}

fn describe(diff: &RunDiff, style: Style) -> anyhow::Result<String> {
    let run = |summary: &Summary| format!("{} ({})", summary.run, summary.pipeline);
    let mut parts = vec![format!("{} -> {}", style.bold(&run(&diff.before)), style.bold(&run(&diff.now)))];
    for stage in &diff.stages {
        parts.push(describe_stage(stage, style)?);
    }
    let others = if diff.stages.is_empty() { "" } else { "other " };
    parts.push(match diff.same {
        0 if diff.stages.is_empty() => "they have no stage".to_owned(),
        0 => "no other stage".to_owned(),
        same => format!("the same in both: {}", count(same as u64, &format!("{others}stage"))),
    });
    Ok(parts.join("\n\n"))
}

fn describe_stage(stage: &StageDiff, style: Style) -> anyhow::Result<String> {
    let mut parts = vec![format!("{}{}", style.bold(&stage.stage), ends(stage))];
    let changed: Vec<&Field> = changed_fields(stage).collect();
    let table = fields::table(&changed, "first", "second");
    if !table.is_empty() {
        parts.push(table);
    }
    for (name, output) in &stage.outputs {
        parts.push(match output {
            OutputDiff::Gone(why) => format!("  {name}: {why}"),
            OutputDiff::Compared(compared) => describe_output(name, compared)?,
        });
    }
    let both_done = matches!((&stage.before, &stage.now), (Some(End::Done(_)), Some(End::Done(_))));
    if both_done && stage.outputs.is_empty() {
        parts.push("  the same rows".to_owned());
    }
    Ok(parts.join("\n"))
}

/// What is to be said of how it ended, if that is not "well" in both.
fn ends(stage: &StageDiff) -> String {
    let word = |end: &End| match end {
        End::Done(_) => "was done",
        End::Failed(_) => "failed",
        End::Skipped(_) => "was skipped",
    };
    match (&stage.before, &stage.now) {
        (Some(End::Done(_)), Some(End::Done(_))) | (None, None) => String::new(),
        (Some(_), None) => ": only in the first run".to_owned(),
        (None, Some(_)) => ": only in the second run".to_owned(),
        (Some(one), Some(other)) => format!(": {} in the first run, {} in the second", word(one), word(other)),
    }
}

/// What it was made from that is not told by the rows of the stages above it.
fn changed_fields(stage: &StageDiff) -> impl Iterator<Item = &Field> {
    stage.fields.iter().filter(|field| field.is_changed() && field.part != Part::Input)
}

fn describe_output(name: &str, compared: &Compared) -> anyhow::Result<String> {
    let found = &compared.difference;
    let (before, now) = compared.rows;
    let rows =
        if before == now { count(now, "row") } else { format!("{} -> {}", thousands(before), count(now, "row")) };
    let by = if compared.keyed { format!(" by {}", found.keys.join(", ")) } else { " compared whole".to_owned() };
    let mut counts: Vec<String> =
        [("added", found.added.len()), ("removed", found.removed.len()), ("changed", found.changed.len())]
            .into_iter()
            .filter(|(_, number)| *number > 0)
            .map(|(word, number)| format!("{} {word}", thousands(number as u64)))
            .collect();
    if counts.is_empty() {
        counts.push(if found.reordered { "the same rows in another order" } else { "the same rows" }.to_owned());
    }
    let mut lines = vec![format!("  {name}: {rows}{by}: {}", counts.join(", "))];
    for (word, columns) in [("new columns", &found.new_columns), ("columns gone", &found.gone_columns)] {
        if !columns.is_empty() {
            lines.push(format!("    {word}: {}", columns.join(", ")));
        }
    }
    let changed_in: Vec<String> =
        found.columns.iter().map(|(column, rows)| format!("{column} in {}", count(*rows, "row"))).collect();
    if !changed_in.is_empty() {
        lines.push(format!("    changed: {}", changed_in.join(", ")));
    }
    let (one, other) = found.duplicates;
    if compared.keyed && one + other > 0 {
        lines.push(format!("    rows whose key another row has: {} -> {}", thousands(one), thousands(other)));
    }
    let metrics = metrics(compared)?;
    let samples = samples(compared, metrics.is_some())?;
    lines.extend(Some(samples).filter(|text| !text.is_empty()));
    lines.extend(metrics);
    Ok(lines.join("\n"))
}

/// The keys of some rows that came, went or changed.
fn samples(compared: &Compared, is_metrics: bool) -> anyhow::Result<String> {
    let found = &compared.difference;
    let mut grid = Grid::headless(2);
    let sets = [
        ("added", &compared.added, found.added.len()),
        ("removed", &compared.removed, found.removed.len()),
        ("changed", &compared.changed, if is_metrics { 0 } else { found.changed.len() }),
    ];
    for (word, table, all) in sets.into_iter().filter(|(_, _, all)| *all > 0) {
        let keys = key_words(table, &found.keys)?;
        let more = if all > keys.len() { "; …" } else { "" };
        grid.row([word.to_owned(), format!("{}{more}", keys.join("; "))]);
    }
    Ok(grid.text(4, 84))
}

/// The keys of rows, each on one line.
fn key_words(table: &Table, keys: &[String]) -> anyhow::Result<Vec<String>> {
    let words = |row: &Value| keys.iter().map(|key| value_text(&row[key.as_str()])).collect::<Vec<_>>().join(" ");
    Ok(rows_as_json(table)?.iter().map(words).collect())
}

/// The changed cells of a small table with numbers.
fn metrics(compared: &Compared) -> anyhow::Result<Option<String>> {
    let Some((before, now)) = &compared.metrics else { return Ok(None) };
    let keys = &compared.difference.keys;
    let mut grid = Grid::new(keys.iter().map(|key| (key.clone(), Align::Left)).chain([
        ("column".to_owned(), Align::Left),
        ("first".to_owned(), Align::Right),
        ("second".to_owned(), Align::Right),
        ("difference".to_owned(), Align::Right),
    ]));
    let columns: Vec<&String> = compared.difference.columns.keys().collect();
    let (old, new) = (rows_as_json(before)?, rows_as_json(now)?);
    for (one, other) in old.iter().zip(&new) {
        for column in columns.iter().filter(|column| one[column.as_str()] != other[column.as_str()]) {
            let (was, is) = (&one[column.as_str()], &other[column.as_str()]);
            let mut cells: Vec<String> = keys.iter().map(|key| value_text(&other[key.as_str()])).collect();
            cells.extend([(*column).clone(), value_text(was), value_text(is), change(was, is)]);
            grid.row(cells);
        }
    }
    Ok((!old.is_empty()).then(|| grid.text(4, 40)))
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

fn as_json(diff: &RunDiff) -> anyhow::Result<Value> {
    let run = |summary: &Summary| json!({"run": summary.run, "pipeline": summary.pipeline, "sandbox": summary.sandbox});
    let stages = diff.stages.iter().map(stage_as_json).collect::<anyhow::Result<Vec<_>>>()?;
    Ok(json!({"before": run(&diff.before), "now": run(&diff.now), "same": diff.same, "stages": stages}))
}

fn stage_as_json(stage: &StageDiff) -> anyhow::Result<Value> {
    let outputs = stage.outputs.iter().map(|(name, output)| {
        Ok((
            name.clone(),
            match output {
                OutputDiff::Gone(why) => json!({"gone": why}),
                OutputDiff::Compared(compared) => output_as_json(compared)?,
            },
        ))
    });
    Ok(json!({
        "stage": stage.stage,
        "before": stage.before,
        "now": stage.now,
        "fields": stage.fields,
        "outputs": outputs.collect::<anyhow::Result<serde_json::Map<_, _>>>()?,
    }))
}

fn output_as_json(compared: &Compared) -> anyhow::Result<Value> {
    let found = &compared.difference;
    let metrics = match &compared.metrics {
        Some((before, now)) => json!({"before": rows_as_json(before)?, "now": rows_as_json(now)?}),
        None => Value::Null,
    };
    let keys = compared.keyed.then_some(&found.keys);
    Ok(json!({
        "keys": keys,
        "rows": {"before": compared.rows.0, "now": compared.rows.1},
        "added": found.added.len(),
        "removed": found.removed.len(),
        "changed": found.changed.len(),
        "changed_in": found.columns,
        "new_columns": found.new_columns,
        "gone_columns": found.gone_columns,
        "duplicate_keys": {"before": found.duplicates.0, "now": found.duplicates.1},
        "reordered": found.reordered,
        "samples": {
            "added": rows_as_json(&compared.added)?,
            "removed": rows_as_json(&compared.removed)?,
            "changed": rows_as_json(&compared.changed)?,
        },
        "metrics": metrics,
    }))
}
