//! Two runs side by side: for each stage how it ended, what it was made from
//! and which rows of its outputs differ. Runs of different pipelines are
//! compared too, stage by stage of the same name.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::{ArrayRef, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::Schema;

use super::error::EngineError;
use super::field::{Field, fields};
use super::fingerprint::Fingerprint;
use super::options::{End, StageResult, Summary};
use super::runs::run_summary;
use crate::ground::ContentHash;
use crate::store::{Manifest, ObjectState, Store, StoreError};
use crate::table::{Columns, Difference, Table, TableError, describe_parquet, difference, read_parquet};

/// Keys shown of rows that came, went or changed.
const SAMPLE: usize = 3;

/// Tables of up to so many rows that hold floats are metrics: shown in full.
const SMALL: u64 = 100;

/// What to compare, and along what.
pub struct DiffOptions<'a> {
    /// Only this stage: `stage`, or one instance of it.
    pub stage: Option<String>,
    /// The key columns, instead of those that a kind declares.
    pub by: Vec<String>,
    /// The key columns that a kind declares for an output.
    pub keys: &'a dyn Fn(&str, &str) -> Vec<String>,
}

/// Two runs.
#[derive(Debug)]
pub struct RunDiff {
    /// The first run.
    pub before: Summary,
    /// The second.
    pub now: Summary,
    /// The stages that differ somewhere, in the order of the second run; those
    /// that only the first has come last.
    pub stages: Vec<StageDiff>,
    /// How many stages have the same results from the same inputs and settings.
    pub same: usize,
}

/// One stage in two runs.
#[derive(Debug)]
pub struct StageDiff {
    /// The instance.
    pub stage: String,
    /// How it ended in the first run; none if it was not in it.
    pub before: Option<End>,
    /// How it ended in the second.
    pub now: Option<End>,
    /// What its results were made from, field by field, changed or not. Empty
    /// where a record is gone.
    pub fields: Vec<Field>,
    /// Its outputs, by name: only those that are not the same file.
    pub outputs: BTreeMap<String, OutputDiff>,
}

/// One output in two runs.
#[derive(Debug)]
pub enum OutputDiff {
    /// It cannot be compared, for this reason.
    Gone(String),
    /// It was compared.
    Compared(Box<Compared>),
}

/// Two tables and what differs between them.
#[derive(Debug)]
pub struct Compared {
    /// Rows in the first run and in the second.
    pub rows: (u64, u64),
    /// What differs.
    pub difference: Difference,
    /// Whether rows were told apart by key columns, or only as a whole.
    pub keyed: bool,
    /// The keys of the first rows that came.
    pub added: Table,
    /// The keys of the first rows that went.
    pub removed: Table,
    /// The keys of the first rows that changed.
    pub changed: Table,
    /// Of small tables with numbers: the rows that changed, whole, before and now.
    pub metrics: Option<(Table, Table)>,
}

/// Compares two runs, named as they are called in the store.
///
/// # Errors
/// [`EngineError`] if a run left no summary, no run has the stage, or a table
/// cannot be compared.
pub fn diff(store: &Store, before: &str, now: &str, options: &DiffOptions<'_>) -> Result<RunDiff, EngineError> {
    let (before, now) = (run_summary(store, before)?, run_summary(store, now)?);
    let wanted = |result: &&StageResult| options.stage.as_deref().is_none_or(|stage| is_meant(stage, &result.stage));
    let old: BTreeMap<&str, &StageResult> =
        before.results.iter().filter(wanted).map(|result| (result.stage.as_str(), result)).collect();
    let new: BTreeSet<&str> = now.results.iter().filter(wanted).map(|result| result.stage.as_str()).collect();
    if let Some(stage) = options.stage.as_ref().filter(|_| old.is_empty() && new.is_empty()) {
        return Err(no_such_stage(stage, &before, &now));
    }
    let mut stages = Vec::new();
    let mut same = 0;
    let gone = before.results.iter().filter(wanted).filter(|result| !new.contains(result.stage.as_str()));
    let pairs = now.results.iter().filter(wanted).map(|result| (old.get(result.stage.as_str()).copied(), Some(result)));
    for (one, other) in pairs.chain(gone.map(|result| (Some(result), None))) {
        match compare_stage(store, one, other, options)? {
            Some(stage) => stages.push(stage),
            None => same += 1,
        }
    }
    Ok(RunDiff { before, now, stages, same })
}

