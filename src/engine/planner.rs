//! Makes a plan: takes each instance's fingerprint from what its inputs
//! gave, looks its key up in the store, and says why it must run if it must.
//!
//! Reads one manifest per instance and one record of its last run, and hashes
//! only files that changed since the store saw them. It writes nothing; the
//! store may set aside what it finds damaged.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rayon::prelude::*;

use super::assembled::Assembled;
use super::cause::Cause;
use super::error::EngineError;
use super::options::{Failure, PlanOptions};
use super::plan::{Plan, Planned, State};
use super::reason::Reason;
use super::reference;
use super::world::World;
use crate::ground::{Clock, ContentHash};
use crate::people::People;
use crate::pipeline::{Instance, Pipeline, Refresh};
use crate::remote::Remote;
use crate::stage::{Resource, Stage};
use crate::store::{LastRun, Manifest, ObjectState, Store};

/// The results of the instances so far, by index.
pub(super) type Results = [Option<Arc<Manifest>>];

/// Looks at instances and tells their state.
pub(super) struct Planner<'a> {
    pub(super) pipeline: &'a Pipeline,
    pub(super) store: &'a Store,
    /// The wanted instances, in topological order.
    pub(super) wanted: Vec<usize>,
    /// The world that answers, if a wanted instance asks one.
    pub(super) world: Option<World>,
    /// Whom pseudonyms stand for in this store.
    pub(super) people: Arc<People>,
    forced: BTreeSet<usize>,
    clock: Arc<dyn Clock>,
    /// The store that is shared with others.
    pub(super) remote: Option<Remote>,
    /// The instances whose results were asked for there.
    pub(super) asked: Mutex<BTreeSet<usize>>,
    /// Manifests that were read ahead, by key: each is taken once.
    ahead: Mutex<BTreeMap<ContentHash, Manifest>>,
}

/// From so many stages on, manifests are read ahead on all cores.
const MANY: usize = 100;

/// What an instance must do, all its inputs being known.
pub(super) enum Look {
    /// Nothing.
    Fresh { key: ContentHash, manifest: Arc<Manifest>, restored: bool, pulled: bool },
    /// Its work.
    Stale(Box<Work>),
    /// It cannot.
    Blocked(Failure),
}

/// Work that is to be done.
#[derive(Clone)]
pub(super) struct Work {
    pub(super) key: ContentHash,
    pub(super) reasons: Vec<Reason>,
    pub(super) assembled: Assembled,
    /// When the result that is too old, or was refused by force, was made: it
    /// is not to be adopted.
    pub(super) refused: Option<u64>,
    /// What the instance had last, if that is known.
    pub(super) before: Option<Manifest>,
}

impl<'a> Planner<'a> {
    /// A planner for the wanted instances.
    ///
    /// # Errors
    /// [`EngineError`] if a reference names nothing or the sandbox is not to be had.
    pub(super) fn new(pipeline: &'a Pipeline, store: &'a Store, options: &PlanOptions) -> Result<Self, EngineError> {
        let (wanted, forced) = reference::wanted(pipeline, &options.targets, &options.force)?;
        let asks = wanted.iter().any(|&index| is_api(&pipeline.instances[index]));
        let world = if asks { World::choose(pipeline, options.sandbox.as_ref())? } else { None };
        let people = Arc::new(People::new(store.people_folder()));
        let (clock, ahead, asked) = (Arc::clone(&options.clock), Mutex::default(), Mutex::default());
        let remote = options.remote.clone();
        Ok(Self { pipeline, store, wanted, world, people, forced, clock, remote, asked, ahead })
    }

