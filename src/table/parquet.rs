//! Parquet files, written with fixed properties by one writer: equal rows under
//! equal columns give equal bytes, in however many pieces they are appended.

use std::fmt;
use std::io::Write;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StructArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{FieldRef, Int64Type, Schema, SchemaRef};
use parquet::arrow::arrow_writer::{
    ArrowColumnChunk, ArrowColumnWriter, ArrowLeafColumn, ArrowRowGroupWriterFactory, compute_leaves,
};
use parquet::arrow::{ArrowSchemaConverter, ArrowWriter};
use parquet::basic::{Compression, Encoding, Type, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::ColumnDescPtr;
use rayon::prelude::*;

use super::keyed::{Keyed, is_distinct};
use super::normal::{normal_array, normal_batch, normal_schema, type_name};
use super::text_chunk::{self, TextChunk};
use super::{Table, TableError};

/// Rows in a row group, and in a batch that is read.
pub(super) const ROW_GROUP: usize = 65_536;
/// Most row groups that are encoded side by side, and most bytes of them.
const GROUPS_AT_ONCE: usize = 8;
const BYTES_AT_ONCE: usize = 64 << 20;
/// Below so many rows, other threads cost more than they give.
pub const FEW_ROWS: usize = 2_048;

/// Writes one Parquet file, a row group at a time.
#[derive(Debug)]
pub struct ParquetWriter<W: Write + Send> {
    state: State<W>,
}

#[derive(Debug)]
enum State<W: Write + Send> {
    Waiting(W),
    Writing { groups: Box<Groups<W>>, pending: Vec<RecordBatch>, rows: usize },
    Broken,
}

/// Encodes row groups and writes them.
struct Groups<W: Write + Send> {
    schema: SchemaRef,
    /// Where the file goes once its first row group has come, which decides on encodings.
    waiting: Option<W>,
    open: Option<Open<W>>,
}

/// The file itself.
struct Open<W: Write + Send> {
    file: SerializedFileWriter<W>,
    encoders: ArrowRowGroupWriterFactory,
}

impl<W: Write + Send> ParquetWriter<W> {
    /// A writer into `sink`; nothing is written before the first table.
    pub fn new(sink: W) -> Self {
        Self { state: State::Waiting(sink) }
    }

    /// Adds rows. Types are brought to their plainest form; every table must
    /// have the columns of the first.
    ///
    /// # Errors
    /// [`TableError::OtherColumns`] if the columns differ from the first
    /// table's; [`TableError::Parquet`] if they cannot be stored or written.
    pub fn append(&mut self, table: &Table) -> Result<(), TableError> {
        let schema = normal_schema(table.schema());
        self.start(&schema);
        let State::Writing { groups, pending, rows } = &mut self.state else { return Err(broken()) };
        let first = &groups.schema;
        if schema != *first {
            return Err(TableError::OtherColumns { first: columns_of(first), other: columns_of(&schema) });
        }
        let mut full = Vec::new();
        for batch in table.batches() {
            // Row groups, and thereby pages, start at the same rows however
            // the rows arrive.
            let mut taken = 0;
            while taken < batch.num_rows() {
                let length = (ROW_GROUP - *rows).min(batch.num_rows() - taken);
                let piece = batch.slice(taken, length);
                // What is a whole row group is joined with nothing: keys need not become texts.
                let whole = length == ROW_GROUP;
                pending.push(if whole { normal_but_keyed(&piece, &schema)? } else { normal_batch(&piece, &schema)? });
                taken += length;
                *rows += length;
                if *rows == ROW_GROUP {
                    full.push(groups.joined(pending)?);
                    *rows = 0;
                    let bytes: usize = full.iter().map(bytes_held).sum();
                    if full.len() == GROUPS_AT_ONCE || bytes > BYTES_AT_ONCE {
                        groups.write(&mut full)?;
                    }
                }
            }
        }
        groups.write(&mut full)
    }

    /// Ends a row group here: for rows so long that a whole group of them would
    /// take too much memory.
    ///
    /// # Errors
    /// As [`ParquetWriter::append`].
    pub fn end_group(&mut self) -> Result<(), TableError> {
        match &mut self.state {
            State::Writing { groups, pending, rows } if *rows > 0 => {
                *rows = 0;
                let group = groups.joined(pending)?;
                groups.write(&mut vec![group])
            }
            _ => Ok(()),
        }
    }

    /// Writes what is left and the footer, and gives the sink back.
    ///
    /// # Errors
    /// [`TableError::Parquet`] if it cannot be written, or if no table, not
    /// even an empty one, was appended.
    pub fn finish(self) -> Result<W, TableError> {
        let State::Writing { mut groups, mut pending, .. } = self.state else { return Err(broken()) };
        if !pending.is_empty() {
            let group = groups.joined(&mut pending)?;
            groups.write(&mut vec![group])?;
        }
        groups.open(None)?;
        groups.open.ok_or_else(broken)?.file.into_inner().map_err(refused("write"))
    }

    fn start(&mut self, schema: &SchemaRef) {
        if !matches!(self.state, State::Waiting(_)) {
            return;
        }
        if let State::Waiting(sink) = std::mem::replace(&mut self.state, State::Broken) {
            let groups = Box::new(Groups { schema: Arc::clone(schema), waiting: Some(sink), open: None });
            self.state = State::Writing { groups, pending: Vec::new(), rows: 0 };
        }
    }
}

impl<W: Write + Send> Groups<W> {
    /// Begins the file, if that has not been done.
    fn open(&mut self, first: Option<&RecordBatch>) -> Result<(), TableError> {
        if let Some(sink) = self.waiting.take() {
            let properties = properties(&self.schema, first)?;
            let writer = ArrowWriter::try_new(sink, Arc::clone(&self.schema), Some(properties));
            let (file, encoders) = writer.and_then(ArrowWriter::into_serialized_writer).map_err(refused("write"))?;
            self.open = Some(Open { file, encoders });
        }
        Ok(())
    }

    /// One batch of what waits. Where no row is null it says nothing of nulls, as rows of which some
    /// others are null would: pages would end at other rows.
    fn joined(&self, pending: &mut Vec<RecordBatch>) -> Result<RecordBatch, TableError> {
        let pending = std::mem::take(pending);
        let joined = match pending.as_slice() {
            [one] if !one.columns().iter().any(says_no_nulls) => return Ok(one.clone()),
            [one] => concat_batches(&one.schema(), &[one.slice(0, 1), one.slice(1, one.num_rows() - 1)]),
            many => concat_batches(&self.schema, many),
        };
        joined.map_err(|source| TableError::Arrow { action: "join the parts of", source })
    }

    /// Writes row groups. Their columns are encoded side by side and written in
    /// their order, so that the bytes do not depend on the number of threads.
    fn write(&mut self, full: &mut Vec<RecordBatch>) -> Result<(), TableError> {
        let groups = std::mem::take(full);
        let Some(first) = groups.first() else { return Ok(()) };
        self.open(Some(first))?;
        let open = self.open.as_mut().ok_or_else(broken)?;
        let columns = open.encoded(&self.schema, &groups).map_err(refused("write"))?;
        columns.into_iter().try_for_each(|columns| open.append(columns)).map_err(refused("write"))
    }
}

impl<W: Write + Send> Open<W> {
    fn encoded(&self, schema: &SchemaRef, groups: &[RecordBatch]) -> Result<Vec<Vec<Column>>, ParquetError> {
        let first = self.file.flushed_row_groups().len();
        let mut columns = Vec::new();
        let (leaves, properties) = (self.file.schema_descr(), self.file.properties());
        for (number, group) in groups.iter().enumerate() {
            let mut encoders: Vec<Vec<Encoder>> = schema.fields().iter().map(|_| Vec::new()).collect();
            let writers = self.encoders.create_column_writers(first + number)?;
            for (place, (writer, leaf)) in writers.into_iter().zip(leaves.columns()).enumerate() {
                encoders[leaves.get_column_root_idx(place)].push((writer, leaf));
            }
            let distinct = group.schema_ref().fields().iter().map(|field| is_distinct(field));
            columns.extend(schema.fields().iter().zip(group.columns()).zip(encoders).zip(distinct));
        }
        let encode = |(((field, array), encoders), distinct): (((&FieldRef, &ArrayRef), Vec<Encoder>), bool)| {
            if let [(_, leaf)] = encoders.as_slice()
                && let Some(chunk) = text_chunk::encode(array, distinct, leaf, properties)?
            {
                return Ok(Column::Texts(Box::new(chunk)));
            }
            let leaves = compute_leaves(field, &normal_array(array, field)?)?;
            let encode = |((mut writer, _), leaf): (Encoder, ArrowLeafColumn)| {
                writer.write(&leaf)?;
                writer.close()
            };
            encoders.into_iter().zip(leaves).map(encode).collect::<Result<_, _>>().map(Column::Leaves)
        };
        let few = groups.iter().all(|group| group.num_rows() < FEW_ROWS);
        let encoded: Result<Vec<Column>, ParquetError> = if few {
            columns.into_iter().map(encode).collect()
        } else {
            // One at a time: a share of several would leave threads without work.
            columns.into_par_iter().with_max_len(1).map(encode).collect()
        };
        let mut encoded = encoded?.into_iter();
        Ok(groups.iter().map(|group| encoded.by_ref().take(group.num_columns()).collect()).collect())
    }

    fn append(&mut self, columns: Vec<Column>) -> Result<(), ParquetError> {
        let mut group = self.file.next_row_group()?;
        for column in columns {
            match column {
                Column::Texts(chunk) => group.append_column(&chunk.bytes, chunk.close)?,
                Column::Leaves(chunks) => {
                    chunks.into_iter().try_for_each(|chunk| chunk.append_to_row_group(&mut group))?;
                }
            }
        }
        group.close().map(drop)
    }
}

/// The rows of a batch under this schema, which is the normal one of theirs, but [`Keyed`] columns as they are.
fn normal_but_keyed(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, TableError> {
    let own = batch.schema();
    let fields = own.fields().iter().zip(schema.fields()).zip(batch.columns());
    let fields =
        fields.map(|((own, normal), column)| Arc::clone(if Keyed::of(column).is_some() { own } else { normal }));
    normal_batch(batch, &Arc::new(Schema::new(fields.collect::<Vec<_>>())))
}

/// Whether a column, or a field of it, lists its nulls and has none.
fn says_no_nulls(column: &ArrayRef) -> bool {
    let fields = column.as_struct_opt().map(StructArray::columns);
    column.nulls().is_some_and(|nulls| nulls.null_count() == 0)
        || fields.is_some_and(|fields| fields.iter().any(says_no_nulls))
}

/// How much memory a batch holds by itself: what keys stand for belongs to many.
fn bytes_held(batch: &RecordBatch) -> usize {
    let of_column = |column: &ArrayRef| match Keyed::of(column) {
        Some(keyed) => size_of_val(keyed.keys),
        None => column.get_array_memory_size(),
    };
    batch.columns().iter().map(of_column).sum()
}

/// What encodes a leaf of a column, and what that leaf is.
type Encoder<'a> = (ArrowColumnWriter, &'a ColumnDescPtr);

/// One column of a row group, encoded.
enum Column {
    /// Texts of which many are the same.
    Texts(Box<TextChunk>),
    /// A chunk for each of its leaves.
    Leaves(Vec<ArrowColumnChunk>),
}

impl<W: Write + Send> fmt::Debug for Groups<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Groups").field("schema", &self.schema).finish_non_exhaustive()
    }
}

