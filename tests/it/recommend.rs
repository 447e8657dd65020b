//! `recommend` and `similar`: titles from the artifacts of the last run.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{ArrayRef, ListArray, StringArray};
use arrow::datatypes::Float32Type;
use insta::assert_snapshot;
use refrain::ground::files::write_atomically;
use refrain::table::{Table, read_parquet, write_parquet};
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
    assert_snapshot!(lab.line("recommend ./pipeline.yaml --variant CF --user u0").seen(), @r"
    exit code 2
    error: `train.model@CF` has not been made yet
      hint: make it with `refrain run ./pipeline.yaml --target evaluate@CF`
    ");
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

#[test]
fn a_model_of_other_settings_is_told() {
    let lab = after_a_run();
    let line = "recommend pipeline.yaml --variant CF --user u0 -k 1";
    let current = lab.line(line);
    assert_eq!((current.code, current.stderr.as_str()), (0, ""));
    assert_eq!(json_of(lab.line(&format!("{line} --json")))["stale"], false);
    lab.edit("pipeline.yaml", "epochs: 2", "epochs: 3");
    let stale = lab.line(line);
    assert_eq!((stale.code, stale.stdout), (0, current.stdout));
    assert_snapshot!(stale.stderr, @"! `train@CF` was made from other settings or inputs than the pipeline has now; `refrain why pipeline.yaml train@CF` says which");
    assert_eq!(json_of(lab.line(&format!("{line} --json")))["stale"], true);
    let similar = lab.line("similar pipeline.yaml --variant CF --track 1");
    assert_eq!(similar.stderr, stale.stderr);
    assert_eq!(json_of(lab.line("similar pipeline.yaml --variant CF --track 1 --json"))["stale"], true);
    // The model's input is another, though the model's settings are not.
    let popular = lab.line("recommend --variant popularity --user u0");
    assert_eq!((popular.code, popular.stderr.as_str()), (0, ""));
    lab.edit("loved.csv", "u0,1,100", "u0,8,100");
    let popular = lab.line("recommend --variant popularity --user u0");
    assert!(popular.stderr.contains("`refrain why popular` says which"), "{}", popular.stderr);
    let why = lab.line("why pipeline.yaml train@CF");
    assert_eq!(why.code, 0, "the command of the note is one: {why:#?}");
    // Switched back to settings whose result is still there, but that a run has not used since.
    lab.edit("loved.csv", "u0,8,100", "u0,1,100");
    assert_eq!(lab.line("run").code, 0);
    lab.edit("pipeline.yaml", "epochs: 3", "epochs: 2");
    assert_eq!(json_of(lab.line(&format!("{line} --json")))["stale"], true);
    assert_eq!(lab.line("run").code, 0);
    assert_eq!(json_of(lab.line(&format!("{line} --json")))["stale"], false);
}

#[test]
fn how_many_are_listed_is_at_least_one() {
    let lab = lab();
    for command in ["recommend --user u0", "similar --track 1"] {
        let answer = lab.line(&format!("{command} --variant CF -k 0"));
        assert_eq!(answer.code, 2);
        assert!(answer.stderr.contains("0 is not in 1.."), "{}", answer.stderr);
    }
}

#[test]
fn a_user_with_every_item_is_told_from_one_without() {
    let mut loved = String::from("user_id,item_id,at\n");
    for (user, items) in [("all", 1..9), ("few", 1..5)] {
        items.for_each(|item| writeln!(loved, "{user},{item},{item}").expect("text"));
    }
    let lab = lab();
    lab.write("loved.csv", &loved);
    assert_eq!(lab.line("run --target popularity --target named").code, 0);
    let answer = ok(lab.line("recommend --variant popularity --user all"));
    assert!(answer.ends_with("\n\n  has every item\n"), "{answer}");
    assert_eq!(json_of(lab.line("recommend --variant popularity --user few --json"))["recommended"][3]["rank"], 4);
}

/// The pipeline with two seeds of each model and a leaderboard.
fn with_seeds() -> Lab {
    let lab = lab();
    lab.edit(
        "pipeline.yaml",
        "variants:\n",
        "  board:\n    kind: compare\n    inputs: { metrics: [\"evaluate@*\", popularity] }\nvariants:\n",
    );
    lab.edit("pipeline.yaml", "stages:\n", "seeds: [0, 1, 2]\nstages:\n");
    lab
}

#[test]
fn a_seed_can_be_chosen_and_the_one_shown_is_told() {
    let lab = with_seeds();
    assert_eq!(lab.line("run").code, 0);
    let first = lab.line("recommend --variant CF --user u0");
    assert_snapshot!(first.stderr, @"seed 0 is shown; --variant CF#SEED shows another: 1, 2");
    let of = |variant: &str| lab.line(&format!("recommend --variant {variant} --user u0 --json"));
    assert_eq!(json_of(of("CF"))["recommended"], json_of(of("CF#0"))["recommended"]);
    let second = json_of(of("CF#2"));
    assert_eq!(
        (&second["variant"], &second["seed"], &second["stage"]),
        (&"CF".into(), &2.into(), &"evaluate@CF#2".into())
    );
    assert_ne!(second["recommended"], json_of(of("CF#0"))["recommended"]);
    assert_eq!(second, json_of(of("evaluate@CF#2")));
    let chosen = lab.line("similar --variant CF#2 --track 1");
    assert_eq!((chosen.code, chosen.stderr.as_str()), (0, ""), "a seed that was named needs no note");
    assert_snapshot!(of("CF#7").seen(), @r"
    exit code 2
    error: the pipeline evaluates no `CF#7`
      hint: the seeds of CF are 0, 1, 2
    ");
}

#[test]
fn the_best_of_the_leaderboard_is_the_default() {
    let lab = with_seeds();
    assert_eq!(lab.line("run").code, 0);
    let board: Value = serde_json::from_str(&ok(lab.line("show board --json"))).expect("JSON");
    let best = board["first_rows"][0]["variant"].as_str().expect("a variant");
    assert_eq!(json_of(lab.line("recommend --user u0 --json"))["variant"], best);
}

#[test]
fn likeness_of_texts_is_that_of_the_vectors_above_the_model() {
    let lab = lab();
    let ids: Vec<String> = (1..=8).map(|item| item.to_string()).collect();
    // Item 1 points where 5 does, and away from 2; the others lie between.
    let turns: [f32; 8] = [0.0, 8.0, 4.0, 3.0, 0.0, 5.0, 6.0, 7.0];
    let turned = turns.map(|turn| turn / 8.0 * std::f32::consts::PI);
    let vectors = turned.into_iter().map(|angle| Some([angle.cos(), angle.sin()].map(Some)));
    let vectors = ListArray::from_iter_primitive::<Float32Type, _, _>(vectors);
    let columns: [(&str, ArrayRef); 2] = [("item_id", Arc::new(StringArray::from(ids))), ("vector", Arc::new(vectors))];
    let table = Table::of_columns(columns).expect("a table");
    let bytes = write_parquet(&table, Vec::new()).expect("bytes");
    write_atomically(&lab.path("vectors.parquet"), &bytes).expect("a file");
    lab.edit(
        "pipeline.yaml",
        "  split:\n",
        "  vectors:\n    kind: read_table\n    with: { path: vectors.parquet }\n  split:\n",
    );
    lab.edit("pipeline.yaml", "items: named }", "items: named, vectors: vectors }");
    assert_eq!(lab.line("run").code, 0);
    let shown = ok(lab.line("similar --variant V1 --by text --track 1 -k 2"));
    assert_snapshot!(shown, @r"
    Björk - Jóga  by text vectors of evaluate@V1

      rank   score  artist  title      item
      ────  ──────  ──────  ─────────  ────
         1  1.0000  Can     Vitamin C  5
         2  0.3827  Air     Remember   4
    ");
    let answer = json_of(lab.line("similar --variant V1 --by text --track 1 --json"));
    let similar = answer["similar"].as_array().unwrap();
    assert_eq!((similar.len(), &similar[0]["item_id"], &similar[6]["item_id"]), (7, &"5".into(), &"2".into()));
    assert_eq!(similar[0]["score"], 1.0);
}

#[test]
fn titles_come_from_the_stage_that_is_named() {
    let lab = lab();
    lab.edit(
        "pipeline.yaml",
        "  split:\n",
        "  covers:\n    kind: sql\n    inputs: { named: named }\n    \
         with: { query: \"SELECT item_id, 'Cover' AS artist, title FROM named ORDER BY item_id\" }\n  split:\n",
    );
    assert_eq!(lab.line("run --target popularity --target named").code, 0);
    let line = "recommend --variant popularity --user u0 --json";
    assert_ne!(json_of(lab.line(line))["recommended"][0]["artist"], "Cover");
    assert_snapshot!(lab.line(&format!("{line} --titles covers")).seen(), @r"
    exit code 2
    error: `covers` has not been made yet
      hint: make it with `refrain run --target covers`
    ");
    assert_eq!(lab.line("run --target covers").code, 0);
    assert_eq!(json_of(lab.line(&format!("{line} --titles covers")))["recommended"][0]["artist"], "Cover");
    assert_eq!(lab.line(&format!("{line} --titles nowhere")).code, 2);
}

const CRAWL: &str = "\
pipeline: crawled
sandbox: { users: 60, songs: 60, seed: 3, start: always }
stages:
  users: { kind: crawl_users, with: { max_users: 40, user_names: hashed } }
  loved: { kind: crawl_loved_tracks, inputs: { users: users }, with: { per_user: 20, min_per_user: 1 } }
  catalog:
    kind: sql
    inputs: { loved: loved }
    with: { query: \"select distinct artist, title from loved order by artist, title\" }
  matched: { kind: match_tracks, inputs: { loved: loved, catalog: catalog } }
  named: { kind: sql, inputs: { items: matched.items }, with: { query: \"select item_id, artist, title from items\" } }
  split: { kind: split_leave_last_out, inputs: { interactions: matched } }
  popular: { kind: popularity, inputs: { split: split } }
  popularity: { kind: evaluate, inputs: { split: split, model: popular } }
";

#[test]
fn a_user_is_found_by_the_name_that_its_pseudonym_hides() {
    let lab = Lab::with(&[("pipeline.yaml", CRAWL)]);
    let answer = lab.line("run");
    assert_eq!(answer.code, 0, "{answer:#?}");
    let names = std::fs::read_to_string(lab.path("artifacts/people-v1/names.jsonl")).expect("the names");
    let name_of = |line: &str| serde_json::from_str::<Value>(line).expect("JSON")["name"].as_str().map(str::to_owned);
    let of_user = |user: &str| json_of(lab.refrain(["recommend", "--user", user, "--json"]));
    let found: Vec<Value> = names.lines().filter_map(name_of).take(3).map(|name| of_user(&name)).collect();
    assert!(found.iter().all(|answer| answer["last"][0].is_string() && answer["synthetic"] == true), "{found:?}");
    assert!(found.iter().all(|answer| answer["stale"] == false), "{found:?}");
    let split = lab.artifact("pipeline.yaml split");
    let users = read_parquet(&split, None).expect("the split");
    let pseudonym = users.strings("user_id").expect("text").value(0).to_owned();
    assert!(pseudonym.starts_with('~'), "{pseudonym}");
    assert_eq!(of_user(&pseudonym)["user"], pseudonym.as_str());
    assert_eq!(lab.line("recommend --user nobody-at-all").code, 2);
}
