//! One tower: embeddings of an entity's features (and its text vector), side
//! by side, through an MLP to 192 numbers; forward and backward by hand.
//!
//! Rows are worked on in chunks of fixed size and the chunks' gradients are
//! added in order, so the numbers do not depend on the number of threads.

use rayon::prelude::*;

use super::embedding::Embedding;
use super::options::{Activation, TrainingOptions, Widths};
use super::parameters::{Linear, LinearGradients, Start, Tensor, Weight};
use crate::ground::Seed;
use refrain_kernels::{
    AdamStep, AdamSteps, Left, Mode, Packed, add, add_rows, normalize_rows, normalize_rows_backward,
};

/// Rows that one task takes.
const CHUNK: usize = 480;

/// What is known of the entities on one side: users or items.
#[derive(Debug, Clone, Default)]
pub struct Features {
    /// Categories; the first is the entity's own id.
    pub columns: Vec<Category>,
    /// A vector of text for each entity, where text is used.
    pub text: Option<TextVectors>,
}

/// A category of each entity.
#[derive(Debug, Clone)]
pub struct Category {
    /// What the embedding is called: `id`, `country`.
    pub name: String,
    /// The category of each entity, below `size`.
    pub codes: Vec<u32>,
    /// How many categories there are.
    pub size: usize,
}

/// A vector for each entity.
#[derive(Debug, Clone)]
pub struct TextVectors {
    /// Length of a vector.
    pub width: usize,
    /// `[entities, width]`, row-major.
    pub values: Vec<f32>,
}

/// A tower's weights.
#[derive(Debug, Clone)]
pub(super) struct Tower {
    embeddings: Vec<Embedding>,
    text: Option<Linear>,
    layers: [Linear; 3],
    widths: Widths,
    activation: Activation,
}

/// The weights of a tower as the products need them.
#[derive(Debug, Default)]
pub(super) struct PackedTower {
    text: Packed,
    forward: [Packed; 3],
    backward: [Packed; 3],
}

/// What a forward pass leaves for the backward pass.
pub(super) struct Passed {
    /// The output, `[rows, tower]`.
    pub(super) out: Vec<f32>,
    chunks: Vec<ChunkState>,
}

struct ChunkState {
    joined: Vec<f32>,
    text: Vec<f32>,
    text_before: Vec<f32>,
    normalized: [Vec<f32>; 2],
    scales: [Vec<f32>; 2],
    before_last: Vec<f32>,
}

struct ChunkGradients {
    text: Option<LinearGradients>,
    layers: [LinearGradients; 3],
    joined: Vec<f32>,
}

impl Tower {
    /// A tower for these features, initialised as PyTorch does.
    pub(super) fn new(name: &str, features: &Features, options: &TrainingOptions, seed: Seed) -> Self {
        let widths = options.widths;
        let embedding = |category: &Category| {
            let shape = [category.size, widths.embedding];
            let name = format!("{name}.embeddings.{}.weight", category.name);
            Embedding::new(Weight::new(name, &shape, Start::Normal(1.0), seed))
        };
        let embeddings: Vec<_> = features.columns.iter().map(embedding).collect();
        let text =
            features.text.as_ref().map(|t| Linear::new(&format!("{name}.text"), t.width, widths.embedding, seed));
        let joined = widths.embedding * (embeddings.len() + usize::from(text.is_some()));
        let layers = [
            Linear::new(&format!("{name}.mlp.0"), joined, widths.hidden[0], seed),
            Linear::new(&format!("{name}.mlp.3"), widths.hidden[0], widths.hidden[1], seed),
            Linear::new(&format!("{name}.mlp.6"), widths.hidden[1], widths.tower, seed),
        ];
        Self { embeddings, text, layers, widths, activation: options.activation }
    }

    /// What stands between its layers.
    pub(super) fn activation(&self) -> Activation {
        self.activation
    }

    /// Every tensor, in a fixed order.
    pub(super) fn weights(&mut self) -> Vec<&mut Weight> {
        let mut all: Vec<&mut Weight> = self.embeddings.iter_mut().map(|embedding| &mut embedding.weight).collect();
        for layer in self.text.iter_mut().chain(&mut self.layers) {
            all.extend([&mut layer.weight, &mut layer.bias]);
        }
        all
    }

    /// Copies of all tensors.
    pub(super) fn tensors(&mut self) -> Vec<Tensor> {
        self.weights().into_iter().map(|weight| weight.tensor.clone()).collect()
    }