/// The one set of properties. Nothing in them varies with time or machine.
pub(super) fn properties(schema: &Schema, first: Option<&RecordBatch>) -> Result<WriterProperties, TableError> {
    // Higher levels take longer, and ids and times no less space.
    let level = ZstdLevel::try_new(1).map_err(refused("write"))?;
    let mut builder = WriterProperties::builder()
        .set_created_by("refrain".to_owned())
        .set_writer_version(WriterVersion::PARQUET_1_0)
        .set_compression(Compression::ZSTD(level))
        .set_max_row_group_row_count(Some(ROW_GROUP))
        .set_statistics_enabled(EnabledStatistics::Page);
    let leaves = ArrowSchemaConverter::new().convert(schema).map_err(refused("write"))?;
    for (at, leaf) in leaves.columns().iter().enumerate() {
        let column = || first?.columns().get(leaves.get_column_root_idx(at));
        // What hardly repeats would have a dictionary only to throw it away.
        if matches!(leaf.physical_type(), Type::FLOAT | Type::DOUBLE) {
            builder = builder.set_column_dictionary_enabled(leaf.path().clone(), false);
        }
        // Whole numbers such as times: by the bits that they differ in from row to row.
        if leaf.physical_type() == Type::INT64 && column().is_some_and(hardly_repeats) {
            builder = builder
                .set_column_dictionary_enabled(leaf.path().clone(), false)
                .set_column_encoding(leaf.path().clone(), Encoding::DELTA_BINARY_PACKED);
        }
    }
    Ok(builder.build())
}

