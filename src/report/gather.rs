//! Reading what a report says out of a store. Nothing is made, and no stage runs.

use std::path::PathBuf;

use super::{Report, RunFacts, board, cautions, data, songs, stages, summary};
use crate::engine::{self, EngineError, PlanOptions, Planned, Summary};
use crate::pipeline::Pipeline;
use crate::store::{Artifact, Manifest, Store};
use crate::table::{Split, SplitError, Table, TableError, read_parquet};

/// What is reported of.
#[derive(Debug, Clone, Default)]
pub struct ReportOptions {
    /// As for a plan: which world the results are to be of.
    pub plan: PlanOptions,
    /// The songs to show, each an item's id or `Artist - Title`; if there are
    /// none, those that the file names, else two that have every text.
    pub songs: Vec<String>,
    /// How many rows of each artifact are shown.
    pub rows: usize,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The engine refused.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// An artifact cannot be read.
    #[error("could not read `{reference}` (`{}`)", path.display())]
    Unreadable {
        /// The stage's output.
        reference: String,
        /// The Parquet file.
        path: PathBuf,
        /// Why.
        #[source]
        source: TableError,
    },
    /// What should be a split is none.
    #[error("could not read the split `{reference}`")]
    NoSplit {
        /// The stage.
        reference: String,
        /// Why.
        #[source]
        source: SplitError,
    },
    /// Nothing of the pipeline was ever made.
    #[error("there is nothing to report of `{pipeline}`: none of its stages has a result in this store")]
    Nothing {
        /// The pipeline's name.
        pipeline: String,
    },
    /// A song was asked for that no table has.
    #[error("there is no song `{song}` in the tables with `item_id`, `artist` and `title` of this pipeline")]
    NoSong {
        /// As it was asked for.
        song: String,
        /// A song with a similar name.
        near: Option<String>,
    },
}

impl ReportError {
    /// What the user can do.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Engine(error) => error.hint(),
            Self::Unreadable { .. } | Self::NoSplit { .. } => {
                Some("`refrain verify --repair` heals the store".to_owned())
            }
            Self::Nothing { .. } => Some("`refrain run` makes them".to_owned()),
            Self::NoSong { near: Some(near), .. } => Some(format!("did you mean `{near}`?")),
            Self::NoSong { near: None, .. } => Some("give an item's id, or `Artist - Title`".to_owned()),
        }
    }
}

/// A pipeline's results: what each instance made last.
pub(super) struct Gatherer<'a> {
    pub(super) pipeline: &'a Pipeline,
    pub(super) store: &'a Store,
    options: PlanOptions,
    pub(super) planned: Vec<Planned>,
    pub(super) manifests: Vec<Option<Manifest>>,
    pub(super) last: Option<Summary>,
}

/// Gathers a report.
///
/// # Errors
/// [`ReportError`] if nothing was made, or a table that is needed cannot be read.
pub fn gather(pipeline: &Pipeline, store: &Store, options: &ReportOptions) -> Result<Report, ReportError> {
    let gatherer = Gatherer::new(pipeline, store, options)?;
    if gatherer.manifests.iter().all(Option::is_none) {
        return Err(ReportError::Nothing { pipeline: pipeline.name.clone() });
    }
    let (songs, missing) = songs::read(&gatherer, &options.songs)?;
    let mut report = Report {
        format: 1,
        title: pipeline.publication.title.clone().unwrap_or_else(|| pipeline.name.clone()),
        pipeline: pipeline.name.clone(),
        file: file_of(pipeline),
        version: env!("CARGO_PKG_VERSION"),
        run: last_run(pipeline, store)?,
        synthetic: gatherer.world(),
        stages: stages::read(&gatherer, options)?,
        data: data::read(&gatherer)?,
        boards: board::read(&gatherer)?,
        curves: board::curves(&gatherer)?,
        songs,
        ..Report::default()
    };
    report.gaps = summary::gaps(&report);
    report.gaps.extend(missing.iter().map(|song| format!("The file names the song `{song}`, which no table has.")));
    report.cautions = cautions::of(&report, pipeline);
    report.summary = summary::sentences(&report);
    Ok(report)
}

/// The pipeline's file as the user named it; no more than its name where that
/// would tell the folders of a machine.
fn file_of(pipeline: &Pipeline) -> String {
    let path = &pipeline.file;
    let shown = if path.is_relative() { path.as_os_str() } else { path.file_name().unwrap_or_default() };
    shown.to_string_lossy().into_owned()
}

