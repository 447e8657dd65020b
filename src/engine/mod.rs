//! The engine: which stages must run, why, in what order, and running them.
//! It knows no kind by name, and nothing of terminals.
//!
//! [`plan()`] compares fingerprints with the store; [`run`] does what the plan
//! leaves to do and tells an [`Observer`] what happens; [`why`] explains one
//! instance; [`resolve`] finds what an instance made. All are synchronous;
//! [`run`] makes its own runtime, so it must be called outside of one.

mod assembled;
mod at_work;
mod away;
mod bless;
mod cause;
mod cut;
mod diff;
mod elsewhere;
mod error;
mod estimate;
mod event;
mod executor;
mod facade;
mod field;
mod fingerprint;
mod forecast;
mod from_remote;
mod job;
mod ledger;
mod memory;
mod meter;
mod network;
mod offline;
mod options;
mod outdated;
mod outputs;
mod piece;
mod plan;
mod planner;
mod preflight;
mod reason;
mod reference;
mod reporter;
mod runs;
mod scheduler;
mod sharing;
mod shell;
mod stage_reporter;
mod tail;
#[cfg(test)]
mod tests;
mod trace;
mod work;
mod world;

pub use at_work::{AtWork, at_work};
pub use bless::{Blessed, bless};
pub use cause::Cause;
pub use diff::{Compared, DiffOptions, OutputDiff, RunDiff, StageDiff, diff};
pub use error::{EngineError, MissingVariable};
pub use event::{Event, Gauge, NoObserver, Observer, Outcome, Waiting};
pub use facade::{NamedResult, Resolved, bring, last_result, plan, resolve, resolve_all, run, why};
pub use field::{Field, Part};
pub use fingerprint::{FORMAT, Fingerprint, InputPrint, SeedPrint};
pub use forecast::LimiterForecast;
pub use ledger::{CostLine, Costs, CostsBy, costs, spent_before};
pub use options::{
    End, EngineChoice, Failure, JobKeeper, LeaveJobs, OnInterrupt, PlanOptions, RunOptions, SandboxChoice, StageResult,
    Summary,
};
pub use outdated::{Outdated, outdated};
pub use plan::{Plan, Planned, State, Why};
pub use reason::Reason;
pub use runs::{RunRecord, RunState, find_run, run_names, run_record, run_summary, runs};
pub use sharing::Shared;
pub use tail::{Tail, newest_at_work};
pub use trace::{Trace, TraceOptions, TracedRow, TracedRows, row_column, trace};
pub use work::{WorkOrder, Worked, work};
