//! The shape of `limiters:` and `budgets:` in a pipeline, and what follows from
//! it alone: what is wrong with it, and how long a queue takes. Sends nothing.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::period::Period;

/// A second, a minute, an hour and a day.
pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const MINUTE: Duration = Duration::from_mins(1);
pub(super) const HOUR: Duration = Duration::from_hours(1);
pub(super) const DAY: Duration = Duration::from_hours(24);

/// Requests in flight where nothing else is said.
const DEFAULT_CONCURRENCY: usize = 4;
/// How long an answer may take on average without holding up the rate, where
/// no number of requests in flight is given.
const USUAL_ANSWER: Duration = Duration::from_secs(2);
/// The most requests in flight that nobody asked for.
const MOST_BY_DEFAULT: f64 = 32.0;

/// What a provider allows. Every limit that is given holds at the same time,
/// for all stages and all runs of this user on this machine together.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LimiterSettings {
    /// Requests per second, spread evenly.
    #[serde(default)]
    pub per_second: Option<f64>,
    /// Requests per minute, spread evenly.
    #[serde(default)]
    pub per_minute: Option<f64>,
    /// Requests per hour, spread evenly.
    #[serde(default)]
    pub per_hour: Option<f64>,
    /// Requests in any 24 hours, as fast as the other limits allow.
    #[serde(default)]
    pub per_day: Option<f64>,
    /// Tokens (prompt and completion) in any 60 seconds.
    #[serde(default)]
    pub tokens_per_minute: Option<f64>,
    /// Tokens (prompt and completion) in any 24 hours.
    #[serde(default)]
    pub tokens_per_day: Option<f64>,
    /// Requests in flight at the same time. If not given: 4, or as many as the
    /// rate needs where an answer takes two seconds, at most 32.
    #[serde(default)]
    pub concurrency: Option<usize>,
}

impl LimiterSettings {
    /// The names of the settings whose values no limit can have: 0, less, or no number.
    #[must_use]
    pub fn not_positive(&self) -> Vec<&'static str> {
        let given = [
            ("per_second", self.per_second),
            ("per_minute", self.per_minute),
            ("per_hour", self.per_hour),
            ("per_day", self.per_day),
            ("tokens_per_minute", self.tokens_per_minute),
            ("tokens_per_day", self.tokens_per_day),
            ("concurrency", self.concurrency.map(|count| count as f64)),
        ];
        let bad = |value: f64| !(value.is_finite() && value > 0.0);
        given.into_iter().filter(|(_, value)| value.is_some_and(bad)).map(|(name, _)| name).collect()
    }

    /// How many requests may be in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        let by_rate = self.rates().map(|(rate, period)| rate / period.as_secs_f64()).fold(f64::INFINITY, f64::min);
        let needed = if by_rate.is_finite() { (by_rate * USUAL_ANSWER.as_secs_f64()).ceil() } else { 0.0 };
        self.concurrency.unwrap_or_else(|| DEFAULT_CONCURRENCY.max(needed.min(MOST_BY_DEFAULT) as usize))
    }

    /// How long a queue of so many requests, which take so many tokens
    /// altogether, takes at these limits if nothing has been used of them yet.
    /// Zero where nothing limits it; how long the answers take is not in it.
    #[must_use]
    pub fn time_for(&self, requests: u64, tokens: u64) -> Duration {
        let (requests, tokens) = (requests as f64, tokens as f64);
        let by_day = [(requests, self.per_day), (tokens, self.tokens_per_day)];
        let by_day = || by_day.iter().filter_map(|(amount, most)| most.map(|most| (*amount, most)));
        // All days but the last are waited through to their end.
        let whole_days = by_day().map(|(amount, most)| (amount / most).ceil() - 1.0).fold(0.0, f64::max);
        let left_over =
            by_day().map(|(amount, most)| if amount > 0.0 { 1.0 - whole_days * most / amount } else { 0.0 });
        let last_day = if whole_days > 0.0 { left_over.fold(0.0, f64::max) } else { 1.0 };
        let of_requests = self.rates().map(|(rate, period)| requests / rate * period.as_secs_f64());
        let of_tokens = self.tokens_per_minute.map(|rate| tokens / rate * MINUTE.as_secs_f64());
        let at_the_rates = of_requests.chain(of_tokens).fold(0.0, f64::max);
        let seconds = (whole_days * DAY.as_secs_f64() + last_day * at_the_rates).max(at_the_rates);
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    }

    /// The limits that are spread evenly: how many requests, in which time.
    pub(super) fn rates(&self) -> impl Iterator<Item = (f64, Duration)> {
        let given = [(self.per_second, SECOND), (self.per_minute, MINUTE), (self.per_hour, HOUR)];
        given.into_iter().filter_map(|(rate, period)| Some((rate?, period)))
    }
}

