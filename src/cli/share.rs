//! `refrain push` and `refrain pull`: results to the shared store and from it.

use std::io::IsTerminal;
use std::sync::Arc;

use indicatif::{ProgressBar, ProgressStyle};
use rayon::prelude::*;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::arguments::{Global, PullArguments, PushArguments};
use super::errors::{Exit, Mistake};
use super::interrupt::{self, Brake};
use super::project::{self, Project};
use super::terminal::{Style, bytes, count, data, say};
use super::words::Words;
use crate::engine::{self, PlanOptions, State};
use crate::ground::{Clock, SystemClock};
use crate::remote::{Pull, Purpose, PushEnd, Remote, RemoteError, Sharing, Tell};
use crate::store::{Artifact, LastRun, Manifest, ObjectState};

/// A failure of the shared store, with what to do.
pub(super) fn refused(error: &RemoteError) -> Mistake {
    let hint = error.hint();
    Mistake::new(error.to_string()).hint(hint)
}

/// Sends results.
///
/// # Errors
/// If the pipeline does not load or there is no shared store.
pub(super) fn push(global: &Global, arguments: &PushArguments) -> anyhow::Result<Exit> {
    let style = Style::of_stderr(global.color);
    let words = Words::of_many(&arguments.words)?;
    let project = match project::open(global, words.file, &arguments.reading)? {
        Ok(project) => project,
        Err(exit) => return Ok(exit),
    };
    let remote = needed(global, &project)?;
    let manifests = if arguments.everything {
        every_result(&project)?
    } else {
        results(&project, None, &words.stages, arguments.reading.sandbox.as_deref())?
            .into_iter()
            .map(|(_, manifest)| manifest)
            .collect()
    };
    let total = distinct(&manifests).iter().map(|artifact| artifact.bytes).sum();
    let names: Vec<String> = manifests.iter().map(|manifest| manifest.instance.clone()).collect();
    let (bar, tell) = progress(total, arguments.json);
    let mut end = PushEnd::default();
    for (name, pushed) in names.iter().zip(remote.push(&project.store, manifests, arguments.force, Some(tell))) {
        end.add(name.clone(), pushed);
    }
    let memo = remote.push_memo(&project.store);
    bar.finish_and_clear();
    let moved = remote.moved();
    let warnings = remote.take_warnings();
    for warning in &warnings {
        say(&style.yellow(&format!("! {warning}")));
    }
    if arguments.json {
        data(&serde_json::to_string_pretty(&json!({
            "remote": remote.shown(),
            "results": names.len(),
            "sent": moved.pushed_results,
            "bytes": moved.pushed_bytes,
            "failed": end.failed,
            "others": end.others,
            "segments": memo.as_ref().map_or(0, |(segments, _)| *segments),
        }))?)?;
    }
    if let Some(why) = end.why {
        let what = format!("{} of {} not sent to {}", end.failed, count(names.len() as u64, "result"), remote.shown());
        say(&super::errors::describe(&Mistake::new(what).hint(why.hint()).because(why).into(), style));
        return Ok(Exit::Failed);
    }
    for other in &end.others {
        say(&style.yellow(&format!("! {other}: another result of the same key is there; --force replaces it")));
    }
    let there = names.len() as u64 - moved.pushed_results - end.others.len() as u64;
    let segments = memo.map_err(|error| refused(&error))?;
    say(&format!(
        "{}: {} sent, {}; {there} there already{}",
        remote.shown(),
        count(moved.pushed_results, "result"),
        bytes(moved.pushed_bytes),
        segments_words(segments)
    ));
    Ok(Exit::Done)
}

