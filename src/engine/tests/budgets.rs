//! What is decided on a budget is done, and what was fetched is kept. Over the
//! real kinds, in a sandbox that is started for each run.

use std::path::Path;
use std::sync::{Arc, Mutex};

use futures::FutureExt;
use futures::future::BoxFuture;

use super::lab::{end, result};
use super::layout::load;
use crate::engine::{CostsBy, End, NoObserver, PlanOptions, RunOptions, Summary, costs, plan, run};
use crate::ground::files::write_atomically;
use crate::store::Store;
use crate::web::{BudgetDecision, BudgetKeeper, BudgetQuestion};
use BudgetDecision::{GoOn, Raise, Stop};

/// Decides by a script and keeps the questions.
#[derive(Debug, Default)]
struct Script {
    decisions: Mutex<Vec<BudgetDecision>>,
    questions: Mutex<Vec<String>>,
}

impl BudgetKeeper for Script {
    fn decide(&self, question: BudgetQuestion) -> BoxFuture<'static, BudgetDecision> {
        let told = match question {
            BudgetQuestion::TooSmall { stage, needs, left, .. } => {
                format!("{stage} needs {} of {}", needs.beside(&left).0, needs.beside(&left).1)
            }
            BudgetQuestion::Spent { what, .. } => what,
        };
        self.questions.lock().unwrap().push(told);
        let mut decisions = self.decisions.lock().unwrap();
        let decision = if decisions.is_empty() { Stop } else { decisions.remove(0) };
        std::future::ready(decision).boxed()
    }
}

struct Lab {
    folder: tempfile::TempDir,
    store: Store,
    budget: &'static str,
    stage: &'static str,
}

const SUMMARIES: &str = "  summaries:\n    kind: summarize\n    inputs: { items: songs }\n    with: { model: m, limiter: groq, prompt: \"{{ title }}\", max_tokens: 64, usd_per_million_prompt_tokens: 1, usd_per_million_completion_tokens: 1 }\n";
const USERS: &str = "  users:\n    kind: crawl_users\n    with: { max_users: 30, seed_user: RJ }\n";

impl Lab {
    /// Eight songs and a stage that asks, with a budget.
    fn new(budget: &'static str, stage: &'static str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let songs: Vec<String> = (0..8).map(|n| format!("i{n},song number {n}")).collect();
        write_atomically(&folder.path().join("songs.csv"), format!("item_id,title\n{}\n", songs.join("\n")).as_bytes())
            .unwrap();
        let store = Store::open(&folder.path().join("artifacts")).unwrap();
        Self { folder, store, budget, stage }
    }

    fn pipeline(&self) -> crate::pipeline::Pipeline {
        let songs = self.folder.path().join("songs.csv");
        load(&format!(
            "pipeline: p\nsandbox: {{ users: 60, songs: 40 }}\nbudgets: {{ {} }}\nstages:\n  songs:\n    kind: read_table\n    with: {{ path: {} }}\n{}",
            self.budget,
            Path::new(&songs).display(),
            self.stage
        ))
    }

    /// A run with these decisions: what it came to, how many requests it sent, and the questions.
    fn run(&self, decisions: &[BudgetDecision]) -> (Summary, u64, Vec<String>) {
        let before = self.sent();
        let keeper = Arc::new(Script { decisions: Mutex::new(decisions.to_vec()), ..Script::default() });
        let options = RunOptions { keeper: Arc::<Script>::clone(&keeper), keep_going: true, ..RunOptions::default() };
        let summary = run(&self.pipeline(), &self.store, &options, Arc::new(NoObserver)).unwrap();
        let questions = keeper.questions.lock().unwrap().clone();
        (summary, self.sent() - before, questions)
    }

    /// All requests that stand in the ledger.
    fn sent(&self) -> u64 {
        costs(&self.store, CostsBy::Run, 0, true).unwrap().total.spent.requests
    }
}

fn failure(summary: &Summary, stage: &str) -> String {
    match end(summary, stage) {
        End::Failed(failure) => failure.error.clone(),
        other => panic!("{stage} is {other:?}"),
    }
}

