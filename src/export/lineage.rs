//! What a pipeline made, stage by stage: what every export tells in its own words.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::error::ExportError;
use crate::engine::{self, PlanOptions, State};
use crate::ground::ContentHash;
use crate::pipeline::{Instance, Pipeline};
use crate::store::{Artifact, Manifest, Store};

/// A pipeline all of whose results are there.
#[derive(Debug)]
pub struct Lineage<'a> {
    /// The pipeline.
    pub(super) pipeline: &'a Pipeline,
    /// The store that holds the results.
    pub(super) store: &'a Store,
    /// What each of the pipeline's instances made, in their order.
    pub(super) made: Vec<Made<'a>>,
}

/// What one instance made.
#[derive(Debug)]
pub(super) struct Made<'a> {
    pub(super) instance: &'a Instance,
    pub(super) manifest: Arc<Manifest>,
    /// Whether it, or something above it, is made from a sandbox's answers.
    pub(super) synthetic: bool,
}

impl<'a> Lineage<'a> {
    /// Looks up what the pipeline made.
    ///
    /// # Errors
    /// [`ExportError::NotMade`] if something of it is not there or not up to
    /// date: a lineage with holes would be believed.
    pub fn of(pipeline: &'a Pipeline, store: &'a Store, options: &PlanOptions) -> Result<Self, ExportError> {
        let plan = engine::plan(pipeline, store, options).map_err(ExportError::Plan)?;
        let mut made = Vec::new();
        let mut missing = Vec::new();
        let stages = plan.stages.len();
        for planned in plan.stages {
            match planned.state {
                State::Fresh { manifest, .. } => {
                    let instance = &pipeline.instances[planned.index];
                    made.push(Made { instance, manifest, synthetic: planned.synthetic });
                }
                _ => missing.push(planned.id.to_string()),
            }
        }
        if missing.is_empty() {
            Ok(Self { pipeline, store, made })
        } else {
            Err(ExportError::NotMade { stages, missing })
        }
    }

    /// Whether anything of it is made from a sandbox's answers.
    #[must_use]
    pub fn is_synthetic(&self) -> bool {
        self.made.iter().any(|made| made.synthetic)
    }

    /// How many stages' results there are.
    #[must_use]
    pub fn stages(&self) -> usize {
        self.made.len()
    }

    /// The tables that an instance read, by port and label, with who made them.
    pub(super) fn inputs(&self, made: &Made<'_>) -> Vec<(&Made<'a>, &str, &Artifact)> {
        let sources = made.instance.inputs.values().flatten();
        let artifact = |source: &crate::pipeline::Source| {
            let producer = self.made.get(source.instance)?;
            let (output, artifact) = producer.manifest.outputs.get_key_value(&source.output)?;
            Some((producer, output.as_str(), artifact))
        };
        sources.filter_map(artifact).collect()
    }

    /// The artifacts that no other instance reads, with who made them.
    pub(super) fn ends(&self) -> Vec<&Made<'a>> {
        let read: std::collections::BTreeSet<usize> =
            self.made.iter().flat_map(|made| made.instance.inputs.values().flatten()).map(|s| s.instance).collect();
        self.made.iter().enumerate().filter(|(at, _)| !read.contains(at)).map(|(_, made)| made).collect()
    }
}

impl Made<'_> {
    /// The instance, as it displays.
    pub(super) fn name(&self) -> String {
        self.instance.id.to_string()
    }

    /// The settings that decided the result: `${env.…}` blanked, paths left out.
    pub(super) fn settings(&self) -> BTreeMap<String, Value> {
        let settings = self.manifest.fingerprint.get("settings").and_then(Value::as_object);
        settings.into_iter().flatten().map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// The files outside the store that it read: the name without its folders,
    /// and the hash of the content.
    pub(super) fn files(&self) -> Vec<(String, ContentHash)> {
        let hashes = self.manifest.fingerprint.get("files").and_then(Value::as_array).into_iter().flatten();
        let hashes = hashes.filter_map(|hash| hash.as_str()?.parse().ok());
        let name = |path: &std::path::PathBuf| path.file_name().map(|name| name.to_string_lossy().into_owned());
        let names = self.instance.stage.files();
        names.iter().map(|path| name(path).unwrap_or_default()).zip(hashes).collect()
    }

    /// When it was begun and done: milliseconds since 1970-01-01 UTC.
    pub(super) fn times(&self) -> (u64, u64) {
        let done = self.manifest.made_at_millis;
        (done.saturating_sub((self.manifest.seconds.max(0.0) * 1000.0) as u64), done)
    }
}

/// A time as ISO 8601 has it, in UTC, with milliseconds; in the form that all
/// the readers' checks take: with an offset and not a `Z`.
pub(super) fn iso(millis: u64) -> String {
    let time = i64::try_from(millis).ok().and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok());
    time.unwrap_or_default().strftime("%Y-%m-%dT%H:%M:%S%.3f+00:00").to_string()
}

/// The value of a setting on one line.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_milliseconds_and_an_offset() {
        assert_eq!(iso(0), "1970-01-01T00:00:00.000+00:00");
        assert_eq!(iso(1_700_000_000_120), "2023-11-14T22:13:20.120+00:00");
    }
}
