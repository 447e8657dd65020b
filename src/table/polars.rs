//! Between [`Table`] and Polars: through Arrow IPC streams in memory for
//! tables, lazily for Parquet files. Polars' own spellings of types do not get
//! any further than this file.

use std::io::Cursor;
use std::ops::Range;
use std::path::Path;

use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use polars::io::RowIndex;
use polars::prelude::{
    DataFrame, DslPlan, IntoLazy, IpcStreamReader, IpcStreamWriter, LazyFrame, PlRefPath, PolarsError, PolarsResult,
    ScanArgsParquet, SerReader, SerWriter, UnionArgs, concat,
};

use super::chosen::pieces_of_parquet;
use super::normal::normalise;
use super::{Table, TableError};

/// Bytes of a file, as it is compressed, that are mapped at a time.
const PIECE: u64 = 16 << 20;

/// The table as a Polars frame.
///
/// # Errors
/// [`TableError::Polars`] if a column's type has no counterpart.
pub fn to_polars(table: &Table) -> Result<DataFrame, TableError> {
    let refused = |source| TableError::Arrow { action: "hand to Polars", source };
    let table = normalise(table)?;
    let mut bytes = Vec::new();
    let mut writer = StreamWriter::try_new(&mut bytes, table.schema()).map_err(refused)?;
    for batch in table.batches() {
        writer.write(batch).map_err(refused)?;
    }
    writer.finish().map_err(refused)?;
    drop(writer);
    IpcStreamReader::new(Cursor::new(bytes)).finish().map_err(|error| polars_error(&error))
}

/// A Polars frame as a table, its types in their plainest form: text is `Utf8`,
/// lists have 32-bit offsets, categories are text.
///
/// # Errors
/// [`TableError::Polars`] if a column's type has no counterpart.
pub fn from_polars(frame: &DataFrame) -> Result<Table, TableError> {
    let bytes = ipc_bytes(frame).map_err(|error| polars_error(&error))?;
    let refused = |source| TableError::Arrow { action: "take from Polars", source };
    let reader = StreamReader::try_new(Cursor::new(bytes), None).map_err(refused)?;
    let schema = reader.schema();
    let batches = reader.collect::<Result<_, _>>().map_err(refused)?;
    normalise(&Table::new(schema, batches))
}

fn ipc_bytes(frame: &DataFrame) -> PolarsResult<Vec<u8>> {
    let mut bytes = Vec::new();
    IpcStreamWriter::new(&mut bytes).finish(&mut frame.clone())?;
    Ok(bytes)
}

/// A copy that holds nothing but its own values: Polars' texts keep all in memory
/// that was read with them.
pub(super) fn copied(frame: &DataFrame) -> PolarsResult<DataFrame> {
    IpcStreamReader::new(Cursor::new(ipc_bytes(frame)?)).finish()
}

/// A Parquet file, of which Polars reads what it needs.
///
/// # Errors
/// [`TableError::Polars`] if it cannot be opened.
pub fn scan(path: &Path) -> Result<LazyFrame, TableError> {
    scan_numbered(path, None)
}

fn scan_numbered(path: &Path, row_number: Option<&str>) -> Result<LazyFrame, TableError> {
    let Some(text) = path.to_str() else {
        return Err(TableError::Polars(format!("could not scan `{}`: the path is not UTF-8", path.display())));
    };
    // Brackets and stars in the path are letters here, not patterns.
    let row_index = row_number.map(|name| RowIndex { name: name.into(), offset: 0 });
    let arguments = ScanArgsParquet { glob: false, row_index, ..ScanArgsParquet::default() };
    LazyFrame::scan_parquet(PlRefPath::new(text), arguments).map_err(|error| polars_error(&error))
}

