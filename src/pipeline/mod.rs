//! From YAML to a checked DAG: stages repeated per variant and seed, inputs
//! resolved to instances, settings checked by their kinds, and every mistake
//! reported at once with its place. Knows no kind by name and runs nothing.

mod base;
#[cfg(test)]
mod base_tests;
mod check;
mod document;
mod engine;
mod expand;
#[cfg(test)]
mod fixtures;
mod graph;
mod node;
mod order;
mod origin;
#[cfg(test)]
mod provider_tests;
mod providers;
mod publication;
mod reference;
mod report;
mod scalar;
mod schema;
mod seeds;
mod settings;
mod shared;
mod substitute;
#[cfg(test)]
mod tests;
mod variants;
mod yaml;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

pub use base::SourceFile;
pub use engine::{EngineSettings, JobSettings};
pub use graph::{Detail, Graph, Node as GraphNode, dot, mermaid};
pub use origin::{Origin, Origins, SourceText};
pub use publication::{Catalog, ReportSettings};
use report::{Place, Report};
pub use schema::{example_of, schema};
pub use variants::NumericAxis;

pub use crate::ground::parse_duration;

use crate::ground::files::read_bytes;
use crate::ground::{InstanceId, Location, Problem, Problems, closest};
use crate::model::DeviceChoice;
use crate::remote::Sharing;
use crate::sandbox::SandboxSettings;
use crate::stage::{Stage, StageKind};
use crate::web::{BudgetSettings, LimiterSettings};

/// A checked pipeline: what a file means for given `--set` values.
#[derive(Debug, Clone)]
pub struct Pipeline {
    /// The name given by `pipeline:`.
    pub name: String,
    /// The file, as the user named it.
    pub file: PathBuf,
    /// `seed:`, 0 if not given.
    pub seed: u64,
    /// `seeds:`, in the order given; empty if not given.
    pub seeds: Vec<u64>,
    /// `device:`, if it is given: a default below what the user says, and in no fingerprint.
    pub device: Option<DeviceChoice>,
    /// `limiters:` by name.
    pub limiters: BTreeMap<String, LimiterSettings>,
    /// `budgets:` by the limiter's name.
    pub budgets: BTreeMap<String, BudgetSettings>,
    /// `engine:`, or this machine.
    pub engine: EngineSettings,
    /// `sandbox:`, if there is one.
    pub sandbox: Option<SandboxSettings>,
    /// `report:`, with its defaults where there is none.
    pub publication: ReportSettings,
    /// `store:`, if there is one: the store that is shared with others.
    pub store: Option<Sharing>,
    /// The variants' names, in the order of the file.
    pub variants: Vec<String>,
    /// What `${variant.NAME}` stands for: by variant, then by name. `${env.…}` in
    /// a value stays as it is written.
    pub variant_values: BTreeMap<String, BTreeMap<String, Value>>,
    /// Every instance, each after all that it reads; ties in the order of the file.
    pub instances: Vec<Instance>,
    /// What it was read from.
    pub source: SourceText,
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
    /// Into how many pieces its rows are cut, which are worked on apart; 1 is not at all.
    pub shards: u32,
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

/// Limiters that exist without being declared: the providers' own.
const DEFAULT_LIMITERS: [&str; 7] = ["lastfm", "lyricsovh", "lrclib", "deezer", "groq", "openai", "chat"];

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instance")
            .field("id", &self.id.to_string())
            .field("kind", &self.kind.name())
            .field("inputs", &self.inputs)
            .field("refresh", &self.refresh)
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}

