//! The weights of the model with their gradients and Adam's moments, under
//! PyTorch-style names, and how PyTorch would initialise them.

use rayon::prelude::*;

use super::draw::Draw;
use crate::ground::Seed;
use refrain_kernels::{AdamStep, adam};

/// How many values one task of the optimiser takes.
const OPTIMIZER_CHUNK: usize = 32_768;

/// One named tensor, row-major, as it stands in the model's table.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// PyTorch-style: `item_tower.mlp.0.weight`.
    pub name: String,
    /// Sizes of the axes, outermost first.
    pub shape: Vec<usize>,
    /// The values, row-major.
    pub values: Vec<f32>,
}

/// How a weight begins.
#[derive(Debug, Clone, Copy)]
pub(super) enum Start {
    /// Normal with this deviation.
    Normal(f32),
    /// Uniform in plus or minus this.
    Uniform(f32),
    /// All the same.
    Constant(f32),
}

impl Start {
    /// PyTorch's default for weight and bias of a linear layer of `inputs`.
    pub(super) fn linear(inputs: usize) -> Self {
        Self::Uniform(1.0 / (inputs as f32).sqrt())
    }
}

/// A weight in training.
#[derive(Debug, Clone)]
pub(super) struct Weight {
    pub(super) tensor: Tensor,
    /// The loss's gradient, gathered during a step.
    pub(super) gradient: Vec<f32>,
    /// Adam's first moment.
    pub(super) first: Vec<f32>,
    /// Adam's second moment.
    pub(super) second: Vec<f32>,
}

impl Weight {
    /// A weight in its first state; what it draws depends on its name only.
    pub(super) fn new(name: String, shape: &[usize], start: Start, seed: Seed) -> Self {
        let count = shape.iter().product();
        let mut draw = Draw::of(seed.purpose(&format!("weight {name}")));
        let values = match start {
            Start::Normal(deviation) => draw.normal(count, deviation),
            Start::Uniform(bound) => draw.uniform(count, bound),
            Start::Constant(value) => vec![value; count],
        };
        let tensor = Tensor { name, shape: shape.to_vec(), values };
        Self { tensor, gradient: vec![0.0; count], first: vec![0.0; count], second: vec![0.0; count] }
    }

    /// The values.
    pub(super) fn values(&self) -> &[f32] {
        &self.tensor.values
    }

    /// Moves along the gradient and clears it.
    pub(super) fn step(&mut self, step: AdamStep) {
        let chunks = self
            .tensor
            .values
            .par_chunks_mut(OPTIMIZER_CHUNK)
            .zip(self.gradient.par_chunks_mut(OPTIMIZER_CHUNK))
            .zip(self.first.par_chunks_mut(OPTIMIZER_CHUNK))
            .zip(self.second.par_chunks_mut(OPTIMIZER_CHUNK));
        chunks.for_each(|(((values, gradient), first), second)| adam(step, values, gradient, first, second));
    }
}

/// A linear layer: `weight` `[outputs, inputs]`, `bias` `[outputs]`.
#[derive(Debug, Clone)]
pub(super) struct Linear {
    pub(super) weight: Weight,
    pub(super) bias: Weight,
    pub(super) inputs: usize,
    pub(super) outputs: usize,
}

impl Linear {
    /// A layer as PyTorch begins it.
    pub(super) fn new(name: &str, inputs: usize, outputs: usize, seed: Seed) -> Self {
        let start = Start::linear(inputs);
        Self {
            weight: Weight::new(format!("{name}.weight"), &[outputs, inputs], start, seed),
            bias: Weight::new(format!("{name}.bias"), &[outputs], start, seed),
            inputs,
            outputs,
        }
    }

    /// Adds to the gradients of weight and bias.
    pub(super) fn add_gradients(&mut self, gradients: &LinearGradients) {
        refrain_kernels::add(&mut self.weight.gradient, &gradients.weight);
        refrain_kernels::add(&mut self.bias.gradient, &gradients.bias);
    }
}

