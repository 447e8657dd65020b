//! What is said of each stage: what it does, what it made, how long it took.

use std::collections::BTreeMap;

use serde_json::Value;

use super::gather::{Gatherer, ReportError, ReportOptions};
use super::{OutputFacts, StageFacts, StageInput};
use crate::engine::{self, CostsBy, End, Planned, State};
use crate::pipeline::Instance;
use crate::store::{Artifact, Manifest};
use crate::table::{json_value, read_first_rows, value_text};
use crate::web::Spent;

/// Of a value so many characters are shown.
const SHOWN: usize = 200;

/// The facts of every instance, in the order of the pipeline.
pub(super) fn read(gatherer: &Gatherer<'_>, options: &ReportOptions) -> Result<Vec<StageFacts>, ReportError> {
    let spent = spent(gatherer)?;
    let outcomes = outcomes(gatherer);
    let mut all = Vec::with_capacity(gatherer.pipeline.instances.len());
    for (index, instance) in gatherer.pipeline.instances.iter().enumerate() {
        let id = instance.id.to_string();
        let planned = gatherer.planned.iter().find(|planned| planned.index == index);
        let manifest = gatherer.manifests[index].as_ref();
        let spent = spent.get(&id).copied().unwrap_or_default();
        all.push(StageFacts {
            stage: instance.id.stage.clone(),
            kind: instance.kind.name(),
            kind_summary: instance.kind.summary(),
            line: (instance.location.line > 0).then_some(instance.location.line as u64),
            state: planned.map_or("undecided", state),
            reasons: planned.map(reasons).unwrap_or_default(),
            settings: settings(instance, manifest),
            inputs: inputs(instance),
            key: manifest.map(|made| made.key),
            made_at_millis: manifest.map(|made| made.made_at_millis),
            seconds: manifest.map(|made| made.seconds),
            requests: manifest.map_or(0, |made| made.requests),
            tokens: spent.prompt_tokens + spent.completion_tokens,
            usd: (spent.usd > 0.0).then_some(spent.usd),
            outcome: outcomes.get(&id).copied(),
            rows: gatherer.main(index).map_or(0, |artifact| artifact.rows),
            synthetic: planned.is_some_and(|planned| planned.synthetic),
            warnings: manifest.map(|made| made.warnings.clone()).unwrap_or_default(),
            outputs: outputs(gatherer, index, options.rows)?,
            id,
        });
    }
    Ok(all)
}

fn state(planned: &Planned) -> &'static str {
    match planned.state {
        State::Fresh { .. } => "fresh",
        State::Stale { .. } => "stale",
        State::Undecided { .. } => "undecided",
        State::Blocked { .. } => "blocked",
    }
}

fn reasons(planned: &Planned) -> Vec<String> {
    match &planned.state {
        State::Blocked { failure } => vec![failure.error.clone()],
        state => state.reasons().iter().map(ToString::to_string).collect(),
    }
}

/// The settings that the result was made with: those of the fingerprint, which
/// hold nothing that comes from the environment. Without a result, those of now.
fn settings(instance: &Instance, manifest: Option<&Manifest>) -> Value {
    let made = manifest.and_then(|made| made.fingerprint.get("settings").cloned());
    made.unwrap_or_else(|| instance.stage.settings())
}

fn inputs(instance: &Instance) -> Vec<StageInput> {
    let each = instance.inputs.iter().flat_map(|(port, sources)| sources.iter().map(move |source| (port, source)));
    each.map(|(port, source)| StageInput { port: port.clone(), from: source.instance, output: source.output.clone() })
        .collect()
}

/// What each instance of this pipeline has spent over all runs, in the world of its results.
fn spent(gatherer: &Gatherer<'_>) -> Result<BTreeMap<String, Spent>, ReportError> {
    let synthetic = gatherer.planned.iter().any(|planned| planned.synthetic);
    let costs = engine::costs(gatherer.store, CostsBy::Stage, 0, synthetic)?;
    let start = format!("{}: ", gatherer.pipeline.name);
    let of_stage = |line: engine::CostLine| Some((line.name.strip_prefix(&start)?.to_owned(), line.spent));
    Ok(costs.lines.into_iter().filter_map(of_stage).collect())
}

fn outcomes(gatherer: &Gatherer<'_>) -> BTreeMap<String, &'static str> {
    let word = |end: &End| match end {
        End::Done(outcome) if outcome.has_run() => "ran",
        End::Done(_) => "cached",
        End::Failed(_) => "failed",
        End::Skipped(_) => "skipped",
    };
    let results = gatherer.last.iter().flat_map(|summary| &summary.results);
    results.map(|result| (result.stage.clone(), word(&result.end))).collect()
}

fn outputs(gatherer: &Gatherer<'_>, index: usize, rows: usize) -> Result<Vec<OutputFacts>, ReportError> {
    let mut all = Vec::new();
    for port in gatherer.pipeline.instances[index].stage.outputs() {
        let Some(artifact) = gatherer.output(index, &port.name) else { continue };
        all.push(OutputFacts {
            name: port.name.into_owned(),
            hash: artifact.hash,
            bytes: artifact.bytes,
            rows: artifact.rows,
            columns: artifact.columns.iter().map(|column| (column.name.clone(), column.data_type.clone())).collect(),
            first_rows: first_rows(gatherer, index, artifact, rows)?,
        });
    }
    Ok(all)
}

fn first_rows(
    gatherer: &Gatherer<'_>,
    index: usize,
    artifact: &Artifact,
    rows: usize,
) -> Result<Vec<Vec<String>>, ReportError> {
    let path = gatherer.path(artifact)?;
    let read = read_first_rows(&path, rows).and_then(|table| table.single_batch());
    let batch = read.map_err(|source| gatherer.unreadable(index, path, source))?;
    let cell = |column, row| shortened(&value_text(&json_value(column, row)));
    Ok((0..batch.num_rows()).map(|row| batch.columns().iter().map(|column| cell(column, row)).collect()).collect())
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
