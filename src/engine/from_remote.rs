//! What a plan finds in the shared store: results that need not be made here,
//! and whether what stages will read can be had.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};

use rayon::prelude::*;

use super::plan::{Plan, State};
use super::planner::{Planner, Results, damage, sources};
use super::reason::Reason;
use crate::ground::ContentHash;
use crate::pipeline::Refresh;
use crate::stage::Stage;
use crate::store::{Manifest, ObjectState};

impl Planner<'_> {
    /// The result of a key in the shared store. All others that may be asked for
    /// are asked for at the same time: each answer takes as long as one.
    pub(super) fn in_remote(&self, index: usize, key: &ContentHash, results: &Results) -> Option<Manifest> {
        let remote = self.remote.as_ref().filter(|remote| remote.pulls())?;
        let to_ask = self.to_ask(index, results);
        let keys: BTreeSet<ContentHash> = to_ask
            .into_par_iter()
            .filter_map(|index| Some(self.assemble(&self.pipeline.instances[index], results).ok()?.fingerprint.key()))
            .collect();
        let keys: Vec<ContentHash> = keys.into_iter().chain([*key]).collect();
        remote.results(self.store, &keys).remove(key)
    }

    /// The other instances whose inputs are known and that were not asked for yet.
    fn to_ask(&self, index: usize, results: &Results) -> Vec<usize> {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if !asked.insert(index) {
            return Vec::new();
        }
        let is_ready = |index: &usize| {
            results[*index].is_none()
                && sources(&self.pipeline.instances[*index]).all(|source| results[source].is_some())
        };
        let ready: Vec<usize> = self.wanted.iter().copied().filter(is_ready).collect();
        ready.into_iter().filter(|index| asked.insert(*index)).collect()
    }

    /// The result that is known, unless it is too old and the shared store has
    /// one that is not.
    pub(super) fn younger(&self, key: &ContentHash, refresh: Refresh, known: Option<Manifest>) -> Option<Manifest> {
        let known = known?;
        let Refresh::After(_) = refresh else { return Some(known) };
        if self.refresh_due(refresh, known.made_at_millis).is_none() {
            return Some(known);
        }
        let remote = self.remote.as_ref().filter(|remote| remote.pulls());
        let there = remote.and_then(|remote| remote.result_now(self.store, key));
        let is_young = |there: &Manifest| self.refresh_due(refresh, there.made_at_millis).is_none();
        Some(there.filter(is_young).unwrap_or(known))
    }

    /// What of a manifest's artifacts is neither here as it was written nor in
    /// the shared store.
    pub(super) fn damage(&self, stage: &dyn Stage, manifest: &Manifest) -> Vec<Reason> {
        let mut found = damage(self.store, stage, manifest);
        let Some(remote) = self.remote.as_ref().filter(|remote| remote.pulls()) else { return found };
        found.retain(|reason| match reason {
            Reason::ArtifactMissing { output } | Reason::ArtifactDamaged { output } => {
                !manifest.outputs.get(output).is_some_and(|artifact| remote.has(artifact))
            }
            _ => true,
        });
        found
    }

    /// Asks the shared store for what stages that may run will read from there.
    /// Whether some of it cannot be had: then the plan is to be made again, and
    /// has what makes it.
    pub(super) fn lacks_inputs(&self, plan: &Plan) -> bool {
        let Some(remote) = self.remote.as_ref().filter(|remote| remote.pulls()) else { return false };
        let fresh: BTreeMap<usize, &Arc<Manifest>> = plan
            .stages
            .iter()
            .filter_map(|stage| match &stage.state {
                State::Fresh { manifest, .. } => Some((stage.index, manifest)),
                _ => None,
            })
            .collect();
        let mut needed = BTreeMap::new();
        for stage in plan.stages.iter().filter(|stage| !fresh.contains_key(&stage.index)) {
            for source in self.pipeline.instances[stage.index].inputs.values().flatten() {
                let Some(manifest) = fresh.get(&source.instance) else { continue };
                let Some(artifact) = manifest.outputs.get(&source.output) else { continue };
                if self.store.check(artifact) != ObjectState::Good {
                    needed.insert(artifact.hash, (artifact.clone(), manifest.key));
                }
            }
        }
        let artifacts: Vec<_> = needed.values().map(|(artifact, _)| artifact.clone()).collect();
        let lost = if artifacts.is_empty() { Vec::new() } else { remote.lost_of(&artifacts) };
        if !remote.is_down() {
            // What was recorded of it may be outdated: it is asked for once more.
            lost.iter().filter_map(|hash| needed.get(hash)).for_each(|(_, key)| remote.forget(self.store, key));
        }
        !lost.is_empty()
    }
}
