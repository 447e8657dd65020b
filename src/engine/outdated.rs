//! Whether what is shown of a store is what the pipeline would use now.

use super::error::EngineError;
use super::options::PlanOptions;
use super::plan::State;
use super::planner::Planner;
use crate::ground::InstanceId;
use crate::pipeline::Pipeline;
use crate::store::Store;

/// What a look at some instances found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outdated {
    /// The first of them, in the order given, whose last result is not the one
    /// that a run would use now.
    pub first: Option<InstanceId>,
    /// What was noticed in the store while looking.
    pub warnings: Vec<String>,
}

/// Compares the last results of instances with what the pipeline would make now.
/// Unlike [`plan`](super::plan()) it counts no rows, so it is fast.
///
/// # Errors
/// As [`plan`](super::plan()).
pub fn outdated(
    pipeline: &Pipeline,
    store: &Store,
    instances: &[InstanceId],
    options: &PlanOptions,
) -> Result<Outdated, EngineError> {
    let targets = instances.iter().map(ToString::to_string).collect();
    let planner = Planner::new(pipeline, store, &PlanOptions { targets, ..options.clone() })?;
    let (plan, _) = planner.plan()?;
    let is_current = |id: &&InstanceId| {
        let planned = plan.stages.iter().find(|planned| planned.id == **id);
        planned.is_some_and(|planned| match &planned.state {
            State::Fresh { key, .. } => planner.last(planned.index).is_some_and(|last| last.key == *key),
            State::Stale { .. } | State::Undecided { .. } | State::Blocked { .. } => false,
        })
    };
    let first = instances.iter().find(|id| !is_current(id)).cloned();
    Ok(Outdated { first, warnings: plan.warnings })
}
