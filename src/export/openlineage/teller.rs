//! From the engine's events to `OpenLineage` documents. Pure but for the
//! manifests that it looks up: time comes in as a value.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::super::lineage::iso;
use super::dataset;
use crate::engine::Event;
use crate::ground::{ContentHash, Hasher};
use crate::pipeline::{Instance, Pipeline};
use crate::store::{Manifest, Store};

/// Who says all this.
const PRODUCER: &str = concat!(env!("CARGO_PKG_REPOSITORY"), "/tree/v", env!("CARGO_PKG_VERSION"));
const SCHEMA: &str = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent";

/// The address of a facet's schema.
pub(super) fn versioned(version: &str, name: &str) -> String {
    format!("https://openlineage.io/spec/facets/{version}/{name}.json#/$defs/{name}")
}

/// A facet, which says who made it and where its schema is.
pub(super) fn facet(schema: &str, mut content: Value) -> Value {
    content["_producer"] = json!(PRODUCER);
    content["_schemaURL"] = json!(schema);
    content
}

/// Whether an event becomes a document.
pub(super) fn is_told(event: &Event) -> bool {
    matches!(
        event,
        Event::RunStarted { .. }
            | Event::StageStarted { .. }
            | Event::StageFinished { .. }
            | Event::StageFailed { .. }
            | Event::StageSkipped { .. }
            | Event::Finished { .. }
    )
}

/// Turns events into documents.
pub(super) struct Teller {
    pipeline: Pipeline,
    store: Store,
    namespace: String,
    run: String,
    /// The id of the run as a whole.
    id: String,
    synthetic: bool,
    /// The stages that were begun, and the ids of their runs.
    begun: BTreeMap<String, String>,
    /// The place of each instance in the pipeline, by its name.
    places: BTreeMap<String, usize>,
    /// What each instance made, by its place in the pipeline.
    made: BTreeMap<usize, Manifest>,
}

impl Teller {
    pub(super) fn new(pipeline: Pipeline, store: Store, namespace: String) -> Self {
        let (run, id, begun, made) = (String::new(), String::new(), BTreeMap::new(), BTreeMap::new());
        let places =
            pipeline.instances.iter().enumerate().map(|(at, instance)| (instance.id.to_string(), at)).collect();
        Self { pipeline, store, namespace, run, id, synthetic: false, begun, places, made }
    }

    /// The documents of one event.
    pub(super) fn tell(&mut self, event: &Event, at_millis: u64) -> Vec<Value> {
        match event {
            Event::RunStarted { run, sandbox, .. } => {
                (self.run, self.id) = (run.clone(), uuid(at_millis, run, ""));
                self.synthetic = sandbox.is_some();
                vec![self.of_run("START", at_millis, None)]
            }
            Event::StageStarted { stage, .. } => vec![self.begin(stage, at_millis)],
            Event::StageFinished { stage, key, .. } => self.finish(stage, key, at_millis),
            Event::StageFailed { stage, error, causes, .. } => {
                let mut told = self.begin_if_needed(stage, at_millis);
                let message = std::iter::once(error).chain(causes).cloned().collect::<Vec<_>>().join(": ");
                let error = facet(
                    &versioned("1-0-1", "ErrorMessageRunFacet"),
                    json!({ "message": message, "programmingLanguage": "Rust" }),
                );
                told.push(self.of_stage("FAIL", stage, at_millis, Some(("errorMessage", error))));
                told
            }
            Event::StageSkipped { stage, .. } if self.begun.contains_key(stage) => {
                vec![self.of_stage("ABORT", stage, at_millis, None)]
            }
            Event::Finished { failed, skipped, .. } => {
                let how = match (failed, skipped) {
                    (0, 0) => "COMPLETE",
                    (0, _) => "ABORT",
                    _ => "FAIL",
                };
                let message = json!({ "message": format!("{failed} stages failed"), "programmingLanguage": "Rust" });
                let error = (how == "FAIL").then(|| facet(&versioned("1-0-1", "ErrorMessageRunFacet"), message));
                vec![self.of_run(how, at_millis, error.map(|error| ("errorMessage", error)))]
            }
            _ => Vec::new(),
        }
    }

    fn begin(&mut self, stage: &str, at_millis: u64) -> Value {
        self.begun.insert(stage.to_owned(), uuid(at_millis, &self.run, stage));
        self.of_stage("START", stage, at_millis, None)
    }

    fn begin_if_needed(&mut self, stage: &str, at_millis: u64) -> Vec<Value> {
        if self.begun.contains_key(stage) { Vec::new() } else { vec![self.begin(stage, at_millis)] }
    }

    /// A result is there: made now, or found in the store, which is told alike.
    fn finish(&mut self, stage: &str, key: &ContentHash, at_millis: u64) -> Vec<Value> {
        let mut told = self.begin_if_needed(stage, at_millis);
        let manifest = self.store.manifest(key).ok().flatten();
        if let (Some(at), Some(manifest)) = (self.place(stage), manifest) {
            self.made.insert(at, manifest);
        }
        told.push(self.of_stage("COMPLETE", stage, at_millis, None));
        told
    }

    fn place(&self, stage: &str) -> Option<usize> {
        self.places.get(stage).copied()
    }

    fn of_run(&self, how: &str, at_millis: u64, extra: Option<(&str, Value)>) -> Value {
        let job = json!({ "namespace": self.namespace, "name": self.pipeline.name, "facets": job_facets("PIPELINE") });
        let mut run = json!({ "runId": self.id, "facets": { "processing_engine": engine() } });
        if let Some((name, facet)) = extra {
            run["facets"][name] = facet;
        }
        self.document(how, at_millis, &run, job, [&[], &[]])
    }

