//! The two-tower recommender as tensor operations, forward and backward written
//! out as in refrain's own (`src/model/two_tower`), generic over Burn's backend.
//!
//! Numbers go in as slices and come out as named tensors; which splits, samplers
//! and settings there are is refrain's part. A step is sent to the device and
//! not waited for, so the host draws the next batch meanwhile; losses stay on
//! the device until they are asked for.

mod network;
mod ops;
mod parameters;
mod product;
mod ranking;
mod scorer;
mod segments;
mod tower;

use burn::backend::flex::FlexDevice;

use crate::device::{CpuBackend, CudaBackend, Device};
use crate::failure::{Failing, guarded};

pub use ops::Activation;

use network::Network;
use ranking::Prepared;

/// A failure of the device or of the weights given to it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecommenderError {
    /// The device failed: which, at what and why.
    #[error("{0}")]
    Device(String),
    /// A weight is missing.
    #[error("there is no weight `{0}`")]
    Weights(String),
}

impl Failing for RecommenderError {
    fn of_device(words: String) -> Self {
        Self::Device(words)
    }

    fn of_device_words(self) -> Result<String, Self> {
        if let Self::Device(words) = self { Ok(words) } else { Err(self) }
    }
}

/// A named tensor, row-major, in PyTorch's layout.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedTensor {
    /// PyTorch-style: `item_tower.mlp.0.weight`.
    pub name: String,
    /// Sizes of the axes, outermost first.
    pub shape: Vec<usize>,
    /// The values.
    pub values: Vec<f32>,
}

/// What is known of all users, or of all items.
#[derive(Debug, Clone)]
pub struct Side<'a> {
    /// Each column's name, and the category of each entity; at least one column.
    pub columns: Vec<(&'a str, &'a [u32])>,
    /// The length of a text vector, and the vectors `[entities, length]`.
    pub text: Option<(usize, &'a [f32])>,
}

/// What a step makes small; see refrain's `Loss`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Loss {
    /// The margin ranking loss with this margin.
    Margin(f32),
    /// The sampled softmax; corrections come with the batch.
    SampledSoftmax {
        /// What scores are divided by.
        temperature: f32,
    },
}

/// What the model is, beside the shapes of its weights.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// The width of every embedding.
    pub embedding: usize,
    /// What stands between the layers.
    pub activation: Activation,
    /// Dot compress instead of the inner product.
    pub compress: bool,
    /// GELU on the score.
    pub activated: bool,
    /// What is made small.
    pub loss: Loss,
}

/// A step's distinct users and items, and its pairs over them.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// Distinct users.
    pub users: &'a [u32],
    /// Distinct items.
    pub items: &'a [u32],
    /// The user of each positive, an index into `users`.
    pub pair_users: &'a [u32],
    /// For each positive its item and then its negatives, indices into `items`: `[positives, width]`.
    pub pair_items: &'a [u32],
    /// 1 + the number of negatives.
    pub width: usize,
    /// What the softmax subtracts, `[positives, width]`, or nothing.
    pub corrections: &'a [f32],
}

/// What some steps gave.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outcome {
    /// Sum of the loss's terms.
    pub loss_sum: f64,
    /// Lowest and highest score.
    pub range: [f32; 2],
}

impl Default for Outcome {
    fn default() -> Self {
        Self { loss_sum: 0.0, range: [f32::INFINITY, f32::NEG_INFINITY] }
    }
}

/// An item to be ranked for a user.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The user.
    pub user: u32,
    /// The item.
    pub item: u32,
    /// Items that do not count.
    pub excluded: &'a [u32],
    /// Whether its user's best items are wanted as well.
    pub listed: bool,
}

/// What was found of some targets.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Ranking {
    /// In the order of the targets.
    pub counts: Vec<Count>,
    /// The best items and their scores of each target that is `listed`, in the
    /// order of these: best first, ties to the lower index, none that is excluded
    /// or whose score is not finite.
    pub lists: Vec<Vec<(u32, f32)>>,
}

/// What was found of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// Items above it: a higher score, or the same and a lower index.
    pub above: u32,
    /// Scores of its user that were not finite; they rank last.
    pub not_finite: u32,
}

/// A two-tower model in training on a device.
#[derive(Debug)]
pub struct Recommender {
    network: OnDevice,
    device: Device,
}

#[derive(Debug)]
enum OnDevice {
    Cpu(Box<Network<CpuBackend>>),
    Cuda(Box<Network<CudaBackend>>),
}

/// Calls the same of either network.
macro_rules! on {
    ($self:expr, $network:ident => $call:expr) => {
        match $self {
            OnDevice::Cpu($network) => $call,
            OnDevice::Cuda($network) => $call,
        }
    };
}

