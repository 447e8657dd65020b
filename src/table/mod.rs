//! Tables in memory: Arrow record batches with one schema, and typed access to
//! their columns by name. Files and Polars are the submodules' part.

mod bit_runs;
mod chosen;
mod column_hash;
mod delimited;
mod dense;
mod difference;
mod first_rows;
mod ids;
mod interactions;
mod interner;
mod keyed;
mod normal;
mod packed;
mod parquet;
mod parts;
mod passes;
mod polars;
mod query;
mod query_text;
mod read_parquet;
mod slots;
mod split;
mod stable;
mod summary;
mod text_chunk;
mod text_rows;
mod value_bytes;
mod values;
mod visit;

use std::sync::Arc;

use ::parquet::errors::ParquetError;
use arrow::array::{
    Array, ArrayRef, AsArray, Float32Array, Float64Array, Int64Array, ListArray, RecordBatch, StringArray,
};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use crate::ground::files::FileError;

pub use self::chosen::read_chosen_rows;
pub use self::column_hash::{ColumnFacts, TableHasher, column_hashes};
pub use self::delimited::{BadRow, ColumnType, Delimited, Layout, read_delimited};
pub use self::difference::{Columns, Difference, difference};
pub use self::ids::Ids;
pub use self::interactions::{Indexed, Interaction, Interactions};
pub use self::normal::{normal_type, normalise, type_name};
pub use self::packed::{Packed, PackedInteractions};
pub use self::parquet::{FEW_ROWS, ParquetWriter, write_parquet};
pub use self::parts::{TableParts, read_parts};
pub use self::polars::{from_polars, lazy, polars_error, scan, to_polars};
pub use self::query::{
    Label, Query, QueryMistake, QueryPart, QueryTable, is_file_function, near_names, tables_of_query,
};
pub use self::read_parquet::{describe_parquet, read_first_rows, read_parquet, read_rows};
pub use self::split::{ItemSets, Part, Parts, Split, SplitError};
pub use self::stable::keep_order;
pub use self::summary::{ColumnSummary, Distinct, Histogram, Pass, Summary, summarise_parquet};
pub use self::value_bytes::{write_csv, write_csv_field, write_json, write_json_object};
pub use self::values::{decimal, json_value, rows_as_json, value_text};

/// What can go wrong with a table.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// A column was asked for that the table does not have.
    #[error("there is no column `{column}`; the columns are {}", columns.join(", "))]
    NoColumn {
        /// The name asked for.
        column: String,
        /// The names there are.
        columns: Vec<String>,
    },
    /// A column cannot be read as the type asked for.
    #[error("column `{column}` is {actual}, not {expected}")]
    WrongType {
        /// The column's name.
        column: String,
        /// Its type.
        actual: String,
        /// The type asked for.
        expected: &'static str,
    },
    /// A column that must be complete has nulls.
    #[error("column `{column}` has {nulls} nulls")]
    Nulls {
        /// The column's name.
        column: String,
        /// How many.
        nulls: usize,
    },
    /// Tables that are to be one have different columns.
    #[error("the columns are `{other}`, but those of the first part were `{first}`")]
    OtherColumns {
        /// The columns of the first table.
        first: String,
        /// Those of the table that does not fit.
        other: String,
    },
    /// Arrow refused.
    #[error("could not {action} the table")]
    Arrow {
        /// What was attempted.
        action: &'static str,
        /// Arrow's reason.
        #[source]
        source: arrow::error::ArrowError,
    },
    /// Parquet refused.
    #[error("could not {action} Parquet")]
    Parquet {
        /// What was attempted.
        action: &'static str,
        /// Parquet's reason.
        #[source]
        source: ParquetError,
    },
    /// A file of tables could not be read or written.
    #[error("could not {action} `{}`", path.display())]
    InFile {
        /// `read` or `write`.
        action: &'static str,
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        #[source]
        source: Box<Self>,
    },
    /// Whoever takes the table does not take this one.
    #[error("{0}")]
    Refused(String),
    /// Polars refused.
    #[error("{0}")]
    Polars(String),
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
}

impl TableError {
    /// Names the file at which Parquet, or the system below it, refused.
    #[must_use]
    pub fn at(self, action: &'static str, path: &std::path::Path) -> Self {
        let path = path.to_owned();
        match self {
            Self::Parquet { action: tried, source: ParquetError::External(cause) } => {
                match cause.downcast::<std::io::Error>() {
                    Ok(cause) => Self::File(FileError { action, path, source: *cause }),
                    Err(cause) => {
                        let source = ParquetError::External(cause);
                        Self::InFile { action, path, source: Box::new(Self::Parquet { action: tried, source }) }
                    }
                }
            }
            Self::Parquet { .. } | Self::Arrow { .. } => Self::InFile { action, path, source: Box::new(self) },
            other => other,
        }
    }
}

/// Rows under one schema.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
}

impl Table {
    /// A table of batches that all have `schema`.
    #[must_use]
    pub fn new(schema: SchemaRef, batches: Vec<RecordBatch>) -> Self {
        Self { schema, batches }
    }

    /// A table from columns of equal length; every column is nullable.
    ///
    /// # Errors
    /// [`TableError::Arrow`] if the lengths differ.
    pub fn of_columns<N: Into<String>>(columns: impl IntoIterator<Item = (N, ArrayRef)>) -> Result<Self, TableError> {
        let (fields, arrays): (Vec<_>, Vec<_>) =
            columns.into_iter().map(|(name, array)| (Field::new(name, array.data_type().clone(), true), array)).unzip();
        let schema = Arc::new(Schema::new(fields));
        let batch = RecordBatch::try_new(Arc::clone(&schema), arrays)
            .map_err(|source| TableError::Arrow { action: "assemble", source })?;
        Ok(Self { schema, batches: vec![batch] })
    }

