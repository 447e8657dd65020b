//! What a two-tower model is and how it is trained: every part of the paper's
//! model as a value. The defaults are those of `train_two_tower`.

use refrain_kernels::{gelu, gelu_and_slope};

use super::device::Computer;
use super::parameters::Tensor;
use crate::model::interactions::Part;

/// How wide the layers are; by default as in the paper.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Widths {
    /// Every embedding, and the text after its layer.
    pub embedding: usize,
    /// The hidden layers of both towers.
    pub hidden: [usize; 2],
    /// What a tower gives.
    pub tower: usize,
    /// The columns of dot compress's `W`.
    pub compress: usize,
    /// The hidden layers of dot compress's MLP.
    pub scorer_hidden: [usize; 2],
}

impl Default for Widths {
    fn default() -> Self {
        Self { embedding: 96, hidden: [128, 64], tower: 192, compress: 96, scorer_hidden: [128, 64] }
    }
}

/// What stands between the layers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Activation {
    /// `x` times the normal distribution function.
    #[default]
    Gelu,
    /// `max(x, 0)`.
    Relu,
}

impl Activation {
    /// `out` of every `x`.
    pub(super) fn apply(self, x: &[f32], out: &mut [f32]) {
        match self {
            Self::Gelu => gelu(x, out),
            Self::Relu => x.iter().zip(out).for_each(|(x, out)| *out = x.max(0.0)),
        }
    }

    /// The same with the derivative; that of `max(x, 0)` at 0 is 0, as in PyTorch.
    pub(super) fn apply_with_slope(self, x: &[f32], out: &mut [f32], slope: &mut [f32]) {
        match self {
            Self::Gelu => gelu_and_slope(x, out, slope),
            Self::Relu => {
                self.apply(x, out);
                x.iter().zip(slope).for_each(|(x, slope)| *slope = f32::from(u8::from(*x > 0.0)));
            }
        }
    }
}

/// What a step makes small.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Loss {
    /// `max(0, margin - positive + negative)`, mean over all pairs of a positive
    /// and a negative.
    Margin(f32),
    /// `-ln(e^p / (e^p + sum of e^(n - c)))`, mean over the positives: `p` is the
    /// positive's score over the temperature, `n` a negative's, `c` its
    /// correction (see `Pairs::corrections`).
    SampledSoftmax {
        /// What scores are divided by.
        temperature: f32,
        /// Whether `c` is the logarithm of how often the negative is expected
        /// among the drawn ones; else it is 0.
        logq: bool,
    },
}

/// How the learning rate falls, over the steps of all planned epochs.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub enum Decay {
    /// It does not.
    #[default]
    None,
    /// In a straight line: to 0 after the last step.
    Linear,
    /// Along half a cosine: to 0 after the last step.
    Cosine,
    /// By this factor after every epoch.
    Exponential(f64),
}

impl Decay {
    /// What the learning rate is multiplied by.
    ///
    /// `step` counts from 0 over all `steps` of the training, `epoch` from 0.
    #[must_use]
    pub fn factor(self, step: u64, steps: u64, epoch: u32) -> f64 {
        let done = step as f64 / steps.max(1) as f64;
        match self {
            Self::None => 1.0,
            Self::Linear => 1.0 - done,
            Self::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * done).cos()),
            Self::Exponential(factor) => factor.powi(i32::try_from(epoch).unwrap_or(i32::MAX)),
        }
    }
}

/// Which epoch's model is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selection {
    /// The best NDCG@10 on these targets, the first of equals.
    Best(Part),
    /// The last.
    Last,
}

/// How a two-tower model is trained.
#[derive(Debug, Clone)]
pub struct TrainingOptions {
    /// How wide the layers are.
    pub widths: Widths,
    /// What stands between the layers.
    pub activation: Activation,
    /// Dot compress instead of the inner product.
    pub compress: bool,
    /// GELU on the score.
    pub activated: bool,
    /// What is made small.
    pub loss: Loss,
    /// Adam's learning rate at first.
    pub learning_rate: f64,
    /// How it falls.
    pub decay: Decay,
    /// Positives of a step.
    pub batch: usize,
    /// Epochs at most; with 0 the model is measured as it begins.
    pub epochs: u32,
    /// Stop after that many epochs without a better one.
    pub patience: Option<u32>,
    /// Negatives drawn from all items, for each positive.
    pub out_of_batch: usize,
    /// Negatives drawn from the batch, for each positive.
    pub in_batch: usize,
    /// Items of these parts are never negatives of their user.
    pub excluded: Vec<Part>,
    /// Which epoch is kept.
    pub selection: Selection,
    /// What computes it.
    pub computer: Computer,
    /// The tensors of a model from whose weights the training begins, instead of
    /// random ones.
    pub initial: Option<Vec<Tensor>>,
}

impl TrainingOptions {
    /// How many terms the loss of so many positives is the mean of; at least 1.
    pub(super) fn terms(&self, positives: usize) -> usize {
        self.loss.terms(positives, self.out_of_batch + self.in_batch).max(1)
    }
}

impl Default for TrainingOptions {
    fn default() -> Self {
        Self {
            widths: Widths::default(),
            activation: Activation::Gelu,
            compress: false,
            activated: false,
            loss: Loss::Margin(1.0),
            learning_rate: 3e-3,
            decay: Decay::None,
            batch: 1024,
            epochs: 24,
            patience: Some(6),
            out_of_batch: 20,
            in_batch: 20,
            excluded: vec![Part::Train],
            selection: Selection::Best(Part::Validation),
            computer: Computer::Kernels,
            initial: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_learning_rate_falls_as_it_is_told() {
        let factors = |decay: Decay| [0, 5, 10].map(|step| decay.factor(step, 10, step as u32 / 5));
        let near = |found: [f64; 3], expected: [f64; 3]| found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12);
        assert!(near(factors(Decay::None), [1.0, 1.0, 1.0]));
        assert!(near(factors(Decay::Linear), [1.0, 0.5, 0.0]));
        assert!(near(factors(Decay::Cosine), [1.0, 0.5, 0.0]));
        assert!(near(factors(Decay::Exponential(0.9)), [1.0, 0.9, 0.81]));
    }
}
