//! A trained model that scores, and the full ranking of every item for every
//! user in tiles: no matrix of users by items is ever held.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::interactions::{Interactions, ItemSets};
use super::two_tower::{Tensor, VectorScorer};
use crate::metrics::{Rank, rank_of};

/// Users whose scores one task holds at a time.
const TILE_USERS: usize = 12;

/// A model that gives each user and item a score.
#[derive(Debug, Clone)]
pub enum ScoringModel {
    /// The same score for every user: `[items]`.
    Items(Vec<f32>),
    /// Vectors of users and items, and how two of them become a score.
    Vectors(Box<VectorScorer>),
}

/// Why a model's table cannot be used with a split.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// A tensor is missing or has another shape.
    #[error("the model has no usable tensor `{name}`; it has {}", found.join(", "))]
    Tensor {
        /// Its name.
        name: String,
        /// The names there are, with shapes.
        found: Vec<String>,
    },
    /// It was trained on other users or items.
    #[error("the model was made for other users or items than those of the split")]
    OtherIds,
}

/// The ranks of some targets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ranked {
    /// In the order of the targets.
    pub ranks: Vec<Rank>,
    /// How many scores were not finite: they were ranked last.
    pub not_finite: u64,
}

impl ScoringModel {
    /// The model of a table's tensors: `item_scores` `[items]`, or `user_vectors`
    /// `[users, d]`, `item_vectors` `[items, d]` and the scorer's. If there is an
    /// `id_check`, it must be that of the split.
    ///
    /// # Errors
    /// [`ModelError`].
    pub fn of_tensors(tensors: &[Tensor], interactions: &Interactions) -> Result<Self, ModelError> {
        let by_name: BTreeMap<&str, &Tensor> = tensors.iter().map(|t| (t.name.as_str(), t)).collect();
        if by_name.get("id_check").is_some_and(|check| check.values != interactions.check()) {
            return Err(ModelError::OtherIds);
        }
        let refuse = |name: &str| {
            let found = tensors.iter().map(|t| format!("{} {:?}", t.name, t.shape)).collect();
            ModelError::Tensor { name: name.to_owned(), found }
        };
        if let Some(scores) = by_name.get("item_scores") {
            let fits = scores.values.len() == interactions.items.len();
            return if fits { Ok(Self::Items(scores.values.clone())) } else { Err(refuse("item_scores")) };
        }
        let scorer = VectorScorer::of_tensors(|name| by_name.get(name).copied()).map_err(|name| refuse(&name))?;
        let (users, items) = scorer.counts();
        if (users, items) != (interactions.users.len(), interactions.items.len()) {
            return Err(refuse(if users == interactions.users.len() { "item_vectors" } else { "user_vectors" }));
        }
        Ok(Self::Vectors(Box::new(scorer)))
    }

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
        let scorer = match self {
            Self::Items(_) => None,
            Self::Vectors(vectors) => Some(vectors.prepare()),
        };
        let tile = |groups: &[&[usize]]| {
            if !goes_on(0) {
                return None;
            }
            let users: Vec<u32> = groups.iter().map(|group| targets[group[0]].0).collect();
            let scores = match (self, &scorer) {
                (Self::Items(scores), _) => scores.repeat(users.len()),
                (_, Some(prepared)) => prepared.scores(&users),
                (_, None) => Vec::new(),
            };
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
}
