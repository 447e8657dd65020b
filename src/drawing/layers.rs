//! Which row each node stands in, and the order within the rows: longest paths,
//! then sweeps that bring each vertex near the middle of its neighbours.

use std::collections::{BTreeMap, BTreeSet};

/// How often the rows are gone through, down and up by turns.
const SWEEPS: usize = 12;

/// A DAG in rows. Vertices are the nodes, by their numbers, and after them the
/// bends: where an edge passes a row.
pub(super) struct Layered {
    /// The rows from the top, each from the left.
    pub(super) rows: Vec<Vec<usize>>,
    /// The row of each vertex.
    pub(super) row_of: Vec<usize>,
    /// For each edge that is drawn, what it goes through: from a node by way of
    /// bends to a node, each one row lower than the one before.
    pub(super) routes: Vec<Vec<usize>>,
    /// How many of the vertices are nodes.
    pub(super) nodes: usize,
}

/// For each vertex those one row above it, or one row below.
pub(super) type Neighbours = Vec<Vec<usize>>;

impl Layered {
    /// Puts nodes and edges into rows.
    pub(super) fn of(nodes: usize, edges: &BTreeSet<(usize, usize)>) -> Self {
        let (edges, mut row_of) = rows_of(nodes, edges);
        let mut routes = Vec::with_capacity(edges.len());
        for (from, to) in edges {
            let mut route = vec![from];
            for row in row_of[from] + 1..row_of[to] {
                route.push(row_of.len());
                row_of.push(row);
            }
            route.push(to);
            routes.push(route);
        }
        let mut rows = vec![Vec::new(); row_of.iter().max().map_or(0, |last| last + 1)];
        for (vertex, row) in row_of.iter().enumerate() {
            rows[*row].push(vertex);
        }
        let mut layered = Self { rows, row_of, routes, nodes };
        layered.arrange();
        layered
    }

    /// What stands above each vertex, and what below.
    pub(super) fn neighbours(&self) -> (Neighbours, Neighbours) {
        let mut above = vec![Vec::new(); self.row_of.len()];
        let mut below = above.clone();
        for pair in self.routes.iter().flat_map(|route| route.windows(2)) {
            above[pair[1]].push(pair[0]);
            below[pair[0]].push(pair[1]);
        }
        (above, below)
    }

    /// Orders the rows so that few edges cross: the best of all sweeps stays.
    fn arrange(&mut self) {
        let (above, below) = self.neighbours();
        let mut best = self.rows.clone();
        let mut fewest = crossings(&best, &below);
        for sweep in 0..SWEEPS {
            if sweep % 2 == 0 {
                (1..self.rows.len()).for_each(|row| order(&mut self.rows, row, row - 1, &above));
            } else {
                (0..self.rows.len().saturating_sub(1))
                    .rev()
                    .for_each(|row| order(&mut self.rows, row, row + 1, &below));
            }
            let found = crossings(&self.rows, &below);
            if found < fewest {
                fewest = found;
                best.clone_from(&self.rows);
            }
        }
        self.rows = best;
    }
}

/// The edges that can be drawn, and the row of each node: below all that feeds
/// it. What nothing feeds stands right above its first reader.
fn rows_of(nodes: usize, edges: &BTreeSet<(usize, usize)>) -> (Vec<(usize, usize)>, Vec<usize>) {
    let is_edge = |edge: &&(usize, usize)| edge.0 < nodes && edge.1 < nodes && edge.0 != edge.1;
    let edges: Vec<(usize, usize)> = edges.iter().filter(is_edge).copied().collect();
    let order = topological(nodes, &edges);
    let mut place = vec![0; nodes];
    order.iter().enumerate().for_each(|(at, node)| place[*node] = at);
    let edges: Vec<(usize, usize)> = edges.into_iter().filter(|(from, to)| place[*from] < place[*to]).collect();
    let (mut feeds, mut fed) = (vec![Vec::new(); nodes], vec![false; nodes]);
    for (from, to) in &edges {
        feeds[*from].push(*to);
        fed[*to] = true;
    }
    let mut rows = vec![0; nodes];
    for node in &order {
        for reader in &feeds[*node] {
            rows[*reader] = rows[*reader].max(rows[*node] + 1);
        }
    }
    for node in (0..nodes).filter(|node| !fed[*node]) {
        rows[node] = feeds[node].iter().map(|reader| rows[*reader] - 1).min().unwrap_or(0);
    }
    (edges, rows)
}

