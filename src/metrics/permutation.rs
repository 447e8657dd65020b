//! Whether a difference between two models could be chance: the paired
//! sign-flip test, and Holm's correction where several are tested.

use rayon::prelude::*;

use super::bootstrap::Draws;
use crate::ground::Seed;

/// Sign flips unless it is said otherwise.
pub const PERMUTATIONS: u32 = 10_000;

/// The two-sided p of the hypothesis that the differences of users are as
/// often above zero as below it: `(1 + count) / (1 + permutations)`, where
/// `count` is how many of the random choices of signs give a sum at least as
/// far from zero as that of `differences`. 1 where there are none.
///
/// The same seed gives the same p, whatever the threads.
#[must_use]
pub fn sign_flip(differences: &[f64], permutations: u32, seed: &Seed) -> f64 {
    // A user without a difference has none under either sign.
    let moved: Vec<f64> = differences.iter().copied().filter(|difference| *difference != 0.0).collect();
    let size: f64 = moved.iter().map(|difference| difference.abs()).sum();
    // Sums of the same numbers in another order of signs differ by rounding.
    let observed = moved.iter().sum::<f64>().abs() - 1e-12 * size;
    let stream = seed.purpose("sign flip");
    let reaches = |number: &u32| {
        let mut draws = Draws::of(stream, *number);
        let flipped = moved.chunks(64).map(|chunk| {
            let coins = draws.coins();
            let flip = |(place, value): (usize, &f64)| if coins >> place & 1 == 1 { -value } else { *value };
            chunk.iter().enumerate().map(flip).sum::<f64>()
        });
        flipped.sum::<f64>().abs() >= observed
    };
    let count = (0..permutations).into_par_iter().filter(reaches).count();
    (1.0 + count as f64) / (1.0 + f64::from(permutations))
}

/// Holm's correction: the p of each hypothesis so that the chance of even one
/// false finding among all of them stays at the level that they are held to.
#[must_use]
pub fn holm(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut corrected = vec![1.0; values.len()];
    let mut least = 0.0_f64;
    for (place, at) in order.into_iter().enumerate() {
        least = least.max(values[at] * (values.len() - place) as f64).min(1.0);
        corrected[at] = least;
    }
    corrected
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn p(differences: &[f64]) -> f64 {
        sign_flip(differences, PERMUTATIONS, &Seed::of_stage(0, "test"))
    }

    #[test]
    fn small_cases_are_near_what_counting_gives() {
        assert_eq!((p(&[]), p(&[0.0; 9]), p(&[0.4])), (1.0, 1.0, 1.0));
        // Of the 16 choices of four signs, two reach the sum of four alike.
        assert!((p(&[1.0; 4]) - 2.0 / 16.0).abs() < 0.015);
        // Of 32, those with a sum of 3 or more or -3 or less: 2 (1 + 5).
        assert!((p(&[1.0, 1.0, 1.0, 1.0, -1.0]) - 12.0 / 32.0).abs() < 0.02);
        assert!(p(&[0.1; 40]) < 0.001);
    }

    #[test]
    fn under_chance_alone_small_p_are_as_rare_as_they_should_be() {
        let mut draws = Draws::of(Seed::of_stage(1, "test"), 0);
        let trial = |_| {
            let coins = draws.coins();
            let differences: Vec<f64> = (0..60).map(|i| if coins >> i & 1 == 1 { 0.3 } else { -0.3 }).collect();
            sign_flip(&differences, 400, &Seed::of_stage(0, "test"))
        };
        let small = (0..400).map(trial).filter(|p| *p <= 0.05).count();
        assert!((4..=36).contains(&small), "{small} of 400");
    }

    #[test]
    fn holm_corrects_known_values() {
        let close = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-12);
        assert!(close(&holm(&[0.01, 0.04, 0.03, 0.005]), &[0.03, 0.06, 0.06, 0.02]));
        assert!(close(&holm(&[0.6, 0.7]), &[1.0, 1.0]));
        assert!(holm(&[]).is_empty());
    }

    proptest! {
        #[test]
        fn signs_of_all_and_scale_do_not_matter(values in prop::collection::vec(-3i8..4, 0..30)) {
            let values: Vec<f64> = values.into_iter().map(f64::from).collect();
            let negative: Vec<f64> = values.iter().map(|value| -2.0 * value).collect();
            let test = |values: &[f64]| sign_flip(values, 200, &Seed::of_stage(0, "test"));
            prop_assert!((test(&values) - test(&negative)).abs() < 1e-15);
            prop_assert!((1.0 / 201.0..=1.0).contains(&test(&values)));
        }

        #[test]
        fn correcting_never_makes_a_p_smaller_nor_changes_the_order(values in prop::collection::vec(0.0..1.0f64, 0..8)) {
            let corrected = holm(&values);
            for (i, value) in values.iter().enumerate() {
                prop_assert!(corrected[i] >= *value && corrected[i] <= 1.0);
                for (j, other) in values.iter().enumerate() {
                    prop_assert!(value > other || corrected[i] <= corrected[j]);
                }
            }
        }
    }
}
