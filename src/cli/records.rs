//! Rows of a table on their way out, some at a time, in one of several formats.

use std::io::{self, Write};
use std::path::Path;

use arrow::array::RecordBatch;
use clap::ValueEnum;

use super::cells;
use super::errors::Mistake;
use crate::table::{ParquetWriter, Table, TableError, write_csv, write_csv_field, write_json_object};

/// Bytes that are put together before they are written.
const BUFFER: usize = 256 * 1024;

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Aligned columns, for people
    Table,
    /// A line of names, then a line for each row; null is nothing, an empty text ""
    Csv,
    /// An array of objects
    Json,
    /// An object on each line
    Jsonl,
    /// A Parquet file
    Parquet,
}

impl Format {
    /// The format that a file's name asks for.
    pub(super) fn of_file(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "csv" => Some(Self::Csv),
            "json" => Some(Self::Json),
            "jsonl" | "ndjson" => Some(Self::Jsonl),
            "parquet" | "pq" => Some(Self::Parquet),
            _ => None,
        }
    }
}

/// Writes rows in a format that needs no more than those at hand.
pub(super) enum Records<W: Write + Send> {
    Csv(W),
    Json {
        out: W,
        rows: u64,
    },
    Jsonl(W),
    Parquet(ParquetWriter<W>),
    /// A table for people is held as a whole.
    Table {
        out: W,
        tables: Vec<Table>,
        head: Table,
    },
}

impl<W: Write + Send> Records<W> {
    /// Begins the output for rows with the columns of `head`, which has none itself.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn start(format: Format, mut out: W, head: &Table) -> anyhow::Result<Self> {
        Ok(match format {
            Format::Table => Self::Table { out, tables: Vec::new(), head: head.clone() },
            Format::Json => Self::Json { out, rows: 0 },
            Format::Jsonl => Self::Jsonl(out),
            Format::Csv => {
                let mut line = Vec::new();
                for (place, name) in head.column_names().iter().enumerate() {
                    separate(&mut line, place);
                    write_csv_field(&mut line, name);
                }
                line.push(b'\n');
                out.write_all(&line)?;
                Self::Csv(out)
            }
            Format::Parquet => {
                let mut writer = ParquetWriter::new(out);
                writer.append(head)?;
                Self::Parquet(writer)
            }
        })
    }

    /// Writes rows.
    ///
    /// # Errors
    /// If they cannot be written.
    pub(super) fn rows(&mut self, table: &Table) -> anyhow::Result<()> {
        match self {
            Self::Table { tables, .. } => tables.push(table.clone()),
            Self::Parquet(writer) => writer.append(table).map_err(told_by_the_system)?,
            Self::Csv(out) => in_pieces(out, table, |piece, batch, row| {
                for (place, column) in batch.columns().iter().enumerate() {
                    separate(piece, place);
                    write_csv(piece, column, row);
                }
                piece.push(b'\n');
            })?,
            Self::Jsonl(out) => in_pieces(out, table, |piece, batch, row| {
                write_row(piece, batch, row);
                piece.push(b'\n');
            })?,
            Self::Json { out, rows } => in_pieces(out, table, |piece, batch, row| {
                piece.extend(if *rows == 0 { "[\n".bytes() } else { ",\n".bytes() });
                write_row(piece, batch, row);
                *rows += 1;
            })?,
        }
        Ok(())
    }

    /// Ends the output; `more` rows were left out of a table for people, if any.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn finish(self, more: Option<&str>) -> anyhow::Result<W> {
        let mut out = match self {
            Self::Csv(out) | Self::Jsonl(out) => out,
            Self::Json { mut out, rows } => {
                out.write_all(if rows == 0 { b"[]\n" } else { b"\n]\n" })?;
                out
            }
            Self::Parquet(writer) => writer.finish().map_err(told_by_the_system)?,
            Self::Table { mut out, tables, head } => {
                let batches = tables.iter().flat_map(|table| table.batches().iter().cloned()).collect();
                let table = Table::new(std::sync::Arc::clone(head.schema()), batches);
                let mut text = cells::grid(&table, true)?.text(0, 60);
                text.push('\n');
                if let Some(more) = more {
                    text.push_str(more);
                    text.push('\n');
                }
                out.write_all(text.as_bytes())?;
                out
            }
        };
        out.flush()?;
        Ok(out)
    }
}

