//! Questions about large tables in several passes. Each pass groups the rows of
//! which a key has certain hashes, so that no more than a part of the groups and
//! their rows is held at a time; what comes out is the same, in another order.
//! Where the first rows in an order are asked for, a pass finds their keys.

use std::sync::Arc;

use arrow::array::ArrayRef;
use polars::prelude::{
    BooleanChunked, Column, DataFrame, DataType, DslPlan, Engine, Expr, Field, IntoColumn, IntoLazy, LazyFrame,
    NewChunkedArray, PolarsError, PolarsResult, col,
};

use super::first_rows::narrowed;
use super::query::batches;
use super::summary::{DistinctSketch, hashes};
use super::{Table, TableError, from_polars};

/// Rows that are grouped in one pass where there are many groups.
const ROWS_OF_PASS: u64 = 1_600_000;
/// So many different keys need no passes: as many groups are kept at hand.
const FEW_KEYS: u64 = 50_000;
const MOST_PASSES: u64 = 64;

/// The same plan for `rows` rows, its groups with many keys found in passes: they
/// are in memory already. What stands behind the first rows in an order is left out.
///
/// # Errors
/// What Polars says of the groups.
pub(super) fn in_passes(plan: DslPlan, rows: u64) -> PolarsResult<DslPlan> {
    if rows <= ROWS_OF_PASS { Ok(plan) } else { passed(plan, rows) }
}

fn below(plan: Arc<DslPlan>, rows: u64) -> PolarsResult<Arc<DslPlan>> {
    passed(Arc::unwrap_or_clone(plan), rows).map(Arc::new)
}

fn all_below(plans: Vec<DslPlan>, rows: u64) -> PolarsResult<Vec<DslPlan>> {
    plans.into_iter().map(|plan| passed(plan, rows)).collect()
}

fn passed(plan: DslPlan, rows: u64) -> PolarsResult<DslPlan> {
    Ok(match plan {
        DslPlan::IR { dsl, .. } => passed(Arc::unwrap_or_clone(dsl), rows)?,
        DslPlan::GroupBy { input, keys, predicates, aggs, maintain_order, options, apply } => {
            let input = below(input, rows)?;
            let group = |input| DslPlan::GroupBy {
                input,
                keys: keys.clone(),
                predicates: predicates.clone(),
                aggs: aggs.clone(),
                maintain_order,
                options: Arc::clone(&options),
                apply: apply.clone(),
            };
            grouped(input, &keys, rows, group)?
        }
        DslPlan::Distinct { input, options } => {
            let input = below(input, rows)?;
            let keys = match &options.subset {
                Some(subset) => subset.clone(),
                None => columns(&input)?,
            };
            grouped(input, &keys, rows, |input| DslPlan::Distinct { input, options: options.clone() })?
        }
        DslPlan::Join { input_left, input_right, left_on, right_on, predicates, options } => {
            let (input_left, input_right) = (below(input_left, rows)?, below(input_right, rows)?);
            DslPlan::Join { input_left, input_right, left_on, right_on, predicates, options }
        }
        DslPlan::Sort { input, by_column, slice, sort_options } => {
            DslPlan::Sort { input: below(input, rows)?, by_column, slice, sort_options }
        }
        DslPlan::Filter { input, predicate } => DslPlan::Filter { input: below(input, rows)?, predicate },
        DslPlan::Cache { input, id } => DslPlan::Cache { input: below(input, rows)?, id },
        DslPlan::Select { expr, input, options } => DslPlan::Select { expr, input: below(input, rows)?, options },
        DslPlan::HStack { input, exprs, options } => DslPlan::HStack { input: below(input, rows)?, exprs, options },
        DslPlan::Slice { input, offset, len } => {
            let most = u64::try_from(offset).ok().and_then(|offset| offset.checked_add(len.into()));
            let input = below(input, rows)?;
            DslPlan::Slice { input: if let Some(most) = most { narrowed(input, most)? } else { input }, offset, len }
        }
        DslPlan::MapFunction { input, function } => DslPlan::MapFunction { input: below(input, rows)?, function },
        DslPlan::Union { inputs, args } => DslPlan::Union { inputs: all_below(inputs, rows)?, args },
        DslPlan::HConcat { inputs, options } => DslPlan::HConcat { inputs: all_below(inputs, rows)?, options },
        source => source,
    })
}

fn frame(plan: &Arc<DslPlan>) -> LazyFrame {
    LazyFrame::from(DslPlan::clone(plan))
}

fn columns(plan: &Arc<DslPlan>) -> PolarsResult<Vec<Expr>> {
    Ok(frame(plan).collect_schema()?.iter_names_cloned().map(col).collect())
}