/// A Parquet file that is read from its beginning to its end, some row groups
/// after the others. Polars maps files into memory and lets go of them at their
/// end; in pieces no more than one of them is held. With `row_number` its first
/// column has that name and counts the rows of the file from 0.
///
/// # Errors
/// [`TableError`] if it cannot be opened.
pub(super) fn scan_in_pieces(path: &Path, row_number: Option<&str>) -> Result<LazyFrame, TableError> {
    let piece = |rows: Option<Range<usize>>| {
        let mut frame = scan_numbered(path, row_number)?;
        if let (Some(rows), DslPlan::Scan { unified_scan_args, .. }) = (rows, &mut frame.logical_plan) {
            unified_scan_args.pre_slice = Some((rows.start, rows.len()).into());
        }
        Ok(frame)
    };
    let pieces = pieces_of_parquet(path, PIECE)?;
    if pieces.len() < 2 {
        return piece(None);
    }
    let frames = pieces.into_iter().map(|rows| piece(Some(rows))).collect::<Result<Vec<_>, TableError>>()?;
    concat(frames, UnionArgs::default()).map_err(|error| polars_error(&error))
}

/// A lazy frame over a table in memory.
///
/// # Errors
/// As [`to_polars`].
pub fn lazy(table: &Table) -> Result<LazyFrame, TableError> {
    Ok(to_polars(table)?.lazy())
}

/// What Polars says, in its first line.
pub fn polars_error(error: &PolarsError) -> TableError {
    let text = error.to_string();
    TableError::Polars(text.lines().next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::{column_hashes, write_parquet};
    use super::*;
    use arrow::array::{
        ArrayRef, BooleanArray, Float32Array, Int64Array, ListArray, StringArray, TimestampMicrosecondArray,
    };
    use arrow::datatypes::Float32Type;
    use polars::prelude::{col, lit};
    use proptest::prelude::*;
    use std::sync::Arc;

    type Row = (Option<String>, Option<i64>, Option<f32>, Option<bool>, Option<Vec<Option<f32>>>);

    fn table(rows: &[Row]) -> Table {
        let columns: [(&str, ArrayRef); 6] = [
            ("text", Arc::new(rows.iter().map(|r| r.0.clone()).collect::<StringArray>())),
            ("whole", Arc::new(rows.iter().map(|r| r.1).collect::<Int64Array>())),
            ("number", Arc::new(rows.iter().map(|r| r.2).collect::<Float32Array>())),
            ("flag", Arc::new(rows.iter().map(|r| r.3).collect::<BooleanArray>())),
            ("vector", Arc::new(ListArray::from_iter_primitive::<Float32Type, _, _>(rows.iter().map(|r| r.4.clone())))),
            ("time", Arc::new(rows.iter().map(|r| r.1).collect::<TimestampMicrosecondArray>())),
        ];
        Table::of_columns(columns).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_table_survives_polars(rows in proptest::collection::vec(any::<Row>(), 0..20)) {
            let table = table(&rows);
            let back = from_polars(&to_polars(&table).unwrap()).unwrap();
            prop_assert_eq!(back.schema(), table.schema());
            prop_assert_eq!(column_hashes(&back).unwrap(), column_hashes(&table).unwrap());
        }
    }

    #[test]
    fn a_file_in_pieces_has_the_rows_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.parquet");
        let rows: Vec<Row> = (0..300_000).map(|i| (None, Some(i), None, None, None)).collect();
        drop(write_parquet(&table(&rows), std::fs::File::create(&path).unwrap()).unwrap());
        let sliced = |rows: Range<usize>| {
            let mut frame = scan_numbered(&path, Some("row")).unwrap();
            let DslPlan::Scan { unified_scan_args, .. } = &mut frame.logical_plan else { panic!("no scan") };
            unified_scan_args.pre_slice = Some((rows.start, rows.len()).into());
            frame.filter(col("whole").gt(lit(131_070))).select([col("row"), col("whole")])
        };
        let kept = from_polars(&sliced(65_536..131_072).collect().unwrap()).unwrap();
        assert_eq!((kept.integers("row").unwrap().value(0), kept.rows()), (131_071, 1));
        assert_eq!(kept.integers("whole").unwrap().value(0), 131_071);
    }

    #[test]
    fn a_file_with_brackets_in_its_name_is_scanned() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("[v1] *.parquet");
        let table = table(&[(Some("a".into()), Some(1), Some(0.5), None, Some(vec![None]))]);
        drop(write_parquet(&table, std::fs::File::create(&path).unwrap()).unwrap());
        let back = from_polars(&scan(&path).unwrap().collect().unwrap()).unwrap();
        assert_eq!(column_hashes(&back).unwrap(), column_hashes(&table).unwrap());
    }
}
