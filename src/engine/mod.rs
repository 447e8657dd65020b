//! The engine: which stages must run, why, in what order, and running them.
//! It knows no kind by name, and nothing of terminals.
//!
//! The facade (all synchronous; [`run`] builds its own runtime, so call it
//! outside of one):
//! - `plan(&Pipeline, &Store, &PlanOptions) -> Result<Plan, EngineError>`
//! - `why(&Pipeline, &Store, reference, &PlanOptions) -> Result<Why, EngineError>`
//! - `run(&Pipeline, &Store, &RunOptions, Arc<dyn Observer>) -> Result<Summary, EngineError>`
//! - `resolve(&Pipeline, &Store, reference) -> Result<Resolved, EngineError>`

mod event;
mod fingerprint;
mod options;
mod plan;
mod reason;

pub use event::{Event, NoObserver, Observer, Outcome};
pub use fingerprint::{FORMAT, Fingerprint, InputPrint, SeedPrint};
pub use options::{End, Failure, PlanOptions, RunOptions, SandboxChoice, StageResult, Summary};
pub use plan::{Plan, Planned, State, Why};
pub use reason::Reason;
