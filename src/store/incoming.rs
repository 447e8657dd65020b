//! What comes into the store from another one: artifacts whose bytes are hashed
//! before they take their name, and records of results whose artifacts need not
//! be here.
//!
//! Such a record stands in `pulled-v1/<key>-<remote>.json`, where `remote` names
//! the store that has the artifacts. In `manifests-v1/` stand only records whose
//! artifacts are here.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::error::StoreError;
use super::record::{self, Artifact, FORMAT, Manifest};
use super::temporary::{self, TemporaryFile};
use super::{ObjectState, Store};
use crate::ground::files::{self, FileError};
use crate::ground::{ContentHash, hash_file};

/// The file with the store's own name.
pub(super) const IDENTITY: &str = "identity-v1";

/// The folder of records whose artifacts are in another store.
pub(super) const PULLED: &str = "pulled-v1";

/// What is known to be in another store as well, so that it is not asked again.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Shared {
    /// When that was found: milliseconds since 1970-01-01 UTC.
    at: u64,
}

/// A file on its way in, which others fill in any order. Dropped unfinished, it
/// leaves nothing.
#[derive(Debug)]
pub struct Incoming {
    store: Store,
    temporary: TemporaryFile,
    hash: ContentHash,
    to: PathBuf,
    /// What it is, if it is an artifact.
    artifact: Option<Artifact>,
}

impl Incoming {
    /// Another handle on the file that is to be filled.
    ///
    /// # Errors
    /// [`StoreError::File`] if the system refuses.
    pub fn file(&self) -> Result<File, StoreError> {
        Ok(self.temporary.handle()?)
    }

    /// Reads what came, and publishes it if it has the hash that is its name;
    /// false if it has another.
    ///
    /// # Errors
    /// [`StoreError::File`] if it cannot be read or named.
    pub fn finish(self) -> Result<bool, StoreError> {
        let Self { store, temporary, hash, to: path, artifact } = self;
        if hash_file(temporary.path())? != hash {
            return Ok(false);
        }
        // A whole second, as all artifacts have: see `writer.rs`.
        let whole = UNIX_EPOCH + Duration::from_secs(store.now_millis() / 1_000);
        temporary.handle()?.set_modified(whole).map_err(FileError::with("date", &path))?;
        if let Some(folder) = path.parent() {
            files::create_folder(folder)?;
        }
        temporary.publish(&path)?;
        if let Some(artifact) = artifact {
            store.remember_object(&artifact);
        }
        Ok(true)
    }
}

impl Store {
    /// Starts to take in an artifact.
    ///
    /// # Errors
    /// [`StoreError::File`] if no temporary file can be made.
    pub fn incoming(&self, artifact: &Artifact) -> Result<Incoming, StoreError> {
        let to = self.object_path(&artifact.hash);
        Ok(Incoming { artifact: Some(artifact.clone()), ..self.incoming_file(artifact.hash, to)? })
    }

    /// Starts to take in a file of that content, which is to stand at a path of
    /// the store's.
    ///
    /// # Errors
    /// [`StoreError::File`] if no temporary file can be made.
    pub fn incoming_file(&self, hash: ContentHash, to: PathBuf) -> Result<Incoming, StoreError> {
        let temporary = TemporaryFile::create(&self.root().join("tmp"))?;
        Ok(Incoming { store: self.clone(), temporary, hash, to, artifact: None })
    }

    /// The record of a result whose artifacts `remote` has, if it was kept here.
    #[must_use]
    pub fn pulled(&self, key: &ContentHash, remote: &str) -> Option<Manifest> {
        let bytes = files::read_bytes(&self.pulled_path(key, remote)).ok()?;
        // One that cannot be believed is asked for again.
        Manifest::of_record(bytes, key).ok()
    }

    /// Keeps the record of a result whose artifacts `remote` has: among those of
    /// this store once all of its artifacts are here. It can be asked for again,
    /// so it is not synced. Whether all artifacts are here.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be written.
    pub fn keep_pulled(&self, manifest: &Manifest, remote: &str) -> Result<bool, StoreError> {
        if manifest.outputs.values().all(|artifact| self.check(artifact) == ObjectState::Good) {
            self.publish(manifest)?;
            self.forget_pulled(&manifest.key, remote)?;
            return Ok(true);
        }
        let path = self.pulled_path(&manifest.key, remote);
        let mut temporary = TemporaryFile::create(&self.root().join("tmp"))?;
        temporary.write(manifest.to_record()?.as_bytes())?;
        temporary.place(&path)?;
        Ok(false)
    }

