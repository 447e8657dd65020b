//! Small dense kernels in plain Rust, compiled for wide vectors where the
//! processor has them: matrix products, layer normalisation, GELU, Adam.
//!
//! Every result is a fixed sequence of roundings, so it depends neither on the
//! number of threads nor on how the work is cut. Not a tensor library: shapes
//! are the caller's business, and matrices are row-major slices.

#![expect(
    clippy::inline_always,
    reason = "what runs with wide vectors must be inlined into the function that enables them"
)]

/// Rows of a register tile of [`Packed::product`].
const TILE_ROWS: usize = 6;
/// Columns of a register tile, and of a panel of [`Packed`].
const TILE_COLUMNS: usize = 16;
/// Lanes of a sum: fixed, so that sums are the same on every processor.
const LANES: usize = 16;
/// What PyTorch's `LayerNorm` adds to the variance.
const LAYER_NORM_EPSILON: f32 = 1e-5;

/// `erf(x / sqrt 2)` on [-5.6, 5.6] is `x * P(x^2) / Q(x^2)` to 2e-8: our own
/// least-maximum fit. Lowest power first.
const ERF_NUMERATOR: [f32; 6] =
    [0.797_884_44, 0.068_751_305, 0.009_414_459, 0.000_347_691_94, 1.271_297_4e-5, 4.429_115e-8];
const ERF_DENOMINATOR: [f32; 6] = [1.0, 0.252_832_7, 0.028_939_822, 0.001_912_950_9, 7.510_034_6e-5, 1.180_216_5e-6];

/// Runs `$body` with `FUSED` true and wide vectors where the processor has
/// AVX2 and FMA (or always fuses), else with `FUSED` false.
macro_rules! dispatch {
    ($name:ident ( $($argument:expr),* $(,)? )) => {{
        #[cfg(target_arch = "x86_64")]
        {
            if let Some(simd) = pulp::x86::V3::try_new() {
                return pulp::Simd::vectorize(simd, || $name::<true>($($argument),*));
            }
            $name::<false>($($argument),*)
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            $name::<{ cfg!(target_arch = "aarch64") }>($($argument),*)
        }
    }};
}

#[inline(always)]
fn fma<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FUSED { a.mul_add(b, c) } else { a * b + c }
}

/// A matrix `[depth, columns]` cut into panels of 16 columns, ready to stand
/// on the right of a product. Reusing one keeps its memory.
#[derive(Debug, Clone, Default)]
pub struct Packed {
    panels: Vec<f32>,
    depth: usize,
    columns: usize,
}

impl Packed {
    /// Packs the row-major `matrix` `[depth, columns]`.
    pub fn pack(&mut self, matrix: &[f32], depth: usize, columns: usize) {
        self.reset(depth, columns);
        if columns == 0 || depth == 0 {
            return;
        }
        for (panel, start) in self.panels.chunks_exact_mut(depth * TILE_COLUMNS).zip((0..).step_by(TILE_COLUMNS)) {
            let width = TILE_COLUMNS.min(columns - start);
            for (row, target) in matrix.chunks_exact(columns).zip(panel.as_chunks_mut::<TILE_COLUMNS>().0) {
                target[..width].copy_from_slice(&row[start..start + width]);
            }
        }
    }

    /// Packs the transpose of the row-major `matrix` `[columns, depth]`.
    pub fn pack_transposed(&mut self, matrix: &[f32], depth: usize, columns: usize) {
        self.reset(depth, columns);
        if columns == 0 || depth == 0 {
            return;
        }
        for (column, row) in matrix.chunks_exact(depth).enumerate() {
            let panel = &mut self.panels[(column / TILE_COLUMNS) * depth * TILE_COLUMNS..];
            for (value, target) in row.iter().zip(panel.as_chunks_mut::<TILE_COLUMNS>().0) {
                target[column % TILE_COLUMNS] = *value;
            }
        }
    }

    fn reset(&mut self, depth: usize, columns: usize) {
        (self.depth, self.columns) = (depth, columns);
        self.panels.clear();
        self.panels.resize(columns.div_ceil(TILE_COLUMNS) * depth * TILE_COLUMNS, 0.0);
    }

    /// `out = left * self (+ bias)`, or `out += left * self` when adding.
    ///
    /// # Shapes
    /// `left` `[rows, depth]`, or `[depth, rows]` when `left_transposed`;
    /// `out` `[rows, columns]`; `bias` `[columns]`.
    pub fn product(&self, left: Left<'_>, rows: usize, out: &mut [f32], mode: Mode<'_>) {
        if rows == 0 || self.columns == 0 {
            return;
        }
        product_tiles_dispatched(self, left, rows, out, mode);
    }
}

