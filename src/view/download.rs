//! An artifact as a file: only what a manifest of the pipeline names, and
//! piece by piece, whatever its size.

use std::io;
use std::path::{Path, PathBuf};

use futures::Stream;
use tokio::fs::File;
use tokio::io::AsyncReadExt;

use super::project::Project;
use crate::ground::ContentHash;
use crate::store::ObjectState;

/// How much is sent at once, in bytes.
const PIECE: usize = 256 << 10;

/// A file to be sent.
pub(super) struct Found {
    pub(super) path: PathBuf,
    /// What the browser calls it.
    pub(super) name: String,
    pub(super) bytes: u64,
}

/// The artifact of that hash, if an instance of the pipeline made it last and
/// it is whole.
pub(super) fn find(project: &Project, hash: &str) -> Option<Found> {
    let hash: ContentHash = hash.strip_suffix(".parquet")?.parse().ok()?;
    for (index, instance) in project.pipeline.instances.iter().enumerate() {
        let Some(manifest) = project.manifest(None, index) else { continue };
        if let Some((output, artifact)) = manifest.outputs.iter().find(|(_, artifact)| artifact.hash == hash) {
            if project.store.check(artifact) != ObjectState::Good {
                return None;
            }
            let name = format!("{}.{output}.parquet", instance.id);
            return Some(Found { path: project.store.object_path(&hash), name, bytes: artifact.bytes });
        }
    }
    None
}

/// The bytes of a file.
///
/// # Errors
/// If it cannot be opened.
pub(super) async fn stream(path: &Path) -> io::Result<impl Stream<Item = io::Result<Vec<u8>>> + Send + use<>> {
    let file = File::open(path).await?;
    Ok(futures::stream::unfold(Some(file), |file| async move {
        let mut file = file?;
        let mut piece = Vec::with_capacity(PIECE);
        match (&mut file).take(PIECE as u64).read_to_end(&mut piece).await {
            Ok(0) => None,
            Ok(_) => Some((Ok(piece), Some(file))),
            Err(error) => Some((Err(error), None)),
        }
    }))
}