    /// Lays out the weights; `backward` too if a gradient will be asked for.
    pub(super) fn pack(&self, packed: &mut PackedTower, backward: bool) {
        if let Some(layer) = &self.text {
            packed.text.pack_transposed(layer.weight.values(), layer.inputs, layer.outputs);
        }
        for (layer, target) in self.layers.iter().zip(&mut packed.forward) {
            target.pack_transposed(layer.weight.values(), layer.inputs, layer.outputs);
        }
        if backward {
            for (layer, target) in self.layers.iter().zip(&mut packed.backward) {
                target.pack(layer.weight.values(), layer.outputs, layer.inputs);
            }
        }
    }

    /// The outputs of the entities `rows`, and what the backward pass needs.
    pub(super) fn forward(&self, packed: &PackedTower, features: &Features, rows: &[u32]) -> Passed {
        let mut out = vec![0.0; rows.len() * self.widths.tower];
        let work = out.par_chunks_mut(CHUNK * self.widths.tower).zip(rows.par_chunks(CHUNK));
        let chunks = work.map(|(out, rows)| self.forward_chunk(packed, features, rows, out)).collect();
        Passed { out, chunks }
    }

    /// The outputs of all `count` entities, `[count, tower]`.
    pub(super) fn outputs(&self, features: &Features, count: usize) -> Vec<f32> {
        let mut packed = PackedTower::default();
        self.pack(&mut packed, false);
        let rows: Vec<u32> = (0..count as u32).collect();
        let mut out = vec![0.0; count * self.widths.tower];
        let work = out.par_chunks_mut(CHUNK * self.widths.tower).zip(rows.par_chunks(CHUNK));
        work.for_each(|(out, rows)| drop(self.forward_chunk(&packed, features, rows, out)));
        out
    }

    fn forward_chunk(&self, packed: &PackedTower, features: &Features, rows: &[u32], out: &mut [f32]) -> ChunkState {
        let count = rows.len();
        let width = self.layers[0].inputs;
        let mut joined = vec![0.0; count * width];
        for (at, (embedding, category)) in self.embeddings.iter().zip(&features.columns).enumerate() {
            let values = embedding.weight.values();
            for (row, target) in rows.iter().zip(joined.chunks_exact_mut(width)) {
                let code = category.codes[*row as usize] as usize;
                target[at * self.widths.embedding..][..self.widths.embedding]
                    .copy_from_slice(&values[code * self.widths.embedding..][..self.widths.embedding]);
            }
        }
        let (mut text, mut text_before) = (Vec::new(), Vec::new());
        if let (Some(layer), Some(vectors)) = (&self.text, &features.text) {
            for row in rows {
                text.extend_from_slice(&vectors.values[*row as usize * vectors.width..][..vectors.width]);
            }
            text_before = linear(&packed.text, &text, count, layer);
            let at = width - self.widths.embedding;
            for (before, target) in text_before.chunks_exact(self.widths.embedding).zip(joined.chunks_exact_mut(width))
            {
                self.activation.apply(before, &mut target[at..]);
            }
        }
        let mut scales = [vec![0.0; count], vec![0.0; count]];
        let mut first = linear(&packed.forward[0], &joined, count, &self.layers[0]);
        normalize_rows(&mut first, self.widths.hidden[0], &mut scales[0]);
        let mut active = vec![0.0; first.len()];
        self.activation.apply(&first, &mut active);
        let mut second = linear(&packed.forward[1], &active, count, &self.layers[1]);
        normalize_rows(&mut second, self.widths.hidden[1], &mut scales[1]);
        active.resize(second.len(), 0.0);
        self.activation.apply(&second, &mut active);
        let before_last = linear(&packed.forward[2], &active, count, &self.layers[2]);
        self.activation.apply(&before_last, out);
        ChunkState { joined, text, text_before, normalized: [first, second], scales, before_last }
    }

    /// Adds the gradients of all weights, given that of the output.
    ///
    /// # Shapes
    /// `gradient` `[rows, tower]`.
    pub(super) fn backward(
        &mut self,
        packed: &PackedTower,
        features: &Features,
        rows: &[u32],
        passed: &Passed,
        gradient: &[f32],
    ) {
        let shared = &*self;
        let work = passed.chunks.par_iter().zip(gradient.par_chunks(CHUNK * self.widths.tower));
        let parts: Vec<_> = work.map(|(state, gradient)| shared.backward_chunk(packed, state, gradient)).collect();
        for part in &parts {
            for (layer, gradients) in self.layers.iter_mut().zip(&part.layers) {
                layer.add_gradients(gradients);
            }
            if let (Some(layer), Some(gradients)) = (&mut self.text, &part.text) {
                layer.add_gradients(gradients);
            }
        }
        let width = self.layers[0].inputs;
        self.embeddings.par_iter_mut().zip(&features.columns).enumerate().for_each(|(at, (embedding, category))| {
            for (rows, part) in rows.chunks(CHUNK).zip(&parts) {
                for (row, gradient) in rows.iter().zip(part.joined.chunks_exact(width)) {
                    let code = category.codes[*row as usize] as usize;
                    let target =
                        &mut embedding.weight.gradient[code * self.widths.embedding..][..self.widths.embedding];
                    add(target, &gradient[at * self.widths.embedding..][..self.widths.embedding]);
                }
            }
        });
    }

