//! What can go wrong before a sandbox answers its first request.

use std::io;
use std::path::PathBuf;

use crate::ground::files::FileError;

/// A world that could not be made, or servers that could not be started.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The catalog's file cannot be read.
    #[error("could not read the sandbox's catalog")]
    Catalog(#[source] FileError),
    /// The catalog is not a CSV file with a column of artists and one of titles.
    #[error("the sandbox's catalog `{}` {why}", path.display())]
    CatalogShape {
        /// The file as given.
        path: PathBuf,
        /// What it lacks, as the end of a sentence.
        why: String,
        /// What to do about it.
        hint: &'static str,
    },
    /// A setting has a value that no world can have.
    #[error("`{setting}` of the sandbox {why}")]
    Setting {
        /// The setting's name in the YAML.
        setting: &'static str,
        /// What is wrong with it, as the end of a sentence.
        why: &'static str,
    },
    /// The loopback port cannot be had.
    #[error("could not listen on 127.0.0.1:{port}")]
    Listen {
        /// The port asked for; 0 is any.
        port: u16,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The task that generates the world did not come back.
    #[error("the world's generation was stopped: this is a bug")]
    Generation(#[source] tokio::task::JoinError),
}

impl SandboxError {
    /// What to do about it, where there is something to do.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Catalog(_) => Some("`sandbox: catalog:` names a CSV file; leave it away for invented songs"),
            Self::CatalogShape { hint, .. } => Some(hint),
            Self::Setting { .. } | Self::Generation(_) => None,
            Self::Listen { port: 0, .. } => Some("no loopback port could be had: is the network of this machine up?"),
            Self::Listen { .. } => Some("another program may have the port: choose another, or 0 for any"),
        }
    }
}
