//! Parquet files too large to be read at once: a part at a time.

use std::fs::File;
use std::path::{Path, PathBuf};

use arrow::array::RecordBatchReader;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use super::normal::normal_schema;
use super::{Table, TableError, normalise};
use crate::ground::files::FileError;

/// The rows of a Parquet file, some at a time, in their plainest types.
pub struct TableParts {
    path: PathBuf,
    rows: u64,
    reader: ParquetRecordBatchReader,
}

/// Opens a Parquet file of which no more than `rows` rows are held at once.
///
/// # Errors
/// [`TableError`] if it cannot be read.
pub fn read_parts(path: &Path, rows: usize) -> Result<TableParts, TableError> {
    let file = File::open(path).map_err(FileError::with("read", path))?;
    let refused = |source| TableError::Parquet { action: "read", source }.at("read", path);
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(refused)?.with_batch_size(rows.max(1));
    let in_all = u64::try_from(builder.metadata().file_metadata().num_rows()).unwrap_or(0);
    Ok(TableParts { path: path.to_owned(), rows: in_all, reader: builder.build().map_err(refused)? })
}

impl TableParts {
    /// How many rows there are in all.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// A table without rows that has the columns.
    #[must_use]
    pub fn empty(&self) -> Table {
        Table::new(normal_schema(&RecordBatchReader::schema(&self.reader)), Vec::new())
    }
}

impl Iterator for TableParts {
    type Item = Result<Table, TableError>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.reader.next()?.map_err(|source| TableError::Arrow { action: "read", source });
        let table = batch.and_then(|batch| normalise(&Table::new(batch.schema(), vec![batch])));
        Some(table.map_err(|error| error.at("read", &self.path)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array};

    use super::*;
    use crate::ground::files;
    use crate::table::ParquetWriter;

    #[test]
    fn a_file_is_read_in_parts_across_its_row_groups() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("numbers.parquet");
        let numbers = |range: std::ops::Range<i64>| {
            let numbers: ArrayRef = Arc::new(range.collect::<Int64Array>());
            Table::of_columns([("n", numbers)]).unwrap()
        };
        let mut writer = ParquetWriter::new(Vec::new());
        for range in [0..5, 5..6, 6..13] {
            writer.append(&numbers(range)).unwrap();
            writer.end_group().unwrap();
        }
        files::write_atomically(&path, &writer.finish().unwrap()).unwrap();
        let parts = read_parts(&path, 4).unwrap();
        assert_eq!(parts.rows(), 13);
        let read: Vec<i64> = parts.flat_map(|part| part.unwrap().integers("n").unwrap().values().to_vec()).collect();
        assert_eq!(read, (0..13).collect::<Vec<_>>());
        files::write_atomically(&path, b"no Parquet").unwrap();
        assert!(read_parts(&path, 4).is_err());
    }
}
