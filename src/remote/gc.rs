//! Garbage collection of a shared store: artifacts that no record there names
//! and that have been there for a while. Records of results are never deleted:
//! they are somebody's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use serde::Serialize;

use super::error::{Kind, RemoteError};
use super::{AT_ONCE, Remote, names, stopped};
use crate::ground::ContentHash;
use crate::store::Manifest;

/// How old a claim must be before it counts as left.
const LEFT: Duration = Duration::from_hours(24);

/// A file of a shared store that nothing refers to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RemoteGoing {
    /// Its name there.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// How long it has been there, in seconds, by the server's clock.
    pub age_seconds: u64,
    /// Why it may go.
    pub why: String,
}

/// What of a shared store would go, and what stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RemoteCollection {
    /// What nothing refers to.
    pub going: Vec<RemoteGoing>,
    /// How many records of results there are.
    pub manifests: usize,
    /// How many artifacts stay because a record names them.
    pub kept: usize,
    /// Their bytes.
    pub kept_bytes: u64,
    /// How many are named by no record, but have not been there for long enough.
    pub young: usize,
}

impl RemoteCollection {
    /// The bytes that would be free.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.going.iter().map(|going| going.bytes).sum()
    }
}

impl Remote {
    /// What no record there refers to and has been there for longer than
    /// `grace`. Deletes nothing.
    ///
    /// # Errors
    /// [`RemoteError`] if not everything can be read: what a record that cannot
    /// be read refers to is not known.
    pub fn collectable(&self, grace: Duration) -> Result<RemoteCollection, RemoteError> {
        let remote = self.clone();
        self.wait(async move { remote.look_for_garbage(grace).await }).unwrap_or_else(|| Err(stopped("list")))
    }

    async fn look_for_garbage(&self, grace: Duration) -> Result<RemoteCollection, RemoteError> {
        let bucket = &self.inner.bucket;
        let now = self.server_now().await?;
        // Artifacts first: what comes after is not among them, and the records that are read then name all that was.
        let objects = bucket.list(names::OBJECTS).await?;
        let claims = bucket.list(names::CLAIMS).await?;
        let manifests = self.every_manifest().await?;
        let mut named = BTreeSet::new();
        for (key, read) in &manifests {
            let manifest = read.as_ref().map_err(|why| {
                let reason = format!("{why}, so nobody knows which artifacts it refers to, and nothing is deleted");
                RemoteError::new(Kind::Damaged, "read", &names::manifest(key), reason)
            })?;
            named.extend(manifest.outputs.values().map(|artifact| artifact.hash));
        }
        let age = |modified: i64| u64::try_from(now.saturating_sub(modified) / 1000).unwrap_or(0);
        let mut collection = RemoteCollection { manifests: manifests.len(), ..RemoteCollection::default() };
        for (name, meta) in objects {
            // What is not named by a hash is not ours.
            let Some(hash) = names::hash_of(&name, ".parquet") else { continue };
            let age_seconds = age(meta.last_modified.timestamp_millis());
            if named.contains(&hash) {
                collection.kept += 1;
                collection.kept_bytes += meta.size;
            } else if age_seconds < grace.as_secs() {
                collection.young += 1;
            } else {
                let why = "no result of the shared store has it".to_owned();
                collection.going.push(RemoteGoing { name, bytes: meta.size, age_seconds, why });
            }
        }
        let left = claims.into_iter().map(|(name, meta)| RemoteGoing {
            name,
            bytes: meta.size,
            age_seconds: age(meta.last_modified.timestamp_millis()),
            why: "a run that ended long ago left it".to_owned(),
        });
        collection.going.extend(left.filter(|claim| claim.age_seconds >= LEFT.as_secs()));
        Ok(collection)
    }

    /// Deletes what a collection names, as far as no record has come to refer to
    /// it meanwhile. How many files were deleted.
    ///
    /// # Errors
    /// [`RemoteError`] if one cannot be deleted; what is left is whole.
    pub fn collect(&self, collection: &RemoteCollection, grace: Duration) -> Result<usize, RemoteError> {
        let still: BTreeSet<String> = self.collectable(grace)?.going.into_iter().map(|going| going.name).collect();
        let names = collection.going.iter().map(|going| going.name.clone()).filter(|name| still.contains(name));
        self.delete_all(names.collect())
    }

    /// Deletes files, side by side.
    pub(super) fn delete_all(&self, names: Vec<String>) -> Result<usize, RemoteError> {
        let bucket = Arc::clone(&self.inner.bucket);
        let count = names.len();
        let deleted = self.wait(async move {
            let delete = |name: String| {
                let bucket = Arc::clone(&bucket);
                async move { bucket.delete(&name).await }
            };
            let mut deleting = futures::stream::iter(names.into_iter().map(delete)).buffer_unordered(AT_ONCE);
            while let Some(deleted) = deleting.next().await {
                deleted?;
            }
            Ok(count)
        });
        deleted.unwrap_or_else(|| Err(stopped("delete")))
    }

    /// Every record of a result there; why it cannot be believed if it cannot.
    pub(super) async fn every_manifest(&self) -> Result<BTreeMap<ContentHash, Result<Manifest, String>>, RemoteError> {
        let bucket = &self.inner.bucket;
        let listed = bucket.list(names::MANIFESTS).await?;
        let keys = listed.into_iter().filter_map(|(name, _)| names::hash_of(&name, ".json"));
        let read = |key: ContentHash| async move { (key, bucket.get(&names::manifest(&key)).await) };
        let mut reads = futures::stream::iter(keys.map(read).collect::<Vec<_>>()).buffer_unordered(AT_ONCE);
        let mut found = BTreeMap::new();
        while let Some((key, content)) = reads.next().await {
            if let Some(content) = content? {
                found.insert(key, Manifest::of_record(content.bytes, &key));
            }
        }
        Ok(found)
    }

    async fn server_now(&self) -> Result<i64, RemoteError> {
        let name = format!("{}/clock-{}", names::CLAIMS, std::process::id());
        let bucket = &self.inner.bucket;
        bucket.overwrite(&name, b"{}".to_vec()).await?;
        let found = bucket.head(&name).await?;
        bucket.delete(&name).await?;
        let missing = || RemoteError::new(Kind::Missing, "look at", &name, "it was written just now and is not there");
        Ok(found.ok_or_else(missing)?.last_modified.timestamp_millis())
    }
}
