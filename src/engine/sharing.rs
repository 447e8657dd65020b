//! What one run does with the shared store: claims work before it is done,
//! fetches what a stage reads, and sends what was made.
//!
//! Nothing here fails a run but a stage whose inputs can be had nowhere.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::options::Failure;
use crate::ground::ContentHash;
use crate::remote::{Claim, Claimed, Moved, Purpose, PushEnd, PushQueue, Remote, Tell};
use crate::stage::{Known, RowWork};
use crate::store::{Artifact, Manifest, ObjectState, Store};

/// The shared store as one run uses it.
pub(super) struct Sharing {
    pub(super) remote: Remote,
    store: Store,
    queue: PushQueue,
    run: String,
    before: Moved,
}

/// What was moved between a run and the shared store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shared {
    /// Where the shared store is.
    pub remote: String,
    /// How many results were taken from there.
    pub pulled: usize,
    /// How many artifacts were fetched from there.
    pub pulled_artifacts: u64,
    /// Their bytes.
    pub pulled_bytes: u64,
    /// How many results were sent there.
    pub pushed: u64,
    /// The bytes of their artifacts.
    pub pushed_bytes: u64,
    /// How many results could not be sent.
    pub not_pushed: usize,
}

impl Shared {
    /// Whether there is nothing to tell.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.pulled == 0 && self.pulled_artifacts == 0 && self.pushed == 0 && self.not_pushed == 0
    }
}

/// A table that a stage reads, and the result that has it.
pub(super) struct Need {
    pub(super) producer: Arc<Manifest>,
    pub(super) artifact: Artifact,
}

/// What came of claiming a key.
pub(super) enum Turn {
    /// It is this run's to make.
    Ours(Option<Claim>),
    /// It is there: another machine has made it.
    Made(Box<Manifest>),
    /// Another machine is making it.
    Theirs,
}

impl Sharing {
    /// For the run of that name.
    pub(super) fn new(remote: &Remote, store: &Store, run: String) -> Self {
        let queue = PushQueue::new(remote, store);
        Self { remote: remote.clone(), store: store.clone(), queue, run, before: remote.moved() }
    }

    /// Claims a key. `refused` is when the result was made that is not to be taken.
    pub(super) fn turn(&self, key: &ContentHash, refused: Option<u64>, now_millis: u64) -> Turn {
        if !self.remote.claims() || self.remote.is_down() {
            return Turn::Ours(None);
        }
        let made = || {
            let manifest = self.remote.result_now(&self.store, key)?;
            let is_meant = refused.is_none_or(|refused| manifest.made_at_millis > refused);
            (is_meant && manifest.outputs.values().all(|artifact| self.remote.has(artifact)))
                .then(|| Box::new(manifest))
        };
        match self.remote.claim(&self.store, key, &self.run, now_millis) {
            // It may have been made between the plan and the claim.
            Claimed::Mine(claim) => made().map_or(Turn::Ours(Some(claim)), Turn::Made),
            Claimed::Busy(_) => made().map_or(Turn::Theirs, Turn::Made),
            Claimed::Unknown => Turn::Ours(None),
        }
    }

    /// Fetches what a stage reads and is not here.
    ///
    /// # Errors
    /// A [`Failure`] if something can be had nowhere.
    pub(super) fn fetch(
        &self,
        needs: &[Need],
        note: impl Fn(&str) + Send + Sync + 'static,
        cancel: &CancellationToken,
    ) -> Result<(), Failure> {
        let is_absent = |need: &&Need| self.store.check(&need.artifact) != ObjectState::Good;
        let absent: Vec<&Need> = needs.iter().filter(is_absent).collect();
        if absent.is_empty() {
            return Ok(());
        }
        let mut artifacts: Vec<Artifact> = absent.iter().map(|need| need.artifact.clone()).collect();
        artifacts.sort_by_key(|artifact| artifact.hash);
        artifacts.dedup_by_key(|artifact| artifact.hash);
        let total: u64 = artifacts.iter().map(|artifact| artifact.bytes).sum();
        let megabytes = |bytes: u64| format!("{:.1} MB", bytes as f64 / 1e6);
        note(&format!("fetching {} from the shared store", megabytes(total)));
        let tell: Tell = Arc::new(move |moved| note(&format!("fetched {} of {}", megabytes(moved), megabytes(total))));
        self.remote.fetch(&self.store, artifacts, Some(tell), cancel).map_err(|error| Failure {
            error: format!("could not get what it reads from the shared store {}", self.remote.shown()),
            causes: vec![error.to_string()],
            hint: Some(format!("run again: what cannot be had is then made here; or {}", error.hint())),
        })?;
        for need in absent {
            // A record that stays among the pulled ones is found there.
            self.remote.settle(&self.store, &need.producer).ok();
        }
        Ok(())
    }

