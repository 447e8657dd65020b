//! A run and a cluster that misbehaves: `fake.sh` stands in for Slurm's commands.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Stdio;

use super::lab::{Away, WAIT, interrupt, wait_until};
use crate::tui::Pty;

/// A pipeline and a cluster of scripts in its folder.
fn away() -> Away {
    let mut away = Away::new(BTreeMap::new());
    let lab = &away.lab;
    lab.write("bin/fake.sh", include_str!("fake.sh"));
    let script = lab.path("bin/fake.sh");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).expect("an executable file");
    for name in ["sbatch", "squeue", "scontrol", "scancel"] {
        symlink(&script, lab.path("bin").join(name)).expect("a link");
    }
    fs::create_dir_all(lab.path("fake")).expect("a folder");
    let mut path = lab.path("bin").into_os_string();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    let folder: OsString = lab.path("fake").into();
    away.environment.extend([("PATH".to_owned(), path), ("FAKE_SLURM".to_owned(), folder)]);
    away
}

/// How often a command of the cluster's was called.
fn calls(away: &Away, command: &str) -> usize {
    let calls = fs::read_to_string(away.lab.path("fake/calls")).unwrap_or_default();
    calls.lines().filter(|line| line.starts_with(command)).count()
}

#[test]
fn stages_are_jobs_and_nothing_is_submitted_again() {
    let away = away();
    let plan = away.line("plan p.yaml").stdout;
    assert!(plan.contains("\n  on the cluster: gpu, shards, whole\n"), "{plan}");
    assert_eq!(away.ran(""), ["gpu", "shards", "songs", "whole"]);
    away.assert_each_once();
    assert_eq!(calls(&away, "sbatch"), 3, "an array is one submission");
    let submitted = fs::read_to_string(away.lab.path("fake/calls")).expect("calls");
    assert!(submitted.contains("--array=0-3") && submitted.contains("--gres=gpu:1"), "{submitted}");
    assert!(away.begun().iter().all(|line| line.starts_with("gpu none") || !line.contains(" none none")));
    assert!(away.ran("").is_empty());
    assert_eq!(calls(&away, "sbatch"), 3);
    assert!(away.ran("--engine local").is_empty(), "where it was made decides nothing");
    let verified = away.lab.line("verify");
    assert_eq!(verified.code, 0, "{verified:#?}");
}

#[test]
fn what_a_job_reads_is_brought_from_the_shared_store_first() {
    let [first, second, third] = [away(), away(), away()];
    let remote = format!("--remote {}", first.lab.path("shared").display());
    assert_eq!(first.ran(&remote).len(), 4);
    for away in [&second, &third] {
        away.lab.edit("p.yaml", "[sh, copy.sh, gpu]", "[sh, copy.sh, gpu, anew]");
    }
    assert_eq!(second.ran(&remote), ["gpu"]);
    assert_eq!((second.begun().len(), calls(&second, "sbatch")), (1, 1));
    assert!(third.ran(&remote).is_empty(), "what the job made was sent");
}

