//! The training on a device: the same model as tensor operations (`refrain-gpu`),
//! behind the same [`Engine`] as the processor's kernels.
//!
//! A step is sent to the device and not waited for, so the sampler draws the
//! next batch meanwhile; losses come back once an epoch.

use refrain_gpu::Device;
use refrain_gpu::recommender::{Activation as OnActivation, Batch as Pairs, Loss as OnLoss};
use refrain_gpu::recommender::{NamedTensor, Recommender, RecommenderError, Settings, Side};

use super::loss::Scorer;
use super::options::{Activation, Loss, TrainingOptions};
use super::parameters::Tensor;
use super::sample::Batch;
use super::scorer::Compress;
use super::tower::Features;
use super::train::{Engine, Network, Sides, StepOutcome, TrainingError};
use super::vectors::VectorScorer;

/// What computes a training.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Computer {
    /// The kernels of this processor: the same bytes whatever the threads.
    #[default]
    Kernels,
    /// Tensor operations on a device: the same metrics within rounding.
    Tensors(Device),
}

impl Computer {
    /// Where finished vectors are ranked.
    pub(super) fn device(self) -> Device {
        match self {
            Self::Kernels => Device::Cpu,
            Self::Tensors(device) => device,
        }
    }
}

impl From<Device> for Computer {
    fn from(device: Device) -> Self {
        match device {
            Device::Cpu => Self::Kernels,
            Device::Cuda(_) => Self::Tensors(device),
        }
    }
}

impl From<RecommenderError> for TrainingError {
    fn from(error: RecommenderError) -> Self {
        Self::Device(error.to_string())
    }
}

/// The engine of a device.
pub(super) struct Tensors {
    recommender: Recommender,
    /// The scorer's shape; its weights are those on the device.
    scorer: Scorer,
    /// Length of the towers' vectors.
    vector: usize,
    /// The first failure of a step, told when the outcome is asked for.
    failure: Option<TrainingError>,
}

impl Tensors {
    /// Goes on from a network's weights on a device.
    ///
    /// # Errors
    /// [`TrainingError::Device`] if the device failed.
    pub(super) fn new(
        mut network: Network,
        sides: Sides<'_>,
        options: &TrainingOptions,
        device: Device,
    ) -> Result<Self, TrainingError> {
        let mut weights = network.tensors();
        let of_scorer = network.scorer.compress.iter_mut().flat_map(Compress::weights);
        weights.extend(of_scorer.map(|weight| weight.tensor.clone()));
        let weights: Vec<NamedTensor> = weights.into_iter().map(named).collect();
        let settings = Settings {
            embedding: options.widths.embedding,
            activation: match options.activation {
                Activation::Gelu => OnActivation::Gelu,
                Activation::Relu => OnActivation::Relu,
            },
            compress: options.compress,
            activated: options.activated,
            loss: match options.loss {
                Loss::Margin(margin) => OnLoss::Margin(margin),
                Loss::SampledSoftmax { temperature, .. } => OnLoss::SampledSoftmax { temperature },
            },
        };
        let (users, items) = (side(sides.users), side(sides.items));
        let recommender = Recommender::new(settings, &users, &items, &weights, device)?;
        Ok(Self { recommender, scorer: network.scorer, vector: options.widths.tower, failure: None })
    }
}

impl Engine for Tensors {
    fn step(&mut self, batch: &Batch, learning_rate: f64) {
        if let (None, Err(error)) = (&self.failure, self.recommender.step(&pairs(batch), learning_rate)) {
            self.failure = Some(error.into());
        }
    }

    fn outcome(&mut self) -> Result<StepOutcome, TrainingError> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        let outcome = self.recommender.outcome()?;
        Ok(StepOutcome { loss_sum: outcome.loss_sum, range: outcome.range })
    }

    fn vectors(&mut self) -> Result<VectorScorer, TrainingError> {
        let [users, items] = self.recommender.vectors()?;
        // The tables stay where they are: per epoch they would be the most of what is fetched.
        let tensors = if self.scorer.compress.is_some() { self.recommender.dense_tensors()? } else { Vec::new() };
        for weight in self.scorer.compress.iter_mut().flat_map(Compress::weights) {
            if let Some(tensor) = tensors.iter().find(|tensor| tensor.name == weight.tensor.name) {
                weight.tensor.values.clone_from(&tensor.values);
            }
        }
        Ok(VectorScorer::new(users, items, self.vector, self.scorer.clone()))
    }

    fn tensors(&mut self) -> Result<Vec<Tensor>, TrainingError> {
        let all = self.recommender.tensors()?.into_iter().filter(|tensor| !tensor.name.starts_with("scorer."));
        Ok(all.map(|NamedTensor { name, shape, values }| Tensor { name, shape, values }).collect())
    }
}

