//! iALS: matrix factorisation of what users have and do not have, by
//! alternating least squares (Hu, Koren, Volinsky, ICDM 2008), in the form and
//! with the regularisation of Rendle et al., "Revisiting the Performance of iALS
//! on Item Recommendation Benchmarks" (2022).
//!
//! The objective, where n is in how many train pairs a user or an item is:
//!
//! ```text
//!   sum over train pairs of (1 - u.i)²
//! + alpha * sum over all pairs of (u.i)²
//! + lambda * sum over users of (n + alpha * items) |u|²
//! + lambda * sum over items of (n + alpha * users) |i|²
//! ```

use faer::linalg::solvers::{Lblt, Llt, Solve};
use faer::{MatMut, MatRef, Side as Triangle};
use rayon::prelude::*;

use super::interactions::{Interactions, Part};
use super::two_tower::Tensor;
use crate::ground::Seed;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

/// What is minimised, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct IalsOptions {
    /// Length of a vector.
    pub factors: usize,
    /// The lambda of the objective.
    pub regularization: f64,
    /// The weight of every pair, had or not.
    pub alpha: f64,
    /// How often users and then items are solved for.
    pub iterations: u32,
}

/// One side: its vectors `[entities, factors]`, and whom each entity is with.
struct Side {
    vectors: Vec<f64>,
    with: Vec<Vec<u32>>,
}

/// The vectors while they are learnt.
pub(super) struct Ials {
    options: IalsOptions,
    users: Side,
    items: Side,
}

/// The tensors `user_vectors` and `item_vectors`. `goes_on` is told of each
/// entity solved for, `iterations * (users + items)` in all, and may stop it;
/// then there is nothing. The number of threads decides nothing.
pub fn ials(
    interactions: &Interactions,
    options: IalsOptions,
    seed: Seed,
    goes_on: &(dyn Fn(u64) -> bool + Sync),
) -> Option<[Tensor; 2]> {
    let mut model = Ials::new(interactions, options, seed);
    for _ in 0..options.iterations {
        model.solve_users(goes_on)?;
        model.solve_items(goes_on)?;
    }
    let tensor = |name: &str, side: &Side| Tensor {
        name: name.to_owned(),
        shape: vec![side.with.len(), options.factors],
        values: side.vectors.iter().map(|value| *value as f32).collect(),
    };
    Some([tensor("user_vectors", &model.users), tensor("item_vectors", &model.items)])
}

impl Ials {
    /// Normal vectors of length 0.1 on average.
    pub(super) fn new(interactions: &Interactions, options: IalsOptions, seed: Seed) -> Self {
        let mut users = vec![Vec::new(); interactions.users.len()];
        let mut items = vec![Vec::new(); interactions.items.len()];
        for (user, item) in interactions.part(Part::Train) {
            users[*user as usize].push(*item);
            items[*item as usize].push(*user);
        }
        let side = |purpose: &str, with: Vec<Vec<u32>>| {
            let deviation = 0.1 / (options.factors as f64).sqrt();
            Side { vectors: normal(seed.purpose(purpose).rng(), with.len() * options.factors, deviation), with }
        };
        Self { options, users: side("users", users), items: side("items", items) }
    }

    pub(super) fn solve_users(&mut self, goes_on: &(dyn Fn(u64) -> bool + Sync)) -> Option<()> {
        solve(&mut self.users, &self.items, &self.options, goes_on)
    }

    pub(super) fn solve_items(&mut self, goes_on: &(dyn Fn(u64) -> bool + Sync)) -> Option<()> {
        solve(&mut self.items, &self.users, &self.options, goes_on)
    }
}

/// The vectors of one side that minimise the objective, the other's standing.
fn solve(side: &mut Side, other: &Side, options: &IalsOptions, goes_on: &(dyn Fn(u64) -> bool + Sync)) -> Option<()> {
    let width = options.factors;
    let mut all = vec![0.0; width * width];
    for vector in other.vectors.chunks_exact(width) {
        add_square(&mut all, vector);
    }
    for value in &mut all {
        *value *= options.alpha;
    }
    let everybody = options.alpha * other.with.len() as f64;
    let rows = side.vectors.par_chunks_exact_mut(width).zip(side.with.par_iter());
    let solved = rows.map_init(
        || vec![0.0; width * width],
        |matrix, (vector, with)| {
            if !goes_on(0) {
                return false;
            }
            matrix.copy_from_slice(&all);
            vector.fill(0.0);
            for one in with {
                let one = &other.vectors[*one as usize * width..][..width];
                add_square(matrix, one);
                vector.iter_mut().zip(one).for_each(|(sum, value)| *sum += value);
            }
            let penalty = options.regularization * (with.len() as f64 + everybody);
            (0..width).for_each(|at| matrix[at * width + at] += penalty);
            solve_positive(matrix, vector);
            goes_on(1)
        },
    );
    solved.reduce(|| true, |a, b| a && b).then_some(())
}

/// Adds the upper triangle of v vᵀ.
fn add_square(matrix: &mut [f64], vector: &[f64]) {
    let width = vector.len();
    for (row, factor) in vector.iter().enumerate() {
        for (sum, value) in matrix[row * width + row..(row + 1) * width].iter_mut().zip(&vector[row..]) {
            *sum += factor * value;
        }
    }
}

/// Solves A x = b by Cholesky, A given by its upper triangle, x in place of b.
fn solve_positive(matrix: &[f64], vector: &mut [f64]) {
    let width = vector.len();
    // The upper triangle by rows is the lower one by columns.
    let matrix = MatRef::from_column_major_slice(matrix, width, width);
    let target = MatMut::from_column_major_slice_mut(vector, width, 1);
    match Llt::new(matrix, Triangle::Lower) {
        Ok(factor) => factor.solve_in_place(target),
        // Not positive but for rounding: a penalty next to nothing.
        Err(_) => Lblt::new(matrix, Triangle::Lower).solve_in_place(target),
    }
}

/// Numbers of a normal distribution with mean 0 (Box and Muller).
fn normal(mut generator: ChaCha8Rng, count: usize, deviation: f64) -> Vec<f64> {
    let mut unit = || f64::from(generator.next_u32() >> 8) / 16_777_216.0;
    let mut values = Vec::with_capacity(count + 1);
    while values.len() < count {
        let radius = (-2.0 * (1.0 - unit()).ln()).sqrt() * deviation;
        let (sine, cosine) = (std::f64::consts::TAU * unit()).sin_cos();
        values.extend([radius * cosine, radius * sine]);
    }
    values.truncate(count);
    values
}

#[cfg(test)]
impl Ials {
    /// What is minimised, by its definition.
    pub(super) fn objective(&self) -> f64 {
        let IalsOptions { factors, regularization, alpha, .. } = self.options;
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let [users, items] = [&self.users, &self.items].map(|side| side.vectors.chunks_exact(factors));
        let mut sum = 0.0;
        for (user, with) in users.clone().zip(&self.users.with) {
            for (item, vector) in items.clone().enumerate() {
                let score = dot(user, vector);
                sum += alpha * score * score;
                sum += if with.contains(&(item as u32)) { (1.0 - score).powi(2) } else { 0.0 };
            }
        }
        for (side, other) in [(&self.users, &self.items), (&self.items, &self.users)] {
            for (vector, with) in side.vectors.chunks_exact(factors).zip(&side.with) {
                let frequency = with.len() as f64 + alpha * other.with.len() as f64;
                sum += regularization * frequency * dot(vector, vector);
            }
        }
        sum
    }
}
