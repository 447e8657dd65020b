//! A pipeline as a DAG to draw: one node for each stage, whatever the number
//! of its variants.

use super::dag::{Dag, Node};
use crate::pipeline::{Detail, Graph, Pipeline};

/// The stages of a pipeline with their kinds below their names. Each node's id
/// is the stage's name; `dress` may set what else it shows, given the
/// instances that it stands for, by their places in the pipeline.
#[must_use]
pub fn folded(pipeline: &Pipeline, mut dress: impl FnMut(&mut Node, &[usize])) -> Dag {
    let graph = Graph::of(pipeline, Detail::Stages);
    let mut node = |drawn: &crate::pipeline::GraphNode| {
        let mut node = Node {
            id: drawn.name.clone(),
            label: drawn.name.clone(),
            sub: drawn.kind.to_owned(),
            count: drawn.instances.len(),
            ..Node::default()
        };
        dress(&mut node, &drawn.instances);
        node
    };
    Dag { nodes: graph.nodes.iter().map(&mut node).collect(), edges: graph.edges.into_keys().collect() }
}

/// The stage that an instance belongs to: `train` of `train@V1#seed2`.
#[must_use]
pub fn stage_of(instance: &str) -> &str {
    instance.split(['@', '#']).next().unwrap_or_default()
}
