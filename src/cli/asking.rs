//! Asking a person whether a budget may be exceeded, and what becomes of a
//! cluster's jobs. The live view gives way meanwhile, and only what waits for
//! the answer waits.

use std::io::{self, BufRead, Write};
use std::sync::Arc;
use std::thread;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::terminal::{Style, count, thousands};
use crate::engine::{JobKeeper, OnInterrupt};
use crate::ground::dollars;
use crate::web::{BudgetDecision, BudgetKeeper, BudgetQuestion, BudgetSettings};

/// How often an answer that is none is asked for again.
const TRIES: usize = 3;

/// Takes the live view away (`true`) and brings it back (`false`).
pub(super) type Curtain = Arc<dyn Fn(bool) + Send + Sync>;

/// Lines that somebody types; none at their end.
type Lines = UnboundedReceiver<String>;

/// Asks on the terminal.
#[derive(Clone)]
pub(super) struct AskOnTerminal {
    style: Style,
    curtain: Curtain,
    /// One question at a time. The lines are opened with the first.
    lines: Arc<Mutex<Option<Lines>>>,
    open: fn() -> Lines,
}

impl std::fmt::Debug for AskOnTerminal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AskOnTerminal").finish_non_exhaustive()
    }
}

impl AskOnTerminal {
    /// Asks on standard error and reads standard input.
    pub(super) fn new(style: Style, curtain: Curtain) -> Self {
        Self { style, curtain, lines: Arc::default(), open: typed }
    }

    async fn ask(self, question: BudgetQuestion) -> BudgetDecision {
        let mut lines = self.lines.lock().await;
        let lines = lines.get_or_insert_with(self.open);
        // What was typed before the question was no answer to it.
        while lines.try_recv().is_ok() {}
        let _drawn = Drawn::new(&self.curtain);
        let (words, choice) = words(&question);
        prompt(&format!("{} {words}\n  {choice}: ", self.style.yellow("?")));
        for _ in 0..TRIES {
            let Some(line) = lines.recv().await else { break };
            if let Some(decision) = understood(&line) {
                return decision;
            }
            prompt(&format!("  please answer y, n or raise; {choice}: "));
        }
        BudgetDecision::Stop
    }
}

impl BudgetKeeper for AskOnTerminal {
    fn decide(&self, question: BudgetQuestion) -> BoxFuture<'static, BudgetDecision> {
        self.clone().ask(question).boxed()
    }
}

impl JobKeeper for AskOnTerminal {
    fn on_interrupt(&self, jobs: usize) -> OnInterrupt {
        let mut lines = self.lines.blocking_lock();
        let lines = lines.get_or_insert_with(self.open);
        while lines.try_recv().is_ok() {}
        let _drawn = Drawn::new(&self.curtain);
        let (words, choice) = words_about_jobs(jobs);
        prompt(&format!("{} {words}\n  {choice}: ", self.style.yellow("?")));
        let line = lines.blocking_recv().unwrap_or_default();
        if matches!(line.trim().to_lowercase().as_str(), "y" | "yes") {
            OnInterrupt::Cancel
        } else {
            OnInterrupt::Leave
        }
    }
}

/// Holds the curtain; the view comes back also where the question is dropped.
struct Drawn<'a>(&'a Curtain);

impl<'a> Drawn<'a> {
    fn new(curtain: &'a Curtain) -> Self {
        curtain(true);
        Self(curtain)
    }
}

impl Drop for Drawn<'_> {
    fn drop(&mut self) {
        (self.0)(false);
    }
}

/// The question, and what may be answered.
pub(super) fn words(question: &BudgetQuestion) -> (String, String) {
    match question {
        BudgetQuestion::TooSmall { stage, limiter, needs, left, budget } => {
            let (needs, left) = needs.beside(left);
            let period = budget.per.words();
            let words = format!("`{stage}` will need {needs}, and the budget of `{limiter}` has {left} left {period}");
            (words, "go on until it is spent? [y/N/raise: exceed it in this run]".to_owned())
        }
        BudgetQuestion::Spent { limiter, what, budget } => {
            let words = format!("the budget of `{limiter}` is spent: {what}");
            let more = amounts(budget);
            (words, format!("go on for another {more}? [y/N/raise: without a ceiling in this run]"))
        }
    }
}

