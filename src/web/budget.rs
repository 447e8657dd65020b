//! Budgets: ceilings on requests, tokens and money at one limiter. Counts what
//! goes over the network; answers of the memo are free.
//!
//! Before a request is sent, the most that it may take is set aside, so that
//! requests in flight together cannot run over a ceiling that each of them
//! keeps. What it really took is counted when its answer is there. Nothing is
//! refused while something is in flight: its answer would be lost, and it may
//! take less than was set aside.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::call::{Price, Usage};
use super::error::WebError;
use super::forecast::Allowance;
use super::keeper::{BudgetDecision, BudgetKeeper, BudgetQuestion};
use super::limits::BudgetSettings;
use super::settings::ClientSettings;
use super::spent::Spent;
use crate::ground::{Clock, dollars, thousands};

/// Rounding of sums of dollars does not count.
const EPSILON_USD: f64 = 1e-9;

/// What may be spent at one limiter.
#[derive(Debug)]
pub(super) struct Budget {
    limiter: String,
    settings: BudgetSettings,
    clock: Arc<dyn Clock>,
    keeper: Arc<dyn BudgetKeeper>,
    state: Mutex<State>,
    /// Told when something in flight has ended, and when something was decided.
    changed: Notify,
    /// Held while the keeper decides: it is asked once, however many wait.
    asking: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct State {
    /// When the period began that counts.
    began: u64,
    /// What is spent in it, by this run and by those before.
    spent: Spent,
    /// What is set aside for requests in flight.
    reserved: Spent,
    in_flight: usize,
    /// What this run has spent, by stage.
    by_stage: BTreeMap<Arc<str>, Spent>,
    stance: Stance,
    /// What was said when it ended.
    ended: String,
    /// How many times the budget may be spent: more than once if that was allowed.
    times: u64,
    /// How often something was decided.
    decisions: u64,
}

/// What happens where a ceiling is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stance {
    /// The keeper decides.
    Ask,
    /// It was decided already: there it ends.
    Stop,
    /// It has ended.
    Ended,
    /// There is no ceiling in this run.
    Free,
}

/// What came of the attempt to take a request.
enum Take {
    Taken,
    /// Something is in flight that may leave enough.
    Wait,
    /// A ceiling is reached: after that many decisions.
    Reached(u64),
    Refused(String),
}

impl Budget {
    /// The budget of a limiter.
    pub(super) fn new(limiter: &str, settings: &ClientSettings) -> Self {
        let budget = settings.budgets.get(limiter).cloned().unwrap_or_default();
        let state = State {
            began: budget.per.began(settings.clock.now_millis()),
            spent: settings.spent_before.get(limiter).copied().unwrap_or_default(),
            reserved: Spent::default(),
            in_flight: 0,
            by_stage: BTreeMap::new(),
            stance: Stance::Ask,
            ended: String::new(),
            times: 1,
            decisions: 0,
        };
        Self {
            limiter: limiter.to_owned(),
            settings: budget,
            clock: Arc::clone(&settings.clock),
            keeper: Arc::clone(&settings.keeper),
            state: Mutex::new(state),
            changed: Notify::new(),
            asking: tokio::sync::Mutex::default(),
        }
    }

