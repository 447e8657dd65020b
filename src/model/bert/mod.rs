//! The encoder of BERT on the processor: layers of attention and feed-forward
//! over plain slices (`crates/kernels`), then one vector for the text.
//!
//! A batch holds texts of one length only. So there is no padding to compute
//! and no mask, and a text's vector does not depend on its neighbours, nor on
//! the number of threads, to the last bit.

mod tensors;
#[cfg(test)]
mod tests;

use refrain_gpu::{Architecture, Pooling};
use refrain_kernels::{Attention, Left, Mode, Packed, add, add_and_normalize, attend, gelu_in_place};

use super::error::ModelError;
pub(super) use tensors::Tensors;

/// Rows that go through the feed-forward part together: its inner values stay
/// in the second cache.
const FEED_ROWS: usize = 112;

/// `x W + b`, laid out for products.
#[derive(Debug)]
struct Linear {
    weight: Packed,
    bias: Vec<f32>,
}

/// A layer normalisation's weight and bias.
#[derive(Debug)]
struct Norm([Vec<f32>; 2]);

/// One layer; query, key and value are one product.
#[derive(Debug)]
struct Layer {
    query_key_value: Linear,
    attended: Linear,
    attended_norm: Norm,
    inner: Linear,
    outer: Linear,
    outer_norm: Norm,
}

/// A BERT's weights, ready to use.
#[derive(Debug)]
pub(super) struct Bert {
    architecture: Architecture,
    /// `[vocabulary, hidden]`
    words: Vec<f32>,
    /// `[positions, hidden]`, with the vector of token type 0 added.
    positions: Vec<f32>,
    norm: Norm,
    layers: Vec<Layer>,
}

/// Memory of one thread's batches.
#[derive(Debug, Default)]
struct Memory {
    all: Vec<f32>,
    attended: Vec<f32>,
    inner: Vec<f32>,
    attention: Attention,
}

impl Bert {
    /// Reads the weights from the bytes of a safetensors file.
    ///
    /// # Errors
    /// [`ModelError`] if the file is not of this architecture.
    pub(super) fn read(bytes: &[u8], architecture: &Architecture) -> Result<Self, ModelError> {
        let tensors = Tensors::read(bytes)?;
        let of = architecture;
        let types = tensors.values("embeddings.token_type_embeddings.weight", &[of.types, of.hidden])?;
        let mut positions = tensors.values("embeddings.position_embeddings.weight", &[of.positions, of.hidden])?;
        positions.chunks_exact_mut(of.hidden).for_each(|row| add(row, &types[..of.hidden]));
        let layer = |number: usize| Layer::read(&tensors, &format!("encoder.layer.{number}"), of);
        Ok(Self {
            words: tensors.values("embeddings.word_embeddings.weight", &[of.vocabulary, of.hidden])?,
            positions,
            norm: Norm::read(&tensors, "embeddings.LayerNorm", of.hidden)?,
            layers: (0..of.layers).map(layer).collect::<Result<_, _>>()?,
            architecture: of.clone(),
        })
    }

    /// The vectors of texts that all have `length` tokens.
    ///
    /// # Shapes
    /// `ids` has `texts * length` token ids, text after text; the result
    /// `texts * hidden` numbers.
    pub(super) fn encode(&self, ids: &[u32], length: usize) -> Vec<f32> {
        let of = &self.architecture;
        let mut x = vec![0.0; ids.len() * of.hidden];
        let mut places = vec![0.0; x.len()];
        for (at, (id, (x, place))) in
            ids.iter().zip(x.chunks_exact_mut(of.hidden).zip(places.chunks_exact_mut(of.hidden))).enumerate()
        {
            x.copy_from_slice(&self.words[*id as usize * of.hidden..][..of.hidden]);
            place.copy_from_slice(&self.positions[at % length * of.hidden..][..of.hidden]);
        }
        self.norm.after(&mut x, &places, of.epsilon);
        let mut memory = Memory { attended: places, ..Memory::default() };
        for layer in &self.layers {
            layer.forward(&mut x, length, of, &mut memory);
        }
        let mut vectors = Vec::with_capacity(ids.len() / length.max(1) * of.hidden);
        for text in x.chunks_exact(length * of.hidden) {
            let start = vectors.len();
            vectors.extend_from_slice(&text[..of.hidden]);
            let vector = &mut vectors[start..];
            if of.pooling == Pooling::Mean {
                text[of.hidden..].chunks_exact(of.hidden).for_each(|token| add(vector, token));
                for value in vector.iter_mut() {
                    *value /= length as f32;
                }
            }
            if of.unit_length {
                to_unit_length(vector);
            }
        }
        vectors
    }
}

