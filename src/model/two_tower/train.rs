//! The training loop: batches, both towers and the scorer forward and back,
//! Adam, the choice of the epoch, and the signs of a training that stalls.

use super::device::{Computer, Tensors};
use super::initial::SELECTED_ON_TEST;
use super::loss::Scorer;
use super::options::{Activation, Loss, Selection, TrainingOptions};
use super::parameters::{Tensor, Weight};
use super::sample::{Batch, Sampler};
use super::scorer::{Compress, relu_mark};
use super::tower::{Features, PackedTower, Tower};
use super::vectors::VectorScorer;
use crate::ground::Seed;
use crate::metrics::{hit, mean, ndcg};
use crate::model::interactions::{Interactions, ItemSets, Part};
use crate::model::ranking::Lists;
use crate::model::scoring::ScoringModel;
use refrain_kernels::AdamSteps;

/// The k of the metrics by which an epoch is picked.
const SELECTION_K: u32 = 10;
/// The lowest value of GELU, a little widened.
const GELU_FLOOR: f32 = -0.1701;
/// A loss above this share of the margin has taught next to nothing.
const STALLED_SHARE: f64 = 0.85;
/// The same of a softmax, as a share of what guessing gives.
const STALLED_SOFTMAX_SHARE: f64 = 0.98;

/// What an epoch gave.
#[derive(Debug, Clone, PartialEq)]
pub struct Epoch {
    /// From 1; 0 where nothing was trained.
    pub epoch: u32,
    /// Mean of the loss over the epoch; not a number where nothing was trained.
    pub loss: f64,
    /// Lowest and highest score seen; infinite where nothing was trained.
    pub range: [f32; 2],
    /// HR@10 and NDCG@10 on the targets by which the epoch is picked (those of
    /// validation if the last is kept), where there are any.
    pub metrics: Option<[f64; 2]>,
}

/// A finished training.
#[derive(Debug, Clone)]
pub struct Trained {
    /// The kept epoch's model: vectors, scorer, towers.
    pub tensors: Vec<Tensor>,
    /// Every epoch.
    pub curve: Vec<Epoch>,
    /// The number of the kept epoch.
    pub selected: u32,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// Follows a training and may stop it.
pub trait Observer: Sync {
    /// That many more positives are done. Returns whether to go on.
    fn advance(&self, positives: u64) -> bool;
    /// An epoch is done.
    fn epoch(&self, epoch: &Epoch);
}

/// Why a training gave no model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrainingError {
    /// The observer stopped it.
    #[error("stopped")]
    Stopped,
    /// There is nothing to learn from.
    #[error("the split has no train interaction of a user who lacks at least one item")]
    NothingToLearn,
    /// The loss is no number any more.
    #[error("the loss of epoch {epoch} is not a number")]
    NotFinite {
        /// The epoch.
        epoch: u32,
    },
    /// The model to begin from does not fit.
    #[error("the model to begin from does not fit:\n  {}", problems.join("\n  "))]
    Initial {
        /// What does not fit.
        problems: Vec<String>,
    },
    /// The device that trains failed.
    #[error("{0}")]
    Device(String),
}

/// What the steps since the last question gave.
#[derive(Debug, Clone, Copy)]
pub(super) struct StepOutcome {
    /// Sum of the loss over the steps' terms (see [`Loss`]).
    pub(super) loss_sum: f64,
    /// Lowest and highest score.
    pub(super) range: [f32; 2],
}

/// A model in training, wherever it is computed.
pub(super) trait Engine {
    /// One step of Adam on a batch, at this learning rate. Need not be finished
    /// when it returns.
    fn step(&mut self, batch: &Batch, learning_rate: f64);

    /// What the steps since the last call gave; waits for them.
    ///
    /// # Errors
    /// [`TrainingError::Device`] if the device failed.
    fn outcome(&mut self) -> Result<StepOutcome, TrainingError>;

    /// The vectors of all users and items with the scorer.
    ///
    /// # Errors
    /// [`TrainingError::Device`] if the device failed.
    fn vectors(&mut self) -> Result<VectorScorer, TrainingError>;

    /// The towers' weights in a fixed order; the scorer's are in the vectors'.
    ///
    /// # Errors
    /// [`TrainingError::Device`] if the device failed.
    fn tensors(&mut self) -> Result<Vec<Tensor>, TrainingError>;
}

