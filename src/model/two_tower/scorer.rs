//! From a user's and an item's vectors to a score: the inner product, or
//! "dot compress" in its factored form.
//!
//! Dot compress stacks `X = [u; i]`, forms `X (X^T W + b)` and hands the numbers
//! to an MLP (PAPER.md, "Model"). Row `r` of that is
//! `(r.u) W0 + (r.i) W1 + (sum r) b`, so the first layer of the MLP is a linear
//! map of five numbers of the pair: `u.u`, `u.i`, `i.i`, `sum u` and `sum i`.
//! That map is [`Factors`].

use super::options::{Activation, Widths};
use super::parameters::{Linear, Start, Tensor, Weight};
use crate::ground::Seed;
use refrain_kernels::{Left, Mode, Packed, add_scaled, dot, normalize_rows};

/// The prefix of the scorer's tensors.
const NAME: &str = "scorer";
/// The tensor that says that the MLP has ReLU where GELU is usual.
const RELU: &str = "scorer.relu";

/// The MLP behind dot compress, and the compression's own weights.
#[derive(Debug, Clone)]
pub(super) struct Compress {
    /// `W` `[2, compress]`.
    pub(super) weight: Weight,
    /// `b` `[compress]`.
    pub(super) bias: Weight,
    /// `2 * compress` to the first hidden layer, to the second, to 1.
    pub(super) layers: [Linear; 3],
    /// Factor and shift behind the first two layers' normalisation.
    pub(super) norms: [[Weight; 2]; 2],
    activation: Activation,
}

/// The first layer as a linear map of the pair's five numbers, each as wide
/// as the first hidden layer.
#[derive(Debug, Clone)]
pub(super) struct Factors {
    pub(super) user_user: Vec<f32>,
    pub(super) user_item: Vec<f32>,
    pub(super) item_item: Vec<f32>,
    pub(super) user_sum: Vec<f32>,
    pub(super) item_sum: Vec<f32>,
}

/// A scorer's weights as the products need them.
#[derive(Debug)]
pub(super) struct PackedCompress {
    pub(super) factors: Factors,
    pub(super) second: Packed,
    pub(super) second_backward: Packed,
}

/// The three numbers of a pair that its item decides.
#[derive(Debug, Clone, Copy)]
pub(super) struct PairNumbers {
    pub(super) user_item: f32,
    pub(super) item_item: f32,
    pub(super) item_sum: f32,
}

/// The values inside the MLP for some pairs.
#[derive(Debug, Default)]
pub(super) struct Hidden {
    /// After normalisation, before factor and shift.
    pub(super) normalized: [Vec<f32>; 2],
    pub(super) scales: [Vec<f32>; 2],
    /// After GELU.
    pub(super) active: [Vec<f32>; 2],
    /// GELU's derivative, where asked for.
    pub(super) slope: [Vec<f32>; 2],
    shifted: Vec<f32>,
    /// What the MLP gives, before any GELU on the score.
    pub(super) out: Vec<f32>,
}

impl Compress {
    /// A scorer in its first state: `W` Xavier normal, `b` zero, the rest as PyTorch.
    pub(super) fn new(widths: Widths, activation: Activation, seed: Seed) -> Self {
        let (columns, hidden) = (widths.compress, widths.scorer_hidden);
        let deviation = (2.0 / (2.0 + columns as f32)).sqrt();
        let norm = |at: usize, width: usize| {
            let weight = |part: &str, value| {
                Weight::new(format!("{NAME}.mlp.{at}.{part}"), &[width], Start::Constant(value), seed)
            };
            [weight("weight", 1.0), weight("bias", 0.0)]
        };
        Self {
            weight: Weight::new(format!("{NAME}.compress.weight"), &[2, columns], Start::Normal(deviation), seed),
            bias: Weight::new(format!("{NAME}.compress.bias"), &[columns], Start::Constant(0.0), seed),
            layers: [
                Linear::new(&format!("{NAME}.mlp.0"), 2 * columns, hidden[0], seed),
                Linear::new(&format!("{NAME}.mlp.3"), hidden[0], hidden[1], seed),
                Linear::new(&format!("{NAME}.mlp.6"), hidden[1], 1, seed),
            ],
            norms: [norm(1, hidden[0]), norm(4, hidden[1])],
            activation,
        }
    }

