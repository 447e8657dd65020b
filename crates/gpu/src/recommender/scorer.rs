//! From two vectors to a score, there and back: the inner product, or dot
//! compress in its factored form, a map of five numbers of the pair.
//!
//! The numbers of a pair stand in the order `u.u`, `sum u`, `u.i`, `i.i`, `sum i`.

use burn::tensor::Tensor;
use burn::tensor::activation::gelu;
use burn::tensor::backend::Backend;

use super::RecommenderError;
use super::ops::{Activation, Normalized, linear};
use super::parameters::{Parameters, Place};
use super::product::{product, product_over_rows, sum_rows};
use super::tower::{layer, layer_gradients};

/// The weights of dot compress.
#[derive(Debug, Clone)]
pub(super) struct Compress {
    folding: [Place; 2],
    layers: [[Place; 2]; 3],
    norms: [[Place; 2]; 2],
    activation: Activation,
}

/// The weights folded for a pass.
#[derive(Debug)]
pub(super) struct Folded<B: Backend> {
    /// `[5, hidden]`
    factors: Tensor<B, 2>,
    /// The halves of the first layer's weight, `[hidden, compress]` each.
    halves: [Tensor<B, 2>; 2],
    /// `W`'s rows and `b`: `[3, compress]`.
    compress: Tensor<B, 2>,
}

/// What the way back needs.
pub(super) struct Hidden<B: Backend> {
    normalized: [Normalized<B>; 2],
    shifted: [Tensor<B, 2>; 2],
    /// What the MLP gives, `[pairs]`.
    pub(super) out: Tensor<B, 1>,
}

impl<B: Backend> Folded<B> {
    /// What the number at `at` of a pair is multiplied with: `[1, hidden]`.
    pub(super) fn row(&self, at: usize) -> Tensor<B, 2> {
        let hidden = self.factors.dims()[1];
        self.factors.clone().slice([at..at + 1, 0..hidden])
    }
}

impl Compress {
    pub(super) fn new<B: Backend>(
        parameters: &Parameters<B>,
        activation: Activation,
    ) -> Result<Self, RecommenderError> {
        let layer = |name: &str| layer(parameters, &format!("scorer.{name}"));
        Ok(Self {
            folding: layer("compress")?,
            layers: [layer("mlp.0")?, layer("mlp.3")?, layer("mlp.6")?],
            norms: [layer("mlp.1")?, layer("mlp.4")?],
            activation,
        })
    }

    /// Folds the compression into the first layer.
    pub(super) fn fold<B: Backend>(&self, parameters: &Parameters<B>) -> Folded<B> {
        let bias = parameters.vector(self.folding[1]).unsqueeze();
        let compress = Tensor::cat(vec![parameters.matrix(self.folding[0]), bias], 0);
        let first = parameters.matrix(self.layers[0][0]);
        let [hidden, width] = first.dims();
        let halves = [first.clone().slice([0..hidden, 0..width / 2]), first.slice([0..hidden, width / 2..width])];
        let [users, items] = [0, 1].map(|half: usize| product(compress.clone(), halves[half].clone().transpose()));
        let row = |of: &Tensor<B, 2>, at: usize| of.clone().slice([at..at + 1, 0..hidden]);
        let factors = Tensor::cat(
            vec![row(&users, 0), row(&users, 2), row(&users, 1) + row(&items, 0), row(&items, 1), row(&items, 2)],
            0,
        );
        Folded { factors, halves, compress }
    }

    /// What each of two sides (0 users, 1 items) brings to the first layer of all
    /// its pairs, from its squares and sums; the users' bring the bias.
    ///
    /// Multiplied and added number by number: a matrix product with five numbers
    /// in a row would lose bits on tensor cores, and gain nothing.
    ///
    /// # Shapes
    /// `numbers` `[rows, 2]`, the result `[rows, hidden]`.
    pub(super) fn share<B: Backend>(
        &self,
        parameters: &Parameters<B>,
        folded: &Folded<B>,
        side: usize,
        numbers: &Tensor<B, 2>,
    ) -> Tensor<B, 2> {
        let (rows, first) = (numbers.dims()[0], 3 * side);
        let column = |at: usize| numbers.clone().slice([0..rows, at..at + 1]);
        let both = column(0) * folded.row(first) + column(1) * folded.row(first + 1);
        if side == 0 { both + parameters.vector(self.layers[0][1]).unsqueeze() } else { both }
    }

