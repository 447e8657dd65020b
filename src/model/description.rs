//! What the files of a sentence-transformers model say about it: sizes, pooling,
//! normalisation, the longest text. One BERT and nothing else is understood;
//! whatever would give other vectors is refused.

use refrain_gpu::{Architecture, Pooling};
use serde_json::Value;

use super::error::ModelError;
use super::weights::ModelFiles;

/// The sizes of a model and the most tokens that it reads, from its files.
///
/// # Errors
/// [`ModelError::Description`] for the first thing that is not understood.
pub(super) fn describe(files: &ModelFiles) -> Result<(Architecture, usize), ModelError> {
    let unit_length = modules(&Description::read(files, "modules.json")?)?;
    let pooling = pooling(&Description::read(files, "1_Pooling/config.json")?)?;
    let config = Description::read(files, "config.json")?;
    config.must_be("model_type", "bert")?;
    config.must_be("hidden_act", "gelu")?;
    if config.value.get("position_embedding_type").is_some() {
        config.must_be("position_embedding_type", "absolute")?;
    }
    let architecture = Architecture {
        layers: config.count("num_hidden_layers")?,
        heads: config.count("num_attention_heads")?,
        hidden: config.count("hidden_size")?,
        intermediate: config.count("intermediate_size")?,
        vocabulary: config.count("vocab_size")?,
        positions: config.count("max_position_embeddings")?,
        types: config.count("type_vocab_size")?,
        epsilon: config.value.get("layer_norm_eps").and_then(Value::as_f64).unwrap_or(1e-12) as f32,
        pooling,
        unit_length,
    };
    let (hidden, heads) = (architecture.hidden, architecture.heads);
    if !hidden.is_multiple_of(heads) {
        return Err(config.refused(format!("hidden_size {hidden} is no multiple of num_attention_heads {heads}")));
    }
    let sentence = Description::read(files, "sentence_bert_config.json")?;
    let most = match sentence.value.get("max_seq_length") {
        None | Some(Value::Null) => architecture.positions,
        Some(_) => sentence.count("max_seq_length")?,
    };
    if most > architecture.positions {
        let why = format!("max_seq_length {most} is more than the {} positions of config.json", architecture.positions);
        return Err(sentence.refused(why));
    }
    let lowers = sentence.value.get("do_lower_case") == Some(&Value::Bool(true));
    if lowers && !lowers_case(&Description::read(files, "tokenizer.json")?.value["normalizer"]) {
        let why = "do_lower_case is true, but the tokenizer keeps capitals; texts are not lowered before it";
        return Err(sentence.refused(why));
    }
    Ok((architecture, most))
}

/// Whether a tokenizer's normalizer makes all letters small.
fn lowers_case(normalizer: &Value) -> bool {
    match normalizer["type"].as_str() {
        Some("Lowercase") => true,
        Some("BertNormalizer") => normalizer["lowercase"] == Value::Bool(true),
        Some("Sequence") => normalizer["normalizers"].as_array().is_some_and(|all| all.iter().any(lowers_case)),
        _ => false,
    }
}

/// The file that may say that a prompt stands before every text. Many models lack it.
pub const PROMPTS_FILE: &str = "config_sentence_transformers.json";

/// Refuses a model that puts a prompt before every text, by its [`PROMPTS_FILE`].
///
/// # Errors
/// [`ModelError::Description`].
pub fn check_prompts(bytes: &[u8]) -> Result<(), ModelError> {
    let file = Description::of_bytes(bytes, PROMPTS_FILE)?;
    match file.value.get("default_prompt_name").unwrap_or(&Value::Null) {
        Value::Null => Ok(()),
        name => {
            let prompt = name.as_str().and_then(|name| file.value["prompts"][name].as_str());
            if prompt == Some("") {
                return Ok(());
            }
            let prompt = prompt.map_or("a prompt".to_owned(), |prompt| format!("\"{prompt}\""));
            Err(file.refused(format!(
                "default_prompt_name is {name}, which puts {prompt} before every text; texts are embedded as they are"
            )))
        }
    }
}

/// A JSON file of a model.
struct Description {
    name: &'static str,
    value: Value,
}

impl Description {
    fn read(files: &ModelFiles, name: &'static str) -> Result<Self, ModelError> {
        Self::of_bytes(files.file(name), name)
    }

