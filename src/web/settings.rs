//! What a client is made with.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::endpoints::Endpoints;
use super::keeper::{BudgetKeeper, default_keeper};
use super::limits::{BudgetSettings, LimiterSettings};
use super::spent::{Bookkeeper, Spent};
use super::timer::{SystemTimer, Timer};
use super::user_agent::UserAgent;
use crate::ground::{Clock, SystemClock};

/// How long a request may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Until the connection stands.
    pub connect: Duration,
    /// Until the answer begins, the connection included.
    pub headers: Duration,
    /// Between two pieces of the answer.
    pub idle: Duration,
    /// Altogether.
    pub whole: Duration,
}

impl Default for Timeouts {
    /// 10 s, 3 min, 1 min and 5 min: chat servers think before they begin to answer.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            headers: Duration::from_mins(3),
            idle: Duration::from_mins(1),
            whole: Duration::from_mins(5),
        }
    }
}

/// How stubbornly a request is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// How often one request is sent at most, when it fails.
    pub attempts: u32,
    /// How often it is sent at most, when the provider asks to slow down.
    pub rate_attempts: u32,
    /// The first pause after a failure; each further one is twice as long, up to 30 s.
    pub first_pause: Duration,
    /// The longest wait that a limit or a `Retry-After` may impose: a day's
    /// limit is waited for, what takes longer ends the stage.
    pub longest_wait: Duration,
    /// After how many calls in a row that failed for good a provider is given up.
    pub failures_in_a_row: u32,
    /// After how many requests in a row that were not answered a provider is
    /// taken to be down: calls wait from then on, and one at a time tries.
    pub circuit_opens_after: u32,
    /// The pause before the first try; each further one is twice as long.
    pub probe_pause: Duration,
    /// The longest pause between two tries.
    pub longest_probe_pause: Duration,
    /// How long a provider may be down before it is given up; one that has
    /// answered nothing yet in this run, 5 minutes at most.
    pub outage: Duration,
}

impl Default for Patience {
    /// 6 and 30 attempts, 500 ms, 25 h, 20 failures; 10 requests, 2 s, 1 min, 1 h.
    fn default() -> Self {
        Self {
            attempts: 6,
            rate_attempts: 30,
            first_pause: Duration::from_millis(500),
            longest_wait: Duration::from_hours(25),
            failures_in_a_row: 20,
            circuit_opens_after: 10,
            probe_pause: Duration::from_secs(2),
            longest_probe_pause: Duration::from_mins(1),
            outage: Duration::from_hours(1),
        }
    }
}

/// Who is told at once what the user should know: a provider that is down, and
/// that it is up again.
#[derive(Clone)]
pub struct OnWarning(Arc<dyn Fn(&str) + Send + Sync>);

impl OnWarning {
    /// Calls `tell` with each warning.
    pub fn new(tell: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self(Arc::new(tell))
    }

    /// Tells it.
    pub(super) fn tell(&self, text: &str) {
        (self.0)(text);
    }
}

impl Default for OnWarning {
    /// Nobody is told.
    fn default() -> Self {
        Self::new(|_| ())
    }
}

impl std::fmt::Debug for OnWarning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OnWarning")
    }
}

/// What a client is made with: the default and then the fields that differ.
#[derive(Debug, Clone)]
pub struct ClientSettings {
    /// Where the providers are.
    pub endpoints: Endpoints,
    /// The `limiters:` of the pipeline, by name.
    pub limiters: BTreeMap<String, LimiterSettings>,
    /// Where the limiters' states are that all runs of this user share; without
    /// a folder each client limits by itself.
    pub limiters_folder: Option<PathBuf>,
    /// The `budgets:` of the pipeline, by the limiter's name.
    pub budgets: BTreeMap<String, BudgetSettings>,
    /// What was spent of the budgets in their periods before this run, by the limiter's name.
    pub spent_before: BTreeMap<String, Spent>,
    /// Decides when a budget is not enough.
    pub keeper: Arc<dyn BudgetKeeper>,
    /// Writes down what is spent.
    pub bookkeeper: Option<Arc<dyn Bookkeeper>>,
    /// The folder `memo-v1/http` of the store; without one nothing is remembered.
    pub memo: Option<PathBuf>,
    /// Whether only the memo may answer.
    pub offline: bool,
    /// Whether moreover the memo's files are only read: nothing is written at all.
    pub memo_only: bool,
    /// Dates the answers.
    pub clock: Arc<dyn Clock>,
    /// Paces the requests.
    pub timer: Arc<dyn Timer>,
    /// What the servers are told of the client.
    pub user_agent: UserAgent,
    /// Who is told of a provider that is down.
    pub on_warning: OnWarning,
    /// How long a request may take.
    pub timeouts: Timeouts,
    /// How stubbornly it is repeated.
    pub patience: Patience,
    /// The longest body that is read, in bytes after decompression.
    pub max_body_bytes: usize,
}

impl Default for ClientSettings {
    fn default() -> Self {
        Self {
            endpoints: Endpoints::default(),
            limiters: BTreeMap::new(),
            limiters_folder: None,
            budgets: BTreeMap::new(),
            spent_before: BTreeMap::new(),
            keeper: default_keeper(),
            bookkeeper: None,
            memo: None,
            offline: false,
            memo_only: false,
            clock: Arc::new(SystemClock),
            timer: Arc::new(SystemTimer),
            user_agent: UserAgent::default(),
            on_warning: OnWarning::default(),
            timeouts: Timeouts::default(),
            patience: Patience::default(),
            max_body_bytes: 8 * 1024 * 1024,
        }
    }
}
