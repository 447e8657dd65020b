//! The first rows of a large table in an order, `ORDER BY … LIMIT`. The keys alone
//! are read first, and then whole rows only where their keys may be among the
//! first. Of what is read no more is kept than that.

use std::sync::Arc;

use polars::prelude::{
    AnyValue, BooleanFunction, Column, DataFrame, DataType, DslPlan, Expr, FunctionExpr, IntoLazy, LazyFrame,
    PolarsResult, Scalar, SortMultipleOptions, col, lit,
};

use super::passes::failed;
use super::polars::copied;
use super::query::frames;
use super::{TableError, polars_error};

/// So many first rows are looked for; a longer answer takes memory in any case.
const MOST: u64 = 65_536;
/// So many rows are put in order together.
const TOGETHER: usize = 16_384;

/// A plan of which no more than the first `most` rows will be taken: rows that
/// cannot be among them are left out before they are sorted.
///
/// # Errors
/// What Polars says of the rows.
pub(super) fn narrowed(plan: Arc<DslPlan>, most: u64) -> PolarsResult<Arc<DslPlan>> {
    if !(1..=MOST).contains(&most) {
        return Ok(plan);
    }
    Ok(Arc::new(match Arc::unwrap_or_clone(plan) {
        DslPlan::IR { dsl, .. } => return narrowed(dsl, most),
        DslPlan::Select { expr, input, options } if expr.iter().all(is_row_wise) => {
            DslPlan::Select { expr, input: narrowed(input, most)?, options }
        }
        DslPlan::Sort { input, by_column, slice: None, sort_options } if reads_rows(&input) => {
            let input = Order::new(&by_column, &sort_options).narrow(input, most as usize)?;
            // Few rows are left, whose order costs nothing.
            DslPlan::Sort { input, by_column, slice: None, sort_options: sort_options.with_maintain_order(true) }
        }
        other => other,
    }))
}

/// Whether each value depends on its row alone.
fn is_row_wise(expr: &Expr) -> bool {
    let has_rows = expr.into_iter().any(|node| matches!(node, Expr::Column(_) | Expr::Selector(_)));
    has_rows && expr.into_iter().all(is_plain)
}

fn is_plain(node: &Expr) -> bool {
    use BooleanFunction::{IsNotNull, IsNull};
    use Expr::{Alias, BinaryExpr, Cast, Column, Function, Literal, Selector, Ternary};
    match node {
        Column(_) | Selector(_) | Literal(_) | Alias(..) | Cast { .. } | BinaryExpr { .. } | Ternary { .. } => true,
        Function { function, .. } => matches!(function, FunctionExpr::Boolean(IsNull | IsNotNull)),
        _ => false,
    }
}

/// Whether rows come from files and are the same each time they are read.
fn reads_rows(plan: &DslPlan) -> bool {
    let is_certain = |node: &Expr| is_plain(node) || matches!(node, Expr::Function { .. });
    let are_certain = |exprs: &[Expr]| exprs.iter().flatten().all(is_certain);
    match plan {
        DslPlan::IR { dsl, .. } => reads_rows(dsl),
        DslPlan::Scan { .. } => true,
        DslPlan::Filter { input, predicate } => predicate.into_iter().all(is_certain) && reads_rows(input),
        DslPlan::Select { expr, input, .. } => are_certain(expr) && reads_rows(input),
        DslPlan::HStack { input, exprs, .. } => are_certain(exprs) && reads_rows(input),
        DslPlan::Union { inputs, .. } => inputs.iter().all(reads_rows),
        _ => false,
    }
}

/// What rows are sorted by, as far as it can be looked at alone.
struct Order {
    keys: Vec<Expr>,
    options: SortMultipleOptions,
    /// Whether these are all keys.
    is_whole: bool,
}

