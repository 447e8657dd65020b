//! Stages that run a program of the user's: what makes them run again, what is
//! said when they fail, and that no process of theirs is left.

#![cfg(unix)]

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::lab::Lab;

const SONGS: &str = "item_id,plays\nb,3\na,1\nc,2\n";

const PIPELINE: &str = "\
pipeline: own
stages:
  songs:
    kind: read_table
    with: { path: songs.csv, columns: { item_id: item_id, plays: plays } }
  copied:
    kind: run_command
    inputs: { songs: songs }
    with:
      run: [sh, copy.sh]
      code: [copy.sh]
      outputs: { table: { columns: { item_id: str, plays: i64 }, key: [item_id], order_by: [item_id] } }
  counted:
    kind: sql
    inputs: { copied: copied }
    with: { query: 'SELECT item_id, plays FROM copied' }
";

const COPY: &str = "echo copying; cp \"$REFRAIN_INPUT_SONGS\" \"$REFRAIN_OUTPUT_TABLE\"\n";

fn lab() -> Lab {
    Lab::with(&[("own.yaml", PIPELINE), ("songs.csv", SONGS), ("copy.sh", COPY)])
}

#[test]
fn a_program_of_the_users_joins_the_graph_and_its_own_text_counts() {
    let lab = lab();
    assert_eq!(lab.ran("own.yaml"), ["copied", "counted", "songs"]);
    let shown = lab.line("show own.yaml copied --json").stdout;
    let rows: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
    assert_eq!(rows["rows"].to_string().matches("item_id").count().max(3), 3, "{shown}");
    assert!(lab.ran("own.yaml").is_empty());
    lab.write("copy.sh", &format!("# the same in other words\n{COPY}"));
    assert_eq!(lab.ran("own.yaml"), ["copied"], "the same result: nothing below runs");
    lab.write("songs.csv", "item_id,plays\nb,4\n");
    assert_eq!(lab.ran("own.yaml"), ["copied", "counted", "songs"]);
    let logs = crate::lab::files_below(&lab.path("artifacts/runs-v1"), "events.jsonl");
    assert!(logs.iter().any(|log| fs::read_to_string(log).expect("a log").contains("copying")));
    assert_eq!(fs::read_dir(lab.path("artifacts/tmp")).expect("a folder").count(), 0, "nothing is left");
}

#[test]
fn a_file_that_is_not_there_is_told_before_anything_runs() {
    let lab = lab();
    fs::remove_file(lab.path("copy.sh")).expect("removed");
    let answer = lab.line("plan own.yaml");
    assert!(answer.stdout.contains("copy.sh") || answer.stderr.contains("copy.sh"), "{answer:#?}");
    let answer = lab.line("run own.yaml");
    assert_ne!(answer.code, 0);
    assert!(answer.stderr.contains("copy.sh"), "{answer:#?}");
}

#[test]
fn a_program_that_fails_shows_its_last_lines() {
    let lab = lab();
    lab.write("copy.sh", "echo 'no such model: x'; exit 4\n");
    let answer = lab.line("run own.yaml");
    assert_eq!(answer.code, 1);
    for part in ["`sh copy.sh` ended with exit code 4; its last lines were", "no such model: x"] {
        assert!(answer.stderr.contains(part), "{}", answer.stderr);
    }
}

/// Starts a run whose program has a child, and waits until both are at work;
/// gives the run and the two processes.
fn start(lab: &Lab, script: &str) -> (Child, Vec<String>) {
    lab.write("copy.sh", script);
    let run = lab.command(["run", "own.yaml"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("a run");
    let file = lab.path("processes");
    wait_until("the program to start", || lines(&file).len() == 2);
    (run, lines(&file))
}

fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap_or_default().split_whitespace().map(str::to_owned).collect()
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < Duration::from_mins(1), "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether a process is there and no mere entry of the system's table.
fn is_alive(process: &str) -> bool {
    let state = Command::new("ps").args(["-o", "stat=", "-p", process]).output().expect("ps").stdout;
    !state.is_empty() && !state.starts_with(b"Z")
}

const FAMILY: &str = "sleep 300 & echo \"$$ $!\" > processes; wait\n";

#[test]
fn when_the_run_is_stopped_so_are_all_processes_of_its_programs() {
    let lab = lab();
    let (run, processes) = start(&lab, FAMILY);
    assert!(Command::new("kill").args(["-INT", &run.id().to_string()]).status().expect("kill").success());
    let output = run.wait_with_output().expect("an end");
    assert_eq!(output.status.code(), Some(130));
    assert!(processes.iter().all(|process| !is_alive(process)), "{processes:?}");
}

#[test]
fn when_the_run_is_killed_no_process_of_its_programs_is_left() {
    let lab = lab();
    let (mut run, processes) = start(&lab, FAMILY);
    run.kill().expect("SIGKILL");
    run.wait().expect("an end");
    wait_until("the orphans to end", || processes.iter().all(|process| !is_alive(process)));
    lab.write("copy.sh", COPY);
    assert_eq!(lab.ran("own.yaml"), ["copied", "counted"]);
    assert_eq!(fs::read_dir(lab.path("artifacts/tmp")).expect("a folder").count(), 0, "its folder is swept");
}