fn is_meant(selector: &str, instance: &str) -> bool {
    let stage = instance.split(['@', '#']).next().unwrap_or_default();
    let without_seed = instance.split('#').next().unwrap_or_default();
    [instance, stage, without_seed].contains(&selector)
}

fn no_such_stage(stage: &str, before: &Summary, now: &Summary) -> EngineError {
    let names: BTreeSet<&str> = before.results.iter().chain(&now.results).map(|result| result.stage.as_str()).collect();
    let hint = crate::ground::closest(stage, names.iter().copied()).map_or_else(
        || format!("their stages are {}", names.iter().copied().collect::<Vec<_>>().join(", ")),
        |near| format!("did you mean `{near}`?"),
    );
    EngineError::NoStageInRuns { stage: stage.to_owned(), hint }
}

/// What differs of a stage; none if nothing does.
fn compare_stage(
    store: &Store,
    before: Option<&StageResult>,
    now: Option<&StageResult>,
    options: &DiffOptions<'_>,
) -> Result<Option<StageDiff>, EngineError> {
    if let (Some(one), Some(other)) = (before, now)
        && one.key.is_some()
        && one.key == other.key
        && one.outputs == other.outputs
    {
        return Ok(None);
    }
    let of = |result: Option<&StageResult>| match result.and_then(|result| result.key) {
        Some(key) => store.manifest(&key),
        None => Ok(None),
    };
    let manifests = (of(before)?, of(now)?);
    let print = |manifest: &Option<Manifest>| {
        serde_json::from_value::<Fingerprint>(manifest.as_ref()?.fingerprint.clone()).ok()
    };
    let fields = match (print(&manifests.0), print(&manifests.1)) {
        (Some(old), Some(new)) => fields(Some(&old), Some(&new), &[]),
        _ => Vec::new(),
    };
    let mut outputs = BTreeMap::new();
    if let (Some(one), Some(other)) = (before, now) {
        let ports: BTreeSet<&String> = one.outputs.keys().chain(other.outputs.keys()).collect();
        for port in ports {
            let hashes = (one.outputs.get(port), other.outputs.get(port));
            if hashes.0 != hashes.1 {
                outputs.insert(port.clone(), compare_output(store, port, hashes, &manifests, options)?);
            }
        }
    }
    let stage = before.or(now).map(|result| result.stage.clone()).unwrap_or_default();
    let end = |result: Option<&StageResult>| result.map(|result| result.end.clone());
    Ok(Some(StageDiff { stage, before: end(before), now: end(now), fields, outputs }))
}

/// An artifact that is there.
struct Opened {
    path: PathBuf,
    rows: u64,
    columns: Vec<String>,
    /// The columns' hashes, where they are known.
    hashes: BTreeMap<String, ContentHash>,
    has_floats: bool,
}

/// Opens an artifact of a run; why it is not to be had otherwise.
fn open(
    store: &Store,
    port: &str,
    hash: Option<&ContentHash>,
    manifest: Option<&Manifest>,
    which: &str,
) -> Result<Result<Opened, String>, TableError> {
    let Some(hash) = hash else { return Ok(Err(format!("the {which} run has no such output"))) };
    let path = store.object_path(hash);
    let artifact = manifest.and_then(|manifest| manifest.outputs.get(port)).filter(|artifact| artifact.hash == *hash);
    let is_there = match artifact {
        Some(artifact) => store.check(artifact) == ObjectState::Good,
        None => path.is_file(),
    };
    if !is_there {
        return Ok(Err(format!("the artifact of the {which} run is gone from the store")));
    }
    let (rows, columns) = describe_parquet(&path)?;
    let hashes =
        artifact.iter().flat_map(|artifact| &artifact.columns).map(|column| (column.name.clone(), column.hash));
    let hashes = hashes.collect();
    let has_floats = columns.iter().any(|(_, data_type)| data_type.is_floating());
    Ok(Ok(Opened { path, rows, columns: columns.into_iter().map(|(name, _)| name).collect(), hashes, has_floats }))
}

