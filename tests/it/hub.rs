//! A model of the Hugging Face hub from its name to vectors, with a hub of our own.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::json;

use crate::lab::{Answer, Lab, ok};

const REVISION: &str = "0123456789abcdef0123456789abcdef01234567";
const HIDDEN: usize = 8;
const INNER: usize = 16;
const LAYERS: usize = 2;
const WORDS: usize = 9;
const POSITIONS: usize = 12;

/// A BERT of two layers that pools its first token, and a tokenizer of a few words.
fn model() -> BTreeMap<String, Vec<u8>> {
    let vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "rain", "on", "the", "road", "##s"];
    let vocabulary: BTreeMap<&str, usize> = vocabulary.into_iter().zip(0..).collect();
    let special = |name: &str| {
        let id = vocabulary[name];
        json!({"id": id, "content": name, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
               "special": true})
    };
    let piece = |name: &str| json!({"SpecialToken": {"id": name, "type_id": 0}});
    let text = json!({"Sequence": {"id": "A", "type_id": 0}});
    let known = |name: &str| json!({"id": name, "ids": [vocabulary[name]], "tokens": [name]});
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [special("[PAD]"), special("[UNK]"), special("[CLS]"), special("[SEP]")],
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                       "strip_accents": null, "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "TemplateProcessing", "single": [piece("[CLS]"), text, piece("[SEP]")],
                           "pair": [piece("[CLS]"), text, piece("[SEP]")],
                           "special_tokens": {"[CLS]": known("[CLS]"), "[SEP]": known("[SEP]")}},
        "decoder": null,
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                  "max_input_chars_per_word": 100, "vocab": vocabulary},
    });
    let config = json!({
        "model_type": "bert", "hidden_act": "gelu", "num_hidden_layers": LAYERS, "num_attention_heads": 2,
        "hidden_size": HIDDEN, "intermediate_size": INNER, "vocab_size": WORDS, "max_position_embeddings": POSITIONS,
        "type_vocab_size": 2, "layer_norm_eps": 1e-12,
    });
    let modules = json!([
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    ]);
    let texts = [
        ("config.json", config),
        ("modules.json", modules),
        ("1_Pooling/config.json", json!({"pooling_mode_cls_token": true})),
        ("sentence_bert_config.json", json!({"max_seq_length": 10})),
        ("tokenizer.json", tokenizer),
    ];
    let mut files: BTreeMap<String, Vec<u8>> =
        texts.into_iter().map(|(name, text)| (name.to_owned(), text.to_string().into_bytes())).collect();
    files.insert("model.safetensors".to_owned(), weights());
    files
}

fn weights() -> Vec<u8> {
    let mut shapes = vec![
        ("embeddings.word_embeddings.weight".to_owned(), vec![WORDS, HIDDEN]),
        ("embeddings.position_embeddings.weight".to_owned(), vec![POSITIONS, HIDDEN]),
        ("embeddings.token_type_embeddings.weight".to_owned(), vec![2, HIDDEN]),
    ];
    let mut pair = |name: String, shape: Vec<usize>| {
        shapes.push((format!("{name}.bias"), vec![shape[0]]));
        shapes.push((format!("{name}.weight"), shape));
    };
    pair("embeddings.LayerNorm".to_owned(), vec![HIDDEN]);
    for layer in 0..LAYERS {
        let name = |part: &str| format!("encoder.layer.{layer}.{part}");
        for part in ["query", "key", "value"] {
            pair(name(&format!("attention.self.{part}")), vec![HIDDEN, HIDDEN]);
        }
        pair(name("attention.output.dense"), vec![HIDDEN, HIDDEN]);
        pair(name("attention.output.LayerNorm"), vec![HIDDEN]);
        pair(name("intermediate.dense"), vec![INNER, HIDDEN]);
        pair(name("output.dense"), vec![HIDDEN, INNER]);
        pair(name("output.LayerNorm"), vec![HIDDEN]);
    }
    let value = |seed: usize| (seed.wrapping_mul(0x9e37_79b9) >> 8 & 0xff) as f32 / 256.0 - 0.4;
    let tensors: Vec<(String, Vec<usize>, Vec<u8>)> = shapes
        .into_iter()
        .enumerate()
        .map(|(at, (name, shape))| {
            let values = (0..shape.iter().product()).flat_map(|n: usize| value(at * 1_009 + n).to_le_bytes());
            (name, shape, values.collect())
        })
        .collect();
    let views = tensors.iter().map(|(name, shape, bytes)| {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytes);
        (name, view.expect("as many bytes as the shape says"))
    });
    safetensors::serialize(views, None).expect("weights")
}

/// A hub with these files of `someone/small`, and the paths that it was asked for. As the real one does, it sends
/// whoever asks for weights to another address.
fn hub(files: BTreeMap<String, Vec<u8>>) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let asked = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
            let path = lines.next().unwrap_or_default().split(' ').nth(1).unwrap_or_default().to_owned();
            lines.take_while(|line| !line.is_empty()).for_each(drop);
            let resolved = format!("/someone/small/resolve/{REVISION}/");
            let file = path.strip_prefix(&resolved).or(path.strip_prefix("/store/"));
            let (status, header, body) = match file {
                Some("model.safetensors") if path.starts_with(&resolved) => {
                    ("302 Found", "location: /store/model.safetensors\r\n", Vec::new())
                }
                Some(file) => {
                    files.get(file).map_or(("404 Not Found", "", Vec::new()), |body| ("200 OK", "", body.clone()))
                }
                None if path == "/api/models/someone/small" => {
                    ("200 OK", "", json!({"id": "someone/small", "sha": REVISION}).to_string().into_bytes())
                }
                None => ("404 Not Found", "", Vec::new()),
            };
            told.lock().expect("the list").push(path);
            let length = body.len();
            let head = format!("HTTP/1.1 {status}\r\n{header}content-length: {length}\r\nconnection: close\r\n\r\n");
            // Whoever does not listen any more has what they wanted.
            (&stream).write_all(&[head.into_bytes(), body].concat()).ok();
        }
    });
    (url, asked)
}

