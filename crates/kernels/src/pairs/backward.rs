//! The way back of a block of pairs, and the weights' gradients on it.

use super::{
    BLOCK, BlockRow, NUMBERS, PairGradients, PairNet, PairTrace, PairWeightGradients, STRIP, VECTORS, Wides, product,
    read, write,
};
use crate::wide::{LANES, Wide};

impl PairGradients {
    /// All zero.
    pub fn zero(net: &PairNet) -> Self {
        let (first, second) = (net.first.len(), net.units.len());
        let turned_width = second.next_multiple_of(2 * LANES);
        Self {
            first: vec![[[0.0; LANES]; 8]; first],
            units: vec![[[0.0; LANES]; 4]; second],
            last_bias: 0.0,
            second: vec![0.0; first.next_multiple_of(8) * turned_width],
            flowing: vec![BlockRow::default(); second],
            flowing_first: vec![BlockRow::default(); first.next_multiple_of(STRIP)],
            turned: vec![0.0; BLOCK * turned_width],
            turned_width,
        }
    }

    /// The sums over the lanes.
    pub fn finish(&self) -> PairWeightGradients {
        let sums = |rows: &mut dyn Iterator<Item = &[f32; LANES]>| rows.map(|lanes| crate::sum(lanes)).collect();
        let of_first = |at: usize| -> Vec<f32> { sums(&mut self.first.iter().map(|unit| &unit[at])) };
        let of_units = |at: usize| -> Vec<f32> { sums(&mut self.units.iter().map(|unit| &unit[at])) };
        let (first, second) = (self.first.len(), self.units.len());
        let mut weight = vec![0.0; first * second];
        for (depth, row) in self.second.chunks_exact(self.turned_width.max(1)).take(first).enumerate() {
            row.iter().take(second).enumerate().for_each(|(unit, value)| weight[unit * first + depth] = *value);
        }
        PairWeightGradients {
            factors: [0, 1, 2, 3, 4].map(of_first),
            first_bias: of_first(5),
            norms: [[of_first(6), of_first(7)], [of_units(1), of_units(2)]],
            second: weight,
            second_bias: of_units(0),
            last: of_units(3),
            last_bias: self.last_bias,
        }
    }
}

/// Adds the products of two rows to lanes.
#[inline(always)]
fn gather<S: Wide>(simd: S, a: Wides<S>, b: Wides<S>, lanes: &mut [f32; LANES]) {
    let mut sum = simd.load(lanes);
    for at in 0..VECTORS {
        sum = simd.fused(a[at], b[at], sum);
    }
    simd.store(sum, lanes);
}

/// Adds a row to lanes.
#[inline(always)]
fn gather_row<S: Wide>(simd: S, row: Wides<S>, lanes: &mut [f32; LANES]) {
    let mut sum = simd.load(lanes);
    for value in row {
        sum = simd.plus(sum, value);
    }
    simd.store(sum, lanes);
}

/// The gradient before a normalisation: `scale * (g - mean - normal * along)`.
#[inline(always)]
fn before_norm<S: Wide>(
    simd: S,
    row: &mut BlockRow,
    normal: &BlockRow,
    [mean, along, scale]: [Wides<S>; 3],
) -> Wides<S> {
    let (mut values, normal) = (read(simd, row), read(simd, normal));
    for at in 0..VECTORS {
        let centred = simd.minus(values[at], mean[at]);
        values[at] = simd.times(scale[at], simd.minus(centred, simd.times(normal[at], along[at])));
    }
    write(simd, values, row);
    values
}