/// Fetches results, with their artifacts.
///
/// # Errors
/// If the pipeline does not load, there is no shared store, or something cannot
/// be fetched.
pub(super) fn pull(global: &Global, arguments: &PullArguments) -> anyhow::Result<Exit> {
    let style = Style::of_stderr(global.color);
    let words = Words::of_many(&arguments.words)?;
    let project = match project::open(global, words.file, &arguments.reading)? {
        Ok(project) => project,
        Err(exit) => return Ok(exit),
    };
    let remote = needed(global, &project)?;
    let cancel = CancellationToken::new();
    interrupt::watch(Arc::new(Brake::new(cancel.clone(), Arc::new(say))))?;
    let results = results(&project, Some(&remote), &words.stages, arguments.reading.sandbox.as_deref())?;
    let manifests: Vec<Manifest> = results.iter().map(|(_, manifest)| manifest.clone()).collect();
    let absent: Vec<Artifact> = distinct(&manifests)
        .into_iter()
        .filter(|artifact| project.store.check(artifact) != ObjectState::Good)
        .collect();
    let (bar, tell) = progress(absent.iter().map(|artifact| artifact.bytes).sum(), arguments.json);
    let fetched = remote.fetch(&project.store, absent, Some(tell), &cancel);
    bar.finish_and_clear();
    remote.take_warnings().iter().for_each(|warning| say(&style.yellow(&format!("! {warning}"))));
    fetched.map_err(|error| refused(&error))?;
    let at_millis = SystemClock.now_millis();
    // Each is synced on its own: side by side that takes as long as a few.
    results.par_iter().try_for_each(|(_, manifest)| remote.settle(&project.store, manifest).map(drop))?;
    for (instance, manifest) in &results {
        project.store.set_last(&project.pipeline.name, instance, LastRun { key: manifest.key, at_millis })?;
    }
    let mut segments = (0, 0);
    if arguments.memo {
        for purpose in [Purpose::Answers, Purpose::Vectors] {
            let (count, bytes) = remote.pull_memo(&project.store, purpose).map_err(|error| refused(&error))?;
            segments = (segments.0 + count, segments.1 + bytes);
        }
    }
    let moved = remote.moved();
    if arguments.json {
        data(&serde_json::to_string_pretty(&json!({
            "remote": remote.shown(),
            "results": results.len(),
            "fetched": moved.pulled_artifacts,
            "bytes": moved.pulled_bytes,
            "segments": segments.0,
        }))?)?;
    }
    say(&format!(
        "{}: {} here, of which {} fetched, {}{}",
        remote.shown(),
        count(results.len() as u64, "result"),
        count(moved.pulled_artifacts, "artifact"),
        bytes(moved.pulled_bytes),
        segments_words(segments)
    ));
    if remote.is_down() {
        return Ok(Exit::Failed);
    }
    Ok(Exit::Done)
}

fn segments_words((segments, size): (u64, u64)) -> String {
    if segments == 0 {
        return String::new();
    }
    format!("; {} of the memo, {}", count(segments, "segment"), bytes(size))
}

/// The shared store, which must be there. What the pipeline says of when it is
/// used does not count: it was asked for.
fn needed(global: &Global, project: &Project) -> Result<Remote, Mistake> {
    let sharing = project::sharing(global, Some(&project.pipeline)).ok_or_else(project::no_remote)?;
    Remote::open(Sharing { pull: Pull::Auto, ..sharing }).map_err(|error| refused(&error))
}

/// The results that are up to date now: of the stages named, with all they need,
/// or of all.
fn results(
    project: &Project,
    remote: Option<&Remote>,
    stages: &[String],
    sandbox: Option<&str>,
) -> anyhow::Result<Vec<(String, Manifest)>> {
    let reading = super::arguments::Reading { sandbox: sandbox.map(str::to_owned), ..Default::default() };
    let options = project::plan_options(&reading, stages, &[]);
    let options = PlanOptions { remote: remote.cloned(), ..options };
    let plan = engine::plan(&project.pipeline, &project.store, &options).map_err(project::refused)?;
    let fresh = plan.stages.into_iter().filter_map(|stage| match stage.state {
        State::Fresh { manifest, .. } => Some((stage.id.to_string(), manifest.as_ref().clone())),
        _ => None,
    });
    Ok(fresh.collect())
}

/// Every result of the store whose artifacts are here.
fn every_result(project: &Project) -> anyhow::Result<Vec<Manifest>> {
    let mut manifests = Vec::new();
    for key in project.store.keys()? {
        manifests.extend(project.store.manifest(&key)?);
    }
    Ok(manifests)
}

/// The artifacts of results, each once.
fn distinct(manifests: &[Manifest]) -> Vec<Artifact> {
    let mut artifacts: Vec<Artifact> =
        manifests.iter().flat_map(|manifest| manifest.outputs.values().cloned()).collect();
    artifacts.sort_by_key(|artifact| artifact.hash);
    artifacts.dedup_by_key(|artifact| artifact.hash);
    artifacts
}

/// A bar of bytes, and what moves it.
pub(super) fn progress(total: u64, is_json: bool) -> (ProgressBar, Tell) {
    if is_json || !std::io::stderr().is_terminal() {
        return (ProgressBar::hidden(), Arc::new(|_| ()));
    }
    let template = "{bar:30} {bytes} of {total_bytes}, {bytes_per_sec}";
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::new(total).with_style(style);
    let moving = bar.clone();
    (bar, Arc::new(move |moved| moving.set_position(moved)))
}
