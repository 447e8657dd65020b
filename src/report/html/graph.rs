//! Figure 1: the pipeline as a graph, one box for each stage, whatever the
//! number of its variants. A click leads to the stage's panel.

use std::collections::{BTreeMap, BTreeSet};

use maud::{Markup, html};

use super::super::StageFacts;
use super::page::Page;
use super::words::count;
use crate::drawing::{Dag, Node};

/// The graph, if there are stages.
pub(super) fn section(page: &Page<'_>) -> Option<Markup> {
    let stages = &page.report.stages;
    (!stages.is_empty()).then(|| {
        html! {
            figure.wide {
                label.size { input type="checkbox"; " in full size" }
                div.scroll tabindex="0" { (dag(page).svg()) }
                figcaption {
                    b { "Figure 1." } (page.mark()) " "
                    span.note {
                        "The pipeline: what feeds what, from top to bottom. A box behind a box stands for variants and seeds. "
                        "A dashed frame is no longer what the file says, or was not made. Click a stage to see what it did."
                    }
                }
            }
        }
    })
}

/// One node for each stage, and an edge where an instance of one reads an instance of another.
fn dag(page: &Page<'_>) -> Dag {
    let mut names: Vec<&str> = Vec::new();
    let mut instances: BTreeMap<&str, Vec<&StageFacts>> = BTreeMap::new();
    for stage in &page.report.stages {
        let of = instances.entry(&stage.stage).or_default();
        if of.is_empty() {
            names.push(&stage.stage);
        }
        of.push(stage);
    }
    let at: BTreeMap<&str, usize> = names.iter().enumerate().map(|(at, name)| (*name, at)).collect();
    let mut edges = BTreeSet::new();
    for stage in &page.report.stages {
        let from = stage.inputs.iter().filter_map(|input| page.report.stages.get(input.from));
        edges.extend(from.filter_map(|from| Some((*at.get(from.stage.as_str())?, *at.get(stage.stage.as_str())?))));
    }
    Dag {
        nodes: names.iter().map(|name| node(page, name, &instances[name])).collect(),
        edges: edges.into_iter().collect(),
    }
}

fn node(page: &Page<'_>, name: &str, instances: &[&StageFacts]) -> Node {
    let is_fresh = instances.iter().all(|stage| stage.state == "fresh" && stage.key.is_some());
    let rows = match instances {
        [one] if one.key.is_some() => format!(", {}", count(one.rows, "row")),
        _ => String::new(),
    };
    Node {
        id: name.to_owned(),
        label: name.to_owned(),
        sub: instances.first().map_or_else(String::new, |first| format!("{}{rows}", first.kind)),
        class: if is_fresh { String::new() } else { "stale".to_owned() },
        href: instances.first().and_then(|first| page.stage_address(&first.id)),
        count: instances.len(),
    }
}