fn compare_output(
    store: &Store,
    port: &str,
    hashes: (Option<&ContentHash>, Option<&ContentHash>),
    manifests: &(Option<Manifest>, Option<Manifest>),
    options: &DiffOptions<'_>,
) -> Result<OutputDiff, EngineError> {
    let failed = |error: TableError| EngineError::Store(StoreError::Table(error));
    let old = open(store, port, hashes.0, manifests.0.as_ref(), "first").map_err(failed)?;
    let new = open(store, port, hashes.1, manifests.1.as_ref(), "second").map_err(failed)?;
    let (old, new) = match (old, new) {
        (Ok(old), Ok(new)) => (old, new),
        (Err(why), _) | (_, Err(why)) => return Ok(OutputDiff::Gone(why)),
    };
    let kind = manifests.1.as_ref().or(manifests.0.as_ref()).map(|manifest| manifest.kind.as_str());
    let keys = key_columns(kind.map(|kind| (options.keys)(kind, port)).unwrap_or_default(), &old, &new, options)?;
    let read_old = |name: &str| read_column(&old, name);
    let read_new = |name: &str| read_column(&new, name);
    let is_equal = |name: &str| old.hashes.get(name).is_some_and(|hash| new.hashes.get(name) == Some(hash));
    let difference = difference(
        &Columns { names: old.columns.clone(), read: &read_old },
        &Columns { names: new.columns.clone(), read: &read_new },
        &keys,
        &is_equal,
    )
    .map_err(failed)?;
    let sample = |side: &Opened, rows: Vec<u32>| rows_of(side, &difference.keys, &rows).map_err(failed);
    let first = |rows: &[u32]| rows.iter().copied().take(SAMPLE).collect::<Vec<_>>();
    let is_small = old.rows <= SMALL && new.rows <= SMALL && old.has_floats && new.has_floats && !keys.is_empty();
    let metrics = if is_small {
        let (one, other): (Vec<u32>, Vec<u32>) = difference.changed.iter().copied().unzip();
        let whole = |side: &Opened, rows: &[u32]| rows_of(side, &side.columns, rows).map_err(failed);
        Some((whole(&old, &one)?, whole(&new, &other)?))
    } else {
        None
    };
    Ok(OutputDiff::Compared(Box::new(Compared {
        rows: (old.rows, new.rows),
        keyed: !keys.is_empty(),
        added: sample(&new, first(&difference.added))?,
        removed: sample(&old, first(&difference.removed))?,
        changed: sample(&new, difference.changed.iter().take(SAMPLE).map(|pair| pair.1).collect())?,
        metrics,
        difference,
    })))
}

/// The key columns: those asked for, else those declared, else the columns
/// that end with `_id`; none where there are no such columns.
fn key_columns(
    declared: Vec<String>,
    old: &Opened,
    new: &Opened,
    options: &DiffOptions<'_>,
) -> Result<Vec<String>, EngineError> {
    let is_there = |name: &String| old.columns.contains(name) && new.columns.contains(name);
    if !options.by.is_empty() {
        return match options.by.iter().find(|name| !is_there(name)) {
            None => Ok(options.by.clone()),
            Some(missing) => {
                let columns: Vec<&str> = old.columns.iter().filter(|name| is_there(name)).map(String::as_str).collect();
                Err(EngineError::NoKeyColumn {
                    column: missing.clone(),
                    hint: format!("both have {}", columns.join(", ")),
                })
            }
        };
    }
    if !declared.is_empty() && declared.iter().all(is_there) {
        return Ok(declared);
    }
    let ids = old.columns.iter().filter(|name| name.ends_with("_id") && is_there(name));
    Ok(ids.cloned().collect())
}

fn read_column(side: &Opened, name: &str) -> Result<ArrayRef, TableError> {
    read_parquet(&side.path, Some(&[name.to_owned()]))?.column(name)
}

/// Some rows of some columns.
fn rows_of(side: &Opened, columns: &[String], rows: &[u32]) -> Result<Table, TableError> {
    if rows.is_empty() {
        return Ok(Table::new(Arc::new(Schema::empty()), Vec::new()));
    }
    let places = UInt32Array::from(rows.to_vec());
    let taken = columns.iter().map(|name| {
        let column = read_column(side, name)?;
        let taken = take(column.as_ref(), &places, None);
        Ok((name.clone(), taken.map_err(|source| TableError::Arrow { action: "take rows of", source })?))
    });
    Table::of_columns(taken.collect::<Result<Vec<_>, TableError>>()?)
}
