//! Limiters by a timer that nobody waits for.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;

use super::*;
use crate::ground::ManualClock;
use crate::web::pace::What;
use crate::web::timer::ManualTimer;

/// A folder, a timer, a clock, and what was told.
pub(super) struct Lab {
    pub(super) folder: tempfile::TempDir,
    pub(super) timer: Arc<ManualTimer>,
    pub(super) clock: Arc<ManualClock>,
    told: Arc<Mutex<Vec<String>>>,
}

impl Lab {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let clock = Arc::new(ManualClock::at(1_700_000_000_000));
        Self { folder, timer: Arc::default(), clock, told: Arc::default() }
    }

    pub(super) fn settings(&self) -> ClientSettings {
        let told = Arc::clone(&self.told);
        ClientSettings {
            timer: Arc::<ManualTimer>::clone(&self.timer),
            clock: Arc::<ManualClock>::clone(&self.clock),
            on_warning: OnWarning::new(move |text| told.lock().expect("a log").push(text.to_owned())),
            ..ClientSettings::default()
        }
    }

    /// A limiter of this process alone.
    fn alone(&self, limits: &LimiterSettings) -> Limiter {
        Limiter::new("test", "server", limits, true, &self.settings())
    }

    /// A limiter as another process would have it.
    pub(super) fn process(&self, limits: &LimiterSettings) -> Limiter {
        let limiters_folder = Some(self.folder.path().join("limiters"));
        Limiter::new("test", "server", limits, true, &ClientSettings { limiters_folder, ..self.settings() })
    }

    pub(super) fn file(&self) -> PathBuf {
        self.folder.path().join("limiters").join("test@server.json")
    }

    pub(super) fn now(&self) -> f64 {
        self.timer.now().as_secs_f64()
    }

    pub(super) fn told(&self) -> Vec<String> {
        std::mem::take(&mut self.told.lock().expect("a log"))
    }
}

pub(super) async fn take(limiter: &Limiter, times: usize, tokens: u64) {
    for _ in 0..times {
        limiter.acquire(tokens).await.expect("within the limits").sent();
    }
}

/// Whether one more may be sent at once; it is not.
pub(super) fn may_send(limiter: &Limiter) -> bool {
    limiter.shared.with(|state, now| state.clone().take(now, 0.0, &limiter.limits).is_ok())
}

pub(super) fn per_second(rate: f64) -> LimiterSettings {
    LimiterSettings { per_second: Some(rate), ..LimiterSettings::default() }
}

pub(super) fn per_day(most: f64) -> LimiterSettings {
    LimiterSettings { per_day: Some(most), ..LimiterSettings::default() }
}

fn tokens_per_minute(most: f64) -> LimiterSettings {
    LimiterSettings { tokens_per_minute: Some(most), ..LimiterSettings::default() }
}

fn told_of(what: What, limit: f64, left: f64, reset: f64) -> Pace {
    let reset = Some(Duration::from_secs_f64(reset));
    let told = Told { what, is_whole: true, period: None, limit: Some(limit), left: Some(left), reset };
    Pace { told: vec![told], ..Pace::default() }
}

#[tokio::test]
async fn a_rate_is_spread_evenly() {
    let lab = Lab::new();
    take(&lab.alone(&per_second(5.0)), 11, 0).await;
    assert!((2.0..2.04).contains(&lab.now()), "11 requests, 10 gaps of 203 ms: {}", lab.now());
}

#[tokio::test]
async fn all_limits_hold_at_the_same_time() {
    let lab = Lab::new();
    take(&lab.alone(&LimiterSettings { per_minute: Some(30.0), ..per_second(5.0) }), 31, 0).await;
    assert!((60.0..61.0).contains(&lab.now()), "one every 2.03 s: {}", lab.now());
}

#[tokio::test]
async fn tokens_are_guessed_and_then_corrected() {
    let lab = Lab::new();
    let limiter = lab.alone(&tokens_per_minute(6000.0));
    let mut first = limiter.acquire(3000).await.expect("within the limits");
    first.sent();
    take(&limiter, 1, 3000).await;
    first.settle(1000);
    take(&limiter, 1, 2000).await;
    assert!(lab.now() < 0.1, "what was guessed too high came back");
    take(&limiter, 1, 100).await;
    assert!((60.0..61.0).contains(&lab.now()), "a minute later: {}", lab.now());
    take(&limiter, 1, 60_000).await;
    assert!((120.0..122.0).contains(&lab.now()), "what never fits goes alone: {}", lab.now());
}

#[tokio::test]
async fn what_was_not_sent_is_given_back_and_wakes_who_waits() {
    let lab = Lab::new();
    let limiter = lab.alone(&LimiterSettings { tokens_per_minute: Some(10.0), ..per_day(1.0) });
    let unsent = limiter.acquire(10).await.expect("within the limits");
    let waiting = limiter.acquire(10);
    let (waited, ()) = futures::join!(waiting, async { drop(unsent) });
    let mut permit = waited.expect("given back");
    assert!(lab.now() <= LOOK_AGAIN.as_secs_f64(), "the timer jumps ahead once: {}", lab.now());
    permit.sent();
    permit.give_back();
    assert!(may_send(&limiter), "what did not reach the provider counts for nothing");
}

