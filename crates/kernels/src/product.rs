//! Matrix products from panels and register tiles. Each element of a product is
//! one chain of multiply-adds over the depth, in order: how the work is cut and
//! how wide the vectors are does not show in the bits.

use std::cell::RefCell;

use crate::wide::{LANES, Wide, dispatch};

/// Numbers of the strips of the left side that are laid out at a time: they
/// stay in the second cache while all panels pass.
const STRIPS: usize = 64 * 1024;

/// Most depth that is gone through at a time: so much of a strip stays in the first cache. A chain
/// that is longer goes on from where it was put down in the product.
const DEPTH: usize = 384;

thread_local! {
    /// The strips' memory, kept between products.
    static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// A matrix `[depth, columns]` cut into panels of a few columns, ready to stand
/// on the right of a product. Reusing one keeps its memory.
#[derive(Debug, Clone, Default)]
pub struct Packed {
    panels: Vec<f32>,
    depth: usize,
    columns: usize,
    /// Columns of a panel.
    width: usize,
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

/// Columns of a panel: as many as a register tile of this processor has.
fn panel_width() -> usize {
    #[cfg(target_arch = "x86_64")]
    if pulp::x86::V4::is_available() {
        return 2 * LANES;
    }
    LANES
}

impl Packed {
    /// Packs the row-major `matrix` `[depth, columns]`.
    pub fn pack(&mut self, matrix: &[f32], depth: usize, columns: usize) {
        self.reset(depth, columns, panel_width());
        self.fill(matrix);
    }

    fn fill(&mut self, matrix: &[f32]) {
        let (depth, columns, width) = (self.depth, self.columns, self.width);
        if columns == 0 || depth == 0 {
            return;
        }
        for (panel, start) in self.panels.chunks_exact_mut(depth * width).zip((0..).step_by(width)) {
            let used = width.min(columns - start);
            for (row, target) in matrix.chunks_exact(columns).zip(panel.chunks_exact_mut(width)) {
                target[..used].copy_from_slice(&row[start..start + used]);
            }
        }
    }

    /// Packs the transpose of the row-major `matrix` `[columns, depth]`.
    pub fn pack_transposed(&mut self, matrix: &[f32], depth: usize, columns: usize) {
        self.reset(depth, columns, panel_width());
        if columns == 0 || depth == 0 {
            return;
        }
        let width = self.width;
        for (column, row) in matrix.chunks_exact(depth).enumerate() {
            let panel = &mut self.panels[(column / width) * depth * width..];
            for (value, target) in row.iter().zip(panel.chunks_exact_mut(width)) {
                target[column % width] = *value;
            }
        }
    }

    fn reset(&mut self, depth: usize, columns: usize, width: usize) {
        (self.depth, self.columns, self.width) = (depth, columns, width);
        self.panels.clear();
        self.panels.resize(columns.div_ceil(width) * depth * width, 0.0);
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
        SCRATCH.with_borrow_mut(|scratch| product_dispatched(self, left, rows, out, mode, scratch));
    }
}

/// A product with panels of this width, whatever the processor's own.
#[cfg(test)]
pub(crate) fn product_in_panels<S: Wide>(
    simd: S,
    width: usize,
    right: &[f32],
    left: &[f32],
    [rows, depth, columns]: [usize; 3],
    out: &mut [f32],
) {
    let mut packed = Packed::default();
    packed.reset(depth, columns, width);
    packed.fill(right);
    product_on(simd, &packed, Left::Plain(left), rows, out, Mode::Add, &mut Vec::new());
}

fn product_dispatched(
    right: &Packed,
    left: Left<'_>,
    rows: usize,
    out: &mut [f32],
    mode: Mode<'_>,
    scratch: &mut Vec<f32>,
) {
    dispatch!(product_on(right, left, rows, out, mode, scratch));
}

#[inline(always)]
fn product_on<S: Wide>(
    simd: S,
    right: &Packed,
    left: Left<'_>,
    rows: usize,
    out: &mut [f32],
    mode: Mode<'_>,
    scratch: &mut Vec<f32>,
) {
    if right.width == 2 * LANES {
        strips::<S, 14, 2>(simd, right, left, rows, out, mode, scratch);
    } else {
        strips::<S, 6, 1>(simd, right, left, rows, out, mode, scratch);
    }
}

/// Rows are cut into strips of nearly equal height, at most `MOST`.
#[inline(always)]
fn strips<S: Wide, const MOST: usize, const VECTORS: usize>(
    simd: S,
    right: &Packed,
    left: Left<'_>,
    rows: usize,
    out: &mut [f32],
    mode: Mode<'_>,
    scratch: &mut Vec<f32>,
) {
    let depth = right.depth;
    let height = rows.div_ceil(rows.div_ceil(MOST));
    // What is added to the product cannot wait in it.
    let parts = if matches!(mode, Mode::Add) { 1 } else { depth.div_ceil(DEPTH).max(1) };
    let deep = depth.div_ceil(parts);
    let together = (STRIPS / (deep * height).max(1)).max(1) * height;
    if scratch.len() < deep * together.min(rows.next_multiple_of(height)) {
        scratch.resize(deep * together.min(rows.next_multiple_of(height)), 0.0);
    }
    for first in (0..rows).step_by(together) {
        let last = (first + together).min(rows);
        for part in 0..parts {
            let [from, to] = [part * deep, depth.min((part + 1) * deep)];
            let size = (to - from) * height;
            for (start, strip) in (first..last).step_by(height).zip(scratch.chunks_exact_mut(size.max(1))) {
                fill_strip(strip, left, [depth, rows], [from, to], start, height.min(last - start));
            }
            let mode = if part + 1 == parts { mode } else { Mode::Set };
            for panel in 0..right.columns.div_ceil(right.width) {
                let columns = [panel * right.width, right.columns.min((panel + 1) * right.width)];
                let panel = &right.panels[(panel * depth + from) * right.width..][..(to - from) * right.width];
                for (start, strip) in (first..last).step_by(height).zip(scratch.chunks_exact(size.max(1))) {
                    let place = Place { start, columns, row_length: right.columns, begun: part > 0 };
                    let height = height.min(last - start);
                    let strip = &strip[..(to - from) * height];
                    tile_of_height::<S, VECTORS>(simd, strip, panel, height, &place, out, mode);
                }
            }
        }
    }
}

/// Where a tile stands in the product.
struct Place {
    start: usize,
    columns: [usize; 2],
    row_length: usize,
    /// Whether its sums were begun.
    begun: bool,
}

#[inline(always)]
fn tile_of_height<S: Wide, const VECTORS: usize>(
    simd: S,
    strip: &[f32],
    panel: &[f32],
    height: usize,
    place: &Place,
    out: &mut [f32],
    mode: Mode<'_>,
) {
    macro_rules! heights {
        ($($height:literal)*) => {
            match height {
                $($height => {
                    let begun = begin::<S, $height, VECTORS>(simd, place, out);
                    finish(simd, &tile(simd, strip, panel, begun), place, out, mode);
                })*
                _ => {}
            }
        };
    }
    if VECTORS == 1 {
        heights!(1 2 3 4 5 6);
    } else {
        heights!(1 2 3 4 5 6 7 8 9 10 11 12 13 14);
    }
}

/// The sums of a tile so far.
#[inline(always)]
fn begin<S: Wide, const HEIGHT: usize, const VECTORS: usize>(
    simd: S,
    place: &Place,
    out: &[f32],
) -> [[S::Vector; VECTORS]; HEIGHT] {
    let mut sums = [[simd.splat(0.0); VECTORS]; HEIGHT];
    if place.begun {
        let [from, to] = place.columns;
        let rows = out[place.start * place.row_length..].chunks(place.row_length);
        for (row, sums) in rows.zip(&mut sums) {
            let mut values = [[0.0; LANES]; VECTORS];
            values.as_flattened_mut()[..to - from].copy_from_slice(&row[from..to]);
            for (sum, values) in sums.iter_mut().zip(&values) {
                *sum = simd.load(values);
            }
        }
    }
    sums
}

#[inline(always)]
fn tile<S: Wide, const HEIGHT: usize, const VECTORS: usize>(
    simd: S,
    strip: &[f32],
    panel: &[f32],
    mut sums: [[S::Vector; VECTORS]; HEIGHT],
) -> [[S::Vector; VECTORS]; HEIGHT] {
    let panel = panel.as_chunks::<LANES>().0.as_chunks::<VECTORS>().0;
    for (a, b) in strip.as_chunks::<HEIGHT>().0.iter().zip(panel) {
        let mut right = [simd.splat(0.0); VECTORS];
        for (vector, b) in right.iter_mut().zip(b) {
            *vector = simd.load(b);
        }
        for (sums, a) in sums.iter_mut().zip(a) {
            let a = simd.splat(*a);
            for (sum, b) in sums.iter_mut().zip(right) {
                *sum = simd.fused(a, b, *sum);
            }
        }
    }
    sums
}

#[inline(always)]
fn finish<S: Wide, const HEIGHT: usize, const VECTORS: usize>(
    simd: S,
    tile: &[[S::Vector; VECTORS]; HEIGHT],
    place: &Place,
    out: &mut [f32],
    mode: Mode<'_>,
) {
    let [from, to] = place.columns;
    let rows = out[place.start * place.row_length..].chunks_mut(place.row_length);
    if to - from == VECTORS * LANES {
        let mut added = [simd.splat(0.0); VECTORS];
        if let Mode::Bias(bias) = mode {
            for (vector, bias) in added.iter_mut().zip(bias[from..to].as_chunks().0) {
                *vector = simd.load(bias);
            }
        }
        for (target, sums) in rows.zip(tile) {
            let target = target[from..to].as_chunks_mut().0;
            for ((target, sum), added) in target.iter_mut().zip(sums).zip(added) {
                let sum = match mode {
                    Mode::Set => *sum,
                    Mode::Bias(_) => simd.plus(*sum, added),
                    Mode::Add => simd.plus(simd.load(target), *sum),
                };
                simd.store(sum, target);
            }
        }
        return;
    }
    let mut values = [[[0.0; LANES]; VECTORS]; HEIGHT];
    for (values, sum) in values.iter_mut().flatten().zip(tile.iter().flatten()) {
        simd.store(*sum, values);
    }
    for (target, values) in rows.zip(values.iter().map(|row| row.as_flattened())) {
        let pairs = target[from..to].iter_mut().zip(values);
        match mode {
            Mode::Set => pairs.for_each(|(t, v)| *t = *v),
            Mode::Bias(bias) => pairs.zip(&bias[from..to]).for_each(|((t, v), b)| *t = v + b),
            Mode::Add => pairs.for_each(|(t, v)| *t += v),
        }
    }
}

/// Lays out rows `first..first + height` of the left side by depth, as far as it is wanted.
#[inline(always)]
fn fill_strip(
    strip: &mut [f32],
    left: Left<'_>,
    [depth, rows]: [usize; 2],
    [from, to]: [usize; 2],
    first: usize,
    height: usize,
) {
    match left {
        Left::Plain(matrix) => {
            let matrix = &matrix[first * depth..(first + height) * depth];
            for (row, source) in matrix.chunks_exact(depth.max(1)).enumerate() {
                for (value, target) in source[from..to].iter().zip(strip.chunks_exact_mut(height)) {
                    target[row] = *value;
                }
            }
        }
        Left::Transposed(matrix) => {
            for (source, target) in matrix.chunks_exact(rows).skip(from).zip(strip.chunks_exact_mut(height)) {
                target.copy_from_slice(&source[first..first + height]);
            }
        }
    }
}
