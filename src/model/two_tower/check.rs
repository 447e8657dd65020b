//! Whether a device gives what the processor gives, and how fast: the same
//! training and ranking of a generated split on both. For users (`refrain device
//! --check`) and for `scripts/gpu_check.sh`.

use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, StringArray};
use refrain_gpu::Device;

use super::device::Computer;
use super::draw::Draw;
use super::options::{Loss, TrainingOptions};
use super::sample::Sampler;
use super::tower::{Category, Features, TextVectors};
use super::train::{Epoch, Network, Observer, Sides, StepOutcome, TrainingError, engine, train};
use super::vectors::VectorScorer;
use crate::ground::Seed;
use crate::metrics::{hit, mean, ndcg};
use crate::model::device_ranking::ranked_on;
use crate::model::interactions::{Interactions, Part};
use crate::model::ranking::{List, Lists, Ranked};
use crate::model::scoring::ScoringModel;
use crate::table::Table;

/// The length of the check's text vectors.
const TEXT: usize = 384;

/// Epochs of the whole training that is timed.
pub const TIMED_EPOCHS: u32 = 5;

/// How large the generated split is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckSize {
    /// Users.
    pub users: usize,
    /// Items.
    pub items: usize,
    /// Items of each user; the last is test, the one before validation.
    pub per_user: usize,
}

impl CheckSize {
    /// Done in seconds on any machine.
    pub const SMALL: Self = Self { users: 400, items: 300, per_user: 10 };
    /// That of the paper's Apple data.
    pub const APPLE: Self = Self { users: 8000, items: 6800, per_user: 14 };
}

/// What one computer gave.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measured {
    /// Mean loss of the last epoch.
    pub loss: f64,
    /// HR@10 and NDCG@10 on the test items.
    pub metrics: [f64; 2],
    /// Seconds of a step, sampling included, in the last epoch.
    pub step_secs: f64,
    /// Seconds of the full ranking of all test items, with each user's ten best,
    /// after one for warming up.
    pub ranking_secs: f64,
}

/// What a device and the processor gave for one scorer.
#[derive(Debug, Clone)]
pub struct Comparison {
    /// `dot` or `dot_compress`.
    pub scorer: &'static str,
    /// The processor's kernels.
    pub kernels: Measured,
    /// The device.
    pub device: Measured,
    /// Of the ranks of the processor's model, how many the device gives otherwise.
    pub other_ranks: usize,
    /// How many ranks.
    pub ranks: usize,
    /// Of the users, how many get other items from the device, or in another order.
    pub other_lists: usize,
    /// How many users.
    pub lists: usize,
    /// Multiplications and additions of a step.
    pub step_flops: f64,
    /// Bytes that a step must move at least.
    pub step_bytes: f64,
    /// Multiplications and additions of the ranking.
    pub ranking_flops: f64,
    /// Seconds of a whole training on the device, [`TIMED_EPOCHS`] epochs with an evaluation after each.
    pub training_secs: f64,
}

impl Comparison {
    /// How far loss and metrics may be apart: 1e-3, or what one target is among
    /// few of them.
    #[must_use]
    pub fn tolerance(&self) -> f64 {
        f64::max(1e-3, 1.0 / self.ranks.max(1) as f64)
    }

    /// Whether loss and metrics agree within the tolerance, and ranks and lists but
    /// for ties within rounding: at most one rank in a hundred, and one list in
    /// twenty, each of which has ten places.
    #[must_use]
    pub fn agrees(&self) -> bool {
        let near = |a: f64, b: f64| (a - b).abs() <= self.tolerance();
        let metrics = self.kernels.metrics.iter().zip(self.device.metrics).all(|(a, b)| near(*a, b));
        let lists = self.other_ranks * 100 <= self.ranks && self.other_lists * 20 <= self.lists;
        metrics && near(self.kernels.loss, self.device.loss) && lists
    }
}

/// Trains and ranks on the processor and on a device, once with each scorer.
///
/// # Errors
/// [`TrainingError::Device`] if the device failed.
pub fn check(device: Device, size: CheckSize, epochs: u32) -> Result<Vec<Comparison>, TrainingError> {
    let world = World::new(size)?;
    [(false, "dot"), (true, "dot_compress")]
        .into_iter()
        .map(|(compress, name)| world.compare(device, compress, name, epochs))
        .collect()
}

/// Nobody follows the training that is timed.
struct Unwatched;

impl Observer for Unwatched {
    fn advance(&self, _positives: u64) -> bool {
        true
    }

    fn epoch(&self, _epoch: &Epoch) {}
}

struct World {
    split: Interactions,
    users: Features,
    items: Features,
}

