//! The laws of a budget, without a network.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use proptest::prelude::*;

use super::*;
use crate::ground::ManualClock;
use crate::web::Period;

/// Gives the decisions of a script, one after the other, then stops.
#[derive(Debug, Default)]
struct Script {
    decisions: Vec<BudgetDecision>,
    asked: AtomicUsize,
}

impl Script {
    fn of(decisions: &[BudgetDecision]) -> Arc<Self> {
        Arc::new(Self { decisions: decisions.to_vec(), asked: AtomicUsize::new(0) })
    }
}

impl BudgetKeeper for Script {
    fn decide(&self, _: BudgetQuestion) -> BoxFuture<'static, BudgetDecision> {
        let turn = self.asked.fetch_add(1, Ordering::SeqCst);
        let decision = self.decisions.get(turn).copied().unwrap_or(BudgetDecision::Stop);
        async move {
            tokio::task::yield_now().await;
            decision
        }
        .boxed()
    }
}

struct Lab {
    clock: Arc<ManualClock>,
    keeper: Arc<Script>,
    budget: Arc<Budget>,
}

impl Lab {
    fn new(budget: BudgetSettings, decisions: &[BudgetDecision]) -> Self {
        let (clock, keeper) = (Arc::new(ManualClock::at(86_400_000 * 20_000)), Script::of(decisions));
        let settings = ClientSettings {
            budgets: BTreeMap::from([("groq".to_owned(), budget)]),
            clock: Arc::<ManualClock>::clone(&clock),
            keeper: Arc::<Script>::clone(&keeper),
            ..ClientSettings::default()
        };
        Self { clock, keeper, budget: Arc::new(Budget::new("groq", &settings)) }
    }

    /// Sends one request that may take `most` and takes `took`.
    async fn send(&self, most: Usage, took: Usage) -> Result<(), WebError> {
        let mut reserved = self.budget.reserve(&Arc::from("stage"), Some(most), Some(PRICE)).await?;
        reserved.took(Spent::of_request(Some(PRICE)));
        tokio::task::yield_now().await;
        reserved.took(Spent::of_usage(took, Some(PRICE)));
        Ok(())
    }

    /// How many of so many requests are sent, at the same time.
    async fn sent(&self, requests: usize, took: Usage) -> usize {
        let results = join_all((0..requests).map(|_| self.send(took, took))).await;
        results.iter().filter(|result| result.is_ok()).count()
    }

    fn asked(&self) -> usize {
        self.keeper.asked.load(Ordering::SeqCst)
    }
}

const PRICE: Price = Price { prompt: 1.0, completion: 2.0, request: 0.0 };

fn requests(most: u64) -> BudgetSettings {
    BudgetSettings { requests: Some(most), ..BudgetSettings::default() }
}

#[tokio::test]
async fn every_ceiling_ends_the_spending() {
    let usage = Usage { prompt: 500_000, completion: 250_000 };
    let tokens = BudgetSettings { tokens: Some(1_500_000), ..BudgetSettings::default() };
    let usd = BudgetSettings { usd: Some(3.0), ..BudgetSettings::default() };
    for (budget, expected, told) in [
        (requests(2), 2, "2 of 2 requests in this run (`stage` 2 requests, 1,500,000 tokens, $2.00)"),
        (
            tokens,
            2,
            "1,500,000 of 1,500,000 tokens in this run, and the next request may take 750,000 (`stage` 2 requests, 1,500,000 tokens, $2.00)",
        ),
        (
            usd,
            3,
            "$3.00 of $3.00 in this run, and the next request may cost $1.00 (`stage` 3 requests, 2,250,000 tokens, $3.00)",
        ),
    ] {
        let lab = Lab::new(budget, &[]);
        assert_eq!(lab.sent(16, usage).await, expected);
        let error = lab.send(usage, usage).await.expect_err("it is spent");
        assert_eq!(error.to_string(), format!("the budget of `groq` is spent: {told}"));
        assert_eq!(lab.asked(), 1, "it is decided once for all who wait");
    }
}

#[tokio::test]
async fn a_ceiling_in_dollars_needs_a_price() {
    let lab = Lab::new(BudgetSettings { usd: Some(1.0), ..BudgetSettings::default() }, &[]);
    let error = lab.budget.reserve(&Arc::from(""), None, None).await.expect_err("no price");
    assert!(error.to_string().contains("no price"), "{error}");
}

