//! The full ranking on a device: where there is a GPU and the model is one of
//! vectors; else the processor's.

use refrain_gpu::Device;
use refrain_gpu::recommender::{NamedTensor, Ranker, RecommenderError, Target};

use super::interactions::ItemSets;
use super::ranking::{Lists, Ranked};
use super::scoring::ScoringModel;
use super::two_tower::{VectorScorer, named};
use crate::metrics::Rank;

impl ScoringModel {
    /// [`ScoringModel::rank_and_list`] on a device. A GPU gives the same ranks but
    /// where scores are within rounding of each other; lists are the processor's.
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
        let ranked = ranked_on(vectors, items, targets, excluded, device, &|more| goes_on(more))?;
        // Burn has no order of a row's scores that stays on the device.
        let lists = if wanted.users.is_empty() {
            Some(Vec::new())
        } else {
            self.top(wanted.users, wanted.k, excluded, &|_| goes_on(0))
        };
        Ok(ranked.zip(lists).map(|(ranked, lists)| Ranked { lists, ..ranked }))
    }
}

/// The ranks by tensor operations, whatever the device.
pub(super) fn ranked_on(
    vectors: &VectorScorer,
    items: usize,
    targets: &[(u32, u32)],
    excluded: &ItemSets,
    device: Device,
    goes_on: &dyn Fn(u64) -> bool,
) -> Result<Option<Ranked>, RecommenderError> {
    let tensors: Vec<NamedTensor> = vectors.tensors().into_iter().map(named).collect();
    let ranker = Ranker::new(&tensors, device)?;
    let of = |(user, item): &(u32, u32)| Target { user: *user, item: *item, excluded: excluded.of_user(*user) };
    let all: Vec<Target<'_>> = targets.iter().map(of).collect();
    let Some(counts) = ranker.rank(&all, goes_on)? else { return Ok(None) };
    let rank = |(count, target): (&refrain_gpu::recommender::Count, &Target<'_>)| {
        let gone = target.excluded.iter().filter(|item| **item != target.item).count();
        Rank { rank: count.above + 1, candidates: (items - gone) as u32 }
    };
    let ranks = counts.iter().zip(&all).map(rank).collect();
    // Each user's scores count once, however many targets it has.
    let mut of_users: Vec<(u32, u32)> = all.iter().zip(&counts).map(|(t, count)| (t.user, count.not_finite)).collect();
    of_users.sort_unstable();
    of_users.dedup();
    let not_finite = of_users.iter().map(|(_, count)| u64::from(*count)).sum();
    Ok(Some(Ranked { ranks, not_finite, lists: Vec::new() }))
}