/// The left side of a product.
#[derive(Clone, Copy)]
pub enum Left<'a> {
    /// Row-major `[rows, depth]`.
    Plain(&'a [f32]),
    /// Row-major `[depth, rows]`: its transpose is multiplied.
    Transposed(&'a [f32]),
}

/// What becomes of the product.
#[derive(Clone, Copy)]
pub enum Mode<'a> {
    /// It replaces what was there.
    Set,
    /// It replaces what was there, plus this row.
    Bias(&'a [f32]),
    /// It is added to what was there.
    Add,
}

fn product_tiles_dispatched(right: &Packed, left: Left<'_>, rows: usize, out: &mut [f32], mode: Mode<'_>) {
    dispatch!(product_tiles(right, left, rows, out, mode));
}

#[inline(always)]
fn product_tiles<const FUSED: bool>(right: &Packed, left: Left<'_>, rows: usize, out: &mut [f32], mode: Mode<'_>) {
    let (depth, columns) = (right.depth, right.columns);
    let mut strip = vec![0.0; depth * TILE_ROWS];
    for first in (0..rows).step_by(TILE_ROWS) {
        let height = TILE_ROWS.min(rows - first);
        fill_strip(&mut strip, left, depth, rows, first, height);
        for panel in 0..columns.div_ceil(TILE_COLUMNS) {
            let start = panel * TILE_COLUMNS;
            let width = TILE_COLUMNS.min(columns - start);
            let tile = tile::<FUSED>(&strip, &right.panels[panel * depth * TILE_COLUMNS..][..depth * TILE_COLUMNS]);
            for (row, values) in tile.iter().enumerate().take(height) {
                let at = (first + row) * columns + start;
                let target = &mut out[at..at + width];
                match mode {
                    Mode::Set => target.copy_from_slice(&values[..width]),
                    Mode::Bias(bias) => {
                        for ((t, v), b) in target.iter_mut().zip(values).zip(&bias[start..start + width]) {
                            *t = v + b;
                        }
                    }
                    Mode::Add => target.iter_mut().zip(values).for_each(|(t, v)| *t += v),
                }
            }
        }
    }
}

#[inline(always)]
fn fill_strip(strip: &mut [f32], left: Left<'_>, depth: usize, rows: usize, first: usize, height: usize) {
    let targets = strip.as_chunks_mut::<TILE_ROWS>().0;
    match left {
        Left::Plain(matrix) => {
            for row in 0..TILE_ROWS {
                if row < height {
                    let source = &matrix[(first + row) * depth..][..depth];
                    source.iter().zip(targets.iter_mut()).for_each(|(value, target)| target[row] = *value);
                } else {
                    for target in targets.iter_mut() {
                        target[row] = 0.0;
                    }
                }
            }
        }
        Left::Transposed(matrix) => {
            for (source, target) in matrix.chunks_exact(rows).zip(targets) {
                target[..height].copy_from_slice(&source[first..first + height]);
                target[height..].fill(0.0);
            }
        }
    }
}

#[inline(always)]
fn tile<const FUSED: bool>(strip: &[f32], panel: &[f32]) -> [[f32; TILE_COLUMNS]; TILE_ROWS] {
    let mut sums = [[0.0f32; TILE_COLUMNS]; TILE_ROWS];
    for (a, b) in strip.as_chunks::<TILE_ROWS>().0.iter().zip(panel.as_chunks::<TILE_COLUMNS>().0) {
        for row in 0..TILE_ROWS {
            for column in 0..TILE_COLUMNS {
                sums[row][column] = fma::<FUSED>(a[row], b[column], sums[row][column]);
            }
        }
    }
    sums
}

/// The inner product of two slices of equal length.
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    dispatch!(dot_lanes(a, b))
}

#[inline(always)]
fn dot_lanes<const FUSED: bool>(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (x, y) in a.iter().zip(b) {
        for lane in 0..LANES {
            lanes[lane] = fma::<FUSED>(x[lane], y[lane], lanes[lane]);
        }
    }
    for ((x, y), lane) in a_rest.iter().zip(b_rest).zip(&mut lanes) {
        *lane = fma::<FUSED>(*x, *y, *lane);
    }
    fold(lanes)
}

/// The sum of a slice.
pub fn sum(values: &[f32]) -> f32 {
    dispatch!(sum_lanes(values))
}

#[inline(always)]
fn sum_lanes<const FUSED: bool>(values: &[f32]) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] += chunk[lane];
        }
    }
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
    dispatch!(add_scaled_body(target, scale, source));
}

#[inline(always)]
fn add_scaled_body<const FUSED: bool>(target: &mut [f32], scale: f32, source: &[f32]) {
    for (t, s) in target.iter_mut().zip(source) {
        *t = fma::<FUSED>(scale, *s, *t);
    }
}

