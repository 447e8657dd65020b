//! Fetching one artifact: in parts side by side, each of which goes on where it
//! was cut, and verified before it takes its name.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;

use super::bucket::Bucket;
use super::error::{Kind, RemoteError};
use super::names;
use super::progress::Progress;
use crate::store::{Artifact, Incoming, ObjectState, Store};

/// Bytes that one request fetches.
const PART: u64 = 8 * 1024 * 1024;
/// Parts of one artifact in flight at the same time.
const PARTS_IN_FLIGHT: usize = 6;
/// How often in a row a part may break off without a byte.
const ATTEMPTS: u32 = 5;

/// Fetches an artifact into the store, unless it is there. The bytes that came.
pub(super) async fn fetch(
    bucket: Arc<Bucket>,
    store: Store,
    artifact: Artifact,
    progress: Progress,
) -> Result<u64, RemoteError> {
    let name = names::object(&artifact.hash);
    if store.check(&artifact) == ObjectState::Good {
        return Ok(0);
    }
    let incoming = store.incoming(&artifact).map_err(|error| RemoteError::local("keep", &name, &error))?;
    receive(&bucket, &name, artifact.bytes, incoming, &progress).await?;
    Ok(artifact.bytes)
}

/// Fetches a file of that size to where it belongs.
pub(super) async fn receive(
    bucket: &Bucket,
    name: &str,
    size: u64,
    incoming: Incoming,
    progress: &Progress,
) -> Result<(), RemoteError> {
    let local = |error| RemoteError::local("keep", name, &error);
    let file = incoming.file().map_err(local)?;
    Reader { bucket, name, file: &file, size, progress }.read_all().await?;
    match tokio::task::spawn_blocking(move || incoming.finish()).await {
        Ok(Ok(true)) => Ok(()),
        Ok(Ok(false)) => {
            let reason = "its bytes do not have the hash that is its name";
            Err(RemoteError::new(Kind::Damaged, "fetch", name, reason))
        }
        Ok(Err(error)) => Err(local(error)),
        Err(error) => Err(RemoteError::new(Kind::Local, "keep", name, error.to_string())),
    }
}

struct Reader<'a> {
    bucket: &'a Bucket,
    name: &'a str,
    file: &'a File,
    size: u64,
    progress: &'a Progress,
}

impl Reader<'_> {
    async fn read_all(&self) -> Result<(), RemoteError> {
        if self.size <= PART || self.bucket.sends_whole() {
            return self.read_whole().await;
        }
        let starts = (0..self.size).step_by(PART as usize);
        let parts = starts.map(|start| self.read_part(start, (start + PART).min(self.size)));
        let mut reads = futures::stream::iter(parts).buffer_unordered(PARTS_IN_FLIGHT);
        while let Some(read) = reads.next().await {
            match read {
                Err(error) if error.kind == Kind::Unsupported => {
                    drop(reads);
                    self.bucket.note_sends_whole();
                    return self.read_whole().await;
                }
                read => read?,
            }
        }
        Ok(())
    }

    /// Reads from the beginning to the end in one request, and from where it was
    /// cut in further ones, if the server can do that.
    async fn read_whole(&self) -> Result<(), RemoteError> {
        self.read_range(0, self.size, false).await
    }

    async fn read_part(&self, start: u64, end: u64) -> Result<(), RemoteError> {
        self.read_range(start, end, true).await
    }

    /// Reads up to `end`. Of a part every request names its range, of a whole
    /// file only those for what is left.
    async fn read_range(&self, start: u64, end: u64, is_part: bool) -> Result<(), RemoteError> {
        let (mut at, mut failures) = (start, 0);
        loop {
            let before = at;
            let range = (is_part || at > start).then_some(at..end);
            let is_ranged = range.is_some();
            let Err(error) = self.read_once(&mut at, end, range).await else { return Ok(()) };
            let lacks_ranges = error.kind == Kind::Unsupported && is_ranged && !is_part;
            if lacks_ranges {
                self.bucket.note_sends_whole();
            } else if error.kind != Kind::Unreachable {
                return Err(error);
            }
            // Who gets no further, or must begin again each time, gives up in the end.
            let begins_again = !is_part && self.bucket.sends_whole();
            failures = if at > before && !begins_again { 0 } else { failures + 1 };
            if failures >= ATTEMPTS {
                return Err(error);
            }
            if begins_again {
                at = start;
            }
            tokio::time::sleep(Duration::from_millis(100 << failures)).await;
        }
    }

    /// One request. Moves `at` with every byte that is written.
    async fn read_once(&self, at: &mut u64, end: u64, range: Option<std::ops::Range<u64>>) -> Result<(), RemoteError> {
        let cut = |reason: String| RemoteError::new(Kind::Unreachable, "fetch", self.name, reason);
        let mut stream = self.bucket.stream(self.name, range).await?;
        let idle = self.bucket.timeout();
        while let Some(piece) = tokio::time::timeout(idle, stream.next())
            .await
            .map_err(|_| cut(format!("nothing came for {} s", idle.as_secs_f64())))?
        {
            let piece = piece.map_err(|error| RemoteError::of("fetch", self.name, &error))?;
            let bytes = piece.as_ref();
            if *at + bytes.len() as u64 > end {
                return Err(RemoteError::new(Kind::Damaged, "fetch", self.name, "it is longer than it was"));
            }
            self.file
                .write_all_at(bytes, *at)
                .map_err(|error| RemoteError::new(Kind::Local, "keep", self.name, error.to_string()))?;
            *at += bytes.len() as u64;
            self.progress.add(bytes.len() as u64);
        }
        if *at < end { Err(cut("it ended too early".to_owned())) } else { Ok(()) }
    }
}
