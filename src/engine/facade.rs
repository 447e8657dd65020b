//! The engine's functions for those above it: plan, why, run and resolve.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::away::{self, Cluster};
use super::cause::{explain, place_fields};
use super::error::EngineError;
use super::event::{Event, Observer, Outcome};
use super::executor::Executor;
use super::fingerprint::Fingerprint;
use super::forecast;
use super::memory::Memory;
use super::offline;
use super::options::{End, EngineChoice, PlanOptions, RunOptions, StageResult, Summary};
use super::plan::{Plan, State, Why};
use super::planner::{Look, Planner, damage, sources};
use super::preflight;
use super::reason::Reason;
use super::reference;
use super::reporter::Reporter;
use super::scheduler::Capacity;
use super::sharing::Sharing;
use super::shell::{Machines, Shell};
use crate::ground::{ContentHash, InstanceId};
use crate::model::Device;
use crate::pipeline::Pipeline;
use crate::remote::Remote;
use crate::stage::Resource;
use crate::store::{Artifact, Manifest, ObjectState, Store, StoreError};

/// What a run would do now. Makes nothing and asks no network, unless the
/// options name a sandbox that runs elsewhere: that one is asked who it is.
/// Artifacts found damaged are set aside, and the plan's warnings say so.
///
/// # Errors
/// [`EngineError`] if a reference names nothing, the sandbox cannot be
/// described, or the store cannot be read.
pub fn plan(pipeline: &Pipeline, store: &Store, options: &PlanOptions) -> Result<Plan, EngineError> {
    let planner = Planner::new(pipeline, store, options)?;
    let (mut plan, looks) = planner.plan()?;
    let memory = Memory::new(store, planner.world.as_ref(), &options.clock, pipeline.device);
    for (planned, look) in plan.stages.iter_mut().zip(&looks) {
        if let Some(Look::Stale(work)) = look {
            planned.rows = memory.known(&pipeline.instances[planned.index], work);
            if planner.world.is_none() {
                planned.expected_seconds = forecast::seconds(pipeline, planned);
            }
        }
    }
    let away = away::wanted(pipeline, &plan, EngineChoice::AsWritten);
    plan.stages.iter_mut().for_each(|planned| planned.on_cluster = away.contains(&planned.index));
    plan.limiters = forecast::by_limiter(pipeline, store, &plan, options.clock.now_millis())?;
    plan.warnings.extend(store.take_warnings());
    explain(pipeline, store, &mut plan);
    Ok(plan)
}

/// Why one instance would or would not run.
///
/// # Errors
/// As [`plan`]; also if `stage` means several instances.
pub fn why(pipeline: &Pipeline, store: &Store, stage: &str, options: &PlanOptions) -> Result<Why, EngineError> {
    let (index, _) = reference::single(pipeline, stage)?;
    let options = PlanOptions { targets: vec![pipeline.instances[index].id.to_string()], ..options.clone() };
    let planner = Planner::new(pipeline, store, &options)?;
    let (mut plan, looks) = planner.plan()?;
    explain(pipeline, store, &mut plan);
    let mut results: Vec<Option<Arc<Manifest>>> = vec![None; pipeline.instances.len()];
    for (place, look) in looks.into_iter().enumerate() {
        if let Some(Look::Fresh { manifest, .. }) = look {
            results[planner.wanted[place]] = Some(manifest);
        }
    }
    let reference = || EngineError::NotMade { reference: stage.to_owned() };
    let planned = plan.stages.into_iter().find(|planned| planned.index == index).ok_or_else(reference)?;
    let before = planner.before(index)?;
    let assembled = planner.assemble(&pipeline.instances[index], &results).ok();
    let changes = match (&assembled, &before) {
        (_, None) => vec![Reason::NeverRan],
        (_, Some((_, None))) => vec![Reason::RecordLost],
        (Some(assembled), Some((_, Some(earlier)))) => assembled.changes_since(earlier),
        (None, Some(_)) => Vec::new(),
    };
    let earlier = before.and_then(|(_, manifest)| manifest);
    let print = earlier.as_ref().and_then(|earlier| Fingerprint::deserialize(&earlier.fingerprint).ok());
    let mut fields = assembled.as_ref().map(|now| now.fields_since(print.as_ref())).unwrap_or_default();
    if print.is_some() {
        place_fields(&mut fields, pipeline, store, &planned.id);
    }
    let blessed = match &planned.state {
        State::Fresh { manifest, .. } => manifest.blessed.clone(),
        _ => earlier.as_ref().map(|manifest| manifest.blessed.clone()).unwrap_or_default(),
    };
    Ok(Why {
        planned,
        changes,
        fields,
        blessed,
        made_at_millis: earlier.as_ref().map(|manifest| manifest.made_at_millis),
        before: earlier.map(|manifest| manifest.fingerprint),
        now: assembled.map(|assembled| assembled.fingerprint.to_value()),
    })
}