/// `target += source`.
pub fn add(target: &mut [f32], source: &[f32]) {
    target.iter_mut().zip(source).for_each(|(t, s)| *t += s);
}

/// Adds each row of `rows` `[n, target.len()]` to `target`, in order.
pub fn add_rows(target: &mut [f32], rows: &[f32]) {
    if !target.is_empty() {
        rows.chunks_exact(target.len()).for_each(|row| add(target, row));
    }
}

#[inline(always)]
fn normal_share<const FUSED: bool>(x: f32) -> f32 {
    let x = x.clamp(-5.6, 5.6);
    let square = x * x;
    let (mut top, mut bottom) = (ERF_NUMERATOR[5], ERF_DENOMINATOR[5]);
    for power in (0..5).rev() {
        top = fma::<FUSED>(top, square, ERF_NUMERATOR[power]);
        bottom = fma::<FUSED>(bottom, square, ERF_DENOMINATOR[power]);
    }
    0.5 + 0.5 * (x * top / bottom)
}

/// `exp(-x^2 / 2) / sqrt(2 pi)`, by splitting the exponent into whole and
/// broken powers of two.
#[inline(always)]
fn normal_density<const FUSED: bool>(x: f32) -> f32 {
    const MAGIC: f32 = 12_582_912.0; // 1.5 * 2^23: adding it rounds to a whole number
    // 2^x by its series: ln(2)^n / n!
    const TAYLOR: [f32; 7] = {
        let mut terms = [1.0; 7];
        let mut n = 1;
        while n < 7 {
            terms[n] = terms[n - 1] * std::f32::consts::LN_2 / n as f32;
            n += 1;
        }
        terms
    };
    let exponent = (x * x * -0.721_347_5).max(-126.0); // log2(e) / 2
    let shifted = exponent + MAGIC;
    let broken = exponent - (shifted - MAGIC);
    let mut power = TAYLOR[6];
    for term in (0..6).rev() {
        power = fma::<FUSED>(power, broken, TAYLOR[term]);
    }
    let whole = f32::from_bits(shifted.to_bits().wrapping_add(127) << 23);
    0.398_942_3 * power * whole
}

/// `out = gelu(x)`, the exact one: `x` times the normal distribution function.
pub fn gelu(x: &[f32], out: &mut [f32]) {
    dispatch!(gelu_body(x, out));
}

#[inline(always)]
fn gelu_body<const FUSED: bool>(x: &[f32], out: &mut [f32]) {
    for (x, out) in x.iter().zip(out) {
        *out = x * normal_share::<FUSED>(*x);
    }
}

/// GELU and its derivative in one pass.
pub fn gelu_and_slope(x: &[f32], out: &mut [f32], slope: &mut [f32]) {
    dispatch!(gelu_and_slope_body(x, out, slope));
}

#[inline(always)]
fn gelu_and_slope_body<const FUSED: bool>(x: &[f32], out: &mut [f32], slope: &mut [f32]) {
    for ((x, out), slope) in x.iter().zip(out).zip(slope) {
        let share = normal_share::<FUSED>(*x);
        *out = x * share;
        *slope = fma::<FUSED>(*x, normal_density::<FUSED>(*x), share);
    }
}

/// Normalises each row of `rows` `[n, width]` in place to mean 0 and variance
/// 1; `scales` `[n]` receives what each row was multiplied by.
pub fn normalize_rows(rows: &mut [f32], width: usize, scales: &mut [f32]) {
    dispatch!(normalize_rows_body(rows, width, scales));
}

#[inline(always)]
fn normalize_rows_body<const FUSED: bool>(rows: &mut [f32], width: usize, scales: &mut [f32]) {
    for (row, scale) in rows.chunks_exact_mut(width).zip(scales) {
        let mean = sum_lanes::<FUSED>(row) / width as f32;
        for value in row.iter_mut() {
            *value -= mean;
        }
        let variance = dot_lanes::<FUSED>(row, row) / width as f32;
        *scale = 1.0 / (variance + LAYER_NORM_EPSILON).sqrt();
        for value in row.iter_mut() {
            *value *= *scale;
        }
    }
}

/// Turns the gradient of normalised rows into that of the rows before, in place.
pub fn normalize_rows_backward(gradients: &mut [f32], normalized: &[f32], width: usize, scales: &[f32]) {
    dispatch!(normalize_rows_backward_body(gradients, normalized, width, scales));
}

