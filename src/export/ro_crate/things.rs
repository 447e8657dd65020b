//! The things of a crate: the workflow and its files, the kinds that did the
//! work, and the artifacts.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use super::super::lineage::{Lineage, Made};
use super::graph::{Graph, id, ids, reference};
use crate::ground::{ContentHash, thousands};
use crate::stage::Resource;
use crate::store::Artifact;

/// The program that ran the pipeline.
pub(super) const ENGINE: &str = "#refrain";

/// A file of the pipeline, as it is in the crate.
pub(super) struct CodeFile {
    pub(super) name: String,
    pub(super) text: Arc<str>,
}

/// The pipeline's file and its bases; of two with one name the second gets a number.
pub(super) fn code_files(lineage: &Lineage<'_>) -> Vec<CodeFile> {
    let mut taken = BTreeSet::from(["ro-crate-metadata.json".to_owned()]);
    let mut name = |path: &Path| {
        let plain = path.file_name().map_or_else(|| "pipeline.yaml".into(), |name| name.to_string_lossy().into_owned());
        let numbered = (2..).map(|number| format!("{number}-{plain}"));
        let free = std::iter::once(plain.clone()).chain(numbered).find(|name| taken.insert(name.clone()));
        free.unwrap_or(plain)
    };
    let files = lineage.pipeline.source.files.iter();
    files.map(|file| CodeFile { name: name(&file.path), text: Arc::clone(&file.text) }).collect()
}

/// Which artifacts stand in the crate, and where.
#[derive(Debug, Default)]
pub(super) struct DataFiles {
    names: BTreeMap<ContentHash, String>,
    withheld: usize,
}

impl DataFiles {
    /// All artifacts if data is wanted, but for what real services answered: it
    /// is not ours to pass on, and lyrics are part of it.
    pub(super) fn of(lineage: &Lineage<'_>, wanted: bool) -> Self {
        let mut files = Self::default();
        let withheld = |made: &Made<'_>| !made.synthetic && matches!(made.instance.stage.resource(), Resource::Api(_));
        for made in lineage.made.iter().filter(|_| wanted) {
            for artifact in made.manifest.outputs.values() {
                if withheld(made) {
                    files.withheld += 1;
                } else {
                    files.names.insert(artifact.hash, format!("data/{}.parquet", artifact.hash));
                }
            }
        }
        files
    }

    /// The files that are copied, by the hash of their content.
    pub(super) fn copied(&self) -> impl Iterator<Item = (&ContentHash, &str)> {
        self.names.iter().map(|(hash, name)| (hash, name.as_str()))
    }

    /// How many artifacts are only described though data is wanted.
    pub(super) fn withheld(&self) -> usize {
        self.withheld
    }

    /// The id of an artifact's entity.
    pub(super) fn id(&self, artifact: &Artifact) -> String {
        self.names.get(&artifact.hash).cloned().unwrap_or_else(|| format!("#artifact-{}", artifact.hash))
    }
}

/// Puts the workflow, the kinds and the artifacts into the graph.
pub(super) fn describe(lineage: &Lineage<'_>, code: &[CodeFile], data: &DataFiles, graph: &mut Graph) {
    describe_programs(lineage, graph);
    describe_code(lineage, code, graph);
    for made in &lineage.made {
        for (output, artifact) in &made.manifest.outputs {
            describe_artifact(made, output, artifact, data, graph);
        }
    }
}

/// Refrain, the language of its pipelines, and the kinds.
fn describe_programs(lineage: &Lineage<'_>, graph: &mut Graph) {
    graph.add(json!({
        "@id": ENGINE,
        "@type": "SoftwareApplication",
        "name": "Refrain",
        "softwareVersion": env!("CARGO_PKG_VERSION"),
        "url": env!("CARGO_PKG_REPOSITORY"),
        "description": "Runs data pipelines that are declared in YAML; every result is named by the BLAKE3 of its bytes.",
    }));
    graph.add(json!({
        "@id": "#language",
        "@type": "ComputerLanguage",
        "name": "Refrain pipeline (YAML)",
        "url": env!("CARGO_PKG_REPOSITORY"),
    }));
    for made in &lineage.made {
        let version = made.manifest.fingerprint.get("kind_version").and_then(Value::as_u64).unwrap_or_default();
        graph.add(json!({
            "@id": tool(made),
            "@type": "SoftwareApplication",
            "name": made.manifest.kind,
            "softwareVersion": version.to_string(),
            "description": made.instance.kind.summary(),
            "url": env!("CARGO_PKG_REPOSITORY"),
            "isPartOf": reference(ENGINE),
        }));
    }
}

