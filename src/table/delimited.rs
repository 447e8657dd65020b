//! Delimited text (CSV, TSV) to tables: decoding, rows that do not fit, and
//! the types of columns.
//!
//! Not for formats that state their types; those are read as they are.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray};
use arrow::datatypes::Schema;
use csv::{ByteRecord, ReaderBuilder};
use encoding_rs::{Encoding, UTF_8};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Table, TableError};

/// The type of a column of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ColumnType {
    /// Text, as it stands.
    Str,
    /// Whole numbers of 64 bits.
    Int,
    /// 64-bit floats.
    Float,
    /// `true` or `false`, in any case, or `1` or `0`.
    Bool,
}

/// How a text is laid out and what is wanted of it.
#[derive(Debug, Clone)]
pub struct Layout<'a> {
    /// Between two values.
    pub delimiter: u8,
    /// Whether `"` encloses values; if not it is a character like any other.
    pub quote: bool,
    /// The text's encoding; a byte order mark wins over it.
    pub encoding: &'static Encoding,
    /// New name by source column, of the columns wanted; all if empty.
    pub columns: &'a BTreeMap<String, String>,
    /// Types by new name; the others are found from the values.
    pub types: &'a BTreeMap<String, ColumnType>,
    /// New names of columns that are text unless `types` says otherwise.
    pub texts: &'a [&'a str],
}

/// A row that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRow {
    /// The line on which it begins, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub why: String,
}

/// The rows that could be read and those that could not.
#[derive(Debug)]
pub struct Delimited {
    /// The good rows, in the text's order, with the columns in its order.
    pub table: Table,
    /// The bad rows, in the text's order.
    pub bad: Vec<BadRow>,
}

/// Reads a delimited text whose first row names the columns.
///
/// - An empty value is null. Empty lines are skipped. An empty text has no columns.
/// - A column without a name is called `column_N` (from 1); of two of one name
///   the second is called `name_2`.
/// - A row with another number of values than the first, with bytes that the
///   encoding does not know, or with a value that is not of its column's stated
///   type, is bad.
/// - A type that is not stated is the first of these that every value of the
///   column is: whole number, float, `true`/`false`, text. Whole numbers with
///   leading zeros or more than 18 digits are text.
///
/// # Errors
/// [`TableError::NoColumn`] if a source column or a typed column does not exist.
pub fn read_delimited(bytes: &[u8], layout: &Layout<'_>) -> Result<Delimited, TableError> {
    let (bytes, encoding) = as_utf8(bytes, layout.encoding);
    let mut reader = ReaderBuilder::new()
        .delimiter(layout.delimiter)
        .quoting(layout.quote)
        .flexible(true)
        .has_headers(false)
        .from_reader(bytes.as_ref());
    let mut record = ByteRecord::new();
    let header = if next(&mut reader, &mut record) { names(&record) } else { Vec::new() };
    let mut columns = wanted(&header, layout)?;
    let mut bad = Vec::new();
    let mut lines = Lines { bytes: &bytes, counted: 0, newlines: 0 };
    while next(&mut reader, &mut record) {
        let start = record.position().map_or(0, csv::Position::byte) as usize;
        if let Err(why) = take(&record, &mut columns, header.len(), encoding) {
            bad.push(BadRow { line: lines.line_at(start), why });
        }
    }
    if columns.is_empty() {
        return Ok(Delimited { table: Table::new(Arc::new(Schema::empty()), Vec::new()), bad });
    }
    let arrays = columns.into_iter().map(|column| (column.name.clone(), column.into_array()));
    Ok(Delimited { table: Table::of_columns(arrays)?, bad })
}

/// Counts lines up to a byte; the bytes asked for ascend.
struct Lines<'a> {
    bytes: &'a [u8],
    counted: usize,
    newlines: u64,
}

impl Lines<'_> {
    /// The line, from 1, of the first character at or after `start`: where a
    /// line ends in two characters, a row is said to start at the second.
    fn line_at(&mut self, start: usize) -> u64 {
        let rest = self.bytes.get(start..).unwrap_or_default();
        let end = start + rest.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        let between = self.bytes.get(self.counted..end).unwrap_or_default();
        self.newlines += between.split(|byte| *byte == b'\n').count().saturating_sub(1) as u64;
        self.counted = self.counted.max(end);
        self.newlines + 1
    }
}

/// The bytes as UTF-8, and the encoding they were in. UTF-8 is passed through:
/// its errors are told row by row.
fn as_utf8<'a>(bytes: &'a [u8], stated: &'static Encoding) -> (std::borrow::Cow<'a, [u8]>, &'static Encoding) {
    let (encoding, mark) = Encoding::for_bom(bytes).unwrap_or((stated, 0));
    let bytes = bytes.get(mark..).unwrap_or_default();
    if encoding == UTF_8 {
        return (bytes.into(), encoding);
    }
    let (text, _) = encoding.decode_without_bom_handling(bytes);
    (text.into_owned().into_bytes().into(), encoding)
}

