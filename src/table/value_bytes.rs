//! Values of tables as bytes of JSON and CSV. One spelling for both: times as
//! ISO 8601 in UTC, bytes in hexadecimal.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type,
    UInt64Type,
};
use arrow::util::display::{ArrayFormatter, FormatOptions};

/// Writes a value as JSON. Lists are arrays, structs objects; numbers that JSON
/// has none for (NaN, infinities) are null.
pub fn write_json(out: &mut Vec<u8>, column: &ArrayRef, row: usize) {
    macro_rules! number {
        ($of:ty) => {
            write_number(out, column.as_primitive::<$of>().value(row))
        };
    }
    if is_null(column, row) {
        return out.extend(b"null");
    }
    match column.data_type() {
        DataType::Boolean => out.extend(if column.as_boolean().value(row) { "true".bytes() } else { "false".bytes() }),
        DataType::Utf8 => write_text(out, column.as_string::<i32>().value(row)),
        DataType::Int8 => number!(Int8Type),
        DataType::Int16 => number!(Int16Type),
        DataType::Int32 => number!(Int32Type),
        DataType::Int64 => number!(Int64Type),
        DataType::UInt8 => number!(UInt8Type),
        DataType::UInt16 => number!(UInt16Type),
        DataType::UInt32 => number!(UInt32Type),
        DataType::UInt64 => number!(UInt64Type),
        DataType::Float32 => number!(Float32Type),
        DataType::Float64 => number!(Float64Type),
        DataType::List(_) => {
            let items = column.as_list::<i32>().value(row);
            out.push(b'[');
            for item in 0..items.len() {
                if item > 0 {
                    out.push(b',');
                }
                write_json(out, &items, item);
            }
            out.push(b']');
        }
        DataType::Struct(fields) => {
            let fields = fields.iter().map(|field| field.name().as_str());
            write_json_object(out, fields.zip(column.as_struct().columns()), row);
        }
        _ => write_text(out, &formatted(column, row)),
    }
}

/// Also of a column that has no type, whose values are all null.
fn is_null(column: &ArrayRef, row: usize) -> bool {
    *column.data_type() == DataType::Null || column.is_null(row)
}

/// Writes an object of columns' values in a row.
pub fn write_json_object<'a>(out: &mut Vec<u8>, columns: impl Iterator<Item = (&'a str, &'a ArrayRef)>, row: usize) {
    out.push(b'{');
    for (place, (name, column)) in columns.enumerate() {
        if place > 0 {
            out.push(b',');
        }
        write_text(out, name);
        out.push(b':');
        write_json(out, column, row);
    }
    out.push(b'}');
}

/// Writes a value as a field of CSV: null is nothing, an empty text `""`, lists
/// and structs are their JSON.
pub fn write_csv(out: &mut Vec<u8>, column: &ArrayRef, row: usize) {
    if is_null(column, row) {
        return;
    }
    match column.data_type() {
        DataType::Utf8 => write_csv_field(out, column.as_string::<i32>().value(row)),
        DataType::Float32 => write_float(out, f64::from(column.as_primitive::<Float32Type>().value(row)), column, row),
        DataType::Float64 => write_float(out, column.as_primitive::<Float64Type>().value(row), column, row),
        data_type if data_type.is_nested() => {
            let mut json = Vec::new();
            write_json(&mut json, column, row);
            write_csv_field(out, &String::from_utf8_lossy(&json));
        }
        data_type if data_type.is_numeric() || *data_type == DataType::Boolean => write_json(out, column, row),
        _ => write_csv_field(out, &formatted(column, row)),
    }
}

/// Writes a text as a field of CSV.
pub fn write_csv_field(out: &mut Vec<u8>, text: &str) {
    if !text.is_empty() && !text.contains(['"', ',', '\n', '\r']) {
        return out.extend(text.bytes());
    }
    out.push(b'"');
    out.extend(text.replace('"', "\"\"").bytes());
    out.push(b'"');
}

fn write_float(out: &mut Vec<u8>, value: f64, column: &ArrayRef, row: usize) {
    match value {
        value if value.is_nan() => out.extend(b"NaN"),
        f64::INFINITY => out.extend(b"inf"),
        f64::NEG_INFINITY => out.extend(b"-inf"),
        _ => write_json(out, column, row),
    }
}

fn write_number(out: &mut Vec<u8>, value: impl serde::Serialize) {
    // A vector takes all that is written.
    serde_json::to_writer(out, &value).ok();
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).ok();
}