    /// The plan, and for each wanted instance whose inputs are known, what it must do.
    ///
    /// # Errors
    /// [`EngineError::Store`] if the store cannot be read.
    pub(super) fn plan(&self) -> Result<(Plan, Vec<Option<Look>>), EngineError> {
        let mut results: Vec<Option<Arc<Manifest>>> = vec![None; self.pipeline.instances.len()];
        self.read_ahead();
        let mut looks = Vec::with_capacity(self.wanted.len());
        let mut stages = Vec::with_capacity(self.wanted.len());
        let synthetic = self.synthetic();
        for &index in &self.wanted {
            let instance = &self.pipeline.instances[index];
            let waiting: BTreeSet<usize> = sources(instance).filter(|&source| results[source].is_none()).collect();
            let (state, last_seconds, look) = if waiting.is_empty() {
                let look = self.look(index, &results)?;
                if let Look::Fresh { manifest, .. } = &look {
                    results[index] = Some(Arc::clone(manifest));
                }
                let (state, seconds) = described(&look);
                (state, seconds, Some(look))
            } else {
                let before = self.before(index)?;
                let seconds = before.as_ref().and_then(|(_, manifest)| Some(manifest.as_ref()?.seconds));
                (self.undecided(index, &results, &waiting, before), seconds, None)
            };
            let (id, kind) = (instance.id.clone(), instance.kind.name());
            let synthetic = synthetic[index];
            let (rows, expected_seconds) = (None, None);
            let on_cluster = false;
            stages.push(Planned {
                index,
                id,
                kind,
                state,
                rows,
                expected_seconds,
                synthetic,
                last_seconds,
                on_cluster,
            });
            looks.push(look);
        }
        // What others do to the store from now on must be seen.
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let sandbox = self.world.as_ref().map(|world| world.identity.clone());
        let (pipeline, mut warnings) = (self.pipeline.name.clone(), self.store.take_warnings());
        warnings.extend(self.remote.iter().flat_map(Remote::take_warnings));
        Ok((Plan { pipeline, sandbox, stages, limiters: Vec::new(), warnings }, looks))
    }

    /// Reads what the wanted instances used last, which is most likely what
    /// they will be found to use again.
    fn read_ahead(&self) {
        if self.wanted.len() < MANY {
            return;
        }
        let keys: BTreeSet<ContentHash> = self.wanted.iter().filter_map(|&index| Some(self.last(index)?.key)).collect();
        let keys: Vec<ContentHash> = keys.into_iter().collect();
        // What cannot be read is asked for again, and reported, where it is needed.
        let read = keys.par_iter().filter_map(|key| Some((*key, self.store.manifest(key).ok().flatten()?))).collect();
        *self.ahead.lock().unwrap_or_else(PoisonError::into_inner) = read;
    }

    fn manifest(&self, key: &ContentHash) -> Result<Option<Manifest>, EngineError> {
        let ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
        Ok(match ahead {
            Some(manifest) => Some(manifest),
            None => self.store.manifest(key)?,
        })
    }

    /// What is known here of a key: also of one whose artifacts are elsewhere.
    fn record(&self, key: &ContentHash) -> Result<Option<Manifest>, EngineError> {
        Ok(self.manifest(key)?.or_else(|| self.remote.as_ref()?.kept(self.store, key)))
    }

    /// What an instance must do, the results of all its inputs being known.
    ///
    /// # Errors
    /// [`EngineError::Store`] if the store cannot be read.
    pub(super) fn look(&self, index: usize, results: &Results) -> Result<Look, EngineError> {
        let instance = &self.pipeline.instances[index];
        let assembled = match self.assemble(instance, results) {
            Ok(assembled) => assembled,
            Err(failure) => return Ok(Look::Blocked(failure)),
        };
        let key = assembled.fingerprint.key();
        let last = self.last(index);
        let here = self.manifest(&key)?;
        let is_here = here.is_some();
        let found = here.or_else(|| self.in_remote(index, &key, results));
        let Some(manifest) = self.younger(&key, instance.refresh, found) else {
            let before = last.map(|last| self.record(&last.key)).transpose()?.flatten();
            let reasons = since_last(last.as_ref(), before.as_ref(), &assembled, &key);
            return Ok(Look::Stale(Box::new(Work { key, reasons, assembled, refused: None, before })));
        };
        let mut reasons = Vec::new();
        if self.forced.contains(&index) {
            reasons.push(Reason::Forced);
        }
        reasons.extend(self.refresh_due(instance.refresh, manifest.made_at_millis));
        let refused = (!reasons.is_empty()).then_some(manifest.made_at_millis);
        reasons.extend(self.damage(instance.stage.as_ref(), &manifest));
        let is_last = last.is_some_and(|last| last.key == key);
        if reasons.is_empty() {
            let pulled = !is_last && !is_here;
            return Ok(Look::Fresh { key, manifest: Arc::new(manifest), restored: !is_last && !pulled, pulled });
        }
        let before = match last {
            Some(_) if is_last => Some(manifest),
            Some(last) => self.record(&last.key)?,
            None => None,
        };
        Ok(Look::Stale(Box::new(Work { key, reasons, assembled, refused, before })))
    }

