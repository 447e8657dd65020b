//! Requests spread evenly, by governor: whether one is due, and when the next is.
//! Holds no state: when a request is due is given and handed back.
//!
//! A server that counts strictly allows so many requests in any period. They
//! are spread a little wider than that: the way to the server may shake them
//! together by 1 % of a period, and one that goes out late, because its task
//! woke up late, may be caught up with by half a percent. So 98.5 % of the
//! allowance is used, and never more than all of it arrives in one period.

use std::cell::Cell;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::FakeRelativeClock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{NotKeyed, StateStore};
use governor::{Quota, RateLimiter};

/// By how much the way to the server may shake requests together: a share of the period.
const JITTER: f64 = 0.01;
/// How late a request may be without those after it being late as well: a share of the period.
const CATCH_UP: f64 = 0.005;
/// About how many of governor's cells a request is: so finely the spread is cut.
const CELLS: f64 = 1e6;

/// So many requests in a period, spread evenly.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
    cell: Duration,
    cells: NonZeroU32,
    burst: NonZeroU32,
}

impl Rate {
    /// `requests` in any `period`; less than one is one in a longer period.
    pub(super) fn new(requests: f64, period: Duration) -> Self {
        let period = period.as_secs_f64() / requests.min(1.0);
        let every = period * (1.0 + JITTER + CATCH_UP) / requests.max(1.0) * 1e9;
        Self::of_nanos(every, period * CATCH_UP * 1e9)
    }

    /// One request each `gap`.
    pub(super) fn of_gap(gap: Duration) -> Self {
        Self::of_nanos(gap.as_nanos() as f64, 0.0)
    }

    fn of_nanos(every: f64, late: f64) -> Self {
        let cell = (every / CELLS).ceil().max(1.0);
        let whole = |cells: f64| NonZeroU32::new(cells.clamp(1.0, 1e9) as u32).unwrap_or(NonZeroU32::MIN);
        let cells = (every / cell).ceil();
        Self {
            cell: Duration::from_nanos(cell as u64),
            cells: whole(cells),
            burst: whole(cells.max(1.0) + (late / cell).floor()),
        }
    }

    /// Takes a request at `now`, where the next is `due`: when the one after it
    /// is due, or how long to wait.
    ///
    /// # Errors
    /// The wait, if it is too early.
    pub(super) fn take(self, due: Option<Duration>, now: Duration) -> Result<Duration, Duration> {
        let Some(quota) = Quota::with_period(self.cell) else { return Ok(now) };
        let clock = FakeRelativeClock::default();
        let quota = quota.allow_burst(self.burst);
        let limiter: RateLimiter<_, _, _, NoOpMiddleware<Nanos>> =
            RateLimiter::new(quota, Due(Cell::new(due.map(Nanos::from))), clock.clone());
        clock.advance(now);
        match limiter.check_n(self.cells) {
            Ok(Err(not_until)) => Err(not_until.wait_time_from(now.into()).max(Duration::from_micros(1))),
            // More cells than the burst has are never asked for.
            Ok(Ok(())) | Err(_) => Ok(limiter.into_state_store().0.get().map_or(now, Duration::from)),
        }
    }
}

/// When the next request is due, as governor wants to find and leave it.
struct Due(Cell<Option<Nanos>>);

impl StateStore for Due {
    type Key = NotKeyed;

    fn measure_and_replace<T, F, E>(&self, _key: &NotKeyed, act: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let (outcome, next) = act(self.0.get())?;
        self.0.set(Some(next));
        Ok(outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::limits::{HOUR, MINUTE, SECOND};
    use proptest::prelude::*;

    /// Takes all that may be taken, each `lateness` after it may, and gives the times.
    fn taken(rate: Rate, count: usize, lateness: impl Fn(usize) -> Duration) -> Vec<Duration> {
        let (mut now, mut due, mut times) = (Duration::from_secs(1), None, Vec::new());
        while times.len() < count {
            match rate.take(due, now) {
                Ok(next) => {
                    due = Some(next);
                    times.push(now);
                }
                Err(wait) => now += wait + lateness(times.len()),
            }
        }
        times
    }

    #[test]
    fn what_is_late_is_caught_up_with() {
        let rate = Rate::new(50.0, SECOND);
        let late = taken(rate, 501, |_| Duration::from_millis(3));
        let whole = late[500].as_secs_f64() - late[0].as_secs_f64();
        assert!((10.1..10.2).contains(&whole), "500 gaps of 20.3 ms: {whole}");
    }

    #[test]
    fn a_rate_below_one_in_its_period_is_one_in_a_longer_one() {
        let times = taken(Rate::new(0.5, SECOND), 2, |_| Duration::ZERO);
        assert!((times[1].as_secs_f64() - times[0].as_secs_f64() - 2.02).abs() < 0.01, "{times:?}");
    }

    proptest! {
        /// The law that a strict server checks: whatever the rate, and however
        /// late each is by the clock or by the way, no period has more than it may.
        #[test]
        fn no_period_ever_has_more_than_it_may(
            requests in 1_u32..400,
            period in prop_oneof![Just(SECOND), Just(MINUTE), Just(HOUR)],
            shaken in proptest::collection::vec((0.0_f64..1.0, 0.0_f64..1.0), 1..40),
        ) {
            let shake = |n: usize| shaken[n % shaken.len()];
            let rate = Rate::new(f64::from(requests), period);
            let count = (requests as usize * 3).clamp(8, 600);
            let sent = taken(rate, count, |n| period.mul_f64(0.02 * shake(n).0));
            let mut arrived: Vec<Duration> =
                sent.iter().enumerate().map(|(n, at)| *at + period.mul_f64(JITTER * 0.999 * shake(n).1)).collect();
            arrived.sort();
            for pair in arrived.windows(requests as usize + 1) {
                prop_assert!(pair[requests as usize] >= pair[0] + period, "{:?}", pair);
            }
        }

        /// And its other half: what waits is sent at nearly the whole rate.
        #[test]
        fn nearly_the_whole_rate_is_used(requests in 0.1_f64..500.0) {
            let times = taken(Rate::new(requests, SECOND), 1001, |_| Duration::ZERO);
            let rate = 1000.0 / (times[1000].as_secs_f64() - times[0].as_secs_f64());
            prop_assert!((0.984..1.0).contains(&(rate / requests)), "{} of {}", rate, requests);
        }
    }
}