    /// The scorer of a model's table, if the table has one and it is whole.
    pub(super) fn of_tensors<'a>(find: impl Fn(&str) -> Option<&'a Tensor>) -> Option<Self> {
        let size = |name: &str, axis: usize| find(name)?.shape.get(axis).copied();
        let hidden = [size("scorer.mlp.0.weight", 0)?, size("scorer.mlp.3.weight", 0)?];
        let compress = size("scorer.compress.weight", 1)?;
        let widths = Widths { compress, scorer_hidden: hidden, ..Widths::default() };
        let relu = find(RELU).is_some_and(|tensor| tensor.values.first().is_some_and(|v| *v > 0.0));
        let activation = if relu { Activation::Relu } else { Activation::Gelu };
        let mut scorer = Self::new(widths, activation, Seed::of_stage(0, "shape"));
        for weight in scorer.weights() {
            let tensor = find(&weight.tensor.name).filter(|tensor| tensor.shape == weight.tensor.shape)?;
            weight.tensor = tensor.clone();
        }
        Some(scorer)
    }

    /// Copies of all tensors, and the mark of another activation than GELU.
    pub(super) fn tensors(&mut self) -> Vec<Tensor> {
        let mark = Tensor { name: RELU.to_owned(), shape: vec![1], values: vec![1.0] };
        let mut all: Vec<_> = self.weights().into_iter().map(|weight| weight.tensor.clone()).collect();
        all.extend((self.activation == Activation::Relu).then_some(mark));
        all
    }

    /// The widths of the hidden layers.
    pub(super) fn hidden(&self) -> [usize; 2] {
        [self.layers[0].outputs, self.layers[1].outputs]
    }

    /// Every weight, in a fixed order.
    pub(super) fn weights(&mut self) -> Vec<&mut Weight> {
        let mut all = vec![&mut self.weight, &mut self.bias];
        for layer in &mut self.layers {
            all.extend([&mut layer.weight, &mut layer.bias]);
        }
        all.extend(self.norms.iter_mut().flatten());
        all
    }

    /// Folds the compression into the first layer and lays out the second.
    pub(super) fn pack(&self) -> PackedCompress {
        let layer = &self.layers[1];
        let (mut second, mut second_backward) = (Packed::default(), Packed::default());
        second.pack_transposed(layer.weight.values(), layer.inputs, layer.outputs);
        second_backward.pack(layer.weight.values(), layer.outputs, layer.inputs);
        PackedCompress { factors: self.factors(), second, second_backward }
    }

    fn factors(&self) -> Factors {
        let columns = self.bias.values().len();
        let (of_user, of_item) = self.weight.values().split_at(columns);
        let bias = self.bias.values();
        let halves = || self.layers[0].weight.values().chunks_exact(2 * columns).map(|row| row.split_at(columns));
        Factors {
            user_user: halves().map(|(user_row, _)| dot(user_row, of_user)).collect(),
            user_item: halves().map(|(user_row, item_row)| dot(user_row, of_item) + dot(item_row, of_user)).collect(),
            item_item: halves().map(|(_, item_row)| dot(item_row, of_item)).collect(),
            user_sum: halves().map(|(user_row, _)| dot(user_row, bias)).collect(),
            item_sum: halves().map(|(_, item_row)| dot(item_row, bias)).collect(),
        }
    }

    /// Turns the gradient of the factors into those of the first layer's
    /// weight and of the compression.
    pub(super) fn add_factor_gradients(&mut self, gradient: &Factors) {
        let columns = self.bias.values().len();
        let (of_user, of_item) = self.weight.tensor.values.split_at(columns);
        let (user_gradient, item_gradient) = self.weight.gradient.split_at_mut(columns);
        let rows = self.layers[0].weight.tensor.values.chunks_exact(2 * columns);
        let row_gradients = self.layers[0].weight.gradient.chunks_exact_mut(2 * columns);
        for (at, (row, row_gradient)) in rows.zip(row_gradients).enumerate() {
            let (user_row, item_row) = row.split_at(columns);
            let (user_row_gradient, item_row_gradient) = row_gradient.split_at_mut(columns);
            let [uu, ui, ii] = [gradient.user_user[at], gradient.user_item[at], gradient.item_item[at]];
            let [su, si] = [gradient.user_sum[at], gradient.item_sum[at]];
            add_scaled(user_row_gradient, uu, of_user);
            add_scaled(user_row_gradient, ui, of_item);
            add_scaled(user_row_gradient, su, &self.bias.tensor.values);
            add_scaled(item_row_gradient, ui, of_user);
            add_scaled(item_row_gradient, ii, of_item);
            add_scaled(item_row_gradient, si, &self.bias.tensor.values);
            add_scaled(user_gradient, uu, user_row);
            add_scaled(user_gradient, ui, item_row);
            add_scaled(item_gradient, ui, user_row);
            add_scaled(item_gradient, ii, item_row);
            add_scaled(&mut self.bias.gradient, su, user_row);
            add_scaled(&mut self.bias.gradient, si, item_row);
        }
    }

    /// What the first layer gives for a user before the item is known.
    pub(super) fn user_base(&self, factors: &Factors, user: &[f32]) -> Vec<f32> {
        let mut base = self.layers[0].bias.values().to_vec();
        add_scaled(&mut base, dot(user, user), &factors.user_user);
        add_scaled(&mut base, refrain_kernels::sum(user), &factors.user_sum);
        base
    }

    /// Runs the MLP for pairs; pair `n` belongs to user `n / per_user`.
    ///
    /// # Shapes
    /// `bases` `[users, first hidden]`, `pairs` `[n]`; `hidden.out` becomes `[n]`.
    pub(super) fn forward(
        &self,
        packed: &PackedCompress,
        bases: &[f32],
        per_user: usize,
        pairs: &[PairNumbers],
        slopes: bool,
        hidden: &mut Hidden,
    ) {
        let count = pairs.len();
        let factors = &packed.factors;
        let [first, second] = self.hidden();
        hidden.resize(count, [first, second], slopes);
        let rows = hidden.normalized[0].chunks_exact_mut(first).zip(pairs).enumerate();
        for (at, (row, pair)) in rows {
            row.copy_from_slice(&bases[at / per_user * first..][..first]);
            add_scaled(row, pair.user_item, &factors.user_item);
            add_scaled(row, pair.item_item, &factors.item_item);
            add_scaled(row, pair.item_sum, &factors.item_sum);
        }
        for depth in [0, 1] {
            if depth == 1 {
                let mode = Mode::Bias(self.layers[1].bias.values());
                packed.second.product(Left::Plain(&hidden.active[0]), count, &mut hidden.normalized[1], mode);
            }
            normalize_rows(&mut hidden.normalized[depth], [first, second][depth], &mut hidden.scales[depth]);
            let [factor, shift] = &self.norms[depth];
            hidden.shift(depth, factor.values(), shift.values());
            hidden.activate(depth, self.activation, slopes);
        }
        let (last, bias) = (self.layers[2].weight.values(), self.layers[2].bias.values()[0]);
        for (out, row) in hidden.out.iter_mut().zip(hidden.active[1].chunks_exact(second)) {
            *out = dot(row, last) + bias;
        }
    }
}

