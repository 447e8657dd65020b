//! GELU, the exact one, and its derivative, from polynomials of our own
//! (least maximum error, fitted in 64 bits): no division, no exponential.
//!
//! With `t = min(|x|, 5.5)` and the share of the normal distribution above `t`,
//! `Q(t)`: GELU is `max(x, 0) - t Q(t)`, and its derivative is `s` for negative
//! and `1 - s` for positive `x`, where `s(t) = Q(t) - t phi(t)`.

use crate::wide::{LANES, Wide, dispatch};

/// Beyond this, `Q` is below 2e-8.
const END: f32 = 5.5;

/// `Q` at `y = 2 t / END - 1`, lowest power first: `t` times its error is below 1.2e-7.
const TAIL: [f32; 16] = [
    0.002_979_774_3,
    -0.025_008_064,
    0.094_557_93,
    -0.206_808_05,
    0.271_889_75,
    -0.177_165_4,
    -0.051_397_193,
    0.218_434_86,
    -0.163_058_97,
    -0.034_925_2,
    0.133_205_65,
    -0.049_075_216,
    -0.043_508_15,
    0.030_131_206,
    0.005_327_671_3,
    -0.005_580_602_7,
];

/// `s` at the same `y`, to 2e-7.
const SLOPE: [f32; 18] = [
    -0.022_027_731,
    0.139_103_59,
    -0.336_832_55,
    0.260_131_33,
    0.475_577_4,
    -1.368_499_6,
    1.151_785_9,
    0.424_114_2,
    -1.706_016,
    1.048_367_7,
    0.748_384_24,
    -1.239_730_4,
    0.053_282_622,
    0.640_122_9,
    -0.154_577_63,
    -0.174_306_21,
    0.040_423_658,
    0.020_696_06,
];

/// `out = gelu(x)`: `x` times the normal distribution function, to 5e-7.
pub fn gelu(x: &[f32], out: &mut [f32]) {
    dispatch!(gelu_on(x, out));
}

#[inline(always)]
pub(crate) fn gelu_on<S: Wide>(simd: S, x: &[f32], out: &mut [f32]) {
    let ((x, x_rest), (out, out_rest)) = (x.as_chunks::<LANES>(), out.as_chunks_mut::<LANES>());
    for (x, out) in x.iter().zip(out) {
        simd.store(gelu_vector(simd, simd.load(x)), out);
    }
    if !x_rest.is_empty() {
        let mut values = [0.0; LANES];
        values[..x_rest.len()].copy_from_slice(x_rest);
        simd.store(gelu_vector(simd, simd.load(&values)), &mut values);
        out_rest.copy_from_slice(&values[..x_rest.len()]);
    }
}

/// GELU in place.
pub fn gelu_in_place(values: &mut [f32]) {
    dispatch!(gelu_in_place_on(values));
}

#[inline(always)]
fn gelu_in_place_on<S: Wide>(simd: S, values: &mut [f32]) {
    let (chunks, rest) = values.as_chunks_mut::<LANES>();
    for chunk in chunks {
        simd.store(gelu_vector(simd, simd.load(chunk)), chunk);
    }
    if !rest.is_empty() {
        let mut padded = [0.0; LANES];
        padded[..rest.len()].copy_from_slice(rest);
        simd.store(gelu_vector(simd, simd.load(&padded)), &mut padded);
        rest.copy_from_slice(&padded[..rest.len()]);
    }
}

/// GELU and its derivative (to 1e-6) in one pass.
pub fn gelu_and_slope(x: &[f32], out: &mut [f32], slope: &mut [f32]) {
    dispatch!(gelu_and_slope_on(x, out, slope));
}

#[inline(always)]
pub(crate) fn gelu_and_slope_on<S: Wide>(simd: S, x: &[f32], out: &mut [f32], slope: &mut [f32]) {
    let ((x, x_rest), (out, out_rest)) = (x.as_chunks::<LANES>(), out.as_chunks_mut::<LANES>());
    let (slope, slope_rest) = slope.as_chunks_mut::<LANES>();
    for ((x, out), slope) in x.iter().zip(out).zip(slope) {
        let (value, derivative) = gelu_and_slope_vector(simd, simd.load(x));
        simd.store(value, out);
        simd.store(derivative, slope);
    }
    if !x_rest.is_empty() {
        let (mut values, mut slopes) = ([0.0; LANES], [0.0; LANES]);
        values[..x_rest.len()].copy_from_slice(x_rest);
        let (value, derivative) = gelu_and_slope_vector(simd, simd.load(&values));
        simd.store(value, &mut values);
        simd.store(derivative, &mut slopes);
        out_rest.copy_from_slice(&values[..x_rest.len()]);
        slope_rest.copy_from_slice(&slopes[..x_rest.len()]);
    }
}

/// A number that is none stays none.
#[inline(always)]
pub(crate) fn gelu_vector<S: Wide>(simd: S, x: S::Vector) -> S::Vector {
    let (t, y) = place(simd, x);
    below(simd, x, t, polynomial(simd, &TAIL, y))
}

#[inline(always)]
pub(crate) fn gelu_and_slope_vector<S: Wide>(simd: S, x: S::Vector) -> (S::Vector, S::Vector) {
    let (t, y) = place(simd, x);
    let half = simd.splat(0.5);
    let from_half = simd.minus(half, polynomial(simd, &SLOPE, y));
    (below(simd, x, t, polynomial(simd, &TAIL, y)), simd.plus(half, simd.signed(from_half, x)))
}

/// `t` and `y`.
#[inline(always)]
fn place<S: Wide>(simd: S, x: S::Vector) -> (S::Vector, S::Vector) {
    let t = simd.smaller(simd.magnitude(x), simd.splat(END));
    (t, simd.fused(t, simd.splat(2.0 / END), simd.splat(-1.0)))
}

/// `max(x, 0) - t tail`.
#[inline(always)]
fn below<S: Wide>(simd: S, x: S::Vector, t: S::Vector, tail: S::Vector) -> S::Vector {
    let zero = simd.splat(0.0);
    simd.fused(simd.minus(zero, t), tail, simd.larger(zero, x))
}

#[inline(always)]
fn polynomial<S: Wide, const TERMS: usize>(simd: S, terms: &[f32; TERMS], y: S::Vector) -> S::Vector {
    let mut value = simd.splat(terms[TERMS - 1]);
    for term in terms[..TERMS - 1].iter().rev() {
        value = simd.fused(value, y, simd.splat(*term));
    }
    value
}
