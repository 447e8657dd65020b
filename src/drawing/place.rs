//! How far to the right each vertex of a layered DAG stands: near its
//! neighbours, in the order of its row, and no two too close.

use super::layers::{Layered, Neighbours};

/// Between two boxes, in pixels.
const GAP: i64 = 22;
/// The room that an edge takes where it passes a row.
const LANE: i64 = 14;
/// How often places follow neighbours.
const SWEEPS: usize = 16;
/// How much more a bend wants its place than a box does: long edges are straight.
const STIFFNESS: f64 = 4.0;

/// The middle of each vertex in pixels from the left, for boxes so wide by
/// node; what stands furthest left begins at 0.
pub(super) fn places(layered: &Layered, boxes: &[i64]) -> Vec<i64> {
    let widths = |vertex: usize| boxes.get(vertex).copied().unwrap_or(LANE);
    let (above, below) = layered.neighbours();
    let both: Neighbours = above.iter().zip(&below).map(|(up, down)| [up.as_slice(), down].concat()).collect();
    let mut x = vec![0.0; layered.row_of.len()];
    for row in &layered.rows {
        fit(row, &mut x, layered.nodes, &widths, |_| 0.0);
    }
    for sweep in 0..SWEEPS {
        let beside = if sweep + 2 >= SWEEPS {
            &both
        } else if sweep % 2 == 0 {
            &above
        } else {
            &below
        };
        let rows: Vec<&Vec<usize>> =
            if sweep % 2 == 0 { layered.rows.iter().collect() } else { layered.rows.iter().rev().collect() };
        for row in rows {
            let now = x.clone();
            let wanted = |vertex: usize| {
                let others = &beside[vertex];
                if others.is_empty() {
                    return now[vertex];
                }
                others.iter().map(|other| now[*other]).sum::<f64>() / others.len() as f64
            };
            fit(row, &mut x, layered.nodes, &widths, wanted);
        }
    }
    let left = (0..x.len()).map(|vertex| x[vertex] - widths(vertex) as f64 / 2.0).fold(f64::INFINITY, f64::min);
    x.iter().map(|place| (place - left).round() as i64).collect()
}

/// Places a row as near to what is wanted as its order and the distances
/// allow: the least sum of squares, by pooling neighbours that push each other.
fn fit(row: &[usize], x: &mut [f64], nodes: usize, widths: &dyn Fn(usize) -> i64, wanted: impl Fn(usize) -> f64) {
    /// Vertices that stand as close as they may: where, how heavy, how many.
    struct Block(f64, f64, usize);
    let mut offsets = Vec::with_capacity(row.len());
    let mut blocks: Vec<Block> = Vec::new();
    let mut offset = 0.0;
    for (at, vertex) in row.iter().enumerate() {
        if at > 0 {
            offset += (i64::midpoint(widths(row[at - 1]), widths(*vertex)) + GAP) as f64;
        }
        offsets.push(offset);
        let weight = if *vertex < nodes { 1.0 } else { STIFFNESS };
        let mut block = Block(wanted(*vertex) - offset, weight, 1);
        while let Some(last) = blocks.pop_if(|last| last.0 > block.0) {
            let weight = last.1 + block.1;
            block = Block((last.0 * last.1 + block.0 * block.1) / weight, weight, last.2 + block.2);
        }
        blocks.push(block);
    }
    let starts = blocks.iter().flat_map(|block| std::iter::repeat_n(block.0, block.2));
    for ((vertex, offset), start) in row.iter().zip(offsets).zip(starts) {
        x[*vertex] = start + offset;
    }
}
