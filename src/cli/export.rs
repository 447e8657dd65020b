//! `refrain export`: what a pipeline made, as other tools take it.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::arguments::{Global, Reading};
use super::errors::{Exit, Mistake};
use super::project::{self, Project};
use super::terminal::{Style, count, data, say};
use crate::engine::{self, PlanOptions, State};
use crate::export::{CrateOptions, ExportError, Lineage, export_mlflow, export_ro_crate};
use crate::pipeline::Pipeline;
use crate::store::Store;

const CRATE_HELP: &str = "\
A crate names every result by its BLAKE3 and says what it was made from, by what, with which settings and when. Paths of
this machine and values of the environment are not in it. With --with-data the artifacts are; those that real services
answered are left out, and artifacts with people's own names are refused. What else to think of before it is published
is in docs/data.md.";

const MLFLOW_HELP: &str = "\
One run for each table of metrics: parameters, metrics, learning curves, and the tag `synthetic`.
From version 3.13 on MLflow reads such a folder only with MLFLOW_ALLOW_FILE_STORE=true (docs/lineage.md).";

/// Options of `export`.
#[derive(Debug, Subcommand)]
pub(super) enum ExportCommand {
    /// An RO-Crate: the YAML, each stage's work, and the artifacts if wanted
    #[command(name = "ro-crate", after_help = CRATE_HELP)]
    RoCrate(CrateArguments),
    /// A folder of runs that MLflow reads
    #[command(after_help = MLFLOW_HELP)]
    Mlflow(MlflowArguments),
}

/// Options of `export ro-crate`.
#[derive(Debug, Args)]
pub(super) struct CrateArguments {
    /// The pipeline, if not the default one, then the folder to make
    #[arg(value_name = "[FILE] DIR", required = true, num_args = 1..=2)]
    words: Vec<PathBuf>,
    #[command(flatten)]
    reading: Reading,
    /// Copy the artifacts into the crate
    #[arg(long)]
    with_data: bool,
    /// Under what the crate is licensed: an SPDX identifier or a URL
    #[arg(long, value_name = "LICENSE")]
    license: Option<String>,
}

/// Options of `export mlflow`.
#[derive(Debug, Args)]
pub(super) struct MlflowArguments {
    /// The pipeline, if not the default one, then the folder to make
    #[arg(value_name = "[FILE] DIR", required = true, num_args = 1..=2)]
    words: Vec<PathBuf>,
    #[command(flatten)]
    reading: Reading,
}

/// Fetches what only the shared store has: it is described, and may be copied.
fn bring_all(pipeline: &Pipeline, store: &Store, options: &PlanOptions) -> anyhow::Result<()> {
    if options.remote.is_none() {
        return Ok(());
    }
    let plan = engine::plan(pipeline, store, options).map_err(project::refused)?;
    for stage in plan.stages {
        if let State::Fresh { manifest, .. } = stage.state {
            for artifact in manifest.outputs.values() {
                engine::bring(store, options, artifact).map_err(project::refused)?;
            }
        }
    }
    Ok(())
}

/// Exports what a pipeline made.
///
/// # Errors
/// If it is not all made, or the folder cannot be written.
pub(super) fn export(global: &Global, command: &ExportCommand) -> anyhow::Result<Exit> {
    let (words, reading) = match command {
        ExportCommand::RoCrate(arguments) => (&arguments.words, &arguments.reading),
        ExportCommand::Mlflow(arguments) => (&arguments.words, &arguments.reading),
    };
    let (file, target) = match words.as_slice() {
        [file, target] => (Some(file.clone()), target),
        [target] => (None, target),
        _ => return Err(Mistake::new("no folder is named").into()),
    };
    let Project { pipeline, store, remote } = match project::open(global, file, reading)? {
        Ok(project) => project,
        Err(exit) => return Ok(exit),
    };
    let options = PlanOptions { remote, ..project::plan_options(reading, &[], &[]) };
    bring_all(&pipeline, &store, &options)?;
    let lineage = Lineage::of(&pipeline, &store, &options).map_err(refused)?;
    match command {
        ExportCommand::RoCrate(arguments) => {
            let options = CrateOptions { with_data: arguments.with_data, license: arguments.license.clone() };
            let exported = export_ro_crate(&lineage, target, &options).map_err(refused)?;
            if exported.withheld > 0 {
                let left_out = count(exported.withheld as u64, "artifact");
                say(&format!("{left_out} that real services answered: described, not copied (docs/data.md)"));
            }
            let copied = count(exported.copied as u64, "artifact");
            data(&format!("{}: {}, {copied} copied", target.display(), count(exported.stages as u64, "stage")))?;
        }
        ExportCommand::Mlflow(_) => {
            let runs = export_mlflow(&lineage, target).map_err(refused)?;
            data(&format!("{}: {}", target.display(), count(runs as u64, "run")))?;
        }
    }
    if lineage.is_synthetic() {
        say(&Style::of_stderr(global.color).yellow(super::run::SYNTHETIC));
    }
    Ok(Exit::Done)
}

fn refused(error: ExportError) -> anyhow::Error {
    let hint = error.hint();
    let mistake = Mistake::new(error.to_string());
    let mistake = match hint {
        Some(hint) => mistake.hint(hint),
        None => mistake,
    };
    match std::error::Error::source(&error) {
        Some(_) => mistake.because(error).into(),
        None => mistake.into(),
    }
}
