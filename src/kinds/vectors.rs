//! What the kinds that turn texts into vectors have in common: what becomes of
//! missing texts, and the table that they write. No kind by itself.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Float32Array, ListArray, StringArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field};
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ground::ContentHash;
use crate::ground::files::FileError;
use crate::memo::vector_key;
use crate::stage::{OutputPort, StageContext, StageError};
use crate::table::Table;

/// Rows written at a time: 25 MB of vectors of 384 numbers.
pub(super) const ROWS_PER_PART: usize = 16_384;

/// What becomes of a row whose text is null.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum OnMissing {
    /// A vector of zeros: it says nothing, and is like no other text.
    #[default]
    Zero,
    /// No row.
    Skip,
    /// The vector of the empty text, as sentence-transformers gives it.
    EmbedEmpty,
}

impl OnMissing {
    /// What is embedded for a text, if anything is.
    fn embedded(self, text: Option<&str>) -> Option<&str> {
        match self {
            Self::EmbedEmpty => Some(text.unwrap_or_default()),
            Self::Zero | Self::Skip => text,
        }
    }

    /// For each text the key of its vector, if it has one.
    pub(super) fn keys(self, model: &ContentHash, texts: &StringArray) -> Vec<Option<ContentHash>> {
        let text = |row: usize| texts.is_valid(row).then(|| texts.value(row));
        let key = |row: usize| self.embedded(text(row)).map(|text| vector_key(model, text));
        (0..texts.len()).into_par_iter().with_min_len(1024).map(key).collect()
    }
}

/// Which texts are embedded, and where their vectors go.
pub(super) struct Rows<'a> {
    pub(super) texts: Vec<&'a str>,
    /// For each row of the output: the row of the input, and the text whose
    /// vector it has, or none for zeros.
    pub(super) output: Vec<(usize, Option<usize>)>,
    /// Rows whose text is null and is not embedded.
    pub(super) missing: usize,
}

impl<'a> Rows<'a> {
    /// What becomes of each text.
    pub(super) fn plan(texts: &'a StringArray, on_missing: OnMissing) -> Self {
        let mut rows = Self { texts: Vec::new(), output: Vec::new(), missing: 0 };
        for (row, text) in texts.iter().enumerate() {
            if let Some(text) = on_missing.embedded(text) {
                rows.output.push((row, Some(rows.texts.len())));
                rows.texts.push(text);
                continue;
            }
            rows.missing += 1;
            if on_missing == OnMissing::Zero {
                rows.output.push((row, None));
            }
        }
        rows
    }

    /// The same, told to the user: how many rows there are, and that those
    /// whose text is missing are done.
    pub(super) fn begin(context: &StageContext, texts: &'a StringArray, on_missing: OnMissing) -> Self {
        let rows = Self::plan(texts, on_missing);
        context.progress.total(texts.len() as u64);
        context.progress.advance(rows.missing as u64);
        if let Some(warning) = rows.warning(on_missing, texts.len()) {
            context.progress.warn(&warning);
        }
        rows
    }

    /// What the user should know about missing texts: nothing, if they are few.
    fn warning(&self, on_missing: OnMissing, all: usize) -> Option<String> {
        let fate = if on_missing == OnMissing::Zero { "their vectors are zeros" } else { "their rows are left out" };
        (self.missing * 10 > all).then(|| format!("{} of {all} texts are missing; {fate}", self.missing))
    }
}

/// The output `vectors`.
pub(super) fn port() -> OutputPort {
    OutputPort::new("vectors", &[("item_id", "str"), ("vector", "list<f32>")]).keyed_by(&["item_id"])
}

/// Some rows of the output. `fill` puts a text's vector in its place, which holds zeros.
pub(super) fn assemble(
    ids: &StringArray,
    rows: &[(usize, Option<usize>)],
    width: usize,
    mut fill: impl FnMut(usize, &mut [f32]),
) -> Result<Table, StageError> {
    let mut values = vec![0.0; rows.len() * width];
    for ((_, text), place) in rows.iter().zip(values.chunks_exact_mut(width.max(1))) {
        if let Some(text) = text {
            fill(*text, place);
        }
    }
    let item = Arc::new(Field::new("item", DataType::Float32, true));
    let offsets = OffsetBuffer::from_lengths(std::iter::repeat_n(width, rows.len()));
    let lists = ListArray::new(item, offsets, Arc::new(Float32Array::from(values)), None);
    let ids: StringArray = rows.iter().map(|&(row, _)| Some(ids.value(row))).collect();
    Ok(Table::of_columns([("item_id", Arc::new(ids) as ArrayRef), ("vector", Arc::new(lists))])?)
}

/// Vectors could not be kept: what follows would be computed or paid for in vain.
pub(super) fn unkept_vectors(error: &FileError) -> StageError {
    let what = format!("vectors could not be kept in the memo: {error}: {}", error.source);
    StageError::with_hint(
        what,
        "check the space and the permissions of the artifacts folder; what was kept is not computed again",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_keep_their_order_and_missing_ones_are_counted() {
        let texts = StringArray::from(vec![Some("a"), None, Some("")]);
        let rows = Rows::plan(&texts, OnMissing::Zero);
        assert_eq!(
            (rows.texts.as_slice(), rows.output.as_slice()),
            (["a", ""].as_slice(), [(0, Some(0)), (1, None), (2, Some(1))].as_slice())
        );
        assert_eq!(rows.warning(OnMissing::Zero, 3).unwrap(), "1 of 3 texts are missing; their vectors are zeros");
        assert_eq!(Rows::plan(&texts, OnMissing::Skip).output, [(0, Some(0)), (2, Some(1))]);
        assert_eq!(Rows::plan(&texts, OnMissing::EmbedEmpty).texts, ["a", "", ""]);
        assert_eq!(Rows::plan(&texts, OnMissing::Skip).warning(OnMissing::Skip, 100), None);
    }
}
