//! Limiters: one object per name for the whole run. Holds the rates, the number
//! of requests in flight, tokens per minute and the pauses that a provider asks
//! for. Time comes in through a [`Timer`], so nothing here is tested by waiting.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use governor::clock::Clock as GovernorClock;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::WebError;
use super::limits::LimiterSettings;
use super::pace::Pace;
use super::timer::Timer;

/// Requests in flight where nothing else is said.
const DEFAULT_CONCURRENCY: usize = 4;
/// Requests in flight to a sandbox, which is not paced.
const SANDBOX_CONCURRENCY: usize = 16;
const DAY: Duration = Duration::from_hours(24);

/// What providers allow where the pipeline does not say: requests per second,
/// per minute, and in flight.
const DEFAULT_LIMITERS: &[(&str, Option<f64>, Option<f64>, usize)] = &[
    ("lastfm", Some(5.0), None, 4),
    ("lyricsovh", Some(2.0), None, 4),
    ("lrclib", Some(5.0), None, 4),
    ("deezer", Some(10.0), None, 4),
    ("chat", None, Some(30.0), 4),
];

/// The limits that hold for a provider's limiter if `limiters:` does not name it.
#[must_use]
pub fn default_limiter(name: &str) -> Option<LimiterSettings> {
    DEFAULT_LIMITERS.iter().find(|(known, ..)| *known == name).map(|&(_, per_second, per_minute, concurrency)| {
        LimiterSettings { per_second, per_minute, concurrency: Some(concurrency), ..LimiterSettings::default() }
    })
}

type Rate = RateLimiter<NotKeyed, InMemoryState, TimerClock, NoOpMiddleware<Duration>>;

/// [`Timer`] as governor wants it.
#[derive(Debug, Clone)]
struct TimerClock(Arc<dyn Timer>);

impl GovernorClock for TimerClock {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.now()
    }
}

/// The right to have one request in flight; ends when dropped.
#[derive(Debug)]
pub(super) struct Permit {
    _slot: OwnedSemaphorePermit,
}

/// All the limits of one name.
#[derive(Debug)]
pub(super) struct Limiter {
    name: String,
    timer: Arc<dyn Timer>,
    longest_wait: Duration,
    slots: Arc<Semaphore>,
    concurrency: usize,
    rates: Vec<Rate>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    paused_until: Duration,
    minute_tokens: Option<Bucket>,
    day_requests: Option<Window>,
    day_tokens: Option<Window>,
}

impl Limiter {
    /// A limiter with these limits; without `paced` only the slots and the
    /// pauses that the provider asks for hold.
    ///
    /// # Errors
    /// [`WebError::Setup`] if a limit is not a positive number.
    pub(super) fn new(
        name: &str,
        settings: &LimiterSettings,
        paced: bool,
        timer: Arc<dyn Timer>,
        longest_wait: Duration,
    ) -> Result<Self, WebError> {
        let checked = |what: &str, value: Option<f64>| match value {
            Some(value) if !(value.is_finite() && value > 0.0) => {
                Err(WebError::Setup(format!("`{what}` of the limiter `{name}` is {value}, which is not above 0")))
            }
            other => Ok(other.filter(|_| paced)),
        };
        let mut rates = Vec::new();
        for (what, value, period) in
            [("per_minute", settings.per_minute, 60.0), ("per_second", settings.per_second, 1.0)]
        {
            if let Some(value) = checked(what, value)? {
                rates.push(rate(value, period, &timer));
            }
        }
        let state = State {
            paused_until: Duration::ZERO,
            minute_tokens: checked("tokens_per_minute", settings.tokens_per_minute)?
                .map(|size| Bucket::full(size, timer.now())),
            day_requests: checked("per_day", settings.per_day)?.map(Window::new),
            day_tokens: checked("tokens_per_day", settings.tokens_per_day)?.map(Window::new),
        };
        let concurrency = match settings.concurrency {
            Some(0) => {
                return Err(WebError::Setup(format!(
                    "`concurrency` of the limiter `{name}` is 0: nothing could be asked"
                )));
            }
            Some(given) if paced => given,
            Some(given) => given.max(SANDBOX_CONCURRENCY),
            None => {
                if paced {
                    DEFAULT_CONCURRENCY
                } else {
                    SANDBOX_CONCURRENCY
                }
            }
        };
        let slots = Arc::new(Semaphore::new(concurrency));
        Ok(Self { name: name.to_owned(), timer, longest_wait, slots, concurrency, rates, state: Mutex::new(state) })
    }

    /// How many requests may be in flight.
    pub(super) fn concurrency(&self) -> usize {
        self.concurrency
    }

    /// Waits until one more request of about `tokens` may be sent.
    ///
    /// # Errors
    /// [`WebError::TooLong`] if that would take longer than a run should wait.
    pub(super) async fn acquire(&self, tokens: u64) -> Result<Permit, WebError> {
        let slot = Arc::clone(&self.slots).acquire_owned().await.map_err(|_| WebError::Closed)?;
        for rate in &self.rates {
            while let Err(not_until) = rate.check() {
                self.wait(not_until.wait_time_from(self.timer.now()), "its rate").await?;
            }
        }
        loop {
            let held_up = self.locked().take(self.timer.now(), tokens as f64);
            match held_up {
                None => return Ok(Permit { _slot: slot }),
                Some((wait, why)) => self.wait(wait, why).await?,
            }
        }
    }