/// A comma before every field but the first.
fn separate(line: &mut Vec<u8>, place: usize) {
    if place > 0 {
        line.push(b',');
    }
}

fn write_row(piece: &mut Vec<u8>, batch: &RecordBatch, row: usize) {
    let schema = batch.schema_ref();
    let names = schema.fields().iter().map(|field| field.name().as_str());
    write_json_object(piece, names.zip(batch.columns()), row);
}

/// Writes each row of a table, many bytes at a time.
fn in_pieces(
    out: &mut impl Write,
    table: &Table,
    mut write: impl FnMut(&mut Vec<u8>, &RecordBatch, usize),
) -> io::Result<()> {
    let mut piece = Vec::with_capacity(BUFFER);
    for batch in table.batches() {
        for row in 0..batch.num_rows() {
            write(&mut piece, batch, row);
            if piece.len() > BUFFER - BUFFER / 8 {
                out.write_all(&piece)?;
                piece.clear();
            }
        }
    }
    out.write_all(&piece)
}

/// What the system said when Parquet could not be written.
fn told_by_the_system(error: TableError) -> anyhow::Error {
    match error.at("write", Path::new("the output")) {
        TableError::File(error) => anyhow::Error::new(error.source),
        other => Mistake::new("the rows cannot be written as Parquet").because(other).into(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringArray};

    use super::*;

    fn written(format: Format, tables: &[Table]) -> String {
        let head = Table::new(Arc::clone(table(&[]).schema()), Vec::new());
        let mut records = Records::start(format, Vec::new(), &head).unwrap();
        for table in tables {
            records.rows(table).unwrap();
        }
        String::from_utf8(records.finish(None).unwrap()).unwrap()
    }

    fn table(rows: &[(i64, &str)]) -> Table {
        let numbers: ArrayRef = Arc::new(rows.iter().map(|row| Some(row.0)).collect::<Int64Array>());
        let texts: ArrayRef = Arc::new(rows.iter().map(|row| Some(row.1)).collect::<StringArray>());
        Table::of_columns([("n, all", numbers), ("text", texts)]).unwrap()
    }

    #[test]
    fn rows_that_come_in_parts_are_one_output() {
        let parts = [table(&[(1, "a")]), table(&[]), table(&[(2, "b\"c"), (3, "")])];
        assert_eq!(written(Format::Csv, &parts), "\"n, all\",text\n1,a\n2,\"b\"\"c\"\n3,\"\"\n");
        let lines = "{\"n, all\":1,\"text\":\"a\"}\n{\"n, all\":2,\"text\":\"b\\\"c\"}\n{\"n, all\":3,\"text\":\"\"}\n";
        assert_eq!(written(Format::Jsonl, &parts), lines);
        let array: serde_json::Value = serde_json::from_str(&written(Format::Json, &parts)).unwrap();
        let of_lines: Vec<serde_json::Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(array.as_array().unwrap(), &of_lines);
        assert_eq!(written(Format::Table, &parts), "n, all  text\n──────  ────\n     1  a\n     2  b\"c\n     3\n");
    }

    #[test]
    fn no_rows_are_an_output_too() {
        assert_eq!(written(Format::Csv, &[]), "\"n, all\",text\n");
        assert_eq!(written(Format::Json, &[]), "[]\n");
        assert_eq!(written(Format::Jsonl, &[]), "");
        assert_eq!(written(Format::Table, &[]), "n, all  text\n──────  ────\n");
    }

    #[test]
    fn files_are_told_by_their_ending() {
        let of = |name: &str| Format::of_file(Path::new(name));
        assert_eq!(
            (of("a.CSV"), of("b.c/d.ndjson"), of("x.pq")),
            (Some(Format::Csv), Some(Format::Jsonl), Some(Format::Parquet))
        );
        assert_eq!((of("table"), of("a.txt")), (None, None));
    }
}