impl Order {
    fn new(by: &[Expr], options: &SortMultipleOptions) -> Self {
        let keys: Vec<Expr> = by.iter().take_while(|key| is_row_wise(key)).cloned().collect();
        // One flag may stand for all keys.
        let flags = |flags: &[bool]| -> Vec<bool> {
            (0..keys.len()).map(|at| flags.get(at).or(flags.first()).copied().unwrap_or_default()).collect()
        };
        let options = SortMultipleOptions::default()
            .with_order_descending_multi(flags(&options.descending))
            .with_nulls_last_multi(flags(&options.nulls_last))
            .with_maintain_order(true);
        Self { is_whole: keys.len() == by.len(), keys, options }
    }

    /// The first `most` rows, or those that may be among them, or all.
    fn narrow(&self, input: Arc<DslPlan>, most: usize) -> PolarsResult<Arc<DslPlan>> {
        if self.keys.is_empty() {
            return Ok(input);
        }
        let names: Vec<String> = (0..self.keys.len()).map(|at| format!("key {at} of the order")).collect();
        let named: Vec<Expr> =
            self.keys.iter().zip(&names).map(|(key, name)| key.clone().alias(name.as_str())).collect();
        let rows = LazyFrame::from(DslPlan::clone(&input));
        let Some(keys) = self.first(rows.clone().select(&named), &names, most)? else { return Ok(input) };
        let Some(predicate) = self.until_last(&self.keys, &keys)? else { return Ok(input) };
        if self.before_last(&self.keys, &keys)?.is_none() {
            return Ok(Arc::new(DslPlan::Filter { input, predicate }));
        }
        let rows = self.first(rows.filter(predicate).with_columns(named), &names, most)?;
        Ok(rows.map_or(input, |rows| Arc::new(rows.drop_many(&names).lazy().logical_plan)))
    }

    /// The first `most` rows by the columns of these names, in their order; none if
    /// there are fewer.
    fn first(&self, rows: LazyFrame, names: &[String], most: usize) -> PolarsResult<Option<DataFrame>> {
        let keys: Vec<Expr> = names.iter().map(|name| col(name.as_str())).collect();
        let in_order = |rows: &DataFrame| Ok(rows.sort(names, self.options.clone())?.head(Some(most)));
        let (mut first, mut before): (Option<DataFrame>, Option<Expr>) = (None, None);
        let mut take = |mut frame: DataFrame| -> PolarsResult<bool> {
            if let Some(before) = before.clone() {
                frame = frame.lazy().filter(before).collect()?;
            }
            let frame = copied(&frame)?;
            let mut rows = if let Some(first) = first.take() { first.vstack(&frame)? } else { frame };
            if rows.height() >= most + TOGETHER {
                rows = in_order(&rows)?;
                before = self.before_last(&keys, &rows.select(names)?)?;
            }
            first = Some(rows);
            Ok(true)
        };
        let taken = frames(rows, None, |frame| take(frame).map_err(|error| polars_error(&error)));
        taken.map_err(|error: TableError| failed(&error))?;
        first.filter(|rows| rows.height() >= most).map(|rows| in_order(&rows)).transpose()
    }

    /// What holds for rows that do not stand behind the last of those with these
    /// keys; nothing where that is not certain.
    fn until_last(&self, keys: &[Expr], rows: &DataFrame) -> PolarsResult<Option<Expr>> {
        let known = self.compared(keys, rows)?;
        Ok(known.into_iter().rev().fold(None, |next, of_key| Some(decided(next, of_key))))
    }

    /// The same for rows that stand before it: of equals the first stays. Nothing
    /// also where not all keys can be compared.
    fn before_last(&self, keys: &[Expr], rows: &DataFrame) -> PolarsResult<Option<Expr>> {
        let known = self.compared(keys, rows)?;
        let all = self.is_whole && known.len() == keys.len();
        Ok(all.then(|| known.into_iter().rev().fold(lit(false), |next, of_key| decided(Some(next), of_key))))
    }

