//! The loss over a step's pairs, forward and backward in one pass: groups of a few positives go through the scorer and back while they
//! are in the processor's cache.

use rayon::prelude::*;

use super::options::Loss;
use super::parameters::{LinearGradients, Tensor};
use super::scorer::{Compress, Factors, Hidden, PackedCompress, PairNumbers, squares_and_sums};
use super::tower::{linear_gradients, multiply};
use refrain_kernels::{
    AdamStep, Left, Mode, add, add_rows, add_scaled, dot, gelu_and_slope, normalize_rows_backward, sum,
};

/// Positives that one task takes, and those that go through the MLP together.
const CHUNK: usize = 32;
const GROUP: usize = 4;

/// How a pair is scored.
#[derive(Debug, Clone)]
pub(super) struct Scorer {
    /// The MLP, or nothing for the inner product.
    pub(super) compress: Option<Compress>,
    /// Whether the score goes through GELU.
    pub(super) activated: bool,
}

/// A step's pairs, over the step's distinct users and items.
#[derive(Debug, Clone, Default)]
pub(super) struct Pairs {
    /// The user of each positive, an index into the step's users.
    pub(super) users: Vec<u32>,
    /// For each positive its item and then its negatives: indices into the
    /// step's items, `[positives, width]`.
    pub(super) items: Vec<u32>,
    /// 1 + the number of negatives.
    pub(super) width: usize,
    /// For each pair the logarithm of how often its item is expected among its
    /// user's candidates (0 for the positive), `[positives, width]`; empty
    /// where the loss has no correction.
    pub(super) corrections: Vec<f32>,
}

/// What a step gave.
#[derive(Debug, Clone)]
pub(super) struct Outcome {
    /// Sum of the loss's terms.
    pub(super) loss_sum: f64,
    /// Lowest and highest score.
    pub(super) range: [f32; 2],
    /// `[users, vector]`.
    pub(super) user_gradient: Vec<f32>,
    /// `[items, vector]`.
    pub(super) item_gradient: Vec<f32>,
}

/// The gradients of a pair's numbers.
#[derive(Debug, Clone, Copy, Default)]
struct PairGradient {
    user_item: f32,
    item_item: f32,
    item_sum: f32,
}

/// The gradients of a positive's user's numbers.
#[derive(Debug, Clone, Copy, Default)]
struct UserGradient {
    user_user: f32,
    user_sum: f32,
}

/// The gradients of the scorer's weights over one chunk.
struct WeightGradients {
    factors: Factors,
    first_bias: Vec<f32>,
    second: LinearGradients,
    last: LinearGradients,
    norms: [[Vec<f32>; 2]; 2],
}

struct ChunkOutcome {
    loss_sum: f64,
    range: [f32; 2],
    pairs: Vec<PairGradient>,
    users: Vec<UserGradient>,
    weights: Option<WeightGradients>,
}

/// All that the chunks share.
struct Shared<'a> {
    users: &'a [f32],
    items: &'a [f32],
    /// Length of a vector.
    vector: usize,
    item_numbers: &'a [(f32, f32)],
    packed: Option<&'a PackedCompress>,
    loss: Loss,
    share: f32,
}

impl Scorer {
    /// Copies of all tensors.
    pub(super) fn tensors(&mut self) -> Vec<Tensor> {
        self.compress.iter_mut().flat_map(Compress::tensors).collect()
    }

    /// Moves all weights along their gradients and clears those.
    pub(super) fn step(&mut self, step: AdamStep) {
        self.compress.iter_mut().flat_map(Compress::weights).for_each(|weight| weight.step(step));
    }

