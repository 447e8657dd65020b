//! `bless`: a user's word that a change does no harm. The result that an
//! instance had last is made to stand for its new key as well, and the new
//! manifest says for ever that this was so, why, and what was accepted.
//!
//! Nothing is run and no artifact is touched; the memo is not looked at.

use super::error::EngineError;
use super::job::remember;
use super::options::PlanOptions;
use super::plan::State;
use super::planner::{Look, Planner, Work};
use super::reason::Reason;
use super::reference;
use crate::ground::ContentHash;
use crate::pipeline::{Instance, Pipeline};
use crate::store::{Blessing, Manifest, Store};

/// An instance whose last result stands for its new key.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Blessed {
    /// The instance.
    pub stage: String,
    /// The key that its result stands for now.
    pub key: ContentHash,
    /// The differences that were accepted.
    pub accepted: Vec<Reason>,
}

/// Accepts the last results of a stage's stale instances as they are, without
/// running anything: `stage` for all of them, or `stage@VARIANT`. All or none
/// are blessed. Instances that are up to date are passed over.
///
/// # Errors
/// [`EngineError::NotBlessed`] if one of them cannot be blessed, or none needs
/// it; as [`super::plan()`] otherwise.
pub fn bless(
    pipeline: &Pipeline,
    store: &Store,
    stage: &str,
    why: &str,
    options: &PlanOptions,
) -> Result<Vec<Blessed>, EngineError> {
    let why = why.trim();
    if why.is_empty() {
        return Err(refused(stage, "--why is empty", "say in a few words why the change does no harm: it is kept"));
    }
    let meant = reference::matching(pipeline, stage)?;
    let targets = meant.iter().map(|&index| pipeline.instances[index].id.to_string()).collect();
    // What an older record names must not be collected before a new one names it.
    let _guard = store.guard()?;
    let planner = Planner::new(pipeline, store, &PlanOptions { targets, force: Vec::new(), ..options.clone() })?;
    let (plan, looks) = planner.plan()?;
    let mut accepted = Vec::new();
    for (planned, look) in plan.stages.into_iter().zip(looks).filter(|(planned, _)| meant.contains(&planned.index)) {
        let instance = &pipeline.instances[planned.index];
        match (planned.state, look) {
            (State::Fresh { .. }, _) => {}
            (_, Some(Look::Stale(work))) => accepted.push((instance, candidate(&planner, instance, *work)?)),
            (State::Undecided { waiting_for, .. }, _) => {
                let what = format!("it is undecided until these have run: {}", waiting_for.join(", "));
                return Err(refused(&planned.id.to_string(), &what, "run them, or bless them first"));
            }
            _ => {
                let hint = format!("`refrain why {}` says more", planned.id);
                return Err(refused(&planned.id.to_string(), "it cannot run as it stands", &hint));
            }
        }
    }
    if accepted.is_empty() {
        return Err(refused(stage, "it is up to date: there is nothing to bless", "`refrain plan` says what is stale"));
    }
    let at_millis = options.clock.now_millis();
    accepted
        .into_iter()
        .map(|(instance, (before, work))| {
            let blessed = Blessed { stage: instance.id.to_string(), key: work.key, accepted: work.reasons.clone() };
            let manifest = manifest(before, &work, instance, &pipeline.name, why, at_millis);
            publish(store, pipeline, instance, &manifest, at_millis)?;
            Ok(blessed)
        })
        .collect()
}

/// What an instance had last, if that may stand for its new key.
fn candidate(planner: &Planner<'_>, instance: &Instance, mut work: Work) -> Result<(Manifest, Work), EngineError> {
    let name = instance.id.to_string();
    let refuse = |what: &str, hint: &str| Err(refused(&name, what, hint));
    let run = format!("run it: `refrain run --target {name}`");
    for reason in &work.reasons {
        match reason {
            Reason::NeverRan => return refuse("it never ran", &run),
            Reason::ArtifactMissing { .. } | Reason::ArtifactDamaged { .. } | Reason::RecordLost => {
                return refuse(&reason.to_string(), &run);
            }
            Reason::RefreshDue { .. } => {
                return refuse(&reason.to_string(), &format!("{run}, or change its `refresh:`"));
            }
            Reason::World { .. } => {
                return refuse(
                    &reason.to_string(),
                    "synthetic answers and real ones never stand for each other; run it",
                );
            }
            _ => {}
        }
    }
    let Some(before) = work.before.take() else { return refuse("the record of its last result is gone", &run) };
    if let Some(port) = other_outputs(instance, &before) {
        return refuse(&format!("its outputs are others than before: {port}"), &run);
    }
    if let Some(found) = planner.damage(instance.stage.as_ref(), &before).first() {
        return refuse(&found.to_string(), &run);
    }
    if let Some(due) = planner.refresh_due(instance.refresh, before.made_at_millis) {
        return refuse(&due.to_string(), &format!("{run}, or change its `refresh:`"));
    }
    Ok((before, work))
}

/// What the stage would write that its last result does not have, or the other way round.
fn other_outputs(instance: &Instance, before: &Manifest) -> Option<String> {
    let ports = instance.stage.outputs();
    if let Some(gone) = before.outputs.keys().find(|name| !ports.iter().any(|port| port.name == **name)) {
        return Some(format!("`{gone}` is not one of them any more"));
    }
    ports.iter().find_map(|port| {
        let Some(artifact) = before.outputs.get(&*port.name) else { return Some(format!("`{}` is new", port.name)) };
        let lacking = port.columns.iter().find(|(name, _)| artifact.column(name).is_none());
        lacking.map(|(column, _)| format!("`{}` lacks the column `{column}`", port.name))
    })
}

fn manifest(before: Manifest, work: &Work, instance: &Instance, pipeline: &str, why: &str, at_millis: u64) -> Manifest {
    let accepted = work.reasons.iter().filter_map(|reason| serde_json::to_value(reason).ok()).collect();
    let mut blessed = before.blessed;
    blessed.push(Blessing { at_millis, why: why.to_owned(), from: before.key, accepted });
    Manifest {
        key: work.key,
        instance: instance.id.to_string(),
        pipeline: pipeline.to_owned(),
        kind: instance.kind.name().to_owned(),
        fingerprint: work.assembled.fingerprint.to_value(),
        blessed,
        ..before
    }
}

/// Under the key's lock: a run that is making the same wins.
fn publish(
    store: &Store,
    pipeline: &Pipeline,
    instance: &Instance,
    manifest: &Manifest,
    at_millis: u64,
) -> Result<(), EngineError> {
    let name = instance.id.to_string();
    let Some(_lock) = store.try_lock(&manifest.key)? else {
        return Err(refused(&name, "a run is making it at this moment", "wait until that run has ended"));
    };
    // Instances that do the same have one key; the first of them was blessed just now.
    if store.manifest(&manifest.key)?.is_none() {
        store.publish(manifest)?;
    }
    Ok(remember(store, &pipeline.name, instance, manifest, at_millis)?)
}

fn refused(stage: &str, what: &str, hint: &str) -> EngineError {
    EngineError::NotBlessed { stage: stage.to_owned(), what: what.to_owned(), hint: hint.to_owned() }
}