impl Layer {
    fn read(tensors: &Tensors<'_>, name: &str, of: &Architecture) -> Result<Self, ModelError> {
        let linear = |parts: &[&str], inputs: usize, outputs: usize| {
            let names: Vec<String> = parts.iter().map(|part| format!("{name}.{part}")).collect();
            Linear::read(tensors, &names, inputs, outputs)
        };
        let heads = ["attention.self.query", "attention.self.key", "attention.self.value"];
        Ok(Self {
            query_key_value: linear(&heads, of.hidden, of.hidden)?,
            attended: linear(&["attention.output.dense"], of.hidden, of.hidden)?,
            attended_norm: Norm::read(tensors, &format!("{name}.attention.output.LayerNorm"), of.hidden)?,
            inner: linear(&["intermediate.dense"], of.hidden, of.intermediate)?,
            outer: linear(&["output.dense"], of.intermediate, of.hidden)?,
            outer_norm: Norm::read(tensors, &format!("{name}.output.LayerNorm"), of.hidden)?,
        })
    }

    /// # Shapes
    /// `x` `[texts * length, hidden]`, in place.
    fn forward(&self, x: &mut [f32], length: usize, of: &Architecture, memory: &mut Memory) {
        let rows = x.len() / of.hidden;
        memory.all.resize(rows * 3 * of.hidden, 0.0);
        memory.attended.resize(rows * of.hidden, 0.0);
        self.query_key_value.of(x, rows, &mut memory.all);
        let texts = memory.all.chunks_exact(length * 3 * of.hidden);
        for (all, out) in texts.zip(memory.attended.chunks_exact_mut(length * of.hidden)) {
            attend(all, length, of.heads, out, &mut memory.attention);
        }
        // What was attended to goes through its product into the place of the queries.
        let joined = &mut memory.all[..rows * of.hidden];
        self.attended.of(&memory.attended, rows, joined);
        self.attended_norm.after(x, joined, of.epsilon);
        for x in x.chunks_mut(FEED_ROWS * of.hidden) {
            let rows = x.len() / of.hidden;
            memory.inner.resize(rows * of.intermediate, 0.0);
            self.inner.of(x, rows, &mut memory.inner);
            gelu_in_place(&mut memory.inner);
            let outer = &mut memory.attended[..x.len()];
            self.outer.of(&memory.inner, rows, outer);
            self.outer_norm.after(x, outer, of.epsilon);
        }
    }
}

impl Linear {
    /// Several linear maps of one input as a single one, whose outputs lie side by side.
    fn read(tensors: &Tensors<'_>, names: &[String], inputs: usize, outputs: usize) -> Result<Self, ModelError> {
        let (mut weight, mut bias) = (Vec::new(), Vec::new());
        for name in names {
            weight.extend(tensors.values(&format!("{name}.weight"), &[outputs, inputs])?);
            bias.extend(tensors.values(&format!("{name}.bias"), &[outputs])?);
        }
        let mut packed = Packed::default();
        packed.pack_transposed(&weight, inputs, outputs * names.len());
        Ok(Self { weight: packed, bias })
    }

    fn of(&self, input: &[f32], rows: usize, out: &mut [f32]) {
        self.weight.product(Left::Plain(input), rows, out, Mode::Bias(&self.bias));
    }
}

impl Norm {
    fn read(tensors: &Tensors<'_>, name: &str, width: usize) -> Result<Self, ModelError> {
        let part = |part: &str| tensors.values(&format!("{name}.{part}"), &[width]);
        Ok(Self([part("weight")?, part("bias")?]))
    }

    /// `x = norm(x + residual)`.
    fn after(&self, x: &mut [f32], residual: &[f32], epsilon: f32) {
        add_and_normalize(x, residual, &self.0[0], &self.0[1], epsilon);
    }
}

/// Scales a vector to Euclidean length 1.
fn to_unit_length(vector: &mut [f32]) {
    let length = vector.iter().map(|&value| f64::from(value) * f64::from(value)).sum::<f64>().sqrt();
    let scale = 1.0 / length.max(1e-12);
    for value in vector {
        *value = (f64::from(*value) * scale) as f32;
    }
}
