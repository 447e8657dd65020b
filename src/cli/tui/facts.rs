//! What the dashboard knows of a pipeline before anything has happened.

use std::collections::{BTreeMap, BTreeSet};

use crate::pipeline::{Instance, Pipeline};
use crate::stage::Resource;
use crate::web::{BudgetSettings, LimiterSettings, default_limiter};

/// The instances that a run is about, and what limits them.
#[derive(Debug, Clone, Default)]
pub(in crate::cli) struct Facts {
    /// The pipeline's name.
    pub(super) pipeline: String,
    /// The instances, each after all that it reads.
    pub(super) stages: Vec<StageFacts>,
    /// The limits of each limiter that one of them asks through.
    pub(super) limits: BTreeMap<String, LimiterSettings>,
    /// The budgets of these limiters.
    pub(super) budgets: BTreeMap<String, BudgetSettings>,
}

/// What is known of one instance.
#[derive(Debug, Clone, Default)]
pub(super) struct StageFacts {
    /// The instance, as it displays.
    pub(super) id: String,
    /// Its kind.
    pub(super) kind: &'static str,
    /// Its settings as YAML, line by line; `${env.NAME}` stands as it is written.
    pub(super) settings: Vec<String>,
    /// The places of the instances that it reads.
    pub(super) reads: Vec<usize>,
    /// The limiter that it asks through.
    pub(super) limiter: Option<String>,
}

impl Facts {
    /// The facts of the instances that these targets need; of all without any.
    pub(in crate::cli) fn of(pipeline: &Pipeline, targets: &[String]) -> Self {
        let wanted = wanted(pipeline, targets);
        let places: BTreeMap<usize, usize> =
            wanted.iter().enumerate().map(|(place, instance)| (*instance, place)).collect();
        let stages: Vec<StageFacts> = wanted.iter().map(|index| stage(&pipeline.instances[*index], &places)).collect();
        let limiters: BTreeSet<&String> = stages.iter().filter_map(|stage| stage.limiter.as_ref()).collect();
        let limits = |name: &String| {
            let given = pipeline.limiters.get(name).cloned();
            (name.clone(), given.or_else(|| default_limiter(name)).unwrap_or_default())
        };
        let budget = |name: &&String| Some(((*name).clone(), pipeline.budgets.get(*name)?.clone()));
        Self {
            pipeline: pipeline.name.clone(),
            limits: limiters.iter().map(|name| limits(name)).collect(),
            budgets: limiters.iter().filter_map(budget).collect(),
            stages,
        }
    }
}

/// The instances that the targets mean and all that they read, in the pipeline's order.
fn wanted(pipeline: &Pipeline, targets: &[String]) -> Vec<usize> {
    if targets.is_empty() {
        return (0..pipeline.instances.len()).collect();
    }
    // A target that names nothing is refused when the run is planned.
    let mut queue: Vec<usize> = targets.iter().flat_map(|target| pipeline.select(target).unwrap_or_default()).collect();
    let mut found: BTreeSet<usize> = queue.iter().copied().collect();
    while let Some(index) = queue.pop() {
        queue.extend(sources(&pipeline.instances[index]).filter(|source| found.insert(*source)));
    }
    found.into_iter().collect()
}

fn sources(instance: &Instance) -> impl Iterator<Item = usize> {
    instance.inputs.values().flatten().map(|source| source.instance)
}

fn stage(instance: &Instance, places: &BTreeMap<usize, usize>) -> StageFacts {
    let mut reads: Vec<usize> = sources(instance).filter_map(|source| places.get(&source).copied()).collect();
    reads.sort_unstable();
    reads.dedup();
    let settings = serde_yaml::to_string(&instance.stage.settings()).unwrap_or_default();
    StageFacts {
        id: instance.id.to_string(),
        kind: instance.kind.name(),
        settings: settings.lines().filter(|line| *line != "{}").map(str::to_owned).collect(),
        reads,
        limiter: match instance.stage.resource() {
            Resource::Api(limiter) => Some(limiter),
            Resource::Cpu(_) | Resource::Gpu => None,
        },
    }
}
