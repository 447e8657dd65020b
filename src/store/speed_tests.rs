//! How long writing an artifact takes beside Polars' own Parquet writer.
//! Measures; asserts no time.
//! `cargo test --release --lib -- --ignored --nocapture speed_of_writing`

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, Float32Array, Int64Array, ListArray, StringArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field};
use polars::prelude::{DataFrame, ParquetCompression, ParquetWriter, StatisticsOptions};

use super::Store;
use crate::table::{Table, to_polars};

/// Numbers that look random and are the same every time.
fn noise(i: i64) -> u64 {
    (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

/// Some 100 MB: texts, numbers and a vector of 128 floats per row.
fn table() -> Table {
    const ROWS: i64 = 150_000;
    const WIDTH: usize = 128;
    let texts = |words: u64| -> ArrayRef {
        let word = |row: i64, k: u64| format!("w{}", noise(row * 31 + k as i64) % 5_000);
        let text = |row: i64| (0..words).map(|k| word(row, k)).collect::<Vec<_>>().join(" ");
        Arc::new(StringArray::from_iter_values((0..ROWS).map(text)))
    };
    let values = Float32Array::from_iter_values((0..ROWS * WIDTH as i64).map(|i| (noise(i) >> 40) as f32 / 1e7 - 0.8));
    let lengths = OffsetBuffer::from_lengths((0..ROWS).map(|_| WIDTH));
    let item = Arc::new(Field::new("item", DataType::Float32, true));
    let vectors = ListArray::new(item, lengths, Arc::new(values), None);
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..ROWS));
    let plays: ArrayRef = Arc::new(Int64Array::from_iter_values((0..ROWS).map(|row| (noise(row) % 90_000) as i64)));
    let columns = [("id", ids), ("plays", plays), ("title", texts(4)), ("lyrics", texts(12))];
    Table::of_columns(columns.into_iter().chain([("vector", Arc::new(vectors) as ArrayRef)])).unwrap()
}

fn polars(frame: &mut DataFrame, path: &Path) {
    let file = File::create(path).unwrap();
    ParquetWriter::new(&file)
        // Of level 3, which Polars takes; ours is 1.
        .with_compression(ParquetCompression::Zstd(None))
        .with_statistics(StatisticsOptions::full())
        .with_row_group_size(Some(65_536))
        .set_parallel(true)
        .finish(frame)
        .unwrap();
    file.sync_all().unwrap();
}

#[test]
#[ignore = "measures: writes some 100 MB several times"]
fn speed_of_writing() {
    let folder = tempfile::tempdir().unwrap();
    let table = table();
    let memory: usize = table.batches().iter().map(arrow::array::RecordBatch::get_array_memory_size).sum();
    println!("{} rows, {} MB in memory", table.rows(), memory / 1_000_000);
    let mut frame = to_polars(&table).unwrap();
    let mut best = [f64::INFINITY; 2];
    for round in 0..7 {
        let path = folder.path().join("polars.parquet");
        let start = Instant::now();
        polars(&mut frame, &path);
        let theirs = start.elapsed().as_secs_f64();
        let size = std::fs::metadata(&path).unwrap().len();
        std::fs::remove_file(&path).unwrap();
        // A store of its own: an artifact that is there already is not published again.
        let store = Store::open(&folder.path().join(format!("store{round}"))).unwrap();
        let start = Instant::now();
        let mut writer = store.writer().unwrap();
        writer.append(&table).unwrap();
        let artifact = writer.finish().unwrap();
        let ours = start.elapsed().as_secs_f64();
        std::fs::remove_file(store.object_path(&artifact.hash)).unwrap();
        best = [best[0].min(ours), best[1].min(theirs)];
        let sizes = format!("{} MB, polars {} MB", artifact.bytes / 1_000_000, size / 1_000_000);
        println!("refrain {ours:.3} s, polars {theirs:.3} s, ratio {:.2}; {sizes}", ours / theirs);
    }
    println!("best: refrain {:.3} s, polars {:.3} s, ratio {:.2}", best[0], best[1], best[0] / best[1]);
}
