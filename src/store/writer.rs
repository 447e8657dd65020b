//! Writes one artifact: rows go into a Parquet file in `tmp/`, its bytes and
//! its columns are hashed on the way, and only the finished, synced file gets
//! its name.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::time::{Duration, UNIX_EPOCH};

use super::error::StoreError;
use super::record::Artifact;
use super::temporary::TemporaryFile;
use super::{ObjectState, Store};
use crate::ground::ContentHash;
use crate::ground::files::{self, FileError};
use crate::table::{FEW_ROWS, ParquetWriter, Table, TableHasher};

/// Bytes that are hashed and written at once.
const BYTES_AT_ONCE: usize = 1 << 18;

/// An artifact being written. Dropped unfinished, it leaves nothing.
#[derive(Debug)]
pub struct ArtifactWriter {
    store: Store,
    temporary: TemporaryFile,
    parquet: ParquetWriter<BufWriter<HashingFile>>,
    columns: Option<TableHasher>,
}

impl ArtifactWriter {
    pub(super) fn new(store: Store, temporary: TemporaryFile) -> Result<Self, StoreError> {
        let sink = HashingFile { file: temporary.handle()?, hasher: blake3::Hasher::new(), bytes: 0 };
        let parquet = ParquetWriter::new(BufWriter::with_capacity(BYTES_AT_ONCE, sink));
        Ok(Self { store, temporary, parquet, columns: None })
    }

    /// Adds rows. All tables of one artifact have the same columns.
    ///
    /// # Errors
    /// [`StoreError::Table`] if the columns differ from the first table's, if
    /// their type cannot be stored, or if the file cannot be written.
    pub fn append(&mut self, table: &Table) -> Result<(), StoreError> {
        let columns = match &mut self.columns {
            Some(columns) => columns,
            None => self.columns.insert(TableHasher::new(table.schema())?),
        };
        let parquet = &mut self.parquet;
        let (written, hashed) = if table.rows() < FEW_ROWS {
            (parquet.append(table), columns.update(table))
        } else {
            rayon::join(|| parquet.append(table), || columns.update(table))
        };
        written.map_err(|error| error.at("write", self.temporary.path()))?;
        Ok(hashed?)
    }

    /// Syncs the file and publishes it under the hash of its bytes. A good
    /// artifact of the same content that is there already is kept.
    ///
    /// # Errors
    /// [`StoreError::NoTable`] if nothing was ever appended;
    /// [`StoreError::Table`] or [`StoreError::File`] if the file cannot be
    /// finished or named.
    pub fn finish(self) -> Result<Artifact, StoreError> {
        let Self { store, temporary, parquet, columns } = self;
        let columns = columns.ok_or(StoreError::NoTable)?;
        let sink = parquet.finish().map_err(|error| error.at("write", temporary.path()))?;
        let refused = |error: io::IntoInnerError<_>| error.into_error();
        let sink = sink.into_inner().map_err(refused).map_err(FileError::with("write", temporary.path()))?;
        let hash = ContentHash::from(*sink.hasher.finalize().as_bytes());
        let artifact = Artifact { hash, bytes: sink.bytes, rows: columns.rows(), columns: columns.finish() };
        let path = store.object_path(&hash);
        if store.check(&artifact) == ObjectState::Good {
            return Ok(artifact);
        }
        // A whole second, so that any later write, whose time has a fraction,
        // changes the stamp even within the clock's granularity.
        let whole = UNIX_EPOCH + Duration::from_secs(store.now_millis() / 1_000);
        sink.file.set_modified(whole).map_err(FileError::with("date", &path))?;
        if let Some(folder) = path.parent() {
            files::create_folder(folder)?;
        }
        temporary.publish(&path)?;
        store.remember_object(&artifact);
        Ok(artifact)
    }
}

/// A file whose bytes are hashed and counted as they are written.
#[derive(Debug)]
struct HashingFile {
    file: File,
    hasher: blake3::Hasher,
    bytes: u64,
}

impl Write for HashingFile {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let written = self.file.write(buffer)?;
        self.hasher.update(buffer.get(..written).unwrap_or(buffer));
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
