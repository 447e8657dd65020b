//! One circuit per endpoint: whether its provider is up. It opens when a
//! provider is down, lets one request through now and then, and closes when
//! that is answered. Meanwhile calls wait and no row fails for it; after a long
//! time the provider is given up. Knows no sockets; time comes in as values.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::call::Call;
use super::error::{WebError, human};
use super::settings::Patience;

/// A provider that has answered nothing yet in this run is waited for no longer
/// than this: perhaps it is not there at all.
const FIRST_OUTAGE: Duration = Duration::from_mins(5);

/// Whether one provider is up, and what is known of that.
#[derive(Debug)]
pub(super) struct Circuit {
    provider: String,
    patience: Patience,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Why nothing is asked any more.
    stopped: Option<WebError>,
    /// A call that was answered once, in this run or an earlier one.
    sample: Option<Arc<Call>>,
    /// How many requests were answered, whatever the answers said.
    answers: u64,
    /// Whether one of them was worth keeping.
    useful: bool,
    /// Requests in a row that were not answered.
    unanswered: u32,
    /// Calls in a row that failed for good.
    lost: u32,
    outage: Option<Outage>,
}

#[derive(Debug)]
struct Outage {
    since: Duration,
    /// When the next request may try.
    next: Duration,
    /// How many have tried.
    probes: u32,
    probing: bool,
    told: bool,
}

/// What a call may do now.
#[derive(Debug)]
pub(super) enum Turn<'a> {
    /// Send its request.
    Go,
    /// Send the one request that tries whether the provider is up again.
    Probe(Probe<'a>),
    /// Wait until the circuit changes, or for this time if it is known.
    Wait {
        changed: Notified<'a>,
        wait: Option<Duration>,
        /// Whether the provider is down for certain, and not only under suspicion.
        is_certain: bool,
    },
}

/// The right to try; given back when dropped.
#[derive(Debug)]
pub(super) struct Probe<'a> {
    circuit: &'a Circuit,
    /// What to try with: a call that was answered before, or the one that waits.
    pub(super) sample: Option<Arc<Call>>,
}

impl Drop for Probe<'_> {
    fn drop(&mut self) {
        if let Some(outage) = &mut self.circuit.locked().outage {
            outage.probing = false;
        }
        self.circuit.changed.notify_waiters();
    }
}

impl Circuit {
    /// A closed circuit.
    pub(super) fn new(provider: &str, patience: Patience) -> Self {
        Self { provider: provider.to_owned(), patience, state: Mutex::default(), changed: Notify::new() }
    }