/// What is asked about a cluster's jobs, and what may be answered.
pub(super) fn words_about_jobs(jobs: usize) -> (String, String) {
    let (wait, make, them) =
        if jobs == 1 { ("waits or runs", "it makes", "it") } else { ("wait or run", "they make", "them") };
    let jobs = count(jobs as u64, "job");
    let words = format!("{jobs} {wait} on the cluster, and the next run can take up what {make}");
    (words, format!("cancel {them}? [y/N]"))
}

/// `20,000 requests, $2.00`.
fn amounts(budget: &BudgetSettings) -> String {
    let requests = budget.requests.map(|most| format!("{} requests", thousands(most)));
    let tokens = budget.tokens.map(|most| format!("{} tokens", thousands(most)));
    [requests, tokens, budget.usd.map(dollars)].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// What a line decides; nothing typed is no.
fn understood(line: &str) -> Option<BudgetDecision> {
    match line.trim().to_lowercase().as_str() {
        "y" | "yes" => Some(BudgetDecision::GoOn),
        "" | "n" | "no" => Some(BudgetDecision::Stop),
        "r" | "raise" => Some(BudgetDecision::Raise),
        _ => None,
    }
}

fn prompt(text: &str) {
    let mut err = io::stderr().lock();
    err.write_all(text.as_bytes()).and_then(|()| err.flush()).ok();
}

/// The lines of standard input, from a thread that nobody waits for: a run that
/// is stopped ends although nobody answered.
fn typed() -> Lines {
    let (sender, receiver) = unbounded_channel();
    let read = move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    };
    // Without a thread there are no lines, and the answer is no.
    thread::Builder::new().name("answers".to_owned()).spawn(read).ok();
    receiver
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex as StdMutex;

    use super::*;
    use crate::web::{Allowance, Forecast};

    fn too_small() -> BudgetQuestion {
        BudgetQuestion::TooSmall {
            stage: "summaries".into(),
            limiter: "groq".into(),
            needs: Forecast { usd: Some(3.1), ..Forecast::of_requests(9812) },
            left: Allowance { usd: Some(1.2), ..Allowance::default() },
            budget: BudgetSettings { usd: Some(2.0), ..BudgetSettings::default() },
        }
    }

    fn asker(open: fn() -> Lines) -> (AskOnTerminal, Arc<StdMutex<Vec<bool>>>) {
        let moves: Arc<StdMutex<Vec<bool>>> = Arc::default();
        let seen = Arc::clone(&moves);
        let curtain: Curtain = Arc::new(move |down| seen.lock().unwrap().push(down));
        (AskOnTerminal { open, ..AskOnTerminal::new(Style::new(false), curtain) }, moves)
    }

    #[test]
    fn the_question_says_what_is_needed_and_what_is_left() {
        let (words, choice) = words(&too_small());
        assert_eq!(words, "`summaries` will need about $3.10, and the budget of `groq` has $1.20 left in this run");
        assert_eq!(choice, "go on until it is spent? [y/N/raise: exceed it in this run]");
        let budget = BudgetSettings { requests: Some(20_000), usd: Some(2.0), ..BudgetSettings::default() };
        assert_eq!(amounts(&budget), "20,000 requests, $2.00");
    }

    #[test]
    fn only_what_is_understood_decides() {
        use BudgetDecision::{GoOn, Raise, Stop};
        let decided = ["y", " YES ", "", "n", "raise", "maybe"].map(understood);
        assert_eq!(decided, [Some(GoOn), Some(GoOn), Some(Stop), Some(Stop), Some(Raise), None]);
    }

    #[tokio::test]
    async fn nobody_there_is_a_no_and_the_view_comes_back() {
        let (asker, moves) = asker(|| unbounded_channel().1);
        assert_eq!(asker.decide(too_small()).await, BudgetDecision::Stop);
        assert_eq!(*moves.lock().unwrap(), [true, false]);
    }

    #[tokio::test]
    async fn a_question_that_is_dropped_brings_the_view_back() {
        fn silent() -> Lines {
            let (sender, receiver) = unbounded_channel();
            std::mem::forget(sender);
            receiver
        }
        let (asker, moves) = asker(silent);
        assert!(asker.decide(too_small()).now_or_never().is_none());
        assert_eq!(*moves.lock().unwrap(), [true, false]);
    }
}