#[inline(always)]
pub(crate) fn backward_on<S: Wide>(
    simd: S,
    net: &PairNet,
    numbers: &[BlockRow; NUMBERS],
    trace: &PairTrace,
    gradient: &BlockRow,
    gradients: &mut PairGradients,
) -> [BlockRow; NUMBERS] {
    let given = read(simd, gradient);
    gradients.last_bias += gradient.iter().flatten().sum::<f32>();
    let zero = [simd.splat(0.0); VECTORS];
    let (mut mean, mut along) = (zero, zero);
    for (at, (unit, sums)) in net.units.iter().zip(&mut gradients.units).enumerate() {
        let [normal, active, slope] = [0, 1, 2].map(|part| read(simd, &trace.second[part][at]));
        gather(simd, given, active, &mut sums[3]);
        let mut flow = given;
        for lane in 0..VECTORS {
            flow[lane] = simd.times(simd.times(given[lane], simd.splat(unit[3])), slope[lane]);
        }
        let flow = norm_gradients(simd, flow, normal, unit[1], &mut sums[1..3], [&mut mean, &mut along]);
        write(simd, flow, &mut gradients.flowing[at]);
    }
    let share = simd.splat(1.0 / net.units.len().max(1) as f32);
    let parts = [mean.map(|v| simd.times(v, share)), along.map(|v| simd.times(v, share)), read(simd, &trace.scales[1])];
    for (at, sums) in gradients.units.iter_mut().enumerate() {
        let flow = before_norm(simd, &mut gradients.flowing[at], &trace.second[0][at], parts);
        gather_row(simd, flow, &mut sums[0]);
    }
    second_gradient(simd, trace, gradients);
    product(simd, &net.second_backward, &gradients.flowing, net.height, &mut gradients.flowing_first);
    let (mut mean, mut along) = (zero, zero);
    for (at, (unit, sums)) in net.first.iter().zip(&mut gradients.first).enumerate() {
        let [normal, slope] = [0, 2].map(|part| read(simd, &trace.first[part][at]));
        let mut flow = read(simd, &gradients.flowing_first[at]);
        for lane in 0..VECTORS {
            flow[lane] = simd.times(flow[lane], slope[lane]);
        }
        let flow = norm_gradients(simd, flow, normal, unit[6], &mut sums[6..8], [&mut mean, &mut along]);
        write(simd, flow, &mut gradients.flowing_first[at]);
    }
    let share = simd.splat(1.0 / net.first.len().max(1) as f32);
    let parts = [mean.map(|v| simd.times(v, share)), along.map(|v| simd.times(v, share)), read(simd, &trace.scales[0])];
    let mut out = [zero; NUMBERS];
    for (at, (unit, sums)) in net.first.iter().zip(&mut gradients.first).enumerate() {
        let flow = before_norm(simd, &mut gradients.flowing_first[at], &trace.first[0][at], parts);
        for number in 0..NUMBERS {
            gather(simd, flow, read(simd, &numbers[number]), &mut sums[number]);
            for lane in 0..VECTORS {
                out[number][lane] = simd.fused(flow[lane], simd.splat(unit[number]), out[number][lane]);
            }
        }
        gather_row(simd, flow, &mut sums[5]);
    }
    let mut result = [BlockRow::default(); NUMBERS];
    for (values, row) in out.into_iter().zip(&mut result) {
        write(simd, values, row);
    }
    result
}

/// Adds the gradients of a normalisation's factor and shift, and gives the
/// gradient before them, gathering what the normalisation needs.
#[inline(always)]
fn norm_gradients<S: Wide>(
    simd: S,
    mut flow: Wides<S>,
    normal: Wides<S>,
    factor: f32,
    sums: &mut [[f32; LANES]],
    [mean, along]: [&mut Wides<S>; 2],
) -> Wides<S> {
    gather(simd, flow, normal, &mut sums[0]);
    gather_row(simd, flow, &mut sums[1]);
    for at in 0..VECTORS {
        flow[at] = simd.times(flow[at], simd.splat(factor));
        mean[at] = simd.plus(mean[at], flow[at]);
        along[at] = simd.fused(flow[at], normal[at], along[at]);
    }
    flow
}

/// Adds `active[first, pair] * flowing[second, pair]` over the pairs.
#[inline(always)]
fn second_gradient<S: Wide>(simd: S, trace: &PairTrace, gradients: &mut PairGradients) {
    let width = gradients.turned_width;
    for (unit, row) in gradients.flowing.iter().enumerate() {
        for (value, target) in row.as_flattened().iter().zip(gradients.turned.chunks_exact_mut(width)) {
            target[unit] = *value;
        }
    }
    let (rows, rest) = trace.first[1].as_chunks::<8>();
    let mut last = [BlockRow::default(); 8];
    last[..rest.len()].copy_from_slice(rest);
    let last = (!rest.is_empty()).then_some(&last);
    for (rows, target) in rows.iter().chain(last).zip(gradients.second.chunks_exact_mut(8 * width)) {
        for start in (0..width).step_by(2 * LANES) {
            second_tile(simd, rows, &gradients.turned, [width, start], target);
        }
    }
}

#[inline(always)]
fn second_tile<S: Wide>(simd: S, rows: &[BlockRow; 8], turned: &[f32], [width, start]: [usize; 2], target: &mut [f32]) {
    let mut sums = [[simd.splat(0.0); 2]; 8];
    for (sums, target) in sums.iter_mut().zip(target.chunks_exact(width)) {
        for (sum, target) in sums.iter_mut().zip(target[start..].as_chunks().0) {
            *sum = simd.load(target);
        }
    }
    for (pair, right) in turned.chunks_exact(width).enumerate().take(BLOCK) {
        let Some([b, c]) = right[start..].as_chunks::<LANES>().0.first_chunk::<2>() else { return };
        let (b, c) = (simd.load(b), simd.load(c));
        for (sums, row) in sums.iter_mut().zip(rows) {
            let a = simd.splat(row.as_flattened()[pair]);
            *sums = [simd.fused(a, b, sums[0]), simd.fused(a, c, sums[1])];
        }
    }
    for (sums, target) in sums.into_iter().zip(target.chunks_exact_mut(width)) {
        for (sum, target) in sums.into_iter().zip(target[start..].as_chunks_mut().0) {
            simd.store(sum, target);
        }
    }
}
