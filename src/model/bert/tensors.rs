//! Named tensors of a safetensors file, as numbers of 32 bits.

use half::{bf16, f16};
use safetensors::{Dtype, SafeTensors};

use super::super::error::ModelError;

/// A safetensors file's tensors, under their names with or without `bert.` before them.
pub(crate) struct Tensors<'a>(SafeTensors<'a>);

impl<'a> Tensors<'a> {
    /// The tensors of these bytes.
    ///
    /// # Errors
    /// [`ModelError::Weights`] if they are no safetensors file.
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self, ModelError> {
        let refused = |error| ModelError::Weights(format!("model.safetensors is not a safetensors file ({error})"));
        SafeTensors::deserialize(bytes).map(Self).map_err(refused)
    }

    /// A tensor's values, row-major.
    ///
    /// # Errors
    /// [`ModelError::Weights`] if it is missing, of another shape, or of a type that is no float of 16 or 32 bits.
    pub(crate) fn values(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, ModelError> {
        let found = self.0.tensor(name).or_else(|_| self.0.tensor(&format!("bert.{name}")));
        let tensor = found.map_err(|_| ModelError::Weights(format!("it has no tensor `{name}`")))?;
        if tensor.shape() != shape {
            let actual = tensor.shape();
            return Err(ModelError::Weights(format!("`{name}` is {actual:?}, not {shape:?} as config.json says")));
        }
        let data = tensor.data();
        match tensor.dtype() {
            Dtype::F32 => Ok(data.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()),
            Dtype::F16 => Ok(data.as_chunks::<2>().0.iter().map(|b| f16::from_le_bytes(*b).to_f32()).collect()),
            Dtype::BF16 => Ok(data.as_chunks::<2>().0.iter().map(|b| bf16::from_le_bytes(*b).to_f32()).collect()),
            other => Err(ModelError::Weights(format!("`{name}` holds {other:?}; F32, F16 and BF16 are read"))),
        }
    }
}