/// What the towers read of all users and items.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sides<'a> {
    pub(super) users: &'a Features,
    pub(super) items: &'a Features,
    /// How many users and items there are.
    pub(super) counts: [usize; 2],
}

/// The model and its gradients on this processor.
pub(super) struct Network {
    pub(super) users: Tower,
    pub(super) items: Tower,
    pub(super) scorer: Scorer,
    packed: [PackedTower; 2],
    /// Length of the towers' vectors.
    vector: usize,
    loss: Loss,
    /// Those that rows of the embeddings may have to make up for.
    steps: AdamSteps,
}

impl Network {
    /// A model in its first state.
    pub(super) fn new(users: &Features, items: &Features, options: &TrainingOptions, seed: Seed) -> Self {
        let compress = options.compress.then(|| Compress::new(options.widths, options.activation, seed));
        Self {
            users: Tower::new("user_tower", users, options, seed),
            items: Tower::new("item_tower", items, options, seed),
            scorer: Scorer { compress, activated: options.activated },
            packed: Default::default(),
            vector: options.widths.tower,
            loss: options.loss,
            steps: AdamSteps::default(),
        }
    }

    /// Every weight, in a fixed order: users, items, scorer.
    pub(super) fn weights(&mut self) -> Vec<&mut Weight> {
        let mut all = self.users.weights();
        all.extend(self.items.weights());
        all.extend(self.scorer.compress.iter_mut().flat_map(Compress::weights));
        all
    }

    /// The loss and all gradients of a batch.
    pub(super) fn gradients(&mut self, users: &Features, items: &Features, batch: &Batch) -> StepOutcome {
        self.users.catch_up(users, &batch.users, &self.steps);
        self.items.catch_up(items, &batch.items, &self.steps);
        self.users.pack(&mut self.packed[0], true);
        self.items.pack(&mut self.packed[1], true);
        let of_users = self.users.forward(&self.packed[0], users, &batch.users);
        let of_items = self.items.forward(&self.packed[1], items, &batch.items);
        let outcome = self.scorer.pass(&of_users.out, &of_items.out, self.vector, &batch.pairs, self.loss);
        self.users.backward(&self.packed[0], users, &batch.users, &of_users, &outcome.user_gradient);
        self.items.backward(&self.packed[1], items, &batch.items, &of_items, &outcome.item_gradient);
        StepOutcome { loss_sum: outcome.loss_sum, range: outcome.range }
    }

    /// One step of Adam.
    pub(super) fn step(&mut self, learning_rate: f64) {
        let step = self.steps.push(learning_rate);
        self.users.step(step, &self.steps);
        self.items.step(step, &self.steps);
        self.scorer.step(step);
    }

    /// Takes every row of the embeddings through every step.
    fn settle(&mut self) {
        if !self.steps.is_empty() {
            self.users.catch_up_all(&self.steps);
            self.items.catch_up_all(&self.steps);
            self.steps.clear();
        }
    }

    /// The towers' tensors in a fixed order.
    pub(super) fn tensors(&mut self) -> Vec<Tensor> {
        self.settle();
        let mut all = self.users.tensors();
        all.extend(self.items.tensors());
        all
    }

    /// The vectors of all users and items with the scorer.
    pub(super) fn vectors(&mut self, users: &Features, items: &Features, counts: [usize; 2]) -> VectorScorer {
        self.settle();
        let of_users = self.users.outputs(users, counts[0]);
        VectorScorer::new(of_users, self.items.outputs(items, counts[1]), self.vector, self.scorer.clone())
    }
}

/// The engine of this processor.
struct Processor<'a> {
    network: Network,
    sides: Sides<'a>,
    outcome: StepOutcome,
}

impl Engine for Processor<'_> {
    fn step(&mut self, batch: &Batch, learning_rate: f64) {
        let outcome = self.network.gradients(self.sides.users, self.sides.items, batch);
        self.network.step(learning_rate);
        self.outcome = self.outcome.and(outcome);
    }

    fn outcome(&mut self) -> Result<StepOutcome, TrainingError> {
        Ok(std::mem::take(&mut self.outcome))
    }

    fn vectors(&mut self) -> Result<VectorScorer, TrainingError> {
        Ok(self.network.vectors(self.sides.users, self.sides.items, self.sides.counts))
    }

    fn tensors(&mut self) -> Result<Vec<Tensor>, TrainingError> {
        Ok(self.network.tensors())
    }
}

