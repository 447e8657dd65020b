//! Limiters: one object per name for the whole run, and one state for all runs
//! of a user on a machine. Holds the rates, the number of requests in flight,
//! tokens, days, the pauses that a provider asks for, and what it tells of its
//! limits. Time comes in through a [`Timer`], so nothing here is tested by waiting.
//!
//! A request waits in three lines, each of them fair: for a slot, for its turn
//! (only the first in line looks at the state, so that nobody is woken in vain),
//! and until the state lets it through.

mod defaults;
mod limit;
mod refill;
mod share;
#[cfg(test)]
mod share_tests;
mod slots;
mod spacing;
mod state;
#[cfg(test)]
mod state_tests;
#[cfg(test)]
mod tests;
mod window;

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

pub use self::defaults::default_limiter;
use self::limit::Limit;
use self::refill::Refill;
use self::share::Shared;
use self::slots::Slots;
use self::state::{Held, Why};
use super::error::WebError;
use super::limits::{DAY, HOUR, LimiterSettings};
use super::pace::{Pace, Told, What};
use super::settings::{ClientSettings, OnWarning};
use super::timer::Timer;
use crate::ground::{Clock, thousands};

/// Requests in flight to a sandbox that is not paced.
const SANDBOX_CONCURRENCY: usize = 16;
/// The longest sleep before the state is looked at again: another process may
/// have changed it, and timers may stand still while the machine sleeps.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// How often a slot is looked for that another process may give back.
const SLOT_PAUSE: Duration = Duration::from_millis(20);
/// Waits from here on are told.
const LONG_WAIT: Duration = Duration::from_mins(2);

/// All the limits of one name.
#[derive(Debug)]
pub(super) struct Limiter {
    name: String,
    limits: LimiterSettings,
    paced: bool,
    timer: Arc<dyn Timer>,
    clock: Arc<dyn Clock>,
    longest_wait: Duration,
    in_flight: Arc<Semaphore>,
    slots: Option<Slots>,
    turn: tokio::sync::Mutex<()>,
    /// Woken when something was given back.
    given_back: Notify,
    shared: Shared,
    /// Whether there may be a pause: where nothing else limits, nothing else is looked at.
    pausing: AtomicBool,
    on_warning: OnWarning,
    memory: Mutex<Memory>,
}

/// What this process remembers for itself.
#[derive(Debug, Default)]
struct Memory {
    /// Until when (by the timer) waits of a sort have been told.
    told: BTreeMap<&'static str, Duration>,
    /// Limits of the provider that were told to the user.
    narrowed: BTreeMap<Limit, f64>,
    /// How limits come back, by what they count and the period that is told.
    refills: BTreeMap<(What, Option<Duration>), Refill>,
    /// Until when (by the timer) the first in line waits, and for what.
    held: Option<(Duration, Why)>,
}

/// The right to have one request in flight. Ends when dropped; before
/// [`Permit::sent`] that gives back all that was counted for it.
#[derive(Debug)]
pub(super) struct Permit<'a> {
    limiter: &'a Limiter,
    _in_flight: OwnedSemaphorePermit,
    _slot: Option<File>,
    /// When it was counted, by the state's time; none if it was not.
    at: Option<Duration>,
    tokens: u64,
    sent: bool,
}

impl Limiter {
    /// A limiter with these limits, for requests to `server`. Without `paced`
    /// only the slots and the pauses that the provider asks for hold.
    pub(super) fn new(
        name: &str,
        server: &str,
        limits: &LimiterSettings,
        paced: bool,
        settings: &ClientSettings,
    ) -> Self {
        let folder = settings.limiters_folder.as_ref().filter(|_| paced);
        let stem = share::stem(name, server);
        let file = folder.map(|folder| folder.join(format!("{stem}.json")));
        if let Some(folder) = folder {
            share::sweep(folder, settings.clock.now_millis());
        }
        let most = Self::most_in_flight(limits, paced);
        let (timer, clock, on_warning) = (&settings.timer, &settings.clock, &settings.on_warning);
        Self {
            name: name.to_owned(),
            limits: if paced { limits.clone() } else { LimiterSettings::default() },
            paced,
            longest_wait: settings.patience.longest_wait,
            in_flight: Arc::new(Semaphore::new(most)),
            slots: folder.filter(|_| limits.concurrency.is_some()).map(|folder| Slots::new(folder.clone(), stem, most)),
            turn: tokio::sync::Mutex::default(),
            given_back: Notify::new(),
            shared: Shared::new(name, file, Arc::clone(timer), Arc::clone(clock), on_warning.clone()),
            pausing: AtomicBool::new(false),
            timer: Arc::clone(timer),
            clock: Arc::clone(clock),
            on_warning: on_warning.clone(),
            memory: Mutex::default(),
        }
    }

