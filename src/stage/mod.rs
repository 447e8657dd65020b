//! The contract between the engine and the kinds.
//!
//! A kind says what it is and checks its settings ([`StageKind`]); a checked
//! stage says what it reads, writes and needs, and runs ([`Stage`]). A stage
//! never sees the store: it is given its opened inputs, a sink for its outputs
//! and the services ([`StageContext`]); the engine publishes.

mod context;
mod known;
mod port;
mod settings;
mod sharding;
mod status;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;

use crate::ground::MissingVariable;
use crate::ground::files::FileError;
use crate::table::TableError;
use crate::web::WebError;

pub use context::{Input, MemorySink, NoProgress, OutputSink, Progress, RowEnd, StageContext};
pub use known::{Known, RowWork};
pub use port::{Columns, InputPort, OutputPort};
pub use settings::{SettingProblem, decode_settings, schema_of, settings_value};
pub use sharding::Sharding;
pub use status::{failure, status_class};

/// What a stage can do: one file in `kinds/`, one line in the registry.
pub trait StageKind: Sync + Send {
    /// The name in YAML: lower case, starts with a verb.
    fn name(&self) -> &'static str;
    /// Raised when the same inputs and settings would give another output.
    fn version(&self) -> u32;
    /// One line, without full stop.
    fn summary(&self) -> &'static str;
    /// What it reads, writes and promises, in Markdown.
    fn documentation(&self) -> &'static str;
    /// A stage of this kind as it stands in YAML: `kind:`, `inputs:` and `with:`.
    fn example(&self) -> &'static str;
    /// The JSON Schema of `with:`.
    fn settings_schema(&self) -> Value;
    /// Checks the settings. Pure: no files, no network, no clock.
    ///
    /// # Errors
    /// Every mistake found, each with its path below `with`.
    fn parse(&self, with: &Value) -> Result<Arc<dyn Stage>, Vec<SettingProblem>>;
}

/// What a stage occupies while it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resource {
    /// That many processor cores; 0 means all there are.
    Cpu(usize),
    /// The GPU if there is one, else all cores.
    Gpu,
    /// The named limiter; next to no processor time.
    Api(String),
}

/// What a stage has to do with the device that the user chose for models.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DeviceUse {
    /// Nothing: it runs wherever there is a processor.
    #[default]
    Nothing,
    /// It computes there.
    Computes,
    /// It does not, but who ranks with what it writes does: vectors.
    WritesVectors,
    /// It does where the stage that this port reads computes there or writes vectors.
    As(&'static str),
}

/// An environment variable that a stage needs unless a sandbox stands in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequiredVariable {
    /// The variable's name.
    pub name: String,
    /// Where a user gets a value.
    pub obtain: String,
}

/// A stage whose settings have been checked.
#[async_trait]
pub trait Stage: Send + Sync {
    /// The settings that decide the result, defaults filled in. Part of the
    /// fingerprint: no path, no limiter, no key. `${env.…}` is blanked by the engine.
    fn settings(&self) -> Value;
    /// The tables it reads.
    fn inputs(&self) -> Vec<InputPort>;
    /// The tables it writes; at least one.
    fn outputs(&self) -> Vec<OutputPort>;
    /// What it occupies.
    fn resource(&self) -> Resource {
        Resource::Cpu(1)
    }
    /// Whether it computes on the device that the user chose: before anything
    /// runs, a GPU that was insisted on must work for those that do.
    fn device_use(&self) -> DeviceUse {
        DeviceUse::Nothing
    }
    /// Of the inputs that are read whole ([`Columns::All`]): which of their
    /// columns decide the result, given the name and type of each by port. A
    /// port that is left out is read whole; at run time the others have no more
    /// than the columns named here. Pure; the engine remembers the answer.
    fn columns_read(&self, available: &BTreeMap<String, Vec<(String, String)>>) -> BTreeMap<String, Vec<String>> {
        let _ = available;
        BTreeMap::new()
    }
    /// Whether [`Stage::columns_read`] can ever answer.
    fn narrows(&self) -> bool {
        false
    }
    /// Files outside the store whose content decides the result, as written in YAML.
    fn files(&self) -> Vec<PathBuf> {
        Vec::new()
    }
    /// Other facts that decide the result and that only the machine knows, such
    /// as the hash of a model's weights. Must be quick.
    fn facts(&self) -> BTreeMap<String, String> {
        BTreeMap::new()
    }
    /// How its rows may be cut into shards that are worked on apart.
    ///
    /// # Errors
    /// Why they cannot be: what stands after "cannot be cut into shards:".
    fn sharding(&self) -> Result<Sharding, &'static str> {
        Err(match self.resource() {
            Resource::Api(_) => "its answers are kept row by row, so that it goes on where it stopped without shards",
            Resource::Cpu(_) | Resource::Gpu => "a row of its result may depend on all rows of its inputs",
        })
    }
    /// Whether it writes pseudonyms in the place of people's names. The salt of
    /// the store then decides the result, and [`StageContext::people`] is there.
    fn hides_names(&self) -> bool {
        false
    }
    /// Whether it draws random numbers; such a stage is repeated per `seeds:`.
    fn is_seeded(&self) -> bool {
        false
    }
    /// Variables it needs when it speaks to the real services.
    fn variables(&self) -> Vec<RequiredVariable> {
        Vec::new()
    }
    /// Whether its settings say what its requests cost: a budget in dollars
    /// needs that.
    fn is_priced(&self) -> bool {
        false
    }
    /// How many rows need nothing that is not in the memo, told before it runs.
    /// For kinds that work row by row; they give nothing where they cannot count.
    ///
    /// The context has the inputs, a session that only the memo answers, and
    /// the memo of vectors; it is never to write, warn or ask. Called on a
    /// thread of its own.
    fn known(&self, _context: &StageContext) -> Option<Known> {
        None
    }
    /// Does the work. Called on a thread of its own: heavy computing is fine.
    ///
    /// # Errors
    /// [`StageError`] if the stage as a whole failed; failed rows are data.
    async fn run(&self, context: &StageContext) -> Result<(), StageError>;
}

/// Why a stage as a whole failed.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// It was told to stop.
    #[error("stopped")]
    Cancelled,
    /// It cannot go on, for a reason that it knows.
    #[error("{what}")]
    Failed {
        /// What was attempted, on what, and why it failed.
        what: String,
        /// What to do.
        hint: Option<String>,
    },
    /// A table could not be read or written, or is not as it must be.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A service cannot be used at all.
    #[error(transparent)]
    Web(#[from] WebError),
    /// A file of the store's own could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// An environment variable is missing.
    #[error(transparent)]
    Variable(#[from] MissingVariable),
}

impl StageError {
    /// A failure with no hint.
    pub fn failed(what: impl Into<String>) -> Self {
        Self::Failed { what: what.into(), hint: None }
    }

    /// A failure and what to do about it.
    pub fn with_hint(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Failed { what: what.into(), hint: Some(hint.into()) }
    }
}
