//! What is in the shared store: results by their keys, and whether artifacts are
//! there. Much is asked for at the same time, and nothing twice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::StreamExt;

use super::{AT_ONCE, Remote, names};
use crate::ground::ContentHash;
use crate::store::{Artifact, Manifest, Store};

impl Remote {
    /// The results of keys, as far as they are there: from the records kept in
    /// `store`, else asked for, all at the same time. A key that was not there
    /// is not asked for again.
    pub fn results(&self, store: &Store, keys: &[ContentHash]) -> BTreeMap<ContentHash, Manifest> {
        let mut found = BTreeMap::new();
        let mut to_ask = Vec::new();
        for key in keys {
            match store.pulled(key, &self.inner.id) {
                Some(manifest) => drop(found.insert(*key, manifest)),
                None if self.known().absent.contains(key) => {}
                None => to_ask.push(*key),
            }
        }
        found.extend(self.ask_for(store, to_ask));
        let mut known = self.known();
        known.named.extend(found.values().flat_map(|manifest| manifest.outputs.values().map(|artifact| artifact.hash)));
        found
    }

    /// The result of a key as it is there now, whatever was known of it.
    #[must_use]
    pub fn result_now(&self, store: &Store, key: &ContentHash) -> Option<Manifest> {
        self.known().absent.remove(key);
        let found = self.ask_for(store, vec![*key]).remove(key)?;
        self.known().named.extend(found.outputs.values().map(|artifact| artifact.hash));
        Some(found)
    }

    /// The result of a key, if a record of it was kept here. Asks nobody.
    #[must_use]
    pub fn kept(&self, store: &Store, key: &ContentHash) -> Option<Manifest> {
        let found = store.pulled(key, &self.inner.id)?;
        self.known().named.extend(found.outputs.values().map(|artifact| artifact.hash));
        Some(found)
    }

    fn ask_for(&self, store: &Store, keys: Vec<ContentHash>) -> BTreeMap<ContentHash, Manifest> {
        if keys.is_empty() {
            return BTreeMap::new();
        }
        let bucket = Arc::clone(&self.inner.bucket);
        let answers = self.wait(async move {
            let ask = |key: ContentHash| {
                let bucket = Arc::clone(&bucket);
                async move { (key, bucket.get(&names::manifest(&key)).await) }
            };
            futures::stream::iter(keys.into_iter().map(ask)).buffer_unordered(AT_ONCE).collect::<Vec<_>>().await
        });
        let mut found = BTreeMap::new();
        for (key, answer) in answers.unwrap_or_default() {
            match answer {
                Ok(Some(content)) => match Manifest::of_record(content.bytes, &key) {
                    Ok(manifest) => {
                        if let Err(error) = self.settle(store, &manifest) {
                            self.inner.bucket.warn(format!("could not keep a record of the shared store: {error}"));
                        }
                        found.insert(key, manifest);
                    }
                    Err(why) => {
                        let name = names::manifest(&key);
                        self.inner.bucket.warn(format!("`{name}` in {} is damaged: {why}", self.shown()));
                        self.known().absent.insert(key);
                    }
                },
                Ok(None) => drop(self.known().absent.insert(key)),
                // The store says once that it cannot be reached.
                Err(_) => {}
            }
        }
        found
    }

    /// Whether an artifact is there, as far as is known: a record from there
    /// names it and it was not found to be lost; else it is asked for.
    #[must_use]
    pub fn has(&self, artifact: &Artifact) -> bool {
        {
            let known = self.known();
            if known.lost.contains(&artifact.hash) {
                return false;
            }
            if known.named.contains(&artifact.hash) {
                return true;
            }
        }
        self.lost_of(std::slice::from_ref(artifact)).is_empty()
    }

    /// Asks for artifacts, all at the same time: those that are not there, not
    /// whole, or not to be reached. What is found is remembered.
    #[must_use]
    pub fn lost_of(&self, artifacts: &[Artifact]) -> Vec<ContentHash> {
        let to_ask: Vec<Artifact> = {
            let known = self.known();
            artifacts.iter().filter(|artifact| !known.lost.contains(&artifact.hash)).cloned().collect()
        };
        let mut lost: BTreeSet<ContentHash> = artifacts.iter().map(|artifact| artifact.hash).collect();
        let bucket = Arc::clone(&self.inner.bucket);
        let answers = self.wait(async move {
            let ask = |artifact: Artifact| {
                let bucket = Arc::clone(&bucket);
                async move {
                    let found = bucket.head(&names::object(&artifact.hash)).await;
                    let is_there = found.ok().flatten().is_some_and(|found| found.size == artifact.bytes);
                    (artifact.hash, is_there)
                }
            };
            futures::stream::iter(to_ask.into_iter().map(ask)).buffer_unordered(AT_ONCE).collect::<Vec<_>>().await
        });
        let mut known = self.known();
        for (hash, is_there) in answers.unwrap_or_default() {
            if is_there {
                lost.remove(&hash);
                known.named.insert(hash);
            }
        }
        known.lost.extend(&lost);
        lost.into_iter().collect()
    }

    /// Forgets a result that was taken to be there; it may be asked for again.
    pub fn forget(&self, store: &Store, key: &ContentHash) {
        if let Err(error) = store.forget_pulled(key, &self.inner.id) {
            self.inner.bucket.warn(format!("could not forget a record of the shared store: {error}"));
        }
    }
}
