//! The ledger as the engine uses it: writing down what a run spends, what was
//! spent before it of its budgets, and sums of it for people.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

use super::error::EngineError;
use crate::ground::Clock;
use crate::store::{LedgerEntry, LedgerLog, Store, StoreError};
use crate::web::{Bookkeeper, BudgetSettings, Posting, Spent};

/// Writes down what one run spends.
#[derive(Debug)]
pub(super) struct Books {
    store: Store,
    folder: PathBuf,
    log: LedgerLog,
    clock: Arc<dyn Clock>,
    pipeline: String,
    sandbox: Option<String>,
    trouble: Mutex<Option<String>>,
}

impl Books {
    /// The books of the run with this folder.
    pub(super) fn new(
        store: &Store,
        folder: PathBuf,
        clock: &Arc<dyn Clock>,
        pipeline: &str,
        sandbox: Option<String>,
    ) -> Self {
        Self {
            log: store.ledger_log(&folder),
            store: store.clone(),
            folder,
            clock: Arc::clone(clock),
            pipeline: pipeline.to_owned(),
            sandbox,
            trouble: Mutex::default(),
        }
    }

    fn note(&self, trouble: String) {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(trouble);
    }

    /// Puts what was written down into the ledger. Gives what went wrong: a
    /// run does not fail for it.
    pub(super) fn close(&self) -> Option<String> {
        let closed = self.store.close_ledger(&self.folder).err().map(|error| told(&error));
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).take().or(closed)
    }

    /// Does the same for runs that were killed. What goes wrong is told at the
    /// end: their lines are still read as they are.
    pub(super) fn close_others(&self) {
        if let Err(error) = self.store.close_ledgers() {
            self.note(told(&error));
        }
    }
}

impl Bookkeeper for Books {
    fn book(&self, posting: &Posting<'_>) {
        let entry = LedgerEntry {
            pipeline: self.pipeline.clone(),
            stage: posting.stage.to_owned(),
            provider: posting.provider.to_owned(),
            limiter: posting.limiter.to_owned(),
            model: posting.model.map(str::to_owned),
            sandbox: self.sandbox.clone(),
            requests: posting.spent.requests,
            repeated: posting.repeated,
            prompt_tokens: posting.spent.prompt_tokens,
            completion_tokens: posting.spent.completion_tokens,
            usd: posting.spent.usd,
            ..LedgerEntry::default()
        };
        if let Err(error) = self.log.add(self.clock.now_millis(), &entry) {
            self.note(told(&StoreError::File(error)));
        }
    }
}

fn told(error: &StoreError) -> String {
    let why = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
    format!("what was spent is not all in the ledger: {error}{why}")
}

/// What was spent so far of each budget that spans runs, in its period, in the
/// same world: a sandbox's spending and real spending never meet.
///
/// # Errors
/// [`StoreError`] if the ledger cannot be read.
pub fn spent_before(
    store: &Store,
    budgets: &BTreeMap<String, BudgetSettings>,
    sandbox: Option<&str>,
    now_millis: u64,
) -> Result<BTreeMap<String, Spent>, StoreError> {
    let mut before: BTreeMap<String, Spent> = BTreeMap::new();
    if !budgets.values().any(|budget| budget.per.spans_runs()) {
        return Ok(before);
    }
    for entry in store.ledger()?.iter().filter(|entry| entry.sandbox.as_deref() == sandbox) {
        let counts = |budget: &BudgetSettings| {
            budget.per.spans_runs() && entry.at.saturating_mul(1000) >= budget.per.began(now_millis)
        };
        if budgets.get(&entry.limiter).is_some_and(counts) {
            *before.entry(entry.limiter.clone()).or_default() += spent(entry);
        }
    }
    Ok(before)
}

fn spent(entry: &LedgerEntry) -> Spent {
    let LedgerEntry { requests, prompt_tokens, completion_tokens, usd, .. } = *entry;
    Spent { requests, prompt_tokens, completion_tokens, usd }
}

/// By what the ledger is summed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CostsBy {
    /// By run, oldest first.
    Run,
    /// By pipeline and stage.
    Stage,
    /// By provider.
    Provider,
    /// By limiter.
    Limiter,
    /// By day of the calendar in UTC.
    Day,
    /// By model.
    Model,
}

/// One sum of the ledger.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct CostLine {
    /// Of what.
    pub name: String,
    /// What was spent.
    #[serde(flatten)]
    pub spent: Spent,
    /// Requests that gave nothing of use and were repeated; they are counted in `requests`.
    pub repeated: u64,
}

/// What the ledger comes to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Costs {
    /// By what it is summed.
    pub by: CostsBy,
    /// Whether it is of sandboxes: then nothing was paid.
    pub synthetic: bool,
    /// The sums.
    pub lines: Vec<CostLine>,
    /// All of them together.
    pub total: CostLine,
    /// Requests to the other sort of world, sandboxes or real services, which are in no sum.
    pub left_out: u64,
}

