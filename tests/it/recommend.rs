//! `recommend` and `similar`: titles from the artifacts of the last run.

use std::fmt::Write as _;

use insta::assert_snapshot;
use serde_json::Value;

use crate::lab::{Answer, Lab, ok};

const PIPELINE: &str = "\
pipeline: small
stages:
  loved:
    kind: read_table
    with: { path: loved.csv }
  songs:
    kind: read_table
    with: { path: songs.csv }
  typed:
    kind: sql
    inputs: { loved: loved }
    with: { query: \"SELECT user_id, cast(item_id as varchar) AS item_id, at FROM loved ORDER BY user_id, at\" }
  named:
    kind: sql
    inputs: { songs: songs }
    with: { query: \"SELECT cast(item_id as varchar) AS item_id, artist, title FROM songs ORDER BY item_id\" }
  split:
    kind: split_leave_last_out
    inputs: { interactions: typed }
  train:
    kind: train_two_tower
    inputs: { split: split, items: named }
    with: { tower: \"${variant.tower}\", item_features: [artist], epochs: 2, batch_size: 8 }
  evaluate:
    kind: evaluate
    inputs: { split: split, model: train }
  popular:
    kind: popularity
    inputs: { split: split }
  popularity:
    kind: evaluate
    inputs: { split: split, model: popular }
  neighbours:
    kind: item_knn
    inputs: { split: split }
  knn:
    kind: evaluate
    inputs: { split: split, model: neighbours }
  linear:
    kind: ease
    inputs: { split: split }
  ease:
    kind: evaluate
    inputs: { split: split, model: linear }
variants:
  CF: { tower: ids }
  V1: { tower: text }
";

fn lab() -> Lab {
    let mut loved = String::from("user_id,item_id,at\n");
    // User n has items n to n + 4 of eight, around; all but u0 also have item 1.
    for user in 0..8 {
        for step in 0..5 {
            writeln!(loved, "u{user},{},{}", 1 + (user + step) % 8, 100 + step).expect("text");
        }
    }
    let songs = "item_id,artist,title\n1,Björk,Jóga\n2,Björk,Hunter\n3,Air,Sexy Boy\n4,Air,Remember\n5,Can,Vitamin C\n\
                 6,Can,Spoon\n7,Neu,Hallogallo\n8,Air,Hunter\n";
    Lab::with(&[("pipeline.yaml", PIPELINE), ("loved.csv", &loved), ("songs.csv", songs)])
}

fn after_a_run() -> Lab {
    let lab = lab();
    let answer = lab.line("run");
    assert_eq!(answer.code, 0, "{answer:#?}");
    lab
}

fn json_of(answer: Answer) -> Value {
    serde_json::from_str(&ok(answer)).expect("stdout is JSON")
}

#[test]
fn what_a_user_does_not_have_is_recommended_by_title() {
    let lab = after_a_run();
    assert_snapshot!(ok(lab.line("recommend --variant popularity --user u0 -k 2")), @r"
    u0  by popularity
      last of 5: Can - Vitamin C; Air - Remember; Air - Sexy Boy; Björk - Hunter; Björk - Jóga

      rank   score  artist  title       item
      ────  ──────  ──────  ──────────  ────
         1  3.0000  Can     Spoon       6
         2  3.0000  Neu     Hallogallo  7
    ");
    let answer = json_of(lab.line("recommend pipeline.yaml --variant V1 --user u0 --json"));
    let mut items: Vec<&str> =
        answer["recommended"].as_array().unwrap().iter().map(|row| row["item_id"].as_str().unwrap()).collect();
    items.sort_unstable();
    assert_eq!(items, ["6", "7", "8"], "u0 has the others");
    assert_eq!((answer["variant"].as_str(), answer["stage"].as_str()), (Some("V1"), Some("evaluate@V1")));
    assert_eq!(answer["last"][0], "5");
}

#[test]
fn similar_tracks_are_listed_for_however_a_track_is_spelt() {
    let lab = after_a_run();
    let answer = json_of(lab.refrain(["similar", "--variant", "V1", "--track", "bjork - JOGA", "-k", "3", "--json"]));
    assert_eq!((answer["item_id"].as_str(), answer["track"].as_str()), (Some("1"), Some("Björk - Jóga")));
    let similar = answer["similar"].as_array().unwrap();
    assert_eq!(similar.len(), 3);
    let scores: Vec<f64> = similar.iter().map(|row| row["score"].as_f64().unwrap()).collect();
    assert!(scores.is_sorted_by(|a, b| a >= b) && scores[0] <= 1.0, "{scores:?}");
    assert!(similar.iter().all(|row| row["item_id"] != "1"));
}

#[test]
fn weights_from_item_to_item_are_a_likeness() {
    let lab = after_a_run();
    for variant in ["knn", "ease"] {
        let answer = json_of(lab.refrain(["similar", "--variant", variant, "--track", "3", "-k", "2", "--json"]));
        let similar = answer["similar"].as_array().unwrap();
        let items: Vec<&str> = similar.iter().map(|row| row["item_id"].as_str().unwrap()).collect();
        let scores: Vec<f64> = similar.iter().map(|row| row["score"].as_f64().unwrap()).collect();
        // Most who have 3 in train have 2 or 4 as well.
        assert!(items.iter().all(|item| ["2", "4"].contains(item)), "{variant}: {answer}");
        assert!(scores.is_sorted_by(|a, b| a >= b) && scores.iter().all(|score| *score > 0.0), "{scores:?}");
    }
}

#[test]
fn what_is_not_there_is_said_with_what_is_near() {
    let lab = lab();
    let not_made = lab.line("recommend --variant CF --user u0");
    assert_eq!(not_made.code, 2);
    assert!(not_made.stderr.contains("refrain run"), "{}", not_made.stderr);
    let lab = after_a_run();
    let seen = |words: &[&str]| lab.refrain(words).seen();
    assert_snapshot!(seen(&["recommend", "--variant", "CF", "--user", "u9"]), @r"
    exit code 2
    error: the split has no user `u9`
      hint: it has 8 users, such as `u0`, `u1`, `u2`
    ");
    assert_snapshot!(seen(&["recommend", "--variant", "V9", "--user", "u1"]), @r"
    exit code 2
    error: the pipeline evaluates no variant `V9`
      hint: there are CF, V1, popularity, knn, ease
    ");
    assert_snapshot!(seen(&["recommend", "--user", "u1"]), @r"
    exit code 2
    error: there is no leaderboard to take the best variant from
      hint: name one with --variant: CF, V1, popularity, knn, ease
    ");
    assert_snapshot!(seen(&["similar", "--variant", "CF", "--track", "Hunter"]), @r#"
    exit code 2
    error: `Hunter` means 2 items: Björk - Hunter (2); Air - Hunter (8)
      hint: write "Artist - Title", or the id in brackets
    "#);
    assert_snapshot!(seen(&["similar", "--variant", "CF", "--track", "Air - Remeber"]), @r#"
    exit code 2
    error: the model knows no track `Air - Remeber`
      hint: did you mean "Air - Remember"?
    "#);
    assert_snapshot!(seen(&["similar", "--variant", "popularity", "--track", "3"]), @r"
    exit code 2
    error: the model of `popularity` has no vectors of items
      hint: choose another variant, or compare texts with --by text
    ");
    assert_snapshot!(seen(&["similar", "--variant", "CF", "--track", "3", "--by", "text"]), @r"
    exit code 2
    error: no text vectors stand above `evaluate@CF`
      hint: choose a variant with a text
    ");
}