    /// Fetches the answers or vectors that a stage may lack; whether some came.
    pub(super) fn bring_memo(&self, known: Option<Known>, asks: bool) -> bool {
        let purpose = match known {
            Some(known) if known.left == 0 => return false,
            Some(known) if known.work == RowWork::Embed => Purpose::Vectors,
            None if !asks => return false,
            _ => Purpose::Answers,
        };
        // What does not come is asked for, or computed: the store has said why.
        self.remote.pulls() && self.remote.pull_memo(&self.store, purpose).is_ok_and(|(segments, _)| segments > 0)
    }

    /// Sends a result that was just made, behind the run's back.
    pub(super) fn made(&self, manifest: &Arc<Manifest>, replace: bool, claim: Option<Claim>) {
        if self.remote.pushes() {
            self.queue.add(Arc::clone(manifest), replace, claim);
        }
    }

    /// Waits until all is sent, and sends what an earlier run could not. Gives
    /// what was moved and what the user should know.
    pub(super) fn finish(
        &self,
        results: &[Arc<Manifest>],
        has_run: bool,
        cancel: &CancellationToken,
    ) -> (Shared, Vec<String>) {
        let mut end = self.queue.finish(cancel);
        let mut warnings = Vec::new();
        if self.remote.pushes() && !cancel.is_cancelled() && !self.remote.is_down() {
            self.send_rest(results, &mut end);
            if has_run && let Err(error) = self.remote.push_memo(&self.store) {
                warnings.push(format!("the memo was not shared: {error}"));
            }
        }
        warnings.extend(self.remote.take_warnings());
        warnings.extend(told(&end, self.remote.shown()));
        let (now, before) = (self.remote.moved(), self.before);
        let shared = Shared {
            remote: self.remote.shown().to_owned(),
            pulled: 0,
            pulled_artifacts: now.pulled_artifacts - before.pulled_artifacts,
            pulled_bytes: now.pulled_bytes - before.pulled_bytes,
            pushed: now.pushed_results - before.pushed_results,
            pushed_bytes: now.pushed_bytes - before.pushed_bytes,
            not_pushed: end.failed,
        };
        (shared, warnings)
    }

    /// What was here already and is not known to be there.
    fn send_rest(&self, results: &[Arc<Manifest>], end: &mut PushEnd) {
        let rest: Vec<Manifest> = results
            .iter()
            .filter(|manifest| !self.remote.is_shared(&self.store, &manifest.key))
            .map(|manifest| manifest.as_ref().clone())
            .collect();
        if rest.is_empty() {
            return;
        }
        // What was tried before is tried once more, and counts once.
        end.failed = 0;
        end.why = None;
        let names: Vec<String> = rest.iter().map(|manifest| manifest.instance.clone()).collect();
        for (name, pushed) in names.into_iter().zip(self.remote.push(&self.store, rest, false, None)) {
            end.add(name, pushed);
        }
    }
}

/// What a user should know of what was sent.
fn told(end: &PushEnd, remote: &str) -> Vec<String> {
    let mut told = Vec::new();
    if end.failed > 0 {
        let results = if end.failed == 1 { "1 result was".to_owned() } else { format!("{} results were", end.failed) };
        let why = end.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        told.push(format!(
            "{results} not sent to {remote}{why}; `refrain push`, or the next run, sends what is not there"
        ));
    }
    if !end.others.is_empty() {
        told.push(format!(
            "{remote} had another result already of {}, which stays there; `refrain push --force` replaces it",
            end.others.join(", ")
        ));
    }
    told
}
