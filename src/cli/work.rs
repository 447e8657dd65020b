//! `refrain work`, which jobs of a cluster run: one piece of a run's work. And
//! what a run tells its jobs, and asks a person about them.

use std::io::{self, BufRead, IsTerminal};
use std::sync::Arc;

use anyhow::Context;

use super::arguments::{Global, HowToRun, Interrupted, Reading, WorkArguments};
use super::errors::Exit;
use super::interrupt::{self, Brake};
use super::observers::PlainLines;
use super::project::{self, Project};
use super::run::Speak;
use super::terminal::{Style, count, say};
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
    let order = WorkOrder { instance: arguments.instance.clone(), shard: arguments.shard, key: arguments.key };
    let observer = Arc::new(PlainLines::new(style));
    let worked = engine::work(&project.pipeline, &project.store, &options, &order, observer);
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
    ask: Option<&Speak>,
) -> anyhow::Result<RunOptions> {
    let program = std::env::current_exe().context("could not find out where this program is")?;
    let store = std::path::absolute(&global.artifacts).context("could not find out where the store is")?;
    let file = project.pipeline.file.display().to_string();
    let mut words = vec![program.display().to_string(), "--artifacts".to_owned(), store.display().to_string()];
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

/// A person is asked only where one sees the question and can type.
fn keeper(how: &HowToRun, ask: Option<&Speak>) -> Arc<dyn JobKeeper> {
    let can_ask = io::stdin().is_terminal() && io::stderr().is_terminal();
    match (how.on_interrupt, ask) {
        (Interrupted::Cancel, _) => Arc::new(CancelJobs),
        (Interrupted::Ask, Some(speak)) if can_ask => Arc::new(AskAboutJobs(Arc::clone(speak))),
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

/// Asks on the terminal.
struct AskAboutJobs(Speak);

impl std::fmt::Debug for AskAboutJobs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AskAboutJobs").finish_non_exhaustive()
    }
}

impl JobKeeper for AskAboutJobs {
    fn on_interrupt(&self, jobs: usize) -> OnInterrupt {
        let jobs = count(jobs as u64, "job");
        (self.0)(&format!("? {jobs} wait or run on the cluster: cancel them? y, or return to let them go on"));
        let mut line = String::new();
        io::stdin().lock().read_line(&mut line).ok();
        if matches!(line.trim().to_lowercase().as_str(), "y" | "yes") { OnInterrupt::Cancel } else { OnInterrupt::Leave }
    }
}