impl Factors {
    /// All zero.
    pub(super) fn zero(width: usize) -> Self {
        let zero = || vec![0.0; width];
        Self { user_user: zero(), user_item: zero(), item_item: zero(), user_sum: zero(), item_sum: zero() }
    }
}

impl Hidden {
    fn resize(&mut self, count: usize, widths: [usize; 2], slopes: bool) {
        for (depth, width) in widths.into_iter().enumerate() {
            self.normalized[depth].resize(count * width, 0.0);
            self.active[depth].resize(count * width, 0.0);
            self.scales[depth].resize(count, 0.0);
            if slopes {
                self.slope[depth].resize(count * width, 0.0);
            }
        }
        self.shifted.resize(count * widths[0].max(widths[1]), 0.0);
        self.out.resize(count, 0.0);
    }

    fn shift(&mut self, depth: usize, factor: &[f32], shift: &[f32]) {
        let width = factor.len();
        let rows = self.normalized[depth].chunks_exact(width).zip(self.shifted.chunks_exact_mut(width));
        for (row, target) in rows {
            for (((target, value), factor), shift) in target.iter_mut().zip(row).zip(factor).zip(shift) {
                *target = value * factor + shift;
            }
        }
    }

    fn activate(&mut self, depth: usize, activation: Activation, slopes: bool) {
        let shifted = &self.shifted[..self.normalized[depth].len()];
        if slopes {
            activation.apply_with_slope(shifted, &mut self.active[depth], &mut self.slope[depth]);
        } else {
            activation.apply(shifted, &mut self.active[depth]);
        }
    }
}

