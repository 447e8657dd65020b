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
use refrain_kernels::{PairNet, PairWeightGradients, PairWeights, add, add_scaled, dot};

/// The prefix of the scorer's tensors.
const NAME: &str = "scorer";
/// The tensor that says that the layers have `max(x, 0)` where GELU is usual: those
/// of the MLP and of the towers, which have the same. Without it they have GELU.
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

/// The first layer as a linear map of the pair's five numbers (in the order of
/// the kernels: `u.u`, `u.i`, `i.i`, sum of `u`, sum of `i`), each as wide as the
/// first hidden layer.
type Factors = [Vec<f32>; 5];

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
        let mark = relu_mark(self.activation);
        let mut all: Vec<_> = self.weights().into_iter().map(|weight| weight.tensor.clone()).collect();
        all.extend((self.activation == Activation::Relu).then_some(mark));
        all
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

    /// Folds the compression into the first layer and lays all out for blocks of pairs.
    pub(super) fn net(&self) -> PairNet {
        let factors = self.factors();
        let norm = |at: usize| [self.norms[at][0].values(), self.norms[at][1].values()];
        PairNet::new(&PairWeights {
            factors: factors.each_ref().map(Vec::as_slice),
            first_bias: self.layers[0].bias.values(),
            norms: [norm(0), norm(1)],
            second: self.layers[1].weight.values(),
            second_bias: self.layers[1].bias.values(),
            last: self.layers[2].weight.values(),
            last_bias: self.layers[2].bias.values()[0],
            rectified: self.activation == Activation::Relu,
        })
    }

    /// Adds what blocks of pairs gave to the weights' gradients.
    pub(super) fn add_gradients(&mut self, gradients: &PairWeightGradients) {
        self.add_factor_gradients(&gradients.factors);
        let [first, second, last] = &mut self.layers;
        add(&mut first.bias.gradient, &gradients.first_bias);
        add(&mut second.weight.gradient, &gradients.second);
        add(&mut second.bias.gradient, &gradients.second_bias);
        add(&mut last.weight.gradient, &gradients.last);
        last.bias.gradient[0] += gradients.last_bias;
        for (norm, gradients) in self.norms.iter_mut().zip(&gradients.norms) {
            norm.iter_mut().zip(gradients).for_each(|(weight, gradient)| add(&mut weight.gradient, gradient));
        }
    }

    fn factors(&self) -> Factors {
        let columns = self.bias.values().len();
        let (of_user, of_item) = self.weight.values().split_at(columns);
        let bias = self.bias.values();
        let halves = || self.layers[0].weight.values().chunks_exact(2 * columns).map(|row| row.split_at(columns));
        [
            halves().map(|(user_row, _)| dot(user_row, of_user)).collect(),
            halves().map(|(user_row, item_row)| dot(user_row, of_item) + dot(item_row, of_user)).collect(),
            halves().map(|(_, item_row)| dot(item_row, of_item)).collect(),
            halves().map(|(user_row, _)| dot(user_row, bias)).collect(),
            halves().map(|(_, item_row)| dot(item_row, bias)).collect(),
        ]
    }

    /// Turns the gradient of the factors into those of the first layer's
    /// weight and of the compression.
    fn add_factor_gradients(&mut self, gradient: &Factors) {
        let columns = self.bias.values().len();
        let (of_user, of_item) = self.weight.tensor.values.split_at(columns);
        let (user_gradient, item_gradient) = self.weight.gradient.split_at_mut(columns);
        let rows = self.layers[0].weight.tensor.values.chunks_exact(2 * columns);
        let row_gradients = self.layers[0].weight.gradient.chunks_exact_mut(2 * columns);
        for (at, (row, row_gradient)) in rows.zip(row_gradients).enumerate() {
            let (user_row, item_row) = row.split_at(columns);
            let (user_row_gradient, item_row_gradient) = row_gradient.split_at_mut(columns);
            let [uu, ui, ii, su, si] = gradient.each_ref().map(|values| values[at]);
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
}

/// Tells whether layers have `max(x, 0)`; stands in a model's table only if they do.
pub(super) fn relu_mark(activation: Activation) -> Tensor {
    let value = f32::from(u8::from(activation == Activation::Relu));
    Tensor { name: RELU.to_owned(), shape: vec![1], values: vec![value] }
}

/// `x.x` of each row of `vectors` `[n, width]`, and the sum of each.
pub(super) fn squares_and_sums(vectors: &[f32], width: usize) -> [Vec<f32>; 2] {
    let rows = || vectors.chunks_exact(width);
    [rows().map(|row| dot(row, row)).collect(), rows().map(refrain_kernels::sum).collect()]
}

#[cfg(test)]
mod tests {
    use super::super::draw::Draw;
    use super::*;
    use refrain_kernels::{PairScratch, PairTrace};

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
        let net = scorer.net();
        for _ in 0..20 {
            let (user, item) = (draw.normal(widths.tower, 0.5), draw.normal(widths.tower, 0.5));
            let mut score = [dot(&user, &item)];
            let [[user_square], [user_sum]] = squares_and_sums(&user, widths.tower).map(|v| [v[0]]);
            let [item_squares, item_sums] = squares_and_sums(&item, widths.tower);
            let numbers = [user_square, score[0], item_squares[0], user_sum, item_sums[0]];
            let block = numbers.map(|number| [[number; 16]; 3]);
            net.score([user_square, user_sum], &mut score, &item_squares, &item_sums, &mut PairScratch::default());
            assert!((score[0] - naive(&scorer, &user, &item)).abs() < 1e-5);
            let trained = net.forward(&block, &mut PairTrace::default());
            assert!(trained.iter().flatten().all(|other| other.to_bits() == score[0].to_bits()));
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