/// A value of any other type as text.
fn formatted(column: &ArrayRef, row: usize) -> String {
    // Moments with a zone are kept in UTC; arrow knows few zones by name.
    let zoned = match column.data_type() {
        DataType::Timestamp(unit, Some(_)) => cast(&column.slice(row, 1), &DataType::Timestamp(*unit, None)).ok(),
        _ => None,
    };
    let (array, row, end) = zoned.as_ref().map_or((column, row, ""), |plain| (plain, 0, "Z"));
    match ArrayFormatter::try_new(array, &FormatOptions::default()) {
        Ok(formatter) => format!("{}{end}", formatter.value(row)),
        Err(_) => format!("({})", column.data_type()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        BinaryArray, BooleanArray, Date32Array, Float32Array, Float64Array, Int8Array, ListArray, StringArray,
        StructArray, TimestampMicrosecondArray, UInt64Array,
    };
    use arrow::datatypes::{Field, Int64Type as I64};

    use super::*;

    #[expect(clippy::needless_pass_by_value, reason = "each is made for the call")]
    fn both(column: ArrayRef) -> Vec<String> {
        let write = |row| {
            let (mut json, mut csv) = (Vec::new(), Vec::new());
            write_json(&mut json, &column, row);
            write_csv(&mut csv, &column, row);
            format!("{} {}", String::from_utf8(json).unwrap(), String::from_utf8(csv).unwrap())
        };
        (0..column.len()).map(write).collect()
    }

    #[test]
    fn texts_are_escaped_and_null_is_told_from_the_empty_text() {
        let texts = vec![Some("plain text"), None, Some(""), Some("a,b"), Some("say \"hi\"\n"), Some("ü\t\u{1}")];
        let expected = [
            "\"plain text\" plain text",
            "null ",
            "\"\" \"\"",
            "\"a,b\" \"a,b\"",
            "\"say \\\"hi\\\"\\n\" \"say \"\"hi\"\"\n\"",
            "\"ü\\t\\u0001\" ü\t\u{1}",
        ];
        assert_eq!(both(Arc::new(StringArray::from(texts))), expected);
    }

    #[test]
    fn numbers_have_their_own_digits_and_what_is_none_is_said() {
        let floats = vec![0.1, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300, -0.0];
        let expected = ["0.1 0.1", "null NaN", "null inf", "null -inf", "1e+300 1e+300", "-0.0 -0.0"];
        assert_eq!(both(Arc::new(Float64Array::from(floats))), expected);
        assert_eq!(both(Arc::new(Float32Array::from(vec![0.1, f32::NAN]))), ["0.1 0.1", "null NaN"]);
        assert_eq!(both(Arc::new(UInt64Array::from(vec![u64::MAX]))), [format!("{0} {0}", u64::MAX)]);
        assert_eq!(both(Arc::new(Int8Array::from(vec![-8]))), ["-8 -8"]);
        assert_eq!(both(Arc::new(BooleanArray::from(vec![true, false]))), ["true true", "false false"]);
    }

    #[test]
    fn lists_and_structs_are_json_in_csv_too() {
        let lists = ListArray::from_iter_primitive::<I64, _, _>([Some(vec![Some(1), None]), Some(vec![]), None]);
        assert_eq!(both(Arc::new(lists.clone())), ["[1,null] \"[1,null]\"", "[] []", "null "]);
        let field = |name, array: &ArrayRef| Arc::new(Field::new(name, array.data_type().clone(), true));
        let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None, Some("c")]));
        let lists: ArrayRef = Arc::new(lists);
        let nested = StructArray::from(vec![(field("t", &texts), texts), (field("l", &lists), lists)]);
        let expected = r#"{"t":"a","l":[1,null]} "{""t"":""a"",""l"":[1,null]}""#;
        assert_eq!(both(Arc::new(nested))[0], expected);
    }

    #[test]
    fn moments_are_iso_8601_and_in_utc() {
        assert_eq!(both(Arc::new(Date32Array::from(vec![0]))), ["\"1970-01-01\" 1970-01-01"]);
        let moment = TimestampMicrosecondArray::from(vec![1_500_000]);
        assert_eq!(both(Arc::new(moment.clone())), ["\"1970-01-01T00:00:01.500\" 1970-01-01T00:00:01.500"]);
        let zoned = moment.with_timezone("Europe/Oslo");
        assert_eq!(both(Arc::new(zoned)), ["\"1970-01-01T00:00:01.500Z\" 1970-01-01T00:00:01.500Z"]);
        assert_eq!(both(Arc::new(BinaryArray::from(vec![&[1_u8, 255][..]]))), ["\"01ff\" 01ff"]);
    }
}