    /// For each key whether it comes before that of the last row, if any can, and
    /// whether it is the same; up to the first that cannot be compared.
    fn compared(&self, keys: &[Expr], rows: &DataFrame) -> PolarsResult<Vec<(Option<Expr>, Expr)>> {
        let mut known = Vec::new();
        for ((at, key), column) in keys.iter().enumerate().zip(rows.columns()) {
            if !is_comparable(column)? {
                break;
            }
            let last = column.get(column.len() - 1)?.into_static();
            let (descending, nulls_last) = (self.options.descending[at], self.options.nulls_last[at]);
            known.push(before_and_equal(key, column.dtype(), last, descending, nulls_last));
        }
        Ok(known)
    }
}

/// Of equals the next key decides.
fn decided(next: Option<Expr>, (before, equal): (Option<Expr>, Expr)) -> Expr {
    let equal = if let Some(next) = next { equal.and(next) } else { equal };
    if let Some(before) = before { before.or(equal) } else { equal }
}

/// Whether values of a key can be told to come first. NaN is the largest number for
/// a sort, and no number for the statistics of a file.
fn is_comparable(column: &Column) -> PolarsResult<bool> {
    let dtype = column.dtype();
    let has_order = dtype.is_primitive_numeric() || dtype.is_string() || dtype.is_temporal() || dtype.is_bool();
    Ok(has_order && !(dtype.is_float() && column.is_nan()?.any()))
}

