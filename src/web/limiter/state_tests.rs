//! The law of limiters, over random limits and arrivals: never more than is
//! allowed in any window, and never idle while something waits and may be sent.

use std::time::Duration;

use proptest::prelude::*;

use super::state::State;
use crate::web::limits::{DAY, LimiterSettings, MINUTE, SECOND};

/// A use of a limit: when, and how much.
type Uses = Vec<(Duration, f64)>;

/// The most that is used within any period.
fn most_within(period: Duration, uses: &Uses) -> f64 {
    let (mut first, mut sum, mut most) = (0, 0.0, 0.0_f64);
    for (at, amount) in uses {
        sum += amount;
        while uses[first].0 + period <= *at {
            sum -= uses[first].1;
            first += 1;
        }
        most = most.max(sum);
    }
    most
}

fn limits() -> impl Strategy<Value = LimiterSettings> {
    let some = |range: std::ops::Range<f64>| proptest::option::of(range.prop_map(f64::round));
    (some(1.0..50.0), some(10.0..500.0), some(50.0..2000.0), some(2000.0..60_000.0), some(20_000.0..500_000.0))
        .prop_map(|(per_second, per_minute, per_day, tokens_per_minute, tokens_per_day)| LimiterSettings {
            per_second,
            per_minute,
            per_day,
            tokens_per_minute,
            tokens_per_day,
            ..LimiterSettings::default()
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn never_more_than_allowed_in_any_window(
        limits in limits(),
        arrivals in proptest::collection::vec((0.0_f64..1.0, 1_u64..1500), 100..400),
    ) {
        let (mut state, mut now) = (State::default(), Duration::from_secs(5));
        let (mut requests, mut tokens) = (Uses::new(), Uses::new());
        for (pause, amount) in arrivals {
            // Mostly a crowd, now and then a long silence.
            now += if pause < 0.9 { Duration::ZERO } else { Duration::from_secs_f64((pause - 0.9) * 600.0) };
            while let Err(held) = state.take(now, amount as f64, &limits) {
                prop_assert!(held.wait > Duration::ZERO);
                let before = now + held.wait.saturating_sub(Duration::from_millis(2));
                prop_assert!(state.clone().take(before, amount as f64, &limits).is_err() || before == now, "it waits for nothing");
                now += held.wait;
            }
            requests.push((now, 1.0));
            tokens.push((now, amount as f64));
        }
        for (most, period, uses) in [
            (limits.per_second, SECOND, &requests),
            (limits.per_minute, MINUTE, &requests),
            (limits.per_day, DAY, &requests),
            (limits.tokens_per_minute, MINUTE, &tokens),
            (limits.tokens_per_day, DAY, &tokens),
        ] {
            if let Some(most) = most {
                prop_assert!(most_within(period, uses) <= most + 1e-3, "{} of {} in {:?}", most_within(period, uses), most, period);
            }
        }
    }

    #[test]
    fn nearly_the_whole_allowance_is_used(limits in limits(), tokens in 1_u64..30) {
        let (mut state, mut now) = (State::default(), Duration::from_secs(5));
        let count = 3000;
        for _ in 0..count {
            while let Err(held) = state.take(now, tokens as f64, &limits) {
                now += held.wait;
            }
        }
        let (took, at_best) = (now.as_secs_f64() - 5.0, limits.time_for(count, count * tokens).as_secs_f64());
        prop_assert!(took <= at_best * 1.04 + 1.0, "{} s instead of {} s", took, at_best);
    }
}