    /// How many requests may be in flight at these limits.
    pub(super) fn most_in_flight(limits: &LimiterSettings, paced: bool) -> usize {
        let most = limits.in_flight();
        if paced { most } else { most.max(SANDBOX_CONCURRENCY) }
    }

    /// Waits until one more request of about `tokens` may be sent.
    ///
    /// # Errors
    /// [`WebError::TooLong`] if that would take longer than a run should wait.
    pub(super) async fn acquire(&self, tokens: u64) -> Result<Permit<'_>, WebError> {
        let in_flight = Arc::clone(&self.in_flight).acquire_owned().await.map_err(|_| WebError::Closed)?;
        let (mut slot, mut at) = (None, None);
        if self.paced || self.pausing.load(Ordering::Acquire) {
            let _turn = self.turn.lock().await;
            slot = self.slot().await;
            at = Some(self.wait_for_turn(tokens).await?);
        }
        Ok(Permit { limiter: self, _in_flight: in_flight, _slot: slot, at, tokens, sent: false })
    }

    /// A slot that no other process has.
    async fn slot(&self) -> Option<File> {
        let slots = self.slots.as_ref()?;
        loop {
            match slots.take() {
                Ok(Some(slot)) => return Some(slot),
                Ok(None) => self.timer.sleep(SLOT_PAUSE).await,
                // The state's file, beside it, tells the user.
                Err(_) => return None,
            }
        }
    }

    async fn wait_for_turn(&self, tokens: u64) -> Result<Duration, WebError> {
        loop {
            let given_back = self.given_back.notified();
            let taken: Result<Duration, Held> = self.shared.with(|state, now| {
                state.take(now, tokens as f64, &self.limits)?;
                // Within the lock: a pause that comes now is not overlooked.
                self.pausing.store(false, Ordering::Release);
                Ok(now)
            });
            let held = match taken {
                Ok(at) => {
                    self.memory().held = None;
                    return Ok(at);
                }
                Err(held) => held,
            };
            if held.wait > self.longest_wait {
                return Err(WebError::TooLong { limiter: self.name.clone(), wait: held.wait, why: why(held.why) });
            }
            self.memory().held = Some((self.timer.now() + held.wait, held.why));
            self.tell_of(held);
            tokio::select! {
                () = self.timer.sleep(held.wait.min(LOOK_AGAIN)) => {}
                () = given_back => {}
            }
        }
    }

    /// How long the first in line still waits, and for what.
    pub(super) fn waiting(&self) -> Option<(Duration, String)> {
        let (until, cause) = self.memory().held?;
        let wait = until.saturating_sub(self.timer.now());
        (!wait.is_zero()).then(|| (wait, why(cause)))
    }

    /// How long a queue takes from now on, after what was used and learnt.
    pub(super) fn time_for(&self, requests: u64, tokens: u64) -> Duration {
        self.shared.look(|state, now| state.time_for(now, requests, tokens, &self.limits))
    }

    /// Nothing is sent before `wait` has passed.
    pub(super) fn pause(&self, wait: Duration) {
        self.shared.with(|state, now| {
            state.pause(now, wait);
            self.pausing.store(true, Ordering::Release);
        });
    }

    /// The provider refused a request that was too many. All pause, for `wait`
    /// if it named one; where that goes on, all become slower for a while.
    pub(super) fn refused(&self, wait: Option<Duration>) {
        self.shared.with(|state, now| {
            state.refused(now, wait);
            self.pausing.store(true, Ordering::Release);
        });
    }

    /// Takes over what an answer tells of the limits.
    pub(super) fn observe(&self, pace: &Pace) {
        if let Some(wait) = pace.retry_after {
            self.pause(wait);
        }
        let spent = |told: &Told| told.left.is_some_and(|left| left < 1.0);
        if pace.told.is_empty() || !(self.paced || pace.told.iter().any(spent)) {
            return;
        }
        let told: Vec<(Told, bool)> = pace.told.iter().map(|told| self.understood(told)).collect();
        let narrowed = self.shared.with(|state, now| {
            for (told, refills) in &told {
                state.learn(now, told, *refills, &self.limits);
            }
            if state.paused_for(now) > Duration::ZERO {
                self.pausing.store(true, Ordering::Release);
            }
            state.narrowed(&self.limits)
        });
        for (limit, most, given) in narrowed {
            // Where models of one server have different limits, the lowest is told.
            let is_news = self.memory().narrowed.get(&limit).is_none_or(|before| most < *before);
            if is_news {
                self.memory().narrowed.insert(limit, most);
                self.on_warning.tell(&format!(
                    "`{}`: the provider allows {} {}, not the {} of the pipeline; the run keeps to that",
                    self.name,
                    number(most),
                    limit.told(),
                    number(given),
                ));
            }
        }
    }

    /// What was told, with the period that it is for if that can be worked out,
    /// and whether what is used comes back evenly.
    fn understood(&self, told: &Told) -> (Told, bool) {
        match self.memory().refills.entry((told.what, told.period)).or_default().period(told) {
            Some(period) => (Told { period: Some(period), ..*told }, true),
            None => (*told, false),
        }
    }

    /// Tells of a long wait, once for each sort of it and hour.
    fn tell_of(&self, held: Held) {
        if held.wait < LONG_WAIT {
            return;
        }
        let now = self.timer.now();
        let (sort, what) = match held.why {
            Why::Pause => ("pause", format!("`{}` was asked by the provider to wait", self.name)),
            Why::Rate => ("rate", format!("`{}` waits for its rate", self.name)),
            Why::Used(limit, most) => {
                let period = if limit == Limit::TokensPerMinute { "this minute" } else { "today" };
                let unit = if limit == Limit::PerDay { "requests" } else { "tokens" };
                ("used", format!("`{}` has used its {} {unit} of {period}", self.name, number(most)))
            }
        };
        let mut memory = self.memory();
        if memory.told.get(sort).is_some_and(|until| now < *until) {
            return;
        }
        memory.told.insert(sort, now + held.wait.max(HOUR));
        drop(memory);
        self.on_warning.tell(&format!("{what}; goes on at {}", time_of_day(self.clock.now_millis(), held.wait)));
    }

    fn memory(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit<'_> {
    /// The request goes out: from now on it counts.
    pub(super) fn sent(&mut self) {
        self.sent = true;
    }

    /// The request went out and did not reach the provider: it counts for nothing.
    pub(super) fn give_back(mut self) {
        self.sent = false;
    }

    /// The request took so many tokens: corrects the guess.
    pub(super) fn settle(self, used: u64) {
        let difference = used as f64 - self.tokens as f64;
        if let Some(at) = self.at.filter(|_| difference != 0.0) {
            self.limiter.shared.with(|state, _| state.correct(at, difference));
            if difference < 0.0 {
                self.limiter.given_back.notify_one();
            }
        }
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if let Some(at) = self.at.filter(|_| !self.sent) {
            self.limiter.shared.with(|state, _| state.give_back(at, self.tokens as f64));
            self.limiter.given_back.notify_one();
        }
    }
}

/// `14,400`, or `0.5`.
fn number(number: f64) -> String {
    if number < 10.0 {
        format!("{number:.2}").trim_end_matches(['0', '.']).to_owned()
    } else {
        thousands(number as u64)
    }
}

fn why(why: Why) -> String {
    match why {
        Why::Pause => "the provider asked for a pause".to_owned(),
        Why::Rate => "its rate".to_owned(),
        Why::Used(limit, most) => format!("its {} {} are used up", number(most), limit.told()),
    }
}

/// When it will be after `wait`, as the user's clock shows it; with the day
/// where that is not within half a day.
fn time_of_day(now_millis: u64, wait: Duration) -> String {
    let zone = jiff::tz::TimeZone::system();
    let at = i64::try_from(now_millis).ok().and_then(|now| jiff::Timestamp::from_millisecond(now).ok());
    let at = at.and_then(|at| at.checked_add(wait).ok()).map(|at| at.to_zoned(zone));
    let form = if wait < DAY / 2 { "%H:%M" } else { "%H:%M on %A" };
    at.map_or_else(|| "a time that cannot be told".to_owned(), |at| at.strftime(form).to_string())
}
