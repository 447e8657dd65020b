//! A store that a lab shares, beside the one in the artifacts folder: results
//! are taken from there when they are needed and not here, and sent there when
//! they are made ([decisions 7](../../docs/decisions/0007-shared-stores.md)).
//!
//! The truth is in the files there, laid out as a store's own folder is. A
//! record of a result is written after the artifacts that it names, artifacts
//! and segments of the memo are named by their content, and everything is
//! written only if it is not there: any number of writers need no lock. What
//! comes from there is believed only with the right hash.
//!
//! All calls wait for their answer and may be made from any thread. A server
//! that does not answer is waited for once; then calls fail at once for a while.

mod address;
mod bucket;
mod claims;
mod download;
mod error;
mod gc;
mod look;
mod memo;
mod names;
mod profile;
mod progress;
mod queue;
mod settings;
#[cfg(test)]
mod tests;
mod upload;
mod verify;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, mpsc};
use std::time::Duration;

use futures::StreamExt;
use tokio_util::sync::CancellationToken;

use crate::ground::ContentHash;
use crate::store::{Artifact, Manifest, Store, StoreError};

pub use address::check_address;
pub use claims::{Claim, Claimed};
pub use error::RemoteError;
pub use gc::{RemoteCollection, RemoteGoing};
pub use memo::{Purpose, Segments};
pub use progress::Tell;
pub use queue::{PushEnd, PushQueue};
pub use settings::{Pull, Push, Sharing, StoreSettings};
pub use upload::Pushed;
pub use verify::{RemoteFinding, RemoteVerification};

use address::Address;
use bucket::Bucket;
use error::Kind;
use progress::Progress;
use upload::There;

/// Results that are asked for, or sent, at the same time.
const AT_ONCE: usize = 32;
/// Artifacts that are fetched at the same time.
const FETCHED_AT_ONCE: usize = 32;
/// What the threads are called that wait for the network.
const THREADS: &str = "shared store";
/// From so many results on, what is there is listed before they are sent.
const WORTH_A_LIST: usize = 20;

/// A shared store. Clones are handles on the same.
#[derive(Clone)]
pub struct Remote {
    inner: Arc<Inner>,
}

struct Inner {
    bucket: Arc<Bucket>,
    sharing: Sharing,
    id: String,
    /// Made when it is needed; none if the system refuses.
    runtime: OnceLock<Option<tokio::runtime::Runtime>>,
    known: Mutex<Known>,
    pulled_bytes: AtomicU64,
    pulled_artifacts: AtomicU64,
    pushed_bytes: AtomicU64,
    pushed_results: AtomicU64,
}

/// What is known of the shared store in this process.
#[derive(Default)]
struct Known {
    /// Keys that were asked for and are not there.
    absent: BTreeSet<ContentHash>,
    /// Artifacts that records from there name.
    named: BTreeSet<ContentHash>,
    /// Artifacts that were found not to be there, or not whole.
    lost: BTreeSet<ContentHash>,
    /// Purposes whose segments were fetched.
    memos: BTreeSet<Purpose>,
}

