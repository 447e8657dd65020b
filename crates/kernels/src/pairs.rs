//! The scorer's small network over numbers of pairs (dot compress in its
//! factored form): a linear map of five numbers, normalisation, an activation,
//! a linear layer, the same again, and a last row. Pairs stand in the lanes, so
//! that sums over the units of a layer need no shuffling, and a block of pairs
//! goes through everything while it is in the first cache.
//!
//! The mean over a layer's units is linear in its inputs: it is taken out of the
//! weights once ([`PairNet::new`]) instead of out of every pair.

mod backward;

pub(crate) use backward::backward_on;

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