impl World {
    /// Users like the items of their own kind, mostly.
    fn new(size: CheckSize) -> Result<Self, TrainingError> {
        let kinds = 20;
        let mut draw = Draw::of(Seed::of_stage(0, "device check"));
        let mut rows: [Vec<String>; 3] = Default::default();
        for user in 0..size.users {
            let mut own: Vec<usize> = Vec::new();
            while own.len() < size.per_user.min(size.items) {
                let any = draw.below(size.items);
                let of_kind = any - any % kinds + user % kinds;
                let item = if draw.unit() < 0.8 && of_kind < size.items { of_kind } else { any };
                if !own.contains(&item) {
                    own.push(item);
                }
            }
            for (at, item) in own.iter().enumerate() {
                let part = match own.len() - at {
                    1 => Part::Test,
                    2 => Part::Validation,
                    _ => Part::Train,
                };
                let row = [user.to_string(), item.to_string(), part.name().to_owned()];
                rows.iter_mut().zip(row).for_each(|(column, value)| column.push(value));
            }
        }
        let columns = ["user_id", "item_id", "part"].into_iter().zip(rows);
        let arrays = columns.map(|(name, values)| (name, Arc::new(StringArray::from(values)) as ArrayRef));
        let failed =
            |error: String| TrainingError::Device(format!("the split for the check could not be made ({error})"));
        let table = Table::of_columns(arrays).map_err(|error| failed(error.to_string()))?;
        let split = Interactions::of_table(&table).map_err(|error| failed(error.to_string()))?;
        let (users, items) = (split.users.len(), split.items.len());
        let text = Some(TextVectors { width: TEXT, values: draw.normal(items * TEXT, 0.05) });
        let items = Features { columns: categories(items, [800, 4000]), text };
        Ok(Self { split, users: Features { columns: categories(users, [8000, 4000]), text: None }, items })
    }

    fn compare(
        &self,
        device: Device,
        compress: bool,
        scorer: &'static str,
        epochs: u32,
    ) -> Result<Comparison, TrainingError> {
        let options = TrainingOptions { compress, loss: Loss::Margin(1.0), ..TrainingOptions::default() };
        let (kernels, vectors) = self.measure(&options, epochs)?;
        let on_device = TrainingOptions { computer: Computer::Tensors(device), ..options.clone() };
        let (measured, _) = self.measure(&on_device, epochs)?;
        let own = self.rank(&vectors, Computer::Kernels)?;
        let theirs = self.rank(&vectors, Computer::Tensors(device))?;
        let items = |list: &List| list.iter().map(|(item, _)| *item).collect::<Vec<_>>();
        let training_secs = self.training_secs(&on_device)?;
        let work = self.work(&options);
        Ok(Comparison {
            scorer,
            kernels,
            device: measured,
            other_ranks: own.ranks.iter().zip(&theirs.ranks).filter(|(a, b)| a != b).count(),
            ranks: own.ranks.len(),
            other_lists: own.lists.iter().zip(&theirs.lists).filter(|(a, b)| items(a) != items(b)).count(),
            lists: own.lists.len(),
            step_flops: work[0],
            step_bytes: work[1],
            ranking_flops: work[2],
            training_secs,
        })
    }

    /// The training as `train_two_tower` does it. What a device compiles has been compiled by then.
    fn training_secs(&self, options: &TrainingOptions) -> Result<f64, TrainingError> {
        let options = TrainingOptions { epochs: TIMED_EPOCHS, patience: None, ..options.clone() };
        let seed = Seed::of_stage(0, "device check");
        let started = Instant::now();
        train(&self.split, &self.users, &self.items, &options, seed, &Unwatched)?;
        Ok(started.elapsed().as_secs_f64())
    }

    /// The training by hand, so that its parts can be timed.
    fn measure(&self, options: &TrainingOptions, epochs: u32) -> Result<(Measured, VectorScorer), TrainingError> {
        let seed = Seed::of_stage(0, "device check");
        let sampler = Sampler::new(&self.split, options, seed);
        let counts = [self.split.users.len(), self.split.items.len()];
        let sides = Sides { users: &self.users, items: &self.items, counts };
        let mut engine = engine(Network::new(&self.users, &self.items, options, seed), sides, options)?;
        let (mut outcome, mut step_secs, mut step) = (StepOutcome::default(), 0.0, 0);
        for epoch in 1..=epochs {
            let (started, before) = (Instant::now(), step);
            for positives in sampler.epoch(epoch).chunks(options.batch) {
                engine.step(&sampler.batch(positives, step), options.learning_rate);
                step += 1;
            }
            outcome = engine.outcome()?;
            step_secs = started.elapsed().as_secs_f64() / (step - before).max(1) as f64;
        }
        let vectors = engine.vectors()?;
        self.rank(&vectors, options.computer)?;
        let started = Instant::now();
        let ranks = self.rank(&vectors, options.computer)?.ranks;
        let ranking_secs = started.elapsed().as_secs_f64();
        let average = |metric: fn(u32, u32) -> f64| {
            mean(&ranks.iter().map(|rank| metric(rank.rank, 10)).collect::<Vec<_>>()).unwrap_or_default()
        };
        let loss = outcome.loss_sum / options.terms(sampler.positives()) as f64;
        let measured = Measured { loss, metrics: [average(hit), average(ndcg)], step_secs, ranking_secs };
        Ok((measured, vectors))
    }

