//! Why an export was refused or failed.

use std::path::PathBuf;

use crate::engine::EngineError;
use crate::ground::files::FileError;
use crate::table::TableError;

/// Why nothing was exported; what was written so far is gone again.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The pipeline could not be planned.
    #[error("could not tell what the pipeline made")]
    Plan(#[source] EngineError),
    /// There are stages whose results are not there or not up to date.
    #[error("{} of {stages} stages are not up to date: {}", missing.len(), few(missing))]
    NotMade {
        /// How many there are.
        stages: usize,
        /// The instances without a result.
        missing: Vec<String>,
    },
    /// The folder has something in it.
    #[error("`{}` is there and is not an empty folder", path.display())]
    NotEmpty {
        /// The folder.
        path: PathBuf,
    },
    /// Data would be copied in which people have their own names.
    #[error("the stage `{stage}` writes user names as they are, and with --with-data they would be copied")]
    Names {
        /// The instance.
        stage: String,
    },
    /// There is nothing to export.
    #[error("no stage writes a table of metrics")]
    NoMetrics,
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// An artifact could not be read.
    #[error("could not read the result of `{stage}`")]
    Artifact {
        /// The instance.
        stage: String,
        /// Why.
        #[source]
        source: TableError,
    },
}

impl ExportError {
    /// What to do, where something can be done.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Plan(error) => error.hint(),
            Self::NotMade { .. } => Some("run the pipeline first; `refrain plan` says why they are not".to_owned()),
            Self::NotEmpty { .. } => Some("name a folder that is new or empty".to_owned()),
            Self::Names { .. } => {
                Some("run it with `user_names: hashed`, or leave --with-data out (docs/data.md)".to_owned())
            }
            Self::NoMetrics => {
                Some("a table of metrics has the columns `metric` and `value`; `evaluate` writes one".to_owned())
            }
            Self::File(error) => crate::ground::files::disk_hint(error),
            Self::Artifact { .. } => Some("`refrain verify --repair` heals what can be made again".to_owned()),
        }
    }
}

fn few(names: &[String]) -> String {
    const SHOWN: usize = 5;
    match names.len() {
        0..=SHOWN => names.join(", "),
        more => format!("{} and {} more", names[..SHOWN].join(", "), more - SHOWN),
    }
}