    fn of_bytes(bytes: &[u8], name: &'static str) -> Result<Self, ModelError> {
        let parsed = serde_json::from_slice(bytes);
        let value =
            parsed.map_err(|error| ModelError::Description { name, why: format!("it is not JSON ({error})") })?;
        Ok(Self { name, value })
    }

    fn refused(&self, why: impl Into<String>) -> ModelError {
        ModelError::Description { name: self.name, why: why.into() }
    }

    fn must_be(&self, key: &str, wanted: &str) -> Result<(), ModelError> {
        match self.value.get(key) {
            Some(Value::String(found)) if found == wanted => Ok(()),
            Some(found) => Err(self.refused(format!("{key} is {found}; only \"{wanted}\" can be computed"))),
            None => Err(self.refused(format!("it has no {key}; only \"{wanted}\" can be computed"))),
        }
    }

    /// A number of at least 1.
    fn count(&self, key: &str) -> Result<usize, ModelError> {
        let found = self.value.get(key).and_then(Value::as_u64).filter(|count| (1..=1 << 32).contains(count));
        found.map(|count| count as usize).ok_or_else(|| {
            let found = self.value.get(key).map_or("missing".to_owned(), ToString::to_string);
            self.refused(format!("{key} is {found}, not a number of at least 1"))
        })
    }
}

/// Whether the vectors are scaled to length 1. The modules must be a
/// transformer, its pooling, and nothing else that changes a vector.
fn modules(file: &Description) -> Result<bool, ModelError> {
    let text = |module: &Value, key: &str| module.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let modules = file.value.as_array().ok_or_else(|| file.refused("it is not a list of modules"))?;
    let found: Vec<(String, String)> = modules
        .iter()
        .map(|module| (text(module, "type").rsplit('.').next().unwrap_or_default().to_owned(), text(module, "path")))
        .collect();
    let found: Vec<(&str, &str)> = found.iter().map(|(name, path)| (name.as_str(), path.as_str())).collect();
    match found.as_slice() {
        [("Transformer", ""), ("Pooling", "1_Pooling")] => Ok(false),
        [("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", _)] => Ok(true),
        other => {
            let names: Vec<String> = other.iter().map(|(name, path)| format!("{name} in \"{path}\"")).collect();
            Err(file.refused(format!(
                "the modules are {}; understood are Transformer in \"\", Pooling in \"1_Pooling\", and then Normalize or nothing",
                names.join(", ")
            )))
        }
    }
}

