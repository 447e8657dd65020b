//! What a caller may ask of a plan and a run, and what it gets back.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::event::Outcome;
use super::sharing::Shared;
use crate::ground::{Clock, ContentHash, Environment, SystemClock};
use crate::model::Models;
use crate::remote::Remote;
use crate::sandbox::SandboxSettings;
use crate::web::{BudgetKeeper, Spent, StopAtBudget};

/// What a plan is made for.
#[derive(Debug, Clone)]
pub struct PlanOptions {
    /// The instances that are wanted, with all they need: `stage` (all its
    /// variants) or `stage@VARIANT`. Empty: all.
    pub targets: Vec<String>,
    /// The instances that must run even if they are up to date, written as
    /// targets are. What is below them runs only if their results change.
    pub force: Vec<String>,
    /// The sandbox to use instead of the real services; the pipeline's own
    /// `sandbox:` block if not given.
    pub sandbox: Option<SandboxChoice>,
    /// Tells the age of results.
    pub clock: Arc<dyn Clock>,
    /// The store that is shared with others, if there is one.
    pub remote: Option<Remote>,
}

impl Default for PlanOptions {
    fn default() -> Self {
        Self { targets: Vec::new(), force: Vec::new(), sandbox: None, clock: Arc::new(SystemClock), remote: None }
    }
}

/// Which sandbox stands in for the real services.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "there is one in a run")]
pub enum SandboxChoice {
    /// One started for the run. The world is the given one, else the
    /// pipeline's `sandbox:` block, else one over the first catalog (CSV file)
    /// that the pipeline reads.
    InProcess(Option<SandboxSettings>),
    /// One that runs already at this base URL.
    At(String),
}

/// On which machines stages are worked on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum EngineChoice {
    /// As the pipeline's `engine:` says.
    #[default]
    AsWritten,
    /// This machine alone.
    Local,
    /// A Slurm cluster.
    Slurm,
}

/// What becomes of a cluster's jobs when their run is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnInterrupt {
    /// They go on; the next run takes up what they make.
    Leave,
    /// They are cancelled.
    Cancel,
}

/// Decides what becomes of a cluster's jobs when their run is stopped. May
/// take its time: nothing else waits.
pub trait JobKeeper: Send + Sync + std::fmt::Debug {
    /// That many jobs wait or run.
    fn on_interrupt(&self, jobs: usize) -> OnInterrupt;
}

/// Lets the jobs go on.
#[derive(Debug, Default, Clone, Copy)]
pub struct LeaveJobs;

impl JobKeeper for LeaveJobs {
    fn on_interrupt(&self, _jobs: usize) -> OnInterrupt {
        OnInterrupt::Leave
    }
}

/// How a run is done.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// What to plan.
    pub plan: PlanOptions,
    /// Processor slots for stages; 0 means all processors.
    pub jobs: usize,
    /// Go on after a failure with all that does not need what failed.
    pub keep_going: bool,
    /// Use the memo only; a stage that needs a request fails.
    pub offline: bool,
    /// Values of `${env.…}`.
    pub environment: Environment,
    /// Cancelled by the caller (`Ctrl-C`): running stages are told to stop and
    /// waited for.
    pub cancel: CancellationToken,
    /// Weights and device.
    pub models: Arc<Models>,
    /// Decides when a budget is not enough. Without one given none is exceeded.
    pub keeper: Arc<dyn BudgetKeeper>,
    /// On which machines stages are worked on.
    pub engine: EngineChoice,
    /// The words of the command by which another machine does a piece of work,
    /// to which the engine adds which one.
    pub worker: Vec<String>,
    /// Decides about jobs of a cluster when the run is stopped.
    pub jobs_keeper: Arc<dyn JobKeeper>,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            plan: PlanOptions::default(),
            jobs: 0,
            keep_going: false,
            offline: false,
            environment: Environment::default(),
            cancel: CancellationToken::new(),
            models: Arc::new(Models::default()),
            keeper: Arc::new(StopAtBudget),
            engine: EngineChoice::AsWritten,
            worker: Vec::new(),
            jobs_keeper: Arc::new(LeaveJobs),
        }
    }
}

/// What a run came to. Written to `summary.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The run's name: its folder below `runs-v1`.
    pub run: String,
    /// The pipeline's name.
    pub pipeline: String,
    /// How many instances it was about.
    pub stages: usize,
    /// How many did their work.
    pub ran: usize,
    /// How many had their result already.
    pub cached: usize,
    /// How many failed.
    pub failed: usize,
    /// How many were not tried.
    pub skipped: usize,
    /// What all stages spent.
    #[serde(flatten)]
    pub spent: Spent,
    /// Time, in seconds.
    pub seconds: f64,
    /// Whether the caller stopped it. What was finished stays, and every
    /// answer fetched is kept: the same command goes on from there.
    pub cancelled: bool,
    /// The identity of the sandbox world, if some result came from one: such
    /// results are synthetic, and whoever shows them must say so.
    pub sandbox: Option<String>,
    /// What was moved between this run and a shared store, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared: Option<Shared>,
    /// One line per instance, in the pipeline's order.
    pub results: Vec<StageResult>,
}

impl Summary {
    /// Whether every wanted instance has its result.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.failed == 0 && self.skipped == 0
    }
}

/// What became of one instance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageResult {
    /// The instance.
    pub stage: String,
    /// How it ended.
    pub end: End,
    /// Rows of its main output; 0 without one.
    pub rows: u64,
    /// Time spent in this run, in seconds.
    pub seconds: f64,
    /// What was spent in this run.
    #[serde(flatten)]
    pub spent: Spent,
    /// How many rows ended how, by class of status; empty where rows have none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub statuses: BTreeMap<String, u64>,
    /// Whether it, or something above it, is made from a sandbox's answers.
    pub synthetic: bool,
    /// The name of its result; none without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<ContentHash>,
    /// The artifacts that it ended with, by output: the same key may be given
    /// others later, by force or by `refresh`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub outputs: BTreeMap<String, ContentHash>,
}

/// How an instance ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// Its result is there.
    Done(Outcome),
    /// It failed.
    Failed(Failure),
    /// It was not tried, for this reason.
    Skipped(String),
}

/// Why a stage failed, as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What was attempted, on what.
    pub error: String,
    /// The causes, outermost first.
    pub causes: Vec<String>,
    /// What to do.
    pub hint: Option<String>,
}
