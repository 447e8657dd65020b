//! What one running stage reports to: counts, and tells them not too often.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::event::{Event, Waiting};
use super::meter::{Meter, rounded};
use super::reporter::Reporter;
use crate::stage::{Known, Progress, RowEnd};
use crate::web::{Session, Spent};

/// The least time between two progress events of one stage.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);
/// The longest time between two, while the stage runs.
const TICK: Duration = Duration::from_secs(1);
/// The shortest wait of a limiter that is told.
const LONG_WAIT: Duration = Duration::from_secs(2);
/// The least time between two in the run's log, and the longest: whoever reads
/// along sees a short stage move, and a crawl of a weekend leaves a megabyte.
const LOG_INTERVAL: [Duration; 2] = [Duration::from_secs(1), Duration::from_mins(1)];

/// What one running stage reports to.
pub(super) struct StageReporter {
    stage: String,
    reporter: Arc<Reporter>,
    started: Instant,
    state: Mutex<State>,
    /// The stage's session and its limiter.
    network: OnceLock<(Session, String)>,
    warnings: Mutex<Vec<String>>,
}

#[derive(Debug, Default)]
struct State {
    meter: Meter,
    due: Due,
    finished: bool,
}

/// When progress was told last. Pure: time comes in as a value.
#[derive(Debug, Default)]
struct Due {
    told: Option<Duration>,
    logged: Duration,
}

impl Due {
    /// Whether the observer is to be told now; says so once for each interval.
    fn tell(&mut self, now: Duration) -> bool {
        let due = self.told.is_none_or(|last| now.saturating_sub(last) >= PROGRESS_INTERVAL);
        if due {
            self.told = Some(now);
        }
        due
    }

    /// Whether what is told now belongs into the log: every second at
    /// first, and the rarer the longer the stage runs.
    fn log(&mut self, now: Duration) -> bool {
        let [least, most] = LOG_INTERVAL;
        let due = now.saturating_sub(self.logged) >= (now / 60).clamp(least, most);
        if due {
            self.logged = now;
        }
        due
    }
}

impl StageReporter {
    /// For one instance, which starts now.
    pub(super) fn new(stage: String, reporter: Arc<Reporter>) -> Self {
        Self {
            stage,
            reporter,
            started: Instant::now(),
            state: Mutex::default(),
            network: OnceLock::new(),
            warnings: Mutex::new(Vec::new()),
        }
    }

    /// What the stage asks with: its requests, tokens and money are told from now on.
    pub(super) fn watch(&self, session: &Session, limiter: &str) {
        self.network.get_or_init(|| (session.clone(), limiter.to_owned()));
    }

    /// Tells what the user should know now, and not again whenever the result is used.
    pub(super) fn warn_now(&self, text: String) {
        self.reporter.tell(&Event::StageWarning { stage: self.stage.clone(), text, remembered: false });
    }

    /// Tells how many rows are known before the work begins.
    pub(super) fn known(&self, known: Known) {
        self.state().meter.known(known);
        self.reporter.tell(&Event::RowsKnown { stage: self.stage.clone(), known });
    }

    /// Tells how far the stage is once a second, as long as what is given back
    /// lives: also where no row moves, so that a watcher sees that it waits.
    pub(super) fn ticking(self: &Arc<Self>, handle: &Handle) -> Ticking {
        let reporter = Arc::clone(self);
        Ticking(handle.spawn(async move {
            loop {
                tokio::time::sleep(TICK).await;
                reporter.tick();
            }
        }))
    }

