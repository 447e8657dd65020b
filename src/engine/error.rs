//! Why the engine could not even start, or could not go on.

use super::options::Failure;
use crate::model::DeviceError;
use crate::remote::RemoteError;
use crate::store::StoreError;
use crate::web::BadContact;

/// Why a plan or a run was refused as a whole. A stage that fails is not one of
/// these: it is an event and a line of the summary.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A reference (`--target`, `--force`, `show`, `path`, `why`) names nothing.
    #[error("there is no {what} `{reference}` in this pipeline")]
    NoSuchReference {
        /// `stage`, `variant` or `output`.
        what: &'static str,
        /// The reference as given.
        reference: String,
        /// What was probably meant, or what there is.
        hint: String,
    },
    /// A reference means several instances where one is needed.
    #[error("`{reference}` is {} stages: {}", candidates.len(), candidates.join(", "))]
    Ambiguous {
        /// The reference as given.
        reference: String,
        /// The instances it could mean.
        candidates: Vec<String>,
    },
    /// A name given for a run is that of none.
    #[error("there is no run `{reference}` in this store")]
    NoSuchRun {
        /// The name as given.
        reference: String,
        /// What there is.
        hint: String,
    },
    /// The beginning of a run's name fits several.
    #[error("`{reference}` is the beginning of {} runs: {}", candidates.len(), candidates.join(", "))]
    AmbiguousRun {
        /// The name as given.
        reference: String,
        /// The runs it could mean.
        candidates: Vec<String>,
    },
    /// Two runs are to be compared in a stage that neither has.
    #[error("neither run has a stage `{stage}`")]
    NoStageInRuns {
        /// The stage as given.
        stage: String,
        /// What there is.
        hint: String,
    },
    /// Rows are to be told apart by a column that is not in both tables.
    #[error("there is no column `{column}` in both tables to compare rows by")]
    NoKeyColumn {
        /// The column as given.
        column: String,
        /// What there is.
        hint: String,
    },
    /// A run left no summary that can be read.
    #[error("the run `{run}` left no summary: it is {state}")]
    NoRecord {
        /// The run.
        run: String,
        /// What is known of it.
        state: &'static str,
        /// Why the summary cannot be read.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A stage's last result cannot be accepted for what it would be made from now.
    #[error("could not bless `{stage}`: {what}")]
    NotBlessed {
        /// The instance, or the stage.
        stage: String,
        /// What stands in the way.
        what: String,
        /// What to do.
        hint: String,
    },
    /// A piece of work that a cluster was given cannot be begun.
    #[error("could not begin the work of `{instance}`: {what}")]
    NotBegun {
        /// The instance.
        instance: String,
        /// What stands in the way.
        what: String,
    },
    /// The result that a reference means is not in the store.
    #[error("`{reference}` has not been made yet")]
    NotMade {
        /// The reference as given.
        reference: String,
    },
    /// A result is in the shared store, and cannot be had from there.
    #[error("could not get `{reference}` from the shared store")]
    NotFetched {
        /// The reference as given.
        reference: String,
        /// Why not.
        #[source]
        source: RemoteError,
    },
    /// The calls of a stage are wanted that makes none.
    #[error("`{stage}` asks no API")]
    AsksNobody {
        /// The instance.
        stage: String,
    },
    /// Environment variables are missing; nothing has run.
    #[error("{} missing: {}", if variables.len() == 1 { "an environment variable is" } else { "environment variables are" },
        variables.iter().map(|v| v.name.as_str()).collect::<Vec<_>>().join(", "))]
    MissingVariables {
        /// The variables.
        variables: Vec<MissingVariable>,
    },
    /// The contact in the environment is none; nothing has run.
    #[error("the services cannot be told whom to write to")]
    Contact(#[source] BadContact),
    /// The GPU that was insisted on does not work; nothing has run.
    #[error("there is no such device to compute {} on; nothing has run",
        stages.iter().map(|stage| format!("`{stage}`")).collect::<Vec<_>>().join(", "))]
    NoDevice {
        /// The instances that would compute there.
        stages: Vec<String>,
        /// What is missing or broken.
        #[source]
        source: DeviceError,
    },
    /// Stages cannot run as they stand; nothing has run.
    #[error("{} cannot run as it stands; nothing has run", blocked.iter().map(|(stage, _)| format!("`{stage}`")).collect::<Vec<_>>().join(", "))]
    Blocked {
        /// The instances and why.
        blocked: Vec<(String, Failure)>,
    },
    /// The sandbox could not be started or reached.
    #[error("could not {action} the sandbox")]
    Sandbox {
        /// What was attempted.
        action: &'static str,
        /// What to do.
        hint: Option<String>,
        /// The reason.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The threads to run on could not be made.
    #[error("could not start the threads to run on")]
    Runtime(#[source] std::io::Error),
}

/// A variable that is missing, who needs it, and where to get a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingVariable {
    /// The variable's name.
    pub name: String,
    /// The stages that need it.
    pub stages: Vec<String>,
    /// Where a user gets a value.
    pub obtain: String,
}

