//! What all who use a limiter must agree on, and the decisions that follow from
//! it: pure functions of the state, the time and the limits. A time here counts
//! from a start that survives reboots ([`super::share`]).

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::limit::Limit;
use super::spacing::Rate;
use super::window::{LAST_DAY, LAST_MINUTE, Window};
use crate::web::limits::{DAY, LimiterSettings, MINUTE};
use crate::web::pace::Told;

/// The first pause where the provider asks to slow down and names no time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause that nobody named.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// Refusals that follow each other so closely are persistent.
const PERSISTENT: Duration = Duration::from_mins(2);
/// What persistent refusals make of the rates, each time.
const SLOWER: f64 = 0.75;
/// The least that is made of them.
const SLOWEST: f64 = 0.05;
/// How much of the whole rate comes back in a minute without refusals.
const BACK_PER_MINUTE: f64 = 0.02;
/// After a pause, where no rate spreads the requests: their distance, as a share of the pause.
const CALM_SHARE: u32 = 32;
/// The most that distance is.
const MOST_CALM: Duration = Duration::from_secs(1);
/// The key in [`State::due`] of the distance after a pause.
const CALM: u64 = 0;
/// So long what a provider has told of a limit is believed.
const BELIEVED: Duration = Duration::from_hours(25);

/// What was used, what was learnt, and what is to be waited for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct State {
    /// When the next request is due, by the period of the rate in seconds.
    due: BTreeMap<u64, Duration>,
    minute_tokens: Window,
    day_requests: Window,
    day_tokens: Window,
    paused_until: Duration,
    /// How long the last pause was.
    pause: Duration,
    /// What the provider told of its limits.
    learnt: BTreeMap<Limit, Learnt>,
    easing: Easing,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Learnt {
    most: f64,
    at: Duration,
}

/// How the rates follow refusals: down at once, and slowly up again.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Easing {
    in_a_row: u32,
    /// The share of the rates that is not used, at the time of the last refusal.
    withheld: f64,
    at: Duration,
    /// When the pause ends that the last refusal led to.
    until: Duration,
}

/// What a request waits for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Why {
    /// The provider asked for it.
    Pause,
    /// Requests are spread evenly.
    Rate,
    /// So much is used up; the whole of it is that much.
    Used(Limit, f64),
}

/// A request that may not be sent yet.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Held {
    pub(super) wait: Duration,
    pub(super) why: Why,
}

impl State {
    /// Counts a request of about `tokens` that is sent at `now`.
    ///
    /// # Errors
    /// [`Held`] if it may not be sent yet; nothing is counted then.
    pub(super) fn take(&mut self, now: Duration, tokens: f64, given: &LimiterSettings) -> Result<(), Held> {
        if now < self.paused_until {
            return Err(Held { wait: self.paused_until.saturating_sub(now), why: Why::Pause });
        }
        let limits = self.limits(now, given);
        let windows = [
            (Limit::PerDay, limits.per_day, &mut self.day_requests, LAST_DAY, 1.0),
            (Limit::TokensPerDay, limits.tokens_per_day, &mut self.day_tokens, LAST_DAY, tokens),
            (Limit::TokensPerMinute, limits.tokens_per_minute, &mut self.minute_tokens, LAST_MINUTE, tokens),
        ];
        let mut held: Option<Held> = None;
        let mut counted = Vec::new();
        for (limit, most, window, span, amount) in windows {
            let Some(most) = most else { continue };
            match window.held_up(span, now, amount, most) {
                Some(wait) if held.is_none_or(|held| held.wait < wait) => {
                    held = Some(Held { wait, why: Why::Used(limit, most) });
                }
                Some(_) => {}
                None => counted.push((window, span, amount)),
            }
        }
        let mut due = BTreeMap::new();
        for (key, rate) in rates(&limits, now.checked_sub(self.paused_until), self.pause) {
            match rate.take(self.due.get(&key).copied(), now) {
                Ok(next) => {
                    due.insert(key, next);
                }
                Err(wait) if held.is_none_or(|held| held.wait < wait) => held = Some(Held { wait, why: Why::Rate }),
                Err(_) => {}
            }
        }
        if let Some(held) = held {
            return Err(held);
        }
        for (window, span, amount) in counted {
            window.add(span, now, amount);
        }
        self.due = due;
        Ok(())
    }

