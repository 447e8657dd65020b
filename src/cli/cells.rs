//! Values of artifacts as text and as JSON.

use std::path::Path;

use anyhow::Context;
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int32Type, Int64Type, UInt32Type, UInt64Type};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use serde_json::{Map, Number, Value};

use super::grid::{Align, Grid};
use crate::table::{Table, read_first_rows};

/// How many numbers of a list are printed.
const SHOWN_OF_LIST: usize = 4;

/// The first rows of an artifact.
///
/// # Errors
/// If the file cannot be read.
pub(super) fn first_rows(path: &Path, rows: usize) -> anyhow::Result<Table> {
    read_first_rows(path, rows).with_context(|| format!("could not read the artifact `{}`", path.display()))
}

/// A table as a grid: numbers to the right; columns of lists only if `lists`.
///
/// # Errors
/// If a value cannot be printed.
pub(super) fn grid(table: &Table, lists: bool) -> anyhow::Result<Grid> {
    let batch = table.single_batch()?;
    let fields: Vec<_> = batch
        .schema()
        .fields()
        .iter()
        .enumerate()
        .filter(|(_, field)| lists || !is_list(field.data_type()))
        .map(|(index, field)| (index, field.name().clone(), field.data_type().clone()))
        .collect();
    let mut grid = Grid::new(fields.iter().map(|(_, name, data_type)| (name.clone(), align(data_type))));
    for row in 0..batch.num_rows() {
        let cells = fields.iter().map(|(index, _, _)| text(&json(batch.column(*index), row)));
        grid.row(cells.collect::<Vec<_>>());
    }
    Ok(grid)
}

/// A table's rows as JSON objects.
///
/// # Errors
/// If the parts of the table do not fit together.
pub(super) fn rows_as_json(table: &Table) -> anyhow::Result<Vec<Value>> {
    let batch = table.single_batch()?;
    let names = table.column_names();
    let object = |row| {
        let cells = names.iter().zip(batch.columns()).map(|(name, column)| (name.clone(), json(column, row)));
        Value::Object(cells.collect::<Map<_, _>>())
    };
    Ok((0..batch.num_rows()).map(object).collect())
}

fn is_list(data_type: &DataType) -> bool {
    matches!(data_type, DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(_, _))
}

fn align(data_type: &DataType) -> Align {
    if data_type.is_numeric() { Align::Right } else { Align::Left }
}

/// One value as JSON; what JSON cannot say is text.
fn json(column: &ArrayRef, row: usize) -> Value {
    if column.is_null(row) {
        return Value::Null;
    }
    match column.data_type() {
        DataType::Boolean => Value::Bool(column.as_boolean().value(row)),
        DataType::Utf8 => Value::String(column.as_string::<i32>().value(row).to_owned()),
        DataType::Int32 => column.as_primitive::<Int32Type>().value(row).into(),
        DataType::Int64 => column.as_primitive::<Int64Type>().value(row).into(),
        DataType::UInt32 => column.as_primitive::<UInt32Type>().value(row).into(),
        DataType::UInt64 => column.as_primitive::<UInt64Type>().value(row).into(),
        DataType::Float32 => short_float(column.as_primitive::<Float32Type>().value(row)),
        DataType::Float64 => {
            Number::from_f64(column.as_primitive::<Float64Type>().value(row)).map_or(Value::Null, Value::Number)
        }
        DataType::List(_) => {
            let items = column.as_list::<i32>().value(row);
            Value::Array((0..items.len()).map(|item| json(&items, item)).collect())
        }
        _ => Value::String(formatted(column, row)),
    }
}

/// A 32-bit float with the digits that it has, not those of its 64-bit form.
fn short_float(value: f32) -> Value {
    let number = value.to_string().parse().ok().and_then(Number::from_f64);
    number.map_or(Value::Null, Value::Number)
}

fn formatted(column: &ArrayRef, row: usize) -> String {
    match ArrayFormatter::try_new(column, &FormatOptions::default()) {
        Ok(formatter) => formatter.value(row).to_string(),
        Err(_) => format!("({})", column.data_type()),
    }
}

/// A JSON value as a cell.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Null => "–".to_owned(),
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_f64() => number.as_f64().map_or_else(String::new, decimal),
        Value::Array(items) => {
            let shown: Vec<String> = items.iter().take(SHOWN_OF_LIST).map(text).collect();
            let more =
                if items.len() > SHOWN_OF_LIST { format!(", … {} in all", items.len()) } else { String::new() };
            format!("[{}{more}]", shown.join(", "))
        }
        other => other.to_string(),
    }
}

/// Four decimals, or three significant digits where that would say nothing.
pub(super) fn decimal(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 || (0.001..1e7).contains(&size) { format!("{value:.4}") } else { format!("{value:.2e}") }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Float32Array, Float64Array, Int64Array, ListArray, StringArray};
    use serde_json::json;

    use super::*;

    fn table() -> Table {
        let vectors =
            ListArray::from_iter_primitive::<Float32Type, _, _>([Some([0.1_f32, 0.2, 0.3, 0.4, 0.5].map(Some)), None]);
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("name", Arc::new(StringArray::from(vec![Some("a\nb"), None]))),
            ("count", Arc::new(Int64Array::from(vec![1, 20]))),
            ("share", Arc::new(Float64Array::from(vec![0.123_456, 1e-9]))),
            ("small", Arc::new(Float32Array::from(vec![0.1, f32::NAN]))),
            ("vector", Arc::new(vectors)),
        ];
        Table::of_columns(columns).unwrap()
    }

    #[test]
    fn rows_become_json() {
        let rows = rows_as_json(&table()).unwrap();
        assert_eq!(
            rows[0],
            json!({"name": "a\nb", "count": 1, "share": 0.123_456, "small": 0.1, "vector": [0.1, 0.2, 0.3, 0.4, 0.5]})
        );
        assert_eq!(rows[1], json!({"name": null, "count": 20, "share": 1e-9, "small": null, "vector": null}));
    }

    #[test]
    fn rows_become_a_grid() {
        let text = grid(&table(), true).unwrap().text(0, 60);
        let expected = "\
name  count    share   small  vector
────  ─────  ───────  ──────  ────────────────────────────────────────────
a b       1   0.1235  0.1000  [0.1000, 0.2000, 0.3000, 0.4000, … 5 in all]
–        20  1.00e-9       –  –";
        assert_eq!(text, expected);
        assert!(!grid(&table(), false).unwrap().text(0, 60).contains("vector"));
    }
}