/// The id of the kind that made something.
pub(super) fn tool(made: &Made<'_>) -> String {
    format!("#kind-{}", made.manifest.kind)
}

/// The id of a stage as a step of the workflow.
pub(super) fn step(made: &Made<'_>, workflow: &str) -> String {
    format!("{}#{}", id(workflow), made.instance.id.stage)
}

/// The workflow with its steps, and the files that it stands over.
fn describe_code(lineage: &Lineage<'_>, code: &[CodeFile], graph: &mut Graph) {
    let mut steps = Vec::new();
    for made in &lineage.made {
        let position = lineage.made.iter().map(|made| &made.instance.id.stage).collect::<Vec<_>>();
        let position = position.iter().position(|stage| **stage == made.instance.id.stage).unwrap_or_default();
        steps.push(step(made, &code[0].name));
        graph.add(json!({
            "@id": step(made, &code[0].name),
            "@type": "HowToStep",
            "name": made.instance.id.stage,
            "position": (position + 1).to_string(),
            "workExample": reference(&tool(made)),
        }));
    }
    let bases = code[1..].iter().map(|file| id(&file.name));
    for (at, file) in code.iter().enumerate() {
        let mut entity = json!({
            "@id": id(&file.name),
            "@type": ["File", "SoftwareSourceCode"],
            "name": file.name,
            "encodingFormat": "application/yaml",
            "contentSize": file.text.len().to_string(),
            "identifier": blake3(&ContentHash::of(file.text.as_bytes())),
            "version": ContentHash::of(file.text.as_bytes()).short(),
            "url": env!("CARGO_PKG_REPOSITORY"),
            "programmingLanguage": reference("#language"),
        });
        if at == 0 {
            entity["@type"] = json!(["File", "SoftwareSourceCode", "ComputationalWorkflow", "HowTo"]);
            entity["name"] = json!(lineage.pipeline.name);
            entity["hasPart"] = json!(ids(lineage.made.iter().map(tool)));
            entity["isBasedOn"] = json!(ids(bases.clone()));
            entity["step"] = json!(ids(steps.iter().cloned()));
        } else {
            entity["description"] = json!("A base: what the pipeline does not give itself is given here.");
        }
        graph.add(entity);
    }
}

/// An artifact: rows, columns and the hash that is its name.
fn describe_artifact(made: &Made<'_>, output: &str, artifact: &Artifact, data: &DataFiles, graph: &mut Graph) {
    let columns: Vec<Value> = artifact
        .columns
        .iter()
        .map(|column| {
            graph.add(json!({
                "@id": format!("#column-{}-{}", id(&column.name), column.hash),
                "@type": "PropertyValue",
                "name": column.name,
                "description": format!("A column of type {}", column.data_type),
                "identifier": blake3(&column.hash),
            }))
        })
        .collect();
    let rows = graph.add(json!({
        "@id": format!("#rows-{}", artifact.hash),
        "@type": "PropertyValue",
        "name": "rows",
        "value": artifact.rows,
    }));
    let is_copied = data.names.contains_key(&artifact.hash);
    let synthetic = if made.synthetic { "Synthetic data. " } else { "" };
    let absent = if is_copied { "" } else { " The file is not part of this crate." };
    let mut entity = json!({
        "@id": data.id(artifact),
        "@type": if is_copied { json!("File") } else { json!("CreativeWork") },
        "name": format!("{}, output {output}", made.name()),
        "description": format!("{synthetic}A table of {} rows.{absent}", thousands(artifact.rows)),
        "encodingFormat": "application/vnd.apache.parquet",
        "identifier": blake3(&artifact.hash),
        "contentSize": artifact.bytes.to_string(),
        "dateModified": super::iso(made.times().1),
        "variableMeasured": columns,
        "additionalProperty": rows,
    });
    if made.synthetic {
        entity["keywords"] = json!("synthetic data");
    }
    graph.add(entity);
}

/// A hash as an identifier that says which it is.
pub(super) fn blake3(hash: &ContentHash) -> String {
    format!("blake3:{hash}")
}
