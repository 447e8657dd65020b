//! A column of texts in a row group, where texts repeat: dictionary, pages and
//! indexes as [`parquet`] itself writes them, byte for byte, but texts are compared
//! with others only where they are new to their page, and those of a [`Keyed`] column
//! looked for only where their key is new to the chunk.
//!
//! Not for texts with nulls, long ones, or more of them than a dictionary holds:
//! [`encode`] hands those back. Why this is not left to the crate: decision 9.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use bytes::Bytes;
use parquet::basic::{BoundaryOrder, Compression, Encoding, EncodingMask, PageType, Type, ZstdLevel};
use parquet::column::page::{CompressedPage, Page, PageWriter};
use parquet::column::writer::ColumnCloseResult;
use parquet::data_type::ByteArray;
use parquet::errors::ParquetError;
use parquet::file::metadata::{
    ColumnChunkMetaData, ColumnIndexBuilder, LevelHistogram, OffsetIndexBuilder, PageEncodingStats,
};
use parquet::file::properties::WriterProperties;
use parquet::file::statistics::{Statistics, ValueStatistics};
use parquet::file::writer::{SerializedPageWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;

use super::bit_runs::{GROUP, packed, repeated};
use super::ids::first_bytes;
use super::keyed::Keyed;
use super::text_rows::{ByKey, Numbered, Plain, Rows};

/// An encoded chunk, and what the file says of it.
#[derive(Debug)]
pub(super) struct TextChunk {
    pub(super) bytes: Bytes,
    pub(super) close: ColumnCloseResult,
}

/// Encodes a column of texts under these properties, or nothing where it is not for that.
///
/// `distinct`: whether all keys of a [`Keyed`] column have different texts.
pub(super) fn encode(
    column: &ArrayRef,
    distinct: bool,
    leaf: &ColumnDescPtr,
    properties: &WriterProperties,
) -> Result<Option<TextChunk>, ParquetError> {
    if let Some(texts) = column.as_string_opt::<i32>().filter(|texts| texts.null_count() == 0) {
        return encode_rows(Plain::new(texts), column.len(), leaf, properties);
    }
    let Some(keyed) = Keyed::of(column) else { return Ok(None) };
    match ByKey::new(keyed, distinct) {
        Some(rows) => encode_rows(rows, column.len(), leaf, properties),
        None if column.is_empty() => Ok(None),
        None => encode(&cast(column, &DataType::Utf8)?, false, leaf, properties),
    }
}

fn encode_rows<'a>(
    rows: impl Rows<'a>,
    count: usize,
    leaf: &ColumnDescPtr,
    properties: &WriterProperties,
) -> Result<Option<TextChunk>, ParquetError> {
    let path = leaf.path();
    let Compression::ZSTD(level) = properties.compression(path) else { return Ok(None) };
    let plain = leaf.max_rep_level() == 0 && leaf.max_def_level() < 2 && properties.dictionary_enabled(path);
    if !plain || count == 0 {
        return Ok(None);
    }
    let limits = Limits {
        dictionary: properties.column_dictionary_page_size_limit(path),
        page: properties.column_data_page_size_limit(path),
        text: [properties.statistics_truncate_length(), properties.column_index_truncate_length()]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(usize::MAX)
            .min(usize::from(u16::MAX)),
    };
    let of_page = properties.column_data_page_row_count_limit(path);
    if count.div_ceil(of_page) > usize::from(u16::MAX) || rows.has_longer(limits.text) {
        return Ok(None);
    }
    let Some(dictionary) = Dictionary::of(rows, count, of_page, &limits) else { return Ok(None) };
    dictionary.chunk(leaf, level).map(Some)
}

struct Limits {
    /// Bytes of a dictionary, and of a page of numbers.
    dictionary: usize,
    page: usize,
    /// Bytes of a text that is told whole as the least or greatest of its page.
    text: usize,
}

/// The distinct texts of a column, and its rows as their numbers.
struct Dictionary<'a> {
    texts: Vec<&'a [u8]>,
    pages: Vec<DictionaryPage>,
}

struct DictionaryPage {
    numbers: Vec<u32>,
    /// Bits of a number: as many as the dictionary needed by then.
    width: u32,
    /// Bytes of the texts of all rows.
    bytes: i64,
    least: u32,
    greatest: u32,
}