/// The groups of a table, or the plan of them where they need no passes.
fn grouped(
    input: Arc<DslPlan>,
    keys: &[Expr],
    rows: u64,
    group: impl Fn(Arc<DslPlan>) -> DslPlan,
) -> PolarsResult<DslPlan> {
    let Some(key) = widest(&input, keys)? else { return Ok(group(input)) };
    let passes = rows.div_ceil(ROWS_OF_PASS).min(MOST_PASSES);
    let mut groups: Option<DataFrame> = None;
    for pass in 0..passes {
        let predicate = key.clone().map(
            move |column| is_of_pass(column, pass, passes),
            |_, field| Ok(Field::new(field.name().clone(), DataType::Boolean)),
        );
        let part = group(Arc::new(DslPlan::Filter { input: Arc::clone(&input), predicate }));
        let part =
            LazyFrame::from(part).with_check_order(false).collect_with_engine(Engine::Streaming)?.unwrap_single();
        match &mut groups {
            None => groups = Some(part),
            Some(groups) => drop(groups.vstack_mut(&part)?),
        }
    }
    Ok(groups.unwrap_or_default().lazy().logical_plan)
}

/// The key with the most different values, if these are too many to be kept at
/// hand and its type can be told apart by hashes.
fn widest(input: &Arc<DslPlan>, keys: &[Expr]) -> PolarsResult<Option<Expr>> {
    if keys.is_empty() {
        return Ok(None);
    }
    let mut sketches: Vec<Option<DistinctSketch>> = keys.iter().map(|_| Some(DistinctSketch::new())).collect();
    let named = keys.iter().enumerate().map(|(place, key)| key.clone().alias(place.to_string()));
    let selected = frame(input).select(named.collect::<Vec<_>>());
    batches(selected, |table: &Table| -> Result<bool, TableError> {
        for batch in table.batches() {
            for (array, sketch) in batch.columns().iter().zip(&mut sketches) {
                match hashes(array) {
                    Some(hashes) => hashes.into_iter().for_each(|hash| {
                        if let Some(sketch) = sketch.as_mut() {
                            sketch.add(hash);
                        }
                    }),
                    None => *sketch = None,
                }
            }
        }
        Ok(true)
    })
    .map_err(|error| failed(&error))?;
    let counts = sketches.into_iter().zip(keys).filter_map(|(sketch, key)| Some((sketch?.finish().count, key)));
    Ok(counts.max_by_key(|(count, _)| *count).filter(|(count, _)| *count > FEW_KEYS).map(|(_, key)| key.clone()))
}

/// What failed, for Polars.
pub(super) fn failed(error: &TableError) -> PolarsError {
    PolarsError::ComputeError(error.to_string().into())
}

/// For each row, whether it is one of this pass.
fn is_of_pass(column: Column, pass: u64, passes: u64) -> PolarsResult<Column> {
    let name = column.name().clone();
    let unfit = || PolarsError::ComputeError("the keys of the groups cannot be told apart".into());
    let table = from_polars(&DataFrame::new(column.len(), vec![column])?).map_err(|_| unfit())?;
    let batch = table.single_batch().map_err(|_| unfit())?;
    let array: &ArrayRef = batch.column(0);
    // Other bits of the hash than those by which Polars puts keys into its tables.
    let flags = hashes(array).ok_or_else(unfit)?.into_iter().map(|hash| (hash >> 32) % passes == pass);
    Ok(BooleanChunked::from_iter_values(name, flags).into_column())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Float64Array, Int64Array, StringArray};
    use polars::prelude::{UniqueKeepStrategy, len};

    use super::super::lazy;
    use polars::prelude::SortMultipleOptions;

    use super::*;

    /// 120,000 rows of 60,000 users, who have one of three countries each, and null.
    fn rows() -> LazyFrame {
        let user = |i: i64| (i % 60_000 > 0).then(|| format!("user {}", i % 60_000));
        let columns: [(&str, ArrayRef); 3] = [
            ("user", Arc::new((0..120_000).map(user).collect::<StringArray>())),
            ("country", Arc::new((0..120_000).map(|i| Some(i % 3)).collect::<Int64Array>())),
            ("score", Arc::new((0..120_000).map(|i| Some(f64::from(i))).collect::<Float64Array>())),
        ];
        lazy(&Table::of_columns(columns).unwrap()).unwrap()
    }

    fn same(frame: LazyFrame, passes: bool) {
        let sorted = |frame: LazyFrame| frame.sort(["user"], SortMultipleOptions::default()).collect().unwrap();
        let passed = in_passes(frame.logical_plan.clone(), 20_000_000).unwrap();
        assert_eq!(matches!(passed, DslPlan::DataFrameScan { .. }), passes);
        assert!(sorted(LazyFrame::from(passed)).equals_missing(&sorted(frame)));
    }

    #[test]
    fn groups_in_passes_are_the_groups() {
        let all = || [len().alias("n"), col("score").sum(), col("score").max().alias("most")];
        same(rows().group_by([col("user"), col("country")]).agg(all()), true);
        same(
            rows()
                .unique(None, UniqueKeepStrategy::Any)
                .select([col("user"), col("score")])
                .sort(["user", "score"], SortMultipleOptions::default())
                .group_by([col("user")])
                .agg([len()]),
            true,
        );
    }

    #[test]
    fn few_groups_need_no_passes() {
        let plan = rows().group_by([col("country").alias("user")]).agg([len()]);
        same(plan, false);
        let small = rows().group_by([col("user")]).agg([len()]).logical_plan;
        assert!(matches!(in_passes(small, 120_000).unwrap(), DslPlan::GroupBy { .. }));
    }
}
