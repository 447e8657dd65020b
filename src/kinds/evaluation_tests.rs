//! Tests of `evaluate`: slices by a column, recall, coverage, what is popular,
//! and models that were picked on the test set.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Builder, Int64Builder, ListBuilder};
use serde_json::{Value, json};

use super::evaluate::Evaluate;
use super::testing::{Ran, refused, run, texts};
use crate::stage::StageError;
use crate::table::Table;

/// Three users and four items, in alphabetic order; the model's scores fall with the item.
fn split() -> Table {
    let rows = [
        ("u1", "a", "train"),
        ("u1", "b", "test"),
        ("u2", "a", "train"),
        ("u2", "d", "test"),
        ("u2", "c", "test"),
        ("u3", "b", "train"),
        ("u3", "a", "test"),
        ("u3", "c", "validation"),
    ];
    let column = |pick: fn(&(&'static str, &'static str, &'static str)) -> &'static str| {
        texts(&rows.iter().map(pick).collect::<Vec<_>>())
    };
    let columns = [("user_id", column(|r| r.0)), ("item_id", column(|r| r.1)), ("part", column(|r| r.2))];
    Table::of_columns(columns).unwrap()
}

fn model(marked: bool) -> Table {
    let (mut shapes, mut values) = (ListBuilder::new(Int64Builder::new()), ListBuilder::new(Float32Builder::new()));
    shapes.append_value([Some(4)]);
    values.append_value([Some(4.0), Some(3.0), Some(2.0), Some(1.0)]);
    let mut names = vec!["item_scores"];
    if marked {
        names.push("selected_on_test");
        shapes.append_value([Some(1)]);
        values.append_value([Some(1.0)]);
    }
    let columns: [(&str, ArrayRef); 3] =
        [("name", texts(&names)), ("shape", Arc::new(shapes.finish())), ("values", Arc::new(values.finish()))];
    Table::of_columns(columns).unwrap()
}

fn evaluated(with: &Value, marked: bool) -> Result<Ran, StageError> {
    let users = Table::of_columns([
        ("user_id", texts(&["u1", "u2", "u3", "u1"])),
        ("country", texts(&["DE", "DE", "-", "FR"])),
    ])
    .unwrap();
    let items = Table::of_columns([
        ("item_id", texts(&["a", "b", "c", "d"])),
        ("tag", texts(&["rock", "rock", "jazz", "rock"])),
    ])
    .unwrap();
    run(&Evaluate, with, vec![("split", split()), ("model", model(marked)), ("users", users), ("items", items)])
}

fn values(ran: &Ran, metric: &str) -> Vec<String> {
    let of_test = |line: &&String| line.starts_with("test|") && line.contains(&format!("|{metric}|"));
    ran.rows("metrics").iter().filter(of_test).cloned().collect()
}

#[test]
fn users_and_items_are_measured_apart_by_a_column() {
    let with = json!({"k": [1], "by_user": ["country"], "by_item": ["tag"], "min_group": 1});
    let ran = evaluated(&with, false).unwrap();
    // Without what they have: u1 ranks b first, u2 ranks b, c, d, and u3 ranks a first.
    let expected = [
        "test|all|hr|1|0.5|3",
        "test|warm|hr|1|1.0|1",
        "test|cold|hr|1|0.3333333333333333|2",
        "test|country=DE|hr|1|0.3333333333333333|2",
        "test|country=(other)|hr|1|1.0|1",
        "test|tag=jazz|hr|1|0.0|1",
        "test|tag=rock|hr|1|0.6666666666666666|3",
    ];
    assert_eq!(values(&ran, "hr"), expected);
    let together = evaluated(&json!({"k": [1], "by_user": ["country"], "min_group": 3}), false).unwrap();
    assert_eq!(values(&together, "hr")[3..], ["test|country=(other)|hr|1|0.5|3"]);
}

#[test]
fn recall_is_over_users_and_coverage_and_popularity_are_of_the_first_k() {
    let ran = evaluated(&json!({"k": [1, 2]}), false).unwrap();
    // u1 and u3 find their one target, u2 none of two within one and one within two.
    let recall = values(&ran, "recall");
    assert_eq!(recall[0], "test|all|recall|1|0.6666666666666666|3");
    assert_eq!(recall[1], "test|all|recall|2|0.8333333333333334|3");
    // First: b for u1 and u2, a for u3: two of four items, with 1, 1 and 2 train rows.
    assert_eq!(values(&ran, "coverage")[0], "test|all|coverage|1|0.5|3");
    assert_eq!(values(&ran, "popularity")[0], "test|all|popularity|1|1.3333333333333333|3");
}

#[test]
fn a_model_that_was_picked_on_test_is_labelled() {
    let ran = evaluated(&json!({}), true).unwrap();
    assert_eq!(values(&ran, "selected_on_test"), ["test|all|selected_on_test|-|1.0|3"]);
    assert!(ran.warnings[0].starts_with("the model's epoch was picked on the test set"), "{:?}", ran.warnings);
    assert!(values(&evaluated(&json!({}), false).unwrap(), "selected_on_test").is_empty());
}

#[test]
fn what_is_missing_for_a_slice_is_said() {
    let inputs = vec![("split", split()), ("model", model(false))];
    let error = run(&Evaluate, &json!({"by_item": ["tag"]}), inputs).unwrap_err();
    assert_eq!(error.to_string(), "to measure by tag needs the input `items`");
    assert_eq!(refused(&Evaluate, &json!({"min_group": 0}))[0].path, "min_group");
}
