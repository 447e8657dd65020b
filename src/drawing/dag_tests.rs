//! Laws of the drawing, over random DAGs, and what one looks like as text.

use proptest::prelude::*;

use super::*;

fn node(label: &str) -> Node {
    Node { id: label.to_owned(), label: label.to_owned(), count: 1, ..Node::default() }
}

/// Up to forty nodes, edges from lower to higher numbers.
fn dags() -> impl Strategy<Value = Dag> {
    let nodes = prop::collection::vec("[a-z_]{1,30}", 1..40);
    nodes.prop_flat_map(|labels| {
        let count = labels.len();
        let nodes: Vec<Node> = labels.iter().map(|label| node(label)).collect();
        prop::collection::vec((0..count, 0..count), 0..90).prop_map(move |pairs| {
            let down = pairs.into_iter().filter(|(a, b)| a != b).map(|(a, b)| (a.min(b), a.max(b)));
            Dag { nodes: nodes.clone(), edges: down.collect() }
        })
    })
}

fn overlap(one: Frame, other: Frame) -> bool {
    one.left < other.left + other.width
        && other.left < one.left + one.width
        && one.top < other.top + other.height
        && other.top < one.top + one.height
}

proptest! {
    #[test]
    fn no_boxes_overlap_and_all_are_within_the_drawing(dag in dags()) {
        let drawing = dag.drawing();
        for (at, one) in drawing.frames.iter().enumerate() {
            prop_assert!(one.left >= 0 && one.left + one.width <= drawing.width, "{one:?}");
            prop_assert!(one.top >= 0 && one.top + one.height <= drawing.height, "{one:?}");
            prop_assert!(drawing.frames[at + 1..].iter().all(|other| !overlap(*one, *other)));
        }
    }

    #[test]
    fn every_edge_goes_down_and_passes_no_box(dag in dags()) {
        let drawing = dag.drawing();
        let distinct: BTreeSet<(usize, usize)> = dag.edges.iter().copied().collect();
        prop_assert_eq!(drawing.routes.len(), distinct.len());
        for route in &drawing.routes {
            prop_assert!(route.windows(2).all(|pair| pair[0].2 < pair[1].1), "{route:?}");
            for (x, top, bottom) in &route[1..route.len() - 1] {
                let hit = |frame: &&Frame| {
                    frame.left <= *x && *x <= frame.left + frame.width && frame.top < *bottom && *top < frame.top + frame.height
                };
                prop_assert!(drawing.frames.iter().find(hit).is_none(), "{route:?}");
            }
        }
    }

    #[test]
    fn the_order_of_edges_does_not_matter(dag in dags()) {
        let mut turned = dag.clone();
        turned.edges.reverse();
        prop_assert_eq!(dag.svg().into_string(), turned.svg().into_string());
    }
}

#[test]
fn names_are_escaped_and_shortened() {
    let name = "<script>alert(\"1\")</script> & what follows after it";
    let mut one = node(name);
    one.href = Some("/stages/\"><b>".to_owned());
    one.sub = "<i>".to_owned();
    let text = Dag { nodes: vec![one], edges: Vec::new() }.svg().into_string();
    assert!(!text.contains("<script") && !text.contains("<b>") && !text.contains("<i>"), "{text}");
    assert!(text.contains("href=\"/stages/&quot;&gt;&lt;b&gt;\"") && text.contains('…'), "{text}");
}

#[test]
fn a_small_dag_as_text() {
    let mut many = Node { sub: "embed".to_owned(), class: "done".to_owned(), count: 6, ..node("vectors") };
    many.href = Some("/stages/vectors".to_owned());
    let dag = Dag { nodes: vec![node("songs"), many], edges: vec![(0, 1)] };
    insta::assert_snapshot!(dag.svg().into_string().replace("><", ">\n<"), @r##"
    <svg class="dag" xmlns="http://www.w3.org/2000/svg" role="group" aria-label="the stages and what feeds what" viewBox="0 0 118 144" width="118" height="144">
    <path class="dag-edge" d="M57 54C57 74 57 74 57 94">
    </path>
    <path class="dag-tip" d="M53 88L57 94L61 88Z">
    </path>
    <g class="dag-node" data-node="songs">
    <title>songs</title>
    <rect class="dag-box" x="19" y="12" width="76" height="42" rx="6">
    </rect>
    <text class="dag-label" x="57" y="38">songs</text>
    <text class="dag-sub" x="57" y="45">
    </text>
    </g>
    <a class="dag-node done" data-node="vectors" href="/stages/vectors">
    <title>vectors ×6: embed</title>
    <rect class="dag-behind" x="12" y="90" width="98" height="42" rx="6">
    </rect>
    <rect class="dag-box" x="8" y="94" width="98" height="42" rx="6">
    </rect>
    <text class="dag-label" x="57" y="112">vectors<tspan class="dag-count"> ×6</tspan>
    </text>
    <text class="dag-sub" x="57" y="127">embed</text>
    </a>
    </svg>
    "##);
}

#[test]
fn what_nobody_could_read_is_not_drawn() {
    let dag = Dag { nodes: (0..=MOST_NODES).map(|at| node(&at.to_string())).collect(), edges: Vec::new() };
    assert_eq!(dag.svg().into_string(), "<p class=\"dag-note\">401 stages are too many to draw</p>");
}
