//! What a transformer's encoder does between its products: residual and layer
//! normalisation with weights, and attention.

use crate::rows::{add_on, centre_on, sum_on};
use crate::wide::{LANES, Wide, dispatch};

/// `rows = layer_norm(rows + residual) * weight + bias`, row by row.
///
/// # Shapes
/// `rows` and `residual` `[n, weight.len()]`, `bias` as `weight`.
pub fn add_and_normalize(rows: &mut [f32], residual: &[f32], weight: &[f32], bias: &[f32], epsilon: f32) {
    dispatch!(add_and_normalize_on(rows, residual, [weight, bias], epsilon));
}

#[inline(always)]
fn add_and_normalize_on<S: Wide>(
    simd: S,
    rows: &mut [f32],
    residual: &[f32],
    [weight, bias]: [&[f32]; 2],
    epsilon: f32,
) {
    let width = weight.len();
    for (row, residual) in rows.chunks_exact_mut(width.max(1)).zip(residual.chunks_exact(width.max(1))) {
        add_on(simd, row, residual);
        let scale = centre_on(simd, row, epsilon);
        let (chunks, rest) = row.as_chunks_mut::<LANES>();
        let ((weights, weight_rest), (biases, bias_rest)) = (weight.as_chunks::<LANES>(), bias.as_chunks::<LANES>());
        for ((chunk, weight), bias) in chunks.iter_mut().zip(weights).zip(biases) {
            let scaled = simd.times(simd.load(chunk), simd.splat(scale));
            simd.store(simd.fused(scaled, simd.load(weight), simd.load(bias)), chunk);
        }
        for ((value, weight), bias) in rest.iter_mut().zip(weight_rest).zip(bias_rest) {
            *value = *value * scale * weight + bias;
        }
    }
}

/// Memory that [`attend`] works in, kept between calls.
#[derive(Debug, Default)]
pub struct Attention {
    /// The keys of a head by dimension, `[size, padded length]`.
    keys: Vec<f32>,
    /// The values of a head, `[length, padded size]`.
    values: Vec<f32>,
    /// The weights of a query, `[padded length]`.
    weights: Vec<f32>,
    /// The sum of a query, `[padded size]`.
    sum: Vec<f32>,
}

/// Attention of every token of a text to all of them, in heads:
/// `softmax(Q K^T / sqrt(size)) V`.
///
/// # Shapes
/// `all` `[length, 3 * width]`, each row a token's query, key and value; `out`
/// `[length, width]`; a head has `width / heads` numbers.
pub fn attend(all: &[f32], length: usize, heads: usize, out: &mut [f32], memory: &mut Attention) {
    dispatch!(attend_on(all, length, heads, out, memory));
}

#[inline(always)]
fn attend_on<S: Wide>(simd: S, all: &[f32], length: usize, heads: usize, out: &mut [f32], memory: &mut Attention) {
    if length == 0 || heads == 0 {
        return;
    }
    let width = out.len() / length;
    let size = width / heads;
    let (padded, padded_size) = (length.next_multiple_of(LANES), size.next_multiple_of(LANES));
    let scale = 1.0 / (size as f32).sqrt();
    for (buffer, needed) in [
        (&mut memory.keys, size * padded),
        (&mut memory.values, length * padded_size),
        (&mut memory.weights, padded),
        (&mut memory.sum, padded_size),
    ] {
        buffer.clear();
        buffer.resize(needed, 0.0);
    }
    for head in 0..heads {
        let at = head * size;
        for (token, row) in all.chunks_exact(3 * width).enumerate() {
            let (key, value) = (&row[width + at..][..size], &row[2 * width + at..][..size]);
            memory.values[token * padded_size..][..size].copy_from_slice(value);
            for (key, place) in key.iter().zip(memory.keys.chunks_exact_mut(padded)) {
                place[token] = *key;
            }
        }
        for (row, out) in all.chunks_exact(3 * width).zip(out.chunks_exact_mut(width)) {
            combine(simd, &row[at..at + size], scale, &memory.keys, &mut memory.weights);
            let total = soften(simd, &mut memory.weights, length);
            memory.sum.fill(0.0);
            combine(simd, &memory.weights[..length], 1.0 / total, &memory.values, &mut memory.sum);
            out[at..at + size].copy_from_slice(&memory.sum[..size]);
        }
    }
}

/// `target = (factors * scale) rows`: `rows` `[factors, target]`, whose width
/// is a multiple of the lanes.
#[inline(always)]
fn combine<S: Wide>(simd: S, factors: &[f32], scale: f32, rows: &[f32], target: &mut [f32]) {
    let vectors = target.len() / LANES;
    let rows = rows.as_chunks::<LANES>().0;
    for (at, target) in target.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
        let mut sum = simd.splat(0.0);
        for (factor, row) in factors.iter().zip(rows.chunks_exact(vectors)) {
            sum = simd.fused(simd.splat(*factor * scale), simd.load(&row[at]), sum);
        }
        simd.store(sum, target);
    }
}

