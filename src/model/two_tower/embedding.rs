//! An embedding in training: a step moves the rows of its batch only, and the
//! steps that a row was left out of are made up for when it is needed next, to
//! the same bits as if all rows were moved at every step.

use rayon::prelude::*;

use super::parameters::Weight;
use refrain_kernels::{AdamStep, AdamSteps, adam, adam_idle};

/// Rows that one task takes: whole words of marks.
const ROWS: usize = 256;
/// Rows that have their marks in one word.
const WORD: usize = u64::BITS as usize;

/// A table of rows, one of which each entity reads.
#[derive(Debug, Clone)]
pub(super) struct Embedding {
    /// `[rows, width]`; behind where rows have steps to make up for.
    pub(super) weight: Weight,
    /// How many of the remembered steps each row has made.
    made: Vec<u32>,
    /// A bit for each row that the batch reads.
    marks: Vec<u64>,
}

/// One row on its way.
struct Row<'a> {
    values: &'a mut [f32],
    gradient: &'a mut [f32],
    moments: [&'a mut [f32]; 2],
    /// How many of the remembered steps it has made.
    made: &'a mut u32,
}

impl Row<'_> {
    /// The steps that it was left out of.
    fn catch_up(&mut self, steps: &AdamSteps) {
        if (*self.made as usize) < steps.len() {
            let [first, second] = &mut self.moments;
            adam_idle(steps, *self.made as usize, self.values, first, second);
            *self.made = steps.len() as u32;
        }
    }
}

impl Embedding {
    /// An embedding in its first state.
    pub(super) fn new(weight: Weight) -> Self {
        let rows = weight.tensor.shape[0];
        Self { weight, made: vec![0; rows], marks: vec![0; rows.div_ceil(WORD)] }
    }

    /// Prepares these rows for a batch: marks them and takes them through all steps.
    pub(super) fn catch_up(&mut self, rows: impl Iterator<Item = usize>, steps: &AdamSteps) {
        rows.for_each(|row| self.marks[row / WORD] |= 1 << (row % WORD));
        if !steps.is_empty() {
            self.each_marked(&|mut row| row.catch_up(steps));
        }
    }

    /// Takes all rows through all steps, which may be forgotten then.
    pub(super) fn catch_up_all(&mut self, steps: &AdamSteps) {
        let marks = std::mem::take(&mut self.marks);
        self.marks = vec![u64::MAX; marks.len()];
        self.each_marked(&|mut row| {
            row.catch_up(steps);
            *row.made = 0;
        });
        self.marks = marks;
    }

    /// Makes the last of the steps with the marked rows, which have made all
    /// before, and clears their gradients and marks.
    pub(super) fn step(&mut self, step: AdamStep, steps: &AdamSteps) {
        self.each_marked(&|row| {
            let [first, second] = row.moments;
            adam(step, row.values, row.gradient, first, second);
            *row.made = steps.len() as u32;
        });
        self.marks.fill(0);
    }

    /// Does this with every marked row, on all threads.
    fn each_marked(&mut self, work: &(impl Fn(Row<'_>) + Sync)) {
        let width = self.weight.tensor.shape[1];
        let Weight { tensor, gradient, first, second } = &mut self.weight;
        let parts = tensor
            .values
            .par_chunks_mut(ROWS * width)
            .zip(gradient.par_chunks_mut(ROWS * width))
            .zip(first.par_chunks_mut(ROWS * width))
            .zip(second.par_chunks_mut(ROWS * width))
            .zip(self.made.par_chunks_mut(ROWS))
            .zip(self.marks.par_chunks(ROWS / WORD));
        parts.for_each(|(((((values, gradient), first), second), made), marks)| {
            let rows = made.len();
            for row in marked(marks).take_while(|row| *row < rows) {
                let range = row * width..(row + 1) * width;
                work(Row {
                    values: &mut values[range.clone()],
                    gradient: &mut gradient[range.clone()],
                    moments: [&mut first[range.clone()], &mut second[range]],
                    made: &mut made[row],
                });
            }
        });
    }
}

/// The numbers of the bits that are set.
fn marked(words: &[u64]) -> impl Iterator<Item = usize> {
    words.iter().enumerate().flat_map(|(at, word)| {
        let rest = |rest: &u64| Some(rest & rest.wrapping_sub(1));
        let words = std::iter::successors(Some(*word), rest).take_while(|rest| *rest != 0);
        words.map(move |rest| at * WORD + rest.trailing_zeros() as usize)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::draw::Draw;
    use super::super::parameters::Start;
    use super::*;
    use crate::ground::Seed;

    fn bits(weight: &Weight) -> Vec<u32> {
        let all = [&weight.tensor.values, &weight.gradient, &weight.first, &weight.second];
        all.into_iter().flatten().map(|value| value.to_bits()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn left_out_rows_make_up_for_their_steps_to_the_bit(
            rows in prop_oneof![1usize..200, Just(2_100usize)],
            width in 1usize..36,
            count in 1usize..300,
            reads in 1usize..9,
            forget in 1usize..200,
            seed in 0u64..1_000,
        ) {
            let seed = Seed::of_stage(seed, "rows");
            let weight = Weight::new("embedding".to_owned(), &[rows, width], Start::Normal(1.0), seed);
            let (mut all, mut lazy) = (weight.clone(), Embedding::new(weight));
            let (mut steps, mut draw) = (AdamSteps::default(), Draw::of(seed));
            for at in 0..count {
                let batch: Vec<usize> = (0..reads).map(|_| draw.below(rows)).collect();
                lazy.catch_up(batch.iter().copied(), &steps);
                for row in batch {
                    let range = row * width..(row + 1) * width;
                    prop_assert_eq!(&lazy.weight.values()[range.clone()], &all.values()[range.clone()]);
                    for (place, slope) in range.zip(draw.normal(width, 0.1)) {
                        lazy.weight.gradient[place] += slope;
                        all.gradient[place] += slope;
                    }
                }
                let step = steps.push(0.01);
                lazy.step(step, &steps);
                all.step(step);
                if (at + 1) % forget == 0 {
                    lazy.catch_up_all(&steps);
                    steps.clear();
                    prop_assert!(bits(&lazy.weight) == bits(&all));
                }
            }
            lazy.catch_up_all(&steps);
            prop_assert!(bits(&lazy.weight) == bits(&all));
        }
    }
}
