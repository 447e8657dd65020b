//! `refrain runs`: what is remembered of each run.

use std::fs;

use insta::assert_snapshot;
use serde_json::Value;

use crate::lab::Lab;

const PIPELINE: &str = "\
pipeline: songs
stages:
  songs:
    kind: read_table
    with: { path: songs.csv }
  some:
    kind: sql
    inputs: { songs: songs }
    with: { query: \"SELECT title FROM songs\" }
";

fn lab() -> Lab {
    Lab::with(&[("pipeline.yaml", PIPELINE), ("songs.csv", "title\none\n")])
}

fn runs(lab: &Lab, options: &str) -> Vec<Value> {
    let answer = lab.line(&format!("runs --json {options}"));
    assert_eq!(answer.code, 0, "{answer:#?}");
    serde_json::from_str(&answer.stdout).expect("a list")
}

fn states(lab: &Lab) -> Vec<String> {
    runs(lab, "").iter().map(|run| run["state"].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn runs_are_listed_newest_first_with_how_they_ended() {
    let lab = lab();
    assert_snapshot!(lab.line("runs").seen(), @r"
    exit code 0
    nothing has run in this store yet
    ");
    lab.ran("");
    lab.edit("pipeline.yaml", "SELECT title", "SELECT nothing");
    assert_eq!(lab.line("run").code, 1);
    lab.edit("pipeline.yaml", "pipeline: songs", "pipeline: other");
    lab.edit("pipeline.yaml", "SELECT nothing", "SELECT title");
    lab.ran("");
    let all = runs(&lab, "");
    assert_eq!(states(&lab), ["complete", "failed", "complete"]);
    let counts = |run: &Value| ["ran", "cached", "failed"].map(|name| run[name].as_u64().unwrap());
    // The other pipeline finds what this one has made.
    assert_eq!(all.iter().map(counts).collect::<Vec<_>>(), [[0, 2, 0], [0, 1, 1], [2, 0, 0]]);
    assert_eq!(runs(&lab, "pipeline.yaml").len(), 1);
    assert_eq!(runs(&lab, "--limit 1")[0], all[0]);
    let text = lab.line("runs --limit 1");
    assert_snapshot!(text.stderr, @"… and 2 older runs: `refrain runs --limit 3`");
    assert_eq!(text.stdout.lines().count(), 3, "{text:#?}");
}

#[test]
fn a_run_without_an_end_has_crashed_unless_its_process_lives() {
    let lab = lab();
    lab.ran("");
    let run = runs(&lab, "")[0]["run"].as_str().unwrap().to_owned();
    let folder = lab.path("artifacts/runs-v1").join(run);
    fs::remove_file(folder.join("summary.json")).unwrap();
    // The events still tell the end.
    assert_eq!(states(&lab), ["complete"]);
    let events = fs::read_to_string(folder.join("events.jsonl")).unwrap();
    let whole: Vec<&str> = events.lines().collect();
    lab.write(
        folder.join("events.jsonl").strip_prefix(lab.path("")).unwrap().to_str().unwrap(),
        &format!("{}\n{{\"event\":\"fini", whole[..3].join("\n")),
    );
    assert_eq!(states(&lab), ["crashed"]);
    assert_eq!(runs(&lab, "")[0]["ran"], 1);
    let held = fs::File::open(folder.join("events.jsonl")).unwrap();
    held.lock().unwrap();
    assert_eq!(states(&lab), ["running"]);
    drop(held);
    assert_eq!(states(&lab), ["crashed"]);
}
