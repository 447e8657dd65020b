//! The full ranking on a device: where there is a GPU and the model is one of
//! vectors; else the processor's.

use std::collections::BTreeSet;

use refrain_gpu::Device;
use refrain_gpu::recommender::{Count, NamedTensor, Ranker, Ranking, RecommenderError, Target};

use super::interactions::ItemSets;
use super::ranking::{List, Lists, Ranked};
use super::scoring::ScoringModel;
use super::two_tower::{VectorScorer, named};
use crate::metrics::Rank;

impl ScoringModel {
    /// [`ScoringModel::rank_and_list`] on a device. A GPU gives the same ranks and
    /// lists but where scores are within rounding of each other.
    ///
    /// # Errors
    /// [`RecommenderError`] if the device failed.
    pub fn rank_on(
        &self,
        device: Device,
        items: usize,
        targets: &[(u32, u32)],
        wanted: Lists<'_>,
        excluded: &ItemSets,
        goes_on: &(dyn Fn(u64) -> bool + Sync),
    ) -> Result<Option<Ranked>, RecommenderError> {
        let (Self::Vectors(vectors), Device::Cuda(_)) = (self, device) else {
            return Ok(self.rank_and_list(items, targets, wanted, excluded, goes_on));
        };
        ranked_on(vectors, items, targets, wanted, excluded, device, &|more| goes_on(more))
    }
}

/// The ranks by tensor operations, whatever the device.
pub(super) fn ranked_on(
    vectors: &VectorScorer,
    items: usize,
    targets: &[(u32, u32)],
    wanted: Lists<'_>,
    excluded: &ItemSets,
    device: Device,
    goes_on: &dyn Fn(u64) -> bool,
) -> Result<Option<Ranked>, RecommenderError> {
    let tensors: Vec<NamedTensor> = vectors.tensors().into_iter().map(named).collect();
    let ranker = Ranker::new(&tensors, device)?;
    let mut listed = BTreeSet::new();
    let of = |(user, item): &(u32, u32)| Target {
        user: *user,
        item: *item,
        excluded: excluded.of_user(*user),
        // With the first target of a user.
        listed: wanted.users.binary_search(user).is_ok() && listed.insert(*user),
    };
    let all: Vec<Target<'_>> = targets.iter().map(of).collect();
    let Some(Ranking { counts, lists }) = ranker.rank(&all, wanted.k, goes_on)? else { return Ok(None) };
    let mut lists: Vec<(u32, List)> = all.iter().filter(|target| target.listed).map(|t| t.user).zip(lists).collect();
    lists.sort_unstable_by_key(|(user, _)| *user);
    let lists = lists.into_iter().map(|(_, list)| list).collect();
    let rank = |(count, target): (&Count, &Target<'_>)| {
        let gone = target.excluded.iter().filter(|item| **item != target.item).count();
        Rank { rank: count.above + 1, candidates: (items - gone) as u32 }
    };
    let ranks = counts.iter().zip(&all).map(rank).collect();
    // Each user's scores count once, however many targets it has.
    let mut of_users: Vec<(u32, u32)> = all.iter().zip(&counts).map(|(t, count)| (t.user, count.not_finite)).collect();
    of_users.sort_unstable();
    of_users.dedup();
    let not_finite = of_users.iter().map(|(_, count)| u64::from(*count)).sum();
    Ok(Some(Ranked { ranks, not_finite, lists }))
}
