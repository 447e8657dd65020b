//! `refrain show` and `refrain path`: artifacts for people and for programs.

use serde_json::{Map, Value, json};
use std::fmt::Write as _;

use super::arguments::{Global, PathArguments, ShowArguments};
use super::errors::{Exit, Mistake};
use super::grid::{Align, Grid};
use super::project::{self, Project};
use super::selection::Selected;
use super::stats::Stats;
use super::terminal::{Style, bytes, count, data, say, thousands};
use super::{bless, cells, exchange};
use crate::engine::{EngineError, Resolved};
use crate::ground::{Clock, SystemClock};
use crate::table::rows_as_json;

/// Shows an artifact.
///
/// # Errors
/// If the stage is not in the pipeline, or has not been made, or cannot be read.
pub(super) fn show(global: &Global, arguments: &ShowArguments) -> anyhow::Result<Exit> {
    let (project, stage) = match project::open_words(global, &arguments.words, &arguments.reading)? {
        Ok(opened) => opened,
        Err(exit) => return Ok(exit),
    };
    let stage = project::required_stage(stage)?;
    if arguments.exchanges || arguments.failed || !arguments.exchange.is_empty() {
        return exchange::show(global, &project, &stage, arguments);
    }
    let resolved = resolve(&project, &stage)?;
    let shown = shown(&stage, &resolved, arguments)?;
    if arguments.json {
        data(&serde_json::to_string_pretty(&as_json(&resolved, &shown, arguments)?)?)?;
        return Ok(Exit::Done);
    }
    let style = Style::of_stdout(global.color);
    let mut text = heading(&stage, &resolved, style);
    if !arguments.selection.stats {
        write!(text, "\n\n{}", schema(&resolved).text(2, 60)).ok();
    }
    if !resolved.manifest.blessed.is_empty() {
        let now = SystemClock.now_millis();
        write!(text, "\n\n{}", bless::history(&resolved.manifest.blessed, now).join("\n")).ok();
    }
    match &shown {
        Shown::Rows(selected) => write_rows(&mut text, selected, arguments)?,
        Shown::Stats(stats) => write_stats(&mut text, stats, arguments),
    }
    data(&text)?;
    let aside = Style::of_stderr(global.color);
    if resolved.sandbox.is_some() {
        say(&aside.yellow(super::run::SYNTHETIC));
    }
    for warning in &resolved.manifest.warnings {
        say(&aside.yellow(&format!("! {warning}")));
    }
    Ok(Exit::Done)
}

/// Prints the path of an artifact, and nothing else, on stdout.
///
/// # Errors
/// As [`show`].
pub(super) fn path(global: &Global, arguments: &PathArguments) -> anyhow::Result<Exit> {
    let (project, stage) = match project::open_words(global, &arguments.words, &arguments.reading)? {
        Ok(opened) => opened,
        Err(exit) => return Ok(exit),
    };
    match (stage, arguments.json) {
        (Some(stage), false) => data(&resolve(&project, &stage)?.path.display().to_string())?,
        (Some(stage), true) => {
            let path = resolve(&project, &stage)?.path;
            data(&serde_json::to_string_pretty(&json!({ stage: path }))?)?;
        }
        (None, true) => data(&serde_json::to_string_pretty(&all_paths(&project)?)?)?,
        (None, false) => {
            return Err(Mistake::new("no stage is named").hint("name one, or print all paths with --json").into());
        }
    }
    Ok(Exit::Done)
}

fn resolve(project: &Project, reference: &str) -> anyhow::Result<Resolved> {
    project.resolve(reference).map_err(project::refused)
}