    fn backward_chunk(&self, packed: &PackedTower, state: &ChunkState, gradient: &[f32]) -> ChunkGradients {
        let count = state.scales[0].len();
        let mut layers = self.layers.each_ref().map(LinearGradients::zero);
        let (mut active, mut slope) = (vec![0.0; gradient.len()], vec![0.0; gradient.len()]);
        self.activation.apply_with_slope(&state.before_last, &mut active, &mut slope);
        let mut flowing = gradient.to_vec();
        multiply(&mut flowing, &slope);
        for depth in [1, 0] {
            let (normalized, width) = (&state.normalized[depth], self.widths.hidden[depth]);
            active.resize(normalized.len(), 0.0);
            slope.resize(normalized.len(), 0.0);
            self.activation.apply_with_slope(normalized, &mut active, &mut slope);
            linear_gradients(&mut layers[depth + 1], &flowing, &active, count, &self.layers[depth + 1]);
            let mut before = vec![0.0; count * width];
            packed.backward[depth + 1].product(Left::Plain(&flowing), count, &mut before, Mode::Set);
            multiply(&mut before, &slope);
            normalize_rows_backward(&mut before, normalized, width, &state.scales[depth]);
            flowing = before;
        }
        linear_gradients(&mut layers[0], &flowing, &state.joined, count, &self.layers[0]);
        let width = self.layers[0].inputs;
        let mut joined = vec![0.0; count * width];
        packed.backward[0].product(Left::Plain(&flowing), count, &mut joined, Mode::Set);
        let text = self.text.as_ref().map(|layer| {
            let mut gradients = LinearGradients::zero(layer);
            let (mut out, mut slope) = (vec![0.0; state.text_before.len()], vec![0.0; state.text_before.len()]);
            self.activation.apply_with_slope(&state.text_before, &mut out, &mut slope);
            for (row, slope) in joined.chunks_exact(width).zip(slope.chunks_exact_mut(self.widths.embedding)) {
                multiply(slope, &row[width - self.widths.embedding..]);
            }
            linear_gradients(&mut gradients, &slope, &state.text, count, layer);
            gradients
        });
        ChunkGradients { text, layers, joined }
    }

    /// Takes what these entities read of the embeddings through all steps so far.
    pub(super) fn catch_up(&mut self, features: &Features, rows: &[u32], steps: &AdamSteps) {
        for (embedding, category) in self.embeddings.iter_mut().zip(&features.columns) {
            embedding.catch_up(rows.iter().map(|row| category.codes[*row as usize] as usize), steps);
        }
    }

    /// Takes all embeddings through all steps, which may be forgotten then.
    pub(super) fn catch_up_all(&mut self, steps: &AdamSteps) {
        self.embeddings.iter_mut().for_each(|embedding| embedding.catch_up_all(steps));
    }

    /// Moves the weights along their gradients, the last of the steps, and clears
    /// those; of the embeddings what was prepared for the batch.
    pub(super) fn step(&mut self, step: AdamStep, steps: &AdamSteps) {
        self.embeddings.iter_mut().for_each(|embedding| embedding.step(step, steps));
        for layer in self.text.iter_mut().chain(&mut self.layers) {
            layer.weight.step(step);
            layer.bias.step(step);
        }
    }
}

fn linear(packed: &Packed, input: &[f32], rows: usize, layer: &Linear) -> Vec<f32> {
    let mut out = vec![0.0; rows * layer.outputs];
    packed.product(Left::Plain(input), rows, &mut out, Mode::Bias(layer.bias.values()));
    out
}

/// Adds `flowing^T input` to the weight's gradient and the rows of `flowing`
/// to the bias's.
pub(super) fn linear_gradients(
    gradients: &mut LinearGradients,
    flowing: &[f32],
    input: &[f32],
    rows: usize,
    layer: &Linear,
) {
    let mut packed = Packed::default();
    packed.pack(input, rows, layer.inputs);
    packed.product(Left::Transposed(flowing), layer.outputs, &mut gradients.weight, Mode::Add);
    add_rows(&mut gradients.bias, flowing);
}

/// `target *= factor`, element by element.
pub(super) fn multiply(target: &mut [f32], factor: &[f32]) {
    target.iter_mut().zip(factor).for_each(|(t, f)| *t *= f);
}
