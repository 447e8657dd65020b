//! The client of a run, and the sessions of its stages.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rayon::prelude::*;
use tokio_util::sync::CancellationToken;

use super::answers::{Answers, recall};
use super::budget::Budget;
use super::call::{Answer, Call};
use super::circuit::Circuit;
use super::endpoints::Endpoint;
use super::error::{CallError, RowFailure, WebError};
use super::fetch::Fetch;
use super::flight::{Flights, Pending};
use super::forecast::{Allowance, Forecast};
use super::keeper::BudgetDecision;
use super::limiter::{Limiter, default_limiter};
use super::limits::{BudgetSettings, LimiterSettings};
use super::settings::ClientSettings;
use super::spent::{Spending, Spent};
use super::trace::{Lacking, Trace, Traced, Tracing};
use super::transport::Transport;
use crate::ground::ContentHash;
use crate::memo::{Tally, tally};

/// What is said of a row whose answer the memo does not hold.
const NOT_IN_MEMO: &str = "the memo has no answer";

/// The HTTP client of one run. Cheap to clone: all clones are the same client.
///
/// Its sessions must all run on one Tokio runtime, which keeps the connections.
#[derive(Clone, Debug)]
pub struct Client {
    core: Arc<Core>,
}

/// What all sessions share.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) settings: ClientSettings,
    pub(super) transport: Transport,
    pub(super) memo: Option<Answers>,
    pub(super) spending: Spending,
    /// Why nobody is asked anything any more.
    pub(super) broken: OnceLock<WebError>,
    /// Whether a provider is up, by the identity of its endpoint.
    circuits: Mutex<BTreeMap<String, Arc<Circuit>>>,
    /// By name, and whether its rates hold: those of a sandbox may hold for one provider alone.
    limiters: Mutex<BTreeMap<(String, bool), Arc<Limiter>>>,
    budgets: BTreeMap<String, Arc<Budget>>,
    flights: Arc<Flights>,
}

impl Client {
    /// Makes a client. Opens nothing yet: neither sockets nor the memo.
    ///
    /// # Errors
    /// [`WebError::Setup`] if a limiter's settings cannot be kept.
    pub fn new(settings: ClientSettings) -> Result<Self, WebError> {
        let open = if settings.memo_only { Answers::read_only } else { Answers::new };
        let memo = settings.memo.clone().map(|folder| open(folder, Arc::clone(&settings.clock)));
        let budget = |name: &String| Arc::new(Budget::new(name, &settings));
        let budgets = settings.budgets.keys().map(|name| (name.clone(), budget(name)));
        let core = Core {
            budgets: budgets.collect(),
            transport: Transport::default(),
            memo,
            spending: Spending::default(),
            broken: OnceLock::new(),
            circuits: Mutex::default(),
            limiters: Mutex::default(),
            flights: Arc::default(),
            settings,
        };
        for (name, limits) in &core.settings.limiters {
            if let Some(what) = limits.not_positive().first() {
                return Err(WebError::Setup(format!("`{what}` of the limiter `{name}` must be more than 0")));
            }
        }
        Ok(Self { core: Arc::new(core) })
    }

    /// One stage's access to the network. Answers older than `max_age` are
    /// asked for again; `cancel` ends every wait.
    #[must_use]
    pub fn session(&self, max_age: Option<Duration>, cancel: CancellationToken) -> Session {
        Session {
            memo_only: self.core.settings.memo_only,
            client: Some(self.clone()),
            max_age,
            cancel,
            spending: Arc::default(),
            stage: Arc::default(),
            // An offline stage goes through all its rows, so that all it lacks is told at once.
            trace: self.core.settings.offline.then(|| Arc::new(Trace::of_lacks())),
        }
    }

    /// How many requests went over the network.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.core.spending.so_far().requests
    }

    /// Warnings about the memo since the last call: damage found, once each.
    #[must_use]
    pub fn take_warnings(&self) -> Vec<String> {
        self.core.memo.as_ref().map(Answers::take_warnings).unwrap_or_default()
    }

    /// How many requests are still to be answered that nobody waits for any more.
    #[must_use]
    pub fn landing(&self) -> usize {
        self.core.flights.landing()
    }

    /// Waits for the answers to requests that nobody waits for any more: they
    /// are paid for, and go to the memo. What has not come after `longest` is given up.
    pub async fn land(&self, longest: Duration) {
        tokio::select! {
            () = self.core.flights.landed() => {}
            () = self.core.settings.timer.sleep(longest) => {}
        }
    }

    /// Makes sure that what was answered is on the disk. Call it when the run ends.
    ///
    /// # Errors
    /// [`WebError::Memo`] if it cannot be.
    pub fn flush(&self) -> Result<(), WebError> {
        self.core.memo.as_ref().map_or(Ok(()), Answers::flush).map_err(|error| WebError::Memo(Arc::new(error)))
    }
}