    /// A request that was counted at `at` was not sent after all.
    pub(super) fn give_back(&mut self, at: Duration, tokens: f64) {
        self.day_requests.correct(LAST_DAY, at, -1.0);
        self.correct(at, -tokens);
    }

    /// A request that was counted at `at` took so many tokens more than was counted.
    pub(super) fn correct(&mut self, at: Duration, difference: f64) {
        self.minute_tokens.correct(LAST_MINUTE, at, difference);
        self.day_tokens.correct(LAST_DAY, at, difference);
    }

    /// Nothing is sent before `wait` has passed.
    pub(super) fn pause(&mut self, now: Duration, wait: Duration) {
        let until = now.saturating_add(wait);
        if until > self.paused_until {
            (self.paused_until, self.pause) = (until, wait);
        }
    }

    /// How long nothing is sent.
    pub(super) fn paused_for(&self, now: Duration) -> Duration {
        self.paused_until.saturating_sub(now)
    }

    /// The provider refused a request that was too many: all pause, and if that
    /// goes on, all become slower.
    pub(super) fn refused(&mut self, now: Duration, wait: Option<Duration>) {
        // Those that were in flight together are refused together: that is one refusal.
        if self.easing.in_a_row == 0 || now >= self.easing.until {
            let close = self.easing.in_a_row > 0 && now.saturating_sub(self.easing.until) < PERSISTENT;
            let used = 1.0 - self.withheld(now);
            let used = if close { (used * SLOWER).max(SLOWEST) } else { used };
            self.easing.in_a_row = if close { self.easing.in_a_row.saturating_add(1) } else { 1 };
            (self.easing.withheld, self.easing.at) = (1.0 - used, now);
        }
        let doubled = FIRST_PAUSE.saturating_mul(1 << (self.easing.in_a_row.clamp(1, 16) - 1)).min(LONGEST_PAUSE);
        self.pause(now, wait.unwrap_or(doubled));
        self.easing.until = self.paused_until;
    }

    /// The share of the rates that is not used because of refusals.
    fn withheld(&self, now: Duration) -> f64 {
        let minutes = now.saturating_sub(self.easing.at).as_secs_f64() / MINUTE.as_secs_f64();
        (self.easing.withheld - minutes * BACK_PER_MINUTE).max(0.0)
    }

    /// The limits that hold now: those of the pipeline, narrowed by what was learnt.
    pub(super) fn limits(&self, now: Duration, given: &LimiterSettings) -> LimiterSettings {
        let mut limits = given.clone();
        for (limit, learnt) in &self.learnt {
            if now.saturating_sub(learnt.at) < BELIEVED {
                let place = limit.place(&mut limits);
                *place = Some(place.map_or(learnt.most, |most| most.min(learnt.most)));
            }
        }
        let share = 1.0 - self.withheld(now);
        for limit in [Limit::PerSecond, Limit::PerMinute, Limit::PerHour, Limit::TokensPerMinute] {
            let place = limit.place(&mut limits);
            *place = place.map(|most| most * share);
        }
        limits
    }

