//! From values to places: extents, ticks that people can read, and scales.

use crate::ground::thousands;

/// The smallest and the largest of some values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Extent {
    pub(super) low: f64,
    pub(super) high: f64,
}

impl Extent {
    /// Of those values that are finite; none if none is.
    pub(super) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let finite = values.into_iter().filter(|value| value.is_finite());
        finite.fold(None, |extent: Option<Self>, value| match extent {
            None => Some(Self { low: value, high: value }),
            Some(Self { low, high }) => Some(Self { low: low.min(value), high: high.max(value) }),
        })
    }
}

/// A scale: values from `extent` lie between two places.
#[derive(Debug, Clone)]
pub(super) struct Scale {
    extent: Extent,
    logarithmic: bool,
    places: [f64; 2],
    /// Where ticks stand, with their texts.
    pub(super) ticks: Vec<(f64, String)>,
}

impl Scale {
    /// Ends on ticks. `whole` allows only whole numbers as ticks.
    pub(super) fn linear(extent: Option<Extent>, places: [f64; 2], ticks: usize, whole: bool) -> Self {
        let Extent { low, high } = widened(extent.unwrap_or(Extent { low: 0.0, high: 1.0 }));
        let step = nice_step((high - low) / ticks.max(1) as f64);
        let step = if whole { step.max(1.0) } else { step };
        let first = (low / step + 1e-9).floor();
        let count = ((high / step - 1e-9).ceil() - first).clamp(1.0, 40.0) as usize;
        let values: Vec<f64> = (0..=count).map(|i| (first + i as f64) * step).collect();
        let extent = Extent { low: first * step, high: (first + count as f64) * step };
        let ticks = values.into_iter().map(|value| (value, tick_text(value, step))).collect();
        Self { extent, logarithmic: false, places, ticks }
    }

    /// Ends at the extent; ticks at 1, 2 and 5 times powers of ten, at the powers
    /// alone where that is enough. Values of 0 and less are taken as the smallest.
    pub(super) fn logarithmic(extent: Option<Extent>, places: [f64; 2]) -> Self {
        let extent = extent.filter(|extent| extent.high > 0.0).unwrap_or(Extent { low: 1.0, high: 10.0 });
        let low = extent.low.max(extent.high * 1e-9);
        let high = if extent.high > low { extent.high } else { low * 10.0 };
        let decades = (high / low).log10();
        let within = if decades > 4.0 { [1.0].as_slice() } else { [1.0, 2.0, 5.0].as_slice() };
        let every = (decades / 7.0).ceil().max(1.0) as usize;
        let powers = ((low.log10().floor() as i32)..=(high.log10().ceil() as i32)).step_by(every);
        let values = powers.flat_map(|power| within.iter().map(move |digit| digit * 10f64.powi(power)));
        let inside = values.filter(|value| (low * 0.999..=high * 1.001).contains(value));
        let ticks = inside.map(|value| (value, tick_text(value, value))).collect();
        Self { extent: Extent { low, high }, logarithmic: true, places, ticks }
    }

    /// `names` one beside another; value `i` is the middle of the i-th.
    pub(super) fn names(names: &[String], places: [f64; 2]) -> Self {
        let extent = Extent { low: -0.5, high: names.len().max(1) as f64 - 0.5 };
        let ticks = names.iter().enumerate().map(|(i, name)| (i as f64, name.clone())).collect();
        Self { extent, logarithmic: false, places, ticks }
    }

    /// Where a value lies; what is outside lies at the end.
    pub(super) fn place(&self, value: f64) -> f64 {
        let Extent { low, high } = self.extent;
        let share = if self.logarithmic {
            (value.max(low) / low).ln() / (high / low).ln()
        } else {
            (value - low) / (high - low)
        };
        let [start, end] = self.places;
        start + share.clamp(0.0, 1.0) * (end - start)
    }
}

/// An extent that is not a point, and no wider than numbers go.
fn widened(Extent { low, high }: Extent) -> Extent {
    let [low, high] = [low, high].map(|end| end.clamp(-1e15, 1e15));
    if high - low > (high.abs() + low.abs()) * 1e-9 {
        Extent { low, high }
    } else if high == 0.0 {
        Extent { low: 0.0, high: 1.0 }
    } else {
        Extent { low: low - low.abs() * 0.1, high: high + high.abs() * 0.1 }
    }
}

/// 1, 2 or 5 times a power of ten, no less than `rough`.
fn nice_step(rough: f64) -> f64 {
    let power = 10f64.powf(rough.log10().floor());
    let digit = [1.0, 2.0, 5.0].into_iter().find(|digit| digit * power >= rough * 0.999_999);
    digit.unwrap_or(10.0) * power
}

/// A tick's number, with the decimals that its step has.
fn tick_text(value: f64, step: f64) -> String {
    let decimals = (-(step * 1.000_001).log10().floor()).max(0.0);
    if decimals > 6.0 {
        return format!("{value:.0e}");
    }
    let text = format!("{:.*}", decimals as usize, value + 0.0);
    match text.parse::<u64>() {
        Ok(whole) if whole >= 10_000 => thousands(whole),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(scale: &Scale) -> Vec<&str> {
        scale.ticks.iter().map(|(_, text)| text.as_str()).collect()
    }

    fn linear(low: f64, high: f64) -> Scale {
        Scale::linear(Extent::of([low, high]), [0.0, 100.0], 5, false)
    }

    #[test]
    fn ticks_are_numbers_that_people_use() {
        assert_eq!(texts(&linear(0.0, 0.23)), ["0.00", "0.05", "0.10", "0.15", "0.20", "0.25"]);
        assert_eq!(texts(&linear(3.0, 97.0)), ["0", "20", "40", "60", "80", "100"]);
        assert_eq!(texts(&linear(0.0, 52_000.0)), ["0", "20,000", "40,000", "60,000"]);
        assert_eq!(texts(&linear(0.3, 0.3)), ["0.26", "0.28", "0.30", "0.32", "0.34"]);
        assert_eq!(texts(&linear(0.0, 0.0)), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        let epochs = Scale::linear(Extent::of([1.0, 3.0]), [0.0, 1.0], 5, true);
        assert_eq!(texts(&epochs), ["1", "2", "3"]);
        let ranks = Scale::logarithmic(Extent::of([1.0, 320.0]), [0.0, 1.0]);
        assert_eq!(texts(&ranks), ["1", "2", "5", "10", "20", "50", "100", "200"]);
        let wide = Scale::logarithmic(Extent::of([1.0, 1e6]), [0.0, 1.0]);
        assert_eq!(texts(&wide), ["1", "10", "100", "1000", "10,000", "100,000", "1,000,000"]);
    }

    #[test]
    fn values_lie_between_the_ends() {
        let scale = Scale::logarithmic(Extent::of([1.0, 100.0]), [0.0, 100.0]);
        let places = [0.0, 1.0, 10.0, 100.0, 1e9].map(|value| scale.place(value).round() as i32);
        assert_eq!(places, [0, 0, 50, 100, 100]);
        assert_eq!(Extent::of([f64::NAN, f64::INFINITY]), None);
    }
}
