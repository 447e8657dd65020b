//! Artifacts as `OpenLineage` datasets: named by their hash, so that what two
//! pipelines share is one dataset, and called by their stage beside.

use serde_json::{Map, Value, json};

use super::teller::{facet, versioned};
use crate::ground::ContentHash;
use crate::store::Artifact;

/// The namespace of everything that is named by a hash of its content.
const NAMESPACE: &str = "blake3";

/// An artifact that was read. `called` is the pipeline, stage and output.
pub(super) fn input(artifact: &Artifact, called: &str) -> Value {
    json!({ "namespace": NAMESPACE, "name": artifact.hash, "facets": facets(artifact, called) })
}

/// A file from outside the store that was read.
pub(super) fn file(name: &str, hash: &ContentHash) -> Value {
    json!({ "namespace": NAMESPACE, "name": hash, "facets": { "symlinks": symlinks("file", name, "FILE") } })
}

/// An artifact that was written.
pub(super) fn output(artifact: &Artifact, called: &str) -> Value {
    let statistics = facet(
        &versioned("1-0-2", "OutputStatisticsOutputDatasetFacet"),
        json!({ "rowCount": artifact.rows, "size": artifact.bytes }),
    );
    let mut dataset = input(artifact, called);
    dataset["outputFacets"] = json!({ "outputStatistics": statistics });
    dataset
}

fn facets(artifact: &Artifact, called: &str) -> Map<String, Value> {
    let fields = artifact.columns.iter();
    let fields: Vec<Value> = fields.map(|column| json!({ "name": column.name, "type": column.data_type })).collect();
    let schema = facet(&versioned("1-2-0", "SchemaDatasetFacet"), json!({ "fields": fields }));
    let version = facet(&versioned("1-0-1", "DatasetVersionDatasetFacet"), json!({ "datasetVersion": artifact.hash }));
    let symlinks = symlinks("refrain", called, "TABLE");
    Map::from_iter([("schema", schema), ("version", version), ("symlinks", symlinks)].map(|(n, v)| (n.to_owned(), v)))
}

fn symlinks(namespace: &str, name: &str, kind: &str) -> Value {
    let identifiers = json!({ "identifiers": [{ "namespace": namespace, "name": name, "type": kind }] });
    facet(&versioned("1-0-1", "SymlinksDatasetFacet"), identifiers)
}