/// The gradients of a [`Linear`] over some of the rows.
#[derive(Debug, Clone)]
pub(super) struct LinearGradients {
    pub(super) weight: Vec<f32>,
    pub(super) bias: Vec<f32>,
}

impl LinearGradients {
    /// All zero.
    pub(super) fn zero(layer: &Linear) -> Self {
        Self { weight: vec![0.0; layer.inputs * layer.outputs], bias: vec![0.0; layer.outputs] }
    }
}

#[cfg(test)]
mod tests {
    use super::super::options::TrainingOptions;
    use super::super::tower::{Category, Features, TextVectors};
    use super::super::train::Network;
    use super::*;

    /// Mean, deviation and the largest absolute value.
    fn moments(values: &[f32]) -> [f64; 3] {
        let (count, wide) = (values.len() as f64, values.iter().map(|value| f64::from(*value)));
        let mean = wide.clone().sum::<f64>() / count;
        let variance = wide.clone().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
        [mean, variance.sqrt(), wide.map(f64::abs).fold(0.0, f64::max)]
    }

    /// The deviation and the bound (none for a normal distribution) that a tensor should have.
    fn expected(name: &str, inputs: usize) -> (f64, Option<f64>) {
        let bound = 1.0 / (inputs as f64).sqrt();
        match name {
            embedding if embedding.contains(".embeddings.") => (1.0, None),
            // Xavier: fan in 2 and fan out 96.
            "scorer.compress.weight" => ((2.0_f64 / 98.0).sqrt(), None),
            _ => (bound / 3.0_f64.sqrt(), Some(bound)),
        }
    }

    #[test]
    fn weights_begin_as_the_paper_and_pytorch_begin_them() {
        let category = |name: &str, size| Category { name: name.to_owned(), codes: vec![0; 5], size };
        let users = Features { columns: vec![category("id", 400), category("country", 60)], text: None };
        let text = Some(TextVectors { width: 384, values: vec![0.0; 5 * 384] });
        let items = Features { columns: vec![category("id", 300), category("artist", 90)], text };
        let options = TrainingOptions { compress: true, ..TrainingOptions::default() };
        let mut network = Network::new(&users, &items, &options, Seed::of_stage(3, "start"));
        let (mut inputs, mut seen) = (1, Vec::new());
        for weight in network.weights() {
            let Tensor { name, shape, values } = &weight.tensor;
            seen.push(name.clone());
            // A bias follows its weight and has the same bound.
            inputs = if shape.len() == 2 { shape[1] } else { inputs };
            let constant = match name.as_str() {
                "scorer.compress.bias" | "scorer.mlp.1.bias" | "scorer.mlp.4.bias" => Some(0.0),
                "scorer.mlp.1.weight" | "scorer.mlp.4.weight" => Some(1.0),
                _ => None,
            };
            if let Some(constant) = constant {
                assert!(values.iter().all(|value| value.to_bits() == f32::to_bits(constant)), "{name}");
                continue;
            }
            let ([mean, deviation, largest], (wanted, bound)) = (moments(values), expected(name, inputs));
            // Five standard errors of the mean, and a generous ten of the deviation.
            let error = wanted / (values.len() as f64).sqrt();
            assert!(mean.abs() <= 5.0 * error, "{name}: mean {mean}");
            assert!((deviation - wanted).abs() <= 10.0 * error, "{name}: deviation {deviation}, not {wanted}");
            match bound {
                Some(bound) => assert!(largest <= bound * 1.000_001, "{name}: {largest} is beyond {bound}"),
                // Of so many normal numbers some lie beyond two deviations, and none beyond six.
                None => assert!((2.0..6.0).contains(&(largest / wanted)), "{name}: {largest}"),
            }
            if let (Some(bound), true) = (bound, values.len() >= 1000) {
                assert!(largest >= 0.99 * bound, "{name}: {largest} is far from {bound}");
            }
        }
        for name in ["user_tower.embeddings.id.weight", "item_tower.text.bias", "item_tower.mlp.6.weight"] {
            assert!(seen.iter().any(|other| other == name), "{seen:?}");
        }
        assert_eq!(seen.len(), 8 + 10 + 12);
    }
}