    /// Sets aside what one request may take at most; waits where what is in
    /// flight may leave enough, or where it is to be decided.
    ///
    /// # Errors
    /// [`WebError::Budget`] if a ceiling is reached and not to be passed, or
    /// if it is in dollars and the request has no price.
    pub(super) async fn reserve(
        self: &Arc<Self>,
        stage: &Arc<str>,
        most: Option<Usage>,
        price: Option<Price>,
    ) -> Result<Reservation, WebError> {
        let most = Spent::of_request(price) + most.map_or_else(Spent::default, |most| Spent::of_usage(most, price));
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // From now on nothing that changes is missed.
            changed.as_mut().enable();
            match self.take(&most, price.is_some()) {
                Take::Taken => {
                    let (budget, stage) = (Arc::clone(self), Arc::clone(stage));
                    return Ok(Reservation { budget, stage, most, took: Spent::default() });
                }
                Take::Wait => changed.await,
                Take::Reached(decisions) => self.reached(decisions, &most).await,
                Take::Refused(what) => return Err(WebError::Budget { limiter: self.limiter.clone(), what }),
            }
        }
    }

    /// The budget and what is left of it.
    pub(super) fn left(&self) -> (BudgetSettings, Allowance) {
        let state = self.locked();
        if state.stance == Stance::Free {
            return (self.settings.clone(), Allowance::default());
        }
        (self.settings.clone(), Allowance::of(&self.ceilings(state.times), &(state.spent + state.reserved)))
    }

    /// What was decided before a stage that will not do with what is left.
    pub(super) fn decided(&self, decision: BudgetDecision) {
        let mut state = self.locked();
        match decision {
            BudgetDecision::GoOn if state.stance == Stance::Ask => state.stance = Stance::Stop,
            BudgetDecision::Raise => state.stance = Stance::Free,
            BudgetDecision::GoOn | BudgetDecision::Stop => return,
        }
        state.decisions += 1;
        drop(state);
        self.changed.notify_waiters();
    }

    fn take(&self, most: &Spent, priced: bool) -> Take {
        let mut state = self.locked();
        state.roll(self.settings.per.began(self.clock.now_millis()));
        if state.stance != Stance::Free {
            if self.settings.usd.is_some() && !priced {
                return Take::Refused("it is in dollars, and the stage gives no price".to_owned());
            }
            if state.stance == Stance::Ended {
                return Take::Refused(state.ended.clone());
            }
            let ceilings = self.ceilings(state.times);
            let alone = state.spent + *most;
            let together = alone + state.reserved;
            if is_over(&ceilings, &alone) && state.in_flight == 0 {
                if state.stance == Stance::Ask {
                    return Take::Reached(state.decisions);
                }
                (state.stance, state.ended) = (Stance::Ended, self.told(&state, most));
                return Take::Refused(state.ended.clone());
            }
            if is_over(&ceilings, &together) {
                return Take::Wait;
            }
        }
        state.reserved += *most;
        state.in_flight += 1;
        Take::Taken
    }

    /// Has it decided how to go on, unless that was done meanwhile.
    async fn reached(&self, decisions: u64, most: &Spent) {
        let _asking = self.asking.lock().await;
        let what = {
            let state = self.locked();
            if state.decisions != decisions {
                return;
            }
            self.told(&state, most)
        };
        let (limiter, budget) = (self.limiter.clone(), self.settings.clone());
        let question = BudgetQuestion::Spent { limiter, what: what.clone(), budget };
        let decision = self.keeper.decide(question).await;
        let mut state = self.locked();
        match decision {
            BudgetDecision::Stop => (state.stance, state.ended) = (Stance::Ended, what),
            BudgetDecision::GoOn => state.times += 1,
            BudgetDecision::Raise => state.stance = Stance::Free,
        }
        state.decisions += 1;
        drop(state);
        self.changed.notify_waiters();
    }

    fn ceilings(&self, times: u64) -> BudgetSettings {
        BudgetSettings {
            requests: self.settings.requests.map(|most| most.saturating_mul(times)),
            tokens: self.settings.tokens.map(|most| most.saturating_mul(times)),
            usd: self.settings.usd.map(|most| most * times as f64),
            per: self.settings.per,
        }
    }

    /// Which ceiling stands in the way of a request, and who has spent how much.
    fn told(&self, state: &State, most: &Spent) -> String {
        let ceilings = self.ceilings(state.times);
        let (spent, period) = (&state.spent, self.settings.per.words());
        let mut told = match ceilings {
            BudgetSettings { requests: Some(ceiling), .. } if spent.requests + most.requests > ceiling => {
                format!("{} of {} requests {period}", thousands(spent.requests), thousands(ceiling))
            }
            BudgetSettings { tokens: Some(ceiling), .. } if spent.tokens() + most.tokens() > ceiling => {
                let counts = [spent.tokens(), ceiling, most.tokens()].map(thousands);
                let [spent, ceiling, most] = counts;
                format!("{spent} of {ceiling} tokens {period}, and the next request may take {most}")
            }
            _ => {
                let sums = [spent.usd, ceilings.usd.unwrap_or_default(), most.usd].map(dollars);
                let [spent, ceiling, most] = sums;
                format!("{spent} of {ceiling} {period}, and the next request may cost {most}")
            }
        };
        let here = if self.settings.per.spans_runs() { "in this run " } else { "" };
        let stages = state.by_stage.iter().filter(|(stage, _)| !stage.is_empty());
        let stages: Vec<String> = stages.map(|(stage, spent)| format!("`{stage}` {}", amounts(spent))).collect();
        if !stages.is_empty() {
            write!(told, " ({here}{})", stages.join("; ")).ok();
        }
        told
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Begins the next period, if it is time. A clock that was set back changes nothing.
    fn roll(&mut self, began: u64) {
        if began > self.began {
            (self.began, self.spent, self.times) = (began, Spent::default(), 1);
            if self.stance == Stance::Ended {
                self.stance = Stance::Ask;
            }
        }
    }
}

fn is_over(ceilings: &BudgetSettings, amount: &Spent) -> bool {
    ceilings.requests.is_some_and(|most| amount.requests > most)
        || ceilings.tokens.is_some_and(|most| amount.tokens() > most)
        || ceilings.usd.is_some_and(|most| amount.usd > most + EPSILON_USD)
}

/// `12 requests, 4,010 tokens, $0.31`.
fn amounts(spent: &Spent) -> String {
    let mut told = format!("{} request{}", thousands(spent.requests), if spent.requests == 1 { "" } else { "s" });
    if spent.tokens() > 0 {
        write!(told, ", {} tokens", thousands(spent.tokens())).ok();
    }
    if spent.usd > 0.0 {
        write!(told, ", {}", dollars(spent.usd)).ok();
    }
    told
}

/// What is set aside for one request in flight; given back when dropped, but
/// for what it took.
#[derive(Debug)]
pub(super) struct Reservation {
    budget: Arc<Budget>,
    stage: Arc<str>,
    most: Spent,
    took: Spent,
}

impl Reservation {
    /// Counts what it took: the request when it is sent, then its answer.
    pub(super) fn took(&mut self, more: Spent) {
        self.took += more;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut state = self.budget.locked();
        state.in_flight = state.in_flight.saturating_sub(1);
        state.reserved = if state.in_flight == 0 { Spent::default() } else { state.reserved - self.most };
        state.spent += self.took;
        *state.by_stage.entry(Arc::clone(&self.stage)).or_default() += self.took;
        drop(state);
        self.budget.changed.notify_waiters();
    }
}

#[cfg(test)]
#[path = "budget_tests.rs"]
mod tests;
