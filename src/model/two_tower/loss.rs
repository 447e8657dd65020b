//! The loss over a step's pairs, forward and backward in one pass: groups of a
//! few positives go through the scorer and back while they are in the
//! processor's cache.

use rayon::prelude::*;

use super::options::Loss;
use super::parameters::Tensor;
use super::scorer::{Compress, squares_and_sums};
use refrain_kernels::{
    AdamStep, BLOCK, BlockRow, NUMBERS, PairGradients, PairNet, PairTrace, add_scaled, dot, gelu_and_slope, multiply,
};

/// Positives that one task takes, at least.
const CHUNK: usize = 56;
/// Positives that go through the scorer together, at most.
const GROUP: usize = 8;

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

struct ChunkOutcome {
    loss_sum: f64,
    range: [f32; 2],
    pairs: Vec<PairGradient>,
    users: Vec<UserGradient>,
    weights: Option<PairGradients>,
}

/// All that the chunks share.
struct Shared<'a> {
    users: &'a [f32],
    items: &'a [f32],
    /// Length of a vector.
    vector: usize,
    /// Squares and sums of the users and of the items, where there is a network.
    user_numbers: &'a [Vec<f32>; 2],
    item_numbers: &'a [Vec<f32>; 2],
    net: Option<&'a PairNet>,
    loss: Loss,
    share: f32,
}

impl Scorer {
    /// Copies of all tensors.
    pub(super) fn tensors(&mut self) -> Vec<Tensor> {
        self.compress.iter_mut().flat_map(Compress::tensors).collect()
    }

    /// What a model's table says of the score's activation.
    pub(super) fn gelu_mark(&self) -> Tensor {
        let values = vec![f32::from(u8::from(self.activated))];
        Tensor { name: "scorer.gelu".to_owned(), shape: vec![1], values }
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
        let net = self.compress.as_ref().map(Compress::net);
        let numbers_of = |vectors| net.as_ref().map(|_| squares_and_sums(vectors, vector)).unwrap_or_default();
        let total = loss.terms(pairs.users.len(), pairs.width - 1);
        let shared = Shared {
            users,
            items,
            vector,
            user_numbers: &numbers_of(users),
            item_numbers: &numbers_of(items),
            net: net.as_ref(),
            loss,
            share: 1.0 / total.max(1) as f32,
        };
        let group = positives_together(pairs.width);
        let chunk_size = CHUNK.next_multiple_of(group);
        let work = pairs.users.par_chunks(chunk_size).zip(pairs.items.par_chunks(chunk_size * pairs.width));
        let chunk = |(at, (users, items)): (usize, (&[u32], &[u32]))| {
            let corrections = pairs.corrections.get(at * chunk_size * pairs.width..).unwrap_or_default();
            self.chunk(&shared, [users, items], corrections, [pairs.width, group])
        };
        let chunks: Vec<_> = work.enumerate().map(chunk).collect();
        let mut outcome = scatter(&shared, pairs, &chunks);
        for chunk in chunks {
            outcome.loss_sum += chunk.loss_sum;
            outcome.range = [outcome.range[0].min(chunk.range[0]), outcome.range[1].max(chunk.range[1])];
            if let (Some(scorer), Some(gradients)) = (&mut self.compress, chunk.weights) {
                scorer.add_gradients(&gradients.finish());
            }
        }
        outcome
    }

