//! The texts that songs are known by: which stage has them, and what they are.

use std::collections::BTreeMap;

use arrow::array::Array;

use super::gather::{Gatherer, ReportError};
use crate::table::TableError;

/// An item's text, and the status that the stage gave it.
pub(super) type Text = (Option<String>, Option<String>);

/// The instance whose texts a model's vectors are of.
pub(super) fn source(gatherer: &Gatherer<'_>, model: usize) -> Option<usize> {
    let vectors = gatherer.source(model, "vectors")?;
    gatherer.source(vectors, "texts")
}

/// Whether the main output of an instance holds texts of items.
pub(super) fn has_texts(gatherer: &Gatherer<'_>, index: usize) -> bool {
    let Some(artifact) = gatherer.main(index) else { return false };
    ["item_id", "text"].iter().all(|name| artifact.column(name).is_some_and(|column| column.data_type == "str"))
}

/// The texts of an instance by item, empty ones as none.
pub(super) fn read(gatherer: &Gatherer<'_>, index: usize) -> Result<BTreeMap<String, Text>, ReportError> {
    let Some(output) = gatherer.pipeline.instances[index].stage.outputs().into_iter().next() else {
        return Ok(BTreeMap::new());
    };
    let with_status = gatherer.main(index).is_some_and(|artifact| artifact.column("status").is_some());
    let columns: &[&str] = if with_status { &["item_id", "text", "status"] } else { &["item_id", "text"] };
    let Some(table) = gatherer.table(index, &output.name, columns)? else { return Ok(BTreeMap::new()) };
    let rows = || -> Result<BTreeMap<String, Text>, TableError> {
        let (items, texts) = (table.strings("item_id")?, table.strings("text")?);
        let statuses = with_status.then(|| table.strings("status")).transpose()?;
        let all = items.iter().zip(texts.iter()).enumerate().filter_map(|(row, (item, text))| {
            let status =
                statuses.as_ref().filter(|statuses| statuses.is_valid(row)).map(|statuses| statuses.value(row));
            let text = text.filter(|text| !text.trim().is_empty());
            Some((item?.to_owned(), (text.map(str::to_owned), status.map(str::to_owned))))
        });
        Ok(all.collect())
    };
    rows().map_err(|error| gatherer.unreadable(index, output.name.as_ref().into(), error))
}
