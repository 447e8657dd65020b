//! Draws from weights and lists.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// A list of places with weights, from which places are drawn in proportion.
#[derive(Debug)]
pub(super) struct Wheel {
    cumulative: Vec<f64>,
}

impl Wheel {
    /// A wheel over `weights`; negative ones count as 0.
    pub(super) fn new(weights: impl IntoIterator<Item = f64>) -> Self {
        let mut total = 0.0;
        let add = |weight: f64| {
            total += weight.max(0.0);
            total
        };
        Self { cumulative: weights.into_iter().map(add).collect() }
    }

    /// A place, or none if all weights are 0.
    pub(super) fn draw(&self, rng: &mut ChaCha8Rng) -> Option<usize> {
        let total = self.cumulative.last().copied().filter(|total| *total > 0.0)?;
        let at = rng.random::<f64>() * total;
        Some(self.cumulative.partition_point(|sum| *sum <= at).min(self.cumulative.len() - 1))
    }
}

/// An item of a list, each as likely as the others; the default of an empty list.
pub(super) fn pick<T: Copy + Default>(rng: &mut ChaCha8Rng, items: &[T]) -> T {
    if items.is_empty() { T::default() } else { items[rng.random_range(0..items.len())] }
}

/// Puts a list in a random order.
pub(super) fn shuffle<T>(rng: &mut ChaCha8Rng, items: &mut [T]) {
    for place in (1..items.len()).rev() {
        items.swap(place, rng.random_range(0..=place));
    }
}

/// Whether something of probability `share` happens.
pub(super) fn happens(rng: &mut ChaCha8Rng, share: f64) -> bool {
    rng.random::<f64>() < share
}

/// A draw from the normal distribution with mean 0 and deviation 1.
pub(super) fn normal(rng: &mut ChaCha8Rng) -> f64 {
    let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
    radius * (std::f64::consts::TAU * rng.random::<f64>()).cos()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::Seed;

    #[test]
    fn places_are_drawn_in_proportion_to_their_weights_and_never_those_of_weight_0() {
        let wheel = Wheel::new([0.0, 1.0, 0.0, 3.0, 0.0]);
        let mut rng = Seed::of_stage(0, "test").rng();
        let mut counts = [0; 5];
        for _ in 0..4000 {
            counts[wheel.draw(&mut rng).unwrap()] += 1;
        }
        assert_eq!((counts[0], counts[2], counts[4]), (0, 0, 0));
        assert!((2800..3200).contains(&counts[3]), "{counts:?}");
        assert_eq!(Wheel::new([0.0]).draw(&mut rng), None);
    }
}
