//! How far a mean over users and seeds may be off: the two-way bootstrap.
//!
//! Users and seeds are both samples of what might have been measured. Each
//! resample draws as many users and as many seeds as there are, with
//! replacement, and the middle 95 % of what comes out is the interval.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;
use rayon::prelude::*;

use crate::ground::Seed;

/// Resamples unless it is said otherwise.
pub const RESAMPLES: u32 = 2000;

/// A value and the interval that holds its truth with a confidence of 95 %.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// What was measured.
    pub value: f64,
    /// The 2.5 % quantile of the resamples.
    pub low: f64,
    /// The 97.5 % quantile of the resamples.
    pub high: f64,
}

/// The interval of a statistic of the means of several samples.
///
/// Each of `samples` is `[seeds][users]`; the users are the same, in the same
/// order, in all of them and are drawn together, so that what is common to the
/// samples falls out of their differences. The seeds are drawn for each sample
/// by itself: two models trained with one seed share no more than its number.
/// Resamples in which the statistic is not finite are left out.
///
/// The same seed gives the same interval, whatever the threads. Nothing if a
/// sample has no value or `statistic` of the means is not finite.
///
/// # Panics
/// If the samples are not of the same number of users: this is a bug.
#[must_use]
pub fn interval_of(
    samples: &[&[Vec<f64>]],
    statistic: &(dyn Fn(&[f64]) -> f64 + Sync),
    resamples: u32,
    seed: &Seed,
) -> Option<Interval> {
    let users = samples.first()?.first()?.len();
    if users == 0 || samples.iter().any(|sample| sample.is_empty()) {
        return None;
    }
    let fits = samples.iter().all(|sample| sample.iter().all(|values| values.len() == users));
    assert!(fits, "samples of different users: this is a bug");
    let value = statistic(&samples.iter().map(|sample| mean_of(sample, &vec![1.0; users])).collect::<Vec<_>>());
    let stream = seed.purpose("bootstrap");
    let one = |number: u32| {
        let mut draws = Draws::of(stream, number);
        let weights = draws.counts(users);
        let mean = |sample: &&[Vec<f64>]| {
            let seeds = draws.counts(sample.len());
            let means = sample.iter().zip(&seeds).filter(|(_, count)| **count > 0.0);
            means.map(|(values, count)| count * mean_of(std::slice::from_ref(values), &weights)).sum::<f64>()
                / sample.len() as f64
        };
        statistic(&samples.iter().map(mean).collect::<Vec<_>>())
    };
    let mut drawn: Vec<f64> = (0..resamples).into_par_iter().map(one).filter(|value| value.is_finite()).collect();
    drawn.sort_unstable_by(f64::total_cmp);
    (value.is_finite() && !drawn.is_empty()).then(|| Interval {
        value,
        low: quantile(&drawn, 0.025),
        high: quantile(&drawn, 0.975),
    })
}

/// The mean over seeds of the weighted mean over users.
fn mean_of(sample: &[Vec<f64>], weights: &[f64]) -> f64 {
    let of_seed = |values: &Vec<f64>| values.iter().zip(weights).map(|(value, weight)| value * weight).sum::<f64>();
    sample.iter().map(of_seed).sum::<f64>() / (sample.len() * weights.len()) as f64
}

/// The quantile of ascending values, between two of them where it falls there.
fn quantile(ascending: &[f64], share: f64) -> f64 {
    let place = share * (ascending.len() - 1) as f64;
    let below = place.floor() as usize;
    let above = (below + 1).min(ascending.len() - 1);
    ascending[below] + (ascending[above] - ascending[below]) * (place - place.floor())
}

/// A stream of draws, one for each resample.
pub(super) struct Draws(ChaCha8Rng);

impl Draws {
    /// The stream of that number.
    pub(super) fn of(seed: Seed, number: u32) -> Self {
        let mut generator = seed.rng();
        generator.set_stream(u64::from(number));
        Self(generator)
    }

    /// How often each of `count` is drawn in `count` draws with replacement.
    fn counts(&mut self, count: usize) -> Vec<f64> {
        let mut counts = vec![0.0; count];
        for _ in 0..count {
            counts[((u128::from(self.0.next_u64()) * count as u128) >> 64) as usize] += 1.0;
        }
        counts
    }

    /// 64 fair coins.
    pub(super) fn coins(&mut self) -> u64 {
        self.0.next_u64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seed() -> Seed {
        Seed::of_stage(0, "test")
    }

    /// The interval of the mean of `values`, `[seeds][users]`.
    fn mean_interval(values: &[Vec<f64>], resamples: u32, seed: &Seed) -> Option<Interval> {
        interval_of(&[values], &|means| means[0], resamples, seed)
    }

    fn hits(users: usize, one_in: usize) -> Vec<f64> {
        (0..users).map(|user| if user % one_in == 0 { 1.0 } else { 0.0 }).collect()
    }

    #[test]
    fn the_interval_of_a_share_is_as_wide_as_the_theory_says() {
        let interval = mean_interval(&[hits(1000, 4)], RESAMPLES, &seed()).unwrap();
        let half = 1.96 * (0.25f64 * 0.75 / 1000.0).sqrt();
        assert!((interval.value - 0.25).abs() < 1e-12);
        assert!((interval.low - (0.25 - half)).abs() < 0.003, "{interval:?}, {half}");
        assert!((interval.high - (0.25 + half)).abs() < 0.003, "{interval:?}, {half}");
    }

    #[test]
    fn seeds_that_differ_make_it_wider() {
        let alike = mean_interval(&[hits(500, 5), hits(500, 5)], 1000, &seed()).unwrap();
        let apart = mean_interval(&[hits(500, 3), hits(500, 15)], 1000, &seed()).unwrap();
        assert!(apart.high - apart.low > 1.5 * (alike.high - alike.low), "{alike:?} {apart:?}");
    }

    #[test]
    fn what_two_samples_have_in_common_falls_out_of_their_difference() {
        let (one, other) = (vec![hits(400, 4)], vec![hits(400, 4)]);
        let interval = interval_of(&[&one, &other], &|means| means[0] - means[1], 200, &seed()).unwrap();
        assert_eq!(interval, Interval { value: 0.0, low: 0.0, high: 0.0 });
        assert_eq!(interval_of(&[&one, &other], &|means| 1.0 / (means[0] - means[1]), 200, &seed()), None);
        assert_eq!((mean_interval(&[], 10, &seed()), mean_interval(&[vec![]], 10, &seed())), (None, None));
    }

    #[test]
    fn threads_do_not_matter() {
        let values = [hits(300, 7), hits(300, 5), hits(300, 6)];
        let with = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| mean_interval(&values, 300, &seed()))
        };
        assert_eq!(with(1), with(4));
    }

    proptest! {
        #[test]
        fn an_interval_stays_within_the_values(
            values in prop::collection::vec(prop::collection::vec(-5.0..5.0f64, 6), 1..4),
        ) {
            let interval = mean_interval(&values, 50, &seed()).unwrap();
            let all = || values.iter().flatten().copied();
            let (least, most) = (all().fold(f64::MAX, f64::min), all().fold(f64::MIN, f64::max));
            prop_assert!(least - 1e-9 <= interval.low && interval.low <= interval.high && interval.high <= most + 1e-9);
            prop_assert!(least - 1e-9 <= interval.value && interval.value <= most + 1e-9);
        }
    }
}
