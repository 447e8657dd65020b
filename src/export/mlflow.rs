//! `MLflow`'s file store: one run for each table of metrics, with the settings
//! of what it measured, its metrics, and the learning curve behind it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use arrow::array::Array;
use serde_json::{Value, json};

use super::error::ExportError;
use super::folder::NewFolder;
use super::lineage::{Lineage, Made, plain};
use crate::ground::files::FileError;
use crate::store::Artifact;
use crate::table::{Table, TableError, read_parquet};

/// A value as `MLflow` takes it; longer ones are cut.
const LONGEST: usize = 6000;
/// The column that numbers the steps of a learning curve.
const STEP: &str = "epoch";

/// One number of a run.
struct Point {
    name: String,
    step: i64,
    value: f64,
}

/// Writes the file store into a new or empty folder; how many runs it has.
///
/// # Errors
/// [`ExportError`]; then there is no folder.
pub fn export_mlflow(lineage: &Lineage<'_>, target: &Path) -> Result<usize, ExportError> {
    let measured: Vec<(&Made<'_>, &Artifact)> = lineage.made.iter().filter_map(metrics_of).collect();
    if measured.is_empty() {
        return Err(ExportError::NoMetrics);
    }
    let folder = NewFolder::begin(target)?;
    let experiment = experiment_id(&lineage.pipeline.name);
    let times = || lineage.made.iter().map(Made::times);
    let head = json!({
        "artifact_location": format!("./{experiment}"),
        "creation_time": times().map(|(begun, _)| begun).min(),
        "experiment_id": experiment,
        "last_update_time": times().map(|(_, done)| done).max(),
        "lifecycle_stage": "active",
        "name": lineage.pipeline.name,
    });
    folder.write(&format!("{experiment}/meta.yaml"), yaml(&head).as_bytes())?;
    let mut runs = BTreeSet::new();
    for (made, artifact) in measured {
        // Two instances with one result are one run.
        if runs.insert(made.manifest.key) {
            write_run(lineage, made, artifact, &experiment, &folder)?;
        }
    }
    folder.publish()?;
    Ok(runs.len())
}

/// The output that is a table of metrics.
fn metrics_of<'a, 'b>(made: &'b Made<'a>) -> Option<(&'b Made<'a>, &'b Artifact)> {
    let is = |artifact: &&Artifact| {
        let has = |name: &str, of: &str| artifact.column(name).is_some_and(|column| column.data_type == of);
        has("metric", "str") && has("value", "f64")
    };
    made.manifest.outputs.values().find(is).map(|artifact| (made, artifact))
}

/// An id that is the same for each export of a pipeline: a number, as `MLflow` has them.
fn experiment_id(pipeline: &str) -> String {
    (crate::ground::ContentHash::of(pipeline.as_bytes()).start() >> 4).to_string()
}

fn write_run(
    lineage: &Lineage<'_>,
    made: &Made<'_>,
    metrics: &Artifact,
    experiment: &str,
    folder: &NewFolder,
) -> Result<(), ExportError> {
    let run: String = made.manifest.key.to_string().chars().take(32).collect();
    let above = above(lineage, made);
    let (begun, _) = above.iter().map(|made| made.times()).min().unwrap_or_else(|| made.times());
    let (_, done) = made.times();
    let place = format!("{experiment}/{run}");
    let head = json!({
        "artifact_uri": format!("./{place}/artifacts"),
        "end_time": done,
        "entry_point_name": "",
        "experiment_id": experiment,
        "lifecycle_stage": "active",
        "run_id": run,
        "run_name": made.name(),
        "run_uuid": run,
        "source_name": "",
        "source_type": 4,
        "source_version": "",
        "start_time": begun,
        "status": 3,
        "tags": [],
        "user_id": "refrain",
    });
    folder.write(&format!("{place}/meta.yaml"), yaml(&head).as_bytes())?;
    // A run without these is not taken for one.
    ["artifacts", "metrics", "params", "tags"].iter().try_for_each(|name| folder.make(&format!("{place}/{name}")))?;
    let write_all = |kind: &str, values: BTreeMap<String, String>| -> Result<(), FileError> {
        values.iter().try_for_each(|(name, value)| {
            folder.write(&format!("{place}/{kind}/{}", allowed(name)), cut(value).as_bytes())
        })
    };
    write_all("params", params(lineage, made, &above))?;
    write_all("tags", tags(lineage, made))?;
    let unreadable = |source: TableError| ExportError::Artifact { stage: made.name(), source };
    let mut points = measured(&read(lineage, metrics).map_err(unreadable)?).map_err(unreadable)?;
    for curve in above.iter().flat_map(|made| made.manifest.outputs.values()).filter(|of| of.column(STEP).is_some()) {
        points.extend(steps(&read(lineage, curve).map_err(unreadable)?, curve).map_err(unreadable)?);
    }
    let mut lines: BTreeMap<String, String> = BTreeMap::new();
    for point in points {
        let line = format!("{done} {} {}\n", point.value, point.step);
        lines.entry(allowed(&point.name)).or_default().push_str(&line);
    }
    lines.iter().try_for_each(|(name, text)| folder.write(&format!("{place}/metrics/{name}"), text.as_bytes()))?;
    Ok(())
}

fn read(lineage: &Lineage<'_>, artifact: &Artifact) -> Result<Table, TableError> {
    read_parquet(&lineage.store.object_path(&artifact.hash), None)
}

/// The instance and those that it reads and that are, like it, one of several
/// variants or seeds: what tells it from the others. Without any, what it reads.
fn above<'a, 'b>(lineage: &'b Lineage<'a>, made: &'b Made<'a>) -> Vec<&'b Made<'a>> {
    let mut reached = BTreeSet::new();
    let mut queue = vec![made];
    let mut found = Vec::new();
    while let Some(next) = queue.pop() {
        if !reached.insert(next.name()) {
            continue;
        }
        found.push(next);
        let differs = |other: &&Made<'_>| {
            let id = &other.instance.id;
            id.variant.is_some() || id.seed.is_some() || std::ptr::eq(next, made)
        };
        queue.extend(lineage.inputs(next).into_iter().map(|(producer, ..)| producer).filter(differs));
    }
    found
}