    /// Forgets the record of a result whose artifacts `remote` was to have.
    ///
    /// # Errors
    /// [`StoreError::File`] if it cannot be removed.
    pub fn forget_pulled(&self, key: &ContentHash, remote: &str) -> Result<(), StoreError> {
        let path = self.pulled_path(key, remote);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(FileError::with("remove", &path)(error).into()),
            _ => Ok(()),
        }
    }

    fn pulled_path(&self, key: &ContentHash, remote: &str) -> PathBuf {
        self.root().join(PULLED).join(format!("{key}-{remote}.json"))
    }

    /// The keys of all results of this store, in ascending order.
    ///
    /// # Errors
    /// [`StoreError::File`] if they cannot be listed.
    pub fn keys(&self) -> Result<Vec<ContentHash>, StoreError> {
        let folder = self.root().join("manifests-v1");
        let entries = fs::read_dir(&folder).map_err(FileError::with("list", &folder))?;
        let key = |name: &str| name.strip_suffix(".json")?.parse().ok();
        let mut keys: Vec<ContentHash> = entries.filter_map(|entry| key(entry.ok()?.file_name().to_str()?)).collect();
        keys.sort_unstable();
        Ok(keys)
    }

    /// A name for this store that says nothing of its place or machine. It is
    /// made once; a store that cannot keep it has another each time.
    #[must_use]
    pub fn identity(&self) -> String {
        let path = self.root().join(IDENTITY);
        let read = || files::read_text(&path).ok().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        if let Some(identity) = read() {
            return identity;
        }
        let text = format!("{} {} {}", self.now_millis(), std::process::id(), self.root().display());
        let identity = ContentHash::of(text.as_bytes()).short();
        if temporary::write(&self.root().join("tmp"), &path, identity.as_bytes()).is_err() {
            return identity;
        }
        // Another process may have been quicker, or slower.
        read().unwrap_or(identity)
    }

    /// Whether something was noted to be in another store as well.
    #[must_use]
    pub fn is_shared(&self, name: &str) -> bool {
        self.inner.shared.find(name).is_some()
    }

    /// Notes that something is in another store as well. It only saves work.
    pub fn note_shared(&self, name: &str) {
        let at = self.now_millis();
        if let Err(error) = self.inner.shared.note(name, Shared { at }) {
            self.warn(format!("{error}: {}; it will be asked for again next time", error.source));
        }
    }
}

impl Manifest {
    /// The record as it is written: JSON, sealed with a hash of its own text.
    ///
    /// # Errors
    /// [`StoreError::Encode`].
    pub fn to_record(&self) -> Result<String, StoreError> {
        record::seal("a manifest", self)
    }

    /// Reads the record of a key.
    ///
    /// # Errors
    /// Why it cannot be believed.
    pub fn of_record(bytes: Vec<u8>, key: &ContentHash) -> Result<Self, String> {
        let manifest: Self = record::unseal(bytes)?;
        let fits = manifest.key == *key && manifest.format == FORMAT;
        fits.then_some(manifest).ok_or_else(|| "it is of another key or format".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::os::unix::fs::FileExt;

    use serde_json::json;

    use super::*;

    fn artifact(bytes: &[u8]) -> Artifact {
        Artifact { hash: ContentHash::of(bytes), bytes: bytes.len() as u64, rows: 1, columns: Vec::new() }
    }

    fn manifest(artifact: &Artifact) -> Manifest {
        Manifest {
            format: FORMAT,
            key: ContentHash::of(b"key"),
            instance: "core".into(),
            pipeline: "demo".into(),
            kind: "sql".into(),
            fingerprint: json!({}),
            outputs: BTreeMap::from([("main".to_owned(), artifact.clone())]),
            warnings: Vec::new(),
            made_at_millis: 1,
            seconds: 0.5,
            requests: 0,
            blessed: Vec::new(),
        }
    }

    #[test]
    fn what_has_another_hash_does_not_come_in() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let song = artifact(b"song");
        for (came, is_good) in [(b"sung", false), (b"song", true)] {
            let incoming = store.incoming(&song).unwrap();
            incoming.file().unwrap().write_all_at(came, 0).unwrap();
            assert_eq!(incoming.finish().unwrap(), is_good);
            assert_eq!(store.check(&song) == ObjectState::Good, is_good);
        }
        assert_eq!(fs::read_dir(folder.path().join("tmp")).unwrap().count(), 0, "nothing is left");
    }

    #[test]
    fn a_pulled_record_becomes_the_stores_own_once_its_artifacts_are_here() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let song = artifact(b"song");
        let manifest = manifest(&song);
        let key = manifest.key;
        assert!(!store.keep_pulled(&manifest, "lab").unwrap());
        assert_eq!(store.pulled(&key, "lab"), Some(manifest.clone()));
        assert_eq!((store.pulled(&key, "other"), store.manifest(&key).unwrap()), (None, None));
        assert!(store.verify(&|_, _| ()).unwrap().findings.is_empty(), "it is no damage");
        let incoming = store.incoming(&song).unwrap();
        incoming.file().unwrap().write_all_at(b"song", 0).unwrap();
        assert!(incoming.finish().unwrap() && store.keep_pulled(&manifest, "lab").unwrap());
        assert_eq!((store.pulled(&key, "lab"), store.manifest(&key).unwrap()), (None, Some(manifest)));
        assert_eq!(store.keys().unwrap(), [key]);
    }

    #[test]
    fn a_store_has_one_name_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let name = Store::open(folder.path()).unwrap().identity();
        assert_eq!((name.len(), Store::open(folder.path()).unwrap().identity()), (12, name.clone()));
        let other = tempfile::tempdir().unwrap();
        assert_ne!(Store::open(other.path()).unwrap().identity(), name);
        assert!(Store::open(folder.path()).unwrap().verify(&|_, _| ()).unwrap().findings.is_empty());
    }

    #[test]
    fn what_is_shared_is_known_to_the_next_process() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        assert!(!store.is_shared("a"));
        store.note_shared("a");
        assert!(store.is_shared("a") && Store::open(folder.path()).unwrap().is_shared("a"));
    }
}
