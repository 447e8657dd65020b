//! From YAML to a checked DAG: stages repeated per variant and seed, inputs
//! resolved to instances, settings checked by their kinds, and every mistake
//! reported at once with its place. Knows no kind by name and runs nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::ground::{InstanceId, Location, Problem, Problems};
use crate::sandbox::SandboxSettings;
use crate::stage::{Stage, StageKind};
use crate::web::{BudgetSettings, LimiterSettings};

/// A checked pipeline: what a file means for given `--set` values.
#[derive(Clone)]
pub struct Pipeline {
    /// The name given by `pipeline:`.
    pub name: String,
    /// The file, as the user named it.
    pub file: PathBuf,
    /// `seed:`, 0 if not given.
    pub seed: u64,
    /// `seeds:`, in the order given; empty if not given.
    pub seeds: Vec<u64>,
    /// `limiters:` by name.
    pub limiters: BTreeMap<String, LimiterSettings>,
    /// `budgets:` by the limiter's name.
    pub budgets: BTreeMap<String, BudgetSettings>,
    /// `sandbox:`, if there is one.
    pub sandbox: Option<SandboxSettings>,
    /// The variants' names, in the order of the file.
    pub variants: Vec<String>,
    /// Every instance, each after all that it reads; ties in the order of the file.
    pub instances: Vec<Instance>,
}

/// A stage for one variant and one seed, where it is repeated for them.
#[derive(Clone)]
pub struct Instance {
    /// Its stage, variant and seed.
    pub id: InstanceId,
    /// What it does.
    pub kind: &'static dyn StageKind,
    /// Its checked settings.
    pub stage: Arc<dyn Stage>,
    /// What it reads, by port. A port without input has no entry; a port that
    /// takes many is in the order of the labels.
    pub inputs: BTreeMap<String, Vec<Source>>,
    /// When it is asked for again although nothing changed.
    pub refresh: Refresh,
    /// Where the stage stands in the file.
    pub location: Location,
    /// The pipeline's seed for this instance: its own of `seeds:`, else `seed:`.
    pub seed: u64,
}

/// One table that an instance reads.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    /// What tells it from others of its port: [`InstanceId::label`].
    pub label: String,
    /// The index of the producer in [`Pipeline::instances`].
    pub instance: usize,
    /// Which of the producer's outputs.
    pub output: String,
}

/// When a stage runs again although nothing it depends on changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Refresh {
    /// Never.
    #[default]
    Once,
    /// In every run.
    Always,
    /// When its last result is older than this.
    After(Duration),
}

/// Reads and checks a pipeline file. `variables` are the `--set` values.
///
/// # Errors
/// Every mistake found, in the order of the file.
pub fn load(
    file: &Path,
    variables: &BTreeMap<String, String>,
    kinds: &[&'static dyn StageKind],
) -> Result<Pipeline, Problems> {
    let text = crate::ground::files::read_text(file)
        .map_err(|error| Problems(vec![Problem::new(format!("{error}: {}", error.source))]))?;
    load_text(file, &text, variables, kinds)
}

/// Checks the text of a pipeline file. `file` is only what messages call it.
///
/// # Errors
/// Every mistake found, in the order of the file.
pub fn load_text(
    _file: &Path,
    _text: &str,
    _variables: &BTreeMap<String, String>,
    _kinds: &[&'static dyn StageKind],
) -> Result<Pipeline, Problems> {
    Err(Problems::default())
}

/// The JSON Schema of a pipeline file, for editors: made from the registry.
#[must_use]
pub fn schema(_kinds: &[&'static dyn StageKind]) -> serde_json::Value {
    serde_json::Value::Null
}
