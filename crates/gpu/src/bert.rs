//! The encoder of BERT on Burn's tensors: layers of attention and feed-forward,
//! then one vector for the text.
//!
//! A batch holds texts of one length only. So there is no padding to compute
//! and no mask, and a text's vector does not depend on its neighbours.

use burn::tensor::module::attention;
use burn::tensor::ops::AttentionModuleOptions;
use burn::tensor::{Int, Tensor, TensorData, bf16, f16};
use safetensors::{Dtype, SafeTensors};

use super::EncoderError;
use super::architecture::{Architecture, Pooling};
use super::kernels::{Kernels, Norm};
use super::precision::Precision;

/// `x W + b`; the weight is kept as `[in, out]`, as the product wants it.
#[derive(Debug, Clone)]
struct Linear<B: Kernels> {
    weight: Tensor<B, 2>,
    bias: Tensor<B, 1>,
}

/// One layer; query, key and value are one product of width `3 * hidden`.
#[derive(Debug, Clone)]
struct Layer<B: Kernels> {
    query_key_value: Linear<B>,
    attended: Linear<B>,
    attended_norm: Norm<B>,
    inner: Linear<B>,
    outer: Linear<B>,
    outer_norm: Norm<B>,
}

/// The encoder's weights on one device.
#[derive(Debug, Clone)]
pub(super) struct Bert<B: Kernels> {
    /// `[vocabulary, hidden]`
    words: Tensor<B, 2>,
    /// `[positions, hidden]`, with the vector of token type 0 added.
    positions: Tensor<B, 2>,
    no_bias: Tensor<B, 1>,
    norm: Norm<B>,
    layers: Vec<Layer<B>>,
    architecture: Architecture,
    precision: Precision,
    device: B::Device,
}

impl<B: Kernels> Bert<B> {
    /// Reads the weights from the bytes of a safetensors file.
    ///
    /// # Errors
    /// [`EncoderError::Weights`] if the file is not of this model.
    pub(super) fn read(
        bytes: &[u8],
        architecture: &Architecture,
        device: &B::Device,
        precision: Precision,
    ) -> Result<Self, EncoderError> {
        let file = SafeTensors::deserialize(bytes)
            .map_err(|error| EncoderError::Weights(format!("it is not a safetensors file ({error})")))?;
        let of = architecture;
        let reader = Reader { file, precision, device: device.clone() };
        let types = reader.values("embeddings.token_type_embeddings.weight", &[of.types, of.hidden])?;
        let mut positions = reader.values("embeddings.position_embeddings.weight", &[of.positions, of.hidden])?;
        for row in positions.chunks_exact_mut(of.hidden) {
            row.iter_mut().zip(&types[..of.hidden]).for_each(|(position, of_type)| *position += of_type);
        }
        let words = reader.values("embeddings.word_embeddings.weight", &[of.vocabulary, of.hidden])?;
        Ok(Self {
            words: reader.matrix(words, [of.vocabulary, of.hidden]),
            positions: reader.matrix(positions, [of.positions, of.hidden]),
            no_bias: Tensor::zeros([of.hidden], device),
            norm: reader.norm("embeddings.LayerNorm", of)?,
            layers: (0..of.layers)
                .map(|layer| reader.layer(&format!("encoder.layer.{layer}"), of))
                .collect::<Result<_, _>>()?,
            architecture: of.clone(),
            precision,
            device: device.clone(),
        })
    }

