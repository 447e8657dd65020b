//! A run that is stopped or killed in the middle of a crawl loses nothing that
//! was answered: the next run asks only for the rest.

#![cfg(unix)]

use std::process::{Child, Command, Stdio};

use crate::lab::{CRAWL, Lab, Sandbox};

/// The whole of the paper's crawl: people, what they love, tags, lyrics, prompts.
const WHOLE: &str = "\
pipeline: whole
stages:
  users:
    kind: crawl_users
    with: { max_users: 2700 }
  loved:
    kind: crawl_loved_tracks
    inputs: { users: users }
    with: { per_user: 100, min_per_user: 1 }
  catalog:
    kind: sql
    inputs: { loved: loved }
    with: { query: 'select distinct artist, title from loved order by artist, title' }
  matched:
    kind: match_tracks
    inputs: { loved: loved, catalog: catalog }
  tags:
    kind: crawl_top_tags
    inputs: { tracks: matched.items }
  lyrics:
    kind: crawl_lyrics
    inputs: { tracks: matched.items }
  summaries:
    kind: summarize
    inputs: { items: matched.items }
    with: { model: sandbox, prompt: 'What is {{ title }} by {{ artist }} about?' }
  lyric_summaries:
    kind: summarize
    inputs: { items: lyrics }
    with: { model: sandbox, prompt: 'What is this about? {{ text }}' }
";

/// At most so many requests are in flight at once: a sandbox is asked with 16
/// slots whatever a limiter says.
const IN_FLIGHT: u64 = 16;
/// The same with all the limiters of [`WHOLE`] in use: Last.fm's, those of two
/// sources of lyrics, and the model's.
const SLOTS: u64 = 4 * IN_FLIGHT;

fn lab() -> Lab {
    Lab::with(&[("crawl.yaml", CRAWL)])
}

/// A number of all the sandbox's requests, its own pages not counted.
fn total(sandbox: &Sandbox, what: &str) -> u64 {
    let stats = sandbox.stats();
    stats["total"][what].as_u64().unwrap_or_else(|| panic!("no number `{what}` in {stats}"))
}

fn line(sandbox: &Sandbox) -> String {
    line_of("crawl.yaml", sandbox)
}

fn line_of(file: &str, sandbox: &Sandbox) -> String {
    format!("run {file} --json --sandbox={}", sandbox.url)
}

/// Starts a run and waits until the sandbox has had that many requests.
fn start_and_wait(lab: &Lab, sandbox: &Sandbox, wanted: u64) -> Child {
    let mut command = lab.command(line(sandbox).split_whitespace());
    let mut run = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the binary starts");
    while total(sandbox, "received") < wanted {
        assert!(run.try_wait().expect("a process").is_none(), "the run ended before it could be stopped");
        std::thread::yield_now();
    }
    run
}

/// Runs to the end what was stopped, and checks that nothing answered was asked again.
fn finish(lab: &Lab, sandbox: &Sandbox) {
    let before = total(sandbox, "received");
    let answer = lab.line(&line(sandbox));
    assert_eq!(answer.code, 0, "{answer:#?}");
    let repeated = total(sandbox, "repeated");
    assert!(repeated <= IN_FLIGHT, "{repeated} requests were asked again, and {IN_FLIGHT} could be in flight");
    let sent = total(sandbox, "received") - before;
    assert_eq!(answer.finished()["requests"], sent);
    assert!(sent > 0, "the first run had asked everything: it was not stopped in the middle");
}

#[test]
fn after_sigkill_nothing_that_was_answered_is_asked_again() {
    let lab = lab();
    let sandbox = Sandbox::start(&lab, "--users 300 --songs 100");
    let mut run = start_and_wait(&lab, &sandbox, 80);
    run.kill().expect("SIGKILL");
    run.wait().expect("an end");
    finish(&lab, &sandbox);
}

