//! The laws of going back and of blessing: what was made once is found again
//! whatever the way to it, and a blessing stands until something else changes.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::sample::Index;

use super::lab::{Lab, outcome};
use super::laws::{built, columns, decided, nodes, results, stood};
use crate::engine::{Outcome, Summary, bless, resolve};
use crate::ground::ContentHash;
use crate::pipeline::Pipeline;

/// The key and the artifacts that every stage ended with.
pub(super) fn ends(summary: &Summary) -> BTreeMap<String, (Option<ContentHash>, BTreeMap<String, ContentHash>)> {
    let of = |result: &crate::engine::StageResult| (result.stage.clone(), (result.key, result.outputs.clone()));
    summary.results.iter().map(of).collect()
}

/// How often a stage's result was blessed.
fn blessings(lab: &Lab, pipeline: &Pipeline, stage: &str) -> usize {
    resolve(pipeline, &lab.store(), None, stage).unwrap().manifest.blessed.len()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

    #[test]
    fn going_back_and_forth_runs_nothing_and_finds_the_same_artifacts(
        mut nodes in prop::collection::vec(nodes(), 1..6),
        edits in prop::collection::vec((any::<Index>(), nodes()), 1..4),
        visits in prop::collection::vec(any::<Index>(), 1..6),
    ) {
        let lab = Lab::new();
        let mut versions = vec![built(&lab, &nodes)];
        for (at, node) in edits {
            let at = at.index(nodes.len());
            nodes[at] = node;
            versions.push(built(&lab, &nodes));
        }
        let first: Vec<_> = versions.iter().map(|version| ends(&lab.summary(version))).collect();
        lab.ran();
        // Each edit is undone, the last one first; then any order.
        let back = (0..versions.len()).rev();
        for visited in back.chain(visits.iter().map(|visit| visit.index(versions.len()))) {
            let summary = lab.summary(&versions[visited]);
            prop_assert!(lab.ran().is_empty(), "{:?}", summary.results);
            prop_assert_eq!(ends(&summary), first[visited].clone());
            prop_assert_eq!(lab.plan(&versions[visited]).fresh(), nodes.len());
        }
    }

    #[test]
    fn a_blessing_stands_until_something_else_changes(
        nodes in prop::collection::vec(nodes(), 1..6),
        (at, other) in (any::<Index>(), any::<Index>()),
        (node, again) in (nodes(), any::<bool>()),
    ) {
        let lab = Lab::new();
        let (at, other) = (at.index(nodes.len()), other.index(nodes.len()));
        let (stage, before) = (format!("s{at}"), built(&lab, &nodes));
        let first = ends(&lab.summary(&before));
        lab.ran();

        // Work that nothing else does, so that only the blessing stands for it.
        let mut nodes = nodes;
        nodes[at].add += 100;
        let edited = built(&lab, &nodes);
        let blessed = bless(&edited, &lab.store(), &stage, "no harm", &lab.options.plan).unwrap();
        prop_assert_eq!(blessed.len(), 1);
        let summary = lab.summary(&edited);
        prop_assert!(lab.ran().is_empty(), "{:?}", summary.results);
        for (name, (key, outputs)) in ends(&summary) {
            prop_assert_eq!(&outputs, &first[&name].1, "{}", name);
            prop_assert_eq!(key == first[&name].0, name != stage, "only the blessed one has another key");
            prop_assert!(stood(&summary, &name), "{}: {:?}", name, outcome(&summary, &name));
        }

        let undone = lab.summary(&before);
        prop_assert_eq!(ends(&undone), first);
        prop_assert_eq!(outcome(&undone, &stage), Outcome::Restored);
        prop_assert_eq!(blessings(&lab, &before, &stage), 0);
        let redone = lab.summary(&edited);
        prop_assert_eq!(ends(&redone), ends(&summary));
        prop_assert_eq!(blessings(&lab, &edited, &stage), 1);
        prop_assert!(lab.ran().is_empty());

        // What changes later, there or anywhere, runs as if nothing was blessed.
        let known = decided(&lab, &edited);
        if again {
            nodes[at].add += 100;
        } else {
            let add = if other == at { 1_000 } else { node.add };
            nodes[other] = node;
            nodes[other].add = add;
        }
        let later = built(&lab, &nodes);
        let summary = lab.summary(&later);
        lab.ran();
        for (name, now) in decided(&lab, &later) {
            prop_assert_eq!(stood(&summary, &name), now == known[&name], "{}: {:?}", name, outcome(&summary, &name));
        }
        if !stood(&summary, &stage) {
            prop_assert_eq!(blessings(&lab, &later, &stage), 0);
            let empty = Lab::new();
            prop_assert_eq!(columns(&lab, &later), results(&empty, &built(&empty, &nodes)));
        }
    }
}
