//! Random draws that are the same on every platform and for every version of
//! the libraries: whole numbers, shuffles, normal and uniform weights.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

use crate::ground::Seed;

/// A stream of draws.
#[derive(Debug, Clone)]
pub(super) struct Draw(ChaCha8Rng);

impl Draw {
    /// The stream of a seed.
    pub(super) fn of(seed: Seed) -> Self {
        Self(seed.rng())
    }

    /// An independent stream of the same seed.
    pub(super) fn stream(seed: Seed, number: u64) -> Self {
        let mut generator = seed.rng();
        generator.set_stream(number);
        Self(generator)
    }

    /// A whole number below `bound`, all equally likely; 0 where `bound` is 0.
    pub(super) fn below(&mut self, bound: usize) -> usize {
        let bound = bound as u32;
        loop {
            let wide = u64::from(self.0.next_u32()) * u64::from(bound);
            // The low half below 2^32 mod bound would favour some numbers.
            if bound == 0 || wide as u32 >= bound.wrapping_neg() % bound {
                return (wide >> 32) as usize;
            }
        }
    }

    /// A number in [0, 1) with 24 bits.
    pub(super) fn unit(&mut self) -> f32 {
        (self.0.next_u32() >> 8) as f32 / 16_777_216.0
    }

    /// Puts a slice in random order (Fisher and Yates).
    pub(super) fn shuffle<T>(&mut self, values: &mut [T]) {
        for last in (1..values.len()).rev() {
            values.swap(last, self.below(last + 1));
        }
    }

    /// Numbers of a normal distribution with mean 0 (Box and Muller).
    pub(super) fn normal(&mut self, count: usize, deviation: f32) -> Vec<f32> {
        let mut values = Vec::with_capacity(count + 1);
        while values.len() < count {
            let radius = (-2.0 * f64::from(1.0 - self.unit()).ln()).sqrt() * f64::from(deviation);
            let (sine, cosine) = (std::f64::consts::TAU * f64::from(self.unit())).sin_cos();
            values.extend([(radius * cosine) as f32, (radius * sine) as f32]);
        }
        values.truncate(count);
        values
    }

    /// Numbers uniform in [-bound, bound).
    pub(super) fn uniform(&mut self, count: usize, bound: f32) -> Vec<f32> {
        (0..count).map(|_| (2.0 * self.unit() - 1.0) * bound).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_stay_below_their_bound_and_reach_all_of_it() {
        let mut draw = Draw::of(Seed::of_stage(1, "draw"));
        let mut seen = [0u32; 7];
        (0..7000).for_each(|_| seen[draw.below(7)] += 1);
        assert!(seen.iter().all(|count| (850..1150).contains(count)), "{seen:?}");
        assert_eq!((draw.below(0), draw.below(1)), (0, 0));
    }

    #[test]
    fn a_shuffle_keeps_every_value() {
        let mut values: Vec<usize> = (0..100).collect();
        Draw::of(Seed::of_stage(2, "draw")).shuffle(&mut values);
        assert_ne!(values, (0..100).collect::<Vec<_>>());
        values.sort_unstable();
        assert_eq!(values, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn normal_numbers_have_their_mean_and_deviation() {
        let values = Draw::of(Seed::of_stage(3, "draw")).normal(20_000, 2.0);
        let mean = values.iter().sum::<f32>() / 20_000.0;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / 20_000.0;
        assert!(mean.abs() < 0.06 && (variance - 4.0).abs() < 0.15, "{mean} {variance}");
    }
}