impl Core {
    /// What the memo holds, if it is young enough.
    pub(super) fn recall(&self, key: ContentHash, max_age: Option<Duration>) -> Option<Answer> {
        recall(self.memo.as_ref()?, key, max_age)
    }

    /// The limiter of that name; without settings of its own it has those of
    /// the provider that asks first.
    pub(super) fn limiter(&self, name: &str, provider: &str, endpoint: &Endpoint) -> Arc<Limiter> {
        let mut limiters = self.limiters.lock().unwrap_or_else(PoisonError::into_inner);
        let limiter = limiters.entry((name.to_owned(), endpoint.paced)).or_insert_with(|| {
            let limits = self.limits(name, provider);
            Arc::new(Limiter::new(name, &endpoint.server(), &limits, endpoint.paced, &self.settings))
        });
        Arc::clone(limiter)
    }

    /// The limits of that name: those of the pipeline, else the usual ones.
    pub(super) fn limits(&self, name: &str, provider: &str) -> LimiterSettings {
        let given = self.settings.limiters.get(name).cloned();
        given.or_else(|| default_limiter(name)).or_else(|| default_limiter(provider)).unwrap_or_default()
    }

    /// The circuit of an endpoint; the provider that asks first gives it its name.
    pub(super) fn circuit(&self, identity: &str, provider: &str) -> Arc<Circuit> {
        let mut circuits = self.circuits.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(circuit) = circuits.get(identity) {
            return Arc::clone(circuit);
        }
        let circuit = Arc::new(Circuit::new(provider, self.settings.patience));
        circuits.insert(identity.to_owned(), Arc::clone(&circuit));
        circuit
    }

    pub(super) fn budget(&self, limiter: &str) -> Option<&Arc<Budget>> {
        self.budgets.get(limiter)
    }
}

/// One stage's access to the network. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct Session {
    client: Option<Client>,
    max_age: Option<Duration>,
    cancel: CancellationToken,
    spending: Arc<Spending>,
    stage: Arc<str>,
    memo_only: bool,
    trace: Option<Arc<Trace>>,
}

impl Session {
    /// A session that refuses every request: for tests.
    #[must_use]
    pub fn closed() -> Self {
        Self::default()
    }

    /// The same, in the name of a stage: what it spends is its own.
    #[must_use]
    pub fn of_stage(self, stage: &str) -> Self {
        Self { stage: Arc::from(stage), ..self }
    }

