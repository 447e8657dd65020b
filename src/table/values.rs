//! Values of tables as JSON and as text for people.

use arrow::array::ArrayRef;
use serde_json::{Map, Value};

use super::value_bytes::write_json;
use super::{Table, TableError};

/// How many numbers of a list are printed.
const SHOWN_OF_LIST: usize = 4;

/// A table's rows as JSON objects.
///
/// # Errors
/// If the parts of the table do not fit together.
pub fn rows_as_json(table: &Table) -> Result<Vec<Value>, TableError> {
    let batch = table.single_batch()?;
    let names = table.column_names();
    let object = |row| {
        let cells = names.iter().zip(batch.columns()).map(|(name, column)| (name.clone(), json_value(column, row)));
        Value::Object(cells.collect::<Map<_, _>>())
    };
    Ok((0..batch.num_rows()).map(object).collect())
}

/// One value as JSON; what JSON cannot say is text, and a number that is none is null.
#[must_use]
pub fn json_value(column: &ArrayRef, row: usize) -> Value {
    let mut text = Vec::new();
    write_json(&mut text, column, row);
    serde_json::from_slice(&text).unwrap_or(Value::Null)
}

/// A JSON value in short, for people: `–` for null, four decimals, the first items of a list.
#[must_use]
pub fn value_text(value: &Value) -> String {
    match value {
        Value::Null => "–".to_owned(),
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_f64() => number.as_f64().map_or_else(String::new, decimal),
        Value::Array(items) => {
            let shown: Vec<String> = items.iter().take(SHOWN_OF_LIST).map(value_text).collect();
            let more =
                if items.len() > SHOWN_OF_LIST { format!(", … {} in all", items.len()) } else { String::new() };
            format!("[{}{more}]", shown.join(", "))
        }
        other => other.to_string(),
    }
}

/// Four decimals, or three significant digits where that would say nothing.
#[must_use]
pub fn decimal(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 || (0.001..1e7).contains(&size) { format!("{value:.4}") } else { format!("{value:.2e}") }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Float32Array, Float64Array, Int64Array, ListArray, StringArray};
    use arrow::datatypes::Float32Type;
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
}
