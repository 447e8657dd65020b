//! One call until it has an answer or none is to be had: limits, budget,
//! sending, what the answer means, the pauses between attempts, and whose
//! fault it is when there is no answer: the call's or the provider's.

use std::sync::Arc;
use std::time::Duration;

use super::answers::{Answers, remember, remember_unreadable};
use super::call::{Answer, Call, Usage, Verdict};
use super::circuit::{Circuit, Turn};
use super::client::Core;
use super::endpoints::Endpoint;
use super::error::{CallError, RowFailure, WebError};
use super::flight::OnTheWire;
use super::limiter::Limiter;
use super::pace::Pace;
use super::spent::{Posting, Spending, Spent};
use super::transport::SendError;
use crate::ground::ContentHash;
use crate::ground::files::FileError;

/// The longest pause between two attempts that nobody asked for.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How often a connection is tried where there never was one.
const FIRST_CONNECTIONS: u32 = 3;

/// How an answer is kept: as one, or as one that nobody could read.
type Remember = fn(&Answers, ContentHash, &Call, &str, &Answer) -> Result<(), FileError>;

/// A call under way.
#[derive(Clone)]
pub(super) struct Fetch {
    pub(super) core: Arc<Core>,
    pub(super) call: Call,
    pub(super) endpoint: Endpoint,
    pub(super) key: ContentHash,
    pub(super) max_age: Option<Duration>,
    /// What the stage has spent.
    pub(super) spending: Arc<Spending>,
    /// The stage that asks.
    pub(super) stage: Arc<str>,
    /// Whether it has been sent and its answer is still to come.
    pub(super) wire: OnTheWire,
}

/// What one attempt came to.
enum Attempt {
    Done(Answer),
    Again(Again),
    Never {
        reason: String,
    },
    /// Nothing was sent: the provider was found to be down meanwhile.
    Held,
}

/// Why a call is to be sent again.
struct Again {
    reason: String,
    pause: Option<Duration>,
    what: Trouble,
}

enum Trouble {
    /// The provider asks to slow down.
    TooFast,
    /// There was no connection.
    Unreachable { unknown_host: bool },
    /// There was no answer, or one that says that the provider is in trouble.
    Unanswered,
    /// An answer that nobody can read.
    Unreadable(Answer),
}

/// What became of a call so far.
#[derive(Default)]
struct Tries {
    failures: u32,
    slow_downs: u32,
    connections: u32,
    /// How many answers others had had when it failed first.
    answers_before: u64,
}

impl Fetch {
    /// Asks until there is an answer, then keeps it in the memo.
    ///
    /// # Errors
    /// [`CallError`]: this call failed for good, or the provider does.
    pub(super) async fn run(self) -> Result<Answer, CallError> {
        // Another call for the same may have ended since the memo was looked at.
        if let Some(answer) = self.core.recall(self.key, self.max_age) {
            return Ok(answer);
        }
        let limiter = self.core.limiter(&self.call.limiter, self.call.provider, &self.endpoint);
        let circuit = self.core.circuit(&self.endpoint.identity, self.call.provider);
        let mut tries = Tries::default();
        loop {
            self.wire.set(false);
            let turn = self.turn(&circuit).await?;
            let sample = match &turn {
                Turn::Probe(probe) => probe.sample.as_ref().map(|call| self.with(call)),
                _ => None,
            };
            let attempt = sample.as_ref().unwrap_or(&self).attempt(&limiter, &circuit, &turn).await?;
            if matches!(attempt, Attempt::Done(_) | Attempt::Never { .. }) {
                self.is_up(&circuit, matches!(attempt, Attempt::Done(_)));
                if sample.is_some() {
                    continue;
                }
            }
            match attempt {
                Attempt::Done(answer) => {
                    circuit.sample(&self.call);
                    self.keep(remember, &answer)?;
                    circuit.lost(None)?;
                    return Ok(answer);
                }
                Attempt::Never { reason } => {
                    circuit.lost((!circuit.is_known()).then_some(&*reason))?;
                    return Err(RowFailure::new(reason).into());
                }
                Attempt::Again(again) => {
                    self.book(Spent::default(), 1);
                    let pause = self.failed(&circuit, &turn, &mut tries, again)?;
                    drop(turn);
                    self.wire.set(false);
                    self.core.settings.timer.sleep(pause).await;
                }
                Attempt::Held => {}
            }
        }
    }