#[test]
fn a_stage_for_which_the_budget_is_too_small_is_asked_about_before_it_begins() {
    let lab = Lab::new("groq: { requests: 3 }", SUMMARIES);
    let (summary, sent, questions) = lab.run(&[Stop]);
    assert_eq!((sent, questions), (0, vec!["summaries needs 8 requests of 3".to_owned()]));
    let told = "`summaries` was not begun: it will need 8 requests, and the budget of `groq` has 3 left";
    assert_eq!(failure(&summary, "summaries"), told);
    let (summary, sent, questions) = lab.run(&[GoOn]);
    assert_eq!((sent, questions.len()), (3, 1), "until it is spent, and no further question");
    assert!(failure(&summary, "summaries").starts_with("the budget of `groq` is spent: 3 of 3 requests in this run"));
    assert_eq!(result(&summary, "summaries").spent.requests, 3);
    let (summary, sent, questions) = lab.run(&[Raise]);
    assert!(summary.is_complete(), "{summary:?}");
    assert_eq!((sent, questions), (5, vec!["summaries needs 5 requests of 3".to_owned()]), "nothing is asked twice");
    let (_, sent, questions) = lab.run(&[]);
    assert_eq!((sent, questions.len()), (0, 0));
}

#[test]
fn a_budget_that_is_spent_in_the_middle_is_asked_about_there() {
    let lab = Lab::new("lastfm: { requests: 8 }", USERS);
    let (summary, sent, questions) = lab.run(&[Stop]);
    assert_eq!((sent, questions.len()), (8, 1));
    assert!(questions[0].starts_with("8 of 8 requests in this run (`users` 8 requests)"), "{questions:?}");
    assert!(failure(&summary, "users").contains("is spent"));
    let whole = Lab::new("lastfm: { requests: 8 }", USERS);
    let (summary, all, questions) = whole.run(&[Raise]);
    assert!(summary.is_complete() && all > 32, "{all}");
    assert_eq!(questions.len(), 1);
    let (_, sent, _) = lab.run(&[GoOn, Stop]);
    assert_eq!(sent, 16, "as much again");
    let (summary, sent, _) = lab.run(&[Raise]);
    assert!(summary.is_complete());
    assert_eq!(sent, all - 24, "what was fetched is kept");
}

#[test]
fn a_budget_of_the_store_is_one_however_often_a_run_is_started() {
    let lab = Lab::new("groq: { requests: 3, per: total }", SUMMARIES);
    let sent = [(); 3].map(|()| lab.run(&[GoOn]).1);
    assert_eq!(sent, [3, 0, 0]);
    let day = Lab { budget: "groq: { requests: 5, per: day }", ..lab };
    assert_eq!(day.run(&[GoOn]).1, 2, "the ledger knows what was spent today");
    let run = Lab { budget: "groq: { requests: 5 }", ..day };
    let (summary, sent, _) = run.run(&[]);
    assert!(summary.is_complete());
    assert_eq!(sent, 3);
}

#[test]
fn a_plan_predicts_what_a_run_then_sends() {
    let lab = Lab::new("groq: { usd: 0.002 }", SUMMARIES);
    let pipeline = lab.pipeline();
    let songs = RunOptions {
        plan: PlanOptions { targets: vec!["songs".into()], ..PlanOptions::default() },
        ..RunOptions::default()
    };
    let nothing = plan(&pipeline, &lab.store, &PlanOptions::default()).unwrap();
    assert_eq!(nothing.limiters[0].unknown, ["summaries"], "its inputs are not there");
    run(&pipeline, &lab.store, &songs, Arc::new(NoObserver)).unwrap();
    let planned = plan(&pipeline, &lab.store, &PlanOptions::default()).unwrap();
    let [groq] = planned.limiters.as_slice() else { panic!("{:?}", planned.limiters) };
    let (expected, fits) = (groq.expected, groq.fits);
    let (summary, sent, questions) = lab.run(&[]);
    assert!(summary.is_complete() && fits && questions.is_empty(), "{summary:?} {groq:?}");
    assert_eq!((expected.requests, expected.at_least), (sent, false), "requests are told exactly");
    let spent = costs(&lab.store, CostsBy::Stage, 0, true).unwrap().total.spent;
    // A prompt's tokens are guessed by its length; an answer is taken to be as long as it may be.
    let prompt = expected.prompt_tokens as f64 / spent.prompt_tokens as f64;
    assert!((0.5..2.0).contains(&prompt), "{prompt}");
    assert!(spent.completion_tokens <= expected.completion_tokens, "{spent:?} {expected:?}");
    assert!(spent.usd > 0.0 && spent.usd <= expected.usd.unwrap(), "{spent:?} {expected:?}");
    let after = plan(&pipeline, &lab.store, &PlanOptions::default()).unwrap();
    assert!(after.limiters.is_empty(), "{:?}", after.limiters);
}
