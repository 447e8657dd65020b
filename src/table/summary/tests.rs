//! Summaries of small tables, and of a file by one thread and by several.

use std::fs::File;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanArray, Date32Array, Float32Array, Float64Array, Int64Array, ListArray, StringArray,
    UInt64Array,
};
use arrow::datatypes::Int64Type;

use super::*;
use crate::table::write_parquet;

fn types(table: &Table) -> Vec<(String, DataType)> {
    table.schema().fields().iter().map(|field| (field.name().clone(), field.data_type().clone())).collect()
}

fn summarise(table: &Table) -> Vec<ColumnSummary> {
    let names = table.column_names();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut summary = Summary::new(&names, &types(table)).unwrap();
    while !summary.is_done() {
        let mut pass = summary.pass();
        pass.add_table(table).unwrap();
        summary.end_pass(vec![pass]);
    }
    summary.finish()
}

fn one(array: ArrayRef) -> ColumnSummary {
    summarise(&Table::of_columns([("x", array)]).unwrap()).remove(0)
}

fn ends(summary: &ColumnSummary) -> String {
    let [least, most] = summary.range.as_ref().unwrap();
    let text = |array| arrow::util::display::array_value_to_string(array, 0).unwrap();
    format!("{} to {}", text(least), text(most))
}

#[test]
fn whole_numbers_have_a_range_a_mean_and_bars() {
    let summary = one(Arc::new(Int64Array::from(vec![Some(-3), None, Some(1), Some(1), Some(29)])));
    assert_eq!((summary.nulls, summary.distinct), (1, Some(Distinct { count: 3, exact: true })));
    assert_eq!((ends(&summary).as_str(), summary.mean), ("-3 to 29", Some(7.0)));
    let bars = summary.histogram.unwrap();
    assert_eq!((bars.from, bars.to, bars.counts.iter().sum::<u64>()), (-3.0, 29.0, 4));
    assert_eq!((bars.counts[0], bars.counts[2], bars.counts[15]), (1, 2, 1));
    assert!(summary.frequent.is_none());
}

#[test]
fn numbers_too_large_for_others_keep_their_digits() {
    let summary = one(Arc::new(UInt64Array::from(vec![7, u64::MAX])));
    assert_eq!(ends(&summary), "7 to 18446744073709551615");
    let summary = one(Arc::new(Int64Array::from(vec![i64::MIN, i64::MAX])));
    assert_eq!(ends(&summary), "-9223372036854775808 to 9223372036854775807");
}

#[test]
fn what_is_no_number_counts_in_nothing_and_the_infinite_has_no_bar() {
    let numbers = vec![Some(f64::NAN), Some(1.0), Some(f64::INFINITY), Some(2.0), None, Some(-0.0), Some(0.0)];
    let summary = one(Arc::new(Float64Array::from(numbers)));
    assert_eq!((summary.nulls, summary.nans), (1, 1));
    assert_eq!(summary.distinct, Some(Distinct { count: 4, exact: true }));
    assert_eq!((ends(&summary).as_str(), summary.mean), ("-0.0 to inf", Some(f64::INFINITY)));
    let bars = summary.histogram.unwrap();
    assert_eq!((bars.from, bars.to, bars.counts.iter().sum::<u64>()), (0.0, 2.0, 4));
}

#[test]
fn a_range_that_no_float_can_hold_has_bars() {
    let summary = one(Arc::new(Float64Array::from(vec![f64::MIN, 0.0, f64::MAX])));
    let counts = summary.histogram.unwrap().counts;
    assert_eq!((counts[0], counts[8], counts[15]), (1, 1, 1));
}

#[test]
fn texts_have_frequent_ones_and_truth_values_too() {
    let summary = one(Arc::new(StringArray::from(vec![Some("b"), Some("a"), None, Some("b"), Some("")])));
    let frequent = [("b".to_owned(), 2), (String::new(), 1), ("a".to_owned(), 1)];
    assert_eq!((summary.frequent.as_deref(), ends(&summary).as_str()), (Some(&frequent[..]), " to b"));
    let summary = one(Arc::new(BooleanArray::from(vec![Some(true), None, Some(true), Some(false)])));
    assert_eq!(summary.frequent.unwrap(), [("true".to_owned(), 2), ("false".to_owned(), 1)]);
    assert_eq!((summary.distinct, summary.nulls), (Some(Distinct { count: 2, exact: true }), 1));
    assert!(summary.range.is_none() && summary.mean.is_none());
}

#[test]
fn moments_have_a_range_in_their_type_and_lists_one_of_their_lengths() {
    let summary = one(Arc::new(Date32Array::from(vec![0, 365])));
    assert_eq!((ends(&summary).as_str(), summary.mean), ("1970-01-01 to 1971-01-01", None));
    let lists = [Some(vec![Some(1)]), None, Some(vec![]), Some(vec![Some(1), None, Some(3)])];
    let summary = one(Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(lists)));
    assert_eq!((summary.nulls, summary.distinct), (1, None));
    assert_eq!(ends(&summary), "0 to 3");
    assert!(summary.mean.is_some_and(|mean| (mean - 4.0 / 3.0).abs() < 1e-12) && summary.histogram.is_none());
}

#[test]
fn columns_without_rows_or_without_values_have_no_range() {
    for array in [Float32Array::from(Vec::<f32>::new()), Float32Array::from(vec![None, None])] {
        let nulls = array.null_count() as u64;
        let summary = one(Arc::new(array));
        assert_eq!((summary.nulls, summary.distinct), (nulls, Some(Distinct { count: 0, exact: true })));
        assert!(summary.range.is_none() && summary.mean.is_none() && summary.histogram.is_none());
    }
}

#[test]
fn a_file_gives_what_its_table_gives_whoever_reads_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.parquet");
    let rows = 200_000_u64;
    let text = |i: u64| if i.is_multiple_of(50) { "often".to_owned() } else { format!("once {i}") };
    let columns: [(&str, ArrayRef); 3] = [
        ("text", Arc::new((0..rows).map(|i| Some(text(i))).collect::<StringArray>())),
        ("number", Arc::new((0..rows).map(|i| (i % 9 > 0).then_some((i as f64).sqrt())).collect::<Float64Array>())),
        ("whole", Arc::new((0..rows).map(|i| (i * i) as i64).collect::<Int64Array>())),
    ];
    let table = Table::of_columns(columns).unwrap();
    drop(write_parquet(&table, File::create(&path).unwrap()).unwrap());
    let of_file = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let names = ["text", "number", "whole"];
        format!("{:#?}", pool.install(|| summarise_parquet(&path, &names).unwrap()))
    };
    let one = of_file(1);
    assert_eq!(of_file(5), one);
    let summaries = summarise(&table);
    assert_eq!(summaries[0].frequent.as_deref(), Some(&[("often".to_owned(), rows / 50)][..]));
    assert_eq!(summaries[0].distinct, summarise_parquet(&path, &["text"]).unwrap()[0].distinct);
    assert!(matches!(Summary::new(&["none"], &types(&table)), Err(TableError::NoColumn { .. })));
}
