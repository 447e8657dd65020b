//! Matrix products of 32-bit floats and sums over many rows, as a GPU does them
//! exactly and with all of itself.
//!
//! Burn's product of 32-bit floats goes through the tensor cores where a card has
//! such of TF32 (compute capability 8.0 and newer): of each number 10 bits behind
//! the point are left. Its public face lets nobody choose otherwise. So each factor
//! is taken apart into a number of so many bits and the rest, and three products of
//! these make the whole; what is left out, rest times rest, is 2^-22 of it.
//!
//! A sum along the first axis, and a product whose result is small, are the work of
//! one or two of a GPU's processors, however long they are. So both are cut in pieces.

use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

/// `2^13 + 1`: leaves 11 bits of 24, the first of which is not written.
const SPLITTER: f32 = 8193.0;
/// Rows that are summed at once.
const SUMMED: usize = 256;
/// Rows whose products are summed at once.
const MULTIPLIED: usize = 1024;

/// A number of 11 bits and the rest, whose sum is exactly what was given, unless
/// that is beyond 4e34.
///
/// Each operation is a kernel of its own: were two of them made into one, with one
/// rounding, the parts would overlap. (Burn is built without its fusion.)
fn halves<B: Backend, const D: usize>(x: Tensor<B, D>) -> [Tensor<B, D>; 2] {
    let spread = x.clone() * SPLITTER;
    let high = spread.clone() - (spread - x.clone());
    [high.clone(), x - high]
}

/// The matrix product in 32-bit floats, also where Burn's own has fewer bits.
pub(super) fn product<B: Backend, const D: usize>(a: Tensor<B, D>, b: Tensor<B, D>) -> Tensor<B, D> {
    let ([a, a_rest], [b, b_rest]) = (halves(a), halves(b));
    a_rest.matmul(b.clone()) + a.clone().matmul(b_rest) + a.matmul(b)
}

/// Rows in pieces of `length`, the last filled up with zeros.
fn pieces<B: Backend>(x: Tensor<B, 2>, length: usize) -> Tensor<B, 3> {
    let [rows, width] = x.dims();
    let count = rows.div_ceil(length);
    let filled = if count * length == rows {
        x
    } else {
        let zeros = Tensor::zeros([count * length - rows, width], &x.device());
        Tensor::cat(vec![x, zeros], 0)
    };
    filled.reshape([count, length, width])
}

/// The sum of all rows, `[width]`.
pub(super) fn sum_rows<B: Backend>(mut x: Tensor<B, 2>) -> Tensor<B, 1> {
    let width = x.dims()[1];
    while x.dims()[0] > 2 * SUMMED {
        let summed = pieces(x, SUMMED).sum_dim(1);
        x = summed.clone().reshape([summed.dims()[0], width]);
    }
    x.sum_dim(0).reshape([width])
}

/// `a^T b`: over the rows, the sum of the products of one's numbers with the other's.
///
/// # Shapes
/// `a` `[rows, left]`, `b` `[rows, right]`, the result `[left, right]`.
pub(super) fn product_over_rows<B: Backend>(a: Tensor<B, 2>, b: Tensor<B, 2>) -> Tensor<B, 2> {
    let ([rows, left], right) = (a.dims(), b.dims()[1]);
    if left == 1 {
        return sum_rows(b * a).reshape([1, right]);
    }
    if rows <= 2 * MULTIPLIED {
        return product(a.transpose(), b);
    }
    let products = product(pieces(a, MULTIPLIED).swap_dims(1, 2), pieces(b, MULTIPLIED));
    let count = products.dims()[0];
    sum_rows(products.reshape([count, left * right])).reshape([left, right])
}

#[cfg(test)]
mod tests {
    use burn::tensor::Distribution;

    use super::*;
    use crate::device::CpuBackend;

    fn random(rows: usize, width: usize) -> Tensor<CpuBackend, 2> {
        Tensor::random([rows, width], Distribution::Normal(0.1, 2.0), &burn::backend::flex::FlexDevice)
    }

    fn values<const D: usize>(x: Tensor<CpuBackend, D>) -> Vec<f32> {
        x.into_data().into_vec().unwrap()
    }

    /// The tensors agree to so much of the norm.
    fn near<const D: usize>(found: Tensor<CpuBackend, D>, expected: Tensor<CpuBackend, D>, share: f32) {
        assert_eq!(found.dims(), expected.dims());
        let norm = |x: Tensor<CpuBackend, D>| values(x.square().sum())[0].sqrt();
        let (error, all) = (norm(found - expected.clone()), norm(expected));
        assert!(error <= share * all, "{error} of {all}");
    }

    /// What tensor cores leave of a number: 10 bits behind the point.
    fn cut(x: Tensor<CpuBackend, 2>) -> Tensor<CpuBackend, 2> {
        let (shape, device) = (x.dims(), x.device());
        let bits = values(x).into_iter().map(|value| f32::from_bits(value.to_bits() & !0x1fff)).collect();
        super::super::ops::matrix(bits, shape, &device)
    }

    #[test]
    fn the_halves_are_exact_and_the_first_has_the_bits_of_tf32() {
        let x = random(100, 7);
        let [high, rest] = halves(x.clone());
        assert_eq!(values(cut(high.clone())), values(high.clone()));
        assert_eq!(values(high + rest), values(x));
    }

    #[test]
    fn the_product_of_halves_is_that_of_the_whole() {
        let (a, b) = (random(60, 300), random(300, 50));
        near(product(a.clone(), b.clone()), a.clone().matmul(b.clone()), 1e-6);
        // And on tensor cores, which cut what they are given: there the plain one is far off.
        let ([high, rest], [other, other_rest]) = (halves(a.clone()), halves(b.clone()));
        let on_cores = cut(rest).matmul(cut(other.clone()))
            + cut(high.clone()).matmul(cut(other_rest))
            + cut(high).matmul(cut(other));
        near(on_cores, a.clone().matmul(b.clone()), 1e-6);
        let plain = cut(a.clone()).matmul(cut(b.clone())) - a.clone().matmul(b.clone());
        let of = |x: Tensor<CpuBackend, 2>| values(x.square().sum())[0].sqrt();
        assert!(of(plain) > 1e-4 * of(a.matmul(b)));
    }

    #[test]
    fn sums_in_pieces_are_those_of_the_whole() {
        for rows in [1, 255, 512, 513, 5000, 140_000] {
            let x = random(rows, 3);
            near(sum_rows(x.clone()), x.sum_dim(0).reshape([3]), 1e-4);
        }
    }

    #[test]
    fn products_over_rows_in_pieces_are_those_of_the_whole() {
        for (rows, left) in [(1, 5), (2048, 5), (2049, 5), (5000, 8), (5000, 1)] {
            let (a, b) = (random(rows, left), random(rows, 6));
            near(product_over_rows(a.clone(), b.clone()), a.transpose().matmul(b), 1e-5);
        }
    }
}
