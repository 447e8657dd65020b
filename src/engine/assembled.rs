//! What decides an instance's result: its fingerprint, with the inputs opened as it
//! reads them.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::json;

use super::field::{Field, Part, fields};
use super::fingerprint::{FORMAT, Fingerprint, InputPrint, SeedPrint, columns_read, without_environment};
use super::options::Failure;
use super::planner::{Planner, Results, is_api};
use super::reason::{Present, Reason, compare, input_words};
use crate::ground::{InstanceId, closest, hash_json};
use crate::pipeline::Instance;
use crate::stage::{Columns, Input, InputPort, Stage};
use crate::store::{ColumnsRead, Manifest, Store};

/// An instance's fingerprint and what it was made of.
#[derive(Clone)]
pub(super) struct Assembled {
    pub(super) fingerprint: Fingerprint,
    /// The opened inputs.
    pub(super) inputs: BTreeMap<String, Vec<Input>>,
    files: Vec<String>,
    sources: BTreeMap<(String, String), String>,
    unknown: Vec<(String, String)>,
}

impl Assembled {
    /// The same with another table for one input.
    pub(super) fn with_input(&self, port: &str, print: InputPrint, input: Input) -> Self {
        let mut other = self.clone();
        other.fingerprint.inputs.insert(port.to_owned(), BTreeMap::from([(String::new(), print)]));
        other.inputs.insert(port.to_owned(), vec![input]);
        other
    }

    /// Every field of it beside that of a fingerprint of before.
    pub(super) fn fields_since(&self, before: Option<&Fingerprint>) -> Vec<Field> {
        let mut fields = fields(before, Some(&self.fingerprint), &self.files);
        for field in fields.iter_mut().filter(|field| field.part == Part::Input) {
            let comes = |(port, label): &(String, String)| {
                field.name.strip_prefix(&input_words(port, label)).is_some_and(|rest| rest.starts_with('.'))
            };
            field.undecided = self.unknown.iter().any(comes);
            field.from = self.sources.iter().find(|(place, _)| comes(place)).map(|(_, source)| source.clone());
        }
        fields
    }

    /// Everything that differs from what an earlier result was made from.
    pub(super) fn changes_since(&self, earlier: &Manifest) -> Vec<Reason> {
        // Only the format is read first: the rest may have had another shape.
        let format = earlier.fingerprint.get("format").and_then(serde_json::Value::as_u64).unwrap_or_default() as u32;
        let Ok(before) = Fingerprint::deserialize(&earlier.fingerprint) else {
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

impl Planner<'_> {
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
            facts: self.facts(stage.as_ref())?,
            seed,
            world: self.world.as_ref().filter(|_| is_api(instance)).map(|world| world.identity.clone()),
        };
        let files = files.iter().map(|path| path.display().to_string()).collect();
        let mut assembled =
            Assembled { fingerprint, inputs: BTreeMap::new(), files, sources: BTreeMap::new(), unknown: Vec::new() };
        self.add_inputs(instance, results, &mut assembled)?;
        Ok(assembled)
    }

    /// What only the machine, or this store, knows and what decides the result.
    fn facts(&self, stage: &dyn Stage) -> Result<BTreeMap<String, String>, Failure> {
        let mut facts = stage.facts();
        if stage.hides_names() {
            let salt = self.people.salt_id().map_err(|error| Failure::of(&error, None))?;
            facts.insert("salt of names".to_owned(), salt);
        }
        Ok(facts)
    }

