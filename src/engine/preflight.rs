//! What is checked after planning and before anything runs, so that a run does
//! not stop hours later for want of a key.

use std::collections::BTreeMap;

use super::error::{EngineError, MissingVariable};
use super::options::RunOptions;
use super::plan::{Plan, Planned, State};
use super::planner::is_api;
use crate::pipeline::Pipeline;
use crate::web::{CONTACT, UserAgent};

/// Refuses a run that cannot succeed.
///
/// # Errors
/// [`EngineError::Blocked`] for stages that cannot run as they stand (unless
/// the run keeps going after failures); [`EngineError::MissingVariables`];
/// [`EngineError::Contact`].
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

/// Whether it is certain that a stage has changed. One of which nothing is
/// known to have changed may still turn out to be up to date.
fn will_run(state: &State) -> bool {
    matches!(state, State::Stale { .. }) || (matches!(state, State::Undecided { .. }) && !state.reasons().is_empty())
}