impl Default for StepOutcome {
    fn default() -> Self {
        Self { loss_sum: 0.0, range: [f32::INFINITY, f32::NEG_INFINITY] }
    }
}

impl StepOutcome {
    /// Of these steps and of later ones.
    pub(super) fn and(self, later: Self) -> Self {
        Self {
            loss_sum: self.loss_sum + later.loss_sum,
            range: [self.range[0].min(later.range[0]), self.range[1].max(later.range[1])],
        }
    }
}

/// The engine that trains a model from this state on.
pub(super) fn engine<'a>(
    network: Network,
    sides: Sides<'a>,
    options: &TrainingOptions,
) -> Result<Box<dyn Engine + 'a>, TrainingError> {
    Ok(match options.computer {
        Computer::Kernels => Box::new(Processor { network, sides, outcome: StepOutcome::default() }),
        Computer::Tensors(device) => Box::new(Tensors::new(network, sides, options, device)?),
    })
}

/// Trains a model on the train pairs of a split.
///
/// The same arguments give the same bytes, whatever the number of threads.
///
/// # Errors
/// [`TrainingError`].
pub fn train(
    interactions: &Interactions,
    users: &Features,
    items: &Features,
    options: &TrainingOptions,
    seed: Seed,
    observer: &dyn Observer,
) -> Result<Trained, TrainingError> {
    let sampler = Sampler::new(interactions, options, seed);
    if sampler.positives() == 0 {
        return Err(TrainingError::NothingToLearn);
    }
    let mut network = Network::new(users, items, options, seed);
    if let Some(initial) = &options.initial {
        let begun = network.begin_from(initial, &interactions.check());
        begun.map_err(|problems| TrainingError::Initial { problems })?;
    }
    let counts = [interactions.users.len(), interactions.items.len()];
    let mut engine = engine(network, Sides { users, items, counts }, options)?;
    let mut run = Run::new(interactions, options, sampler.positives());
    let steps = sampler.positives().div_ceil(options.batch) as u64 * u64::from(options.epochs);
    let mut step = 0;
    for epoch in 1..=options.epochs {
        for positives in sampler.epoch(epoch).chunks(options.batch) {
            let batch = sampler.batch(positives, step);
            engine.step(&batch, options.learning_rate * options.decay.factor(step, steps, epoch - 1));
            step += 1;
            if !observer.advance(positives.len() as u64) {
                return Err(TrainingError::Stopped);
            }
        }
        let outcome = engine.outcome()?;
        let loss = outcome.loss_sum / options.terms(sampler.positives()) as f64;
        if !loss.is_finite() {
            return Err(TrainingError::NotFinite { epoch });
        }
        let report = Epoch { epoch, loss, range: outcome.range, metrics: None };
        if run.finish_epoch(report, engine.as_mut(), observer)? {
            break;
        }
    }
    if options.epochs == 0 {
        let StepOutcome { range, .. } = StepOutcome::default();
        run.finish_epoch(Epoch { epoch: 0, loss: f64::NAN, range, metrics: None }, engine.as_mut(), observer)?;
    }
    Ok(run.finish(interactions))
}

/// What is known after each epoch.
struct Run<'a> {
    options: &'a TrainingOptions,
    targets: &'a [(u32, u32)],
    excluded: ItemSets,
    items: usize,
    best: Option<(f64, u32)>,
    kept: Vec<Tensor>,
    curve: Vec<Epoch>,
    warnings: Vec<String>,
}

impl<'a> Run<'a> {
    fn new(interactions: &'a Interactions, options: &'a TrainingOptions, positives: usize) -> Self {
        let part = match options.selection {
            Selection::Best(part) => part,
            Selection::Last => Part::Validation,
        };
        let targets = interactions.part(part);
        let mut warnings = Vec::new();
        match options.selection {
            Selection::Best(Part::Test) => {
                warnings.push(
                    "the best epoch is picked on the test set (select: test_best): its test metrics read too high"
                        .to_owned(),
                );
            }
            Selection::Best(_) if targets.is_empty() => {
                warnings
                    .push(format!("the split has no {} rows to pick an epoch by: the last one is kept", part.name()));
            }
            _ => {}
        }
        let left_out = interactions.part(Part::Train).len() - positives;
        if left_out > 0 {
            warnings.push(format!("{left_out} train interactions of users who have every item were not trained on"));
        }
        let excluded = interactions.sets(&[Part::Train]);
        let items = interactions.items.len();
        Self { options, targets, excluded, items, best: None, kept: Vec::new(), curve: Vec::new(), warnings }
    }

