//! A trained model that scores: which tensors it is made of, and that they fit
//! the split that it is used with.

use std::collections::BTreeMap;

use super::interactions::Interactions;
use super::item_weights::ItemWeights;
use super::two_tower::{PreparedScorer, Tensor, VectorScorer};

/// A model that gives each user and item a score.
#[derive(Debug, Clone)]
pub enum ScoringModel {
    /// The same score for every user: `[items]`.
    Items(Vec<f32>),
    /// Vectors of users and items, and how two of them become a score.
    Vectors(Box<VectorScorer>),
    /// What a user has speaks for each item.
    ItemWeights(Box<ItemWeights>),
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

impl ScoringModel {
    /// The model of a table's tensors: `item_scores` `[items]`, those of
    /// [`ItemWeights::of_tensors`], or `user_vectors`
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
        if let Some(weights) = ItemWeights::of_tensors(|name| by_name.get(name).copied(), interactions) {
            return weights.map(|weights| Self::ItemWeights(Box::new(weights))).map_err(|name| refuse(&name));
        }
        let scorer = VectorScorer::of_tensors(|name| by_name.get(name).copied()).map_err(|name| refuse(&name))?;
        let (users, items) = scorer.counts();
        if (users, items) != (interactions.users.len(), interactions.items.len()) {
            return Err(refuse(if users == interactions.users.len() { "item_vectors" } else { "user_vectors" }));
        }
        Ok(Self::Vectors(Box::new(scorer)))
    }

    /// Whether it is one of vectors, which a GPU ranks where there is one; the
    /// others are the processor's.
    #[must_use]
    pub fn is_of_vectors(&self) -> bool {
        matches!(self, Self::Vectors(_))
    }

    /// The model laid out for many scores.
    pub(super) fn prepare(&self) -> Prepared<'_> {
        match self {
            Self::Items(scores) => Prepared::Items(scores),
            Self::Vectors(vectors) => Prepared::Vectors(Box::new(vectors.prepare())),
            Self::ItemWeights(weights) => Prepared::ItemWeights(weights),
        }
    }
}

/// A [`ScoringModel`] laid out for many scores.
pub(super) enum Prepared<'a> {
    Items(&'a [f32]),
    Vectors(Box<PreparedScorer<'a>>),
    ItemWeights(&'a ItemWeights),
}

impl Prepared<'_> {
    /// The scores of all items for some users, `[users, items]`.
    pub(super) fn scores(&self, users: &[u32]) -> Vec<f32> {
        match self {
            Self::Items(scores) => scores.repeat(users.len()),
            Self::Vectors(scorer) => scorer.scores(users),
            Self::ItemWeights(weights) => weights.scores(users),
        }
    }
}