    /// Waits until it may send, or try to.
    async fn turn<'c>(&self, circuit: &'c Circuit) -> Result<Turn<'c>, WebError> {
        let timer = &self.core.settings.timer;
        loop {
            if let Some(error) = self.core.broken.get() {
                return Err(error.clone());
            }
            let (changed, wait, is_certain) = match circuit.turn(timer.now())? {
                Turn::Wait { changed, wait, is_certain } => (changed, wait, is_certain),
                turn => return Ok(turn),
            };
            if is_certain && !self.call.waits {
                return Err(WebError::Down { provider: self.call.provider.to_owned() });
            }
            match wait {
                Some(wait) => tokio::select! { () = changed => {}, () = timer.sleep(wait) => {} },
                None => changed.await,
            }
        }
    }

    /// The same in the name of this stage and limiter, for another call.
    fn with(&self, call: &Call) -> Self {
        let call = Call { limiter: self.call.limiter.clone(), ..call.clone() };
        Self { call, ..self.clone() }
    }

    /// How long to wait before the next attempt.
    ///
    /// # Errors
    /// That there is none: the call has failed for good, or the provider does.
    fn failed(
        &self,
        circuit: &Circuit,
        turn: &Turn<'_>,
        tries: &mut Tries,
        again: Again,
    ) -> Result<Duration, CallError> {
        let patience = self.core.settings.patience;
        let now = self.core.settings.timer.now();
        let Again { reason, pause, what } = again;
        match what {
            Trouble::TooFast => {
                self.is_up(circuit, false);
                tries.slow_downs += 1;
                if tries.slow_downs >= patience.rate_attempts {
                    return Err(lose(circuit, &reason, patience.rate_attempts));
                }
                return Ok(pause.unwrap_or_else(|| self.backoff(tries.slow_downs)));
            }
            Trouble::Unreachable { unknown_host } if !circuit.is_known() => {
                tries.connections += 1;
                if unknown_host || tries.connections >= FIRST_CONNECTIONS {
                    return Err(circuit.stop(self.never_reached(&reason)).into());
                }
                return Ok(self.backoff(tries.connections));
            }
            _ => {}
        }
        let is_probe = matches!(turn, Turn::Probe(_));
        // A page where nothing was answered yet: the wrong address, most likely, and no outage.
        let is_elsewhere = matches!(what, Trouble::Unreadable(_)) && !circuit.is_known() && !is_probe;
        if !is_elsewhere && !circuit.unanswered(now)? {
            if is_probe {
                self.tell(circuit.probe_failed(now, &reason)?);
            }
            return Ok(Duration::ZERO);
        }
        tries.failures += 1;
        if tries.failures == 1 {
            tries.answers_before = circuit.answers();
        }
        if tries.failures < patience.attempts {
            return Ok(pause.unwrap_or_else(|| self.backoff(tries.failures)));
        }
        // It is the call's fault if others were answered meanwhile.
        if circuit.answers() == tries.answers_before && !is_elsewhere {
            circuit.suspect(now);
            return Ok(Duration::ZERO);
        }
        let Trouble::Unreadable(answer) = &what else { return Err(lose(circuit, &reason, patience.attempts)) };
        self.keep(remember_unreadable, answer)?;
        Err(lose(circuit, &format!("{}: {reason}", self.call.brief()), patience.attempts))
    }

    fn never_reached(&self, reason: &str) -> WebError {
        WebError::Stopped {
            provider: self.call.provider.to_owned(),
            reason: format!("there is no connection to {}: {reason}", self.endpoint.host()),
            hint: "check the address, and whether the server runs; what was fetched is kept".to_owned(),
        }
    }

    /// The provider has answered.
    fn is_up(&self, circuit: &Circuit, useful: bool) {
        self.tell(circuit.answered(self.core.settings.timer.now(), useful));
    }

    fn tell(&self, warning: Option<String>) {
        if let Some(text) = warning {
            self.core.settings.on_warning.tell(&text);
        }
    }

    async fn attempt(&self, limiter: &Limiter, circuit: &Circuit, turn: &Turn<'_>) -> Result<Attempt, WebError> {
        let metering = self.call.metering;
        let estimate = metering.map_or(0, |metering| metering.estimate);
        let price = metering.and_then(|metering| metering.price);
        // Given back when this attempt ends, but for what it took. Before the
        // limiter: nobody is held up by it while a person thinks about the budget.
        let mut reserved = match self.core.budget(&self.call.limiter) {
            Some(budget) => Some(budget.reserve(&self.stage, metering.map(|metering| metering.most), price).await?),
            None => None,
        };
        let mut permit = limiter.acquire(estimate).await?;
        // Others may have learnt while this one waited that there is no use.
        if !circuit.allows(turn)? {
            return Ok(Attempt::Held);
        }
        permit.sent();
        let request = Spent::of_request(price);
        if let Some(reserved) = &mut reserved {
            reserved.took(request);
        }
        self.spend(request);
        self.wire.set(true);
        let sent = match self.core.transport.send(&self.call, &self.endpoint, &self.core.settings).await {
            Ok(sent) => sent,
            Err(error) => {
                permit.give_back();
                return Err(error);
            }
        };
        let answer = match sent {
            Ok(answer) => answer,
            Err(error) => {
                if matches!(error, SendError::Unreachable { .. } | SendError::Untrusted(_)) {
                    permit.give_back();
                }
                return self.unsent(circuit, error);
            }
        };
        let pace = Pace::of(&answer.headers, time_of(&answer));
        limiter.observe(&pace);
        if let Some(metering) = metering {
            let counted = (metering.used)(&answer);
            // An answer that does not say what it took is taken to have cost what was guessed.
            let silent = if (200..300).contains(&answer.status) { metering.expected() } else { Usage::default() };
            let usage = counted.unwrap_or(silent);
            if counted.is_some() || !(200..300).contains(&answer.status) {
                permit.settle(usage.prompt + usage.completion);
            }
            self.spend(Spent::of_usage(usage, price));
            if let Some(reserved) = &mut reserved {
                reserved.took(Spent::of_usage(usage, price));
            }
        }
        self.judge(limiter, circuit, answer, &pace)
    }

    /// Counts what went over the network, for the run and for the stage, and
    /// writes it down.
    fn spend(&self, spent: Spent) {
        self.core.spending.add(spent);
        self.spending.add(spent);
        self.book(spent, 0);
    }

    fn book(&self, spent: Spent, repeated: u64) {
        let Some(bookkeeper) = &self.core.settings.bookkeeper else { return };
        let (provider, limiter, stage) = (self.call.provider, &*self.call.limiter, &*self.stage);
        bookkeeper.book(&Posting { provider, limiter, stage, model: self.call.model(), spent, repeated });
    }

    /// What it means that there is no answer.
    fn unsent(&self, circuit: &Circuit, error: SendError) -> Result<Attempt, WebError> {
        let (reason, what) = match error {
            SendError::Passing(reason) => (reason, Trouble::Unanswered),
            SendError::Unreachable { reason, unknown_host } => (reason, Trouble::Unreachable { unknown_host }),
            SendError::Lasting(reason) => return Ok(Attempt::Never { reason }),
            SendError::Untrusted(reason) => {
                return Err(circuit.stop(WebError::Stopped {
                    provider: self.call.provider.to_owned(),
                    reason: format!("{} cannot be trusted: {reason}", self.endpoint.host()),
                    hint: "nothing was sent to it; check the address, the clock of this machine and its certificates"
                        .to_owned(),
                }));
            }
        };
        Ok(Attempt::Again(Again { reason, pause: None, what }))
    }

    fn judge(&self, limiter: &Limiter, circuit: &Circuit, answer: Answer, pace: &Pace) -> Result<Attempt, WebError> {
        let again =
            |reason: &str, pause, what| Ok(Attempt::Again(Again { reason: self.call.scrub(reason), pause, what }));
        let is_success = (200..300).contains(&answer.status);
        match (self.call.classify)(&answer) {
            Verdict::Keep if std::str::from_utf8(&answer.body).is_err() => {
                again("the answer is not UTF-8", None, Trouble::Unreadable(answer))
            }
            Verdict::Keep => Ok(Attempt::Done(answer)),
            Verdict::Row { reason } => Ok(Attempt::Never { reason: self.call.scrub(&reason) }),
            Verdict::Retry { after, everyone: true, reason } => {
                limiter.refused(pace.retry_after.or(after));
                // The limiter pauses, and says when to go on.
                again(&reason, Some(Duration::ZERO), Trouble::TooFast)
            }
            Verdict::Retry { after, reason, .. } if is_success => again(&reason, after, Trouble::Unreadable(answer)),
            Verdict::Retry { after, reason, .. } => again(&reason, after, Trouble::Unanswered),
            Verdict::Stop { reason, hint } => {
                let provider = self.call.provider.to_owned();
                Err(circuit.stop(WebError::Stopped { provider, reason: self.call.scrub(&reason), hint }))
            }
        }
    }

    /// Keeps an answer in the memo. Where that fails nobody is asked anything more: it would be paid for and lost.
    fn keep(&self, how: Remember, answer: &Answer) -> Result<(), WebError> {
        let Some(memo) = self.core.memo.as_ref().filter(|_| (self.call.keep)(answer)) else { return Ok(()) };
        let broken = |error| self.core.broken.get_or_init(|| WebError::Memo(Arc::new(error))).clone();
        how(memo, self.key, &self.call, self.core.settings.endpoints.world(), answer).map_err(broken)
    }

    /// The pause before the next attempt: twice as long each time, and between
    /// half and all of it, so that calls that failed together do not return
    /// together. The share is a function of the call, not of chance.
    fn backoff(&self, failures: u32) -> Duration {
        let first = self.core.settings.patience.first_pause;
        let whole = first.saturating_mul(1 << (failures - 1).min(16)).min(LONGEST_PAUSE);
        let byte = self.key.as_bytes()[failures as usize % 32];
        whole.mul_f64(0.5 + f64::from(byte) / 512.0)
    }
}

/// When it was answered, in seconds since 1970: by the server's clock if it tells,
/// as the dates in its headers are, and this machine's clock may be wrong.
fn time_of(answer: &Answer) -> i64 {
    let date = answer.headers.get("date").and_then(|date| jiff::fmt::rfc2822::parse(date).ok());
    date.map_or_else(|| i64::try_from(answer.at / 1000).unwrap_or(i64::MAX), |date| date.timestamp().as_second())
}

/// The call has failed for good, and perhaps the provider with it.
fn lose(circuit: &Circuit, reason: &str, attempts: u32) -> CallError {
    match circuit.lost(Some(reason)) {
        Ok(()) => RowFailure::new(format!("{reason} ({attempts} attempts)")).into(),
        Err(error) => error.into(),
    }
}
