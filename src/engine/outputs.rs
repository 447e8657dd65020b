//! Where a running stage's tables go: one artifact writer per output. It holds
//! the stage to what it declared; publishing is the job's part.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use crate::stage::OutputSink;
use crate::store::{Artifact, ArtifactWriter, Store, StoreError, TemporaryFolder};
use crate::table::{Table, TableError};

/// The outputs of one running stage. Clones are handles on the same outputs;
/// dropped unfinished, they leave nothing in the store.
#[derive(Clone)]
pub(super) struct Outputs {
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    store: Store,
    ports: Vec<String>,
    writers: BTreeMap<String, ArtifactWriter>,
    /// Where its programs work; removed with the outputs.
    folders: Vec<TemporaryFolder>,
}

/// Why a stage's outputs cannot be kept.
#[derive(Debug, thiserror::Error)]
pub(super) enum OutputError {
    /// Nothing was written to a declared output.
    #[error("nothing was written to the output `{0}`, not even an empty table: this is a bug in the kind")]
    Missing(String),
    /// The store refused.
    #[error("could not keep the output `{port}`")]
    Store {
        /// The output.
        port: String,
        /// The store's reason.
        #[source]
        source: StoreError,
    },
}

impl Outputs {
    /// Outputs for the declared ports.
    pub(super) fn new(store: &Store, ports: Vec<String>) -> Self {
        let inner = Inner { store: store.clone(), ports, writers: BTreeMap::new(), folders: Vec::new() };
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    /// Finishes every output, in the order declared.
    ///
    /// # Errors
    /// [`OutputError`]; then no artifact of this stage has been named by a manifest.
    pub(super) fn finish(&self) -> Result<BTreeMap<String, Artifact>, OutputError> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let mut writers = std::mem::take(&mut inner.writers);
        if let Some(missing) = inner.ports.iter().find(|port| !writers.contains_key(*port)) {
            return Err(OutputError::Missing(missing.clone()));
        }
        let mut artifacts = BTreeMap::new();
        for port in &inner.ports {
            if let Some(writer) = writers.remove(port) {
                let refused = |source| OutputError::Store { port: port.clone(), source };
                artifacts.insert(port.clone(), writer.finish().map_err(refused)?);
            }
        }
        Ok(artifacts)
    }
}

impl OutputSink for Outputs {
    fn append(&mut self, port: &str, table: &Table) -> Result<(), TableError> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let Inner { store, ports, writers, .. } = &mut *inner;
        if !ports.iter().any(|name| name == port) {
            return Err(TableError::Refused(format!(
                "there is no output `{port}`; the outputs are {}: this is a bug in the kind",
                ports.join(", ")
            )));
        }
        let writer = match writers.entry(port.to_owned()) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => entry.insert(store.writer().map_err(as_table)?),
        };
        writer.append(table).map_err(as_table)
    }

    fn folder(&mut self) -> Result<PathBuf, TableError> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = inner.store.temporary_folder().map_err(as_table)?;
        let path = folder.path().to_owned();
        inner.folders.push(folder);
        Ok(path)
    }
}

fn as_table(error: StoreError) -> TableError {
    match error {
        StoreError::Table(error) => error,
        StoreError::File(error) => TableError::File(error),
        other => TableError::Refused(other.to_string()),
    }
}
