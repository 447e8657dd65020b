//! A model as a table: one row for each named tensor.
//!
//! # Columns
//! `name: str`, `shape: list<i64>`, `values: list<f32>` (row-major).

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float32Builder, Int64Builder, ListBuilder, StringArray};
use arrow::datatypes::Int64Type;

use super::two_tower::Tensor;
use crate::table::{Table, TableError, complete};

/// The columns, for a stage's output port.
pub const MODEL_COLUMNS: &[(&str, &str)] = &[("name", "str"), ("shape", "list<i64>"), ("values", "list<f32>")];

/// The table of some tensors, in their order.
///
/// # Errors
/// [`TableError`] if it cannot be assembled.
pub fn table_of_tensors(tensors: &[Tensor]) -> Result<Table, TableError> {
    let names: StringArray = tensors.iter().map(|tensor| Some(tensor.name.as_str())).collect();
    let mut shapes = ListBuilder::new(Int64Builder::new());
    let mut values = ListBuilder::new(Float32Builder::new());
    for tensor in tensors {
        shapes.append_value(tensor.shape.iter().map(|size| Some(*size as i64)));
        values.values().append_slice(&tensor.values);
        values.append(true);
    }
    let columns: [(&str, ArrayRef); 3] =
        [("name", Arc::new(names)), ("shape", Arc::new(shapes.finish())), ("values", Arc::new(values.finish()))];
    Table::of_columns(columns)
}

/// The tensors of a model's table, in its order.
///
/// # Errors
/// [`TableError`] if a column is missing or of another type.
pub fn tensors_of_table(table: &Table) -> Result<Vec<Tensor>, TableError> {
    let names = complete("name", table.strings("name")?)?;
    let (values, floats) = table.vectors("values")?;
    let shapes = table.column("shape")?;
    let wrong = || TableError::WrongType {
        column: "shape".to_owned(),
        actual: shapes.data_type().to_string(),
        expected: "lists of integers",
    };
    let lists = shapes.as_list_opt::<i32>().ok_or_else(wrong)?;
    let sizes = lists.values().as_primitive_opt::<Int64Type>().ok_or_else(wrong)?;
    let (value_ends, shape_ends) = (values.value_offsets(), lists.value_offsets());
    let tensors = (0..names.len()).map(|row| Tensor {
        name: names.value(row).to_owned(),
        shape: sizes.values()[shape_ends[row] as usize..shape_ends[row + 1] as usize]
            .iter()
            .map(|s| *s as usize)
            .collect(),
        values: floats.values()[value_ends[row] as usize..value_ends[row + 1] as usize].to_vec(),
    });
    Ok(tensors.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_survive_a_table() {
        let tensor = |name: &str, shape: &[usize], values: &[f32]| Tensor {
            name: name.to_owned(),
            shape: shape.to_vec(),
            values: values.to_vec(),
        };
        let tensors = [tensor("a.weight", &[2, 2], &[1.0, -2.0, 0.5, 4.0]), tensor("b", &[1], &[7.0])];
        let table = table_of_tensors(&tensors).unwrap();
        assert_eq!(tensors_of_table(&table).unwrap(), tensors);
        assert_eq!(table.column_names(), MODEL_COLUMNS.iter().map(|c| c.0).collect::<Vec<_>>());
    }
}