#[tokio::test]
async fn a_pause_holds_for_everyone_and_one_of_days_ends_the_run() {
    let lab = Lab::new();
    let limiter = lab.alone(&LimiterSettings::default());
    limiter.pause(Duration::from_secs(7));
    limiter.pause(Duration::from_secs(3));
    take(&limiter, 1, 0).await;
    assert!((lab.now() - 7.0).abs() < 0.01, "{}", lab.now());
    limiter.pause(3 * DAY);
    let error = limiter.acquire(0).await.expect_err("too long");
    let told = "`test` would have to wait 72 h for its next request: the provider asked for a pause";
    assert_eq!(error.to_string(), told);
}

#[tokio::test]
async fn a_wait_can_be_seen_from_outside() {
    let lab = Lab::new();
    let limiter = lab.alone(&LimiterSettings::default());
    assert_eq!(limiter.waiting(), None);
    limiter.pause(Duration::from_secs(100));
    assert!(futures::FutureExt::now_or_never(limiter.acquire(0)).is_none(), "it looks again after 30 s");
    let (wait, why) = limiter.waiting().expect("a wait");
    assert!((wait.as_secs_f64() - 70.0).abs() < 0.01, "{wait:?}");
    assert_eq!(why, "the provider asked for a pause");
    take(&limiter, 1, 0).await;
    assert_eq!(limiter.waiting(), None);
}

#[tokio::test]
async fn a_sandbox_without_limits_is_not_paced_but_obeyed() {
    let lab = Lab::new();
    let settings = ClientSettings { limiters_folder: Some(lab.folder.path().to_owned()), ..lab.settings() };
    let limiter =
        Limiter::new("test", "server", &LimiterSettings { concurrency: Some(1), ..per_day(1.0) }, false, &settings);
    let held = futures::future::join_all((0..SANDBOX_CONCURRENCY).map(|_| limiter.acquire(1_000_000))).await;
    assert!(held.iter().all(Result::is_ok) && lab.timer.now().is_zero());
    drop(held);
    limiter.refused(Some(Duration::from_secs(2)));
    take(&limiter, 3, 0).await;
    assert_eq!(lab.timer.now(), Duration::from_secs(2));
    assert!(!lab.file().exists() && std::fs::read_dir(lab.folder.path()).expect("a folder").next().is_none());
}

#[tokio::test]
async fn those_who_wait_are_served_in_their_order() {
    let lab = Lab::new();
    let limiter = lab.alone(&LimiterSettings { concurrency: Some(10), ..per_second(5.0) });
    let order = Mutex::new(Vec::new());
    let stages = (0..10).map(|n| {
        let (limiter, order) = (&limiter, &order);
        async move {
            limiter.acquire(0).await.expect("within the limits").sent();
            order.lock().expect("a list").push(n);
        }
    });
    futures::future::join_all(stages).await;
    assert_eq!(order.into_inner().expect("a list"), (0..10).collect::<Vec<_>>());
}

#[tokio::test]
async fn slots_bound_what_is_in_flight() {
    let lab = Lab::new();
    let limiter = lab.alone(&LimiterSettings { concurrency: Some(2), ..LimiterSettings::default() });
    let first = limiter.acquire(0).await.expect("a slot");
    let _second = limiter.acquire(0).await.expect("a slot");
    assert!(limiter.acquire(0).now_or_never().is_none(), "no third slot");
    drop(first);
    assert!(limiter.acquire(0).now_or_never().is_some());
}

#[tokio::test]
async fn a_day_that_is_used_up_is_waited_for_and_told_once() {
    let lab = Lab::new();
    let limiter = lab.alone(&per_day(14_400.0));
    for _ in 0..14_400 {
        limiter.shared.with(|state, now| state.take(now, 0.0, &limiter.limits)).expect("within the limits");
    }
    take(&limiter, 1, 0).await;
    assert!((24.0..24.2).contains(&(lab.now() / 3600.0)), "{}", lab.now());
    let told = lab.told();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("`test` has used its 14,400 requests of today; goes on at "), "{told:?}");
}

#[tokio::test]
async fn the_time_of_a_queue_takes_what_was_used_into_account() {
    let lab = Lab::new();
    let limiter = lab.alone(&LimiterSettings { per_minute: Some(60.0), ..per_day(100.0) });
    let hours = |requests| limiter.time_for(requests, 0).as_secs_f64() / 3600.0;
    assert!((hours(60) - 1.0 / 60.0).abs() < 1e-6);
    take(&limiter, 90, 0).await;
    lab.timer.advance(Duration::from_hours(4));
    assert!((hours(10) - 1.0 / 360.0).abs() < 1e-6, "they are left: {}", hours(10));
    assert!((20.0..20.2).contains(&hours(60)), "24 hours after the first: {}", hours(60));
    assert!((44.0..44.3).contains(&hours(160)), "and a day more: {}", hours(160));
    limiter.pause(Duration::from_hours(1));
    assert!((1.0..1.01).contains(&hours(10)), "{}", hours(10));
}

