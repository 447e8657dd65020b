//! Item-kNN: the cosine of two items' users, of which each item keeps its most
//! similar others (Sarwar et al. 2001; Deshpande and Karypis 2004).

use rayon::prelude::*;

use super::interactions::{Interactions, Part};
use super::two_tower::Tensor;

/// The tensors `neighbours` and `similarities`, `[items, k]`, each row by
/// falling similarity, ties by index, filled up with -1 and 0. Only items that
/// have a train user in common are similar. `goes_on` is told how many items
/// were done and may stop it; then there is nothing.
///
/// Memory: one number for each item and thread, and the result; never all pairs.
pub fn item_knn(interactions: &Interactions, k: usize, goes_on: &(dyn Fn(u64) -> bool + Sync)) -> Option<[Tensor; 2]> {
    let items = interactions.items.len();
    let k = k.min(items.saturating_sub(1));
    let of_users = interactions.sets(&[Part::Train]);
    let mut users_of = vec![Vec::new(); items];
    for (user, item) in interactions.part(Part::Train) {
        users_of[*item as usize].push(*user);
    }
    let degree = |item: u32| users_of[item as usize].len() as f64;
    let nearest = |(counts, seen): &mut (Vec<u32>, Vec<u32>), item: usize| {
        for user in &users_of[item] {
            for other in of_users.of_user(*user).iter().filter(|other| **other as usize != item) {
                if counts[*other as usize] == 0 {
                    seen.push(*other);
                }
                counts[*other as usize] += 1;
            }
        }
        let own = users_of[item].len() as f64;
        let cosine = |other: u32, both: u32| f64::from(both) / (own * degree(other)).sqrt();
        let mut row: Vec<(u32, f64)> =
            seen.drain(..).map(|other| (other, cosine(other, std::mem::take(&mut counts[other as usize])))).collect();
        row.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        row.truncate(k);
        goes_on(1).then_some(row)
    };
    let rows: Option<Vec<Vec<(u32, f64)>>> =
        (0..items).into_par_iter().map_init(|| (vec![0; items], Vec::new()), nearest).collect();
    let (mut neighbours, mut similarities) = (vec![-1.0; items * k], vec![0.0; items * k]);
    for (item, row) in rows?.iter().enumerate() {
        for (place, (other, similarity)) in row.iter().enumerate() {
            neighbours[item * k + place] = *other as f32;
            similarities[item * k + place] = *similarity as f32;
        }
    }
    let tensor = |name: &str, values| Tensor { name: name.to_owned(), shape: vec![items, k], values };
    Some([tensor("neighbours", neighbours), tensor("similarities", similarities)])
}
