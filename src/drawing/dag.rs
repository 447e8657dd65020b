//! A DAG as SVG: nodes in layers from top to bottom, edges that only go down
//! and pass no box. The same DAG gives the same drawing, byte for byte.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use maud::{Markup, html};

use super::layers::Layered;
use super::place;

/// How a drawing looks, for the page that holds it. It takes its colours from
/// the page's custom properties (`--ink`, `--accent`, …), where those are set.
pub const DAG_CSS: &str = include_str!("dag.css");

/// More nodes are not drawn: nobody could read that.
pub const MOST_NODES: usize = 400;

/// The height of a box, in pixels, as all that follows.
const HEIGHT: i64 = 42;
/// Between the rows of boxes.
const BETWEEN: i64 = 40;
/// Around the drawing.
const MARGIN: i64 = 8;
/// The widths that boxes may have.
const NARROWEST: usize = 76;
const WIDEST: usize = 208;
/// About how wide a letter of a label and of the line below it is, in tenths.
const LETTER: usize = 76;
const SMALL_LETTER: usize = 64;
/// Left and right of a text in its box, together.
const PADDING: usize = 22;
/// How far the box that hints at more stands behind.
const BEHIND: i64 = 4;

/// A box of the drawing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Node {
    /// What a script finds it by: its attribute `data-node`.
    pub id: String,
    /// The first line.
    pub label: String,
    /// The second line; may be empty.
    pub sub: String,
    /// Classes besides `dag-node`: `done`, `stale`, `running`, `failed`,
    /// `waiting` and `skipped` have looks in [`DAG_CSS`].
    pub class: String,
    /// Where it leads.
    pub href: Option<String>,
    /// For how many it stands: more than one is written behind the label.
    pub count: usize,
}

/// What is drawn.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dag {
    /// The boxes.
    pub nodes: Vec<Node>,
    /// From which node to which, by their places in `nodes`. Those that lead to
    /// no node or round in a circle are left out.
    pub edges: Vec<(usize, usize)>,
}

/// A box: its left, top, width and height.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) left: i64,
    pub(super) top: i64,
    pub(super) width: i64,
    pub(super) height: i64,
}

/// Where everything stands.
pub(super) struct Drawing {
    pub(super) width: i64,
    pub(super) height: i64,
    /// The boxes, in the order of the nodes.
    pub(super) frames: Vec<Frame>,
    /// For each edge its points from top to bottom: `(x, top, bottom)` of what
    /// it starts at, of each row it passes, and of what it ends at.
    pub(super) routes: Vec<Vec<(i64, i64, i64)>>,
}

impl Dag {
    /// The drawing, to be put into a page beside [`DAG_CSS`]. A DAG of more than
    /// [`MOST_NODES`] nodes is a sentence that says so.
    #[must_use]
    pub fn svg(&self) -> Markup {
        if self.nodes.len() > MOST_NODES {
            return html! { p.dag-note { (self.nodes.len()) " stages are too many to draw" } };
        }
        let drawing = self.drawing();
        let (width, height) = (drawing.width, drawing.height);
        let ends: BTreeSet<(i64, i64)> =
            drawing.routes.iter().filter_map(|route| route.last()).map(|(x, top, _)| (*x, *top)).collect();
        html! {
            svg.dag xmlns="http://www.w3.org/2000/svg" role="group" aria-label="the stages and what feeds what"
                viewBox=(format!("0 0 {width} {height}")) width=(width) height=(height) {
                @for route in &drawing.routes { path.dag-edge d=(curve(route)) {} }
                @for (x, y) in ends {
                    path.dag-tip d=(format!("M{} {}L{x} {y}L{} {}Z", x - 4, y - 6, x + 4, y - 6)) {}
                }
                @for (node, frame) in self.nodes.iter().zip(&drawing.frames) { (boxed(node, *frame)) }
            }
        }
    }