/// Whether a key comes before a value, if any can, and whether it is the same.
fn before_and_equal(
    key: &Expr,
    dtype: &DataType,
    value: AnyValue<'static>,
    descending: bool,
    nulls_last: bool,
) -> (Option<Expr>, Expr) {
    let key = || key.clone();
    if value == AnyValue::Null {
        return (nulls_last.then(|| key().is_not_null()), key().is_null());
    }
    let value = lit(Scalar::new(dtype.clone(), value));
    let before = if descending { key().gt(value.clone()) } else { key().lt(value.clone()) };
    (Some(if nulls_last { before } else { before.or(key().is_null()) }), key().eq(value))
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray};
    use polars::prelude::{UnionArgs, col, concat};
    use proptest::option::of;
    use proptest::prelude::*;

    use super::super::{Table, polars::scan, write_parquet};
    use super::*;

    type Row = (Option<i64>, Option<f64>, Option<String>, Option<bool>);

    fn files(rows: &[Row], folder: &std::path::Path) -> LazyFrame {
        let columns = |rows: &[Row]| -> [(&str, ArrayRef); 4] {
            [
                ("whole", Arc::new(rows.iter().map(|row| row.0).collect::<Int64Array>())),
                ("number", Arc::new(rows.iter().map(|row| row.1).collect::<Float64Array>())),
                ("text", Arc::new(rows.iter().map(|row| row.2.clone()).collect::<StringArray>())),
                ("flag", Arc::new(rows.iter().map(|row| row.3).collect::<BooleanArray>())),
            ]
        };
        let (one, other) = rows.split_at(rows.len() / 2);
        let frames = [("one", one), ("other", other)].map(|(name, rows)| {
            let path = folder.join(name);
            let file = std::fs::File::create(&path).unwrap();
            drop(write_parquet(&Table::of_columns(columns(rows)).unwrap(), file).unwrap());
            scan(&path).unwrap()
        });
        concat(frames, UnionArgs::default()).unwrap()
    }

    /// The frame with its plan narrowed, and whether that left out anything.
    fn narrow(frame: &LazyFrame, most: u64) -> (LazyFrame, bool) {
        let plan = narrowed(Arc::new(frame.logical_plan.clone()), most).unwrap();
        let narrow = LazyFrame::from(Arc::unwrap_or_clone(plan));
        let steps = |frame: &LazyFrame| {
            let plan = frame.describe_plan().unwrap();
            ["FILTER", "DF ["].map(|step| plan.matches(step).count())
        };
        let is_less = steps(&narrow) != steps(frame);
        (narrow, is_less)
    }

    fn value() -> impl Strategy<Value = Row> {
        let number = prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(-0.0), -2.0..2.0];
        let text = prop_oneof!["[a-c]{0,2}", "é{0,2}"];
        (of(-3_i64..3), of(number), of(text), of(any::<bool>()))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]
        #[test]
        fn the_first_rows_are_those_of_the_whole_table(
            rows in proptest::collection::vec(value(), 0..40),
            keys in Just(vec![0_usize, 1, 2, 3, 4]).prop_shuffle(),
            descending: [bool; 5],
            nulls_last: [bool; 5],
            most in 1_u32..12,
        ) {
            let folder = tempfile::tempdir().unwrap();
            // All columns are among the keys, so that one answer is right.
            let by = [col("whole"), col("number"), col("text"), col("number") * lit(2), col("flag")];
            let options = SortMultipleOptions::default()
                .with_order_descending_multi(descending)
                .with_nulls_last_multi(nulls_last);
            let sorted = files(&rows, folder.path()).sort_by_exprs(keys.iter().map(|key| by[*key].clone()).collect::<Vec<_>>(), options);
            let sorted = sorted.select(["flag", "text", "number", "whole"].map(col));
            let (narrow, _) = narrow(&sorted, most.into());
            let answers = [sorted, narrow].map(|frame| frame.limit(most).collect().unwrap());
            prop_assert!(answers[0].equals_missing(&answers[1]), "{answers:?}");
        }
    }

    #[test]
    fn keys_by_the_hundred_thousand_are_looked_at_in_parts() {
        let folder = tempfile::tempdir().unwrap();
        let row = |i: i64| (Some(i % 7), Some((i * 7919 % 300_007) as f64), None, Some(i % 2 == 0));
        let rows: Vec<Row> = (0..300_000).map(row).collect();
        let rows = files(&rows, folder.path());
        let options = SortMultipleOptions::default().with_order_descending_multi([false, true]);
        let sorted = rows.sort(["whole", "number"], options);
        let (narrow, is_less) = narrow(&sorted, 20);
        assert!(is_less);
        let answers = [sorted, narrow].map(|frame| frame.limit(20).collect().unwrap());
        assert!(answers[0].equals_missing(&answers[1]), "{answers:?}");
    }

    #[test]
    fn of_equals_those_that_stand_first_are_taken() {
        let folder = tempfile::tempdir().unwrap();
        let rows: Vec<Row> = (0..100_000).map(|i| (Some(i), None, None, Some(i % 3 == 0))).collect();
        let sorted = files(&rows, folder.path()).sort(["flag"], SortMultipleOptions::default());
        let first = narrow(&sorted, 5).0.limit(5).collect().unwrap();
        let whole: Vec<Option<i64>> = first.column("whole").unwrap().i64().unwrap().iter().collect();
        assert_eq!(whole, [1, 2, 4, 5, 7].map(Some));
    }

    #[test]
    fn only_rows_as_they_stand_are_narrowed() {
        let folder = tempfile::tempdir().unwrap();
        let rows: Vec<Row> = (0..100).map(|i| (Some(i), Some(i as f64), None, None)).collect();
        let rows = files(&rows, folder.path());
        let by = |frame: LazyFrame| frame.sort(["number"], SortMultipleOptions::default());
        assert!(narrow(&by(rows.clone()), 5).1);
        assert!(narrow(&by(rows.clone().filter(col("text").is_null())), 5).1);
        assert!(!narrow(&by(rows.clone()), 0).1, "nothing is wanted");
        assert!(!narrow(&by(rows.clone()), 200).1, "all rows are wanted");
        assert!(!narrow(&by(rows.clone()), MOST + 1).1, "much is wanted");
        assert!(!narrow(&by(rows.clone()).select([col("number").sum()]), 5).1, "the sum is of all rows");
        assert!(!narrow(&by(rows.clone().limit(50)), 5).1, "some rows may be others the next time");
        assert!(!narrow(&rows.clone().sort_by_exprs([col("number").sum()], SortMultipleOptions::default()), 5).1);
        assert!(!narrow(&by(rows.group_by([col("whole")]).agg([col("number").sum()])), 5).1, "groups are costly");
    }
}