/// The paths of all outputs that have been made: `stage@VARIANT` for the main
/// one, `stage.output@VARIANT` for the others.
fn all_paths(project: &Project) -> anyhow::Result<Value> {
    let mut paths = Map::new();
    for instance in &project.pipeline.instances {
        for (i, output) in instance.stage.outputs().iter().enumerate() {
            let mut id = instance.id.clone();
            if i > 0 {
                id.stage = format!("{}.{}", id.stage, output.name);
            }
            let name = id.to_string();
            match project.resolve(&name) {
                Ok(resolved) => {
                    paths.insert(name, json!(resolved.path));
                }
                Err(EngineError::NotMade { .. }) => {}
                Err(error) => return Err(project::refused(error)),
            }
        }
    }
    Ok(Value::Object(paths))
}

/// What is shown of an artifact.
enum Shown {
    Rows(Selected),
    Stats(Stats),
}

fn shown(stage: &str, resolved: &Resolved, arguments: &ShowArguments) -> anyhow::Result<Shown> {
    let selection = &arguments.selection;
    if selection.stats {
        return Ok(Shown::Stats(Stats::of(stage, resolved, selection)?));
    }
    Ok(Shown::Rows(selection.rows(stage, resolved, arguments.rows)?))
}

fn write_rows(text: &mut String, selected: &Selected, arguments: &ShowArguments) -> anyhow::Result<()> {
    let rows = selected.table.rows() as u64;
    if arguments.selection.condition.is_some() {
        write!(text, "\n\n  {} for which {}", count(selected.matching, "row"), arguments.selection.condition()).ok();
    }
    if rows == 0 {
        return Ok(());
    }
    write!(text, "\n\n{}", cells::grid(&selected.table, true)?.text(2, 60)).ok();
    let hidden = selected.matching.saturating_sub(rows);
    if hidden > 0 {
        write!(text, "\n  … {} more", thousands(hidden)).ok();
    }
    Ok(())
}

fn write_stats(text: &mut String, stats: &Stats, arguments: &ShowArguments) {
    if arguments.selection.condition.is_some() {
        write!(text, "\n\n  {} for which {}", count(stats.rows, "row"), arguments.selection.condition()).ok();
    }
    write!(text, "\n\n{}", stats.grid().text(2, 60)).ok();
}

fn heading(reference: &str, resolved: &Resolved, style: Style) -> String {
    let facts = format!(
        "{}, {}, {}",
        count(resolved.artifact.rows, "row"),
        count(resolved.artifact.columns.len() as u64, "column"),
        bytes(resolved.artifact.bytes)
    );
    format!("{}  {facts}\n{}", style.bold(reference), style.dim(&resolved.path.display().to_string()))
}

fn schema(resolved: &Resolved) -> Grid {
    let mut schema = Grid::new([("column", Align::Left), ("type", Align::Left)]);
    for column in &resolved.artifact.columns {
        schema.row([column.name.as_str(), column.data_type.as_str()]);
    }
    schema
}

fn as_json(resolved: &Resolved, shown: &Shown, arguments: &ShowArguments) -> anyhow::Result<Value> {
    let columns = resolved.artifact.columns.iter().map(|column| json!({"name": column.name, "type": column.data_type}));
    let mut object = json!({
        "stage": resolved.id.to_string(),
        "output": resolved.output,
        "path": resolved.path,
        "rows": resolved.artifact.rows,
        "bytes": resolved.artifact.bytes,
        "columns": columns.collect::<Vec<_>>(),
        "synthetic": resolved.sandbox.is_some(),
        "sandbox": resolved.sandbox,
        "warnings": resolved.manifest.warnings,
        "blessed": resolved.manifest.blessed,
    });
    // The rows go by this name for those who read it since there was no other choice of them.
    match shown {
        Shown::Rows(selected) => object["first_rows"] = Value::Array(rows_as_json(&selected.table)?),
        Shown::Stats(stats) => object["stats"] = stats.json(),
    }
    if arguments.selection.condition.is_some() {
        object["matching"] = match shown {
            Shown::Rows(selected) => selected.matching.into(),
            Shown::Stats(stats) => stats.rows.into(),
        };
    }
    Ok(object)
}