    /// Measures and keeps an epoch; whether to stop.
    fn finish_epoch(
        &mut self,
        mut report: Epoch,
        engine: &mut dyn Engine,
        observer: &dyn Observer,
    ) -> Result<bool, TrainingError> {
        let vectors = engine.vectors()?;
        if !self.targets.is_empty() {
            let model = ScoringModel::Vectors(Box::new(vectors.clone()));
            let goes_on = |_| observer.advance(0);
            let device = self.options.computer.device();
            let ranked = model.rank_on(device, self.items, self.targets, Lists::default(), &self.excluded, &goes_on)?;
            let ranks = ranked.ok_or(TrainingError::Stopped)?.ranks;
            let average = |metric: fn(u32, u32) -> f64| {
                mean(&ranks.iter().map(|r| metric(r.rank, SELECTION_K)).collect::<Vec<_>>()).unwrap_or_default()
            };
            report.metrics = Some([average(hit), average(ndcg)]);
        }
        let value = match (self.options.selection, report.metrics) {
            (Selection::Best(_), Some([_, ndcg])) => Some(ndcg),
            _ => None,
        };
        let better = match (value, self.best) {
            (Some(value), Some((best, _))) => value > best,
            _ => true,
        };
        if better {
            self.best = Some((value.unwrap_or_default(), report.epoch));
            self.kept = vectors.tensors();
            self.kept.extend(engine.tensors()?);
        }
        observer.epoch(&report);
        let since = self.best.map_or(0, |(_, epoch)| report.epoch - epoch);
        self.curve.push(report);
        Ok(value.is_some() && self.options.patience.is_some_and(|patience| since >= patience))
    }

    fn finish(mut self, interactions: &Interactions) -> Trained {
        self.warnings.extend(self.stall());
        // Dot compress has it among the scorer's tensors; the inner product has none.
        if self.options.activation == Activation::Relu && !self.options.compress {
            self.kept.push(relu_mark(Activation::Relu));
        }
        let check = interactions.check();
        self.kept.push(Tensor { name: "id_check".to_owned(), shape: vec![check.len()], values: check });
        let marked = |tensors: &Vec<Tensor>| tensors.iter().any(|tensor| tensor.name == SELECTED_ON_TEST);
        if self.options.selection == Selection::Best(Part::Test) || self.options.initial.as_ref().is_some_and(marked) {
            self.kept.push(Tensor { name: SELECTED_ON_TEST.to_owned(), shape: vec![1], values: vec![1.0] });
        }
        let selected = self.best.map_or(0, |(_, epoch)| epoch);
        Trained { tensors: self.kept, curve: self.curve, selected, warnings: self.warnings }
    }

    /// What to say of a training that taught next to nothing.
    fn stall(&self) -> Option<String> {
        let last = self.curve.last().filter(|last| last.epoch > 0)?;
        let (bar, of) = match self.options.loss {
            Loss::Margin(margin) => (STALLED_SHARE * f64::from(margin), format!("at a margin of {margin}")),
            Loss::SampledSoftmax { logq, .. } => {
                let negatives = self.options.out_of_batch + self.options.in_batch;
                let chance = (if logq { self.items } else { 1 + negatives } as f64).ln();
                (STALLED_SOFTMAX_SHARE * chance, format!("where guessing gives {chance:.3}"))
            }
        };
        let trapped = self.options.activated && last.range[0] >= GELU_FLOOR && last.range[1] <= 0.0;
        if trapped {
            return Some(format!(
                "training stalled: GELU on the score has trapped it, all scores of the last epoch lie in [{:.2}, {:.2}] \
                 and the loss is {:.3} {of}; set score_activation: none or scorer: dot",
                last.range[0], last.range[1], last.loss
            ));
        }
        (last.loss >= bar).then(|| {
            format!(
                "training stalled: after {} epochs the loss is {:.3} {of}, so it hardly ranks what users \
                 like above what they do not; raise learning_rate or epochs, or set scorer: dot and score_activation: none",
                self.curve.len(),
                last.loss
            )
        })
    }
}