    fn undecided(
        &self,
        index: usize,
        results: &Results,
        waiting: &BTreeSet<usize>,
        before: Option<(LastRun, Option<Manifest>)>,
    ) -> State {
        let instance = &self.pipeline.instances[index];
        match self.assemble(instance, results) {
            Err(failure) => State::Blocked { failure },
            Ok(assembled) => {
                let mut reasons = Vec::new();
                if self.forced.contains(&index) {
                    reasons.push(Reason::Forced);
                }
                match before {
                    None => reasons.push(Reason::NeverRan),
                    Some((_, None)) => reasons.push(Reason::RecordLost),
                    Some((_, Some(earlier))) => reasons.extend(assembled.changes_since(&earlier)),
                }
                let waiting_for = waiting.iter().map(|&i| self.pipeline.instances[i].id.to_string()).collect();
                State::Undecided { waiting_for, reasons: reasons.into_iter().map(Cause::from).collect() }
            }
        }
    }

    pub(super) fn refresh_due(&self, refresh: Refresh, made_at_millis: u64) -> Option<Reason> {
        let age = Duration::from_millis(self.clock.now_millis().saturating_sub(made_at_millis));
        match refresh {
            Refresh::Once => None,
            Refresh::Always => Some(Reason::refresh_due(age, Duration::ZERO)),
            Refresh::After(allowed) => (age >= allowed).then(|| Reason::refresh_due(age, allowed)),
        }
    }

    /// What an instance used last.
    pub(super) fn last(&self, index: usize) -> Option<LastRun> {
        self.store.last(&self.pipeline.name, &self.pipeline.instances[index].id.to_string())
    }

    /// What an instance used last, and what was recorded of it.
    ///
    /// # Errors
    /// [`EngineError::Store`] if the store cannot be read.
    pub(super) fn before(&self, index: usize) -> Result<Option<(LastRun, Option<Manifest>)>, EngineError> {
        let Some(last) = self.last(index) else { return Ok(None) };
        Ok(Some((last, self.record(&last.key)?)))
    }

    /// Whether each instance of the pipeline, or something above it, takes its
    /// answers from a sandbox.
    pub(super) fn synthetic(&self) -> Vec<bool> {
        let mut synthetic = vec![false; self.pipeline.instances.len()];
        for (index, instance) in self.pipeline.instances.iter().enumerate() {
            synthetic[index] =
                (self.world.is_some() && is_api(instance)) || sources(instance).any(|source| synthetic[source]);
        }
        synthetic
    }
}

/// Whether an instance asks the network.
pub(super) fn is_api(instance: &Instance) -> bool {
    matches!(instance.stage.resource(), Resource::Api(_))
}

/// The producers of an instance's inputs.
pub(super) fn sources(instance: &Instance) -> impl Iterator<Item = usize> {
    instance.inputs.values().flatten().map(|source| source.instance)
}

/// What of a manifest's artifacts is not there as it was written.
pub(super) fn damage(store: &Store, stage: &dyn Stage, manifest: &Manifest) -> Vec<Reason> {
    let states = stage.outputs().into_iter().map(|port| {
        let output = port.name.into_owned();
        let Some(artifact) = manifest.outputs.get(&output) else { return Some(Reason::RecordLost) };
        match store.check(artifact) {
            ObjectState::Good => None,
            ObjectState::Missing => Some(Reason::ArtifactMissing { output }),
            ObjectState::Damaged { .. } => Some(Reason::ArtifactDamaged { output }),
        }
    });
    states.flatten().collect()
}

fn since_last(
    last: Option<&LastRun>,
    before: Option<&Manifest>,
    assembled: &Assembled,
    key: &ContentHash,
) -> Vec<Reason> {
    let Some(last) = last else { return vec![Reason::NeverRan] };
    let changes = before.filter(|_| last.key != *key).map(|before| assembled.changes_since(before));
    changes.filter(|changes| !changes.is_empty()).unwrap_or_else(|| vec![Reason::RecordLost])
}

fn described(look: &Look) -> (State, Option<f64>) {
    match look {
        Look::Fresh { key, manifest, restored, pulled } => {
            let (restored, pulled) = (*restored, *pulled);
            let state = State::Fresh { key: *key, restored, pulled, manifest: Arc::clone(manifest) };
            (state, Some(manifest.seconds))
        }
        Look::Stale(work) => {
            let state =
                State::Stale { key: work.key, reasons: work.reasons.iter().cloned().map(Cause::from).collect() };
            (state, work.before.as_ref().map(|manifest| manifest.seconds))
        }
        Look::Blocked(failure) => (State::Blocked { failure: failure.clone() }, None),
    }
}
