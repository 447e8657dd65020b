//! The engine: which stages must run, why, in what order, and running them.
//! It knows no kind by name, and nothing of terminals.
//!
//! [`plan()`] compares fingerprints with the store; [`run`] does what the plan
//! leaves to do and tells an [`Observer`] what happens; [`why`] explains one
//! instance; [`resolve`] finds what an instance made. All are synchronous;
//! [`run`] makes its own runtime, so it must be called outside of one.

mod at_work;
mod bless;
mod cause;
mod diff;
mod error;
mod estimate;
mod event;
mod facade;
mod field;
mod fingerprint;
mod forecast;
mod job;
mod ledger;
mod memory;
mod meter;
mod network;
mod offline;
mod options;
mod outputs;
mod plan;
mod planner;
mod preflight;
mod reason;
mod reference;
mod reporter;
mod runs;
mod scheduler;
mod shell;
mod stage_reporter;
#[cfg(test)]
mod tests;
mod trace;
mod world;

pub use at_work::{AtWork, at_work};
pub use bless::{Blessed, bless};
pub use cause::Cause;
pub use diff::{Compared, DiffOptions, OutputDiff, RunDiff, StageDiff, diff};
pub use error::{EngineError, MissingVariable};
pub use event::{Event, Gauge, NoObserver, Observer, Outcome, Waiting};
pub use facade::{Resolved, plan, resolve, run, why};
pub use field::{Field, Part};
pub use fingerprint::{FORMAT, Fingerprint, InputPrint, SeedPrint};
pub use forecast::LimiterForecast;
pub use ledger::{CostLine, Costs, CostsBy, costs};
pub use options::{End, Failure, PlanOptions, RunOptions, SandboxChoice, StageResult, Summary};
pub use plan::{Plan, Planned, State, Why};
pub use reason::Reason;
pub use runs::{RunRecord, RunState, find_run, run_summary, runs};
pub use trace::{Trace, TraceOptions, TracedRow, TracedRows, row_column, trace};
