//! Makes a plan: computes each instance's fingerprint from what its inputs
//! gave, looks its key up in the store, and says why it must run if it must.
//!
//! Reads one manifest per instance and one record of its last run, and hashes
//! only files that changed since the store saw them. It writes nothing; the
//! store may set aside what it finds damaged.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::error::EngineError;
use super::fingerprint::{FORMAT, Fingerprint, InputPrint, SeedPrint, columns_read, without_environment};
use super::options::{Failure, PlanOptions};
use super::plan::{Plan, Planned, State};
use super::reason::{Present, Reason, compare};
use super::reference;
use super::world::World;
use crate::ground::{Clock, ContentHash, closest};
use crate::pipeline::{Instance, Pipeline, Refresh};
use crate::stage::{Columns, Input, InputPort, Resource, Stage};
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
    forced: BTreeSet<usize>,
    clock: Arc<dyn Clock>,
}

/// An instance's fingerprint and what it was made of.
pub(super) struct Assembled {
    pub(super) fingerprint: Fingerprint,
    /// The opened inputs.
    pub(super) inputs: BTreeMap<String, Vec<Input>>,
    files: Vec<String>,
    sources: BTreeMap<(String, String), String>,
    unknown: Vec<(String, String)>,
}

impl Assembled {
    /// Everything that differs from what an instance used last.
    pub(super) fn changes_since(&self, last: &LastRun) -> Vec<Reason> {
        // Only the format is read first: the rest may have had another shape.
        let format = last.fingerprint.get("format").and_then(serde_json::Value::as_u64).unwrap_or_default() as u32;
        let Ok(before) = serde_json::from_value::<Fingerprint>(last.fingerprint.clone()) else {
            return vec![Reason::Format { before: format, now: FORMAT }];
        };
        let present = Present {
            fingerprint: &self.fingerprint,
            files: &self.files,
            sources: &self.sources,
            unknown: &self.unknown,
        };
        compare(&before, &present)
    }
}

/// What an instance must do, all its inputs being known.
pub(super) enum Look {
    /// Nothing.
    Fresh { key: ContentHash, manifest: Arc<Manifest>, restored: bool },
    /// Its work.
    Stale(Box<Work>),
    /// It cannot.
    Blocked(Failure),
}