    /// How many requests went over the network for this session.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.spent().requests
    }

    /// What this session has spent over the network.
    #[must_use]
    pub fn spent(&self) -> Spent {
        self.spending.so_far()
    }

    /// The same, which the memo alone answers: what it does not hold is
    /// [`WebError::Offline`].
    #[must_use]
    pub fn memo_only(&self) -> Self {
        Self { memo_only: true, trace: None, ..self.clone() }
    }

    /// The same, which the memo alone answers and which writes down what it is
    /// asked for. What the memo does not hold fails only its row, so that a
    /// stage goes through all of them.
    #[must_use]
    pub fn tracing(&self, what: Tracing) -> Self {
        Self { trace: Some(Arc::new(Trace::new(what))), ..self.memo_only() }
    }

    /// What a session made by [`Session::tracing`] was asked for since the last
    /// call, in the order of asking.
    #[must_use]
    pub fn take_traced(&self) -> Vec<Traced> {
        self.trace.as_ref().map(|trace| trace.take()).unwrap_or_default()
    }

    /// What this session was asked for and could not answer, offline as it is.
    #[must_use]
    pub fn lacking(&self) -> Lacking {
        self.trace.as_ref().map(|trace| trace.lacking()).unwrap_or_default()
    }

    /// Whether calls need a key: neither a sandbox nor the memo asks for one,
    /// and offline only the memo answers.
    #[must_use]
    pub fn needs_key(&self) -> bool {
        !self.memo_only && self.trace.is_none() && !self.is_sandbox()
    }

    /// The budget of a limiter and what is left of it.
    #[must_use]
    pub fn budget(&self, limiter: &str) -> Option<(BudgetSettings, Allowance)> {
        Some(self.client.as_ref()?.core.budget(limiter)?.left())
    }

    /// Decides on a budget that a stage will not do with.
    pub fn decide_budget(&self, limiter: &str, decision: BudgetDecision) {
        if let Some(budget) = self.client.as_ref().and_then(|client| client.core.budget(limiter)) {
            budget.decided(decision);
        }
    }

    /// How many rows the memo has young enough answers for, and what the other
    /// rows will take; a row without a call needs none. All calls must be to
    /// the provider and address of the first.
    ///
    /// Reads no answer and sends nothing. Nothing can be said without a memo.
    #[must_use]
    pub fn tally(&self, rows: usize, call: impl Fn(usize) -> Option<Call> + Sync) -> Option<(Tally, Forecast)> {
        let core = &self.client.as_ref()?.core;
        let memo = core.memo.as_ref()?;
        let first = (0..rows).find_map(&call);
        let identity = match &first {
            Some(first) => core.settings.endpoints.resolve(first.provider, first.base_url.as_deref()).ok()?.identity,
            None => String::new(),
        };
        let key = |row: usize| call(row).map(|call| call.key(&identity));
        let keys: Vec<Option<ContentHash>> = std::thread::scope(|scope| {
            // The memo is opened meanwhile.
            scope.spawn(|| memo.known(&[], None));
            (0..rows).into_par_iter().with_min_len(256).map(key).collect()
        });
        let (tally, missing) = tally(&keys, |keys| memo.known(keys, self.max_age));
        // What takes no tokens is counted already.
        if first.is_none_or(|first| first.metering.is_none()) {
            return Some((tally, Forecast::of_requests(tally.left)));
        }
        Some((tally, Forecast::of_missing(&keys, &missing, call)))
    }

    /// What stands for the server that a call goes to: its address, or the
    /// world of the sandbox.
    ///
    /// # Errors
    /// [`WebError`] if there is no network or no address.
    pub fn identity(&self, call: &Call) -> Result<String, WebError> {
        let core = &self.client.as_ref().ok_or(WebError::Closed)?.core;
        Ok(core.settings.endpoints.resolve(call.provider, call.base_url.as_deref())?.identity)
    }

    /// Whether a sandbox stands in for the providers: no key is needed then.
    #[must_use]
    pub fn is_sandbox(&self) -> bool {
        self.client.as_ref().is_some_and(|client| client.core.settings.endpoints.sandbox_identity().is_some())
    }

    /// How many calls are worth having under way at once for this limiter.
    #[must_use]
    pub fn concurrency(&self, limiter: &str, provider: &str) -> usize {
        let of = |client: &Client| {
            let paced = client.core.settings.endpoints.are_paced(provider);
            Limiter::most_in_flight(&client.core.limits(limiter, provider), paced)
        };
        self.client.as_ref().map_or(1, of)
    }

    /// How long the limiter of that name still waits before it sends anything,
    /// and for what, if it does.
    #[must_use]
    pub fn waiting(&self, limiter: &str) -> Option<(Duration, String)> {
        let limiters = self.client.as_ref()?.core.limiters.lock().unwrap_or_else(PoisonError::into_inner);
        [true, false].into_iter().find_map(|paced| limiters.get(&(limiter.to_owned(), paced))?.waiting())
    }

    /// How long a queue of so many requests, which take so many tokens
    /// altogether, takes at the limits of that name; none where nothing is
    /// limited, as in a sandbox without limits. Once the limiter is at work,
    /// what it has used and learnt is taken into account.
    #[must_use]
    pub fn time_for(&self, limiter: &str, provider: &str, requests: u64, tokens: u64) -> Option<Duration> {
        let core = &self.client.as_ref()?.core;
        if !core.settings.endpoints.are_paced(provider) {
            return None;
        }
        let at_work = {
            let limiters = core.limiters.lock().unwrap_or_else(PoisonError::into_inner);
            limiters.get(&(limiter.to_owned(), true)).map(Arc::clone)
        };
        let time = match at_work {
            Some(limiter) => limiter.time_for(requests, tokens),
            None => core.limits(limiter, provider).time_for(requests, tokens),
        };
        Some(time).filter(|time| !time.is_zero())
    }

    /// The answer to a call: from the memo if it is there and young enough,
    /// else from the network, within the limits and with retries.
    ///
    /// # Errors
    /// [`CallError::Row`] if only this call failed, [`CallError::Whole`] if the
    /// stage cannot go on.
    pub async fn ask(&self, call: &Call) -> Result<Answer, CallError> {
        let core = &self.client.as_ref().ok_or(WebError::Closed)?.core;
        if self.cancel.is_cancelled() {
            return Err(WebError::Cancelled.into());
        }
        let endpoint = core.settings.endpoints.resolve(call.provider, call.base_url.as_deref())?;
        let key = call.key(&endpoint.identity);
        let recalled = core.recall(key, self.max_age);
        if let Some(trace) = &self.trace {
            let is_sandbox = core.settings.endpoints.sandbox_identity().is_some();
            trace.note(call, key, recalled.is_some(), || call.address(&endpoint.identity, is_sandbox));
            return recalled.ok_or_else(|| RowFailure::new(NOT_IN_MEMO).into());
        }
        if let Some(answer) = recalled {
            core.circuit(&endpoint.identity, call.provider).sample(call);
            return Ok(answer);
        }
        if self.memo_only {
            return Err(WebError::Offline { request: call.describe() }.into());
        }
        let begin = |wire| -> Pending {
            let fetch = Fetch {
                core: Arc::clone(core),
                call: call.clone(),
                endpoint,
                key,
                max_age: self.max_age,
                spending: Arc::clone(&self.spending),
                stage: Arc::clone(&self.stage),
                wire,
            };
            Box::pin(fetch.run())
        };
        let flight = core.flights.join(key, begin);
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Err(WebError::Cancelled.into()),
            result = flight.answer() => result,
        }
    }
}
