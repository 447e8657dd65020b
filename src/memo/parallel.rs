//! Work on all processors for whoever holds the memo's lock: on threads of its
//! own. A thread of rayon's that waits takes up other work meanwhile, and if that
//! looks something up in the same memo, it waits for itself for ever.

use std::num::NonZero;
use std::panic::resume_unwind;
use std::thread::{available_parallelism, scope};

/// Does the work for each item, in the items' order; a thread has at least
/// `fewest` of them.
pub(super) fn each<T: Sync, R: Send>(items: &[T], fewest: usize, work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let threads = available_parallelism().map_or(1, NonZero::get).min(items.len() / fewest.max(1));
    if threads < 2 {
        return items.iter().map(work).collect();
    }
    let parts = items.chunks(items.len().div_ceil(threads));
    let work = &work;
    scope(|scope| {
        let running: Vec<_> =
            parts.map(|part| scope.spawn(move || part.iter().map(work).collect::<Vec<R>>())).collect();
        running.into_iter().flat_map(|part| part.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::each;

    #[test]
    fn results_stand_in_the_order_of_the_items() {
        for length in [0, 1, 2, 3, 100, 101] {
            let items: Vec<usize> = (0..length).collect();
            assert_eq!(each(&items, 2, |item| item * 2), (0..length).map(|item| item * 2).collect::<Vec<_>>());
        }
    }
}