/// The nodes, each after all that feed it, the first first. Of a circle some
/// node comes before what feeds it.
fn topological(nodes: usize, edges: &[(usize, usize)]) -> Vec<usize> {
    let mut waiting = vec![0_usize; nodes];
    for (_, to) in edges {
        waiting[*to] += 1;
    }
    let mut left: BTreeSet<usize> = (0..nodes).collect();
    let mut order = Vec::with_capacity(nodes);
    while let Some(next) = left.iter().find(|node| waiting[**node] == 0).or_else(|| left.first()).copied() {
        left.remove(&next);
        order.push(next);
        for (_, to) in edges.iter().filter(|(from, _)| *from == next) {
            waiting[*to] = waiting[*to].saturating_sub(1);
        }
    }
    order
}

/// Orders one row by the middle of each vertex's neighbours in the row beside
/// it; what has none there keeps its place.
fn order(rows: &mut [Vec<usize>], row: usize, beside: usize, neighbours: &Neighbours) {
    let place: BTreeMap<usize, usize> = rows[beside].iter().enumerate().map(|(at, vertex)| (*vertex, at)).collect();
    let middle = |at: usize, vertex: usize| {
        let places: Vec<usize> = neighbours[vertex].iter().filter_map(|other| place.get(other)).copied().collect();
        if places.is_empty() { at as f64 } else { places.iter().sum::<usize>() as f64 / places.len() as f64 }
    };
    let mut keyed: Vec<(f64, usize)> =
        rows[row].iter().enumerate().map(|(at, vertex)| (middle(at, *vertex), *vertex)).collect();
    keyed.sort_by(|one, other| one.0.total_cmp(&other.0));
    rows[row] = keyed.into_iter().map(|(_, vertex)| vertex).collect();
}

/// How many pairs of edges cross between neighbouring rows.
fn crossings(rows: &[Vec<usize>], below: &Neighbours) -> usize {
    let mut count = 0;
    for pair in rows.windows(2) {
        let place: BTreeMap<usize, usize> = pair[1].iter().enumerate().map(|(at, vertex)| (*vertex, at)).collect();
        // The ends of all edges further left, sorted.
        let mut ends: Vec<usize> = Vec::new();
        for vertex in &pair[0] {
            let mut own: Vec<usize> = below[*vertex].iter().filter_map(|other| place.get(other)).copied().collect();
            own.sort_unstable();
            count += own.iter().map(|end| ends.len() - ends.partition_point(|other| other <= end)).sum::<usize>();
            ends.extend(own);
            ends.sort_unstable();
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layered(nodes: usize, edges: &[(usize, usize)]) -> Layered {
        Layered::of(nodes, &edges.iter().copied().collect())
    }

    #[test]
    fn each_node_stands_below_what_feeds_it_and_sources_near_their_readers() {
        let layered = layered(5, &[(0, 1), (1, 2), (0, 2), (3, 2), (2, 4)]);
        assert_eq!(layered.row_of[..5], [0, 1, 2, 1, 3]);
        assert!(layered.routes.iter().any(|route| route.len() == 3), "the long edge has a bend");
    }

    #[test]
    fn edges_that_need_not_cross_do_not() {
        let layered = layered(4, &[(0, 3), (1, 2)]);
        assert_eq!(crossings(&layered.rows, &layered.neighbours().1), 0);
        assert_eq!(crossings(&[vec![0, 1], vec![2, 3]], &vec![vec![3], vec![2], vec![], vec![]]), 1);
    }

    #[test]
    fn circles_and_edges_to_nowhere_do_no_harm() {
        let layered = layered(3, &[(0, 1), (1, 2), (2, 0), (1, 1), (0, 9)]);
        assert_eq!(layered.routes, [[0, 1], [1, 2]]);
        assert!(Layered::of(0, &BTreeSet::new()).rows.is_empty());
    }
}