impl Recommender {
    /// A model with these weights, users first, on a device.
    ///
    /// # Errors
    /// [`RecommenderError::Weights`] if one is missing; [`RecommenderError::Device`] if the device failed.
    pub fn new(
        settings: Settings,
        users: &Side<'_>,
        items: &Side<'_>,
        weights: &[NamedTensor],
        device: Device,
    ) -> Result<Self, RecommenderError> {
        let sides = [users, items];
        let network = guarded(device, "taking the model's weights", || {
            Ok(match device {
                Device::Cpu => OnDevice::Cpu(Box::new(Network::new(settings, sides, weights, FlexDevice)?)),
                Device::Cuda(index) => {
                    OnDevice::Cuda(Box::new(Network::new(settings, sides, weights, crate::device::cuda(index))?))
                }
            })
        })?;
        Ok(Self { network, device })
    }

    /// One step of Adam; need not be finished when this returns.
    ///
    /// # Errors
    /// [`RecommenderError::Device`] if the device failed.
    pub fn step(&mut self, batch: &Batch<'_>, learning_rate: f64) -> Result<(), RecommenderError> {
        guarded(self.device, "training", || on!(&mut self.network, network => network.step(batch, learning_rate)))
    }

    /// The gradients of a batch by name, in the order of the weights; no step.
    ///
    /// # Errors
    /// [`RecommenderError::Device`] if the device failed.
    pub fn gradients(&mut self, batch: &Batch<'_>) -> Result<Vec<NamedTensor>, RecommenderError> {
        guarded(self.device, "training", || on!(&mut self.network, network => network.named_gradients(batch)))
    }

    /// What the steps and gradients since the last call gave; waits for them.
    ///
    /// # Errors
    /// [`RecommenderError::Device`] if the device failed.
    pub fn outcome(&mut self) -> Result<Outcome, RecommenderError> {
        guarded(self.device, "training", || on!(&mut self.network, network => network.outcome()))
    }

    /// The vectors of all users and of all items, `[entities, vector]` each.
    ///
    /// # Errors
    /// [`RecommenderError::Device`] if the device failed.
    pub fn vectors(&self) -> Result<[Vec<f32>; 2], RecommenderError> {
        guarded(
            self.device,
            "computing the vectors",
            || on!(&self.network, network => Ok([ops::read(network.outputs(0))?, ops::read(network.outputs(1))?])),
        )
    }

    /// Every weight by name, in the order in which they were given.
    ///
    /// # Errors
    /// [`RecommenderError::Device`] if the device failed.
    pub fn tensors(&self) -> Result<Vec<NamedTensor>, RecommenderError> {
        guarded(self.device, "giving its weights", || on!(&self.network, network => network.parameters.tensors()))
    }

    /// The weights that are no rows of embedding tables: few, however many entities there are.
    ///
    /// # Errors
    /// [`RecommenderError::Device`] if the device failed.
    pub fn dense_tensors(&self) -> Result<Vec<NamedTensor>, RecommenderError> {
        guarded(self.device, "giving its weights", || on!(&self.network, network => network.parameters.dense_tensors()))
    }
}

/// A finished model on a device, for ranking.
#[derive(Debug)]
pub struct Ranker {
    model: Finished,
    device: Device,
}

#[derive(Debug)]
enum Finished {
    Cpu(Box<Prepared<CpuBackend>>),
    Cuda(Box<Prepared<CudaBackend>>),
}

impl Ranker {
    /// The model of these tensors: `user_vectors` and `item_vectors`, the marks
    /// `scorer.gelu` and `scorer.relu`, the other `scorer.*` if there are any.
    ///
    /// # Errors
    /// [`RecommenderError::Weights`] if one is missing; [`RecommenderError::Device`] if the device failed.
    pub fn new(tensors: &[NamedTensor], device: Device) -> Result<Self, RecommenderError> {
        let model = guarded(device, "taking the model's vectors", || {
            Ok(match device {
                Device::Cpu => Finished::Cpu(Box::new(Prepared::new(tensors, FlexDevice)?)),
                Device::Cuda(index) => Finished::Cuda(Box::new(Prepared::new(tensors, crate::device::cuda(index))?)),
            })
        })?;
        Ok(Self { model, device })
    }

    /// Ranks each target among all items, and lists the `k` best of those that are
    /// `listed`. `goes_on` hears how many more are done and may stop it: then there
    /// is nothing.
    ///
    /// # Errors
    /// [`RecommenderError::Device`] if the device failed.
    pub fn rank(
        &self,
        targets: &[Target<'_>],
        k: usize,
        goes_on: &dyn Fn(u64) -> bool,
    ) -> Result<Option<Ranking>, RecommenderError> {
        guarded(self.device, "ranking", || match &self.model {
            Finished::Cpu(prepared) => prepared.rank(targets, k, goes_on),
            Finished::Cuda(prepared) => prepared.rank(targets, k, goes_on),
        })
    }
}
