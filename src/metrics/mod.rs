//! Ranking metrics and their statistics as pure functions of scores, ranks and
//! seeds: no tables, no models.

mod bootstrap;
mod permutation;

pub use bootstrap::{Interval, RESAMPLES, interval_of};
pub use permutation::{PERMUTATIONS, holm, sign_flip};

/// Where a target stands among its candidates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rank {
    /// 1 is the top.
    pub rank: u32,
    /// How many items were ranked, the target among them.
    pub candidates: u32,
}

/// What a score counts as: one that is not finite stands below all others.
#[inline]
fn effective(score: f32) -> f32 {
    if score.is_finite() { score } else { f32::NEG_INFINITY }
}

/// The rank of item `target` among all items but the `excluded` ones.
///
/// Higher scores come first, ties go to the lower item index, and scores that
/// are not finite come last. The target is ranked even if it is excluded.
///
/// `excluded` is ascending and without repeats; items are indices of `scores`.
#[must_use]
#[expect(clippy::float_cmp, reason = "equal scores are ties, and nothing else is")]
pub fn rank_of(scores: &[f32], target: usize, excluded: &[u32]) -> Rank {
    let own = effective(scores[target]);
    let before = |item: usize| {
        let score = effective(scores[item]);
        score > own || (score == own && item < target)
    };
    let count = |items: &[f32], bar: &dyn Fn(f32) -> bool| items.iter().filter(|s| bar(effective(**s))).count();
    let above = count(&scores[..target], &|score| score >= own) + count(&scores[target + 1..], &|score| score > own);
    let others = excluded.iter().filter(|item| **item as usize != target);
    let (gone, gone_above) =
        others.fold((0, 0), |(all, above), item| (all + 1, above + usize::from(before(*item as usize))));
    Rank { rank: (above - gone_above + 1) as u32, candidates: (scores.len() - gone) as u32 }
}

/// Hit ratio of one target: 1 if it is among the first `k`.
#[must_use]
pub fn hit(rank: u32, k: u32) -> f64 {
    if rank <= k { 1.0 } else { 0.0 }
}

/// NDCG of one target: `1 / log2(rank + 1)` if it is among the first `k`, else 0.
#[must_use]
pub fn ndcg(rank: u32, k: u32) -> f64 {
    if rank <= k { 1.0 / f64::from(rank + 1).log2() } else { 0.0 }
}

/// Reciprocal rank of one target.
#[must_use]
pub fn reciprocal_rank(rank: u32) -> f64 {
    1.0 / f64::from(rank)
}

/// The mean of some values; nothing for none.
#[must_use]
pub fn mean(values: &[f64]) -> Option<f64> {
    if values.is_empty() { None } else { Some(values.iter().sum::<f64>() / values.len() as f64) }
}

/// The sample standard deviation; nothing for fewer than two values.
#[must_use]
pub fn deviation(values: &[f64]) -> Option<f64> {
    let mean = mean(values).filter(|_| values.len() > 1)?;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    Some((squares / (values.len() - 1) as f64).sqrt())
}

/// Which items are warm: those left after removing four fifths of them
/// (rounded down) in ascending order of (train degree, item index).
#[must_use]
pub fn warm_items(degrees: &[u32]) -> Vec<bool> {
    let mut order: Vec<usize> = (0..degrees.len()).collect();
    order.sort_by_key(|item| (degrees[*item], *item));
    let mut warm = vec![false; degrees.len()];
    for item in &order[degrees.len() * 4 / 5..] {
        warm[*item] = true;
    }
    warm
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_rank_counts_better_scores_and_lower_ties() {
        let scores = [0.5, 0.9, 0.5, f32::NAN, 0.1, f32::INFINITY];
        let rank = |target, excluded: &[u32]| rank_of(&scores, target, excluded);
        assert_eq!(rank(1, &[]), Rank { rank: 1, candidates: 6 });
        assert_eq!(rank(0, &[]).rank, 2);
        assert_eq!(rank(2, &[]).rank, 3);
        assert_eq!(rank(2, &[0, 4]), Rank { rank: 2, candidates: 4 });
        assert_eq!((rank(3, &[]).rank, rank(5, &[]).rank), (5, 6));
        assert_eq!(rank(0, &[0, 1]), Rank { rank: 1, candidates: 5 });
    }

    #[test]
    fn metrics_of_known_ranks() {
        assert_eq!((hit(10, 10), hit(11, 10)), (1.0, 0.0));
        assert_eq!((ndcg(1, 10), ndcg(3, 10), ndcg(11, 10)), (1.0, 0.5, 0.0));
        assert_eq!(Some(reciprocal_rank(4)), Some(0.25));
        assert_eq!((mean(&[]), mean(&[1.0, 3.0])), (None, Some(2.0)));
        assert_eq!((deviation(&[1.0]), deviation(&[1.0, 3.0])), (None, Some(2.0f64.sqrt())));
    }

    #[test]
    fn a_fifth_rounded_up_is_warm_and_ties_favour_the_higher_index() {
        assert_eq!(warm_items(&[3, 1, 3, 1, 1, 3]), [false, false, true, false, false, true]);
        assert_eq!(warm_items(&vec![1; 3646]).iter().filter(|w| **w).count(), 730);
        assert!(warm_items(&[]).is_empty());
    }

    proptest! {
        #[test]
        fn a_rank_is_the_place_in_a_stable_sort(
            grades in prop::collection::vec(0u8..6, 1..40), target in 0usize..40, holes in prop::collection::btree_set(0u32..40, 0..20),
        ) {
            let target = target % grades.len();
            let scores: Vec<f32> = grades.iter().map(|g| if *g == 5 { f32::NAN } else { f32::from(*g) }).collect();
            let excluded: Vec<u32> = holes.into_iter().filter(|h| (*h as usize) < grades.len()).collect();
            let mut order: Vec<usize> =
                (0..scores.len()).filter(|i| *i == target || !excluded.contains(&(*i as u32))).collect();
            order.sort_by(|a, b| effective(scores[*b]).total_cmp(&effective(scores[*a])));
            let place = order.iter().position(|item| *item == target).unwrap() + 1;
            let rank = rank_of(&scores, target, &excluded);
            prop_assert_eq!((rank.rank as usize, rank.candidates as usize), (place, order.len()));
        }
    }
}
