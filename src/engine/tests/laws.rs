//! The law of the cache: a run in a store full of history gives what a run in
//! an empty store gives, for every DAG and every edit; and what an edit did not
//! change does not run, while what it changed is never cut off.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::Index;

use serde_json::Value;

use super::lab::{Lab, Toy, outcome, pipeline};
use crate::engine::{Outcome, Summary, resolve};
use crate::ground::{ContentHash, files};
use crate::pipeline::{Instance, Pipeline};
use crate::stage::Columns;
use crate::store::{Artifact, Store};

/// Settings from small ranges, so that equal results and equal work are common.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) add: i64,
    step: i64,
    noise: i64,
    reads_noise: bool,
    edges: Vec<Index>,
}

#[derive(Debug, Clone)]
enum Edit {
    Node(Index, Node),
    Delete(Index),
    Nothing,
}

pub(super) fn nodes() -> impl Strategy<Value = Node> {
    let edges = prop::collection::vec(any::<Index>(), 0..3);
    (0..3_i64, 1..4_i64, 0..2_i64, any::<bool>(), edges).prop_map(|(add, step, noise, reads_noise, edges)| Node {
        add,
        step,
        noise,
        reads_noise,
        edges,
    })
}

fn edits() -> impl Strategy<Value = Edit> {
    prop_oneof![
        4 => (any::<Index>(), nodes()).prop_map(|(at, node)| Edit::Node(at, node)),
        1 => any::<Index>().prop_map(Edit::Delete),
        1 => Just(Edit::Nothing),
    ]
}

pub(super) fn built(lab: &Lab, nodes: &[Node]) -> Pipeline {
    let names: Vec<String> = (0..nodes.len()).map(|i| format!("s{i}")).collect();
    let toys: Vec<Toy> = nodes
        .iter()
        .enumerate()
        .map(|(i, node)| {
            let above: Vec<&str> =
                node.edges.iter().filter(|_| i > 0).map(|edge| names[edge.index(i)].as_str()).collect();
            let mut toy = lab.toy(&names[i], node.add).reading(&above);
            (toy.step, toy.noise) = (node.step, node.noise);
            if node.reads_noise {
                toy.reads.push("noise".to_owned());
            }
            toy
        })
        .collect();
    pipeline(&toys)
}

/// What an instance made last.
pub(super) fn made(pipeline: &Pipeline, store: &Store, stage: &str) -> Artifact {
    resolve(pipeline, store, None, stage).unwrap().artifact
}

/// The hash of every column that every stage ended with.
pub(super) fn results(lab: &Lab, pipeline: &Pipeline) -> BTreeMap<String, Vec<ContentHash>> {
    lab.run(pipeline);
    columns(lab, pipeline)
}

/// The hash of every column that every stage had last.
pub(super) fn columns(lab: &Lab, pipeline: &Pipeline) -> BTreeMap<String, Vec<ContentHash>> {
    let store = lab.store();
    let of = |id: String| (id.clone(), made(pipeline, &store, &id).columns.iter().map(|column| column.hash).collect());
    pipeline.instances.iter().map(|instance| of(instance.id.to_string())).collect()
}

/// What decides the result of one stage, found without its fingerprint: its
/// settings, its files, and the columns that it reads of its inputs as they are
/// in the store. Of inputs that are read whole the order of the columns counts.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Decided {
    settings: Value,
    files: Vec<Vec<u8>>,
    inputs: BTreeMap<String, Vec<Vec<(String, ContentHash)>>>,
}

/// For every stage of a pipeline that has just run, what decided its result.
pub(super) fn decided(lab: &Lab, pipeline: &Pipeline) -> BTreeMap<String, Decided> {
    let store = lab.store();
    let of = |instance: &Instance| Decided {
        settings: instance.stage.settings(),
        files: instance.stage.files().iter().map(|path| files::read_bytes(path).unwrap()).collect(),
        inputs: inputs(instance, pipeline, &store),
    };
    pipeline.instances.iter().map(|instance| (instance.id.to_string(), of(instance))).collect()
}

fn inputs(
    instance: &Instance,
    pipeline: &Pipeline,
    store: &Store,
) -> BTreeMap<String, Vec<Vec<(String, ContentHash)>>> {
    let tables: BTreeMap<&String, Vec<Artifact>> = instance
        .inputs
        .iter()
        .map(|(port, sources)| {
            let of = |source: usize| made(pipeline, store, &pipeline.instances[source].id.to_string());
            (port, sources.iter().map(|source| of(source.instance)).collect())
        })
        .collect();
    let typed = |table: &Artifact| table.columns.iter().map(|c| (c.name.clone(), c.data_type.clone())).collect();
    let available = tables.iter().map(|(port, tables)| ((*port).clone(), typed(&tables[0]))).collect();
    let narrowed = instance.stage.columns_read(&available);
    let ports = instance.stage.inputs();
    let read = |port: &str, table: &Artifact| -> Vec<(String, ContentHash)> {
        let declared = ports.iter().find(|declared| declared.name == port || declared.name == "*").unwrap();
        let all = table.columns.iter().map(|column| (column.name.clone(), column.hash));
        let mut read: Vec<_> = match (&declared.columns, narrowed.get(port)) {
            (Columns::All, None) => return all.collect(),
            (Columns::All, Some(named)) | (Columns::Named(named), _) => {
                all.filter(|(name, _)| named.contains(name)).collect()
            }
            (Columns::NamedAndOptional(named, optional), _) => {
                all.filter(|(name, _)| named.contains(name) || optional.contains(name)).collect()
            }
        };
        read.sort();
        read
    };
    tables.iter().map(|(port, tables)| ((*port).clone(), tables.iter().map(|t| read(port, t)).collect())).collect()
}

/// Whether a stage neither ran nor took up another result than it had.
pub(super) fn stood(summary: &Summary, stage: &str) -> bool {
    matches!(outcome(summary, stage), Outcome::Cached | Outcome::CutOff)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn a_cached_run_equals_an_uncached_run_and_does_what_the_edit_changed(
        mut nodes in prop::collection::vec(nodes(), 1..6),
        edits in prop::collection::vec(edits(), 1..5),
    ) {
        let lab = Lab::new();
        let first = built(&lab, &nodes);
        lab.run(&first);
        let mut before = decided(&lab, &first);
        for edit in edits {
            let mut deleted = false;
            match edit {
                Edit::Node(at, node) => {
                    let at = at.index(nodes.len());
                    nodes[at] = node;
                }
                Edit::Delete(at) => {
                    let id = format!("s{}", at.index(nodes.len()));
                    std::fs::remove_file(lab.artifact(&built(&lab, &nodes), &id)).unwrap();
                    deleted = true;
                }
                Edit::Nothing => {}
            }
            let edited = built(&lab, &nodes);
            let summary = lab.summary(&edited);
            prop_assert_eq!(lab.ran().len(), summary.ran);
            let now = decided(&lab, &edited);
            for (stage, decided) in &now {
                // One artifact may be what several stages made, and all make it again.
                let stands = before[stage] == *decided && (!deleted || stood(&summary, stage));
                prop_assert_eq!(stood(&summary, stage), stands, "{}: {:?}", stage, outcome(&summary, stage));
            }
            before = now;
            let empty = Lab::new();
            prop_assert_eq!(columns(&lab, &edited), results(&empty, &built(&empty, &nodes)));
            prop_assert!(lab.run(&edited).is_empty(), "nothing is left to do");
        }
    }
}
