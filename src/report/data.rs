//! Table 1: how much data is left of each split.

use super::gather::{Gatherer, ReportError};
use super::{DataFacts, published};
use crate::table::{Part, Split};

/// The kind whose output is the data that models are trained and measured on.
const SPLIT: &str = "split_leave_last_out";

/// A row for each split of the pipeline; those that are the same artifact once.
pub(super) fn read(gatherer: &Gatherer<'_>) -> Result<Vec<DataFacts>, ReportError> {
    let mut rows: Vec<DataFacts> = Vec::new();
    let mut seen = Vec::new();
    for (index, instance) in gatherer.pipeline.instances.iter().enumerate() {
        if instance.kind.name() != SPLIT {
            continue;
        }
        let Some(artifact) = gatherer.main(index) else { continue };
        if seen.contains(&artifact.hash) {
            continue;
        }
        seen.push(artifact.hash);
        let Some(split) = gatherer.split(index)? else { continue };
        rows.push(facts(instance.id.to_string(), &split, gatherer));
    }
    Ok(rows)
}

fn facts(stage: String, split: &Split, gatherer: &Gatherer<'_>) -> DataFacts {
    let (users, items) = (split.users.len() as u64, split.items.len() as u64);
    let feedback = [Part::Train, Part::Validation, Part::Test].map(|part| split.part(part).len() as u64).iter().sum();
    let published = gatherer.pipeline.publication.published.map(published::of_data);
    DataFacts { stage, users, items, feedback, sparsity: sparsity(users, items, feedback), published }
}

/// The share of user-item pairs without an interaction; 0 where there are no pairs.
pub(super) fn sparsity(users: u64, items: u64, feedback: u64) -> f64 {
    let pairs = users as f64 * items as f64;
    if pairs > 0.0 { 1.0 - feedback as f64 / pairs } else { 0.0 }
}
