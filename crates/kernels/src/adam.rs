//! Adam's step.

use crate::wide::{LANES, Wide, dispatch};

/// One step of Adam's constants: `rate` is the learning rate over
/// `1 - beta1^t`, `root` is `sqrt(1 - beta2^t)`.
#[derive(Debug, Clone, Copy)]
pub struct AdamStep {
    /// Learning rate with the first moment's correction.
    pub rate: f32,
    /// The second moment's correction, under the root.
    pub root: f32,
}

/// Adam on parameters, their gradients (left at 0) and both moments, all of
/// the same length.
pub fn adam(step: AdamStep, values: &mut [f32], gradients: &mut [f32], first: &mut [f32], second: &mut [f32]) {
    dispatch!(adam_on(step, values, gradients, first, second));
}

#[inline(always)]
pub(crate) fn adam_on<S: Wide>(
    simd: S,
    step: AdamStep,
    values: &mut [f32],
    gradients: &mut [f32],
    first: &mut [f32],
    second: &mut [f32],
) {
    let (values, values_rest) = values.as_chunks_mut::<LANES>();
    let (gradients, gradients_rest) = gradients.as_chunks_mut::<LANES>();
    let (first, first_rest) = first.as_chunks_mut::<LANES>();
    let (second, second_rest) = second.as_chunks_mut::<LANES>();
    for (((p, g), m), v) in values.iter_mut().zip(gradients).zip(first).zip(second) {
        adam_vector(simd, step, p, g, m, v);
    }
    if !values_rest.is_empty() {
        let mut padded = [[0.0; LANES]; 4];
        let rests = [values_rest, gradients_rest, first_rest, second_rest];
        for (padded, rest) in padded.iter_mut().zip(&rests) {
            padded[..rest.len()].copy_from_slice(rest);
        }
        let [p, g, m, v] = &mut padded;
        adam_vector(simd, step, p, g, m, v);
        for (padded, rest) in padded.iter().zip(rests) {
            rest.copy_from_slice(&padded[..rest.len()]);
        }
    }
}

#[inline(always)]
fn adam_vector<S: Wide>(
    simd: S,
    step: AdamStep,
    values: &mut [f32; LANES],
    gradients: &mut [f32; LANES],
    first: &mut [f32; LANES],
    second: &mut [f32; LANES],
) {
    let constant = |value| simd.splat(value);
    let gradient = simd.load(gradients);
    let m = simd.fused(constant(0.9), simd.load(first), simd.times(constant(0.1), gradient));
    let squares = simd.times(simd.times(constant(0.001), gradient), gradient);
    let v = simd.fused(constant(0.999), simd.load(second), squares);
    let below = simd.plus(simd.over(simd.root(v), constant(step.root)), constant(1e-8));
    let change = simd.over(simd.times(constant(step.rate), m), below);
    simd.store(simd.minus(simd.load(values), change), values);
    simd.store(m, first);
    simd.store(v, second);
    *gradients = [0.0; LANES];
}