    pub(super) fn drawing(&self) -> Drawing {
        let edges: BTreeSet<(usize, usize)> = self.edges.iter().copied().collect();
        let layered = Layered::of(self.nodes.len(), &edges);
        let widths: Vec<i64> = self.nodes.iter().map(box_width).collect();
        let places = place::places(&layered, &widths);
        let step = HEIGHT + BETWEEN;
        // Room for a box that hints at more, above and to the right.
        let top = |vertex: usize| MARGIN + BEHIND + layered.row_of[vertex] as i64 * step;
        let frame = |node: usize| {
            let width = widths[node];
            Frame { left: MARGIN + places[node] - width / 2, top: top(node), width, height: HEIGHT }
        };
        let frames: Vec<Frame> = (0..self.nodes.len()).map(frame).collect();
        let point = |vertex: &usize| (MARGIN + places[*vertex], top(*vertex), top(*vertex) + HEIGHT);
        let routes = layered.routes.iter().map(|route| route.iter().map(point).collect()).collect();
        let ends = frames.iter().map(|frame| frame.left + frame.width).chain(places.iter().map(|place| MARGIN + place));
        let right = ends.max().unwrap_or(0);
        let rows = layered.rows.len() as i64;
        Drawing {
            width: right + MARGIN + BEHIND,
            height: (rows * step - BETWEEN).max(0) + 2 * MARGIN + BEHIND,
            frames,
            routes,
        }
    }
}

/// As wide as its texts need, within limits: an even number.
fn box_width(node: &Node) -> i64 {
    let count = if node.count > 1 { 2 + node.count.to_string().len() } else { 0 };
    let label = (node.label.chars().count() + count) * LETTER;
    let needed = label.max(node.sub.chars().count() * SMALL_LETTER).div_ceil(10) + PADDING;
    (needed.clamp(NARROWEST, WIDEST) as i64 + 1) / 2 * 2
}

/// An edge: down along what it passes, and in a curve from row to row.
fn curve(route: &[(i64, i64, i64)]) -> String {
    let mut path = String::new();
    for (at, pair) in route.windows(2).enumerate() {
        let ((from, _, leaves), (to, enters, _)) = (pair[0], pair[1]);
        let middle = i64::midpoint(leaves, enters);
        let start = if at == 0 { format!("M{from} {leaves}") } else { format!("V{leaves}") };
        write!(path, "{start}C{from} {middle} {to} {middle} {to} {enters}").ok();
    }
    path
}

fn boxed(node: &Node, frame: Frame) -> Markup {
    let Frame { left, top, width, height } = frame;
    let middle = left + width / 2;
    let room = (width as usize - PADDING) * 10;
    let count = if node.count > 1 { format!(" ×{}", node.count) } else { String::new() };
    let label = shortened(&node.label, (room / LETTER).saturating_sub(count.chars().count()));
    let sub = shortened(&node.sub, room / SMALL_LETTER);
    let class = format!("dag-node {}", node.class);
    let first = if sub.is_empty() { top + 26 } else { top + 18 };
    let content = html! {
        title { (node.label) (count) @if !node.sub.is_empty() { ": " (node.sub) } }
        @if node.count > 1 {
            rect.dag-behind x=(left + BEHIND) y=(top - BEHIND) width=(width) height=(height) rx="6" {}
        }
        rect.dag-box x=(left) y=(top) width=(width) height=(height) rx="6" {}
        text.dag-label x=(middle) y=(first) { (label) @if !count.is_empty() { tspan.dag-count { (count) } } }
        text.dag-sub x=(middle) y=(top + 33) { (sub) }
    };
    if let Some(href) = &node.href {
        html! { a class=(class.trim_end()) data-node=(node.id) href=(href) { (content) } }
    } else {
        html! { g class=(class.trim_end()) data-node=(node.id) { (content) } }
    }
}

/// A text of at most so many letters.
fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let kept: String = text.chars().take(most.saturating_sub(1)).collect();
    format!("{kept}…")
}

#[cfg(test)]
#[path = "dag_tests.rs"]
mod tests;
