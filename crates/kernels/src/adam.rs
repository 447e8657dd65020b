//! Adam's step, and the steps of rows that had no gradient made up for later.

use crate::wide::{LANES, Wide, dispatch};

/// Weights of what each moment was before.
const KEPT: [f32; 2] = [0.9, 0.999];
/// What keeps the divisor from 0.
const EPSILON: f32 = 1e-8;
/// Idle steps between two looks at whether the values still move.
const STRIDE: usize = 16;
/// A change of at most this share of a value rounds away.
const SHARE: f32 = 1.0 / (1 << 26) as f32;
/// Rates up to here and values from here on: then no first moment below the
/// normal numbers (2^-126) moves a value: `RATE * 2^-126 / EPSILON < SHARE * VALUE`.
const RATE: f32 = 1024.0;
const VALUE: f32 = 1.0 / (1_u64 << 60) as f32;

/// One step of Adam's constants.
#[derive(Debug, Clone, Copy)]
pub struct AdamStep {
    /// Learning rate over `1 - 0.9^t`, the first moment's correction.
    pub rate: f32,
    /// `sqrt(1 - 0.999^t)`, the second moment's correction, under the root.
    pub root: f32,
}

/// The steps of a training, those that some rows have yet to make up for.
///
/// A row without a gradient still moves at every step, along its moments. These
/// steps can be taken together when the row is needed next, to the same bits.
#[derive(Debug, Clone, Default)]
pub struct AdamSteps {
    /// How many there have been since the training began.
    taken: i32,
    /// Those that are not forgotten.
    steps: Vec<AdamStep>,
    /// The last one's learning rate.
    learning_rate: f64,
    /// From this one on learning rates do not rise, and rates are at most [`RATE`].
    calm_from: usize,
}

impl AdamSteps {
    /// How many are not forgotten.
    #[must_use]
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Whether all are forgotten.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The next step, at this learning rate.
    pub fn push(&mut self, learning_rate: f64) -> AdamStep {
        self.taken = self.taken.saturating_add(1);
        let rate = (learning_rate / (1.0 - 0.9_f64.powi(self.taken))) as f32;
        let root = (1.0 - 0.999_f64.powi(self.taken)).sqrt() as f32;
        if rate.is_nan() || rate > RATE {
            self.calm_from = self.steps.len() + 1;
        } else if learning_rate > self.learning_rate {
            self.calm_from = self.steps.len();
        }
        self.learning_rate = learning_rate;
        let step = AdamStep { rate, root };
        self.steps.push(step);
        step
    }

    /// Forgets the steps, once every row has made up for them.
    pub fn clear(&mut self) {
        self.steps.clear();
        self.calm_from = 0;
    }
}

/// The steps from number `from` on, on parameters whose gradients were 0 in all
/// of them: bit for bit what [`adam`] gives, step by step.
pub fn adam_idle(steps: &AdamSteps, from: usize, values: &mut [f32], first: &mut [f32], second: &mut [f32]) {
    dispatch!(adam_idle_on(steps, from, values, first, second));
}

#[inline(always)]
pub(crate) fn adam_idle_on<S: Wide>(
    simd: S,
    steps: &AdamSteps,
    from: usize,
    values: &mut [f32],
    first: &mut [f32],
    second: &mut [f32],
) {
    let calm = steps.calm_from.saturating_sub(from);
    let steps = &steps.steps[from..];
    let (values, values_rest) = values.as_chunks_mut::<LANES>();
    let (first, first_rest) = first.as_chunks_mut::<LANES>();
    let (second, second_rest) = second.as_chunks_mut::<LANES>();
    for ((p, m), v) in values.iter_mut().zip(first).zip(second) {
        idle_vector(simd, steps, calm, p, m, v);
    }
    if !values_rest.is_empty() {
        let mut padded = [[1.0; LANES], [0.0; LANES], [0.0; LANES]];
        let rests = [values_rest, first_rest, second_rest];
        for (padded, rest) in padded.iter_mut().zip(&rests) {
            padded[..rest.len()].copy_from_slice(rest);
        }
        let [p, m, v] = &mut padded;
        idle_vector(simd, steps, calm, p, m, v);
        for (padded, rest) in padded.iter().zip(rests) {
            rest.copy_from_slice(&padded[..rest.len()]);
        }
    }
}

/// The steps on one vector.
///
/// While learning rates do not rise, a change is at most 0.92 of the one before: the
/// first moment falls to 0.9, and the corrections with the second moment's root take
/// back 2 % at most. So once the changes are too small for the values, only the
/// moments go through the steps that are left.
#[inline(always)]
fn idle_vector<S: Wide>(
    simd: S,
    steps: &[AdamStep],
    calm: usize,
    values: &mut [f32; LANES],
    first: &mut [f32; LANES],
    second: &mut [f32; LANES],
) {
    if calm == 0 && [&*first, &*second].into_iter().flatten().all(|moment| moment.to_bits() == 0) {
        return;
    }
    let zero = simd.splat(0.0);
    let (mut p, mut m, mut v) = (simd.load(values), simd.load(first), simd.load(second));
    let mut done = 0;
    for part in steps.chunks(STRIDE) {
        let mut change = zero;
        for step in part {
            m = simd.fused(simd.splat(KEPT[0]), m, zero);
            v = simd.fused(simd.splat(KEPT[1]), v, zero);
            change = change_of(simd, *step, m, v);
            p = simd.minus(p, change);
        }
        done += part.len();
        if done < steps.len() && done > calm && rounds_away(simd, change, p) {
            break;
        }
    }
    simd.store(p, values);
    for part in steps[done..].chunks(STRIDE) {
        simd.store(m, first);
        simd.store(v, second);
        for _ in part {
            m = simd.fused(simd.splat(KEPT[0]), m, zero);
            v = simd.fused(simd.splat(KEPT[1]), v, zero);
        }
        let (mut now, mut now_second) = ([0.0; LANES], [0.0; LANES]);
        simd.store(m, &mut now);
        simd.store(v, &mut now_second);
        if now.map(f32::to_bits) == first.map(f32::to_bits) && now_second.map(f32::to_bits) == second.map(f32::to_bits)
        {
            break;
        }
    }
    simd.store(m, first);
    simd.store(v, second);
}

/// Whether this change and all smaller ones leave all values as they are.
#[inline(always)]
fn rounds_away<S: Wide>(simd: S, change: S::Vector, values: S::Vector) -> bool {
    let (mut changes, mut sizes) = ([0.0; LANES], [0.0; LANES]);
    simd.store(simd.magnitude(change), &mut changes);
    simd.store(simd.magnitude(values), &mut sizes);
    changes.iter().zip(&sizes).all(|(change, size)| *change <= size * SHARE && *size >= VALUE)
}

/// What a step takes from the values, given the moments after it.
#[inline(always)]
fn change_of<S: Wide>(simd: S, step: AdamStep, first: S::Vector, second: S::Vector) -> S::Vector {
    let below = simd.plus(simd.over(simd.root(second), simd.splat(step.root)), simd.splat(EPSILON));
    simd.over(simd.times(simd.splat(step.rate), first), below)
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
    let m = simd.fused(constant(KEPT[0]), simd.load(first), simd.times(constant(0.1), gradient));
    let squares = simd.times(simd.times(constant(0.001), gradient), gradient);
    let v = simd.fused(constant(KEPT[1]), simd.load(second), squares);
    simd.store(simd.minus(simd.load(values), change_of(simd, step, m, v)), values);
    simd.store(m, first);
    simd.store(v, second);
    *gradients = [0.0; LANES];
}