    /// How long a queue of so many requests, which take so many tokens altogether,
    /// takes from now on.
    pub(super) fn time_for(&self, now: Duration, requests: u64, tokens: u64, given: &LimiterSettings) -> Duration {
        let limits = self.limits(now, given);
        let mut until_there_is_more = Duration::ZERO;
        let mut left_of = |window: &Window, amount: u64, most: Option<f64>| {
            let Some(most) = most else { return amount };
            let mut window = window.clone();
            let left = (most - window.used(LAST_DAY, now)).max(0.0);
            let over = (amount as f64 - left).clamp(0.0, most);
            if over > 0.0 {
                let wait = window.held_up(LAST_DAY, now, left + over, most).unwrap_or(DAY);
                until_there_is_more = until_there_is_more.max(wait);
            }
            amount.min(left as u64)
        };
        let first_requests = left_of(&self.day_requests, requests, limits.per_day);
        let first_tokens = left_of(&self.day_tokens, tokens, limits.tokens_per_day);
        let (rest, rest_tokens) = (requests - first_requests, tokens - first_tokens);
        let today = limits.time_for(first_requests, first_tokens).max(until_there_is_more);
        // Where one of the two is used up, what is left of the other is of no use today.
        self.paused_for(now).saturating_add(today).saturating_add(limits.time_for(rest, rest_tokens))
    }

    /// Takes over what an answer tells of one limit. `refills` if what is used
    /// comes back evenly, and not at once when the limit is reset.
    pub(super) fn learn(&mut self, now: Duration, told: &Told, refills: bool, given: &LimiterSettings) {
        let limit = told.period.and_then(|period| Limit::of(told.what, period));
        let most = told.limit.filter(|most| *most >= 1.0 && told.is_whole);
        if let (Some(limit), Some(most)) = (limit, most) {
            self.learnt.insert(limit, Learnt { most, at: now });
        }
        if told.left.is_some_and(|left| left < 1.0) {
            let one_more = told.period.zip(most).filter(|_| refills).map(|(period, most)| period.div_f64(most));
            if let Some(wait) = one_more.or(told.reset) {
                self.pause(now, wait);
            }
        }
        // Others may use the same key elsewhere: what they used counts as well.
        let (Some(limit), Some(most), Some(left)) = (limit, most, told.left) else { return };
        let limits = self.limits(now, given);
        let (window, span) = match limit {
            Limit::PerDay if limits.per_day.is_some() => (&mut self.day_requests, LAST_DAY),
            Limit::TokensPerDay if limits.tokens_per_day.is_some() => (&mut self.day_tokens, LAST_DAY),
            Limit::TokensPerMinute if limits.tokens_per_minute.is_some() => (&mut self.minute_tokens, LAST_MINUTE),
            _ => return,
        };
        let unseen = (most - left) - window.used(span, now);
        if unseen > 0.0 {
            window.add(span, now, unseen);
        }
    }

    /// What a provider told of a limit that is lower than what the pipeline says.
    pub(super) fn narrowed(&self, given: &LimiterSettings) -> Vec<(Limit, f64, f64)> {
        let mut given = given.clone();
        let lower = |(limit, learnt): (&Limit, &Learnt)| {
            let most = (*limit.place(&mut given))?;
            (learnt.most < most * 0.999).then_some((*limit, learnt.most, most))
        };
        self.learnt.iter().filter_map(lower).collect()
    }

    /// Forgets what no longer counts, so that what is kept does not grow.
    pub(super) fn forget(&mut self, now: Duration) {
        self.minute_tokens.used(LAST_MINUTE, now);
        self.day_requests.used(LAST_DAY, now);
        self.day_tokens.used(LAST_DAY, now);
        self.learnt.retain(|_, learnt| now.saturating_sub(learnt.at) < BELIEVED);
        self.paused_until = self.paused_until.min(now + 31 * DAY);
    }
}

/// The rates that requests are spread by, with their keys in [`State::due`].
/// Where there is none, they are spread for a while after a pause of `pause`,
/// which is over for `since`.
fn rates(limits: &LimiterSettings, since: Option<Duration>, pause: Duration) -> Vec<(u64, Rate)> {
    let given = limits.rates().map(|(most, period)| (period.as_secs(), Rate::new(most, period)));
    let mut rates: Vec<_> = given.collect();
    if rates.is_empty() && !pause.is_zero() && since.is_some_and(|since| since < pause.min(MINUTE)) {
        rates.push((CALM, Rate::of_gap((pause / CALM_SHARE).min(MOST_CALM))));
    }
    rates
}
