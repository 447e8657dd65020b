//! Makes Polars keep the order of rows. Groups, joins, distinct rows and sorts
//! with ties otherwise come in whatever order the threads finish, and an
//! artifact must not depend on that.

use std::sync::Arc;

use polars::prelude::{DslPlan, LazyFrame, MaintainOrderJoin, UniqueKeepStrategy};

/// The same query with every step in a stated order: groups by their first row,
/// joined rows by the left table's and then the right table's order, distinct
/// rows by their first occurrence, ties of a sort as they were.
pub fn keep_order(frame: LazyFrame) -> LazyFrame {
    LazyFrame::from(ordered(frame.logical_plan))
}

fn below(plan: Arc<DslPlan>) -> Arc<DslPlan> {
    Arc::new(ordered(Arc::unwrap_or_clone(plan)))
}

fn ordered(plan: DslPlan) -> DslPlan {
    match plan {
        // What was compiled on the way; the rewritten plan is compiled anew.
        DslPlan::IR { dsl, .. } => ordered(Arc::unwrap_or_clone(dsl)),
        DslPlan::GroupBy { input, keys, predicates, aggs, options, apply, .. } => {
            DslPlan::GroupBy { input: below(input), keys, predicates, aggs, maintain_order: true, options, apply }
        }
        DslPlan::Join { input_left, input_right, left_on, right_on, predicates, options } => {
            let mut options = Arc::unwrap_or_clone(options);
            // Also of joins that keep the left rows as they stand in any case (semi, anti,
            // cross): Polars would take their order for none, and that of all above them.
            if options.args.maintain_order == MaintainOrderJoin::None {
                options.args.maintain_order = MaintainOrderJoin::LeftRight;
            }
            let (input_left, input_right) = (below(input_left), below(input_right));
            DslPlan::Join { input_left, input_right, left_on, right_on, predicates, options: Arc::new(options) }
        }
        DslPlan::Distinct { input, mut options } => {
            options.maintain_order = true;
            if options.keep_strategy == UniqueKeepStrategy::Any {
                options.keep_strategy = UniqueKeepStrategy::First;
            }
            DslPlan::Distinct { input: below(input), options }
        }
        DslPlan::Sort { input, by_column, slice, mut sort_options } => {
            sort_options.maintain_order = true;
            DslPlan::Sort { input: below(input), by_column, slice, sort_options }
        }
        DslPlan::Union { inputs, mut args } => {
            args.maintain_order = true;
            DslPlan::Union { inputs: inputs.into_iter().map(ordered).collect(), args }
        }
        DslPlan::Filter { input, predicate } => DslPlan::Filter { input: below(input), predicate },
        DslPlan::Cache { input, id } => DslPlan::Cache { input: below(input), id },
        DslPlan::Select { expr, input, options } => DslPlan::Select { expr, input: below(input), options },
        DslPlan::HStack { input, exprs, options } => DslPlan::HStack { input: below(input), exprs, options },
        DslPlan::Slice { input, offset, len } => DslPlan::Slice { input: below(input), offset, len },
        DslPlan::MapFunction { input, function } => DslPlan::MapFunction { input: below(input), function },
        DslPlan::HConcat { inputs, options } => {
            DslPlan::HConcat { inputs: inputs.into_iter().map(ordered).collect(), options }
        }
        DslPlan::ExtContext { input, contexts } => {
            DslPlan::ExtContext { input: below(input), contexts: contexts.into_iter().map(ordered).collect() }
        }
        source => source,
    }
}
