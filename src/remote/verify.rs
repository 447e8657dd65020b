//! Reads everything in a shared store and says what is not as it was written;
//! takes it out there if that is wanted, so that it is made and sent again.

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt;
use serde::Serialize;

use super::error::{Kind, RemoteError};
use super::progress::{Progress, Tell};
use super::{Remote, memo, names, stopped};
use crate::ground::ContentHash;

/// Files that are read at the same time.
const READ_AT_ONCE: usize = 8;
/// How often reading a file is begun.
const ATTEMPTS: u32 = 3;

/// A file of a shared store that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RemoteFinding {
    /// Its name there.
    pub name: String,
    /// What is wrong.
    pub what: String,
    /// What that costs.
    pub cost: String,
    /// Whether it was taken out.
    pub repaired: bool,
}

/// What was read, and what was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RemoteVerification {
    /// Artifacts that were read.
    pub objects: usize,
    /// Segments of the memo that were read.
    pub segments: usize,
    /// The bytes of both.
    pub bytes: u64,
    /// Records of results that were read.
    pub manifests: usize,
    /// What is not as it should be, by name.
    pub findings: Vec<RemoteFinding>,
}

impl Remote {
    /// Reads every artifact, every segment and every record there. `tell` is
    /// told how many bytes have been read so far.
    ///
    /// # Errors
    /// [`RemoteError`] if it cannot be listed or read.
    pub fn verify(&self, tell: Option<Tell>) -> Result<RemoteVerification, RemoteError> {
        let remote = self.clone();
        self.wait(async move { remote.look_at_all(tell).await }).unwrap_or_else(|| Err(stopped("verify")))
    }

    async fn look_at_all(&self, tell: Option<Tell>) -> Result<RemoteVerification, RemoteError> {
        let bucket = &self.inner.bucket;
        let manifests = self.every_manifest().await?;
        let mut files: Vec<(String, ContentHash, u64)> = Vec::new();
        let mut found = RemoteVerification { manifests: manifests.len(), ..RemoteVerification::default() };
        for (name, meta) in bucket.list(names::OBJECTS).await? {
            files.extend(names::hash_of(&name, ".parquet").map(|hash| (name, hash, meta.size)));
        }
        found.objects = files.len();
        for folder in memo::folders() {
            for (name, meta) in bucket.list(&folder).await? {
                files.extend(names::hash_of(&name, ".segment").map(|hash| (name, hash, meta.size)));
            }
        }
        found.segments = files.len() - found.objects;
        found.bytes = files.iter().map(|(_, _, size)| size).sum();
        let there: BTreeMap<ContentHash, u64> = files.iter().map(|(_, hash, size)| (*hash, *size)).collect();
        let progress = Progress::new(tell);
        let read = |(name, hash, _): (String, ContentHash, u64)| {
            let progress = &progress;
            async move { self.hash_there(&name, progress).await.map(|found| (name, hash, found == hash)) }
        };
        let mut reads = futures::stream::iter(files.into_iter().map(read)).buffer_unordered(READ_AT_ONCE);
        let mut bad = BTreeSet::new();
        while let Some(read) = reads.next().await {
            let (name, hash, is_good) = read?;
            if !is_good {
                bad.insert(hash);
                let what = "its bytes do not have the hash that is its name".to_owned();
                let cost = "what uses it is made again, or asked for again".to_owned();
                found.findings.push(RemoteFinding { name, what, cost, repaired: false });
            }
        }
        for (key, manifest) in manifests {
            let what = match manifest {
                Err(why) => Some(format!("the record of a result is damaged: {why}")),
                Ok(manifest) => manifest.outputs.iter().find_map(|(output, artifact)| {
                    let how = match there.get(&artifact.hash) {
                        None => "is gone",
                        Some(_) if bad.contains(&artifact.hash) => "is damaged",
                        Some(size) if *size != artifact.bytes => "has another size",
                        Some(_) => return None,
                    };
                    Some(format!("its output `{output}` ({}) {how}", artifact.hash.short()))
                }),
            };
            let cost = "that result is made again, and sent again, when it is needed".to_owned();
            let name = names::manifest(&key);
            found.findings.extend(what.map(|what| RemoteFinding { name, what, cost, repaired: false }));
        }
        found.findings.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(found)
    }

    /// The hash of a file there.
    async fn hash_there(&self, name: &str, progress: &Progress) -> Result<ContentHash, RemoteError> {
        let mut attempt = 1;
        loop {
            match self.read_once(name, progress).await {
                Err(error) if error.is_unreachable() && attempt < ATTEMPTS => attempt += 1,
                read => return read,
            }
        }
    }

    async fn read_once(&self, name: &str, progress: &Progress) -> Result<ContentHash, RemoteError> {
        let mut hasher = blake3::Hasher::new();
        let mut stream = self.inner.bucket.stream(name, None).await?;
        loop {
            let piece = tokio::time::timeout(self.timeout(), stream.next()).await;
            let late = |_| RemoteError::new(Kind::Unreachable, "read", name, "it stalled");
            let Some(piece) = piece.map_err(late)? else { break };
            let piece = piece.map_err(|error| RemoteError::of("read", name, &error))?;
            hasher.update(piece.as_ref());
            progress.add(piece.as_ref().len() as u64);
        }
        Ok(ContentHash::from(*hasher.finalize().as_bytes()))
    }

    /// Takes out what was found there: records before the artifacts that they
    /// name.
    ///
    /// # Errors
    /// [`RemoteError`] if a file cannot be deleted.
    pub fn repair(&self, verification: &mut RemoteVerification) -> Result<(), RemoteError> {
        for of_records in [true, false] {
            let is_meant = |finding: &RemoteFinding| finding.name.starts_with(names::MANIFESTS) == of_records;
            let findings = &mut verification.findings;
            let names = findings.iter().filter(|finding| is_meant(finding)).map(|finding| finding.name.clone());
            self.delete_all(names.collect())?;
            findings.iter_mut().filter(|finding| is_meant(finding)).for_each(|finding| finding.repaired = true);
        }
        Ok(())
    }
}
