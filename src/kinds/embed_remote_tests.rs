//! What `embed_remote` does with a server that answers by a function.

use std::sync::{Arc, Mutex};

use arrow::array::{Array, ArrayRef, StringArray};
use serde_json::{Value, json};

use super::embed_remote::EmbedRemote;
use super::lab::{Lab, strings};
use crate::stage::StageKind;
use crate::table::Table;

/// Gives a text `(its length, 1)`; refuses what is marked, and more than four at once.
fn world(target: &str) -> (u16, String) {
    let (path, body) = target.split_once(' ').expect("a body");
    assert_eq!(path, "/openai/v1/embeddings");
    let body: Value = serde_json::from_str(body).expect("JSON");
    let texts: Vec<&str> =
        body["input"].as_array().expect("texts").iter().map(|text| text.as_str().expect("a text")).collect();
    if texts.len() > 4 {
        return (413, r#"{"error":"batch size > maximum allowed batch size 4","error_type":"Validation"}"#.to_owned());
    }
    if texts.iter().any(|text| text.contains("long")) {
        return (400, r#"{"error":{"message":"too long","code":"context_length_exceeded"}}"#.to_owned());
    }
    if texts.contains(&"odd") {
        return (200, r#"{"vectors":[]}"#.to_owned());
    }
    let item = |(index, text): (usize, &&str)| json!({"index": index, "embedding": [text.len(), 1]});
    let data: Vec<Value> = texts.iter().enumerate().rev().map(item).collect();
    (200, json!({"data": data, "usage": {"prompt_tokens": 3, "total_tokens": 3}}).to_string())
}

fn texts(texts: &[Option<&str>]) -> Vec<(&'static str, Table)> {
    let ids: Vec<String> = (0..texts.len()).map(|n| format!("i{n}")).collect();
    let ids = strings(&ids.iter().map(String::as_str).collect::<Vec<_>>());
    let texts: ArrayRef = Arc::new(texts.iter().copied().collect::<StringArray>());
    vec![("texts", Table::of_columns([("item_id", ids), ("text", texts)]).expect("a table"))]
}

/// Each row as `item_id: numbers`.
fn rows(table: &Table) -> Vec<String> {
    let ids = table.strings("item_id").expect("ids");
    let (lists, _) = table.vectors("vector").expect("vectors");
    let numbers = |row: usize| {
        let list = lists.value(row);
        let list: &arrow::array::Float32Array = arrow::array::AsArray::as_primitive(&list);
        list.iter().map(|number| format!("{}", number.expect("a number"))).collect::<Vec<_>>().join(" ")
    };
    (0..lists.len()).map(|row| format!("{}: {}", ids.value(row), numbers(row))).collect()
}

fn raw(with: &Value) -> Value {
    let mut all = json!({"model": "m", "normalise": false, "batch_texts": 4});
    for (name, value) in with.as_object().expect("settings") {
        all[name] = value.clone();
    }
    all
}

#[tokio::test]
async fn every_text_has_its_vector_in_the_order_of_the_rows() {
    let lab = Lab::new(world).await;
    let given = [Some("a"), None, Some("ccc"), Some("a"), Some(""), Some("bb"), Some("dddd")];
    let tables = lab.run(&EmbedRemote, raw(&json!({})), texts(&given)).await.expect("vectors");
    let expected = ["i0: 1 1", "i1: 0 0", "i2: 3 1", "i3: 1 1", "i4: 0 1", "i5: 2 1", "i6: 4 1"];
    assert_eq!(rows(&tables["vectors"]), expected);
    assert_eq!(lab.asked(), 2, "five distinct texts, four at a time");
    let skip = lab.run(&EmbedRemote, raw(&json!({"on_missing": "skip"})), texts(&given)).await.expect("vectors");
    assert_eq!(skip["vectors"].rows(), 6);
    let scaled = lab.run(&EmbedRemote, json!({"model": "m"}), texts(&[Some("")])).await.expect("vectors");
    assert_eq!(rows(&scaled["vectors"]), ["i0: 0 1"]);
    let scaled = lab.run(&EmbedRemote, json!({"model": "m"}), texts(&[Some("a")])).await.expect("vectors");
    assert_eq!(rows(&scaled["vectors"]), ["i0: 0.70710677 0.70710677"]);
}

#[tokio::test]
async fn a_batch_that_is_refused_for_one_text_loses_only_that() {
    let lab = Lab::new(world).await;
    let given = [Some("a"), Some("too long"), Some("ccc"), Some("dddd"), Some("odd")];
    let with = raw(&json!({"max_failed_rows": 0.5}));
    let tables = lab.run(&EmbedRemote, with, texts(&given)).await.expect("vectors");
    assert_eq!(rows(&tables["vectors"]), ["i0: 1 1", "i1: 0 0", "i2: 3 1", "i3: 4 1", "i4: 0 0"]);
    assert!(lab.warnings().iter().any(|warning| warning.starts_with("2 of 5 texts failed")), "{:?}", lab.warnings());
    let with = raw(&json!({"max_failed_rows": 0.5, "on_missing": "skip"}));
    let tables = lab.run(&EmbedRemote, with, texts(&given)).await.expect("vectors");
    assert_eq!(tables["vectors"].rows(), 3);
    assert!(lab.run(&EmbedRemote, raw(&json!({})), texts(&given)).await.is_err(), "two of five are too many");
}

#[tokio::test]
async fn a_server_that_takes_fewer_texts_at_once_is_asked_for_fewer() {
    let lab = Lab::new(world).await;
    let many: Vec<String> = (0..16).map(|n| "x".repeat(n)).collect();
    let given: Vec<Option<&str>> = many.iter().map(|text| Some(text.as_str())).collect();
    let tables = lab.run(&EmbedRemote, raw(&json!({"batch_texts": 32})), texts(&given)).await.expect("vectors");
    assert_eq!((tables["vectors"].rows(), lab.asked()), (16, 1 + 2 + 4));
    let tables = lab.run(&EmbedRemote, raw(&json!({"batch_bytes": 10})), texts(&given)).await.expect("vectors");
    assert_eq!(tables["vectors"].rows(), 16);
}

#[tokio::test]
async fn a_server_that_refuses_everything_is_asked_little() {
    let count = Arc::new(Mutex::new(0));
    let asked = Arc::clone(&count);
    let lab = Lab::new(move |_| {
        *asked.lock().expect("a count") += 1;
        (400, r#"{"error":{"message":"no such field: x"}}"#.to_owned())
    })
    .await;
    let many: Vec<String> = (0..4000).map(|n| n.to_string()).collect();
    let given: Vec<Option<&str>> = many.iter().map(|text| Some(text.as_str())).collect();
    let error = lab.run(&EmbedRemote, raw(&json!({})), texts(&given)).await.expect_err("nothing is taken");
    assert!(error.to_string().contains("no such field"), "{error}");
    assert!(*count.lock().expect("a count") < 1000);
}

#[tokio::test]
async fn one_text_more_is_one_text_asked() {
    let lab = Lab::new(world).await.remembering();
    let known = |given: &[Option<&str>]| lab.known(&EmbedRemote, &raw(&json!({})), texts(given), None);
    let (first, more) = ([Some("a"), None, Some("bb")], [Some("bb"), Some("ccc"), Some("a"), None]);
    assert_eq!(known(&first), "3 rows, 1 known, 2 to embed");
    lab.run(&EmbedRemote, raw(&json!({})), texts(&first)).await.expect("vectors");
    assert_eq!(
        (known(&first), known(&more)),
        ("3 rows, 3 known, 0 to embed".into(), "4 rows, 3 known, 1 to embed".into())
    );
    let tables = lab.run(&EmbedRemote, raw(&json!({})), texts(&more)).await.expect("vectors");
    assert_eq!(rows(&tables["vectors"]), ["i0: 2 1", "i1: 3 1", "i2: 1 1", "i3: 0 0"]);
    assert_eq!(lab.asked(), 2);
    // Whether they are scaled makes no difference to what is remembered; another model does.
    lab.run(&EmbedRemote, json!({"model": "m"}), texts(&more)).await.expect("vectors");
    assert_eq!(lab.asked(), 2);
    lab.run(&EmbedRemote, json!({"model": "other"}), texts(&first)).await.expect("vectors");
    assert_eq!(lab.asked(), 3);
}

#[tokio::test]
async fn without_any_vector_the_width_must_be_given() {
    let lab = Lab::new(world).await;
    let error = lab.run(&EmbedRemote, raw(&json!({})), texts(&[None])).await.expect_err("no width");
    assert!(error.to_string().contains("not known how many numbers"), "{error}");
    let tables = lab.run(&EmbedRemote, raw(&json!({"dimensions": 3})), texts(&[None])).await.expect("vectors");
    assert_eq!(rows(&tables["vectors"]), ["i0: 0 0 0"]);
    assert_eq!(lab.run(&EmbedRemote, raw(&json!({})), texts(&[])).await.expect("none")["vectors"].rows(), 0);
}

#[test]
fn only_what_decides_the_vectors_is_in_the_settings() {
    let with = json!({"model": "m", "limiter": "l", "batch_texts": 5, "extra": {"truncate": true}});
    let stage = EmbedRemote.parse(&with).unwrap_or_else(|problems| panic!("{problems:?}"));
    let expected = json!({"model": "m", "normalise": true, "on_missing": "zero", "extra": {"truncate": true},
                          "base_url": "https://api.openai.com/v1"});
    assert_eq!(stage.settings(), expected);
    let wrong = json!({"model": " ", "batch_texts": 129, "extra": {"encoding_format": "base64"}});
    let paths: Vec<String> = EmbedRemote.parse(&wrong).err().expect("problems").into_iter().map(|p| p.path).collect();
    assert_eq!(paths, ["model", "batch_texts", "extra.encoding_format"]);
}
