//! Where a change is written: the line of YAML, the option or the input that
//! makes a stage stale, in `plan` and in `why`.

use insta::assert_snapshot;

use crate::lab::{Lab, ok};

const PIPELINE: &str = "\
pipeline: songs
vars:
  LEAST: 1
stages:
  songs:
    kind: read_table
    with: { path: songs.csv }
  some:
    kind: sql
    inputs:
      songs: songs
    with:
      query: |
        SELECT title, plays
        FROM songs
        WHERE artist = '${variant.artist}' AND plays > ${var.LEAST}
  sum:
    kind: sql
    inputs: { some: some }
    with: { query: \"SELECT SUM(plays) AS plays FROM some\" }
variants:
  a: { artist: A }
  b:
    artist: B
";

fn after_a_run() -> Lab {
    let lab = Lab::with(&[("p.yaml", PIPELINE), ("songs.csv", "artist,title,plays\nA,one,3\nB,one,8\nC,two,9\n")]);
    lab.ran("p.yaml");
    lab
}

#[test]
fn a_setting_is_stale_for_its_line() {
    let lab = after_a_run();
    lab.edit("p.yaml", "SELECT title, plays", "SELECT plays, title");
    assert_snapshot!(ok(lab.line("plan p.yaml")), @r#"
    songs: 5 stages: 1 up to date, 2 to run, 2 undecided

      songs      fresh
      some@a, b  stale      setting query: "SELECT title, plays\n… -> "SELECT plays, title\n…  p.yaml:13
      sum@a, b   undecided  waits for some
    "#);
    assert_snapshot!(ok(lab.line("why p.yaml some@b")).lines().filter(|line| !line.contains(" ago")).collect::<Vec<_>>().join("\n"), @r"
    some@b would run:

      field          before   now      where
      ─────────────  ───────  ───────  ─────────
      setting query  (below)  (below)  p.yaml:13

      setting query:
        - SELECT title, plays
        + SELECT plays, title
          FROM songs
          WHERE artist = 'B' AND plays > 1

    unchanged: 3 input columns
    ");
}

#[test]
fn a_value_of_a_variant_or_a_variable_is_stale_for_where_that_is_given() {
    let lab = after_a_run();
    lab.edit("p.yaml", "artist: B", "artist: C");
    let plan = ok(lab.line("plan p.yaml"));
    assert!(plan.contains("  p.yaml:24 (variant b)\n"), "{plan}");
    lab.edit("p.yaml", "artist: C", "artist: B");
    lab.edit("p.yaml", "LEAST: 1", "LEAST: 2");
    let plan = ok(lab.line("plan p.yaml"));
    assert!(plan.contains("  p.yaml:3 (var LEAST)\n"), "{plan}");
    lab.edit("p.yaml", "LEAST: 2", "LEAST: 1");
    let plan = ok(lab.line("plan p.yaml --set LEAST=3"));
    assert!(plan.contains("  --set LEAST\n"), "{plan}");
}

#[test]
fn an_input_is_stale_for_the_stage_and_what_changed_that() {
    let lab = after_a_run();
    lab.edit("songs.csv", "A,one,3", "A,one,4");
    assert_snapshot!(ok(lab.line("plan p.yaml --target songs")), @r"
    songs: 1 stage: 0 up to date, 1 to run, 0 undecided

      songs  stale  the content of `songs.csv` changed
    ");
    lab.ran("p.yaml --target songs");
    assert_snapshot!(ok(lab.line("plan p.yaml --target some")), @r"
    songs: 3 stages: 1 up to date, 2 to run, 0 undecided

      songs      fresh
      some@a, b  stale  input column `songs.plays` changed (from `songs`)  p.yaml:11
                          since the content of `songs.csv` changed
    ");
    let why = ok(lab.line("why p.yaml some@a"));
    assert!(why.contains("from songs, p.yaml:11"), "{why}");
    assert!(why.contains("\nsongs ran last since the content of `songs.csv` changed\n"), "{why}");
}