/// Reading from memory into bytes has no errors but those of a broken reader.
fn next(reader: &mut csv::Reader<&[u8]>, record: &mut ByteRecord) -> bool {
    reader.read_byte_record(record).unwrap_or(false)
}

fn names(record: &ByteRecord) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for (at, field) in record.iter().enumerate() {
        let text = String::from_utf8_lossy(field).trim().to_owned();
        let base = if text.is_empty() { format!("column_{}", at + 1) } else { text };
        let mut name = base.clone();
        let mut count = 1;
        while names.contains(&name) {
            count += 1;
            name = format!("{base}_{count}");
        }
        names.push(name);
    }
    names
}

struct Column {
    name: String,
    /// Where it stands in the text.
    at: usize,
    stated: Option<ColumnType>,
    values: Vec<Option<String>>,
}

fn wanted(header: &[String], layout: &Layout<'_>) -> Result<Vec<Column>, TableError> {
    let no_column = |column: &String, columns: &[String]| TableError::NoColumn {
        column: column.clone(),
        columns: columns.to_vec(),
    };
    let mut columns: Vec<Column> = Vec::new();
    if layout.columns.is_empty() {
        let all = header.iter().enumerate();
        columns.extend(all.map(|(at, name)| Column { name: name.clone(), at, stated: None, values: Vec::new() }));
    }
    for (name, source) in layout.columns {
        let at = header.iter().position(|column| column == source).ok_or_else(|| no_column(source, header))?;
        columns.push(Column { name: name.clone(), at, stated: None, values: Vec::new() });
    }
    columns.sort_by(|one, other| (one.at, &one.name).cmp(&(other.at, &other.name)));
    for column in columns.iter_mut().filter(|column| layout.texts.contains(&column.name.as_str())) {
        column.stated = Some(ColumnType::Str);
    }
    let found: Vec<String> = columns.iter().map(|column| column.name.clone()).collect();
    for (name, stated) in layout.types {
        let column = columns.iter_mut().find(|column| column.name == *name).ok_or_else(|| no_column(name, &found))?;
        column.stated = Some(*stated);
    }
    Ok(columns)
}

/// Adds one row to every column, or to none.
fn take(record: &ByteRecord, columns: &mut [Column], fields: usize, encoding: &'static Encoding) -> Result<(), String> {
    if record.len() != fields {
        return Err(format!("{} values instead of {fields}", record.len()));
    }
    let mut values = Vec::with_capacity(columns.len());
    for column in columns.iter() {
        let field = record.get(column.at).unwrap_or_default();
        let text = std::str::from_utf8(field).map_err(|error| {
            let byte = field.get(error.valid_up_to()).copied().unwrap_or_default();
            format!("`{}` is not {}: byte 0x{byte:02X}", column.name, encoding.name())
        })?;
        if encoding != UTF_8 && text.contains(char::REPLACEMENT_CHARACTER) {
            return Err(format!("`{}` is not {}", column.name, encoding.name()));
        }
        let text = (!text.is_empty()).then_some(text);
        if let (Some(text), Some(stated)) = (text, column.stated)
            && !fits(text, stated)
        {
            return Err(format!("`{}` is `{text}`, which is not {}", column.name, stated.noun()));
        }
        values.push(text.map(str::to_owned));
    }
    for (column, value) in columns.iter_mut().zip(values) {
        column.values.push(value);
    }
    Ok(())
}

impl ColumnType {
    fn noun(self) -> &'static str {
        match self {
            Self::Str => "text",
            Self::Int => "a whole number",
            Self::Float => "a number",
            Self::Bool => "true or false",
        }
    }
}

fn fits(text: &str, stated: ColumnType) -> bool {
    match stated {
        ColumnType::Str => true,
        ColumnType::Int => text.trim().parse::<i64>().is_ok(),
        ColumnType::Float => text.trim().parse::<f64>().is_ok(),
        ColumnType::Bool => as_bool(text).is_some(),
    }
}

fn as_bool(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "true" | "1" => Some(true),
        "false" | "0" => Some(false),
        _ => None,
    }
}

impl Column {
    fn into_array(self) -> ArrayRef {
        let trimmed = |value: &Option<String>| value.as_deref().map(str::trim).map(str::to_owned);
        match self.stated.unwrap_or_else(|| found_type(&self.values)) {
            ColumnType::Str => Arc::new(StringArray::from(self.values)),
            ColumnType::Int => Arc::new(self.values.iter().map(|v| trimmed(v)?.parse().ok()).collect::<Int64Array>()),
            ColumnType::Float => {
                Arc::new(self.values.iter().map(|v| trimmed(v)?.parse().ok()).collect::<Float64Array>())
            }
            ColumnType::Bool => Arc::new(self.values.iter().map(|v| as_bool(v.as_deref()?)).collect::<BooleanArray>()),
        }
    }
}

