//! Sums, inner products and the normalisation of rows.

use crate::wide::{LANES, Wide, dispatch};

/// What PyTorch's `LayerNorm` adds to the variance.
const LAYER_NORM_EPSILON: f32 = 1e-5;

/// Splits a slice into vectors and what is left.
macro_rules! walk {
    ($slice:expr) => {
        $slice.as_chunks::<LANES>()
    };
}

/// The inner product of two slices of equal length.
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    dispatch!(dot_on(a, b))
}

#[inline(always)]
pub(crate) fn dot_on<S: Wide>(simd: S, a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (walk!(a), walk!(b));
    let mut sums = simd.splat(0.0);
    for (x, y) in a.iter().zip(b) {
        sums = simd.fused(simd.load(x), simd.load(y), sums);
    }
    let mut lanes = [0.0; LANES];
    if !a_rest.is_empty() {
        let (mut x, mut y) = ([0.0; LANES], [0.0; LANES]);
        x[..a_rest.len()].copy_from_slice(a_rest);
        y[..a_rest.len()].copy_from_slice(&b_rest[..a_rest.len()]);
        sums = simd.fused(simd.load(&x), simd.load(&y), sums);
    }
    simd.store(sums, &mut lanes);
    fold(lanes)
}

/// The sum of a slice.
pub fn sum(values: &[f32]) -> f32 {
    dispatch!(sum_on(values))
}

#[inline(always)]
pub(crate) fn sum_on<S: Wide>(simd: S, values: &[f32]) -> f32 {
    let (chunks, rest) = walk!(values);
    let mut sums = simd.splat(0.0);
    for chunk in chunks {
        sums = simd.plus(sums, simd.load(chunk));
    }
    let mut lanes = [0.0; LANES];
    simd.store(sums, &mut lanes);
    rest.iter().zip(&mut lanes).for_each(|(value, lane)| *lane += value);
    fold(lanes)
}

#[inline(always)]
fn fold(mut lanes: [f32; LANES]) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            lanes[lane] += lanes[lane + half];
        }
        half /= 2;
    }
    lanes[0]
}

/// `target += scale * source`.
pub fn add_scaled(target: &mut [f32], scale: f32, source: &[f32]) {
    dispatch!(add_scaled_on(target, scale, source));
}

#[inline(always)]
pub(crate) fn add_scaled_on<S: Wide>(simd: S, target: &mut [f32], scale: f32, source: &[f32]) {
    let (chunks, rest) = target.as_chunks_mut::<LANES>();
    let (sources, source_rest) = walk!(source);
    let scales = simd.splat(scale);
    for (target, source) in chunks.iter_mut().zip(sources) {
        simd.store(simd.fused(scales, simd.load(source), simd.load(target)), target);
    }
    if !rest.is_empty() {
        let (mut t, mut s) = ([0.0; LANES], [0.0; LANES]);
        t[..rest.len()].copy_from_slice(rest);
        s[..rest.len()].copy_from_slice(&source_rest[..rest.len()]);
        simd.store(simd.fused(scales, simd.load(&s), simd.load(&t)), &mut t);
        rest.copy_from_slice(&t[..rest.len()]);
    }
}

/// `target += source`.
pub fn add(target: &mut [f32], source: &[f32]) {
    dispatch!(add_on(target, source));
}

#[inline(always)]
pub(crate) fn add_on<S: Wide>(simd: S, target: &mut [f32], source: &[f32]) {
    let (chunks, rest) = target.as_chunks_mut::<LANES>();
    let (sources, source_rest) = walk!(source);
    for (target, source) in chunks.iter_mut().zip(sources) {
        simd.store(simd.plus(simd.load(target), simd.load(source)), target);
    }
    rest.iter_mut().zip(source_rest).for_each(|(t, s)| *t += s);
}

/// Adds each row of `rows` `[n, target.len()]` to `target`, in order.
pub fn add_rows(target: &mut [f32], rows: &[f32]) {
    dispatch!(add_rows_on(target, rows));
}

