//! The law of the cache: a run in a store full of history gives what a run in
//! an empty store gives, for every DAG and every edit.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::Index;

use super::lab::{Lab, Toy, pipeline};
use crate::engine::resolve;
use crate::ground::ContentHash;
use crate::pipeline::Pipeline;

/// Settings from small ranges, so that equal results and equal work are common.
#[derive(Debug, Clone)]
pub(super) struct Node {
    add: i64,
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

/// The hash of every column that every stage ended with.
pub(super) fn results(lab: &Lab, pipeline: &Pipeline) -> BTreeMap<String, Vec<ContentHash>> {
    lab.run(pipeline);
    let store = lab.store();
    let of = |id: String| {
        let artifact = resolve(pipeline, &store, &id).unwrap().artifact;
        (id, artifact.columns.iter().map(|column| column.hash).collect())
    };
    pipeline.instances.iter().map(|instance| of(instance.id.to_string())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn a_cached_run_equals_an_uncached_run(
        mut nodes in prop::collection::vec(nodes(), 1..6),
        edits in prop::collection::vec(edits(), 1..5),
    ) {
        let lab = Lab::new();
        let first = built(&lab, &nodes);
        results(&lab, &first);
        for edit in edits {
            match edit {
                Edit::Node(at, node) => {
                    let at = at.index(nodes.len());
                    nodes[at] = node;
                }
                Edit::Delete(at) => {
                    let id = format!("s{}", at.index(nodes.len()));
                    std::fs::remove_file(lab.artifact(&built(&lab, &nodes), &id)).unwrap();
                }
                Edit::Nothing => {}
            }
            let edited = built(&lab, &nodes);
            let cached = results(&lab, &edited);
            let empty = Lab::new();
            prop_assert_eq!(cached, results(&empty, &built(&empty, &nodes)));
            prop_assert!(lab.run(&edited).is_empty(), "nothing is left to do");
        }
    }
}
