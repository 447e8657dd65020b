//! Sums of rows by group with gathers only: the same order of additions
//! whatever the device, and no write that two threads share.
//!
//! Burn's scatters walk along the scattered axis in one thread per column, or
//! add without atomics. So the host lays out, for each group, its rows in pieces
//! of a few, padded with a row of zeros; each piece is summed, and the sums are
//! the rows of the next level, until each group is one row.

use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor};

use super::ops::{indices, zeros_row};

/// How the rows of `groups` groups are summed.
#[derive(Debug, Clone, Default)]
pub(super) struct Segments {
    groups: usize,
    levels: Vec<Level>,
}

/// Sums of `width` rows each; an index behind the last row is a row of zeros.
#[derive(Debug, Clone)]
struct Level {
    width: usize,
    indices: Vec<u32>,
}

impl Segments {
    /// Row `n` belongs to group `keys[n]`, below `groups`; a group may be empty.
    pub(super) fn new(keys: &[u32], groups: usize) -> Self {
        let mut lengths = vec![0_usize; groups];
        for key in keys {
            lengths[*key as usize] += 1;
        }
        let mut ends = Vec::with_capacity(groups);
        let mut next = 0;
        for length in &lengths {
            ends.push(next);
            next += length;
        }
        let mut order = vec![0_u32; keys.len()];
        for (row, key) in (0..).zip(keys) {
            let end = &mut ends[*key as usize];
            order[*end] = row;
            *end += 1;
        }
        let mut levels = Vec::new();
        loop {
            let (level, pieces) = Level::of(&order, &lengths);
            let done = pieces.iter().all(|pieces| *pieces == 1);
            levels.push(level);
            if done {
                return Self { groups, levels };
            }
            order = (0..pieces.iter().sum::<usize>() as u32).collect();
            lengths = pieces;
        }
    }

    /// The sum of each group's rows.
    ///
    /// # Shapes
    /// `rows` `[n, width]`, the result `[groups, width]`.
    pub(super) fn sum<B: Backend>(&self, rows: Tensor<B, 2>) -> Tensor<B, 2> {
        let (device, width) = (rows.device(), rows.dims()[1]);
        if self.groups == 0 {
            return Tensor::zeros([0, width], &device);
        }
        let zero = zeros_row(width, &device);
        self.levels.iter().fold(rows, |rows, level| {
            let picked = Tensor::cat(vec![rows, zero.clone()], 0).select(0, level.on(&device));
            let pieces = level.indices.len() / level.width;
            if level.width == 1 {
                return picked;
            }
            picked.reshape([pieces, level.width, width]).sum_dim(1).reshape([pieces, width])
        })
    }
}

impl Level {
    /// The pieces of rows that stand in groups of these lengths, one after the
    /// other, and how many pieces each group has.
    fn of(order: &[u32], lengths: &[usize]) -> (Self, Vec<usize>) {
        let longest = lengths.iter().copied().max().unwrap_or_default();
        let mean = order.len().div_ceil(lengths.len().max(1));
        let width = if longest <= 1 { 1 } else { (2 * mean).next_power_of_two().clamp(2, 32) };
        let pieces: Vec<usize> = lengths.iter().map(|length| length.div_ceil(width).max(1)).collect();
        let mut indices = Vec::with_capacity(pieces.iter().sum::<usize>() * width);
        let mut at = 0;
        for (length, pieces) in lengths.iter().zip(&pieces) {
            let end = indices.len() + pieces * width;
            indices.extend_from_slice(&order[at..at + length]);
            indices.resize(end, order.len() as u32);
            at += length;
        }
        (Self { width, indices }, pieces)
    }

    fn on<B: Backend>(&self, device: &B::Device) -> Tensor<B, 1, Int> {
        indices(&self.indices, device)
    }
}

/// The distinct values in ascending order, and for each value its place there.
pub(super) fn distinct(values: &[u32]) -> (Vec<u32>, Vec<u32>) {
    let mut order: Vec<u32> = (0..values.len() as u32).collect();
    order.sort_unstable_by_key(|at| values[*at as usize]);
    let (mut all, mut places) = (Vec::new(), vec![0; values.len()]);
    for at in order {
        let value = values[at as usize];
        if all.last() != Some(&value) {
            all.push(value);
        }
        places[at as usize] = all.len() as u32 - 1;
    }
    (all, places)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::CpuBackend;
    use burn::tensor::TensorData;

    #[test]
    fn groups_of_all_sizes_are_summed() {
        let device = burn::backend::flex::FlexDevice;
        for (rows, groups) in [(1, 1), (7, 7), (100, 3), (3000, 50), (2000, 1), (0, 4)] {
            let keys: Vec<u32> = (0..rows as u32).map(|row| row.wrapping_mul(2_654_435_761) % groups).collect();
            let values: Vec<f32> = (0..2 * rows).map(|at| (at % 13) as f32).collect();
            let mut expected = vec![0.0; 2 * groups as usize];
            for (row, key) in keys.iter().enumerate() {
                expected[2 * *key as usize] += values[2 * row];
                expected[2 * *key as usize + 1] += values[2 * row + 1];
            }
            let tensor = Tensor::<CpuBackend, 2>::from_data(TensorData::new(values, [rows, 2]), &device);
            let found = Segments::new(&keys, groups as usize).sum(tensor).into_data().to_vec::<f32>().unwrap();
            assert_eq!(found, expected, "{rows} rows in {groups} groups");
        }
    }

    #[test]
    fn distinct_values_have_places() {
        assert_eq!(distinct(&[5, 2, 5, 9]), (vec![2, 5, 9], vec![1, 0, 1, 2]));
    }
}
