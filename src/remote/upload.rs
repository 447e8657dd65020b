//! Sending one result: its artifacts first, then the record that names them, so
//! that nobody ever finds a record whose artifacts are not there. What is there
//! already is not sent again.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use futures::stream::FuturesUnordered;
use futures::{StreamExt, TryStreamExt};
use object_store::PutPayload;

use super::bucket::Bucket;
use super::error::{Kind, RemoteError};
use super::names;
use super::progress::Progress;
use crate::store::{Artifact, Manifest, ObjectState, Store};

/// Artifacts of up to so many bytes are sent in one request.
const WHOLE: u64 = 16 * 1024 * 1024;
/// Bytes of a part; more if there would be too many.
const PART: u64 = 8 * 1024 * 1024;
/// The most parts that servers take.
const MOST_PARTS: u64 = 9_000;
/// Parts of one artifact in flight at the same time.
const PARTS_IN_FLIGHT: usize = 6;
/// Up to so many bytes it is cheaper to send an artifact than to ask first.
const NOT_ASKED: u64 = 64 * 1024;

/// What became of a result that was to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// It is there now, and the bytes of its artifacts that were sent.
    Sent(u64),
    /// The same was there already.
    There,
    /// Another result of the same key was there first, and stays.
    Other,
}

/// What of the shared store is known before something is sent.
#[derive(Debug, Clone, Default)]
pub(super) struct There {
    /// Artifacts that are there, with their sizes, if they were listed.
    pub(super) objects: Option<std::collections::BTreeMap<crate::ground::ContentHash, u64>>,
}

/// Sends a result. With `replace`, another result of the same key gives way:
/// for one that was made again on purpose.
pub(super) async fn push(
    bucket: &Arc<Bucket>,
    store: &Store,
    manifest: &Manifest,
    replace: bool,
    there: &There,
    progress: &Progress,
) -> Result<Pushed, RemoteError> {
    let name = names::manifest(&manifest.key);
    let mut sent = 0;
    let sending = manifest.outputs.values().map(|artifact| send_object(bucket, store, artifact, there, progress));
    let mut sending: FuturesUnordered<_> = sending.collect();
    while let Some(bytes) = sending.try_next().await? {
        sent += bytes;
    }
    let record = manifest.to_record().map_err(|error| RemoteError::local("send", &name, &error))?.into_bytes();
    if bucket.create(&name, record.clone()).await? {
        return Ok(Pushed::Sent(sent));
    }
    let Some(found) = bucket.get(&name).await? else {
        // Somebody took it out meanwhile.
        return bucket.create(&name, record).await.map(|_| Pushed::Sent(sent));
    };
    match Manifest::of_record(found.bytes, &manifest.key) {
        // The same tables made again are younger: for `refresh:` that is news.
        Ok(other) if other == *manifest || (other.outputs == manifest.outputs && !replace) => Ok(Pushed::There),
        Ok(_) if !replace => Ok(Pushed::Other),
        // One that nobody can read is no result.
        _ => match bucket.update(&name, record, &found.version).await? {
            Some(_) => Ok(Pushed::Sent(sent)),
            None => Ok(Pushed::Other),
        },
    }
}

/// Sends an artifact unless it is there. The bytes that were sent.
async fn send_object(
    bucket: &Arc<Bucket>,
    store: &Store,
    artifact: &Artifact,
    there: &There,
    progress: &Progress,
) -> Result<u64, RemoteError> {
    let name = names::object(&artifact.hash);
    let is_there = match &there.objects {
        Some(objects) => objects.get(&artifact.hash) == Some(&artifact.bytes),
        None if artifact.bytes <= NOT_ASKED => false,
        None => bucket.head(&name).await?.is_some_and(|found| found.size == artifact.bytes),
    };
    if is_there {
        return Ok(0);
    }
    let local = |reason: String| RemoteError::new(Kind::Local, "send", &name, reason);
    if store.check(artifact) != ObjectState::Good {
        return Err(local("the artifact is not here as it was written".to_owned()));
    }
    let path = store.object_path(&artifact.hash);
    let file = File::open(&path).map_err(|error| local(error.to_string()))?;
    if artifact.bytes > WHOLE {
        send_parts(bucket, &name, Arc::new(file), artifact.bytes, progress).await?;
        return Ok(artifact.bytes);
    }
    let bytes = read(Arc::new(file), 0, artifact.bytes).await.map_err(local)?;
    if bucket.create(&name, bytes.clone()).await? {
        progress.add(artifact.bytes);
        return Ok(artifact.bytes);
    }
    // The same name is the same content, unless what is there was cut.
    match bucket.head(&name).await? {
        Some(found) if found.size == artifact.bytes => Ok(0),
        _ => {
            bucket.overwrite(&name, bytes).await?;
            Ok(artifact.bytes)
        }
    }
}

async fn send_parts(
    bucket: &Arc<Bucket>,
    name: &str,
    file: Arc<File>,
    size: u64,
    progress: &Progress,
) -> Result<(), RemoteError> {
    let local = |reason: String| RemoteError::new(Kind::Local, "send", name, reason);
    let part = PART.max(size.div_ceil(MOST_PARTS));
    let mut upload = bucket.begin_parts(name).await?;
    let mut in_flight = FuturesUnordered::new();
    let mut at = 0;
    let sent = async {
        while at < size || !in_flight.is_empty() {
            if at < size && in_flight.len() < PARTS_IN_FLIGHT {
                let length = part.min(size - at);
                let bytes = read(Arc::clone(&file), at, length).await.map_err(local)?;
                let sending = upload.put_part(PutPayload::from(bytes));
                in_flight.push(async move { bucket.send(name, length as usize, sending).await.map(|()| length) });
                at += length;
            } else if let Some(length) = in_flight.next().await.transpose()? {
                progress.add(length);
            }
        }
        Ok(())
    };
    let sent: Result<(), RemoteError> = sent.await;
    drop(in_flight);
    match sent {
        Ok(()) => bucket.send(name, size as usize, upload.complete()).await.map(drop),
        Err(error) => {
            // What cannot be taken back now, the bucket's own rules remove.
            drop(bucket.send(name, 0, upload.abort()).await);
            Err(error)
        }
    }
}

/// Reads a range of a file, away from the threads that wait for the network.
async fn read(file: Arc<File>, at: u64, length: u64) -> Result<Vec<u8>, String> {
    let reading = move || {
        let mut bytes = vec![0; length as usize];
        file.read_exact_at(&mut bytes, at).map(|()| bytes)
    };
    match tokio::task::spawn_blocking(reading).await {
        Ok(read) => read.map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    }
}