    /// The loss of a step (mean over its terms) and its gradients; those of the
    /// scorer's weights are added to the weights.
    ///
    /// # Shapes
    /// `users` `[n, vector]`, `items` `[m, vector]`.
    pub(super) fn pass(&mut self, users: &[f32], items: &[f32], vector: usize, pairs: &Pairs, loss: Loss) -> Outcome {
        let packed = self.compress.as_ref().map(Compress::pack);
        let item_numbers = if packed.is_some() { squares_and_sums(items, vector) } else { Vec::new() };
        let total = loss.terms(pairs.users.len(), pairs.width - 1);
        let shared = Shared {
            users,
            items,
            vector,
            item_numbers: &item_numbers,
            packed: packed.as_ref(),
            loss,
            share: 1.0 / total.max(1) as f32,
        };
        let work = pairs.users.par_chunks(CHUNK).zip(pairs.items.par_chunks(CHUNK * pairs.width));
        let chunk = |(at, (users, items)): (usize, (&[u32], &[u32]))| {
            let corrections = pairs.corrections.get(at * CHUNK * pairs.width..).unwrap_or_default();
            self.chunk(&shared, users, items, corrections, pairs.width)
        };
        let chunks: Vec<_> = work.enumerate().map(chunk).collect();
        let mut outcome = scatter(&shared, pairs, &chunks);
        for chunk in chunks {
            outcome.loss_sum += chunk.loss_sum;
            outcome.range = [outcome.range[0].min(chunk.range[0]), outcome.range[1].max(chunk.range[1])];
            if let (Some(scorer), Some(gradients)) = (&mut self.compress, chunk.weights) {
                gradients.add_to(scorer);
            }
        }
        outcome
    }

    fn chunk(
        &self,
        shared: &Shared<'_>,
        users: &[u32],
        items: &[u32],
        mut corrections: &[f32],
        width: usize,
    ) -> ChunkOutcome {
        let mut outcome = ChunkOutcome {
            loss_sum: 0.0,
            range: [f32::INFINITY, f32::NEG_INFINITY],
            pairs: Vec::with_capacity(items.len()),
            users: Vec::with_capacity(users.len()),
            weights: self.compress.as_ref().map(WeightGradients::zero),
        };
        let mut hidden = Hidden::default();
        for (users, items) in users.chunks(GROUP).zip(items.chunks(GROUP * width)) {
            let numbers = shared.numbers(users, items, width);
            let mut bases = Vec::new();
            if let (Some(scorer), Some(packed)) = (&self.compress, shared.packed) {
                bases.extend(users.iter().flat_map(|user| scorer.user_base(&packed.factors, shared.user(*user))));
                scorer.forward(packed, &bases, width, &numbers, true, &mut hidden);
            } else {
                hidden.out = numbers.iter().map(|pair| pair.user_item).collect();
            }
            let gradients = self.losses(shared, &hidden.out, corrections, width, &mut outcome);
            corrections = corrections.get(items.len()..).unwrap_or_default();
            let parts = (&self.compress, shared.packed, &mut outcome.weights);
            if let (Some(scorer), Some(packed), Some(weights)) = parts {
                let flowing = weights.backward(scorer, packed, &hidden, &gradients);
                let flow = Flow { flowing: &flowing, numbers: &numbers, width };
                flow.pairs(packed, &mut weights.factors, &mut outcome.pairs);
                let users = users.iter().map(|user| shared.user(*user));
                flow.users(packed, weights, users, &mut outcome.users);
            } else {
                let pair = |user_item: &f32| PairGradient { user_item: *user_item, ..PairGradient::default() };
                outcome.pairs.extend(gradients.iter().map(pair));
                outcome.users.extend(users.iter().map(|_| UserGradient::default()));
            }
        }
        outcome
    }

    /// The loss of whole positives and the gradients of what the MLP gave.
    fn losses(
        &self,
        shared: &Shared<'_>,
        out: &[f32],
        corrections: &[f32],
        width: usize,
        outcome: &mut ChunkOutcome,
    ) -> Vec<f32> {
        let (mut scores, mut slopes) = (out.to_vec(), vec![1.0; out.len()]);
        if self.activated {
            gelu_and_slope(out, &mut scores, &mut slopes);
        }
        let mut gradients = vec![0.0; out.len()];
        let rows = scores.chunks_exact(width).zip(gradients.chunks_exact_mut(width));
        for (at, (scores, gradients)) in rows.enumerate() {
            let corrections = corrections.get(at * width..(at + 1) * width).unwrap_or_default();
            outcome.loss_sum += shared.loss.of_row(scores, corrections, shared.share, gradients);
        }
        for score in &scores {
            outcome.range = [outcome.range[0].min(*score), outcome.range[1].max(*score)];
        }
        multiply(&mut gradients, &slopes);
        gradients
    }
}

