//! The rows of the list of stages: one for each instance, or one for all
//! instances of a stage.

use std::collections::{BTreeMap, BTreeSet};

use super::super::narrator::split;
use super::stage::{Mark, Stage};

/// One row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Row {
    /// One instance: its name and its place, and whether it stands below its stage's row.
    Instance { name: String, place: usize, below: bool },
    /// All instances of a stage, by their places.
    Stage { name: String, places: Vec<usize> },
}

impl Row {
    /// What it is called.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Instance { name, .. } | Self::Stage { name, .. } => name,
        }
    }

    /// The places of its instances.
    pub(super) fn places(&self) -> &[usize] {
        match self {
            Self::Instance { place, .. } => std::slice::from_ref(place),
            Self::Stage { places, .. } => places,
        }
    }

    /// The most urgent state among its instances.
    pub(super) fn mark(&self, stages: &[Stage]) -> Mark {
        self.places().iter().map(|place| stages[*place].mark()).min().unwrap_or(Mark::Waiting)
    }
}

/// The stage of an instance: `train` of `train@V1#2`.
pub(super) fn stage_of(id: &str) -> &str {
    split(id).0
}

/// The rows of these instances. Those of a stage that is not unfolded share
/// one; with `only_failed` there are the failed ones alone, each for itself.
pub(super) fn rows(stages: &[Stage], unfolded: &BTreeSet<String>, only_failed: bool) -> Vec<Row> {
    let instance = |place: usize, below: bool| Row::Instance { name: stages[place].facts.id.clone(), place, below };
    if only_failed {
        return (0..stages.len()).filter(|place| stages[*place].has_failures()).map(|at| instance(at, false)).collect();
    }
    let mut of_stage: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (place, stage) in stages.iter().enumerate() {
        of_stage.entry(stage_of(&stage.facts.id)).or_default().push(place);
    }
    let mut rows = Vec::new();
    for stage in stages {
        let name = stage_of(&stage.facts.id);
        // All instances stand where the first does.
        match of_stage.remove(name) {
            Some(places) if places.len() > 1 => {
                let below = places.iter().filter(|_| unfolded.contains(name)).map(|place| instance(*place, true));
                let below: Vec<Row> = below.collect();
                rows.push(Row::Stage { name: name.to_owned(), places });
                rows.extend(below);
            }
            Some(places) => rows.extend(places.into_iter().map(|place| instance(place, false))),
            None => {}
        }
    }
    rows
}