    fn of_stage(&self, how: &str, stage: &str, at_millis: u64, extra: Option<(&str, Value)>) -> Value {
        let at = self.place(stage);
        let name = format!("{}.{stage}", self.pipeline.name);
        let mut job = json!({ "namespace": self.namespace, "name": name, "facets": job_facets("STAGE") });
        let parent = facet(
            &versioned("1-2-0", "ParentRunFacet"),
            json!({
                "run": { "runId": self.id },
                "job": { "namespace": self.namespace, "name": self.pipeline.name },
            }),
        );
        let mut facets = json!({ "parent": parent, "processing_engine": engine() });
        if let Some((name, facet)) = extra {
            facets[name] = facet;
        }
        let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
        if let Some((at, instance)) = at.and_then(|at| Some((at, self.pipeline.instances.get(at)?))) {
            job["facets"]["documentation"] = facet(
                &versioned("1-1-0", "DocumentationJobFacet"),
                json!({ "description": format!("{}: {}", instance.kind.name(), instance.kind.summary()) }),
            );
            inputs = self.inputs(instance);
            if let Some(manifest) = self.made.get(&at) {
                inputs.extend(files(instance, manifest));
                outputs = self.outputs(at, manifest);
            }
        }
        let run = json!({ "runId": self.begun.get(stage), "facets": facets });
        self.document(how, at_millis, &run, job, [&inputs, &outputs])
    }

    /// One document; the tables are those read and those written.
    fn document(&self, how: &str, at_millis: u64, run: &Value, mut job: Value, tables: [&[Value]; 2]) -> Value {
        if self.synthetic {
            let tags = json!({ "tags": [{ "key": "synthetic", "value": "true", "source": "refrain" }] });
            job["facets"]["tags"] = facet(&versioned("1-0-0", "TagsJobFacet"), tags);
        }
        json!({
            "eventType": how,
            "eventTime": iso(at_millis),
            "run": run,
            "job": job,
            "inputs": tables[0],
            "outputs": tables[1],
            "producer": PRODUCER,
            "schemaURL": SCHEMA,
        })
    }

    fn inputs(&self, instance: &Instance) -> Vec<Value> {
        let sources = instance.inputs.values().flatten();
        let read = |source: &crate::pipeline::Source| {
            let artifact = self.made.get(&source.instance)?.outputs.get(&source.output)?;
            Some(dataset::input(artifact, &self.called(source.instance, &source.output)))
        };
        sources.filter_map(read).collect()
    }

    fn outputs(&self, at: usize, manifest: &Manifest) -> Vec<Value> {
        let written = manifest.outputs.iter();
        written.map(|(output, artifact)| dataset::output(artifact, &self.called(at, output))).collect()
    }

    /// What people call an artifact: `demo/train@V4.curve`.
    fn called(&self, at: usize, output: &str) -> String {
        let id = self.pipeline.instances.get(at).map(|instance| instance.id.to_string()).unwrap_or_default();
        format!("{}/{id}.{output}", self.pipeline.name)
    }
}

/// The files from outside the store, by the hash of their content and their
/// name without its folders.
fn files(instance: &Instance, manifest: &Manifest) -> Vec<Value> {
    let hashes = manifest.fingerprint.get("files").and_then(Value::as_array).into_iter().flatten();
    let hashes = hashes.filter_map(|hash| hash.as_str()?.parse::<ContentHash>().ok());
    let paths = instance.stage.files();
    let name = |path: &std::path::PathBuf| path.file_name().map(|name| name.to_string_lossy().into_owned());
    paths.iter().zip(hashes).map(|(path, hash)| dataset::file(&name(path).unwrap_or_default(), &hash)).collect()
}

fn job_facets(kind: &str) -> Value {
    let content = json!({ "processingType": "BATCH", "integration": "REFRAIN", "jobType": kind });
    json!({ "jobType": facet(&versioned("2-0-4", "JobTypeJobFacet"), content) })
}

fn engine() -> Value {
    let version = env!("CARGO_PKG_VERSION");
    let content = json!({ "version": version, "name": "refrain", "openlineageAdapterVersion": version });
    facet(&versioned("1-1-1", "ProcessingEngineRunFacet"), content)
}

/// A UUID of version 7: the time, and a hash of what is named in the place of
/// random bits.
fn uuid(at_millis: u64, run: &str, stage: &str) -> String {
    let hash = Hasher::new("openlineage").field(run.as_bytes()).field(stage.as_bytes()).finish();
    let mut bytes = [0u8; 16];
    bytes.copy_from_slice(&hash.as_bytes()[..16]);
    bytes[..6].copy_from_slice(&at_millis.to_be_bytes()[2..]);
    bytes[6] = 0x70 | (bytes[6] & 0x0f);
    bytes[8] = 0x80 | (bytes[8] & 0x3f);
    let hex = format!("{:032x}", u128::from_be_bytes(bytes));
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_uuids_of_their_time_and_differ_by_stage() {
        let id = uuid(1_700_000_000_000, "run", "split");
        assert_eq!(id.len(), 36);
        assert!(id.starts_with("018bcfe5-6800-7"), "{id}");
        assert!("89ab".contains(&id[19..20]), "{id}");
        assert_ne!(id, uuid(1_700_000_000_000, "run", "core"));
        assert_eq!(id, uuid(1_700_000_000_000, "run", "split"));
    }
}
