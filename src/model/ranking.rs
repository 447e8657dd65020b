//! The full ranking of every item for every user, in tiles: no matrix of users
//! by items is ever held.

use std::cmp::Ordering;

use rayon::prelude::*;

use super::interactions::ItemSets;
use super::scoring::ScoringModel;
use crate::metrics::{Rank, rank_of};

/// Users whose scores one task holds at a time.
const TILE_USERS: usize = 12;

/// The ranks of some targets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ranked {
    /// In the order of the targets.
    pub ranks: Vec<Rank>,
    /// How many scores were not finite: they were ranked last.
    pub not_finite: u64,
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
            let mut ranks = Vec::new();
            for (group, scores) in groups.iter().zip(scores.chunks_exact(items)) {
                for at in *group {
                    let (user, item) = targets[*at];
                    ranks.push((*at, rank_of(scores, item as usize, excluded.of_user(user))));
                }
            }
            let not_finite = scores.iter().filter(|score| !score.is_finite()).count() as u64;
            goes_on(ranks.len() as u64).then_some((ranks, not_finite))
        };
        let tiles: Option<Vec<_>> = groups.par_chunks(TILE_USERS).map(tile).collect();
        let mut ranked = Ranked { ranks: vec![Rank { rank: 0, candidates: 0 }; targets.len()], not_finite: 0 };
        for (ranks, not_finite) in tiles? {
            for (at, rank) in ranks {
                ranked.ranks[at] = rank;
            }
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
    ) -> Option<Vec<Vec<(u32, f32)>>> {
        let prepared = self.prepare();
        let tile = |users: &[u32]| {
            let scores = prepared.scores(users);
            let items = scores.len() / users.len();
            let best = |(user, scores): (&u32, &[f32])| {
                let has = excluded.of_user(*user);
                let free = |(item, score): &(u32, f32)| score.is_finite() && has.binary_search(item).is_err();
                let mut all: Vec<(u32, f32)> = (0..).zip(scores.iter().copied()).filter(free).collect();
                all.sort_by(|a, b| b.1.partial_cmp(&a.1).unwrap_or(Ordering::Equal));
                all.truncate(k);
                all
            };
            let tops: Vec<_> = users.iter().zip(scores.chunks_exact(items.max(1))).map(best).collect();
            goes_on(users.len() as u64).then_some(tops)
        };
        let tiles: Option<Vec<_>> = users.par_chunks(TILE_USERS).map(tile).collect();
        Some(tiles?.into_iter().flatten().collect())
    }
}