    /// The vectors of texts that all have `length` tokens.
    ///
    /// # Shapes
    /// `ids` has `texts * length` token ids, text after text; the result
    /// `texts * hidden` numbers.
    ///
    /// # Errors
    /// [`EncoderError::Device`] if the device fails.
    pub(super) fn encode(&self, ids: &[u32], length: usize) -> Result<Vec<f32>, EncoderError> {
        let (texts, rows, of) = (ids.len() / length, ids.len(), &self.architecture);
        let width = of.hidden;
        let ids: Vec<i32> = ids.iter().map(|&id| id as i32).collect();
        let ids = Tensor::<B, 1, Int>::from_data(TensorData::new(ids, [rows]), &self.device);
        let words: Tensor<B, 3> = self.words.clone().select(0, ids).reshape([texts, length, width]);
        let places: Tensor<B, 3> = self.positions.clone().slice([0..length, 0..width]).unsqueeze();
        let places = places.expand([texts, length, width]).reshape([rows, width]);
        let words = words.reshape([rows, width]);
        let mut x = B::add_and_normalise(words, &self.no_bias, places, &self.norm, of.epsilon);
        for layer in &self.layers {
            x = layer.forward(x, texts, length, of, self.precision);
        }
        let tokens: Tensor<B, 3> = x.reshape([texts, length, width]);
        let pooled = match of.pooling {
            Pooling::Mean => tokens.mean_dim(1),
            Pooling::First => tokens.slice([0..texts, 0..1, 0..width]),
        };
        let pooled: Tensor<B, 2> = pooled.reshape([texts, width]);
        let data = pooled.try_into_data().map_err(|error| EncoderError::Device(format!("{error:?}")))?;
        let mut vectors = data.into_vec::<f32>().map_err(|error| EncoderError::Device(format!("{error:?}")))?;
        if of.unit_length {
            vectors.chunks_exact_mut(width).for_each(to_unit_length);
        }
        Ok(vectors)
    }
}

