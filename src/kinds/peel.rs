//! The largest part of a graph of users and items in which each has enough
//! others: what `filter_k_core` keeps.

use rayon::prelude::*;

use crate::table::{Interaction, Interactions};

/// Which users have at least `min_per_user` items, and which items at least
/// `min_per_item` users, when all others are gone.
///
/// Each node enters the queue once, when it first falls short, and its rows are
/// looked at once, when it goes: linear in rows, users and items.
pub(super) fn peel(all: &Interactions, min_per_user: u32, min_per_item: u32) -> (Vec<bool>, Vec<bool>) {
    let by_user = |row: &Interaction| row.user;
    let by_item = |row: &Interaction| row.item;
    let (users, items) = rayon::join(
        || Side::new(&all.rows, all.users.len(), min_per_user, by_user),
        || Side::new(&all.rows, all.items.len(), min_per_item, by_item),
    );
    let (mut users, mut items) = (users, items);
    let users_of = others(&all.rows, &items, by_item, by_user);
    let mut queue: Vec<(bool, u32)> = users.short_from_the_start().map(|user| (true, user)).collect();
    queue.extend(items.short_from_the_start().map(|item| (false, item)));
    while let Some((is_user, node)) = queue.pop() {
        if is_user {
            users.stays[node as usize] = false;
            let rows = &all.rows[users.starts[node as usize]..users.starts[node as usize + 1]];
            queue.extend(rows.iter().map(by_item).filter(|item| items.falls_short(*item)).map(|item| (false, item)));
        } else {
            items.stays[node as usize] = false;
            let of_item = &users_of[items.starts[node as usize]..items.starts[node as usize + 1]];
            queue.extend(of_item.iter().filter(|user| users.falls_short(**user)).map(|user| (true, *user)));
        }
    }
    (users.stays, items.stays)
}

/// One side of the graph.
struct Side {
    /// Where the rows of each node begin, in the order of the nodes.
    starts: Vec<usize>,
    /// How many of them are left.
    left: Vec<u32>,
    /// Whether the node has not been taken from the queue.
    stays: Vec<bool>,
    least: u32,
}

impl Side {
    fn new(rows: &[Interaction], nodes: usize, least: u32, node: impl Fn(&Interaction) -> u32) -> Self {
        let mut left = vec![0_u32; nodes];
        for row in rows {
            left[node(row) as usize] += 1;
        }
        let mut starts = Vec::with_capacity(nodes + 1);
        let mut total = 0;
        starts.push(0);
        for degree in &left {
            total += *degree as usize;
            starts.push(total);
        }
        Self { starts, left, stays: vec![true; nodes], least }
    }

    /// Takes one row from a node, unless all of its were taken; whether that made it fall short.
    fn falls_short(&mut self, node: u32) -> bool {
        let left = &mut self.left[node as usize];
        if !self.stays[node as usize] {
            return false;
        }
        *left -= 1;
        *left + 1 == self.least
    }

    fn short_from_the_start(&self) -> impl Iterator<Item = u32> {
        (0..self.left.len()).filter(|node| self.left[*node] < self.least).map(|node| node as u32)
    }
}

/// The other ends of each node's rows, in the order of the nodes. Each thread
/// fills in those of its own nodes.
fn others(
    rows: &[Interaction],
    side: &Side,
    node: impl Fn(&Interaction) -> u32 + Sync,
    other: impl Fn(&Interaction) -> u32 + Sync,
) -> Vec<u32> {
    let threads = rayon::current_num_threads().min(8);
    let mut ends = vec![0_u32; rows.len()];
    let mut shares = Vec::new();
    let (mut rest, mut first) = (ends.as_mut_slice(), 0);
    for share in 1..=threads {
        // Nodes up to which about this share of the rows lies.
        let wanted = rows.len() * share / threads;
        let last =
            if share == threads { side.left.len() } else { side.starts.partition_point(|start| *start < wanted) };
        let last = last.clamp(first, side.left.len());
        let (of_share, after) = rest.split_at_mut(side.starts[last] - side.starts[first]);
        shares.push((first..last, of_share));
        (rest, first) = (after, last);
    }
    shares.into_par_iter().for_each(|(nodes, of_share)| {
        let start = side.starts[nodes.start];
        let mut next: Vec<usize> = side.starts[nodes.clone()].iter().map(|at| at - start).collect();
        for row in rows {
            // A node below the first wraps to a place that there is not.
            if let Some(next) = next.get_mut((node(row) as usize).wrapping_sub(nodes.start)) {
                of_share[*next] = other(row);
                *next += 1;
            }
        }
    });
    ends
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Ids;
    use proptest::prelude::*;

    /// Counts and drops until nothing changes: slow and plainly right.
    fn naive(mut rows: Vec<Interaction>, min_per_user: u32, min_per_item: u32) -> Vec<Interaction> {
        loop {
            let enough = |row: &Interaction| {
                let of_user = rows.iter().filter(|other| other.user == row.user).count();
                let of_item = rows.iter().filter(|other| other.item == row.item).count();
                of_user >= min_per_user as usize && of_item >= min_per_item as usize
            };
            let kept: Vec<Interaction> = rows.iter().copied().filter(enough).collect();
            if kept.len() == rows.len() {
                return kept;
            }
            rows = kept;
        }
    }

    fn graph(pairs: impl IntoIterator<Item = (u32, u32)>, users: u32, items: u32) -> Interactions {
        let rows = pairs.into_iter().map(|(user, item)| Interaction { user, item, at: None }).collect();
        let names = |count: u32| (0..count).map(|n| n.to_string()).collect::<Vec<_>>();
        let ids = |count: u32| Ids::of(names(count).iter().map(String::as_str));
        Interactions { users: ids(users), items: ids(items), rows }
    }

    fn core(all: &Interactions, min_per_user: u32, min_per_item: u32) -> Vec<Interaction> {
        let (users, items) = peel(all, min_per_user, min_per_item);
        all.rows.iter().filter(|row| users[row.user as usize] && items[row.item as usize]).copied().collect()
    }

    proptest! {
        #[test]
        fn peeling_leaves_what_dropping_until_nothing_changes_leaves(
            pairs in proptest::collection::btree_set((0..12_u32, 0..12_u32), 0..80),
            min_per_user in 1..5_u32,
            min_per_item in 1..5_u32,
        ) {
            let all = graph(pairs, 12, 12);
            prop_assert_eq!(core(&all, min_per_user, min_per_item), naive(all.rows.clone(), min_per_user, min_per_item));
        }
    }

    #[test]
    fn a_chain_unravels_from_its_end_however_long_it_is() {
        let length = 100_000;
        let chain = (0..length).flat_map(|n| [(n, n), (n, n + 1)]).filter(|pair| *pair != (0, 0));
        let all = graph(chain, length, length + 1);
        assert_eq!(core(&all, 2, 2), []);
        assert_eq!(core(&all, 1, 1).len(), all.rows.len());
    }
}
