//! Claims: who makes which result, so that runs on several machines share the
//! work. A claim saves work and decides nothing: where two runs believe that
//! they hold one, both make the same result.
//!
//! A claim is a small file that is only made if it is not there. Its holder
//! writes it anew from time to time; it is dead when it has not changed for as
//! long as it says itself. That is measured by the watcher's own stopwatch, or
//! between two times of the server's clock: no machine's clock is compared with
//! another's.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use object_store::UpdateVersion;
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

use super::bucket::Bucket;
use super::error::RemoteError;
use super::{Remote, THREADS, names};
use crate::ground::ContentHash;
use crate::store::Store;

/// How many signs of life a holder gives while its claim holds.
const BEATS: u32 = 5;

/// What a claim's file says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    /// The run that holds it.
    run: String,
    /// The store that the run works in, by a name that says nothing.
    store: String,
    /// How long it holds without a change, in seconds.
    expires_seconds: u64,
    /// When it was written, by the holder's clock, for people: milliseconds since 1970-01-01 UTC.
    at_millis: u64,
    /// How often the holder has given a sign of life.
    beat: u64,
}

/// What came of an attempt to claim a key.
#[derive(Debug)]
pub enum Claimed {
    /// It is this run's now.
    Mine(Claim),
    /// Another run holds it: its name.
    Busy(String),
    /// Nobody can be asked: the work is done without a claim.
    Unknown,
}

/// A claim that this run holds; it gives signs of life until it is given back
/// or dropped.
#[derive(Debug)]
pub struct Claim {
    remote: Remote,
    key: ContentHash,
    run: String,
    beating: Option<JoinHandle<()>>,
}

/// What this process has seen of others' claims.
#[derive(Debug, Default)]
struct Watched(Mutex<BTreeMap<String, (Vec<u8>, Instant)>>);

static WATCHED: OnceLock<Watched> = OnceLock::new();

impl Watched {
    /// For how long a claim has been seen not to change.
    fn unchanged_for(&self, name: &str, bytes: &[u8]) -> Duration {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match seen.get(name) {
            Some((before, since)) if before == bytes => since.elapsed(),
            _ => {
                seen.insert(name.to_owned(), (bytes.to_vec(), Instant::now()));
                Duration::ZERO
            }
        }
    }
}

impl Remote {
    /// Claims a key for a run, unless another that lives holds it. The caller
    /// holds the key's lock in its own store, so that a claim of the same store's
    /// is that of a run which has died.
    #[must_use]
    pub fn claim(&self, store: &Store, key: &ContentHash, run: &str, now_millis: u64) -> Claimed {
        let (bucket, name) = (Arc::clone(&self.inner.bucket), names::claim(key));
        let place = format!("{}/{name}", self.inner.id);
        let expires = self.inner.sharing.claims_expire;
        let record = Record {
            run: run.to_owned(),
            store: store.identity(),
            expires_seconds: expires.as_secs(),
            at_millis: now_millis,
            beat: 0,
        };
        let attempt = self.wait(async move {
            let taken = take(&bucket, &name, &place, &record).await;
            (taken, bucket, name, record)
        });
        match attempt {
            Some((Ok(None), bucket, name, record)) => {
                let beating = self.spawn(beat(bucket, name, record, expires / BEATS));
                Claimed::Mine(Claim { remote: self.clone(), key: *key, run: run.to_owned(), beating })
            }
            Some((Ok(Some(holder)), ..)) => Claimed::Busy(holder),
            Some((Err(_), ..)) | None => Claimed::Unknown,
        }
    }
}

impl Claim {
    /// Gives the claim back, from a task.
    pub(super) async fn release(mut self) {
        if let Some(beating) = self.beating.take() {
            beating.abort();
            give_back(&self.remote.inner.bucket, &names::claim(&self.key), &self.run).await;
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let Some(beating) = self.beating.take() else { return };
        beating.abort();
        let (bucket, name, run) =
            (Arc::clone(&self.remote.inner.bucket), names::claim(&self.key), std::mem::take(&mut self.run));
        let giving_back = async move { give_back(&bucket, &name, &run).await };
        // A thread that waits for the network must not wait for another of them.
        if std::thread::current().name() == Some(THREADS) {
            drop(self.remote.spawn(giving_back));
        } else {
            self.remote.wait(giving_back);
        }
    }
}

/// Takes a claim; gives its holder if it is another's.
async fn take(bucket: &Bucket, name: &str, place: &str, record: &Record) -> Result<Option<String>, RemoteError> {
    let bytes = serde_json::to_vec(record).unwrap_or_default();
    for _ in 0..2 {
        if bucket.create(name, bytes.clone()).await? {
            return Ok(None);
        }
        let Some(found) = bucket.get(name).await? else { continue };
        let Ok(other) = serde_json::from_slice::<Record>(&found.bytes) else {
            // Nobody can hold what nobody can read.
            return taken_over(bucket, name, bytes, &found.version).await;
        };
        if other.run == record.run {
            // Ours: only the answer was lost.
            return Ok(None);
        }
        let holds = Duration::from_secs(other.expires_seconds);
        let mut is_dead = other.store == record.store;
        is_dead |= WATCHED.get_or_init(Watched::default).unchanged_for(place, &found.bytes) >= holds;
        if !is_dead && let Some(now) = server_now(bucket, &record.run).await {
            let age = u64::try_from(now.saturating_sub(found.modified)).unwrap_or(0);
            is_dead = Duration::from_millis(age) >= holds;
        }
        return if is_dead {
            Ok(taken_over(bucket, name, bytes, &found.version).await?.map(|_| other.run))
        } else {
            Ok(Some(other.run))
        };
    }
    Ok(Some("another run".to_owned()))
}

async fn taken_over(
    bucket: &Bucket,
    name: &str,
    bytes: Vec<u8>,
    version: &UpdateVersion,
) -> Result<Option<String>, RemoteError> {
    let taken = bucket.update(name, bytes, version).await?;
    Ok(if taken.is_some() { None } else { Some("another run".to_owned()) })
}

/// What the server's clock says: the time at which it says that a file was
/// written just now. Milliseconds since 1970-01-01 UTC.
async fn server_now(bucket: &Bucket, run: &str) -> Option<i64> {
    let name = format!("{}/clock-{run}", names::CLAIMS);
    bucket.overwrite(&name, b"{}".to_vec()).await.ok()?;
    let found = bucket.head(&name).await.ok().flatten();
    bucket.delete(&name).await.ok();
    found.map(|found| found.last_modified.timestamp_millis())
}

/// Gives signs of life, until the claim is another's.
async fn beat(bucket: Arc<Bucket>, name: String, mut record: Record, pause: Duration) {
    loop {
        tokio::time::sleep(pause).await;
        let Ok(found) = bucket.get(&name).await else { continue };
        let Some(found) = found else { return };
        let is_ours = serde_json::from_slice::<Record>(&found.bytes).is_ok_and(|there| there.run == record.run);
        if !is_ours {
            return;
        }
        record.beat += 1;
        let bytes = serde_json::to_vec(&record).unwrap_or_default();
        // One that does not come through is followed by the next.
        bucket.update(&name, bytes, &found.version).await.ok();
    }
}

/// Removes a claim if it is still this run's.
async fn give_back(bucket: &Bucket, name: &str, run: &str) {
    if let Ok(Some(found)) = bucket.get(name).await
        && serde_json::from_slice::<Record>(&found.bytes).is_ok_and(|there| there.run == run)
    {
        bucket.delete(name).await.ok();
    }
}
