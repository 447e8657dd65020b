//! What was done: the run as a whole, and the work of each stage with what it
//! read, what it was set to, and what it made.

use serde_json::{Value, json};

use super::super::lineage::{Lineage, Made, iso, plain};
use super::SYNTHETIC;
use super::graph::{Graph, id, ids, reference};
use super::things::{CodeFile, DataFiles, ENGINE, blake3, step, tool};

/// The run as a whole.
const RUN: &str = "#run";
/// How the run as a whole was organised.
const ORGANIZED: &str = "#run-organized";

/// References to all that was done, for the crate.
pub(super) fn mentioned(lineage: &Lineage<'_>) -> Vec<Value> {
    ids([RUN.to_owned(), ORGANIZED.to_owned()].into_iter().chain(lineage.made.iter().map(action)))
}

/// The id of what an instance did: two instances with one result did it once.
fn action(made: &Made<'_>) -> String {
    format!("#result-{}", made.manifest.key)
}

fn control(made: &Made<'_>) -> String {
    format!("#control-{}", id(&made.name()))
}

/// Puts all that was done into the graph.
pub(super) fn describe(lineage: &Lineage<'_>, code: &[CodeFile], data: &DataFiles, graph: &mut Graph) {
    for made in &lineage.made {
        describe_stage(lineage, made, data, graph);
        graph.add(json!({
            "@id": control(made),
            "@type": "ControlAction",
            "name": format!("orchestrate {}", made.name()),
            "instrument": reference(&step(made, &code[0].name)),
            "object": reference(&action(made)),
        }));
    }
    let (begun, done) = span(lineage);
    let mut given = files_read(lineage.made.iter(), graph);
    given.extend(variables(lineage, graph));
    let results = lineage.ends().into_iter().flat_map(|made| made.manifest.outputs.values()).map(|a| data.id(a));
    let told = format!("{} stages, of which each result has its own action.", lineage.stages());
    let description = if lineage.is_synthetic() { format!("{SYNTHETIC} {told}") } else { told };
    graph.add(json!({
        "@id": RUN,
        "@type": "CreateAction",
        "name": format!("The run of {}", lineage.pipeline.name),
        "description": description,
        "instrument": reference(&id(&code[0].name)),
        "object": given,
        "result": ids(results),
        "startTime": iso(begun),
        "endTime": iso(done),
        "actionStatus": "http://schema.org/CompletedActionStatus",
    }));
    graph.add(json!({
        "@id": ORGANIZED,
        "@type": "OrganizeAction",
        "name": format!("Refrain {} runs {}", env!("CARGO_PKG_VERSION"), lineage.pipeline.name),
        "instrument": reference(ENGINE),
        "object": ids(lineage.made.iter().map(control)),
        "result": reference(RUN),
        "startTime": iso(begun),
        "endTime": iso(done),
    }));
}

/// From when the first result was begun until the last was done.
fn span(lineage: &Lineage<'_>) -> (u64, u64) {
    let begun = lineage.made.iter().map(|made| made.times().0).min();
    let done = lineage.made.iter().map(|made| made.times().1).max();
    (begun.unwrap_or_default(), done.unwrap_or_default())
}

fn describe_stage(lineage: &Lineage<'_>, made: &Made<'_>, data: &DataFiles, graph: &mut Graph) {
    let key = made.manifest.key;
    let settings = made.settings().into_iter().map(|(name, value)| {
        graph.add(json!({
            "@id": format!("#setting-{key}-{}", id(&name)),
            "@type": "PropertyValue",
            "name": name,
            "value": plain(&value),
        }))
    });
    let mut object: Vec<Value> = settings.collect();
    object.extend(ids(lineage.inputs(made).into_iter().map(|(_, _, artifact)| data.id(artifact))));
    object.extend(files_read(std::iter::once(made), graph));
    let (begun, done) = made.times();
    graph.add(json!({
        "@id": action(made),
        "@type": "CreateAction",
        "name": made.name(),
        "description": words(made),
        "identifier": blake3(&key),
        "instrument": reference(&tool(made)),
        "object": object,
        "result": ids(made.manifest.outputs.values().map(|artifact| data.id(artifact))),
        "startTime": iso(begun),
        "endTime": iso(done),
        "actionStatus": "http://schema.org/CompletedActionStatus",
    }));
}

/// What is to be known of a result, in words.
fn words(made: &Made<'_>) -> String {
    let mut words = vec![format!("{}.", made.instance.kind.summary())];
    if made.synthetic {
        words.push(SYNTHETIC.to_owned());
    }
    if let Some(seed) = made.manifest.fingerprint.get("seed").filter(|seed| !seed.is_null()) {
        words.push(format!("Its random numbers come from the pipeline's seed {}.", plain(&seed["value"])));
    }
    words.extend(made.manifest.warnings.iter().map(|warning| format!("Warning: {warning}.")));
    words.extend(
        made.manifest
            .blessed
            .iter()
            .map(|blessing| format!("Made under another key and accepted for this one: {}.", blessing.why)),
    );
    words.join(" ")
}

/// The files from outside the store that were read: their names and hashes.
fn files_read<'a>(all: impl Iterator<Item = &'a Made<'a>>, graph: &mut Graph) -> Vec<Value> {
    let files = all.flat_map(Made::files);
    let mut read = Vec::new();
    for (name, hash) in files {
        let link = graph.add(json!({
            "@id": format!("#file-{hash}"),
            "@type": "CreativeWork",
            "name": name,
            "description": "A file that was read; it is not part of this crate.",
            "identifier": blake3(&hash),
        }));
        if !read.contains(&link) {
            read.push(link);
        }
    }
    read
}

/// The values that were given on the command line; of a path its last name.
fn variables(lineage: &Lineage<'_>, graph: &mut Graph) -> Vec<Value> {
    let value = |text: &str| {
        let path = std::path::Path::new(text);
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        name.filter(|_| path.is_absolute()).unwrap_or_else(|| text.to_owned())
    };
    let set = lineage.pipeline.source.set.iter();
    set.map(|(name, text)| {
        graph.add(json!({
            "@id": format!("#variable-{}", id(name)),
            "@type": "PropertyValue",
            "name": name,
            "value": value(text),
        }))
    })
    .collect()
}
