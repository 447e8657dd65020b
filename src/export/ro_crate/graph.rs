//! The graph of a crate: entities by their ids, written in one order.

use std::collections::BTreeMap;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::{Value, json};

/// The profiles that a crate says it keeps, and their names.
pub(super) const PROFILES: [(&str, &str); 4] = [
    ("https://w3id.org/ro/wfrun/process/0.5", "Process Run Crate"),
    ("https://w3id.org/ro/wfrun/workflow/0.5", "Workflow Run Crate"),
    ("https://w3id.org/ro/wfrun/provenance/0.5", "Provenance Run Crate"),
    ("https://w3id.org/workflowhub/workflow-ro-crate/1.0", "Workflow RO-Crate"),
];

/// What stands escaped in an id, which is a relative URI.
const ESCAPED: AsciiSet = CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// Entities, each once.
#[derive(Debug, Default)]
pub(super) struct Graph {
    entities: BTreeMap<String, Value>,
}

impl Graph {
    /// Adds an entity, unless there is one of its id; gives a reference to it.
    /// A list of one is written as the one, and an empty one not at all.
    pub(super) fn add(&mut self, mut entity: Value) -> Value {
        if let Some(properties) = entity.as_object_mut() {
            properties.retain(|_, value| value.as_array().is_none_or(|list| !list.is_empty()));
            for value in properties.values_mut() {
                if let Value::Array(list) = value
                    && list.len() == 1
                {
                    *value = list.pop().unwrap_or_default();
                }
            }
        }
        let id = entity["@id"].as_str().unwrap_or_default().to_owned();
        let link = reference(&id);
        self.entities.entry(id).or_insert(entity);
        link
    }

    /// The metadata file: the file's own entity first, then the crate, then the
    /// rest by id.
    pub(super) fn to_text(&self) -> String {
        let first = ["ro-crate-metadata.json", "./"];
        let head = first.iter().filter_map(|id| self.entities.get(*id));
        let rest = self.entities.iter().filter(|(id, _)| !first.contains(&id.as_str())).map(|(_, entity)| entity);
        let graph: Vec<&Value> = head.chain(rest).collect();
        let context =
            json!(["https://w3id.org/ro/crate/1.1/context", "https://w3id.org/ro/terms/workflow-run/context"]);
        let whole = json!({ "@context": context, "@graph": graph });
        format!("{whole:#}\n")
    }
}

/// A text as (part of) an id.
pub(super) fn id(text: &str) -> String {
    utf8_percent_encode(text, &ESCAPED).to_string()
}

/// A reference to the entity of that id.
pub(super) fn reference(id: &str) -> Value {
    json!({ "@id": id })
}

/// References to entities of these ids, each once.
pub(super) fn ids(all: impl IntoIterator<Item = String>) -> Vec<Value> {
    let mut seen = std::collections::BTreeSet::new();
    all.into_iter().filter(|id| seen.insert(id.clone())).map(|id| reference(&id)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entity_is_there_once_and_the_crate_comes_first() {
        let mut graph = Graph::default();
        graph.add(json!({ "@id": "#b", "name": ["first"], "hasPart": [] }));
        assert_eq!(graph.add(json!({ "@id": "#b", "name": "second" })), json!({ "@id": "#b" }));
        graph.add(json!({ "@id": "./" }));
        let text: Value = serde_json::from_str(&graph.to_text()).unwrap();
        assert_eq!(text["@graph"], json!([{ "@id": "./" }, { "@id": "#b", "name": "first" }]));
    }

    #[test]
    fn ids_are_uris() {
        assert_eq!(id("my file@V1+tag.yaml"), "my%20file@V1+tag.yaml");
        assert_eq!(ids(["#a", "#b", "#a"].map(String::from)).len(), 2);
    }
}