impl Shared<'_> {
    fn user(&self, user: u32) -> &[f32] {
        &self.users[user as usize * self.vector..][..self.vector]
    }

    fn item(&self, item: u32) -> &[f32] {
        &self.items[item as usize * self.vector..][..self.vector]
    }

    fn numbers(&self, users: &[u32], items: &[u32], width: usize) -> Vec<PairNumbers> {
        let pair = |(user, item): (u32, u32)| {
            let (item_item, item_sum) = self.item_numbers.get(item as usize).copied().unwrap_or_default();
            PairNumbers { user_item: dot(self.user(user), self.item(item)), item_item, item_sum }
        };
        let users = users.iter().flat_map(|user| std::iter::repeat_n(*user, width));
        users.zip(items.iter().copied()).map(pair).collect()
    }
}

/// The gradients that reach the first layer's output, `[pairs, first hidden]`.
struct Flow<'a> {
    flowing: &'a [f32],
    numbers: &'a [PairNumbers],
    width: usize,
}

impl Flow<'_> {
    fn pairs(&self, packed: &PackedCompress, gradients: &mut Factors, out: &mut Vec<PairGradient>) {
        let factors = &packed.factors;
        for (row, pair) in self.flowing.chunks_exact(factors.user_item.len()).zip(self.numbers) {
            add_scaled(&mut gradients.user_item, pair.user_item, row);
            add_scaled(&mut gradients.item_item, pair.item_item, row);
            add_scaled(&mut gradients.item_sum, pair.item_sum, row);
            out.push(PairGradient {
                user_item: dot(row, &factors.user_item),
                item_item: dot(row, &factors.item_item),
                item_sum: dot(row, &factors.item_sum),
            });
        }
    }

    fn users<'a>(
        &self,
        packed: &PackedCompress,
        weights: &mut WeightGradients,
        users: impl Iterator<Item = &'a [f32]>,
        out: &mut Vec<UserGradient>,
    ) {
        let first = weights.first_bias.len();
        for (rows, user) in self.flowing.chunks_exact(self.width * first).zip(users) {
            let mut all = vec![0.0; first];
            add_rows(&mut all, rows);
            add(&mut weights.first_bias, &all);
            add_scaled(&mut weights.factors.user_user, dot(user, user), &all);
            add_scaled(&mut weights.factors.user_sum, sum(user), &all);
            out.push(UserGradient {
                user_user: dot(&all, &packed.factors.user_user),
                user_sum: dot(&all, &packed.factors.user_sum),
            });
        }
    }
}

impl WeightGradients {
    fn zero(scorer: &Compress) -> Self {
        let hidden = scorer.hidden();
        Self {
            factors: Factors::zero(hidden[0]),
            first_bias: vec![0.0; hidden[0]],
            second: LinearGradients::zero(&scorer.layers[1]),
            last: LinearGradients::zero(&scorer.layers[2]),
            norms: hidden.map(|width| [vec![0.0; width], vec![0.0; width]]),
        }
    }

    /// From the gradient of the MLP's output to that of its first layer's
    /// output, adding the weights' gradients on the way.
    fn backward(&mut self, scorer: &Compress, packed: &PackedCompress, hidden: &Hidden, gradients: &[f32]) -> Vec<f32> {
        let count = gradients.len();
        let last = scorer.layers[2].weight.values();
        let [first, second] = scorer.hidden();
        let mut flowing = vec![0.0; count * second];
        let rows = flowing.chunks_exact_mut(second).zip(hidden.active[1].chunks_exact(second)).zip(gradients);
        for ((target, active), gradient) in rows {
            add_scaled(&mut self.last.weight, *gradient, active);
            add_scaled(target, *gradient, last);
            self.last.bias[0] += gradient;
        }
        self.through_norm(scorer, hidden, 1, &mut flowing);
        linear_gradients(&mut self.second, &flowing, &hidden.active[0], count, &scorer.layers[1]);
        let mut before = vec![0.0; count * first];
        packed.second_backward.product(Left::Plain(&flowing), count, &mut before, Mode::Set);
        self.through_norm(scorer, hidden, 0, &mut before);
        before
    }

