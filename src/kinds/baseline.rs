//! What the baselines have in common: they read a split and write a model for
//! `evaluate`; whoever reads a split reads it here. No kind by itself.

use crate::model::interactions::Interactions;
use crate::model::model_table::{MODEL_COLUMNS, table_of_tensors};
use crate::model::two_tower::Tensor;
use crate::stage::{Input, InputPort, OutputPort, StageContext, StageError};

/// The port of the split.
pub(super) fn split_port() -> InputPort {
    InputPort::new("split", ["user_id", "item_id", "part"])
}

/// The port of the model.
pub(super) fn model_port() -> OutputPort {
    OutputPort::new("model", MODEL_COLUMNS).keyed_by(&["name"])
}

/// The split as indices.
///
/// # Errors
/// If it cannot be read, or a column does not fit.
pub(super) fn read_split(context: &StageContext) -> Result<Interactions, StageError> {
    let split = match context.input("split").and_then(Input::path) {
        Some(path) => Interactions::of_parquet(path),
        None => Interactions::of_table(&context.table("split")?),
    };
    split.map_err(|error| StageError::failed(error.to_string()))
}

/// Writes the model, and which users and items it was made for.
///
/// # Errors
/// If it cannot be written.
pub(super) fn write_model(
    context: &StageContext,
    split: &Interactions,
    tensors: impl IntoIterator<Item = Tensor>,
) -> Result<(), StageError> {
    let check = split.check();
    let mut tensors: Vec<Tensor> = tensors.into_iter().collect();
    tensors.push(Tensor { name: "id_check".to_owned(), shape: vec![check.len()], values: check });
    context.write("model", &table_of_tensors(&tensors)?)
}

/// Tells the progress, and whether to go on.
pub(super) fn goes_on(context: &StageContext) -> impl Fn(u64) -> bool + Sync {
    |more| {
        if more > 0 {
            context.progress.advance(more);
        }
        !context.cancel.is_cancelled()
    }
}
