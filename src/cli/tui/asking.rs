//! Asking on the dashboard whether a budget may be exceeded. Only what waits
//! for that budget waits for the answer.

use std::sync::{Arc, Mutex};

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::{Mutex as Turn, oneshot};

use super::super::asking::words;
use super::super::observers::lock;
use super::Shared;
use crate::web::{BudgetDecision, BudgetKeeper, BudgetQuestion};

/// The question that stands on the dashboard, if one does.
#[derive(Debug, Default)]
pub(super) struct Asking(Mutex<Option<oneshot::Sender<BudgetDecision>>>);

impl Asking {
    /// Answers it.
    pub(super) fn answer(&self, decision: BudgetDecision) {
        if let Some(waiting) = lock(&self.0).take() {
            // Whoever asked may have been stopped meanwhile.
            waiting.send(decision).ok();
        }
    }
}

/// Asks on the dashboard, one question at a time.
#[derive(Clone)]
pub(in crate::cli) struct AskOnDashboard {
    shared: Arc<Shared>,
    turn: Arc<Turn<()>>,
}

impl std::fmt::Debug for AskOnDashboard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AskOnDashboard").finish_non_exhaustive()
    }
}

impl AskOnDashboard {
    /// For this dashboard.
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, turn: Arc::default() }
    }

    async fn ask(self, question: BudgetQuestion) -> BudgetDecision {
        let _turn = self.turn.lock().await;
        let (sender, answer) = oneshot::channel();
        let (question, choice) = words(&question);
        *lock(&self.shared.asking.0) = Some(sender);
        lock(&self.shared.dashboard).question = Some((question, choice));
        let _standing = Standing(&self.shared);
        answer.await.unwrap_or(BudgetDecision::Stop)
    }
}

impl BudgetKeeper for AskOnDashboard {
    fn decide(&self, question: BudgetQuestion) -> BoxFuture<'static, BudgetDecision> {
        self.clone().ask(question).boxed()
    }
}

/// A question on the dashboard. It goes also where nobody waits for the answer any more.
struct Standing<'a>(&'a Shared);

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        lock(&self.0.dashboard).question = None;
        lock(&self.0.asking.0).take();
    }
}