    /// The MLP for pairs, from the first layer of each.
    ///
    /// # Shapes
    /// `first` `[pairs, hidden]`.
    pub(super) fn forward<B: Backend>(&self, parameters: &Parameters<B>, first: Tensor<B, 2>) -> Hidden<B> {
        let pairs = first.dims()[0];
        let shift = |normalized: &Normalized<B>, [factor, shift]: [Place; 2]| {
            normalized.rows.clone() * parameters.vector(factor).unsqueeze() + parameters.vector(shift).unsqueeze()
        };
        let first = Normalized::of(first);
        let first_shifted = shift(&first, self.norms[0]);
        let through =
            |x: Tensor<B, 2>, [weight, bias]: [Place; 2]| linear(x, parameters.matrix(weight), parameters.vector(bias));
        let second = Normalized::of(through(self.activation.apply(first_shifted.clone()), self.layers[1]));
        let second_shifted = shift(&second, self.norms[1]);
        let last = self.activation.apply(second_shifted.clone()) * parameters.matrix(self.layers[2][0]);
        let out = last.sum_dim(1).reshape([pairs]) + parameters.vector(self.layers[2][1]);
        Hidden { normalized: [first, second], shifted: [first_shifted, second_shifted], out }
    }

    /// From the gradient of what the MLP gave to that of the pairs' `numbers`, both
    /// `[pairs, 5]`; those of the weights are put into `dense`.
    pub(super) fn backward<B: Backend>(
        &self,
        parameters: &Parameters<B>,
        folded: &Folded<B>,
        (numbers, hidden): (Tensor<B, 2>, Hidden<B>),
        gradient: Tensor<B, 1>,
        dense: &mut Vec<(Place, Tensor<B, 1>)>,
    ) -> Tensor<B, 2> {
        let gradient: Tensor<B, 2> = gradient.unsqueeze_dim(1);
        let active = self.activation.apply(hidden.shifted[1].clone());
        dense.extend(layer_gradients(self.layers[2], &gradient, active));
        let mut flowing = gradient * parameters.matrix(self.layers[2][0]);
        for depth in [1, 0] {
            flowing = flowing * self.activation.slope(hidden.shifted[depth].clone());
            let normalized = &hidden.normalized[depth];
            let [factor, shift] = self.norms[depth];
            dense.push((factor, sum_rows(flowing.clone() * normalized.rows.clone())));
            dense.push((shift, sum_rows(flowing.clone())));
            flowing = normalized.backward(flowing * parameters.vector(factor).unsqueeze());
            if depth == 1 {
                let active = self.activation.apply(hidden.shifted[0].clone());
                dense.extend(layer_gradients(self.layers[1], &flowing, active));
                flowing = product(flowing, parameters.matrix(self.layers[1][0]));
            }
        }
        dense.push((self.layers[0][1], sum_rows(flowing.clone())));
        self.unfold(folded, &product_over_rows(numbers, flowing.clone()), dense);
        product(flowing, folded.factors.clone().transpose())
    }

    /// From the gradient of the factors to those of the weights they were folded of.
    fn unfold<B: Backend>(&self, folded: &Folded<B>, factors: &Tensor<B, 2>, dense: &mut Vec<(Place, Tensor<B, 1>)>) {
        let hidden = factors.dims()[1];
        let row = |at: usize| factors.clone().slice([at..at + 1, 0..hidden]);
        let users = Tensor::cat(vec![row(0), row(2), row(1)], 0);
        let items = Tensor::cat(vec![row(2), row(3), row(4)], 0);
        let compress =
            product(users.clone(), folded.halves[0].clone()) + product(items.clone(), folded.halves[1].clone());
        let weight = [users, items].map(|half| product(half.transpose(), folded.compress.clone()));
        let weight = Tensor::cat(weight.to_vec(), 1);
        let width = compress.dims()[1];
        dense.push((self.layers[0][0], weight.reshape([hidden * 2 * width])));
        dense.push((self.folding[0], compress.clone().slice([0..2, 0..width]).reshape([2 * width])));
        dense.push((self.folding[1], compress.slice([2..3, 0..width]).reshape([width])));
    }
}

/// `x.x` and the sum of each row: `[rows, 2]`.
pub(super) fn squares_and_sums<B: Backend>(x: &Tensor<B, 2>) -> Tensor<B, 2> {
    Tensor::cat(vec![x.clone().square().sum_dim(1), x.clone().sum_dim(1)], 1)
}

/// The score, from what the scorer gave.
pub(super) fn activate<B: Backend, const D: usize>(out: Tensor<B, D>, activated: bool) -> Tensor<B, D> {
    if activated { gelu(out) } else { out }
}
