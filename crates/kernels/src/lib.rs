//! Small dense kernels in plain Rust, compiled for the widest vectors that the
//! processor has: matrix products, layer normalisation, GELU, Adam.
//!
//! Every result is a fixed sequence of roundings, so it depends neither on the
//! number of threads, nor on how the work is cut, nor on the width of the
//! vectors (AVX-512, AVX2 and any other processor with a fused multiply-add
//! give the same bits). Not a tensor library: shapes are the caller's business,
//! and matrices are row-major slices.

#![expect(
    clippy::inline_always,
    reason = "what runs with wide vectors must be inlined into the function that enables them"
)]

mod adam;
mod gelu;
mod pairs;
mod product;
mod rows;
#[cfg(test)]
mod tests;
mod transformer;
mod wide;

pub use adam::{AdamStep, AdamSteps, adam, adam_idle};
pub use gelu::{gelu, gelu_and_slope, gelu_in_place};
pub use pairs::{
    BLOCK, BlockRow, NUMBERS, PairGradients, PairNet, PairScratch, PairTrace, PairWeightGradients, PairWeights,
};
pub use product::{Left, Mode, Packed};
pub use rows::{add, add_rows, add_scaled, dot, multiply, normalize_rows, normalize_rows_backward, sum};
pub use transformer::{Attention, add_and_normalize, attend};
