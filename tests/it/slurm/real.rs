//! A run on a real Slurm.

use std::time::Duration;

use super::lab::{Away, interrupt, wait_until};
use super::packages::Cluster;

/// How often the run is killed; each time at another moment.
const KILLS: u64 = 6;

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

/// Waits in the whole stage's program until `go` is there.
const WAIT: &str = "[ \"$1\" != whole ] || while [ ! -e go ]; do sleep 0.1; done\n";

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
    for pause in scattered(7).take(kills as usize) {
        let mut run = away.start("");
        std::thread::sleep(Duration::from_millis(pause % 2_500));
        run.kill().expect("SIGKILL");
        run.wait().expect("an end");
    }
    away.ran("");
    away.assert_each_once();
}