    /// Corrects the guess of a request's tokens once they are known.
    pub(super) fn settle(&self, estimate: u64, used: u64) {
        let (now, difference) = (self.timer.now(), used as f64 - estimate as f64);
        let mut state = self.locked();
        if let Some(bucket) = &mut state.minute_tokens {
            bucket.refill(now);
            bucket.level = (bucket.level - difference).min(bucket.size);
        }
        if let Some(window) = &mut state.day_tokens {
            window.used = (window.used + difference).max(0.0);
        }
    }

    /// Nothing is sent before `wait` has passed.
    pub(super) fn pause(&self, wait: Duration) {
        let until = self.timer.now() + wait;
        let mut state = self.locked();
        state.paused_until = state.paused_until.max(until);
    }

    /// Takes over what an answer tells of the limits.
    pub(super) fn observe(&self, pace: &Pace) {
        if let Some(wait) = pace.retry_after {
            self.pause(wait);
        }
        let spent = |left: Option<f64>| left.is_some_and(|left| left < 1.0);
        if let (true, Some(reset)) = (spent(pace.requests.left), pace.requests.reset) {
            self.pause(reset);
        }
        let now = self.timer.now();
        let mut state = self.locked();
        if let (Some(bucket), Some(left)) = (&mut state.minute_tokens, pace.tokens.left) {
            bucket.refill(now);
            bucket.level = bucket.level.min(left);
        } else if let (true, Some(reset)) = (spent(pace.tokens.left), pace.tokens.reset) {
            state.paused_until = state.paused_until.max(now + reset);
        }
    }

    async fn wait(&self, wait: Duration, why: &str) -> Result<(), WebError> {
        if wait > self.longest_wait {
            return Err(WebError::TooLong { limiter: self.name.clone(), wait, why: why.to_owned() });
        }
        self.timer.sleep(wait).await;
        Ok(())
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes a request of about `tokens`, or says how long it is held up and by what.
    fn take(&mut self, now: Duration, tokens: f64) -> Option<(Duration, &'static str)> {
        if now < self.paused_until {
            return Some((self.paused_until.saturating_sub(now), "the provider asked for a pause"));
        }
        if let Some(wait) = self.day_requests.as_mut().and_then(|window| window.held_up(now, 1.0)) {
            return Some((wait, "`per_day` is reached"));
        }
        if let Some(wait) = self.day_tokens.as_mut().and_then(|window| window.held_up(now, tokens)) {
            return Some((wait, "`tokens_per_day` is reached"));
        }
        if let Some(wait) = self.minute_tokens.as_mut().and_then(|bucket| bucket.take(now, tokens)) {
            return Some((wait, "`tokens_per_minute` is reached"));
        }
        if let Some(window) = &mut self.day_requests {
            window.used += 1.0;
        }
        if let Some(window) = &mut self.day_tokens {
            window.used += tokens;
        }
        None
    }
}

/// A token bucket: full at first, refilled evenly within a minute.
#[derive(Debug)]
struct Bucket {
    size: f64,
    level: f64,
    at: Duration,
}

impl Bucket {
    fn full(size: f64, now: Duration) -> Self {
        Self { size, level: size, at: now }
    }

    fn refill(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.at).as_secs_f64();
        self.level = (self.level + passed * self.size / 60.0).min(self.size);
        self.at = self.at.max(now);
    }

    /// Takes `tokens`, or says how long until they are there. What is larger
    /// than the bucket is taken when it is full: the provider decides.
    fn take(&mut self, now: Duration, tokens: f64) -> Option<Duration> {
        self.refill(now);
        let needed = tokens.min(self.size);
        if self.level + 1e-6 >= needed {
            self.level -= tokens;
            return None;
        }
        Some(Duration::from_secs_f64((needed - self.level) * 60.0 / self.size).max(Duration::from_millis(1)))
    }
}

/// A ceiling per day; the day begins with the first request.
#[derive(Debug)]
struct Window {
    size: f64,
    used: f64,
    began: Option<Duration>,
}

impl Window {
    fn new(size: f64) -> Self {
        Self { size, used: 0.0, began: None }
    }

    fn held_up(&mut self, now: Duration, amount: f64) -> Option<Duration> {
        let began = *self.began.get_or_insert(now);
        if now.saturating_sub(began) >= DAY {
            (self.began, self.used) = (Some(now), 0.0);
            return None;
        }
        (self.used > 0.0 && self.used + amount > self.size).then(|| (began + DAY).saturating_sub(now))
    }
}