#[test]
fn ctrl_c_stops_cleanly_and_says_how_to_go_on() {
    let lab = lab();
    let sandbox = Sandbox::start(&lab, "--users 300 --songs 100 --seed 1");
    let run = start_and_wait(&lab, &sandbox, 80);
    let sent = Command::new("kill").args(["-INT", &run.id().to_string()]).status().expect("kill");
    assert!(sent.success());
    let output = run.wait_with_output().expect("an end");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(130), "{told}");
    assert!(told.contains("stopping") && told.contains("go on with `refrain run crawl.yaml "), "{told}");
    finish(&lab, &sandbox);
}

/// Numbers that are the same in every run of the test.
fn scattered(seed: u64) -> impl Iterator<Item = u64> {
    std::iter::successors(Some(seed), |n| Some(n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695)))
        .map(|n| n >> 33)
}

#[test]
fn a_crawl_that_is_interrupted_twenty_times_asks_nothing_twice() {
    let lab = Lab::with(&[("whole.yaml", WHOLE)]);
    let sandbox = Sandbox::start(&lab, "--users 3000 --songs 400 --seed 3");
    let line = line_of("whole.yaml", &sandbox);
    let mut killed = 0;
    for (round, chance) in scattered(11).take(20).enumerate() {
        // Every other one has no chance to end what it began.
        let signal = if round % 2 == 0 { "-INT" } else { "-KILL" };
        let before = total(&sandbox, "received");
        let mut command = lab.command(line.split_whitespace());
        let mut run = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the binary starts");
        while total(&sandbox, "received") < before + 20 + chance % 150 {
            assert!(run.try_wait().expect("a process").is_none(), "round {round} ended before it was stopped");
            std::thread::yield_now();
        }
        let sent = Command::new("kill").args([signal, &run.id().to_string()]).status().expect("kill");
        assert!(sent.success());
        run.wait().expect("an end");
        // What a kill takes is what was in flight: no more than the slots of the limiters that were in use. It is asked
        // again when its stage comes on again, which a stop may put off to a later round; Ctrl-C itself takes nothing.
        let repeated = total(&sandbox, "repeated");
        assert!(
            repeated <= killed * SLOTS,
            "by round {round} {repeated} requests were asked again after {killed} kills"
        );
        killed += u64::from(signal == "-KILL");
    }
    let answer = lab.line(&line);
    assert_eq!(answer.code, 0, "{answer:#?}");
    let repeated = total(&sandbox, "repeated");
    assert!(repeated <= killed * SLOTS, "{repeated} requests were asked again after {killed} kills");
    let calm = Lab::with(&[("whole.yaml", WHOLE)]);
    assert_eq!(calm.line(&line).code, 0);
    for stage in ["users", "loved", "tags", "lyrics", "summaries", "lyric_summaries"] {
        let name = |lab: &Lab| lab.artifact(&format!("whole.yaml {stage}")).file_name().map(std::ffi::OsStr::to_owned);
        assert_eq!(name(&lab), name(&calm), "{stage}");
    }
}

#[test]
fn a_finished_crawl_asks_nothing_even_offline() {
    let lab = lab();
    let sandbox = Sandbox::start(&lab, "--users 60 --songs 80");
    lab.edit("crawl.yaml", "max_users: 120", "max_users: 20");
    assert_eq!(lab.line(&line(&sandbox)).code, 0);
    let before = total(&sandbox, "received");
    let refused = lab.line(&format!("{} --offline", line(&sandbox)));
    assert!(refused.stderr.contains("could not reach the sandbox") && refused.code == 2, "{refused:#?}");
    // The same world, known without asking anybody.
    lab.edit("crawl.yaml", "stages:", "sandbox: { users: 60, songs: 80, start: on_request }\nstages:");
    let answer = lab.line("run crawl.yaml --json --sandbox --offline --force users --force loved");
    assert_eq!(answer.code, 0, "{answer:#?}");
    let last = answer.finished();
    assert_eq!((&last["ran"], &last["requests"]), (&2.into(), &0.into()));
    assert_eq!(total(&sandbox, "received"), before);
}

#[test]
fn a_sandbox_stops_when_it_is_told_to() {
    let lab = lab();
    let sandbox = Sandbox::start(&lab, "--users 20 --songs 20");
    assert_eq!(sandbox.interrupt(), Some(0));
}