    /// The columns that decide the result, of the inputs that are read whole;
    /// `None` if that is not known before all inputs are.
    fn narrowed(
        &self,
        instance: &Instance,
        ports: &[InputPort],
        results: &Results,
        fingerprint: &Fingerprint,
    ) -> Option<ColumnsRead> {
        let mut available = BTreeMap::new();
        for (name, sources) in &instance.inputs {
            let is_whole = port_of(ports, name).is_some_and(|port| port.columns == Columns::All && !port.many);
            if !is_whole {
                continue;
            }
            let source = sources.first()?;
            let artifact = results[source.instance].as_ref()?.outputs.get(&source.output)?;
            let columns = artifact.columns.iter().map(|column| (column.name.clone(), column.data_type.clone()));
            available.insert(name.clone(), columns.collect::<Vec<_>>());
        }
        let question = hash_json(&json!({
            "refrain": env!("CARGO_PKG_VERSION"),
            "kind": [fingerprint.kind, fingerprint.kind_version],
            "settings": fingerprint.settings,
            "available": available,
        }));
        if let Some(known) = self.store.columns_read(&question) {
            return Some(known);
        }
        let found = ColumnsRead { columns: instance.stage.columns_read(&available) };
        self.store.set_columns_read(&question, found.clone());
        Some(found)
    }

    fn add_inputs(&self, instance: &Instance, results: &Results, assembled: &mut Assembled) -> Result<(), Failure> {
        let ports = instance.stage.inputs();
        let narrows = instance.stage.narrows();
        let narrowed = if narrows { self.narrowed(instance, &ports, results, &assembled.fingerprint) } else { None };
        for (name, sources) in &instance.inputs {
            let Some(port) = port_of(&ports, name) else {
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
                // Which columns count is not known before all inputs are.
                let known = results[source.instance].as_ref().filter(|_| !narrows || narrowed.is_some());
                let Some(manifest) = known else {
                    assembled.unknown.push(place);
                    continue;
                };
                let only = narrowed.as_ref().and_then(|narrowed| narrowed.columns.get(name));
                let source = (&producer.id, &*source.output, &*source.label);
                let (print, input) =
                    open(self.store, port, source, manifest, only).map_err(|failure| named(failure, instance, name))?;
                assembled.fingerprint.inputs.entry(name.clone()).or_default().insert(label, print);
                assembled.inputs.entry(name.clone()).or_default().push(input);
            }
        }
        Ok(())
    }
}

/// The port that an input of that name is given to.
fn port_of<'a>(ports: &'a [InputPort], name: &str) -> Option<&'a InputPort> {
    ports.iter().find(|port| port.name == name).or_else(|| ports.iter().find(|port| port.name == "*"))
}

/// One input's part of the fingerprint, and the input itself. `source` is the
/// producer, its output and the label; `only` the columns that decide, where
/// the port reads all.
fn open(
    store: &Store,
    port: &InputPort,
    (producer, output, label): (&InstanceId, &str, &str),
    manifest: &Manifest,
    only: Option<&Vec<String>>,
) -> Result<(InputPrint, Input), Failure> {
    let refused = |error: String, hint: String| Failure { error, causes: Vec::new(), hint: Some(hint) };
    let artifact = manifest.outputs.get(output).ok_or_else(|| {
        let there = manifest.outputs.keys().cloned().collect::<Vec<_>>().join(", ");
        refused(format!("`{producer}` has no output `{output}`"), format!("its outputs are {there}"))
    })?;
    let available: Vec<String> = artifact.columns.iter().map(|column| column.name.clone()).collect();
    let names = only.cloned().map_or_else(|| columns_read(&port.columns, &available), Ok).map_err(|missing| {
        let near = closest(&missing, available.iter().map(String::as_str));
        let near = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
        refused(
            format!("`{producer}.{output}` has no column `{missing}`"),
            format!("its columns are {}{near}", available.join(", ")),
        )
    })?;
    let hashes = artifact.columns.iter().filter(|column| names.contains(&column.name));
    let print = InputPrint {
        columns: hashes.map(|column| (column.name.clone(), column.hash)).collect(),
        order: (port.columns == Columns::All).then(|| names.clone()),
    };
    let path = store.object_path(&artifact.hash);
    let readable = (names.len() < available.len() || port.columns != Columns::All).then_some(names);
    Ok((print, Input::of_file(label, &path, readable, artifact.rows)))
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