/// What was moved so far, in this process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Moved {
    /// Artifacts that were fetched.
    pub pulled_artifacts: u64,
    /// Their bytes.
    pub pulled_bytes: u64,
    /// Results that were sent.
    pub pushed_results: u64,
    /// The bytes of their artifacts.
    pub pushed_bytes: u64,
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Remote").field("at", &self.inner.bucket.shown()).finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // It may be dropped on a thread that must not wait.
        if let Some(Some(runtime)) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Remote {
    /// Opens the shared store. Asks nobody yet.
    ///
    /// # Errors
    /// [`RemoteError`] if the address is none.
    pub fn open(sharing: Sharing) -> Result<Self, RemoteError> {
        let address = Address::parse(&sharing.remote).map_err(|(what, hint)| {
            RemoteError::new(Kind::Missing, "use", "the shared store", format!("{what}; {hint}"))
        })?;
        let inner = Inner {
            bucket: Arc::new(Bucket::new(&address, sharing.timeout)),
            sharing,
            id: address.id(),
            runtime: OnceLock::new(),
            known: Mutex::default(),
            pulled_bytes: AtomicU64::new(0),
            pulled_artifacts: AtomicU64::new(0),
            pushed_bytes: AtomicU64::new(0),
            pushed_results: AtomicU64::new(0),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The address, for people.
    #[must_use]
    pub fn shown(&self) -> &str {
        self.inner.bucket.shown()
    }

    /// Whether results are taken from there when they are needed.
    #[must_use]
    pub fn pulls(&self) -> bool {
        self.inner.sharing.pull == Pull::Auto
    }

    /// Whether results are sent there when they are made.
    #[must_use]
    pub fn pushes(&self) -> bool {
        self.inner.sharing.push == Push::OnSuccess && !self.inner.bucket.is_read_only()
    }

    /// Whether work is claimed there before it is done.
    #[must_use]
    pub fn claims(&self) -> bool {
        self.inner.sharing.claims && self.pulls() && self.pushes()
    }

    /// Whether it did not answer, and is not asked for a while.
    #[must_use]
    pub fn is_down(&self) -> bool {
        self.inner.bucket.is_down()
    }

    /// What the user should know since the last call.
    #[must_use]
    pub fn take_warnings(&self) -> Vec<String> {
        self.inner.bucket.take_warnings()
    }

    /// What was moved so far, in this process.
    #[must_use]
    pub fn moved(&self) -> Moved {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Moved {
            pulled_artifacts: read(&self.inner.pulled_artifacts),
            pulled_bytes: read(&self.inner.pulled_bytes),
            pushed_results: read(&self.inner.pushed_results),
            pushed_bytes: read(&self.inner.pushed_bytes),
        }
    }

    /// Fetches those of the artifacts that are not here, side by side. `tell` is
    /// told how many bytes have come so far.
    ///
    /// # Errors
    /// [`RemoteError`] of the first that could not be had; others may have come.
    pub fn fetch(
        &self,
        store: &Store,
        artifacts: Vec<Artifact>,
        tell: Option<Tell>,
        cancel: &CancellationToken,
    ) -> Result<(), RemoteError> {
        let (bucket, store) = (Arc::clone(&self.inner.bucket), store.clone());
        let (progress, cancel) = (Progress::new(tell), cancel.clone());
        let fetched = self.wait(async move {
            let fetch = |artifact: Artifact| {
                let (bucket, store, progress) = (Arc::clone(&bucket), store.clone(), progress.clone());
                async move { download::fetch(bucket, store, artifact, progress).await }
            };
            let mut fetches = futures::stream::iter(artifacts.into_iter().map(fetch)).buffer_unordered(FETCHED_AT_ONCE);
            let (mut count, mut bytes) = (0, 0);
            loop {
                tokio::select! {
                    () = cancel.cancelled() => {
                        return Err(RemoteError::new(Kind::Local, "fetch", "artifacts", "the run was stopped"));
                    }
                    next = fetches.next() => match next {
                        Some(fetched) => {
                            let came = fetched?;
                            count += u64::from(came > 0);
                            bytes += came;
                        }
                        None => return Ok((count, bytes)),
                    }
                }
            }
        });
        let (count, bytes) = fetched.unwrap_or_else(|| Err(stopped("fetch")))?;
        self.inner.pulled_artifacts.fetch_add(count, Ordering::Relaxed);
        self.inner.pulled_bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    /// After artifacts were fetched: the record becomes this store's own, once
    /// all of its artifacts are here.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be written.
    pub fn settle(&self, store: &Store, manifest: &Manifest) -> Result<bool, StoreError> {
        let is_here = store.keep_pulled(manifest, &self.inner.id)?;
        if is_here {
            self.note_shared(store, &manifest.key);
        }
        Ok(is_here)
    }

    /// Whether a result is known to be there: it came from there, or was sent.
    #[must_use]
    pub fn is_shared(&self, store: &Store, key: &ContentHash) -> bool {
        store.is_shared(&self.noted(key)) || store.pulled(key, &self.inner.id).is_some()
    }

    fn noted(&self, key: &ContentHash) -> String {
        format!("{key}@{}", self.inner.id)
    }

    /// Notes that a result is there.
    pub fn note_shared(&self, store: &Store, key: &ContentHash) {
        if !store.is_shared(&self.noted(key)) {
            store.note_shared(&self.noted(key));
        }
    }

    /// Sends results, side by side, what is there already not again. With
    /// `replace` other results of the same keys give way. Gives what became of
    /// each, in the order given; `tell` is told how many bytes were sent so far.
    pub fn push(
        &self,
        store: &Store,
        manifests: Vec<Manifest>,
        replace: bool,
        tell: Option<Tell>,
    ) -> Vec<Result<Pushed, RemoteError>> {
        let remote = self.clone();
        let (store, progress, count) = (store.clone(), Progress::new(tell), manifests.len());
        let pushed = self.wait(async move {
            let there = remote.listed(count).await;
            let push = |manifest: Manifest| {
                let (remote, store, progress, there) = (&remote, &store, &progress, &there);
                async move { remote.push_one(store, &manifest, replace, there, progress).await }
            };
            futures::stream::iter(manifests.into_iter().map(push)).buffered(AT_ONCE).collect::<Vec<_>>().await
        });
        pushed.unwrap_or_else(|| (0..count).map(|_| Err(stopped("send"))).collect())
    }

    /// What is there, if so much is to be sent that listing it is cheaper than asking.
    async fn listed(&self, count: usize) -> There {
        if count < WORTH_A_LIST {
            return There::default();
        }
        // Where it cannot be listed, each is asked for.
        let listed = self.inner.bucket.list(names::OBJECTS).await.ok();
        let objects = listed.map(|listed| {
            let of = |(name, meta): (String, object_store::ObjectMeta)| {
                Some((names::hash_of(&name, ".parquet")?, meta.size))
            };
            listed.into_iter().filter_map(of).collect()
        });
        There { objects }
    }

    async fn push_one(
        &self,
        store: &Store,
        manifest: &Manifest,
        replace: bool,
        there: &There,
        progress: &Progress,
    ) -> Result<Pushed, RemoteError> {
        let pushed = upload::push(&self.inner.bucket, store, manifest, replace, there, progress).await?;
        if let Pushed::Sent(bytes) = pushed {
            self.inner.pushed_results.fetch_add(1, Ordering::Relaxed);
            self.inner.pushed_bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        self.note_shared(store, &manifest.key);
        Ok(pushed)
    }

    /// Waits for what the shared store's own threads do; none if they are gone.
    fn wait<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> Option<T> {
        let (sender, receiver) = mpsc::channel();
        drop(self.runtime()?.spawn(async move { sender.send(future.await).ok() }));
        receiver.recv().ok()
    }

    /// Has something done without waiting for it.
    fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Option<tokio::task::JoinHandle<T>> {
        Some(self.runtime()?.spawn(future))
    }

    fn runtime(&self) -> Option<&tokio::runtime::Runtime> {
        let make = || {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            builder.worker_threads(4).thread_name(THREADS).enable_all().build().ok()
        };
        self.inner.runtime.get_or_init(make).as_ref()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.inner.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn timeout(&self) -> Duration {
        self.inner.sharing.timeout
    }
}

/// The error where the threads that would do it are gone.
fn stopped(action: &str) -> RemoteError {
    RemoteError::new(Kind::Local, action, "results", "the threads that do it have ended")
}