/// The pooling, in the older form (`pooling_mode_cls_token: true`) or the newer (`pooling_mode: cls`).
fn pooling(file: &Description) -> Result<Pooling, ModelError> {
    let fields = file.value.as_object().ok_or_else(|| file.refused("it is not a mapping"))?;
    let older = fields.iter().filter(|(key, value)| key.starts_with("pooling_mode_") && **value == Value::Bool(true));
    let modes: Vec<String> = match fields.get("pooling_mode") {
        Some(Value::String(mode)) => vec![mode.clone()],
        Some(other) => vec![other.to_string()],
        None => older.map(|(key, _)| key.trim_start_matches("pooling_mode_").to_owned()).collect(),
    };
    match modes.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["mean" | "mean_tokens"] => Ok(Pooling::Mean),
        ["cls" | "cls_token"] => Ok(Pooling::First),
        other => Err(file.refused(format!("the pooling is {}; understood are mean and cls", other.join(" and ")))),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    fn described(changes: &[(&str, Value)]) -> Result<(Architecture, usize), String> {
        let mut files = BTreeMap::from([
            (
                "config.json",
                json!({
                    "model_type": "bert", "hidden_act": "gelu", "num_hidden_layers": 12, "num_attention_heads": 12,
                    "hidden_size": 384, "intermediate_size": 1536, "vocab_size": 30522,
                    "max_position_embeddings": 512, "type_vocab_size": 2, "layer_norm_eps": 1e-12
                }),
            ),
            (
                "modules.json",
                json!([
                    {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
                    {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
                    {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"}
                ]),
            ),
            ("1_Pooling/config.json", json!({"pooling_mode_cls_token": true, "pooling_mode_mean_tokens": false})),
            ("sentence_bert_config.json", json!({"max_seq_length": 512, "do_lower_case": true})),
            ("tokenizer.json", json!({"normalizer": {"type": "BertNormalizer", "lowercase": true}})),
        ]);
        for (name, value) in changes {
            if let (Some(Value::Object(old)), Value::Object(new)) = (files.get_mut(name), value) {
                old.extend(new.clone());
            } else {
                files.insert(name, value.clone());
            }
        }
        let bytes = files.into_iter().map(|(name, value)| (name.to_owned(), value.to_string().into_bytes()));
        describe(&ModelFiles::of_bytes(bytes.collect())).map_err(|error| error.to_string())
    }

    #[test]
    fn the_files_of_bge_small_are_understood() {
        let (architecture, most) = described(&[]).unwrap();
        assert_eq!((architecture.layers, architecture.hidden, most), (12, 384, 512));
        assert_eq!((architecture.pooling, architecture.unit_length), (Pooling::First, true));
        let newer = described(&[("1_Pooling/config.json", json!({"pooling_mode": "mean"}))]).unwrap();
        assert_eq!(newer.0.pooling, Pooling::Mean);
        let shorter = described(&[("sentence_bert_config.json", json!({"max_seq_length": 128}))]).unwrap();
        assert_eq!(shorter.1, 128);
    }

    #[test]
    fn texts_that_would_have_to_be_lowered_are_refused() {
        let with = |normalizer: Value| described(&[("tokenizer.json", json!({ "normalizer": normalizer }))]);
        let all = json!({"type": "Sequence", "normalizers": [{"type": "NFD"}, {"type": "Lowercase"}]});
        assert!(with(all).is_ok());
        for cased in [json!({"type": "BertNormalizer", "lowercase": false}), json!({"type": "NFC"}), Value::Null] {
            assert_eq!(
                with(cased.clone()).unwrap_err(),
                "could not use the model's `sentence_bert_config.json`: do_lower_case is true, but the tokenizer keeps \
                 capitals; texts are not lowered before it"
            );
            let as_written = ("sentence_bert_config.json", json!({"do_lower_case": false}));
            assert!(described(&[("tokenizer.json", json!({ "normalizer": cased })), as_written]).is_ok());
        }
    }

    #[test]
    fn a_prompt_before_every_text_is_refused() {
        let checked = |value: Value| check_prompts(value.to_string().as_bytes()).map_err(|error| error.to_string());
        let prompts = json!({"query": "query: ", "none": ""});
        for harmless in [
            json!({}),
            json!({"prompts": {}, "default_prompt_name": null}),
            json!({"prompts": prompts, "default_prompt_name": null}),
            json!({"prompts": prompts, "default_prompt_name": "none"}),
        ] {
            assert_eq!(checked(harmless), Ok(()));
        }
        assert_eq!(
            checked(json!({"prompts": prompts, "default_prompt_name": "query"})).unwrap_err(),
            "could not use the model's `config_sentence_transformers.json`: default_prompt_name is \"query\", which puts \
             \"query: \" before every text; texts are embedded as they are"
        );
        assert!(checked(json!({"default_prompt_name": "lost"})).is_err());
    }

    #[test]
    fn what_would_give_other_vectors_is_refused_by_name() {
        let refused = |name, value| described(&[(name, value)]).unwrap_err();
        assert_eq!(
            refused("config.json", json!({"model_type": "roberta"})),
            "could not use the model's `config.json`: model_type is \"roberta\"; only \"bert\" can be computed"
        );
        let relative = refused("config.json", json!({"position_embedding_type": "relative_key"}));
        assert!(relative.ends_with("position_embedding_type is \"relative_key\"; only \"absolute\" can be computed"));
        assert!(refused("config.json", json!({"num_attention_heads": 7})).contains("384 is no multiple of"));
        assert!(
            refused("config.json", json!({"hidden_size": 0})).ends_with("hidden_size is 0, not a number of at least 1")
        );
        let both = refused("1_Pooling/config.json", json!({"pooling_mode_max_tokens": true}));
        assert!(both.ends_with("the pooling is cls_token and max_tokens; understood are mean and cls"), "{both}");
        let dense =
            refused("modules.json", json!([{"path": "", "type": "x.Transformer"}, {"path": "d", "type": "x.Dense"}]));
        assert!(dense.contains("the modules are Transformer in \"\", Dense in \"d\"; understood are"), "{dense}");
        assert!(
            refused("sentence_bert_config.json", json!({"max_seq_length": 513}))
                .contains("more than the 512 positions")
        );
    }
}
