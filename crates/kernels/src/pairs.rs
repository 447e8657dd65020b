//! The scorer's small network over numbers of pairs (dot compress in its
//! factored form): a linear map of five numbers, normalisation, an activation,
//! a linear layer, the same again, and a last row. Pairs stand in the lanes, so
//! that sums over the units of a layer need no shuffling, and a block of pairs
//! goes through everything while it is in the first cache.
//!
//! The mean over a layer's units is linear in its inputs: it is taken out of the
//! weights once ([`PairNet::new`]) instead of out of every pair.

use crate::gelu::{gelu_and_slope_vector, gelu_vector};
use crate::wide::{LANES, Wide, dispatch};

/// Vectors of a block.
const VECTORS: usize = 3;
/// Pairs that go through the network together.
pub const BLOCK: usize = VECTORS * LANES;
/// How many numbers a pair has: `u.u`, `u.i`, `i.i`, sum of `u`, sum of `i`.
pub const NUMBERS: usize = 5;
/// What PyTorch's `LayerNorm` adds to the variance.
const LAYER_NORM_EPSILON: f32 = 1e-5;
/// Units that a tile of the second layer takes at most; strips are filled up to it.
const STRIP: usize = 24;

/// One value of each pair of a block.
pub type BlockRow = [[f32; LANES]; VECTORS];

