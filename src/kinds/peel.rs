//! The largest part of a graph of users and items in which each has enough
//! others: what `filter_k_core` keeps.
//!
//! A few rounds over all rows drop nearly all that goes. What a long chain has
//! left then goes by a queue, so that the time stays linear in the rows.

use rayon::prelude::*;

use crate::table::PackedInteractions;

/// Rounds over all rows before the queue.
const ROUNDS: usize = 8;

/// A user and an item.
type Pair = (u32, u32);

/// Which users and items stay; each has a row in the beginning.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) users: Vec<bool>,
    pub(super) items: Vec<bool>,
}

/// Which users have at least `min_per_user` items, and which items at least
/// `min_per_item` users, when all others are gone.
pub(super) fn peel(all: &PackedInteractions, min_per_user: u32, min_per_item: u32) -> Core {
    peel_in(ROUNDS, all, min_per_user, min_per_item)
}

fn peel_in(rounds: usize, all: &PackedInteractions, min_per_user: u32, min_per_item: u32) -> Core {
    let mut core = Core { users: vec![true; all.users.len()], items: vec![true; all.items.len()] };
    for _ in 0..rounds {
        if !core.round(all, min_per_user, min_per_item) {
            return core;
        }
    }
    let left = all.rows.runs().into_iter().flatten().map(|row| row.0).filter(|pair| core.stays(*pair)).collect();
    core.finish(left, min_per_user, min_per_item);
    core
}

impl Core {
    /// Whether both the user and the item stay.
    pub(super) fn stays(&self, (user, item): Pair) -> bool {
        self.users[user as usize] && self.items[item as usize]
    }

    /// Drops users without enough of the items that stay, then items without
    /// enough of the users that stay. Whether an item went: if not, all is done.
    fn round(&mut self, all: &PackedInteractions, min_per_user: u32, min_per_item: u32) -> bool {
        let (runs, items) = (all.rows.runs(), &self.items);
        // Each share counts all items, so there are not many.
        let share = runs.len().div_ceil(rayon::current_num_threads().min(8)).max(1);
        let width = share * all.rows.width();
        let shares = runs.par_chunks(share).zip(self.users.par_chunks_mut(width.max(1))).enumerate();
        let counts = shares.map(|(at, (runs, users))| {
            let mut counts = vec![0_u32; items.len()];
            for of_user in runs.iter().flat_map(|run| run.chunk_by(|one, other| one.0.0 == other.0.0)) {
                let stays = &mut users[of_user[0].0.0 as usize - at * width];
                let left = || of_user.iter().filter(|row| items[row.0.1 as usize]).count();
                *stays = *stays && left() >= min_per_user as usize;
                if *stays {
                    // Those of items that are gone do not matter.
                    for row in of_user {
                        counts[row.0.1 as usize] += 1;
                    }
                }
            }
            counts
        });
        let sum = |mut sums: Vec<u32>, counts: Vec<u32>| {
            sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
            sums
        };
        let counts = counts.reduce_with(sum).unwrap_or_default();
        let mut went = false;
        for (stays, count) in self.items.iter_mut().zip(counts) {
            went |= *stays && count < min_per_item;
            *stays &= count >= min_per_item;
        }
        went
    }