/// The settings by `stage.setting`, and the values of the variant.
fn params(lineage: &Lineage<'_>, made: &Made<'_>, above: &[&Made<'_>]) -> BTreeMap<String, String> {
    let mut params = BTreeMap::new();
    for of in above {
        let stage = &of.instance.id.stage;
        params.extend(of.settings().iter().map(|(name, value)| (format!("{stage}.{name}"), plain(value))));
        params.insert(format!("{stage}.kind"), format!("{} {}", of.manifest.kind, kind_version(of)));
    }
    let variant = made.instance.id.variant.as_ref().and_then(|name| lineage.pipeline.variant_values.get(name));
    for (name, value) in variant.into_iter().flatten() {
        params.insert(format!("variant.{name}"), plain(value));
    }
    params.insert("seed".to_owned(), made.instance.seed.to_string());
    params
}

/// The version of the kind that made it.
fn kind_version(made: &Made<'_>) -> u64 {
    made.manifest.fingerprint.get("kind_version").and_then(Value::as_u64).unwrap_or_default()
}

fn tags(lineage: &Lineage<'_>, made: &Made<'_>) -> BTreeMap<String, String> {
    let mut tags = BTreeMap::from([
        ("mlflow.runName".to_owned(), made.name()),
        ("mlflow.source.name".to_owned(), lineage.pipeline.name.clone()),
        ("refrain.key".to_owned(), made.manifest.key.to_string()),
        ("refrain.pipeline".to_owned(), lineage.pipeline.name.clone()),
        ("refrain.stage".to_owned(), made.instance.id.stage.clone()),
        ("synthetic".to_owned(), made.synthetic.to_string()),
    ]);
    if let Some(variant) = &made.instance.id.variant {
        tags.insert("refrain.variant".to_owned(), variant.clone());
    }
    for (at, warning) in made.manifest.warnings.iter().enumerate() {
        tags.insert(format!("refrain.warning.{at}"), warning.clone());
    }
    if made.synthetic {
        tags.insert(
            "mlflow.note.content".to_owned(),
            "Synthetic data: it says nothing about real listeners.".to_owned(),
        );
    }
    tags
}

/// The numbers of a table of metrics: `test/all/hr_at_10`.
fn measured(table: &Table) -> Result<Vec<Point>, TableError> {
    let (metrics, values) = (table.strings("metric")?, table.floats("value")?);
    let text = |name: &str| table.has_column(name).then(|| table.strings(name)).transpose();
    let (parts, slices) = (text("part")?, text("slice")?);
    let ks = table.has_column("k").then(|| table.integers("k")).transpose()?;
    let mut points = Vec::new();
    for row in (0..table.rows()).filter(|row| !values.is_null(*row)) {
        let mut name = Vec::new();
        for column in [&parts, &slices].into_iter().flatten().filter(|column| !column.is_null(row)) {
            name.push(column.value(row).to_owned());
        }
        let k = ks.as_ref().filter(|ks| !ks.is_null(row)).map(|ks| format!("@{}", ks.value(row)));
        name.push(format!("{}{}", metrics.value(row), k.unwrap_or_default()));
        points.push(Point { name: name.join("/"), step: 0, value: values.value(row) });
    }
    Ok(points)
}

/// The numbers of a learning curve: every column of floats, by step.
fn steps(table: &Table, artifact: &Artifact) -> Result<Vec<Point>, TableError> {
    let at = table.integers(STEP)?;
    let mut points = Vec::new();
    for column in artifact.columns.iter().filter(|column| matches!(column.data_type.as_str(), "f64" | "f32")) {
        let values = table.floats(&column.name)?;
        for row in (0..table.rows()).filter(|row| !values.is_null(*row) && !at.is_null(*row)) {
            points.push(Point {
                name: format!("curve/{}", column.name),
                step: at.value(row),
                value: values.value(row),
            });
        }
    }
    Ok(points)
}

/// A name of letters, digits and `_ - . space /`, which is all that every
/// version of `MLflow` takes; `@` is written out, and no part is `..`.
fn allowed(name: &str) -> String {
    let name = name.replace('@', "_at_").replace('=', "/");
    let part = |part: &str| {
        let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | ' ');
        let part: String = part.chars().map(|c| if good(c) { c } else { '_' }).take(100).collect();
        let part = part.trim_matches(['.', ' ']).to_owned();
        if part.is_empty() { "_".to_owned() } else { part }
    };
    name.split('/').map(part).collect::<Vec<_>>().join("/")
}

fn cut(value: &str) -> String {
    value.chars().take(LONGEST).collect()
}

/// A mapping of scalars as YAML: JSON is YAML, so each value is written as JSON.
fn yaml(head: &Value) -> String {
    let lines = head.as_object().into_iter().flatten().map(|(name, value)| format!("{name}: {value}\n"));
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_such_as_every_version_takes() {
        assert_eq!(allowed("test/all/hr@10"), "test/all/hr_at_10");
        assert_eq!(allowed("test/country=DE/hr@10"), "test/country/DE/hr_at_10");
        assert_eq!(allowed("test/tag=hip hop & more/../x"), "test/tag/hip hop _ more/_/x");
    }

    #[test]
    fn a_head_is_yaml() {
        assert_eq!(yaml(&json!({"name": "a: b", "status": 3, "tags": []})), "name: \"a: b\"\nstatus: 3\ntags: []\n");
    }

    #[test]
    fn an_experiment_has_the_same_number_each_time() {
        assert_eq!(experiment_id("demo"), experiment_id("demo"));
        assert_ne!(experiment_id("demo"), experiment_id("apple"));
        assert!(experiment_id("demo").parse::<i64>().is_ok());
    }
}
