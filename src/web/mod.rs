//! The only HTTP client: limiters, retries, the memo of answers, and the
//! providers' parsers. Knows nothing of stages.

mod download;
mod limits;

use std::time::Duration;

pub use download::{DownloadError, download};
pub use limits::{BudgetSettings, LimiterSettings};

/// Placeholder until the client lands.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    /// No network in this session.
    #[error("this session has no network")]
    Closed,
}

/// One stage's access to the network.
#[derive(Clone, Debug, Default)]
pub struct Session {
    /// The oldest answer that may be taken from the memo.
    pub max_age: Option<Duration>,
}

impl Session {
    /// A session that refuses every request: for tests.
    #[must_use]
    pub fn closed() -> Self {
        Self::default()
    }
}