    fn chunk(
        &self,
        shared: &Shared<'_>,
        [users, items]: [&[u32]; 2],
        mut corrections: &[f32],
        [width, group]: [usize; 2],
    ) -> ChunkOutcome {
        let mut outcome = ChunkOutcome {
            loss_sum: 0.0,
            range: [f32::INFINITY, f32::NEG_INFINITY],
            pairs: Vec::with_capacity(items.len()),
            users: Vec::with_capacity(users.len()),
            weights: shared.net.map(PairGradients::zero),
        };
        let mut blocks = Blocks::default();
        for (users, items) in users.chunks(group).zip(items.chunks(group * width)) {
            if let Some(net) = shared.net {
                blocks.forward(shared, net, users, items, width);
            } else {
                blocks.out.clear();
                blocks.out.extend(shared.products(users, items, width));
            }
            let gradients = self.losses(shared, &blocks.out, corrections, width, &mut outcome);
            corrections = corrections.get(items.len()..).unwrap_or_default();
            if let (Some(net), Some(weights)) = (shared.net, &mut outcome.weights) {
                let first = outcome.users.len();
                outcome.users.resize(first + users.len(), UserGradient::default());
                blocks.backward(net, &gradients, weights, &mut outcome.pairs, &mut outcome.users[first..], width);
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

    /// The inner product of each pair.
    fn products(&self, users: &[u32], items: &[u32], width: usize) -> impl Iterator<Item = f32> {
        let users = users.iter().flat_map(move |user| std::iter::repeat_n(*user, width));
        users.zip(items).map(|(user, item)| dot(self.user(user), self.item(*item)))
    }
}

/// How many positives fill blocks of pairs best.
fn positives_together(width: usize) -> usize {
    let unused = |group: usize| (group * width).next_multiple_of(BLOCK) as f64 / (group * width) as f64;
    (1..=GROUP).min_by(|a, b| unused(*a).total_cmp(&unused(*b))).unwrap_or(1)
}

/// The pairs of a few positives on their way through the network.
#[derive(Default)]
struct Blocks {
    numbers: Vec<[BlockRow; NUMBERS]>,
    traces: Vec<PairTrace>,
    /// What the network gives for each pair.
    out: Vec<f32>,
}

impl Blocks {
    fn forward(&mut self, shared: &Shared<'_>, net: &PairNet, users: &[u32], items: &[u32], width: usize) {
        let count = items.len().div_ceil(BLOCK);
        self.numbers.clear();
        self.numbers.resize(count, [BlockRow::default(); NUMBERS]);
        self.traces.resize_with(count.max(self.traces.len()), PairTrace::default);
        let [user_squares, user_sums] = shared.user_numbers;
        let [item_squares, item_sums] = shared.item_numbers;
        for (at, user_item) in shared.products(users, items, width).enumerate() {
            let (user, item) = (users[at / width] as usize, items[at] as usize);
            let own = [user_squares[user], user_item, item_squares[item], user_sums[user], item_sums[item]];
            for (row, value) in self.numbers[at / BLOCK].iter_mut().zip(own) {
                row.as_flattened_mut()[at % BLOCK] = value;
            }
        }
        self.out.clear();
        for (numbers, trace) in self.numbers.iter().zip(&mut self.traces) {
            self.out.extend_from_slice(net.forward(numbers, trace).as_flattened());
        }
        self.out.truncate(items.len());
    }

    fn backward(
        &self,
        net: &PairNet,
        gradients: &[f32],
        weights: &mut PairGradients,
        pairs: &mut Vec<PairGradient>,
        users: &mut [UserGradient],
        width: usize,
    ) {
        let blocks = gradients.chunks(BLOCK).zip(self.numbers.iter().zip(&self.traces)).enumerate();
        for (block, (gradients, (numbers, trace))) in blocks {
            let mut row = BlockRow::default();
            row.as_flattened_mut()[..gradients.len()].copy_from_slice(gradients);
            let found = net.backward(numbers, trace, &row, weights);
            let [user_user, user_item, item_item, user_sum, item_sum] = found.each_ref().map(|row| row.as_flattened());
            for lane in 0..gradients.len() {
                let user = &mut users[(block * BLOCK + lane) / width];
                user.user_user += user_user[lane];
                user.user_sum += user_sum[lane];
                pairs.push(PairGradient {
                    user_item: user_item[lane],
                    item_item: item_item[lane],
                    item_sum: item_sum[lane],
                });
            }
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