impl<'a> Dictionary<'a> {
    /// Nothing if it would be larger than allowed.
    fn of(mut rows: impl Rows<'a>, count: usize, of_page: usize, limits: &Limits) -> Option<Self> {
        let mut numbered = Numbered::default();
        let mut starts: Vec<u128> = Vec::new();
        let mut pages = Vec::with_capacity(count.div_ceil(of_page));
        let mut size = 0;
        for (place, first) in (0..count).step_by(of_page).enumerate() {
            let end = count.min(first + of_page);
            numbered.numbers.reserve(end - first);
            rows.number(first..end, place as u16 + 1, &mut numbered);
            for text in &numbered.texts[starts.len()..] {
                if text.len() > limits.text {
                    return None;
                }
                size += 4 + text.len();
                starts.push(first_bytes(text));
            }
            // As many again on each page that follows: then better not even begun.
            let expected = if first == 0 { size / end * count } else { size };
            if size >= limits.dictionary || expected >= limits.dictionary {
                return None;
            }
            let texts = &numbered.texts;
            let order = |one: &u32, other: &u32| {
                let (one, other) = (*one as usize, *other as usize);
                starts[one].cmp(&starts[other]).then_with(|| texts[one].cmp(texts[other]))
            };
            let once = || numbered.once.iter().copied();
            let (least, greatest) = (once().min_by(order)?, once().max_by(order)?);
            let width = u32::BITS - (texts.len() as u32 - 1).leading_zeros();
            let numbers = std::mem::take(&mut numbered.numbers);
            if numbers.len().div_ceil(GROUP) * (width as usize + 1) >= limits.page {
                return None;
            }
            let bytes = std::mem::take(&mut numbered.bytes) as i64;
            pages.push(DictionaryPage { numbers, width, bytes, least, greatest });
            numbered.once.clear();
        }
        let texts = numbered.texts;
        Some(Self { texts, pages })
    }

    fn chunk(&self, leaf: &ColumnDescPtr, level: ZstdLevel) -> Result<TextChunk, ParquetError> {
        let refused = |source: std::io::Error| ParquetError::External(Box::new(source));
        let mut compressor = zstd::bulk::Compressor::new(level.compression_level()).map_err(refused)?;
        let mut sink = TrackedWrite::new(Vec::new());
        let mut writer = SerializedPageWriter::new(&mut sink);
        let mut uncompressed = 0;

        let dictionary = self.plain();
        let page = Page::DictionaryPage {
            buf: compressor.compress(&dictionary).map_err(refused)?.into(),
            num_values: self.texts.len() as u32,
            encoding: Encoding::PLAIN,
            is_sorted: false,
        };
        let written = writer.write_page(CompressedPage::new(page, dictionary.len()))?;
        uncompressed += written.uncompressed_size;
        let first_page = written.bytes_written as i64;

        let histogram = |rows: usize| {
            let mut histogram = LevelHistogram::try_new(leaf.max_def_level());
            if let Some(histogram) = &mut histogram {
                histogram.increment_by(1, rows as i64);
            }
            histogram
        };
        let mut column_index = ColumnIndexBuilder::new(Type::BYTE_ARRAY);
        let mut offset_index = OffsetIndexBuilder::new();
        for page in &self.pages {
            let encoded = page.encoded(leaf.max_def_level() > 0);
            let rows = page.numbers.len();
            let data = Page::DataPage {
                buf: compressor.compress(&encoded).map_err(refused)?.into(),
                num_values: rows as u32,
                encoding: Encoding::RLE_DICTIONARY,
                def_level_encoding: Encoding::RLE,
                rep_level_encoding: Encoding::RLE,
                statistics: None,
            };
            let written = writer.write_page(CompressedPage::new(data, encoded.len()))?;
            uncompressed += written.uncompressed_size;
            let text = |number: u32| self.texts[number as usize].to_vec();
            column_index.append(false, text(page.least), text(page.greatest), 0, None);
            column_index.append_histograms(&None, &histogram(rows));
            offset_index.append_row_count(rows as i64);
            offset_index.append_unencoded_byte_array_data_bytes(Some(page.bytes));
            offset_index.append_offset_and_size(written.offset as i64, written.compressed_size as i32);
        }
        writer.close()?;
        column_index.set_boundary_order(self.boundary_order());

        let bytes = Bytes::from(sink.into_inner()?);
        let rows: usize = self.pages.iter().map(|page| page.numbers.len()).sum();
        let encodings = [Encoding::PLAIN, Encoding::RLE, Encoding::RLE_DICTIONARY];
        let stats = |page_type, encoding, count| PageEncodingStats { page_type, encoding, count };
        let metadata = ColumnChunkMetaData::builder(Arc::clone(leaf))
            .set_compression(Compression::ZSTD(level))
            .set_encodings_mask(EncodingMask::new_from_encodings(encodings.iter()))
            .set_page_encoding_stats(vec![
                stats(PageType::DICTIONARY_PAGE, Encoding::PLAIN, 1),
                stats(PageType::DATA_PAGE, Encoding::RLE_DICTIONARY, self.pages.len() as i32),
            ])
            .set_total_compressed_size(bytes.len() as i64)
            .set_total_uncompressed_size(uncompressed as i64)
            .set_num_values(rows as i64)
            .set_dictionary_page_offset(Some(0))
            .set_data_page_offset(first_page)
            .set_statistics(self.statistics())
            .set_unencoded_byte_array_data_bytes(Some(self.pages.iter().map(|page| page.bytes).sum()))
            .set_definition_level_histogram(histogram(rows))
            .build()?;
        let close = ColumnCloseResult {
            bytes_written: bytes.len() as u64,
            rows_written: rows as u64,
            bloom_filter: None,
            metadata,
            column_index: Some(column_index.build()?),
            offset_index: Some(offset_index.build()),
        };
        Ok(TextChunk { bytes, close })
    }