fn answer(lab: &Lab, hub: &str, line: &str) -> Answer {
    let mut command = lab.command(line.split_whitespace());
    command.env("HF_ENDPOINT", hub).env("REFRAIN_MODELS", lab.path("models"));
    Answer::of(command)
}

/// A pipeline that embeds with the model that `model fetch` printed.
fn pipeline(setting: &str) -> String {
    let below = setting.trim_end().replace('\n', "\n      ");
    let texts = "texts: { kind: read_table, with: { path: texts.csv } }";
    let vectors = "vectors:\n    kind: embed\n    inputs: { texts: texts }\n    with:\n";
    format!("pipeline: hub\nstages:\n  {texts}\n  {vectors}      {below}\n")
}

#[test]
fn a_model_with_a_prompt_before_every_text_is_refused() {
    let mut files = model();
    let prompts = json!({"prompts": {"document": "passage: "}, "default_prompt_name": "document"});
    files.insert("config_sentence_transformers.json".to_owned(), prompts.to_string().into_bytes());
    let lab = Lab::with(&[("texts.csv", "item_id,text\n1,Rain on the road\n")]);
    for (name, bytes) in &files {
        let path = lab.path("mine").join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        refrain::ground::files::write_atomically(&path, bytes).expect("a file");
    }
    let (url, _) = hub(files);
    let refusal = "default_prompt_name is \"document\", which puts \"passage: \" before every text";
    let fetched = answer(&lab, &url, "model fetch someone/small");
    assert!(fetched.code != 0 && fetched.stderr.contains(refusal), "{fetched:#?}");
    lab.write("pipeline.yaml", &pipeline("model: { folder: mine }"));
    let run = answer(&lab, &url, "run --device cpu --offline");
    assert!(run.code != 0 && run.stderr.contains(refusal), "{run:#?}");
    lab.write("mine/config_sentence_transformers.json", "{\"default_prompt_name\": null}");
    ok(answer(&lab, &url, "run --device cpu --offline"));
}

#[test]
fn a_model_of_the_hub_is_fetched_pinned_and_embeds() {
    let (url, asked) = hub(model());
    let lab = Lab::with(&[("texts.csv", "item_id,text\n1,Rain on the road\n2,The roads\n3,Rain on the road\n")]);
    let fetched = answer(&lab, &url, "model fetch someone/small");
    let setting = ok(fetched.clone());
    assert!(
        setting.starts_with(&format!("model:\n  hub: someone/small\n  revision: {REVISION}\n  sha256:\n")),
        "{setting}"
    );
    assert!(fetched.stderr.contains("installed someone/small in"), "{}", fetched.stderr);
    let asked_to_fetch = asked.lock().expect("the list").len();
    assert_eq!(asked_to_fetch, 9, "the commit, six files, where the weights are, and prompts: {:?}", asked.lock());

    // What was printed is the setting; the files are there, so nobody is asked again.
    let pipeline = pipeline(&setting);
    lab.write("pipeline.yaml", &pipeline);
    ok(answer(&lab, &url, "run --device cpu --offline"));
    assert_eq!(asked.lock().expect("the list").len(), asked_to_fetch);
    let shown = ok(answer(&lab, &url, "show vectors --json"));
    let shown: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
    let vectors = [0, 1, 2].map(|row| &shown["first_rows"][row]["vector"]);
    assert_eq!(vectors[0].as_array().map(Vec::len), Some(HIDDEN), "{shown}");
    assert_eq!(vectors[0], vectors[2]);
    assert_ne!(vectors[0], vectors[1]);

    // Elsewhere the pinned files are fetched by the run itself.
    let other = Lab::with(&[("texts.csv", "item_id,text\n1,Rain on the road\n"), ("pipeline.yaml", &pipeline)]);
    ok(answer(&other, &url, "run --device cpu"));
    assert_eq!(asked.lock().expect("the list").len(), 2 * asked_to_fetch - 2, "neither the commit nor prompts");
}

#[test]
fn a_model_that_the_hub_has_changed_or_has_not_is_refused() {
    let (url, _) = hub(model());
    let lab = Lab::with(&[("texts.csv", "item_id,text\n1,Rain\n")]);
    let setting = ok(answer(&lab, &url, "model fetch someone/small"));
    let mut changed = model();
    changed.insert("config.json".to_owned(), b"{}".to_vec());
    let (changed, _) = hub(changed);
    let files = [("texts.csv", "item_id,text\n1,Rain\n"), ("pipeline.yaml", &pipeline(&setting))];
    let other = Lab::with(&files);
    let refused = answer(&other, &changed, "run --device cpu");
    assert_eq!(refused.code, 1, "{refused:#?}");
    assert!(refused.stderr.contains("config.json") && refused.stderr.contains("SHA-256"), "{}", refused.stderr);
    let missing = answer(&lab, &url, "model fetch someone/else");
    assert_ne!(missing.code, 0);
    assert!(missing.stderr.contains("404") && missing.stderr.contains("HF_ENDPOINT"), "{}", missing.stderr);
}
