//! Stages cut into shards: the same result as uncut, few shards made anew when
//! rows are added, and nothing done twice after a kill.

#![cfg(unix)]

use std::fmt::Write as _;
use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::lab::{Lab, files_below};

const PIPELINE: &str = "\
pipeline: shards
stages:
  songs:
    kind: read_table
    with: { path: songs.csv, columns: { item_id: item_id, text: text } }
  short:
    kind: truncate_words
    inputs: { texts: songs }
    shards: 6
    with: { words: 3 }
";

pub(crate) const OWN: &str = "\
pipeline: shards
stages:
  songs:
    kind: read_table
    with: { path: songs.csv, columns: { item_id: item_id, text: text } }
  copied:
    kind: run_command
    inputs: { songs: songs }
    shards: 6
    with:
      run: [sh, copy.sh]
      outputs: { table: { columns: { item_id: str, text: str }, key: [item_id] } }
      rows: { input: songs, key: item_id }
";

pub(crate) fn songs(rows: usize) -> String {
    let mut text = "item_id,text\n".to_owned();
    for row in 0..rows {
        writeln!(text, "s{row},one two {row} four five").expect("text");
    }
    text
}

/// The bytes' hash of a stage's artifact.
fn artifact(lab: &Lab, words: &str) -> String {
    lab.artifact(words).file_name().expect("a name").to_string_lossy().into_owned()
}

#[test]
fn a_stage_in_shards_gives_the_bytes_of_the_whole() {
    let cut = Lab::with(&[("p.yaml", PIPELINE), ("songs.csv", &songs(3_000))]);
    let whole = Lab::with(&[("p.yaml", &PIPELINE.replace("    shards: 6\n", "")), ("songs.csv", &songs(3_000))]);
    assert_eq!(cut.ran("p.yaml"), ["short", "songs"]);
    assert_eq!(whole.ran("p.yaml"), ["short", "songs"]);
    assert_eq!(artifact(&cut, "p.yaml short"), artifact(&whole, "p.yaml short"));
    cut.edit("p.yaml", "    shards: 6\n", "");
    assert!(cut.ran("p.yaml").is_empty(), "into how many shards decides nothing");
}

/// How often the program of [`OWN`] has begun.
pub(crate) fn begun(lab: &Lab) -> usize {
    fs::read_to_string(lab.path("begun")).unwrap_or_default().lines().count()
}

pub(crate) const COPY: &str = "echo x >> begun; cp \"$REFRAIN_INPUT_SONGS\" \"$REFRAIN_OUTPUT_TABLE\"\n";

#[test]
fn new_rows_are_worked_on_in_few_shards() {
    let lab = Lab::with(&[("p.yaml", OWN), ("songs.csv", &songs(600)), ("copy.sh", COPY)]);
    assert_eq!(lab.ran("p.yaml"), ["copied", "songs"]);
    assert_eq!(begun(&lab), 6);
    assert_eq!(artifact(&lab, "p.yaml copied"), artifact(&lab, "p.yaml songs"));
    lab.write("songs.csv", &songs(601));
    assert_eq!(lab.ran("p.yaml"), ["copied", "songs"]);
    assert_eq!(begun(&lab), 7, "one row more is in one shard");
    assert_eq!(artifact(&lab, "p.yaml copied"), artifact(&lab, "p.yaml songs"));
    assert_eq!(lab.ran("p.yaml --force copied"), ["copied"]);
    assert_eq!(begun(&lab), 13, "by force all are made anew");
}

#[test]
fn a_shard_that_fails_fails_the_stage_and_the_others_are_kept() {
    let lab = Lab::with(&[("p.yaml", OWN), ("songs.csv", &songs(600)), ("copy.sh", COPY)]);
    lab.write("copy.sh", &format!("[ -e well ] || [ $(wc -l < begun) -lt 3 ] || exit 5\n{COPY}"));
    lab.write("begun", "");
    let answer = lab.line("run p.yaml --jobs 1");
    assert_eq!(answer.code, 1);
    assert!(answer.stderr.contains("of 6 failed: `sh copy.sh` ended with exit code 5"), "{}", answer.stderr);
    assert!(answer.stderr.contains("3 of them are left to do, the others are kept"), "{}", answer.stderr);
    lab.write("well", "");
    assert_eq!(lab.ran("p.yaml"), ["copied"]);
    assert_eq!(begun(&lab), 6, "three before and three after");
}

#[test]
fn shards_that_were_done_before_a_kill_are_not_done_again() {
    let lab = Lab::with(&[("p.yaml", OWN), ("songs.csv", &songs(600))]);
    // The fourth waits until it is killed.
    lab.write("copy.sh", &format!("[ -e well ] || [ $(wc -l < begun) -lt 3 ] || sleep 600\n{COPY}"));
    lab.write("begun", "");
    let mut command = lab.command(["run", "p.yaml", "--jobs", "1"]);
    let mut run = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("a run");
    let started = Instant::now();
    let done = |lab: &Lab| files_below(&lab.path("artifacts/manifests-v1"), ".json").len();
    // The table, the cut, and three shards.
    while done(&lab) < 5 {
        assert!(started.elapsed() < Duration::from_mins(1), "the shards are not made");
        std::thread::sleep(Duration::from_millis(10));
    }
    run.kill().expect("SIGKILL");
    run.wait().expect("an end");
    lab.write("well", "");
    assert_eq!(lab.ran("p.yaml"), ["copied"]);
    assert_eq!(begun(&lab), 6);
    assert_eq!(artifact(&lab, "p.yaml copied"), artifact(&lab, "p.yaml songs"));
    assert!(lab.line("verify").stdout.to_lowercase().contains("no damage") || lab.line("verify").code == 0);
}

#[test]
fn what_cannot_be_cut_is_refused_with_its_place() {
    let lab =
        Lab::with(&[("p.yaml", &PIPELINE.replace("    kind: read_table\n", "    kind: read_table\n    shards: 4\n"))]);
    let answer = lab.line("check p.yaml");
    assert_eq!(answer.code, 2);
    for part in [
        "the stage `songs` cannot be cut into shards: a row of its result may depend on all rows of its inputs",
        "p.yaml:5:5",
        "kinds that can be cut are detect_language, embed, run_command, truncate_words",
    ] {
        assert!(answer.stderr.contains(part), "{part}: {}", answer.stderr);
    }
    lab.write("p.yaml", &OWN.replace("      rows: { input: songs, key: item_id }\n", ""));
    let answer = lab.line("check p.yaml");
    assert!(answer.stderr.contains("does not say that its program works row by row"), "{}", answer.stderr);
    lab.write("p.yaml", &PIPELINE.replace("shards: 6", "shards: many"));
    assert!(lab.line("check p.yaml").stderr.contains("`shards` must be a whole number from 1 to 4096"));
}

#[test]
fn rows_that_are_not_told_apart_are_refused() {
    let lab = Lab::with(&[("p.yaml", PIPELINE), ("songs.csv", "item_id,text\na,one\nb,two\na,three\n")]);
    let answer = lab.line("run p.yaml");
    assert_eq!(answer.code, 1);
    assert!(
        answer.stderr.contains("the input `texts` has 1 rows or more whose `item_id` another row has"),
        "{}",
        answer.stderr
    );
}
