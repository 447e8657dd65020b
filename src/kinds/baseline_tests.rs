//! The kinds of baselines: their settings, their warnings, and literal hashes of
//! what they write for a fixed split.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Builder, ListBuilder};
use serde_json::{Value, json};

use super::testing::{Ran, refused, run, stage, texts};
use super::{content_similarity::ContentSimilarity, ease::Ease, evaluate::Evaluate, ials::Ials, item_knn::ItemKnn};
use crate::model::model_table::tensors_of_table;
use crate::stage::StageKind;
use crate::table::Table;

/// Six users, seven items; 6 is held out only.
fn split() -> Table {
    let rows = "a 0 train, a 1 train, a 2 train, a 6 test, b 0 train, b 1 train, b 3 test, c 1 train, c 2 train, \
                c 3 train, d 3 train, d 4 train, d 5 train, e 4 train, e 5 train, e 2 test, f 0 train, f 5 train";
    let rows: Vec<Vec<&str>> = rows.split(", ").map(|row| row.split_whitespace().collect()).collect();
    let column = |at: usize| texts(&rows.iter().map(|row| row[at]).collect::<Vec<_>>());
    Table::of_columns([("user_id", column(0)), ("item_id", column(1)), ("part", column(2))]).unwrap()
}

/// Vectors of all items but 5.
fn vectors() -> Table {
    let mut lists = ListBuilder::new(Float32Builder::new());
    for vector in [[3.0, 4.0], [1.0, 0.0], [0.0, 2.0], [0.0, 0.0], [-1.0, 0.0], [0.5, 0.5]] {
        lists.append_value(vector.map(Some));
    }
    let lists: ArrayRef = Arc::new(lists.finish());
    Table::of_columns([("item_id", texts(&["0", "1", "2", "3", "4", "6"])), ("vector", lists)]).unwrap()
}

fn made(kind: &dyn StageKind, with: &Value) -> Ran {
    let mut inputs = vec![("split", split())];
    inputs.extend((kind.name() == "content_similarity").then(|| ("vectors", vectors())));
    run(kind, with, inputs).unwrap()
}

/// The values of a model's tensor.
fn tensor(ran: &Ran, name: &str) -> Vec<f32> {
    tensors_of_table(&ran.outputs["model"]).unwrap().into_iter().find(|tensor| tensor.name == name).unwrap().values
}

#[test]
fn what_is_written_is_what_this_version_writes() {
    let golden = |kind, with| made(kind, &with).golden();
    insta::assert_snapshot!(golden(&ItemKnn, json!({"neighbours": 2})), @"
    model.name abc093514752
    model.shape d8e164e6ec6e
    model.values 2ccf5bf5fd02
    ");
    insta::assert_snapshot!(golden(&Ease, json!({"lambda": 2})), @"
    model.name 4c12c733d20b
    model.shape a6fccd33961d
    model.values 7ddf9d623dc6
    ");
    insta::assert_snapshot!(golden(&Ials, json!({"factors": 3, "iterations": 2})), @"
    model.name a4a1bf2d4041
    model.shape 03c8bc3c3e5b
    model.values cc4e55d75557
    ");
    insta::assert_snapshot!(golden(&ContentSimilarity, json!({})), @"
    model.name a4a1bf2d4041
    model.shape 7466c7bce1d5
    model.values 59587d6b28ff
    ");
}

#[test]
fn every_baseline_can_be_evaluated() {
    for kind in [&ItemKnn as &dyn StageKind, &Ease, &Ials, &ContentSimilarity] {
        let model = made(kind, &json!({})).outputs["model"].clone();
        let ran = run(&Evaluate, &json!({"k": [3]}), vec![("split", split()), ("model", model)]).unwrap();
        assert_eq!((ran.outputs["ranks"].rows(), ran.warnings), (3, Vec::<String>::new()), "{}", kind.name());
    }
}

#[test]
fn a_user_is_the_mean_of_its_items_and_what_has_no_vector_scores_nothing() {
    let ran = made(&ContentSimilarity, &json!({}));
    assert_eq!(ran.warnings, ["1 of 7 items have no vector: their scores are 0"]);
    let (users, items) = (tensor(&ran, "user_vectors"), tensor(&ran, "item_vectors"));
    // b has (3, 4) and (1, 0): the mean points to (4, 4).
    let half = 0.5_f32.sqrt();
    assert!((users[2] - half).abs() < 1e-6 && (users[3] - half).abs() < 1e-6, "{users:?}");
    assert_eq!(items[..4], [0.6, 0.8, 1.0, 0.0]);
    assert_eq!(items[6..8], [0.0, 0.0], "zeros stay");
    assert_eq!(items[10..12], [0.0, 0.0], "no vector");
    // e has 4 and 5, which has none.
    assert_eq!(users[8..10], [-1.0, 0.0]);
}

#[test]
fn nothing_to_learn_from_gives_a_model_of_nothing() {
    let empty = || Table::of_columns(["user_id", "item_id", "part"].map(|name| (name, texts(&[])))).unwrap();
    for kind in [&ItemKnn as &dyn StageKind, &Ease, &Ials] {
        let ran = run(kind, &json!({}), vec![("split", empty())]).unwrap();
        let tensors = tensors_of_table(&ran.outputs["model"]).unwrap();
        assert!(tensors.iter().all(|tensor| tensor.name == "id_check" || tensor.values.is_empty()), "{}", kind.name());
    }
}

#[test]
fn settings_are_checked_and_those_of_the_machine_are_no_part_of_the_result() {
    let paths = |kind: &dyn StageKind, with: Value| -> Vec<String> {
        refused(kind, &with).into_iter().map(|problem| problem.path).collect()
    };
    assert_eq!(paths(&ItemKnn, json!({"neighbours": 0})), ["neighbours"]);
    assert_eq!(paths(&Ease, json!({"lambda": 0, "max_memory_gib": -1})), ["lambda", "max_memory_gib"]);
    let all = json!({"factors": 0, "iterations": 0, "alpha": 0, "regularization": 0});
    assert_eq!(paths(&Ials, all), ["factors", "iterations", "regularization", "alpha"]);
    assert_eq!(stage(&Ease, &json!({"max_memory_gib": 2})).settings(), json!({"lambda": 500.0}));
    let Err(error) = run(&Ease, &json!({"max_memory_gib": 1e-9}), vec![("split", split())]) else { panic!() };
    assert!(error.to_string().starts_with("`ease` would take "), "{error}");
}