/// Sums what was spent from a store since a moment (milliseconds since
/// 1970-01-01 UTC), at the real services or, with `synthetic`, in sandboxes.
///
/// # Errors
/// [`EngineError::Store`] if the ledger cannot be read, or not be made of what
/// killed runs left.
pub fn costs(store: &Store, by: CostsBy, since_millis: u64, synthetic: bool) -> Result<Costs, EngineError> {
    store.close_ledgers()?;
    let mut sums: BTreeMap<String, CostLine> = BTreeMap::new();
    let mut total = CostLine { name: "total".to_owned(), ..CostLine::default() };
    let mut left_out = 0;
    // A minute counts if its end does.
    let since = since_millis.saturating_sub(59_999) / 1000;
    for entry in store.ledger()?.into_iter().filter(|entry| entry.at >= since) {
        if entry.sandbox.is_some() != synthetic {
            left_out += entry.requests;
            continue;
        }
        let name = name(by, &entry);
        for line in [sums.entry(name).or_default(), &mut total] {
            line.spent += spent(&entry);
            line.repeated += entry.repeated;
        }
    }
    let lines = sums.into_iter().map(|(name, line)| CostLine { name, ..line }).collect();
    Ok(Costs { by, synthetic, lines, total, left_out })
}

fn name(by: CostsBy, entry: &LedgerEntry) -> String {
    match by {
        CostsBy::Run => entry.run.clone(),
        CostsBy::Stage => format!("{}: {}", entry.pipeline, entry.stage),
        CostsBy::Provider => entry.provider.clone(),
        CostsBy::Limiter => entry.limiter.clone(),
        CostsBy::Day => day(entry.at),
        CostsBy::Model => entry.model.clone().unwrap_or_else(|| "–".to_owned()),
    }
}

/// `2026-11-26`.
fn day(seconds: u64) -> String {
    let time = jiff::Timestamp::from_second(i64::try_from(seconds).unwrap_or(i64::MAX)).unwrap_or_default();
    time.strftime("%Y-%m-%d").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ground::ManualClock;
    use crate::web::Period;

    const DAY: u64 = 86_400_000;

    /// A store in which runs of two days have spent, one of them in a sandbox.
    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        for (name, at, sandbox) in [("a", DAY, None), ("b", 2 * DAY, None), ("c", 2 * DAY, Some("w".to_owned()))] {
            let run = store.run_folder(name).unwrap();
            let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(at));
            let books = Books::new(&store, run, &clock, "p", sandbox);
            for stage in ["one", "two"] {
                let spent = Spent { requests: 1, prompt_tokens: 5, completion_tokens: 2, usd: 0.25 };
                let posting = Posting { provider: "chat", limiter: "groq", stage, model: None, spent, repeated: 0 };
                books.book(&posting);
            }
            assert_eq!(books.close(), None);
        }
        (folder, store)
    }

    #[test]
    fn sums_are_by_what_one_wants_and_know_sandboxes_apart() {
        let (_folder, store) = store();
        let sums = |by, since, synthetic| {
            let costs = costs(&store, by, since, synthetic).unwrap();
            let lines = costs.lines.iter().map(|line| format!("{} {}", line.name, line.spent.requests));
            (lines.collect::<Vec<_>>().join(", "), costs.total.spent.usd, costs.left_out)
        };
        assert_eq!(sums(CostsBy::Stage, 0, false), ("p: one 2, p: two 2".to_owned(), 1.0, 2));
        assert_eq!(sums(CostsBy::Day, 0, false), ("1970-01-02 2, 1970-01-03 2".to_owned(), 1.0, 2));
        assert_eq!(sums(CostsBy::Limiter, 2 * DAY, false), ("groq 2".to_owned(), 0.5, 2));
        assert_eq!(sums(CostsBy::Model, 0, true), ("– 2".to_owned(), 0.5, 4));
    }

    #[test]
    fn a_budget_counts_what_was_spent_in_its_period_and_world() {
        let (_folder, store) = store();
        let requests = |per, sandbox, now| {
            let budgets = BTreeMap::from([("groq".to_owned(), BudgetSettings { per, ..BudgetSettings::default() })]);
            spent_before(&store, &budgets, sandbox, now).unwrap().get("groq").map_or(0, |spent| spent.requests)
        };
        assert_eq!(requests(Period::Run, None, 2 * DAY), 0);
        assert_eq!(requests(Period::Day, None, 2 * DAY + 5), 2);
        assert_eq!(requests(Period::Day, None, 3 * DAY), 0);
        assert_eq!(requests(Period::Month, None, 3 * DAY), 4);
        assert_eq!(requests(Period::Total, None, 400 * DAY), 4);
        assert_eq!(requests(Period::Total, Some("w"), 400 * DAY), 2);
        assert_eq!(requests(Period::Total, Some("other"), 400 * DAY), 0);
    }
}