    /// Drops what falls short among these pairs, and whatever does so then.
    ///
    /// Each node enters the queue once, when it first falls short, and its rows are
    /// looked at once, when it goes: linear in rows, users and items.
    fn finish(&mut self, mut left: Vec<Pair>, min_per_user: u32, min_per_item: u32) {
        let (by_user, by_item) = (|pair: &Pair| pair.0, |pair: &Pair| pair.1);
        let mut users = Side::new(&left, self.users.len(), min_per_user, by_user);
        let mut items = Side::new(&left, self.items.len(), min_per_item, by_item);
        let items_of: Vec<u32> = left.iter().map(by_item).collect();
        left.sort_unstable_by_key(by_item);
        let users_of: Vec<u32> = left.iter().map(by_user).collect();
        let mut queue: Vec<(bool, u32)> = users.short_from_the_start().map(|user| (true, user)).collect();
        queue.extend(items.short_from_the_start().map(|item| (false, item)));
        while let Some((is_user, node)) = queue.pop() {
            let (own, other, ends) =
                if is_user { (&mut users, &mut items, &items_of) } else { (&mut items, &mut users, &users_of) };
            own.stays[node as usize] = false;
            let of_node = &ends[own.starts[node as usize]..own.starts[node as usize + 1]];
            queue.extend(of_node.iter().filter(|end| other.falls_short(**end)).map(|end| (!is_user, *end)));
        }
        (self.users, self.items) = (users.stays, items.stays);
    }
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
    fn new(rows: &[Pair], nodes: usize, least: u32, node: impl Fn(&Pair) -> u32) -> Self {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::Table;
    use arrow::array::{ArrayRef, Int64Array, StringArray};
    use proptest::prelude::*;
    use std::sync::Arc;

    /// Counts and drops until nothing changes: slow and plainly right.
    fn naive(mut rows: Vec<Pair>, min_per_user: u32, min_per_item: u32) -> Vec<Pair> {
        loop {
            let enough = |row: &Pair| {
                let of_user = rows.iter().filter(|other| other.0 == row.0).count();
                let of_item = rows.iter().filter(|other| other.1 == row.1).count();
                of_user >= min_per_user as usize && of_item >= min_per_item as usize
            };
            let kept: Vec<Pair> = rows.iter().copied().filter(enough).collect();
            if kept.len() == rows.len() {
                return kept;
            }
            rows = kept;
        }
    }

    fn graph(pairs: impl IntoIterator<Item = Pair>) -> PackedInteractions {
        let (users, items): (Vec<u32>, Vec<u32>) = pairs.into_iter().unzip();
        let ids =
            |of: &[u32]| -> ArrayRef { Arc::new(of.iter().map(|n| Some(n.to_string())).collect::<StringArray>()) };
        let times: ArrayRef = Arc::new(Int64Array::from(vec![1; users.len()]));
        let columns = [("user_id", ids(&users)), ("item_id", ids(&items)), ("at", times)];
        PackedInteractions::of_table(&Table::of_columns(columns).unwrap(), "at").unwrap()
    }

    /// What stays, by the numbers that the ids are.
    fn core(rounds: usize, all: &PackedInteractions, min_per_user: u32, min_per_item: u32) -> Vec<Pair> {
        let core = peel_in(rounds, all, min_per_user, min_per_item);
        let number = |id: &str| id.parse().unwrap();
        let named = |pair: Pair| (number(all.users.get(pair.0)), number(all.items.get(pair.1)));
        let stay = all.rows.runs().concat().into_iter().map(|row| row.0).filter(|pair| core.stays(*pair));
        stay.map(named).collect()
    }

    proptest! {
        #[test]
        fn peeling_leaves_what_dropping_until_nothing_changes_leaves(
            pairs in proptest::collection::btree_set((0..12_u32, 0..12_u32), 0..80),
            min_per_user in 1..5_u32,
            min_per_item in 1..5_u32,
            rounds in 0..5_usize,
        ) {
            let all = graph(pairs.iter().copied());
            let expected = naive(pairs.into_iter().collect(), min_per_user, min_per_item);
            prop_assert_eq!(core(rounds, &all, min_per_user, min_per_item), expected);
        }
    }

    #[test]
    fn a_chain_unravels_from_its_end_however_long_it_is() {
        let length = 100_000;
        let chain = (0..length).flat_map(|n| [(n, n), (n, n + 1)]).filter(|pair| *pair != (0, 0));
        let all = graph(chain);
        assert_eq!(core(ROUNDS, &all, 2, 2), []);
        assert_eq!(core(ROUNDS, &all, 1, 1).len(), all.rows.len());
    }
}
