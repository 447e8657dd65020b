//! Which period a limit is for, where an answer's headers do not say so.
//!
//! Groq's limit on requests is for a day and OpenAI's for a minute, in the same
//! words. Both come back evenly: `reset`, the time until all is there again,
//! grows with what is used, and by how much tells the period. A limit that
//! comes back at once, when its minute is over, says nothing of the sort; it may
//! look like it for a while, but not for twice as much that is used.

use std::time::Duration;

use crate::web::limits::{DAY, HOUR, MINUTE, SECOND};
use crate::web::pace::Told;

/// How far a period that is worked out may be from a real one.
const TOLERANCE: f64 = 0.05;

/// What the answers so far would mean if the limit came back evenly.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Refill(Option<Guess>);

#[derive(Debug, Clone, Copy, PartialEq)]
struct Guess {
    period: Duration,
    /// The least and the most that was used when answers agreed on it.
    least: f64,
    most: f64,
}

impl Refill {
    /// The period of a limit that comes back evenly, once that is sure.
    pub(super) fn period(&mut self, told: &Told) -> Option<Duration> {
        let (limit, left, reset) = (told.limit?, told.left?, told.reset?);
        let used = limit - left;
        if used < 1.0 || !told.is_whole {
            return None;
        }
        let worked_out = reset.as_secs_f64() * limit / used;
        let near = |period: &Duration| (worked_out / period.as_secs_f64() - 1.0).abs() < TOLERANCE;
        let found = [SECOND, MINUTE, HOUR, DAY].into_iter().find(near);
        let period = found.filter(|period| told.period.is_none_or(|given| given == *period));
        self.0 = period.map(|period| match self.0.filter(|guess| guess.period == period) {
            Some(guess) => Guess { least: guess.least.min(used), most: guess.most.max(used), period },
            None => Guess { least: used, most: used, period },
        });
        self.0.filter(|guess| guess.most >= guess.least * 2.0).map(|guess| guess.period)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::pace::What;
    use proptest::prelude::*;

    fn told(limit: f64, used: f64, reset: f64) -> Told {
        let reset = Some(Duration::from_secs_f64(reset));
        Told { what: What::Requests, is_whole: true, period: None, limit: Some(limit), left: Some(limit - used), reset }
    }

    #[test]
    fn the_recorded_answers_of_groq_mean_a_day_for_requests_and_a_minute_for_tokens() {
        let mut requests = Refill::default();
        let seen = [(1.0, 6.0), (2.0, 11.486), (2.0, 10.682), (3.0, 17.4)];
        let found = seen.map(|(used, reset)| requests.period(&told(14_400.0, used, reset)));
        assert_eq!(found, [None, Some(DAY), None, None], "what is too far off begins anew");
        let mut tokens = Refill::default();
        assert_eq!(tokens.period(&told(30_000.0, 13.0, 0.026)), None);
        assert_eq!(tokens.period(&told(30_000.0, 130.0, 0.26)), Some(MINUTE));
    }

    proptest! {
        /// A server that counts from one full minute to the next is never
        /// taken for one that refills over a longer time.
        #[test]
        fn what_comes_back_at_once_is_not_taken_for_what_comes_back_evenly(
            limit in 10.0_f64..10_000.0, share in 0.05_f64..1.0, start in 0.0_f64..60.0,
        ) {
            let (limit, mut refill) = (limit.round(), Refill::default());
            let every = 60.0 / (limit * share);
            let mut at = start;
            while at < 240.0 {
                let into = at % 60.0;
                let before = if at < 60.0 { start } else { 0.0 };
                let used = ((into - before) / every).floor() + 1.0;
                let found = refill.period(&told(limit, used.min(limit), (60.0 - into).ceil()));
                prop_assert!(found.is_none_or(|period| period <= MINUTE), "{:?} at {} of {}", found, used, limit);
                at += every;
            }
        }
    }
}
