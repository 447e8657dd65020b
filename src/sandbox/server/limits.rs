//! What each provider's server allows, as strictly as real servers count: never
//! more requests or tokens in any second, minute or day than it says.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::super::{SandboxSettings, ServerLimits};
use super::exchange::Provider;
use crate::ground::Clock;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);
const DAY: Duration = Duration::from_hours(24);

/// The limits of each provider.
pub(super) struct Limits {
    clock: Arc<dyn Clock>,
    by_provider: Mutex<BTreeMap<Provider, Vec<Limit>>>,
}

/// One limit, and what was taken within its period.
struct Limit {
    counts: Counts,
    most: f64,
    period: Duration,
    /// When, in milliseconds, and how much.
    taken: VecDeque<(u64, f64)>,
}

/// What a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counts {
    Requests,
    Tokens,
}

/// What is left of a limit after a request, for the headers that say so.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Share {
    /// How much there is in the period.
    pub(super) limit: u64,
    /// How much of it is left.
    pub(super) left: u64,
    /// How long until all of it is there again, if it came back evenly.
    pub(super) full_in: Duration,
}

/// What is left after a request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Room {
    pub(super) requests: Share,
    pub(super) tokens: Share,
}

/// A request that was too many.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Refusal {
    /// What there was too much of.
    pub(super) counts: Counts,
    /// The period of the limit: a second, a minute or a day.
    pub(super) period: Duration,
    /// How long until it would not be; none if it never fits.
    pub(super) wait: Option<Duration>,
    /// What is left for others.
    pub(super) room: Room,
}

impl Limits {
    /// The limits of the settings, by the given clock.
    pub(super) fn new(settings: &SandboxSettings, clock: Arc<dyn Clock>) -> Self {
        let of = |provider: &Provider| {
            let given = settings.limits.get(provider.name()).cloned().unwrap_or_default();
            ServerLimits { per_second: given.per_second.or(settings.per_second), ..given }
        };
        let by_provider = Provider::ALL.iter().map(|provider| (*provider, Limit::all(&of(provider)))).collect();
        Self { clock, by_provider: Mutex::new(by_provider) }
    }

    /// Whether tokens are counted for a provider.
    pub(super) fn count_tokens(&self, provider: Provider) -> bool {
        let limits = self.by_provider.lock().unwrap_or_else(PoisonError::into_inner);
        limits.get(&provider).is_some_and(|limits| limits.iter().any(|limit| limit.counts == Counts::Tokens))
    }

    /// Takes one request of so many tokens, or refuses it; what is refused does not count.
    pub(super) fn take(&self, provider: Provider, tokens: u64) -> Result<Room, Refusal> {
        let now = self.clock.now_millis();
        let mut by_provider = self.by_provider.lock().unwrap_or_else(PoisonError::into_inner);
        let limits = by_provider.entry(provider).or_default();
        let amount = |counts: Counts| if counts == Counts::Tokens { tokens as f64 } else { 1.0 };
        let mut refused: Option<(Counts, Duration, Option<Duration>)> = None;
        for limit in &mut *limits {
            if let Err(wait) = limit.fits(now, amount(limit.counts)) {
                // The longest wait is told; none is longer than "never".
                let longer = refused.is_none_or(|(_, _, before)| before.is_some_and(|b| wait.is_none_or(|w| w > b)));
                refused = if longer { Some((limit.counts, limit.period, wait)) } else { refused };
            }
        }
        if let Some((counts, period, wait)) = refused {
            return Err(Refusal { counts, period, wait, room: Room::of(limits) });
        }
        for limit in &mut *limits {
            limit.taken.push_back((now, amount(limit.counts)));
        }
        Ok(Room::of(limits))
    }
}

impl Limit {
    fn all(given: &ServerLimits) -> Vec<Self> {
        let all = [
            (Counts::Requests, given.per_second, SECOND),
            (Counts::Requests, given.per_minute, MINUTE),
            (Counts::Requests, given.per_day, DAY),
            (Counts::Tokens, given.tokens_per_minute, MINUTE),
            (Counts::Tokens, given.tokens_per_day, DAY),
        ];
        let made = all.into_iter().filter_map(|(counts, most, period)| Some((counts, most?, period)));
        made.map(|(counts, most, period)| {
            // Less than one in a period is one in a longer period.
            let period = if most < 1.0 { period.div_f64(most) } else { period };
            Self { counts, most: most.max(1.0), period, taken: VecDeque::new() }
        })
        .collect()
    }