/// Work that is to be done.
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
        Ok(Self { pipeline, store, wanted, world, forced, clock: Arc::clone(&options.clock) })
    }

    /// The plan, and for each wanted instance whose inputs are known, what it must do.
    ///
    /// # Errors
    /// [`EngineError::Store`] if the store cannot be read.
    pub(super) fn plan(&self) -> Result<(Plan, Vec<Option<Look>>), EngineError> {
        let mut results: Vec<Option<Arc<Manifest>>> = vec![None; self.pipeline.instances.len()];
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
                let state = self.undecided(index, &results, &waiting);
                (state, self.last_manifest(index)?.map(|manifest| manifest.seconds), None)
            };
            let (id, kind) = (instance.id.clone(), instance.kind.name());
            stages.push(Planned { index, id, kind, state, rows: None, synthetic: synthetic[index], last_seconds });
            looks.push(look);
        }
        let sandbox = self.world.as_ref().map(|world| world.identity.clone());
        Ok((
            Plan { pipeline: self.pipeline.name.clone(), sandbox, stages, warnings: self.store.take_warnings() },
            looks,
        ))
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
        let manifest = self.store.manifest(&key)?;
        let last = self.last(index);
        let mut reasons = Vec::new();
        let mut refused = None;
        if let Some(manifest) = &manifest {
            if self.forced.contains(&index) {
                reasons.push(Reason::Forced);
            }
            reasons.extend(self.refresh_due(instance.refresh, manifest.made_at_millis));
            if !reasons.is_empty() {
                refused = Some(manifest.made_at_millis);
            }
            reasons.extend(damage(self.store, instance.stage.as_ref(), manifest));
            if reasons.is_empty() {
                let restored = last.is_none_or(|last| last.key != key);
                return Ok(Look::Fresh { key, manifest: Arc::new(manifest.clone()), restored });
            }
        } else {
            reasons = since_last(last.as_ref(), &assembled, &key);
        }
        let before = match last {
            Some(last) if last.key != key => self.store.manifest(&last.key)?,
            Some(_) => manifest,
            None => None,
        };
        Ok(Look::Stale(Box::new(Work { key, reasons, assembled, refused, before })))
    }

    /// An instance's fingerprint and opened inputs, as far as the results of
    /// its inputs are known.
    ///
    /// # Errors
    /// A [`Failure`] if it cannot run as it stands.
    pub(super) fn assemble(&self, instance: &Instance, results: &Results) -> Result<Assembled, Failure> {
        let stage = &instance.stage;
        let files = stage.files();
        let hashes = files.iter().map(|path| self.store.file_hash(path)).collect::<Result<Vec<_>, _>>();
        let hashes = hashes.map_err(|error| Failure {
            error: error.to_string(),
            causes: vec![error.source.to_string()],
            hint: Some("paths are relative to the folder in which refrain is started".to_owned()),
        })?;
        let seed = stage.is_seeded().then(|| SeedPrint { value: instance.seed, stage: instance.id.stage.clone() });
        let fingerprint = Fingerprint {
            format: FORMAT,
            kind: instance.kind.name().to_owned(),
            kind_version: instance.kind.version(),
            settings: without_environment(&stage.settings()),
            inputs: BTreeMap::new(),
            files: hashes,
            facts: stage.facts(),
            seed,
            world: self.world.as_ref().filter(|_| is_api(instance)).map(|world| world.identity.clone()),
        };
        let files = files.iter().map(|path| path.display().to_string()).collect();
        let mut assembled =
            Assembled { fingerprint, inputs: BTreeMap::new(), files, sources: BTreeMap::new(), unknown: Vec::new() };
        self.add_inputs(instance, results, &mut assembled)?;
        Ok(assembled)
    }

    fn add_inputs(&self, instance: &Instance, results: &Results, assembled: &mut Assembled) -> Result<(), Failure> {
        let ports = instance.stage.inputs();
        for (name, sources) in &instance.inputs {
            let Some(port) = ports.iter().find(|p| p.name == *name).or_else(|| ports.iter().find(|p| p.name == "*"))
            else {
                return Err(Failure {
                    error: format!("the kind `{}` has no input `{name}`: this is a bug", instance.kind.name()),
                    causes: Vec::new(),
                    hint: None,
                });
            };
            let mut used = BTreeSet::new();
            for source in sources {
                let producer = &self.pipeline.instances[source.instance];
                let label = if port.many { unique(&source.label, &mut used) } else { String::new() };
                let place = (name.clone(), label.clone());
                assembled.sources.insert(place.clone(), producer.id.to_string());
                let Some(manifest) = &results[source.instance] else {
                    assembled.unknown.push(place);
                    continue;
                };
                let (print, input) = open(self.store, port, producer, &source.output, manifest, &source.label)
                    .map_err(|failure| named(failure, instance, name))?;
                assembled.fingerprint.inputs.entry(name.clone()).or_default().insert(label, print);
                assembled.inputs.entry(name.clone()).or_default().push(input);
            }
        }
        Ok(())
    }

    fn undecided(&self, index: usize, results: &Results, waiting: &BTreeSet<usize>) -> State {
        let instance = &self.pipeline.instances[index];
        match self.assemble(instance, results) {
            Err(failure) => State::Blocked { failure },
            Ok(assembled) => {
                let mut reasons = Vec::new();
                if self.forced.contains(&index) {
                    reasons.push(Reason::Forced);
                }
                match self.last(index) {
                    None => reasons.push(Reason::NeverRan),
                    Some(last) => reasons.extend(assembled.changes_since(&last)),
                }
                let waiting_for = waiting.iter().map(|&i| self.pipeline.instances[i].id.to_string()).collect();
                State::Undecided { waiting_for, reasons }
            }
        }
    }

    fn refresh_due(&self, refresh: Refresh, made_at_millis: u64) -> Option<Reason> {
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

    fn last_manifest(&self, index: usize) -> Result<Option<Manifest>, EngineError> {
        Ok(self.last(index).map(|last| self.store.manifest(&last.key)).transpose()?.flatten())
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
        let output = port.name.to_owned();
        let Some(artifact) = manifest.outputs.get(port.name) else { return Some(Reason::RecordLost) };
        match store.check(artifact) {
            ObjectState::Good => None,
            ObjectState::Missing => Some(Reason::ArtifactMissing { output }),
            ObjectState::Damaged { .. } => Some(Reason::ArtifactDamaged { output }),
        }
    });
    states.flatten().collect()
}