fn last_run(pipeline: &Pipeline, store: &Store) -> Result<Option<RunFacts>, EngineError> {
    let (runs, _) = engine::runs(store, Some(&pipeline.name), 1)?;
    Ok(runs.into_iter().next().map(|run| RunFacts {
        run: run.run,
        at_millis: run.at_millis,
        state: run.state.word(),
        stages: run.stages,
        ran: run.ran,
        cached: run.cached,
        failed: run.failed,
        seconds: run.seconds,
    }))
}

impl<'a> Gatherer<'a> {
    fn new(pipeline: &'a Pipeline, store: &'a Store, options: &ReportOptions) -> Result<Self, ReportError> {
        let plan = engine::plan(pipeline, store, &options.plan)?;
        let mut manifests = Vec::with_capacity(pipeline.instances.len());
        for instance in &pipeline.instances {
            manifests.push(match engine::last_result(pipeline, store, &options.plan, &instance.id.to_string()) {
                Ok(manifest) => Some(manifest),
                Err(EngineError::NotMade { .. }) => None,
                Err(error) => return Err(error.into()),
            });
        }
        let (runs, _) = engine::runs(store, Some(&pipeline.name), 1)?;
        let last = runs.first().and_then(|run| engine::run_summary(store, &run.run).ok());
        Ok(Self { pipeline, store, options: options.plan.clone(), planned: plan.stages, manifests, last })
    }

    /// The sandbox world of the first synthetic result.
    fn world(&self) -> Option<String> {
        self.manifests.iter().flatten().find_map(|made| Some(made.fingerprint.get("world")?.as_str()?.to_owned()))
    }

    /// The index of the instance with this label among those that feed a port.
    pub(super) fn sources(&self, index: usize, port: &str) -> Vec<(String, usize)> {
        let sources = self.pipeline.instances[index].inputs.get(port).into_iter().flatten();
        sources.map(|source| (source.label.clone(), source.instance)).collect()
    }

    /// The one instance that feeds a port.
    pub(super) fn source(&self, index: usize, port: &str) -> Option<usize> {
        Some(self.pipeline.instances[index].inputs.get(port)?.first()?.instance)
    }

    /// The artifact of an output of an instance.
    pub(super) fn output(&self, index: usize, output: &str) -> Option<&Artifact> {
        self.manifests[index].as_ref()?.outputs.get(output)
    }

    /// The artifact of the first output.
    pub(super) fn main(&self, index: usize) -> Option<&Artifact> {
        let first = self.pipeline.instances[index].stage.outputs().into_iter().next()?;
        self.output(index, &first.name)
    }

    /// Where an artifact is; it is fetched if only the shared store has it.
    pub(super) fn path(&self, artifact: &Artifact) -> Result<PathBuf, EngineError> {
        engine::bring(self.store, &self.options, artifact)
    }

    /// Some columns of an output; none where it was not made.
    pub(super) fn table(&self, index: usize, output: &str, columns: &[&str]) -> Result<Option<Table>, ReportError> {
        let Some(artifact) = self.output(index, output) else { return Ok(None) };
        if columns.iter().any(|column| artifact.column(column).is_none()) {
            return Ok(None);
        }
        let path = self.path(artifact)?;
        let names: Vec<String> = columns.iter().map(|column| (*column).to_owned()).collect();
        let names = (!names.is_empty()).then_some(names);
        let table = read_parquet(&path, names.as_deref());
        table.map(Some).map_err(|source| self.unreadable(index, path, source))
    }

    /// An artifact's error, with the stage it is of.
    pub(super) fn unreadable(&self, index: usize, path: PathBuf, source: TableError) -> ReportError {
        ReportError::Unreadable { reference: self.pipeline.instances[index].id.to_string(), path, source }
    }

    /// The split that an instance made.
    pub(super) fn split(&self, index: usize) -> Result<Option<Split>, ReportError> {
        let Some(artifact) = self.main(index) else { return Ok(None) };
        let read = Split::of_parquet(&self.path(artifact)?);
        let reference = self.pipeline.instances[index].id.to_string();
        read.map(Some).map_err(|source| ReportError::NoSplit { reference, source })
    }
}
