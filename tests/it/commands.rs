//! The commands that look: show, path, status, plan, why, graph, kinds, schema
//! and check.

use std::process::Stdio;

use insta::assert_snapshot;
use serde_json::{Value, json};

use crate::lab::{Answer, Lab, ok};

const SONGS: &str = "\
artist,title,plays
A,one,3
A,two,5
B,one,8
B,three,13
";

const PIPELINE: &str = "\
pipeline: songs
stages:
  songs:
    kind: read_table
    with: { path: songs.csv }
  some:
    kind: sql
    inputs: { songs: songs }
    with: { query: \"SELECT title, plays FROM songs WHERE artist = '${variant.artist}' ORDER BY title\" }
variants:
  a: { artist: A }
  b.2: { artist: B }
";

fn lab() -> Lab {
    Lab::with(&[("pipeline.yaml", PIPELINE), ("songs.csv", SONGS)])
}

fn after_a_run() -> Lab {
    let lab = lab();
    assert_eq!(lab.ran(""), ["some@a", "some@b.2", "songs"]);
    lab
}

fn json_of(answer: Answer) -> Value {
    serde_json::from_str(&ok(answer)).expect("stdout is JSON")
}

#[test]
fn a_run_is_told_in_lines_and_ends_with_the_small_tables() {
    let lab = lab();
    let answer = lab.line("run --jobs 1");
    assert_snapshot!(answer.seen(), @r"
    exit code 0
    songs: 3 stages, 0 up to date
    > songs  it never ran
    ✓ songs  4 rows
    > some@a  it never ran
    ✓ some@a  2 rows
    > some@b.2  it never ran
    ✓ some@b.2  2 rows
    3 ran, 0 cached, 0 failed
    ");
    assert_snapshot!(answer.stdout, @r"

    some@a
      title  plays
      ─────  ─────
      one        3
      two        5

    some@b.2
      title  plays
      ─────  ─────
      one        8
      three     13
    ");
    assert_snapshot!(lab.line("run --jobs 1").seen(), @r"
    exit code 0
    songs: 3 stages, 3 up to date
    = songs  cached
    = some@a, b.2  cached
    0 ran, 3 cached, 0 failed
    ");
}

#[test]
fn events_are_json_lines_and_the_last_is_finished() {
    let lab = lab();
    let answer = lab.line("run --json --jobs 1");
    assert_eq!((answer.code, answer.stderr.as_str()), (0, ""));
    let events = answer.events();
    assert_eq!(events[0]["event"], "run_started");
    let mut last = answer.finished();
    assert!(last["seconds"].as_f64().is_some_and(|seconds| seconds >= 0.0));
    last["seconds"] = json!(0);
    let expected = json!({
        "event": "finished", "stages": 3, "ran": 3, "cached": 0, "failed": 0, "skipped": 0, "requests": 0,
        "prompt_tokens": 0, "completion_tokens": 0, "usd": 0.0, "seconds": 0,
    });
    assert_eq!(last, expected);
}

#[test]
fn path_prints_a_path_and_nothing_else() {
    let lab = after_a_run();
    let answer = lab.line("path some@b.2");
    assert_eq!((answer.code, answer.stderr.as_str()), (0, ""));
    let path = answer.stdout.strip_suffix('\n').expect("one line");
    assert!(path.starts_with("artifacts/objects-v1/") && path.ends_with(".parquet"), "{path}");
    let bytes = std::fs::read(lab.path(path)).unwrap();
    assert_eq!(&bytes[..4], b"PAR1");
    assert!(path.ends_with(&format!("{}.parquet", refrain::ground::ContentHash::of(&bytes))));
    let all = json_of(lab.line("path --json"));
    assert_eq!(all.as_object().unwrap().keys().collect::<Vec<_>>(), ["some@a", "some@b.2", "songs"]);
    assert_eq!(all["some@b.2"], path);
}

#[test]
fn one_of_several_instances_must_be_named() {
    let lab = after_a_run();
    let answer = lab.line("show some");
    assert_eq!(answer.code, 2);
    assert!(answer.stderr.contains("some@a, some@b.2"), "{answer:#?}");
}

#[test]
fn show_prints_columns_counts_and_first_rows() {
    let lab = after_a_run();
    let text = ok(lab.line("show songs --rows 2"));
    let without_path: Vec<&str> = text.lines().filter(|line| !line.contains("objects-v1")).collect();
    let head = without_path[0];
    assert!(head.starts_with("songs  4 rows, 3 columns, "), "{head}");
    assert_snapshot!(without_path[1..].join("\n"), @r"

      column  type
      ──────  ────
      artist  str
      title   str
      plays   i64

      artist  title  plays
      ──────  ─────  ─────
      A       one        3
      A       two        5
      … 2 more
    ");
    let shown = json_of(lab.line("show pipeline.yaml songs --rows 1 --json"));
    assert_eq!(shown["first_rows"], json!([{"artist": "A", "title": "one", "plays": 3}]));
    assert_eq!((&shown["rows"], &shown["stage"], &shown["synthetic"]), (&json!(4), &json!("songs"), &json!(false)));
}

#[test]
fn the_plan_says_what_would_run_and_why() {
    let lab = lab();
    assert_snapshot!(ok(lab.line("plan")), @r"
    songs: 3 stages: 0 up to date, 1 to run, 2 undecided

      songs        stale      it never ran
      some@a, b.2  undecided  it never ran
    ");
    lab.ran("");
    lab.edit("pipeline.yaml", "artist: B }", "artist: A }");
    lab.edit("pipeline.yaml", "ORDER BY title", "ORDER BY plays");
    let plan = ok(lab.line("plan --target some@a"));
    assert!(plan.starts_with("songs: 2 stages: 1 up to date, 1 to run, 0 undecided"), "{plan}");
    assert!(plan.contains("setting query: "), "{plan}");
    let machine = json_of(lab.line("plan --json"));
    let states: Vec<&Value> = machine["stages"].as_array().unwrap().iter().map(|stage| &stage["state"]).collect();
    assert_eq!(states, ["fresh", "stale", "stale"]);
    // A plan runs nothing and changes nothing.
    assert_eq!(json_of(lab.line("plan --json")), machine);
}

#[test]
fn why_tells_every_difference() {
    let lab = after_a_run();
    let fresh = ok(lab.line("why some@a"));
    assert!(fresh.starts_with("some@a is up to date: nothing that decides it changed\n"), "{fresh}");
    lab.edit("pipeline.yaml", "artist: A }", "artist: B }");
    let restored = ok(lab.line("why some@a"));
    assert!(restored.starts_with("some@a is up to date: the same was done before"), "{restored}");
    lab.edit("songs.csv", "B,three,13", "B,three,14");
    let stale = ok(lab.line("why pipeline.yaml songs"));
    assert!(stale.starts_with("songs would run:\n") && stale.contains("songs.csv"), "{stale}");
    let undecided = ok(lab.line("why pipeline.yaml some@b.2"));
    assert!(undecided.contains("songs"), "{undecided}");
}

#[test]
fn status_tells_what_the_store_holds() {
    let lab = lab();
    let before = json_of(lab.line("status --json"));
    assert!(before.as_array().unwrap().iter().all(|stage| stage["last"].is_null()), "{before}");
    lab.ran("");
    let after = json_of(lab.line("status --json"));
    let songs = &after.as_array().unwrap()[0];
    assert_eq!((&songs["stage"], &songs["state"]), (&json!("songs"), &json!("fresh")));
    let rows: Vec<&Value> =
        songs["last"]["outputs"].as_object().unwrap().values().map(|output| &output["rows"]).collect();
    assert_eq!(rows, [4]);
    let text = ok(lab.line("status"));
    assert_eq!(text.lines().filter(|line| line.contains("fresh")).count(), 3, "{text}");
}

#[test]
fn the_graph_is_drawn_in_two_notations() {
    let lab = lab();
    assert_snapshot!(ok(lab.line("graph")), @r#"
    flowchart LR
      n0["songs<br/><i>read_table</i>"]
      n1["some ×2<br/><i>sql</i>"]
      n0 --> n1
    "#);
    assert_snapshot!(ok(lab.line("graph --format dot")), @r#"
    digraph "songs" {
      rankdir=LR;
      node [shape=box, style=rounded];
      n0 [label="songs\nread_table"];
      n1 [label="some ×2\nsql"];
      n0 -> n1;
    }
    "#);
    assert!(ok(lab.line("graph --all")).contains("some@b.2"));
}

#[test]
fn check_counts_what_is_written() {
    let lab = lab();
    assert_snapshot!(ok(lab.line("check")), @"✓ pipeline.yaml: 2 stages, 2 variants, 3 instances in all");
    assert!(!lab.path("artifacts").exists());
}

#[test]
fn every_kind_is_listed_and_described() {
    let lab = Lab::new();
    let list = ok(lab.line("kinds"));
    for kind in refrain::kinds::KINDS {
        assert!(list.contains(kind.summary()), "no {} in\n{list}", kind.name());
        let text = ok(lab.line(&format!("kinds {}", kind.name())));
        for part in [kind.summary(), kind.documentation().trim(), "outputs:", "example:"] {
            assert!(text.contains(part), "no `{part}` in\n{text}");
        }
    }
    let answer = lab.line("kinds sqll");
    assert_eq!(answer.code, 2);
    assert!(answer.stderr.contains("did you mean `sql`?"), "{answer:#?}");
}

#[test]
fn the_schema_knows_every_kind() {
    let lab = Lab::new();
    let schema = json_of(lab.line("schema"));
    let text = schema.to_string();
    for kind in refrain::kinds::KINDS {
        assert!(text.contains(&format!("\"{}\"", kind.name())), "no {}", kind.name());
    }
}

#[test]
fn variables_are_set_on_the_command_line() {
    let lab = lab();
    lab.edit("pipeline.yaml", "path: songs.csv", "path: \"${var.DATA}/songs.csv\"");
    assert_eq!(lab.line("check").code, 2);
    assert_eq!(lab.line("check --set DATA=.").code, 0);
    assert_eq!(lab.ran("--set DATA=. --target songs"), ["songs"]);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let lab = after_a_run();
    let mut process = lab.command(["schema"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(process.stdout.take());
    let output = process.wait_with_output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
}

#[test]
fn the_version_is_told() {
    let version = ok(Lab::new().line("--version"));
    assert_eq!(version, format!("refrain {}\n", env!("CARGO_PKG_VERSION")));
}