/// Runs what must run. Makes its own threads: call it outside of any runtime.
///
/// A stage that fails is no error here: see [`Summary::is_complete`].
///
/// # Errors
/// [`EngineError`] if nothing could be started; then nothing has run.
pub fn run(
    pipeline: &Pipeline,
    store: &Store,
    options: &RunOptions,
    observer: Arc<dyn Observer>,
) -> Result<Summary, EngineError> {
    let started = Instant::now();
    offline::check(options)?;
    // Until the results that the plan found are pinned, none may be collected.
    let guard = store.guard()?;
    let (planner, plan, looks) = planned(pipeline, store, options)?;
    preflight::check(pipeline, &plan, options)?;
    let folder = store.run_folder(&run_id(pipeline, options))?;
    let pins = Arc::new(store.pins(&folder)?);
    pins.add(plan.stages.iter().filter_map(|stage| stage.state.fresh_key()))?;
    drop(guard);
    let reporter = Arc::new(Reporter::new(observer, folder).map_err(StoreError::File)?);
    reporter.record("plan.json", &plan);
    reporter.tell(&Event::RunStarted {
        run: reporter.run(),
        pipeline: plan.pipeline.clone(),
        stages: plan.stages.len(),
        fresh: plan.fresh(),
        sandbox: plan.sandbox.clone(),
        at_millis: options.plan.clock.now_millis(),
    });
    plan.warnings.iter().for_each(|text| reporter.tell(&Event::Warning { text: text.clone() }));
    let machines = machines(pipeline, &plan, options, store, &reporter)?;
    let sharing = planner.remote.as_ref().map(|remote| Arc::new(Sharing::new(remote, store, reporter.run())));
    let mut shell = Shell::new(&planner, options, &plan, looks, Arc::clone(&reporter), pins, sharing.clone(), machines);
    if shell.settle_first() {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(EngineError::Runtime)?;
        let handle = runtime.handle().clone();
        runtime.block_on(shell.drive(&handle));
    }
    let (results, manifests) = shell.finish();
    let mut summary = summarise(reporter.run(), &plan, options, results, started);
    if let Some(sharing) = sharing {
        share(&sharing, &manifests, &mut summary, options, &reporter);
        summary.seconds = started.elapsed().as_secs_f64();
    }
    reporter.record("summary.json", &summary);
    reporter.tell(&Event::Finished {
        stages: summary.stages,
        ran: summary.ran,
        cached: summary.cached,
        failed: summary.failed,
        skipped: summary.skipped,
        spent: summary.spent,
        seconds: summary.seconds,
    });
    Ok(summary)
}

/// A plan in which all that is to be read can be had: what the shared store does
/// not have after all is made here.
fn planned<'a>(
    pipeline: &'a Pipeline,
    store: &'a Store,
    options: &RunOptions,
) -> Result<(Planner<'a>, Plan, Vec<Option<Look>>), EngineError> {
    let mut warnings = Vec::new();
    loop {
        let planner = Planner::new(pipeline, store, &options.plan)?;
        let (mut plan, looks) = planner.plan()?;
        warnings.append(&mut plan.warnings);
        if !planner.lacks_inputs(&plan) {
            plan.warnings = warnings;
            return Ok((planner, plan, looks));
        }
    }
}

/// Waits until what was made is in the shared store, and tells what was moved.
fn share(
    sharing: &Sharing,
    manifests: &[Arc<Manifest>],
    summary: &mut Summary,
    options: &RunOptions,
    reporter: &Reporter,
) {
    let (mut shared, warnings) = sharing.finish(manifests, summary.ran + summary.failed > 0, &options.cancel);
    let is_pulled = |result: &&StageResult| matches!(result.end, End::Done(Outcome::Pulled));
    shared.pulled = summary.results.iter().filter(is_pulled).count();
    for text in warnings {
        reporter.tell(&Event::Warning { text });
    }
    if !shared.is_nothing() {
        reporter.tell(&Event::Shared { shared: shared.clone() });
    }
    summary.shared = Some(shared);
}