    /// The distinct texts, each after its length.
    fn plain(&self) -> Vec<u8> {
        let mut plain = Vec::new();
        for text in &self.texts {
            plain.extend_from_slice(&(text.len() as u32).to_le_bytes());
            plain.extend_from_slice(text);
        }
        plain
    }

    fn ends(&self) -> impl Iterator<Item = (&[u8], &[u8])> + Clone {
        self.pages.iter().map(|page| (self.texts[page.least as usize], self.texts[page.greatest as usize]))
    }

    fn statistics(&self) -> Statistics {
        let text = |text: Option<&[u8]>| text.map(|text| ByteArray::from(text.to_vec()));
        let least = text(self.ends().map(|ends| ends.0).min());
        let greatest = text(self.ends().map(|ends| ends.1).max());
        ValueStatistics::new(least, greatest, None, Some(0), false).into()
    }

    /// Whether the pages go up or down.
    fn boundary_order(&self) -> BoundaryOrder {
        let neighbours = || self.ends().zip(self.ends().skip(1));
        if neighbours().all(|(one, next)| one.0 <= next.0 && one.1 <= next.1) {
            BoundaryOrder::ASCENDING
        } else if neighbours().all(|(one, next)| one.0 >= next.0 && one.1 >= next.1) {
            BoundaryOrder::DESCENDING
        } else {
            BoundaryOrder::UNORDERED
        }
    }
}

impl DictionaryPage {
    /// That no row is null, where that is said, and the numbers.
    fn encoded(&self, nullable: bool) -> Vec<u8> {
        let mut page = Vec::new();
        if nullable {
            page.extend_from_slice(&[0; 4]);
            repeated(1, self.numbers.len(), 1, &mut page);
            let levels = page.len() as u32 - 4;
            page[..4].copy_from_slice(&levels.to_le_bytes());
        }
        page.push(self.width as u8);
        packed(&self.numbers, self.width, &mut page);
        page
    }
}

#[cfg(test)]
mod tests {
    use super::super::parquet::properties;
    use super::super::{ParquetWriter, Table, column_hashes, normalise, write_parquet};
    use super::*;
    use arrow::array::{DictionaryArray, LargeStringArray, StringArray, UInt32Array};
    use arrow::datatypes::UInt32Type;
    use parquet::arrow::{ArrowSchemaConverter, ArrowWriter};
    use proptest::prelude::*;

    fn table(texts: &[String]) -> Table {
        let column: ArrayRef = Arc::new(StringArray::from_iter_values(texts));
        normalise(&Table::of_columns([("text", column)]).unwrap()).unwrap()
    }

    /// The texts' chunk, if they have one of this module.
    fn chunk(table: &Table) -> Option<Bytes> {
        let properties = properties(table.schema(), None).unwrap();
        let schema = ArrowSchemaConverter::new().convert(table.schema()).unwrap();
        let chunk = encode(&table.column("text").unwrap(), false, &schema.column(0), &properties).unwrap();
        chunk.map(|chunk| chunk.bytes)
    }

    fn as_parquet_writes(table: &Table) -> Vec<u8> {
        let properties = properties(table.schema(), None).unwrap();
        let mut writer = ArrowWriter::try_new(Vec::new(), Arc::clone(table.schema()), Some(properties)).unwrap();
        writer.write(&table.single_batch().unwrap()).unwrap();
        writer.into_inner().unwrap()
    }

