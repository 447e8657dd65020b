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
use crate::ground::{Clock, SystemClock};

/// How long a request may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Until the connection stands.
    pub connect: Duration,
    /// Between two pieces of the answer.
    pub idle: Duration,
    /// Altogether.
    pub whole: Duration,
}

impl Default for Timeouts {
    /// 10 s, 1 min and 3 min: chat servers think before they begin to answer.
    fn default() -> Self {
        Self { connect: Duration::from_secs(10), idle: Duration::from_mins(1), whole: Duration::from_mins(3) }
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
    /// The longest wait that a limit or a `Retry-After` may impose.
    pub longest_wait: Duration,
    /// After how many requests in a row that failed for good a provider is given up.
    pub failures_in_a_row: u32,
}

impl Default for Patience {
    /// 6 and 30 attempts, 500 ms, 15 min, 20 failures.
    fn default() -> Self {
        Self {
            attempts: 6,
            rate_attempts: 30,
            first_pause: Duration::from_millis(500),
            longest_wait: Duration::from_mins(15),
            failures_in_a_row: 20,
        }
    }
}

/// What a client is made with: the default and then the fields that differ.
#[derive(Debug, Clone)]
pub struct ClientSettings {
    /// Where the providers are.
    pub endpoints: Endpoints,
    /// The `limiters:` of the pipeline, by name.
    pub limiters: BTreeMap<String, LimiterSettings>,
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
    pub user_agent: String,
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
            budgets: BTreeMap::new(),
            spent_before: BTreeMap::new(),
            keeper: default_keeper(),
            bookkeeper: None,
            memo: None,
            offline: false,
            memo_only: false,
            clock: Arc::new(SystemClock),
            timer: Arc::new(SystemTimer::default()),
            user_agent: format!("refrain/{} (+{})", env!("CARGO_PKG_VERSION"), env!("CARGO_PKG_REPOSITORY")),
            timeouts: Timeouts::default(),
            patience: Patience::default(),
            max_body_bytes: 8 * 1024 * 1024,
        }
    }
}
