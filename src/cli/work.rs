//! `refrain work`, which jobs of a cluster run: one piece of a run's work. And
//! what a run tells its jobs.

use std::sync::Arc;

use anyhow::Context;

use super::arguments::{Global, HowToRun, Interrupted, Reading, WorkArguments};
use super::errors::Exit;
use super::interrupt::{self, Brake};
use super::observers::PlainLines;
use super::project::{self, Project};
use super::terminal::{Style, say};
use crate::engine::{self, JobKeeper, LeaveJobs, OnInterrupt, RunOptions, WorkOrder, Worked};
use crate::ground::Environment;
use crate::model::Models;

/// Does one piece of work.
///
/// # Errors
/// If it could not be begun, or failed.
pub(super) fn work(global: &Global, arguments: &WorkArguments) -> anyhow::Result<Exit> {
    let project = match project::open(global, Some(arguments.file.clone()), &arguments.reading)? {
        Ok(project) => project,
        Err(exit) => return Ok(exit),
    };
    let style = Style::of_stderr(global.color);
    let force = if arguments.force { std::slice::from_ref(&arguments.instance) } else { &[] };
    let environment = Environment::of_process();
    let device = arguments.device.or(project.pipeline.device).unwrap_or_default();
    let options = RunOptions {
        plan: project::plan_options(&arguments.reading, &[], force),
        offline: arguments.offline,
        models: Arc::new(Models { device, ..Models::of_environment(&environment) }),
        environment,
        ..RunOptions::default()
    };
    interrupt::watch(Arc::new(Brake::new(options.cancel.clone(), Arc::new(say))))?;
    let order = WorkOrder {
        instance: arguments.instance.clone(),
        shard: arguments.shard,
        key: arguments.key,
        inputs: arguments.input.clone(),
    };
    let observer = Arc::new(PlainLines::new(style));
    let worked = engine::work(&project.pipeline, &project.store, project.remote.as_ref(), &options, &order, observer);
    project::say_warnings(&[], &project.store, style);
    match worked.map_err(project::refused)? {
        Worked::Done(_) => Ok(Exit::Done),
        Worked::Stopped => Ok(Exit::Interrupted),
        Worked::Failed(failure) => {
            say(&style.red(&format!("error: {}", failure.error)));
            failure.causes.iter().for_each(|cause| say(&format!("  caused by: {cause}")));
            failure.hint.iter().for_each(|hint| say(&format!("  hint: {hint}")));
            Ok(Exit::Failed)
        }
    }
}

/// What a run tells its jobs, and who decides about them when it is stopped.
///
/// # Errors
/// If it is not known where this program, or the store, is.
pub(super) fn with_jobs(
    options: RunOptions,
    global: &Global,
    project: &Project,
    reading: &Reading,
    how: &HowToRun,
    ask: Option<Arc<dyn JobKeeper>>,
) -> anyhow::Result<RunOptions> {
    let program = std::env::current_exe().context("could not find out where this program is")?;
    let store = std::path::absolute(&global.artifacts).context("could not find out where the store is")?;
    let file = project.pipeline.file.display().to_string();
    let mut words = vec![program.display().to_string(), "--artifacts".to_owned(), store.display().to_string()];
    // Records of it that are kept here count; one that may hold a secret stays out of the job's script.
    if let Some(remote) = global.remote.as_ref().filter(|remote| !remote.contains(['@', '?'])) {
        words.extend(["--remote".to_owned(), remote.clone()]);
    }
    words.extend(["--color", "never", "work", &file].map(str::to_owned));
    for (name, value) in &reading.set {
        words.extend(["--set".to_owned(), format!("{name}={value}")]);
    }
    words.extend(reading.sandbox.iter().map(|url| format!("--sandbox={url}")));
    words.extend(how.offline.then(|| "--offline".to_owned()));
    if let Some(device) = how.device {
        words.extend(["--device".to_owned(), device.to_string()]);
    }
    Ok(RunOptions { worker: words, jobs_keeper: keeper(how, ask), ..options })
}

/// Who decides about jobs when the run is stopped.
fn keeper(how: &HowToRun, ask: Option<Arc<dyn JobKeeper>>) -> Arc<dyn JobKeeper> {
    match (how.on_interrupt, ask) {
        (Interrupted::Cancel, _) => Arc::new(CancelJobs),
        (Interrupted::Ask, Some(ask)) => ask,
        (Interrupted::Ask | Interrupted::Leave, _) => Arc::new(LeaveJobs),
    }
}

#[derive(Debug)]
struct CancelJobs;

impl JobKeeper for CancelJobs {
    fn on_interrupt(&self, _jobs: usize) -> OnInterrupt {
        OnInterrupt::Cancel
    }
}
