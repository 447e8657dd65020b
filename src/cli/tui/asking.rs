//! Asking on the dashboard whether a budget may be exceeded, and what becomes of a
//! cluster's jobs. Only what waits for the answer waits.

use std::sync::{Arc, Mutex};

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::{Mutex as Turn, oneshot};

use super::super::asking::{words, words_about_jobs};
use super::super::observers::lock;
use super::Shared;
use super::dashboard::Question;
use super::keys::Reply;
use crate::engine::{JobKeeper, OnInterrupt};
use crate::web::{BudgetDecision, BudgetKeeper, BudgetQuestion};

/// The question that stands on the dashboard, if one does.
#[derive(Debug, Default)]
pub(super) struct Asking(Mutex<Option<oneshot::Sender<Reply>>>);

impl Asking {
    /// Answers it.
    pub(super) fn answer(&self, reply: Reply) {
        if let Some(waiting) = lock(&self.0).take() {
            // Whoever asked may have been stopped meanwhile.
            waiting.send(reply).ok();
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
        let (words, choice) = words(&question);
        let (standing, answer) =
            Standing::new(&self.shared, Question { title: "a budget is not enough", words, choice, may_raise: true });
        let reply = answer.await;
        drop(standing);
        match reply {
            Ok(Reply::Yes) => BudgetDecision::GoOn,
            Ok(Reply::Raise) => BudgetDecision::Raise,
            Ok(Reply::No) | Err(_) => BudgetDecision::Stop,
        }
    }
}

impl BudgetKeeper for AskOnDashboard {
    fn decide(&self, question: BudgetQuestion) -> BoxFuture<'static, BudgetDecision> {
        self.clone().ask(question).boxed()
    }
}

impl JobKeeper for AskOnDashboard {
    fn on_interrupt(&self, jobs: usize) -> OnInterrupt {
        let _turn = self.turn.blocking_lock();
        let (words, choice) = words_about_jobs(jobs);
        let title = "jobs are on the cluster";
        let (standing, answer) = Standing::new(&self.shared, Question { title, words, choice, may_raise: false });
        let reply = answer.blocking_recv();
        drop(standing);
        if reply == Ok(Reply::Yes) { OnInterrupt::Cancel } else { OnInterrupt::Leave }
    }
}

/// A question on the dashboard. It goes also where nobody waits for the answer any more.
struct Standing<'a>(&'a Shared);

impl<'a> Standing<'a> {
    fn new(shared: &'a Shared, question: Question) -> (Self, oneshot::Receiver<Reply>) {
        let (sender, answer) = oneshot::channel();
        *lock(&shared.asking.0) = Some(sender);
        lock(&shared.dashboard).question = Some(question);
        (Self(shared), answer)
    }
}

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        lock(&self.0.dashboard).question = None;
        lock(&self.0.asking.0).take();
    }
}