#[inline(always)]
fn add_rows_on<S: Wide>(simd: S, target: &mut [f32], rows: &[f32]) {
    if !target.is_empty() {
        rows.chunks_exact(target.len()).for_each(|row| add_on(simd, target, row));
    }
}

/// `target *= factor`, element by element.
pub fn multiply(target: &mut [f32], factor: &[f32]) {
    dispatch!(multiply_on(target, factor));
}

#[inline(always)]
fn multiply_on<S: Wide>(simd: S, target: &mut [f32], factor: &[f32]) {
    let (chunks, rest) = target.as_chunks_mut::<LANES>();
    let (factors, factor_rest) = walk!(factor);
    for (target, factor) in chunks.iter_mut().zip(factors) {
        simd.store(simd.times(simd.load(target), simd.load(factor)), target);
    }
    rest.iter_mut().zip(factor_rest).for_each(|(t, f)| *t *= f);
}

/// Normalises each row of `rows` `[n, width]` in place to mean 0 and variance
/// 1; `scales` `[n]` receives what each row was multiplied by.
pub fn normalize_rows(rows: &mut [f32], width: usize, scales: &mut [f32]) {
    dispatch!(normalize_rows_on(rows, width, scales));
}

#[inline(always)]
pub(crate) fn normalize_rows_on<S: Wide>(simd: S, rows: &mut [f32], width: usize, scales: &mut [f32]) {
    for (row, scale) in rows.chunks_exact_mut(width).zip(scales) {
        *scale = centre_on(simd, row, LAYER_NORM_EPSILON);
        let (chunks, rest) = row.as_chunks_mut::<LANES>();
        for chunk in chunks {
            simd.store(simd.times(simd.load(chunk), simd.splat(*scale)), chunk);
        }
        for value in rest {
            *value *= *scale;
        }
    }
}

/// Takes the mean from every value, and gives what brings the variance, with
/// `epsilon` added to it, to 1.
#[inline(always)]
pub(crate) fn centre_on<S: Wide>(simd: S, row: &mut [f32], epsilon: f32) -> f32 {
    let width = row.len() as f32;
    let mean = sum_on(simd, row) / width;
    let (chunks, rest) = row.as_chunks_mut::<LANES>();
    for chunk in chunks {
        simd.store(simd.minus(simd.load(chunk), simd.splat(mean)), chunk);
    }
    for value in rest {
        *value -= mean;
    }
    1.0 / (dot_on(simd, row, row) / width + epsilon).sqrt()
}

/// Turns the gradient of normalised rows into that of the rows before, in place.
pub fn normalize_rows_backward(gradients: &mut [f32], normalized: &[f32], width: usize, scales: &[f32]) {
    dispatch!(normalize_rows_backward_on(gradients, normalized, width, scales));
}

#[inline(always)]
pub(crate) fn normalize_rows_backward_on<S: Wide>(
    simd: S,
    gradients: &mut [f32],
    normalized: &[f32],
    width: usize,
    scales: &[f32],
) {
    let rows = gradients.chunks_exact_mut(width).zip(normalized.chunks_exact(width)).zip(scales);
    for ((gradient, normal), scale) in rows {
        let mean = sum_on(simd, gradient) / width as f32;
        let along = dot_on(simd, gradient, normal) / width as f32;
        let (chunks, rest) = gradient.as_chunks_mut::<LANES>();
        let (normals, normal_rest) = walk!(normal);
        for (g, n) in chunks.iter_mut().zip(normals) {
            let centred = simd.minus(simd.load(g), simd.splat(mean));
            let left = simd.minus(centred, simd.times(simd.load(n), simd.splat(along)));
            simd.store(simd.times(simd.splat(*scale), left), g);
        }
        for (g, n) in rest.iter_mut().zip(normal_rest) {
            *g = scale * (*g - mean - n * along);
        }
    }
}
