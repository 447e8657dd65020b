//! What a positive and its negatives cost, and the slope of that by each score.

use super::options::Loss;

impl Loss {
    /// How many terms the loss of so many positives is the mean of.
    pub(super) fn terms(self, positives: usize, negatives: usize) -> usize {
        match self {
            Self::Margin(_) => positives * negatives,
            Self::SampledSoftmax { .. } => positives,
        }
    }

    /// The sum of one positive's terms; `gradients` receives its slopes, times `share`.
    ///
    /// # Shapes
    /// `scores` and `gradients` `[1 + negatives]`, the positive first;
    /// `corrections` the same or empty.
    pub(super) fn of_row(self, scores: &[f32], corrections: &[f32], share: f32, gradients: &mut [f32]) -> f64 {
        match self {
            Self::Margin(margin) => hinges(margin, scores, share, gradients),
            Self::SampledSoftmax { temperature, .. } => {
                sampled_softmax(temperature, scores, corrections, share, gradients)
            }
        }
    }
}

fn hinges(margin: f32, scores: &[f32], share: f32, gradients: &mut [f32]) -> f64 {
    let (mut sum, mut active) = (0.0, 0.0);
    for (score, gradient) in scores[1..].iter().zip(&mut gradients[1..]) {
        let hinge = margin - scores[0] + score;
        *gradient = 0.0;
        // A score that is not a number must show in the loss.
        if hinge > 0.0 || hinge.is_nan() {
            sum += f64::from(hinge);
            *gradient = share;
            active += share;
        }
    }
    gradients[0] = -active;
    sum
}

fn sampled_softmax(temperature: f32, scores: &[f32], corrections: &[f32], share: f32, gradients: &mut [f32]) -> f64 {
    let scale = 1.0 / f64::from(temperature);
    let logit = |at: usize| {
        let correction = corrections.get(at).map_or(0.0, |correction| f64::from(*correction));
        f64::from(scores[at]) * scale - correction
    };
    let highest = (0..scores.len()).map(logit).fold(f64::NEG_INFINITY, f64::max);
    let weight = |at: usize| (logit(at) - highest).exp();
    let total: f64 = (0..scores.len()).map(weight).sum();
    let slope = f64::from(share) * scale / total;
    let mut others = 0.0;
    for (at, gradient) in gradients.iter_mut().enumerate().skip(1) {
        let own = weight(at);
        others += own;
        *gradient = (own * slope) as f32;
    }
    gradients[0] = (-others * slope) as f32;
    highest + total.ln() - logit(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCORES: [f32; 4] = [0.5, 1.25, -2.0, 0.25];
    const CORRECTIONS: [f32; 4] = [0.0, -1.5, -0.5, -3.0];

    /// Slopes by small differences.
    fn check(loss: Loss, corrections: &[f32]) {
        let mut gradients = [9.0; 4];
        loss.of_row(&SCORES, corrections, 0.5, &mut gradients);
        for at in 0..4 {
            let moved = |by: f32| {
                let mut scores = SCORES;
                scores[at] += by;
                loss.of_row(&scores, corrections, 0.5, &mut [0.0; 4])
            };
            let slope = (moved(1.0 / 128.0) - moved(-1.0 / 128.0)) * 64.0 * 0.5;
            assert!((slope - f64::from(gradients[at])).abs() < 1e-4, "{loss:?} {at}: {slope} not {}", gradients[at]);
        }
    }

    #[test]
    fn slopes_are_those_of_the_loss() {
        check(Loss::Margin(1.0), &[]);
        for temperature in [1.0, 0.25] {
            check(Loss::SampledSoftmax { temperature, logq: false }, &[]);
            check(Loss::SampledSoftmax { temperature, logq: true }, &CORRECTIONS);
        }
    }

    #[test]
    fn the_sampled_softmax_is_its_formula_and_stays_finite() {
        let loss = Loss::SampledSoftmax { temperature: 0.5, logq: true };
        let value = loss.of_row(&SCORES, &CORRECTIONS, 1.0, &mut [0.0; 4]);
        let expected = -(1.0f64.exp() / (1.0f64.exp() + 4.0f64.exp() + (-3.5f64).exp() + 3.5f64.exp())).ln();
        assert!((value - expected).abs() < 1e-12, "{value} {expected}");
        let mut gradients = [0.0; 2];
        let far = loss.of_row(&[-3000.0, 3000.0], &[], 1.0, &mut gradients);
        assert!(
            (far - 12000.0).abs() < 1e-9 && (gradients[1] - 2.0).abs() < 1e-6 && (gradients[0] + 2.0).abs() < 1e-6,
            "{far} {gradients:?}"
        );
    }

    #[test]
    fn a_score_that_is_no_number_shows_in_every_loss() {
        for loss in [Loss::Margin(1.0), Loss::SampledSoftmax { temperature: 1.0, logq: false }] {
            assert!(loss.of_row(&[0.0, f32::NAN], &[], 1.0, &mut [0.0; 2]).is_nan());
            assert!(loss.of_row(&[f32::NAN, 0.0], &[], 1.0, &mut [0.0; 2]).is_nan());
        }
    }
}