/// Turns scores into `exp(score - highest)`, zeros beyond `length`, and gives their sum.
#[inline(always)]
fn soften<S: Wide>(simd: S, scores: &mut [f32], length: usize) -> f32 {
    let highest = scores[..length].iter().copied().fold(f32::NEG_INFINITY, f32::max);
    for chunk in scores.as_chunks_mut::<LANES>().0 {
        simd.store(exponential(simd, simd.minus(simd.load(chunk), simd.splat(highest))), chunk);
    }
    scores[length..].fill(0.0);
    sum_on(simd, scores)
}

/// `exp(x)` for `x <= 0`, to 2e-7 of it; 0 below -87. The exponent is split into
/// whole and broken powers of two, the broken one goes through its series.
#[inline(always)]
fn exponential<S: Wide>(simd: S, x: S::Vector) -> S::Vector {
    const MAGIC: f32 = 12_582_912.0; // 1.5 * 2^23: adding it rounds to a whole number
    // 2^x by its series: ln(2)^n / n!
    const TERMS: [f32; 8] = {
        let mut terms = [1.0; 8];
        let mut n = 1;
        while n < 8 {
            terms[n] = terms[n - 1] * std::f32::consts::LN_2 / n as f32;
            n += 1;
        }
        terms
    };
    let x = simd.larger(x, simd.splat(-87.0));
    let shifted = simd.fused(x, simd.splat(std::f32::consts::LOG2_E), simd.splat(MAGIC));
    let whole = simd.minus(shifted, simd.splat(MAGIC));
    // x - whole ln 2, in two steps that keep its low bits; then back to powers of two.
    let near = simd.fused(whole, simd.splat(-0.693_359_4), x);
    let rest = simd.fused(whole, simd.splat(2.121_944_4e-4), near);
    let broken = simd.times(rest, simd.splat(std::f32::consts::LOG2_E));
    let mut power = simd.splat(TERMS[7]);
    for term in TERMS[..7].iter().rev() {
        power = simd.fused(power, broken, simd.splat(*term));
    }
    let mut bits = [0.0; LANES];
    simd.store(shifted, &mut bits);
    let scales: [f32; LANES] = std::array::from_fn(|lane| f32::from_bits(bits[lane].to_bits().wrapping_add(127) << 23));
    simd.times(power, simd.load(&scales))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::noise;
    use crate::wide::Portable;

    #[test]
    fn the_exponential_is_exact_to_single_precision() {
        for step in 0..4000 {
            let x = -(step as f32) / 50.0;
            let mut out = [0.0; LANES];
            let simd = Portable::<true>;
            simd.store(exponential(simd, [x; LANES]), &mut out);
            let exact = f64::from(x).exp();
            assert!((f64::from(out[0]) - exact).abs() <= 3e-7 * exact, "exp({x}) = {} not {exact}", out[0]);
        }
    }

    #[test]
    fn attention_equals_its_definition_and_has_the_same_bits_in_all_vectors() {
        for (length, heads, size) in [(1, 1, 4), (7, 3, 8), (33, 2, 32), (20, 1, 17)] {
            let width = heads * size;
            let all: Vec<f32> = noise(length as u64, length * 3 * width).iter().map(|v| v * 3.0).collect();
            let mut out = vec![0.0; length * width];
            attend(&all, length, heads, &mut out, &mut Attention::default());
            #[cfg(target_arch = "x86_64")]
            if pulp::x86::V3::is_available() {
                let mut portable = vec![0.0; length * width];
                attend_on(Portable::<true>, &all, length, heads, &mut portable, &mut Attention::default());
                assert_eq!(out, portable);
            }
            let number = |token: usize, part: usize, at: usize| f64::from(all[token * 3 * width + part * width + at]);
            for (query, at) in (0..length).flat_map(|query| (0..width).map(move |at| (query, at))) {
                let head = at / size * size;
                let score = |key: usize| -> f64 {
                    (head..head + size).map(|d| number(query, 0, d) * number(key, 1, d)).sum::<f64>()
                        / (size as f64).sqrt()
                };
                let weights: Vec<f64> = (0..length).map(|key| score(key).exp()).collect();
                let sum: f64 = weights.iter().enumerate().map(|(key, weight)| weight * number(key, 2, at)).sum();
                let expected = sum / weights.iter().sum::<f64>();
                assert!((f64::from(out[query * width + at]) - expected).abs() < 2e-5);
            }
        }
    }

    #[test]
    fn normalised_rows_follow_the_definition() {
        let width = 37;
        let (mut rows, residual) = (noise(1, 3 * width), noise(2, 3 * width));
        let (weight, bias) = (noise(3, width), noise(4, width));
        let before = rows.clone();
        add_and_normalize(&mut rows, &residual, &weight, &bias, 1e-12);
        for row in 0..3 {
            let range = row * width..(row + 1) * width;
            let sums: Vec<f64> = range.clone().map(|at| f64::from(before[at]) + f64::from(residual[at])).collect();
            let mean = sums.iter().sum::<f64>() / width as f64;
            let variance = sums.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / width as f64;
            for (at, sum) in range.zip(&sums) {
                let column = at % width;
                let expected = (sum - mean) / variance.sqrt() * f64::from(weight[column]) + f64::from(bias[column]);
                assert!((f64::from(rows[at]) - expected).abs() < 1e-5);
            }
        }
    }
}