/// A name that no other run of this moment has.
fn run_id(pipeline: &Pipeline, options: &RunOptions) -> String {
    static RUNS: AtomicU64 = AtomicU64::new(0);
    let number = RUNS.fetch_add(1, Ordering::Relaxed);
    let text = format!("{} {} {} {number}", pipeline.name, std::process::id(), options.plan.clock.now_millis());
    ContentHash::of(text.as_bytes()).short()
}

fn machines(
    pipeline: &Pipeline,
    plan: &Plan,
    options: &RunOptions,
    store: &Store,
    reporter: &Arc<Reporter>,
) -> Result<Machines, EngineError> {
    let away = away::wanted(pipeline, plan, options.engine);
    let capacity = capacity(pipeline, plan, options, &away);
    let mut cluster: Option<Box<dyn Executor>> = None;
    if !away.is_empty() {
        let started = Cluster::start(pipeline.engine.clone(), store, options, reporter);
        cluster = Some(Box::new(started.map_err(EngineError::Runtime)?));
    }
    Ok(Machines { capacity, away, cluster })
}

fn capacity(pipeline: &Pipeline, plan: &Plan, options: &RunOptions, away: &BTreeSet<usize>) -> Capacity {
    let slots = match options.jobs {
        0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        jobs => jobs,
    };
    // Looking for a GPU takes time, so only if a stage that wants one may run.
    let wanted = plan.stages.iter().any(|stage| {
        let is_gpu = pipeline.instances[stage.index].stage.resource() == Resource::Gpu;
        is_gpu && !matches!(stage.state, State::Fresh { .. }) && !away.contains(&stage.index)
    });
    let gpu = wanted && options.models.device().is_ok_and(|selection| matches!(selection.device, Device::Cuda(_)));
    Capacity { slots, gpu }
}

fn summarise(run: String, plan: &Plan, options: &RunOptions, results: Vec<StageResult>, started: Instant) -> Summary {
    let count = |counts: fn(&End) -> bool| results.iter().filter(|result| counts(&result.end)).count();
    Summary {
        run,
        pipeline: plan.pipeline.clone(),
        stages: plan.stages.len(),
        ran: count(|end| matches!(end, End::Done(outcome) if outcome.has_run())),
        cached: count(|end| matches!(end, End::Done(outcome) if !outcome.has_run())),
        failed: count(|end| matches!(end, End::Failed(_))),
        skipped: count(|end| matches!(end, End::Skipped(_))),
        spent: results.iter().map(|result| result.spent).sum(),
        seconds: started.elapsed().as_secs_f64(),
        cancelled: options.cancel.is_cancelled(),
        sandbox: plan.sandbox.clone(),
        shared: None,
        results,
    }
}

/// A result in the store that a reference means.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The instance.
    pub id: InstanceId,
    /// Which of its outputs.
    pub output: String,
    /// The Parquet file; verified to be there and whole.
    pub path: PathBuf,
    /// Its hash, rows and columns.
    pub artifact: Artifact,
    /// What the instance's last run made.
    pub manifest: Manifest,
    /// The identity of the sandbox world that it, or something above it, was
    /// made from: then it is synthetic, and whoever shows it must say so.
    pub sandbox: Option<String>,
}

/// The result that an instance had last: `stage`, `stage.output` or
/// `stage@VARIANT`. Whether it is still up to date is the plan's answer.
///
/// # Errors
/// [`EngineError`] if the reference names nothing, several instances, or
/// something that is not in the store.
pub fn resolve(
    pipeline: &Pipeline,
    store: &Store,
    remote: Option<&Remote>,
    text: &str,
) -> Result<Resolved, EngineError> {
    let (index, output) = reference::single(pipeline, text)?;
    let instance = &pipeline.instances[index];
    let not_made = || EngineError::NotMade { reference: text.to_owned() };
    let last = store.last(&pipeline.name, &instance.id.to_string()).ok_or_else(not_made)?;
    let manifest = recorded(store, remote, &last.key)?.ok_or_else(not_made)?;
    let main = instance.stage.outputs().into_iter().next().map(|port| port.name.into_owned()).unwrap_or_default();
    let output = output.map_or(main, str::to_owned);
    let artifact = manifest.outputs.get(&output).cloned().ok_or_else(not_made)?;
    if let Some(remote) = remote.filter(|_| store.check(&artifact) != ObjectState::Good) {
        let fetched = remote.fetch(store, vec![artifact.clone()], None, &CancellationToken::new());
        fetched.map_err(|source| {
            let reference = text.to_owned();
            if source.is_missing() {
                EngineError::NotMade { reference }
            } else {
                EngineError::NotFetched { reference, source }
            }
        })?;
        remote.settle(store, &manifest)?;
    } else if !damage(store, instance.stage.as_ref(), &manifest).is_empty() && remote.is_none() {
        return Err(not_made());
    }
    let path = store.object_path(&artifact.hash);
    let sandbox = world_above(pipeline, store, remote, index);
    Ok(Resolved { id: instance.id.clone(), output, path, artifact, manifest, sandbox })
}

