//! EASE: the linear model from item to item that has a closed form (Steck,
//! "Embarrassingly Shallow Autoencoders for Sparse Data", WWW 2019).

use faer::linalg::solvers::{DenseSolveCore, Llt};
use faer::{Mat, Side};

use super::interactions::{Interactions, Part};
use super::two_tower::Tensor;

/// Bytes at the peak for each pair of items: three matrices of 64-bit floats.
pub const BYTES_PER_PAIR: u64 = 24;
/// More items than this have more pairs than a tensor can hold.
pub const MOST_ITEMS: usize = 46_340;

/// The tensor `item_item` `[items, items]`: B = I - P diag(1 / diag P) with
/// P = (Xᵀ X + lambda I)⁻¹ and X the binary train matrix; the diagonal is 0.
/// In 64-bit floats on one thread. Nothing if the matrix could not be factored,
/// which a `lambda` above 0 rules out but for rounding.
pub fn ease(interactions: &Interactions, lambda: f64) -> Option<Tensor> {
    let items = interactions.items.len();
    let tensor = |values| Tensor { name: "item_item".to_owned(), shape: vec![items, items], values };
    if items == 0 {
        return Some(tensor(Vec::new()));
    }
    let mut gram = Mat::<f64>::zeros(items, items);
    for item in 0..items {
        gram[(item, item)] = lambda;
    }
    let sets = interactions.sets(&[Part::Train]);
    for user in 0..interactions.users.len() as u32 {
        let has = sets.of_user(user);
        for (place, column) in has.iter().enumerate() {
            for row in &has[place..] {
                gram[(*row as usize, *column as usize)] += 1.0;
            }
        }
    }
    let factor = Llt::new(gram.as_ref(), Side::Lower).ok()?;
    drop(gram);
    let inverse = factor.inverse();
    drop(factor);
    let mut values = vec![0.0; items * items];
    for (row, weights) in values.chunks_exact_mut(items).enumerate() {
        for (column, weight) in weights.iter_mut().enumerate().filter(|(column, _)| *column != row) {
            // The lower triangle: the inverse is symmetric.
            let entry = inverse[(row.max(column), row.min(column))];
            *weight = (-entry / inverse[(column, column)]) as f32;
        }
    }
    Some(tensor(values))
}
