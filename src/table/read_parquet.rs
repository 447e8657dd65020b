//! Reading Parquet files: whole, some columns, some rows, or what the footer says.
//!
//! Not for files too large to be read at once: those are read in
//! [parts](super::parts), or [visited](super::visit) by all threads.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::DataType;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use rayon::prelude::*;

use super::normal::normal_schema;
use super::parquet::{ROW_GROUP, refused};
use super::{Table, TableError};
use crate::ground::files::FileError;

/// Reads a Parquet file, or only some of its columns, in the order asked for.
///
/// # Errors
/// [`TableError`] if it cannot be read or a column is missing.
pub fn read_parquet(path: &Path, columns: Option<&[String]>) -> Result<Table, TableError> {
    read(path, columns).map_err(|error| error.at("read", path))
}

fn read(path: &Path, columns: Option<&[String]>) -> Result<Table, TableError> {
    // Each part opens the file: a clone of an open file would share its position.
    let open = || File::open(path).map_err(FileError::with("read", path));
    let metadata = ArrowReaderMetadata::load(&open()?, ArrowReaderOptions::default()).map_err(refused("read"))?;
    let mask = columns.map_or_else(ProjectionMask::all, |columns| {
        let fields = metadata.schema().fields().iter().enumerate();
        let roots = fields.filter(|(_, field)| columns.contains(field.name())).map(|(place, _)| place);
        ProjectionMask::roots(metadata.parquet_schema(), roots)
    });
    let groups: Vec<usize> = (0..metadata.metadata().num_row_groups()).collect();
    let part = |groups: &[usize]| {
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(open()?, metadata.clone());
        collect(builder.with_projection(mask.clone()).with_row_groups(groups.to_vec()).with_batch_size(ROW_GROUP))
    };
    let table = if groups.len() < 2 {
        part(&groups)?
    } else {
        let length = groups.len().div_ceil(rayon::current_num_threads());
        let parts = groups.par_chunks(length).map(part).collect::<Result<Vec<Table>, _>>()?;
        let schema = Arc::clone(parts[0].schema());
        Table::new(schema, parts.iter().flat_map(Table::batches).cloned().collect())
    };
    match columns {
        None => Ok(table),
        Some(columns) => table.select(columns),
    }
}

/// Reads no more than the first `rows` rows of a Parquet file.
///
/// # Errors
/// [`TableError`] if it cannot be read.
pub fn read_first_rows(path: &Path, rows: usize) -> Result<Table, TableError> {
    let file = File::open(path).map_err(FileError::with("read", path))?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(refused("read"));
    let table = builder.and_then(|builder| collect(builder.with_batch_size(rows.clamp(1, ROW_GROUP)).with_limit(rows)));
    table.map_err(|error| error.at("read", path))
}

/// Reads up to `rows` rows of a Parquet file from row `first` on, counted from
/// 0. Of the file no more is read than the row groups that hold them.
///
/// # Errors
/// [`TableError`] if it cannot be read.
pub fn read_rows(path: &Path, first: u64, rows: usize) -> Result<Table, TableError> {
    let file = File::open(path).map_err(FileError::with("read", path))?;
    let table = ParquetRecordBatchReaderBuilder::try_new(file).map_err(refused("read")).and_then(|builder| {
        let last = first.saturating_add(rows as u64);
        let (mut start, mut before, mut groups) = (0_u64, None, Vec::new());
        for (place, group) in builder.metadata().row_groups().iter().enumerate() {
            let end = start + u64::try_from(group.num_rows()).unwrap_or(0);
            if start < last && end > first {
                before.get_or_insert(start);
                groups.push(place);
            }
            start = end;
        }
        let skipped = first.saturating_sub(before.unwrap_or(first)) as usize;
        let builder = builder.with_row_groups(groups).with_batch_size(rows.clamp(1, ROW_GROUP));
        collect(builder.with_offset(skipped).with_limit(rows))
    });
    table.map_err(|error| error.at("read", path))
}

fn collect(builder: ParquetRecordBatchReaderBuilder<File>) -> Result<Table, TableError> {
    let reader = builder.build().map_err(refused("read"))?;
    let schema = arrow::array::RecordBatchReader::schema(&reader);
    let batches = reader.collect::<Result<_, _>>().map_err(|source| TableError::Arrow { action: "read", source })?;
    Ok(Table::new(schema, batches))
}

/// How many rows a Parquet file has and the names and types of its columns, from its footer alone.
///
/// # Errors
/// [`TableError`] if it cannot be read.
pub fn describe_parquet(path: &Path) -> Result<(u64, Vec<(String, DataType)>), TableError> {
    let file = File::open(path).map_err(FileError::with("read", path))?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(file);
    let builder = builder.map_err(|error| refused("read")(error).at("read", path))?;
    let rows = u64::try_from(builder.metadata().file_metadata().num_rows()).unwrap_or(0);
    let schema = normal_schema(builder.schema());
    Ok((rows, schema.fields().iter().map(|f| (f.name().clone(), f.data_type().clone())).collect()))
}

#[cfg(test)]
mod tests {
    use super::super::write_parquet;
    use super::*;
    use arrow::array::{ArrayRef, Int64Array, StringArray};

    fn table(rows: i64) -> Table {
        let ids: ArrayRef = Arc::new((0..rows).map(|i| (i % 7 != 3).then_some(i)).collect::<Int64Array>());
        let names = (0..rows).map(|i| (i % 5 != 1).then(|| format!("n{i}")));
        let names: ArrayRef = Arc::new(names.collect::<StringArray>());
        Table::of_columns([("a.id", ids), ("name", names)]).unwrap()
    }

    #[test]
    fn what_is_written_is_read_back_whole_or_by_column() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.parquet");
        let table = table(70_000);
        drop(write_parquet(&table, File::create(&path).unwrap()).unwrap());
        let read = read_parquet(&path, None).unwrap();
        assert_eq!(read.single_batch().unwrap(), table.single_batch().unwrap());
        let some = read_parquet(&path, Some(&["name".to_owned(), "a.id".to_owned()])).unwrap();
        assert_eq!(some.column_names(), ["name", "a.id"]);
        assert_eq!(some.rows(), 70_000);
        assert!(matches!(read_parquet(&path, Some(&["nam".to_owned()])), Err(TableError::NoColumn { .. })));
        assert_eq!(describe_parquet(&path).unwrap().0, 70_000);
    }

    #[test]
    fn rows_are_read_from_the_middle_across_row_groups() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.parquet");
        let table = table(150_000);
        drop(write_parquet(&table, File::create(&path).unwrap()).unwrap());
        let whole = table.single_batch().unwrap();
        for (first, rows) in [(0, 50), (65_520, 50), (131_000, 200), (149_990, 50), (150_000, 50), (u64::MAX, 50)] {
            let start = usize::try_from(first).unwrap().min(150_000);
            let expected = whole.slice(start, rows.min(150_000 - start));
            let read = read_rows(&path, first, rows).unwrap();
            assert_eq!(read.rows(), expected.num_rows(), "{first}");
            assert_eq!(read.single_batch().unwrap(), expected, "{first}");
        }
    }

    #[test]
    fn a_file_that_is_no_parquet_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.parquet");
        crate::ground::files::write_atomically(&path, b"PAR1, but no more than that").unwrap();
        for error in [read_parquet(&path, None).unwrap_err(), describe_parquet(&path).unwrap_err()] {
            assert_eq!(error.to_string(), format!("could not read `{}`", path.display()));
        }
    }
}