    fn through_norm(&mut self, scorer: &Compress, hidden: &Hidden, depth: usize, flowing: &mut [f32]) {
        let width = scorer.hidden()[depth];
        multiply(flowing, &hidden.slope[depth]);
        let [factor_gradient, shift_gradient] = &mut self.norms[depth];
        let factor = scorer.norms[depth][0].values();
        for (row, normal) in flowing.chunks_exact_mut(width).zip(hidden.normalized[depth].chunks_exact(width)) {
            add(shift_gradient, row);
            for (((gradient, value), normal), factor) in factor_gradient.iter_mut().zip(row).zip(normal).zip(factor) {
                *gradient += *value * normal;
                *value *= factor;
            }
        }
        normalize_rows_backward(flowing, &hidden.normalized[depth], width, &hidden.scales[depth]);
    }

    fn add_to(self, scorer: &mut Compress) {
        scorer.add_factor_gradients(&self.factors);
        add(&mut scorer.layers[0].bias.gradient, &self.first_bias);
        scorer.layers[1].add_gradients(&self.second);
        scorer.layers[2].add_gradients(&self.last);
        for (norm, gradients) in scorer.norms.iter_mut().zip(&self.norms) {
            norm.iter_mut().zip(gradients).for_each(|(weight, gradient)| add(&mut weight.gradient, gradient));
        }
    }
}

/// Brings the pairs' gradients to the users' and items' vectors. Each vector is
/// one task's, which adds its pairs in their order.
fn scatter(shared: &Shared<'_>, pairs: &Pairs, chunks: &[ChunkOutcome]) -> Outcome {
    let gradients: Vec<PairGradient> = chunks.iter().flat_map(|chunk| chunk.pairs.iter().copied()).collect();
    let of_users: Vec<UserGradient> = chunks.iter().flat_map(|chunk| chunk.users.iter().copied()).collect();
    let mut user_gradient = vec![0.0; shared.users.len()];
    let positives_of = group(&pairs.users, shared.users.len() / shared.vector);
    user_gradient.par_chunks_mut(shared.vector).enumerate().for_each(|(user, target)| {
        let mut own = UserGradient::default();
        for positive in positives_of.of(user) {
            let at = *positive as usize;
            own.user_user += of_users[at].user_user;
            own.user_sum += of_users[at].user_sum;
            let range = at * pairs.width..(at + 1) * pairs.width;
            for (gradient, item) in gradients[range.clone()].iter().zip(&pairs.items[range]) {
                add_scaled(target, gradient.user_item, shared.item(*item));
            }
        }
        add_scaled(target, 2.0 * own.user_user, shared.user(user as u32));
        for value in target.iter_mut() {
            *value += own.user_sum;
        }
    });
    let mut item_gradient = vec![0.0; shared.items.len()];
    let pairs_of = group(&pairs.items, shared.items.len() / shared.vector);
    item_gradient.par_chunks_mut(shared.vector).enumerate().for_each(|(item, target)| {
        let (mut square, mut total) = (0.0, 0.0);
        for pair in pairs_of.of(item) {
            let at = *pair as usize;
            square += gradients[at].item_item;
            total += gradients[at].item_sum;
            add_scaled(target, gradients[at].user_item, shared.user(pairs.users[at / pairs.width]));
        }
        add_scaled(target, 2.0 * square, shared.item(item as u32));
        for value in target.iter_mut() {
            *value += total;
        }
    });
    Outcome { loss_sum: 0.0, range: [f32::INFINITY, f32::NEG_INFINITY], user_gradient, item_gradient }
}

/// Positions by what stands there, in order.
struct Groups {
    starts: Vec<u32>,
    positions: Vec<u32>,
}

impl Groups {
    fn of(&self, value: usize) -> &[u32] {
        &self.positions[self.starts[value] as usize..self.starts[value + 1] as usize]
    }
}

fn group(values: &[u32], count: usize) -> Groups {
    let mut starts = vec![0u32; count + 1];
    for value in values {
        starts[*value as usize + 1] += 1;
    }
    for at in 0..count {
        starts[at + 1] += starts[at];
    }
    let mut next = starts.clone();
    let mut positions = vec![0; values.len()];
    for (at, value) in values.iter().enumerate() {
        let slot = &mut next[*value as usize];
        positions[*slot as usize] = at as u32;
        *slot += 1;
    }
    Groups { starts, positions }
}
