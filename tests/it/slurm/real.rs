//! A run on a real Slurm.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use super::lab::{Away, WAIT, interrupt, wait_until};
use super::packages::Cluster;

/// How often the run is killed; each time at another moment.
const KILLS: usize = 6;

#[test]
fn a_real_cluster_does_the_work() {
    let Some(cluster) = Cluster::start() else { return };
    jobs_do_the_work(&cluster);
    a_failure_is_told_with_its_lines(&cluster);
    a_lost_node_loses_nothing(&cluster);
    stopped_runs_leave_or_cancel(&cluster);
    killed_runs_do_nothing_twice(&cluster);
}

fn jobs_do_the_work(cluster: &Cluster) {
    let away = Away::new(cluster.environment());
    assert_eq!(away.ran(""), ["gpu", "shards", "songs", "whole"]);
    away.assert_each_once();
    let begun = away.begun();
    assert!(begun.iter().any(|line| line.starts_with("gpu ") && line.ends_with(" 0")), "no GPU: {begun:?}");
    assert!(away.ran("").is_empty());
}

fn a_failure_is_told_with_its_lines(cluster: &Cluster) {
    let away = Away::new(cluster.environment());
    away.lab.write("act.sh", "[ \"$1\" != whole ] || { echo 'no such model'; exit 7; }\n");
    let answer = away.line("run p.yaml --target whole");
    assert_eq!(answer.code, 1, "{answer:#?}");
    assert!(answer.stderr.contains("FAILED") && answer.stderr.contains("no such model"), "{}", answer.stderr);
    away.lab.edit("p.yaml", "    head_below: 0s\n", "    head_below: 0s\n    partition: nowhere\n");
    let answer = away.line("run p.yaml --target whole");
    assert!(answer.stderr.to_lowercase().contains("partition"), "{}", answer.stderr);
}

fn a_lost_node_loses_nothing(cluster: &Cluster) {
    let away = Away::new(cluster.environment());
    away.lab.write("act.sh", WAIT);
    let run = away.start("--target whole");
    wait_until("the program to begin", || away.times("whole") == 1);
    cluster.set_node("down");
    away.lab.write("go", "");
    cluster.set_node("resume");
    let output = run.wait_with_output().expect("an end");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!((1..=2).contains(&away.times("whole")), "the node may have been lost after the result was there");
}

fn stopped_runs_leave_or_cancel(cluster: &Cluster) {
    let away = Away::new(cluster.environment());
    away.lab.write("act.sh", WAIT);
    let jobs = || cluster.ask("squeue", &["--me", "--noheader", "--states=PENDING,RUNNING"]).lines().count();
    let run = away.start("--target whole");
    wait_until("the program to begin", || away.times("whole") == 1);
    interrupt(&run);
    assert_eq!(run.wait_with_output().expect("an end").status.code(), Some(130));
    assert_eq!(jobs(), 1, "it goes on");
    let run = away.start("--target whole --on-interrupt cancel");
    std::thread::sleep(Duration::from_secs(3));
    interrupt(&run);
    run.wait_with_output().expect("an end");
    wait_until("the job to be cancelled", || jobs() == 0);
    assert_eq!(away.times("whole"), 1, "the second run took up the job of the first");
}

/// Numbers that are the same in every run of the test.
fn scattered(seed: u64) -> impl Iterator<Item = u64> {
    std::iter::successors(Some(seed), |n| Some(n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695)))
        .map(|n| n >> 33)
}

fn killed_runs_do_nothing_twice(cluster: &Cluster) {
    let kills = std::env::var("KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(KILLS);
    let away = Away::new(cluster.environment());
    away.lab.write("act.sh", "sleep 1\n");
    killed(&away, kills, 2_500);
    away.ran("");
    away.assert_each_once();
}

/// Starts runs and kills each, at the latest after so many milliseconds.
fn killed(away: &Away, kills: usize, latest: u64) {
    for pause in scattered(7).take(kills) {
        let mut run = away.start("");
        std::thread::sleep(Duration::from_millis(pause % latest));
        run.kill().expect("SIGKILL");
        run.wait().expect("an end");
    }
}

/// The stages of the measured pipeline but the first: what each reads, and its shards.
const STAGES: [(&str, &str, usize); 7] = [
    ("left", "songs", 1),
    ("right", "songs", 1),
    ("left-end", "left", 1),
    ("right-end", "right", 1),
    ("many", "songs", 16),
    ("one", "many", 1),
    ("two", "many", 1),
];

/// Eight stages, of which one reads a file, one is cut into sixteen shards, and
/// each piece works for a second.
fn eight_stages() -> Away {
    let mut text = "pipeline: away\nengine: { slurm: { head_below: 0s, stages: { songs: { head: true } } } }\nstages:\n  \
                    songs:\n    kind: read_table\n    with: { path: songs.csv, columns: { item_id: item_id, text: text } }\n"
        .to_owned();
    for (stage, input, shards) in STAGES {
        let cut = if shards > 1 { format!("    shards: {shards}\n") } else { String::new() };
        let rows = if shards > 1 { "      rows: { input: songs, key: item_id }\n" } else { "" };
        write!(
            text,
            "  {stage}:\n    kind: run_command\n    inputs: {{ songs: {input} }}\n{cut}    with:\n      \
             run: [sh, copy.sh, {stage}]\n      code: [copy.sh]\n      \
             outputs: {{ table: {{ columns: {{ item_id: str, text: str }}, key: [item_id] }} }}\n{rows}"
        )
        .expect("text");
    }
    let away = Away::of(&text, BTreeMap::new());
    away.lab.write("act.sh", "sleep 1\n");
    away
}

/// What a cluster costs beside the same work on one machine, and what twenty
/// kills of the run do: `make slurm-check`.
#[test]
#[ignore = "part of `make slurm-check`"]
fn sixteen_shards_are_timed_and_survive_twenty_kills() {
    let cluster = Cluster::start().expect("a cluster");
    let timed = |options: &str| {
        let mut away = eight_stages();
        away.environment = cluster.environment();
        let started = Instant::now();
        away.ran(options);
        started.elapsed().as_secs_f64()
    };
    // One program at a time and core, on both.
    let (here, there) = (timed("--engine local --jobs 2"), timed(""));
    let shards = timed("--target many") - timed("--target many --engine local --jobs 2");
    println!("8 stages, one of 16 shards, each piece 1 s: here {here:.1} s, on the cluster {there:.1} s");
    println!("a shard costs {:.2} s more on the cluster", shards / 16.0);
    let kills = std::env::var("KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(20);
    let mut away = eight_stages();
    away.environment = cluster.environment();
    killed(&away, kills, 4_000);
    away.ran("");
    for (stage, _, pieces) in STAGES {
        assert_eq!(away.times(stage), pieces, "{stage}: {:?}", away.begun());
    }
    println!("{kills} kills of the run: each of the 22 pieces was begun once");
}