#[tokio::test]
async fn what_is_decided_is_done() {
    use BudgetDecision::{GoOn, Raise, Stop};
    let nothing = Usage::default();
    for (decisions, sent, asked) in
        [(&[Stop][..], 2, 1), (&[GoOn, Stop], 4, 2), (&[GoOn, GoOn], 6, 3), (&[Raise], 20, 1), (&[GoOn, Raise], 20, 2)]
    {
        let lab = Lab::new(requests(2), decisions);
        assert_eq!((lab.sent(20, nothing).await, lab.asked()), (sent, asked), "{decisions:?}");
    }
    let before = Lab::new(requests(2), &[Raise]);
    before.budget.decided(GoOn);
    assert_eq!((before.sent(20, nothing).await, before.asked()), (2, 0), "until it is spent, without a question");
    let before = Lab::new(requests(2), &[]);
    before.budget.decided(Raise);
    assert_eq!((before.sent(20, nothing).await, before.asked()), (20, 0));
}

#[tokio::test]
async fn nothing_is_refused_while_an_answer_is_on_its_way() {
    let lab = Lab::new(requests(1), &[]);
    let mut first = lab.budget.reserve(&Arc::from("a"), None, None).await.expect("within the budget");
    first.took(Spent::of_request(None));
    let mut second = Box::pin(lab.send(Usage::default(), Usage::default()));
    assert!(second.as_mut().now_or_never().is_none());
    drop(first);
    assert!(matches!(second.await, Err(WebError::Budget { .. })));
}

#[tokio::test]
async fn a_new_day_has_its_own_budget_and_a_clock_that_is_set_back_changes_nothing() {
    let lab = Lab::new(BudgetSettings { per: Period::Day, ..requests(2) }, &[]);
    assert_eq!(lab.sent(5, Usage::default()).await, 2);
    lab.clock.advance(Duration::from_hours(23));
    assert_eq!(lab.sent(5, Usage::default()).await, 0);
    lab.clock.advance(Duration::from_hours(1));
    assert_eq!(lab.sent(5, Usage::default()).await, 2);
    let run = Lab::new(requests(2), &[]);
    assert_eq!(run.sent(5, Usage::default()).await, 2);
    run.clock.advance(Duration::from_hours(48));
    assert_eq!(run.sent(5, Usage::default()).await, 0, "a run has one budget however long it takes");
}

#[test]
fn what_was_spent_before_counts() {
    let settings = ClientSettings {
        budgets: BTreeMap::from([("groq".to_owned(), BudgetSettings { per: Period::Total, ..requests(10) })]),
        spent_before: BTreeMap::from([("groq".to_owned(), Spent { requests: 7, ..Spent::default() })]),
        ..ClientSettings::default()
    };
    let budget = Budget::new("groq", &settings);
    assert_eq!(budget.left().1, Allowance { requests: Some(3), ..Allowance::default() });
}

proptest! {
    /// However requests overlap and whatever they take of what they may take,
    /// no ceiling is passed; and it is not refused what there is room for.
    #[test]
    fn no_ceiling_is_passed_by_requests_in_flight_together(
        calls in prop::collection::vec((0..2_000_u64, 0..1_000_u64, 0..=100_u64, 0..6_usize), 1..40),
        ceiling in (1..30_u64, 0..40_000_u64, 0..50_000_u64),
    ) {
        let settings = BudgetSettings {
            requests: Some(ceiling.0), tokens: Some(ceiling.1), usd: Some(ceiling.2 as f64 / 1e6), per: Period::Run,
        };
        let lab = Lab::new(settings.clone(), &[]);
        let send = |&(prompt, completion, share, pauses): &(u64, u64, u64, usize)| {
            let (lab, settings) = (&lab, &settings);
            async move {
                let most = Usage { prompt, completion };
                let mut reserved = lab.budget.reserve(&Arc::from("s"), Some(most), Some(PRICE)).await.ok()?;
                for _ in 0..pauses {
                    tokio::task::yield_now().await;
                    let state = lab.budget.locked();
                    assert!(!is_over(settings, &(state.spent + state.reserved)));
                }
                let took = Usage { prompt, completion: completion * share / 100 };
                reserved.took(Spent::of_request(Some(PRICE)) + Spent::of_usage(took, Some(PRICE)));
                Some(())
            }
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let sent = runtime.block_on(join_all(calls.iter().map(send))).iter().flatten().count() as u64;
        let state = lab.budget.locked();
        prop_assert!(!is_over(&settings, &state.spent), "{:?}", state.spent);
        prop_assert_eq!((state.spent.requests, state.in_flight, state.reserved), (sent, 0, Spent::default()));
    }
}