    /// Whether so much more fits; an error says how long until it does, if ever.
    fn fits(&mut self, now: u64, amount: f64) -> Result<(), Option<Duration>> {
        let period = self.period.as_millis() as u64;
        while self.taken.front().is_some_and(|(at, _)| at + period <= now) {
            self.taken.pop_front();
        }
        if amount > self.most {
            return Err(None);
        }
        let mut used = self.used();
        if used + amount <= self.most {
            return Ok(());
        }
        for (at, part) in &self.taken {
            used -= part;
            if used + amount <= self.most {
                return Err(Some(Duration::from_millis((at + period).saturating_sub(now))));
            }
        }
        Err(Some(self.period))
    }

    fn used(&self) -> f64 {
        self.taken.iter().map(|(_, part)| part).sum()
    }

    fn share(&self) -> Share {
        let used = self.used().min(self.most);
        let full_in = self.period.mul_f64(used / self.most);
        Share { limit: self.most as u64, left: (self.most - used) as u64, full_in }
    }
}

impl Room {
    /// More than is ever used: what is told where nothing is limited.
    const PLENTY: Self = Self {
        requests: Share { limit: 14_400, left: 14_399, full_in: Duration::from_secs(6) },
        tokens: Share { limit: 6_000_000, left: 6_000_000, full_in: Duration::ZERO },
    };

    /// The limit of each sort that has least left: the longest period, where two are equal.
    fn of(limits: &[Limit]) -> Self {
        let tightest = |counts: Counts, plenty: Share| {
            let shares = limits.iter().rev().filter(|limit| limit.counts == counts).map(Limit::share);
            shares.min_by_key(|share| share.left).unwrap_or(plenty)
        };
        Self {
            requests: tightest(Counts::Requests, Self::PLENTY.requests),
            tokens: tightest(Counts::Tokens, Self::PLENTY.tokens),
        }
    }
}

impl Refusal {
    /// A refusal although nothing was exceeded, as faults are.
    pub(super) fn for_nothing(wait: Duration) -> Self {
        let room = Room { requests: Share { left: 0, full_in: wait, ..Room::PLENTY.requests }, ..Room::PLENTY };
        Self { counts: Counts::Requests, period: MINUTE, wait: Some(wait), room }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::ManualClock;

    fn limits_of(chat: ServerLimits) -> (Arc<ManualClock>, Limits) {
        let clock = Arc::new(ManualClock::at(5000));
        let settings =
            SandboxSettings { limits: BTreeMap::from([("chat".to_owned(), chat)]), ..SandboxSettings::default() };
        let limits = Limits::new(&settings, Arc::<ManualClock>::clone(&clock) as Arc<dyn Clock>);
        (clock, limits)
    }

    #[test]
    fn any_second_has_so_many_and_no_more() {
        let (clock, limits) = limits_of(ServerLimits { per_second: Some(4.0), ..ServerLimits::default() });
        for left in [3, 2, 1, 0] {
            assert_eq!(limits.take(Provider::Chat, 0).unwrap().requests.left, left);
            clock.advance(Duration::from_millis(100));
        }
        let refusal = limits.take(Provider::Chat, 0).unwrap_err();
        assert_eq!((refusal.wait, refusal.period), (Some(Duration::from_millis(600)), SECOND));
        assert!(limits.take(Provider::Deezer, 0).is_ok(), "each provider has its own");
        clock.advance(Duration::from_millis(599));
        assert!(limits.take(Provider::Chat, 0).is_err());
        clock.advance(Duration::from_millis(1));
        assert!(limits.take(Provider::Chat, 0).is_ok());
        assert!(limits.take(Provider::Chat, 0).is_err(), "the next came 100 ms later");
    }

    #[test]
    fn tokens_and_days_are_counted_as_well() {
        let limits = ServerLimits { per_day: Some(3.0), tokens_per_minute: Some(100.0), ..ServerLimits::default() };
        let (clock, limits) = limits_of(limits);
        assert!(limits.count_tokens(Provider::Chat) && !limits.count_tokens(Provider::Lastfm));
        let room = limits.take(Provider::Chat, 70).unwrap();
        assert_eq!((room.requests.limit, room.requests.left, room.tokens.left), (3, 2, 30));
        let refusal = limits.take(Provider::Chat, 31).unwrap_err();
        assert_eq!((refusal.counts, refusal.wait), (Counts::Tokens, Some(MINUTE)));
        assert_eq!(limits.take(Provider::Chat, 101).unwrap_err().wait, None, "it never fits");
        assert!(limits.take(Provider::Chat, 30).is_ok(), "what was refused does not count");
        clock.advance(MINUTE);
        assert!(limits.take(Provider::Chat, 1).is_ok());
        let refusal = limits.take(Provider::Chat, 1).unwrap_err();
        assert_eq!((refusal.counts, refusal.wait), (Counts::Requests, Some(Duration::from_mins(24 * 60 - 1))));
    }
}
