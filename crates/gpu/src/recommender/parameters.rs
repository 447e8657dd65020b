//! All weights in two tensors, so that Adam is a handful of launches: the
//! embedding tables one below the other, and everything else end to end.
//!
//! Adam is dense over the tables: in each step the moments of a row without a
//! gradient decay and it moves on. The processor gives the same, but later: its
//! rows make up for the steps they were left out of when they are next read.

use burn::tensor::backend::Backend;
use burn::tensor::{IndexingUpdateOp, Tensor};

use super::ops::{indices, read};
use super::segments::{Segments, distinct};
use super::{NamedTensor, RecommenderError};

const FIRST_DECAY: f32 = 0.9;
const SECOND_DECAY: f32 = 0.999;
const EPSILON: f32 = 1e-8;

/// A tensor with Adam's moments.
#[derive(Debug, Clone)]
struct Trained<B: Backend, const D: usize> {
    values: Tensor<B, D>,
    first: Tensor<B, D>,
    second: Tensor<B, D>,
}

/// A step's size, with the corrections of Adam's bias.
#[derive(Debug, Clone, Copy)]
struct AdamStep {
    rate: f32,
    root: f32,
}

impl<B: Backend, const D: usize> Trained<B, D> {
    fn new(values: Tensor<B, D>) -> Self {
        let zeros = values.zeros_like();
        Self { first: zeros.clone(), second: zeros, values }
    }

    fn step(&mut self, gradient: Tensor<B, D>, step: AdamStep) {
        let first = self.first.clone() * FIRST_DECAY + gradient.clone() * (1.0 - FIRST_DECAY);
        let second = self.second.clone() * SECOND_DECAY + gradient.square() * (1.0 - SECOND_DECAY);
        let below = second.clone().sqrt() / step.root + EPSILON;
        self.values = self.values.clone() - first.clone() / below * step.rate;
        (self.first, self.second) = (first, second);
    }
}

/// Where a weight stands among the dense ones.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    start: usize,
    shape: [usize; 2],
}

/// What names and shapes a weight goes by outside.
#[derive(Debug, Clone)]
enum Slot {
    /// Rows of the embedding tables.
    Rows(usize, usize),
    Dense(Place),
}

/// Every weight.
#[derive(Debug, Clone)]
pub(super) struct Parameters<B: Backend> {
    table: Trained<B, 2>,
    dense: Trained<B, 1>,
    names: Vec<(String, Vec<usize>, Slot)>,
    steps: i32,
}

impl<B: Backend> Parameters<B> {
    /// The weights in this order; embeddings are those with `.embeddings.` in their name.
    pub(super) fn new(weights: &[NamedTensor], embedding: usize, device: &B::Device) -> Self {
        let (mut rows, mut dense, mut names) = (Vec::new(), Vec::new(), Vec::new());
        for weight in weights {
            let slot = if weight.name.contains(".embeddings.") {
                let start = rows.len() / embedding;
                rows.extend_from_slice(&weight.values);
                Slot::Rows(start, weight.shape[0])
            } else {
                let start = dense.len();
                dense.extend_from_slice(&weight.values);
                let shape = [weight.shape[0], weight.shape.get(1).copied().unwrap_or(1)];
                Slot::Dense(Place { start, shape })
            };
            names.push((weight.name.clone(), weight.shape.clone(), slot));
        }
        let shape = [rows.len() / embedding, embedding];
        let table = Trained::new(super::ops::matrix(rows, shape, device));
        let dense = Trained::new(Tensor::from_floats(dense.as_slice(), device));
        Self { table, dense, names, steps: 0 }
    }

    /// The first row of an embedding, among all.
    pub(super) fn first_row(&self, name: &str) -> Option<usize> {
        self.names.iter().find_map(|(own, _, slot)| match slot {
            Slot::Rows(start, _) if own == name => Some(*start),
            _ => None,
        })
    }