/// Whether these are whole numbers of which at least half are distinct, and more than a few.
fn hardly_repeats(column: &ArrayRef) -> bool {
    let Some(numbers) = column.as_primitive_opt::<Int64Type>().filter(|numbers| numbers.len() >= FEW_ROWS) else {
        return false;
    };
    let mut numbers: Vec<i64> = numbers.iter().flatten().collect();
    numbers.sort_unstable();
    numbers.chunk_by(|one, other| one == other).count() * 2 >= column.len()
}

fn columns_of(schema: &Schema) -> String {
    let one = |field: &Arc<arrow::datatypes::Field>| format!("{}: {}", field.name(), type_name(field.data_type()));
    schema.fields().iter().map(one).collect::<Vec<_>>().join(", ")
}

/// What an error of Parquet becomes.
pub(super) fn refused(action: &'static str) -> impl Fn(ParquetError) -> TableError {
    move |source| TableError::Parquet { action, source }
}

fn broken() -> TableError {
    let source = ParquetError::General("no table was given, or an earlier one failed".to_owned());
    TableError::Parquet { action: "write", source }
}

/// Writes one table into a sink.
///
/// # Errors
/// As [`ParquetWriter::append`] and [`ParquetWriter::finish`].
pub fn write_parquet<W: Write + Send>(table: &Table, sink: W) -> Result<W, TableError> {
    let mut writer = ParquetWriter::new(sink);
    writer.append(table)?;
    writer.finish()
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::path::Path;

    use super::super::{normalise, read_parquet};
    use super::*;
    use arrow::array::{Float32Array, Int64Array, LargeStringArray, ListArray, StringArray};
    use arrow::datatypes::Float32Type;
    use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};

    fn table(rows: i64) -> Table {
        let ids: ArrayRef = Arc::new((0..rows).map(|i| (i % 7 != 3).then_some(i)).collect::<Int64Array>());
        let names: ArrayRef =
            Arc::new((0..rows).map(|i| (i % 5 != 1).then(|| format!("n{i}"))).collect::<StringArray>());
        let vectors = (0..rows).map(|i| Some(vec![Some(i as f32), None]));
        let vectors: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Float32Type, _, _>(vectors));
        Table::of_columns([("a.id", ids), ("name", names), ("vector", vectors)]).unwrap()
    }

    fn in_pieces(table: &Table, length: usize) -> Vec<u8> {
        let whole = table.single_batch().unwrap();
        let mut writer = ParquetWriter::new(Vec::new());
        for start in (0..whole.num_rows()).step_by(length) {
            let piece = whole.slice(start, length.min(whole.num_rows() - start));
            writer.append(&Table::new(Arc::clone(table.schema()), vec![piece])).unwrap();
        }
        writer.finish().unwrap()
    }

    #[test]
    fn equal_tables_give_equal_bytes_however_they_arrive() {
        let table = table(150_000);
        let whole = write_parquet(&table, Vec::new()).unwrap();
        assert_eq!(whole, in_pieces(&table, 1_000));
        assert_eq!(whole, in_pieces(&table, 65_537));
    }

    #[test]
    fn where_the_nulls_of_other_rows_are_does_not_matter() {
        let late = |row: i64| (row < 140_000 || row % 3 > 0).then_some(row % 50_000);
        let numbers: ArrayRef = Arc::new((0..150_000).map(late).collect::<Int64Array>());
        let texts: ArrayRef =
            Arc::new((0..150_000).map(|row| late(row).map(|n| n.to_string())).collect::<StringArray>());
        let vectors = (0..150_000).map(|row| late(row).map(|n| vec![Some(n as f32); 2]));
        let vectors: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Float32Type, _, _>(vectors));
        let table = Table::of_columns([("number", numbers), ("text", texts), ("vector", vectors)]).unwrap();
        let nested: ArrayRef = Arc::new(StructArray::from(table.single_batch().unwrap()));
        let table = Table::of_columns([("nested", nested), ("number", table.column("number").unwrap())]).unwrap();
        assert!(write_parquet(&table, Vec::new()).unwrap() == in_pieces(&table, 1_000));
    }

    #[test]
    fn columns_encoded_side_by_side_give_the_bytes_of_one_after_the_other() {
        let numbered = |rows: i64| {
            let nested: ArrayRef = Arc::new(arrow::array::StructArray::from(table(rows).single_batch().unwrap()));
            let mut columns = vec![("nested".to_owned(), nested)];
            let plain = table(rows);
            columns.extend(plain.column_names().into_iter().map(|name| (name.clone(), plain.column(&name).unwrap())));
            Table::of_columns(columns).unwrap()
        };
        for rows in [0, 1, FEW_ROWS as i64, ROW_GROUP as i64 + 1, 150_000] {
            let table = normalise(&numbered(rows)).unwrap();
            let whole = table.single_batch().unwrap();
            let first = whole.slice(0, whole.num_rows().min(ROW_GROUP));
            let mut one = ArrowWriter::try_new(
                Vec::new(),
                Arc::clone(table.schema()),
                Some(properties(table.schema(), Some(&first)).unwrap()),
            )
            .unwrap();
            one.write(&table.single_batch().unwrap()).unwrap();
            assert_eq!(write_parquet(&table, Vec::new()).unwrap(), one.into_inner().unwrap(), "{rows}");
        }
    }

    #[test]
    fn whole_numbers_that_hardly_repeat_are_read_back_by_all_readers() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.parquet");
        let mut numbers: Vec<Option<i64>> =
            (0..70_000_i64).map(|n| (n % 11 != 7).then(|| n.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64 as i64))).collect();
        numbers.splice(5..9, [i64::MIN, i64::MAX, i64::MIN, 0].map(Some));
        let column: ArrayRef = Arc::new(Int64Array::from(numbers.clone()));
        let few: ArrayRef = Arc::new((0..70_000).map(|n| n % 9).collect::<Int64Array>());
        let table = Table::of_columns([("n", column), ("few", few)]).unwrap();
        drop(write_parquet(&table, File::create(&path).unwrap()).unwrap());
        let file = ArrowReaderMetadata::load(&File::open(&path).unwrap(), ArrowReaderOptions::default()).unwrap();
        let dictionaries: Vec<bool> =
            file.metadata().row_group(0).columns().iter().map(|c| c.dictionary_page_offset().is_some()).collect();
        assert_eq!(dictionaries, [false, true]);
        assert_eq!(read_parquet(&path, None).unwrap().single_batch().unwrap(), table.single_batch().unwrap());
        let polars = crate::table::from_polars(&crate::table::scan(&path).unwrap().collect().unwrap()).unwrap();
        assert_eq!(polars.integers("n").unwrap().iter().collect::<Vec<_>>(), numbers);
    }

    #[test]
    fn an_error_of_the_system_is_told_as_one() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(std::io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let error = ParquetWriter::new(Full).append(&table(70_000)).unwrap_err().at("write", Path::new("t"));
        let TableError::File(error) = error else { panic!("{error:?}") };
        assert_eq!(
            (error.to_string().as_str(), error.source.kind()),
            ("could not write `t`", std::io::ErrorKind::StorageFull)
        );
    }

    #[test]
    fn empty_tables_keep_their_columns_and_other_columns_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.parquet");
        drop(write_parquet(&table(0), File::create(&path).unwrap()).unwrap());
        assert_eq!(read_parquet(&path, None).unwrap().column_names(), ["a.id", "name", "vector"]);
        let other = Table::of_columns([("x", Arc::new(Float32Array::from(vec![1.0])) as ArrayRef)]).unwrap();
        let mut writer = ParquetWriter::new(Vec::new());
        writer.append(&table(1)).unwrap();
        assert!(matches!(writer.append(&other), Err(TableError::OtherColumns { .. })));
    }

    #[test]
    fn spellings_of_a_type_give_the_same_file() {
        let plain: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None]));
        let large: ArrayRef = Arc::new(LargeStringArray::from(vec![Some("a"), None]));
        let bytes = |array| write_parquet(&Table::of_columns([("t", array)]).unwrap(), Vec::new()).unwrap();
        assert_eq!(bytes(plain), bytes(large));
    }
}