/// A ceiling on what may be spent at one limiter.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BudgetSettings {
    /// Requests sent, answers from the memo not counted.
    #[serde(default)]
    pub requests: Option<u64>,
    /// Tokens, prompt and completion together.
    #[serde(default)]
    pub tokens: Option<u64>,
    /// US dollars, at the prices given in the stage.
    #[serde(default)]
    pub usd: Option<f64>,
    /// Over which time it counts: `run` (default), `day` or `month` of the calendar in UTC, or `total`: ever, from
    /// this store. What earlier runs spent is in the store's ledger.
    #[serde(default)]
    pub per: Period,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn limits_that_are_none_are_refused() {
        for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let settings = LimiterSettings { per_second: Some(bad), per_day: Some(1.0), ..LimiterSettings::default() };
            assert_eq!(settings.not_positive(), ["per_second"]);
        }
        let settings = LimiterSettings { concurrency: Some(0), ..LimiterSettings::default() };
        assert_eq!(settings.not_positive(), ["concurrency"]);
        assert!(LimiterSettings::default().not_positive().is_empty());
    }

    #[test]
    fn a_fast_rate_gets_the_requests_in_flight_that_it_needs() {
        let of = |per_second| LimiterSettings { per_second, ..LimiterSettings::default() }.in_flight();
        assert_eq!([None, Some(0.1), Some(5.0), Some(1e9)].map(of), [4, 4, 10, 32]);
        let given = LimiterSettings { per_second: Some(5.0), concurrency: Some(1), ..LimiterSettings::default() };
        assert_eq!(given.in_flight(), 1);
    }

    #[test]
    fn a_queue_takes_as_long_as_its_tightest_limit() {
        let settings = LimiterSettings {
            per_minute: Some(30.0),
            tokens_per_minute: Some(6000.0),
            per_day: Some(14_400.0),
            ..LimiterSettings::default()
        };
        assert_eq!(settings.time_for(0, 0), Duration::ZERO);
        assert_eq!(settings.time_for(300, 0), Duration::from_mins(10));
        assert_eq!(settings.time_for(300, 120_000), Duration::from_mins(20), "the tokens are tighter");
        assert_eq!(settings.time_for(14_400, 0), Duration::from_hours(8), "all of a day's");
        assert_eq!(settings.time_for(14_430, 0), DAY + Duration::from_mins(1), "a minute of the next day");
        assert_eq!(LimiterSettings::default().time_for(u64::MAX, u64::MAX), Duration::ZERO, "nothing limits it");
        let slow = LimiterSettings { tokens_per_day: Some(1000.0), ..LimiterSettings::default() };
        assert_eq!(slow.time_for(1, 2500), 2 * DAY);
    }

    proptest! {
        #[test]
        fn more_work_never_takes_less_time(
            limits in proptest::array::uniform4(proptest::option::of(0.1_f64..1e5)),
            (requests, tokens) in (0_u64..1_000_000, 0_u64..1_000_000_000),
            (more, more_tokens) in (0_u64..1_000_000, 0_u64..1_000_000_000),
        ) {
            let [per_second, per_day, tokens_per_minute, tokens_per_day] = limits;
            let settings =
                LimiterSettings { per_second, per_day, tokens_per_minute, tokens_per_day, ..LimiterSettings::default() };
            let (less, more) =
                (settings.time_for(requests, tokens), settings.time_for(requests + more, tokens + more_tokens));
            prop_assert!(less <= more + Duration::from_millis(1), "{:?} {:?}", less, more);
        }
    }
}