    fn named(numbers: impl Iterator<Item = u64>) -> Vec<String> {
        numbers.map(|number| format!("ü{number}")).collect()
    }

    /// Numbers without an order.
    fn drawn(below: u64) -> impl Iterator<Item = u64> {
        (0..70_000_u64).map(move |n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20) % below)
    }

    #[test]
    fn chunks_of_texts_are_those_of_the_parquet_crate() {
        let long = |n: u64| format!("{}{n}", "a long beginning that all of these have in common, ".repeat(2));
        for (ours, texts) in [
            (true, named(drawn(1))),
            (true, named(drawn(9))),
            (true, named(drawn(5_000))),
            (true, named(drawn(50_000))),
            (true, named((0..70_000).map(|n| n / 37))),
            (true, named((0..70_000).map(|n| 99_000 - n / 3))),
            (true, named((0..65_536).map(|n| n * n % 7 / 3))),
            (true, named((0..20_000).map(|n| n % 300))),
            (true, named((0..20_001).map(|n| n % 300))),
            // More texts than a dictionary has, long ones, and ones that turn out to be too many late.
            (false, drawn(u64::MAX).map(|n| format!("{n:040}")).collect()),
            (false, drawn(7).map(long).collect()),
            (false, (0..65_536).map(|n| if n < 20_000 { "same".to_owned() } else { format!("{n:040}") }).collect()),
        ] {
            let table = table(&texts);
            assert_eq!(chunk(&table).is_some(), ours, "{}", texts[1]);
            assert!(write_parquet(&table, Vec::new()).unwrap() == as_parquet_writes(&table), "{}", texts[1]);
        }
    }

    #[test]
    fn texts_by_their_keys_are_written_and_hashed_as_texts() {
        let texts = LargeStringArray::from_iter_values((0..9_000).map(|n| format!("ü{}", n % 8_000)));
        let texts: ArrayRef = Arc::new(texts);
        let long: ArrayRef = Arc::new(LargeStringArray::from_iter_values(vec!["long".repeat(99); 9_000]));
        for (texts, gap) in [(&texts, usize::MAX), (&texts, 700), (&long, usize::MAX)] {
            let keys = drawn(9_000).enumerate().map(|(row, key)| ((row + 1) % gap > 0).then_some(key as u32));
            let keys = if gap == usize::MAX { UInt32Array::from_iter_values(keys.flatten()) } else { keys.collect() };
            let keyed = DictionaryArray::<UInt32Type>::try_new(keys, Arc::clone(texts)).unwrap();
            let keyed: ArrayRef = Arc::new(keyed);
            for length in [70_000, 65_536, 100] {
                let table = Table::of_columns([("text", keyed.slice(7, length - 7))]).unwrap();
                let plain = normalise(&table).unwrap();
                assert_ne!(table.schema(), plain.schema());
                // A few rows, whose keys are far apart.
                let few = |table: &Table| {
                    let texts = table.column("text").unwrap().slice(3, 5);
                    chunk(&Table::of_columns([("text", texts)]).unwrap())
                };
                assert_eq!(few(&table), few(&plain));
                assert!(write_parquet(&table, Vec::new()).unwrap() == as_parquet_writes(&plain), "{gap} {length}");
                assert_eq!(column_hashes(&table).unwrap(), column_hashes(&plain).unwrap());
                let pieces = [keyed.slice(7, 11), keyed.slice(18, length - 18)];
                let mut writer = ParquetWriter::new(Vec::new());
                for piece in pieces {
                    writer.append(&Table::of_columns([("text", piece)]).unwrap()).unwrap();
                }
                assert!(writer.finish().unwrap() == as_parquet_writes(&plain), "{gap} {length}");
            }
        }
    }

    proptest! {
        #[test]
        fn runs_and_groups_are_those_of_the_parquet_crate(
            runs in proptest::collection::vec(("[a-c\0é]{0,14}", 1..40_usize), 1..60),
            singles in proptest::collection::vec("[a-z]{0,2}", 0..700),
            first in any::<bool>(),
        ) {
            let runs = runs.into_iter().flat_map(|(text, length)| vec![text; length]);
            let texts: Vec<String> = if first { runs.chain(singles).collect() } else { singles.into_iter().chain(runs).collect() };
            let table = table(&texts);
            prop_assert!(chunk(&table).is_some());
            prop_assert!(write_parquet(&table, Vec::new()).unwrap() == as_parquet_writes(&table));
        }
    }
}
