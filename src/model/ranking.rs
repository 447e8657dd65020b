//! The full ranking of every item for every user, in tiles: no matrix of users
//! by items is ever held.

use rayon::prelude::*;

use super::interactions::ItemSets;
use super::scoring::ScoringModel;
use crate::metrics::{Rank, rank_of};

/// Users whose scores one task holds at a time.
const TILE_USERS: usize = 12;

/// The ranks of some targets.
#[derive(Debug, Clone, PartialEq)]
pub struct Ranked {
    /// In the order of the targets.
    pub ranks: Vec<Rank>,
    /// How many scores were not finite: they were ranked last.
    pub not_finite: u64,
    /// The lists that were asked for, in the order of their users.
    pub lists: Vec<List>,
}

/// Some items and their scores, best first.
pub type List = Vec<(u32, f32)>;

/// For whom the best items are wanted beside the ranks.
#[derive(Debug, Clone, Copy, Default)]
pub struct Lists<'a> {
    /// Ascending, and each has a target.
    pub users: &'a [u32],
    /// How many items at most, of those that the user does not have in what is excluded.
    pub k: usize,
}

impl ScoringModel {
    /// Ranks each target item among all items that its user does not have in
    /// `excluded`. `goes_on` is told how many targets were done and may stop it.
    ///
    /// Returns nothing if it was stopped.
    pub fn rank(
        &self,
        items: usize,
        targets: &[(u32, u32)],
        excluded: &ItemSets,
        goes_on: &(dyn Fn(u64) -> bool + Sync),
    ) -> Option<Ranked> {
        self.rank_and_list(items, targets, Lists::default(), excluded, goes_on)
    }

    /// [`ScoringModel::rank`] and [`ScoringModel::top`] of the same scores.
    pub fn rank_and_list(
        &self,
        items: usize,
        targets: &[(u32, u32)],
        wanted: Lists<'_>,
        excluded: &ItemSets,
        goes_on: &(dyn Fn(u64) -> bool + Sync),
    ) -> Option<Ranked> {
        let mut order: Vec<usize> = (0..targets.len()).collect();
        order.sort_by_key(|at| targets[*at]);
        let groups: Vec<&[usize]> = order.chunk_by(|a, b| targets[*a].0 == targets[*b].0).collect();
        let prepared = self.prepare();
        let tile = |groups: &[&[usize]]| {
            if !goes_on(0) {
                return None;
            }
            let users: Vec<u32> = groups.iter().map(|group| targets[group[0]].0).collect();
            let scores = prepared.scores(&users);
            let (mut ranks, mut lists) = (Vec::new(), Vec::new());
            for ((group, user), scores) in groups.iter().zip(&users).zip(scores.chunks_exact(items)) {
                let gone = excluded.of_user(*user);
                ranks.extend(group.iter().map(|at| (*at, rank_of(scores, targets[*at].1 as usize, gone))));
                if wanted.users.binary_search(user).is_ok() {
                    lists.push(best_of(scores, wanted.k, gone));
                }
            }
            let not_finite = scores.iter().filter(|score| !score.is_finite()).count() as u64;
            goes_on(ranks.len() as u64).then_some((ranks, lists, not_finite))
        };
        let tiles: Option<Vec<_>> = groups.par_chunks(TILE_USERS).map(tile).collect();
        let ranks = vec![Rank { rank: 0, candidates: 0 }; targets.len()];
        let mut ranked = Ranked { ranks, not_finite: 0, lists: Vec::new() };
        for (ranks, lists, not_finite) in tiles? {
            for (at, rank) in ranks {
                ranked.ranks[at] = rank;
            }
            ranked.lists.extend(lists);
            ranked.not_finite += not_finite;
        }
        Some(ranked)
    }

    /// The `k` best items of each user among those that it does not have in
    /// `excluded`, best first, ties to the lower index; scores that are not
    /// finite are left out, so there may be fewer. `goes_on` is told how many
    /// users were done and may stop it.
    ///
    /// Returns nothing if it was stopped.
    pub fn top(
        &self,
        users: &[u32],
        k: usize,
        excluded: &ItemSets,
        goes_on: &(dyn Fn(u64) -> bool + Sync),
    ) -> Option<Vec<List>> {
        let prepared = self.prepare();
        let tile = |users: &[u32]| {
            let scores = prepared.scores(users);
            let items = scores.len() / users.len();
            let best = |(user, scores): (&u32, &[f32])| best_of(scores, k, excluded.of_user(*user));
            let tops: Vec<_> = users.iter().zip(scores.chunks_exact(items.max(1))).map(best).collect();
            goes_on(users.len() as u64).then_some(tops)
        };
        let tiles: Option<Vec<_>> = users.par_chunks(TILE_USERS).map(tile).collect();
        Some(tiles?.into_iter().flatten().collect())
    }
}

/// The places and scores of the `k` highest scores, best first, ties to the
/// lower place, without those in `excluded` (ascending) and those that are not
/// finite: one pass that keeps the best so far in order.
fn best_of(scores: &[f32], k: usize, excluded: &[u32]) -> List {
    let mut best: List = Vec::with_capacity(k.min(scores.len()) + 1);
    // What must be beaten: an equal score further on stands behind.
    let mut bar = f32::NEG_INFINITY;
    let mut gone = excluded.iter().copied().peekable();
    for (item, score) in (0u32..).zip(scores) {
        let full = best.len() == k;
        if !(*score > bar || !full && score.is_finite()) {
            continue;
        }
        while gone.next_if(|excluded| *excluded < item).is_some() {}
        if k == 0 || gone.peek() == Some(&item) || !score.is_finite() {
            continue;
        }
        let place = best.partition_point(|(_, other)| other >= score);
        best.insert(place, (item, *score));
        best.truncate(k);
        if best.len() == k {
            bar = best[k - 1].1;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_best_are_the_first_of_a_stable_sort(
            grades in prop::collection::vec(0u8..8, 0..60), k in 0usize..12, holes in prop::collection::btree_set(0u32..60, 0..30),
        ) {
            let score = |grade: &u8| match grade {
                6 => f32::NAN,
                7 => f32::INFINITY,
                grade => f32::from(*grade) - 2.0,
            };
            let scores: Vec<f32> = grades.iter().map(score).collect();
            let excluded: Vec<u32> = holes.iter().copied().collect();
            let mut all: Vec<(u32, f32)> = (0..)
                .zip(scores.iter().copied())
                .filter(|(item, score)| score.is_finite() && !holes.contains(item))
                .collect();
            all.sort_by(|a, b| b.1.partial_cmp(&a.1).unwrap_or(Ordering::Equal));
            all.truncate(k);
            prop_assert_eq!(best_of(&scores, k, &excluded), all);
        }
    }
}
