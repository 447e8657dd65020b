//! How fast a stage is and how long it still takes. Pure: time comes in as values.

use std::collections::VecDeque;
use std::time::Duration;

/// How far back a rate looks.
const WINDOW: Duration = Duration::from_mins(1);
/// The least time between two points that a rate is taken from.
const STEP: Duration = Duration::from_secs(1);

/// How much was done at which time, over the last minute.
#[derive(Debug, Default)]
pub(super) struct Recent(VecDeque<(Duration, u64)>);

impl Recent {
    /// So much was done by now. `done` never falls.
    pub(super) fn note(&mut self, now: Duration, done: u64) {
        if self.0.back().is_none_or(|(last, _)| now.saturating_sub(*last) >= STEP) {
            self.0.push_back((now, done));
        }
        // One point at least a minute old stays: what the rate is measured from.
        while self.0.get(1).is_some_and(|(next, _)| now.saturating_sub(*next) >= WINDOW) {
            self.0.pop_front();
        }
    }

    /// How much is done per second; none before a second has passed.
    pub(super) fn per_second(&self, now: Duration, done: u64) -> Option<f64> {
        let (since, before) = self.0.front()?;
        let passed = now.saturating_sub(*since);
        (passed >= STEP).then(|| done.saturating_sub(*before) as f64 / passed.as_secs_f64())
    }
}

/// The seconds until `left` more is done: the larger of what the rate gives and
/// what the limits give; none where neither says.
pub(super) fn seconds_left(left: u64, per_second: Option<f64>, at_the_limits: Option<Duration>) -> Option<f64> {
    if left == 0 {
        return Some(0.0);
    }
    let by_rate = per_second.filter(|rate| *rate > 0.0).map(|rate| (left as f64 / rate).min(f64::MAX));
    let by_limits = at_the_limits.map(|time| time.as_secs_f64());
    match (by_rate, by_limits) {
        (Some(one), Some(other)) => Some(one.max(other)),
        (one, other) => one.or(other),
    }
}

/// `each` for every one of `left`, rounded up.
pub(super) fn altogether(left: u64, each: f64) -> u64 {
    if each.is_finite() && each > 0.0 { (left as f64 * each).ceil() as u64 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_rate_is_that_of_the_last_minute() {
        let mut recent = Recent::default();
        recent.note(Duration::ZERO, 0);
        assert_eq!(recent.per_second(Duration::from_millis(900), 50), None, "too early to say");
        for second in 0..=120 {
            recent.note(SECOND * second, u64::from(second.min(60)) * 5);
        }
        assert_eq!(recent.per_second(SECOND * 120, 300), Some(0.0), "nothing came for a minute");
        assert_eq!(recent.per_second(SECOND * 120, 420), Some(2.0));
        assert!(recent.0.len() <= 62, "what is older is forgotten: {}", recent.0.len());
    }

    #[test]
    fn the_slower_of_rate_and_limits_tells_the_time() {
        assert_eq!(seconds_left(100, Some(5.0), Some(Duration::from_secs(10))), Some(20.0));
        assert_eq!(seconds_left(100, Some(50.0), Some(Duration::from_secs(10))), Some(10.0));
        assert_eq!(seconds_left(100, Some(0.0), None), None, "nothing moves and nothing limits it");
        assert_eq!(seconds_left(100, None, Some(SECOND)), Some(1.0));
        assert_eq!(seconds_left(0, None, None), Some(0.0));
        assert_eq!((altogether(10, 1.5), altogether(3, f64::NAN), altogether(3, -1.0)), (15, 0, 0));
    }

    fn rates() -> impl Strategy<Value = Option<f64>> {
        proptest::option::of(prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(0.0), -1e9..1e9_f64])
    }

    proptest! {
        #[test]
        fn time_left_is_a_time_and_grows_with_what_is_left(
            left in 0..u64::MAX / 2,
            more in 0..u64::MAX / 2,
            rate in rates(),
            per_request in proptest::option::of(0..1000_u64),
        ) {
            let limits = |left: u64| per_request.map(|millis| Duration::from_millis(millis.saturating_mul(left)));
            let few = seconds_left(left, rate, limits(left));
            let many = seconds_left(left + more, rate, limits(left + more));
            for seconds in few.iter().chain(&many) {
                prop_assert!(*seconds >= 0.0 && seconds.is_finite());
            }
            if let (Some(few), Some(many)) = (few, many) {
                prop_assert!(few <= many);
            }
        }

        #[test]
        fn rates_are_never_negative(steps in proptest::collection::vec((0..5000_u64, 0..50_u64), 1..200)) {
            let (mut recent, mut now, mut done) = (Recent::default(), Duration::ZERO, 0);
            for (millis, more) in steps {
                now += Duration::from_millis(millis);
                done += more;
                recent.note(now, done);
                prop_assert!(recent.per_second(now, done).is_none_or(|rate| rate >= 0.0 && rate.is_finite()));
            }
        }
    }
}
