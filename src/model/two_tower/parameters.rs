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
