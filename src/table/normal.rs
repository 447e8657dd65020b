//! One spelling for each type: the same texts may come as `Utf8`, `LargeUtf8`,
//! `Utf8View` or a dictionary, the same lists with 32- or 64-bit offsets or of
//! fixed size. Tables are brought to the plainest form where they enter and
//! leave the program, and types are named in one way for people.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;

use super::{Table, TableError};

/// The plainest type that holds the same values; nested fields become nullable.
#[must_use]
pub fn normal_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => DataType::Binary,
        DataType::Dictionary(_, values) => normal_type(values),
        DataType::List(field)
        | DataType::LargeList(field)
        | DataType::ListView(field)
        | DataType::LargeListView(field)
        | DataType::FixedSizeList(field, _) => {
            DataType::List(Arc::new(Field::new("item", normal_type(field.data_type()), true)))
        }
        DataType::Struct(fields) => {
            DataType::Struct(fields.iter().map(|field| normal_field(field)).collect::<Fields>())
        }
        other => other.clone(),
    }
}

fn normal_field(field: &Field) -> Field {
    Field::new(field.name(), normal_type(field.data_type()), true)
}

/// The schema with every type in its plainest form, every column nullable and
/// no metadata.
#[must_use]
pub(super) fn normal_schema(schema: &Schema) -> SchemaRef {
    Arc::new(Schema::new(schema.fields().iter().map(|field| normal_field(field)).collect::<Fields>()))
}

/// The same rows under `normal_schema`.
///
/// # Errors
/// [`TableError::Arrow`] if a column does not fit its plainest type: more than
/// 2 GiB of text in one batch.
pub fn normalise(table: &Table) -> Result<Table, TableError> {
    let schema = normal_schema(table.schema());
    if schema == *table.schema() {
        return Ok(table.clone());
    }
    let batches = table.batches().iter().map(|batch| normal_batch(batch, &schema)).collect::<Result<_, _>>()?;
    Ok(Table::new(schema, batches))
}

/// The rows of a batch under this schema, whose types are theirs or the plainest of them.
pub(super) fn normal_batch(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, TableError> {
    let refused = |source| TableError::Arrow { action: "bring to plain types", source };
    let arrays = batch.columns().iter().zip(schema.fields()).map(|(array, field)| normal_array(array, field));
    let arrays = arrays.collect::<Result<Vec<_>, _>>().map_err(refused)?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), arrays, &options).map_err(refused)
}

/// The values of a column in the type of this field, its own or the plainest of it.
pub(super) fn normal_array(array: &ArrayRef, field: &Field) -> Result<ArrayRef, ArrowError> {
    if array.data_type() == field.data_type() { Ok(Arc::clone(array)) } else { cast(array, field.data_type()) }
}

/// A type's name for people, the same for every spelling of it: `str`, `i64`,
/// `f32`, `bool`, `list<f32>`, `date`, `timestamp[us, UTC]`, `struct<a: str>`.
#[must_use]
pub fn type_name(data_type: &DataType) -> String {
    match normal_type(data_type) {
        DataType::Null => "null".to_owned(),
        DataType::Boolean => "bool".to_owned(),
        DataType::Int8 => "i8".to_owned(),
        DataType::Int16 => "i16".to_owned(),
        DataType::Int32 => "i32".to_owned(),
        DataType::Int64 => "i64".to_owned(),
        DataType::UInt8 => "u8".to_owned(),
        DataType::UInt16 => "u16".to_owned(),
        DataType::UInt32 => "u32".to_owned(),
        DataType::UInt64 => "u64".to_owned(),
        DataType::Float16 => "f16".to_owned(),
        DataType::Float32 => "f32".to_owned(),
        DataType::Float64 => "f64".to_owned(),
        DataType::Utf8 => "str".to_owned(),
        DataType::Binary => "bytes".to_owned(),
        DataType::Date32 => "date".to_owned(),
        DataType::Date64 => "date[ms]".to_owned(),
        DataType::Time32(unit) | DataType::Time64(unit) => format!("time[{}]", unit_name(unit)),
        DataType::Duration(unit) => format!("duration[{}]", unit_name(unit)),
        DataType::Timestamp(unit, None) => format!("timestamp[{}]", unit_name(unit)),
        DataType::Timestamp(unit, Some(zone)) => format!("timestamp[{}, {zone}]", unit_name(unit)),
        DataType::List(field) => format!("list<{}>", type_name(field.data_type())),
        DataType::Struct(fields) => {
            let inner: Vec<_> = fields.iter().map(|f| format!("{}: {}", f.name(), type_name(f.data_type()))).collect();
            format!("struct<{}>", inner.join(", "))
        }
        other => other.to_string(),
    }
}

fn unit_name(unit: TimeUnit) -> &'static str {
    match unit {
        TimeUnit::Second => "s",
        TimeUnit::Millisecond => "ms",
        TimeUnit::Microsecond => "us",
        TimeUnit::Nanosecond => "ns",
    }
}
