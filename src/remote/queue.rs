//! Sending results while a run goes on: a few at a time, behind its back. A
//! failure never fails the run; what was not sent is told at its end.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::progress::Progress;
use super::upload::{Pushed, There};
use super::{Claim, Remote, RemoteError};
use crate::store::{Manifest, Store};

/// Results that are sent at the same time.
const AT_ONCE: usize = 4;
/// How long a run that was stopped waits for what is being sent.
const LAST_SENDS: Duration = Duration::from_secs(10);

/// An instance, and what became of its result.
type Sent = (String, Result<Pushed, RemoteError>);

/// The results of one run on their way.
pub struct PushQueue {
    remote: Remote,
    store: Store,
    slots: Arc<Semaphore>,
    sending: Mutex<Vec<JoinHandle<Sent>>>,
}

/// What became of the results of a run that were to be sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PushEnd {
    /// How many could not be sent, and why the first could not.
    pub failed: usize,
    /// Why the first of them could not be sent.
    pub why: Option<RemoteError>,
    /// The stages for whose keys another result was there first.
    pub others: Vec<String>,
}

impl PushEnd {
    /// Takes in what became of one result.
    pub fn add(&mut self, stage: String, pushed: Result<Pushed, RemoteError>) {
        match pushed {
            Ok(Pushed::Other) => self.others.push(stage),
            Ok(Pushed::Sent(_) | Pushed::There) => {}
            Err(error) => {
                self.failed += 1;
                self.why.get_or_insert(error);
            }
        }
    }
}

impl PushQueue {
    /// A queue of nothing.
    #[must_use]
    pub fn new(remote: &Remote, store: &Store) -> Self {
        let slots = Arc::new(Semaphore::new(AT_ONCE));
        Self { remote: remote.clone(), store: store.clone(), slots, sending: Mutex::default() }
    }

    /// Sends a result soon. A claim on its key is given back once it is there:
    /// then others find the result. With `replace` another result gives way.
    pub fn add(&self, manifest: Arc<Manifest>, replace: bool, claim: Option<Claim>) {
        let (remote, store, slots) = (self.remote.clone(), self.store.clone(), Arc::clone(&self.slots));
        let sending = self.remote.spawn(async move {
            let _slot = slots.acquire().await;
            let pushed = remote.push_one(&store, &manifest, replace, &There::default(), &Progress::default()).await;
            if let Some(claim) = claim {
                claim.release().await;
            }
            (manifest.instance.clone(), pushed)
        });
        self.sending.lock().unwrap_or_else(PoisonError::into_inner).extend(sending);
    }

    /// How many have not been sent yet.
    #[must_use]
    pub fn left(&self) -> usize {
        let sending = self.sending.lock().unwrap_or_else(PoisonError::into_inner);
        sending.iter().filter(|sending| !sending.is_finished()).count()
    }

    /// Waits until all are sent, or for a short while if the run was stopped.
    #[must_use]
    pub fn finish(&self, cancel: &CancellationToken) -> PushEnd {
        let sending = std::mem::take(&mut *self.sending.lock().unwrap_or_else(PoisonError::into_inner));
        if sending.is_empty() {
            return PushEnd::default();
        }
        let cancel = cancel.clone();
        let finished = self.remote.wait(async move {
            let mut end = PushEnd::default();
            let stopped = async {
                cancel.cancelled().await;
                tokio::time::sleep(LAST_SENDS).await;
            };
            tokio::pin!(stopped);
            for mut one in sending {
                tokio::select! {
                    pushed = &mut one => match pushed {
                        Ok((stage, pushed)) => end.add(stage, pushed),
                        Err(_) => end.failed += 1,
                    },
                    () = &mut stopped => {
                        one.abort();
                        end.failed += 1;
                    }
                }
            }
            end
        });
        finished.unwrap_or_default()
    }
}
