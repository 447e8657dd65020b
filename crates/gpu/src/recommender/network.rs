//! The model in training: a step there and back without waiting for the device.

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::ops::{Activation, indices, read};
use super::parameters::{Parameters, Place};
use super::scorer::{Compress, Folded, Hidden, activate, squares_and_sums};
use super::segments::Segments;
use super::tower::Tower;
use super::{Batch, Loss, NamedTensor, Outcome, RecommenderError, Settings, Side};

/// Steps whose losses lie on the device before they are fetched.
const PENDING_STEPS: usize = 4096;
/// Entities that go through a tower at once.
const TILE: usize = 16_384;

/// A model in training.
#[derive(Debug, Clone)]
pub(super) struct Network<B: Backend> {
    pub(super) parameters: Parameters<B>,
    towers: [Tower<B>; 2],
    compress: Option<Compress>,
    settings: Settings,
    /// For each step the loss's sum, the lowest and the highest score.
    pending: Vec<Tensor<B, 1>>,
    outcome: Outcome,
    device: B::Device,
}

/// The gradients of all weights.
pub(super) type Gradients<B> = (Tensor<B, 2>, Tensor<B, 1>);

/// A step's scores on their way to the loss.
struct Scored<B: Backend> {
    /// `[positives, width]`
    out: Tensor<B, 2>,
    /// `[positives, vector]` and `[pairs, vector]`
    users: Tensor<B, 2>,
    items: Tensor<B, 2>,
    hidden: Option<(Folded<B>, Tensor<B, 2>, Hidden<B>)>,
}