impl<B: Kernels> Layer<B> {
    /// # Shapes
    /// `x` and the result `[texts * length, hidden]`, 32-bit floats.
    fn forward(
        &self,
        x: Tensor<B, 2>,
        texts: usize,
        length: usize,
        of: &Architecture,
        precision: Precision,
    ) -> Tensor<B, 2> {
        let width = of.hidden;
        let all = precision.of(x.clone()).matmul(self.query_key_value.weight.clone())
            + self.query_key_value.bias.clone().unsqueeze();
        let part = |index: usize| -> Tensor<B, 4> {
            let columns = all.clone().slice([0..texts * length, index * width..(index + 1) * width]);
            columns.reshape([texts, length, of.heads, width / of.heads]).swap_dims(1, 2)
        };
        let heads = attention(part(0), part(1), part(2), None, None, AttentionModuleOptions::default());
        let joined = heads.swap_dims(1, 2).reshape([texts * length, width]);
        let attended = precision.back(joined.matmul(self.attended.weight.clone()));
        let x = B::add_and_normalise(attended, &self.attended.bias, x, &self.attended_norm, of.epsilon);
        let inner = precision.of(x.clone()).matmul(self.inner.weight.clone());
        let outer = B::add_bias_gelu(inner, &self.inner.bias).matmul(self.outer.weight.clone());
        let outer = precision.back(outer);
        B::add_and_normalise(outer, &self.outer.bias, x, &self.outer_norm, of.epsilon)
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

/// Reads named tensors and checks that they are as this model has them.
struct Reader<'a, B: Kernels> {
    file: SafeTensors<'a>,
    precision: Precision,
    device: B::Device,
}

impl<B: Kernels> Reader<'_, B> {
    fn values(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, EncoderError> {
        let found = self.file.tensor(name).or_else(|_| self.file.tensor(&format!("bert.{name}")));
        let tensor = found.map_err(|_| EncoderError::Weights(format!("it has no tensor `{name}`")))?;
        if tensor.shape() != shape {
            let actual = tensor.shape();
            return Err(EncoderError::Weights(format!("`{name}` is {actual:?}, not {shape:?}")));
        }
        let data = tensor.data();
        match tensor.dtype() {
            Dtype::F32 => Ok(data.as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()),
            Dtype::F16 => Ok(data.as_chunks::<2>().0.iter().map(|&bytes| f16::from_le_bytes(bytes).to_f32()).collect()),
            Dtype::BF16 => {
                Ok(data.as_chunks::<2>().0.iter().map(|&bytes| bf16::from_le_bytes(bytes).to_f32()).collect())
            }
            other => Err(EncoderError::Weights(format!("`{name}` holds {other:?}; F32, F16 and BF16 are read"))),
        }
    }

    fn matrix(&self, values: Vec<f32>, shape: [usize; 2]) -> Tensor<B, 2> {
        Tensor::from_data(TensorData::new(values, shape), &self.device)
    }

    fn vector(&self, values: Vec<f32>) -> Tensor<B, 1> {
        let length = values.len();
        Tensor::from_data(TensorData::new(values, [length]), &self.device)
    }

    fn norm(&self, name: &str, of: &Architecture) -> Result<Norm<B>, EncoderError> {
        let read = |part: &str| self.values(&format!("{name}.{part}"), &[of.hidden]).map(|values| self.vector(values));
        Ok(Norm { gamma: read("weight")?, beta: read("bias")? })
    }

    /// Several linear maps of one input as a single one, whose outputs lie side by side.
    fn linear(&self, names: &[String], inputs: usize, outputs: usize) -> Result<Linear<B>, EncoderError> {
        let all = names.len() * outputs;
        let mut weight = vec![0.0; inputs * all];
        let mut bias = Vec::with_capacity(all);
        for (index, name) in names.iter().enumerate() {
            let values = self.values(&format!("{name}.weight"), &[outputs, inputs])?;
            for (output, row) in values.chunks_exact(inputs).enumerate() {
                for (input, &value) in row.iter().enumerate() {
                    weight[input * all + index * outputs + output] = value;
                }
            }
            bias.extend(self.values(&format!("{name}.bias"), &[outputs])?);
        }
        Ok(Linear { weight: self.matrix(weight, [inputs, all]), bias: self.vector(bias) })
    }

    fn layer(&self, name: &str, of: &Architecture) -> Result<Layer<B>, EncoderError> {
        // What is added to the residual stream is added in 32 bits.
        let to_residual = |map: Linear<B>| Linear { weight: self.precision.of(map.weight), bias: map.bias };
        let within = |map: Linear<B>| to_residual(Linear { bias: self.precision.of(map.bias), weight: map.weight });
        let heads = ["query", "key", "value"].map(|part| format!("{name}.attention.self.{part}"));
        Ok(Layer {
            query_key_value: within(self.linear(&heads, of.hidden, of.hidden)?),
            attended: to_residual(self.linear(&[format!("{name}.attention.output.dense")], of.hidden, of.hidden)?),
            attended_norm: self.norm(&format!("{name}.attention.output.LayerNorm"), of)?,
            inner: within(self.linear(&[format!("{name}.intermediate.dense")], of.hidden, of.intermediate)?),
            outer: to_residual(self.linear(&[format!("{name}.output.dense")], of.intermediate, of.hidden)?),
            outer_norm: self.norm(&format!("{name}.output.LayerNorm"), of)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::CpuBackend;

    #[test]
    fn a_file_that_is_not_of_this_model_is_refused() {
        let architecture = Architecture {
            layers: 6,
            heads: 12,
            hidden: 384,
            intermediate: 1536,
            vocabulary: 100,
            positions: 16,
            types: 2,
            epsilon: 1e-12,
            pooling: Pooling::Mean,
            unit_length: true,
        };
        let device = burn::backend::flex::FlexDevice;
        let refuse = |bytes: &[u8]| {
            Bert::<CpuBackend>::read(bytes, &architecture, &device, Precision::F32).unwrap_err().to_string()
        };
        assert!(refuse(b"not safetensors").contains("it is not a safetensors file"));
        let values = 1.0_f32.to_le_bytes();
        let view = safetensors::tensor::TensorView::new(Dtype::F32, vec![1], &values).unwrap();
        let other = safetensors::serialize([("embeddings.token_type_embeddings.weight", view)], None).unwrap();
        assert!(refuse(&other).contains("is [1], not [2, 384]"), "{}", refuse(&other));
    }

    #[test]
    fn vectors_get_length_one_and_zero_stays_zero() {
        let (mut vector, mut zero) = ([3.0, 4.0], [0.0, 0.0]);
        to_unit_length(&mut vector);
        to_unit_length(&mut zero);
        assert_eq!((vector, zero), ([0.6, 0.8], [0.0, 0.0]));
    }
}
