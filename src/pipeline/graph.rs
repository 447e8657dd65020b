//! The DAG as text for people: Mermaid (which `GitHub` draws) and DOT (which
//! Graphviz draws). Pure functions of a [`Pipeline`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::{Instance, Pipeline};

/// How much of the DAG is drawn.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Detail {
    /// One node per stage, with the count of its instances: `vectors ×7`.
    #[default]
    Stages,
    /// One node per instance, those of a stage in one box.
    Instances,
}

/// A node of the drawing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name: that of the stage or of the instance.
    pub name: String,
    /// Its kind.
    pub kind: &'static str,
    /// The stage that it belongs to.
    pub stage: String,
    /// The instances that it stands for, by their places in the pipeline.
    pub instances: Vec<usize>,
}

/// The nodes in the order of the instances, and what feeds what, with the
/// outputs' names where they are not the first ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Graph {
    /// The nodes.
    pub nodes: Vec<Node>,
    /// From which node to which, by their places, and by way of which outputs.
    pub edges: BTreeMap<(usize, usize), BTreeSet<String>>,
}

impl Graph {
    /// The drawing of a pipeline, as values.
    #[must_use]
    pub fn of(pipeline: &Pipeline, detail: Detail) -> Self {
        let mut nodes: Vec<Node> = Vec::new();
        let mut node_of = Vec::with_capacity(pipeline.instances.len());
        for (index, Instance { id, kind, .. }) in pipeline.instances.iter().enumerate() {
            let known = nodes.iter().position(|node| detail == Detail::Stages && node.stage == id.stage);
            let at = known.unwrap_or(nodes.len());
            if known.is_none() {
                let name = if detail == Detail::Stages { id.stage.clone() } else { id.to_string() };
                nodes.push(Node { name, kind: kind.name(), stage: id.stage.clone(), instances: Vec::new() });
            }
            nodes[at].instances.push(index);
            node_of.push(at);
        }
        let mut edges: BTreeMap<(usize, usize), BTreeSet<String>> = BTreeMap::new();
        for (reader, instance) in pipeline.instances.iter().enumerate() {
            for source in instance.inputs.values().flatten() {
                let outputs = edges.entry((node_of[source.instance], node_of[reader])).or_default();
                let first = pipeline.instances[source.instance].stage.outputs().first().map(|port| port.name.clone());
                if first.as_deref() != Some(source.output.as_str()) {
                    outputs.insert(source.output.clone());
                }
            }
        }
        Self { nodes, edges }
    }

    /// The stages of which more than one node is drawn, with their nodes.
    fn groups(&self) -> Vec<(&str, Vec<usize>)> {
        let mut groups: Vec<(&str, Vec<usize>)> = Vec::new();
        for (index, node) in self.nodes.iter().enumerate() {
            match groups.iter_mut().find(|(stage, _)| *stage == node.stage) {
                Some((_, members)) => members.push(index),
                None => groups.push((&node.stage, vec![index])),
            }
        }
        groups
    }
}

impl Node {
    fn title(&self) -> String {
        if self.instances.len() > 1 { format!("{} ×{}", self.name, self.instances.len()) } else { self.name.clone() }
    }
}

fn label_of(outputs: &BTreeSet<String>) -> Option<String> {
    (!outputs.is_empty()).then(|| outputs.iter().map(String::as_str).collect::<Vec<_>>().join(", "))
}

/// The DAG as a Mermaid flowchart, from left to right. Names hold no quotes
/// (they are checked), so that nothing needs escaping.
#[must_use]
pub fn mermaid(pipeline: &Pipeline, detail: Detail) -> String {
    let graph = Graph::of(pipeline, detail);
    let mut text = String::from("flowchart LR\n");
    let node =
        |index: usize| format!("n{index}[\"{}<br/><i>{}</i>\"]", graph.nodes[index].title(), graph.nodes[index].kind);
    for (at, (stage, members)) in graph.groups().into_iter().enumerate() {
        if let [one] = members.as_slice() {
            line(&mut text, &format!("  {}", node(*one)));
            continue;
        }
        line(&mut text, &format!("  subgraph g{at}[\"{stage}\"]"));
        for index in members {
            line(&mut text, &format!("    {}", node(index)));
        }
        line(&mut text, "  end");
    }
    for ((from, to), outputs) in &graph.edges {
        let arrow = label_of(outputs).map_or_else(|| "-->".to_owned(), |label| format!("-->|{label}|"));
        line(&mut text, &format!("  n{from} {arrow} n{to}"));
    }
    text
}

/// The DAG in Graphviz's language, from left to right.
#[must_use]
pub fn dot(pipeline: &Pipeline, detail: Detail) -> String {
    let graph = Graph::of(pipeline, detail);
    let mut text = format!("digraph \"{}\" {{\n  rankdir=LR;\n  node [shape=box, style=rounded];\n", pipeline.name);
    let node =
        |index: usize| format!("n{index} [label=\"{}\\n{}\"];", graph.nodes[index].title(), graph.nodes[index].kind);
    for (at, (stage, members)) in graph.groups().into_iter().enumerate() {
        if let [one] = members.as_slice() {
            line(&mut text, &format!("  {}", node(*one)));
            continue;
        }
        line(&mut text, &format!("  subgraph cluster_{at} {{ label=\"{stage}\";"));
        for index in members {
            line(&mut text, &format!("    {}", node(index)));
        }
        line(&mut text, "  }");
    }
    for ((from, to), outputs) in &graph.edges {
        let label = label_of(outputs).map(|label| format!(" [label=\"{label}\"]")).unwrap_or_default();
        line(&mut text, &format!("  n{from} -> n{to}{label};"));
    }
    text.push_str("}\n");
    text
}

fn line(text: &mut String, content: &str) {
    // Writing to a String cannot fail.
    writeln!(text, "{content}").unwrap_or_default();
}
