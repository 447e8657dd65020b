//! Scores from item to item: what a user's train items say of every item, as
//! item-kNN (few weights for each item) and EASE (a weight for every pair) have it.

use super::interactions::{Interactions, ItemSets, Part};
use super::two_tower::Tensor;

/// Weights from item to item, and what each user has. The score of an item is
/// the sum of the weights to it from the user's train items, in ascending order.
#[derive(Debug, Clone)]
pub struct ItemWeights {
    weights: Weights,
    items: usize,
    history: ItemSets,
}

#[derive(Debug, Clone)]
enum Weights {
    /// `[items, items]`: from the row's item to the column's.
    Dense(Vec<f32>),
    /// For each item the items that it speaks for, ascending, and how strongly.
    Sparse { starts: Vec<usize>, to: Vec<(u32, f32)> },
}

impl ItemWeights {
    /// The weights of a model's tensors: `item_item` `[items, items]`, or
    /// `neighbours` and `similarities` `[items, k]`, where a row lists the items
    /// that speak for its item and -1 fills it up. None if there is neither.
    ///
    /// # Errors
    /// The name of a tensor that is missing or does not fit.
    pub fn of_tensors<'a>(
        find: impl Fn(&str) -> Option<&'a Tensor>,
        interactions: &Interactions,
    ) -> Option<Result<Self, String>> {
        let items = interactions.items.len();
        let weights = if let Some(dense) = find("item_item") {
            let fits = dense.shape == [items, items] && dense.values.len() == items * items;
            if fits { Ok(Weights::Dense(dense.values.clone())) } else { Err("item_item".to_owned()) }
        } else {
            let neighbours = find("neighbours")?;
            find("similarities")
                .ok_or("similarities")
                .and_then(|values| sparse(neighbours, values, items))
                .map_err(str::to_owned)
        };
        let history = interactions.sets(&[Part::Train]);
        Some(weights.map(|weights| Self { weights, items, history }))
    }

    /// The scores of all items for some users, `[users, items]`.
    pub(super) fn scores(&self, users: &[u32]) -> Vec<f32> {
        let mut scores = vec![0.0_f32; users.len() * self.items];
        for (user, scores) in users.iter().zip(scores.chunks_exact_mut(self.items.max(1))) {
            for item in self.history.of_user(*user) {
                self.add_from(*item, scores);
            }
        }
        scores
    }

    /// How strongly one item speaks for each item, `[items]`; 0 for itself.
    #[must_use]
    pub fn from_item(&self, item: u32) -> Vec<f32> {
        let mut weights = vec![0.0; self.items];
        self.add_from(item, &mut weights);
        weights
    }

    fn add_from(&self, item: u32, scores: &mut [f32]) {
        let item = item as usize;
        match &self.weights {
            Weights::Dense(all) => {
                for (score, weight) in scores.iter_mut().zip(&all[item * self.items..][..self.items]) {
                    *score += weight;
                }
            }
            Weights::Sparse { starts, to } => {
                for (other, weight) in &to[starts[item]..starts[item + 1]] {
                    scores[*other as usize] += weight;
                }
            }
        }
    }
}

/// Turns lists of who speaks for an item into lists of whom an item speaks for.
fn sparse(neighbours: &Tensor, similarities: &Tensor, items: usize) -> Result<Weights, &'static str> {
    let [rows, width] = neighbours.shape[..] else { return Err("neighbours") };
    if rows != items || neighbours.values.len() != items * width {
        return Err("neighbours");
    }
    if similarities.shape != neighbours.shape || similarities.values.len() != neighbours.values.len() {
        return Err("similarities");
    }
    if neighbours.values.iter().any(|other| *other >= items as f32 || other.is_nan()) {
        return Err("neighbours");
    }
    let pairs = || {
        let all = neighbours.values.iter().zip(&similarities.values).enumerate();
        all.filter(|(_, (other, _))| **other >= 0.0)
            .map(|(at, (other, weight))| (*other as usize, (at / width) as u32, *weight))
    };
    let mut starts = vec![0; items + 1];
    pairs().for_each(|(from, _, _)| starts[from + 1] += 1);
    for item in 0..items {
        starts[item + 1] += starts[item];
    }
    let mut next = starts.clone();
    let mut to = vec![(0, 0.0); starts[items]];
    for (from, item, weight) in pairs() {
        to[next[from]] = (item, weight);
        next[from] += 1;
    }
    Ok(Weights::Sparse { starts, to })
}
