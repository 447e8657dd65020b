//! The pieces that both networks' passes are made of: activation with its
//! slope, layer normalisation there and back, linear layers, transfers.

use burn::tensor::activation::gelu;
use burn::tensor::backend::Backend;
use burn::tensor::{IndexingUpdateOp, Int, Tensor, TensorData};

use super::RecommenderError;
use super::product::product;

/// PyTorch's epsilon in layer normalisation.
const EPSILON: f32 = 1e-5;

/// What stands between the layers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Activation {
    /// The exact GELU.
    #[default]
    Gelu,
    /// `max(x, 0)`.
    Relu,
}

impl Activation {
    pub(super) fn apply<B: Backend, const D: usize>(self, x: Tensor<B, D>) -> Tensor<B, D> {
        match self {
            Self::Gelu => gelu(x),
            // Burn's own makes 0 of what is not a number; it must show.
            Self::Relu => x.clone().mask_fill(x.lower_equal_elem(0.0), 0.0),
        }
    }

    /// The derivative; that of `max(x, 0)` at 0 is 0.
    pub(super) fn slope<B: Backend, const D: usize>(self, x: Tensor<B, D>) -> Tensor<B, D> {
        match self {
            Self::Gelu => {
                let share = ((x.clone() * std::f32::consts::FRAC_1_SQRT_2).erf() + 1.0) * 0.5;
                let root = (2.0 * std::f32::consts::PI).sqrt().recip();
                share + x.clone() * (x.square() * -0.5).exp() * root
            }
            Self::Relu => x.greater_elem(0.0).float(),
        }
    }
}

/// Rows after normalisation, and what they were multiplied by: `[rows, 1]`.
pub(super) struct Normalized<B: Backend> {
    pub(super) rows: Tensor<B, 2>,
    scales: Tensor<B, 2>,
}

impl<B: Backend> Normalized<B> {
    pub(super) fn of(x: Tensor<B, 2>) -> Self {
        let mean = x.clone().mean_dim(1);
        let centred = x - mean;
        let scales = (centred.clone().square().mean_dim(1) + EPSILON).sqrt().recip();
        Self { rows: centred * scales.clone(), scales }
    }

    /// From the gradient of the normalised rows to that of the rows.
    pub(super) fn backward(&self, gradient: Tensor<B, 2>) -> Tensor<B, 2> {
        let along = (gradient.clone() * self.rows.clone()).mean_dim(1);
        let mean = gradient.clone().mean_dim(1);
        (gradient - mean - self.rows.clone() * along) * self.scales.clone()
    }
}

/// `x W^T + b`, the weight as PyTorch keeps it.
///
/// # Shapes
/// `x` `[rows, in]`, `weight` `[out, in]`, `bias` `[out]`.
pub(super) fn linear<B: Backend>(x: Tensor<B, 2>, weight: Tensor<B, 2>, bias: Tensor<B, 1>) -> Tensor<B, 2> {
    product(x, weight.transpose()) + bias.unsqueeze()
}

pub(super) fn indices<B: Backend>(values: &[u32], device: &B::Device) -> Tensor<B, 1, Int> {
    let values: Vec<i32> = values.iter().map(|value| *value as i32).collect();
    let count = values.len();
    Tensor::from_data(TensorData::new(values, [count]), device)
}

pub(super) fn matrix<B: Backend>(values: Vec<f32>, shape: [usize; 2], device: &B::Device) -> Tensor<B, 2> {
    Tensor::from_data(TensorData::new(values, shape), device)
}

pub(super) fn zeros_row<B: Backend>(width: usize, device: &B::Device) -> Tensor<B, 2> {
    Tensor::zeros([1, width], device)
}

/// Waits for a tensor and brings it to the host.
pub(super) fn read<B: Backend, const D: usize>(tensor: Tensor<B, D>) -> Result<Vec<f32>, RecommenderError> {
    let data = tensor.try_into_data().map_err(|error| RecommenderError::Device(format!("{error:?}")))?;
    data.into_vec::<f32>().map_err(|error| RecommenderError::Device(format!("{error:?}")))
}

/// The same for places, none of which is negative.
pub(super) fn read_places<B: Backend>(tensor: Tensor<B, 2, Int>) -> Result<Vec<u32>, RecommenderError> {
    let data = tensor.try_into_data().map_err(|error| RecommenderError::Device(format!("{error:?}")))?;
    Ok(data.iter::<u32>().collect())
}

/// Marks for each row of `[rows, columns]` some columns with 1; repeats are allowed.
pub(super) fn marks<B: Backend>(shape: [usize; 2], at: &[u32], device: &B::Device) -> Tensor<B, 2> {
    let [rows, columns] = shape;
    let flat = Tensor::<B, 1>::zeros([rows * columns], device);
    if at.is_empty() {
        return flat.reshape(shape);
    }
    let places = indices(at, device).reshape([at.len(), 1]);
    flat.scatter_nd(places, Tensor::<B, 1>::ones([at.len()], device), IndexingUpdateOp::Assign).reshape(shape)
}