#[tokio::test]
async fn nothing_left_means_that_nobody_sends_until_there_is_some() {
    let lab = Lab::new();
    let limiter = lab.alone(&per_second(1000.0));
    limiter.observe(&told_of(What::Requests, 100.0, 0.0, 12.0));
    take(&limiter, 1, 0).await;
    assert!((lab.now() - 12.0).abs() < 0.01, "{}", lab.now());
}

#[tokio::test]
async fn what_others_used_of_a_limit_counts() {
    let lab = Lab::new();
    let limiter = lab.alone(&tokens_per_minute(6000.0));
    let mut pace = told_of(What::Tokens, 6000.0, 500.0, 55.0);
    pace.told[0].period = Some(Duration::from_mins(1));
    limiter.observe(&pace);
    take(&limiter, 1, 400).await;
    assert!(lab.now() < 0.1);
    take(&limiter, 1, 400).await;
    assert!(lab.now() > 60.0, "somebody else used 5,500: {}", lab.now());
}

#[tokio::test]
async fn the_period_of_a_limit_is_worked_out_and_a_lower_one_is_told_and_kept() {
    let lab = Lab::new();
    let limiter = lab.alone(&LimiterSettings { per_minute: Some(60.0), ..LimiterSettings::default() });
    // As Groq answers: 14,400 requests a day, one more every 6 s.
    limiter.observe(&told_of(What::Requests, 14_400.0, 14_399.0, 6.0));
    assert!(lab.told().is_empty(), "one answer says nothing yet");
    limiter.observe(&told_of(What::Requests, 14_400.0, 14_397.0, 17.4));
    let limits = limiter.shared.with(|state, now| state.limits(now, &limiter.limits));
    assert_eq!((limits.per_day, limits.per_minute), (Some(14_400.0), Some(60.0)));
    // As OpenAI answers: 30 a minute.
    for (left, reset) in [(29.0, 2.0), (27.0, 6.0), (26.0, 8.0)] {
        limiter.observe(&told_of(What::Requests, 30.0, left, reset));
    }
    let told =
        ["`test`: the provider allows 30 requests per minute, not the 60 of the pipeline; the run keeps to that"];
    assert_eq!(lab.told(), told);
    take(&limiter, 11, 0).await;
    assert!((20.0..20.5).contains(&lab.now()), "one every 2.03 s: {}", lab.now());
    for (left, reset) in [(999.0, 0.06), (990.0, 0.6), (980.0, 1.2)] {
        limiter.observe(&told_of(What::Requests, 1000.0, left, reset));
    }
    let limits = limiter.shared.with(|state, now| state.limits(now, &limiter.limits));
    assert_eq!(limits.per_minute, Some(60.0), "never more than the pipeline says");
}

#[tokio::test]
async fn persistent_refusals_slow_everyone_down_and_it_comes_back_slowly() {
    let lab = Lab::new();
    let limiter = lab.alone(&per_second(10.0));
    let rate = || limiter.shared.with(|state, now| state.limits(now, &limiter.limits).per_second.expect("a rate"));
    for _ in 0..4 {
        limiter.refused(None);
    }
    assert!(rate() > 9.99, "four that were in flight together are one");
    take(&limiter, 1, 0).await;
    assert!((lab.now() - 1.0).abs() < 0.01, "the first pause: {}", lab.now());
    limiter.refused(None);
    take(&limiter, 1, 0).await;
    assert!((lab.now() - 3.0).abs() < 0.01, "twice as long: {}", lab.now());
    assert!((7.4..7.6).contains(&rate()), "{}", rate());
    take(&limiter, 1, 0).await;
    assert!(lab.now() > 3.1, "no burst after the pause: {}", lab.now());
    lab.timer.advance(Duration::from_mins(5));
    assert!((8.4..8.6).contains(&rate()), "{}", rate());
    lab.timer.advance(Duration::from_mins(30));
    assert!(rate() > 9.99);
}

#[tokio::test]
async fn without_a_rate_there_is_no_burst_after_a_pause_either() {
    let lab = Lab::new();
    let limiter = lab.alone(&LimiterSettings::default());
    limiter.pause(Duration::from_secs(32));
    take(&limiter, 4, 0).await;
    assert!((lab.now() - 35.0).abs() < 0.1, "one a second: {}", lab.now());
    lab.timer.advance(Duration::from_mins(1));
    let before = lab.timer.now();
    take(&limiter, 100, 0).await;
    assert_eq!(lab.timer.now(), before);
}
