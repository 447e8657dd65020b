//! How exactly products are computed.

use std::fmt;

use burn::tensor::backend::Backend;
use burn::tensor::{FloatDType, Tensor};

/// The floats that weights are kept in and products and attention are computed
/// with. What is added up along the way (the residual stream) and its layer
/// normalisation are 32-bit floats always.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Precision {
    /// 32 bits.
    #[default]
    F32,
    /// 16 bits: 11 of them for the digits, so numbers up to 65,504.
    F16,
    /// 16 bits: 8 of them for the digits, and the range of 32-bit floats.
    BF16,
}

impl Precision {
    /// All, the most exact first.
    pub const ALL: [Self; 3] = [Self::F32, Self::F16, Self::BF16];

    /// As it is written: `f32`, `f16`, `bf16`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::BF16 => "bf16",
        }
    }

    /// A tensor in this precision.
    pub(crate) fn of<B: Backend, const D: usize>(self, tensor: Tensor<B, D>) -> Tensor<B, D> {
        match self {
            Self::F32 => tensor,
            Self::F16 => tensor.cast(FloatDType::F16),
            Self::BF16 => tensor.cast(FloatDType::BF16),
        }
    }

    /// A tensor of this precision in 32 bits.
    pub(crate) fn back<B: Backend, const D: usize>(self, tensor: Tensor<B, D>) -> Tensor<B, D> {
        if self == Self::F32 { tensor } else { tensor.cast(FloatDType::F32) }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
