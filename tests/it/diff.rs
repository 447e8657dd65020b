//! `refrain diff`: two runs side by side.

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::lab::{Lab, ok};

const PIPELINE: &str = "\
pipeline: songs
stages:
  songs:
    kind: read_table
    with: { path: songs.csv }
  some:
    kind: sql
    inputs: { songs: songs }
    with: { query: \"SELECT item_id, plays FROM songs WHERE plays > 1 ORDER BY item_id\" }
  shares:
    kind: sql
    inputs: { songs: songs }
    with: { query: \"SELECT part_id, AVG(plays) AS share FROM songs GROUP BY part_id ORDER BY part_id\" }
  names:
    kind: sql
    inputs: { songs: songs }
    with: { query: \"SELECT DISTINCT part_id AS part FROM songs ORDER BY part\" }
";

const SONGS: &str = "item_id,part_id,plays\ni1,a,1\ni2,a,2\ni3,b,3\ni4,b,4\n";

/// Two runs, between which a song went, one came and one was played more; and
/// a query was changed.
fn after_two_runs() -> Lab {
    let lab = Lab::with(&[("pipeline.yaml", PIPELINE), ("songs.csv", SONGS)]);
    lab.ran("");
    lab.edit("songs.csv", "i2,a,2\ni3,b,3", "i3,b,7\ni5,a,5");
    lab.edit("pipeline.yaml", "plays > 1", "plays > 0");
    lab.ran("");
    lab
}

/// What is printed, without the runs' names.
fn told(lab: &Lab, line: &str) -> String {
    ok(lab.line(line)).lines().skip(2).collect::<Vec<_>>().join("\n")
}

#[test]
fn settings_rows_and_metrics_are_compared() {
    let lab = after_two_runs();
    assert_snapshot!(told(&lab, "diff last~1 last"), @r#"
    songs
      field   first         second
      ──────  ────────────  ────────────
      file 1  073685d600e1  31d8504bbcda
      table: 4 rows by item_id, part_id: 1 added, 1 removed, 1 changed
        changed: plays in 1 row
        added    i5 a
        removed  i2 a
        changed  i3 b

    some
      field          first    second
      ─────────────  ───────  ───────
      setting query  (below)  (below)

      setting query:
        - SELECT item_id, plays FROM songs WHERE plays > 1 ORDER BY item_id
        + SELECT item_id, plays FROM songs WHERE plays > 0 ORDER BY item_id
      table: 3 -> 4 rows by item_id: 2 added, 1 removed, 1 changed
        changed: plays in 1 row
        added    i1; i5
        removed  i2
        changed  i3

    shares
      table: 2 rows by part_id: 2 changed
        changed: share in 2 rows
        part_id  column   first  second  difference
        ───────  ──────  ──────  ──────  ──────────
        a        share   1.5000  3.0000     +1.5000
        b        share   3.5000  5.5000     +2.0000

    names
      the same rows

    no other stage
    "#);
    let machine: Value = serde_json::from_str(&ok(lab.line("diff last~1 last some --json"))).unwrap();
    let some = &machine["stages"][0];
    assert_eq!(some["outputs"]["table"]["rows"], json!({"before": 3, "now": 4}));
    assert_eq!(some["outputs"]["table"]["samples"]["added"], json!([{"item_id": "i1"}, {"item_id": "i5"}]));
    assert_eq!((&machine["same"], machine["stages"].as_array().unwrap().len()), (&json!(0), 1));
}

#[test]
fn a_run_is_the_same_as_itself() {
    let lab = after_two_runs();
    assert_snapshot!(told(&lab, "diff last last"), @"the same in both: 4 stages");
}

#[test]
fn rows_are_matched_by_other_columns_where_that_is_asked_for() {
    let lab = after_two_runs();
    assert_snapshot!(told(&lab, "diff last~1 last songs --by part_id"), @r"
    songs
      field   first         second
      ──────  ────────────  ────────────
      file 1  073685d600e1  31d8504bbcda
      table: 4 rows by part_id: 2 changed
        changed: item_id in 1 row, plays in 2 rows
        rows whose key another row has: 2 -> 2
        changed  a; b

    no other stage
    ");
    assert_snapshot!(lab.line("diff last~1 last songs --by nothing").seen(), @r"
    exit code 2
    error: there is no column `nothing` in both tables to compare rows by
      hint: both have item_id, part_id, plays
    ");
}

#[test]
fn runs_of_different_pipelines_are_compared_by_name() {
    let lab = after_two_runs();
    lab.edit("pipeline.yaml", "pipeline: songs", "pipeline: other");
    lab.edit("pipeline.yaml", "  names:", "  parts:");
    lab.ran("");
    assert_snapshot!(told(&lab, "diff last~1 last"), @r"
    parts: only in the second run

    names: only in the first run

    the same in both: 3 other stages
    ");
}

#[test]
fn an_artifact_that_is_gone_is_said_to_be() {
    let lab = after_two_runs();
    std::fs::remove_file(lab.artifact("some")).unwrap();
    let text = told(&lab, "diff last~1 last some");
    assert!(text.contains("  table: the artifact of the second run is gone from the store\n"), "{text}");
}

#[test]
fn what_is_no_run_or_no_stage_is_said() {
    let lab = after_two_runs();
    assert_snapshot!(lab.line("diff last~7 last").seen(), @r"
    exit code 2
    error: there is no run `last~7` in this store
      hint: the store has 2 runs: `refrain runs`
    ");
    assert_snapshot!(lab.line("diff nonsense last").seen(), @r"
    exit code 2
    error: there is no run `nonsense` in this store
      hint: `refrain runs` lists them; `last` and `last~1` are the newest two
    ");
    assert_snapshot!(lab.line("diff last~1 last som").seen(), @r"
    exit code 2
    error: neither run has a stage `som`
      hint: did you mean `some`?
    ");
    assert!(lab.line("diff 2 last").stderr.contains("is the beginning of 2 runs: "));
    assert_snapshot!(Lab::new().line("diff last last").seen(), @r"
    exit code 2
    error: there is no run `last` in this store
      hint: nothing has run in this store yet; choose another with --artifacts
    ");
}
