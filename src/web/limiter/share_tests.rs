//! Several limiters with one folder and one timer stand for several processes.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;

use super::tests::{Lab, may_send, per_day, per_second, take};
use super::*;
use crate::ground::ManualClock;
use crate::web::timer::ManualTimer;

/// The timer of a machine that was started again.
#[derive(Debug)]
struct Restarted(Arc<ManualTimer>, &'static str);

impl Timer for Restarted {
    fn now(&self) -> Duration {
        self.0.now()
    }

    fn sleep(&self, wait: Duration) -> futures::future::BoxFuture<'static, ()> {
        self.0.sleep(wait)
    }

    fn start(&self) -> String {
        self.1.to_owned()
    }
}

/// The limiter of a process after the machine was started again.
fn after_restart(lab: &Lab, timer: &Arc<ManualTimer>, limits: &LimiterSettings) -> Limiter {
    let timer = Arc::new(Restarted(Arc::clone(timer), "another start"));
    let limiters_folder = Some(lab.folder.path().join("limiters"));
    Limiter::new("test", "server", limits, true, &ClientSettings { limiters_folder, timer, ..lab.settings() })
}

#[tokio::test]
async fn two_processes_have_one_allowance() {
    let lab = Lab::new();
    let (one, other) = (lab.process(&per_second(5.0)), lab.process(&per_second(5.0)));
    let send = async |limiter: &Limiter| take(limiter, 20, 0).await;
    futures::join!(send(&one), send(&other));
    assert!((7.8..8.0).contains(&lab.now()), "40 requests, 39 gaps of 203 ms: {}", lab.now());
    other.pause(Duration::from_secs(9));
    assert!(!may_send(&one), "a pause that one has learnt holds for the other");
    assert!(lab.told().is_empty());
    let told = Told {
        what: What::Requests,
        is_whole: true,
        period: Some(Duration::from_secs(1)),
        limit: Some(2.0),
        left: None,
        reset: None,
    };
    one.observe(&Pace { told: vec![told], ..Pace::default() });
    assert_eq!(other.time_for(18, 0), Duration::from_secs(18), "9 s of pause, and what one was told of the rate");
    assert_eq!(lab.told().len(), 1);
}

#[tokio::test]
async fn two_processes_have_no_more_in_flight_than_one_may() {
    let lab = Lab::new();
    let limits = LimiterSettings { concurrency: Some(2), ..LimiterSettings::default() };
    let (one, other) = (lab.process(&limits), lab.process(&limits));
    let first = one.acquire(0).await.expect("a slot");
    let _second = one.acquire(0).await.expect("a slot");
    assert!(other.acquire(0).now_or_never().is_none());
    drop(first);
    assert!(other.acquire(0).now_or_never().is_some());
}

#[tokio::test]
async fn a_crawl_that_is_restarted_has_the_days_allowance_once() {
    let lab = Lab::new();
    for _ in 0..10 {
        take(&lab.process(&per_day(100.0)), 10, 0).await;
        lab.timer.advance(Duration::from_mins(1));
    }
    assert!(!may_send(&lab.process(&per_day(100.0))));
    // The machine is started again; two hours pass by the wall clock.
    lab.clock.advance(Duration::from_hours(2));
    let timer = Arc::new(ManualTimer::default());
    let limiter = after_restart(&lab, &timer, &per_day(100.0));
    assert!(!may_send(&limiter));
    timer.advance(Duration::from_mins(21 * 60 + 30));
    assert!(!may_send(&limiter));
    timer.advance(Duration::from_mins(40));
    assert!(may_send(&limiter), "24 hours after the first");
}

#[tokio::test]
async fn a_clock_that_is_set_changes_nothing() {
    let lab = Lab::new();
    let limiter = lab.process(&per_second(1.0));
    take(&limiter, 1, 0).await;
    lab.clock.advance(Duration::from_hours(1));
    assert!(!may_send(&limiter) && !may_send(&lab.process(&per_second(1.0))));
    take(&limiter, 1, 0).await;
    assert!(lab.now() < 1.1, "{}", lab.now());
}

#[tokio::test]
async fn a_damaged_record_is_told_and_made_anew() {
    let lab = Lab::new();
    take(&lab.process(&per_day(2.0)), 2, 0).await;
    let whole = std::fs::read(lab.file()).expect("a record");
    let torn = whole[..whole.len() / 2].to_vec();
    crate::ground::files::write_atomically(&lab.file(), &torn).expect("a folder");
    let limiter = lab.process(&per_day(2.0));
    take(&limiter, 2, 0).await;
    let told = lab.told();
    assert!(told.len() == 1 && told[0].starts_with("the record of the limiter `test` in "), "{told:?}");
    assert!(!may_send(&lab.process(&per_day(2.0))), "it is whole again");
}

#[tokio::test]
async fn without_a_folder_a_process_limits_by_itself_and_says_so_once() {
    let lab = Lab::new();
    let blocked = lab.folder.path().join("limiters");
    crate::ground::files::write_atomically(&blocked, b"a file where the folder belongs").expect("a folder");
    let limiter = lab.process(&per_second(5.0));
    take(&limiter, 6, 0).await;
    assert!((1.0..1.1).contains(&lab.now()), "{}", lab.now());
    let told = lab.told();
    assert!(told.len() == 1 && told[0].starts_with("the limiter `test` holds for this run alone"), "{told:?}");
}

#[tokio::test]
async fn a_record_does_not_grow() {
    let lab = Lab::new();
    let limiter = lab.process(&LimiterSettings { tokens_per_minute: Some(1e9), ..per_day(1e9) });
    let mut longest = 0;
    for _ in 0..40 {
        take(&limiter, 20, 1_234_567).await;
        lab.timer.advance(Duration::from_hours(1));
        longest = longest.max(std::fs::metadata(lab.file()).expect("a record").len());
    }
    assert!(longest < 4000, "{longest}");
}

#[tokio::test]
async fn records_of_long_ago_are_removed_with_their_slots() {
    let lab = Lab::new();
    let limits = LimiterSettings { concurrency: Some(1), ..LimiterSettings::default() };
    let files = || std::fs::read_dir(lab.file().parent().expect("a folder")).expect("a folder").count();
    let at = |millis: u64| ClientSettings {
        limiters_folder: Some(lab.folder.path().join("limiters")),
        clock: Arc::new(ManualClock::at(millis)),
        ..lab.settings()
    };
    let made = crate::ground::SystemClock.now_millis();
    take(&Limiter::new("old", "server", &limits, true, &at(made)), 1, 0).await;
    assert_eq!(files(), 2);
    let day = DAY.as_millis() as u64;
    take(&Limiter::new("test", "server", &limits, true, &at(made + day)), 1, 0).await;
    assert_eq!(files(), 4);
    take(&Limiter::new("test", "server", &limits, true, &at(made + 4 * day)), 1, 0).await;
    assert_eq!(files(), 2);
}