#[test]
fn of_two_clusters_over_one_shared_store_one_does_the_work() {
    let [first, second] = [away(), away()];
    let options = format!("--target whole --remote {}", first.lab.path("shared").display());
    first.lab.write("act.sh", WAIT);
    let mut run = first.start(&options);
    wait_until("the job", || first.times("whole") == 1);
    let mut other = second.command(&format!("run p.yaml --json {options}"));
    let mut other = other.stdout(Stdio::piped()).spawn().expect("a run");
    let mut told = BufReader::new(other.stdout.take().expect("a pipe")).lines().map_while(Result::ok);
    assert!(told.any(|line| line.contains("waiting for another machine")), "it did not wait");
    first.lab.write("go", "");
    assert!(run.wait().expect("an end").success());
    assert!(told.any(|line| line.contains(r#""outcome":"pulled""#)), "it did not take the result");
    assert!(other.wait().expect("an end").success());
    assert_eq!((calls(&second, "sbatch"), second.times("whole")), (0, 0));
    assert!(second.ran(&options).is_empty());
}

#[test]
fn a_job_that_fails_shows_its_last_lines_and_the_rest_is_kept() {
    let away = away();
    away.lab.write("act.sh", "[ \"$1\" != whole ] || { echo 'no such model'; exit 7; }\n");
    let answer = away.line("run p.yaml --keep-going");
    assert_eq!(answer.code, 1, "{answer:#?}");
    for part in ["of the cluster failed: FAILED on here, exit code 1", "ended with exit code 7", "no such model"] {
        assert!(answer.stderr.contains(part), "{part}: {}", answer.stderr);
    }
    fs::remove_file(away.lab.path("act.sh")).expect("removed");
    assert_eq!(away.ran(""), ["gpu", "whole"], "a failed job of a run before counts for nothing");
    assert_eq!((away.times("shards"), away.times("whole"), away.times("gpu")), (4, 2, 1));
}

#[test]
fn what_the_cluster_takes_away_is_submitted_again_within_limits() {
    let away = away();
    away.lab.write("fake/lose", "x\nx\nx\n");
    assert_eq!(away.ran("").len(), 4);
    away.assert_each_once();
    away.lab.write("fake/lose", &"x\n".repeat(3));
    away.lab.write("songs.csv", "item_id,text\na,b\n");
    let answer = away.line("run p.yaml --target whole");
    assert_eq!(answer.code, 1, "{answer:#?}");
    assert!(answer.stderr.contains("NODE_FAIL") && answer.stderr.contains("as `retries` allows"), "{}", answer.stderr);
    assert_eq!(away.ran("--target whole"), ["whole"]);
}

#[test]
fn a_submission_whose_answer_was_lost_is_found_again() {
    let away = away();
    away.lab.write("fake/mute", "");
    // Whether the run saw its job or only the result is a matter of luck.
    away.ran("--target whole");
    assert_eq!((away.times("whole"), calls(&away, "sbatch")), (1, 1));
}

#[test]
fn a_cluster_that_does_not_answer_is_waited_for() {
    let away = away();
    away.lab.write("fake/down", "");
    let run = away.start("--target whole");
    wait_until("two questions", || calls(&away, "squeue") >= 2);
    assert!(away.begun().is_empty());
    fs::remove_file(away.lab.path("fake/down")).expect("removed");
    let output = run.wait_with_output().expect("an end");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(away.times("whole"), 1);
}

#[test]
fn what_the_cluster_refuses_is_told_in_its_words() {
    let away = away();
    away.lab.write("fake/refuse", "");
    let answer = away.line("run p.yaml");
    assert_eq!(answer.code, 1);
    assert!(answer.stderr.contains("invalid partition specified: nowhere"), "{}", answer.stderr);
    let bare = Away::new(BTreeMap::from([("PATH".to_owned(), OsString::from("/nowhere"))]));
    let answer = bare.line("run p.yaml");
    assert!(
        answer.stderr.contains("could not run `squeue`") && answer.stderr.contains("--engine local"),
        "{}",
        answer.stderr
    );
}

#[test]
fn the_jobs_of_a_killed_run_are_taken_up_by_the_next() {
    let away = away();
    away.lab.write("act.sh", WAIT);
    let mut run = away.start("");
    wait_until("the program to begin", || away.times("whole") == 1);
    run.kill().expect("SIGKILL");
    run.wait().expect("an end");
    let run = away.start("");
    wait_until("the next run to look", || calls(&away, "squeue") > 6);
    away.lab.write("go", "");
    assert!(run.wait_with_output().expect("an end").status.success());
    away.assert_each_once();
}

#[test]
fn what_jobs_made_after_their_run_was_killed_is_found() {
    let away = away();
    away.lab.write("act.sh", WAIT);
    let mut run = away.start("--target whole");
    wait_until("the program to begin", || away.times("whole") == 1);
    run.kill().expect("SIGKILL");
    run.wait().expect("an end");
    away.lab.write("go", "");
    wait_until("the result", || away.line("plan p.yaml --target whole --json").stdout.contains("\"fresh\""));
    away.ran("");
    away.assert_each_once();
}

#[test]
fn a_run_that_is_stopped_leaves_its_jobs_or_cancels_them() {
    let away = away();
    away.lab.write("act.sh", WAIT);
    let run = away.start("--target whole");
    wait_until("the program to begin", || away.times("whole") == 1);
    interrupt(&run);
    let output = run.wait_with_output().expect("an end");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(130), "{told}");
    assert!(told.contains("1 job of the cluster goes on"), "{told}");
    let run = away.start("--target whole --on-interrupt cancel");
    wait_until("the next run to look", || calls(&away, "squeue") > 4);
    interrupt(&run);
    let told = String::from_utf8_lossy(&run.wait_with_output().expect("an end").stderr).into_owned();
    assert!(told.contains("1 job of the cluster was cancelled"), "{told}");
    assert_eq!(calls(&away, "scancel"), 1);
    away.lab.write("go", "");
    away.ran("");
    assert_eq!(away.times("whole"), 2);
}

#[test]
fn somebody_at_a_terminal_is_asked_about_the_jobs() {
    let away = away();
    away.lab.write("act.sh", WAIT);
    let start = || Pty::start_with(&away.lab, "run p.yaml --target whole", &away.environment);
    for (answer, told, cancelled) in
        [("\n", "1 job of the cluster goes on", 0), ("y\n", "1 job of the cluster was cancelled", 1)]
    {
        let Some(mut pty) = start() else { return };
        pty.wait_for("job 1 of the cluster: at work");
        pty.press("\u{3}");
        pty.wait_for("cancel it? [y/N]");
        pty.press(answer);
        pty.wait_for(told);
        pty.wait_for("exit code 130");
        assert_eq!(calls(&away, "scancel"), cancelled);
    }
    assert_eq!(away.times("whole"), 1, "the second run took up the job of the first");
    // On a dashboard the question stands in the middle, its words apart.
    let line = "run p.yaml --target whole --tui";
    let Some(mut pty) = Pty::start_with(&away.lab, line, &away.environment) else { return };
    wait_until("the job", || away.times("whole") == 2);
    pty.press("\u{3}");
    pty.wait_for("[y/N]");
    pty.press("y");
    pty.wait_for("1 job of the cluster was cancelled");
    pty.wait_for("exit code 130");
    assert_eq!(calls(&away, "scancel"), 2);
}

#[test]
fn work_whose_key_is_another_is_not_begun() {
    let away = away();
    let key = "0".repeat(64);
    let answer = away.line(&format!("work p.yaml --instance songs --key {key}"));
    assert_eq!(answer.code, 2, "{answer:#?}");
    assert!(answer.stderr.contains("is not what it was when the job was submitted"), "{}", answer.stderr);
    let answer = away.line(&format!("work p.yaml --instance whole --key {key}"));
    assert!(answer.stderr.contains("reads other stages"), "{}", answer.stderr);
    let answer = away.line(&format!("work p.yaml --instance whole --key {key} --input {key}"));
    assert!(answer.stderr.contains("is not in the store that this machine sees"), "{}", answer.stderr);
}