#[inline(always)]
fn normalize_rows_backward_body<const FUSED: bool>(
    gradients: &mut [f32],
    normalized: &[f32],
    width: usize,
    scales: &[f32],
) {
    let rows = gradients.chunks_exact_mut(width).zip(normalized.chunks_exact(width)).zip(scales);
    for ((gradient, normal), scale) in rows {
        let mean = sum_lanes::<FUSED>(gradient) / width as f32;
        let along = dot_lanes::<FUSED>(gradient, normal) / width as f32;
        for (g, n) in gradient.iter_mut().zip(normal) {
            *g = scale * (*g - mean - n * along);
        }
    }
}

/// One step of Adam's constants: `rate` is the learning rate over
/// `1 - beta1^t`, `root` is `sqrt(1 - beta2^t)`.
#[derive(Debug, Clone, Copy)]
pub struct AdamStep {
    /// Learning rate with the first moment's correction.
    pub rate: f32,
    /// The second moment's correction, under the root.
    pub root: f32,
}

/// Adam on parameters, their gradients (left at 0) and both moments.
pub fn adam(step: AdamStep, values: &mut [f32], gradients: &mut [f32], first: &mut [f32], second: &mut [f32]) {
    dispatch!(adam_body(step, values, gradients, first, second));
}

#[inline(always)]
fn adam_body<const FUSED: bool>(
    step: AdamStep,
    values: &mut [f32],
    gradients: &mut [f32],
    first: &mut [f32],
    second: &mut [f32],
) {
    for (((p, g), m), v) in values.iter_mut().zip(gradients).zip(first).zip(second) {
        *m = fma::<FUSED>(0.9, *m, 0.1 * *g);
        *v = fma::<FUSED>(0.999, *v, 0.001 * *g * *g);
        *p -= step.rate * *m / (v.sqrt() / step.root + 1e-8);
        *g = 0.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Numbers in [-1, 1) that a seed decides.
    fn noise(seed: u64, count: usize) -> Vec<f32> {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / 8_388_608.0 - 1.0
        };
        (0..count).map(|_| next()).collect()
    }

    /// GELU by the error function's series, in 64 bits.
    fn exact_gelu(x: f64) -> f64 {
        let (mut term, mut sum, mut n) = (x, x, 0.0);
        while f64::abs(term) > 1e-18 {
            n += 1.0;
            term *= -x * x / (2.0 * n) * (2.0 * n - 1.0) / (2.0 * n + 1.0);
            sum += term;
        }
        x * (0.5 + sum / std::f64::consts::TAU.sqrt())
    }

    #[test]
    fn gelu_and_its_slope_are_exact_to_single_precision() {
        let x: Vec<f32> = (-800..=800).map(|step| step as f32 / 160.0).chain([-40.0, 40.0]).collect();
        let (mut out, mut slope) = (vec![0.0; x.len()], vec![0.0; x.len()]);
        gelu_and_slope(&x, &mut out, &mut slope);
        for (at, x) in x.iter().map(|x| f64::from(*x)).enumerate().take(1601) {
            let expected = exact_gelu(x);
            let expected_slope = (exact_gelu(x + 1e-5) - exact_gelu(x - 1e-5)) / 2e-5;
            assert!((f64::from(out[at]) - expected).abs() < 1e-6, "gelu({x}) = {} not {expected}", out[at]);
            assert!((f64::from(slope[at]) - expected_slope).abs() < 2e-6, "slope at {x}");
        }
        assert!(out[1601].abs() < 1e-5 && (out[1602] - 40.0).abs() < 1e-5, "{:?}", &out[1601..]);
        assert!(slope[1601].abs() < 1e-5 && (slope[1602] - 1.0).abs() < 1e-6);
    }

    proptest! {
        #[test]
        fn products_are_the_sums_of_products(rows in 1usize..20, depth in 1usize..40, columns in 1usize..40, seed in 0u64..99) {
            let (left, right) = (noise(seed, rows * depth), noise(seed + 100, depth * columns));
            let bias = noise(seed + 200, columns);
            let turned = |matrix: &[f32], height: usize, width: usize| -> Vec<f32> {
                (0..width).flat_map(|c| (0..height).map(move |r| matrix[r * width + c])).collect()
            };
            let mut packed = Packed::default();
            packed.pack_transposed(&turned(&right, depth, columns), depth, columns);
            let mut out = vec![0.0; rows * columns];
            packed.product(Left::Plain(&left), rows, &mut out, Mode::Bias(&bias));
            packed.pack(&right, depth, columns);
            packed.product(Left::Transposed(&turned(&left, rows, depth)), rows, &mut out, Mode::Add);
            for row in 0..rows {
                for column in 0..columns {
                    let sum: f32 = (0..depth).map(|d| left[row * depth + d] * right[d * columns + column]).sum();
                    prop_assert!((out[row * columns + column] - 2.0 * sum - bias[column]).abs() < 1e-4);
                }
            }
        }
    }
}
