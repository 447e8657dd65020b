//! `embed`: what becomes of missing texts, what is computed once, what another model changes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use arrow::array::{Array, ArrayRef, StringArray};
use serde_json::{Value, json};

use super::computed_vectors::{Encode, vectors_by};
use super::embed::Embed;
use crate::ground::ContentHash;
use crate::memo::vector_key;
use crate::model::{Device, MINILM, ModelError, Models, OnBatch, Precision, TextEncoder};
use crate::stage::{Input, OutputSink, StageContext, StageError, StageKind};
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

/// Goes beyond what its floats can hold for one text.
struct Overflowing;

impl Encode for Overflowing {
    fn width(&self) -> usize {
        WIDTH
    }

    fn encode(&self, texts: &[&str], on_batch: &OnBatch<'_>) -> Result<(), ModelError> {
        let last = |text: &str| if text.starts_with("loud") { f32::NAN } else { 1.0 };
        let vector = |text: &&str| [vec![0.5; WIDTH - 1], vec![last(text)]].concat();
        let stopped = |at| on_batch(&[at], &vector(&texts[at])).is_break();
        if (0..texts.len()).any(stopped) { Err(ModelError::Stopped) } else { Ok(()) }
    }
}

#[test]
fn a_vector_that_is_not_finite_is_not_kept_and_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let context = remembering(folder.path(), Vec::new());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let loud = "loud ".repeat(20);
    let model = ContentHash::of(b"m");
    let ended = runtime.block_on(vectors_by(&context, &model, &["quiet", &loud, "never"], async || Ok(Overflowing)));
    let Err(StageError::Failed { what, hint }) = ended else { panic!("it was taken") };
    let beginning = "loud ".repeat(8);
    assert_eq!(what, format!("could not embed the texts: the vector of \"{beginning}…\" is not finite"));
    assert!(hint.unwrap().contains("set `precision: bf16` or `f32`"));
    let kept = |text: &str| context.vectors.as_ref().unwrap().find(vector_key(&model, text)).is_some();
    assert_eq!([kept("quiet"), kept(&loud), kept("never")], [true, false, false]);
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
    let tables = run(&json!({}), &[Some("MALICE MIZER"), None, Some("rain"), Some("MALICE MIZER")], Models::default());
    let (_, values) = tables.unwrap()[0].vectors("vector").unwrap();
    let row = |row: usize| &values.values()[row * WIDTH..(row + 1) * WIDTH];
    assert_eq!(row(0), row(3));
    assert!(row(1).iter().all(|&value| value == 0.0));
    let expected = [-0.117_135, -0.001_096, -0.010_397, -0.057_252];
    assert!(row(0).iter().zip(expected).all(|(value, expected)| (value - expected).abs() < 2e-6), "{:?}", &row(0)[..4]);
}