impl<B: Backend> Network<B> {
    pub(super) fn new(
        settings: Settings,
        sides: [&Side<'_>; 2],
        weights: &[NamedTensor],
        device: B::Device,
    ) -> Result<Self, RecommenderError> {
        let parameters = Parameters::new(weights, settings.embedding, &device);
        let tower = |name, side| Tower::new(name, side, &parameters, settings.activation, &device);
        let towers = [tower("user_tower", sides[0])?, tower("item_tower", sides[1])?];
        let compress = settings.compress.then(|| Compress::new(&parameters, settings.activation)).transpose()?;
        let (pending, outcome) = (Vec::new(), Outcome::default());
        Ok(Self { parameters, towers, compress, settings, pending, outcome, device })
    }

    /// One step of Adam.
    pub(super) fn step(&mut self, batch: &Batch<'_>, learning_rate: f64) -> Result<(), RecommenderError> {
        let (table, dense) = self.gradients(batch);
        self.parameters.step(table, dense, learning_rate);
        if self.pending.len() >= PENDING_STEPS { self.settle() } else { Ok(()) }
    }

    /// The gradients of a batch; its loss is kept on the device.
    pub(super) fn gradients(&mut self, batch: &Batch<'_>) -> Gradients<B> {
        let [of_users, of_items] = [(0, batch.users), (1, batch.items)]
            .map(|(side, rows): (usize, _)| self.towers[side].forward(&self.parameters, rows, &self.device));
        let scored = self.score(batch, &of_users.out, &of_items.out);
        let mut gradient = self.loss(batch, &scored.out);
        if self.settings.activated {
            gradient = gradient * Activation::Gelu.slope(scored.out.clone());
        }
        let mut dense = Vec::new();
        let [user_gradient, item_gradient] = self.spread(batch, scored, gradient, &mut dense);
        let codes = [of_users.codes.as_slice(), &of_items.codes].concat();
        let users = self.towers[0].backward(&self.parameters, of_users, user_gradient);
        let items = self.towers[1].backward(&self.parameters, of_items, item_gradient);
        dense.extend(users.dense);
        dense.extend(items.dense);
        let rows = Tensor::cat(vec![users.rows, items.rows], 0);
        (self.parameters.table_gradient(&codes, rows), Parameters::dense_gradient(dense))
    }

    fn score(&self, batch: &Batch<'_>, users: &Tensor<B, 2>, items: &Tensor<B, 2>) -> Scored<B> {
        let (positives, width, vector) = (batch.pair_users.len(), batch.width, users.dims()[1]);
        let pair_users = indices(batch.pair_users, &self.device);
        let pair_items = indices(batch.pair_items, &self.device);
        let own = users.clone().select(0, pair_users.clone());
        let theirs = items.clone().select(0, pair_items.clone());
        let products = theirs.clone().reshape([positives, width, vector]) * own.clone().unsqueeze_dim::<3>(1);
        let products = products.sum_dim(2).reshape([positives, width]);
        let Some(compress) = &self.compress else {
            return Scored { out: products, users: own, items: theirs, hidden: None };
        };
        let pairs = positives * width;
        let folded = compress.fold(&self.parameters);
        let (of_users, of_items) = (squares_and_sums(users), squares_and_sums(items));
        let share = |side, numbers: &Tensor<B, 2>| compress.share(&self.parameters, &folded, side, numbers);
        let (from_users, from_items) = (share(0, &of_users), share(1, &of_items));
        let layer = from_users.dims()[1];
        let products = products.reshape([pairs, 1]);
        let first = from_items.select(0, pair_items.clone()) + products.clone() * folded.row(2);
        let first =
            first.reshape([positives, width, layer]) + from_users.select(0, pair_users.clone()).unsqueeze_dim::<3>(1);
        let hidden = compress.forward(&self.parameters, first.reshape([pairs, layer]));
        let out = hidden.out.clone().reshape([positives, width]);
        let of_users = of_users.select(0, pair_users).unsqueeze_dim::<3>(1);
        let of_users = of_users.expand([positives, width, 2]).reshape([pairs, 2]);
        let numbers = Tensor::cat(vec![of_users, products, of_items.select(0, pair_items)], 1);
        Scored { out, users: own, items: theirs, hidden: Some((folded, numbers, hidden)) }
    }

    /// Keeps the loss and the range of the scores; the gradient of the scores.
    fn loss(&mut self, batch: &Batch<'_>, out: &Tensor<B, 2>) -> Tensor<B, 2> {
        let scores = activate(out.clone(), self.settings.activated);
        let [positives, width] = scores.dims();
        let own = scores.clone().slice([0..positives, 0..1]);
        let (sum, others) = match self.settings.loss {
            Loss::Margin(margin) => {
                let hinge = scores.clone().slice([0..positives, 1..width]) - own + margin;
                let off = hinge.clone().lower_equal_elem(0.0);
                let share = 1.0 / (positives * (width - 1)).max(1) as f32;
                // A score that is not a number must show in the loss.
                let sum = hinge.clone().mask_fill(off.clone(), 0.0).sum();
                (sum, (hinge.zeros_like() + share).mask_fill(off, 0.0))
            }
            Loss::SampledSoftmax { temperature } => {
                let mut logits = scores.clone() / temperature;
                if !batch.corrections.is_empty() {
                    logits = logits - super::ops::matrix(batch.corrections.to_vec(), [positives, width], &self.device);
                }
                let highest = logits.clone().max_dim(1);
                let weights = (logits.clone() - highest.clone()).exp();
                let total = weights.clone().sum_dim(1);
                let first = logits.slice([0..positives, 0..1]);
                let sum = (highest + total.clone().log() - first).sum();
                let slope = 1.0 / (positives.max(1) as f32 * temperature);
                (sum, weights.slice([0..positives, 1..width]) / total * slope)
            }
        };
        // By rows first: over all at once is the work of one of a GPU's processors.
        let range = [scores.clone().min_dim(1).min(), scores.max_dim(1).max()];
        self.pending.push(Tensor::cat([vec![sum], range.to_vec()].concat(), 0));
        Tensor::cat(vec![others.clone().sum_dim(1).neg(), others], 1)
    }

    /// From the gradient of the scores to those of the towers' outputs.
    fn spread(
        &self,
        batch: &Batch<'_>,
        scored: Scored<B>,
        gradient: Tensor<B, 2>,
        dense: &mut Vec<(Place, Tensor<B, 1>)>,
    ) -> [Tensor<B, 2>; 2] {
        let [positives, width] = gradient.dims();
        let (pairs, vector) = (positives * width, scored.users.dims()[1]);
        let numbers = scored.hidden.zip(self.compress.as_ref()).map(|((folded, numbers, hidden), compress)| {
            compress.backward(&self.parameters, &folded, (numbers, hidden), gradient.clone().reshape([pairs]), dense)
        });
        let column = |at: usize| numbers.as_ref().map(|numbers| numbers.clone().slice([0..pairs, at..at + 1]));
        let products = column(2).unwrap_or_else(|| gradient.reshape([pairs, 1]));
        let weighted = (scored.items.clone() * products.clone()).reshape([positives, width, vector]);
        let mut users = weighted.sum_dim(1).reshape([positives, vector]);
        let own: Tensor<B, 3> = scored.users.clone().unsqueeze_dim(1);
        let mut items = own.expand([positives, width, vector]).reshape([pairs, vector]) * products;
        if let (Some(squares), Some(sums)) = (column(0), column(1)) {
            let of_positive = |x: Tensor<B, 2>| x.reshape([positives, width]).sum_dim(1);
            users = users + scored.users * (of_positive(squares) * 2.0) + of_positive(sums);
        }
        if let (Some(squares), Some(sums)) = (column(3), column(4)) {
            items = items + scored.items * (squares * 2.0) + sums;
        }
        [
            Segments::new(batch.pair_users, batch.users.len()).sum(users),
            Segments::new(batch.pair_items, batch.items.len()).sum(items),
        ]
    }

    /// Fetches the losses that lie on the device.
    fn settle(&mut self) -> Result<(), RecommenderError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        for step in read(Tensor::cat(std::mem::take(&mut self.pending), 0))?.chunks_exact(3) {
            self.outcome.loss_sum += f64::from(step[0]);
            let [lowest, highest] = self.outcome.range;
            self.outcome.range = [lowest.min(step[1]), highest.max(step[2])];
        }
        Ok(())
    }

    /// What the steps since the last call gave; waits for them.
    pub(super) fn outcome(&mut self) -> Result<Outcome, RecommenderError> {
        self.settle()?;
        Ok(std::mem::take(&mut self.outcome))
    }

    /// The vectors of all entities of a side (0 users, 1 items), on the device.
    pub(super) fn outputs(&self, side: usize) -> Tensor<B, 2> {
        let all: Vec<u32> = (0..self.towers[side].count() as u32).collect();
        let tile = |rows: &[u32]| self.towers[side].forward(&self.parameters, rows, &self.device).out;
        Tensor::cat(all.chunks(TILE).map(tile).collect(), 0)
    }

    /// Every gradient of a batch by name.
    pub(super) fn named_gradients(&mut self, batch: &Batch<'_>) -> Result<Vec<NamedTensor>, RecommenderError> {
        let (table, dense) = self.gradients(batch);
        self.parameters.named(table, dense)
    }
}
