//! One call until it has an answer or none is to be had: limits, budget,
//! sending, what the answer means, and the pauses between attempts.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::answers::remember;
use super::call::{Answer, Call, Usage, Verdict};
use super::client::Core;
use super::endpoints::Endpoint;
use super::error::{CallError, RowFailure, WebError};
use super::limiter::Limiter;
use super::pace::Pace;
use super::spent::{Posting, Spending, Spent};
use super::transport::SendError;
use crate::ground::ContentHash;

/// The longest pause between two attempts that nobody asked for.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A call under way.
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
}

/// What one attempt came to.
enum Attempt {
    Done(Answer),
    Again { pause: Option<Duration>, slow_down: bool, reason: String },
    Never { reason: String },
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
        let limiter = self.core.limiter(&self.call.limiter, self.call.provider, self.endpoint.paced)?;
        let patience = self.core.settings.patience;
        let (mut failures, mut slow_downs) = (0, 0);
        loop {
            self.check_stopped()?;
            match self.attempt(&limiter).await? {
                Attempt::Done(answer) => {
                    self.remember(&answer)?;
                    self.count_failure(None)?;
                    return Ok(answer);
                }
                Attempt::Never { reason } => {
                    self.count_failure(None)?;
                    return Err(RowFailure::new(reason).into());
                }
                Attempt::Again { pause, slow_down, reason } => {
                    self.book(Spent::default(), 1);
                    let (count, most) = if slow_down {
                        (&mut slow_downs, patience.rate_attempts)
                    } else {
                        (&mut failures, patience.attempts)
                    };
                    *count += 1;
                    if *count >= most {
                        self.count_failure(Some(&reason))?;
                        return Err(RowFailure::new(format!("{reason} ({most} attempts)")).into());
                    }
                    let pause = pause.unwrap_or_else(|| self.backoff(*count));
                    self.core.settings.timer.sleep(pause).await;
                }
            }
        }
    }

    async fn attempt(&self, limiter: &Limiter) -> Result<Attempt, WebError> {
        let metering = self.call.metering;
        let estimate = metering.map_or(0, |metering| metering.estimate);
        let permit = limiter.acquire(estimate).await?;
        // Others may have learnt while this one waited that there is no use.
        self.check_stopped()?;
        let price = metering.and_then(|metering| metering.price);
        // Given back when this attempt ends, but for what it took.
        let mut reserved = match self.core.budget(&self.call.limiter) {
            Some(budget) => Some(budget.reserve(&self.stage, metering.map(|metering| metering.most), price).await?),
            None => None,
        };
        self.spend(Spent::of_request(price));
        let sent = self.core.transport.send(&self.call, &self.endpoint, &self.core.settings).await?;
        drop(permit);
        let answer = match sent {
            Ok(answer) => answer,
            Err(SendError::Passing(reason)) => return Ok(Attempt::Again { pause: None, slow_down: false, reason }),
            Err(SendError::Lasting(reason)) => return Ok(Attempt::Never { reason }),
        };
        let pace = Pace::of(&answer.headers, i64::try_from(answer.at / 1000).unwrap_or(i64::MAX));
        limiter.observe(&pace);
        if let Some(metering) = metering {
            // An answer that does not say what it took is taken to have cost what was guessed.
            let silent = if (200..300).contains(&answer.status) { metering.expected() } else { Usage::default() };
            let usage = (metering.used)(&answer).unwrap_or(silent);
            limiter.settle(estimate, usage.prompt + usage.completion);
            self.spend(Spent::of_usage(usage, price));
            if let Some(reserved) = &mut reserved {
                reserved.took(Spent::of_usage(usage, price));
            }
        }
        self.judge(limiter, answer, &pace)
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

    fn judge(&self, limiter: &Limiter, answer: Answer, pace: &Pace) -> Result<Attempt, WebError> {
        match (self.call.classify)(&answer) {
            Verdict::Keep => Ok(Attempt::Done(answer)),
            Verdict::Row { reason } => Ok(Attempt::Never { reason: self.call.scrub(&reason) }),
            Verdict::Retry { after, everyone, reason } => {
                if let Some(wait) = after.filter(|_| everyone && pace.retry_after.is_none()) {
                    limiter.pause(wait);
                }
                let told = after.is_some() || pace.retry_after.is_some();
                // Where the limiter pauses, it also says when to go on.
                let pause = if told && everyone { Some(Duration::ZERO) } else { after };
                Ok(Attempt::Again { pause, slow_down: everyone, reason: self.call.scrub(&reason) })
            }
            Verdict::Stop { reason, hint } => {
                let provider = self.call.provider.to_owned();
                Err(self.stop(WebError::Stopped { provider, reason: self.call.scrub(&reason), hint }))
            }
        }
    }

    /// Keeps an answer. Where that fails nothing more is asked: it would be paid for and lost.
    fn remember(&self, answer: &Answer) -> Result<(), WebError> {
        let Some(memo) = &self.core.memo else { return Ok(()) };
        remember(memo, self.key, self.call.describe(), answer)
            .map_err(|error| self.stop(WebError::Memo(Arc::new(error))))
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

    fn check_stopped(&self) -> Result<(), WebError> {
        let stopped = self.core.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        stopped.get(&self.endpoint.identity).cloned().map_or(Ok(()), Err)
    }

    fn stop(&self, error: WebError) -> WebError {
        let mut stopped = self.core.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        stopped.entry(self.endpoint.identity.clone()).or_insert(error).clone()
    }

    /// Gives a provider up when too many calls in a row have failed for good.
    fn count_failure(&self, reason: Option<&str>) -> Result<(), WebError> {
        let most = self.core.settings.patience.failures_in_a_row;
        let mut failures = self.core.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let count = failures.entry(self.endpoint.identity.clone()).or_default();
        let Some(reason) = reason else {
            *count = 0;
            return Ok(());
        };
        *count += 1;
        if *count < most {
            return Ok(());
        }
        Err(self.stop(WebError::Stopped {
            provider: self.call.provider.to_owned(),
            reason: format!("{most} requests in a row failed, the last with: {reason}"),
            hint: "run again when it answers; what was fetched is kept".to_owned(),
        }))
    }
}
