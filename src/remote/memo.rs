//! Sharing the memo: segments that nobody writes any more go to the shared
//! store under the hash of their bytes, and come from there when a stage lacks
//! answers or vectors. A segment that was here once does not come again: what
//! was forgotten on purpose stays forgotten.

use std::fs::{self, File};
use std::path::PathBuf;

use futures::StreamExt;

use super::error::{Kind, RemoteError};
use super::progress::Progress;
use super::{Remote, download, names};
use crate::ground::ContentHash;
use crate::store::Store;

/// A segment of fewer bytes holds no record.
const EMPTY: u64 = 64;
/// Segments that are moved at the same time.
const AT_ONCE: usize = 8;

/// What a memo is for: one folder for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// Answers of APIs.
    Answers,
    /// Vectors of texts.
    Vectors,
}

impl Purpose {
    const ALL: [Self; 2] = [Self::Answers, Self::Vectors];

    fn folder(self) -> &'static str {
        match self {
            Self::Answers => "http",
            Self::Vectors => "vectors",
        }
    }
}

/// How many segments were moved, and their bytes.
pub type Segments = (u64, u64);

impl Remote {
    /// Whether the memo is shared as well.
    #[must_use]
    pub fn shares_memo(&self) -> bool {
        self.inner.sharing.memo
    }

    /// Fetches the segments of a purpose that were never here; once for each
    /// purpose in a process. A store that cannot be listed has none.
    ///
    /// # Errors
    /// [`RemoteError`] if it cannot be reached, or a segment is not whole.
    pub fn pull_memo(&self, store: &Store, purpose: Purpose) -> Result<Segments, RemoteError> {
        if !self.shares_memo() || !self.known().memos.insert(purpose) {
            return Ok((0, 0));
        }
        let (remote, store) = (self.clone(), store.clone());
        let pulled = self.wait(async move { remote.fetch_segments(store, purpose).await });
        pulled.unwrap_or(Ok((0, 0)))
    }

    async fn fetch_segments(&self, store: Store, purpose: Purpose) -> Result<Segments, RemoteError> {
        let bucket = &self.inner.bucket;
        let listed = match bucket.list(&format!("{}/{}", names::MEMO, purpose.folder())).await {
            // A plain web server has no lists.
            Err(_) if bucket.is_read_only() => return Ok((0, 0)),
            listed => listed?,
        };
        let to = store.memo_folder().join(purpose.folder());
        let path = |hash: &ContentHash| to.join(format!("{hash}.segment"));
        let wanted = listed.into_iter().filter_map(|(name, meta)| {
            let hash = names::hash_of(&name, ".segment")?;
            let is_new = !store.is_shared(&self.noted_segment(&hash)) && !path(&hash).exists();
            is_new.then_some((hash, name, meta.size))
        });
        let fetch = |(hash, name, size): (ContentHash, String, u64)| {
            let incoming = store.incoming_file(hash, path(&hash));
            let store = &store;
            async move {
                let incoming = incoming.map_err(|error| RemoteError::local("keep", &name, &error))?;
                match download::receive(bucket, &name, size, incoming, &Progress::default()).await {
                    Ok(()) => {
                        store.note_shared(&self.noted_segment(&hash));
                        Ok(size)
                    }
                    // The others are worth having.
                    Err(error) if error.kind == Kind::Damaged => {
                        bucket.warn(format!("{error}; {}", error.hint()));
                        Ok(0)
                    }
                    Err(error) => Err(error),
                }
            }
        };
        let mut fetches = futures::stream::iter(wanted.map(fetch).collect::<Vec<_>>()).buffer_unordered(AT_ONCE);
        let (mut count, mut bytes) = (0, 0);
        while let Some(fetched) = fetches.next().await {
            let size = fetched?;
            count += u64::from(size > 0);
            bytes += size;
        }
        Ok((count, bytes))
    }

    /// Sends the segments that nobody writes any more and that are not there.
    ///
    /// # Errors
    /// [`RemoteError`] if one cannot be sent; the others may have been.
    pub fn push_memo(&self, store: &Store) -> Result<Segments, RemoteError> {
        if !self.shares_memo() {
            return Ok((0, 0));
        }
        let (remote, store) = (self.clone(), store.clone());
        let pushed = self.wait(async move {
            let mut all = (0, 0);
            for purpose in Purpose::ALL {
                let (count, bytes) = remote.send_segments(&store, purpose).await?;
                all = (all.0 + count, all.1 + bytes);
            }
            Ok(all)
        });
        pushed.unwrap_or(Ok((0, 0)))
    }

    async fn send_segments(&self, store: &Store, purpose: Purpose) -> Result<Segments, RemoteError> {
        let candidates = self.candidates(store, purpose);
        if candidates.is_empty() {
            return Ok((0, 0));
        }
        let bucket = &self.inner.bucket;
        let listed = bucket.list(&format!("{}/{}", names::MEMO, purpose.folder())).await?;
        let there: Vec<ContentHash> = listed.iter().filter_map(|(name, _)| names::hash_of(name, ".segment")).collect();
        let send = |path: PathBuf| {
            let there = &there;
            async move {
                let bytes = read(&path)?;
                let hash = ContentHash::of(&bytes);
                let (name, size) = (names::segment(purpose.folder(), &hash), bytes.len() as u64);
                let sent = !there.contains(&hash) && bucket.create(&name, bytes).await?;
                store.note_shared(&self.noted_segment(&hash));
                Ok::<u64, RemoteError>(if sent { size } else { 0 })
            }
        };
        let mut sending = futures::stream::iter(candidates.into_iter().map(send)).buffer_unordered(AT_ONCE);
        let (mut count, mut bytes) = (0, 0);
        while let Some(sent) = sending.next().await {
            let size = sent?;
            count += u64::from(size > 0);
            bytes += size;
        }
        Ok((count, bytes))
    }

    /// Segments that nobody writes and that are not known to be there.
    fn candidates(&self, store: &Store, purpose: Purpose) -> Vec<PathBuf> {
        let folder = store.memo_folder().join(purpose.folder());
        let Ok(entries) = fs::read_dir(&folder) else { return Vec::new() };
        let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        paths.retain(|path| {
            let is_segment = path.extension().is_some_and(|ending| ending == "segment");
            is_segment && is_closed(path) && self.is_news(store, path)
        });
        paths.sort();
        paths
    }

    fn is_news(&self, store: &Store, path: &std::path::Path) -> bool {
        // What cannot be read is a matter of `verify`.
        store.file_hash(path).is_ok_and(|hash| !store.is_shared(&self.noted_segment(&hash)))
    }

    fn noted_segment(&self, hash: &ContentHash) -> String {
        format!("segment:{hash}@{}", self.inner.id)
    }
}

/// Whether a segment holds records and no process writes it: who does holds its lock.
fn is_closed(path: &std::path::Path) -> bool {
    File::open(path).is_ok_and(|file| {
        file.metadata().is_ok_and(|metadata| metadata.len() > EMPTY) && file.try_lock_shared().is_ok()
    })
}

fn read(path: &PathBuf) -> Result<Vec<u8>, RemoteError> {
    let shown = path.display().to_string();
    fs::read(path).map_err(|error| RemoteError::new(Kind::Local, "send", &shown, error.to_string()))
}

/// What a bucket's own files of one purpose are called.
pub(super) fn folders() -> impl Iterator<Item = String> {
    Purpose::ALL.into_iter().map(|purpose| format!("{}/{}", names::MEMO, purpose.folder()))
}