    /// The warnings given, in order.
    pub(super) fn warnings(&self) -> Vec<String> {
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many rows ended how, by class of status.
    pub(super) fn statuses(&self) -> BTreeMap<String, u64> {
        self.state().meter.statuses().clone()
    }

    /// Tells how far it came, and nothing after that.
    pub(super) fn finish(&self) {
        let mut state = self.state();
        state.finished = true;
        if state.due.told.is_some() {
            self.tell(&mut state, self.started.elapsed(), true);
        }
    }

    /// Tells how far it is, if it ever told that.
    fn tick(&self) {
        let mut state = self.state();
        if state.due.told.is_some() {
            self.tell_if_due(&mut state);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn moved(&self, change: impl FnOnce(&mut Meter)) {
        let mut state = self.state();
        change(&mut state.meter);
        self.tell_if_due(&mut state);
    }

    fn tell_if_due(&self, state: &mut State) {
        let now = self.started.elapsed();
        if !state.finished && state.due.tell(now) {
            self.tell(state, now, false);
        }
    }

    /// Tells while the state is held, so that counts never go back.
    fn tell(&self, state: &mut State, now: Duration, is_last: bool) {
        let network = self.network.get();
        let spent = network.map_or_else(Spent::default, |(session, _)| session.spent());
        let time_for = |requests, tokens| {
            let (session, limiter) = network?;
            session.time_for(limiter, limiter, requests, tokens)
        };
        let mut gauge = state.meter.gauge(now, spent, time_for);
        let waiting = network.and_then(|(session, limiter)| session.waiting(limiter));
        gauge.waiting = waiting
            .filter(|(time, _)| *time >= LONG_WAIT)
            .map(|(time, why)| Waiting { seconds: rounded(time.as_secs_f64()), why });
        let event = Event::StageProgress { stage: self.stage.clone(), gauge };
        self.reporter.tell(&event);
        if state.due.log(now) || is_last {
            self.reporter.log(&event);
        }
    }
}

/// Ticks until it is dropped.
pub(super) struct Ticking(JoinHandle<()>);

impl Drop for Ticking {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Progress for StageReporter {
    fn total(&self, rows: u64) {
        self.moved(|meter| meter.total(rows));
    }

    fn advance(&self, rows: u64) {
        self.moved(|meter| meter.advance(rows));
    }

    fn ended(&self, end: RowEnd<'_>) {
        self.moved(|meter| meter.ended(end));
    }

    fn note(&self, text: &str) {
        self.reporter.tell(&Event::StageNote { stage: self.stage.clone(), text: text.to_owned() });
    }

    fn line(&self, text: &str) {
        let event = Event::StageNote { stage: self.stage.clone(), text: text.to_owned() };
        self.reporter.tell(&event);
        self.reporter.log(&event);
    }

    fn warn(&self, text: &str) {
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner).push(text.to_owned());
        let text = text.to_owned();
        self.reporter.tell(&Event::StageWarning { stage: self.stage.clone(), text, remembered: false });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::event::Observer;

    #[test]
    fn an_observer_is_told_ten_times_a_second_at_most() {
        let mut due = Due::default();
        let told = (0..1000).filter(|millis| due.tell(Duration::from_millis(*millis))).count();
        assert_eq!(told, 10);
    }

    #[test]
    fn the_log_of_a_weekend_is_short() {
        let mut due = Due::default();
        let logged = |due: &mut Due, seconds: std::ops::Range<u64>| {
            seconds.filter(|second| due.log(Duration::from_secs(*second))).count()
        };
        assert_eq!(logged(&mut due, 0..10), 9, "a short stage is seen to move");
        let minutes = logged(&mut due, 10..600);
        assert!((150..250).contains(&minutes), "{minutes}");
        let rest = logged(&mut due, 600..64 * 3600);
        assert!((3800..4200).contains(&rest), "{rest}");
    }

    #[derive(Default)]
    struct Heard(Mutex<Vec<Event>>);

    impl Observer for Heard {
        fn event(&self, event: &Event) {
            self.0.lock().expect("events").push(event.clone());
        }
    }

    #[test]
    fn the_last_word_is_told_and_logged_and_no_word_after_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let heard = Arc::new(Heard::default());
        let observer: Arc<dyn Observer> = Arc::<Heard>::clone(&heard);
        let reporter = Arc::new(Reporter::new(observer, folder.path().to_owned()).expect("a log"));
        let stage = StageReporter::new("tags".to_owned(), reporter);
        stage.total(3);
        for status in ["ok", "failed: timed out", "ok"] {
            stage.ended(RowEnd { status, rows: 1, asked: true });
        }
        stage.finish();
        stage.tick();
        let last = heard.0.lock().expect("events").last().cloned().expect("an event");
        let Event::StageProgress { gauge, .. } = &last else { panic!("another event: {last:?}") };
        assert_eq!((gauge.rows, gauge.total, gauge.statuses["failed: timed out"]), (3, Some(3), 1));
        let log = std::fs::read_to_string(folder.path().join("events.jsonl")).expect("a log");
        let logged: Vec<Event> = log.lines().map(|line| serde_json::from_str(line).expect("an event")).collect();
        assert_eq!(logged, [last]);
    }
}