/// The weights of the network, as the model has them.
#[derive(Debug, Clone, Copy)]
pub struct PairWeights<'a> {
    /// What each of the five numbers adds to the first layer, each `[first]`.
    pub factors: [&'a [f32]; NUMBERS],
    /// The first layer's bias `[first]`.
    pub first_bias: &'a [f32],
    /// Factor and shift behind the normalisations, `[first]` and `[second]`.
    pub norms: [[&'a [f32]; 2]; 2],
    /// The second layer `[second, first]`.
    pub second: &'a [f32],
    /// Its bias `[second]`.
    pub second_bias: &'a [f32],
    /// The last row `[second]`.
    pub last: &'a [f32],
    /// Its bias.
    pub last_bias: f32,
    /// `max(x, 0)` instead of GELU.
    pub rectified: bool,
}

/// A network laid out for blocks of pairs.
#[derive(Debug, Clone)]
pub struct PairNet {
    /// For each unit of the first layer: the five factors and the bias, without
    /// their means over the units, then factor and shift of its normalisation.
    first: Vec<[f32; 8]>,
    /// The second layer without its means, in strips of units by depth.
    second: Vec<f32>,
    /// Its transpose, in strips of the first layer's units by depth.
    second_backward: Vec<f32>,
    /// For each unit of the second layer: bias without the mean, factor, shift, last row.
    units: Vec<[f32; 4]>,
    last_bias: f32,
    rectified: bool,
    height: usize,
}

/// Memory for one block on its way forward.
#[derive(Debug, Clone, Default)]
pub struct PairScratch {
    first: Vec<BlockRow>,
    second: Vec<BlockRow>,
}

/// What a block leaves for its way back.
#[derive(Debug, Clone, Default)]
pub struct PairTrace {
    /// After normalisation, after the activation, and the activation's slope.
    first: [Vec<BlockRow>; 3],
    second: [Vec<BlockRow>; 3],
    scales: [BlockRow; 2],
}

/// Gradients of the weights, lane by lane, and memory for the way back.
#[derive(Debug, Clone)]
pub struct PairGradients {
    /// For each unit of the first layer: the five factors, bias, norm's factor and shift.
    first: Vec<[[f32; LANES]; 8]>,
    /// For each unit of the second layer: bias, norm's factor and shift, last row.
    units: Vec<[[f32; LANES]; 4]>,
    last_bias: f32,
    /// `[first, second]`, filled up to whole tiles.
    second: Vec<f32>,
    flowing: Vec<BlockRow>,
    flowing_first: Vec<BlockRow>,
    turned: Vec<f32>,
    turned_width: usize,
}

/// The gradients of [`PairWeights`], in its order.
#[derive(Debug, Clone)]
pub struct PairWeightGradients {
    /// Of the factors.
    pub factors: [Vec<f32>; NUMBERS],
    /// Of the first layer's bias.
    pub first_bias: Vec<f32>,
    /// Of the normalisations' factors and shifts.
    pub norms: [[Vec<f32>; 2]; 2],
    /// Of the second layer `[second, first]`.
    pub second: Vec<f32>,
    /// Of its bias.
    pub second_bias: Vec<f32>,
    /// Of the last row.
    pub last: Vec<f32>,
    /// Of its bias.
    pub last_bias: f32,
}

/// Rows of a register tile on this processor.
fn tile_height() -> usize {
    #[cfg(target_arch = "x86_64")]
    if pulp::x86::V4::is_available() {
        return 8;
    }
    6
}

impl PairNet {
    /// Lays the weights out.
    pub fn new(weights: &PairWeights<'_>) -> Self {
        Self::with_height(weights, tile_height())
    }

    pub(crate) fn with_height(weights: &PairWeights<'_>, height: usize) -> Self {
        let (first_count, second_count) = (weights.first_bias.len(), weights.second_bias.len());
        let centred = |values: &[f32]| {
            let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / values.len().max(1) as f64;
            values.iter().map(|v| (f64::from(*v) - mean) as f32).collect::<Vec<_>>()
        };
        let columns: Vec<Vec<f32>> =
            weights.factors.iter().chain([&weights.first_bias]).map(|values| centred(values)).collect();
        let first = (0..first_count)
            .map(|unit| {
                std::array::from_fn(|at| match at {
                    0..6 => columns[at][unit],
                    _ => weights.norms[0][at - 6][unit],
                })
            })
            .collect();
        let bias = centred(weights.second_bias);
        let [factor, shift] = weights.norms[1];
        let units = (0..second_count).map(|unit| [bias[unit], factor[unit], shift[unit], weights.last[unit]]).collect();
        let mut second = vec![0.0; second_count.next_multiple_of(height) * first_count];
        let mut second_backward = vec![0.0; first_count.next_multiple_of(height) * second_count];
        for depth in 0..first_count {
            let column: Vec<f32> = (0..second_count).map(|unit| weights.second[unit * first_count + depth]).collect();
            for (unit, value) in centred(&column).into_iter().enumerate() {
                second[(unit / height * first_count + depth) * height + unit % height] = value;
                second_backward[(depth / height * second_count + unit) * height + depth % height] = value;
            }
        }
        let (last_bias, rectified) = (weights.last_bias, weights.rectified);
        Self { first, second, second_backward, units, last_bias, rectified, height }
    }

    /// Replaces the inner products of one user with items by the pairs' scores.
    ///
    /// # Shapes
    /// `scores`, `item_squares` and `item_sums` `[items]`; `user` is the user's
    /// own square and sum.
    pub fn score(
        &self,
        user: [f32; 2],
        scores: &mut [f32],
        item_squares: &[f32],
        item_sums: &[f32],
        scratch: &mut PairScratch,
    ) {
        dispatch!(score_on(self, user, scores, item_squares, item_sums, scratch));
    }

    /// What the network gives for a block, and what the way back needs.
    pub fn forward(&self, numbers: &[BlockRow; NUMBERS], trace: &mut PairTrace) -> BlockRow {
        dispatch!(forward_on(self, numbers, trace))
    }

    /// Adds the weights' gradients of a block, given those of what it gave;
    /// returns those of its numbers.
    pub fn backward(
        &self,
        numbers: &[BlockRow; NUMBERS],
        trace: &PairTrace,
        gradient: &BlockRow,
        gradients: &mut PairGradients,
    ) -> [BlockRow; NUMBERS] {
        dispatch!(backward_on(self, numbers, trace, gradient, gradients))
    }
}

type Wides<S> = [<S as Wide>::Vector; VECTORS];

#[inline(always)]
fn read<S: Wide>(simd: S, row: &BlockRow) -> Wides<S> {
    [simd.load(&row[0]), simd.load(&row[1]), simd.load(&row[2])]
}

#[inline(always)]
fn write<S: Wide>(simd: S, values: Wides<S>, row: &mut BlockRow) {
    for (value, target) in values.into_iter().zip(row) {
        simd.store(value, target);
    }
}

/// What rows are multiplied by to have variance 1, from the sums of their squares.
#[inline(always)]
fn scale_of<S: Wide>(simd: S, squares: Wides<S>, count: usize) -> Wides<S> {
    squares.map(|sum| {
        let variance = simd.times(sum, simd.splat(1.0 / count as f32));
        simd.over(simd.splat(1.0), simd.root(simd.plus(variance, simd.splat(LAYER_NORM_EPSILON))))
    })
}

#[inline(always)]
fn activate<S: Wide>(simd: S, rectified: bool, x: S::Vector) -> S::Vector {
    if rectified { simd.larger(simd.splat(0.0), x) } else { gelu_vector(simd, x) }
}

#[inline(always)]
pub(crate) fn score_on<S: Wide>(
    simd: S,
    net: &PairNet,
    user: [f32; 2],
    scores: &mut [f32],
    item_squares: &[f32],
    item_sums: &[f32],
    scratch: &mut PairScratch,
) {
    // For each unit: what the user decides, then the factors of the item's numbers.
    scratch.first.resize(net.first.len(), BlockRow::default());
    scratch.second.resize(net.second.len() / net.first.len().max(1), BlockRow::default());
    let items = scores.chunks_mut(BLOCK).zip(item_squares.chunks(BLOCK).zip(item_sums.chunks(BLOCK)));
    for (scores, (squares, sums)) in items {
        let mut numbers = [[[0.0; LANES]; VECTORS]; 3];
        for (row, values) in numbers.iter_mut().zip([&*scores, squares, sums]) {
            row.as_flattened_mut()[..values.len()].copy_from_slice(values);
        }
        let out = score_block(simd, net, user, &numbers, scratch);
        scores.copy_from_slice(&out.as_flattened()[..scores.len()]);
    }
}

#[inline(always)]
fn score_block<S: Wide>(
    simd: S,
    net: &PairNet,
    [user_square, user_sum]: [f32; 2],
    numbers: &[BlockRow; 3],
    scratch: &mut PairScratch,
) -> BlockRow {
    let [user_item, item_square, item_sum] = [0, 1, 2].map(|at| read(simd, &numbers[at]));
    let mut squares = [simd.splat(0.0); VECTORS];
    let (uu, us) = (simd.splat(user_square), simd.splat(user_sum));
    for (unit, row) in net.first.iter().zip(&mut scratch.first) {
        let base = simd.fused(us, simd.splat(unit[3]), simd.fused(uu, simd.splat(unit[0]), simd.splat(unit[5])));
        let factors = [1, 2, 4].map(|at| simd.splat(unit[at]));
        let mut values = [base; VECTORS];
        for at in 0..VECTORS {
            values[at] = simd.fused(user_item[at], factors[0], values[at]);
            values[at] = simd.fused(item_square[at], factors[1], values[at]);
            values[at] = simd.fused(item_sum[at], factors[2], values[at]);
            squares[at] = simd.fused(values[at], values[at], squares[at]);
        }
        write(simd, values, row);
    }
    let scale = scale_of(simd, squares, net.first.len());
    for (unit, row) in net.first.iter().zip(&mut scratch.first) {
        let (factor, shift) = (simd.splat(unit[6]), simd.splat(unit[7]));
        for (value, scale) in row.iter_mut().zip(scale) {
            let shifted = simd.fused(simd.times(simd.load(value), scale), factor, shift);
            simd.store(activate(simd, net.rectified, shifted), value);
        }
    }
    product(simd, &net.second, &scratch.first, net.height, &mut scratch.second);
    let mut squares = [simd.splat(0.0); VECTORS];
    for (unit, row) in net.units.iter().zip(&mut scratch.second) {
        for (value, square) in row.iter_mut().zip(&mut squares) {
            let biased = simd.plus(simd.load(value), simd.splat(unit[0]));
            *square = simd.fused(biased, biased, *square);
            simd.store(biased, value);
        }
    }
    let scale = scale_of(simd, squares, net.units.len());
    let mut out = [simd.splat(net.last_bias); VECTORS];
    for (unit, row) in net.units.iter().zip(&scratch.second) {
        let [_, factor, shift, last] = unit.map(|value| simd.splat(value));
        for at in 0..VECTORS {
            let shifted = simd.fused(simd.times(simd.load(&row[at]), scale[at]), factor, shift);
            out[at] = simd.fused(activate(simd, net.rectified, shifted), last, out[at]);
        }
    }
    let mut result = BlockRow::default();
    write(simd, out, &mut result);
    result
}

/// `out[unit] = sum of strips[unit, depth] * panel[depth]`.
#[inline(always)]
fn product<S: Wide>(simd: S, strips: &[f32], panel: &[BlockRow], height: usize, out: &mut [BlockRow]) {
    if panel.is_empty() {
        return;
    }
    if height == 8 {
        for (strip, out) in strips.chunks_exact(8 * panel.len()).zip(out.as_chunks_mut::<8>().0) {
            let mut sums = [[simd.splat(0.0); VECTORS]; 8];
            for (a, b) in strip.as_chunks::<8>().0.iter().zip(panel) {
                let b = read(simd, b);
                for (sums, a) in sums.iter_mut().zip(a) {
                    let a = simd.splat(*a);
                    for at in 0..VECTORS {
                        sums[at] = simd.fused(a, b[at], sums[at]);
                    }
                }
            }
            for (sums, out) in sums.into_iter().zip(out) {
                write(simd, sums, out);
            }
        }
    } else {
        for (strip, out) in strips.chunks_exact(6 * panel.len()).zip(out.as_chunks_mut::<6>().0) {
            for at in 0..VECTORS {
                let mut sums = [simd.splat(0.0); 6];
                for (a, b) in strip.as_chunks::<6>().0.iter().zip(panel) {
                    let b = simd.load(&b[at]);
                    for (sum, a) in sums.iter_mut().zip(a) {
                        *sum = simd.fused(simd.splat(*a), b, *sum);
                    }
                }
                for (sum, out) in sums.into_iter().zip(out.iter_mut()) {
                    simd.store(sum, &mut out[at]);
                }
            }
        }
    }
}

#[inline(always)]
pub(crate) fn forward_on<S: Wide>(
    simd: S,
    net: &PairNet,
    numbers: &[BlockRow; NUMBERS],
    trace: &mut PairTrace,
) -> BlockRow {
    let units = net.second.len() / net.first.len().max(1);
    trace.first.iter_mut().for_each(|rows| rows.resize(net.first.len(), BlockRow::default()));
    trace.second.iter_mut().for_each(|rows| rows.resize(units, BlockRow::default()));
    let inputs = [0, 1, 2, 3, 4].map(|at| read(simd, &numbers[at]));
    let mut squares = [simd.splat(0.0); VECTORS];
    for (unit, row) in net.first.iter().zip(&mut trace.first[0]) {
        let mut values = [simd.splat(unit[5]); VECTORS];
        for at in 0..VECTORS {
            // In the order of `score_block`: the same pair has the same bits.
            for number in [0, 3, 1, 2, 4] {
                values[at] = simd.fused(inputs[number][at], simd.splat(unit[number]), values[at]);
            }
            squares[at] = simd.fused(values[at], values[at], squares[at]);
        }
        write(simd, values, row);
    }
    let scale = scale_of(simd, squares, net.first.len());
    write(simd, scale, &mut trace.scales[0]);
    let [normal, active, slope] = &mut trace.first;
    for (unit, ((normal, active), slope)) in net.first.iter().zip(normal.iter_mut().zip(active).zip(slope)) {
        through(simd, net.rectified, scale, [unit[6], unit[7]], [normal, active, slope]);
    }
    product(simd, &net.second, &trace.first[1], net.height, &mut trace.second[0]);
    let mut squares = [simd.splat(0.0); VECTORS];
    for (unit, row) in net.units.iter().zip(&mut trace.second[0]) {
        for (value, square) in row.iter_mut().zip(&mut squares) {
            let biased = simd.plus(simd.load(value), simd.splat(unit[0]));
            *square = simd.fused(biased, biased, *square);
            simd.store(biased, value);
        }
    }
    let scale = scale_of(simd, squares, net.units.len());
    write(simd, scale, &mut trace.scales[1]);
    let mut out = [simd.splat(net.last_bias); VECTORS];
    let [normal, active, slope] = &mut trace.second;
    for (unit, ((normal, active), slope)) in net.units.iter().zip(normal.iter_mut().zip(active).zip(slope)) {
        let values = through(simd, net.rectified, scale, [unit[1], unit[2]], [normal, active, slope]);
        for at in 0..VECTORS {
            out[at] = simd.fused(values[at], simd.splat(unit[3]), out[at]);
        }
    }
    let mut result = BlockRow::default();
    write(simd, out, &mut result);
    result
}

/// Scales a row, keeps it, and sends it through factor, shift and activation.
#[inline(always)]
fn through<S: Wide>(
    simd: S,
    rectified: bool,
    scale: Wides<S>,
    [factor, shift]: [f32; 2],
    [normal, active, slope]: [&mut BlockRow; 3],
) -> Wides<S> {
    let mut values = read(simd, normal);
    for at in 0..VECTORS {
        let scaled = simd.times(values[at], scale[at]);
        simd.store(scaled, &mut normal[at]);
        let shifted = simd.fused(scaled, simd.splat(factor), simd.splat(shift));
        let (value, derivative) = if rectified {
            let value = simd.larger(simd.splat(0.0), shifted);
            // 1 above zero, else 0.
            let half = simd.splat(0.5);
            (value, simd.minus(half, simd.signed(half, simd.minus(simd.splat(0.0), shifted))))
        } else {
            gelu_and_slope_vector(simd, shifted)
        };
        values[at] = value;
        simd.store(value, &mut active[at]);
        simd.store(derivative, &mut slope[at]);
    }
    values
}

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
