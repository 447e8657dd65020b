//! Artifacts as grids.

use std::path::Path;

use anyhow::Context;
use arrow::datatypes::DataType;

use super::grid::{Align, Grid};
use crate::table::{Table, json_value, read_first_rows, value_text};

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
        let cells = fields.iter().map(|(index, _, _)| value_text(&json_value(batch.column(*index), row)));
        grid.row(cells.collect::<Vec<_>>());
    }
    Ok(grid)
}

fn is_list(data_type: &DataType) -> bool {
    matches!(data_type, DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(_, _))
}

fn align(data_type: &DataType) -> Align {
    if data_type.is_numeric() { Align::Right } else { Align::Left }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Float32Array, Float64Array, Int64Array, ListArray, StringArray};
    use arrow::datatypes::Float32Type;

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
