//! What can go wrong between a stage and the network: with one request
//! ([`RowFailure`]) or with a whole provider ([`WebError`]).

use std::sync::Arc;
use std::time::Duration;

use crate::ground::files::FileError;

/// A provider cannot be used at all: the stage cannot go on.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WebError {
    /// No network in this session.
    #[error("this session has no network")]
    Closed,
    /// The run was told to stop.
    #[error("stopped")]
    Cancelled,
    /// The memo has no answer and the run is offline.
    #[error("the memo holds no answer to {request} and this run is offline")]
    Offline {
        /// The request without its secrets.
        request: String,
    },
    /// The provider refuses everything, or has failed too often in a row.
    #[error("{provider} can no longer be asked: {reason}")]
    Stopped {
        /// The provider's name.
        provider: String,
        /// What it answered.
        reason: String,
        /// What to do.
        hint: String,
    },
    /// The provider is down, and the call does not wait for it.
    #[error("{provider} is down")]
    Down {
        /// The provider's name.
        provider: String,
    },
    /// A ceiling of `budgets:` is reached.
    #[error("the budget of `{limiter}` is spent: {what}")]
    Budget {
        /// The limiter's name.
        limiter: String,
        /// Which ceiling, and how much was spent.
        what: String,
    },
    /// The limiter would have to wait longer than a run should.
    #[error("`{limiter}` would have to wait {} for its next request: {why}", human(*wait))]
    TooLong {
        /// The limiter's name.
        limiter: String,
        /// How long.
        wait: Duration,
        /// Which limit, or who asked for it.
        why: String,
    },
    /// A provider has no address, or one that cannot be used.
    #[error("`{provider}` has no usable address: {reason}")]
    Endpoint {
        /// The provider's name.
        provider: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The client itself could not be made.
    #[error("the HTTP client could not be made: {0}")]
    Setup(String),
    /// An answer could not be kept.
    #[error("an answer could not be written to the memo")]
    Memo(#[source] Arc<FileError>),
}

impl WebError {
    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Offline { .. } => Some("run once without --offline; what was fetched before is used again".into()),
            Self::Stopped { hint, .. } => Some(hint.clone()),
            Self::Budget { limiter, .. } => Some(format!(
                "raise `budgets.{limiter}` and run again; what was fetched is kept and not paid for twice"
            )),
            Self::Down { .. } | Self::TooLong { .. } => Some("run again later; what was fetched is kept".into()),
            Self::Memo(_) => Some("check the space and the permissions of the artifacts folder".into()),
            Self::Closed | Self::Cancelled | Self::Endpoint { .. } | Self::Setup(_) => None,
        }
    }
}

/// One request got no usable answer; others may.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct RowFailure {
    /// Why, in a few words and without secrets.
    pub reason: String,
}

impl RowFailure {
    /// A failure with its reason.
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into() }
    }
}

/// Why a call has no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CallError {
    /// Only this request failed: data for a `status` column.
    #[error(transparent)]
    Row(#[from] RowFailure),
    /// The stage cannot go on.
    #[error(transparent)]
    Whole(#[from] WebError),
}

/// A duration for people: `450 ms`, `12 s`, `5 min`, `3 h`.
pub(super) fn human(wait: Duration) -> String {
    match wait.as_secs() {
        0 => format!("{} ms", wait.as_millis()),
        seconds @ 1..=119 => format!("{seconds} s"),
        seconds @ 120..=7199 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_told_in_the_unit_that_people_use() {
        let told = [450, 12_000, 300_000, 10_800_000].map(|ms| human(Duration::from_millis(ms)));
        assert_eq!(told, ["450 ms", "12 s", "5 min", "3 h"]);
    }

    #[test]
    fn a_display_never_prints_its_source() {
        let io = std::io::Error::other("no space");
        let error = WebError::Memo(Arc::new(FileError { action: "write", path: "m".into(), source: io }));
        assert!(!error.to_string().contains("no space"));
        assert!(error.hint().is_some());
    }
}
