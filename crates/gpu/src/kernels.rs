//! The parts of the encoder between its matrix products: bias, GELU, residual
//! and layer normalisation.
//!
//! Written with tensor operations these are a dozen passes over memory; on the
//! CPU each is one pass here. The GPU's backend keeps to tensor operations.

use burn::tensor::activation::gelu;
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor, TensorData};

use super::device::{CpuBackend, CudaBackend};

/// A layer normalisation's parameters, each `[width]`.
#[derive(Debug, Clone)]
pub(super) struct Norm<B: Backend> {
    pub(super) gamma: Tensor<B, 1>,
    pub(super) beta: Tensor<B, 1>,
}

/// What the encoder asks of a backend, besides products.
pub(super) trait Kernels: Backend {
    /// `gelu(x + bias)`, with the exact GELU (by the error function).
    ///
    /// # Shapes
    /// `x` and the result `[rows, width]`, `bias` `[width]`.
    fn add_bias_gelu(x: Tensor<Self, 2>, bias: &Tensor<Self, 1>) -> Tensor<Self, 2>;

    /// `layer_norm(x + bias + residual)` over each row.
    ///
    /// # Shapes
    /// `x`, `residual` and the result `[rows, width]`, `bias` `[width]`.
    fn add_and_normalise(
        x: Tensor<Self, 2>,
        bias: &Tensor<Self, 1>,
        residual: Tensor<Self, 2>,
        norm: &Norm<Self>,
        epsilon: f32,
    ) -> Tensor<Self, 2>;
}

impl Kernels for CudaBackend {
    fn add_bias_gelu(x: Tensor<Self, 2>, bias: &Tensor<Self, 1>) -> Tensor<Self, 2> {
        gelu(x + bias.clone().unsqueeze())
    }

    fn add_and_normalise(
        x: Tensor<Self, 2>,
        bias: &Tensor<Self, 1>,
        residual: Tensor<Self, 2>,
        norm: &Norm<Self>,
        epsilon: f32,
    ) -> Tensor<Self, 2> {
        let sum = x + bias.clone().unsqueeze() + residual;
        let centred = sum.clone() - sum.mean_dim(1);
        let variance = centred.clone().square().mean_dim(1);
        let scaled = centred / (variance + epsilon).sqrt();
        scaled * norm.gamma.clone().unsqueeze() + norm.beta.clone().unsqueeze()
    }
}

impl Kernels for CpuBackend {
    fn add_bias_gelu(x: Tensor<Self, 2>, bias: &Tensor<Self, 1>) -> Tensor<Self, 2> {
        if x.dtype() != DType::F32 {
            return gelu(x + bias.clone().unsqueeze());
        }
        let bias = values(bias.clone());
        in_place(x, |values| {
            for row in values.chunks_exact_mut(bias.len()) {
                for (value, bias) in row.iter_mut().zip(&bias) {
                    *value = gelu_of(*value + bias);
                }
            }
        })
    }

    fn add_and_normalise(
        x: Tensor<Self, 2>,
        bias: &Tensor<Self, 1>,
        residual: Tensor<Self, 2>,
        norm: &Norm<Self>,
        epsilon: f32,
    ) -> Tensor<Self, 2> {
        let (bias, residual) = (values(bias.clone()), values(residual));
        let (gamma, beta) = (values(norm.gamma.clone()), values(norm.beta.clone()));
        in_place(x, |values| {
            for (row, residual) in values.chunks_exact_mut(bias.len()).zip(residual.chunks_exact(bias.len())) {
                for ((value, residual), bias) in row.iter_mut().zip(residual).zip(&bias) {
                    *value += residual + bias;
                }
                normalise(row, &gamma, &beta, epsilon);
            }
        })
    }
}

/// A tensor's values; no copy where the tensor owns them alone.
fn values<const D: usize>(tensor: Tensor<CpuBackend, D>) -> Vec<f32> {
    tensor
        .into_data()
        .into_vec()
        .unwrap_or_else(|error| panic!("the encoder's tensors are f32, this is a bug: {error:?}"))
}

/// Changes a tensor's values where they lie.
fn in_place(x: Tensor<CpuBackend, 2>, change: impl FnOnce(&mut [f32])) -> Tensor<CpuBackend, 2> {
    let (shape, device) = (x.shape(), x.device());
    let mut values = values(x);
    change(&mut values);
    Tensor::from_data(TensorData::new(values, shape), &device)
}

