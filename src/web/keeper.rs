//! Who decides when a budget is not enough. Asking a person is not this
//! file's part: whoever runs a pipeline brings a [`BudgetKeeper`].

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;

use super::forecast::{Allowance, Forecast};
use super::limits::BudgetSettings;

/// What is to be decided.
#[derive(Debug, Clone, PartialEq)]
pub enum BudgetQuestion {
    /// Before a stage asks for the first time: what it needs is more than is left.
    TooSmall {
        /// The stage.
        stage: String,
        /// The budget's limiter.
        limiter: String,
        /// What the stage will need.
        needs: Forecast,
        /// What is left.
        left: Allowance,
        /// The budget.
        budget: BudgetSettings,
    },
    /// In the middle: nothing more may be sent.
    Spent {
        /// The budget's limiter.
        limiter: String,
        /// How much is spent, and by whom.
        what: String,
        /// The budget.
        budget: BudgetSettings,
    },
}

/// What was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BudgetDecision {
    /// The stage is not begun, or ends here; what was fetched is kept.
    Stop,
    /// Of a budget that is too small: it goes on until it is spent, and ends
    /// there without another question. Of one that is spent: as much again.
    GoOn,
    /// This run may exceed the budget.
    Raise,
}

/// Decides when a budget is not enough. Only what waits for the budget's
/// limiter waits for the decision.
pub trait BudgetKeeper: Send + Sync + std::fmt::Debug {
    /// Decides. The future may be dropped before it is done: the run was stopped.
    fn decide(&self, question: BudgetQuestion) -> BoxFuture<'static, BudgetDecision>;
}

/// Never exceeds a budget and asks nobody: each is spent to its end.
#[derive(Debug, Default, Clone, Copy)]
pub struct StopAtBudget;

impl BudgetKeeper for StopAtBudget {
    fn decide(&self, question: BudgetQuestion) -> BoxFuture<'static, BudgetDecision> {
        let decision = match question {
            BudgetQuestion::TooSmall { .. } => BudgetDecision::GoOn,
            BudgetQuestion::Spent { .. } => BudgetDecision::Stop,
        };
        std::future::ready(decision).boxed()
    }
}

/// Exceeds every budget and asks nobody.
#[derive(Debug, Default, Clone, Copy)]
pub struct ExceedBudget;

impl BudgetKeeper for ExceedBudget {
    fn decide(&self, _question: BudgetQuestion) -> BoxFuture<'static, BudgetDecision> {
        std::future::ready(BudgetDecision::Raise).boxed()
    }
}

/// The keeper where none is given.
pub(super) fn default_keeper() -> Arc<dyn BudgetKeeper> {
    Arc::new(StopAtBudget)
}