/// The first type that every value is; text if there is no value.
fn found_type(values: &[Option<String>]) -> ColumnType {
    let mut present = values.iter().flatten().peekable();
    if present.peek().is_none() {
        return ColumnType::Str;
    }
    let (mut whole, mut number, mut truth) = (true, true, true);
    for value in present {
        whole = whole && is_whole(value);
        number = number && (is_whole(value) || is_decimal(value));
        truth = truth && ["true", "false"].contains(&value.to_ascii_lowercase().as_str());
        if !(whole || number || truth) {
            return ColumnType::Str;
        }
    }
    match (whole, number) {
        (true, _) => ColumnType::Int,
        (_, true) => ColumnType::Float,
        _ => ColumnType::Bool,
    }
}

fn is_whole(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let leading_zero = digits.len() > 1 && digits.starts_with('0');
    !digits.is_empty() && digits.len() <= 18 && digits.bytes().all(|b| b.is_ascii_digit()) && !leading_zero
}

fn is_decimal(text: &str) -> bool {
    let shaped = text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'+' | b'e' | b'E'));
    shaped && text.contains(['.', 'e', 'E']) && text.parse::<f64>().is_ok_and(f64::is_finite)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::datatypes::DataType;
    use encoding_rs::WINDOWS_1252;

    fn layout<'a>(columns: &'a BTreeMap<String, String>, types: &'a BTreeMap<String, ColumnType>) -> Layout<'a> {
        Layout { delimiter: b',', quote: true, encoding: UTF_8, columns, types, texts: &["id"] }
    }

    fn read(text: &[u8]) -> Delimited {
        let (columns, types) = (BTreeMap::new(), BTreeMap::new());
        read_delimited(text, &layout(&columns, &types)).unwrap()
    }

    #[test]
    fn types_are_found_over_whole_columns() {
        let text = b"a,b,c,d,e,f\n1,1,TRUE,01,,9999999999999999999\n-2,1.5e-06,false,2,,1\n,3,,3,,\n";
        let types: Vec<DataType> = read(text).table.schema().fields().iter().map(|f| f.data_type().clone()).collect();
        let (text, whole, float, truth) = (DataType::Utf8, DataType::Int64, DataType::Float64, DataType::Boolean);
        assert_eq!(types, [whole, float, truth, text.clone(), text.clone(), text]);
        assert_eq!(read(b"id\n7\n").table.schema().field(0).data_type(), &DataType::Utf8);
    }

    #[test]
    fn columns_without_a_name_or_with_one_twice_get_one() {
        assert_eq!(read(b",a,a,\n1,2,3,4\n").table.column_names(), ["column_1", "a", "a_2", "column_4"]);
        assert_eq!(read(b"").table.column_names(), Vec::<String>::new());
    }

    #[test]
    fn bad_rows_are_told_with_their_lines() {
        let read = read(b"a,b\r\n1,\"x\ny\"\r\n2\r\n3,caf\xe9\r\n4,z\r\n");
        let bad: Vec<_> = read.bad.iter().map(|bad| (bad.line, bad.why.as_str())).collect();
        assert_eq!(bad, [(4, "1 values instead of 2"), (5, "`b` is not UTF-8: byte 0xE9")]);
        assert_eq!(read.table.rows(), 2);
    }

    #[test]
    fn stated_types_make_rows_bad_that_are_not_of_them() {
        let columns = BTreeMap::from([("n".to_owned(), "a".to_owned())]);
        let types = BTreeMap::from([("n".to_owned(), ColumnType::Int)]);
        let read = read_delimited(b"a,b\n007,x\nseven,y\n", &layout(&columns, &types)).unwrap();
        assert_eq!(read.table.integers("n").unwrap().values().to_vec(), [7]);
        assert_eq!(read.bad, [BadRow { line: 3, why: "`n` is `seven`, which is not a whole number".to_owned() }]);
        let missing = BTreeMap::from([("n".to_owned(), "x".to_owned())]);
        assert!(matches!(read_delimited(b"a\n", &layout(&missing, &types)), Err(TableError::NoColumn { .. })));
    }

    #[test]
    fn other_encodings_and_marks_are_understood() {
        let (columns, types) = (BTreeMap::new(), BTreeMap::new());
        let latin = Layout { encoding: WINDOWS_1252, ..layout(&columns, &types) };
        let value =
            |bytes: &[u8]| read_delimited(bytes, &latin).unwrap().table.strings("a").unwrap().value(0).to_owned();
        assert_eq!(value(b"a\ncaf\xe9\n"), "caf\u{e9}");
        assert_eq!(value(b"\xef\xbb\xbfa\ncaf\xc3\xa9\n"), "caf\u{e9}");
        let wide: Vec<u8> = "\u{feff}a\ncafé\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(value(&wide), "caf\u{e9}");
    }

    #[test]
    fn without_quoting_a_quote_is_a_character() {
        let (columns, types) = (BTreeMap::new(), BTreeMap::new());
        let tsv = Layout { delimiter: b'\t', quote: false, ..layout(&columns, &types) };
        let read = read_delimited(b"id\tname\n1\t\"Weird Al\n2\tx\n", &tsv).unwrap();
        assert_eq!(read.table.strings("name").unwrap().iter().flatten().collect::<Vec<_>>(), ["\"Weird Al", "x"]);
    }
}
