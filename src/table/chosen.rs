//! Parts of Parquet files by the numbers of their rows.

use std::fs::File;
use std::ops::Range;
use std::path::Path;

use arrow::array::RecordBatchReader;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelection, RowSelector,
};
use parquet::errors::ParquetError;

use super::parquet::ROW_GROUP;
use super::{Table, TableError};
use crate::ground::files::FileError;

/// Rows of a Parquet file by their numbers, which ascend.
///
/// # Errors
/// [`TableError`] if it cannot be read or has no such row.
pub fn read_chosen_rows(path: &Path, rows: &[u64]) -> Result<Table, TableError> {
    let file = File::open(path).map_err(FileError::with("read", path))?;
    let mut selectors = Vec::new();
    let mut end = 0;
    for row in rows.iter().map(|row| *row as usize) {
        selectors.push(RowSelector::skip(row - end));
        selectors.push(RowSelector::select(1));
        end = row + 1;
    }
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(refused);
    let table = builder.and_then(|builder| {
        let batch = rows.len().clamp(1, ROW_GROUP);
        all_of(builder.with_batch_size(batch).with_row_selection(RowSelection::from(selectors)))
    });
    table.map_err(|error| error.at("read", path))
}

/// The rows of a Parquet file in pieces of row groups that have about so many
/// bytes together.
pub(super) fn pieces_of_parquet(path: &Path, bytes: u64) -> Result<Vec<Range<usize>>, TableError> {
    let file = File::open(path).map_err(FileError::with("read", path))?;
    let metadata = ArrowReaderMetadata::load(&file, ArrowReaderOptions::default());
    let metadata = metadata.map_err(|error| refused(error).at("read", path))?;
    let mut pieces = Vec::new();
    let (mut start, mut end, mut held) = (0, 0, 0);
    for group in metadata.metadata().row_groups() {
        end += usize::try_from(group.num_rows()).unwrap_or(0);
        held += u64::try_from(group.compressed_size()).unwrap_or(0);
        if held >= bytes {
            pieces.push(start..end);
            (start, held) = (end, 0);
        }
    }
    if end > start {
        pieces.push(start..end);
    }
    Ok(pieces)
}

fn all_of(builder: ParquetRecordBatchReaderBuilder<File>) -> Result<Table, TableError> {
    let reader = builder.build().map_err(refused)?;
    let schema = reader.schema();
    let batches = reader.collect::<Result<_, _>>().map_err(|source| TableError::Arrow { action: "read", source })?;
    Ok(Table::new(schema, batches))
}

fn refused(source: ParquetError) -> TableError {
    TableError::Parquet { action: "read", source }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array};

    use super::*;
    use crate::table::write_parquet;

    #[test]
    fn rows_are_read_by_their_numbers_and_in_pieces() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.parquet");
        let numbers: ArrayRef = Arc::new((0..150_000).map(|i| Some(i * 2)).collect::<Int64Array>());
        let table = Table::of_columns([("n", numbers)]).unwrap();
        drop(write_parquet(&table, File::create(&path).unwrap()).unwrap());
        let rows = read_chosen_rows(&path, &[0, 1, 65_535, 65_536, 149_999]).unwrap();
        assert_eq!(rows.integers("n").unwrap().values(), &[0, 2, 131_070, 131_072, 299_998]);
        let none = read_chosen_rows(&path, &[]).unwrap();
        assert_eq!((none.column_names(), none.rows()), (vec!["n".to_owned()], 0));
        assert_eq!(pieces_of_parquet(&path, 1).unwrap(), [0..65_536, 65_536..131_072, 131_072..150_000]);
        assert_eq!(pieces_of_parquet(&path, u64::MAX).unwrap(), std::slice::from_ref(&(0..150_000)));
    }
}