/// `x.x` and the sum of each row of `vectors` `[n, width]`.
pub(super) fn squares_and_sums(vectors: &[f32], width: usize) -> Vec<(f32, f32)> {
    vectors.chunks_exact(width).map(|row| (dot(row, row), refrain_kernels::sum(row))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::draw::Draw;
    use super::*;

    /// The definition, written out as the paper's code has it.
    fn naive(scorer: &Compress, user: &[f32], item: &[f32]) -> f32 {
        let (weight, bias) = (scorer.weight.values(), scorer.bias.values());
        let columns = bias.len();
        let mut flat = Vec::new();
        for row in [user, item] {
            for column in 0..columns {
                let value: f64 = (0..row.len())
                    .map(|d| {
                        let inner = user[d] * weight[column] + item[d] * weight[columns + column] + bias[column];
                        f64::from(row[d]) * f64::from(inner)
                    })
                    .sum();
                flat.push(value as f32);
            }
        }
        for depth in 0..3 {
            let layer = &scorer.layers[depth];
            let rows = layer.weight.values().chunks_exact(layer.inputs).zip(layer.bias.values());
            flat = rows.map(|(row, bias)| row.iter().zip(&flat).map(|(a, b)| a * b).sum::<f32>() + bias).collect();
            if depth < 2 {
                let mean = flat.iter().sum::<f32>() / flat.len() as f32;
                let variance = flat.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / flat.len() as f32;
                let [factor, shift] = &scorer.norms[depth];
                for (v, (f, s)) in flat.iter_mut().zip(factor.values().iter().zip(shift.values())) {
                    let before = (*v - mean) / (variance + 1e-5).sqrt() * f + s;
                    scorer.activation.apply(&[before], std::slice::from_mut(v));
                }
            }
        }
        flat[0]
    }

    fn check(widths: Widths, activation: Activation) {
        let mut scorer = Compress::new(widths, activation, Seed::of_stage(5, "scorer"));
        let mut draw = Draw::of(Seed::of_stage(6, "scorer"));
        scorer.bias.tensor.values = draw.normal(widths.compress, 0.3);
        scorer.norms[0][1].tensor.values = draw.normal(widths.scorer_hidden[0], 0.3);
        let packed = scorer.pack();
        for _ in 0..20 {
            let (user, item) = (draw.normal(widths.tower, 0.5), draw.normal(widths.tower, 0.5));
            let numbers = squares_and_sums(&item, widths.tower)[0];
            let pair = PairNumbers { user_item: dot(&user, &item), item_item: numbers.0, item_sum: numbers.1 };
            let mut hidden = Hidden::default();
            scorer.forward(&packed, &scorer.user_base(&packed.factors, &user), 1, &[pair], false, &mut hidden);
            assert!((hidden.out[0] - naive(&scorer, &user, &item)).abs() < 1e-5);
        }
    }

    #[test]
    fn the_factored_scorer_equals_the_definition() {
        check(Widths::default(), Activation::Gelu);
        let odd = Widths { tower: 37, compress: 11, scorer_hidden: [20, 33], ..Widths::default() };
        check(odd, Activation::Gelu);
        check(odd, Activation::Relu);
    }

    #[test]
    fn a_scorer_is_read_back_with_its_widths_and_activation() {
        let widths = Widths { compress: 5, scorer_hidden: [7, 9], ..Widths::default() };
        let mut scorer = Compress::new(widths, Activation::Relu, Seed::of_stage(1, "scorer"));
        let tensors = scorer.tensors();
        let mut again = Compress::of_tensors(|name| tensors.iter().find(|t| t.name == name)).unwrap();
        assert_eq!((again.activation, again.tensors()), (Activation::Relu, tensors.clone()));
        assert!(Compress::of_tensors(|name| tensors[2..].iter().find(|t| t.name == name)).is_none());
    }
}
