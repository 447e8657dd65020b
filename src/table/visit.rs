//! The rows of a table or of a Parquet file, looked at by all threads, each
//! its own share: for what is made of rows without holding them all.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use rayon::prelude::*;

use super::parquet::{FEW_ROWS, ROW_GROUP};
use super::{Table, TableError};
use crate::ground::files::FileError;

/// Most shares: what is made of each of them is put together by one thread.
const MOST_SHARES: usize = 32;

/// What is made of each share of a table, in the order of the rows.
pub(super) fn visit_table<S: Send, E: Send>(
    table: &Table,
    new: impl Fn() -> S + Sync,
    visit: impl Fn(&mut S, &RecordBatch) -> Result<(), E> + Sync,
) -> Result<Vec<S>, E> {
    let pieces: Vec<RecordBatch> = table
        .batches()
        .iter()
        .flat_map(|batch| {
            let starts = (0..batch.num_rows()).step_by(ROW_GROUP);
            starts.map(|start| batch.slice(start, ROW_GROUP.min(batch.num_rows() - start)))
        })
        .collect();
    let share = |pieces: &[RecordBatch]| -> Result<S, E> {
        let mut state = new();
        pieces.iter().try_for_each(|piece| visit(&mut state, piece)).map(|()| state)
    };
    if table.rows() < FEW_ROWS {
        return Ok(vec![share(&pieces)?]);
    }
    pieces.par_chunks(length_of_share(pieces.len())).map(share).collect()
}

/// What is made of each share of a Parquet file, in the order of the rows. The
/// columns named in `texts` come as dictionaries where they are texts; all
/// columns come in the file's order.
pub(super) fn visit_parquet<S: Send, E: Send + From<TableError>>(
    path: &Path,
    columns: &[&str],
    texts: &[&str],
    new: impl Fn() -> S + Sync,
    visit: impl Fn(&mut S, &RecordBatch) -> Result<(), E> + Sync,
) -> Result<Vec<S>, E> {
    let refused = |source| E::from(TableError::Parquet { action: "read", source }.at("read", path));
    let broken = |source| E::from(TableError::Arrow { action: "read", source }.at("read", path));
    let open = || File::open(path).map_err(|error| E::from(FileError::with("read", path)(error).into()));
    let metadata = encoded(&open()?, texts).map_err(refused)?;
    let fields = metadata.schema().fields().iter().enumerate();
    let roots = fields.filter(|(_, field)| columns.contains(&field.name().as_str())).map(|(place, _)| place);
    let mask = ProjectionMask::roots(metadata.parquet_schema(), roots);
    let share = |groups: &[usize]| -> Result<S, E> {
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(open()?, metadata.clone());
        let builder = builder.with_projection(mask.clone()).with_row_groups(groups.to_vec()).with_batch_size(ROW_GROUP);
        let mut state = new();
        for batch in builder.build().map_err(refused)? {
            visit(&mut state, &batch.map_err(broken)?)?;
        }
        Ok(state)
    };
    let groups: Vec<usize> = (0..metadata.metadata().num_row_groups()).collect();
    if groups.len() < 2 {
        return Ok(vec![share(&groups)?]);
    }
    groups.par_chunks(length_of_share(groups.len())).map(share).collect()
}

fn length_of_share(pieces: usize) -> usize {
    pieces.div_ceil(rayon::current_num_threads().min(MOST_SHARES)).max(1)
}

/// The footer, with these columns as dictionaries where they are texts.
fn encoded(file: &File, texts: &[&str]) -> parquet::errors::Result<ArrowReaderMetadata> {
    let plain = ArrowReaderMetadata::load(file, ArrowReaderOptions::default())?;
    let dictionary = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let field = |field: &Arc<Field>| {
        let text = matches!(field.data_type(), DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
        if text && texts.contains(&field.name().as_str()) {
            Arc::new(field.as_ref().clone().with_data_type(dictionary.clone()))
        } else {
            Arc::clone(field)
        }
    };
    let schema = Arc::new(Schema::new(plain.schema().fields().iter().map(field).collect::<Vec<_>>()));
    let options = ArrowReaderOptions::new().with_schema(schema);
    // A type that cannot be asked for in this way is no reason not to read the file.
    Ok(ArrowReaderMetadata::try_new(Arc::clone(plain.metadata()), options).unwrap_or(plain))
}
