//! A Research Object Crate (RO-Crate 1.1) of a pipeline: its YAML, what each of
//! its stages read, was set to and made, and, if wanted, the artifacts; in the
//! terms of the Provenance Run Crate profile 0.5.
//!
//! The same results give the same bytes: the only times in it are those of the
//! results. No path of the machine and no value of `${env.…}` is in it.

mod actions;
mod graph;
mod things;

use std::path::Path;

use serde_json::{Value, json};

use self::graph::{Graph, PROFILES, id, ids, reference};
use self::things::{DataFiles, code_files};
use super::error::ExportError;
use super::folder::NewFolder;
use super::lineage::{Lineage, iso};

/// What words a crate of a sandbox's results has about itself.
const SYNTHETIC: &str = "SYNTHETIC DATA: made from a generated sandbox world; it says nothing about real listeners.";

/// What a crate is to hold.
#[derive(Debug, Clone, Default)]
pub struct CrateOptions {
    /// Whether the artifacts are copied into it.
    pub with_data: bool,
    /// Under what it is licensed: a URL, or an SPDX identifier; none is given if not.
    pub license: Option<String>,
}

/// What was exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exported {
    /// How many stages it tells of.
    pub stages: usize,
    /// How many artifacts were copied.
    pub copied: usize,
    /// How many artifacts were not, though data was wanted: they are what
    /// services answered, which is not ours to pass on.
    pub withheld: usize,
}

/// Writes a crate into a new or empty folder.
///
/// # Errors
/// [`ExportError`]; then there is no folder.
pub fn export_ro_crate(lineage: &Lineage<'_>, target: &Path, options: &CrateOptions) -> Result<Exported, ExportError> {
    if options.with_data {
        refuse_names(lineage)?;
    }
    let folder = NewFolder::begin(target)?;
    let data = DataFiles::of(lineage, options.with_data);
    let code = code_files(lineage);
    for file in &code {
        folder.write(&file.name, file.text.as_bytes())?;
    }
    for (hash, name) in data.copied() {
        folder.copy(&lineage.store.object_path(hash), name)?;
    }
    let mut graph = Graph::default();
    things::describe(lineage, &code, &data, &mut graph);
    actions::describe(lineage, &code, &data, &mut graph);
    describe_crate(lineage, options, &code, &data, &mut graph);
    folder.write("ro-crate-metadata.json", graph.to_text().as_bytes())?;
    folder.publish()?;
    Ok(Exported { stages: lineage.stages(), copied: data.copied().count(), withheld: data.withheld() })
}

/// Real people's own names leave the machine in no crate.
fn refuse_names(lineage: &Lineage<'_>) -> Result<(), ExportError> {
    let named = |made: &&super::lineage::Made<'_>| {
        !made.synthetic && made.settings().get("user_names").is_some_and(|names| names == "as_is")
    };
    match lineage.made.iter().find(named) {
        Some(made) => Err(ExportError::Names { stage: made.name() }),
        None => Ok(()),
    }
}

/// The crate itself and the file that describes it.
fn describe_crate(
    lineage: &Lineage<'_>,
    options: &CrateOptions,
    code: &[things::CodeFile],
    data: &DataFiles,
    graph: &mut Graph,
) {
    let pipeline = &lineage.pipeline.name;
    let what = format!("What the Refrain pipeline `{pipeline}` made, and how: {} stages.", lineage.stages());
    let mut keywords = vec!["Refrain", "provenance", "recommender systems"];
    let mut description = what;
    if lineage.is_synthetic() {
        keywords.push("synthetic data");
        description = format!("{SYNTHETIC} {description}");
    }
    let parts = code.iter().map(|file| id(&file.name)).chain(data.copied().map(|(_, name)| id(name)));
    let published = lineage.made.iter().map(|made| made.times().1).max().unwrap_or_default();
    let license = license(options, graph);
    graph.add(json!({
        "@id": "./",
        "@type": "Dataset",
        "name": format!("{pipeline}: a run of a Refrain pipeline"),
        "description": description,
        "keywords": keywords,
        "datePublished": iso(published),
        "license": license,
        "conformsTo": PROFILES.iter().map(|(uri, _)| reference(uri)).collect::<Vec<_>>(),
        "hasPart": ids(parts),
        "mainEntity": reference(&id(&code[0].name)),
        "mentions": actions::mentioned(lineage),
    }));
    for (uri, name) in PROFILES {
        let version = uri.rsplit('/').next().unwrap_or_default();
        graph.add(json!({ "@id": uri, "@type": "CreativeWork", "name": name, "version": version }));
    }
    graph.add(json!({
        "@id": "ro-crate-metadata.json",
        "@type": "CreativeWork",
        "conformsTo": [reference("https://w3id.org/ro/crate/1.1"), reference("https://w3id.org/workflowhub/workflow-ro-crate/1.0")],
        "about": reference("./"),
    }));
}

/// The licence as an entity of its own.
fn license(options: &CrateOptions, graph: &mut Graph) -> Value {
    let entity = match options.license.as_deref() {
        None => json!({
            "@id": "#license",
            "@type": "CreativeWork",
            "name": "No licence is given",
            "description": "Whoever publishes this crate has to say under what; the data may be others'.",
        }),
        Some(url) if url.starts_with("http://") || url.starts_with("https://") => {
            json!({ "@id": url, "@type": "CreativeWork", "name": url, "url": url })
        }
        Some(name) => {
            let url = format!("https://spdx.org/licenses/{}", id(name));
            json!({ "@id": url, "@type": "CreativeWork", "name": name, "url": url })
        }
    };
    graph.add(entity)
}
