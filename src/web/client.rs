//! The client of a run, and the sessions of its stages.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::call::{Answer, Call};
use super::error::{CallError, WebError};
use super::settings::ClientSettings;

/// The HTTP client of one run. Cheap to clone: all clones are the same client.
#[derive(Clone, Debug)]
pub struct Client {
    core: Arc<Core>,
}

#[derive(Debug)]
struct Core {
    settings: ClientSettings,
    requests: AtomicU64,
}

impl Client {
    /// Makes a client. Opens nothing yet: neither sockets nor the memo.
    ///
    /// # Errors
    /// [`WebError`] if a limiter's settings cannot be kept.
    pub fn new(settings: ClientSettings) -> Result<Self, WebError> {
        Ok(Self { core: Arc::new(Core { settings, requests: AtomicU64::new(0) }) })
    }

    /// One stage's access to the network. Answers older than `max_age` are
    /// asked for again; `cancel` ends every wait.
    #[must_use]
    pub fn session(&self, max_age: Option<Duration>, cancel: CancellationToken) -> Session {
        Session { client: Some(self.clone()), max_age, cancel, requests: Arc::default() }
    }

    /// How many requests went over the network.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.core.requests.load(Ordering::Relaxed)
    }

    /// Warnings about the memo since the last call: damage found, once each.
    #[must_use]
    pub fn take_warnings(&self) -> Vec<String> {
        Vec::new()
    }

    /// Makes sure that what was answered is on the disk.
    ///
    /// # Errors
    /// [`WebError::Memo`] if it cannot be.
    pub fn flush(&self) -> Result<(), WebError> {
        Ok(())
    }
}

/// One stage's access to the network. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct Session {
    client: Option<Client>,
    max_age: Option<Duration>,
    cancel: CancellationToken,
    requests: Arc<AtomicU64>,
}

impl Session {
    /// A session that refuses every request: for tests.
    #[must_use]
    pub fn closed() -> Self {
        Self::default()
    }

    /// How many requests went over the network for this session.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Whether a sandbox stands in for the providers: no key is needed then.
    #[must_use]
    pub fn is_sandbox(&self) -> bool {
        self.client.as_ref().is_some_and(|client| client.core.settings.endpoints.sandbox_identity().is_some())
    }

    /// The answer to a call: from the memo if it is there and young enough,
    /// else from the network, within the limits and with retries.
    ///
    /// # Errors
    /// [`CallError::Row`] if only this call failed, [`CallError::Whole`] if the
    /// stage cannot go on.
    #[expect(clippy::unused_async, reason = "the limiters and the memo land next")]
    pub async fn ask(&self, _call: &Call) -> Result<Answer, CallError> {
        Err(WebError::Closed.into())
    }
}
