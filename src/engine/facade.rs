//! The engine's functions for those above it: plan, why, run and resolve.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use serde::Deserialize;

use super::cause::{explain, place_fields};
use super::error::EngineError;
use super::event::{Event, Observer};
use super::fingerprint::Fingerprint;
use super::forecast;
use super::memory::Memory;
use super::offline;
use super::options::{End, PlanOptions, RunOptions, StageResult, Summary};
use super::plan::{Plan, State, Why};
use super::planner::{Look, Planner, damage, sources};
use super::preflight;
use super::reason::Reason;
use super::reference;
use super::reporter::Reporter;
use super::scheduler::Capacity;
use super::shell::Shell;
use crate::ground::{ContentHash, InstanceId};
use crate::model::Device;
use crate::pipeline::Pipeline;
use crate::stage::Resource;
use crate::store::{Artifact, Manifest, Store, StoreError};

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
    let memory = Memory::new(store, planner.world.as_ref(), &options.clock);
    for (planned, look) in plan.stages.iter_mut().zip(&looks) {
        if let Some(Look::Stale(work)) = look {
            planned.rows = memory.known(&pipeline.instances[planned.index], work);
            if planner.world.is_none() {
                planned.expected_seconds = forecast::seconds(pipeline, planned);
            }
        }
    }
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
    let planner = Planner::new(pipeline, store, &options.plan)?;
    let (plan, looks) = planner.plan()?;
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
    let capacity = capacity(pipeline, &plan, options);
    let mut shell = Shell::new(&planner, options, &plan, looks, Arc::clone(&reporter), pins, capacity);
    if shell.settle_first() {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(EngineError::Runtime)?;
        let handle = runtime.handle().clone();
        runtime.block_on(shell.drive(&handle));
    }
    let results = shell.finish();
    let summary = summarise(reporter.run(), &plan, options, results, started);
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

/// A name that no other run of this moment has.
fn run_id(pipeline: &Pipeline, options: &RunOptions) -> String {
    static RUNS: AtomicU64 = AtomicU64::new(0);
    let number = RUNS.fetch_add(1, Ordering::Relaxed);
    let text = format!("{} {} {} {number}", pipeline.name, std::process::id(), options.plan.clock.now_millis());
    ContentHash::of(text.as_bytes()).short()
}

fn capacity(pipeline: &Pipeline, plan: &Plan, options: &RunOptions) -> Capacity {
    let slots = match options.jobs {
        0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        jobs => jobs,
    };
    // Looking for a GPU takes time, so only if a stage that wants one may run.
    let wanted = plan.stages.iter().any(|stage| {
        !matches!(stage.state, State::Fresh { .. }) && pipeline.instances[stage.index].stage.resource() == Resource::Gpu
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
pub fn resolve(pipeline: &Pipeline, store: &Store, text: &str) -> Result<Resolved, EngineError> {
    let (index, output) = reference::single(pipeline, text)?;
    let instance = &pipeline.instances[index];
    let not_made = || EngineError::NotMade { reference: text.to_owned() };
    let last = store.last(&pipeline.name, &instance.id.to_string()).ok_or_else(not_made)?;
    let manifest = store.manifest(&last.key)?.ok_or_else(not_made)?;
    if !damage(store, instance.stage.as_ref(), &manifest).is_empty() {
        return Err(not_made());
    }
    let main = instance.stage.outputs().into_iter().next().map(|port| port.name.to_owned()).unwrap_or_default();
    let output = output.map_or(main, str::to_owned);
    let artifact = manifest.outputs.get(&output).cloned().ok_or_else(not_made)?;
    let path = store.object_path(&artifact.hash);
    let sandbox = world_above(pipeline, store, index);
    Ok(Resolved { id: instance.id.clone(), output, path, artifact, manifest, sandbox })
}

/// The first sandbox world found in what an instance and those above it used last.
fn world_above(pipeline: &Pipeline, store: &Store, index: usize) -> Option<String> {
    let mut reached = std::collections::BTreeSet::from([index]);
    let mut queue = vec![index];
    while let Some(index) = queue.pop() {
        let instance = &pipeline.instances[index];
        let last = store.last(&pipeline.name, &instance.id.to_string());
        let manifest = last.and_then(|last| store.manifest(&last.key).ok().flatten());
        let world = manifest.as_ref().and_then(|manifest| manifest.fingerprint.get("world")?.as_str());
        if let Some(world) = world {
            return Some(world.to_owned());
        }
        queue.extend(sources(instance).filter(|source| reached.insert(*source)));
    }
    None
}
