//! A run that is stopped or killed in the middle of a crawl loses nothing that
//! was answered: the next run asks only for the rest.

#![cfg(unix)]

use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::lab::{Lab, Sandbox};

const CRAWL: &str = "\
pipeline: crawl
limiters:
  lastfm: { concurrency: 4 }
stages:
  users:
    kind: crawl_users
    with: { limiter: lastfm, seed_user: SEED, max_users: 120 }
  loved:
    kind: crawl_loved_tracks
    inputs: { users: users }
    with: { limiter: lastfm, per_user: 50 }
";

/// At most so many requests are in flight at once.
const IN_FLIGHT: u64 = 4;

fn lab() -> Lab {
    Lab::with(&[("crawl.yaml", CRAWL)])
}

/// How many requests the sandbox has had, its own pages not counted.
fn requests(sandbox: &Sandbox) -> u64 {
    total(&sandbox.stats())
}

fn total(stats: &Value) -> u64 {
    stats["requests"].as_u64().unwrap_or_else(|| panic!("no number of requests in {stats}"))
}

fn start(lab: &Lab, sandbox: &Sandbox) -> Child {
    let line = format!("run crawl.yaml --sandbox={} --json", sandbox.url);
    lab.command(line.split_whitespace())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts")
}

/// Waits until the sandbox has had that many more requests; fails if the run
/// ends before that.
fn wait_for(sandbox: &Sandbox, run: &mut Child, wanted: u64) {
    while requests(sandbox) < wanted {
        assert!(run.try_wait().expect("a process").is_none(), "the run ended before it could be stopped");
        std::thread::yield_now();
    }
}

/// How many requests a run from nothing takes.
fn requests_of_a_whole_run(sandbox: &Sandbox) -> u64 {
    let before = requests(sandbox);
    lab().run_outcomes(&format!("crawl.yaml --sandbox={}", sandbox.url));
    requests(sandbox) - before
}

#[test]
fn after_sigkill_nothing_that_was_answered_is_asked_again() {
    let lab = lab();
    let sandbox = Sandbox::start(&lab, "--users 150 --songs 100");
    let whole = requests_of_a_whole_run(&sandbox);
    assert!(whole > 40, "the crawl takes only {whole} requests");
    let before = requests(&sandbox);
    let mut run = start(&lab, &sandbox);
    wait_for(&sandbox, &mut run, before + whole / 2);
    run.kill().expect("SIGKILL");
    run.wait().expect("an end");
    let answer = lab.line(&format!("run crawl.yaml --sandbox={} --json", sandbox.url));
    assert_eq!(answer.code, 0, "{answer:#?}");
    let both = requests(&sandbox) - before;
    assert!((whole..=whole + IN_FLIGHT).contains(&both), "{whole} requests were needed and {both} were sent");
    let of_second = answer.finished()["requests"].as_u64().expect("a number");
    assert!(of_second < whole, "the second run sent {of_second} of {whole}");
}

#[test]
fn ctrl_c_stops_cleanly_and_says_how_to_go_on() {
    let lab = lab();
    let sandbox = Sandbox::start(&lab, "--users 150 --songs 100 --seed 1");
    let whole = requests_of_a_whole_run(&sandbox);
    let before = requests(&sandbox);
    let mut run = start(&lab, &sandbox);
    wait_for(&sandbox, &mut run, before + whole / 2);
    let sent = Command::new("kill").args(["-INT", &run.id().to_string()]).status().expect("kill");
    assert!(sent.success());
    let output = run.wait_with_output().expect("an end");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(130), "{told}");
    assert!(told.contains("stopping") && told.contains("go on with `refrain run crawl.yaml`"), "{told}");
    let answer = lab.line(&format!("run crawl.yaml --sandbox={} --json", sandbox.url));
    assert_eq!(answer.code, 0, "{answer:#?}");
    let both = requests(&sandbox) - before;
    assert!((whole..=whole + IN_FLIGHT).contains(&both), "{whole} requests were needed and {both} were sent");
}

#[test]
fn a_finished_crawl_asks_nothing_even_offline() {
    let lab = lab();
    let sandbox = Sandbox::start(&lab, "--users 60 --songs 80");
    lab.edit("crawl.yaml", "max_users: 120", "max_users: 40");
    lab.run_outcomes(&format!("crawl.yaml --sandbox={}", sandbox.url));
    let before = requests(&sandbox);
    // Another parser or setting over the same answers needs no new request.
    lab.edit("crawl.yaml", "per_user: 50", "per_user: 49");
    let answer = lab.line(&format!("run crawl.yaml --sandbox={} --offline --json --force users", sandbox.url));
    assert_eq!(answer.code, 0, "{answer:#?}");
    assert_eq!(answer.finished()["requests"], 0);
    assert_eq!(requests(&sandbox), before);
}
