//! `refrain status`: what the store holds of each stage.

use serde_json::{Value, json};

use super::arguments::{Global, StatusArguments};
use super::bless;
use super::errors::Exit;
use super::gauge::plain_line;
use super::grid::{Align, Grid};
use super::project::{self, Project};
use super::terminal::{Style, bytes, data, duration, say, thousands};
use crate::engine::{self, AtWork, Gauge, Planned, State};
use crate::ground::{Clock, SystemClock, age};
use crate::store::{Artifact, Manifest};

/// Prints one line per instance.
///
/// # Errors
/// If the plan cannot be made.
pub(super) fn status(global: &Global, arguments: &StatusArguments) -> anyhow::Result<Exit> {
    let project = match project::open(global, arguments.file.clone(), &arguments.reading)? {
        Ok(project) => project,
        Err(exit) => return Ok(exit),
    };
    let options = project.plan_options(&arguments.reading, &[], &[]);
    let plan = engine::plan(&project.pipeline, &project.store, &options).map_err(project::refused)?;
    let now = SystemClock.now_millis();
    let mut grid = Grid::new([
        ("stage", Align::Left),
        ("state", Align::Left),
        ("rows", Align::Right),
        ("size", Align::Right),
        ("made", Align::Right),
        ("took", Align::Right),
        ("requests", Align::Right),
        ("warnings", Align::Right),
        ("", Align::Left),
    ]);
    let mut records = Vec::new();
    for planned in &plan.stages {
        let manifest = last_manifest(&project, planned)?;
        grid.row(cells(&project, planned, manifest.as_ref(), now));
        records.push(record(planned, manifest.as_ref()));
    }
    project::say_warnings(&plan.warnings, &project.store, Style::of_stderr(global.color));
    if arguments.json {
        data(&serde_json::to_string_pretty(&Value::Array(records))?)?;
        return Ok(Exit::Done);
    }
    data(&grid.text(0, 60))?;
    for run in engine::at_work(&project.store, &project.pipeline.name).map_err(project::refused)? {
        data(&at_work(&run, now))?;
    }
    if plan.stages.iter().any(|planned| planned.synthetic) {
        say(&Style::of_stderr(global.color).yellow(super::run::SYNTHETIC));
    }
    Ok(Exit::Done)
}

/// A run that another process is doing: `20261126T164500Z-ab12 is at work since 3 h`.
fn at_work(run: &AtWork, now: u64) -> String {
    let head = format!("\n{} is at work since {}", run.run, age(run.at_millis, now));
    let line = |(stage, gauge): &(String, Option<Gauge>)| match gauge {
        Some(gauge) => format!("  {}", plain_line(stage, gauge)),
        None => format!("  {stage}"),
    };
    std::iter::once(head).chain(run.stages.iter().map(line)).collect::<Vec<_>>().join("\n")
}

/// What the instance's current result is, else its last one.
fn last_manifest(project: &Project, planned: &Planned) -> anyhow::Result<Option<Manifest>> {
    if let State::Fresh { manifest, .. } = &planned.state {
        return Ok(Some(manifest.as_ref().clone()));
    }
    match project.store.last(&project.pipeline.name, &planned.id.to_string()) {
        Some(last) => {
            let kept = || project.remote.as_ref()?.kept(&project.store, &last.key);
            Ok(project.store.manifest(&last.key)?.or_else(kept))
        }
        None => Ok(None),
    }
}

fn state(state: &State) -> &'static str {
    match state {
        State::Fresh { .. } => "fresh",
        State::Stale { .. } => "stale",
        State::Undecided { .. } => "undecided",
        State::Blocked { .. } => "blocked",
    }
}

/// The rows of the main output, which is the first that the stage declares.
fn main_rows(project: &Project, planned: &Planned, manifest: &Manifest) -> u64 {
    let outputs = project.pipeline.instances.get(planned.index).map(|instance| instance.stage.outputs());
    let main = outputs.and_then(|outputs| outputs.first().map(|port| port.name.clone()));
    main.and_then(|name| manifest.outputs.get(&*name)).map_or(0, |artifact| artifact.rows)
}

fn cells(project: &Project, planned: &Planned, manifest: Option<&Manifest>, now: u64) -> Vec<String> {
    let mut cells = vec![planned.id.to_string(), state(&planned.state).to_owned()];
    if let Some(manifest) = manifest {
        let size = manifest.outputs.values().map(|artifact| artifact.bytes).sum();
        cells.extend([
            thousands(main_rows(project, planned, manifest)),
            bytes(size),
            format!("{} ago", age(manifest.made_at_millis, now)),
            duration(manifest.seconds),
            thousands(manifest.requests),
            manifest.warnings.len().to_string(),
            place_words(project, manifest),
        ]);
    }
    cells
}

/// How it was blessed, or that its artifacts are not here.
fn place_words(project: &Project, manifest: &Manifest) -> String {
    let is_here = |artifact: &Artifact| project.store.object_path(&artifact.hash).exists();
    let elsewhere = manifest.outputs.values().filter(|artifact| !is_here(artifact)).count();
    match elsewhere {
        0 => bless::words(&manifest.blessed),
        _ if project.remote.is_some() => "in the shared store".to_owned(),
        _ => "artifacts missing".to_owned(),
    }
}

fn record(planned: &Planned, manifest: Option<&Manifest>) -> Value {
    json!({
        "stage": planned.id.to_string(),
        "kind": planned.kind,
        "state": state(&planned.state),
        "synthetic": planned.synthetic,
        "last": manifest.map(|manifest| json!({
            "key": manifest.key,
            "outputs": manifest.outputs.iter().map(|(name, artifact)| (name.clone(), json!({
                "hash": artifact.hash,
                "rows": artifact.rows,
                "bytes": artifact.bytes,
            }))).collect::<serde_json::Map<_, _>>(),
            "made_at_millis": manifest.made_at_millis,
            "seconds": manifest.seconds,
            "requests": manifest.requests,
            "warnings": manifest.warnings,
            "blessed": manifest.blessed,
        })),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_at_work_is_told_stage_by_stage() {
        let gauge = Gauge { rows: 30, total: Some(120), seconds_left: Some(90.0), ..Gauge::default() };
        let stages = vec![("tags".to_owned(), Some(gauge)), ("core".to_owned(), None)];
        let run = AtWork { run: "20260101T000000Z-ab12".to_owned(), at_millis: 0, stages };
        assert_eq!(
            at_work(&run, 180_000),
            "\n20260101T000000Z-ab12 is at work since 3 min\n  tags  30 of 120 rows  1 min 30 s left\n  core"
        );
    }
}