    fn rank(&self, vectors: &VectorScorer, computer: Computer) -> Result<Ranked, TrainingError> {
        let (items, targets) = (self.split.items.len(), self.split.part(Part::Test));
        let excluded = self.split.sets(&[Part::Train]);
        let users: Vec<u32> = targets.iter().map(|(user, _)| *user).collect();
        let wanted = Lists { users: &users, k: 10 };
        let ranked = match computer {
            Computer::Kernels => {
                let model = ScoringModel::Vectors(Box::new(vectors.clone()));
                model.rank_and_list(items, targets, wanted, &excluded, &|_| true)
            }
            Computer::Tensors(device) => ranked_on(vectors, items, targets, wanted, &excluded, device, &|_| true)?,
        };
        // Nobody stops it.
        ranked.ok_or(TrainingError::Stopped)
    }

    /// What a step must multiply and add, what it must move, and what a ranking
    /// must multiply and add: towers of the distinct rows there and back, the
    /// pairs' products and (compress) their MLP there and back; Adam's seven
    /// passes over every weight, the pairs' vectors read twice and their hidden
    /// layers written and read there and back.
    fn work(&self, options: &TrainingOptions) -> [f64; 3] {
        let [first, second] = options.widths.hidden.map(|width| width as f64);
        let (embedding, tower) = (options.widths.embedding as f64, options.widths.tower as f64);
        let row = |joined: f64| 2.0 * (joined * first + first * second + second * tower);
        let of_user = row(3.0 * embedding);
        let of_item = row(4.0 * embedding) + 2.0 * TEXT as f64 * embedding;
        let positives = options.batch.min(self.split.part(Part::Train).len()) as f64;
        let width = (1 + options.out_of_batch + options.in_batch) as f64;
        let pairs = positives * width;
        let (users, items) = (self.split.users.len() as f64, self.split.items.len() as f64);
        let hidden: f64 = options.widths.scorer_hidden.iter().map(|width| *width as f64).sum();
        let [h1, h2] = options.widths.scorer_hidden.map(|width| width as f64);
        let mlp = if options.compress { 2.0 * (5.0 * h1 + h1 * h2 + h2) } else { 0.0 };
        let towers = 3.0 * (positives.min(users) * of_user + pairs.min(items) * of_item);
        let rows: usize = self.users.columns.iter().chain(&self.items.columns).map(|column| column.size).sum();
        let bytes = 7.0 * 4.0 * rows as f64 * embedding
            + 2.0 * 4.0 * pairs * tower
            + if options.compress { 4.0 * 4.0 * pairs * hidden } else { 0.0 };
        let ranking = self.split.part(Part::Test).len() as f64 * items * (2.0 * tower + mlp);
        [towers + 3.0 * pairs * (2.0 * tower + mlp), bytes, ranking]
    }
}

/// Ids, and two categories of these sizes or as many values as there are entities;
/// the sizes are those of `docs/bench/two_tower.py` and `make bench`.
fn categories(count: usize, [first, second]: [usize; 2]) -> Vec<Category> {
    let category = |name: &str, size: usize| {
        let size = size.clamp(1, count.max(1));
        let codes = (0..count).map(|at| (at * 7 % size) as u32).collect();
        Category { name: name.to_owned(), codes, size }
    };
    let id = Category { name: "id".to_owned(), codes: (0..count as u32).collect(), size: count };
    vec![id, category("first", first), category("second", second)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_as_large_as_those_of_the_peer() {
        let sizes = |count, sizes| categories(count, sizes).iter().map(|category| category.size).collect::<Vec<_>>();
        assert_eq!(sizes(8000, [8000, 4000]), [8000, 8000, 4000]);
        assert_eq!(sizes(6800, [800, 4000]), [6800, 800, 4000]);
        assert_eq!(sizes(300, [800, 4000]), [300, 300, 300], "none is larger than there are entities");
    }

    #[test]
    fn tensors_on_the_processor_agree_with_the_kernels() {
        for comparison in check(Device::Cpu, CheckSize::SMALL, 2).unwrap() {
            assert!(comparison.agrees(), "{comparison:?}");
            assert_eq!(comparison.lists, 400);
            assert!(comparison.training_secs > 0.0);
            assert!(comparison.kernels.metrics[0] > 0.0 && comparison.step_flops > 1e6, "{comparison:?}");
        }
    }
}