/// Eight partial sums at a time: an order of adding that is always the same,
/// and that the processor can do at once.
fn sum_of(row: &[f32], term: impl Fn(f32) -> f32) -> f32 {
    const LANES: usize = 8;
    let mut sums = [0.0_f32; LANES];
    let chunks = row.chunks_exact(LANES);
    let rest: f32 = chunks.remainder().iter().map(|&value| term(value)).sum();
    for chunk in chunks {
        for (sum, &value) in sums.iter_mut().zip(chunk) {
            *sum += term(value);
        }
    }
    rest + sums.iter().sum::<f32>()
}

/// Layer normalisation of one row.
fn normalise(row: &mut [f32], gamma: &[f32], beta: &[f32], epsilon: f32) {
    let width = row.len() as f32;
    let mean = sum_of(row, |value| value) / width;
    let variance = sum_of(row, |value| (value - mean) * (value - mean)) / width;
    let scale = 1.0 / (variance + epsilon).sqrt();
    for ((value, gamma), beta) in row.iter_mut().zip(gamma).zip(beta) {
        *value = (*value - mean) * scale * gamma + beta;
    }
}

/// `x` times the normal distribution's share below `x`.
fn gelu_of(x: f32) -> f32 {
    0.5 * x * (1.0 + error_function(x * std::f32::consts::FRAC_1_SQRT_2))
}

/// The error function to 5e-7, without a branch: the processor does several at
/// once. `z P(z^2) / Q(z^2)` on `[-4, 4]`, beyond which it is ±1; the
/// coefficients are a least-squares fit of our own.
fn error_function(z: f32) -> f32 {
    const P: [f32; 6] =
        [1.974_828_5e-6, 2.880_424e-4, 4.003_675e-3, 5.346_756_6e-2, 0.196_249_62, std::f32::consts::FRAC_2_SQRT_PI];
    const Q: [f32; 6] = [3.748_09e-5, 1.216_367_7e-3, 1.544_447_9e-2, 0.116_476_69, 0.507_252_9, 1.0];
    let z = z.clamp(-4.0, 4.0);
    let square = z * z;
    let at = |coefficients: [f32; 6]| coefficients.iter().fold(0.0, |sum, coefficient| sum * square + coefficient);
    z * at(P) / at(Q)
}

#[cfg(test)]
mod tests {
    use burn::tensor::Distribution;

    use super::*;

    /// The error function by its Maclaurin series, in 64 bits.
    fn series(z: f64) -> f64 {
        let (mut term, mut sum) = (z, z);
        for n in 1..200 {
            term *= -z * z / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        sum * 2.0 / std::f64::consts::PI.sqrt()
    }

    #[test]
    fn the_error_function_is_exact_to_single_precision() {
        for step in -500..=500 {
            let z = step as f32 / 100.0;
            let error = f64::from(error_function(z)) - series(f64::from(z));
            assert!(error.abs() < 6e-7, "erf({z}) is off by {error}");
        }
        assert_eq!(error_function(0.0).to_bits(), 0.0_f32.to_bits());
    }

    #[test]
    fn fused_kernels_equal_tensor_operations() {
        let device = burn::backend::flex::FlexDevice;
        let random =
            |rows, width| Tensor::<CpuBackend, 2>::random([rows, width], Distribution::Normal(0.0, 2.0), &device);
        let row = |width| random(1, width).reshape([width]);
        let (x, residual, bias) = (random(5, 24), random(5, 24), row(24));
        let norm = Norm { gamma: row(24), beta: row(24) };

        let fused = CpuBackend::add_bias_gelu(x.clone(), &bias);
        let plain = gelu(x.clone() + bias.clone().unsqueeze());
        fused.into_data().assert_approx_eq::<f32>(&plain.into_data(), burn::tensor::Tolerance::absolute(3e-6));

        let fused = CpuBackend::add_and_normalise(x.clone(), &bias, residual.clone(), &norm, 1e-12);
        let sum = x + bias.unsqueeze() + residual;
        let (variance, mean) = sum.clone().var_mean_bias(1);
        let plain = (sum - mean) / variance.sqrt() * norm.gamma.unsqueeze() + norm.beta.unsqueeze();
        fused.into_data().assert_approx_eq::<f32>(&plain.into_data(), burn::tensor::Tolerance::absolute(1e-5));
    }
}