impl EngineError {
    /// Whether the user's file or arguments are the cause (exit code 2).
    #[must_use]
    pub fn is_users(&self) -> bool {
        !matches!(self, Self::Store(_) | Self::NotFetched { .. } | Self::Sandbox { .. } | Self::Runtime(_))
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Ambiguous { candidates, .. } => {
                candidates.first().map(|first| format!("name one of them, such as `{first}`"))
            }
            Self::NoSuchReference { hint, .. }
            | Self::NoSuchRun { hint, .. }
            | Self::NoStageInRuns { hint, .. }
            | Self::NoKeyColumn { hint, .. }
            | Self::NotBlessed { hint, .. } => Some(hint.clone()),
            Self::AmbiguousRun { .. } => Some("give more of the name".to_owned()),
            Self::NoRecord { .. } => Some(
                "run the pipeline again: what was done is kept, and the new run says what each stage ended with"
                    .to_owned(),
            ),
            Self::NotBegun { .. } => {
                Some("run the pipeline again: what is left is submitted with what it is made from now".to_owned())
            }
            Self::NotMade { reference } => Some(format!("make it with `refrain run --target {reference}`")),
            Self::NotFetched { source, .. } => Some(source.hint()),
            Self::AsksNobody { .. } => Some("`refrain kinds` says what each kind does".to_owned()),
            Self::MissingVariables { variables } => Some(variables_hint(variables)),
            Self::NoDevice { .. } => Some(NO_DEVICE.to_owned()),
            Self::Contact(error) => Some(error.hint()),
            Self::Blocked { blocked } => Some(
                blocked
                    .iter()
                    .map(|(stage, failure)| {
                        let chain = std::iter::once(&failure.error).chain(&failure.causes);
                        let chain = chain.map(String::as_str).collect::<Vec<_>>().join(": ");
                        let hint = failure.hint.as_deref().map(|hint| format!(" ({hint})")).unwrap_or_default();
                        format!("{stage}: {chain}{hint}")
                    })
                    .collect::<Vec<_>>()
                    .join("\n"),
            ),
            Self::Sandbox { hint, .. } => hint.clone(),
            Self::Store(_) | Self::Runtime(_) => None,
        }
    }
}

/// What to do where the GPU that was asked for does not work.
const NO_DEVICE: &str = "`--device auto` computes on the processor where there is no GPU, `--device cpu` always";

fn variables_hint(variables: &[MissingVariable]) -> String {
    let lines = variables.iter().map(|variable| {
        let stages = variable.stages.iter().map(|stage| format!("`{stage}`")).collect::<Vec<_>>().join(", ");
        format!("{} is needed by {stages}; {}", variable.name, variable.obtain)
    });
    let mut text = lines.collect::<Vec<_>>().join("\n");
    text.push_str("\nor add `--sandbox` to run against a synthetic world without any account");
    text
}