    /// The columns' names and types.
    #[must_use]
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The rows, in order.
    #[must_use]
    pub fn batches(&self) -> &[RecordBatch] {
        &self.batches
    }

    /// How many rows there are.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    /// The columns' names, in order.
    #[must_use]
    pub fn column_names(&self) -> Vec<String> {
        self.schema.fields().iter().map(|f| f.name().clone()).collect()
    }

    /// Whether there is a column of that name.
    #[must_use]
    pub fn has_column(&self, name: &str) -> bool {
        self.schema.column_with_name(name).is_some()
    }

    /// The named columns, in the order asked for.
    ///
    /// # Errors
    /// [`TableError::NoColumn`] for the first that is missing.
    pub fn select<S: AsRef<str>>(&self, names: &[S]) -> Result<Self, TableError> {
        let indices = names.iter().map(|name| self.index_of(name.as_ref())).collect::<Result<Vec<_>, _>>()?;
        let refused = |source| TableError::Arrow { action: "select columns of", source };
        let schema = Arc::new(self.schema.project(&indices).map_err(refused)?);
        let batches = self.batches.iter().map(|b| b.project(&indices)).collect::<Result<_, _>>().map_err(refused)?;
        Ok(Self { schema, batches })
    }

    /// Adds rows that have the table's columns.
    pub fn push(&mut self, batch: RecordBatch) {
        self.batches.push(batch);
    }

    /// No more than the first so many rows.
    #[must_use]
    pub fn first_rows(&self, rows: u64) -> Self {
        let mut left = usize::try_from(rows).unwrap_or(usize::MAX);
        let mut batches = Vec::new();
        for batch in &self.batches {
            let taken = batch.num_rows().min(left);
            left -= taken;
            if taken > 0 {
                batches.push(batch.slice(0, taken));
            }
        }
        Self { schema: Arc::clone(&self.schema), batches }
    }

    /// All rows in one batch.
    ///
    /// # Errors
    /// [`TableError::Arrow`] if they do not fit in one.
    pub fn single_batch(&self) -> Result<RecordBatch, TableError> {
        match self.batches.as_slice() {
            [one] => Ok(one.clone()),
            many => concat_batches(&self.schema, many)
                .map_err(|source| TableError::Arrow { action: "join the parts of", source }),
        }
    }

    /// One whole column.
    ///
    /// # Errors
    /// [`TableError::NoColumn`] if it is missing.
    pub fn column(&self, name: &str) -> Result<ArrayRef, TableError> {
        self.index_of(name)?;
        let one = self.select(&[name])?.single_batch()?;
        Ok(Arc::clone(one.column(0)))
    }

    /// A text column; other types that have a text form are cast.
    ///
    /// # Errors
    /// [`TableError::NoColumn`], or [`TableError::WrongType`] if it cannot be cast.
    pub fn strings(&self, name: &str) -> Result<StringArray, TableError> {
        Ok(self.cast_to(name, &DataType::Utf8, "text")?.as_string::<i32>().clone())
    }

    /// An integer column, as 64 bits.
    ///
    /// # Errors
    /// [`TableError::NoColumn`], or [`TableError::WrongType`] if it is not of integers.
    pub fn integers(&self, name: &str) -> Result<Int64Array, TableError> {
        Ok(self.cast_to(name, &DataType::Int64, "integers")?.as_primitive().clone())
    }

    /// A column of numbers, as 64-bit floats.
    ///
    /// # Errors
    /// [`TableError::NoColumn`], or [`TableError::WrongType`] if it is not of numbers.
    pub fn floats(&self, name: &str) -> Result<Float64Array, TableError> {
        Ok(self.cast_to(name, &DataType::Float64, "numbers")?.as_primitive().clone())
    }

    /// A column of vectors (lists of numbers), as a list of 32-bit floats.
    ///
    /// # Errors
    /// [`TableError::NoColumn`], or [`TableError::WrongType`] if it is not of lists of numbers.
    pub fn vectors(&self, name: &str) -> Result<(ListArray, Float32Array), TableError> {
        let of = DataType::List(Arc::new(Field::new("item", DataType::Float32, true)));
        let lists = self.cast_to(name, &of, "lists of numbers")?.as_list::<i32>().clone();
        let values = lists.values().as_primitive().clone();
        Ok((lists, values))
    }

    fn index_of(&self, name: &str) -> Result<usize, TableError> {
        self.schema
            .index_of(name)
            .map_err(|_| TableError::NoColumn { column: name.to_owned(), columns: self.column_names() })
    }

    fn cast_to(&self, name: &str, to: &DataType, expected: &'static str) -> Result<ArrayRef, TableError> {
        let column = self.column(name)?;
        let wrong =
            || TableError::WrongType { column: name.to_owned(), actual: column.data_type().to_string(), expected };
        let cast_column = cast(&column, to).map_err(|_| wrong())?;
        if cast_column.null_count() == column.null_count() { Ok(cast_column) } else { Err(wrong()) }
    }
}

/// Refuses a column with nulls: for those that must be complete.
///
/// # Errors
/// [`TableError::Nulls`] with the count.
pub fn complete<A: Array>(name: &str, array: A) -> Result<A, TableError> {
    match array.null_count() {
        0 => Ok(array),
        nulls => Err(TableError::Nulls { column: name.to_owned(), nulls }),
    }
}