    /// The place of a dense weight.
    pub(super) fn place(&self, name: &str) -> Option<Place> {
        self.names.iter().find_map(|(own, _, slot)| match slot {
            Slot::Dense(place) if own == name => Some(*place),
            _ => None,
        })
    }

    /// Rows of the tables, side by side: `[rows / columns, columns * embedding]`.
    pub(super) fn rows(&self, codes: &[u32], columns: usize) -> Tensor<B, 2> {
        let width = self.table.values.dims()[1];
        let picked = self.table.values.clone().select(0, indices(codes, &self.table.values.device()));
        picked.reshape([codes.len() / columns, columns * width])
    }

    pub(super) fn matrix(&self, place: Place) -> Tensor<B, 2> {
        let [rows, columns] = place.shape;
        self.dense.values.clone().narrow(0, place.start, rows * columns).reshape([rows, columns])
    }

    pub(super) fn vector(&self, place: Place) -> Tensor<B, 1> {
        let [rows, columns] = place.shape;
        self.dense.values.clone().narrow(0, place.start, rows * columns)
    }

    /// The dense gradient of the gathered rows of `codes`.
    pub(super) fn table_gradient(&self, codes: &[u32], rows: Tensor<B, 2>) -> Tensor<B, 2> {
        let zeros = self.table.values.zeros_like();
        let (all, places) = distinct(codes);
        let sums = Segments::new(&places, all.len()).sum(rows);
        let at = indices(&all, &zeros.device()).reshape([all.len(), 1]);
        zeros.scatter_nd(at, sums, IndexingUpdateOp::Assign)
    }

    /// The dense gradient, its parts in the order of the weights.
    pub(super) fn dense_gradient(mut parts: Vec<(Place, Tensor<B, 1>)>) -> Tensor<B, 1> {
        parts.sort_by_key(|(place, _)| place.start);
        Tensor::cat(parts.into_iter().map(|(_, part)| part).collect(), 0)
    }

    /// One step of Adam.
    pub(super) fn step(&mut self, table: Tensor<B, 2>, dense: Tensor<B, 1>, learning_rate: f64) {
        self.steps = self.steps.saturating_add(1);
        let rate = learning_rate / (1.0 - 0.9f64.powi(self.steps));
        let root = (1.0 - 0.999f64.powi(self.steps)).sqrt();
        let step = AdamStep { rate: rate as f32, root: root as f32 };
        self.table.step(table, step);
        self.dense.step(dense, step);
    }

    /// Every weight by name, from these two tensors.
    pub(super) fn named(&self, table: Tensor<B, 2>, dense: Tensor<B, 1>) -> Result<Vec<NamedTensor>, RecommenderError> {
        let width = table.dims()[1];
        let (table, dense) = (read(table)?, read(dense)?);
        let values = |slot: &Slot| match slot {
            Slot::Rows(start, count) => table[start * width..(start + count) * width].to_vec(),
            Slot::Dense(place) => dense[place.start..][..place.shape[0] * place.shape[1]].to_vec(),
        };
        let named = |(name, shape, slot): &(String, Vec<usize>, Slot)| NamedTensor {
            name: name.clone(),
            shape: shape.clone(),
            values: values(slot),
        };
        Ok(self.names.iter().map(named).collect())
    }

    /// Every weight that is no row of a table, by name.
    pub(super) fn dense_tensors(&self) -> Result<Vec<NamedTensor>, RecommenderError> {
        let dense = read(self.dense.values.clone())?;
        let of_place = |place: &Place| dense[place.start..][..place.shape[0] * place.shape[1]].to_vec();
        let named = self.names.iter().filter_map(|(name, shape, slot)| match slot {
            Slot::Rows(..) => None,
            Slot::Dense(place) => {
                Some(NamedTensor { name: name.clone(), shape: shape.clone(), values: of_place(place) })
            }
        });
        Ok(named.collect())
    }

    /// Every weight by name.
    pub(super) fn tensors(&self) -> Result<Vec<NamedTensor>, RecommenderError> {
        self.named(self.table.values.clone(), self.dense.values.clone())
    }
}