/// A reference that means one instance, and its result.
pub type NamedResult = (String, Result<Resolved, EngineError>);

/// The results of all instances that a reference means, each with the reference
/// that means it alone. What has not been made is an [`EngineError::NotMade`].
///
/// # Errors
/// [`EngineError`] if the reference names nothing.
pub fn resolve_all(
    pipeline: &Pipeline,
    store: &Store,
    remote: Option<&Remote>,
    text: &str,
) -> Result<Vec<NamedResult>, EngineError> {
    let (indices, output) = reference::all(pipeline, text)?;
    let each = indices.into_iter().map(|index| {
        let mut id = pipeline.instances[index].id.clone();
        if let Some(output) = output {
            id.stage = format!("{}.{output}", id.stage);
        }
        let alone = id.to_string();
        let resolved = resolve(pipeline, store, remote, &alone);
        (alone, resolved)
    });
    Ok(each.collect())
}

/// The record of the result that an instance had last, wherever its artifacts are.
///
/// # Errors
/// As [`resolve`].
pub fn last_result(
    pipeline: &Pipeline,
    store: &Store,
    options: &PlanOptions,
    text: &str,
) -> Result<Manifest, EngineError> {
    let (index, _) = reference::single(pipeline, text)?;
    let instance = &pipeline.instances[index];
    let not_made = || EngineError::NotMade { reference: text.to_owned() };
    let last = store.last(&pipeline.name, &instance.id.to_string()).ok_or_else(not_made)?;
    let manifest = recorded(store, options.remote.as_ref(), &last.key)?.ok_or_else(not_made)?;
    let is_whole = options.remote.is_some() || damage(store, instance.stage.as_ref(), &manifest).is_empty();
    is_whole.then_some(manifest).ok_or_else(not_made)
}

/// Fetches an artifact from the shared store if it is not here; where it is then.
///
/// # Errors
/// [`EngineError::NotFetched`].
pub fn bring(store: &Store, options: &PlanOptions, artifact: &Artifact) -> Result<PathBuf, EngineError> {
    let absent = || store.check(artifact) != ObjectState::Good;
    if let Some(remote) = options.remote.as_ref().filter(|_| absent()) {
        let fetched = remote.fetch(store, vec![artifact.clone()], None, &CancellationToken::new());
        fetched.map_err(|source| EngineError::NotFetched { reference: artifact.hash.short(), source })?;
    }
    Ok(store.object_path(&artifact.hash))
}

/// What is known here of a key: also of one whose artifacts are elsewhere.
fn recorded(store: &Store, remote: Option<&Remote>, key: &ContentHash) -> Result<Option<Manifest>, StoreError> {
    Ok(store.manifest(key)?.or_else(|| remote?.kept(store, key)))
}

/// The first sandbox world found in what an instance and those above it used last.
fn world_above(pipeline: &Pipeline, store: &Store, remote: Option<&Remote>, index: usize) -> Option<String> {
    let mut reached = std::collections::BTreeSet::from([index]);
    let mut queue = vec![index];
    while let Some(index) = queue.pop() {
        let instance = &pipeline.instances[index];
        let last = store.last(&pipeline.name, &instance.id.to_string());
        let manifest = last.and_then(|last| recorded(store, remote, &last.key).ok().flatten());
        let world = manifest.as_ref().and_then(|manifest| manifest.fingerprint.get("world")?.as_str());
        if let Some(world) = world {
            return Some(world.to_owned());
        }
        queue.extend(sources(instance).filter(|source| reached.insert(*source)));
    }
    None
}