/// `value` requests per `period` seconds, evenly; a tenth of them may come at once.
fn rate(value: f64, period: f64, timer: &Arc<dyn Timer>) -> Rate {
    let every = Duration::from_secs_f64(period / value).max(Duration::from_nanos(1));
    let burst = NonZeroU32::new((value / 10.0) as u32).unwrap_or(NonZeroU32::MIN);
    let quota =
        Quota::with_period(every).map_or_else(|| Quota::per_second(NonZeroU32::MAX), |quota| quota.allow_burst(burst));
    RateLimiter::direct_with_clock(quota, TimerClock(Arc::clone(timer)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::timer::ManualTimer;

    fn limiter_of(settings: &LimiterSettings) -> (Arc<ManualTimer>, Limiter) {
        let timer = Arc::new(ManualTimer::default());
        let shared: Arc<dyn Timer> = Arc::<ManualTimer>::clone(&timer);
        (timer, Limiter::new("test", settings, true, shared, Duration::from_mins(15)).expect("good settings"))
    }

    async fn take(limiter: &Limiter, times: usize, tokens: u64) {
        for _ in 0..times {
            limiter.acquire(tokens).await.expect("within the limits");
        }
    }

    #[tokio::test]
    async fn a_rate_is_spread_evenly() {
        let (timer, limiter) = limiter_of(&LimiterSettings { per_second: Some(5.0), ..LimiterSettings::default() });
        take(&limiter, 11, 0).await;
        assert_eq!(timer.now(), Duration::from_secs(2), "11 requests, 10 gaps of 200 ms");
    }

    #[tokio::test]
    async fn all_limits_hold_at_the_same_time() {
        let settings = LimiterSettings { per_second: Some(5.0), per_minute: Some(30.0), ..LimiterSettings::default() };
        let (timer, limiter) = limiter_of(&settings);
        take(&limiter, 33, 0).await;
        assert_eq!(timer.now(), Duration::from_mins(1), "3 at once, then one every 2 s");
    }

    #[tokio::test]
    async fn tokens_are_guessed_and_then_corrected() {
        let (timer, limiter) =
            limiter_of(&LimiterSettings { tokens_per_minute: Some(6000.0), ..LimiterSettings::default() });
        take(&limiter, 2, 3000).await;
        assert_eq!(timer.now(), Duration::ZERO);
        limiter.settle(3000, 1000);
        take(&limiter, 1, 2000).await;
        assert_eq!(timer.now(), Duration::ZERO, "what was guessed too high came back");
        limiter.settle(2000, 5000);
        take(&limiter, 1, 100).await;
        assert_eq!(timer.now(), Duration::from_secs(31), "3,000 tokens of debt and 100 more, at 100 a second");
        take(&limiter, 1, 60_000).await;
        assert_eq!(timer.now(), Duration::from_secs(91), "what never fits is let through when the bucket is full");
    }

    #[tokio::test]
    async fn a_pause_holds_for_everyone_and_a_long_one_ends_the_run() {
        let (timer, limiter) = limiter_of(&LimiterSettings::default());
        limiter.pause(Duration::from_secs(7));
        limiter.pause(Duration::from_secs(3));
        take(&limiter, 1, 0).await;
        assert_eq!(timer.now(), Duration::from_secs(7));
        limiter.pause(Duration::from_hours(2));
        let error = limiter.acquire(0).await.expect_err("too long");
        assert_eq!(
            error.to_string(),
            "`test` would have to wait 2 h for its next request: the provider asked for a pause"
        );
    }

    #[tokio::test]
    async fn headers_are_listened_to() {
        let (timer, limiter) =
            limiter_of(&LimiterSettings { tokens_per_minute: Some(6000.0), ..LimiterSettings::default() });
        let mut pace = Pace::default();
        pace.tokens.left = Some(0.0);
        pace.requests.left = Some(0.0);
        pace.requests.reset = Some(Duration::from_secs(12));
        limiter.observe(&pace);
        take(&limiter, 1, 1800).await;
        assert_eq!(timer.now(), Duration::from_secs(18), "12 s of pause, and 18 s until 1,800 tokens are there");
    }

    #[tokio::test]
    async fn a_day_has_a_ceiling() {
        let (timer, limiter) = limiter_of(&LimiterSettings { per_day: Some(2.0), ..LimiterSettings::default() });
        take(&limiter, 2, 0).await;
        assert!(matches!(limiter.acquire(0).await, Err(WebError::TooLong { .. })));
        timer.advance(DAY);
        take(&limiter, 1, 0).await;
    }

    #[tokio::test]
    async fn slots_bound_what_is_in_flight() {
        let (_, limiter) = limiter_of(&LimiterSettings { concurrency: Some(2), ..LimiterSettings::default() });
        let first = limiter.acquire(0).await.expect("a slot");
        let _second = limiter.acquire(0).await.expect("a slot");
        assert!(futures::FutureExt::now_or_never(limiter.acquire(0)).is_none(), "no third slot");
        drop(first);
        assert!(futures::FutureExt::now_or_never(limiter.acquire(0)).is_some());
    }

    #[test]
    fn limits_that_are_none_are_refused() {
        for bad in [0.0, -1.0, f64::NAN] {
            let settings = LimiterSettings { per_second: Some(bad), ..LimiterSettings::default() };
            let timer: Arc<dyn Timer> = Arc::new(ManualTimer::default());
            assert!(Limiter::new("test", &settings, true, timer, DAY).is_err());
        }
    }
}