impl Pipeline {
    /// The files that it was read from: its own, then its bases. When one of
    /// them changes, it is to be read again.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.source.files.iter().map(|file| file.path.as_path())
    }

    /// Finds where in its files what decides an instance is written. Parses the
    /// text again; none for a pipeline that was not read from one.
    #[must_use]
    pub fn origins(&self) -> Option<Origins<'_>> {
        Origins::of(&self.source)
    }

    /// The instances that a selector of the user means: `stage` (all of its
    /// instances), `stage@VARIANT` (of every seed), `stage#SEED` or
    /// `stage@VARIANT#SEED`, in the order of [`Pipeline::instances`].
    ///
    /// # Errors
    /// A [`Problem`] without place if there is none.
    pub fn select(&self, selector: &str) -> Result<Vec<usize>, Problem> {
        let meant = |id: &InstanceId| {
            let shorter = InstanceId { seed: None, ..id.clone() };
            let every = InstanceId { variant: None, ..id.clone() };
            [id.to_string(), shorter.to_string(), every.to_string(), id.stage.clone()]
                .iter()
                .any(|text| text == selector)
        };
        let found: Vec<usize> = (0..self.instances.len()).filter(|index| meant(&self.instances[*index].id)).collect();
        if !found.is_empty() {
            return Ok(found);
        }
        let stage = selector.split(['@', '#']).next().unwrap_or_default();
        let of_stage: Vec<String> =
            self.instances.iter().filter(|i| i.id.stage == stage).map(|i| i.id.to_string()).collect();
        let names = self.instances.iter().map(|instance| instance.id.stage.as_str());
        let problem = Problem::new(format!("the pipeline `{}` has no stage `{selector}`", self.name));
        Err(match closest(stage, names) {
            _ if !of_stage.is_empty() => problem.hint(format!("there is {}", of_stage.join(", "))),
            Some(near) => problem.hint(format!("did you mean `{near}`?")),
            None => problem.hint("`refrain plan` lists the stages"),
        })
    }
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
    let bytes = read_bytes(file).map_err(|error| {
        let problem = Problem::new(format!("{error}: {}", error.source));
        Problems(vec![if error.is_not_found() { problem.hint(missing_file(file)) } else { problem }])
    })?;
    match utf8(&bytes) {
        Ok(text) => load_text(file, text, variables, kinds),
        Err((line, column)) => {
            let mut report = Report::new(file, &String::from_utf8_lossy(&bytes));
            report.hinted(Place { file: 0, line, column }, "this is not UTF-8 text", "save the file as UTF-8");
            report.finish(None)
        }
    }
}

/// The text of a file; else the line and column of what is not UTF-8.
fn utf8(bytes: &[u8]) -> Result<&str, (usize, usize)> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let before = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
        let line = before.matches('\n').count() + 1;
        (line, before.rsplit('\n').next().unwrap_or_default().chars().count() + 1)
    })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

/// What may have been meant by a file that is not there.
fn missing_file(file: &Path) -> String {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| Path::new(name).extension().is_some_and(|e| e == "yaml" || e == "yml"))
        .collect();
    names.sort();
    let wanted = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    match closest(wanted, names.iter().map(String::as_str)) {
        Some(near) => format!("did you mean `{}`?", file.with_file_name(near).display()),
        None => "give the path of a pipeline's YAML file".to_owned(),
    }
}

/// Checks the text of a pipeline file. `file` is what messages call it, and
/// where a `base:` is looked for.
///
/// # Errors
/// Every mistake found, in the order of the file.
pub fn load_text(
    file: &Path,
    text: &str,
    variables: &BTreeMap<String, String>,
    kinds: &[&'static dyn StageKind],
) -> Result<Pipeline, Problems> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut report = Report::new(file, text);
    let Some((root, files)) = base::read(file, text, &mut report) else { return report.finish(None) };
    let document = document::read(&root, variables, kinds, &mut report);
    let Some(document) = document else { return report.finish(None) };
    let drafts = check::check(&document, kinds, &mut report);
    let instances = expand::expand(&document, &drafts, &mut report);
    report.finish(Some(Pipeline {
        name: document.name,
        file: file.to_owned(),
        seed: document.seed,
        seeds: document.seeds,
        device: document.device,
        limiters: document.limiters,
        budgets: document.budgets.into_iter().map(|(name, (_, settings))| (name, settings)).collect(),
        engine: document.engine,
        sandbox: document.sandbox,
        publication: document.publication,
        variant_values: variants::values(&document.variants),
        store: document.store,
        variants: document.variants.into_iter().map(|variant| variant.name).collect(),
        instances,
        source: SourceText { files, set: variables.clone() },
    }))
}
