//! What is checked after planning and before anything runs, so that a run does
//! not stop hours later for want of a key.

use std::collections::BTreeMap;

use super::away;
use super::error::{EngineError, MissingVariable};
use super::options::RunOptions;
use super::plan::{Plan, Planned, State};
use super::planner::is_api;
use crate::model::DeviceChoice;
use crate::pipeline::Pipeline;
use crate::stage::DeviceUse;
use crate::web::{CONTACT, UserAgent};

/// Refuses a run that cannot succeed.
///
/// # Errors
/// [`EngineError::Blocked`] for stages that cannot run as they stand (unless
/// the run keeps going after failures); [`EngineError::MissingVariables`];
/// [`EngineError::Contact`]; [`EngineError::NoDevice`].
pub(super) fn check(pipeline: &Pipeline, plan: &Plan, options: &RunOptions) -> Result<(), EngineError> {
    if !options.keep_going {
        let blocked: Vec<_> = plan
            .stages
            .iter()
            .filter_map(|stage| match &stage.state {
                State::Blocked { failure } => Some((stage.id.to_string(), failure.clone())),
                _ => None,
            })
            .collect();
        if !blocked.is_empty() {
            return Err(EngineError::Blocked { blocked });
        }
    }
    device(pipeline, plan, options)?;
    if plan.sandbox.is_some() || options.offline {
        return Ok(());
    }
    let asks = |stage: &Planned| will_run(&stage.state) && is_api(&pipeline.instances[stage.index]);
    if let Some(contact) = options.environment.var(CONTACT).filter(|_| plan.stages.iter().any(asks)) {
        UserAgent::with_contact(contact).map_err(EngineError::Contact)?;
    }
    let mut missing: BTreeMap<String, MissingVariable> = BTreeMap::new();
    for stage in plan.stages.iter().filter(|stage| will_run(&stage.state)) {
        for variable in pipeline.instances[stage.index].stage.variables() {
            if options.environment.var(&variable.name).is_none() {
                let entry = missing.entry(variable.name.clone()).or_insert_with(|| MissingVariable {
                    name: variable.name,
                    stages: Vec::new(),
                    obtain: variable.obtain,
                });
                entry.stages.push(stage.id.to_string());
            }
        }
    }
    if missing.is_empty() {
        Ok(())
    } else {
        Err(EngineError::MissingVariables { variables: missing.into_values().collect() })
    }
}

/// Refuses a GPU that was insisted on and does not work, if a stage that may run
/// on this machine computes there. (A cluster's machines have devices of their own.)
fn device(pipeline: &Pipeline, plan: &Plan, options: &RunOptions) -> Result<(), EngineError> {
    if !matches!(options.models.device, DeviceChoice::Cuda(_)) {
        return Ok(());
    }
    let away = away::wanted(pipeline, plan, options.engine);
    let may_run = |stage: &&Planned| {
        let is_open = !matches!(stage.state, State::Fresh { .. } | State::Blocked { .. });
        is_open && !away.contains(&stage.index) && computes_on_device(pipeline, stage.index)
    };
    let stages: Vec<String> = plan.stages.iter().filter(may_run).map(|stage| stage.id.to_string()).collect();
    if stages.is_empty() {
        return Ok(());
    }
    // Trying it takes some seconds where there is one.
    options.models.device().map(|_| ()).map_err(|source| EngineError::NoDevice { stages, source })
}

fn computes_on_device(pipeline: &Pipeline, index: usize) -> bool {
    let instance = &pipeline.instances[index];
    match instance.stage.device_use() {
        DeviceUse::Computes => true,
        DeviceUse::Nothing | DeviceUse::WritesVectors => false,
        DeviceUse::As(port) => instance.inputs.get(port).into_iter().flatten().any(|source| {
            let maker = pipeline.instances[source.instance].stage.device_use();
            matches!(maker, DeviceUse::Computes | DeviceUse::WritesVectors)
        }),
    }
}

/// Whether it is certain that a stage has changed. One of which nothing is
/// known to have changed may still turn out to be up to date.
fn will_run(state: &State) -> bool {
    matches!(state, State::Stale { .. }) || (matches!(state, State::Undecided { .. }) && !state.reasons().is_empty())
}