fn since_last(last: Option<&LastRun>, assembled: &Assembled, key: &ContentHash) -> Vec<Reason> {
    let Some(last) = last else { return vec![Reason::NeverRan] };
    let changes = if last.key == *key { Vec::new() } else { assembled.changes_since(last) };
    if changes.is_empty() { vec![Reason::RecordLost] } else { changes }
}

fn described(look: &Look) -> (State, Option<f64>) {
    match look {
        Look::Fresh { key, manifest, restored } => {
            let state = State::Fresh { key: *key, restored: *restored, manifest: Arc::clone(manifest) };
            (state, Some(manifest.seconds))
        }
        Look::Stale(work) => {
            let state = State::Stale { key: work.key, reasons: work.reasons.clone() };
            (state, work.before.as_ref().map(|manifest| manifest.seconds))
        }
        Look::Blocked(failure) => (State::Blocked { failure: failure.clone() }, None),
    }
}

/// One input's part of the fingerprint, and the input itself.
fn open(
    store: &Store,
    port: &InputPort,
    producer: &Instance,
    output: &str,
    manifest: &Manifest,
    label: &str,
) -> Result<(InputPrint, Input), Failure> {
    let refused = |error: String, hint: String| Failure { error, causes: Vec::new(), hint: Some(hint) };
    let artifact = manifest.outputs.get(output).ok_or_else(|| {
        let there = manifest.outputs.keys().cloned().collect::<Vec<_>>().join(", ");
        refused(format!("`{}` has no output `{output}`", producer.id), format!("its outputs are {there}"))
    })?;
    let available: Vec<String> = artifact.columns.iter().map(|column| column.name.clone()).collect();
    let names = columns_read(&port.columns, &available).map_err(|missing| {
        let near = closest(&missing, available.iter().map(String::as_str));
        let near = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
        refused(
            format!("`{}.{output}` has no column `{missing}`", producer.id),
            format!("its columns are {}{near}", available.join(", ")),
        )
    })?;
    let hashes = artifact.columns.iter().filter(|column| names.contains(&column.name));
    let whole = port.columns == Columns::All;
    let print = InputPrint {
        columns: hashes.map(|column| (column.name.clone(), column.hash)).collect(),
        order: whole.then(|| available.clone()),
    };
    let path = store.object_path(&artifact.hash);
    Ok((print, Input::of_file(label, &path, (!whole).then_some(names), artifact.rows)))
}

fn named(failure: Failure, instance: &Instance, port: &str) -> Failure {
    Failure { error: format!("could not give `{}` its input `{port}`: {}", instance.id, failure.error), ..failure }
}

/// A label that no other input of the port has.
fn unique(label: &str, used: &mut BTreeSet<String>) -> String {
    let mut candidate = label.to_owned();
    let mut number = 2;
    while !used.insert(candidate.clone()) {
        candidate = format!("{label}~{number}");
        number += 1;
    }
    candidate
}
