//! `refrain graph`: the pipeline's stages and what they read, as Mermaid or DOT.
//! One node per stage, not per variant: an edge that only some variants have
//! names them.

use std::collections::{BTreeMap, BTreeSet};

use super::arguments::{Global, GraphArguments, GraphFormat};
use super::errors::Exit;
use super::project;
use super::terminal::data;
use crate::pipeline::Pipeline;

/// Prints the graph.
///
/// # Errors
/// If it cannot be printed.
pub(super) fn graph(global: &Global, arguments: &GraphArguments) -> anyhow::Result<Exit> {
    let pipeline = match project::read(global, arguments.file.clone(), &arguments.reading)? {
        Ok(pipeline) => pipeline,
        Err(exit) => return Ok(exit),
    };
    let graph = Graph::of(&pipeline);
    data(&match arguments.format {
        GraphFormat::Mermaid => graph.mermaid(),
        GraphFormat::Dot => graph.dot(),
    })?;
    Ok(Exit::Done)
}

/// Stages in the order of their first instances, and what they read.
#[derive(Debug, PartialEq, Eq)]
struct Graph {
    name: String,
    nodes: Vec<Node>,
    edges: BTreeMap<(usize, usize), Edge>,
}

#[derive(Debug, PartialEq, Eq)]
struct Node {
    stage: String,
    kind: String,
    instances: usize,
}

/// Which outputs are read, and by which instances of the reader.
#[derive(Debug, Default, PartialEq, Eq)]
struct Edge {
    outputs: BTreeSet<String>,
    readers: BTreeSet<String>,
}

impl Graph {
    fn of(pipeline: &Pipeline) -> Self {
        let mut places: BTreeMap<&str, usize> = BTreeMap::new();
        let mut nodes: Vec<Node> = Vec::new();
        let mut edges: BTreeMap<(usize, usize), Edge> = BTreeMap::new();
        for instance in &pipeline.instances {
            let place = *places.entry(&instance.id.stage).or_insert_with(|| {
                let (stage, kind) = (instance.id.stage.clone(), instance.kind.name().to_owned());
                nodes.push(Node { stage, kind, instances: 0 });
                nodes.len() - 1
            });
            nodes[place].instances += 1;
            for source in instance.inputs.values().flatten() {
                let producer = &pipeline.instances[source.instance];
                let Some(&from) = places.get(producer.id.stage.as_str()) else { continue };
                let edge = edges.entry((from, place)).or_default();
                let is_main = producer.stage.outputs().first().is_some_and(|port| port.name == source.output);
                if !is_main {
                    edge.outputs.insert(source.output.clone());
                }
                edge.readers.insert(instance.id.label());
            }
        }
        Self { name: pipeline.name.clone(), nodes, edges }
    }

    /// What is written at an edge: outputs other than the main one, and the
    /// instances that have it if not all do.
    fn label(&self, edge: &Edge, to: usize) -> String {
        let mut parts: Vec<String> = edge.outputs.iter().cloned().collect();
        if edge.readers.len() < self.nodes[to].instances {
            parts.push(edge.readers.iter().cloned().collect::<Vec<_>>().join(", "));
        }
        parts.join(": ")
    }

    fn caption(node: &Node, line_break: &str) -> String {
        let times = if node.instances > 1 { format!(" ×{}", node.instances) } else { String::new() };
        format!("{}{times}{line_break}{}", node.stage, node.kind)
    }

    fn mermaid(&self) -> String {
        let mut text = format!("---\ntitle: {}\n---\nflowchart TD\n", self.name);
        for (i, node) in self.nodes.iter().enumerate() {
            text.push_str(&format!("    s{i}[\"{}\"]\n", Self::caption(node, "<br>")));
        }
        for ((from, to), edge) in &self.edges {
            let label = self.label(edge, *to);
            let label = if label.is_empty() { String::new() } else { format!("|\"{label}\"|") };
            text.push_str(&format!("    s{from} -->{label} s{to}\n"));
        }
        text
    }

    fn dot(&self) -> String {
        let mut text = format!("digraph \"{}\" {{\n    node [shape=box, fontname=\"sans-serif\"];\n", self.name);
        for (i, node) in self.nodes.iter().enumerate() {
            text.push_str(&format!("    s{i} [label=\"{}\"];\n", Self::caption(node, "\\n")));
        }
        for ((from, to), edge) in &self.edges {
            let label = self.label(edge, *to);
            let label = if label.is_empty() { String::new() } else { format!(" [label=\"{label}\"]") };
            text.push_str(&format!("    s{from} -> s{to}{label};\n"));
        }
        text + "}\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph() -> Graph {
        let node = |stage: &str, kind: &str, instances| Node { stage: stage.into(), kind: kind.into(), instances };
        let edge = |outputs: &[&str], readers: &[&str]| Edge {
            outputs: outputs.iter().map(ToString::to_string).collect(),
            readers: readers.iter().map(ToString::to_string).collect(),
        };
        Graph {
            name: "demo".into(),
            nodes: vec![node("match", "match_tracks", 1), node("train", "train_two_tower", 2)],
            edges: BTreeMap::from([((0, 1), edge(&["items"], &["V1"]))]),
        }
    }

    #[test]
    fn mermaid_names_what_only_some_variants_read() {
        let text = "---\ntitle: demo\n---\nflowchart TD\n    s0[\"match<br>match_tracks\"]\n    \
            s1[\"train ×2<br>train_two_tower\"]\n    s0 -->|\"items: V1\"| s1\n";
        assert_eq!(graph().mermaid(), text);
    }

    #[test]
    fn dot_says_the_same() {
        let text = "digraph \"demo\" {\n    node [shape=box, fontname=\"sans-serif\"];\n    s0 [label=\"match\\nmatch_tracks\"];\n    \
            s1 [label=\"train ×2\\ntrain_two_tower\"];\n    s0 -> s1 [label=\"items: V1\"];\n}\n";
        assert_eq!(graph().dot(), text);
    }
}