/// The tensor as the device's crate takes it.
pub(in crate::model) fn named(tensor: Tensor) -> NamedTensor {
    let Tensor { name, shape, values } = tensor;
    NamedTensor { name, shape, values }
}

fn side(features: &Features) -> Side<'_> {
    let columns = features.columns.iter().map(|column| (column.name.as_str(), column.codes.as_slice()));
    let text = features.text.as_ref().map(|text| (text.width, text.values.as_slice()));
    Side { columns: columns.collect(), text }
}

fn pairs(batch: &Batch) -> Pairs<'_> {
    Pairs {
        users: &batch.users,
        items: &batch.items,
        pair_users: &batch.pairs.users,
        pair_items: &batch.pairs.items,
        width: batch.pairs.width,
        corrections: &batch.pairs.corrections,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::options::Decay;
    use super::super::sample::Sampler;
    use super::super::test_data::{features, random_split};
    use super::super::train::{Epoch, Observer, train};
    use super::*;
    use crate::ground::Seed;
    use crate::model::device_ranking::ranked_on;
    use crate::model::interactions::Part;
    use crate::model::ranking::{Lists, Ranked};
    use crate::model::scoring::ScoringModel;

    struct Silent;

    impl Observer for Silent {
        fn advance(&self, _positives: u64) -> bool {
            true
        }

        fn epoch(&self, _epoch: &Epoch) {}
    }

    fn cases() -> Vec<TrainingOptions> {
        let base = TrainingOptions { batch: 64, epochs: 2, out_of_batch: 5, in_batch: 5, ..TrainingOptions::default() };
        let softmax = Loss::SampledSoftmax { temperature: 0.5, logq: true };
        vec![
            base.clone(),
            TrainingOptions { compress: true, activated: true, decay: Decay::Linear, ..base.clone() },
            TrainingOptions {
                compress: true,
                activation: Activation::Relu,
                loss: softmax,
                learning_rate: 3e-4,
                ..base
            },
        ]
    }

    /// Tensor operations against kernels: an epoch's loss, the metrics, the weights.
    #[test]
    fn a_training_on_tensors_is_that_of_the_kernels() {
        let split = random_split(40, 30, 8, 7);
        let (users, items) = (features(40, 3, 0, 1), features(30, 4, 20, 2));
        for options in cases() {
            let run = |computer| {
                let options = TrainingOptions { computer, ..options.clone() };
                train(&split, &users, &items, &options, Seed::of_stage(0, "train"), &Silent).unwrap()
            };
            let [kernels, tensors] = [Computer::Kernels, Computer::Tensors(Device::Cpu)].map(run);
            assert_eq!(kernels.selected, tensors.selected, "{options:?}");
            for (a, b) in kernels.curve.iter().zip(&tensors.curve) {
                assert!((a.loss - b.loss).abs() <= 1e-4 * a.loss, "{} {}", a.loss, b.loss);
                // Where a kink is crossed in one and not in the other, the ways part.
                let tolerance = if options.activation == Activation::Relu { 0.05 } else { 1e-3 };
                let near = a.range.iter().zip(b.range).all(|(a, b)| (a - b).abs() <= tolerance * a.abs().max(1.0));
                assert!(near, "{:?} {:?} {options:?}", a.range, b.range);
                // One of 39 targets may move by a place or two.
                let pairs = a.metrics.unwrap().into_iter().zip(b.metrics.unwrap());
                pairs.for_each(|(a, b)| assert!((a - b).abs() <= 0.01, "{a} {b}"));
            }
            let tolerance = if options.activation == Activation::Relu { 0.05 } else { 1e-3 };
            assert_eq!(kernels.tensors.len(), tensors.tensors.len());
            for (a, b) in kernels.tensors.iter().zip(&tensors.tensors) {
                assert_eq!((&a.name, &a.shape), (&b.name, &b.shape));
                let error = a.values.iter().zip(&b.values).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt();
                let norm = a.values.iter().map(|a| f64::from(*a).powi(2)).sum::<f64>().sqrt();
                assert!(error <= tolerance * norm.max(1.0), "{}: {error} of {norm}", a.name);
            }
        }
    }

    #[test]
    fn gradients_on_tensors_are_those_of_the_kernels() {
        let split = random_split(40, 30, 8, 7);
        let (users, items) = (features(40, 3, 0, 1), features(30, 4, 20, 2));
        for options in cases() {
            let seed = Seed::of_stage(0, "train");
            let sampler = Sampler::new(&split, &options, seed);
            let batch = sampler.batch(&sampler.epoch(1)[..64], 0);
            let mut network = Network::new(&users, &items, &options, seed);
            let sides = Sides { users: &users, items: &items, counts: [40, 30] };
            let start = Network::new(&users, &items, &options, seed);
            let mut tensors = Tensors::new(start, sides, &options, Device::Cpu).unwrap();
            let found = tensors.recommender.gradients(&pairs(&batch)).unwrap();
            let outcome = tensors.outcome().unwrap();
            let expected = network.gradients(&users, &items, &batch);
            assert!((outcome.loss_sum - expected.loss_sum).abs() <= 1e-5 * expected.loss_sum.abs());
            let mut weights = network.users.weights();
            weights.extend(network.items.weights());
            weights.extend(network.scorer.compress.iter_mut().flat_map(Compress::weights));
            assert_eq!(weights.len(), found.len());
            for (weight, found) in weights.iter().zip(&found) {
                assert_eq!(weight.tensor.name, found.name);
                let square = |x: f32| f64::from(x).powi(2);
                let norm = weight.gradient.iter().map(|a| square(*a)).sum::<f64>().sqrt();
                let pairs = weight.gradient.iter().zip(&found.values);
                let error = pairs.map(|(a, b)| square(a - b)).sum::<f64>().sqrt();
                // Of the last bias it is zero with the softmax, but for rounding.
                assert!(error <= 1e-4 * norm + 5e-8, "{}: {error} of {norm}, {options:?}", found.name);
            }
        }
    }

    /// Items stand in the same places but where their scores are within rounding.
    fn same_lists(kernels: &Ranked, tensors: &Ranked, users: usize) {
        assert_eq!([kernels.lists.len(), tensors.lists.len()], [users; 2]);
        for (own, theirs) in kernels.lists.iter().zip(&tensors.lists) {
            assert!(!own.is_empty() && own.len() == theirs.len(), "{own:?} {theirs:?}");
            for ((item, score), (other, found)) in own.iter().zip(theirs) {
                let near = (score - found).abs() <= 1e-4 * score.abs().max(1.0);
                assert!(near, "{own:?} {theirs:?}");
                let of_kernels = own.iter().find(|(item, _)| item == other).map(|(_, score)| *score);
                assert!(item == other || of_kernels.is_none_or(|of| (of - score).abs() <= 1e-4), "{own:?} {theirs:?}");
            }
        }
    }

    #[test]
    fn ranks_and_lists_on_tensors_are_those_of_the_kernels() {
        let split = random_split(40, 30, 8, 7);
        let (users, items) = (features(40, 3, 0, 1), features(30, 4, 20, 2));
        let excluded = split.sets(&[Part::Train]);
        let targets = [split.part(Part::Validation), split.part(Part::Test)].concat();
        // Not all users, and more items than some of them have left.
        let users_wanted: BTreeSet<u32> = split.part(Part::Test).iter().map(|(user, _)| *user).collect();
        let users_wanted: Vec<u32> = users_wanted.into_iter().step_by(2).collect();
        let wanted = Lists { users: &users_wanted, k: 25 };
        for options in cases() {
            let trained = train(&split, &users, &items, &options, Seed::of_stage(0, "train"), &Silent).unwrap();
            let rank = |tensors: &[Tensor]| -> [Ranked; 2] {
                let model = ScoringModel::of_tensors(tensors, &split).unwrap();
                let ScoringModel::Vectors(vectors) = &model else { panic!("a two-tower model has vectors") };
                let on_tensors = |goes_on: &dyn Fn(u64) -> bool| {
                    ranked_on(vectors, 30, &targets, wanted, &excluded, Device::Cpu, goes_on).unwrap()
                };
                assert!(on_tensors(&|_| false).is_none());
                let kernels = model.rank_and_list(30, &targets, wanted, &excluded, &|_| true);
                [kernels.unwrap(), on_tensors(&|_| true).unwrap()]
            };
            let [kernels, tensors] = rank(&trained.tensors);
            assert_eq!(kernels.not_finite, tensors.not_finite);
            let differ = kernels.ranks.iter().zip(&tensors.ranks).filter(|(a, b)| a != b).count();
            assert!(differ * 50 <= targets.len(), "{differ} of {} ranks differ: {options:?}", targets.len());
            same_lists(&kernels, &tensors, users_wanted.len());
            // Equal scores and such that are not numbers.
            let mut odd = trained.tensors.clone();
            let vectors = odd.iter_mut().find(|tensor| tensor.name == "item_vectors").unwrap();
            let (first, rest) = vectors.values.split_at_mut(192);
            rest.chunks_exact_mut(192).take(9).for_each(|row| row.copy_from_slice(first));
            rest[192 * 20..192 * 23].fill(f32::NAN);
            let [kernels, tensors] = rank(&odd);
            assert_eq!(kernels.not_finite, tensors.not_finite);
            let differ = kernels.ranks.iter().zip(&tensors.ranks).filter(|(a, b)| a != b).count();
            assert!(differ * 50 <= targets.len(), "{differ} of {} ranks differ: {options:?}", targets.len());
            same_lists(&kernels, &tensors, users_wanted.len());
        }
    }
}
