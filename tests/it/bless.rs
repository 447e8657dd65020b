//! `refrain bless`: what it accepts, what it keeps, and what it refuses.

use insta::assert_snapshot;
use serde_json::Value;

use crate::lab::{Answer, Lab, ok};

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
  sum:
    kind: sql
    inputs: { some: some }
    with: { query: \"SELECT SUM(plays) AS plays FROM some\" }
variants:
  a: { artist: A }
  b: { artist: B }
";

fn after_a_run() -> Lab {
    let lab = Lab::with(&[("pipeline.yaml", PIPELINE), ("songs.csv", "artist,title,plays\nA,one,3\nB,one,8\n")]);
    assert_eq!(lab.ran(""), ["some@a", "some@b", "songs", "sum@a", "sum@b"]);
    lab
}

/// A lab in which the query of `some` was only laid out anew.
fn after_a_harmless_change() -> Lab {
    let lab = after_a_run();
    lab.edit("pipeline.yaml", "SELECT title, plays", "SELECT  title, plays");
    lab
}

fn bless(lab: &Lab, stage: &str, why: &str) -> Answer {
    lab.refrain(["bless", stage, "--why", why])
}

#[test]
fn a_blessed_result_is_up_to_date_and_everything_says_so() {
    let lab = after_a_harmless_change();
    assert_snapshot!(bless(&lab, "some", "only a space").seen(), @r#"
    exit code 0
    = some@a is blessed; accepted:
        setting query: "SELECT title, plays F… -> "SELECT  title, plays …
    = some@b is blessed; accepted:
        setting query: "SELECT title, plays F… -> "SELECT  title, plays …
    "#);
    assert_snapshot!(ok(lab.line("plan")), @r"
    songs: 5 stages: 5 up to date, 0 to run, 0 undecided

      songs      fresh
      some@a, b  fresh  blessed: only a space
      sum@a, b   fresh
    ");
    assert_snapshot!(lab.line("run --jobs 1").seen(), @r"
    exit code 0
    songs: 5 stages, 5 up to date
    = songs  cached
    = some@a, b  blessed: only a space
    = sum@a, b  cached
    0 ran, 5 cached, 0 failed
    ");
    let status = ok(lab.line("status"));
    assert_eq!(status.lines().filter(|line| line.ends_with("  blessed: only a space")).count(), 2, "{status}");
    for line in ["why some@a", "show some@b"] {
        let text = ok(lab.line(line));
        assert!(text.contains("blessed: only a space ("), "{text}");
        assert!(text.contains("  accepted: setting query: "), "{text}");
    }
    let plan: Value = serde_json::from_str(&ok(lab.line("plan --json"))).unwrap();
    assert_eq!(plan["stages"][1]["blessed"][0]["accepted"][0]["path"], "query");
    assert!(plan["stages"][0].get("blessed").is_none());
}

#[test]
fn one_variant_can_be_blessed_alone() {
    let lab = after_a_harmless_change();
    assert_eq!(bless(&lab, "some@a", "only a space").code, 0);
    assert_eq!(lab.ran(""), ["some@b"]);
}

#[test]
fn a_chain_of_blessings_is_kept_and_force_ends_it() {
    let lab = after_a_harmless_change();
    bless(&lab, "some", "only a space");
    lab.edit("pipeline.yaml", "SELECT  title, plays", "SELECT title,  plays");
    assert_eq!(bless(&lab, "some@a", "moved the space").code, 0);
    let why = ok(lab.line("why some@a"));
    let told: Vec<&str> = why.lines().filter(|line| line.starts_with("blessed: ")).collect();
    assert!(
        told[0].starts_with("blessed: moved the space (") && told[1].starts_with("blessed: only a space ("),
        "{why}"
    );
    // A blessed key is a key like any other: what changes later makes it stale,
    // and what was blessed before is found again.
    lab.edit("pipeline.yaml", "SELECT title,  plays", "SELECT  title, plays");
    assert!(lab.ran("").is_empty());
    assert_eq!(lab.ran("--force some@a"), ["some@a"]);
    assert!(!ok(lab.line("why some@a")).contains("blessed"));
    assert!(ok(lab.line("why some@b")).contains("blessed: only a space"));
}

#[test]
fn what_cannot_be_blessed_is_refused_with_its_reason() {
    let lab = after_a_run();
    assert_snapshot!(bless(&lab, "some", "why not").seen(), @r"
    exit code 2
    error: could not bless `some`: it is up to date: there is nothing to bless
      hint: `refrain plan` says what is stale
    ");
    lab.edit("pipeline.yaml", "SELECT title, plays", "SELECT  title, plays");
    assert_snapshot!(bless(&lab, "some", " ").seen(), @r"
    exit code 2
    error: could not bless `some`: --why is empty
      hint: say in a few words why the change does no harm: it is kept
    ");
    assert_snapshot!(bless(&lab, "sum@a", "no harm").seen(), @r"
    exit code 2
    error: could not bless `sum@a`: it is undecided until these have run: some@a
      hint: run them, or bless them first
    ");
}

#[test]
fn a_stage_that_never_ran_or_whose_artifact_is_gone_is_refused() {
    let lab = after_a_run();
    std::fs::remove_file(lab.artifact("some@a")).unwrap();
    lab.edit("pipeline.yaml", "SELECT title, plays", "SELECT  title, plays");
    assert_snapshot!(bless(&lab, "some@a", "no harm").seen(), @r"
    exit code 2
    error: could not bless `some@a`: the artifact of output `table` is missing
      hint: run it: `refrain run --target some@a`
    ");
    lab.edit("pipeline.yaml", "  b: { artist: B }", "  c: { artist: C }");
    assert_snapshot!(bless(&lab, "some@c", "no harm").seen(), @r"
    exit code 2
    error: could not bless `some@c`: it never ran
      hint: run it: `refrain run --target some@c`
    ");
}