    /// What a call may do now.
    ///
    /// # Errors
    /// Why the provider is asked no more.
    pub(super) fn turn(&self, now: Duration) -> Result<Turn<'_>, WebError> {
        // Made before the state is looked at, so that no change is missed.
        let changed = self.changed.notified();
        let mut state = self.locked();
        if let Some(error) = &state.stopped {
            return Err(error.clone());
        }
        let sample = state.sample.clone();
        let Some(outage) = &mut state.outage else { return Ok(Turn::Go) };
        if outage.probing {
            return Ok(Turn::Wait { changed, wait: None, is_certain: outage.told });
        }
        if now < outage.next {
            let wait = Some(outage.next.saturating_sub(now));
            return Ok(Turn::Wait { changed, wait, is_certain: outage.told });
        }
        outage.probing = true;
        // The waiting call first, as its answer is wanted. It may be one that is never answered: then the sample tells.
        let sample = sample.filter(|_| outage.probes % 2 == 1);
        Ok(Turn::Probe(Probe { circuit: self, sample }))
    }

    /// Whether a request that has had its turn may be sent: much can happen while
    /// it waits for its limiter.
    ///
    /// # Errors
    /// Why the provider is asked no more.
    pub(super) fn allows(&self, turn: &Turn<'_>) -> Result<bool, WebError> {
        let state = self.locked();
        match &state.stopped {
            Some(error) => Err(error.clone()),
            None => Ok(state.outage.is_none() || matches!(turn, Turn::Probe(..))),
        }
    }

    /// How many requests were answered so far.
    pub(super) fn answers(&self) -> u64 {
        self.locked().answers
    }

    /// Whether something useful was answered, in this run or an earlier one.
    pub(super) fn is_known(&self) -> bool {
        let state = self.locked();
        state.useful || state.sample.is_some()
    }

    /// Takes a call that was answered, unless there is one.
    pub(super) fn sample(&self, call: &Call) {
        let mut state = self.locked();
        if state.sample.is_none() {
            state.sample = Some(Arc::new(call.clone()));
        }
    }

    /// The provider has answered: it is up. Tells how long it was not, if that was told.
    pub(super) fn answered(&self, now: Duration, useful: bool) -> Option<String> {
        let mut state = self.locked();
        state.answers += 1;
        state.unanswered = 0;
        state.useful |= useful;
        let outage = state.outage.take()?;
        drop(state);
        self.changed.notify_waiters();
        let lasted = human(now.saturating_sub(outage.since));
        outage.told.then(|| format!("{} answers again, after {lasted}", self.provider))
    }

    /// A request was not answered. Says whether the circuit is closed: only then
    /// does the call have to account for it.
    ///
    /// # Errors
    /// Why the provider is asked no more.
    pub(super) fn unanswered(&self, now: Duration) -> Result<bool, WebError> {
        let mut state = self.locked();
        if let Some(error) = &state.stopped {
            return Err(error.clone());
        }
        state.unanswered += 1;
        if state.outage.is_none() && state.unanswered >= self.patience.circuit_opens_after {
            self.open(&mut state, now);
        }
        Ok(state.outage.is_none())
    }

    /// A probe was not answered. Tells that the provider is down once that is
    /// certain: what was answered before is answered no more.
    ///
    /// # Errors
    /// That the provider is given up: it was down for too long.
    pub(super) fn probe_failed(&self, now: Duration, reason: &str) -> Result<Option<String>, WebError> {
        let mut state = self.locked();
        let has_sample = state.sample.is_some();
        let known = state.useful || has_sample;
        let longest = if known { self.patience.outage } else { self.patience.outage.min(FIRST_OUTAGE) };
        let Some(outage) = &mut state.outage else { return Ok(None) };
        outage.probes += 1;
        let pause = self.patience.probe_pause.saturating_mul(1 << outage.probes.min(16));
        let pause = pause.min(self.patience.longest_probe_pause);
        outage.next = now + pause;
        let lasted = now.saturating_sub(outage.since);
        if lasted >= longest {
            let error = WebError::Stopped {
                provider: self.provider.clone(),
                reason: format!("it has not answered for {}, the last time with: {reason}", human(lasted)),
                hint: "run again when it answers; what was fetched is kept".to_owned(),
            };
            return Err(self.stopped_by(&mut state, error));
        }
        if outage.told || (has_sample && outage.probes < 2) {
            return Ok(None);
        }
        outage.told = true;
        let (provider, pause, longest) = (&self.provider, human(pause), human(longest));
        Ok(Some(format!(
            "{provider} is down ({reason}): it is tried again in {pause} and given up after {longest}; until then its rows wait"
        )))
    }

    /// Opens the circuit: a call has failed too often, and nothing says that it
    /// is the call's fault.
    pub(super) fn suspect(&self, now: Duration) {
        let mut state = self.locked();
        if state.outage.is_none() {
            self.open(&mut state, now);
        }
    }

    fn open(&self, state: &mut State, now: Duration) {
        let next = now + self.patience.probe_pause;
        state.outage = Some(Outage { since: now, next, probes: 0, probing: false, told: false });
    }

    /// A call has failed for good, or has not.
    ///
    /// # Errors
    /// That the provider is given up: too many have in a row.
    pub(super) fn lost(&self, reason: Option<&str>) -> Result<(), WebError> {
        let mut state = self.locked();
        let Some(reason) = reason else {
            state.lost = 0;
            return Ok(());
        };
        state.lost += 1;
        let most = self.patience.failures_in_a_row;
        if state.lost < most {
            return Ok(());
        }
        let hint = if state.useful {
            "run again when it answers; what was fetched is kept"
        } else {
            "nothing was answered yet: check the address (`base_url`) and run again; what was fetched is kept"
        };
        let error = WebError::Stopped {
            provider: self.provider.clone(),
            reason: format!("{most} requests in a row failed, the last with: {reason}"),
            hint: hint.to_owned(),
        };
        Err(self.stopped_by(&mut state, error))
    }

    /// Nothing is asked any more, for the first reason that is given.
    pub(super) fn stop(&self, error: WebError) -> WebError {
        self.stopped_by(&mut self.locked(), error)
    }

    fn stopped_by(&self, state: &mut State, error: WebError) -> WebError {
        let error = state.stopped.get_or_insert(error).clone();
        self.changed.notify_waiters();
        error
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::call::Verdict;
    use super::*;

    const REASON: &str = "HTTP 503";

    fn circuit() -> Circuit {
        let patience = Patience { circuit_opens_after: 3, outage: Duration::from_mins(20), ..Patience::default() };
        Circuit::new("lastfm", patience)
    }

    fn call() -> Call {
        Call::new("lastfm", "/", |_| Verdict::Keep)
    }

    fn fail(circuit: &Circuit, times: u32, now: Duration) {
        for _ in 0..times {
            circuit.unanswered(now).expect("it goes on");
        }
    }

    /// Tries once, at the time when that may be done, which it gives.
    fn probe(circuit: &Circuit, now: Duration) -> (Duration, Result<Option<String>, WebError>) {
        let now = match circuit.turn(now).expect("it goes on") {
            Turn::Wait { wait: Some(wait), .. } => now + wait,
            _ => now,
        };
        let Turn::Probe(_probe) = circuit.turn(now).expect("it goes on") else { panic!("nobody may try") };
        (now, circuit.probe_failed(now, REASON))
    }

    #[test]
    fn it_opens_after_enough_failures_in_a_row_and_not_before() {
        let circuit = circuit();
        fail(&circuit, 2, Duration::ZERO);
        assert_eq!(circuit.answered(Duration::ZERO, true), None);
        fail(&circuit, 2, Duration::ZERO);
        assert!(matches!(circuit.turn(Duration::ZERO), Ok(Turn::Go)));
        assert!(!circuit.unanswered(Duration::ZERO).expect("it goes on"), "now it is open");
        assert!(matches!(circuit.turn(Duration::ZERO), Ok(Turn::Wait { is_certain: false, .. })));
    }

    #[test]
    fn one_at_a_time_tries_and_gives_the_right_back() {
        let circuit = circuit();
        circuit.suspect(Duration::ZERO);
        let later = Duration::from_secs(2);
        let first = circuit.turn(later).expect("it goes on");
        assert!(matches!(first, Turn::Probe(_)) && circuit.allows(&first).expect("it goes on"));
        assert!(matches!(circuit.turn(later), Ok(Turn::Wait { wait: None, .. })));
        assert!(!circuit.allows(&Turn::Go).expect("it goes on"), "who waited for a limiter meanwhile waits on");
        drop(first);
        assert!(matches!(circuit.turn(later), Ok(Turn::Probe(_))), "its call was given up");
    }

    #[test]
    fn every_second_try_is_made_with_what_was_answered_before_and_then_it_is_certain() {
        let circuit = circuit();
        circuit.sample(&call());
        circuit.suspect(Duration::ZERO);
        let mut now = Duration::ZERO;
        let mut told = Vec::new();
        for n in 0..4 {
            now += Duration::from_mins(1);
            let Turn::Probe(probe) = circuit.turn(now).expect("it goes on") else { panic!("nobody may try") };
            assert_eq!(probe.sample.is_some(), n % 2 == 1);
            told.extend(circuit.probe_failed(now, REASON).expect("it goes on").map(|text| (n, text)));
        }
        let expected =
            "lastfm is down (HTTP 503): it is tried again in 8 s and given up after 20 min; until then its rows wait";
        assert_eq!(told, [(1, expected.to_owned())]);
        assert!(matches!(circuit.turn(now), Ok(Turn::Wait { is_certain: true, .. })));
        assert_eq!(circuit.answered(now, true).as_deref(), Some("lastfm answers again, after 4 min"));
        assert!(matches!(circuit.turn(now), Ok(Turn::Go)));
    }

    #[test]
    fn pauses_grow_up_to_a_minute_until_it_is_given_up() {
        let circuit = circuit();
        circuit.answered(Duration::ZERO, true);
        circuit.suspect(Duration::ZERO);
        let (mut now, mut pauses) = (Duration::ZERO, Vec::new());
        let error = loop {
            let (then, result) = probe(&circuit, now);
            pauses.push((then.saturating_sub(now)).as_secs());
            now = then;
            if let Err(error) = result {
                break error;
            }
        };
        assert_eq!(pauses[..7], [2, 4, 8, 16, 32, 60, 60]);
        assert!(now >= Duration::from_mins(20) && now < Duration::from_mins(22), "{now:?}");
        assert!(error.to_string().contains("it has not answered for 2"), "{error}");
        assert!(circuit.turn(now).is_err() && circuit.unanswered(now).is_err(), "for everyone");
    }

    #[test]
    fn who_has_never_answered_is_not_waited_for_long() {
        let circuit = circuit();
        circuit.suspect(Duration::ZERO);
        let mut now = Duration::ZERO;
        while let (then, Ok(_)) = probe(&circuit, now) {
            now = then;
        }
        assert!(now < Duration::from_mins(7), "{now:?}");
    }

    #[test]
    fn the_first_reason_to_stop_is_the_one_that_is_told() {
        let circuit = circuit();
        let stopped =
            |reason: &str| WebError::Stopped { provider: "lastfm".into(), reason: reason.into(), hint: String::new() };
        circuit.stop(stopped("first"));
        assert!(circuit.stop(stopped("second")).to_string().ends_with("first"));
        assert!(circuit.turn(Duration::ZERO).expect_err("stopped").to_string().ends_with("first"));
    }
}
